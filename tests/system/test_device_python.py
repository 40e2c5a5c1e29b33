"""The device in Python, run for real: against cvm serve and mosquitto, and a server that fails on purpose."""

import json
import re
import stat
import subprocess
import sys
import time

import pytest

from broker import MOSQUITTO, REPOSITORY, Broker, Device, wait_until
from cvm_server import Instance, free_port, token
from device_pki import Authority, FUTURE, SOON_OVER
from device_server import RegistrationServer, error, reply

PROGRAM = REPOSITORY / "examples/device_python/device.py"
STOPPED = 1
WITHIN_S = 40

pytestmark = pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")


class PythonDevice:
    """One device: its folder, and the command line that it is run with."""

    def __init__(self, folder, url, root, uid="DEVICE001"):
        self.dir = folder / "device"
        self.token = folder / "token"
        self.token.write_text(token(uid) + "\n")
        self.command = [sys.executable, str(PROGRAM), str(self.dir), url, uid, str(self.token), str(root)]

    def start(self):
        return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, expect=0):
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        assert self.token.read_text().strip() not in done.stdout + done.stderr
        return done

    def until_it_holds_credentials(self):
        """Runs it until it has registered; there is no broker for it. What it said to standard error."""
        with self.start() as process:
            try:
                wait_until(lambda: self.holds() or process.poll() is not None, "credentials", WITHIN_S)
            finally:
                process.terminate()
            said = process.communicate()[1]
        assert self.holds(), said
        return said

    def holds(self):
        return (self.dir / "credentials.json").exists()


def device_of(instance, folder):
    return PythonDevice(folder, f"https://localhost:{instance.port}/registration", instance.root_ca)


def new_instance(folder):
    return Instance(folder, "--endpoint", f"localhost:{free_port()}")


# --- For real ---


def test_registers_once_and_publishes(tmp_path):
    instance = new_instance(tmp_path)
    instance.import_csv(["DEVICE001", "BACKEND"])
    acl = instance.folder / "mosquitto/acl"
    acl.write_text(acl.read_text() + "user thing_BACKEND\ntopic readwrite things/#\n")
    with instance.serve() as server, Broker(instance) as broker:
        device, backend = device_of(instance, tmp_path), Device.register(instance, "BACKEND", add=False)
        with broker.subscribe(backend, "things/#") as listening:
            done = device.run()
            assert (done.stdout, done.stderr) == ("registered DEVICE001\npublished as thing_DEVICE001\n", "")
            listening.wait_for("things/thing_DEVICE001/hello hello from thing_DEVICE001")
            held = {path.name: path.read_bytes() for path in device.dir.iterdir()}
            assert set(held) == {"credentials.json", "identity.pem"}
            assert {stat.S_IMODE(path.stat().st_mode) for path in device.dir.iterdir()} == {0o600}
            assert stat.S_IMODE(device.dir.stat().st_mode) == 0o700
            identity = json.loads(held["credentials.json"])["certificate_id"]
            assert identity == instance.show("DEVICE001")["certificate_id"]
            server.stop()  # it needs none from now on
            assert device.run().stdout == "published as thing_DEVICE001\n"
            wait_until(lambda: len(listening.heard()) == 2, listening.heard())
            assert {path.name: path.read_bytes() for path in device.dir.iterdir()} == held
    assert server.stderr.count("uid=DEVICE001") == 1


def test_waits_for_a_server_that_is_not_ready(tmp_path):
    """There is no device in its store yet: 503 with Retry-After."""
    instance = new_instance(tmp_path)
    with instance.serve() as server, Broker(instance):
        device, begun = device_of(instance, tmp_path), time.monotonic()
        with device.start() as process:
            server.wait_for_log("code=store_unavailable")
            instance.add("DEVICE001")
            out, err = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0 and out.endswith("published as thing_DEVICE001\n"), err
        pause_s = float(re.fullmatch(r"device: 503 store_unavailable: .*; next try in (\S+) s\n", err)[1])
        assert 5 <= pause_s <= 6 and time.monotonic() - begun >= 5
        assert server.stderr.count("code=ok") == 1


def test_is_refused(tmp_path):
    instance = new_instance(tmp_path)
    instance.import_csv([("DEVICE001", "another-token-than-it-has")])
    with instance.serve() as server:
        done = device_of(instance, tmp_path).run(expect=STOPPED)
        assert re.match("device: stopped: 403 not_authorized: .* \\([0-9a-f]{16}\\)\n", done.stderr), done.stderr
        assert server.stderr.count("code=not_authorized") == 1


# --- A server that fails on purpose ---


@pytest.fixture(scope="module")
def pki(module_path):
    class Pki:
        root = Authority(module_path, "root")
        issuing = Authority(module_path, "issuing", root)
        young = Authority(module_path, "young", start=FUTURE)
        good, over = root.server("good"), root.server("over", end=SOON_OVER)
        future = young.server("future", start=FUTURE)
        elsewhere = root.server("elsewhere", host="DNS:elsewhere.test")
        strange = Authority(module_path, "other").server("strange")
    return Pki


@pytest.fixture
def serve(pki, tmp_path):
    """Starts a server that answers by a script; a device for it."""
    servers = []

    def start(*script, certificate=pki.good, root=pki.root):
        server = RegistrationServer(pki.issuing, pki.root, certificate)
        server.script = list(script)
        servers.append(server)
        return server, PythonDevice(tmp_path, server.url, root.certificate)

    yield start
    for server in servers:
        server.close()
        assert server.problems == []


LATER = {
    "Retry-After": (lambda s, m: error(409, "in_progress", True, "Retry-After: 2"), 2),
    "a status of 200 over an error": (lambda s, m: error(503, "unknown", True, "Retry-After: 1", http_status=200), 1),
    "a lost answer": (RegistrationServer.lose, 0),
    "no answer": (lambda s, m: None, 0),
    "a proxy": (lambda s, m: reply(502, b"<html>Bad Gateway</html>", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), 0),
    "an answer that is cut": (lambda s, m: s.serve(m)[:-40], 0),
}


@pytest.mark.parametrize("name", LATER)
def test_asks_again(serve, name):
    step, at_least_s = LATER[name]
    server, device = serve(step)
    said = device.until_it_holds_credentials()
    first, second = server.requests
    assert first == second and set(first) == {"device_uid", "device_token"}
    assert at_least_s <= server.times[1] - server.times[0]
    assert "next try in" in said


STOPS = {
    "already_registered": lambda s, m: error(409, "already_registered", False),
    "an error over a status of 200": lambda s, m: error(403, "not_authorized", False, http_status=200),
    "a stranger": lambda s, m: reply(404, b"<html>Not Found</html>"),
    "another certificate": lambda s, m: reply(200, s.success(m, certificate_id="0" * 64)),
}


@pytest.mark.parametrize("name", STOPS)
def test_stops(serve, name):
    server, device = serve(STOPS[name])
    assert "device: stopped: " in device.run(expect=STOPPED).stderr
    assert len(server.requests) == 1 and not device.holds()


@pytest.mark.parametrize("certificate", ["over", "elsewhere", "strange"])
def test_tells_nothing_to_a_server_that_it_does_not_trust(serve, pki, certificate):
    server, device = serve(certificate=getattr(pki, certificate))
    assert "certificate" in device.run(expect=STOPPED).stderr
    assert server.requests == [] and not device.holds()


def test_trusts_a_certificate_that_is_not_valid_yet(serve, pki):
    """Its own clock may be slow."""
    server, device = serve(certificate=pki.future, root=pki.young)
    device.until_it_holds_credentials()
    assert len(server.requests) == 1
