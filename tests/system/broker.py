"""A real mosquitto with the files of an instance, and devices that connect to it.

    with Broker(instance) as broker:
        device = Device.register(instance, "DEVICE001")
        assert broker.accepts(device)
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time

from cvm_server import environment, free_port

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RELOAD = REPOSITORY / "deploy/mosquitto/cvm-mosquitto-reload"
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
WAIT_S = 15


def openssl(*arguments, data=None, check=True):
    """What openssl prints; both streams if it may fail."""
    data = data.encode() if isinstance(data, str) else data
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE if check else subprocess.STDOUT, check=False)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def key_id_of(certificate):
    """A CA's subject key identifier, as records and metrics have it."""
    text = openssl("x509", "-in", certificate, "-noout", "-ext", "subjectKeyIdentifier")
    return text.split("\n")[1].strip().replace(":", "").lower()


def wait_until(condition, what, timeout_s=WAIT_S):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"gave up waiting for {what}"
        time.sleep(0.02)


def reload_script(instance, *arguments, check=False, wrapper=(), **options):
    """Runs cvm-mosquitto-reload; its CompletedProcess."""
    done = subprocess.run([*wrapper, str(RELOAD), *map(str, arguments), str(instance.folder)],
                          capture_output=True, text=True, env=environment(), timeout=120, **options)
    assert not check or done.returncode == 0, done.stderr
    return done


class Device:
    """A device's certificate (with chain), key, and what it trusts, as files."""

    def __init__(self, folder, name, certificate, key, root):
        self.name = name
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key, self.root = (
            self.folder / file for file in ("certificate.pem", "key.pem", "root.pem"))
        self.certificate.write_text(certificate)
        self.key.write_text(key)
        self.root.write_text(root)

    @classmethod
    def register(cls, instance, uid, folder=None, add=True):
        """Registers by HTTPS, without a CSR."""
        if add:
            instance.add(uid)
        status, _, body = instance.register(uid)
        assert status == 200, body
        payload = body["payload"]
        return cls(folder or instance.folder / "devices" / uid, payload["thing_name"],
                   payload["certificates"]["device_certificate"], payload["keyPair"]["privateKey"],
                   payload["certificates"]["root_ca"])

    def leaf_only(self):
        """The same device, sending its certificate without the chain."""
        leaf = openssl("x509", "-in", self.certificate)
        return Device(self.folder / "leaf", self.name, leaf, self.key.read_text(),
                      self.root.read_text())

    def topic(self, rest="hello"):
        return f"things/{self.name}/{rest}"


class Broker:
    """mosquitto as an instance's mosquitto.conf says. Stopped at the end of a with block."""

    def __init__(self, instance, configuration=None, **options):
        self.instance = instance
        self.configuration = configuration or instance.folder / "mosquitto/mosquitto.conf"
        self.options = options
        self.port = next(int(line.split()[1]) for line in self.configuration.read_text().splitlines()
                         if line.startswith("listener "))
        self.log = instance.folder / f"mosquitto-{self.port}.log"
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-v", "-c", str(self.configuration)],
                                            stdout=log, stderr=log, env=environment(), **self.options)
        wait_until(self._listens, f"mosquitto: {self.log_text()}")

    def _listens(self):
        assert self.process.poll() is None, f"mosquitto does not start: {self.log_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def reload(self, **options):
        """Hands it the newest files by the script, and waits until it has read them."""
        before = self.log_text().count("Reloading config")
        done = reload_script(self.instance, "--pid", self.pid, **options)
        if "told" in done.stderr:
            wait_until(lambda: self.log_text().count("Reloading config") > before, "the reload")
        return done

    def _client(self, program, device, arguments):
        identity = ["--cert", device.certificate, "--key", device.key] if device.certificate else []
        return [program, "-h", "localhost", "-p", self.port, "--cafile", device.root, *identity,
                *arguments]

    def publish(self, device, topic, message, *arguments):
        """True if the broker took the connection and the message; what it does with it is its own."""
        command = self._client("mosquitto_pub", device,
                               ["-t", topic, "-m", message, "-q", "1", *arguments])
        try:
            return subprocess.run(list(map(str, command)), capture_output=True, check=False,
                                  timeout=WAIT_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def accepts(self, device):
        return self.publish(device, device.topic("probe"), "probe")

    def subscribe(self, device, topic, *arguments):
        return Subscriber(self, device, topic, arguments)


class Subscriber:
    """A mosquitto_sub. Ended at the end of a with block."""

    def __init__(self, broker, device, topic, arguments):
        self.output = device.folder / f"heard-{time.monotonic_ns()}"
        command = broker._client("mosquitto_sub", device, ["-v", "-q", "1", "-t", topic, *arguments])
        before = broker.log_text().count(f"Sending SUBACK to {device.name}")
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(list(map(str, command)), stdout=out,
                                            stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: broker.log_text().count(f"Sending SUBACK to {device.name}") > before,
                       f"the subscription of {device.name}")
        except AssertionError:
            self.stop()
            raise

    def heard(self):
        return self.output.read_text().splitlines()

    def wait_for(self, line):
        wait_until(lambda: line in self.heard(), f"{line!r} in {self.heard()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(WAIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
