"""The DynamoDB store by the command and the server, over the maker's table."""

import json
import pathlib

import pytest

from csr_tools import make_csr
from cvm_server import Failed, Instance, build_folder, token
from dynamodb import DynamoDB, reference_verdict

ROWS = json.loads((pathlib.Path(__file__).parent.parent / "data/reference-rows.json").read_text())
MAKERS_ATTRIBUTES = {"device_uid", "device_token", "is_enabled", "is_registered", "iot_core_thing_name", "iot_core_registered_on", "cvm_revision"}


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        yield server


@pytest.fixture
def instance(database, tmp_path):
    database.empty()
    instance = database.instance(tmp_path)
    yield instance
    instance.stop()


def code_of(instance, uid, **more):
    status, _, body = instance.register(uid, **more)
    return "ok" if status == 200 else body["payload"]["code"]


def put_device(database, uid, **more):
    """A row as a maker's script writes it."""
    database.put({"device_uid": {"S": uid}, "device_token": {"S": token(uid)}, "is_enabled": {"S": "1"}, "is_registered": {"S": "0"},
                  "iot_core_thing_name": {"S": ""}, "iot_core_registered_on": {"S": ""}, **more})


def test_the_references_rows_in_all_their_forms(database, instance):
    for row in ROWS:
        database.put(row)
    instance.serve_plain()
    told = {row["device_uid"]["S"]: code_of(instance, row["device_uid"]["S"]) for row in ROWS}
    assert told == {**{f"DEVICE{i:03}": "ok" for i in range(1, 6)}, **{f"DEVICE{i:03}": "not_authorized" for i in range(6, 9)},
                    **{f"DEVICE{i:03}": "already_registered" for i in (9, 10)}}
    for uid, code in told.items():
        row = database.row(uid)
        assert set(row) <= MAKERS_ATTRIBUTES
        if code == "ok":
            assert row["is_registered"] == {"N": "1"}
            assert row["iot_core_thing_name"] == {"S": f"thing_{uid}"}
            assert len(row["iot_core_registered_on"]["S"]) == len("2022-03-01 10:00:00.000000")
            assert reference_verdict(row, token(uid)) == "registered"
            assert len(database.certificates(uid, "current")) == 1
        else:
            assert row == next(row for row in ROWS if row["device_uid"]["S"] == uid)  # nothing was written


def test_what_the_operator_writes_the_reference_understands(database, instance):
    for row in ROWS:
        database.put(row)
    for uid in ("DEVICE001", "DEVICE002", "DEVICE003", "DEVICE005"):
        instance.cvm("device", "disable", uid)
        assert database.row(uid)["is_enabled"] == {"N": "0"}
        assert reference_verdict(database.row(uid), token(uid)) == "disabled"
    for uid in ("DEVICE001", "DEVICE006", "DEVICE007", "DEVICE008"):
        instance.cvm("device", "enable", uid)
        assert reference_verdict(database.row(uid), token(uid)) == "registers"
    assert database.row("DEVICE006")["is_enabled"] == {"S": "1"}  # in the type that it was read in
    assert database.row("DEVICE007")["is_enabled"] == {"N": "1"}
    instance.cvm("device", "reset", "DEVICE009")
    assert reference_verdict(database.row("DEVICE009"), token("DEVICE009")) == "registers"
    shown = instance.show("DEVICE010")
    assert (shown["is_registered"], shown["thing_name"], shown["registered_on"]) == (True, "thing_DEVICE010", "2022-03-01T10:00:00Z")
    instance.cvm("device", "revoke", "DEVICE010")
    assert reference_verdict(database.row("DEVICE010"), token("DEVICE010")) == "registered"
    instance.cvm("device", "remove", "DEVICE002")
    assert database.row("DEVICE002") is None


def test_what_changes_nothing_is_written_in_a_form_that_the_reference_understands(database, instance):
    """It takes the text "0" for enabled, and "1" for not registered; and breaks off where there is neither."""
    for verb in ("disable", "enable", "reset"):
        for row in ROWS:
            database.put(row)
            uid = row["device_uid"]["S"]
            instance.cvm("device", verb, uid)
            shown, verdict = instance.show(uid), reference_verdict(database.row(uid), token(uid))
            assert verdict == ("registered" if shown["is_registered"] else "registers" if shown["is_enabled"] else "disabled"), (verb, row)
            instance.cvm("device", "remove", uid, "--force")


def test_a_script_that_puts_rows_anew_takes_nothing_back(database, instance):
    instance.serve_plain({"registration.retry_window": 0})
    for uid in ("REGISTERED", "REVOKED", "DISABLED"):
        put_device(database, uid)
        assert code_of(instance, uid) == "ok"
    instance.cvm("device", "revoke", "REVOKED")
    instance.cvm("device", "disable", "DISABLED")
    for uid in ("REGISTERED", "REVOKED", "DISABLED"):
        put_device(database, uid)  # not registered, it says, and enabled
    assert code_of(instance, "REGISTERED") == "already_registered"
    assert code_of(instance, "REVOKED") == "not_authorized"
    assert code_of(instance, "DISABLED") == "already_registered"  # what the script says of that counts
    assert len(database.certificates("REGISTERED", "current")) == 1
    assert not database.certificates("REVOKED", "current")
    shown = instance.show("REGISTERED")
    assert (shown["is_registered"], shown["thing_name"]) == (True, "thing_REGISTERED")
    # The next write says it in the row again.
    instance.cvm("device", "disable", "REGISTERED")
    assert database.row("REGISTERED")["is_registered"] == {"N": "1"}
    instance.cvm("device", "reset", "REVOKED")
    instance.cvm("device", "enable", "REVOKED")
    assert code_of(instance, "REVOKED") == "ok"


def test_a_row_that_a_script_takes_out_leaves_its_state(database, instance):
    put_device(database, "DEVICE")
    with instance.serve_plain():
        assert code_of(instance, "DEVICE") == "ok"
    row = database.row("DEVICE")
    database.call("DeleteItem", TableName=database.table, Key={"device_uid": {"S": "DEVICE"}})
    done = instance.cvm("device", "add", "DEVICE", "--token-file", "-", stdin=token("DEVICE"), check=False)
    assert done.returncode and database.row("DEVICE") is None  # it would not be new
    database.put(row)
    instance.cvm("device", "remove", "DEVICE", "--force")
    instance.add("DEVICE")
    with instance.serve_plain():
        assert code_of(instance, "DEVICE") == "ok"
    assert len(database.certificates("DEVICE", "current")) == 1


def test_a_new_token_of_the_scripts_counts(database, instance):
    put_device(database, "DEVICE")
    put_device(database, "DEVICE", device_token={"S": token("ANOTHER")})
    instance.serve_plain()
    assert code_of(instance, "DEVICE") == "not_authorized"
    assert code_of(instance, "DEVICE", token_text=token("ANOTHER")) == "ok"


def nested(depth):
    return {"L": [nested(depth - 1)]} if depth else {"S": "deep"}


def test_rows_of_forms_that_nobody_knows(database, instance):
    odd = {"LIST": {"is_enabled": {"L": []}}, "NOTHING": {"is_enabled": {"NULL": True}}, "YES": {"is_enabled": {"S": "yes"}},
           "TOKEN": {"device_token": {"N": "12345678901234567890"}}, "LONG": {"device_token": {"S": "x" * 1000}},
           "THING": {"iot_core_thing_name": {"M": {}}}, "NUL": {"note": {"S": "a\0b"}},
           "MANY": {f"attribute{i}": {"N": str(i)} for i in range(200)}, "DEEP": {"note": nested(14)}, "TIME": {"iot_core_registered_on": {"S": "x" * 60}}, "UMLAUTS": {"iot_core_thing_name": {"S": "ä" * 100}, "iot_core_registered_on": {"S": "ä" * 30}},
           "ZERO": {"iot_core_registered_on": {"S": "a\0b"}, "iot_core_thing_name": {"S": "\0"}},
           "ZULU": {"iot_core_registered_on": {"S": "2022-03-01T10:00:00Z"}}, "NUMBER": {"iot_core_registered_on": {"N": "5"}},
           "REVISION": {"cvm_revision": {"N": str(2**63)}}, "FRACTION": {"cvm_revision": {"S": "x"}}, "SECOND": {"is_registered": {"S": "later"}}, "WIDE": {"note": {"S": "x" * 300000}}}
    for uid, more in odd.items():
        put_device(database, uid, **more)
    for key in ("../etc", "é", "x" * 2000, "a b"):
        database.put({"device_uid": {"S": key}, "device_token": {"S": token("x")}})
    instance.serve_plain()
    told = {uid: code_of(instance, uid) for uid in odd}
    assert told == {"LIST": "not_authorized", "NOTHING": "not_authorized", "YES": "not_authorized", "TOKEN": "not_authorized",
                    "LONG": "not_authorized", "THING": "ok", "NUL": "ok", "MANY": "ok", "DEEP": "ok", "TIME": "ok", "ZULU": "ok", "NUMBER": "ok", "UMLAUTS": "ok", "ZERO": "ok",
                    "REVISION": "ok", "FRACTION": "ok", "SECOND": "already_registered", "WIDE": "ok"}
    listed = [json.loads(line)["device_uid"] for line in instance.cvm("device", "list", "--json").stdout.splitlines()]
    assert sorted(listed) == sorted(odd)
    for verb in ("disable", "enable", "reset", "revoke"):
        for uid in odd:
            instance.cvm("device", verb, uid)
    for uid in odd:
        instance.cvm("device", "remove", uid, "--force")
    assert len(database.items()) == 4
    assert database.row("WIDE") is None


def test_a_key_that_is_compromised_is_nobodys(database, instance):
    instance.import_csv(["DEVICE", "OTHER"])
    csr = make_csr()
    with instance.serve_plain():
        assert code_of(instance, "DEVICE", csr=csr) == "ok"
        assert code_of(instance, "OTHER", csr=csr) == "invalid_csr"
        instance.cvm("device", "revoke", "DEVICE", "--reason", "keyCompromise")
        for verb in ("reset", "enable"):
            instance.cvm("device", verb, "DEVICE")
        assert code_of(instance, "DEVICE", csr=csr) == "invalid_csr"
        assert code_of(instance, "OTHER", csr=csr) == "invalid_csr"
        assert code_of(instance, "DEVICE", csr=make_csr()) == "ok"
        instance.cvm("device", "remove", "DEVICE", "--force")
        assert code_of(instance, "OTHER", csr=csr) == "invalid_csr"
    assert len(database.certificates("DEVICE", "revoked")) == 2


def test_a_key_is_free_once_its_device_is_gone(database, instance):
    instance.import_csv(["DEVICE", "OTHER"])
    csr = make_csr()
    with instance.serve_plain():
        assert code_of(instance, "DEVICE", csr=csr) == "ok"
        row = database.row("DEVICE")
        database.call("DeleteItem", TableName=database.table, Key={"device_uid": {"S": "DEVICE"}})
        assert code_of(instance, "OTHER", csr=csr) == "invalid_csr"  # a script took the row: it may come again
        database.put(row)
        instance.cvm("device", "remove", "DEVICE", "--force")
        assert code_of(instance, "OTHER", csr=csr) == "ok"


def test_a_server_sees_what_others_made_meanwhile(database, instance, tmp_path):
    """It has read which certificates the device has, and another one is made, and all are gone."""
    other = database.instance(tmp_path, "other", like=instance)
    instance.import_csv(["DEVICE"])
    with instance.serve_plain(), other.serve_plain():
        for server in (instance, other, other, instance):
            instance.cvm("device", "reset", "DEVICE")
            assert code_of(server, "DEVICE") == "ok"
            instance.cvm("reconcile")
            assert len(database.certificates("DEVICE", "current")) == 1
        assert len(database.certificates("DEVICE", "revoked")) == 3
        other.cvm("device", "remove", "DEVICE", "--force")
        other.import_csv(["DEVICE"])
        assert code_of(instance, "DEVICE") == "ok"
    assert len(database.certificates("DEVICE", "revoked")) == 4


def test_an_import_writes_over_nothing(database, instance):
    put_device(database, "THERE", is_enabled={"N": "0"}, note={"S": "the maker's"})
    put_device(database, "OTHER", device_token={"S": "a" * 64})
    said = instance.import_csv(["THERE", "OTHER"] + [f"NEW{i:04}" for i in range(400)]).stdout.decode()
    assert said == "inserted  400\nunchanged 1\nconflicts 1\nrejected  0\n"
    assert database.row("THERE")["is_enabled"] == {"N": "0"} and database.row("THERE")["note"] == {"S": "the maker's"}
    assert database.row("OTHER")["device_token"] == {"S": "a" * 64}
    assert len(database.items()) == 402
    instance.serve_plain()
    assert code_of(instance, "NEW0399") == "ok"


def test_tables_of_different_times_are_told(database, instance):
    """One of them was restored alone, or rows were lost."""
    instance.import_csv(["FINE", "OLD", "GONE", "LOST", "TWO", "PLAIN"])
    with instance.serve_plain():
        for uid in ("FINE", "OLD", "GONE", "LOST", "TWO"):
            assert code_of(instance, uid) == "ok"
    assert instance.cvm("store", "check").stdout == b"the store has no damage\n"
    row = database.row("OLD")
    instance.cvm("device", "disable", "OLD")
    database.put(row)
    database.call("DeleteItem", TableName=database.table, Key={"device_uid": {"S": "GONE"}})
    lost, = database.certificates("LOST", "current")
    database.call("DeleteItem", TableName=database.table + "-cvm", Key={"pk": lost["pk"], "sk": lost["sk"]})
    two, = database.certificates("TWO", "current")
    database.call("PutItem", TableName=database.table + "-cvm", Item={**two, "state": {"S": "revoked"}})
    database.call("PutItem", TableName=database.table + "-cvm", Item={**two, "pk": {"S": "C#other"}, "certificate_id": {"S": "other"}})
    done = instance.cvm("store", "check", "--json", check=False)
    found = sorted(json.loads(line)["damage"] for line in done.stdout.splitlines())
    assert done.returncode == 65 and b"don't go together" in done.stderr
    assert [line.split(":")[0] for line in found] == ["GONE", "LOST", "LOST", "OLD", "TWO", "TWO"], found
    assert "of the same change" in found[3] and "no row in devices" in found[0]


def test_the_tables_are_made_by_the_command_alone(database, tmp_path):
    database.drop()
    instance = database.instance(tmp_path)
    printed = instance.cvm("store", "create", "--print").stdout.decode()
    assert [json.loads(line)["TableName"] for line in printed.splitlines()] == ["devices", "devices-cvm"]
    assert not database.call("ListTables")["TableNames"]
    with pytest.raises(Failed, match="table devices: there is none: `cvm store create` makes it"):
        instance.serve_plain({"store.create": "true"})
    assert instance.cvm("store", "create").stdout.decode() == "devices: made\ndevices-cvm: made\n"
    assert instance.cvm("store", "create").stdout.decode() == "devices: is there\ndevices-cvm: is there\n"
    instance.add("DEVICE")
    with instance.serve_plain():
        assert code_of(instance, "DEVICE") == "ok"


def test_a_table_that_is_none_of_ours_is_refused(database, tmp_path):
    database.empty()
    database.call("DeleteTable", TableName="devices-cvm")
    database.call("CreateTable", TableName="devices-cvm", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                  AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}])
    with pytest.raises(Failed, match="table devices-cvm: its keys are not pk and sk"):
        database.instance(tmp_path).serve_plain()


def test_a_store_moves_into_dynamodb(database, tmp_path):
    """From the file, with all that is in it; the CA stays."""
    database.empty()
    instance = Instance(tmp_path)
    instance.import_csv([f"DEVICE{i:03}" for i in range(60)])
    with instance.serve_plain():
        first = instance.register("DEVICE000")
        assert first[0] == 200 and code_of(instance, "DEVICE001") == "ok"
    instance.cvm("device", "revoke", "DEVICE001")
    to = f"dynamodb:{database.table}"
    instance.conf.write_text(instance.conf.read_text() + f"module.path = {build_folder()}\naws.endpoint_dynamodb = {database.url}\n")
    instance.cvm("store", "copy", f"file:{instance.folder}/devices.db", to, "--finish")
    instance.conf.write_text(instance.conf.read_text().replace("store = file:devices.db", f"store = {to}"))
    with instance.serve_plain({"registration.reissue_after": 0}):
        assert code_of(instance, "DEVICE001") == "not_authorized"
        assert code_of(instance, "DEVICE002") == "ok"
        assert instance.show("DEVICE000")["certificates"][0]["state"] == "current"
    assert len(database.items()) == 60
    assert len(database.certificates("DEVICE000", "current")) == 1


@pytest.mark.parametrize("settings, says", [
    ({"store": "dynamodb:x"}, "names of 3 to 255"),
    ({"dynamodb.state_table": "devices"}, "another table in dynamodb.state_table"),
    ({"aws.region": "eu central"}, "is no region"),
    ({"aws.endpoint_dynamodb": "127.0.0.1:8000"}, "expected https://HOST or http://HOST:PORT"),
    ({"aws.endpoint_dynamodb": "http://host/path"}, "expected https://HOST or http://HOST:PORT"),
    ({"aws.endpoint_nothing": "x"}, "aws.endpoint_nothing"),
])
def test_a_wrong_configuration_is_told(database, tmp_path, settings, says):
    with pytest.raises(Failed, match=says):
        database.instance(tmp_path).serve_plain(settings)


def test_without_keys_it_says_where_they_would_be(database, tmp_path, monkeypatch):
    database.empty()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    instance = database.instance(tmp_path)
    done = instance.cvm("device", "show", "DEVICE", check=False)
    assert done.returncode == 69 and b"there are no AWS credentials" in done.stderr
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[profile factory]\nregion = eu-west-1\ncredential_process = /bin/true\n[default]\nsso_session = x\n")
    done = instance.cvm("device", "show", "DEVICE", check=False)
    assert b"sso_session is not followed here; `aws configure export-credentials" in done.stderr
    (tmp_path / ".aws/credentials").write_text("[other]\naws_access_key_id = a\n[default]\naws_access_key_id = b\naws_secret_access_key = c\n")
    done = instance.cvm("device", "show", "DEVICE", check=False)
    assert b"credentials" not in done.stderr and b"DEVICE" in done.stderr
