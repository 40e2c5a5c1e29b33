"""Registration over HTTP, to the letter of the contract: the success, each error, and what clients do."""

import contextlib
import hashlib
import itertools
import json
import re
import socket
import sqlite3
import ssl
import struct
import subprocess
import time
import warnings

import pytest

from csr_tools import certificates_in, make_csr, make_key, openssl, public_key_of, verify
from cvm_server import Instance, token
from raw_http import Wire, ask, chunked, post, registration

COUNTER = itertools.count()
NO_LIMIT = {"limit.failures_per_address": "0/min"}
TRANSPORTS = ["plain", ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@contextlib.contextmanager
def running(folder, name, tls=True, devices=60, **settings):
    instance = Instance(folder, name=name)
    instance.import_csv([(f"{name}{i}", token(f"{name}{i}"), "true") for i in range(devices)])
    instance.name = name
    (instance.serve if tls else instance.serve_plain)({**NO_LIMIT, **settings})
    try:
        yield instance
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture(scope="module")
def tls(module_path):
    with running(module_path, "tls") as instance:
        yield instance


@pytest.fixture(scope="module")
def plain(module_path):
    with running(module_path, "plain", tls=False, **{"log.refusals_per_address": 0, "log.refusals": 0}) as instance:
        yield instance


def fresh(instance):
    return f"{instance.name}{next(COUNTER) % 60}"


def check_error(answer, status, code, http_status=None):
    assert answer.status == (http_status or status), answer.body
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json
    assert set(body) == {"statusCode", "status", "payload"}
    assert body["statusCode"] == status and body["status"] == "ERROR"
    payload = body["payload"]
    assert set(payload) == {"message", "code", "retryable", "request_id"}
    assert payload["code"] == code
    assert payload["message"] and "\n" not in payload["message"]
    assert re.fullmatch("[0-9a-f]{16}", payload["request_id"])
    is_retryable = status in (408, 429, 502, 503) or code == "in_progress"
    assert payload["retryable"] is is_retryable
    if status in (429, 503) or code == "in_progress":
        assert 1 <= int(answer.headers["retry-after"]) <= 3600
    else:
        assert "retry-after" not in answer.headers


def check_success(instance, uid, status, headers, body, csr=None):
    assert status == 200, body
    assert headers["cache-control"] == "no-store" and headers["content-type"] == "application/json"
    assert set(body) == {"statusCode", "status", "payload"}
    assert body["statusCode"] == 200 and body["status"] == "SUCCESS"
    payload = body["payload"]
    assert set(payload) == {"endpoint", "thing_name", "certificates", "certificate_id", "server_time"} | \
        (set() if csr else {"keyPair"})
    assert payload["endpoint"] == "localhost" and payload["thing_name"] == f"thing_{uid}"
    assert set(payload["certificates"]) == {"device_certificate", "root_ca"}
    chain = payload["certificates"]["device_certificate"]
    leaf = certificates_in(chain)[0]
    assert chain == "".join(certificates_in(chain))
    assert payload["certificates"]["root_ca"] == instance.root_ca.read_text()
    assert instance.root_ca.read_text() not in chain
    der = openssl("x509", "-outform", "DER", data=leaf)
    assert payload["certificate_id"] == hashlib.sha256(der).hexdigest()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", payload["server_time"])
    checked = verify(chain, payload["certificates"]["root_ca"], instance.folder / "ca/crl.pem")
    assert checked.returncode == 0, checked.stderr
    subject = openssl("x509", "-noout", "-subject", "-nameopt", "RFC2253", data=leaf).decode()
    assert subject == f"subject=CN=thing_{uid}\n"
    if csr:
        assert public_key_of(leaf) == public_key_of(csr, "req")
    else:
        assert public_key_of(leaf) == payload["keyPair"]["publicKey"]
        assert openssl("pkey", "-pubout", data=payload["keyPair"]["privateKey"]).decode() == \
            payload["keyPair"]["publicKey"]
    return payload


# --- Success ---


def test_success_with_a_key_of_the_servers(tls):
    uid = fresh(tls)
    payload = check_success(tls, uid, *tls.register(uid))
    assert set(payload["keyPair"]) == {"publicKey", "privateKey"}
    assert payload["keyPair"]["privateKey"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert payload["keyPair"]["publicKey"].startswith("-----BEGIN PUBLIC KEY-----\n")
    leaf = certificates_in(payload["certificates"]["device_certificate"])[0]
    text = openssl("x509", "-noout", "-text", data=leaf).decode()
    for wanted in ("Version: 3 (0x2)", "CA:FALSE", "Digital Signature\n", "TLS Web Client Authentication\n",
                   "prime256v1", "X509v3 Key Usage: critical", "X509v3 Basic Constraints: critical"):
        assert wanted in text
    shown = tls.show(uid)
    assert shown["is_registered"] and shown["certificate_id"] == payload["certificate_id"]


@pytest.mark.parametrize("kind", ["P-256", "P-384", "rsa:2048"])
def test_success_with_a_csr(tls, kind):
    uid, csr = fresh(tls), make_csr(make_key(kind))
    payload = check_success(tls, uid, *tls.register(uid, csr=csr), csr=csr)
    again = check_success(tls, uid, *tls.register(uid, csr=csr), csr=csr)
    assert again["certificate_id"] == payload["certificate_id"]


@pytest.mark.parametrize("version", TRANSPORTS)
def test_success_by_each_transport(tls, plain, version):
    instance = plain if version == "plain" else tls
    uid = fresh(instance)
    answer = ask(instance, post(registration(uid)), version=None if version == "plain" else version)
    check_success(instance, uid, answer.status, answer.headers, answer.json)


def test_tls_1_1_is_refused(tls):
    context = ssl.create_default_context(cafile=str(tls.root_ca))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", tls.port), 10) as plain_socket:
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):  # the server's word, not the client's
            context.wrap_socket(plain_socket, server_hostname="127.0.0.1")


@pytest.mark.parametrize("offered, chosen", [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)])
def test_alpn(tls, offered, chosen):
    context = tls.tls_context()
    if offered:
        context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", tls.port), 10) as plain_socket:
        with context.wrap_socket(plain_socket, server_hostname="127.0.0.1") as wire:
            assert wire.selected_alpn_protocol() == chosen


def test_rsa_key_of_the_servers(module_path):
    with running(module_path, "rsa", devices=2, **{"server_key.type": "rsa2048"}) as instance:
        payload = check_success(instance, "rsa0", *instance.register("rsa0"))
        assert payload["keyPair"]["privateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----\n")
        assert payload["keyPair"]["publicKey"].startswith("-----BEGIN PUBLIC KEY-----\n")
        assert b"2048 bit" in openssl("pkey", "-noout", "-text", data=payload["keyPair"]["privateKey"])


def test_unknown_fields_are_ignored(plain):
    uid = fresh(plain)
    body = registration(uid, firmware={"version": [1, 2.5e3, None, True]}, Device="x", device_uid2="x")
    assert ask(plain, post(body)).status == 200


def test_body_of_8_kib_is_taken(plain):
    uid = fresh(plain)
    assert ask(plain, post(registration(uid).ljust(8192))).status == 200
    uid = fresh(plain)
    data = post(b"", "Transfer-Encoding: chunked", length=False) + chunked(registration(uid).ljust(8192), 100)
    assert ask(plain, data).status == 200


def test_legacy_status(module_path):
    with running(module_path, "legacy", tls=False, devices=3, **{"http.legacy_status": "true"}) as instance:
        check_success(instance, "legacy0", *instance.register("legacy0"))
        check_error(ask(instance, post(registration("nobody"))), 403, "not_authorized", 200)
        check_error(ask(instance, post(b"{}")), 400, "invalid_request", 200)
        check_error(ask(instance, post(b"{}", target="/")), 404, "not_found", 200)
        check_error(ask(instance, b"GET /registration HTTP/1.1\r\nHost: a\r\n\r\n"), 405,
                    "method_not_allowed", 200)
        check_error(ask(instance, post(b" " * 9000)), 413, "too_large", 200)
        check_error(ask(instance, b"nonsense\r\n\r\n"), 400, "invalid_request", 200)
        check_error(ask(instance, post(registration("legacy0"))), 409, "in_progress", 200)


# --- Errors ---


BAD_REQUESTS = {
    "not JSON": b"device_uid=a",
    "empty": b"",
    "uid missing": json.dumps({"device_token": "a"}).encode(),
    "token missing": json.dumps({"device_uid": "a"}).encode(),
    "uid empty": registration(""),
    "token empty": registration("DEVICE001", ""),
    "uid a number": b'{"device_uid": 1, "device_token": "a"}',
    "token an array": b'{"device_uid": "a", "device_token": ["a"]}',
    "uid too long": registration("a" * 129),
    "thing name too long": registration("a" * 59),  # thing_ and 59: no CN
    "uid with a slash": registration("a/b"),
    "uid with a space": registration("a b"),
    "uid with a letter past ASCII": registration("ä"),
    "token too long": registration("DEVICE001", "a" * 257),
    "token with a colon": registration("DEVICE001", "a:b"),
    "token past ASCII": registration("DEVICE001", "ä"),
    "token with a control character": registration("DEVICE001", "a\tb"),
    "token that looks stored": registration("DEVICE001", "sha256:" + "a" * 64),
    "csr a number": registration("DEVICE001", csr=1),
    "csr empty": registration("DEVICE001", csr=""),
    "csr null": registration("DEVICE001", csr=None),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_invalid_request(plain, name):
    check_error(ask(plain, post(BAD_REQUESTS[name])), 400, "invalid_request")


def test_longest_uid_that_makes_a_thing_name(plain):
    check_error(ask(plain, post(registration("a" * 58))), 403, "not_authorized")


def test_not_found(plain):
    for target in ("/", "/registration/", "/Registration", "/metrics", "/livez", "/" + "a" * 254):
        check_error(ask(plain, post(b"{}", target=target)), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_method_not_allowed(plain, method):
    answer = ask(plain, f"{method} /registration HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    check_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_answer_to_head_has_no_body(plain):
    with Wire(plain) as wire:
        wire.send(b"HEAD /registration HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = wire.answer(of_head=True)
        assert answer.status == 405 and answer.headers["allow"] == "POST"
        assert wire.answer() is None


def test_too_large(plain):
    check_error(ask(plain, post(registration("a").ljust(8193))), 413, "too_large")


@pytest.mark.parametrize("media_type", [
    "application/jsonx", "application/json, text/plain", "json", "application/cbor-seq", "application/pkcs10", "text",
    "text/", "+json", "application/+json", "/x+json", "multipart/form-data; boundary=a", "image/png",
    "application/octet-streams", "application/x-www-form", "application/xml", "a" * 200 + "/json"])
def test_unsupported_media_type(plain, media_type):
    answer = ask(plain, post(registration("a"), media_type=f"Content-Type: {media_type}"))
    check_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("media_type", [
    "Content-Type: application/json; charset=utf-8", None, "Content-Type:application/json;charset=UTF-8", "Content-Type:",
    "content-type: Application/JSON", "Content-Type: application/problem+json", "Content-Type: application/vnd.a.v1+JSON",
    "Content-Type: text/plain", "Content-Type: text/plain;charset=ISO-8859-1", "Content-Type: TEXT/json",
    "Content-Type: text/html", "Content-Type: application/octet-stream", "Content-Type: Application/X-WWW-Form-Urlencoded",
    "Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
    f"Content-Type: application/vnd.{'a' * 80}+json"])
def test_media_types_that_are_taken(plain, media_type):
    """As JSON, strictly, whatever the type says."""
    check_error(ask(plain, post(registration("a"), media_type=media_type)), 403, "not_authorized")
    for body in (b"device_uid=a&device_token=b", b"", registration("a") + b"\0", registration("a") * 2):
        check_error(ask(plain, post(body, media_type=media_type)), 400, "invalid_request")


def test_what_small_tools_send(plain):
    """curl -d and wget name a form's type."""
    uid = fresh(plain)
    body = registration(uid).decode()
    url = f"http://127.0.0.1:{plain.port}/registration"
    done = subprocess.run(["curl", "-s", "-d", body, url], capture_output=True, check=True, timeout=20)
    assert json.loads(done.stdout)["status"] == "SUCCESS"


def test_the_log_says_why_a_device_is_registered_already(plain):
    by_csr, without = fresh(plain), fresh(plain)
    ask(plain, post(registration(by_csr, csr=make_csr())))
    ask(plain, post(registration(without)))
    for uid, more in ((by_csr, {"csr": make_csr()}), (by_csr, {}), (without, {"csr": make_csr()})):
        answer = ask(plain, post(registration(uid, **more)))
        check_error(answer, 409, "already_registered")
        identity = answer.json["payload"]["request_id"]
        [line] = [line for line in plain.server.stderr.splitlines() if identity in line]
        assert "another key, or without a CSR" in line and "another key" not in answer.json["payload"]["message"]


@pytest.mark.parametrize("body, reason", [
    (b'{"device_uid": "a" "device_token": "b"}', "expected a comma"), (b"[]", "expected an object"),
    (b'{"device_uid": "a", "device_uid": "b"}', "duplicate name"), (b'{"Device_uid": "a"}', "wrong case"),
    (b'{"device_uid": "a b", "device_token": "c"}', "device_uid must be"), (b"{", "expected a string")])
def test_the_log_has_the_reason_of_a_refusal(plain, body, reason):
    answer = ask(plain, post(body))
    assert answer.status == 400 and reason in answer.json["payload"]["message"]
    identity = answer.json["payload"]["request_id"]
    [line] = [line for line in plain.server.stderr.splitlines() if identity in line]
    assert "code=invalid_request" in line and reason in line


def test_target_too_long(plain):
    """255 bytes are taken."""
    rest = "/registration?".ljust(255, "q")
    check_error(ask(plain, post(registration("a"), target=rest)), 403, "not_authorized")
    for target in (rest + "q", "/" + "x" * 255, "/registration?" + "q" * 20000):
        answer = ask(plain, post(registration("a"), target=target))
        check_error(answer, 414, "uri_too_long")
        assert answer.closes and answer.phrase == "URI Too Long"


def head_of(size):
    """A request whose head, with the empty line behind it, has that many bytes."""
    head, body = post(registration("a"), "X-Filler: ").split(b"\r\n\r\n", 1)
    return head + b"f" * (size - len(head) - 4) + b"\r\n\r\n" + body


def test_head_too_large(plain):
    """16,384 bytes are taken, and not one more."""
    check_error(ask(plain, head_of(16384)), 403, "not_authorized")
    answer = ask(plain, head_of(16385))
    check_error(answer, 431, "head_too_large")
    assert answer.closes and answer.phrase == "Request Header Fields Too Large"


def refusals(instance):
    """name → body of a request that must be refused."""
    known, disabled = f"{instance.name}58", f"{instance.name}59"
    instance.cvm("device", "disable", disabled)
    stored = "sha256:" + hashlib.sha256(token(known).encode()).hexdigest()
    return {"unknown": registration("nobody", token(known)), "wrong": registration(known, token("nobody")),
            "disabled": registration(disabled), "disabled, wrong": registration(disabled, "a" * 64),
            "almost": registration(known, token(known)[:-1]), "longer": registration(known, token(known) + "a"),
            "upper": registration(known, token(known).upper()), "stored": registration(known, stored[7:])}


def without_id(answer):
    """All bytes but the request's id and the time."""
    identity = answer.json["payload"]["request_id"].encode()
    head = re.sub(rb"Date: [^\r]*", b"Date:", answer.head)
    return head + b"\r\n\r\n" + answer.body.replace(identity, b"")


@pytest.mark.parametrize("with_csr", [False, True])
def test_refusals_are_one_and_the_same(tls, with_csr):
    answers = {}
    for name, body in refusals(tls).items():
        if with_csr:
            body = json.dumps({**json.loads(body), "csr": "rubbish"}).encode()  # proof comes before the CSR
        answers[name] = ask(tls, post(body))
        check_error(answers[name], 403, "not_authorized")
    assert len({without_id(answer) for answer in answers.values()}) == 1
    assert len({answer.json["payload"]["request_id"] for answer in answers.values()}) == len(answers)


def test_true_reason_stands_in_the_log_only(tls):
    for name, body in refusals(tls).items():
        answer = ask(tls, post(body))
        identity = answer.json["payload"]["request_id"]
        line = next(line for line in tls.server.stderr.splitlines() if identity in line)
        reason = {"unknown": "unknown_device", "disabled": "disabled"}.get(name, "wrong_token")
        assert reason in line and "code=not_authorized" in line and "peer=127.0.0.1" in line
        assert "uid=" in line and "step=verify" in line and re.search(r"ms=\d+\.\d", line)


def test_invalid_csr(tls):
    uid = fresh(tls)
    check_error(ask(tls, post(registration(uid, csr="rubbish"))), 422, "invalid_csr")
    check_error(ask(tls, post(registration(uid, csr="a" * 4097))), 422, "invalid_csr")
    assert not tls.show(uid)["is_registered"]


def test_key_of_another_device(tls):
    first, second, csr = fresh(tls), fresh(tls), make_csr()
    assert ask(tls, post(registration(first, csr=csr))).status == 200
    check_error(ask(tls, post(registration(second, csr=csr))), 422, "invalid_csr")
    assert not tls.show(second)["is_registered"]


def test_asked_again_too_soon(tls):
    uid = fresh(tls)
    assert ask(tls, post(registration(uid))).status == 200
    answer = ask(tls, post(registration(uid)))
    check_error(answer, 409, "in_progress")
    assert int(answer.headers["retry-after"]) <= 20


def test_already_registered(tls):
    uid = fresh(tls)
    assert ask(tls, post(registration(uid))).status == 200
    check_error(ask(tls, post(registration(uid, csr=make_csr()))), 409, "already_registered")
    uid = fresh(tls)
    assert ask(tls, post(registration(uid, csr=make_csr()))).status == 200
    check_error(ask(tls, post(registration(uid, csr=make_csr()))), 409, "already_registered")
    check_error(ask(tls, post(registration(uid))), 409, "already_registered")
    audit = [json.loads(line) for line in (tls.folder / "audit.log").read_text().splitlines()]
    assert [line["event"] for line in audit if line.get("uid") == uid] == ["registered", "other_key", "other_key"]


def test_order_of_checks(tls):
    """Form, proof, CSR, state."""
    uid = fresh(tls)
    assert ask(tls, post(registration(uid))).status == 200
    assert ask(tls, post(registration(uid, csr=""))).status == 400
    assert ask(tls, post(registration(uid, "wrong", csr="rubbish"))).status == 403
    assert ask(tls, post(registration(uid, csr="rubbish"))).status == 422
    assert ask(tls, post(registration(uid, csr=make_csr()))).status == 409


def test_too_many_failures(tmp_path):
    with running(tmp_path, "many", tls=False, **{"limit.failures_per_address": "6/min"}) as instance:
        cases = refusals(instance)
        chosen = ["unknown", "wrong", "disabled"]
        for name in chosen * 2:
            check_error(ask(instance, post(cases[name])), 403, "not_authorized")
        answers = [ask(instance, post(cases[name])) for name in chosen]
        for answer in answers:
            check_error(answer, 429, "too_many_requests")
            answer.head = re.sub(rb"Retry-After: \d+", b"Retry-After:", answer.head)
        assert len({without_id(answer) for answer in answers}) == 1
        check_success(instance, "many0", *instance.register("many0"))  # nobody can lock a device out
        check_error(ask(instance, post(cases["wrong"]), source="127.0.0.2"), 403, "not_authorized")


@contextlib.contextmanager
def locked(instance):
    """No write to the store succeeds while this lasts."""
    database = sqlite3.connect(instance.folder / "devices.db", isolation_level=None, timeout=10)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


def test_overloaded_and_unknown(tmp_path):
    settings = {"limit.requests": "1", "request.deadline": "1s"}
    with running(tmp_path, "full", tls=False, **settings) as instance:
        with Wire(instance) as first, locked(instance):
            first.send(post(registration("full0")))
            time.sleep(0.3)
            check_error(ask(instance, post(registration("full1"))), 503, "overloaded")
            check_error(first.answer(), 503, "unknown")
        end = time.monotonic() + 10
        while (answer := ask(instance, post(registration("full0")))).status == 503:
            assert time.monotonic() < end
            time.sleep(0.1)
        # It was registered meanwhile, or is now: the record knows.
        assert answer.status == 200 or answer.code == "in_progress"
        assert instance.show("full0")["is_registered"]
        assert not instance.show("full1")["is_registered"]


# --- What clients do ---


def test_chunked_without_a_length(tls):
    """As the reference system's devices send it."""
    uid = fresh(tls)
    data = post(b"", "Transfer-Encoding: chunked", length=False)
    with Wire(tls) as wire:
        wire.send(data)
        wire.send(chunked(registration(uid), 7, b";a=\"b\""), piece=11)
        check_success(tls, uid, (answer := wire.answer()).status, answer.headers, answer.json)


def test_keep_alive(tls):
    with Wire(tls) as wire:
        for _ in range(3):
            uid = fresh(tls)
            wire.send(post(registration(uid)))
            answer = wire.answer()
            assert answer.status == 200 and answer.headers["connection"] == "keep-alive"
        wire.send(post(registration("nobody"), "Connection: close"))
        assert wire.answer().closes and wire.is_closed()


def test_pipelining(tls):
    uids = [fresh(tls) for _ in range(5)]
    with Wire(tls) as wire:
        wire.send(b"".join(post(registration(uid)) for uid in uids))
        names = [wire.answer().json["payload"]["thing_name"] for _ in uids]
    assert names == [f"thing_{uid}" for uid in uids]


def test_pipelining_of_many(plain):
    """More than one read's worth, sent before anything is read."""
    with Wire(plain) as wire:
        wire.send(b"".join(post(registration("nobody", f"{i}" * 20)) for i in range(200)))
        identities = {wire.answer().json["payload"]["request_id"] for _ in range(200)}
    assert len(identities) == 200


def test_byte_by_byte(tls):
    uid = fresh(tls)
    with Wire(tls) as wire:
        wire.send(post(registration(uid)), piece=1)
        assert wire.answer().status == 200


def test_expect_continue(plain):
    uid = fresh(plain)
    data = post(registration(uid), "Expect: 100-continue")
    head, body = data.split(b"\r\n\r\n", 1)
    with Wire(plain) as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.data == b"" and wire._more()
        assert wire.data == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.data = b""
        wire.send(body)
        assert wire.answer().status == 200


@pytest.mark.parametrize("target, length, status", [("/elsewhere", 10, 404), ("/registration", 9000, 413)])
def test_expect_is_answered_by_the_refusal(plain, target, length, status):
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    with Wire(plain) as wire:
        wire.send(head.encode())
        assert wire.answer().status == status


def test_http_1_0(plain):
    uid = fresh(plain)
    with Wire(plain) as wire:
        wire.send(post(registration(uid), "Expect: 100-continue", "Connection: keep-alive", version="1.0", host=None))
        answer = wire.answer()
        assert answer.status == 200 and answer.closes and wire.is_closed()


def test_half_closed_client_is_answered(tls, plain):
    uid = fresh(plain)
    with Wire(plain) as wire:
        wire.send(post(registration(uid)))
        wire.finish()
        assert wire.answer().status == 200 and wire.answer() is None
    uid = fresh(tls)
    with Wire(tls) as wire:
        wire.send(post(registration(uid)))
        wire.finish()
        assert wire.answer().status == 200


# --- Behind a proxy ---


def peer_of(instance, answer):
    identity = answer.json["payload"]["request_id"]
    line = next(line for line in instance.server.stderr.splitlines() if identity in line)
    return re.search(r"peer=(\S+)", line)[1]


@pytest.fixture(scope="module")
def behind(module_path):
    """127.0.0.1 and 10/8 are trusted proxies."""
    with running(module_path, "behind", tls=False, **{"http.trusted_proxies": "127.0.0.1, 10.0.0.0/8"}) as instance:
        yield instance


@pytest.mark.parametrize("lists, peer", [
    (["192.0.2.7"], "192.0.2.7"),
    (["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
    (["203.0.113.9, 192.0.2.7, 10.1.2.3"], "192.0.2.7"),
    (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
    (["192.0.2.7", "10.1.2.3"], "192.0.2.7"),
    (["2001:db8::7"], "2001:db8::7"),
    (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
    ([], "127.0.0.1"),
    ([""], "127.0.0.1"),
    (["unknown"], "127.0.0.1"),
    (["192.0.2.7, unknown"], "127.0.0.1"),
    (["192.0.2.7, rubbish, 10.1.2.3"], "10.1.2.3"),
    (["203.0.113.9, " * 50 + "192.0.2.7"], "192.0.2.7"),
    (["203.0.113.9, " * 50, "192.0.2.7"], "192.0.2.7"),
    (["192.0.2.7", "203.0.113.9" * 50], "127.0.0.1"),
])
def test_forwarded_for(behind, lists, peer):
    headers = [f"X-Forwarded-For: {text}" for text in lists]
    data = post(registration("nobody"), *headers)
    assert peer_of(behind, ask(behind, data)) == peer
    with Wire(behind) as wire:  # however it is cut
        wire.send(data, piece=100, pause_s=0.01)
        assert peer_of(behind, wire.answer()) == peer


# As balancers write them: Azure's gateway, IIS and some nginx configurations put the port behind.
FORMS = [
    ("192.0.2.7:4711", "192.0.2.7"), ("203.0.113.9:1, 192.0.2.7:65535", "192.0.2.7"), ("[2001:db8::7]", "2001:db8::7"),
    ("[2001:db8::7]:4711", "2001:db8::7"), ("2001:DB8:0::7", "2001:db8::7"), ("::ffff:192.0.2.7", "192.0.2.7"),
    ("192.0.2.7:4711, 10.1.2.3:80", "192.0.2.7"), ("192.0.2.7, [::ffff:10.1.2.3]:80", "192.0.2.7"),
]
NO_FORMS = ["192.0.2.7:", "192.0.2.7:port", "192.0.2.7:123456", "[2001:db8::7", "2001:db8::7]", "[2001:db8::7]4711",
            "[]", "[192.0.2.7", "192.0.2.7 4711", "192.0.2", "192.0.2.256", "2001:db8::7:", "fe80::1%eth0", "_hidden", "-"]


@pytest.mark.parametrize("value, peer", FORMS + [(form, "127.0.0.1") for form in NO_FORMS])
def test_forwarded_for_as_balancers_send_it(behind, value, peer):
    assert peer_of(behind, ask(behind, post(registration("nobody"), f"X-Forwarded-For: {value}"))) == peer
    if peer == "127.0.0.1":  # what stands before it is not believed either
        data = post(registration("nobody"), f"X-Forwarded-For: 203.0.113.9, {value}")
        assert peer_of(behind, ask(behind, data)) == peer


@pytest.fixture(scope="module")
def behind_forwarded(module_path):
    settings = {"http.trusted_proxies": "127.0.0.1, 10.0.0.0/8", "http.forwarded_header": "forwarded"}
    with running(module_path, "behind_forwarded", tls=False, **settings) as instance:
        yield instance


@pytest.mark.parametrize("lists, peer", [
    (["for=192.0.2.7"], "192.0.2.7"),
    (["For=192.0.2.7;proto=https;by=10.0.0.1;host=cvm.test"], "192.0.2.7"),
    (['proto=https; for="192.0.2.7:4711" ;by="_gate"'], "192.0.2.7"),
    (['for="[2001:db8::7]:4711"'], "2001:db8::7"), (['for="[2001:db8::7]"'], "2001:db8::7"),
    (['for="[2001:db8::7]:_port"'], "2001:db8::7"),
    (["for=203.0.113.9, for=192.0.2.7"], "192.0.2.7"), (["for=203.0.113.9", "for=192.0.2.7"], "192.0.2.7"),
    (["for=203.0.113.9, for=192.0.2.7, for=10.1.2.3"], "192.0.2.7"),
    (['for="203.0.113.9, for=192.0.2.7'], "192.0.2.7"),  # a stranger's open quote swallows nothing
    (['for=192.0.2.7;host="a,for=203.0.113.9;x="'], "192.0.2.7"),  # nor does what it has quoted by the proxy
    (['host="a;for=203.0.113.9,for=203.0.113.8;x=";for=192.0.2.7'], "192.0.2.7"),
    (['for=192.0.2.7;host="a\\",for=203.0.113.9;x=\\""'], "192.0.2.7"),
    (['for=192.0.2.7;host="a\\";for=203.0.113.9;x=\\""'], "192.0.2.7"),
    (['for=203.0.113.9;host="a, for=192.0.2.7'], "192.0.2.7"),
    (['for=192.0.2.7;host="cvm.test:8443"'], "192.0.2.7"),
    (["for=unknown"], "127.0.0.1"), (["for=_hidden"], "127.0.0.1"), (["proto=https"], "127.0.0.1"), ([""], "127.0.0.1"),
    (["for=192.0.2.7;for=203.0.113.9"], "127.0.0.1"), (["for=192.0.2.7, for=unknown"], "127.0.0.1"),
    (["192.0.2.7"], "127.0.0.1"), (['for="192.0.2.7'], "127.0.0.1"), (["xfor=192.0.2.7"], "127.0.0.1"),
])
def test_forwarded(behind_forwarded, lists, peer):
    headers = [f"Forwarded: {text}" for text in lists]
    answer = ask(behind_forwarded, post(registration("nobody"), "X-Forwarded-For: 198.51.100.1", *headers))
    assert peer_of(behind_forwarded, answer) == peer


def test_the_other_header_is_not_looked_at(behind):
    """A proxy that does not write it hands on what the device says."""
    data = post(registration("nobody"), "Forwarded: for=203.0.113.9", "X-Forwarded-For: 192.0.2.7")
    assert peer_of(behind, ask(behind, data)) == "192.0.2.7"
    assert peer_of(behind, ask(behind, post(registration("nobody"), "Forwarded: for=203.0.113.9"))) == "127.0.0.1"


def test_forwarded_for_of_a_stranger_is_not_believed(behind):
    answer = ask(behind, post(registration("nobody"), "X-Forwarded-For: 192.0.2.7"), source="127.0.0.2")
    assert peer_of(behind, answer) == "127.0.0.2"


def test_forwarded_for_is_forgotten_with_its_request(behind):
    with Wire(behind) as wire:
        wire.send(post(registration("nobody"), "X-Forwarded-For: 192.0.2.7") + post(registration("nobody")))
        assert [peer_of(behind, wire.answer()) for _ in range(2)] == ["192.0.2.7", "127.0.0.1"]


def test_a_longer_name_is_not_forwarded_for(behind):
    data = post(registration("nobody"), "X-Forwarded-For" + "x" * 30 + ": 192.0.2.7")
    at = data.index(b"X-Forwarded-For") + len("X-Forwarded-For")
    with Wire(behind) as wire:
        wire.send(data[:at], pause_s=0.1)
        wire.send(data[at:])
        assert peer_of(behind, wire.answer()) == "127.0.0.1"


def test_failures_are_counted_by_the_forwarded_address(tmp_path):
    settings = {"http.trusted_proxies": "127.0.0.1", "limit.failures_per_address": "2/min"}
    with running(tmp_path, "counted", tls=False, devices=2, **settings) as instance:
        data = [post(registration("nobody"), f"X-Forwarded-For: 192.0.2.{i}") for i in range(3)]
        assert [ask(instance, data[0]).status for _ in range(3)] == [403, 403, 429]
        assert [ask(instance, data[1]).status for _ in range(3)] == [403, 403, 429]
        assert ask(instance, data[2]).status == 403


def test_failures_are_counted_by_the_address_that_a_proxy_header_tells(tmp_path):
    settings = {"http.trusted_proxies": "127.0.0.1", "http.proxy_protocol": "on", "limit.failures_per_address": "2/min"}
    with running(tmp_path, "counted", tls=False, devices=2, **settings) as instance:
        def statuses(address, count):
            data = f"PROXY TCP4 {address} 127.0.0.1 1 2\r\n".encode() + post(registration("nobody"))
            return [ask(instance, data).status for _ in range(count)]
        assert statuses("192.0.2.1", 3) == [403, 403, 429]
        assert statuses("192.0.2.2", 1) == [403]


@pytest.fixture(scope="module")
def proxied(module_path):
    settings = {"http.trusted_proxies": "127.0.0.1", "http.proxy_protocol": "true",
                "http.handshake_timeout": "2s"}
    with running(module_path, "proxied", **settings) as instance:
        yield instance


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("127.0.0.1") + struct.pack(">HH", 4711, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "::1") + \
    struct.pack(">HH", 4711, 443)
PROXY_HEADERS = {
    "v1, IPv4": (b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n", "192.0.2.7"),
    "v1, IPv6": (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7"),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v1, unknown with more": (b"PROXY UNKNOWN ffff:f...f:ffff 65535\r\n", "127.0.0.1"),
    "v2, IPv4": (SIGNATURE + b"\x21\x11" + struct.pack(">H", 12) + V4, "192.0.2.7"),
    "v2, IPv6": (SIGNATURE + b"\x21\x21" + struct.pack(">H", 36) + V6, "2001:db8::7"),
    "v2, with TLVs": (SIGNATURE + b"\x21\x11" + struct.pack(">H", 212) + V4 + b"\x04" + struct.pack(">H", 197) +
                      b"a" * 197, "192.0.2.7"),
    "v2, local": (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
    "v2, unix socket": (SIGNATURE + b"\x21\x31" + struct.pack(">H", 216) + b"\0" * 216, "127.0.0.1"),
}


@contextlib.contextmanager
def through_proxy(instance, header, piece=None, pause_s=0.0, source=None):
    """A TLS connection behind a PROXY header."""
    source = (source, 0) if source else None
    with socket.create_connection(("127.0.0.1", instance.port), 10, source) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(header), piece or len(header) or 1):
            wire.sendall(header[i:i + (piece or len(header))])
            time.sleep(pause_s)
        with instance.tls_context().wrap_socket(wire, server_hostname="127.0.0.1") as tls_wire:
            yield tls_wire


def answer_through_proxy(instance, header, **options):
    with through_proxy(instance, header, **options) as wire:
        wire.sendall(post(registration("nobody"), "X-Forwarded-For: 203.0.113.9", "Connection: close"))
        data = b""
        while more := wire.recv(65536):
            data += more
    return json.loads(data.split(b"\r\n\r\n", 1)[1])["payload"]["request_id"]


@pytest.mark.parametrize("piece", [None, 5])
@pytest.mark.parametrize("name", PROXY_HEADERS)
def test_proxy_protocol(proxied, name, piece):
    header, peer = PROXY_HEADERS[name]
    identity = answer_through_proxy(proxied, header, piece=piece, pause_s=0.005 if piece else 0)
    line = next(line for line in proxied.server.stderr.splitlines() if identity in line)
    assert f"peer={peer} " in line


def ends(wire):
    """True if the peer closes, or resets, without a byte."""
    try:
        return wire.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def proxied_plain(module_path):
    """Whatever it takes for a header is followed by an answer, and nothing ends it soon."""
    settings = {"http.trusted_proxies": "127.0.0.1", "http.proxy_protocol": "true",
                "http.handshake_timeout": "60s", "log.refusals_per_address": 0}
    with running(module_path, "proxied_plain", tls=False, **settings) as instance:
        yield instance


def served_behind(instance, header, source=None):
    """What comes back for a request behind these bytes, until the server closes: nothing else would end it here."""
    with socket.create_connection(("127.0.0.1", instance.port), 10, (source, 0) if source else None) as wire:
        with contextlib.suppress(ConnectionError):  # it may have been closed by now
            wire.sendall(header + post(registration("nobody"), "Connection: close"))
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := wire.recv(65536):
                data += more
    return data


@pytest.mark.parametrize("name", PROXY_HEADERS)
def test_what_follows_a_proxy_header_is_served(proxied_plain, name):
    """So that what is refused below is not refused for another reason."""
    assert b"not_authorized" in served_behind(proxied_plain, PROXY_HEADERS[name][0])


@pytest.mark.parametrize("header", [
    b"", b"GET / HTTP/1.1\r\n", b"PROXY\r\n", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 rubbish 127.0.0.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n", b"PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 127.0.0.1 1 2\r\n", b"PROXY TCP4 192.0.2.7 127.0.0.1 99999 2\r\n",
    b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2 3\r\n", b"PROXY " + b"a" * 200, b"proxy TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n" + b"\0" * 100, SIGNATURE + b"\x11\x11\x00\x0c" + V4,
    SIGNATURE + b"\x2f\x11\x00\x0c" + V4, SIGNATURE + b"\x21\x11\xff\xff" + V4, SIGNATURE[:-1] + b"X\x21\x11\x00\x0c" + V4,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, b"PROXY TCP4 192.0.2.7  127.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7\x00 127.0.0.1 1 2\r\n", b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 127.0.0.1 1 -2\r\n", b"PROXY  TCP4 192.0.2.7 127.0.0.1 1 2\r\n", b" PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWNS\r\n", b"PROXY UNKNOWN " + b"a" * 100 + b"\r\n", SIGNATURE + b"\x31\x11\x00\x0c" + V4,
])
def test_garbage_for_a_proxy_header_is_refused(proxied_plain, header):
    before = proxied_plain.server.stderr
    assert served_behind(proxied_plain, header) == b""
    said = proxied_plain.server.stderr[len(before):].splitlines()  # no attempt: nothing was read
    assert len(said) == 1
    assert "peer=127.0.0.1 transport=http code=invalid_request" in said[0] and "PROXY header" in said[0]


def test_unfinished_proxy_header_is_no_work(proxied):
    """It waits for the rest without asking again and again, and not for ever."""
    before = proxied.server.cpu_s()
    with socket.create_connection(("127.0.0.1", proxied.port), 10) as open_end, \
            socket.create_connection(("127.0.0.1", proxied.port), 10) as half_closed:
        open_end.sendall(b"PROXY TCP4 192.")
        half_closed.sendall(b"PROXY TCP4 192.")
        half_closed.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        assert ends(half_closed) and time.monotonic() - start < 1.5
        assert ends(open_end)  # at the deadline
    assert proxied.server.cpu_s() - before < 1


@pytest.mark.parametrize("header", [PROXY_HEADERS["v1, IPv4"][0], PROXY_HEADERS["v2, IPv4"][0], b""])
def test_stranger_is_not_served_where_proxies_are(proxied_plain, header):
    before = proxied_plain.server.stderr
    assert served_behind(proxied_plain, header, source="127.0.0.2") == b""
    [line] = proxied_plain.server.stderr[len(before):].splitlines()
    assert "peer=127.0.0.2 transport=http code=invalid_request" in line and "not a trusted proxy" in line
