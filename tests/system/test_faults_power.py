"""Power cuts: a server and commands recorded under load, the folder rebuilt as a cut at any of their writes could have
left it. What had been acknowledged by then is there. And the same checker notices a store that does not keep that."""

import pathlib
import shutil
import sys
import threading
import time

import pytest

from cvm_server import Instance, scale, seed
from fault_checker import Checker, Crl, Store, same_certificate_again
from fault_load import SETTINGS, Journal, Load, numbered
from fault_server import CopiedInstance, preloaded, report

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "faults"))
import replay  # noqa: E402

CUTS = 20 * scale()
SERVED_CUTS = 2 * scale()
LOAD_S = 1.5 if scale() == 1 else 4
MODES = ("drop", "random", "torn")


class WatchedCrl(threading.Thread):
    """Notes when which crl.pem could be read."""

    def __init__(self, path):
        super().__init__()
        self.path, self.seen, self.is_over = path, [], threading.Event()

    def run(self):
        while not self.is_over.wait(0.02):
            text = self.path.read_text()
            if not self.seen or self.seen[-1][1] != text:
                self.seen.append((time.monotonic_ns(), text))

    def end(self):
        self.is_over.set()
        self.join()


class Recorded:
    """An instance that is recorded while load runs."""

    def __init__(self, tmp_path, bad=None, operators=2, load_s=LOAD_S):
        instance = Instance(tmp_path)
        self.data, self.tmp_path = instance.folder, tmp_path
        self.journal, self.checker = Journal(), Checker(instance)
        instance.import_csv(numbered("DEV", 4000))
        shutil.copytree(self.data, tmp_path / "initial")
        (tmp_path / "logs").mkdir()
        env = preloaded(*(["badstore"] if bad else []), "recorder", CVM_RECORD_DIR=self.data,
                        CVM_RECORD_LOG=tmp_path / "record", **({"CVM_BAD_STORE": bad} if bad else {}))
        instance.folder = tmp_path / "logs"  # the server's output is not recorded
        self._run(instance, env, operators, load_s)
        self.recording = replay.load_log(tmp_path / "record", tmp_path / "initial")

    def _run(self, instance, env, operators, load_s):
        crl = WatchedCrl(self.data / "ca/crl.pem")
        try:
            instance.serve_plain(SETTINGS, env=env)
            crl.start()
            load = Load(instance, self.journal, numbered("DEV", 4000), seed(), operators=operators, env=env)
            load.start()
            time.sleep(load_s)
            load.stop()
            instance.stop()
        finally:
            instance.kill()
            crl.end()
        self.crls = crl.seen

    def cut(self, k, mode):
        """(folder, journal, time) as of a cut."""
        records = self.recording.records
        moment = records[k].time_ns if k < len(records) else time.monotonic_ns()
        folder = self.tmp_path / f"cut-{k}-{mode}"
        replay.rebuild(self.recording, folder, k, seed(), mode)
        return folder, self.journal.until(moment), moment

    def problems_of(self, k, mode):
        folder, journal, moment = self.cut(k, mode)
        problems = self.checker.for_cut().check(folder, journal) + self._number(folder, moment)
        shutil.rmtree(folder)
        return [f"cut at {k} of {len(self.recording.records)}, {mode}: {problem}" for problem in problems]

    def _number(self, folder, moment):
        """The next CRL's number is higher than each that a broker may have read before the cut."""
        seen = [text for time_ns, text in self.crls if time_ns < moment]
        if not seen or not (folder / "devices.db").exists():
            return []
        (folder / "ca/seen.pem").write_text(seen[-1])
        number = Crl(folder / "ca/seen.pem", folder / "ca").number
        stored = Store(folder / "devices.db").crl_number()
        return [f"CRL {number} was out, the store says {stored}"] if 0 < stored < number else []


@pytest.fixture(scope="module")
def recorded(module_path):
    return Recorded(module_path)


def test_nothing_is_written_that_the_recorder_does_not_see(recorded):
    assert replay.unseen(recorded.recording, recorded.data) == []
    assert recorded.checker.check(recorded.data, recorded.journal) == []


def test_what_was_recorded_has_all_kinds_of_writes(recorded):
    """Or the cuts would prove little: commits, checkpoints, CRLs."""
    records = recorded.recording.records
    assert any(r.kind == "W" and r.path == "devices.db-wal" for r in records)
    assert any(r.kind == "W" and r.path == "devices.db" for r in records)
    assert any(r.kind == "R" and r.second_path == "ca/crl.pem" for r in records)
    assert recorded.journal.certificates() > 200


@pytest.mark.parametrize("mode", MODES)
def test_acknowledged_is_durable(recorded, mode):
    cuts = replay.cut_points(recorded.recording, CUTS, seed())
    problems = [problem for k in cuts for problem in recorded.problems_of(k, mode)]
    assert problems == [], f"seed {seed()}"
    report(f"power cuts, {mode}", cuts=len(cuts), writes=len(recorded.recording.records),
           acknowledged=recorded.journal.acknowledged())


def test_a_server_goes_on_after_a_power_cut(recorded):
    for k in replay.cut_points(recorded.recording, SERVED_CUTS, seed() + 1):
        folder, journal, _ = recorded.cut(k, "torn")
        instance = CopiedInstance(folder)
        try:
            instance.serve_plain(SETTINGS)
            assert same_certificate_again(instance, journal) == [], (k, seed())
            assert recorded.checker.for_cut().check_settled(folder, journal) == [], (k, seed())
            instance.stop()
        finally:
            instance.kill()
        shutil.rmtree(folder)


def pages_in_log(log):
    """Numbers of the pages that a write-ahead log holds, and their size (sqlite.org/fileformat2.html)."""
    size, salts = int.from_bytes(log[8:12]), log[16:24]
    frames = range(32, len(log), 24 + size)
    return {int.from_bytes(log[at:at + 4]) for at in frames if log[at + 8:at + 16] == salts}, size


def test_the_log_mends_what_a_checkpoint_has_torn(tmp_path):
    """All of it at once: of each page that the log holds, but one sector is there."""
    instance = Instance(tmp_path)
    instance.import_csv(numbered("DEV", 200))
    with instance.serve_plain(SETTINGS):
        assert instance.register("DEV00001")[0] == 200
        instance.cvm("device", "revoke", "DEV00001")
        instance.kill()
    pages, size = pages_in_log((instance.folder / "devices.db-wal").read_bytes())
    with open(instance.folder / "devices.db", "r+b") as file:
        for page in pages:
            file.seek((page - 1) * size + replay.SECTOR)
            file.write(bytes(size - replay.SECTOR))
    assert len(pages) > 5
    assert instance.cvm("device", "show", "DEV00001").stdout
    with instance.serve_plain(SETTINGS):
        assert instance.register("DEV00002")[0] == 200


class RecordedChanges:
    """A server that starts twice and is killed, and then a backup that is put in place."""

    def __init__(self, tmp_path):
        instance = Instance(tmp_path)
        self.data, self.tmp_path, self.backup = instance.folder, tmp_path, tmp_path / "backup.db"
        instance.import_csv(numbered("DEV", 20))
        instance.cvm("backup", self.backup)
        shutil.copytree(self.data, tmp_path / "initial")
        (tmp_path / "logs").mkdir()
        env = preloaded("recorder", CVM_RECORD_DIR=self.data, CVM_RECORD_LOG=tmp_path / "record")
        instance.folder = tmp_path / "logs"
        for _ in range(2):
            instance.serve_plain(SETTINGS, env=env)
            instance.register(numbered("DEV", 20)[0])
            instance.kill()
        self.served = len(replay.load_log(tmp_path / "record", tmp_path / "initial").records)
        instance.cvm("restore", self.backup, env=env)
        self.recording = replay.load_log(tmp_path / "record", tmp_path / "initial")

    def cut(self, k, mode):
        folder = self.tmp_path / f"cut-{k}-{mode}"
        replay.rebuild(self.recording, folder, k, seed(), mode)
        return CopiedInstance(folder)


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    yield RecordedChanges(tmp_path_factory.mktemp("changes"))


@pytest.mark.parametrize("mode", MODES)
def test_no_cut_makes_a_store_a_strangers(changes, mode):
    """While a server gives its file a new generation, or a restore puts one in place: the file is never refused, nor
    taken with another one's log; without a file, the restore ends well when it is run again."""
    points = replay.cut_points(changes.recording, 60 * scale(), seed())
    late = [k for k in points if k > changes.served]
    assert late and len(late) < len(points)
    missing = 0
    for k in points:
        copy = changes.cut(k, mode)
        if (copy.folder / "devices.db").exists():
            done = copy.cvm("device", "list", check=False)
            assert done.returncode == 0 and done.stdout.count(b"\n") == 20, (k, done)
            assert copy.cvm("store", "check", check=False).returncode == 0, k
        else:
            missing += 1
            assert k > changes.served
            copy.cvm("restore", changes.backup)
            assert copy.cvm("device", "list").stdout.count(b"\n") == 20, k
        shutil.rmtree(copy.folder)
    report(f"power cuts of generations and a restore, {mode}", cuts=len(points), without_a_file=missing)


@pytest.mark.parametrize("bad", ["normal", "early"])
def test_a_store_that_loses_commits_would_be_noticed(tmp_path, bad):
    recorded = Recorded(tmp_path, bad, operators=0, load_s=0.7)
    assert replay.unseen(recorded.recording, recorded.data) == []
    cuts = replay.cut_points(recorded.recording, 20, seed())
    lost = [k for k in cuts if any("is lost" in problem for problem in recorded.problems_of(k, "drop"))]
    assert lost, cuts
