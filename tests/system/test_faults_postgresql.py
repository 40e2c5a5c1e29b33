"""Three servers on one PostgreSQL, their clocks apart, devices that ask all of them at once, and everything that may happen
to a database, a network or a server: each device has one certificate, and what was acknowledged is there. The seed is told; CVM_TEST_SEED sets it."""

import collections
import concurrent.futures
import contextlib
import os
import random
import signal
import threading
import time

import pytest

from cvm_server import clock, scale, seed, token
from fault_load import CsrMaker
from postgresql import PostgreSQL

SERVERS = 3
CLOCKS_S = [0, -90, 90]  # of each server: ahead of the database's
DEVICES = 40 * scale()
CLIENTS = 8
SETTINGS = {"registration.retry_window": 0, "postgresql.timeout": "3s"}


class Fleet:
    """The servers, what was asked of them, and what they said."""

    def __init__(self, database, folder):
        self.database = database
        self.chance = random.Random(seed())
        self.instances = database.instances(folder, SERVERS)
        self.uids = [f"DEVICE{i:04}" for i in range(DEVICES)]
        self.instances[0].import_csv(self.uids)
        requests = CsrMaker(seed())
        self.csrs = {uid: requests.make() for uid in self.uids}
        self.told = collections.defaultdict(set)  # (uid, csr) → certificates that were acknowledged
        self.codes = collections.Counter()
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        for instance in self.instances:
            self.serve(instance)

    def serve(self, instance):
        ahead_s = CLOCKS_S[self.instances.index(instance)]
        instance.serve_plain(SETTINGS, env=clock(f"{ahead_s:+}s") if ahead_s else None)

    def ask(self, instance, uid):
        """One request. The code that it is told, None if it is told nothing."""
        csr = self.csrs[uid]
        try:
            status, _, body = instance.register(uid, token(uid), csr, timeout_s=20)
        except (OSError, ValueError, AttributeError):  # the server is gone, or not there yet
            return None
        with self.lock:
            if status == 200:
                self.told[uid, csr].add(body["payload"]["certificate_id"])
            code = "ok" if status == 200 else body["payload"]["code"]
            self.codes[code] += 1
        return code

    def come(self, number):
        """A client: devices in an order of its own, at any server, again and again."""
        chance = random.Random(f"{seed()}:{number}")
        while not self.is_over.is_set():
            if self.ask(chance.choice(self.instances), chance.choice(self.uids)) != "ok":
                time.sleep(0.02)

    # --- What happens ---

    def backends_end(self):
        self.database.end_backends()

    def the_server_restarts(self):
        self.database.restart()

    def the_server_stands_still(self):
        self.database.freeze(4)

    def a_table_is_locked(self):
        self.database.sql("BEGIN; LOCK TABLE cvm.devices IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2); COMMIT")

    def nobody_may_write(self):
        self.database.set("default_transaction_read_only", "on")
        self.database.end_backends()
        time.sleep(1.5)
        self.database.set("default_transaction_read_only", "off")

    def transactions_are_serializable(self):
        self.database.set("default_transaction_isolation", "serializable")
        self.database.end_backends()

    def one_of_us_is_killed(self):
        instance = self.chance.choice(self.instances)
        instance.server.kill()
        time.sleep(0.5)
        self.serve(instance)

    def one_of_us_stands_still(self):
        server = self.chance.choice(self.instances).server
        server.send_signal(signal.SIGSTOP)
        time.sleep(4)
        server.send_signal(signal.SIGCONT)

    def a_backend_stands_still(self):
        pids = []
        while not pids:
            pids = self.database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'cvm' ORDER BY 1").split()
        pid = int(self.chance.choice(pids))
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGSTOP)
            time.sleep(4)
            os.kill(pid, signal.SIGCONT)

    def the_network_is_slow(self):
        with self.database.network.bad("latency", latency=400, jitter=300):
            time.sleep(2)

    def the_network_swallows_answers(self):
        with self.database.network.bad("timeout", timeout=0):
            time.sleep(4)

    def the_network_swallows_questions(self):
        with self.database.network.bad("timeout", "upstream", timeout=0):
            time.sleep(4)

    def answers_are_cut(self):
        with self.database.network.bad("limit_data", bytes=20000):
            time.sleep(2)

    def connections_are_reset(self):
        with self.database.network.bad("reset_peer", timeout=200):
            time.sleep(2)

    def the_network_is_gone(self):
        with self.database.network.gone():
            time.sleep(1.5)

    FAULTS = [backends_end, the_server_restarts, the_server_stands_still, a_table_is_locked, nobody_may_write,
              transactions_are_serializable, one_of_us_is_killed, one_of_us_stands_still, a_backend_stands_still,
              the_network_is_slow, the_network_swallows_answers, the_network_swallows_questions, answers_are_cut,
              connections_are_reset, the_network_is_gone]

    def suffer(self):
        """Each of the faults, in an order of the seed's, and again."""
        for _ in range(scale()):
            for fault in self.chance.sample(self.FAULTS, len(self.FAULTS)):
                fault(self)
                time.sleep(self.chance.uniform(0.2, 1.5))

    # --- What must be so ---

    def settle(self, uid):
        """A final answer of each server."""
        for instance in self.instances:
            end = time.monotonic() + 60
            while (code := self.ask(instance, uid)) != "ok":
                assert time.monotonic() < end, (uid, code, self.codes)
                time.sleep(0.1)

    def check(self):
        for key, certificates in self.told.items():
            assert len(certificates) == 1, key
        current = collections.Counter(self.database.sql(
            "SELECT device_uid FROM cvm.certificates WHERE state = 'current'").split())
        assert current == collections.Counter(self.uids)
        recorded = dict(line.split("|") for line in self.database.sql(
            "SELECT device_uid, certificate_id FROM cvm.devices WHERE is_registered = 1").split())
        assert recorded == {uid: next(iter(self.told[uid, self.csrs[uid]])) for uid in self.uids}
        assert self.database.sql("SELECT count(*) FROM cvm.certificates") == str(DEVICES)  # refused ones left nothing
        assert self.database.sql("SELECT count(*) FROM cvm.keys") == str(DEVICES)
        for instance, ahead_s in zip(self.instances, CLOCKS_S):
            assert abs(instance.metrics()["cvm_store_clock_offset_seconds"] + ahead_s) < 5
        assert not set(self.codes) - {"ok", "store_unavailable", "unknown", "in_progress", "overloaded", "conflict"}, self.codes

    def live_through(self, happening):
        """While devices come; then all is as it must be."""
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self.come, number) for number in range(CLIENTS)]
            try:
                happening()
            finally:
                self.is_over.set()
            for client in clients:
                client.result()
            for settled in [pool.submit(self.settle, uid) for uid in self.uids]:
                settled.result()
        self.check()

    def stop(self):
        for instance in self.instances:
            instance.stop()


@pytest.fixture
def fleet(tmp_path):
    print("seed", seed())
    with PostgreSQL(behind_network=True) as database:
        world = Fleet(database, tmp_path)
        yield world
        world.stop()


def test_a_standby_that_takes_over_has_all_that_was_acknowledged(tmp_path):
    """A synchronous one; the servers know both hosts, and find out which takes writes."""
    with PostgreSQL() as primary, PostgreSQL(standby_of=primary) as standby:
        primary.set("synchronous_standby_names", "*")
        primary.hosts.append(standby.folder)
        world = Fleet(primary, tmp_path)

        def the_primary_is_lost():
            time.sleep(3)
            primary.stop()
            before = dict(world.told)
            time.sleep(0.5)
            standby.promote()
            world.database = standby
            standby.set("synchronous_standby_names", "")  # it has none of its own
            assert before
            time.sleep(3)

        world.live_through(the_primary_is_lost)
        world.stop()
    assert world.codes["store_unavailable"] + world.codes["unknown"] > 0


def test_whatever_happens_each_device_has_the_certificate_that_it_was_told(fleet):
    fleet.live_through(fleet.suffer)
    assert fleet.codes["ok"] > DEVICES and fleet.codes["store_unavailable"] + fleet.codes["unknown"] > 0
