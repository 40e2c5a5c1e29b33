"""The CRL of several servers on one PostgreSQL: each has a folder of its own, as on a machine of its own."""

import concurrent.futures
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from broker import MOSQUITTO, RELOAD, Broker, Device, key_id_of, openssl, wait_until
from cvm_server import Failed, Instance, environment, free_port, program, scale
from fault_checker import Crl
from postgresql import PostgreSQL

SERVERS = 3
FOLLOWS_S = 5  # what `cvm device revoke` promises of other servers
CONFIG, TRY_AGAIN = 78, 75
SETTINGS = {"registration.retry_window": 0, "reconcile.interval": "1s"}


class Machine:
    """One of the fleet: an instance, what its ca.crl_command saw, and its server."""

    def __init__(self, instance):
        self.instance = instance
        self.folder = instance.folder
        self.kept = self.folder / "kept"
        self.kept.mkdir()
        command = f"cp {self.folder}/ca/crl.pem {self.kept}/$(date +%s%N).$$"
        instance.conf.write_text(instance.conf.read_text() + f"ca.crl_command = {command}\n")

    def serve(self, **named):
        return self.instance.serve_plain({**SETTINGS, **{name.replace("__", "."): value for name, value in named.items()}})

    @property
    def crl(self):
        return Crl(self.folder / "ca/crl.pem", self.folder / "ca")

    def seen(self):
        """Every CRL that was handed over, in order."""
        return [Crl(path, self.folder / "ca") for path in sorted(self.kept.iterdir())]

    def forget(self):
        """What it has seen: something else is to be told from now on."""
        shutil.rmtree(self.kept)
        self.kept.mkdir()

    def lists(self, serial, reason=...):
        """reason: None for one that is for good without a reason, ... for any."""
        entries = self.crl.entries
        return serial in entries and reason in (..., entries[serial])

    def command(self, *arguments, **options):
        return self.instance.cvm("device", *arguments, **options)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.instance.ops_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith(name)}

    def readiness(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.instance.ops_port}/readyz", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class Fleet:
    def __init__(self, database, folder):
        self.database = database
        self.folder = folder
        instances = database.instances(folder, SERVERS)
        shutil.rmtree(instances[0].folder / "mosquitto")  # it would be looked at, and nobody serves it
        self.machines = [Machine(instance) for instance in instances]
        self.a, self.b, self.c = self.machines
        self.issuer = key_id_of(self.a.folder / "ca/issuing.pem")

    def register(self, *uids):
        """{uid: serial}, by the second machine."""
        self.a.instance.import_csv(list(uids))
        serials = {}
        for uid in uids:
            status, _, body = self.b.instance.register(uid)
            assert status == 200, body
            leaf = body["payload"]["certificates"]["device_certificate"]
            serials[uid] = int(openssl("x509", "-noout", "-serial", data=leaf).split("=")[1], 16)
        return serials

    def value(self, name):
        return self.database.sql(f"SELECT value FROM cvm.meta WHERE name = '{name}'")

    def set_heads(self, text):
        """As a backup of the store would have them, or worse."""
        self.database.sql(f"UPDATE cvm.meta SET value = '{text}', version = version + 1 WHERE name = 'crl_heads'")

    def check(self):
        """No number twice, none goes back, and what is revoked stays so, on each machine."""
        content = {}
        for machine in self.machines:
            number, revoked = 0, set()
            for crl in machine.seen():
                assert not crl.problems, crl.problems
                assert crl.number >= number, f"{machine.folder}: from {number} to {crl.number}"
                number = crl.number
                for_good = {serial for serial, reason in crl.entries.items() if reason != "Certificate Hold"}
                assert revoked <= for_good, f"{machine.folder}: CRL {number} lacks {revoked - for_good}"
                revoked = for_good
                assert content.setdefault(number, crl.entries) == crl.entries, f"two CRLs of number {number}"
        return content


@pytest.fixture(scope="module")
def database():
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def fleet(database, tmp_path):
    database.sql("DROP SCHEMA IF EXISTS cvm CASCADE")
    found = Fleet(database, tmp_path)
    for machine in found.machines:
        machine.serve()
    yield found
    for machine in found.machines:
        machine.instance.stop()
    found.check()


def follows(what, *machines):
    """Within the time that is promised."""
    wait_until(lambda: all(what(machine) for machine in machines), "the others", FOLLOWS_S)


# --- What one says the others say too ---------------------------------------------------------------


def test_each_change_reaches_every_machine(fleet):
    serial = fleet.register("DEVICE")["DEVICE"]
    fleet.a.command("disable", "DEVICE")
    assert fleet.a.lists(serial, "Certificate Hold")
    follows(lambda machine: machine.lists(serial, "Certificate Hold"), fleet.b, fleet.c)
    fleet.b.command("enable", "DEVICE")
    follows(lambda machine: not machine.lists(serial), fleet.a, fleet.c)
    done = fleet.c.command("revoke", "DEVICE", "--reason", "keyCompromise")
    assert b"other servers follow within 5 s" in done.stdout
    assert fleet.c.lists(serial, "Key Compromise")
    follows(lambda machine: machine.lists(serial, "Key Compromise"), fleet.a, fleet.b)
    numbers = {machine.crl.number for machine in fleet.machines}
    assert len(numbers) == 1
    label = f'{{issuer="{fleet.issuer}"}}'
    for machine in fleet.machines:
        wait_until(lambda at=machine: at.metric("cvm_crl_number") == {f"cvm_crl_number{label}": numbers.copy().pop()}, "the gauge")
        made = machine.metric("cvm_crl_made_timestamp_seconds")[f"cvm_crl_made_timestamp_seconds{label}"]
        assert abs(made - time.time()) < 60


@pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")
def test_the_broker_beside_another_server_refuses_the_device(database, tmp_path):
    database.sql("DROP SCHEMA IF EXISTS cvm CASCADE")
    port = free_port()
    first = database.instance(tmp_path, "a")
    other = database.instance(tmp_path, "b", like=first)
    shutil.copytree(first.folder / "mosquitto", other.folder / "mosquitto")
    os.chown(other.folder / "mosquitto/server.key", -1, (first.folder / "mosquitto/server.key").stat().st_gid)
    configuration = other.folder / "mosquitto/mosquitto.conf"
    lines = configuration.read_text().splitlines()
    lines = [f"listener {port}" if line.startswith("listener ") else line for line in lines]
    configuration.write_text("\n".join(lines).replace(str(first.folder), str(other.folder)))
    shutil.copy(other.folder / "ca/crl.pem", other.folder / "mosquitto/crl.pem")
    first.cvm("store", "migrate")
    pid_file = tmp_path / "pid"
    command = f"{RELOAD} --pid-file {pid_file} {other.folder}"
    with Broker(other) as broker, first.serve_plain(SETTINGS):
        pid_file.write_text(str(broker.pid))
        with other.serve_plain({**SETTINGS, "ca.crl_command": command}):
            device = Device.register(other, "DEVICE")
            assert broker.accepts(device)
            for verb, is_taken in (("disable", False), ("enable", True), ("revoke", False)):
                first.cvm("device", verb, "DEVICE")
                wait_until(lambda taken=is_taken: broker.accepts(device) == taken, f"{verb} at the other broker", FOLLOWS_S)


def test_who_was_down_or_stopped_follows_when_it_is_back(fleet):
    serials = fleet.register("WHILE_DOWN", "WHILE_STOPPED")
    fleet.b.instance.stop()
    fleet.c.instance.server.send_signal(signal.SIGSTOP)
    fleet.a.command("revoke", "WHILE_DOWN")
    time.sleep(2)
    assert not fleet.b.lists(serials["WHILE_DOWN"]) and not fleet.c.lists(serials["WHILE_DOWN"])
    fleet.a.command("revoke", "WHILE_STOPPED")
    fleet.c.instance.server.send_signal(signal.SIGCONT)
    fleet.b.serve()
    for serial in serials.values():
        follows(lambda machine, serial=serial: machine.lists(serial), fleet.b, fleet.c)


def test_two_who_revoke_at_once_lose_nothing(fleet):
    """While others are disabled and enabled, and a third server is told to publish again and again."""
    uids = [f"REVOKED{i}" for i in range(16 * scale())]
    bystanders = [f"BYSTANDER{i}" for i in range(4)]
    serials = fleet.register(*uids, *bystanders)

    def revoke(i, uid):
        fleet.machines[i % 2].command("revoke", uid)
        return serials[uid] in fleet.machines[i % 2].crl.entries

    def change(uid):
        for verb in ("disable", "enable") * 3:
            fleet.c.command(verb, uid)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        changes = [pool.submit(change, uid) for uid in bystanders]
        revocations = [pool.submit(revoke, i, uid) for i, uid in enumerate(uids)]
        for _ in range(5):
            fleet.c.instance.server.send_signal(signal.SIGHUP)
            time.sleep(0.5)
        assert all(revocation.result() for revocation in revocations), "it returns when it is on its own disk"
        for done in changes:
            done.result()
    expected = {serials[uid] for uid in uids}
    follows(lambda machine: set(machine.crl.entries) == expected, *fleet.machines)
    assert fleet.database.sql("SELECT count(*) FROM cvm.certificates WHERE state = 'retiring'") == "0"
    audits = [line for machine in fleet.machines for line in (machine.folder / "audit.log").read_text().splitlines()
              if '"certificate_revoked"' in line]
    assert len(audits) == len(uids), "one event for each"


# --- Kills ------------------------------------------------------------------------------------------


def killed_at(fleet, uid, call, nth):
    """`device revoke` of the first machine, killed at its nth such system call. Was it?"""
    done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={nth}",
                           program(), "device", "revoke", uid, "-c", str(fleet.a.instance.conf)],
                          env=environment(ASAN_OPTIONS="detect_leaks=0"), capture_output=True, timeout=60, check=False)
    if b"Operation not permitted" in done.stderr:
        pytest.skip("ptrace is not permitted")
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done
    return done.returncode != 0


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_killed_revocation_is_carried_out_or_was_not_recorded(fleet):
    """Before, between and after parts, head, file and row: sendto() is how all of them reach the store."""
    most = 60 if scale() > 1 else 14
    points = [("sendto", 2 + nth) for nth in range(0, 60, 60 // most)] + [("renameat", 1), ("pwrite64", 1)]
    uids = [f"KILLED{i}" for i in range(len(points))]
    serials = fleet.register(*uids)
    killed = [killed_at(fleet, uid, *point) for uid, point in zip(uids, points)]
    assert sum(killed) > most // 3, killed
    recorded = {uid for uid in uids if fleet.a.instance.show(uid)["certificates"][0]["state"] != "current"}
    assert {uid for uid, was in zip(uids, killed) if not was} <= recorded
    assert recorded, "some got as far as that"
    expected = {serials[uid] for uid in recorded}
    wait_until(lambda: all(expected <= set(machine.crl.entries) for machine in fleet.machines), "all of them", 15)
    assert all(set(machine.crl.entries) == expected for machine in fleet.machines)


# --- Who belongs to the fleet -----------------------------------------------------------------------


def test_a_server_with_another_ca_is_refused(fleet, tmp_path):
    stranger = fleet.database.instance(tmp_path, "stranger")
    with pytest.raises(Failed, match=f"ended with {CONFIG}") as failure:
        stranger.serve_plain()
    said = str(failure.value)
    assert key_id_of(stranger.folder / "ca/issuing.pem") in said and fleet.issuer in said
    serial = fleet.register("DEVICE")["DEVICE"]
    done = stranger.cvm("device", "revoke", "DEVICE", check=False)
    assert done.returncode == TRY_AGAIN and fleet.issuer.encode() in done.stderr, done.stderr
    follows(lambda machine: machine.lists(serial), *fleet.machines)  # one of them carries it out


def test_a_reload_with_another_ca_changes_nothing(fleet, tmp_path):
    other = Instance(tmp_path, name="other")
    kept = tmp_path / "ca"
    shutil.copytree(fleet.b.folder / "ca", kept)
    shutil.copytree(other.folder / "ca", fleet.b.folder / "ca", dirs_exist_ok=True)
    fleet.b.instance.server.send_signal(signal.SIGHUP)
    fleet.b.instance.server.wait_for_log("is not among the store's")
    shutil.rmtree(fleet.b.folder / "ca")
    shutil.copytree(kept, fleet.b.folder / "ca")
    fleet.register("DEVICE")


# --- The store's CRLs -------------------------------------------------------------------------------


def add_revoked(fleet, count):
    """Rows as of devices that were removed long ago."""
    fleet.database.sql(
        "INSERT INTO cvm.certificates (certificate_id, device_uid, state, serial, issuer, not_before, not_after, revoke_after,"
        f" revoked_at, reason) SELECT lpad(to_hex(i), 64, '0'), 'OLD', 'revoked', 'ab' || lpad(to_hex(i), 30, '0'),"
        f" '{fleet.issuer}', 1, 4000000000000, 0, 1700000000000, 'superseded' FROM generate_series(1, {count}) AS i")


def test_a_large_crl_goes_in_parts_and_old_parts_go_away(fleet):
    add_revoked(fleet, 6000)
    serial = fleet.register("DEVICE")["DEVICE"]
    for i in range(12):
        fleet.a.command("disable" if i % 2 == 0 else "enable", "DEVICE")
    fleet.a.command("revoke", "DEVICE")
    follows(lambda machine: machine.lists(serial), fleet.b, fleet.c)
    assert len(fleet.c.crl.entries) == 6001
    _, number, _, _, parts, digest, _ = fleet.value("crl_heads").splitlines()[1].split(" ")
    assert int(parts) > 1
    assert fleet.value(f"crl_part.{fleet.issuer}.{number}.{digest[:16]}.{int(parts) - 1}")
    lost = f"crl_part.{fleet.issuer}.7.0123456789abcdef.0"  # of a CRL that was replaced long ago
    fleet.database.sql(f"INSERT INTO cvm.meta (name, value, version) VALUES ('{lost}', 'x', 5)")
    numbers = "SELECT count(DISTINCT split_part(name, '.', 3)) FROM cvm.meta WHERE name LIKE 'crl_part.%'"
    assert int(fleet.database.sql(numbers)) > 12
    fleet.b.instance.stop()
    fleet.b.serve()
    wait_until(lambda: int(fleet.database.sql(numbers)) <= 9 and not fleet.value(lost), "the sweep")
    assert fleet.value(f"crl_part.{fleet.issuer}.{number}.{digest[:16]}.0")


def test_a_crl_that_the_store_has_lost_is_made_anew(fleet):
    serial = fleet.register("DEVICE")["DEVICE"]
    fleet.a.command("revoke", "DEVICE")
    follows(lambda machine: machine.lists(serial), *fleet.machines)
    for machine in fleet.machines:
        machine.instance.stop()
    number = fleet.b.crl.number
    fleet.database.sql("DELETE FROM cvm.meta WHERE name LIKE 'crl_part.%'")
    (fleet.b.folder / "ca/crl.pem").unlink()
    with fleet.b.serve() as server:
        wait_until(lambda: (fleet.b.folder / "ca/crl.pem").exists() and fleet.b.crl.number > number, "a new one")
        assert "is not there" in server.stderr
        assert fleet.b.lists(serial)


def test_a_restored_store_takes_no_revocation_back(fleet):
    """What a machine's crl.pem says for good is carried over, also where the store knows nothing of it any more."""
    serials = fleet.register("BEFORE", "SINCE", "HELD")
    fleet.a.command("revoke", "BEFORE")
    follows(lambda machine: machine.lists(serials["BEFORE"]), *fleet.machines)
    kept = fleet.value("crl_heads")
    fleet.a.command("revoke", "SINCE")
    fleet.a.command("disable", "HELD")
    follows(lambda machine: machine.lists(serials["SINCE"]) and machine.lists(serials["HELD"]), *fleet.machines)
    number = fleet.a.crl.number
    fleet.c.instance.stop()
    fleet.database.sql("DELETE FROM cvm.certificates WHERE device_uid IN ('SINCE', 'HELD')")
    fleet.database.sql("DELETE FROM cvm.devices WHERE device_uid IN ('SINCE', 'HELD')")
    fleet.set_heads(f"{kept}\n")
    both = (fleet.a, fleet.b)
    wait_until(lambda: all(machine.crl.number > number for machine in both), "what the machines know")
    assert all(set(machine.crl.entries) == {serials["BEFORE"], serials["SINCE"]} for machine in both)
    said = fleet.a.instance.server.stderr + fleet.b.instance.server.stderr
    assert "1 certificates are revoked by the last CRL, and not by the store: they stay so" in said
    fleet.c.serve()
    wait_until(lambda: fleet.c.crl.number > number, "the third")
    assert set(fleet.c.crl.entries) == {serials["BEFORE"], serials["SINCE"]}


def test_who_alone_knows_of_a_revocation_is_heard(fleet):
    """Another server has published since, from a store and a crl.pem that know nothing of it."""
    serials = fleet.register("KNOWN", "LOST")
    fleet.a.command("revoke", "KNOWN")
    follows(lambda machine: machine.lists(serials["KNOWN"]), *fleet.machines)
    kept, old = fleet.value("crl_heads"), (fleet.a.folder / "ca/crl.pem").read_bytes()
    fleet.a.command("revoke", "LOST")
    follows(lambda machine: machine.lists(serials["LOST"]), *fleet.machines)
    for machine in fleet.machines:
        machine.instance.stop()
        machine.forget()
    for machine in (fleet.a, fleet.b):
        (machine.folder / "ca/crl.pem").write_bytes(old)
    fleet.database.sql("DELETE FROM cvm.certificates WHERE device_uid = 'LOST'")
    fleet.database.sql("DELETE FROM cvm.devices WHERE device_uid = 'LOST'")
    fleet.set_heads(f"{kept}\n")
    for machine in (fleet.a, fleet.b):
        machine.serve()
    fleet.a.instance.cvm("ca", "crl")
    fleet.b.instance.cvm("ca", "crl")
    assert set(fleet.b.crl.entries) == {serials["KNOWN"]}
    fleet.c.serve()
    follows(lambda machine: set(machine.crl.entries) == set(serials.values()), *fleet.machines)


def test_a_hold_of_a_restored_store_does_not_undo_a_revocation(fleet):
    """The store was put back to when the device was suspended, and has published since."""
    serial = fleet.register("DEVICE")["DEVICE"]
    fleet.a.command("disable", "DEVICE")
    follows(lambda machine: machine.lists(serial, "Certificate Hold"), *fleet.machines)
    kept, old = fleet.value("crl_heads"), (fleet.a.folder / "ca/crl.pem").read_bytes()
    for table in ("devices", "certificates"):
        fleet.database.sql(f"CREATE TABLE cvm.kept_{table} AS SELECT * FROM cvm.{table}")
    fleet.a.command("revoke", "DEVICE")
    follows(lambda machine: machine.lists(serial, None), *fleet.machines)
    for machine in fleet.machines:
        machine.instance.stop()
        machine.forget()
    (fleet.a.folder / "ca/crl.pem").write_bytes(old)
    fleet.database.sql("TRUNCATE cvm.devices, cvm.certificates; INSERT INTO cvm.devices SELECT * FROM cvm.kept_devices;"
                       "INSERT INTO cvm.certificates SELECT * FROM cvm.kept_certificates")
    fleet.set_heads(f"{kept}\n")
    fleet.a.serve()
    fleet.a.instance.cvm("ca", "crl")
    fleet.a.instance.cvm("ca", "crl")
    assert fleet.a.lists(serial, "Certificate Hold")
    fleet.c.serve()
    follows(lambda machine: machine.lists(serial, None), fleet.a, fleet.c)
    fleet.a.command("enable", "DEVICE", check=False)
    time.sleep(2)
    assert fleet.a.lists(serial, None) and fleet.c.lists(serial, None)
    fleet.database.sql("DROP TABLE cvm.kept_devices, cvm.kept_certificates")
    for machine in fleet.machines:
        machine.forget()


def test_what_has_ended_leaves_the_crl_everywhere(fleet):
    serials = fleet.register("ENDED", "OTHER")
    fleet.a.command("revoke", "ENDED")
    follows(lambda machine: machine.lists(serials["ENDED"]), *fleet.machines)
    fleet.c.instance.stop()
    fleet.database.sql(f"UPDATE cvm.certificates SET not_after = {int(time.time() * 1000) - 1000} WHERE device_uid = 'ENDED'")
    fleet.a.command("disable", "OTHER")
    fleet.a.command("revoke", "OTHER")
    follows(lambda machine: set(machine.crl.entries) == {serials["OTHER"]}, fleet.a, fleet.b)
    number = fleet.a.crl.number
    fleet.c.serve()  # one that has missed a head finds out by itself
    follows(lambda machine: set(machine.crl.entries) == {serials["OTHER"]}, fleet.c)
    time.sleep(2)
    assert {machine.crl.number for machine in fleet.machines} == {number}
    for machine in fleet.machines:
        assert "they stay so" not in machine.instance.server.stderr
        machine.forget()


def test_who_can_not_follow_is_not_ready(fleet):
    fleet.register("DEVICE")  # without any nobody is ready
    fleet.b.instance.stop()
    fleet.b.serve(ca__crl_max_lag="2s")
    wait_until(lambda: fleet.b.readiness()[0] == 200, "readiness")
    kept = fleet.value("crl_heads")
    fleet.set_heads("junk")
    wait_until(lambda: fleet.b.readiness()[0] == 503, "the lag")
    assert "the store's CRLs" in fleet.b.readiness()[1]
    assert fleet.a.readiness()[0] == 200  # 30 s
    fleet.set_heads(f"{kept}\n")
    wait_until(lambda: fleet.b.readiness()[0] == 200, "readiness again")
    fleet.set_heads("junk")
    wait_until(lambda: fleet.b.readiness()[0] == 503, "the lag")
    fleet.a.instance.cvm("ca", "crl")  # puts new ones in its place
    wait_until(lambda: fleet.b.readiness()[0] == 200, "readiness by hand")


def test_a_command_that_fails_keeps_nobody_from_following(fleet):
    serials = fleet.register(*[f"DEVICE{i}" for i in range(4)])
    fleet.b.instance.stop()
    fleet.b.serve(ca__crl_command="false")
    for uid, serial in serials.items():
        fleet.a.command("revoke", uid)
        follows(lambda machine, serial=serial: machine.lists(serial), fleet.b)


def test_other_validities_do_not_go_on_for_ever(fleet):
    """Each would find the other's CRLs wrong: the last that starts has its way, and that is all."""
    for machine, validity in ((fleet.b, "7d"), (fleet.c, "30d")):
        machine.instance.stop()
        machine.serve(ca__crl_validity=validity)
    time.sleep(4)
    heads = fleet.value("crl_heads")
    time.sleep(4)
    assert fleet.value("crl_heads") == heads
    for machine in fleet.machines:
        machine.instance.stop()


def test_a_row_that_no_crl_can_say_keeps_no_other_out(fleet):
    serials = fleet.register("GOOD")
    add_revoked(fleet, 2)
    fleet.database.sql("UPDATE cvm.certificates SET revoked_at = -1 WHERE certificate_id = lpad('1', 64, '0')")
    fleet.database.sql("UPDATE cvm.certificates SET serial = 'none' WHERE certificate_id = lpad('2', 64, '0')")
    fleet.a.command("revoke", "GOOD")
    follows(lambda machine: machine.lists(serials["GOOD"]) and len(machine.crl.entries) == 2, *fleet.machines)


def test_idle_servers_ask_the_store_for_little(fleet):
    fleet.register("DEVICE")
    time.sleep(2)
    count = "SELECT sum(calls) FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'"
    fleet.database.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    fleet.database.sql("SELECT pg_stat_statements_reset()")
    time.sleep(5)
    assert 1 <= float(fleet.database.sql(count)) / 5 / SERVERS <= 4


# --- The next issuing CA ----------------------------------------------------------------------------


def chain_of(machine):
    return (machine.folder / "ca/chain.pem").read_text().count("BEGIN CERTIFICATE")


def crls_of(machine):
    """{issuer's key id: serials}."""
    found = {}
    for part in (machine.folder / "ca/crl.pem").read_text().split("-----BEGIN X509 CRL-----")[1:]:
        text = openssl("crl", "-noout", "-text", data="-----BEGIN X509 CRL-----" + part)
        by = text.split("Authority Key Identifier:")[1].split("\n")[1].replace("keyid:", "").strip().replace(":", "").lower()
        found[by] = {int(line.split(":")[1], 16) for line in text.splitlines() if "Serial Number:" in line}
    return found


def is_verified(machine, leaf):
    """By a broker that has this machine's files and gets the leaf alone."""
    path = machine.folder / "leaf.pem"
    path.write_text(leaf)
    done = openssl("verify", "-x509_strict", "-crl_check_all", "-CAfile", machine.folder / "ca/chain.pem", "-CRLfile",
                   machine.folder / "ca/crl.pem", path, check=False)
    return "OK" in done, done


def test_the_issuing_ca_is_rotated(fleet):
    """On the first machine; the second gets the new key, the third does not."""
    def leaf_of(machine, uid):
        fleet.a.instance.add(uid)
        status, _, body = machine.instance.register(uid)
        assert status == 200, body
        return body["payload"]["certificates"]["device_certificate"]

    def serial_of(leaf):
        return int(openssl("x509", "-noout", "-serial", data=leaf).split("=")[1], 16)

    old = leaf_of(fleet.a, "OLD")
    root_key = fleet.folder / "root.key"
    shutil.move(fleet.a.folder / "ca/offline/root.key", root_key)
    done = fleet.a.instance.cvm("ca", "rotate", "--root-key", root_key)
    new_id = key_id_of(fleet.a.folder / "ca/issuing.pem")
    assert new_id != fleet.issuer and new_id.encode() in done.stdout
    assert set(crls_of(fleet.a)) >= {new_id, fleet.issuer} and chain_of(fleet.a) == 3
    follows(lambda machine: new_id in crls_of(machine) and chain_of(machine) == 3, fleet.b, fleet.c)
    for file in (fleet.a.folder / "ca").glob("issuing*"):
        shutil.copy(file, fleet.b.folder / "ca" / file.name)
    for machine in (fleet.a, fleet.b):
        machine.instance.server.send_signal(signal.SIGHUP)
        machine.instance.server.wait_for_log("reloaded")
    new = leaf_of(fleet.b, "NEW")
    third = leaf_of(fleet.c, "THIRD")  # by the old one still
    chain = new.split("-----BEGIN CERTIFICATE-----")
    assert len(chain) == 3 and openssl("x509", "-noout", "-subject", data="-----BEGIN CERTIFICATE-----" + chain[2]) == openssl(
        "x509", "-noout", "-subject", "-in", fleet.a.folder / "ca/issuing.pem")
    for leaf in (old, new, third):
        for machine in fleet.machines:
            assert is_verified(machine, leaf)[0], is_verified(machine, leaf)[1]
    fleet.b.command("revoke", "OLD")
    fleet.a.command("revoke", "NEW")
    follows(lambda machine: crls_of(machine)[new_id] == {serial_of(new)} and
            crls_of(machine)[fleet.issuer] == {serial_of(old)}, *fleet.machines)
    leaf_of(fleet.b, "NEXT")
    done = fleet.c.command("disable", "NEXT", check=False)
    assert done.returncode == TRY_AGAIN and new_id.encode() in done.stderr
    wait_until(lambda: all(len(crls_of(machine)[new_id]) == 2 for machine in fleet.machines), "one of the others")
    fleet.a.command("enable", "NEXT")
    done = fleet.c.command("revoke", "NEXT", check=False)
    assert done.returncode == TRY_AGAIN and new_id.encode() in done.stderr  # its key is not there
    wait_until(lambda: all(len(crls_of(machine)[new_id]) == 2 for machine in fleet.machines), "one of the others")
    states = [fleet.c.instance.show(uid)["certificates"][0]["state"] for uid in ("OLD", "NEW")]
    assert states == ["revoked", "revoked"]
    wait_until(lambda: fleet.c.instance.show("NEXT")["certificates"][0]["state"] == "revoked", "the record")
    for machine in fleet.machines:
        assert machine.readiness()[0] == 200, machine.readiness()
    for machine in fleet.machines:
        machine.instance.stop()
        machine.forget()  # they hold three CRLs


def test_an_issuing_ca_that_was_made_elsewhere_is_added(fleet, tmp_path):
    """Before its server starts: else that one is refused."""
    elsewhere = fleet.database.instance(tmp_path, "elsewhere", like=fleet.a.instance)
    alone = Instance(tmp_path, name="alone")  # to make it with the same root
    shutil.rmtree(alone.folder / "ca")
    shutil.copytree(fleet.a.folder / "ca", alone.folder / "ca")
    with sqlite3.connect(alone.folder / "devices.db") as store:
        store.execute("DELETE FROM meta")  # what it knows of the CA that it was made with
    store.close()
    alone.cvm("ca", "rotate", "--root-key", alone.folder / "ca/offline/root.key")
    for name in ("issuing.pem", "issuing.key"):
        shutil.copy(alone.folder / "ca" / name, elsewhere.folder / "ca" / name)
    with pytest.raises(Failed, match="is not among the store's"):
        elsewhere.serve_plain()
    foreign = Instance(tmp_path, name="foreign")
    done = fleet.a.instance.cvm("ca", "add", foreign.folder / "ca/issuing.pem", check=False)
    assert done.returncode == CONFIG and b"not issued by this root" in done.stderr
    done = fleet.a.instance.cvm("ca", "add", fleet.a.instance.conf, check=False)
    assert done.returncode == CONFIG and b"no CA's certificate" in done.stderr
    fleet.a.instance.cvm("ca", "add", elsewhere.folder / "ca/issuing.pem")
    added = key_id_of(elsewhere.folder / "ca/issuing.pem")
    with elsewhere.serve_plain():
        follows(lambda machine: added in crls_of(machine) and chain_of(machine) == 3, *fleet.machines)
    for machine in fleet.machines:
        machine.forget()
