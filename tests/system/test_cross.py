"""32 bits and big-endian: what scripts/cross built for armhf and s390x, run by qemu-user beside the build for here."""

import datetime
import subprocess

import pytest

from cvm_server import Instance, build_folder, environment, token

BUILDS = build_folder().resolve().parent
ARCHITECTURES = ["armhf", "s390x"]
NATIVE = build_folder().resolve()

pytestmark = pytest.mark.skipif(
    not all((BUILDS / name / "run/cvm").is_file() for name in ARCHITECTURES), reason="scripts/cross was not run")


def build_of(architecture):
    return BUILDS / architecture / "run"


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def end_of(certificate):
    text = openssl("x509", "-in", certificate, "-noout", "-enddate").strip().removeprefix("notAfter=")
    return datetime.datetime.strptime(text, "%b %d %H:%M:%S %Y GMT")


class Machine:
    """Whose programs the commands are."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def be(self, build):
        self.monkeypatch.setenv("CVM_BUILD_DIR", str(build))


@pytest.fixture(name="machine")
def make_machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_device_is_registered(machine, tmp_path, architecture):
    machine.be(build_of(architecture))
    instance = Instance(tmp_path)
    instance.add("DEVICE001")
    ca = instance.folder / "ca"
    this_year = datetime.date.today().year
    assert end_of(ca / "root.pem").year in (this_year + 29, this_year + 30)
    assert end_of(ca / "issuing.pem").year in (this_year + 19, this_year + 20)
    with instance.serve({"certificate.validity": "15y"}):
        status, _, answer = instance.register("DEVICE001")
        assert status == 200, answer
        assert instance.ops("/readyz")[0] == 200
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(answer["payload"]["certificates"]["device_certificate"])
    # The chain with its CRLs, strictly: by the same rules as init's own look.
    openssl("verify", "-x509_strict", "-crl_check_all", "-CAfile", ca / "root.pem", "-CRLfile", ca / "crl.pem",
            "-untrusted", ca / "issuing.pem", leaf)
    shown = instance.show("DEVICE001")
    assert shown["certificate_id"] == answer["payload"]["certificate_id"]
    ends = datetime.datetime.strptime(shown["certificates"][0]["not_after"], "%Y-%m-%dT%H:%M:%SZ")
    assert ends == end_of(leaf) and ends.year in (this_year + 14, this_year + 15)
    instance.cvm("device", "revoke", "DEVICE001")
    assert instance.show("DEVICE001")["certificates"][0]["state"] == "revoked"


def test_a_store_moves_between_machines(machine, tmp_path):
    """Made on one, written on the next, read on all: the same devices, certificates and CRL."""
    builds = [build_of("s390x"), NATIVE, build_of("armhf"), build_of("s390x")]
    machine.be(builds[0])
    instance = Instance(tmp_path)
    for number, build in enumerate(builds):
        machine.be(build)
        uid = f"DEVICE{number}"
        instance.add(uid)
        with instance.serve():
            assert instance.register(uid)[0] == 200
        if number:
            instance.cvm("device", "revoke", f"DEVICE{number - 1}")
        shown = []
        for reader in builds[:3]:
            machine.be(reader)
            assert instance.cvm("store", "check").returncode == 0
            shown.append([instance.show(f"DEVICE{i}") for i in range(number + 1)])
        assert shown[0] == shown[1] == shown[2]
    assert [device["certificates"][0]["state"] for device in shown[0]] == ["revoked"] * 3 + ["current"]


def test_a_device_of_32_bits_registers_here(machine, tmp_path):
    machine.be(NATIVE)
    instance = Instance(tmp_path)
    instance.add("DEVICE001")
    secret = tmp_path / "token"
    secret.write_text(token("DEVICE001"))
    device = build_of("armhf") / "cvm-device"
    with instance.serve():
        command = [device, "--dir", tmp_path / "device", "--url", f"https://127.0.0.1:{instance.port}/registration",
                   "--uid", "DEVICE001", "--ca", instance.root_ca, "--token-file", secret, "--register-only"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment(), timeout=120,
                              check=False)
        assert done.returncode == 0, done.stderr
    leaf = next((tmp_path / "device").rglob("certificate.pem"))
    assert instance.show("DEVICE001")["is_registered"]
    assert end_of(leaf) > datetime.datetime.now() + datetime.timedelta(days=9 * 365)
