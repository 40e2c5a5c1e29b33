"""The Lambda under AWS's runtime emulator: each way that an event may come, what is frozen and cut, and what must not be asked when
it starts. The zip's own program is tried in a root of its own with nothing but libc."""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import pytest
import yaml

from aws_iot import Cloud, REGISTRATION, thing_of
from aws_lambda import Function
from aws_proxy import Proxy
from csr_tools import make_csr
from cvm_server import clock, scale, token
from dynamodb import DynamoDB
from fault_server import wait_until

FREEZE_S = 3 if scale() == 1 else 90
BY_HTTP = {"method": "POST", "sourceIp": "192.0.2.7"}


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        yield server


@pytest.fixture
def cloud(tmp_path):
    with Cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def store(database):
    database.empty()
    with Proxy(database.url, "dynamodb") as proxy:
        yield proxy


def variables(cloud, store, **more):
    return {"device_dynamodb_table": "devices", "region": "eu-central-1", "iot_policy_name": "cvm-device", "thing_name_format": "thing_%DEVICE_UID%",
            "iot_root_ca_url": "https://www.amazontrust.com/repository/AmazonRootCA1.pem", "CVM_SERVER_KEY_TYPE": "p256",
            "CVM_AWS_ENDPOINT_DYNAMODB": store.url, "CVM_AWS_ENDPOINT_IOT": cloud.proxy.url, **more}


@pytest.fixture
def function(cloud, store, tmp_path):
    with Function(tmp_path, variables(cloud, store)) as function:
        yield function


def add(database, *uids):
    for uid in uids:
        database.put({"device_uid": {"S": uid}, "device_token": {"S": token(uid)}, "is_enabled": {"N": "1"}, "is_registered": {"N": "0"}})


def body_of(uid, **more):
    return {"device_uid": uid, "device_token": token(uid), **more}


# --- Ways to come -----------------------------------------------------------------------------------


def by_rest(body, **more):
    return {"httpMethod": "POST", "path": "/registration", "headers": {"Content-Type": "application/json"}, "multiValueHeaders": {"Content-Type": ["application/json"]},
            "requestContext": {"identity": {"sourceIp": "192.0.2.7"}, "httpMethod": "POST"}, "body": body, "isBase64Encoded": False, **more}


def by_http(body, **more):
    return {"version": "2.0", "headers": {"content-type": "application/json"}, "requestContext": {"http": BY_HTTP}, "body": body, "isBase64Encoded": False, **more}


def by_balancer(body, **more):
    return {"httpMethod": "POST", "headers": {"content-type": "application/json", "x-forwarded-for": "198.51.100.1, 192.0.2.7"},
            "requestContext": {"elb": {"targetGroupArn": "arn:…"}}, "body": body, "isBase64Encoded": False, **more}


@pytest.mark.parametrize("way", (by_rest, by_http, by_balancer))
def test_a_proxy_is_answered_in_its_own_form(database, cloud, function, way):
    add(database, "A", "B")
    answer = function.invoke(way(json.dumps(body_of("A", csr=make_csr()))))
    assert answer["statusCode"] == 200 and answer["headers"] == {"Content-Type": "application/json", "Cache-Control": "no-store"}
    assert ("statusDescription" in answer) == (way is by_balancer)
    assert json.loads(answer["body"])["payload"]["thing_name"] == "thing_A"
    packed = base64.b64encode(json.dumps(body_of("B")).encode()).decode()
    assert function.invoke(way(packed, isBase64Encoded=True))["statusCode"] == 200
    refused = function.invoke(way(json.dumps({**body_of("A"), "device_token": "x" * 64})))
    assert refused["statusCode"] == 403
    again = function.invoke(way(json.dumps(body_of("A", csr=make_csr()))))
    assert again["statusCode"] == 409 and (again["headers"].get("Retry-After") or json.loads(again["body"])["payload"]["code"] == "already_registered")
    for body, status in ((None, 400), ("", 400), ("{", 400), ("x" * 20000, 413)):
        assert function.invoke(way(body))["statusCode"] == status, body
    assert function.invoke(way("!!!", isBase64Encoded=True))["statusCode"] == 400
    assert '"peer":"192.0.2.7"' in function.text and token("A") not in function.text


def test_the_reference_event_is_the_payload(database, cloud, function):
    add(database, "A")
    answer = function.invoke(body_of("A"))
    assert answer["status"] == "SUCCESS" and answer["payload"]["keyPair"]["privateKey"].startswith("-----BEGIN PRIVATE KEY")
    for event in (b"no json", b"[]", b"null", b"{}", b'{"device_uid": "A", "device_uid": "A", "device_token": "x"}'):
        assert function.invoke(event)["payload"]["code"] == "invalid_request", event
    assert "names no property" not in function.text


def test_another_method_is_refused(cloud, function):
    answer = function.invoke({"requestContext": {"http": {**BY_HTTP, "method": "GET"}}, "headers": {}})
    assert answer["statusCode"] == 405 and answer["headers"]["Allow"] == "POST"
    answer = function.invoke({**by_balancer(""), "httpMethod": "GET", "headers": None, "multiValueHeaders": {"x-forwarded-for": ["192.0.2.7"]}})
    assert answer["statusCode"] == 405 and answer["multiValueHeaders"]["Allow"] == ["POST"]


def test_who_guesses_is_known_by_the_proxys_word_alone(database, cloud, store, tmp_path):
    """What stands in front of the last hop is the sender's own invention."""
    add(database, "A")
    with Function(tmp_path, variables(cloud, store, CVM_LIMIT_FAILURES_PER_ADDRESS="3/min")) as function:
        def guess(number):
            headers = {"content-type": "application/json", "x-forwarded-for": f"198.51.100.{number}, 192.0.2.7"}
            return function.invoke({**by_balancer(json.dumps({**body_of("A"), "device_token": "x" * 64})), "headers": headers})
        answers = [guess(number) for number in range(6)]
        assert [answer["statusCode"] for answer in answers].count(429) == 3 and int(answers[-1]["headers"]["Retry-After"]) > 0
        assert function.invoke(by_balancer(json.dumps(body_of("A"))))["statusCode"] == 200


# --- Schedules --------------------------------------------------------------------------------------


@pytest.fixture
def operating(cloud, store, tmp_path):
    with Function(tmp_path, variables(cloud, store), handler="reconcile") as function:
        yield function


def test_a_pass_is_an_event_of_the_operating_function(database, cloud, store, operating):
    function = operating
    add(database, "A")
    function.invoke(body_of("A"))
    operator = cloud.configure(database.instance(store_folder(database), "operator", url=store.url))
    operator.cvm("device", "reset", "A")
    cloud.proxy.plan("UpdateCertificate", "denied", 2)  # the old one's end: it is due on
    assert function.invoke(body_of("A"))["statusCode"] == 200
    assert cloud.statuses("A") == ["ACTIVE", "ACTIVE"]
    assert function.invoke({"cvm": "reconcile"}) == {"ok": True, "found": 0}
    assert cloud.statuses("A") == ["ACTIVE", "REVOKED"]
    database.put({**database.row("A"), "is_enabled": {"N": "0"}})
    assert function.invoke({"cvm": "reconcile", "full": True})["ok"]
    assert cloud.statuses("A") == ["INACTIVE", "REVOKED"]
    cloud.proxy.plan("ListThingPrincipals", "denied", count=5)
    failed = function.invoke({"cvm": "reconcile", "full": True})
    assert not failed["ok"] and "AccessDeniedException" in failed["error"]
    line = [json.loads(text) for text in function.text.splitlines() if '"_aws"' in text][-1]
    assert line["FailedFullPasses"] == 1 and {"Name": "FailedPasses", "Unit": "Count"} in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]


def store_folder(database):
    folder = database.folder / f"operator-{time.monotonic_ns()}"
    folder.mkdir()
    return folder


def test_nobody_else_commands_a_pass(database, cloud, function):
    """An event may be a device's own words."""
    assert function.invoke({"cvm": "reconcile", "full": True})["payload"]["code"] == "invalid_request"


def test_a_payload_that_looks_like_a_proxys_event_is_one_where_it_is_told(database, cloud, store, tmp_path):
    """What a gateway hands over as it came can't say who it is from."""
    add(database, "A")
    with Function(tmp_path, variables(cloud, store), handler="direct") as function:
        forged = by_rest(json.dumps(body_of("A")))
        assert function.invoke(forged)["payload"]["code"] == "invalid_request"
        assert function.invoke({**body_of("A"), "requestContext": {"identity": {"sourceIp": "198.51.100.9"}}})["statusCode"] == 200
        assert "198.51.100.9" not in function.text


@pytest.mark.parametrize("event", (
    {"requestContext": {}, "headers": [1], "body": "{}"}, {"requestContext": {}, "multiValueHeaders": ["x"], "body": "{}"},
    {"requestContext": {"http": []}, "headers": {"content-type": 1}}, {"requestContext": {"elb": 1}, "headers": 7, "multiValueHeaders": {"x-forwarded-for": {}}},
    {"requestContext": {"identity": {"sourceIp": {"a": 1}}}, "body": 7, "isBase64Encoded": True}, {"requestContext": {"http": {"method": 1}}, "body": ["x"]}))
def test_an_event_of_no_known_form_is_answered(cloud, function, event):
    for _ in range(2):
        assert function.invoke(event)["statusCode"] in (400, 415)


def test_what_stands_behind_a_nul_is_not_cut_off(database, cloud, function):
    add(database, "A")
    assert function.invoke(by_http(json.dumps(body_of("A")) + "\0trash"))["statusCode"] == 400


def test_a_balancer_may_tell_the_port_too(database, cloud, function):
    for number, told in enumerate(("192.0.2.9:4711", "[2001:db8::9]:4711", "2001:db8::a", "192.0.2.8")):
        headers = {"content-type": "application/json", "x-forwarded-for": f"198.51.100.1,{told}"}
        function.invoke({**by_balancer(json.dumps(body_of(f"D{number}"))), "headers": headers})
    assert all(f'"peer":"{peer}"' in function.text for peer in ("192.0.2.9", "2001:db8::9", "2001:db8::a", "192.0.2.8"))


def test_the_status_may_be_200_whatever_is_wrong(cloud, store, tmp_path):
    with Function(tmp_path, variables(cloud, store, CVM_HTTP_LEGACY_STATUS="true")) as function:
        for event in (by_http("x" * 20000), by_http("{"), {**by_rest(""), "httpMethod": "GET"}):
            answer = function.invoke(event)
            assert answer["statusCode"] == 200 and json.loads(answer["body"])["statusCode"] in (400, 405, 413)


# --- Starts -----------------------------------------------------------------------------------------


def test_nothing_is_asked_when_it_starts(database, cloud, store, function):
    """And of what the first event asks for itself, the second needs nothing."""
    add(database, "A", "B")
    function.invoke({"requestContext": {"http": {**BY_HTTP, "method": "GET"}}})  # the process is there
    assert store.calls == [] and cloud.calls == []
    function.invoke(body_of("A"))
    store.calls.clear()
    cloud.calls.clear()
    function.invoke(body_of("B"))
    assert store.calls == ["BatchGetItem"] + 3 * ["TransactWriteItems"] and tuple(cloud.calls) == REGISTRATION


def test_a_configuration_that_can_not_be_is_told(cloud, store, tmp_path):
    with Function(tmp_path, variables(cloud, store, thing_name_format="thing")) as function:
        answer = function.invoke(body_of("A"))
        assert "thing.name_format" in json.dumps(answer) + function.text


def test_a_start_that_takes_longer_than_its_event_is_waited_for_by_the_next(database, cloud, store, tmp_path):
    add(database, "A")
    store.slow_s = 6
    store.plan("GetItem", "slow")
    with Function(tmp_path, variables(cloud, store), timeout_s=5) as function:
        first = function.invoke(body_of("A"))
        assert first["statusCode"] == 503 and first["payload"]["code"] == "store_unavailable"
        answers = [function.invoke(body_of("A"))["statusCode"] for _ in range(4)]
        assert 200 in answers and 409 not in answers[:answers.index(200)]
        assert '"FailedStarts":1' in function.text


def test_a_store_that_is_not_there_is_told_until_it_is(database, cloud, store, tmp_path):
    add(database, "A")
    store.plan("GetItem", "denied", count=3)
    with Function(tmp_path, variables(cloud, store), timeout_s=10) as function:
        answers = []
        while 200 not in answers and len(answers) < 8:
            answers.append(function.invoke(body_of("A"))["statusCode"])
        assert answers[0] == 503 and answers[-1] == 200


def test_tokens_and_keys_are_wiped_from_memory(database, cloud, function):
    """What is frozen with the process between events."""
    add(database, "A")
    private = function.invoke(body_of("A"))["payload"]["keyPair"]["privateKey"].splitlines()[1].encode()
    pid, = function.bootstraps()
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - begin < 1 << 28:
                try:
                    memory.seek(begin)
                    found += memory.read(end - begin).count(private)
                except OSError:
                    pass
    assert found == 0


# --- Freezes ----------------------------------------------------------------------------------------


def thaw_later(pid, is_frozen):
    def thaw():
        is_frozen.wait(30)
        time.sleep(FREEZE_S)
        os.kill(pid, signal.SIGCONT)
    threading.Thread(target=thaw, daemon=True).start()


def test_frozen_between_events(database, cloud, store, function):
    """Its connections are gone when it wakes up."""
    add(database, "A", "B")
    assert function.invoke(body_of("A"))["statusCode"] == 200
    pid, = function.bootstraps()
    os.kill(pid, signal.SIGSTOP)
    store.cut()
    cloud.proxy.cut()
    time.sleep(FREEZE_S)
    os.kill(pid, signal.SIGCONT)
    assert function.invoke(body_of("B"))["statusCode"] == 200
    assert cloud.statuses("A") == cloud.statuses("B") == ["ACTIVE"]


def test_frozen_inside_each_step_of_an_event(database, cloud, store, tmp_path):
    """The call's answer is lost meanwhile. The device asks again until it has its answer; the next event is right."""
    with Function(tmp_path, variables(cloud, store), timeout_s=30 + 2 * FREEZE_S) as function:
        uids = [f"DEVICE{number}" for number in range(len(REGISTRATION))]
        add(database, *uids, "NEXT")
        for uid, call in zip(uids, REGISTRATION):
            csr = make_csr()
            function.invoke({"requestContext": {"http": {**BY_HTTP, "method": "GET"}}})
            pid, = function.bootstraps()
            is_frozen = threading.Event()

            def freeze():
                os.kill(pid, signal.SIGSTOP)
                is_frozen.set()

            cloud.proxy.clear()
            cloud.proxy.on_fault[f"{call} after"] = freeze
            cloud.proxy.plan(call, f"{call} after")
            thaw_later(pid, is_frozen)
            for _ in range(40):
                answer = function.invoke(body_of(uid, csr=csr), timeout_s=30 + 3 * FREEZE_S)
                if isinstance(answer, dict) and answer.get("statusCode") == 200:
                    break
                time.sleep(0.5)
            assert answer["statusCode"] == 200 and cloud.statuses(uid) == ["ACTIVE"], (call, answer)
        assert function.invoke(body_of("NEXT"))["statusCode"] == 200
    operator = cloud.configure(database.instance(store_folder(database), "operator"))
    assert cloud.problems(operator, [*uids, "NEXT"]) == []


def test_what_runs_behind_the_answer_is_not_frozen(database, cloud, store, tmp_path):
    """The device has its answer by the deadline; the undo goes on behind it, and no event is asked for before it has ended."""
    with Function(tmp_path, variables(cloud, store), timeout_s=10) as function:
        add(database, "A")
        is_over = threading.Event()
        cloud.proxy.plan("AttachThingPrincipal", "denied")
        cloud.proxy.on_fault["DeleteCertificate before"] = lambda: is_over.wait(20)
        cloud.proxy.plan("DeleteCertificate", "DeleteCertificate before", count=20)
        answer = {}
        asked = threading.Thread(target=lambda: answer.update(function.invoke(body_of("A"))))
        asked.start()
        wait_until(lambda: "DeleteCertificate" in cloud.calls)
        wait_until(lambda: '"uid":"A"' in function.text)  # the library has answered
        assert cloud.ours()
        cloud.proxy.clear()
        is_over.set()
        asked.join()
        wait_until(lambda: not cloud.ours())
        assert answer["statusCode"] == 503


# --- The zip ----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has chroot")
def test_the_zip_needs_libc_and_nothing_else(database, cloud, store, tmp_path):
    root = pathlib.Path(__file__).parents[2]
    folder = pathlib.Path(os.environ.get("CVM_LAMBDA_FOLDER", root / "build/lambda"))
    subprocess.run([root / "examples/lambda/package", folder], check=True, capture_output=True, timeout=600)
    jail = tmp_path / "jail"
    jail.mkdir()
    shutil.unpack_archive(folder / "libcvm-lambda.zip", jail)
    (jail / "bootstrap").chmod(0o755)
    for line in subprocess.run(["ldd", folder / "bootstrap"], capture_output=True, text=True, check=True).stdout.splitlines():
        path = next((word for word in line.split() if word.startswith("/")), None)
        if path:
            assert pathlib.Path(path).name.startswith(("libc.so", "libm.so", "ld-linux")), line
            (jail / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, jail / path[1:])
    start = tmp_path / "start"
    start.write_text(f"#!/bin/sh\nexec chroot {jail} /bootstrap\n")
    start.chmod(0o755)
    add(database, "A")
    with Function(tmp_path, variables(cloud, store), bootstrap=start) as function:
        assert function.invoke(body_of("A"))["statusCode"] == 200
    assert cloud.statuses("A") == ["ACTIVE"]


def test_the_template_is_read_by_strict_readers():
    """By a reader in pure Python, as SAM's own: it takes less than libyaml does. CloudFormation knows no aliases."""
    text = (pathlib.Path(__file__).parents[2] / "examples/lambda/template.yaml").read_text()
    assert not [event for event in yaml.parse(text, yaml.SafeLoader) if isinstance(event, yaml.AliasEvent)]

    class Reader(yaml.SafeLoader):
        pass

    Reader.add_multi_constructor("!", lambda reader, tag, node: tag)
    schedules = yaml.load(text, Reader)["Resources"]["OperatingFunction"]["Properties"]["Events"]
    assert schedules["EachNight"]["Properties"]["Schedule"] == "cron(17 3 * * ? *)"
