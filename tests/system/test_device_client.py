"""The device client against a registration server that fails on purpose, and a real mosquitto."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

from cvm_server import free_port
from device_pki import Authority, FUTURE, SOON_OVER, certificate_id, openssl
from device_server import RegistrationServer, chunked, error, reply

VECTORS = [
    ("YOUR_SECRET_SALT", "DEVICE001", None,
     "ecab892722df5937d055dd496cdff41ac6bdece2cfc18b31e896960e52df5787",
     "abf5ec7c8f51cfd5214b2c0e4a1ed8f2253b785d4f2fd7d1be81022517db2fe8"),
    ("YOUR_SECRET_SALT", "AA:BB:CC:00:11:22", None,
     "2ee91b55c8f92d9dbb57f70bd167d8ba7f99813d7002faa871e2c5e9f2567d41",
     "b74f473fe917bb5837a11477d6bd2ee129a1157a53f0db08b9f527cce58d5ba6"),
    ("pepper", "356938035643809", "8991101200003204510",
     "47bd35fadfb5cbc60c17625e33617f790625d15780a0ec9c763104ac68d7a6d6", None),
]
SALT = "YOUR_SECRET_SALT"
TOKEN = VECTORS[0][3]
FILES = {"key.pem", "certificate.pem", "root_ca.pem", "endpoint", "thing_name"}


def program():
    build = os.environ.get("CVM_BUILD_DIR")
    assert build, "set CVM_BUILD_DIR to the folder of a build"
    path = pathlib.Path(build) / "examples/device/cvm-device"
    assert path.is_file(), f"{path} is missing: build the target cvm-device"
    return str(path)


class Pki:
    def __init__(self, folder):
        self.folder = folder
        self.root = Authority(folder, "root")
        self.issuing = Authority(folder, "issuing", self.root)
        self.other = Authority(folder, "other")
        self.young_root = Authority(folder, "young", start=FUTURE)
        self.good = self.root.server("good")
        self.wrong_host = self.root.server("wronghost", host="IP:127.0.0.2,DNS:elsewhere.test")
        self.named = self.root.server("named", host="DNS:localhost")
        self.v6 = self.root.server("v6", host="IP:::1")
        self.expired = self.root.server("expired", end=SOON_OVER)
        self.future = self.young_root.server("future", start=FUTURE)
        self.stranger = self.other.server("stranger")
        self.listener = self.root.client("listener")


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


class Device:
    """One device: its folder, its salt, and the command line it is run with."""

    def __init__(self, tmp_path, pki):
        self.tmp = tmp_path
        self.dir = tmp_path / "device"
        self.ca = pki.root.certificate
        self.salt = tmp_path / "salt"
        self.salt.write_text(SALT + "\n")
        self.url = None

    def command(self, *options, faketime=None, prefix=()):
        command = [program(), "--dir", self.dir, "--url", self.url, "--uid", "DEVICE001",
                   "--ca", self.ca, "--salt-file", self.salt, "--retries", "3",
                   "--retry-base", "0.05", "--timeout", "5", *options]
        early = ["faketime", faketime] if faketime else []
        return [str(word) for word in (*prefix, *early, *command)]

    def environment(self):
        names = ("PATH", "HOME", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        # faketime is loaded before the sanitizer's library
        kept["ASAN_OPTIONS"] = kept.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        kept["TZ"] = "Asia/Kolkata"
        return kept

    def start(self, *options, **how):
        return subprocess.Popen(self.command(*options, **how), env=self.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *options, expect=0, preexec_fn=None, **how):
        result = subprocess.run(
            self.command(*options, **how), env=self.environment(), capture_output=True, text=True,
            timeout=30, preexec_fn=preexec_fn, restore_signals=preexec_fn is None)
        assert result.returncode == expect, result.stdout + result.stderr
        assert SALT not in result.stdout + result.stderr
        assert TOKEN not in result.stdout + result.stderr
        return result

    def register(self, *options, expect=0, **how):
        return self.run("--register-only", *options, expect=expect, **how)

    def holds(self):
        return {path.name for path in self.dir.iterdir()}


@pytest.fixture
def device(tmp_path, pki):
    return Device(tmp_path, pki)


@pytest.fixture
def serve(pki, device):
    """Starts registration servers; the device is told of the last one."""
    servers = []

    def start(certificate=None, script=(), endpoint="127.0.0.1:1"):
        server = RegistrationServer(pki.issuing, pki.root, certificate or pki.good, endpoint)
        server.script = list(script)
        servers.append(server)
        device.url = server.url
        return server

    yield start
    for server in servers:
        server.close()
        assert server.problems == []


class Broker:
    """mosquitto with TLS that knows its clients by their certificates."""

    def __init__(self, folder, port, client_ca, certificate, address):
        self.folder, self.port, self.address, self.process = folder, port, address, None
        acl = folder / f"acl-{port}"
        acl.write_text("user listener\ntopic read #\npattern write things/%u/#\n")
        acl.chmod(0o600)
        self.config = folder / f"mosquitto-{port}.conf"
        self.config.write_text(f"""
user root
listener {port} {address}
cafile {client_ca}
certfile {certificate[0]}
keyfile {certificate[1]}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {acl}
persistence false
""")
        self.start()

    def start(self):
        with open(self.folder / f"log-{self.port}", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(["mosquitto", "-v", "-c", self.config], stdout=log, stderr=log)
        for _ in range(100):
            try:
                socket.create_connection((self.address, self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / f"log-{self.port}").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def log(self):
        return (self.folder / f"log-{self.port}").read_text()


@pytest.fixture
def broker(tmp_path, pki):
    """A function that starts brokers; all are stopped in the end."""
    brokers = []

    def start(client_ca=pki.root.certificate, certificate=pki.good, address="127.0.0.1"):
        brokers.append(Broker(tmp_path, free_port(), client_ca, certificate, address))
        return brokers[-1]

    yield start
    for each in brokers:
        each.stop()


def endpoint_of(broker):
    return f"127.0.0.1:{broker.port}"


# ---------------------------------------------------------------- the request

@pytest.mark.parametrize("salt,uid,uid2,sha256,hmac", VECTORS)
def test_token_vectors(device, serve, salt, uid, uid2, sha256, hmac):
    server = serve(script=[lambda s, m: error(403, "not_authorized", False)] * 2)
    device.salt.write_text(salt)
    second = ["--second-uid", uid2] if uid2 else []
    device.register("--uid", uid, *second, expect=77)
    assert server.requests[0]["device_token"] == sha256
    assert server.requests[0]["device_uid"] == uid
    if hmac:
        device.register("--uid", uid, "--hmac", expect=77)
        assert server.requests[1]["device_token"] == hmac


@pytest.mark.parametrize("content,status", [
    ("a token with blanks", 78), ("", 78), ("\n", 78), ("x" * 257, 78), ("abc:def", 78), ("two\nlines", 78),
    ("\ufeffmarked", 78), ("wide".encode("utf-16").decode("latin-1"), 78), ("nul\0", 78), ("two\n\n", 78),
    ("quote\"and\\backslash", 0), ("y" * 255 + "\n", 0), ("y" * 256 + "\r\n", 0), ("y" * 256 + "\r", 0)])
def test_token_file(device, serve, content, status):
    server = serve()
    token = device.tmp / "token"
    token.write_bytes(content.encode())
    command = [word for word in device.command("--register-only", "--token-file", token)
               if word not in ("--salt-file", str(device.salt))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == status, result.stderr
    if status == 0:
        assert server.requests[0]["device_token"] == content.rstrip("\r\n")
    else:
        assert server.requests == [] and "token" in result.stderr


def test_registers_with_a_key_of_its_own(device, serve):
    server = serve()
    result = device.register()
    assert "registered thing_DEVICE001" in result.stdout
    assert device.holds() == {"untried", "clock"}
    files = {path.name: path for path in (device.dir / "untried").iterdir()}
    assert set(files) == FILES
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    assert stat.S_IMODE(device.dir.stat().st_mode) == 0o700
    key = openssl("pkey", "-in", files["key.pem"], "-pubout")
    assert server.public_keys() == {key}
    assert openssl("x509", "-in", files["certificate.pem"], "-noout", "-pubkey") == key
    assert files["certificate.pem"].read_text().count("BEGIN") == 2
    assert abs(int((device.dir / "clock").read_text()) - time.time()) < 60
    again = device.register()
    assert "holding" in again.stdout and len(server.requests) == 1


def test_json_output(device, serve):
    serve()
    said = json.loads(device.register("--json").stdout)
    pem = (device.dir / "untried/certificate.pem").read_bytes()
    assert said == {
        "registered": True, "connected": False, "published": False,
        "thing_name": "thing_DEVICE001", "endpoint": "127.0.0.1:1",
        "certificate_id": certificate_id(pem)}


@pytest.mark.parametrize("make", [
    RegistrationServer.server_key, lambda: openssl("genrsa", "-traditional", "2048")])
def test_key_from_the_server(device, serve, make):
    server = serve()
    server.server_key = make
    device.register("--server-key")
    assert "csr" not in server.requests[0]
    assert device.holds() == {"untried", "clock"}
    stored = openssl("pkey", "-in", device.dir / "untried/key.pem", "-pubout")
    certified = openssl("x509", "-in", device.dir / "untried/certificate.pem", "-noout", "-pubkey")
    assert stored == certified


def test_chunked_answer(device, serve):
    serve(script=[lambda s, m: chunked(s.serve(m))])
    device.register()


def test_the_secret_is_not_on_the_command_line_of_the_program(device, serve):
    server = serve(script=[RegistrationServer.hang])
    child = device.start("--register-only")
    assert server.arrived.wait(10)
    seen = pathlib.Path(f"/proc/{child.pid}/cmdline").read_bytes()
    assert SALT.encode() not in seen and TOKEN.encode() not in seen
    child.kill()
    child.communicate()


# ---------------------------------------------------------------- trying again

def test_lost_answer_is_asked_for_again_with_the_same_key(device, serve):
    server = serve(script=[RegistrationServer.lose] * 2)
    result = device.register()
    assert len(server.requests) == 3 and len(server.public_keys()) == 1
    assert len(server.issued) == 1
    assert result.stderr.count("next try in") == 2


@pytest.mark.parametrize("answer", [
    error(503, "overloaded", True, "Retry-After: 1"),
    error(429, "too_many_requests", False, "Retry-After: 1"),
    error(409, "in_progress", True, "Retry-After: 1"),
    error(503, "unknown", True, "Retry-After: 1", http_status=200),
    reply(503, b"<html>proxy</html>", "Retry-After: 1")])
def test_waits_as_long_as_it_is_asked_to(device, serve, answer):
    server = serve(script=[lambda s, m: answer])
    device.register()
    first, second = server.times
    assert 1 <= second - first < 3


def test_retryable_wherever_it_is_said(device, serve):
    server = serve(script=[lambda s, m: error(502, "platform_error", True)] * 2)
    device.register()
    assert len(server.requests) == 3


def test_gives_up_in_the_end(device, serve):
    server = serve(script=[lambda s, m: error(503, "overloaded", True)] * 4)
    result = device.register(expect=75)
    assert len(server.requests) == 4 and "given up after 4 tries" in result.stderr
    device.register()
    assert len(server.public_keys()) == 1


def test_a_wait_too_long_is_left_to_the_next_run(device, serve):
    server = serve(script=[lambda s, m: error(503, "overloaded", True, "Retry-After: 86400")])
    result = device.register(expect=75)
    assert len(server.requests) == 1 and "86400" in result.stderr


@pytest.mark.parametrize("status,code,expect", [
    (400, "invalid_request", 65), (403, "not_authorized", 77), (409, "already_registered", 77),
    (422, "invalid_csr", 65), (502, "platform_error", 69)])
@pytest.mark.parametrize("legacy", [False, True])
def test_final_errors(device, serve, status, code, expect, legacy):
    server = serve(script=[
        lambda s, m: error(status, code, False, http_status=200 if legacy else status)])
    result = device.register(expect=expect)
    assert len(server.requests) == 1 and code in result.stderr
    assert device.holds() == {"request.key"}


def test_slow_server(device, serve):
    server = serve(script=[RegistrationServer.hang])
    result = device.register("--timeout", "1")
    assert len(server.requests) == 2 and "next try" in result.stderr


def test_nobody_there(device):
    device.url = f"https://127.0.0.1:{free_port()}/registration"
    assert "given up after 4 tries" in device.register(expect=69).stderr


def test_jitter_is_full(device):
    """Waits are spread over the whole range, not around its upper end."""
    device.url = f"https://127.0.0.1:{free_port()}/registration"
    waits = []
    for _ in range(24):
        child = device.start("--register-only", "--retry-base", "40")
        waits.append(float(re.search(r"next try in ([0-9.]+) s", child.stderr.readline()).group(1)))
        child.kill()
        child.communicate()
    assert min(waits) < 20 < max(waits) <= 40


# ---------------------------------------------------------------- whom it trusts

@pytest.mark.parametrize("which", ["wrong_host", "expired", "stranger"])
@pytest.mark.parametrize("faketime", [None, "5 years ago"])
def test_refuses_a_server(device, serve, pki, which, faketime):
    server = serve(getattr(pki, which))
    result = device.register(expect=65, faketime=faketime)
    assert server.requests == [] and "not trusted" in result.stderr


def test_a_certificate_that_is_not_valid_yet_is_fine(device, serve, pki):
    device.ca = pki.young_root.certificate
    serve(pki.future)
    device.register()


def test_not_yet_valid_does_not_excuse_another_fault(device, serve, pki):
    server = serve(pki.future)
    device.register(expect=65)
    device.ca = pki.young_root.certificate
    device.url = server.url.replace("127.0.0.1", "localhost")
    device.register(expect=65)
    assert server.requests == []


def test_the_time_a_server_told_outlives_the_run(device, serve, pki):
    """What a server said is believed later, when another server's certificate is judged."""
    server = serve()
    device.register()
    clock = device.dir / "clock"
    assert abs(int(clock.read_text()) - time.time()) < 60
    clock.write_text(str(2**32 * 2))
    result = device.run("--connect-only", expect=65)
    assert "expired" in result.stderr and len(server.requests) == 1


def test_a_time_past_the_certificates_end_is_refused(device, serve):
    server = serve()
    server.server_time = "2099-01-01T00:00:00Z"
    assert "server_time" in device.register(expect=65).stderr
    assert device.holds() == {"request.key"}


def test_no_https_no_request(device, serve):
    server = serve()
    device.url = server.url.replace("https", "http")
    device.register(expect=64)
    assert server.requests == []


# ---------------------------------------------------------------- answers that can't be right

def foreign_key(server, message):
    other = dict(message, csr=openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "/dev/null", "-subj", "/CN=DEVICE001").decode())
    return reply(200, server.success(other))


def changed(**changes):
    return lambda server, message: reply(200, server.success(message, **changes))


def without(field):
    def answer(server, message):
        body = server.success(message)
        place = body["payload"]
        del (place if field in place else place["certificates"])[field]
        return reply(200, body)
    return answer


def out_of_order(server, message):
    body = server.success(message)
    certificates = body["payload"]["certificates"]
    leaf = certificates["device_certificate"].split("-----BEGIN")[1]
    certificates["device_certificate"] = "-----BEGIN" + leaf + server.root.certificate.read_text()
    return reply(200, body)


@pytest.mark.parametrize("answer,word", [
    (foreign_key, "another key"),
    (out_of_order, "chain"),
    (without("endpoint"), "endpoint"),
    (without("thing_name"), "thing_name"),
    (without("device_certificate"), "device_certificate"),
    (without("root_ca"), "root_ca"),
    (without("certificate_id"), "certificate_id"),
    (without("server_time"), "server_time"),
    (changed(endpoint="host:99999"), "endpoint"),
    (changed(endpoint="a b"), "endpoint"),
    (changed(endpoint=7), "endpoint"),
    (changed(endpoint="x" * 300), "endpoint"),
    (changed(thing_name="things/#"), "name"),
    (changed(thing_name="t" * 129), "thing_name"),
    (changed(server_time="yesterday"), "server_time"),
    (changed(certificate_id="00"), "certificate_id"),
    (changed(certificates=[]), "device_certificate"),
    (lambda s, m: reply(200, b"{garbage"), "no registration answer"),
    (lambda s, m: reply(200, b""), "no registration answer"),
    (lambda s, m: reply(200, json.dumps(s.success(m)).encode() + b" {}"), "no registration answer"),
    (lambda s, m: reply(200, json.dumps(s.success(m)).encode() + b"\0"), "no registration answer"),
    (lambda s, m: reply(200, {"statusCode": 200, "status": "success", "payload": {}}), "no regis"),
    (lambda s, m: reply(404, s.success(m)), "HTTP 404"),
    (lambda s, m: reply(302, b"", "Location: https://127.0.0.1:1/"), "HTTP 302"),
    (lambda s, m: reply(200, b" " * 70000), "refused"),
    (lambda s, m: chunked(reply(200, b"[" * 66000)), "refused"),
])
def test_bad_answers(device, serve, answer, word):
    server = serve(script=[answer])
    result = device.register(expect=65)
    assert word in result.stderr and len(server.requests) == 1
    assert device.holds() == {"request.key"}


def test_server_text_can_not_play_with_the_terminal(device, serve):
    body = {"statusCode": 403, "status": "ERROR",
            "payload": {"message": "\x1b[2J\nfake line", "code": "x\r\n", "retryable": False}}
    serve(script=[lambda s, m: reply(403, body)])
    result = device.register(expect=77)
    assert "\x1b" not in result.stderr and result.stderr.count("\n") == 1


# ---------------------------------------------------------------- kills, signals and disks

def test_kill_while_waiting_for_the_answer(device, serve):
    server = serve(script=[RegistrationServer.hang])
    child = device.start("--register-only")
    assert server.arrived.wait(10)
    child.kill()
    child.communicate()
    assert device.holds() == {"request.key"}
    assert stat.S_IMODE((device.dir / "request.key").stat().st_mode) == 0o600
    device.register()
    assert len(server.requests) == 2 and len(server.public_keys()) == 1


def kills_at_every_change(device, calls, *options):
    """Runs the client again and again, each time killed at another system call that changes the
    folder, until a run gets through. Before each run the caller sets the folder up."""
    for call in calls:
        for nth in range(1, 100):
            yield f"{call} {nth}"
            prefix = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=KILL:when={nth}"]
            environment = device.environment()
            environment["ASAN_OPTIONS"] += ":detect_leaks=0"
            ended = subprocess.run(device.command(*options, prefix=prefix), env=environment,
                                   capture_output=True, text=True, timeout=30)
            if ended.returncode == 0:
                break
            assert ended.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), ended.stderr
            yield None


def test_kill_at_every_change_of_the_folder(device, serve, broker):
    """Whatever the last change was, the next run ends well, and with the same certificate."""
    mosquitto = broker()
    kills = 0
    for point in kills_at_every_change(
            device, ["mkdir", "mkdirat", "fsync", "renameat", "unlinkat"]):
        if point:
            server = serve(endpoint=endpoint_of(mosquitto))
            device.dir = device.tmp / point.replace(" ", "-")
            continue
        kills += 1
        device.run()
        assert len(server.issued) == 1
        assert device.holds() | {"clock"} == {"current", "clock"}
        assert {path.name for path in (device.dir / "current").iterdir()} == FILES
    assert kills > 25


def test_kill_at_every_change_while_credentials_are_replaced(device, serve, broker):
    """The device can always connect: with the old credentials or with the new ones."""
    server = serve(endpoint=endpoint_of(broker()))
    device.run()
    original, kills = device.dir, 0
    for point in kills_at_every_change(device, ["renameat", "unlinkat"], "--again"):
        if point:
            server.issued.clear()
            device.dir = device.tmp / point.replace(" ", "-")
            shutil.copytree(original, device.dir)
            continue
        kills += 1
        if "current" in device.holds():  # never half of it, for other programs read it, too
            assert {path.name for path in (device.dir / "current").iterdir()} == FILES
        device.run("--connect-only")
        assert device.holds() - {"request.key", "new.tmp"} == {"current", "clock"}
        assert {path.name for path in (device.dir / "current").iterdir()} == FILES
    assert kills > 10


def test_terminated_while_waiting(device, serve):
    server = serve(script=[lambda s, m: error(503, "overloaded", True, "Retry-After: 500")])
    child = device.start("--register-only")
    child.stderr.readline()
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    _, stderr = child.communicate(timeout=10)
    assert child.returncode == 75 and "signal" in stderr
    assert time.monotonic() - began < 2 and len(server.requests) == 1


def test_interrupted_in_a_request(device, serve):
    server = serve(script=[RegistrationServer.hang])
    child = device.start("--register-only")
    assert server.arrived.wait(10)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=10)
    assert child.returncode == 75 and "signal" in stderr


def no_file_may_grow():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))


def test_no_request_without_a_stored_key(device, serve):
    server = serve()
    assert "request.key" in device.register(expect=78, preexec_fn=no_file_may_grow).stderr
    device.dir = pathlib.Path("/proc/cvm-device")
    device.register(expect=78)
    device.dir = device.salt
    device.register(expect=78)
    assert server.requests == []


def test_answer_that_can_not_be_stored_is_asked_for_again(device, serve):
    def spoil(server, message):
        (device.dir / "untried.is.not.this").touch()
        (device.dir / "incoming").write_text("in the way")
        return server.serve(message)

    server = serve(script=[spoil])
    assert "incoming" in device.register(expect=78).stderr
    (device.dir / "incoming").unlink()
    device.register()
    assert len(server.issued) == 1 and len(server.requests) == 2


def test_one_client_at_a_time(device, serve):
    server = serve(script=[RegistrationServer.hang])
    child = device.start("--register-only")
    assert server.arrived.wait(10)
    assert "another cvm-device" in device.register(expect=75).stderr
    child.kill()
    child.communicate()


# ---------------------------------------------------------------- the first connection

def listen(broker, pki, topic):
    """A subscriber that ends after one message; it has subscribed on return."""
    listener = subprocess.Popen(
        ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-v", "-C", "1",
         "-W", "15", "-q", "1", "--cafile", pki.root.certificate, "--cert", pki.listener[0],
         "--key", pki.listener[1]], stdout=subprocess.PIPE, text=True)
    for _ in range(200):
        if "Sending SUBACK to listener" in broker.log():
            break
        time.sleep(0.02)
    return listener


@pytest.mark.parametrize("faketime", [None, "5 years ago"])
def test_publishes_and_is_heard(device, serve, broker, pki, faketime):
    mosquitto = broker()
    server = serve(endpoint=endpoint_of(mosquitto))
    listener = listen(mosquitto, pki, "things/+/hello")
    result = device.run(faketime=faketime)
    assert result.stdout.splitlines() == [
        "registered thing_DEVICE001", f"connected to {server.endpoint}",
        "published to things/thing_DEVICE001/hello"]
    assert listener.communicate(timeout=20)[0] == (
        'things/thing_DEVICE001/hello {"message":"hello","thing_name":"thing_DEVICE001"}\n')
    assert device.holds() == {"current", "clock"}
    again = json.loads(device.run("--json", "--publish", "things/thing_DEVICE001/x",
                                  "--message", "m", faketime=faketime).stdout)
    assert again["published"] and not again["registered"]
    assert len(server.requests) == 1


def test_servers_by_name(device, serve, broker, pki):
    """A name may have several addresses of which only one listens."""
    mosquitto = broker(certificate=pki.named)
    serve(endpoint=f"localhost:{mosquitto.port}")
    device.run()
    device.dir = device.tmp / "another"
    serve(endpoint=endpoint_of(mosquitto))
    assert "broker is not trusted" in device.run(expect=65).stderr


def test_broker_by_ipv6_address(device, serve, broker, pki):
    mosquitto = broker(certificate=pki.v6, address="::1")
    serve(endpoint=f"[::1]:{mosquitto.port}")
    device.run()


def test_server_made_keys_connect(device, serve, broker):
    server = serve(endpoint=endpoint_of(broker()))
    server.server_key = lambda: openssl("genrsa", "-traditional", "2048")
    device.run("--server-key")
    assert device.holds() == {"current", "clock"}


def test_connect_only(device, serve, broker):
    serve(endpoint=endpoint_of(broker()))
    assert "no credentials" in device.run("--connect-only", expect=78).stderr
    device.register()
    command = [program(), "--dir", str(device.dir), "--connect-only"]
    subprocess.run(command, check=True, timeout=20, capture_output=True)
    assert device.holds() == {"current", "clock"}


def test_broker_down_then_up(device, serve, broker):
    """Credentials that were not tried come first: no second registration."""
    mosquitto = broker()
    mosquitto.stop()
    server = serve(endpoint=endpoint_of(mosquitto))
    result = device.run(expect=69)
    assert "given up after 4 tries" in result.stderr
    assert device.holds() == {"untried", "clock"}
    device.run("--again", expect=69)
    server.script = [lambda s, m: error(500, "internal", False)]
    mosquitto.start()
    device.run("--again")
    assert len(server.requests) == 1 and device.holds() == {"current", "clock"}


def test_broker_that_hangs(device, serve):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        serve(endpoint=f"127.0.0.1:{silent.getsockname()[1]}")
        result = device.run("--timeout", "1", "--retries", "0", expect=69)
    assert "no answer in time" in result.stderr and "untried" in device.holds()


def test_broker_that_resets(device, serve):
    """A reset in mid-handshake ends the attempt at once, and not in a busy loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve(endpoint=f"127.0.0.1:{listener.getsockname()[1]}")
        child = device.start("--retries", "0", "--timeout", "20")
        connection, _ = listener.accept()
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        began = time.monotonic()
        child.communicate(timeout=15)
        assert child.returncode == 69 and time.monotonic() - began < 2


def test_broker_refuses_the_certificate(device, serve, broker, pki):
    mosquitto = broker(client_ca=pki.other.certificate)
    server = serve(endpoint=endpoint_of(mosquitto))
    result = device.run(expect=77)
    assert "refuses the device's certificate" in result.stderr
    assert device.holds() == {"untried", "clock"}
    device.run(expect=77)
    assert len(server.requests) == 1


def test_broker_refuses_credentials_that_once_worked(device, serve, broker, pki):
    good, strict = broker(), broker(client_ca=pki.other.certificate)
    server = serve(endpoint=endpoint_of(good))
    device.run()
    (device.dir / "current/endpoint").write_text(endpoint_of(strict))
    device.run(expect=77)
    assert device.holds() == {"current", "clock"} and len(server.requests) == 1


def test_publication_not_allowed(device, serve, broker):
    serve(endpoint=endpoint_of(broker()))
    result = device.run("--publish", "things/another/hello", expect=77)
    assert "things/another/hello" in result.stderr
    assert device.holds() == {"current", "clock"}


@pytest.mark.parametrize("which", ["wrong_host", "expired", "stranger"])
def test_refuses_a_broker(device, serve, broker, pki, which):
    mosquitto = broker(certificate=getattr(pki, which))
    serve(endpoint=endpoint_of(mosquitto))
    for faketime in (None, "5 years ago"):
        result = device.run(expect=65, faketime=faketime)
        assert "broker is not trusted" in result.stderr
    assert device.holds() == {"untried", "clock"}
    assert "New client connected" not in mosquitto.log()


def test_old_credentials_stay_until_new_ones_have_connected(device, serve, broker):
    mosquitto = broker()
    server = serve(endpoint=endpoint_of(mosquitto))
    device.run()
    old = (device.dir / "current/certificate.pem").read_bytes()
    mosquitto.stop()
    server.issued.clear()  # an operator resets the device
    device.run("--again", expect=69)
    assert device.holds() == {"current", "untried", "clock"}
    assert (device.dir / "current/certificate.pem").read_bytes() == old
    mosquitto.start()
    device.run()
    assert device.holds() == {"current", "clock"}
    assert (device.dir / "current/certificate.pem").read_bytes() != old
    assert len(server.requests) == 2 and len(server.public_keys()) == 2


def test_kill_in_mid_promotion(device, serve, broker):
    """current/ is gone, previous/ and untried/ are there: the new ones count."""
    server = serve(endpoint=endpoint_of(broker()))
    device.register()
    old = device.dir / "previous"
    old.mkdir()
    (old / "key.pem").write_text("old")
    device.run()
    assert device.holds() == {"current", "clock"} and len(server.requests) == 1


def test_a_broken_file_is_named(device, serve):
    serve()
    device.register()
    (device.dir / "untried/root_ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    assert "untried" in device.run(expect=65).stderr


# ---------------------------------------------------------------- the command line

@pytest.mark.parametrize("options", [
    ["--nonsense"], ["argument"], ["--uid", "a b"], ["--uid", ""], ["--publish", "a/#"],
    ["--retries", "many"], ["--retries", "-1"], ["--timeout", "0"], ["--token-file", "x"],
    ["--hmac", "--second-uid", "B"], ["--connect-only", "--again"]])
def test_wrong_usage(device, options):
    device.url = "https://127.0.0.1:1/registration"
    device.run(*options, expect=64)
    assert not device.dir.exists()


def test_help(device):
    device.url = "-"
    result = device.run("--help")
    assert "--server-key" in result.stdout and "77" in result.stdout


def test_unreadable_files_are_named(device, serve):
    serve()
    missing = device.tmp / "missing"
    assert str(missing) in device.register("--ca", missing, expect=78).stderr
    assert str(device.salt) in device.register("--ca", device.salt, expect=78).stderr
    assert str(missing) in device.register("--salt-file", missing, expect=78).stderr
