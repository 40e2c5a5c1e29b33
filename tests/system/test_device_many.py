"""Many devices at once, and many commands at once: one CRL for all, a report, and exit codes that say what is so."""

import fcntl
import json
import pathlib
import signal
import sqlite3
import subprocess

import pytest

from cvm_server import Instance, environment, program, scale
from fault_checker import Crl, Store
from fault_server import copy_instance, points_of, rng, run_traced, sample, wait_until

MANY = 500 * scale()
UIDS = [f"D{i:05}" for i in range(MANY)]
KILL_POINTS = 12


def add_registered(instance):
    """Registered as far as the store is concerned: signing for them all is not what is tested."""
    key_id = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectKeyIdentifier", "-in",
                             str(instance.folder / "ca/issuing.pem")], capture_output=True, check=True)
    issuer = key_id.stdout.decode().split("\n")[1].strip().replace(":", "").lower()
    instance.import_csv(UIDS)
    with sqlite3.connect(instance.folder / "devices.db") as db:
        for i, uid in enumerate(UIDS):
            db.execute("UPDATE devices SET is_registered = 1, certificate_id = ? WHERE device_uid = ?",
                       (f"{i:064x}", uid))
            db.execute("INSERT INTO certificates (certificate_id, device_uid, state, serial, issuer, not_before,"
                       " not_after, revoke_after, revoked_at) VALUES (?, ?, 'current', ?, ?, 0, 4000000000000, 0, 0)",
                       (f"{i:064x}", uid, f"{i + 0x1000:x}", issuer))
    db.close()


@pytest.fixture(scope="module")
def fleet(module_path):
    instance = Instance(module_path)
    add_registered(instance)
    return instance


@pytest.fixture
def copy(fleet, tmp_path):
    instance = copy_instance(fleet, tmp_path / "copy")
    yield instance
    instance.kill()


def crl_of(instance):
    return Crl(instance.folder / "ca/crl.pem", instance.folder / "ca")


def listed(tmp_path, uids, name="list.txt"):
    path = pathlib.Path(tmp_path) / name
    path.write_text("".join(f"{uid}\n" for uid in uids))
    return path


@pytest.mark.parametrize("beside", ["server", "nobody"])
def test_one_crl_for_all(copy, tmp_path, beside):
    before = crl_of(copy).number
    if beside == "server":
        copy.serve_plain({"reconcile.interval": "1h"})
    done = copy.cvm("device", "revoke", "--from", listed(tmp_path, UIDS), "--reason", "keyCompromise", "--json")
    report = json.loads(done.stdout)
    crl = crl_of(copy)
    assert report == {"done": "revoked", "dry_run": False, "devices": MANY, "unknown": 0, "refused": 0, "failed": 0,
                      "carried_out": True, "crl_number": crl.number}
    store = Store(copy.folder / "devices.db")
    assert all(row["state"] == "revoked" and crl.revokes(row) for row in store.certificates)
    written = store.crl_number()
    assert crl.number == written and before < written
    # numbers are taken one by one within a second: of one CRL for all, no other number was taken
    again = copy.cvm("device", "revoke", "--from", listed(tmp_path, UIDS), "--json")
    assert json.loads(again.stdout)["devices"] == MANY
    if beside == "server":
        copy.stop()


def test_enable_and_disable(copy, tmp_path):
    names = listed(tmp_path, UIDS)
    copy.cvm("device", "disable", "--from", names)
    crl = crl_of(copy)
    assert all(crl.holds(row) for row in Store(copy.folder / "devices.db").certificates)
    copy.cvm("device", "enable", "-", stdin="", check=False)
    done = copy.cvm("device", "enable", "--from", "-", stdin="\ufeff" + "\r\n".join(UIDS) + "\r\n\r\n")
    assert f"{MANY} devices enabled".encode() in done.stdout, done
    assert not crl_of(copy).entries


def test_reset_and_remove(copy, tmp_path):
    done = copy.cvm("device", "reset", *UIDS[:3])
    assert done.stdout == b"3 devices reset\n"
    done = copy.cvm("device", "remove", *UIDS[:3], check=False)
    assert done.returncode == 77 and b"3 refused" in done.stdout and b"use force" in done.stderr, done
    done = copy.cvm("device", "remove", "--force", "--from", listed(tmp_path, UIDS[:10]))
    assert b"10 devices removed" in done.stdout, done
    store, crl = Store(copy.folder / "devices.db"), crl_of(copy)
    assert not set(UIDS[:10]) & set(store.devices)
    assert sum(crl.revokes(row) for row in store.certificates) == 10


def test_what_is_named_twice_is_changed_once(copy):
    assert copy.cvm("device", "disable", UIDS[0], UIDS[1], UIDS[0]).stdout.startswith(b"2 devices disabled")


def test_unknown_devices_are_65_and_the_rest_is_done(copy, tmp_path):
    names = listed(tmp_path, ["NOBODY", *UIDS[:5], "NOBODY2"])
    done = copy.cvm("device", "revoke", "--from", names, check=False)
    assert done.returncode == 65, done
    assert b"5 devices revoked, 2 unknown" in done.stdout and b"NOBODY2: there is no such device" in done.stderr
    assert all(not copy.show(uid)["is_enabled"] for uid in UIDS[:5])


@pytest.mark.parametrize("text, said", [
    ("D00000\nD 1\n", b"list.txt:2: 'D 1'"), ("D00000\nD\x7f\n", b"list.txt:2"), ("D00000,x\n", b"list.txt:1"),
    ("D00000\0x\n", b"list.txt:1: holds a NUL"), ("\n \n", b"holds no device_uid"), ("x" * 200 + "\n", b"list.txt:1")])
def test_a_list_is_checked_before_anything_is_changed(copy, tmp_path, text, said):
    path = tmp_path / "list.txt"
    path.write_text(text)
    done = copy.cvm("device", "revoke", "--from", path, check=False)
    assert done.returncode == 65 and said in done.stderr and not done.stdout, done
    assert copy.show("D00000")["is_enabled"]


def test_usage(copy, tmp_path):
    for arguments in (("revoke",), ("revoke", UIDS[0], "--from", listed(tmp_path, UIDS[:1])), ("list", UIDS[0])):
        assert copy.cvm("device", *arguments, check=False).returncode == 64, arguments
    assert copy.cvm("device", "revoke", "--from", tmp_path / "missing", check=False).returncode == 66


def test_a_dry_run_counts(copy, tmp_path):
    done = copy.cvm("device", "revoke", "--dry-run", "--from", listed(tmp_path, [*UIDS, "NOBODY"]), check=False)
    assert done.returncode == 65 and done.stdout == f"{MANY} devices would be revoked, 1 unknown\n".encode(), done
    assert copy.show(UIDS[0])["is_enabled"] and not crl_of(copy).entries


def test_another_issuers_certificate_is_75_and_names_both(copy):
    with sqlite3.connect(copy.folder / "devices.db") as db:
        db.execute("UPDATE certificates SET issuer = 'feed' WHERE device_uid = ?", (UIDS[0],))
        ours = db.execute("SELECT issuer FROM certificates WHERE device_uid = ?", (UIDS[1],)).fetchone()[0]
    done = copy.cvm("device", "revoke", UIDS[0], check=False)
    assert done.returncode == 75 and b"feed" in done.stderr and ours.encode() in done.stderr, done
    done = copy.cvm("device", "revoke", UIDS[1], UIDS[2], UIDS[0], check=False)
    assert done.returncode == 75, done
    store, crl = Store(copy.folder / "devices.db"), crl_of(copy)
    assert {row["state"] for row in store.certificates if row["device_uid"] == UIDS[0]} == {"retiring"}
    assert all(crl.revokes(row) for row in store.certificates if row["device_uid"] in UIDS[1:3])
    db.close()
    copy.serve_plain()
    copy.server.send_signal(signal.SIGHUP)  # it makes a CRL of its own
    copy.server.wait_for_log("issuer feed are in no CRL")
    assert copy.metrics()['cvm_crl_unsigned_rows{issuer="feed"}'] == 1
    assert copy.cvm("device", "revoke", UIDS[4]).returncode == 0


def test_many_commands_at_once(copy):
    """Each publishes for all that are recorded by then: who waits for his turn finds it done."""
    before = crl_of(copy).number
    copy.serve_plain()
    commands = [subprocess.Popen([program(), "device", verb, uid, "-c", str(copy.conf)], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=environment())
                for i, uid in enumerate(UIDS[:50]) for verb in (["revoke", "disable"][i % 2],)]
    ends = [(command.communicate(), command.returncode) for command in commands]
    assert all(code == 0 for _, code in ends), [end for end in ends if end[1]]
    store, crl = Store(copy.folder / "devices.db"), crl_of(copy)
    rows = {row["device_uid"]: row for row in store.certificates}
    assert all((crl.holds if i % 2 else crl.revokes)(rows[uid]) for i, uid in enumerate(UIDS[:50]))
    assert crl.number > before
    copy.stop()


def test_who_is_served_by_anothers_crl_hands_it_over_too(copy):
    """Each waits until ca.crl_command has succeeded with what tells of his change: here it never does."""
    with open(copy.folder / "ca/.crl.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        commands = [subprocess.Popen([program(), "device", "revoke", uid, "-c", str(copy.conf), "--set",
                                      "ca.crl_command=false"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     env=environment()) for uid in UIDS[:4]]
        store = copy.folder / "devices.db"
        wait_until(lambda: sum(not Store(store).devices[uid]["is_enabled"] for uid in UIDS[:4]) == 4)
    ends = [(command.communicate(), command.returncode) for command in commands]
    assert all(code == 75 and b"ca.crl_command failed" in said[1] for said, code in ends), ends


def test_what_is_not_recorded_is_told_as_failed(copy, tmp_path):
    """A store that can't be written to: nothing is revoked, and nothing says so."""
    copy.cvm("device", "list")
    names = listed(tmp_path, UIDS[:4])
    with sqlite3.connect(copy.folder / "devices.db") as db:
        db.execute("CREATE TRIGGER no_change BEFORE UPDATE ON devices BEGIN SELECT RAISE(ABORT, 'no'); END")
    db.close()
    done = copy.cvm("device", "revoke", "--from", names, check=False)
    assert done.returncode not in (0, 75) and b"0 devices revoked, 4 failed" in done.stdout, done
    assert all(copy.show(uid)["is_enabled"] for uid in UIDS[:4])


def test_killed_at_a_call_and_run_again(fleet, tmp_path):
    names, trace = listed(tmp_path, UIDS), tmp_path / "trace"
    whole = copy_instance(fleet, tmp_path / "whole")
    assert not run_traced(["device", "revoke", "--from", names, "-c", whole.conf], output=trace)
    for call, n in sample(rng("many"), points_of(trace), KILL_POINTS):
        copy = copy_instance(fleet, tmp_path / f"{call}-{n}")
        run_traced(["device", "revoke", "--from", names, "-c", copy.conf], inject=(call, n))
        copy.cvm("device", "revoke", "--from", names)
        store, crl = Store(copy.folder / "devices.db"), crl_of(copy)
        assert not crl.problems and all(crl.revokes(row) for row in store.certificates)
        assert {row["state"] for row in store.certificates} == {"revoked"}
