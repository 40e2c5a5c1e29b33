"""What becomes of the store's calls on their way: each answer lost, late, spoiled or refused, with the effect or without."""

import concurrent.futures
import http.client
import json
import random
import re
import threading
import time

import pytest

from aws_proxy import FAULTS, Proxy
from cvm_server import scale, seed, token
from csr_tools import make_csr
from dynamodb import DynamoDB

SHORT = {"dynamodb.timeout": "3s", "registration.retry_window": 0}


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        yield server


@pytest.fixture
def proxy(database):
    with Proxy(database.url, "dynamodb") as proxy:
        proxy.slow_s = 5
        yield proxy


@pytest.fixture
def instance(database, proxy, tmp_path):
    database.empty()
    instance = database.instance(tmp_path, url=proxy.url)
    yield instance
    instance.stop()


def register_until_final(instance, uid, **more):
    """As a device does."""
    for _ in range(30):
        status, headers, body = instance.register(uid, **more)
        code = "ok" if status == 200 else body["payload"]["code"]
        if status < 500 and code != "in_progress":
            return code, body
        assert "Retry-After" in headers or status == 502, (status, body)
    raise AssertionError(body)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_registration_gets_over_it(database, proxy, instance, fault):
    """With a CSR: asked again, it is answered the same certificate."""
    calls = ("BatchGetItem", "TransactWriteItems")
    instance.import_csv([f"DEVICE{i}" for i in range(2 * len(calls))])
    instance.serve_plain(SHORT)
    for number, name in enumerate(calls * 2):
        uid = f"DEVICE{number}"
        proxy.plan(name, fault, 1 if number < len(calls) else 2)
        csr = make_csr()
        code, body = register_until_final(instance, uid, csr=csr)
        assert code == "ok", (name, body)
        assert register_until_final(instance, uid, csr=csr)[1]["payload"]["certificate_id"] == body["payload"]["certificate_id"]
        assert len(database.certificates(uid, "current")) == 1 and database.row(uid)["is_registered"] == {"N": "1"}
        proxy.clear()


@pytest.mark.parametrize("fault", ("lost", "half", "error"))
def test_a_write_whose_answer_was_lost_is_known_again(database, proxy, instance, fault):
    """By the transaction's token, or by what is found: none is a conflict with itself."""
    instance.import_csv(["PLAIN", "MOVED"])
    for verb, enabled in (("disable", "0"), ("enable", "1")):
        proxy.plan("TransactWriteItems", fault)
        instance.cvm("device", verb, "PLAIN")
        assert database.row("PLAIN")["is_enabled"] == {"N": enabled}
    proxy.plan("TransactWriteItems", fault)
    instance.add("NEW")
    proxy.plan("BatchExecuteStatement", fault)
    assert b"inserted  1\n" in instance.import_csv(["IMPORTED"]).stdout
    with instance.serve_plain(SHORT):
        assert instance.register("MOVED")[0] == 200
    for verb in ("disable", "enable", "reset", "revoke"):
        proxy.plan("TransactWriteItems", fault)
        instance.cvm("device", verb, "MOVED")
    assert len(database.certificates("MOVED", "revoked")) == 1
    proxy.plan("TransactWriteItems", fault)
    instance.cvm("device", "remove", "MOVED", "--force")
    assert database.row("MOVED") is None


@pytest.mark.parametrize("fault", ("empty", "html"))
def test_what_was_answered_and_can_not_be_read_is_not_known(database, proxy, instance, fault):
    instance.add("DEVICE")
    proxy.plan("TransactWriteItems", fault, count=40)
    done = instance.cvm("device", "disable", "DEVICE", "--set", "dynamodb.timeout=2s", check=False)
    assert done.returncode == 75 and b"whether it was written is not known" in done.stderr, done.stderr


@pytest.mark.parametrize("then", ("denied", "throttled", "conflict", "in_progress", "reset"))
def test_what_was_lost_and_then_refused_is_not_known(database, proxy, instance, then):
    """Whoever sent it first, ourselves or libcurl: nobody says that nothing was written."""
    instance.add("DEVICE")
    proxy.plan("TransactWriteItems", "lost")
    proxy.plan("TransactWriteItems", then, 2, count=40)
    done = instance.cvm("device", "disable", "DEVICE", "--set", "dynamodb.timeout=2s", check=False)
    assert done.returncode == 75 and b"whether it was written is not known" in done.stderr, done.stderr
    assert database.row("DEVICE")["is_enabled"] == {"N": "0"}
    proxy.clear()
    instance.cvm("device", "enable", "DEVICE")


def test_of_many_writers_one_wins(database, proxy, instance):
    """Whatever happens to their calls: what two want alike is one's."""
    instance.add("DEVICE")
    instance.serve_plain({**SHORT, "registration.reissue_after": "1h"})
    rng = random.Random(7)
    take = proxy.take
    proxy.take = lambda *words: take(*words) or rng.choice(("lost", "reset", "throttled", None, None, None, None))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda i: instance.register("DEVICE")[0], range(48)))
    assert told.count(200) <= 1 and set(told) <= {200, 409, 503}, told
    assert len(database.certificates("DEVICE", "current")) <= 1


def test_servers_that_are_killed(database, tmp_path):
    """Three on one table, each device asking all of them at once; one after the other is killed and comes again."""
    database.empty()
    rng, devices = random.Random(seed()), 40 * scale()
    first = database.instance(tmp_path, "s0")
    servers = [first] + [database.instance(tmp_path, f"s{i}", like=first) for i in (1, 2)]
    first.import_csv([f"DEVICE{i:04}" for i in range(devices)])
    for server in servers:
        server.serve_plain(SHORT)
    is_over, kills = threading.Event(), []

    def kill_them():
        while not is_over.wait(rng.uniform(0.1, 0.6)):
            server = rng.choice(servers)
            server.kill()
            server.serve_plain(SHORT)
            kills.append(server)

    def ask(number):
        server, uid = servers[number % 3], f"DEVICE{number // 3:04}"
        for _ in range(100):
            try:
                status, _, body = server.register(uid)
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                time.sleep(0.05)
                continue
            code = "ok" if status == 200 else body["payload"]["code"]
            if status < 500 and code != "in_progress":
                return uid, code, body
            time.sleep(0.05)
        raise AssertionError(uid)

    with concurrent.futures.ThreadPoolExecutor(13) as pool:
        killer = pool.submit(kill_them)
        told = list(pool.map(ask, range(3 * devices)))
        is_over.set()
        killer.result()
    for server in servers:
        server.stop()
    assert kills and {code for _, code, _ in told} <= {"ok", "already_registered"}
    certificates = {item["certificate_id"]["S"]: item for item in database.items(database.table + "-cvm") if item["sk"] == {"S": "C"}}
    for uid, code, body in told:
        assert code != "ok" or certificates[body["payload"]["certificate_id"]]["device_uid"] == {"S": uid}
    for i in range(devices):
        assert database.row(f"DEVICE{i:04}")["is_registered"] == {"N": "1"}
        assert len([item for item in certificates.values() if item["device_uid"] == {"S": f"DEVICE{i:04}"}]) == 1
    assert first.cvm("store", "check").stdout == b"the store has no damage\n"


def test_a_service_that_is_gone_is_told(database, proxy, instance):
    instance.add("DEVICE")
    instance.serve_plain(SHORT)
    for fault in ("reset", "unavailable", "throttled"):
        proxy.clear()
        proxy.plan("BatchGetItem", fault, count=100)
        status, headers, body = instance.register("DEVICE")
        assert (status, body["payload"]["code"]) == (503, "overloaded" if fault == "throttled" else "store_unavailable"), (fault, body)
        assert int(headers["Retry-After"]) >= 1
    proxy.clear()
    assert instance.register("DEVICE")[0] == 200


def test_keys_that_are_left_are_asked_for_again(database, proxy, instance, monkeypatch):
    """BatchGetItem may answer a part of what it was asked for."""
    instance.import_csv([f"DEVICE{i:03}" for i in range(30)])
    forward = proxy.forward

    def leave_some(method, path, headers, body):
        status, answered, data = forward(method, path, headers, body)
        if headers["X-Amz-Target"].endswith("BatchGetItem"):
            asked, answer = json.loads(body)["RequestItems"], json.loads(data)
            for table, request in asked.items():
                if len(request["Keys"]) > 1:
                    left = request["Keys"][len(request["Keys"]) // 2:]
                    answer["UnprocessedKeys"][table] = {**request, "Keys": left}
                    answer["Responses"][table] = [item for item in answer["Responses"].get(table, [])
                                                  if not any(all(item[name] == value for name, value in key.items()) for key in left)]
            data = json.dumps(answer).encode()
        return status, answered, data

    monkeypatch.setattr(proxy, "forward", leave_some)
    instance.import_csv([f"DEVICE{i:03}" for i in range(3)])
    instance.serve_plain(SHORT)
    assert instance.register("DEVICE001")[0] == 200
    assert len(instance.cvm("device", "list").stdout.splitlines()) >= 30


@pytest.mark.parametrize("answer", [
    {}, {"Responses": []}, {"Responses": {"devices": {}}}, {"Responses": {"devices": [{"device_uid": {"S": "OTHER"}}]}},
    {"Responses": {"devices": [{"device_uid": {"N": "1"}}, 7, None, "x", [[]]]}}, {"Responses": {"devices": [{}]}, "UnprocessedKeys": 7},
    {"Responses": {"devices": [], "devices-cvm": []}, "UnprocessedKeys": {"devices": {"Keys": 7}}},
    {"Responses": {"devices-cvm": [{"pk": {"S": "U#DEVICE"}, "sk": {"S": "S"}, "certificates": {"SS": [7, {}, "x" * 400]}, "revision": {"N": "z"}}]}},
    {"Responses": {"devices": [{"device_uid": {"S": "DEVICE"}, "device_token": {"S": "\u00e9" * 300}, "is_enabled": {"N": 7}}]}},
])
def test_answers_that_can_not_be(database, proxy, instance, monkeypatch, answer):
    instance.add("DEVICE")
    forward = proxy.forward
    monkeypatch.setattr(proxy, "forward", lambda method, path, headers, body: (200, {}, json.dumps(answer).encode())
                        if headers["X-Amz-Target"].endswith("BatchGetItem") else forward(method, path, headers, body))
    instance.serve_plain(SHORT)
    status, _, body = instance.register("DEVICE")
    assert status in (403, 502, 503), body
    for verb in ("show", "disable", "revoke"):
        assert instance.cvm("device", verb, "DEVICE", check=False).returncode


def test_a_set_that_has_a_member_often(database, proxy, instance, monkeypatch):
    """DynamoDB has none; whoever stands in for it may."""
    instance.add("DEVICE")
    forward = proxy.forward

    def repeat(*request):
        status, headers, data = forward(*request)
        return status, headers, re.sub(rb'"certificates":\{"SS":\[("[0-9a-f]+")', lambda found: found[0] + b"," + b",".join([found[1]] * 40), data)

    monkeypatch.setattr(proxy, "forward", repeat)
    with instance.serve_plain(SHORT):
        assert instance.register("DEVICE")[0] == 200
        assert instance.show("DEVICE")["certificates"]
        instance.cvm("device", "revoke", "DEVICE")
    assert len(database.certificates("DEVICE", "revoked")) == 1


def test_no_verb_of_one_device_scans(database, proxy, instance):
    """However many devices there are; most of what is asked is the local platform's, for its CRL."""
    instance.import_csv([f"DEVICE{i:04}" for i in range(1000)])
    with instance.serve_plain(SHORT):
        assert instance.register("DEVICE0500")[0] == 200
    for verb in (["show"], ["disable"], ["enable"], ["revoke"], ["reset"], ["enable"], ["remove", "--force"]):
        proxy.clear()
        instance.cvm("device", verb[0], "DEVICE0500", *verb[1:])
        assert "Scan" not in proxy.calls and len(proxy.calls) <= 40, (verb, proxy.calls)


def test_connections_are_kept(database, proxy, instance):
    devices = 100 * scale()
    instance.import_csv([f"DEVICE{i:04}" for i in range(devices)])
    instance.serve_plain(SHORT)
    proxy.connections = 0
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda i: instance.register(f"DEVICE{i:04}")[0], range(devices)))
    assert set(told) == {200}
    assert proxy.connections <= 40


def test_a_server_that_stops_leaves_nothing_under_way(database, proxy, instance):
    instance.import_csv([f"DEVICE{i}" for i in range(8)])
    proxy.slow_s = 2
    instance.serve_plain(SHORT)
    proxy.plan("TransactWriteItems", "slow", count=8)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(instance.register, f"DEVICE{i}") for i in range(8)]
        while "TransactWriteItems" not in proxy.calls:
            pass
        instance.stop()
        for answer in asked:
            try:
                assert answer.result()[0] in (200, 503)
            except OSError:
                pass


def test_a_clock_that_is_wrong_is_corrected(database, proxy, instance):
    """Requests are dated by AWS's clock once it has refused ours."""
    instance.add("DEVICE")
    proxy.plan("BatchGetItem", "skewed")
    assert json.loads(instance.cvm("device", "show", "DEVICE", "--json").stdout)["device_uid"] == "DEVICE"
    assert proxy.calls.count("BatchGetItem") >= 2


def test_tokens_are_in_no_log(database, proxy, instance):
    database.put({"device_uid": {"S": "DEVICE"}, "device_token": {"S": token("DEVICE")}, "is_enabled": {"N": "1"}})
    instance.serve_plain({**SHORT, "log.level": "debug"})
    for fault in ("html", "half", "throttled", "error"):
        proxy.plan("BatchGetItem", fault, count=3)
        instance.register("DEVICE")
    proxy.clear()
    assert register_until_final(instance, "DEVICE")[0] in ("ok", "already_registered")
    assert token("DEVICE") not in instance.server.stderr and "AWS4" not in instance.server.stderr
