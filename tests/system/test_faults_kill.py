"""Killed at any moment: the server at random and at its Nth system call, the commands at theirs. What was acknowledged
is there, what is due is carried out by the next server."""

import fcntl
import os
import time

import pytest

from cvm_server import Failed, Instance, scale, seed, token
from fault_checker import Checker, Crl, Store, same_certificate_again
from fault_load import SETTINGS, Client, CsrMaker, Journal, Load, numbered
from fault_server import (copy_instance, kill_traced, points_of, preloaded, report, rng, run_traced, sample, strace,
                          traced, wait_killed)

RANDOM_KILLS = 6 * scale()
SERVER_POINTS = 5 * scale()
COMMAND_POINTS = 5 * scale()
DEVICES_A_ROUND = 600


class Rounds:
    """Servers on one folder, each under load until something ends it."""

    def __init__(self, instance, name, rounds):
        self.instance, self.journal, self.checker = instance, Journal(), Checker(instance)
        self.chance = rng(name)
        instance.import_csv(numbered("DEV", DEVICES_A_ROUND * rounds))
        self.uids = numbered("DEV", DEVICES_A_ROUND * rounds)
        self.open = []  # registered or perhaps registered in an earlier round

    def load(self, **options):
        mine, self.uids = self.uids[:DEVICES_A_ROUND], self.uids[DEVICES_A_ROUND:]
        load = Load(self.instance, self.journal, mine, self.chance.random(), **options)
        for i, uid in enumerate(self.open):
            load.owned[i % len(load.owned)].append(uid)
        return load

    def after(self, load):
        """Right after the fault. Some of the devices ask again in the next round."""
        owned = [uid for uids in load.owned for uid in uids]
        self.open = self.chance.sample(owned, min(len(owned), 40))
        assert self.checker.check(self.instance.folder, self.journal) == []

    def restarted(self):
        """A server on the same files serves, and carries out what is due."""
        assert same_certificate_again(self.instance, self.journal) == []
        assert self.checker.check_settled(self.instance.folder, self.journal) == []


def test_killed_at_random_moments(instance):
    rounds = Rounds(instance, "kill", RANDOM_KILLS)
    for _ in range(RANDOM_KILLS):
        instance.serve_plain(SETTINGS)
        rounds.restarted()
        load = rounds.load(operators=2)
        load.start()
        time.sleep(rounds.chance.uniform(0.05, 1.2))
        instance.kill()
        load.stop(kill_commands=rounds.chance.random() < 0.5)
        rounds.after(load)
    instance.serve_plain(SETTINGS)
    rounds.restarted()
    instance.stop()
    assert rounds.journal.certificates() > 20 * RANDOM_KILLS
    report("killed at random", kills=RANDOM_KILLS, acknowledged=rounds.journal.acknowledged(),
           certificates=rounds.journal.certificates())


def test_an_answer_before_the_commit_would_be_noticed(instance):
    rounds = Rounds(instance, "early", 1)
    instance.serve_plain(SETTINGS, env=preloaded("badstore", CVM_BAD_STORE="early"))
    load = rounds.load(operators=0)
    load.start()
    time.sleep(0.3)
    load.stop()
    instance.kill()
    problems = rounds.checker.check(instance.folder, rounds.journal)
    assert any("is lost" in problem for problem in problems), problems


def test_killed_at_a_system_call_under_load(instance):
    rounds = Rounds(instance, "calls", SERVER_POINTS + 2)
    trace = instance.folder / "trace"
    server = instance.serve_plain(SETTINGS, wrapper=strace(output=trace), env=traced())
    load = rounds.load()
    load.start()
    time.sleep(1)
    kill_traced(server)
    load.stop()
    points = points_of(trace)
    trace.unlink()
    calls = sorted({call for call, _ in points})
    assert {"pwrite64", "fdatasync"} <= set(calls), calls
    hits = 0
    for i in range(SERVER_POINTS):
        call = calls[i % len(calls)]
        point = (call, rounds.chance.choice([n for c, n in points if c == call]))
        server = start_or_die(instance, point)
        if server:
            load = rounds.load()
            load.start()
            died = wait_killed(server, 4)
            if not died:
                kill_traced(server)
            load.stop()
            hits += died
            rounds.after(load)
        else:
            hits += 1
        instance.serve_plain(SETTINGS)
        rounds.restarted()
        instance.kill()
    assert hits > SERVER_POINTS // 2
    report("killed at a call of the server", points=SERVER_POINTS, hits=hits, calls=calls,
           acknowledged=rounds.journal.acknowledged())


def start_or_die(instance, point):
    """A server that may be killed before it listens; None then."""
    try:
        return instance.serve_plain(SETTINGS, wrapper=strace(point), env=traced())
    except Failed as problem:
        assert "ended with -9" in str(problem) or "ended with 137" in str(problem), problem
        instance.server = None
        return None


# --- Commands ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(module_path):
    """An instance with some devices, and the journal of their registrations; for copies."""
    instance, journal, maker = Instance(module_path), Journal(), CsrMaker(seed())
    instance.import_csv(numbered("DEV", 40))
    with instance.serve_plain(SETTINGS):
        client = Client(instance, journal)
        for i, uid in enumerate(numbered("DEV", 30)):
            client.register(uid, maker.make() if i % 2 else None)
        client.close()
    return instance, journal


def each_point(registered, tmp_path, arguments):
    """Runs a command on copies, killed at each of some calls: (instance, journal, checker, arguments) after it."""
    template, journal = registered
    trace = tmp_path / "trace"
    copy = copy_instance(template, tmp_path / "whole")
    assert not run_traced([*arguments, "-c", copy.conf], output=trace)
    points = points_of(trace)
    if arguments[0] == "backup":
        arguments[1].unlink()
    killed = 0
    for call, n in sample(rng(arguments[1]), points, COMMAND_POINTS):
        copy = copy_instance(template, tmp_path / f"{call}-{n}")
        checker = Checker(copy)
        checker.number = Crl(copy.folder / "ca/crl.pem", copy.folder / "ca").number
        killed += run_traced([*arguments, "-c", copy.conf], inject=(call, n))
        yield copy, journal.copy(), checker
    assert killed >= min(len(points), COMMAND_POINTS) // 2
    report(f"killed at a call of {' '.join(map(str, arguments[:2]))}", points=len(points), killed=killed)


def test_a_killed_import_is_finished_by_the_next(registered, tmp_path):
    rows = tmp_path / "rows.csv"
    uids = numbered("NEW", 5000) + numbered("DEV", 40)
    rows.write_text("device_uid,device_token\n" + "".join(f"{uid},{token(uid)}\n" for uid in uids))
    for copy, journal, checker in each_point(registered, tmp_path, ["device", "import", rows]):
        assert checker.check(copy.folder, journal) == []
        copy.cvm("device", "import", rows)
        assert checker.check(copy.folder, journal) == []
        assert set(uids) <= set(Store(copy.folder / "devices.db").devices)


@pytest.mark.parametrize("verb", ["revoke", "disable", "reset", "remove"])
def test_a_killed_command_is_finished_by_the_next(registered, tmp_path, verb):
    more = ["--force"] if verb == "remove" else []
    for copy, journal, checker in each_point(registered, tmp_path, ["device", verb, "DEV00004", *more]):
        unknown = journal.begin("DEV00004", verb)
        assert checker.check(copy.folder, journal) == []
        done = copy.cvm("device", verb, "DEV00004", *more, check=False)
        if done.returncode == 0:
            unknown.done_ns = time.monotonic_ns()
        else:  # it was removed; a server revokes its certificate
            assert verb == "remove" and b"no such device" in done.stderr, done
        copy.serve_plain(SETTINGS)
        try:
            assert checker.check_settled(copy.folder, journal) == []
            copy.stop()
        finally:
            copy.kill()


def test_a_command_finishes_what_a_killed_one_of_another_kind_began(registered, tmp_path):
    """Enabled but not yet carried out, then disabled: the certificate is on hold."""
    template, journal = registered
    template = copy_instance(template, tmp_path / "disabled")
    template.cvm("device", "disable", "DEV00004")
    for copy, journal, checker in each_point((template, journal), tmp_path, ["device", "enable", "DEV00004"]):
        event = journal.begin("DEV00004", "disable")
        copy.cvm("device", "disable", "DEV00004")
        event.done_ns = time.monotonic_ns()
        assert checker.check(copy.folder, journal) == []


def test_a_killed_publication_leaves_a_crl(registered, tmp_path):
    for copy, journal, checker in each_point(registered, tmp_path, ["ca", "crl"]):
        assert checker.check(copy.folder, journal) == []
        copy.cvm("ca", "crl")
        assert checker.check(copy.folder, journal) == []


def test_a_killed_backup_leaves_nothing_that_looks_like_one(registered, tmp_path):
    backup = tmp_path / "backup.db"
    for copy, journal, checker in each_point(registered, tmp_path, ["backup", backup]):
        assert checker.check(copy.folder, journal) == []
        if backup.exists():
            assert len(Store(backup).certificates) == 30
            backup.unlink()
        copy.cvm("backup", backup)
        assert len(Store(backup).certificates) == 30
        backup.unlink()


def test_a_killed_init(tmp_path):
    """What it leaves is complete, or the next one says what to do about it; no key is ever open to others."""
    arguments = ["init", tmp_path / "whole", "--endpoint", "localhost"]
    trace = tmp_path / "trace"
    run_traced(arguments, output=trace)
    points = points_of(trace)
    for call, n in sample(rng("init"), points, COMMAND_POINTS):
        folder = tmp_path / f"{call}-{n}"
        run_traced(["init", folder, "--endpoint", "localhost"], inject=(call, n))
        assert Checker._modes(folder) == []
        done = Instance._run("init", folder, "--endpoint", "localhost", check=False)
        assert done.returncode in (0, 73), done
        if done.returncode:
            assert len(done.stderr.splitlines()) == 1 and str(folder).encode() in done.stderr, done.stderr


# --- Promises between two writes --------------------------------------------------------------------


def test_a_superseded_certificate_is_revoked_after_a_kill_before_the_crl(instance):
    instance.add("DEVICE")
    journal, checker = Journal(), Checker(instance)
    instance.serve_plain(SETTINGS)
    client = Client(instance, journal)
    first = client.register("DEVICE")[0]
    path = os.open(instance.folder / "ca/.crl.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with open(path, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # no CRL is written from here on
        second = client.register("DEVICE")[0]
        client.close()
        assert first.certificate_id != second.certificate_id
        instance.kill()
    store = Store(instance.folder / "devices.db")
    assert store.by_id[first.certificate_id]["state"] == "retiring"
    assert not Crl(instance.folder / "ca/crl.pem", instance.folder / "ca").entries
    instance.serve_plain(SETTINGS)
    assert checker.check_settled(instance.folder, journal) == []
    crl = Crl(instance.folder / "ca/crl.pem", instance.folder / "ca")
    assert crl.revokes(store.by_id[first.certificate_id]) and not crl.revokes(store.by_id[second.certificate_id])
    instance.stop()
