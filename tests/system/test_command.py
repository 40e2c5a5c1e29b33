"""The `cvm` command as its users meet it: options, what it says, exit codes, and what it leaves behind."""

import hmac
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest

from cvm_server import Instance, environment, program, token

USAGE, DATAERR, NOINPUT, UNAVAILABLE, CANTCREAT = 64, 65, 66, 69, 73
TEMPFAIL, NOPERM, CONFIG = 75, 77, 78
VERBS = ["init", "serve", "device", "token", "ca", "backup", "restore", "store", "config", "version"]
DEVICE_VERBS = ["import", "add", "show", "list", "enable", "disable", "reset", "revoke", "remove"]


def cvm(*arguments, code=0, env=None, **options):
    done = subprocess.run([program(), *map(str, arguments)], capture_output=True, text=True, check=False,
                          env=environment(**(env or {})), timeout=120, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def on(instance, *arguments, code=0, **options):
    return cvm(*arguments, "-c", instance.conf, code=code, **options)


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text


def tree(folder):
    """Every file and folder with its content."""
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes()
            for path in sorted(pathlib.Path(folder).rglob("*"))}


def registered(tmp_path):
    instance = Instance(tmp_path)
    with instance.serve():
        for uid in ("DEVICE001", "DEVICE002"):
            instance.add(uid)
            assert instance.register(uid)[0] == 200
    return instance


# --- Options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [[name] for name in VERBS] + [["device", name] for name in DEVICE_VERBS] +
                         [["ca", name] for name in ("show", "crl", "server")])
def test_every_verb_says_how_it_is_used(verb):
    done = cvm(*verb, "--help")
    assert done.stdout.startswith("usage: cvm " + verb[0]) and done.stderr == ""
    if verb[0] == "device" and len(verb) > 1:
        assert done.stdout.startswith("usage: cvm " + " ".join(verb))


def test_the_command_says_what_its_exit_codes_mean():
    text = cvm("--help").stdout
    assert set(VERBS) <= set(text.split())
    for code in (USAGE, DATAERR, NOINPUT, UNAVAILABLE, CANTCREAT, TEMPFAIL, NOPERM, CONFIG):
        assert re.search(rf"^ +{code}  \w", text, re.MULTILINE)


@pytest.mark.parametrize("verb,option", [
    ("enable", "--reason=keyCompromise"), ("disable", "--force"), ("reset", "--pem"), ("revoke", "--force"),
    ("remove", "--reason=superseded"), ("show", "--disabled"), ("add", "--force"), ("list", "--pem")])
def test_a_device_verb_has_its_own_options_only(tmp_path, verb, option):
    instance = Instance(tmp_path)
    instance.add("D1")
    uid = [] if verb == "list" else ["D1"]
    said = one_line(on(instance, "device", verb, *uid, option, code=USAGE).stderr)
    assert verb in said and option.split("=")[0] in said
    assert instance.show("D1")["is_enabled"]


def test_an_option_that_is_unknown_does_not_show_what_it_was_given():
    done = cvm("token", "D1", "--salt=S3cret", code=USAGE)
    assert "--salt" in done.stderr and "S3cret" not in done.stderr


@pytest.mark.parametrize("verb", [["serve"], ["device", "list"], ["backup", "copy"]])
@pytest.mark.parametrize("setting", ["store", "=store"])
def test_a_setting_without_a_value_is_one_error(instance, verb, setting):
    said = one_line(on(instance, *verb, "--set", setting, code=USAGE).stderr)
    assert "name=value" in said and f"'{setting}'" in said


def test_what_is_due_is_counted_then_carried_out(tmp_path):
    instance = registered(tmp_path)
    on(instance, "device", "disable", "DEVICE002")
    with sqlite3.connect(instance.conf.parent / "devices.db") as db:  # as another server left it
        db.execute("UPDATE certificates SET state = 'retiring', revoke_after = 0, reason = 'superseded'"
                   " WHERE device_uid = 'DEVICE001'")
        db.execute("UPDATE devices SET is_suspended = 0 WHERE device_uid = 'DEVICE002'")
    for _ in range(2):
        said = on(instance, "reconcile", "--dry-run").stdout
        assert said == "due: 1 retirements, 1 suspensions, 0 leases\n"
    assert json.loads(on(instance, "reconcile", "--json").stdout) == {
        "dry_run": False, "retirements": 1, "suspensions": 1, "leases": 0}
    assert [row["state"] for row in instance.show("DEVICE001")["certificates"]] == ["revoked"]
    assert on(instance, "reconcile").stdout == "carried out: 0 retirements, 0 suspensions, 0 leases\n"
    assert "no certificates beside those in the store" in one_line(on(instance, "reconcile", "--full", code=77).stderr)


def test_whose_it_is(tmp_path):
    instance = registered(tmp_path)
    shown = instance.show("DEVICE002")
    fingerprint = ":".join(re.findall("..", shown["certificate_id"].upper()))  # as openssl prints it
    for way, value in (("certificate", shown["certificate_id"]), ("certificate", fingerprint), ("thing", shown["thing_name"])):
        assert "device_uid      DEVICE002\n" in on(instance, "device", "find", way, value).stdout
        assert json.loads(on(instance, "device", "find", way, value, "--json").stdout) == shown
    assert "no such device" in one_line(on(instance, "device", "find", "thing", "thing_NONE", code=DATAERR).stderr)
    assert "64 hex digits" in one_line(on(instance, "device", "find", "key", "12", code=DATAERR).stderr)
    assert "by certificate, thing or key" in one_line(on(instance, "device", "find", "uid", "DEVICE002", code=USAGE).stderr)
    assert "which device?" in one_line(on(instance, "device", "find", "thing", code=USAGE).stderr)
    on(instance, "device", "remove", "DEVICE002", "--force")
    said = on(instance, "device", "find", "certificate", shown["certificate_id"], code=DATAERR).stderr
    assert "it was DEVICE002's, which has been removed" in one_line(said)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_without_standard_files(instance, closed):
    """Their numbers are given to no file of the store's."""
    for words in (["device", "list"], ["device", "enable", "D1"], ["serve", "--check-config"]):
        done = subprocess.run([program(), *words, "-c", instance.conf], capture_output=True, check=False, env=environment(),
                              preexec_fn=lambda: [os.close(fd) for fd in closed], timeout=60)
        assert done.returncode in (0, DATAERR), (words, done)
    on(instance, "store", "check")


def test_what_is_wrong_is_one_line_whatever_is_in_it(instance):
    said = one_line(on(instance, "device", "list", "--set", "workers=a\nb\033[2J", code=CONFIG).stderr)
    assert "'a?b?[2J'" in said


def test_a_usage_error_is_one_line_and_where_help_is():
    for words in (["nothing"], ["device", "nothing"], ["ca", "nothing"], ["store", "nothing"], ["device"], ["ca"], ["store"],
                  ["serve"], ["serve", "x"], ["init"], ["init", "a", "b"], ["backup"], ["token"], ["device", "show"],
                  ["serve", "--no-such"], ["serve", "--config"], ["import"]):
        said = one_line(cvm(*words, code=USAGE).stderr)
        assert said.endswith("; see --help\n") and ("nothing" not in words or "nothing" in said)
    assert "Exit codes" in cvm(code=USAGE).stderr
    assert "D2" in cvm("device", "show", "D1", "D2", "-c", "none", code=USAGE).stderr


def test_one_word_too_many_is_a_usage_error():
    for words in (["serve"], ["backup", "a"], ["restore", "a"], ["token", "a"], ["init", "a"], ["reconcile"], ["config"],
                  ["version"], ["store", "check"], ["store", "clock"], ["store", "migrate"], ["ca", "show"], ["ca", "crl"], ["device", "import", "a"],
                  ["device", "add", "a"], ["device", "show", "a"], ["device", "find", "key", "a"], ["device", "list"]):
        said = one_line(cvm(*words, "superfluous", "-c", "none", code=USAGE).stderr)
        assert "superfluous" in said or "-c" in said, said


# --- What the verbs say ------------------------------------------------------------------------------


def test_verbs_say_what_is_now_so(tmp_path):
    instance = registered(tmp_path)
    crl = instance.folder / "ca/crl.pem"

    def says(verb, *words, uid="DEVICE001"):
        done = on(instance, "device", verb, uid)
        line = one_line(done.stdout)
        assert done.stderr == "" and line.startswith(f"{uid} is ")
        for word in words:
            assert word in line, line
        return line

    def number():
        text = subprocess.run(["openssl", "crl", "-in", crl, "-noout", "-crlnumber"], check=True,
                              capture_output=True, text=True).stdout
        return int(text.strip().split("=")[1], 0)

    says("disable", "disabled", "crl.pem number")
    says("enable", "enabled")
    before = number()
    line = says("revoke", "revoked", "disabled", "open")
    assert number() > before and f"crl.pem number {number()} " in line
    says("enable", "`cvm device reset DEVICE001`")
    assert "retires" not in says("reset", "once more")
    says("reset", "once more", "retires", uid="DEVICE002")
    says("revoke", "revoked")
    says("reset", "still disabled", "`cvm device enable DEVICE001`")
    assert "reset" not in says("enable", "may register")
    done = on(instance, "device", "add", "D2", "--token-file", "-", "--disabled", input=token("D2"))
    assert "D2 is added" in one_line(done.stdout) and "disabled" in done.stdout
    assert "certificate" in says("revoke", "no certificate", uid="D2")
    says("remove", "removed", uid="D2")
    on(instance, "device", "remove", "DEVICE002", code=NOPERM)
    assert "crl.pem number" in one_line(on(instance, "device", "remove", "DEVICE002", "--force").stdout)


def test_verbs_say_it_in_json(tmp_path):
    instance = registered(tmp_path)

    def says(verb, *more, uid="DEVICE001", **options):
        done = on(instance, "device", verb, uid, "--json", *more, **options)
        found = json.loads(one_line(done.stdout))
        assert done.stderr == "" and found["device_uid"] == uid
        return found

    found = says("revoke")
    assert (found["done"], found["is_enabled"], found["is_revoked"]) == ("revoked", False, True)
    assert found["crl_number"] == json.loads(
        on(instance, "ca", "show", "--json").stdout.splitlines()[2])["number"]
    assert says("enable")["is_revoked"] is True
    found = says("reset")
    assert (found["is_enabled"], found["is_registered"], found["is_revoked"]) == (True, False, False)
    assert says("disable")["is_enabled"] is False
    assert says("add", "--token-file", "-", uid="D2", input=token("D2"))["done"] == "added"
    assert says("remove", uid="D2") == {"device_uid": "D2", "done": "removed"}


def test_verbs_on_no_device(instance):
    for verb in ("show", "enable", "disable", "reset", "revoke", "remove"):
        done = on(instance, "device", verb, "D1", code=DATAERR)
        assert "D1" in one_line(done.stderr) and done.stdout == ""


# --- JSON --------------------------------------------------------------------------------------------


def test_json_where_data_is_printed(instance, tmp_path):
    version = cvm("version").stdout.split()[1]
    assert json.loads(one_line(cvm("version", "--json").stdout)) == {"version": version}
    out = tmp_path / "broker"
    found = json.loads(one_line(on(instance, "ca", "server", "b.example", "--out", out, "--json").stdout))
    assert found == {"certificate": str(out / "server.pem"), "key": str(out / "server.key")}
    copy = tmp_path / "copy.db"
    found = json.loads(one_line(on(instance, "backup", copy, "--json").stdout))
    assert found["backup"] == str(copy) and copy.is_file()
    assert found["store"] == str(instance.folder / "devices.db")


def test_properties_as_json():
    properties = [json.loads(line) for line in cvm("config", "--json").stdout.splitlines()]
    assert all(set(found) == {"name", "type", "default", "range", "help"} for found in properties)
    assert {found["name"] for found in properties} == {
        line.split(" = ")[0] for line in cvm("config").stdout.splitlines() if " = " in line}
    cvm("config", "--json", "--markdown", code=USAGE)


def test_what_show_says(instance):
    """To people and to programs: the same, and the certificate itself where it is asked for."""
    instance.add("WAITING")
    instance.import_csv(["D1", "D2", "D3"])
    with instance.serve():
        pem = {uid: instance.register(uid)[2]["payload"]["certificates"]["device_certificate"] for uid in ("D1", "D2")}
        on(instance, "device", "revoke", "D2", "--reason", "keyCompromise")
        on(instance, "device", "disable", "D3")
    leaf = {uid: re.match("(?s).*?-----END CERTIFICATE-----\n", chain)[0] for uid, chain in pem.items()}
    states = {"D1": "registered", "D2": "revoked", "D3": "disabled", "WAITING": "waiting"}
    for uid, state in states.items():
        text = on(instance, "device", "show", uid).stdout
        assert f"device_uid      {uid}\n" in text and f"state           {state}\n" in text
        assert ("certificate     " in text) == (uid in leaf)
    certificate, = instance.show("D2")["certificates"]
    text = on(instance, "device", "show", "D2").stdout
    for key in ("serial", "not_before", "not_after", "reason"):
        assert f"  {key.replace('_', ' '):13} {certificate[key]}\n" in text
    assert f"certificate     {certificate['certificate_id']}  revoked\n" in text and "BEGIN" not in text
    assert certificate["reason"] == "keyCompromise" and "pem" not in certificate
    assert on(instance, "device", "show", "D1", "--pem").stdout.endswith(leaf["D1"])
    shown = json.loads(on(instance, "device", "show", "D1", "--pem", "--json").stdout)
    assert shown["certificates"][0]["pem"] == leaf["D1"]


def test_a_verb_for_several_devices(instance):
    """The fleets are in test_device_many.py, which no sanitizer sees."""
    instance.import_csv(["D1", "D2"])
    assert on(instance, "device", "disable", "D1", "D2").stdout.startswith("2 devices disabled")
    assert "1 unknown" in cvm("device", "enable", "D1", "NOBODY", "-c", instance.conf, code=DATAERR).stdout
    assert not instance.show("D2")["is_enabled"]


# --- Tokens ------------------------------------------------------------------------------------------


def test_tokens(tmp_path):
    secret = "YOUR_SECRET_SALT"
    (tmp_path / "salt").write_text(secret + "\n")
    assert cvm("token", "D1", "--salt-file", tmp_path / "salt").stdout == token("D1") + "\n"
    assert cvm("token", "D1", "--salt-env", "SALT", env={"SALT": secret}).stdout == token("D1") + "\n"
    done = cvm("token", "D1", "--salt-env", "SALT", "--json", env={"SALT": secret})
    assert json.loads(done.stdout) == {"device_uid": "D1", "device_token": token("D1")}
    done = cvm("token", "D1", "--second", "D2", "--salt-env", "SALT", "--json", env={"SALT": secret})
    assert json.loads(done.stdout)["second_uid"] == "D2"
    code = hmac.new(secret.encode(), b"D1", "sha256").hexdigest()  # as the reference's simulators make them
    assert cvm("token", "D1", "--hmac", "--salt-file", tmp_path / "salt").stdout == code + "\n"


def test_a_secret_that_is_missing(tmp_path):
    said = cvm("token", "D1", "--salt-env", "NO_SUCH_SALT", code=DATAERR).stderr
    assert "NO_SUCH_SALT" in one_line(said) and "not set" in said
    said = cvm("token", "D1", "--salt-env", "SALT", env={"SALT": ""}, code=DATAERR).stderr
    assert "SALT" in said and "empty" in said
    assert "nosalt" in cvm("token", "D1", "--salt-file", tmp_path / "nosalt", code=NOINPUT).stderr
    cvm("token", "D1", code=USAGE)
    cvm("token", "D1", "--salt-file", "a", "--salt-env", "b", code=USAGE)


# --- Where there is no store -------------------------------------------------------------------------


def remove_store(instance):
    for path in instance.folder.glob("devices.db*"):
        path.unlink()
    (instance.folder / "audit.log").unlink(missing_ok=True)


@pytest.mark.parametrize("verb", [
    ["device", "list"], ["device", "show", "D1"], ["device", "revoke", "D1"], ["backup", "copy.db"],
    ["device", "import", "-"], ["ca", "crl"]])
def test_a_missing_store_is_not_made_by_the_way(instance, tmp_path, verb):
    remove_store(instance)
    before = tree(tmp_path)
    said = one_line(on(instance, *verb, code=CONFIG, cwd=tmp_path, stdin=subprocess.DEVNULL).stderr)
    assert "devices.db" in said and "store" in said
    assert tree(tmp_path) == before


def test_reading_makes_no_audit_log(instance):
    instance.add("D1")
    (instance.folder / "audit.log").unlink()
    on(instance, "device", "list")
    on(instance, "device", "show", "D1")
    assert not (instance.folder / "audit.log").exists()
    on(instance, "device", "disable", "D1")
    assert "device_disabled" in (instance.folder / "audit.log").read_text()


def test_a_check_of_a_configuration_makes_no_store(instance, tmp_path):
    remove_store(instance)
    before = tree(tmp_path)
    temporary = set(pathlib.Path("/tmp").glob("cvm-check*"))
    done = on(instance, "serve", "--check-config", code=CONFIG)
    assert "no store" in done.stderr and "--create-store" in done.stderr
    done = on(instance, "serve", "--check-config", "--create-store")
    assert "is fine" in done.stdout
    assert "no store" in done.stderr and "empty" in done.stderr
    assert tree(tmp_path) == before
    # The rest is checked all the same.
    on(instance, "serve", "--check-config", "--create-store", "--set", f"http.tls_certificate={instance.conf}", code=CONFIG)
    on(instance, "serve", "--check-config", "--create-store", "--set", "platform=local:/nowhere", code=CONFIG)
    on(instance, "serve", "--check-config", "--create-store", "--set", "store=file:/nowhere/devices.db", code=CONFIG)
    on(instance, "serve", "--check-config", "--create-store", "--set", "audit.file=/nowhere/audit.log", code=CONFIG)
    on(instance, "serve", "--check-config", "--create-store", "--set", "log.file=/nowhere/log", code=CONFIG)
    assert tree(tmp_path) == before
    assert set(pathlib.Path("/tmp").glob("cvm-check*")) == temporary


def test_a_check_of_a_configuration_beside_the_server(instance):
    with instance.serve():
        done = on(instance, "serve", "--check-config")
        assert "is fine" in done.stdout and "no store" not in done.stderr


@pytest.mark.parametrize("kind", ["folder", "garbage"])
@pytest.mark.parametrize("verb", [["device", "list"], ["serve", "--check-config"]])
def test_what_is_no_store(instance, kind, verb):
    remove_store(instance)
    store = instance.folder / "devices.db"
    if kind == "folder":
        store.mkdir()
    else:
        store.write_bytes(b"garbage\n" * 1000)
    before = tree(instance.folder)
    said = [line for line in on(instance, *verb, code=CONFIG).stderr.splitlines() if "warning" not in line]
    assert len(said) == 1 and "devices.db" in said[0] and "store" in said[0]
    assert ("not a file" if kind == "folder" else "not a database") in said[0]
    assert {name: content for name, content in tree(instance.folder).items()
            if name not in ("audit.log", "devices.db.lock")} == before


# --- cvm init ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong, value, code", [
    *[("--host", name, USAGE) for name in ("no name", "1.2.3.999", "*.1.2.3.4", "-a.example.com")],
    *[("--endpoint", name, USAGE) for name in ("no name", "mqtts://example.com", "example.com:99999",
                                               "example.com/path")],
    ("--root-passphrase-file", "/nowhere/secret", NOINPUT), ("--root-key-out", "/nowhere/root.key", CANTCREAT)])
@pytest.mark.parametrize("is_there", [False, True])
def test_init_that_fails_leaves_nothing(tmp_path, wrong, value, code, is_there):
    folder = tmp_path / "new"
    if is_there:
        folder.mkdir()
    done = subprocess.run([program(), "init", folder, wrong, value], capture_output=True, check=False,
                          env=environment())
    assert done.returncode == code and done.stderr.count(b"\n") == 1 and value.encode() in done.stderr, done
    assert folder.exists() == is_there
    assert tree(tmp_path) == ({"new": False} if is_there else {})
    cvm("init", folder)


def test_init_takes_no_folder_that_would_be_two_lines(tmp_path):
    """Its path stands in mosquitto.conf."""
    said = one_line(cvm("init", str(tmp_path / "a\nb"), code=USAGE).stderr)
    assert "control character" in said and tree(tmp_path) == {}


@pytest.mark.parametrize("given, told", [
    ("mqtt.example.com:8883", "mqtt.example.com"), ("2001:db8::1", "[2001:db8::1]"),
    ("[2001:db8::1]:8884", "[2001:db8::1]:8884"), ("192.0.2.1:8884", "192.0.2.1:8884")])
def test_the_endpoint_is_one_however_it_is_set(tmp_path, given, told):
    cvm("init", tmp_path / "new", "--endpoint", given)
    assert f"mqtt.endpoint = {told}\n" in (tmp_path / "new/cvm.conf").read_text()
    instance = Instance(tmp_path)
    instance.add("D1")
    with instance.serve({"mqtt.endpoint": given}):
        assert instance.register("D1")[2]["payload"]["endpoint"] == told


@pytest.mark.parametrize("settings, words", [
    ({"mqtt.endpoint": "mqtts://example.com"}, ["mqtt.endpoint does not take", "HOST:PORT"]),
    ({"http.proxy_protocol": "on"}, ["http.proxy_protocol is on", "http.trusted_proxies"]),
    ({"http.trusted_proxies": "10.0.0"}, ["http.trusted_proxies does not take '10.0.0'", "ADDRESS[/BITS]"]),
    ({"thing.name_format": "x" * 64 + "%DEVICE_UID%"}, ["thing.name_format leaves no room", "64 characters"]),
    ({"thing.name_format": "device"}, ["thing.name_format does not take 'device'", "%DEVICE_UID% once"]),
    ({"store": "mysql"}, ["store: there is no 'mysql' here", "/cvm-mysql.so); there are: file"]),
    ({"store": "Postgres"}, ["store does not take what it is set to", "NAME:LOCATION"]),
    ({"nosuch.thing": "1"}, ["there is no property 'nosuch.thing'", "no module or plugin"]),
    ({"module": "local.so"}, ["module does not take 'local.so'", "/PATH.so"]),
    ({"module": "/no/such.so"}, ["module: /no/such.so: cannot open"]),
])
@pytest.mark.parametrize("verb", [["serve"], ["serve", "--check-config"]])
def test_what_would_make_every_registration_fail_is_an_error_before(instance, verb, settings, words):
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    said = on(instance, *verb, *options, code=CONFIG).stderr
    assert all(word in said for word in words), said


def test_a_configuration_error_says_where(tmp_path):
    instance = Instance(tmp_path)
    with instance.conf.open("a") as conf:
        conf.write("\nworkers = abc\n")
    line = instance.conf.read_text().splitlines().index("workers = abc") + 1
    said = one_line(on(instance, "device", "list", code=CONFIG).stderr)
    assert said.endswith(f"cvm.conf:{line}: workers does not take 'abc'; it takes 1 to 64 (with k, M, G)\n")
    said = one_line(cvm("device", "list", "-c", Instance(tmp_path, name="other").conf, code=CONFIG,
                        env={"CVM_LOG_LEVEL": "loud"}).stderr)
    assert "CVM_LOG_LEVEL: log.level does not take 'loud'; it takes error|warning|info|debug" in said
    said = one_line(cvm("device", "list", "-c", tmp_path / "other/cvm.conf", "--set", "workers=0", code=CONFIG).stderr)
    assert "--set: workers does not take '0'" in said


# Anything may be what fails: each new file in turn can't be made.
@pytest.mark.parametrize("most", range(0, 40000, 2500))
def test_init_without_room_leaves_nothing(tmp_path, most):
    folder, key = tmp_path / "new", tmp_path / "root.key"
    limit = (most, most)
    done = subprocess.run([program(), "init", folder, "--root-key-out", key], capture_output=True, check=False,
                          env=environment(), preexec_fn=lambda: limit_files(limit))
    if done.returncode == 0:
        assert (folder / "devices.db").is_file()
        return
    assert done.returncode in (UNAVAILABLE, CANTCREAT), done.stderr
    assert tree(tmp_path) == {}
    cvm("init", folder, "--root-key-out", key)


def limit_files(limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_init_removes_only_what_it_made(tmp_path):
    key = tmp_path / "root.key"
    key.write_text("mine")
    said = one_line(cvm("init", tmp_path / "new", "--root-key-out", key, code=CANTCREAT).stderr)
    assert str(key) in said
    assert tree(tmp_path) == {"root.key": b"mine"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_init_where_it_may_not_write(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    nobody = pwd.getpwnam("nobody")
    said = one_line(cvm("init", folder, code=CANTCREAT, user=nobody.pw_uid).stderr)
    assert "Permission denied" in said
    assert tree(tmp_path) == {"new": False}


def connects(host, port, root_ca):
    context = ssl.create_default_context(cafile=str(root_ca))
    with socket.create_connection((host, port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=host):
            return True


@pytest.mark.parametrize("hosts,listen", [
    ([], "127.0.0.1"), (["127.0.0.2"], "0.0.0.0"), (["::1"], "[::]"), (["127.0.0.2", "::1"], "[::]"),
    (["cvm.example"], "[::]")])
def test_every_host_is_listened_on(tmp_path, hosts, listen):
    instance = Instance(tmp_path, *[part for host in hosts for part in ("--host", host)],
                        "--endpoint", "localhost")
    assert f"http.listen = {listen}:8443\n" in instance.conf.read_text()
    with instance.serve({"http.listen": f"{listen}:0"}):
        for host in ["127.0.0.1", *hosts]:
            assert host == "cvm.example" or connects(host, instance.port, instance.root_ca)


def test_an_endpoint_that_is_an_ipv6_address(tmp_path):
    for number, (given, told) in enumerate([("::1", "[::1]"), ("[::1]", "[::1]"),
                                            ("[2001:db8::1]:8884", "[2001:db8::1]:8884")]):
        instance = Instance(tmp_path, "--endpoint", given, name=f"cvm{number}")
        assert f"mqtt.endpoint = {told}\n" in instance.conf.read_text()


# --- Busy stores -------------------------------------------------------------------------------------

MANY = 20_000


def rows(count, first=0):
    return "device_uid,device_token\n" + "".join(f"D{first + i:07d},{first + i:x>20}\n" for i in range(count))


def count(instance):
    return on(instance, "device", "list").stdout.count("\n")


def test_two_imports_at_once(instance, tmp_path):
    (tmp_path / "a.csv").write_text(rows(MANY))
    (tmp_path / "b.csv").write_text(rows(MANY, first=MANY // 2))
    done = []
    threads = [threading.Thread(target=lambda name=name: done.append(
        json.loads(on(instance, "device", "import", tmp_path / name, "--json").stdout)))
        for name in ("a.csv", "b.csv")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report["inserted"] for report in done) == MANY + MANY // 2
    assert sum(report["unchanged"] for report in done) == MANY // 2
    assert count(instance) == MANY + MANY // 2


def test_an_import_waits_for_a_writer_and_then_gives_up(instance, tmp_path):
    (tmp_path / "a.csv").write_text(rows(5000))
    command = [program(), "device", "import", str(tmp_path / "a.csv"), "-c", str(instance.conf), "--json"]
    holder = sqlite3.connect(instance.folder / "devices.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(),
                          timeout=120)
    assert done.returncode == TEMPFAIL, done.stderr
    waiting, failed = done.stderr.splitlines()
    assert "waiting for the store" in waiting
    assert "0 of 5000 rows" in failed and "run the same import again" in failed
    # One that waits goes on when it can.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment()) as running:
        assert "waiting for the store" in running.stderr.readline()
        holder.execute("ROLLBACK")
        report = json.loads(running.communicate(timeout=120)[0])
    assert running.returncode == 0 and report["inserted"] == 5000
    holder.close()
    assert count(instance) == 5000


def test_a_verb_on_a_busy_store(instance):
    instance.add("D1")
    holder = sqlite3.connect(instance.folder / "devices.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    done = subprocess.run([program(), "device", "disable", "D1", "-c", instance.conf], capture_output=True,
                          text=True, check=False, env=environment(), timeout=120)
    waiting, failed = done.stderr.splitlines()
    assert done.returncode == UNAVAILABLE and done.stdout == ""
    assert "still waiting" in waiting and "D1" in failed and "try again" in failed
    assert instance.show("D1")["is_enabled"], "reading waits for nobody"
    holder.close()
    on(instance, "device", "disable", "D1")


# --- Copies ------------------------------------------------------------------------------------------


def test_backups_by_cron(instance, tmp_path):
    """Into a folder, by a dated name; of those, and of nothing else there, the newest stay."""
    folder = tmp_path / "backups"
    folder.mkdir()
    others = ["notes.txt", "devices.db", "devices-20200101T000000Z.db-wal", "devices-2020.db", "other-20200101T000000Z.db",
              "devices-20209901T000000Z.db", "devices-20200230T000000Z.db", "devices-20200101T000060Z.db",
              "devices- 2020101T000000Z.db"]
    old = [f"devices-2020010{i}T000000Z.db" for i in range(1, 6)]
    for name in others + old:
        (folder / name).write_text("")
    (folder / "devices-20200101T000001Z.db").mkdir()
    killed = [f"{old[0]}.aB3dE6", f"{old[0]}.aB3dE6-journal"]
    for name in [*killed, f"{old[1]}.aB3dE6"]:
        (folder / name).write_text("")
    for name in killed:
        os.utime(folder / name, (0, 0))
    others += ["devices-20200101T000001Z.db", f"{old[1]}.aB3dE6"]  # which may be one that is being written
    said = one_line(on(instance, "backup", f"{folder}/", "--keep", "3").stdout)
    [made] = {path.name for path in folder.iterdir()} - set(others) - set(old)
    assert not any((folder / name).exists() for name in killed)
    assert re.fullmatch(r"devices-\d{8}T\d{6}Z\.db", made) and f"{folder}/{made} is a copy" in said
    assert {path.name for path in folder.iterdir()} == {*others, *old[-2:], made}
    copy = Instance(tmp_path, name="copied")
    assert on(copy, "device", "list", "--set", f"store=file:{folder / made}").stdout == on(instance, "device", "list").stdout
    while (stamp := time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())) in made:
        time.sleep(0.05)
    found = json.loads(on(instance, "backup", folder, "--json").stdout)  # also without the slash
    assert found["backup"] >= f"{folder}/devices-{stamp}.db" and (folder / old[-2]).exists()


def test_as_many_backups_are_kept_as_is_said(instance, tmp_path):
    for day in range(1, 12):
        (tmp_path / f"devices-202001{day:02}T000000Z.db").write_text("")
    for keep in (10, 9, 1):
        on(instance, "backup", tmp_path, "--keep", keep)
        assert len(list(tmp_path.glob("devices-*.db"))) == keep
        time.sleep(1)  # each has a second of its own
    on(instance, "backup", tmp_path, "--keep", 100000)
    one_line(on(instance, "backup", tmp_path, "--keep", 100001, code=USAGE).stderr)


def test_a_backup_stays_though_others_have_later_dates(instance, tmp_path):
    """By a clock that was ahead."""
    for year in (2020, 2098, 2099):
        (tmp_path / f"devices-{year}0101T000000Z.db").write_text("")
    made = json.loads(on(instance, "backup", tmp_path, "--keep", "2", "--json").stdout)["backup"]
    assert {str(path) for path in tmp_path.glob("devices-*.db")} == {made, str(tmp_path / "devices-20990101T000000Z.db")}


@pytest.mark.parametrize("words, code", [
    (["FOLDER/none/"], CANTCREAT), (["FOLDER/file/"], CANTCREAT), (["FOLDER/none/copy.db"], CANTCREAT),
    (["FOLDER/copy.db", "--keep", "3"], USAGE), (["FOLDER/", "--keep", "0"], USAGE), (["FOLDER/", "--keep", "x"], USAGE),
    (["FOLDER/", "--keep", "-1"], USAGE)])
def test_backups_that_can_not_be(instance, tmp_path, words, code):
    (tmp_path / "file").write_text("")
    before = tree(tmp_path)
    said = one_line(on(instance, "backup", *[word.replace("FOLDER", str(tmp_path)) for word in words], code=code).stderr)
    assert "Success" not in said
    assert {name: content for name, content in tree(tmp_path).items() if name in before} == before


def test_a_backup_overwrites_nothing(instance, tmp_path):
    copy = tmp_path / "copy.db"
    assert str(copy) in one_line(on(instance, "backup", copy).stdout)
    before = copy.read_bytes()
    assert str(copy) in one_line(on(instance, "backup", copy, code=CANTCREAT).stderr)
    assert copy.read_bytes() == before
    shutil.copy(copy, instance.folder / "devices.db")
    assert count(instance) == 0


def test_a_server_certificate_for_what_is_no_name(instance, tmp_path):
    on(instance, "ca", "server", "no name", "--out", tmp_path / "out", code=USAGE)
    assert not (tmp_path / "out").exists()


def test_serve_that_waits_for_the_store_ends_when_it_is_told(tmp_path):
    instance = Instance(tmp_path)
    holder = sqlite3.connect(instance.folder / "devices.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    server = subprocess.Popen([program(), "serve", "-c", instance.conf, "--set", "http.listen=127.0.0.1:0",
                               "--set", "ops.listen=off"], env=environment(), stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)  # it is waiting by now; if not, it is as good a moment
        server.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        holder.execute("ROLLBACK")
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
        server.stderr.close()
        holder.close()


def test_init_keeps_the_root_key_where_it_said(tmp_path):
    folder = tmp_path / "instance"
    done = subprocess.run([program(), "init", folder, "--root-key-out", folder / "ca/issuing.key"],
                          env=environment(), capture_output=True)
    assert done.returncode == 64 and b"--root-key-out" in done.stderr
    assert not folder.exists()
    other = tmp_path / "store.db"
    done = subprocess.run([program(), "init", folder], capture_output=True,
                          env=environment(CVM_STORE=f"file:{other}", CVM_PLATFORM="local:/nowhere"))
    assert done.returncode == 0, done.stderr
    assert (folder / "devices.db").exists() and not other.exists()
