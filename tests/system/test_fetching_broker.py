"""A broker that fetches CRLs by the URLs that certificates name, and reads no file of ours."""

import contextlib
import pathlib
import shutil
import subprocess

import pytest

from broker import Device, wait_until
from cvm_server import Instance, free_port

BROKER = pathlib.Path(__file__).parent.parent / "support/fetching_broker.escript"
FOLLOWS_S = 5

pytestmark = pytest.mark.skipif(not shutil.which("escript"), reason="Erlang is not installed")


@contextlib.contextmanager
def broker_of(instance):
    port = free_port()
    with subprocess.Popen([BROKER, str(port), instance.folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield port
        finally:
            process.kill()


def answer(port, device):
    """What a device with that certificate and its chain is told."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", device.root, "-cert",
                           device.certificate, "-cert_chain", device.certificate, "-key", device.key, "-quiet"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    return (done.stdout + done.stderr).decode()


def test_a_broker_that_fetches_refuses_who_is_revoked(tmp_path):
    port = free_port()
    instance = Instance(tmp_path, "--crl-url", f"http://127.0.0.1:{port}/ca")
    with instance.serve_plain({"ca.listen": f"127.0.0.1:{port}"}), broker_of(instance) as broker:
        good, bad = (Device.register(instance, uid) for uid in ("GOOD", "BAD"))
        wait_until(lambda: "welcome" in answer(broker, good), "the first CRL")
        assert "welcome" in answer(broker, bad)
        for verb, is_taken in (("disable", False), ("enable", True), ("revoke", False)):
            instance.cvm("device", verb, "BAD")
            wait_until(lambda taken=is_taken: ("welcome" in answer(broker, bad)) == taken, verb, FOLLOWS_S)
        assert "certificate revoked" in answer(broker, bad) and "welcome" in answer(broker, good)


def test_a_broker_that_can_not_fetch_takes_nobody(tmp_path):
    """Or the other test would prove nothing."""
    instance = Instance(tmp_path, "--crl-url", f"http://127.0.0.1:{free_port()}/ca")
    with instance.serve_plain(), broker_of(instance) as broker:
        assert "welcome" not in answer(broker, Device.register(instance, "DEVICE"))
