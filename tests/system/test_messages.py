"""What the log, the audit and interrupted commands tell: a server's life, who did what, how to go on."""

import getpass
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from cvm_server import Failed, Instance, environment, program, token
from fault_server import wait_until

TEMPFAIL = 75
MANY = 60_000


@pytest.fixture
def instance(tmp_path):
    instance = Instance(tmp_path)
    yield instance
    instance.kill()


def audit(instance):
    return [json.loads(line) for line in (instance.folder / "audit.log").read_text().splitlines()]


def rows(count):
    return "device_uid,device_token\n" + "".join(f"D{i:07},{token(f'D{i:07}')}\n" for i in range(count))


# --- The log ----------------------------------------------------------------------------------------


def test_a_servers_life_is_in_its_log(instance):
    with instance.serve() as server:
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded")
        version = subprocess.run([program(), "version"], capture_output=True, text=True, check=True).stdout.split()[1]
        log = server.stderr
        assert f"started: cvm {version}, store file, platform local" in log
        assert f"listening https 127.0.0.1:{server.port}" in log
        assert f"listening ops 127.0.0.1:{server.ops_port}" in log
        path = server.stderr_path
    text = path.read_text()
    order = ["started:", "listening https", "reloaded", "stopping: 0 registrations are in flight", "stopped"]
    assert sorted(order, key=text.index) == order and all(text.count(word) == 1 for word in order), text
    assert all(" info " in line for line in text.splitlines() if any(word in line for word in order))


def test_a_missing_server_certificate_says_what_makes_one(instance):
    (instance.folder / "tls/server.pem").unlink()
    with pytest.raises(Failed, match=r"server\.pem.*No such file.*`cvm ca server NAME"):
        instance.serve()
    instance.cvm("ca", "server", "localhost", "127.0.0.1", "--out", instance.folder / "tls")
    with instance.serve():
        instance.add("D1")
        assert instance.register("D1")[0] == 200


# --- The audit --------------------------------------------------------------------------------------


def test_each_line_of_the_audit_says_who_did_it(instance):
    instance.add("D1")
    with instance.serve():
        assert instance.register("D1")[0] == 200
        for verb in ("disable", "enable", "revoke", "remove"):
            instance.cvm("device", verb, "D1", *(["--force"] if verb == "remove" else []))
    lines = audit(instance)
    assert {line["actor"] for line in lines} == {getpass.getuser()}
    assert {line["actor_uid"] for line in lines} == {str(os.getuid())}
    commands = {line["event"]: line["command"] for line in lines}
    assert commands["registered"] == "serve" and commands["device_disabled"] == "device disable"
    assert commands["device_removed"] == "device remove" and commands["device_revoked"] == "device revoke"


@pytest.mark.skipif(os.getuid() != 0, reason="sudo's variables count for root alone")
def test_who_uses_sudo_is_named(instance):
    instance.cvm("device", "add", "D1", "--token-file", "-", stdin=token("D1"),
                 env={"SUDO_USER": "alice"})
    [line] = [line for line in audit(instance) if line["event"] == "device_added"]
    assert line["actor"] == "root (sudo: alice)"


def test_an_import_is_one_line_with_the_files_hash_and_sums(instance, tmp_path):
    path = tmp_path / "factory.csv"
    path.write_text(rows(5000) + "bad line\n" + f"D0000001,{'x' * 20}\n")
    instance.cvm("device", "import", path, "--skip-bad")
    lines = [line for line in audit(instance) if line["event"] == "devices_imported"]
    assert len(lines) == 1
    expected = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "rows": "5000",
                "rejected": "2", "inserted": "5000", "unchanged": "0", "conflicts": "0", "replaced": "0",
                "command": "device import"}
    assert {name: lines[0][name] for name in expected} == expected
    before = len(audit(instance))
    instance.cvm("device", "import", path, "--skip-bad", "--dry-run")
    assert len(audit(instance)) == before


def test_an_import_that_is_killed_has_its_line(instance, tmp_path):
    """What it wrote has an origin, even though nobody was left to sum it up."""
    path = tmp_path / "factory.csv"
    path.write_text(rows(MANY))
    running = subprocess.Popen([program(), "device", "import", path, "-c", instance.conf], env=environment(),
                               stdout=subprocess.DEVNULL)
    wait_until(lambda: count(instance) > 0)
    running.kill()
    running.wait()
    [line] = [line for line in audit(instance) if "import" in line["event"]]
    assert line["event"] == "import_begun" and line["rows"] == str(MANY)
    assert line["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# --- Ctrl-C -----------------------------------------------------------------------------------------


def count(instance):
    db = sqlite3.connect(instance.folder / "devices.db", timeout=30)
    try:
        return db.execute("SELECT count(*) FROM devices").fetchone()[0]
    finally:
        db.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_says_what_was_done_and_how_to_go_on(instance, tmp_path, number):
    path = tmp_path / "factory.csv"
    path.write_text(rows(MANY))
    running = subprocess.Popen([program(), "device", "import", path, "-c", instance.conf], env=environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: count(instance) > 0)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    written = count(instance)
    assert running.returncode == TEMPFAIL and 0 < written < MANY, err
    assert f"interrupted; {written} of {MANY} rows are written: run the same import again" in err
    assert re.search(rf"inserted +{written}\n", out)
    [line] = [line for line in audit(instance) if line["event"] == "import_stopped"]
    assert line["inserted"] == str(written)
    done = instance.cvm("device", "import", path, "--json")
    assert json.loads(done.stdout) == {"inserted": MANY - written, "unchanged": written, "conflicts": 0, "replaced": 0,
                                       "rejected": 0, "checked": MANY, "dry_run": False}


def test_an_import_that_is_interrupted_while_it_reads_has_written_nothing(instance):
    running = subprocess.Popen([program(), "device", "import", "-", "-c", instance.conf], env=environment(),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdin.write(rows(100))
    running.stdin.flush()
    wait_until(lambda: caught(running.pid))
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == TEMPFAIL
    assert "interrupted: nothing is written" in running.stderr.read() and count(instance) == 0


def caught(pid):
    """Does the process catch SIGINT by now?"""
    mask = re.search(r"^SigCgt:\t(\w+)", open(f"/proc/{pid}/status").read(), re.M)[1]
    return int(mask, 16) >> (signal.SIGINT - 1) & 1


def test_many_devices_that_are_interrupted_can_be_gone_on_with(instance, tmp_path):
    """What was recorded is carried out all the same."""
    uids = [f"D{i:07}" for i in range(20_000)]
    instance.import_csv(uids)
    path = tmp_path / "uids"
    path.write_text("".join(f"{uid}\n" for uid in uids))
    running = subprocess.Popen([program(), "device", "disable", "--from", path, "-c", instance.conf],
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: caught(running.pid))
    time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == TEMPFAIL, err
    left = int(re.search(r"interrupted; (\d+) devices are left: run the same again", err)[1])
    assert f"{len(uids) - left} devices disabled" in out and 0 < left < len(uids)
    done = instance.cvm("device", "disable", "--from", path)
    assert f"{len(uids)} devices disabled" in done.stdout.decode()
    assert not any(json.loads(line)["is_enabled"] for line in instance.cvm("device", "list", "--json").stdout.splitlines())
