"""The local platform: what the CA, its certificates and its CRL are, and what becomes of crl.pem when
writers race, die or fail, and when files are lost."""

import datetime
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from broker import key_id_of, openssl, wait_until
from csr_tools import make_csr
from cvm_server import Instance, clock, environment, is_sanitized, program, scale

USAGE, CANTCREAT, TRY_AGAIN, CONFIG = 64, 73, 75, 78


# --- Looking at certificates ------------------------------------------------------------------------


def text_of(pem):
    return openssl("x509", "-noout", "-text", "-nameopt", "RFC2253", data=pem)


def dates_of(pem):
    """(begin, end), UTC."""
    lines = openssl("x509", "-noout", "-dates", "-dateopt", "iso_8601", data=pem).split("\n")
    return tuple(datetime.datetime.fromisoformat(line.split("=")[1].replace("Z", "+00:00"))
                 for line in lines[:2])


def extension(text, name):
    """(is it critical, its value); None if it is not there."""
    found = re.search(rf"^ *X509v3 {name}: ?(critical)?\s*\n\s*(.*)$", text, re.MULTILINE)
    return (bool(found.group(1)), found.group(2).strip()) if found else None


def serial_of(pem):
    return int(openssl("x509", "-noout", "-serial", data=pem).split("=")[1], 16)


def public_key_of(pem):
    return openssl("x509", "-noout", "-pubkey", data=pem)


def key_id(pem):
    """SHA-1 of the public key's bits (RFC 5280 §4.2.1.2)."""
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], check=True,
                         input=public_key_of(pem).encode(), capture_output=True).stdout
    parsed = subprocess.run(["openssl", "asn1parse", "-inform", "DER"], input=der, check=True,
                            capture_output=True).stdout.decode()
    at, header = re.search(r"^ *(\d+):d=1 +hl=(\d+).*BIT STRING", parsed, re.MULTILINE).groups()
    bits = der[int(at) + int(header) + 1:]  # behind the count of unused bits
    return ":".join(f"{byte:02X}" for byte in hashlib.sha1(bits).digest())


def name_types(pem):
    """The string types of the names in a certificate."""
    parsed = openssl("asn1parse", data=pem)
    return set(re.findall(r"commonName\n.*prim: (\w+)", parsed))


def split_chain(pem):
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem, re.DOTALL)


def verify(instance, pem, purpose):
    """openssl's strictest look at a certificate of this CA with crl.pem. "OK", or why not."""
    ca = instance.folder / "ca"
    out = openssl("verify", "-x509_strict", "-crl_check_all", "-purpose", purpose, "-CAfile",
                  ca / "root.pem", "-untrusted", ca / "issuing.pem", "-CRLfile", ca / "crl.pem",
                  data=pem, check=False)
    return "OK" if out.strip() == "stdin: OK" else out


# --- Looking at the CRL -----------------------------------------------------------------------------


def crl_path(instance):
    return instance.folder / "ca/crl.pem"


def crl_number(path):
    return int(openssl("crl", "-in", path, "-noout", "-crlnumber").strip().split("=")[1], 16)


def crl_entries(path):
    """{serial: reason}; a serial that stands there twice is an error."""
    text = openssl("crl", "-in", path, "-noout", "-text")
    entries = {}
    for part in text.split("Serial Number: ")[1:]:
        serial = int(part.split("\n")[0], 16)
        assert serial not in entries, "listed twice"
        reason = re.search(r"CRL Reason Code: \n\s*(.*)\n", part)
        entries[serial] = reason.group(1).strip() if reason else None
    return entries


def is_good_crl(instance):
    """Both CRLs, of the right CAs, in time."""
    ca = instance.folder / "ca"
    parts = crl_path(instance).read_text().split("-----BEGIN X509 CRL-----")[1:]
    return len(parts) == 2 and all(
        "verify OK" in openssl("crl", "-noout", "-verify", "-CAfile", ca / name, check=False,
                               data="-----BEGIN X509 CRL-----" + part)
        for name, part in zip(("issuing.pem", "root.pem"), parts))


def crl_dates(path):
    """{serial: when it was revoked}."""
    found = re.findall(r"Serial Number: (\w+)\n +Revocation Date: (.*) GMT\n",
                       openssl("crl", "-in", path, "-noout", "-text"))
    return {int(serial, 16): datetime.datetime.strptime(date, "%b %d %H:%M:%S %Y") for serial, date in found}


# --- What the tests start from ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(module_path):
    """An instance with its server, for tests that leave it as it was."""
    instance = Instance(module_path)
    with instance.serve(certificate_validity="50y"):
        yield instance


def register(instance, uid, csr=None, add=True):
    """The certificate, its chain behind it."""
    if add:
        instance.add(uid)
    status, _, body = instance.register(uid, csr=csr)
    assert status == 200, body
    return body["payload"]["certificates"]["device_certificate"]


def registered(instance, *uids):
    """Registers devices by a server that is gone afterwards. {uid: certificate}."""
    with instance.serve():
        return {uid: register(instance, uid) for uid in uids}


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


# --- The hanging command: begun first, looked at last -----------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def hanging(module_path):
    """A `device revoke` whose ca.crl_command hangs. It takes its 30 s while the other tests run."""
    instance = Instance(module_path, name="hanging")
    registered(instance, "HANGING")
    command = f"echo $$ >{instance.folder}/group; sleep 600 & sleep 600"
    with subprocess.Popen([program(), "device", "revoke", "HANGING", "-c", instance.conf, "--set",
                           f"ca.crl_command={command}"], stderr=subprocess.PIPE, env=environment()) as process:
        yield instance, process
        process.kill()
    group = instance.folder / "group"
    if group.exists() and group_lives(int(group.read_text())):
        os.killpg(int(group.read_text()), signal.SIGKILL)


# --- Certificates -----------------------------------------------------------------------------------


def check_common(pem, issuer, subject):
    text = text_of(pem)
    assert "Version: 3 (0x2)" in text
    assert f"Issuer: CN={issuer}" in text and f"Subject: CN={subject}\n" in text
    assert name_types(pem) == {"UTF8STRING"}
    assert "Signature Algorithm: ecdsa-with-SHA256" in text
    assert extension(text, "Subject Key Identifier") == (False, key_id(pem))
    return text


def last_new_year():
    year = datetime.datetime.now(datetime.timezone.utc).year
    return datetime.datetime(year - 1, 1, 1, tzinfo=datetime.timezone.utc)


def years(begin, end):
    return (end - begin).days / 365


def test_the_root(served):
    pem = (served.folder / "ca/root.pem").read_text()
    text = check_common(pem, "libcvm root CA", "libcvm root CA")
    assert extension(text, "Basic Constraints") == (True, "CA:TRUE")
    assert extension(text, "Key Usage") == (True, "Certificate Sign, CRL Sign")
    assert extension(text, "Authority Key Identifier") == (False, key_id(pem))
    begin, end = dates_of(pem)
    assert begin == last_new_year()
    assert 29.9 < years(datetime.datetime.now(datetime.timezone.utc), end) < 30.1
    assert "NIST CURVE: P-256" in text


def test_the_issuing_ca(served):
    ca = served.folder / "ca"
    pem, root = (ca / "issuing.pem").read_text(), (ca / "root.pem").read_text()
    text = check_common(pem, "libcvm root CA", "libcvm issuing CA")
    assert extension(text, "Basic Constraints") == (True, "CA:TRUE, pathlen:0")
    assert extension(text, "Key Usage") == (True, "Certificate Sign, CRL Sign")
    assert extension(text, "Authority Key Identifier") == (False, key_id(root))
    begin, end = dates_of(pem)
    assert begin == last_new_year()
    assert 19.9 < years(datetime.datetime.now(datetime.timezone.utc), end) < 20.1
    assert "NIST CURVE: P-256" in text
    assert (ca / "chain.pem").read_text() == pem + root
    assert verify(served, pem, "any") == "OK"


@pytest.mark.parametrize("folder", ["tls", "mosquitto"])
def test_the_server_certificates(served, folder):
    leaf, *chain = split_chain((served.folder / folder / "server.pem").read_text())
    issuing = (served.folder / "ca/issuing.pem").read_text()
    assert chain == [issuing]
    text = check_common(leaf, "libcvm issuing CA", "libcvm server")
    assert extension(text, "Basic Constraints") == (True, "CA:FALSE")
    assert extension(text, "Key Usage") == (True, "Digital Signature")
    assert extension(text, "Extended Key Usage") == (False, "TLS Web Server Authentication")
    assert extension(text, "Authority Key Identifier") == (False, key_id(issuing))
    assert extension(text, "Subject Alternative Name")[1] == \
        "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"
    begin, end = dates_of(leaf)
    assert begin == last_new_year() and end <= dates_of(issuing)[1]
    assert verify(served, leaf, "sslserver") == "OK"
    key = (served.folder / folder / "server.key").read_text()
    assert openssl("pkey", "-pubout", data=key) == public_key_of(leaf)


def test_a_devices_certificate(served):
    leaf, *chain = split_chain(register(served, "LEAF:01"))
    issuing = (served.folder / "ca/issuing.pem").read_text()
    assert chain == [issuing], "the issuing chain, and no root"
    text = check_common(leaf, "libcvm issuing CA", "thing_LEAF:01")
    assert extension(text, "Basic Constraints") == (True, "CA:FALSE")
    assert extension(text, "Key Usage") == (True, "Digital Signature")
    assert extension(text, "Extended Key Usage") == (False, "TLS Web Client Authentication")
    assert extension(text, "Authority Key Identifier") == (False, key_id(issuing))
    assert len(re.findall(r"X509v3 (?!extensions)", text)) == 5, "and nothing else"
    assert verify(served, leaf, "sslclient") == "OK"
    assert "OK" not in verify(served, leaf, "sslserver")


def test_no_certificate_outlives_its_issuer(served):
    """The server was told to issue for 50 years."""
    leaf = register(served, "LONGLIVED")
    issuing = (served.folder / "ca/issuing.pem").read_text()
    assert dates_of(leaf)[1] == dates_of(issuing)[1]


def test_validity_and_backdate_are_as_configured(tmp_path):
    instance = Instance(tmp_path)
    with instance.serve({"certificate.not_before_backdate": "2h"}, certificate_validity="30d"):
        begin, end = dates_of(register(instance, "DATES"))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert abs((now - begin).total_seconds() - 7200) < 60
    assert abs((end - now).total_seconds() - 30 * 86400) < 60


def test_serials_are_random_and_of_128_bits(served):
    serials = [serial_of(register(served, f"SERIAL{i}")) for i in range(8 * scale())]
    assert len(set(serials)) == len(serials)
    assert all(serial < 2 ** 128 for serial in serials)
    for bits in (0, 64, 120):  # each byte moves
        assert len({serial >> bits & 0xff for serial in serials}) > 1
    assert max(serials) >= 2 ** 124, "the chance of that is 2^-32"


@pytest.mark.parametrize("kind", ["P-256", "P-384", "2048", "4096"])
def test_a_certificate_has_the_key_of_its_csr(served, tmp_path, kind):
    algorithm = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"] if "P" in kind else \
        ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind}"]
    key = tmp_path / "key.pem"
    openssl("genpkey", *algorithm, "-out", key)
    csr = openssl("req", "-new", "-key", key, "-subj", "/CN=whatever")
    leaf = split_chain(register(served, f"CSR-{kind}", csr))[0]
    assert public_key_of(leaf) == openssl("pkey", "-in", key, "-pubout")
    check_common(leaf, "libcvm issuing CA", f"thing_CSR-{kind}")
    assert verify(served, leaf, "sslclient") == "OK"


# --- The CRL ----------------------------------------------------------------------------------------


def test_the_first_crl(served):
    assert is_good_crl(served) and crl_entries(crl_path(served)) == {}
    assert mode(crl_path(served)) == "0o644"
    end = openssl("crl", "-in", crl_path(served), "-noout", "-nextupdate").split("=")[1]
    assert end == openssl("x509", "-in", served.folder / "ca/issuing.pem", "-noout",
                          "-enddate").split("=")[1]


def test_the_crl_lists_what_is_revoked_and_suspended_and_why(tmp_path):
    instance = Instance(tmp_path)
    reasons = {"unspecified": None, "keyCompromise": "Key Compromise", "superseded": "Superseded",
               "cessationOfOperation": "Cessation Of Operation",
               "privilegeWithdrawn": "Privilege Withdrawn",
               "affiliationChanged": "Affiliation Changed"}
    if scale() == 1:
        reasons = dict(list(reasons.items())[:2])
    wanted = {}
    with instance.serve():
        instance.import_csv([*reasons, "held", "removed", "good"])
        serials = {uid: serial_of(register(instance, uid, add=False))
                   for uid in (*reasons, "held", "removed", "good")}
    for reason, name in reasons.items():
        instance.cvm("device", "revoke", reason, "--reason", reason)
        wanted[serials[reason]] = name
        assert crl_entries(crl_path(instance)) == wanted, "when the command returns"
    instance.cvm("device", "disable", "held")
    wanted[serials["held"]] = "Certificate Hold"
    assert crl_entries(crl_path(instance)) == wanted
    instance.cvm("device", "remove", "removed", "--force")
    wanted[serials["removed"]] = "Cessation Of Operation"
    assert crl_entries(crl_path(instance)) == wanted
    instance.cvm("device", "revoke", "held", "--reason", "keyCompromise")
    wanted[serials["held"]] = "Key Compromise"
    assert crl_entries(crl_path(instance)) == wanted, "revoked, and not held any more"
    assert is_good_crl(instance) and mode(crl_path(instance)) == "0o644"


def utc_s():
    return datetime.datetime.utcnow().replace(microsecond=0)


def test_the_crl_says_when_each_was_revoked(tmp_path):
    """Not when the CRL was made; of what is held it is all that is known."""
    instance = Instance(tmp_path)
    uids = ["REVOKED", "LONG-AGO", "HELD"]
    serials = {uid: serial_of(pem) for uid, pem in registered(instance, *uids).items()}
    began = utc_s()
    for uid in uids[:2]:
        instance.cvm("device", "revoke", uid)
    assert all(began <= date <= utc_s() for date in crl_dates(crl_path(instance)).values())
    with sqlite3.connect(instance.folder / "devices.db") as database:
        kept_s, = database.execute("SELECT revoked_at / 1000 FROM certificates WHERE device_uid = 'REVOKED'").fetchone()
        database.execute("UPDATE certificates SET revoked_at = 1700000000999 WHERE device_uid = 'LONG-AGO'")
    database.close()
    began = utc_s()
    instance.cvm("device", "disable", "HELD")
    dates = crl_dates(crl_path(instance))
    assert dates[serials["REVOKED"]] == datetime.datetime.utcfromtimestamp(kept_s)
    assert dates[serials["LONG-AGO"]] == datetime.datetime(2023, 11, 14, 22, 13, 20)
    assert began <= dates[serials["HELD"]] <= utc_s()


def test_enable_takes_a_certificate_off_the_crl(tmp_path):
    instance = Instance(tmp_path)
    serial = serial_of(registered(instance, "HELD")["HELD"])
    instance.cvm("device", "disable", "HELD")
    assert crl_entries(crl_path(instance)) == {serial: "Certificate Hold"}
    instance.cvm("device", "enable", "HELD")
    assert crl_entries(crl_path(instance)) == {}


def test_the_number_never_goes_back(tmp_path):
    instance = Instance(tmp_path)
    path, database, kept = crl_path(instance), instance.folder / "devices.db", tmp_path / "backup.db"
    numbers = [crl_number(path)]

    def publish():
        instance.cvm("ca", "crl")
        numbers.append(crl_number(path))

    publish()
    instance.cvm("backup", kept)
    first = path.read_bytes()
    publish()
    path.unlink()
    publish()
    shutil.copy(kept, database)  # an older database
    publish()
    shutil.copy(kept, database)  # and an older crl.pem, too
    path.write_bytes(first)
    time.sleep(2)  # then only the clock knows better
    publish()
    assert numbers == sorted(set(numbers)), numbers


@pytest.mark.parametrize("spoilt", ["missing", "empty", "junk", "cut", "foreign"])
def test_a_broken_crl_is_repaired(tmp_path, spoilt):
    instance = Instance(tmp_path)
    path = crl_path(instance)
    good = path.read_bytes()

    def spoil():
        if spoilt == "foreign":
            path.write_bytes(foreign)
        elif spoilt == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "junk": b"junk", "cut": good[:len(good) * 2 // 3]}[spoilt])

    foreign = crl_path(Instance(tmp_path, name="other")).read_bytes() if spoilt == "foreign" else b""
    spoil()
    assert instance.cvm("ca", "show", check=False).returncode == CONFIG
    instance.cvm("ca", "crl")
    assert is_good_crl(instance)
    spoil()
    with instance.serve():  # by the server's start, too
        wait_until(lambda: path.exists() and is_good_crl(instance), "the repair")


def test_a_crl_that_could_not_be_verified_is_not_written(tmp_path):
    instance = Instance(tmp_path)
    registered(instance, "DEVICE")
    (instance.folder / "ca/root.crl.pem").write_text("junk")
    before = crl_path(instance).read_bytes()
    done = instance.cvm("device", "revoke", "DEVICE", check=False)
    assert done.returncode == TRY_AGAIN and b"root.crl.pem" in done.stderr
    assert crl_path(instance).read_bytes() == before


def test_another_validity_is_taken_at_the_next_start(tmp_path):
    instance = Instance(tmp_path)

    def end_after(validity):
        before = crl_number(crl_path(instance))
        with instance.serve(ca_crl_validity=validity):
            wait_until(lambda: crl_number(crl_path(instance)) > before, "a new CRL")
        return openssl("crl", "-in", crl_path(instance), "-noout", "-nextupdate")

    week = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=7)
    assert week.strftime("%b %e") in end_after("7d")
    assert str(week.year + 20) in end_after("0"), "it would else end after a week, and with it the fleet"


def test_a_validity_that_is_too_short_is_refused(tmp_path):
    done = Instance(tmp_path).cvm("serve", "--set", "ca.crl_validity=9s", check=False)
    assert done.returncode == CONFIG and b"ca.crl_validity" in done.stderr


# --- Writers that race, die, and fail ---------------------------------------------------------------


def test_many_writers_make_one_crl_a_second_each_with_a_number_of_its_own(tmp_path):
    instance = Instance(tmp_path)
    uids = [f"RACE{i}" for i in range(2 + scale())]
    kept = tmp_path / "kept"
    kept.mkdir()
    command = f"cp -p {crl_path(instance)} {kept}/$(date +%s%N).$$"
    settings = ("--set", f"ca.crl_command={command}")
    with instance.serve(ca_crl_command=command) as server:
        instance.import_csv(uids)
        serials = {serial_of(register(instance, uid, add=False)) for uid in uids}
        threads = [threading.Thread(target=instance.cvm, args=("device", "revoke", uid, *settings))
                   for uid in uids]
        for thread in threads:
            thread.start()
        for _ in range(10):  # the server writes, too
            server.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        for thread in threads:
            thread.join()
    assert set(crl_entries(crl_path(instance))) == serials
    versions = {path.read_bytes(): path for path in sorted(kept.iterdir())}
    by_number = sorted(versions.values(), key=crl_number)
    numbers = [crl_number(path) for path in by_number]
    assert len(set(numbers)) == len(numbers), "two CRLs of one number"
    times = [path.stat().st_mtime for path in by_number]
    assert times == sorted(times)
    assert all(b - a > 0.95 for a, b in zip(times, times[1:])), "the clock of files ticks coarsely"
    sizes = [len(crl_entries(path)) for path in by_number]
    assert sizes == sorted(sizes), "what was revoked stays so"


def test_one_writer_waits_for_another(tmp_path):
    instance = Instance(tmp_path)
    instance.cvm("ca", "crl")
    before = crl_number(crl_path(instance))
    with open(instance.folder / "ca/.crl.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([program(), "ca", "crl", "-c", instance.conf], env=environment(),
                              stdout=subprocess.DEVNULL) as process:
            time.sleep(1.5)
            assert process.poll() is None and crl_number(crl_path(instance)) == before
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert process.wait(30) == 0
    assert crl_number(crl_path(instance)) > before


@pytest.mark.parametrize("call", ["renameat", "fsync"])
def test_a_killed_writer_leaves_the_old_file(tmp_path, call):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    instance = Instance(tmp_path)
    path = crl_path(instance)
    before = path.read_bytes()
    script = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path.parent), "-e",
              f"inject={call}:signal=KILL", program(), "ca", "crl", "-c", str(instance.conf)]
    if call == "renameat":
        del script[5:7]  # it is known by its own paths
    done = subprocess.run(script, capture_output=True, check=False, env=environment(), timeout=60)
    if b"Operation not permitted" in done.stderr:
        pytest.skip("ptrace is not permitted")
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done
    if call == "renameat":
        assert path.read_bytes() == before
    assert is_good_crl(instance)
    instance.cvm("ca", "crl")
    assert is_good_crl(instance) and path.read_bytes() != before


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    instance = Instance(tmp_path)
    registered(instance, "DEVICE")
    shutil.rmtree(instance.folder / "ca/offline")
    hidden = instance.folder / "ca/.crl.lock"
    hidden.unlink(missing_ok=True)
    hidden.mkdir()  # also root can't open that as a file
    done = instance.cvm("device", "revoke", "DEVICE", check=False)
    assert done.returncode == TRY_AGAIN
    assert b".crl.lock" in done.stderr and b"recorded, but not carried out" in done.stderr
    hidden.rmdir()
    instance.cvm("device", "revoke", "DEVICE")
    assert len(crl_entries(crl_path(instance))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_command_of_roots_does_not_shut_the_server_out(tmp_path):
    instance = Instance(tmp_path)
    user = 65534
    for path in (instance.folder, *instance.folder.rglob("*")):
        os.chown(path, user, user)
    (instance.folder / "ca/.crl.lock").unlink(missing_ok=True)
    instance.cvm("ca", "crl")
    assert (instance.folder / "ca/.crl.lock").stat().st_uid == user


# --- ca.crl_command ---------------------------------------------------------------------------------


def is_handed_over(instance):
    """As the server notes it once the command has succeeded."""
    digest = hashlib.sha256(crl_path(instance).read_bytes()).hexdigest()
    return (instance.folder / "ca/.crl.lock").read_text() == digest


def test_the_command_runs_after_each_change(tmp_path):
    instance = Instance(tmp_path)
    registered(instance, "DEVICE")
    log = tmp_path / "log"
    settings = ("--set", f"ca.crl_command=sha256sum <{crl_path(instance)} >>{log}; echo said")

    def last_line():
        return log.read_text().splitlines()[-1]

    def digest():
        return subprocess.run(["sha256sum"], stdin=crl_path(instance).open(), check=True,
                              capture_output=True, text=True).stdout.strip()

    lines = 0
    for verb in ("disable", "enable", "revoke"):
        done = instance.cvm("device", verb, "DEVICE", *settings)
        before, lines = lines, len(log.read_text().splitlines())
        assert lines > before and last_line() == digest()
        assert b"said" not in done.stdout, "what the command says is none of ours"
        assert b"said" in done.stderr


def test_a_failing_command_is_reported_and_run_again(tmp_path):
    instance = Instance(tmp_path)
    registered(instance, "DEVICE")
    flag, log = tmp_path / "flag", tmp_path / "log"
    command = f"echo run >>{log}; test -e {flag}"
    done = instance.cvm("device", "revoke", "DEVICE", "--set", f"ca.crl_command={command}", check=False)
    assert done.returncode == TRY_AGAIN and b"ca.crl_command failed" in done.stderr
    assert len(crl_entries(crl_path(instance))) == 1, "crl.pem is new all the same"
    assert instance.show("DEVICE")["certificates"][0]["state"] == "retiring"
    with instance.serve(ca_crl_command=command) as server:
        server.wait_for_log("ca.crl_command failed")
        flag.touch()
        wait_until(lambda: instance.show("DEVICE")["certificates"][0]["state"] == "revoked",
                   "what the server does again")


def test_a_crl_that_was_lost_is_handed_over_again(tmp_path):
    """The broker may have been started without it, and then takes whom it should refuse."""
    instance = Instance(tmp_path)
    log = tmp_path / "log"
    with instance.serve(ca_crl_command=f"echo run >>{log}", ca_crl_validity="10s"):  # looks each 1.25 s
        wait_until(lambda: log.exists() and is_handed_over(instance), "the start's")
        lines = len(log.read_text().splitlines())
        crl_path(instance).unlink()
        wait_until(lambda: crl_path(instance).exists() and len(log.read_text().splitlines()) > lines, "the command")


def test_the_command_has_usual_signals(tmp_path):
    instance = Instance(tmp_path)
    registered(instance, "DEVICE")
    out = tmp_path / "status"
    instance.cvm("device", "revoke", "DEVICE", "--set",
                 f"ca.crl_command=grep -E '^Sig(Blk|Ign)' /proc/self/status >{out}")
    usual = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD}
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job of a shell
        usual.discard(signal.SIGINT)
    for bits in re.findall(r"\t(\w+)", out.read_text()):
        assert not [number for number in usual if int(bits, 16) >> number - 1 & 1]


# --- Reloading, stopping ----------------------------------------------------------------------------


def test_a_reload_during_a_publication_is_not_lost(tmp_path):
    instance = Instance(tmp_path)
    started = tmp_path / "started"
    with instance.serve(ca_crl_command=f"touch {started}; sleep 1") as server:
        wait_until(lambda: started.exists() and is_handed_over(instance), "the start's")
        started.unlink()
        before = crl_number(crl_path(instance))
        server.send_signal(signal.SIGHUP)
        wait_until(started.exists, "the command")
        first = crl_number(crl_path(instance))
        assert first > before
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: crl_number(crl_path(instance)) > first, "the second reload's CRL")


def test_a_stop_waits_for_the_publication(tmp_path):
    instance = Instance(tmp_path)
    started, ended = tmp_path / "started", tmp_path / "ended"
    with instance.serve(ca_crl_command=f"touch {started}; sleep 1; touch {ended}") as server:
        server.send_signal(signal.SIGHUP)
        wait_until(started.exists, "the command")
        server.stop()
        assert ended.exists()
    assert is_good_crl(instance)


# --- The next issuing CA ----------------------------------------------------------------------------


def rotate(instance, *more, **options):
    return instance.cvm("ca", "rotate", "--root-key", instance.folder / "ca/offline/root.key", *more, **options)


def issuing_ids(instance):
    """Those in chain.pem, without the root."""
    chain = (instance.folder / "ca/chain.pem").read_text().split("-----BEGIN")[1:-1]
    return [fingerprint("-----BEGIN" + part) for part in chain]


def has_good_crls(instance):
    """One of each of the issuing CAs, and the root's."""
    ca = instance.folder / "ca"
    return all("OK" in openssl("verify", "-x509_strict", "-crl_check_all", "-CAfile", ca / "chain.pem", "-CRLfile", ca / "crl.pem",
                               path, check=False) for path in ca.glob("issuing*.pem"))


def test_a_device_keeps_its_certificate_when_the_issuing_ca_is_rotated(tmp_path):
    """And is answered the same again, with that one's chain."""
    instance = Instance(tmp_path)
    csr = make_csr()
    with instance.serve():
        instance.add("DEVICE")
        first = instance.register("DEVICE", csr=csr)[2]["payload"]["certificates"]["device_certificate"]
        rotate(instance)
        instance.server.send_signal(signal.SIGHUP)
        instance.server.wait_for_log("reloaded")
        again = instance.register("DEVICE", csr=csr)[2]["payload"]["certificates"]["device_certificate"]
        assert again == first
        assert instance.server.is_tls and instance.register("DEVICE", csr=csr)[0] == 200, "its own certificate is the old CA's"
    issuing = (instance.folder / "ca/issuing.pem").read_text()
    assert issuing not in first and len(issuing_ids(instance)) == 2


def test_a_rotation_that_is_killed_is_finished_by_the_next(tmp_path):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    instance = Instance(tmp_path)
    kept = tmp_path / "kept"
    instance.cvm("ca", "crl")
    shutil.copytree(instance.folder, kept)
    for nth in range(1, 20):
        shutil.rmtree(instance.folder)
        shutil.copytree(kept, instance.folder)
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=renameat:signal=KILL:when={nth}",
                               program(), "ca", "rotate", "--root-key", instance.folder / "ca/offline/root.key", "-c",
                               str(instance.conf)], capture_output=True, check=False,
                              env=environment(ASAN_OPTIONS="detect_leaks=0"), timeout=60)
        if b"Operation not permitted" in done.stderr:
            pytest.skip("ptrace is not permitted")
        if not done.returncode:
            break
        instance.cvm("ca", "show")
        with instance.serve():
            wait_until(lambda: has_good_crls(instance), "good CRLs")
        rotate(instance)
        assert len(issuing_ids(instance)) == 2 and has_good_crls(instance), f"killed at {nth}"
        assert (instance.folder / "ca/issuing.pem").read_bytes() != (kept / "ca/issuing.pem").read_bytes()
    assert 7 <= nth < 19, "key, certificate, chain, CRL, and the four of the switch"


def test_a_rotation_wants_the_roots_key(tmp_path):
    instance = Instance(tmp_path)
    before = sorted(path.name for path in (instance.folder / "ca").iterdir())
    assert instance.cvm("ca", "rotate", check=False).returncode == USAGE
    for path, why in ((instance.folder / "ca/issuing.key", b"not the key of root.pem"), (instance.conf, b"can't be read"),
                      (tmp_path / "nothing", b"No such file")):
        done = instance.cvm("ca", "rotate", "--root-key", path, check=False)
        assert done.returncode == 69 and why in done.stderr, done
    assert sorted(path.name for path in (instance.folder / "ca").iterdir()) == before
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("open sesame\n")
    encrypted = Instance(tmp_path, "--root-passphrase-file", passphrase, name="encrypted")
    done = rotate(encrypted, check=False)
    assert done.returncode == 69 and b"--root-passphrase-file" in done.stderr
    assert json.loads(rotate(encrypted, "--root-passphrase-file", passphrase, "--json").stdout)["issuing"]


# --- For brokers that fetch -------------------------------------------------------------------------


BASE = "http://ca.example.com:8080/ca"


def fetch(port, path, method="GET"):
    """(status, media type, content) by plain HTTP."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def crl_text(data, form="PEM"):
    return subprocess.run(["openssl", "crl", "-inform", form, "-noout", "-text", "-crlnumber"], input=data, check=True,
                          capture_output=True).stdout.decode()


def test_crls_are_served(tmp_path):
    instance = Instance(tmp_path)
    ca = instance.folder / "ca"
    issuer = key_id_of(ca / "issuing.pem")
    instance.cvm("ca", "crl")
    with instance.serve_plain({"ca.listen": "127.0.0.1:0"}) as server:
        port = server.port_of("ca")
        wait_until(lambda: fetch(port, "/ca/crl.pem")[0] == 200, "the first publication")
        for at in (port, server.port):
            assert fetch(at, "/ca/crl.pem")[2] == crl_path(instance).read_bytes()
            status, media_type, root = fetch(at, "/ca/root.crl")
            assert (status, media_type) == (200, "application/pkix-crl") and "libcvm root CA" in crl_text(root, "DER")
            assert fetch(at, "/ca/root.pem")[2] == (ca / "root.pem").read_bytes()
            pem, der = (fetch(at, f"/ca/crl/{issuer}.{form}")[2] for form in ("pem", "crl"))
            assert crl_text(pem) == crl_text(der, "DER") and pem in crl_path(instance).read_bytes()
            assert fetch(at, f"/ca/crl/{issuer}.crl", "HEAD")[::2] == (200, b"")
            assert fetch(at, f"/ca/crl/{issuer}.crl", "DELETE")[0] == 405
            for path in ("/ca/", "/ca/issuing.key", "/ca/../cvm.conf", "/ca", f"/ca/crl/{issuer}"):
                assert fetch(at, path)[0] == 404, path
        assert fetch(port, "/registration", "POST")[0] == 404
        assert fetch(server.ops_port, "/ca/crl.pem")[0] == 404
        before = fetch(port, "/ca/crl.pem")[2]
        instance.cvm("ca", "crl")
        wait_until(lambda: fetch(port, "/ca/crl.pem")[2] == crl_path(instance).read_bytes() != before, "the newer one", 5)


def test_a_served_crl_names_the_url_that_certificates_name(tmp_path):
    """A copy that is signed anew; crl.pem does not, or a leaf without the URL would be refused by it."""
    instance = Instance(tmp_path, "--crl-url", BASE)
    ca = instance.folder / "ca"
    url = f"{BASE}/crl/{key_id_of(ca / 'issuing.pem')}.crl"
    assert f"URI:{BASE}/root.crl" in openssl("x509", "-in", ca / "issuing.pem", "-noout", "-ext", "crlDistributionPoints")
    with instance.serve_plain({"ca.crl_url": ""}):
        without = register(instance, "WITHOUT", add=True)
    leaf, plain = tmp_path / "leaf.pem", tmp_path / "plain.pem"
    plain.write_text(openssl("x509", data=without))
    assert "CRL Distribution" not in text_of(without)
    with instance.serve_plain({"ca.listen": "127.0.0.1:0"}) as server:
        port = server.port_of("ca")
        leaf.write_text(openssl("x509", data=register(instance, "DEVICE", add=True)))
        assert f"URI:{url}" in openssl("x509", "-in", leaf, "-noout", "-ext", "crlDistributionPoints")
        path = url.removeprefix("http://ca.example.com:8080")
        wait_until(lambda: fetch(port, path)[0] == 200, "the first publication")
        served, root = fetch(port, path.replace(".crl", ".pem"))[2], fetch(port, "/ca/root.crl")[2]
        assert "X509v3 Issuing Distribution Point: critical" in crl_text(served) and url in crl_text(served)
        assert "Issuing Distribution" not in crl_text(crl_path(instance).read_bytes())
        assert f"crlNumber=0x{crl_number(crl_path(instance)):X}" in crl_text(served)
        fetched = tmp_path / "fetched.pem"
        fetched.write_bytes(served + subprocess.run(["openssl", "crl", "-inform", "DER"], input=root, check=True,
                                                    capture_output=True).stdout)

        def verify(certificate, crls):
            return openssl("verify", "-x509_strict", "-crl_check_all", "-CAfile", ca / "root.pem", "-untrusted", ca / "issuing.pem",
                           "-CRLfile", crls, certificate, check=False)

        assert "OK" in verify(leaf, fetched) and "OK" in verify(leaf, crl_path(instance))
        assert "OK" in verify(plain, crl_path(instance))
        assert "different CRL scope" in verify(plain, fetched)
        instance.cvm("device", "revoke", "DEVICE", "--reason", "keyCompromise")
        wait_until(lambda: "Key Compromise" in crl_text(fetch(port, path.replace(".crl", ".pem"))[2]), "the revocation", 5)
    instance.cvm("ca", "rotate", "--root-key", ca / "offline/root.key")
    assert f"URI:{BASE}/root.crl" in openssl("x509", "-in", ca / "issuing.pem", "-noout", "-ext", "crlDistributionPoints")


@pytest.mark.parametrize("url", ["http://ca.example.com/", "ca/%KEY_ID%.crl", "http://a/%KEY_ID%/%KEY_ID%", "http://a b/%KEY_ID%"])
def test_a_url_that_can_not_be_is_refused(tmp_path, url):
    instance = Instance(tmp_path)
    done = instance.cvm("serve", "--set", f"ca.crl_url={url}", check=False)
    assert done.returncode == CONFIG and b"ca.crl_url must be a URL" in done.stderr
    done = instance._run("init", tmp_path / "other", "--crl-url", url, check=False)
    assert done.returncode == (USAGE if "%" in url or " " in url else 0)


# --- Server certificates ----------------------------------------------------------------------------


def fingerprint(pem):
    return openssl("x509", "-noout", "-fingerprint", "-sha256", data=pem)


def served_certificate(port):
    return openssl("s_client", "-connect", f"localhost:{port}", check=False, data="")


def make_old(instance, folder, days, names="DNS:localhost,DNS:cvm.example,IP:127.0.0.1,IP:2001:db8::1"):
    """Replaces a server's certificate by one of the same CA and key that ends soon."""
    ca, path = instance.folder / "ca", instance.folder / folder
    csr = openssl("req", "-new", "-key", path / "server.key", "-subj", "/CN=libcvm server", "-addext",
                  f"subjectAltName={names}")
    old = openssl("x509", "-req", "-CA", ca / "issuing.pem", "-CAkey", ca / "issuing.key", "-days", days,
                  "-copy_extensions", "copy", data=csr)
    (path / "server.pem").write_text(old + (ca / "issuing.pem").read_text())
    return old


def test_a_brokers_certificate_that_is_none_is_told(tmp_path):
    instance = Instance(tmp_path)
    (instance.folder / "mosquitto/server.pem").write_text("no certificate")
    with instance.serve():
        instance.server.wait_for_log("mosquitto/server.pem could not be renewed: it can't be read as a certificate")
    assert (instance.folder / "mosquitto/server.pem").read_text() == "no certificate"


@pytest.mark.parametrize("days,is_renewed", [(110, True), (1, True), (130, False)])
def test_serve_renews_its_certificate_and_the_brokers(tmp_path, days, is_renewed):
    instance = Instance(tmp_path)
    old = {folder: make_old(instance, folder, days) for folder in ("tls", "mosquitto")}
    with instance.serve() as server:
        now = served_certificate(server.port)
        assert (fingerprint(now) != fingerprint(old["tls"])) == is_renewed
    for folder, before in old.items():
        after = (instance.folder / folder / "server.pem").read_text()
        assert (fingerprint(after) != fingerprint(before)) == is_renewed
        assert server.stderr.count(f"{folder}/server.pem is renewed") == is_renewed
        if is_renewed:
            assert public_key_of(after) == public_key_of(before)
            assert extension(text_of(after), "Subject Alternative Name") == \
                extension(text_of(before), "Subject Alternative Name")
            assert years(datetime.datetime.now(datetime.timezone.utc), dates_of(after)[1]) > 0.99
            assert verify(instance, split_chain(after)[0], "sslserver") == "OK"
            assert mode(instance.folder / folder / "server.pem") == "0o644"


def test_a_certificate_of_another_ca_is_left_alone(tmp_path):
    instance, other = Instance(tmp_path), Instance(tmp_path, name="other")
    make_old(other, "tls", 10)
    for file in ("server.pem", "server.key"):
        shutil.copy(other.folder / "tls" / file, instance.folder / "tls" / file)
    before = (instance.folder / "tls/server.pem").read_bytes()
    with instance.serve():
        pass
    assert (instance.folder / "tls/server.pem").read_bytes() == before


def test_serve_renews_nine_months_from_now(tmp_path):
    if not shutil.which("faketime") or is_sanitized():
        pytest.skip("needs faketime and a build without sanitizers")
    instance = Instance(tmp_path)
    before = (instance.folder / "tls/server.pem").read_text()
    with instance.serve(env=clock("+270d")):
        wait_until(lambda: (instance.folder / "tls/server.pem").read_text() != before, "the renewal")
    after = (instance.folder / "tls/server.pem").read_text()
    assert (dates_of(after)[1] - dates_of(before)[1]).days in (269, 270)


def test_ca_server_makes_certificates_for_other_servers(tmp_path):
    instance = Instance(tmp_path)
    out = tmp_path / "out"
    names = ("broker.example", "*.sub.example", "192.0.2.7", "2001:db8::7")
    done = instance.cvm("ca", "server", *names, "--out", out)
    assert done.stdout.decode().split() == [str(out / "server.pem"), str(out / "server.key")]
    leaf = split_chain((out / "server.pem").read_text())[0]
    assert extension(text_of(leaf), "Subject Alternative Name")[1] == (
        "DNS:broker.example, DNS:*.sub.example, IP Address:192.0.2.7, "
        "IP Address:2001:DB8:0:0:0:0:0:7")
    assert verify(instance, leaf, "sslserver") == "OK"
    assert (mode(out / "server.key"), mode(out / "server.pem")) == ("0o600", "0o644")
    key = (out / "server.key").read_bytes()
    instance.cvm("ca", "server", "broker.example", "--out", out)
    assert (out / "server.key").read_bytes() == key, "a key that is there is kept"


@pytest.mark.parametrize("name", ["", "a b", "a,DNS:b", "http://x", "über.example", "x" * 254])
def test_ca_server_refuses_what_is_no_name(tmp_path, name):
    instance = Instance(tmp_path)
    done = instance.cvm("ca", "server", "good.example", name, "--out", tmp_path / "out", check=False)
    assert done.returncode and not (tmp_path / "out/server.pem").exists()


# --- cvm init ---------------------------------------------------------------------------------------


def init(*arguments, **options):
    return subprocess.run([program(), "init", *map(str, arguments)], capture_output=True, check=False,
                          env=environment(), **options)


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = init(tmp_path)
    assert done.returncode == CANTCREAT and b"not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    done = init(tmp_path / "file")
    assert done.returncode == CANTCREAT and (tmp_path / "file").read_text() == "mine"
    done = init(tmp_path / "new", "--root-key-out", tmp_path / "file")
    assert done.returncode == CANTCREAT and (tmp_path / "file").read_text() == "mine"


def test_init_needs_a_folder_that_it_can_write(tmp_path):
    assert init(tmp_path / "missing/new").returncode == CANTCREAT
    assert init("/proc/cvm").returncode == CANTCREAT


CONTRACT_MODES = {
    ".": "0o755", "ca": "0o755", "tls": "0o755", "mosquitto": "0o755", "ca/offline": "0o700",
    "ca/root.pem": "0o644", "ca/issuing.pem": "0o644", "ca/chain.pem": "0o644", "ca/crl.pem": "0o644",
    "ca/issuing.key": "0o600", "ca/offline/root.key": "0o600", "tls/server.pem": "0o644",
    "tls/server.key": "0o600", "mosquitto/server.pem": "0o644", "mosquitto/mosquitto.conf": "0o644",
    "mosquitto/acl": "0o644", "mosquitto/crl.pem": "0o644", "cvm.conf": "0o644"}


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    folder = tmp_path / "new"
    assert init(folder, umask=umask).returncode == 0
    assert {name: mode(folder / name) for name in CONTRACT_MODES} == CONTRACT_MODES
    assert mode(folder / "mosquitto/server.key") in ("0o600", "0o640")
    assert mode(folder / "devices.db") in ("0o600", "0o640"), "token hashes are nobody else's"
    before = crl_number(folder / "ca/crl.pem")
    done = subprocess.run([program(), "ca", "crl", "-c", folder / "cvm.conf"], umask=umask, check=False,
                          capture_output=True, env=environment())
    assert done.returncode == 0 and crl_number(folder / "ca/crl.pem") > before
    assert mode(folder / "ca/crl.pem") == "0o644"


def test_the_roots_key_goes_where_it_is_told_and_is_encrypted(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    key = tmp_path / "root.key"
    done = init(tmp_path / "new", "--root-key-out", key, "--root-passphrase-file", secret)
    assert done.returncode == 0 and str(key).encode() in done.stdout
    assert not (tmp_path / "new/ca/offline").exists() and mode(key) == "0o600"
    assert "ENCRYPTED" in key.read_text()
    public = openssl("pkey", "-in", key, "-passin", "pass:correct horse", "-pubout")
    assert public == public_key_of((tmp_path / "new/ca/root.pem").read_text())
    assert "PRIVATE" not in openssl("pkey", "-in", key, "-passin", "pass:wrong", check=False)
    secret.write_text("")
    assert init(tmp_path / "other", "--root-passphrase-file", secret).returncode == 65


@pytest.mark.parametrize("endpoint,told,port,name", [
    ("broker.example", "broker.example", "8883", "DNS:broker.example"),
    ("broker.example:8883", "broker.example", "8883", "DNS:broker.example"),
    ("broker.example:1884", "broker.example:1884", "1884", "DNS:broker.example"),
    ("192.0.2.1:1884", "192.0.2.1:1884", "1884", "IP Address:192.0.2.1"),
    ("[2001:db8::1]", "[2001:db8::1]", "8883", "IP Address:2001:DB8:0:0:0:0:0:1"),
    ("[2001:db8::1]:1884", "[2001:db8::1]:1884", "1884", "IP Address:2001:DB8:0:0:0:0:0:1"),
])
def test_forms_of_an_endpoint(tmp_path, endpoint, told, port, name):
    assert init(tmp_path / "new", "--endpoint", endpoint).returncode == 0
    conf = (tmp_path / "new/cvm.conf").read_text().splitlines()
    assert f"mqtt.endpoint = {told}" in conf
    broker = (tmp_path / "new/mosquitto/mosquitto.conf").read_text().splitlines()
    assert f"listener {port}" in broker
    names = extension(text_of((tmp_path / "new/mosquitto/server.pem").read_text()),
                      "Subject Alternative Name")[1].split(", ")
    assert name in names


@pytest.mark.parametrize("endpoint", ["", ":1883", "host:", "host:0", "host:65536", "host:12x", "host:-1"])
def test_what_is_no_endpoint(tmp_path, endpoint):
    assert init(tmp_path / "new", "--endpoint", endpoint).returncode == USAGE
    assert not (tmp_path / "new").exists()


def test_hosts_are_names_and_addresses(tmp_path):
    folder = tmp_path / "new"
    assert init(folder, "--host", "cvm.example", "--host", "192.0.2.9", "--host",
                "2001:db8::9").returncode == 0
    for server in ("tls", "mosquitto"):
        names = extension(text_of((folder / server / "server.pem").read_text()),
                          "Subject Alternative Name")[1].split(", ")
        assert {"DNS:localhost", "DNS:cvm.example", "IP Address:192.0.2.9",
                "IP Address:2001:DB8:0:0:0:0:0:9"} <= set(names)
    assert init(tmp_path / "bad", "--host", "not a name").returncode


def test_serve_warns_of_the_roots_key(tmp_path):
    instance = Instance(tmp_path)
    with instance.serve() as server:
        assert "root.key is readable here" in server.stderr
    shutil.rmtree(instance.folder / "ca/offline")
    with instance.serve() as server:
        assert "root.key" not in server.stderr


# --- Trust anchors of another broker ----------------------------------------------------------------


def test_another_trust_anchor_is_told_to_devices(tmp_path):
    instance, other = Instance(tmp_path), Instance(tmp_path, name="other")
    instance.add("DEVICE")
    with instance.serve(mqtt_root_ca=other.root_ca):
        _, _, body = instance.register("DEVICE")
    assert body["payload"]["certificates"]["root_ca"] == other.root_ca.read_text()
    (tmp_path / "junk").write_text("junk\n")
    done = instance.cvm("serve", "--set", f"mqtt.root_ca={tmp_path}/junk", check=False)
    assert done.returncode == CONFIG and b"mqtt.root_ca" in done.stderr


# --- The hanging command ----------------------------------------------------------------------------


def test_a_hanging_command_is_ended_with_all_that_it_started(hanging):
    instance, process = hanging
    _, errors = process.communicate(timeout=60)
    assert process.returncode == TRY_AGAIN and b"ca.crl_command failed" in errors
    group = int((instance.folder / "group").read_text())
    wait_until(lambda: not group_lives(group), "the end of the command's processes")
    assert len(crl_entries(crl_path(instance))) == 1


def group_lives(group):
    """Zombies that nobody has reaped yet are dead."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    return any(line.split()[0] == str(group) and not line.split()[1].startswith("Z")
               for line in listed.stdout.splitlines())
