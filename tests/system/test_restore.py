"""Backups and what is put back: a file under another one's log destroys the store without a word, so it is refused; and
`cvm restore` leaves the old store, the new one, or none, wherever it is cut short."""

import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import sqlite3
import subprocess
import time

import pytest

from csr_tools import openssl
from cvm_server import Failed, Instance, environment, program, token
from fault_checker import Crl, Store
from fault_server import copy_instance, kill_traced, points_of, rng, run_traced, sample, strace, traced

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "docs/deploy.md"
RESTORE_POINTS = 24
OLD, NEW = [f"OLD{i}" for i in range(20)], [f"NEW{i}" for i in range(20)]
FREE, LATE = [f"FREE{i}" for i in range(5)], "LATE"  # the latter's registration is in the log alone


def register(instance, uids):
    return {uid: instance.register(uid)[2]["payload"]["certificate_id"] for uid in uids}


def crl_of(instance):
    return Crl(instance.folder / "ca/crl.pem", instance.folder / "ca")


def bytes_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("devices.db*")}


@pytest.fixture(scope="module")
def crashed(module_path):
    """An instance whose server was killed: a backup from before, a log that isn't empty; for copies."""
    instance = Instance(module_path)
    instance.import_csv([*OLD, *NEW, *FREE, LATE])
    with instance.serve_plain():
        register(instance, OLD)
        instance.cvm("device", "revoke", OLD[0])
        instance.cvm("backup", module_path / "backup.db")
        before = register(instance, NEW)
        instance.cvm("device", "revoke", OLD[1], "--reason", "keyCompromise")
        instance.cvm("device", "revoke", NEW[1])
        instance.cvm("device", "disable", OLD[2])
    instance.serve_plain()
    instance.register(LATE)
    instance.kill()
    assert (instance.folder / "devices.db-wal").stat().st_size
    return instance, module_path / "backup.db", before


@pytest.fixture
def copy(crashed, tmp_path):
    instance = copy_instance(crashed[0], tmp_path / "copy")
    yield instance
    instance.kill()


# --- Another file under the log ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["backup", "raw", "empty"])
def test_another_file_under_the_log_is_refused(crashed, copy, tmp_path, how):
    if how == "backup":
        shutil.copy(crashed[1], copy.folder / "devices.db")
    elif how == "raw":  # what a server's file was before it was started again
        raw = tmp_path / "raw.db"
        with sqlite3.connect(copy.folder / "devices.db") as db:  # as a clean stop would have left it
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(copy.folder / "devices.db", raw)
        copy.serve_plain()
        copy.register(FREE[0])
        copy.kill()
        shutil.copy(raw, copy.folder / "devices.db")
    else:
        (copy.folder / "devices.db").write_bytes(b"")
    before = bytes_of(copy.folder)
    with pytest.raises(Failed, match="ended with 69" if how == "empty" else "ended with 78") as failure:
        copy.serve_plain()
    assert "cvm restore" in str(failure.value)
    for command in (("device", "list"), ("device", "show", "OLD3"), ("serve", "--check-config"),
                    ("backup", tmp_path / "copy.db"), ("store", "check")):
        done = copy.cvm(*command, check=False)
        assert done.returncode and b"cvm restore" in done.stderr, (command, done)
    assert bytes_of(copy.folder) == before
    assert not (tmp_path / "copy.db").exists()


def test_the_log_of_a_crash_is_taken_in(copy):
    """Moved to another place, as after a reboot: device and inode say nothing."""
    copy.serve_plain()
    assert copy.register(LATE)[0] in (200, 409)
    assert copy.show(LATE)["is_registered"]
    copy.stop()


def test_without_a_note_a_log_is_taken_in(copy):
    (copy.folder / "devices.db.lock").unlink()
    assert copy.show(LATE)["is_registered"]


def test_a_file_that_is_put_back_after_a_clean_stop_is_fine(crashed, copy):
    copy.serve_plain()
    copy.stop()
    shutil.copy(crashed[1], copy.folder / "devices.db")
    assert not copy.show(LATE)["is_registered"]


def test_a_command_that_was_killed_on_it_is_fine_too(crashed, copy):
    """Its log is the new file's, whatever was noted of the old one."""
    copy.serve_plain()
    copy.stop()
    shutil.copy(crashed[1], copy.folder / "devices.db")
    trace = copy.folder / "trace"
    command = ["device", "disable", OLD[3], "-c", copy.conf]
    assert not run_traced(command, output=trace)
    copy.cvm("device", "enable", OLD[3])
    syncs = [point for point in points_of(trace) if point[0] == "fdatasync"]
    assert syncs and run_traced(command, inject=syncs[0])
    assert (copy.folder / "devices.db-wal").stat().st_size
    assert copy.show(OLD[3])["is_registered"]
    with copy.serve_plain():
        assert copy.ops("/readyz")[0] == 200


def test_a_lock_of_a_store_that_is_gone_keeps_no_new_one_away(copy):
    copy.serve_plain()
    copy.kill()
    for name in ("devices.db", "devices.db-wal", "devices.db-shm"):
        (copy.folder / name).unlink()
    copy.serve_plain({"store.create": "true"})
    copy.cvm("device", "add", "NEWCOMER", "--token-file", "-", stdin=token("NEWCOMER"))
    copy.kill()
    assert not copy.show("NEWCOMER")["is_registered"]
    with copy.serve_plain():
        assert copy.ops("/readyz")[0] == 200


def test_a_backup_goes_over_no_file(copy, tmp_path):
    there = tmp_path / "there.db"
    there.write_text("mine")
    done = copy.cvm("backup", there, check=False)
    assert done.returncode == 73 and b"File exists" in done.stderr, done
    assert there.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("there")] == ["there.db"]


# --- Beside a server --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_file_that_goes_beside_a_server_is_noticed(crashed, copy, how):
    path = copy.folder / "devices.db"
    copy.serve_plain()
    assert copy.ops("/readyz")[0] == 200
    if how == "moved":
        path.rename(path.with_name("elsewhere.db"))
    elif how == "removed":
        path.unlink()
    else:
        shutil.copy(crashed[1], path.with_name("other.db"))
        path.with_name("other.db").rename(path)
    assert copy.ops("/readyz")[0] == 503
    status, _, body = copy.register(FREE[1])
    assert (status, body["payload"]["code"]) == (503, "store_unavailable")
    copy.server.wait_for_log("was replaced" if how == "replaced" else "was moved, removed or replaced")
    if how == "replaced":  # nor does a command work on what no server knows
        done = copy.cvm("device", "disable", OLD[3], check=False)
        assert done.returncode == 78 and b"cvm restore" in done.stderr, done


def test_a_registration_under_a_moved_file_is_not_acknowledged(copy):
    copy.serve_plain()
    (copy.folder / "devices.db").rename(copy.folder / "elsewhere.db")
    status, _, body = copy.register(FREE[1])
    assert (status, body["payload"]["code"]) in ((503, "store_unavailable"), (503, "unknown"))


# --- Restore ----------------------------------------------------------------------------------------


def test_a_restore_says_it_in_json(crashed, copy):
    report = json.loads(copy.cvm("restore", crashed[1], "--json").stdout)
    kept = pathlib.Path(report.pop("replaced"))
    assert kept.is_file() and kept.parent == copy.folder
    assert report == {"restored": str(crashed[1]), "store": str(copy.folder / "devices.db"), "revoked": 1,
                      "kept_by_serial": 1}


def test_a_restore(crashed, copy):
    backup, before = crashed[1], crashed[2]
    number = crl_of(copy).number
    report = copy.cvm("restore", backup).stdout.decode()
    kept = re.search(r"kept as (\S+)", report).group(1)
    assert "1 certificates that the backup took for valid" in report and "1 that it does not know" in report
    assert Store(pathlib.Path(kept)).devices[LATE]["is_registered"]  # with its log, under its name
    assert not (copy.folder / "devices.db-wal").exists() and not (copy.folder / "devices.db-shm").exists()
    with copy.serve_plain():
        assert copy.ops("/readyz")[0] == 200
        for uid in OLD[3:]:
            assert copy.show(uid)["is_registered"]
        for uid in OLD[:2]:  # revoked before and after the backup
            assert not copy.show(uid)["is_enabled"]
            assert copy.register(uid)[0] == 403
        again = register(copy, NEW)
        assert not set(again.values()) & set(before.values())
        copy.cvm("device", "revoke", OLD[3])
        crl = crl_of(copy)
        assert crl.number > number and not crl.problems
        store = Store(copy.folder / "devices.db")
        for uid in (OLD[0], OLD[1], OLD[3]):
            assert all(crl.revokes(row) for row in store.certificates if row["device_uid"] == uid)
        lost = Store(pathlib.Path(kept)).by_id[before[NEW[1]]]
        assert crl.revokes(lost)
    assert b"no damage" in copy.cvm("store", "check").stdout


def test_a_restore_is_listed_by_the_brokers_check(crashed, copy, tmp_path):
    """What was issued after the backup and then revoked is refused by who checks crl.pem."""
    kept = Store(copy.folder / "devices.db")
    pem = next(row["pem"] for row in kept.certificates if row["device_uid"] == NEW[1])
    copy.cvm("restore", crashed[1])
    copy.cvm("ca", "crl")
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(pem)
    done = openssl("verify", "-crl_check_all", "-CAfile", copy.folder / "ca/root.pem", "-untrusted",
                   copy.folder / "ca/issuing.pem", "-CRLfile", copy.folder / "ca/crl.pem", leaf, check=False)
    assert b"certificate revoked" in done.stdout + done.stderr


def test_the_crl_of_a_restored_store_is_its_own(crashed, copy):
    """Who was enabled or disabled since the backup is what the backup says, in crl.pem too."""
    with copy.serve_plain():
        copy.cvm("device", "enable", OLD[2])
        copy.cvm("device", "disable", OLD[4])
        copy.cvm("backup", copy.folder / "mine.db")
        copy.cvm("device", "disable", OLD[2])
        copy.cvm("device", "enable", OLD[4])
        copy.stop()
    number = crl_of(copy).number
    copy.cvm("restore", copy.folder / "mine.db")
    with copy.serve_plain():
        end = time.monotonic() + 20
        while True:
            crl, store = crl_of(copy), Store(copy.folder / "devices.db")
            held = {row["device_uid"] for row in store.certificates if crl.holds(row)} & {OLD[2], OLD[4]}
            if held == {OLD[4]}:
                break
            assert time.monotonic() < end, held
            time.sleep(0.05)
        assert crl.number > number


def test_a_crl_of_another_time_is_made_anew(copy, tmp_path):
    """An older ca/ beside a newer store, as from a backup of the folder alone."""
    old = (copy.folder / "ca/crl.pem").read_bytes()
    with copy.serve_plain():
        copy.cvm("device", "revoke", OLD[5])
        copy.stop()
    (copy.folder / "ca/crl.pem").write_bytes(old)
    with copy.serve_plain():
        end = time.monotonic() + 20
        while (copy.folder / "ca/crl.pem").read_bytes() == old:
            assert time.monotonic() < end, "the old CRL is there still"
            time.sleep(0.05)
        row = next(r for r in Store(copy.folder / "devices.db").certificates if r["device_uid"] == OLD[5])
        assert crl_of(copy).revokes(row)


def test_a_restore_waits_for_nobody_and_hurts_nobody(crashed, copy):
    before = crashed[1].read_bytes()
    with copy.serve_plain():
        done = copy.cvm("restore", crashed[1], check=False)
        assert done.returncode == 75 and b"another server has this store" in done.stderr, done
        assert copy.register(FREE[2])[0] == 200
    command = subprocess.Popen([program(), "device", "import", "-", "-c", str(copy.conf)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    try:
        users = copy.folder / "devices.db.lock"
        lines = [f"device_uid,device_token\nX1,{token('X1')}\n".encode()]
        command.stdin.write(lines[0])
        command.stdin.flush()
        end = time.monotonic() + 10
        while not any(str(users) == os.readlink(f"/proc/{command.pid}/fd/{fd}")
                      for fd in os.listdir(f"/proc/{command.pid}/fd")):
            assert time.monotonic() < end, "the import has not opened the store"
            time.sleep(0.02)
        done = copy.cvm("restore", crashed[1], check=False)
        assert done.returncode == 75 and b"in use" in done.stderr, done
    finally:
        command.communicate()
    assert crashed[1].read_bytes() == before


def test_what_uses_the_store_keeps_a_restore_away(crashed, copy):
    """Any command that has it open; here the range is held as one would."""
    import fcntl
    import struct
    with open(copy.folder / "devices.db.lock", "r+b") as lock:
        flock = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 4096, 1, 0)
        fcntl.fcntl(lock, 37, flock)  # F_OFD_SETLK
        before = bytes_of(copy.folder)
        done = copy.cvm("restore", crashed[1], check=False)
        assert done.returncode == 75 and b"in use" in done.stderr, done
        assert bytes_of(copy.folder) == before
    copy.cvm("restore", crashed[1])


@pytest.mark.parametrize("what", ["missing", "text", "cut", "damaged", "newer", "foreign"])
def test_what_is_no_good_backup_is_refused(crashed, copy, tmp_path, what):
    backup = tmp_path / "bad.db"
    shutil.copy(crashed[1], backup)
    if what == "missing":
        backup.unlink()
    elif what == "text":
        backup.write_text("device_uid,device_token\n" * 1000)
    elif what == "cut":
        os.truncate(backup, backup.stat().st_size // 2)
    elif what == "damaged":
        content = bytearray(backup.read_bytes())
        content[8192:8192 + 2000] = os.urandom(2000)
        backup.write_bytes(content)
    elif what == "newer":
        with sqlite3.connect(backup) as db:
            db.execute("PRAGMA user_version = 999")
    else:
        backup.unlink()
        with sqlite3.connect(backup) as db:
            db.execute("CREATE TABLE other (a)")
    before = bytes_of(copy.folder)
    done = copy.cvm("restore", backup, check=False)
    assert done.returncode == 65 and len(done.stderr.splitlines()) == 1, done
    assert str(backup).encode() in done.stderr, done
    assert bytes_of(copy.folder) == before


def test_a_restore_with_a_crl_that_can_not_be_read_says_so(crashed, copy):
    (copy.folder / "ca/crl.pem").write_text("junk")
    before = bytes_of(copy.folder)
    done = copy.cvm("restore", crashed[1], check=False)
    assert done.returncode == 69 and b"crl.pem" in done.stderr, done
    assert bytes_of(copy.folder) == before
    (copy.folder / "ca/crl.pem").unlink()
    copy.cvm("restore", crashed[1])


def test_twice(crashed, copy):
    for _ in range(2):
        copy.cvm("restore", crashed[1])
    assert len([p for p in copy.folder.glob("devices.db.replaced-*") if not p.name.endswith("-wal")]) == 2
    assert copy.show(OLD[3])["is_registered"]


def test_a_log_goes_to_no_other_store_that_was_put_aside(crashed, copy):
    """One whose file was moved away has a name of its own, whatever was put aside before."""
    first = re.search(r"kept as (\S+)", copy.cvm("restore", crashed[1]).stdout.decode()).group(1)
    rows = len(Store(pathlib.Path(first)).devices)
    assert pathlib.Path(first + "-wal").exists()
    pathlib.Path(first + "-wal").unlink()  # as if there had been none
    copy.serve_plain()
    copy.register(FREE[0])
    copy.kill()
    (copy.folder / "devices.db").rename(copy.folder / "moved.db")
    copy.cvm("restore", crashed[1])
    assert not pathlib.Path(first + "-wal").exists()
    assert len(Store(pathlib.Path(first)).devices) == rows
    logs = [path for path in copy.folder.glob("devices.db.replaced-*-wal")]
    assert len(logs) == 1 and logs[0].stat().st_size
    copy.cvm("restore", crashed[1])


def start_killed(instance, point, settings=None):
    """Starts a server that is killed at a call; True if it was before it listened."""
    try:
        server = instance.serve_plain(settings, wrapper=strace(point), env=traced())
    except Failed:
        return True
    kill_traced(server)
    return False


def test_killed_while_the_log_is_emptied(crashed, tmp_path):
    """Then the file says that it is longer than it is, and is the log's all the same."""
    template, killed = copy_instance(crashed[0], tmp_path / "template"), 0
    template.serve_plain()
    template.import_csv([f"MORE{i}" for i in range(1000)])  # more pages than the file has
    template.kill()
    for n in range(1, 30, 2):
        copy = copy_instance(template, tmp_path / f"pwrite-{n}")
        killed += start_killed(copy, ("pwrite64", n))
        assert copy.show("MORE999")["device_uid"] == "MORE999"
        copy.serve_plain()
        copy.kill()
        shutil.rmtree(copy.folder)
    assert killed > 3


@pytest.mark.parametrize("what", ["new", "restored"])
def test_a_rollback_journal_is_no_other_files(crashed, tmp_path, what):
    """The first write to a file that was never in use makes one; SQLite would roll it back into what is put there."""
    found = 0
    for n in range(1, 6):
        copy = copy_instance(crashed[0], tmp_path / f"{what}-{n}")
        if what == "restored":
            shutil.copy(crashed[1], copy.folder / "plain.db")
            copy.cvm("restore", copy.folder / "plain.db")
        else:
            for name in ("devices.db", "devices.db-wal", "devices.db-shm", "devices.db.lock"):
                (copy.folder / name).unlink(missing_ok=True)
        start_killed(copy, ("fdatasync", n), {"store.create": "true"})
        found += (copy.folder / "devices.db-journal").exists()
        copy.cvm("restore", crashed[1])
        assert not (copy.folder / "devices.db-journal").exists()
        assert copy.show(OLD[3])["is_registered"]
        assert b"no damage" in copy.cvm("store", "check").stdout
        with copy.serve_plain():
            assert set(register(copy, FREE[:1]))
        shutil.rmtree(copy.folder)
    assert bool(found) == (what == "new"), found


def test_a_backup_under_a_journal_is_refused(crashed, copy):
    for name in ("devices.db-wal", "devices.db-shm"):
        (copy.folder / name).unlink(missing_ok=True)
    shutil.copy(crashed[1], copy.folder / "devices.db")
    (copy.folder / "devices.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    before = bytes_of(copy.folder)
    done = copy.cvm("device", "list", check=False)
    assert done.returncode == 78 and b"cvm restore" in done.stderr, done
    assert bytes_of(copy.folder) == before


def test_a_restore_that_was_done_is_forgotten(crashed, copy, tmp_path):
    """Cut short after all but its last note: a log that is found later is not of what it had put aside."""
    trace = tmp_path / "trace"
    whole = copy_instance(crashed[0], tmp_path / "whole")
    assert not run_traced(["restore", crashed[1], "-c", whole.conf], output=trace)
    last = max(n for call, n in points_of(trace) if call == "pwrite64")
    with copy.serve_plain():
        pass  # what is put aside has no log
    assert run_traced(["restore", crashed[1], "-c", copy.conf], inject=("pwrite64", last))
    first = next(path for path in copy.folder.glob("devices.db.replaced-*") if not path.name.endswith("-wal"))
    copy.serve_plain()
    register(copy, FREE[:1])
    copy.kill()
    (copy.folder / "devices.db").rename(copy.folder / "elsewhere.db")
    copy.cvm("restore", crashed[1])
    assert not first.with_name(first.name + "-wal").exists()


def test_a_restore_by_a_link_can_be_run_again(crashed, copy, tmp_path):
    folder = copy.folder / "data"
    folder.mkdir()
    for path in copy.folder.glob("devices.db*"):
        path.rename(folder / path.name)
    (copy.folder / "devices.db").symlink_to("data/devices.db")
    assert run_traced(["restore", crashed[1], "-c", copy.conf], inject=("renameat2", 2))
    assert not (folder / "devices.db").exists()
    with pytest.raises(Failed, match="(?s)ended with 69.*parts of it are there"):
        copy.serve_plain()
    copy.cvm("restore", crashed[1])
    assert (copy.folder / "devices.db").is_symlink() and (folder / "devices.db").exists()
    assert not list(folder.glob("*.restoring*")) and copy.show(OLD[3])["is_registered"]


def test_killed_at_each_call_of_a_restore(crashed, tmp_path):
    """Then there is the old store, the new one, or none; and the next restore ends well."""
    template, backup, _ = crashed
    trace = tmp_path / "trace"
    whole = copy_instance(template, tmp_path / "whole")
    assert not run_traced(["restore", backup, "-c", whole.conf], output=trace)
    points, states = points_of(trace), set()
    renames = [point for point in points if point[0] == "renameat2"]
    for call, n in sorted({*sample(rng("restore"), points, RESTORE_POINTS), *renames}):
        copy = copy_instance(template, tmp_path / f"{call}-{n}")
        if not run_traced(["restore", backup, "-c", copy.conf], inject=(call, n)):
            continue
        state = "none"
        if (copy.folder / "devices.db").exists():
            state = "old" if copy.show(LATE)["is_registered"] else "new"
        else:
            with pytest.raises(Failed, match="ended with 69"):
                copy.serve_plain({"store.create": "true"} if n % 2 else None)
            done = copy.cvm("device", "list", check=False)
            assert done.returncode == 75 and b"run it again" in done.stderr, done
            assert not (copy.folder / "devices.db").exists()
        states.add(state)
        if state == "new":
            assert not (copy.folder / "devices.db-wal").exists()
        copy.cvm("restore", backup)
        assert copy.show(OLD[3])["is_registered"] and not copy.show(LATE)["is_registered"]
        kept = [path for path in copy.folder.glob("devices.db.replaced-*")
                if not path.name.endswith(("-wal", "-shm")) and Store(path).devices.get(LATE, {"is_registered": 0})["is_registered"]]
        assert kept, state  # what was there is there still, with its log
        assert not list(copy.folder.glob("*.restoring*"))
        shutil.rmtree(copy.folder)
    assert {"old", "none"} <= states, states


# --- The document -----------------------------------------------------------------------------------


def commands_under(heading):
    """The indented commands of a chapter of docs/deploy.md."""
    text = DEPLOY.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def test_the_document_word_for_word(crashed, copy):
    """Its commands, with the paths of the test in the place of its own, and without systemd and another user."""
    done = []
    copy.serve_plain()
    for command in commands_under("Back up") + commands_under("Put a backup back"):
        command = command.replace("runuser -u cvm -- ", "").replace("/var/lib/cvm", str(copy.folder))
        words = shlex.split(command)
        done.append(words[0:2])
        if words[:2] == ["systemctl", "stop"]:
            copy.stop()
        elif words[:2] == ["systemctl", "start"]:
            copy.serve_plain()
        else:
            assert words[0] == "cvm", command
            result = subprocess.run([program(), *words[1:]], capture_output=True, env=environment(), timeout=60)
            assert result.returncode == 0, (command, result)
    assert ["cvm", "backup"] in done and ["cvm", "restore"] in done and ["systemctl", "start"] in done
    assert copy.ops("/readyz")[0] == 200
