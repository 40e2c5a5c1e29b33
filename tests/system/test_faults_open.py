"""Stores that can't be opened, and copies of stores: what the server and the commands say, and what a backup holds."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import time

import pytest

from cvm_server import Failed, environment, program, scale, seed
from fault_checker import Checker, Crl, Store, same_certificate_again
from fault_load import SETTINGS, Client, CsrMaker, Journal, Load, numbered
from fault_server import copy_instance, preloaded, report

UNAVAILABLE, CANTCREAT, TRY_AGAIN, CONFIG = 69, 73, 75, 78
NOBODY = 65534
BACKUPS = 2 * scale()


def run(instance, *arguments, user=None):
    return subprocess.run([program(), *arguments, "-c", str(instance.conf)], capture_output=True,
                          env=environment(), timeout=30, user=user)


def check_error(done, code, *words):
    """One line of standard error that names the file and says what is wrong."""
    lines = [line for line in done.stderr.decode().splitlines() if "root.key" not in line]
    assert done.returncode == code and len(lines) == 1, done
    assert all(word in lines[0] for word in words), lines


def both(instance, code, *words, user=None):
    check_error(run(instance, "serve", user=user), code, *words)
    check_error(run(instance, "device", "list", user=user), code, *words)


def store_of(instance):
    return instance.folder / "devices.db"


@pytest.mark.parametrize("size", [100, 4096, 65536])
def test_bytes_that_are_no_database(instance, size):
    store_of(instance).write_bytes(random.Random(seed()).randbytes(size))
    both(instance, CONFIG, "devices.db", "database")


def test_a_database_that_was_cut(instance):
    os.truncate(store_of(instance), 5000)
    both(instance, CONFIG, "devices.db", "malformed")


def test_a_database_with_broken_pages(instance):
    """What is broken deep inside is found by who reads it: refused, with a line in the log; no answer is made up."""
    instance.import_csv(numbered("DEV", 2000))
    with open(store_of(instance), "r+b") as file:
        file.seek(65536)
        file.write(random.Random(seed()).randbytes(store_of(instance).stat().st_size - 65536))
    with pytest.raises(Failed, match=f"ended with {UNAVAILABLE}") as failure:
        instance.serve_plain(SETTINGS)
    assert "devices.db: database disk image is malformed" in str(failure.value)
    assert run(instance, "device", "list").returncode == UNAVAILABLE
    done = run(instance, "store", "check")
    assert done.returncode == 65 and b"Page" in done.stdout and b"is damaged" in done.stderr, done


def test_rows_that_contradict_each_other_are_found(instance):
    instance.import_csv(numbered("DEV", 3))
    with instance.serve_plain(SETTINGS):
        first, second, _ = [instance.register(uid)[2]["payload"]["certificate_id"] for uid in numbered("DEV", 3)]
    uids = numbered("DEV", 3)
    assert run(instance, "store", "check").stdout.endswith(b" has no damage\n")
    assert run(instance, "store", "check", "--json").stdout == b""
    with sqlite3.connect(store_of(instance)) as db:
        db.execute("UPDATE devices SET certificate_id = NULL WHERE device_uid = ?", uids[:1])
        db.execute("UPDATE certificates SET state = 'odd' WHERE certificate_id = ?", (second,))
        db.execute("DELETE FROM certificates WHERE device_uid = ?", uids[2:])
        db.execute("UPDATE devices SET thing_name = ? WHERE device_uid = ?", ("t" * 129, uids[1]))
    db.close()
    found = [f"device '{uids[0]}' is registered without a certificate",
             f"device '{uids[2]}' has a certificate that is not there",
             f"certificate '{first}' is current, and no device's",
             f"certificate '{second}' is in a state that does not exist", f"device '{uids[1]}' has a text that is too long"]
    done = run(instance, "store", "check")
    assert done.returncode == 65 and done.stdout.decode().splitlines() == found
    done = run(instance, "store", "check", "--json")
    assert done.returncode == 65 and [json.loads(line) for line in done.stdout.splitlines()] == \
        [{"damage": line} for line in found]


def test_a_database_that_is_broken_all_over(instance):
    instance.import_csv(numbered("DEV", 2000))
    with open(store_of(instance), "r+b") as file:
        file.seek(4096)
        file.write(random.Random(seed()).randbytes(store_of(instance).stat().st_size - 4096))
    both(instance, CONFIG, "devices.db", "malformed")


@pytest.mark.parametrize("version,words", [(2, "newer release"), (2**31 - 1, "newer release"), (-1, "not a store")])
def test_a_schema_that_is_not_known(instance, version, words):
    with sqlite3.connect(store_of(instance)) as db:
        known = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version = {max(version, known + 1) if version > 0 else version}")
    db.close()
    before = store_of(instance).read_bytes()
    both(instance, CONFIG, "devices.db", words)
    assert store_of(instance).read_bytes()[100:] == before[100:]


def test_an_empty_file_is_no_store(instance):
    """But to a server that is told to make one."""
    store_of(instance).write_bytes(b"")
    check_error(run(instance, "device", "list"), CONFIG, "devices.db", "there is no store")
    check_error(run(instance, "serve"), UNAVAILABLE, "devices.db", "--create-store")
    assert store_of(instance).stat().st_size == 0
    with instance.serve_plain({**SETTINGS, "store.create": "true"}):
        instance.add("DEVICE")
        assert instance.register("DEVICE")[0] == 200


def test_a_folder_that_is_missing(instance):
    text = instance.conf.read_text()
    assert "file:devices.db" in text
    instance.conf.write_text(text.replace("file:devices.db", "file:nowhere/devices.db"))
    check_error(run(instance, "device", "list"), CONFIG, "nowhere/devices.db", "No such file")
    check_error(run(instance, "serve"), UNAVAILABLE, "nowhere/devices.db", "is it mounted?")
    check_error(run(instance, "serve", "--create-store"), CONFIG, "nowhere/devices.db", "No such file")


def test_a_long_path_is_named_by_its_end(instance):
    text = instance.conf.read_text()
    instance.conf.write_text(text.replace("file:devices.db", f"file:{'x' * 100}/{'y' * 100}/devices.db"))
    check_error(run(instance, "device", "list"), CONFIG, "y/devices.db", "No such file")
    check_error(run(instance, "serve"), UNAVAILABLE, "devices.db", "is it mounted?")


def test_a_folder_in_the_files_place(instance):
    store_of(instance).unlink()
    store_of(instance).mkdir()
    both(instance, CONFIG, "devices.db", "unable to open")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("what", ["readable", "closed"])
def test_a_file_that_may_not_be_written(instance, what):
    for path in (instance.folder, *instance.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chown(store_of(instance), 0, 0)
    store_of(instance).chmod(0o644 if what == "readable" else 0o600)
    both(instance, CONFIG, "devices.db", "read-only" if what == "readable" else "Permission denied", user=NOBODY)


def test_a_second_server(instance):
    instance.add("DEVICE")
    with instance.serve_plain(SETTINGS):
        check_error(run(instance, "serve"), TRY_AGAIN, "devices.db.lock", "another server")
        assert instance.register("DEVICE")[0] == 200
        assert run(instance, "serve", "--check-config").returncode == 0
    instance.serve_plain(SETTINGS)  # a dead server's lock is gone with it
    instance.kill()
    with instance.serve_plain(SETTINGS):
        assert instance.ops("/readyz")[0] == 200


# --- Backups ----------------------------------------------------------------------------------------


def test_a_backup_under_load_is_a_store(instance, tmp_path):
    journal, checker = Journal(), Checker(instance)
    uids = numbered("DEV", 3000 * scale())
    instance.import_csv(uids)
    copies = []
    with instance.serve_plain(SETTINGS):
        load = Load(instance, journal, uids, seed(), operators=2)
        load.start()
        for i in range(BACKUPS):
            time.sleep(0.4)
            folder = tmp_path / f"backup-{i}"
            folder.mkdir()
            begun_ns = time.monotonic_ns()
            instance.cvm("backup", folder / "devices.db")
            copies.append((folder, journal.until(begun_ns, time.monotonic_ns())))
        load.stop()
        assert checker.check_settled(instance.folder, journal) == []
    for folder, then in copies:
        assert then.certificates() > 20
        assert sorted(path.name for path in folder.iterdir()) == ["devices.db"]
        assert checker.check(folder, then, with_crl=False) == []
    report("backups under load", backups=BACKUPS, acknowledged=journal.acknowledged())
    restored = restore(instance, copies[-1][0] / "devices.db", tmp_path / "restored")
    crl = Crl(restored.folder / "ca/crl.pem", restored.folder / "ca")
    carried = {serial for serial, reason in crl.entries.items() if reason != "Certificate Hold"}  # since the backup, too
    with restored.serve_plain(SETTINGS):
        assert same_certificate_again(restored, settled(copies[-1][1], copies[-1][0])) == []
        assert checker.check_settled(restored.folder, Journal(), carried) == []  # with a CRL of a higher number


def settled(journal, folder):
    """Of what was under way during the backup, only what did not happen any more is known."""
    current = {row["certificate_id"] for row in Store(folder / "devices.db").certificates if row["state"] == "current"}
    other = Journal()
    other.events = {uid: events for uid, events in journal.events.items() if events[-1].certificate_id in current}
    return other


def restore(instance, backup, folder):
    """The store from a backup, all other files as they are now."""
    copy = copy_instance(instance, folder)
    for path in folder.glob("devices.db*"):
        path.unlink()
    shutil.copy(backup, folder / "devices.db")
    return copy


def test_a_backup_without_a_server_after_a_kill(instance, tmp_path):
    """What is only in the write-ahead log is in the copy."""
    instance.import_csv(numbered("DEV", 20))
    journal, checker, maker = Journal(), Checker(instance), CsrMaker(seed())
    instance.serve_plain(SETTINGS)
    client = Client(instance, journal)
    for uid in numbered("DEV", 20):
        client.register(uid, maker.make())
    client.close()
    instance.kill()
    (tmp_path / "copy").mkdir()
    instance.cvm("backup", tmp_path / "copy/devices.db")
    assert checker.check(tmp_path / "copy", journal, with_crl=False) == []
    assert checker.check(instance.folder, journal) == []


def test_a_backup_replaces_nothing(instance, tmp_path):
    target = tmp_path / "backup.db"
    target.write_text("mine")
    check_error(run(instance, "backup", str(target)), CANTCREAT, "backup.db", "File exists")
    assert target.read_text() == "mine"
    check_error(run(instance, "backup", str(tmp_path / "nowhere/backup.db")), CANTCREAT, "No such file")


def test_a_backup_of_a_broken_store_leaves_nothing(instance, tmp_path):
    (tmp_path / "out").mkdir()
    store_of(instance).write_bytes(bytes(100))
    check_error(run(instance, "backup", str(tmp_path / "out/backup.db")), UNAVAILABLE, "devices.db", "database")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_without_memory_for_openssls_start(instance, tmp_path, keep):
    """An error, and no crash: some of OpenSSL's functions do not look whether it could be started."""
    salt = tmp_path / "salt"
    salt.write_text("SALT\n")
    ends = set()
    for nth in [*range(1, 40), *range(40, 400, 20), 1000000]:
        env = environment(**preloaded("failmalloc", CVM_FAIL_AT=nth, CVM_FAIL_FROM_LIBRARY="libcrypto",
                                      **({"CVM_FAIL_KEEP": "1"} if keep else {})))
        for arguments in (["device", "list", "-c", instance.conf], ["token", "D1", "--salt-file", salt]):
            done = subprocess.run([program(), *map(str, arguments)], capture_output=True, env=env, timeout=60)
            assert 0 <= done.returncode < 80, (nth, done)
            ends.add(done.returncode)
    assert 0 in ends and len(ends) > 1
