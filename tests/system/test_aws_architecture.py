"""The reference system's whole architecture, on an AWS that nobody of us wrote: API Gateway, Lambda, DynamoDB, IoT Core. Our zip takes
the place of its Lambda over its own table; devices register through each front, and connect by MQTT over mutual TLS."""

import json

import pytest

import reference_lambda
from cvm_server import token
from ministack import Ministack
from reference_house import (VARIABLES, Front, add, connect, function_url, http_api, make_function, make_operator, package, prepare, register_device,
                             rest_api, row, statuses)


@pytest.fixture(scope="module")
def aws(module_path):
    with Ministack(module_path) as aws:
        prepare(aws)
        yield aws


@pytest.fixture(scope="module")
def operator(aws, module_path):
    return make_operator(aws, module_path)


@pytest.fixture(scope="module")
def function(aws, operator):
    return make_function(aws, package())


@pytest.mark.parametrize("front", (function_url, http_api, rest_api))
def test_a_device_registers_and_connects_and_is_revoked(aws, operator, function, front, tmp_path):
    with Front(aws, operator, *front(aws, function)) as way:
        for name, more in (("CSR", ()), ("KEY", ("--server-key",))):
            uid = f"{front.__name__}-{name}"
            add(aws, uid)
            device = register_device(operator, way, tmp_path, uid, *more)
            assert connect(aws, device) == "accepted"
            assert row(aws, uid)["is_registered"] == {"N": "1"}
            operator.cvm("device", "revoke", uid)
            assert connect(aws, device) != "accepted"
            assert statuses(aws, uid) == ["REVOKED"]


def test_the_reference_and_ours_take_turns_on_one_table(aws, operator, function, tmp_path):
    """There, back, and there again: whom one has registered the other refuses; whom it left half done is registered."""
    client = aws.client("lambda")

    def ours(uid):
        answer = client.invoke(FunctionName="cvm", Payload=json.dumps({"device_uid": uid, "device_token": token(uid)}))["Payload"].read()
        return json.loads(answer)

    def theirs(uid, **more):
        return reference_lambda.handler({"device_uid": uid, "device_token": token(uid)}, aws.client("dynamodb"), aws.client("iot"), VARIABLES, **more)

    for uid in ("THEIRS", "OURS", "HALF", "BACK"):
        add(aws, uid)
    assert theirs("THEIRS")["statusCode"] == 200
    assert ours("THEIRS")["statusCode"] == 409 and ours("OURS")["statusCode"] == 200
    assert theirs("OURS")["statusCode"] == 500 and theirs("BACK")["statusCode"] == 200
    assert ours("BACK")["statusCode"] == 409
    with pytest.raises(reference_lambda.Failed):
        theirs("HALF", fails=True)
    assert statuses(aws, "HALF") == ["ACTIVE"]
    half = ours("HALF")
    assert half["statusCode"] == 200 and "BEGIN RSA PRIVATE KEY" in half["payload"]["keyPair"]["privateKey"]
    assert json.loads(client.invoke(FunctionName="cvm-operating", Payload=b'{"cvm": "reconcile"}')["Payload"].read()) == {"ok": True, "found": 0}
    assert statuses(aws, "HALF") == ["ACTIVE", "REVOKED"]


def test_a_device_that_the_reference_made_is_ours_to_operate(aws, operator, function):
    """Shown with its certificate, disabled, enabled; reset and registered anew, when the old one is revoked; and revoked."""
    client = aws.client("lambda")
    for uid in ("OLD", "LOST"):
        add(aws, uid)
        reference_lambda.handler({"device_uid": uid, "device_token": token(uid)}, aws.client("dynamodb"), aws.client("iot"), VARIABLES)
    assert len(operator.show("OLD")["certificates"]) == 1
    for verb, status in (("disable", "INACTIVE"), ("enable", "ACTIVE")):
        operator.cvm("device", verb, "OLD")
        assert statuses(aws, "OLD") == [status]
    operator.cvm("device", "revoke", "LOST")
    assert statuses(aws, "LOST") == ["REVOKED"]
    operator.cvm("device", "reset", "OLD")
    answer = json.loads(client.invoke(FunctionName="cvm", Payload=json.dumps({"device_uid": "OLD", "device_token": token("OLD")}))["Payload"].read())
    assert answer["statusCode"] == 200
    operator.cvm("reconcile")
    assert statuses(aws, "OLD") == ["ACTIVE", "REVOKED"]
