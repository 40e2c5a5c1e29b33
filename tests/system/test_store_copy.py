"""A store is moved into another one: while servers write, killed, and by hand."""

import concurrent.futures
import json
import random
import select
import signal
import subprocess
import threading
import time

import pytest

from cvm_server import Failed, Instance, build_folder, environment, program, scale, seed, token
from postgresql import PostgreSQL

FILE = "file:{}/devices.db"


@pytest.fixture(scope="module")
def database():
    with PostgreSQL() as server:
        yield server


class Move:
    """An instance on a file, and what it is moved to."""

    def __init__(self, instance, database):
        self.instance = instance
        self.database = database
        self.file = FILE.format(instance.folder)
        self.target = database.uri
        database.sql("DROP SCHEMA IF EXISTS cvm CASCADE")
        instance.conf.write_text(f"{instance.conf.read_text()}\nmodule.path = {build_folder()}\n")

    def copy(self, *more, source=None, target=None, check=True):
        return self.instance.cvm("store", "copy", source or self.file, target or self.target, *more, check=check)

    def begin(self, *more):
        """A copy that runs."""
        return subprocess.Popen([program(), "store", "copy", self.file, self.target, *more, "-c", self.instance.conf],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())

    def catch_frozen(self, number):
        """A copy that got the signal while its source was frozen, and before it was complete."""
        for _ in range(5):
            copying = self.begin("--finish")
            assert "frozen" in copying.stdout.readline()
            copying.send_signal(number)
            if not select.select([copying.stdout], [], [], 0.3)[0] or not copying.stdout.readline():
                return copying
            copying.kill()  # it was too late
            copying.communicate()
            self.instance.cvm("store", "thaw")
            self.database.sql("DROP SCHEMA cvm CASCADE")
            self.copy()
        raise AssertionError("it is complete too soon")

    def use(self, store):
        """The instance's store from now on."""
        lines = [f"store = {store}" if line.startswith("store = ") else line
                 for line in self.instance.conf.read_text().splitlines()]
        self.instance.conf.write_text("\n".join(lines) + "\n")

    def dump_one(self, store, uid):
        self.use(store)
        return self.instance.show(uid)

    def dump(self, store):
        """All that a store has, as the command tells it."""
        self.use(store)
        uids = [line.split()[-1] for line in self.instance.cvm("device", "list").stdout.decode().splitlines()]
        shown = [self.instance.cvm("device", "show", uid, "--json").stdout for uid in sorted(uids)]
        return [json.loads(text) for text in shown]


@pytest.fixture
def move(instance, database):
    return Move(instance, database)


def register(instance, uid, csr=None):
    status, _, body = instance.register(uid, token(uid), csr)
    return status, body


def live(instance):
    """Devices in every state: waiting, registered, issued anew, revoked, disabled, compromised, gone."""
    uids = ["WAITING", "REGISTERED", "ANEW", "REVOKED", "DISABLED", "COMPROMISED", "GONE"]
    instance.import_csv(uids)
    with instance.serve_plain():
        for uid in uids[1:]:
            assert register(instance, uid)[0] == 200
        instance.cvm("device", "reset", "ANEW")
        assert register(instance, "ANEW")[0] == 200
        instance.cvm("device", "revoke", "REVOKED")
        instance.cvm("device", "revoke", "COMPROMISED", "--reason", "keyCompromise")
        instance.cvm("device", "disable", "DISABLED")
        instance.cvm("device", "remove", "GONE", "--force")


def revoked_serials(instance):
    text = subprocess.run(["openssl", "crl", "-in", instance.folder / "ca/crl.pem", "-noout", "-text"],
                          check=True, capture_output=True, text=True).stdout
    return sorted(line.split()[-1] for line in text.splitlines() if "Serial Number:" in line)


def test_a_whole_store_goes_to_postgresql_and_back(move, tmp_path):
    instance = move.instance
    live(instance)
    before, listed = move.dump(move.file), revoked_serials(instance)
    assert len(listed) == 5
    said = move.copy("--finish").stdout.decode()
    assert "6 devices and 7 certificates are in" in said and "all was verified" in said
    assert move.dump(move.target) == before
    # Servers go on with it: nobody is let in again, who was registered is told the same, a key stays lost.
    with instance.serve_plain():
        assert register(instance, "REVOKED")[1]["payload"]["code"] == "not_authorized"
        assert register(instance, "WAITING")[0] == 200
        instance.cvm("device", "enable", "DISABLED")
        time.sleep(1.5)
        assert len(revoked_serials(instance)) == 4 and set(revoked_serials(instance)) <= set(listed)
    # And back, into a new file.
    before = move.dump(move.target)
    back = FILE.format(tmp_path / "back")
    (tmp_path / "back").mkdir()
    move.copy("--finish", source=move.target, target=back)
    assert move.dump(back) == before
    with instance.serve_plain({"registration.retry_window": 0}):
        assert register(instance, "WAITING")[1]["payload"]["code"] == "already_registered"


def test_what_changes_between_two_copies_goes_over(move):
    instance = move.instance
    live(instance)
    move.copy()
    instance.add("NEW")
    with instance.serve_plain():
        assert register(instance, "WAITING")[0] == 200
        instance.cvm("device", "reset", "REGISTERED")
        assert register(instance, "REGISTERED")[0] == 200
        instance.cvm("device", "enable", "DISABLED")
        instance.cvm("device", "remove", "ANEW", "--force")
        instance.cvm("device", "remove", "REVOKED", "--force")
        instance.add("REVOKED")
        assert register(instance, "REVOKED")[0] == 200
        instance.cvm("device", "revoke", "DISABLED", "--reason", "keyCompromise")
    move.copy("--finish")
    assert move.dump(move.target) == move.dump(move.file)


def test_a_key_that_went_to_another_device_goes_over(move, csr):
    """A is removed, and B has its key: the target has it of A still when B comes."""
    instance = move.instance
    instance.import_csv(["Z_FIRST", "A_SECOND"])
    with instance.serve_plain():
        assert register(instance, "Z_FIRST", csr)[0] == 200
        move.copy()
        instance.cvm("device", "remove", "Z_FIRST", "--force")
        assert register(instance, "A_SECOND", csr)[0] == 200
    move.copy("--finish")
    assert move.dump(move.target) == move.dump(move.file)


def test_keys_that_two_devices_exchanged_go_over(move, tmp_path):
    """Each waits for the other's: as they are there, neither can be written first."""
    instance = move.instance
    first, second, between = (new_csr(tmp_path, name) for name in ("first", "second", "between"))
    instance.import_csv(["A", "B"])
    with instance.serve_plain():
        assert register(instance, "A", first)[0] == register(instance, "B", second)[0] == 200
        move.copy()
        for uid, csr in (("A", between), ("B", first), ("A", second)):
            instance.cvm("device", "revoke", uid)
            instance.cvm("device", "reset", uid)
            instance.cvm("device", "enable", uid)
            assert register(instance, uid, csr)[0] == 200
    move.copy("--finish")
    assert move.dump(move.target) == move.dump(move.file)


def test_a_key_that_its_device_lost_goes_over(move, csr):
    """A registers and is revoked for keyCompromise after the first pass."""
    instance = move.instance
    instance.import_csv(["A"])
    move.copy()
    with instance.serve_plain():
        assert register(instance, "A", csr)[0] == 200
        instance.cvm("device", "revoke", "A", "--reason", "keyCompromise")
    move.copy("--finish")
    assert move.dump(move.file) == move.dump(move.target)
    with instance.serve_plain():
        instance.cvm("device", "reset", "A")
        instance.cvm("device", "enable", "A")
        assert register(instance, "A", csr)[0] == 422


def test_rows_that_others_made_go_over(move):
    """They may have no revision."""
    move.instance.import_csv(["A", "B"])
    move.copy()
    subprocess.run(["sqlite3", move.file[5:], "UPDATE devices SET revision = 0, is_enabled = 0 WHERE device_uid = 'A'"], check=True)
    move.copy("--finish")
    assert move.dump(move.target) == move.dump(move.file)


@pytest.fixture
def csr(tmp_path):
    return new_csr(tmp_path, "csr")


def new_csr(folder, name):
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=x", "-keyout", folder / "key.pem", "-out", folder / name], check=True, capture_output=True)
    return (folder / name).read_text()


def test_registrations_go_on_while_it_is_copied_and_none_is_lost(move):
    """What was acknowledged is there, on whichever side; once it is frozen devices are told to come again."""
    instance = move.instance
    uids = [f"DEVICE{i:05}" for i in range(3000 * scale())]
    instance.import_csv(uids)
    told, codes = {}, set()
    is_over = threading.Event()
    lock = threading.Lock()
    waiting = iter(uids[:-5])

    def come():
        while not is_over.is_set():
            with lock:
                uid = next(waiting, None)
            if uid is None:
                return
            status, body = register(instance, uid)
            if status == 200:
                told[uid] = body["payload"]["certificate_id"]
            else:
                codes.add((status, body["payload"]["code"]))

    with instance.serve_plain(), concurrent.futures.ThreadPoolExecutor(8) as pool:
        devices = [pool.submit(come) for _ in range(8)]
        while len(told) < 50 and not any(device.done() for device in devices):
            time.sleep(0.01)
        move.copy()
        said = move.copy("--finish").stdout.decode()
        frozen = {uid for uid in told}
        status, body = register(instance, uids[-1])
        assert (status, body["payload"]["code"]) == (503, "store_unavailable")
        assert instance.ops("/readyz")[0] == 503
        is_over.set()
        for device in devices:
            device.result()
        assert set(told) == frozen  # none that was acknowledged came after it
    assert codes <= {(503, "store_unavailable")}
    assert f"{len(uids)} devices and" in said
    move.use(move.target)
    rows = dict(line.split("|") for line in move.database.sql(
        "SELECT device_uid, certificate_id FROM cvm.certificates WHERE state = 'current'").splitlines())
    assert all(rows[uid] == made for uid, made in told.items())
    with instance.serve_plain():
        for uid in uids[-5:]:
            assert register(instance, uid)[0] == 200


def test_a_freeze_waits_for_who_writes_and_not_for_long(move):
    """In PostgreSQL: a transaction that does not end holds the freeze up, which gives up and is gone."""
    instance = move.instance
    instance.import_csv(["D1"])
    move.copy("--finish")
    move.use(move.target)
    holder = subprocess.Popen(["psql", "-h", move.database.folder, "-U", "cvm", "-q", "postgres"], stdin=subprocess.PIPE, text=True)
    holder.stdin.write("BEGIN; UPDATE cvm.devices SET is_enabled = is_enabled;\n")
    holder.stdin.flush()
    while move.database.sql("SELECT count(*) FROM pg_locks WHERE relation = 'cvm.devices'::regclass") == "0":
        time.sleep(0.02)
    back = FILE.format(instance.folder / "back")
    (instance.folder / "back").mkdir()
    done = move.copy("--finish", source=move.target, target=back, check=False)
    holder.communicate("COMMIT;\n")
    assert done.returncode == 69 and b"lock timeout" in done.stderr
    instance.cvm("device", "disable", "D1")  # it is not
    move.copy("--finish", source=move.target, target=back)


def test_a_copy_that_was_killed_goes_on(move):
    chance = random.Random(seed())
    instance = move.instance
    instance.import_csv([f"DEVICE{i:06}" for i in range(30000)])
    counts = []
    for _ in range(5):
        copying = move.begin()
        time.sleep(chance.uniform(0.02, 0.3))
        copying.kill()
        copying.communicate()
        if move.database.sql("SELECT to_regclass('cvm.devices')"):
            counts.append(int(move.database.sql("SELECT count(*) FROM cvm.devices")))
    assert counts == sorted(counts)
    assert "30000 devices and" in move.copy("--finish").stdout.decode()
    assert move.database.sql("SELECT count(*) FROM cvm.devices") == "30000"


def test_one_that_was_killed_while_it_is_frozen_is_finished_or_given_up(move):
    instance = move.instance
    instance.import_csv([f"DEVICE{i:06}" for i in range(30000)])
    move.copy()
    move.catch_frozen(signal.SIGKILL).communicate()
    done = instance.cvm("device", "disable", "DEVICE000001", check=False)
    assert done.returncode == 69 and b"the store is frozen" in done.stderr
    instance.cvm("store", "thaw")
    instance.cvm("device", "disable", "DEVICE000001")
    assert instance.cvm("store", "thaw", check=False).returncode == 65
    move.copy("--finish")
    assert move.dump_one(move.target, "DEVICE000001") == move.dump_one(move.file, "DEVICE000001")


def test_one_whose_source_was_thawed_meanwhile_is_not_complete(move):
    """Somebody thaws it while it is compared, and the source goes on."""
    instance = move.instance
    instance.import_csv([f"DEVICE{i:06}" for i in range(30000)])
    move.copy()
    copying = move.catch_frozen(signal.SIGSTOP)
    instance.cvm("store", "thaw")
    instance.cvm("device", "disable", "DEVICE000001")
    copying.send_signal(signal.SIGCONT)
    out, errors = copying.communicate(timeout=60)
    assert copying.returncode in (65, 69, 77) and "the copy is complete" not in out, errors
    instance.cvm("device", "enable", "DEVICE000001")  # it is not frozen
    move.use(move.target)
    assert b"is not complete" in instance.cvm("device", "list", check=False).stderr
    move.use(move.file)
    move.copy("--finish")
    assert move.dump_one(move.target, "DEVICE000001") == move.dump_one(move.file, "DEVICE000001")


def test_an_interrupted_one_thaws(move):
    instance = move.instance
    instance.import_csv([f"DEVICE{i:06}" for i in range(30000)])
    move.copy()
    copying = move.begin("--finish")
    assert "frozen" in copying.stdout.readline()
    copying.send_signal(signal.SIGINT)
    _, errors = copying.communicate(timeout=30)
    if copying.returncode:  # it may have been complete by then
        assert "the copy was interrupted; FROM is thawed" in errors
        instance.cvm("device", "disable", "DEVICE000001")


def test_nothing_starts_on_half_a_copy(move):
    instance = move.instance
    instance.import_csv(["D1", "D2"])
    move.copy()
    move.use(move.target)
    done = instance.cvm("device", "list", check=False)
    assert done.returncode == 78 and b"is not complete: finish it by `cvm store copy --finish`" in done.stderr
    with pytest.raises(Failed, match="is not complete"):
        instance.serve_plain()
    move.use(move.file)
    move.copy("--finish")
    move.use(move.target)
    assert len(instance.cvm("device", "list").stdout.splitlines()) == 2


def test_a_target_with_devices_of_its_own_is_left_alone(move, tmp_path):
    other = Instance(tmp_path, name="other")
    other.import_csv(["ITS_OWN"])
    move.instance.import_csv(["D1"])
    done = move.copy(target=FILE.format(other.folder), check=False)
    assert done.returncode == 77 and b"to: there are devices or certificates in it that no copy has made" in done.stderr
    assert b"ITS_OWN" in other.cvm("device", "list").stdout


def test_a_store_is_not_copied_into_itself(move, tmp_path):
    move.instance.import_csv(["D1"])
    done = move.copy(target=move.file, check=False)
    assert done.returncode == 77
    assert b"D1" in move.instance.cvm("device", "list").stdout
    move.instance.cvm("device", "remove", "D1")
    assert move.copy(target=move.file, check=False).returncode == 77
    move.instance.add("D2")
    missing = move.copy(source=FILE.format(tmp_path / "nowhere"), check=False)
    assert missing.returncode in (69, 78) and b"nowhere" in missing.stderr


def test_properties_of_the_store_that_is_not_in_use_are_known(move):
    instance = move.instance
    instance.import_csv(["D1"])
    conf = instance.conf.read_text()
    instance.conf.write_text(conf + "postgresql.schema = another\n")
    move.database.sql("DROP SCHEMA IF EXISTS another CASCADE")
    assert b"D1" in instance.cvm("device", "list").stdout
    move.copy("--finish")
    assert move.database.sql("SELECT device_uid FROM another.devices") == "D1"
    instance.conf.write_text(conf + "postgresql.shcema = another\n")
    done = instance.cvm("device", "list", check=False)
    assert done.returncode == 78 and b"there is no property 'postgresql.shcema'" in done.stderr


@pytest.mark.parametrize("arguments, text", [
    ((), b"--help"), (("file:a",), b"--help"), (("file:a", "nonsense:b"), b"there is no 'nonsense' here")])
def test_what_is_asked_wrongly_is_told(move, arguments, text):
    done = move.instance.cvm("store", "copy", *arguments, check=False)
    assert done.returncode in (64, 78) and text in done.stderr
