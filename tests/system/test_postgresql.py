"""Several servers on one PostgreSQL, by the command."""

import concurrent.futures
import contextlib
import shutil
import subprocess
import threading
import time

import pytest

from cvm_server import Failed, Instance, scale, token
from postgresql import PostgreSQL

SERVERS = 3
DEVICES = 40 * scale()


@pytest.fixture(scope="module")
def database():
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def instances(database, tmp_path):
    """Three servers that run, on an empty store."""
    database.sql("DROP SCHEMA IF EXISTS cvm CASCADE")
    found = database.instances(tmp_path, SERVERS)
    for instance in found:
        instance.serve_plain({"registration.retry_window": 0})
    yield found
    for instance in found:
        instance.stop()


def register(instance, uid):
    """Until the answer is a final one, as a device does: "ok", or the error's code."""
    for _ in range(200):
        status, _, body = instance.register(uid, token(uid))
        answer = "ok" if status == 200 else body["payload"]["code"]
        if status < 500 and answer not in ("in_progress", "overloaded"):
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{uid} is told to come again and again: {body}")


def test_each_device_gets_one_certificate_while_backends_end(database, instances):
    uids = [f"DEVICE{i:04}" for i in range(DEVICES)]
    instances[0].import_csv(uids)
    is_over = threading.Event()

    def end_backends():
        count = int(database.end_backends())
        while not is_over.wait(0.1):
            count += int(database.end_backends())
        return count

    with concurrent.futures.ThreadPoolExecutor(17) as pool:
        killer = pool.submit(end_backends)
        asked = [(uid, pool.submit(register, instance, uid)) for uid in uids for instance in instances]
        answers = {}
        try:
            for uid, answer in asked:
                answers.setdefault(uid, []).append(answer.result())
        finally:
            is_over.set()
        assert killer.result() > 0
    for uid, told in answers.items():
        assert set(told) <= {"ok", "already_registered"}, (uid, told)
        current = database.sql("SELECT certificate_id FROM cvm.certificates"
                               f" WHERE device_uid = '{uid}' AND state = 'current'").split()
        assert len(current) == 1, (uid, current)
    assert database.sql("SELECT count(*) FROM cvm.devices WHERE is_registered = 1") == str(DEVICES)


def test_the_server_of_the_database_restarts(database, instances):
    instances[0].add("BEFORE")
    assert register(instances[1], "BEFORE") == "ok"
    database.restart()
    instances[2].add("AFTER")
    assert [register(instance, "AFTER") for instance in instances] == ["ok", "already_registered", "already_registered"]


def test_what_one_server_wrote_another_one_reads(instances):
    instances[0].add("DEVICE001")
    assert register(instances[1], "DEVICE001") == "ok"
    instances[2].cvm("device", "disable", "DEVICE001")
    assert register(instances[0], "DEVICE001") == "not_authorized"
    shown = instances[1].show("DEVICE001")
    assert not shown["is_enabled"] and shown["is_registered"]
    listed = instances[2].cvm("device", "list").stdout.decode()
    assert "DEVICE001" in listed


def test_tables_are_made_by_hand_or_by_a_command(database, tmp_path):
    instance = database.instance(tmp_path, "by_hand")
    instance.conf.write_text(instance.conf.read_text() + "postgresql.schema = by_hand\n")
    done = instance.cvm("device", "list", check=False)
    assert done.returncode == 78 and b"`cvm store migrate` makes one" in done.stderr
    with pytest.raises(Failed, match="cvm store migrate"):
        instance.serve_plain()
    statements = instance.cvm("store", "migrate", "--print").stdout.decode()
    assert instance.cvm("device", "list", check=False).returncode == 78  # nothing was changed
    database.sql(statements)
    assert instance.cvm("store", "migrate", "--print").stdout == b""
    assert b"is up to date" in instance.cvm("store", "migrate").stdout
    instance.import_csv(["BEFORE_ANY_SERVER"])
    with instance.serve_plain():
        assert register(instance, "BEFORE_ANY_SERVER") == "ok"


def test_the_fleet_can_be_looked_at(database, instances):
    instances[0].import_csv(["WAITING", "REGISTERED", "DISABLED", "REVOKED"])
    for uid in ("REGISTERED", "REVOKED"):
        assert register(instances[1], uid) == "ok"
    instances[0].cvm("device", "disable", "DISABLED")
    instances[0].cvm("device", "revoke", "REVOKED")
    rows = database.sql("SELECT device_uid, state, thing_name, certificate_ends > now() FROM cvm.fleet ORDER BY 1").splitlines()
    assert rows[0].startswith("DISABLED|disabled|")
    assert rows[1] == "REGISTERED|registered|thing_REGISTERED|t"
    assert rows[2].startswith("REVOKED|revoked|thing_REVOKED|")
    assert rows[3] == "WAITING|waiting||"
    assert "token" not in database.sql("SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_name = 'fleet'")


def test_a_password_is_in_a_file_and_read_anew(database, tmp_path):
    hba = database.folder / "data/pg_hba.conf"
    before = hba.read_text()
    database.sql("DROP SCHEMA IF EXISTS cvm CASCADE; CREATE ROLE secretive LOGIN SUPERUSER PASSWORD 'first'")
    hba.write_text("local all secretive scram-sha-256\n" + before)
    database.sql("SELECT pg_reload_conf()")
    try:
        instance = database.instance(tmp_path, "secretive")
        file = tmp_path / "password"
        file.write_text("first\n")
        text = instance.conf.read_text().replace("//cvm@", "//secretive@")
        instance.conf.write_text(f"{text}postgresql.password_file = {file}\n")
        instance.cvm("store", "migrate")
        instance.add("D1")
        with instance.serve_plain():
            assert register(instance, "D1") == "ok"
            database.sql("ALTER ROLE secretive PASSWORD 'second'")
            file.write_text("second\n")
            database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'secretive'")
            instance.add("D2")
            assert register(instance, "D2") == "ok"
        file.write_text("wrong\n")
        done = instance.cvm("device", "list", check=False)
        assert done.returncode == 78 and b"authentication failed" in done.stderr and b"wrong" not in done.stderr
        file.unlink()
        done = instance.cvm("device", "list", check=False)
        assert done.returncode == 78 and str(file).encode() in done.stderr
    finally:
        hba.write_text(before)
        database.sql("SELECT pg_reload_conf(); DROP SCHEMA cvm CASCADE; DROP ROLE secretive")


def test_an_import_says_what_became_of_each_row(instances):
    uids = [f"IMPORT{i:05}" for i in range(5000)]
    first = instances[0].import_csv(uids).stdout.decode()
    again = instances[1].import_csv(uids).stdout.decode()
    assert "5000" in first and "5000" in again
    assert instances[2].show("IMPORT04999")["device_uid"] == "IMPORT04999"


@pytest.fixture
def small_disk(database):
    """What the store is made on from now on; it can be filled up."""
    folder = database.folder / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount here")
    try:
        shutil.chown(folder, user="postgres")
        database.sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
        database.sql("ALTER ROLE cvm SET default_tablespace = 'small'")
        yield folder
        database.sql("ALTER ROLE cvm RESET default_tablespace")
        database.sql("DROP SCHEMA cvm CASCADE")
        database.sql("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_and_loses_nothing(database, small_disk, instances):
    waiting = [f"WAITING{i:03}" for i in range(400)]
    instances[0].import_csv(waiting[:10])
    assert register(instances[1], waiting[0]) == "ok"
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    rows = "".join(f"MANY{i:06},{token('MANY')}\n" for i in range(20000))
    done = instances[0].cvm("device", "import", "-", stdin="device_uid,device_token\n" + rows, check=False)
    assert done.returncode == 75 and b"No space left on device" in done.stderr, done
    told = {uid: instances[2].register(uid, token(uid))[2]["payload"].get("code", "ok") for uid in waiting[:10]}
    assert set(told.values()) <= {"ok", "store_unavailable", "already_registered"}, told
    recorded = database.sql("SELECT device_uid FROM cvm.devices WHERE is_registered = 1").split()
    assert set(recorded) == {uid for uid, code in told.items() if code != "store_unavailable"}
    filler.unlink()
    instances[0].import_csv([*waiting, *(f"MANY{i:06}" for i in range(20000))])
    assert database.sql("SELECT count(*) FROM cvm.devices") == "20400"
    assert {register(instances[2], uid) for uid in waiting[:20]} <= {"ok", "already_registered"}


def test_tls_is_verified(tmp_path):
    with PostgreSQL(behind_network=True) as database:
        instance = database.instance(tmp_path, "s0")
        out = tmp_path / "tls"
        instance.cvm("ca", "server", "localhost", "--out", out)
        for name in ("server.pem", "server.key"):
            target = database.folder / "data" / name
            shutil.copy(out / name, target)
            shutil.chown(target, user="postgres")
        for name, value in (("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl", "on")):
            database.set(name, value)
        database.restart()
        text = instance.conf.read_text()

        def connect(host, root):
            uri = f"postgresql://cvm@{host}:{database.port}/postgres?sslmode=verify-full&sslrootcert={root}"
            instance.conf.write_text(text.replace(database.uri, uri))
            return instance.cvm("store", "migrate", check=False)

        other = Instance(tmp_path, name="other")
        done = connect("localhost", other.root_ca)
        assert done.returncode == 78 and b"certificate verify failed" in done.stderr, done
        done = connect("127.0.0.1", instance.root_ca)
        assert done.returncode in (69, 78) and b"does not match host name" in done.stderr, done
        assert connect("localhost", instance.root_ca).returncode == 0
        instance.add("DEVICE001")
        with instance.serve_plain():
            assert register(instance, "DEVICE001") == "ok"
            encrypted = database.sql("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                     " WHERE application_name = 'cvm' AND ssl")
            assert int(encrypted) >= 2
