"""Disks that are full or fail: refusals that say so, nothing acknowledged is lost, and after a full disk all goes on
by itself."""

import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest

from cvm_server import Instance, environment, program, token
from fault_checker import Checker, Crl, Store, same_certificate_again
from fault_load import SETTINGS, Client, CsrMaker, Journal, numbered
from fault_server import preloaded, wait_until

UNAVAILABLE, TRY_AGAIN = 69, 75
NOBODY = 65534


class FaultDisk:
    """Writes in the folder fail while the control file says so."""

    def __init__(self, tmp_path):
        self.folder, self.control = tmp_path / "disk", tmp_path / "control"
        self.folder.mkdir()

    def env(self):
        return preloaded("faultio", CVM_FAULT_DIR=self.folder, CVM_FAULT_CONTROL=self.control)

    def set(self, *faults):
        new = self.control.with_name("control.new")
        new.write_text("".join(f"{fault}\n" for fault in faults))
        new.rename(self.control)

    def fill(self, error="ENOSPC"):
        self.set(f"write {error}", f"pwrite {error}", f"ftruncate {error}")

    def free(self):
        self.control.unlink()

    def end(self):
        pass


class SmallDisk(FaultDisk):
    """A disk of its own, of a few MB, that really fills up."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", self.folder], capture_output=True)
        self.is_mounted = done.returncode == 0

    def fill(self):
        if not self.is_mounted:  # where nobody may mount, the calls fail instead
            super().fill()
            return
        with open(self.folder / "ballast", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def free(self):
        if self.is_mounted:
            (self.folder / "ballast").unlink()
        else:
            super().free()

    def end(self):
        if self.is_mounted:
            subprocess.run(["umount", self.folder], check=True)


class QuotaDisk(FaultDisk):
    def fill(self):
        super().fill("EDQUOT")


class Served:
    """An instance on a disk, its server's output elsewhere."""

    def __init__(self, disk, tmp_path):
        self.disk = disk
        self.instance = Instance(disk.folder)
        self.data = self.instance.folder
        self.journal, self.checker = Journal(), Checker(self.instance)
        self.makers, self.uids = CsrMaker(1), iter(numbered("DEV", 1000))
        self.instance.import_csv(numbered("DEV", 1000))
        self.instance.folder = tmp_path / "logs"
        self.instance.folder.mkdir()
        self.start()

    def start(self):
        self.server = self.instance.serve_plain({**SETTINGS, "log.level": "warning"}, env=self.disk.env())
        self.client = Client(self.instance, self.journal)

    def register(self, count=1):
        """Devices of all kinds; the answers."""
        return [self.client.register(next(self.uids), self.makers.make() if i % 2 else None)[1]
                for i in range(count)]

    def is_ready(self):
        return self.instance.ops("/readyz")[0] == 200

    def check(self):
        assert self.checker.check_settled(self.data, self.journal) == []
        assert same_certificate_again(self.instance, self.journal) == []

    def end(self):
        self.client.close()
        self.instance.kill()
        self.disk.end()


@pytest.fixture(params=[SmallDisk, FaultDisk, QuotaDisk])
def small(request, tmp_path):
    served = Served(request.param(tmp_path), tmp_path)
    yield served
    served.end()


@pytest.fixture
def failing(tmp_path):
    served = Served(FaultDisk(tmp_path), tmp_path)
    yield served
    served.end()


def check_refused(answer, *codes):
    status, headers, body = answer
    assert status == 503 and body["payload"]["code"] in (codes or ("store_unavailable",)), answer
    assert body["payload"]["retryable"] is True and int(headers["Retry-After"]) >= 1


# --- Full -------------------------------------------------------------------------------------------


def fill_up(served):
    """Until registrations are refused: the log has some room yet."""
    served.disk.fill()
    for _ in range(900):
        answer = served.register()[0]
        if answer[0] != 200:
            check_refused(answer)
            return
    raise AssertionError("the disk did not fill up")


def test_a_full_disk_refuses_and_recovers_by_itself(small):
    assert all(answer[0] == 200 for answer in small.register(30))
    for _ in range(2):
        fill_up(small)
        for answer in small.register(10):
            check_refused(answer)
        assert not small.is_ready()
        assert "disk is full" in small.instance.ops("/readyz")[1] + small.server.stderr
        assert same_certificate_again(small.instance, small.journal) == []  # reads go on
        small.disk.free()
        wait_until(small.is_ready)
        assert all(answer[0] == 200 for answer in small.register(30))
        small.check()
    small.instance.stop()


def test_killed_with_a_full_disk(small):
    small.register(30)
    fill_up(small)
    small.instance.kill()
    assert small.checker.check(small.data, small.journal) == []
    small.disk.free()
    small.start()
    small.check()
    assert small.register()[0][0] == 200
    small.instance.stop()


def test_stopped_with_a_full_disk(small):
    small.register(30)
    fill_up(small)
    small.instance.stop()
    small.disk.free()
    assert small.checker.check(small.data, small.journal) == []


def test_a_limit_on_file_sizes_loses_nothing(instance):
    """The limit's signal ends the server, or its writes fail; both are a fault like others."""
    instance.import_csv(numbered("DEV", 400))
    journal, checker, makers = Journal(), Checker(instance), CsrMaker(1)
    size = 1024 * 1024
    instance.serve_plain(SETTINGS, limits={resource.RLIMIT_FSIZE: (size, size)})
    client = Client(instance, journal)
    status = 200
    for uid in numbered("DEV", 400):
        try:
            status = client.register(uid, makers.make())[1][0]
        except OSError:
            status = -signal.SIGXFSZ
        if status != 200:
            break
    assert status in (503, -signal.SIGXFSZ)
    client.close()
    instance.kill()
    assert checker.check(instance.folder, journal) == []
    with instance.serve_plain(SETTINGS):
        assert checker.check_settled(instance.folder, journal) == []
        assert same_certificate_again(instance, journal) == []


# --- Failing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["fdatasync EIO on devices.db", "pwrite EIO on devices.db-wal",
                                   "fdatasync ENOSPC on devices.db"])
def test_an_error_of_the_disk_is_final(failing, fault):
    """After a failed sync what is read may not be on the disk: all is refused until a restart, also when the disk
    seems well again."""
    failing.register(20)
    failing.disk.set(fault)
    check_refused(failing.register()[0], "unknown")  # its commit may be on the disk or not
    for answer in failing.register(3):
        check_refused(answer)
    failing.disk.free()
    for answer in failing.register(3):
        check_refused(answer)
    registered = next(events[-1] for events in failing.journal.events.values() if events[-1].done_ns and events[-1].csr)
    check_refused(failing.client.register(registered.uid, registered.csr)[1])
    check_refused(failing.client.register("NOBODY")[1])
    assert not failing.is_ready()
    assert failing.server.stderr.count("look at the disk, then restart") == 1
    assert "devices.db" in failing.server.stderr
    failing.client.close()
    failing.instance.stop()
    failing.start()
    assert failing.is_ready() and failing.register()[0][0] == 200
    failing.check()
    failing.instance.stop()


def test_an_error_in_a_checkpoint_is_final(failing):
    """The database itself is written by checkpoints alone."""
    failing.disk.set("pwrite EIO end devices.db", "fdatasync EIO end devices.db")
    for _ in range(900):
        answer = failing.register()[0]
        if answer[0] != 200:
            break
    check_refused(answer)
    failing.disk.free()
    check_refused(failing.register()[0])
    failing.client.close()
    failing.instance.stop()
    failing.start()
    failing.check()
    failing.instance.stop()


# --- The CRL's folder -------------------------------------------------------------------------------


def command(served, *arguments, env=None, user=None):
    return subprocess.run([program(), *arguments, "-c", str(served.instance.conf)], capture_output=True,
                          env=environment(**(env or {})), timeout=60, user=user)


@pytest.mark.parametrize("fault", ["write ENOSPC on crl.pem", "fsync EIO on crl.pem"])
def test_a_revocation_that_cannot_be_published_is_carried_out_later(failing, fault):
    failing.register(4)
    uid = next(iter(failing.journal.events))
    failing.disk.set(fault)  # for the server too
    event = failing.journal.begin(uid, "revoke")
    before = (failing.data / "ca/crl.pem").read_bytes()
    done = command(failing, "device", "revoke", uid, env=failing.disk.env())
    assert done.returncode == TRY_AGAIN, done
    assert len(done.stderr.splitlines()) >= 1 and b"recorded, but not carried out" in done.stderr and b"crl.pem" in done.stderr
    failing.server.wait_for_log("no new CRL")
    assert (failing.data / "ca/crl.pem").read_bytes() == before
    assert failing.checker.check(failing.data, failing.journal) == []
    failing.disk.free()
    event.done_ns = time.monotonic_ns()  # the record has it: the server does the rest
    failing.check()
    failing.instance.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_revocation_into_a_folder_that_may_not_be_written(failing):
    failing.register(4)
    failing.client.close()
    failing.instance.stop()
    uid = next(iter(failing.journal.events))
    for path in (failing.data, *failing.data.rglob("*")):
        if path.parent != failing.data / "ca" or path.name in ("issuing.key", ".crl.lock"):
            os.chown(path, NOBODY, NOBODY)
    os.chown(failing.data / "ca", 0, 0)
    before = (failing.data / "ca/crl.pem").read_bytes()
    event = failing.journal.begin(uid, "revoke")
    done = command(failing, "device", "revoke", uid, user=NOBODY)
    assert done.returncode == TRY_AGAIN and b"Permission denied" in done.stderr, done
    assert (failing.data / "ca/crl.pem").read_bytes() == before
    assert not Crl(failing.data / "ca/crl.pem", failing.data / "ca").problems
    failing.start()
    event.done_ns = time.monotonic_ns()
    failing.check()
    failing.instance.stop()


def test_a_full_disk_while_importing(failing):
    """The command says so; what it wrote before stays, and it can be run again."""
    failing.client.close()
    failing.instance.stop()
    rows = failing.instance.folder / "rows.csv"
    uids = numbered("NEW", 9000)
    rows.write_text("device_uid,device_token\n" + "".join(f"{uid},{token(uid)}\n" for uid in uids))
    failing.disk.set("pwrite ENOSPC after 100 on devices.db")
    done = command(failing, "device", "import", str(rows), env=failing.disk.env())
    assert done.returncode in (UNAVAILABLE, TRY_AGAIN) and b"disk is full" in done.stderr, done
    failing.disk.free()
    assert failing.checker.check(failing.data, failing.journal) == []
    assert command(failing, "device", "import", str(rows)).returncode == 0
    assert len(Store(pathlib.Path(failing.data) / "devices.db").devices) == 10000
