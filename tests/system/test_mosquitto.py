"""Devices of a real fleet at a real mosquitto: who gets in, who says what to whom, and what a CRL does."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import time
import types

import pytest

from broker import (MOSQUITTO, RELOAD, Broker, Device, free_port, openssl, reload_script,
                    wait_until)
from cvm_server import Instance, environment, program

pytestmark = pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")

REFUSED = 65


def new_instance(folder, **options):
    return Instance(folder, "--endpoint", f"localhost:{free_port()}", **options)


@pytest.fixture(scope="module")
def fleet(module_path):
    """An instance with its server and its broker, and a back-end that talks with all devices."""
    instance = new_instance(module_path)
    acl = instance.folder / "mosquitto/acl"
    acl.write_text(acl.read_text() + "user thing_BACKEND\ntopic readwrite things/#\n")
    with instance.serve(registration_reissue_after="0s"), Broker(instance) as broker:
        backend = Device.register(instance, "BACKEND")
        yield types.SimpleNamespace(instance=instance, broker=broker, backend=backend)


def register(fleet, uid, **options):
    return Device.register(fleet.instance, uid, **options)


@pytest.fixture
def good_crl(fleet):
    """Puts crl.pem back, as it was, after a test that spoils it."""
    path = fleet.instance.folder / "ca/crl.pem"
    kept = path.read_bytes()
    yield path
    path.write_bytes(kept)


# --- Who says what to whom --------------------------------------------------------------------------


def test_a_device_is_heard_on_its_own_topics(fleet):
    device = register(fleet, "SPEAKER")
    with fleet.broker.subscribe(fleet.backend, "things/#") as backend:
        assert fleet.broker.publish(device, device.topic("deep/er"), "hello")
        backend.wait_for("things/thing_SPEAKER/deep/er hello")


def test_a_device_hears_what_is_sent_to_it(fleet):
    device = register(fleet, "LISTENER")
    with fleet.broker.subscribe(device, device.topic("#")) as own:
        assert fleet.broker.publish(fleet.backend, device.topic("command"), "blink")
        own.wait_for("things/thing_LISTENER/command blink")


def test_a_device_may_not_speak_as_another(fleet):
    victim, thief = register(fleet, "VICTIM1"), register(fleet, "THIEF1")
    with fleet.broker.subscribe(fleet.backend, "things/#") as backend:
        fleet.broker.publish(thief, victim.topic(), "I am VICTIM1")
        fleet.broker.publish(thief, "elsewhere", "anything")
        assert fleet.broker.publish(thief, thief.topic("end"), "after that")
        backend.wait_for("things/thing_THIEF1/end after that")
        assert not [line for line in backend.heard() if "VICTIM1" in line or "elsewhere" in line]


def test_a_device_may_not_listen_to_another(fleet):
    victim, thief = register(fleet, "VICTIM2"), register(fleet, "THIEF2")
    with fleet.broker.subscribe(thief, "things/#", "-t", victim.topic("#"), "-t",
                                thief.topic("#")) as spy:
        assert fleet.broker.publish(victim, victim.topic(), "secret")
        assert fleet.broker.publish(fleet.backend, thief.topic("end"), "after that")
        spy.wait_for("things/thing_THIEF2/end after that")
        assert not [line for line in spy.heard() if "secret" in line]


def test_a_device_cannot_take_the_session_of_another(fleet):
    victim, thief = register(fleet, "VICTIM3"), register(fleet, "THIEF3")
    with fleet.broker.subscribe(victim, victim.topic("#"), "-i", victim.name) as session:
        assert fleet.broker.publish(thief, thief.topic(), "hello", "-i", victim.name)
        assert fleet.broker.publish(thief, thief.topic(), "hello", "-i", victim.name, "-u", victim.name,
                                    "-P", "x")
        time.sleep(0.2)
        assert session.process.poll() is None
    log = fleet.broker.log_text()
    assert "Client thing_VICTIM3 already connected" not in log
    assert "as thing_THIEF3" in log


# --- Who gets in ------------------------------------------------------------------------------------


def test_a_leaf_without_its_chain_is_enough(fleet):
    assert fleet.broker.accepts(register(fleet, "LEAF").leaf_only())


def test_nobody_gets_in_without_a_certificate(fleet):
    device = register(fleet, "BARE")
    device.certificate = None
    assert not fleet.broker.accepts(device)


def other_ca(folder):
    """A CA with the names of ours, and a device of it."""
    folder.mkdir()
    other = Instance(folder)
    key, csr = folder / "key.pem", folder / "csr.pem"
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", csr, "-subj", "/CN=thing_FOREIGN")
    leaf = openssl("x509", "-req", "-in", csr, "-CA", other.folder / "ca/issuing.pem", "-CAkey",
                   other.folder / "ca/issuing.key", "-days", "10")
    return other, leaf + (other.folder / "ca/issuing.pem").read_text(), key.read_text()


def test_a_certificate_of_another_ca_is_refused(fleet, tmp_path):
    _, chain, key = other_ca(tmp_path / "other")
    foreign = Device(tmp_path / "device", "thing_FOREIGN", chain, key,
                     fleet.instance.root_ca.read_text())
    assert not fleet.broker.accepts(foreign)
    assert not fleet.broker.accepts(foreign.leaf_only())


def test_the_server_certificate_does_not_let_in(fleet, tmp_path):
    """It is of the same CA, but for servers."""
    tls = fleet.instance.folder / "tls"
    server = Device(tmp_path, "libcvm server", (tls / "server.pem").read_text(),
                    (tls / "server.key").read_text(), fleet.instance.root_ca.read_text())
    assert not fleet.broker.accepts(server)


# --- Revoked, disabled, issued again ----------------------------------------------------------------


def test_a_revoked_device_is_refused_after_the_reload_and_after_a_restart(fleet):
    device, other = register(fleet, "REVOKED"), register(fleet, "BYSTANDER")
    assert fleet.broker.accepts(device)
    fleet.instance.cvm("device", "revoke", "REVOKED", "--reason", "keyCompromise")
    assert fleet.broker.reload().returncode == 0
    assert not fleet.broker.accepts(device)
    assert not fleet.broker.accepts(device.leaf_only())
    assert fleet.broker.accepts(other)
    fleet.broker.stop()
    fleet.broker.start()
    assert not fleet.broker.accepts(device)
    assert fleet.broker.accepts(other)


def test_a_disabled_device_is_refused_until_it_is_enabled(fleet):
    device = register(fleet, "DISABLED")
    fleet.instance.cvm("device", "disable", "DISABLED")
    fleet.broker.reload(check=True)
    assert not fleet.broker.accepts(device)
    fleet.instance.cvm("device", "enable", "DISABLED")
    fleet.broker.reload(check=True)
    assert fleet.broker.accepts(device)


def certificate_states(instance, uid):
    return sorted(certificate["state"] for certificate in instance.show(uid)["certificates"])


def test_only_the_newest_certificate_of_a_device_gets_in(fleet):
    old = register(fleet, "AGAIN")
    new = register(fleet, "AGAIN", add=False, folder=fleet.instance.folder / "devices/AGAIN.new")
    assert old.certificate.read_text() != new.certificate.read_text()
    wait_until(lambda: certificate_states(fleet.instance, "AGAIN") == ["current", "revoked"],
               "the revocation of the old one")
    fleet.broker.reload(check=True)
    assert not fleet.broker.accepts(old)
    assert fleet.broker.accepts(new)


def test_a_removed_device_is_refused(fleet):
    device = register(fleet, "REMOVED")
    fleet.instance.cvm("device", "remove", "REMOVED", "--force")
    fleet.broker.reload(check=True)
    assert not fleet.broker.accepts(device)


# --- What must not reach the broker -----------------------------------------------------------------


@pytest.fixture(scope="module")
def revoked(fleet):
    """A device that the broker knows to be revoked."""
    device = register(fleet, "SPOILT")
    fleet.instance.cvm("device", "revoke", "SPOILT")
    fleet.broker.reload(check=True)
    assert not fleet.broker.accepts(device)
    return device


def broken_crls(fleet, folder):
    """Name → bytes, or None for no file."""
    good = (fleet.instance.folder / "ca/crl.pem").read_bytes()
    end = b"-----END X509 CRL-----\n"
    issuing, root = good.split(end)[:2]
    other = Instance(folder)
    lines = issuing.splitlines(keepends=True)
    return {
        "missing": None,
        "empty": b"",
        "junk": b"junk\n",
        "cut": good[:len(good) // 3],
        "half": issuing + end + root[:len(root) // 2],
        "without the root's": issuing + end,
        "without the issuing CA's": root + end,
        "flipped": b"".join(lines[:3] + [lines[3][::-1].strip() + b"\n"] + lines[4:]) + end + root + end,
        "with more behind it": good + b"more\n",
        "of another CA": (other.folder / "ca/crl.pem").read_bytes(),
        "with another CA's": good + (other.folder / "ca/crl.pem").read_bytes(),
        "a certificate": fleet.instance.root_ca.read_bytes(),
    }


def test_a_spoilt_crl_never_reaches_the_broker(fleet, revoked, good_crl, tmp_path):
    installed = fleet.instance.folder / "mosquitto/crl.pem"
    before, reloads = installed.read_bytes(), fleet.broker.log_text().count("Reloading config")
    for name, content in broken_crls(fleet, tmp_path).items():
        if content is None:
            good_crl.unlink()
        else:
            good_crl.write_bytes(content)
        done = reload_script(fleet.instance, "--pid", fleet.broker.pid)
        assert done.returncode == REFUSED and str(good_crl) in done.stderr, (name, done.stderr)
        assert installed.read_bytes() == before, name
    assert fleet.broker.log_text().count("Reloading config") == reloads
    assert not fleet.broker.accepts(revoked)
    assert fleet.broker.accepts(fleet.backend)


def test_an_older_crl_does_not_replace_a_newer_one(fleet):
    good_crl = fleet.instance.folder / "ca/crl.pem"
    old = good_crl.read_bytes()
    device = register(fleet, "LATER")
    fleet.instance.cvm("device", "revoke", "LATER")
    fleet.broker.reload(check=True)
    new = good_crl.read_bytes()
    good_crl.write_bytes(old)
    done = fleet.broker.reload()
    good_crl.write_bytes(new)
    assert done.returncode == REFUSED and "older" in done.stderr
    assert not fleet.broker.accepts(device)


@pytest.mark.parametrize("what", ["junk", "key"])
def test_a_spoilt_server_certificate_does_not_close_the_broker(fleet, what, tmp_path):
    path = fleet.instance.folder / "mosquitto/server.pem"
    kept = path.read_bytes()
    fleet.instance.cvm("ca", "server", "localhost", "--out", tmp_path)
    path.write_bytes(b"junk\n" if what == "junk" else (tmp_path / "server.pem").read_bytes())
    try:
        done = fleet.broker.reload()
    finally:
        path.write_bytes(kept)
    assert done.returncode == REFUSED and "server.pem" in done.stderr
    assert fleet.broker.accepts(fleet.backend)


def served_certificate(port):
    text = openssl("s_client", "-connect", f"localhost:{port}", check=False, data="")
    return openssl("x509", "-noout", "-fingerprint", "-sha256", data=text)


def test_a_renewed_server_certificate_is_served_after_the_reload(fleet):
    path = fleet.instance.folder / "mosquitto/server.pem"
    before = served_certificate(fleet.broker.port)
    fleet.instance.cvm("ca", "server", "localhost", "--out", path.parent)
    assert fleet.broker.reload(check=True).stderr.count("told") == 1
    after = served_certificate(fleet.broker.port)
    assert after != before and after == openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256")
    assert fleet.broker.accepts(fleet.backend)


def test_the_broker_is_told_once(fleet):
    fleet.broker.reload(check=True)
    assert fleet.broker.reload(check=True).stderr == ""


def test_only_a_mosquitto_is_signalled(fleet, tmp_path):
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            (fleet.instance.folder / "mosquitto/.told").unlink(missing_ok=True)
            (tmp_path / "pid").write_text(f"{bystander.pid}\n")
            for arguments in (("--pid", bystander.pid), ("--pid-file", tmp_path / "pid"),
                              ("--pid-file", tmp_path / "missing")):
                assert reload_script(fleet.instance, *arguments).returncode == 69
            assert bystander.poll() is None
        finally:
            bystander.kill()
    (tmp_path / "pid").write_text(f"{fleet.broker.pid}\n")
    done = reload_script(fleet.instance, "--pid-file", tmp_path / "pid", check=True)
    assert f"({fleet.broker.pid}) is told" in done.stderr


# --- The next issuing CA ----------------------------------------------------------------------------


def test_devices_of_the_next_issuing_ca_get_in(tmp_path):
    """As soon as the broker is told: it reads chain.pem again, too. The old ones stay."""
    instance = new_instance(tmp_path)
    with instance.serve() as server, Broker(instance) as broker:
        old = Device.register(instance, "OLD")
        instance.cvm("ca", "rotate", "--root-key", instance.folder / "ca/offline/root.key")
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded")
        new = Device.register(instance, "NEW")
        assert not broker.accepts(new.leaf_only())
        broker.reload(check=True)
        for device in (old, new):
            assert broker.accepts(device) and broker.accepts(device.leaf_only())
        for uid in ("OLD", "NEW"):
            instance.cvm("device", "revoke", uid)
        broker.reload(check=True)
        assert not broker.accepts(old) and not broker.accepts(new)


# --- CRLs that end ----------------------------------------------------------------------------------


def frozen_broker(instance):
    """A second broker of the instance, which nobody tells of a new CRL."""
    port = free_port()
    folder = instance.folder / "mosquitto"
    frozen = folder / "frozen.pem"
    shutil.copy(instance.folder / "ca/crl.pem", frozen)
    frozen.chmod(0o644)
    lines = [f"listener {port}" if line.startswith("listener ") else line.replace("mosquitto/crl.pem", "mosquitto/frozen.pem")
             for line in (folder / "mosquitto.conf").read_text().splitlines()]
    configuration = folder / "frozen.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return Broker(instance, configuration)


def seconds_left(crl):
    end = openssl("crl", "-in", crl, "-noout", "-nextupdate").split("=")[1]
    return time.mktime(time.strptime(end.strip(), "%b %d %H:%M:%S %Y GMT")) - time.timezone - time.time()


def test_a_short_crl_is_renewed_and_handed_to_the_broker_before_it_ends(tmp_path):
    """Short means shorter than the hour by which its beginning is set back, too."""
    instance = new_instance(tmp_path)
    pid_file = tmp_path / "pid"
    with Broker(instance) as broker:
        pid_file.write_text(str(broker.pid))
        with instance.serve(ca_crl_validity="10s",
                            ca_crl_command=f"{RELOAD} --pid-file {pid_file} {instance.folder}"):
            device = Device.register(instance, "SHORT")
            wait_until(lambda: seconds_left(instance.folder / "mosquitto/crl.pem") < 11, "the hook")
            with frozen_broker(instance) as frozen:
                assert broker.accepts(device) and frozen.accepts(device)
                time.sleep(seconds_left(instance.folder / "mosquitto/frozen.pem") + 1)
                assert not frozen.accepts(device), "an expired CRL refuses every device"
                assert broker.accepts(device)


def test_the_script_says_when_the_brokers_crl_ends_soon(fleet):
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed")
    end = openssl("crl", "-in", fleet.instance.folder / "ca/crl.pem", "-noout", "-nextupdate")
    year = int(end.split()[3])
    at = {name: reload_script(fleet.instance, wrapper=("faketime", when))
          for name, when in {"early": f"{year - 1}-01-01", "late": f"{end.split('=')[1][:-5]} 2 days ago",
                             "over": f"{year + 1}-01-01"}.items()}
    assert at["early"].returncode == 0, at["early"].stderr
    assert at["late"].returncode == 75 and "ends in 17" in at["late"].stderr, at["late"].stderr
    assert at["over"].returncode == REFUSED and "expired" in at["over"].stderr


# --- A fresh instance -------------------------------------------------------------------------------


def test_a_fresh_instance_works_for_root_and_drops_its_rights(fleet):
    if os.geteuid():
        pytest.skip("not root")
    status = pathlib.Path(f"/proc/{fleet.broker.pid}/status").read_text()
    uid = int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])
    assert uid == pwd.getpwnam("mosquitto").pw_uid
    key = fleet.instance.folder / "mosquitto/server.key"
    assert oct(key.stat().st_mode & 0o777) == "0o640" and key.group() == "mosquitto"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_fresh_instance_works_for_an_ordinary_user(tmp_path):
    user = pwd.getpwnam("nobody")
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "umask": 0o027}
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    cvm = shutil.copy(program(), tmp_path / "cvm")
    folder = home / "instance"
    subprocess.run([cvm, "init", folder, "--endpoint", f"localhost:{free_port()}"], check=True,
                   capture_output=True, env=environment(HOME=str(home)), **as_user)
    instance = types.SimpleNamespace(folder=folder)
    with Broker(instance, **as_user) as broker:
        with socket.create_connection(("127.0.0.1", broker.port), 5):
            pass
        done = reload_script(instance, "--pid", broker.pid, **as_user)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: "Reloading config" in broker.log_text(), "the reload")
        assert "Error" not in broker.log_text()
