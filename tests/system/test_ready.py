"""/readyz is 200, and --check-config says "is fine", only if a registration would succeed now and the device could
connect with what it is given. What ends is told of before."""

import os
import signal
import subprocess
import time

import pytest

from csr_tools import make_key, openssl
from cvm_server import Instance
from fault_server import wait_until
from test_command import one_line, tree
from test_wrong_clock import LIBRARY, is_sanitized, turned

UNAVAILABLE, CONFIG = 69, 78
DAY_S = 24 * 3600


@pytest.fixture
def instance(tmp_path):
    instance = Instance(tmp_path)
    instance.add("DEVICE")
    yield instance
    instance.kill()


def own_certificate(folder, days, begin="2020-01-01 00:00:00"):
    """A user's certificate that was made then for so many days; by the current clock if begin is None."""
    key, path = folder / "own.key", folder / "own.pem"
    key.write_text(make_key())
    fake = {"LD_PRELOAD": LIBRARY, "FAKETIME": begin} if begin else {}
    subprocess.run(["openssl", "req", "-x509", "-key", key, "-out", path, "-days", str(days), "-subj", "/CN=own",
                    "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True, env={**os.environ, **fake}, timeout=30)
    return {"http.tls_certificate": path, "http.tls_private_key": key}


def options(settings):
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def check(instance, settings=None):
    return instance.cvm("serve", "--check-config", *options(settings or {}), check=False)


def expect(instance, *words, settings=None):
    """Neither is it ready, nor is its configuration fine; both say why."""
    status, text = instance.ops("/readyz")
    assert status == 503 and all(word in text for word in words), text
    before = tree(instance.folder)
    done = check(instance, settings)
    assert done.returncode == UNAVAILABLE and b"is fine" not in done.stdout, done
    assert all(word in done.stderr.decode() for word in words), done
    after = tree(instance.folder)
    assert {name: after[name] for name in before if name not in ("audit.log",)} == {
        name: before[name] for name in before if name not in ("audit.log",)}


def expect_ready(instance, settings=None):
    assert instance.ops("/readyz") == (200, '{"ready":true}\n')
    done = check(instance, settings)
    assert done.returncode == 0 and b"is fine" in done.stdout and b"once" not in done.stdout, done


def end_of(path):
    text = openssl("x509", "-noout", "-enddate", "-in", path).decode().strip().partition("=")[2]
    return time.mktime(time.strptime(text, "%b %d %H:%M:%S %Y %Z")) - time.timezone


def test_a_new_instance_is_ready_once_it_has_a_device(tmp_path):
    instance = Instance(tmp_path)
    done = check(instance)
    assert done.returncode == 0 and b"no device" in done.stderr and b"is fine, once devices are imported" in done.stdout
    instance.add("DEVICE")
    with instance.serve():
        expect_ready(instance)


def test_a_long_path_leaves_room_for_the_reason(tmp_path):
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    instance = Instance(folder)
    instance.add("DEVICE")
    (instance.folder / "mosquitto/server.pem").unlink()
    done = check(instance)
    assert b"/mosquitto/server.pem: is missing" in done.stderr


def test_a_check_needs_no_room_of_its_own(instance):
    assert instance.cvm("serve", "--check-config", env={"TMPDIR": "/nowhere"}).returncode == 0


def test_server_certificates_have_a_metric(instance):
    with instance.serve():
        found = instance.metrics()
        for name in ("tls", "mosquitto"):
            [value] = [value for label, value in found.items()
                       if label.startswith("cvm_certificate_expiry_timestamp_seconds{file=") and
                       f"{name}/server.pem" in label]
            assert value == end_of(instance.folder / name / "server.pem")


@pytest.mark.skipif(is_sanitized() or not LIBRARY, reason="faketime does not run under sanitizers")
class TestTimes:
    def test_a_users_certificate_that_is_over(self, instance, tmp_path):
        settings = own_certificate(tmp_path, 30)
        content = settings["http.tls_certificate"].read_bytes()
        with instance.serve(settings) as server:
            assert server.stderr.count("ended on 2020-01-31") == 1
            [line] = [line for line in server.stderr.splitlines() if "ended on" in line]
            assert " error " in line and "own.pem" in line
            expect(instance, "own.pem", "ended on 2020-01-31", settings=settings)
            assert f'file="{settings["http.tls_certificate"]}"' in instance.ops("/metrics")[1]
        assert settings["http.tls_certificate"].read_bytes() == content

    def test_a_certificate_that_is_over_beside_an_empty_store(self, tmp_path):
        """The check before the first roll-out."""
        done = check(Instance(tmp_path), own_certificate(tmp_path, 30))
        assert done.returncode == UNAVAILABLE and b"own.pem: ended on" in done.stderr and b"is fine" not in done.stdout

    def test_a_command_says_nothing_of_it(self, instance, tmp_path):
        over = own_certificate(tmp_path, 30)["http.tls_certificate"]
        done = instance.cvm("device", "list", "--set", f"mqtt.root_ca={over}")
        assert done.stderr == b""
        with instance.serve({"mqtt.root_ca": over}):
            expect(instance, "own.pem", "ended on", settings={"mqtt.root_ca": over})

    def test_a_certificate_that_ends_soon_is_warned_of(self, instance, tmp_path):
        settings = own_certificate(tmp_path, 5, begin=None)
        with instance.serve(settings) as server:
            [line] = [line for line in server.stderr.splitlines() if "own.pem" in line]
            assert " warning " in line and "ends on" in line
            expect_ready(instance, settings)
        settings = own_certificate(tmp_path, 30, begin=None)
        with instance.serve(settings) as server:
            assert "own.pem" not in server.stderr

    def test_our_own_certificate_that_is_over_is_no_reason_not_to_start(self, instance):
        """serve renews it; a check of the configuration changes nothing."""
        date = time.strftime("%Y-%m-%d 00:00:00", time.gmtime(time.time() + 3 * 365 * DAY_S))
        before = tree(instance.folder)
        done = instance.cvm("serve", "--check-config", check=False, env=turned(date))
        assert done.returncode == 0 and b"serve renews it when it starts" in done.stderr, done
        assert {name: content for name, content in tree(instance.folder).items() if name in before} == before
        with instance.serve(env=turned(date)):
            assert instance.ops("/readyz")[0] == 200

    @pytest.mark.parametrize("days, level, word", [(60, "warning", "ends on"), (100, None, None)])
    def test_an_issuing_ca_that_ends_soon_is_warned_of(self, instance, days, level, word):
        end = end_of(instance.folder / "ca/issuing.pem")
        date = time.strftime("%Y-%m-%d 00:00:00", time.gmtime(end - days * DAY_S))
        with instance.serve(env=turned(date)) as server:
            lines = [line for line in server.stderr.splitlines() if "ca/issuing.pem" in line]
            assert len(lines) == (1 if level else 0)
            assert not level or (f" {level} " in lines[0] and word in lines[0])

    def test_a_root_that_is_over(self, instance):
        """Certificates can be signed still, but nobody takes them."""
        ca = instance.folder / "ca"
        done = subprocess.run(["openssl", "x509", "-in", ca / "root.pem", "-signkey", ca / "offline/root.key", "-days", "1"],
                              check=True, capture_output=True, timeout=30,
                              env={**os.environ, "LD_PRELOAD": LIBRARY, "FAKETIME": "2020-01-01 00:00:00"})
        (ca / "root.pem").write_bytes(done.stdout)
        with instance.serve() as server:
            assert "ca/root.pem: ended on 2020-01-02" in server.stderr
            expect(instance, "ca/root.pem", "ended on 2020-01-02")


@pytest.fixture(scope="module")
def other(module_path):
    return Instance(module_path, name="other")


MISSING, JUNK, FOREIGN = "missing", b"junk\n", "another instance's"
SPOILED = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("name, content, word", [
    ("mosquitto/server.pem", MISSING, "is missing"), ("mosquitto/server.pem", b"", "is no certificate"),
    ("mosquitto/server.pem", SPOILED, "is no certificate"), ("mosquitto/server.pem", FOREIGN, "is of another CA"),
    ("mosquitto/server.key", MISSING, "is missing"), ("mosquitto/server.key", JUNK, "is no private key"),
    ("mosquitto/server.key", FOREIGN, "is not the key of server.pem"),
    ("mosquitto/crl.pem", MISSING, "is missing"), ("mosquitto/crl.pem", JUNK, "lacks the CRL of this CA"),
    ("mosquitto/crl.pem", FOREIGN, "lacks the CRL of this CA"),
    ("ca/chain.pem", MISSING, "is missing"), ("ca/chain.pem", JUNK, "lacks this CA's"),
    ("ca/chain.pem", SPOILED, "something else than certificates"), ("ca/chain.pem", FOREIGN, "lacks this CA's"),
])
def test_what_the_broker_needs(instance, other, name, content, word):
    path = instance.folder / name
    good = path.read_bytes()
    with instance.serve() as server:
        expect_ready(instance)
        if content is MISSING:
            path.unlink()
        else:
            path.write_bytes((other.folder / name).read_bytes() if content is FOREIGN else content)
        expect(instance, name, word)
        path.unlink(missing_ok=True)
        path.mkdir()  # another fault is another line in the log
        assert instance.ops("/readyz")[0] == 503
        assert len([line for line in server.stderr.splitlines() if " error " in line and f"{name}: " in line]) == 2
        path.rmdir()
        path.write_bytes(good)
        expect_ready(instance)
        assert f"{name}: is well again" in server.stderr


def test_a_broker_that_is_none_of_ours_needs_nothing(instance):
    with instance.serve():
        (instance.folder / "mosquitto/server.pem").unlink()
        assert instance.ops("/readyz")[0] == 503
        for path in (instance.folder / "mosquitto").iterdir():
            path.unlink()
        expect_ready(instance)


def test_a_crl_of_another_instance(instance, other):
    """Of a mixed-up ca/: a broker refuses every device by it."""
    crl = instance.folder / "ca/crl.pem"
    with instance.serve():
        crl.write_bytes((other.folder / "ca/crl.pem").read_bytes())
        status, text = instance.ops("/readyz")
        assert status == 503 and "ca/crl.pem: lacks the CRL of this CA" in text


def test_a_crl_that_is_spoiled_or_stale(instance):
    """A broker would refuse every device, or accept the revoked ones. The server puts it right."""
    crl = instance.folder / "ca/crl.pem"

    def is_noticed(spoil):
        spoil()  # again: a CRL that was being written may have come in between
        status, text = instance.ops("/readyz")
        return status == 503 and "ca/crl.pem" in text

    with instance.serve() as server:
        expect_ready(instance)
        for spoil in (lambda: crl.unlink(missing_ok=True), lambda: crl.write_bytes(b""),
                      lambda: crl.write_bytes(crl.read_bytes()[:-100])):
            wait_until(lambda: is_noticed(spoil))
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: instance.ops("/readyz")[0] == 200)
        crl.write_bytes(crl.read_bytes() + b"junk")  # behind the last object nobody reads
        assert instance.ops("/readyz")[0] == 200
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: b"junk" not in crl.read_bytes())


@pytest.mark.parametrize("name", ["ca/crl.pem", "ca/chain.pem", "mosquitto/server.pem", "mosquitto/server.key"])
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(instance, name):
    path = instance.folder / name
    good = path.read_bytes()
    with instance.serve():
        path.unlink()
        os.mkfifo(path)
        for _ in range(5):
            status, text = instance.ops("/readyz")
            assert status == 503 and name in text
        path.unlink()
        path.write_bytes(good)
        assert instance.ops("/readyz")[0] == 200


@pytest.mark.parametrize("name", ["tls/server.pem", "tls/server.key", "ca/issuing.key", "ca/root.crl.pem", "ca/issuing.pem"])
def test_a_pipe_in_the_place_of_what_a_server_loads_is_an_error(instance, name):
    path = instance.folder / name
    path.unlink()
    os.mkfifo(path)
    done = instance.cvm("serve", "--check-config", check=False, timeout_s=20)
    assert done.returncode == CONFIG and name.encode() in done.stderr, done


def test_a_crl_of_many_megabytes(instance):
    """22,000 revoked devices make one; it is read once, however often somebody asks."""
    crl = instance.folder / "ca/crl.pem"
    with instance.serve():
        with crl.open("ab") as file:
            file.write(b"a comment that a reader of PEM passes over\n" * 100_000)
        assert crl.stat().st_size > 4_000_000
        assert all(instance.ops("/readyz")[0] == 200 for _ in range(20))


@pytest.mark.parametrize("content", [b"", b"junk", "spoiled"])
def test_a_broken_root_ca_is_an_error_at_once(instance, tmp_path, content):
    """One good certificate in front of a broken one is a broken chain."""
    path = tmp_path / "anchors.pem"
    good = (instance.folder / "ca/root.pem").read_bytes()
    path.write_bytes(good + good.replace(b"MII", b"NII", 1) if content == "spoiled" else content)
    done = check(instance, {"mqtt.root_ca": path})
    assert done.returncode == CONFIG and b"mqtt.root_ca" in done.stderr, done
    path.write_bytes(good * 2)
    assert check(instance, {"mqtt.root_ca": path}).returncode == 0
