"""Registration in CBOR over HTTP, to the letter of the contract's CDDL; read and written by cbor2."""

import hashlib
import itertools
import time

import cbor2
import pytest

from csr_tools import certificates_in, der_of, make_csr, make_key, openssl, public_key_of
from cvm_server import Instance, token
from raw_http import ask, post, registration

CBOR = "application/cbor"
PROBLEM = "application/concise-problem-details+cbor"
UID, TOKEN, CSR, HAVE = 1, 2, 3, 4
COUNTER = itertools.count()


@pytest.fixture(scope="module")
def server(module_path):
    instance = Instance(module_path, name="cbor")
    instance.import_csv([(f"C{i}", token(f"C{i}"), "true") for i in range(60)])
    with instance.serve_plain({"limit.failures_per_address": "0/min"}):
        yield instance


def fresh():
    return f"C{next(COUNTER)}"


def ask_cbor(instance, body, *headers, media_type=CBOR):
    answer = ask(instance, post(body, *headers, media_type=f"Content-Type: {media_type}"))
    assert answer.headers["cache-control"] == "no-store"
    return answer


def register(instance, message, *headers, **options):
    """The answer's map; each of its bytes is what a deterministic encoder makes of it."""
    answer = ask_cbor(instance, cbor2.dumps(message), *headers, **options)
    assert answer.status == 200 and answer.headers["content-type"] == CBOR, answer.body
    found = cbor2.loads(answer.body)
    assert cbor2.dumps(found, canonical=True) == answer.body and list(found) == sorted(found)
    return found


def refused(instance, body, status, code, *headers, media_type=CBOR):
    """The message."""
    answer = ask_cbor(instance, body, *headers, media_type=media_type)
    assert answer.status == status and answer.headers["content-type"] == PROBLEM, answer.body
    problem = cbor2.loads(answer.body)
    assert list(problem) == [-1, -2] and problem[-1] == code and cbor2.dumps(problem, canonical=True) == answer.body
    return problem[-2]


def anchors(instance):
    return [der_of(pem) for pem in certificates_in((instance.folder / "ca/root.pem").read_text())]


def issuers(instance):
    return [der_of(pem) for pem in certificates_in((instance.folder / "ca/issuing.pem").read_text())]


def test_with_a_csr(server):
    uid, key = fresh(), make_key()
    csr = der_of(make_csr(key))
    found = register(server, {UID: uid, TOKEN: token(uid), CSR: csr})
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert found[1] == "localhost" and found[2] == f"thing_{uid}" and abs(found[6] - time.time()) < 60
    assert found[4] == issuers(server) and found[5] == anchors(server)
    shown = server.show(uid)
    assert hashlib.sha256(found[3]).hexdigest() == shown["certificate_id"]
    assert public_key_of(openssl("x509", "-inform", "DER", data=found[3])) == \
        openssl("pkey", "-pubout", data=key).decode()
    again = register(server, {UID: uid, TOKEN: token(uid), CSR: csr})
    assert again[3] == found[3]


def test_with_a_key_of_the_servers(server):
    uid = fresh()
    found = register(server, {UID: uid, TOKEN: token(uid)})
    assert list(found) == [1, 2, 3, 4, 5, 6, 7]
    pem = openssl("pkey", "-inform", "DER", data=found[7])
    assert b"BEGIN PRIVATE KEY" in pem
    assert openssl("pkey", "-pubout", data=pem).decode() == public_key_of(openssl("x509", "-inform", "DER", data=found[3]))


def test_rsa_keys_are_pkcs1(module_path):
    instance = Instance(module_path, name="rsa")
    instance.import_csv([("R1", token("R1"), "true")])
    with instance.serve_plain({"server_key.type": "rsa2048"}):
        key = register(instance, {UID: "R1", TOKEN: token("R1")})[7]
    assert openssl("rsa", "-inform", "DER", data=key)
    assert openssl("asn1parse", "-inform", "DER", data=key).count(b"INTEGER") == 9  # version, n, e, d, p, q, dp, dq, qi


def test_what_the_device_has_is_left_out(server):
    uid, csr = fresh(), der_of(make_csr())
    known = {"issuer": issuers(server)[0], "anchor": anchors(server)[0]}
    ids = {name: hashlib.sha256(der).digest()[:8] for name, der in known.items()}
    message = {UID: uid, TOKEN: token(uid), CSR: csr}
    sizes = [len(ask_cbor(server, cbor2.dumps({**message, HAVE: have})).body)
             for have in ([bytes(8)], [ids["anchor"]], [bytes(8), ids["issuer"], ids["anchor"]])]
    assert sizes[0] > sizes[1] > sizes[2] and sizes[2] < 600
    found = register(server, {**message, HAVE: [ids["issuer"]]})
    assert found[4] == [] and found[5] == [known["anchor"]]
    found = register(server, {**message, HAVE: [ids["anchor"]] * 8})
    assert found[4] == [known["issuer"]] and found[5] == []


def test_trust_anchors_are_certificates_and_nothing_else(module_path):
    """Whatever else the operator's file holds, in both formats."""
    instance = Instance(module_path, name="anchors")
    instance.import_csv([(f"A{i}", token(f"A{i}"), "true") for i in range(3)])
    certificates = certificates_in((instance.folder / "ca/root.pem").read_text()) + certificates_in((instance.folder / "ca/issuing.pem").read_text())
    (instance.folder / "anchors.pem").write_text(
        "# the root, between -----BEGIN CERTIFICATE----- and its end:\n" + certificates[0].replace("\n", "\r\n")
        + make_key() + openssl("rsa", "-aes128", "-traditional", "-passout", "pass:secret", data=make_key("rsa:2048")).decode()
        + "subject=CN = whoever\n" + certificates[1] + "and more")
    for path in (instance.folder / "ca/root.pem", instance.folder / "ca/issuing.pem"):
        path.write_text("# between -----BEGIN CERTIFICATE----- and its end\n" + path.read_text().replace("CERTIFICATE", "X509 CERTIFICATE"))
    with instance.serve_plain():
        found = register(instance, {UID: "A2", TOKEN: token("A2")})
        assert found[4] + found[5] == [der_of(certificates[1]), der_of(certificates[0])]
    with instance.serve_plain({"mqtt.root_ca": instance.folder / "anchors.pem"}):
        assert register(instance, {UID: "A0", TOKEN: token("A0")})[5] == [der_of(pem) for pem in certificates]
        status, _, answer = instance.register("A1")
        assert status == 200 and answer["payload"]["certificates"]["root_ca"] == "".join(certificates)


def csr_of_size(key, size):
    """DER of just that size, by names in its subject."""
    count, last = 30, 1
    while True:
        subject = "".join("/OU=" + "x" * length for length in [60] * count + [last])
        csr = der_of(make_csr(key, subject=subject))
        missing = size - len(csr)
        if not missing:
            return csr
        count, last = (count + 1, last) if missing > 71 else (count, last + missing)


def test_a_csr_is_as_long_as_its_pem_may_be(server):
    key = make_key("rsa:2048")
    for size, status in ((2973, 200), (2974, 422)):
        uid = fresh()
        answer = ask_cbor(server, cbor2.dumps({UID: uid, TOKEN: token(uid), CSR: csr_of_size(key, size)}))
        assert answer.status == status, answer.body


def test_one_media_type(server):
    uid = fresh()
    body = cbor2.dumps({UID: uid, TOKEN: token(uid)})
    answer = ask(server, post(body, "Content-Type: application/json", media_type="Content-Type: application/cbor"))
    assert answer.status == 400 and answer.closes


def test_an_answer_is_in_what_is_accepted(server):
    uid = fresh()
    body = cbor2.dumps({UID: uid, TOKEN: token(uid), CSR: der_of(make_csr())})
    answer = ask_cbor(server, body, "Accept: application/json")
    assert answer.headers["content-type"] == "application/json" and answer.json["status"] == "SUCCESS"
    answer = ask(server, post(registration("C0", "wrong-token-of-32-characters-----"), f"Accept: {CBOR}"))
    assert answer.status == 403 and cbor2.loads(answer.body)[-1] == "not_authorized"
    answer = ask(server, post(registration("C0", "wrong-token-of-32-characters-----"), f"Accept: {PROBLEM}"))
    assert answer.headers["content-type"] == "application/json"


def test_errors_are_concise_problem_details(server):
    uid = fresh()
    good = {UID: uid, TOKEN: token(uid)}
    refused(server, cbor2.dumps({**good, TOKEN: "wrong-token-of-32-characters-----"}), 403, "not_authorized")
    refused(server, cbor2.dumps({**good, CSR: b"\x30\x00"}), 422, "invalid_csr")
    refused(server, cbor2.dumps({UID: uid}), 400, "invalid_request")
    refused(server, bytes(9000), 413, "too_large")
    refused(server, b"{}", 415, "unsupported_media_type", f"Accept: {CBOR}", media_type="image/png")
    register(server, {**good, CSR: der_of(make_csr())})
    refused(server, cbor2.dumps({**good, CSR: der_of(make_csr())}), 409, "already_registered")


class Bytes:
    """A map by its bytes, in hex."""

    def __init__(self, text, words):
        self.body, self.words = bytes.fromhex(text), words


@pytest.mark.parametrize("case", [
    Bytes("", "cut short"), Bytes("a1", "cut short"), Bytes("a101", "cut short"), Bytes("a10162", "cut short"),
    Bytes("80", "something else"), Bytes("01", "something else"), Bytes("f6", "something else"),
    Bytes("a0", "device_uid"), Bytes("a000", "behind it"), Bytes("a1016143" + "00", "behind it"),
    Bytes("bf01614302614360ff", "indefinite"), Bytes("a1017f6143ff", "indefinite"), Bytes("a1095f4143ff", "indefinite"),
    Bytes("a1099f01ff", "indefinite"), Bytes("a1ff01", "not taken"),
    Bytes("c0a0", "tag"), Bytes("a109c101", "tag"), Bytes("d9d9f7a0", "tag"),
    Bytes("a109f93c00", "not taken"), Bytes("a109fa47c35000", "not taken"), Bytes("a109fb3ff199999999999a", "not taken"),
    Bytes("a109f820", "not taken"), Bytes("a109e0", "not taken"),
    Bytes("a201614301614302", "twice"), Bytes("a2" + "0901" * 2, "twice"), Bytes("a2" + "616101" * 2, "twice"),
    Bytes("a2" + "01" + "6143" + "1801" + "6143", "twice"), Bytes("a2" + "617801" + "78017801", "twice"), Bytes("a2" + "2001" + "380001", "twice"),
    Bytes("a2" + "0481" + "48" + "00" * 8 + "180481" + "48" + "00" * 8, "twice"), Bytes("a103" + "582d" + b"-----BEGIN CERTIFICATE REQUEST-----0123456789".hex(), "DER"),
    Bytes("a1" + "8001", "no number and no string"), Bytes("a1a001", "no number and no string"),
    Bytes("a1f401", "no number and no string"),
    Bytes("a1097b0000000000000001" + "61", "8 bytes"), Bytes("a1095b000000000000000161", "8 bytes"),
    Bytes("bb0000000000000001" + "0901", "8 bytes"), Bytes("a1099b000000000000000101", "8 bytes"),
    Bytes("a1091b0020000000000001", "2^53"), Bytes("a1093bffffffffffffffff", "2^53"),
    Bytes("a1091c", "no CBOR"), Bytes("a109fc", "not taken"), Bytes("a109dc", "tag"),
    Bytes("a109818181818101", "too deep"), Bytes("a109a101a101a101a10101", "too deep"),
    Bytes("a10961ff", "UTF-8"), Bytes("a10962c080", "UTF-8"), Bytes("a1016161" + "", "device_token"),
    Bytes("a10101", "text string"), Bytes("a1014143", "text string"), Bytes("a10360", "byte string"),
    Bytes("a10160", "empty"), Bytes("a10340", "empty"), Bytes("a101634300" + "43", "NUL"),
    Bytes("a10480", "1 to 8"), Bytes("a10489" + "4800000000000000" "00" * 9, "1 to 8"), Bytes("a1048147" + "00" * 7, "8 bytes"),
    Bytes("a10448" + "00" * 8, "1 to 8"), Bytes("a10481" + "68" + "61" * 8, "8 bytes"),
    Bytes("b841" + "".join(f"18{i:02x}00" for i in range(65, 130)), "64 members"),
    Bytes("9a7fffffff", "cut short"), Bytes("ba7fffffff", "cut short"), Bytes("a1015a7fffffff", "cut short"),
], ids=lambda case: f"{case.body.hex()[:24]}-{case.words}")
def test_what_is_not_taken(server, case):
    assert case.words in refused(server, case.body, 400, "invalid_request")


def test_what_is_unknown_is_skipped(server):
    uid = fresh()
    message = {UID: uid, TOKEN: token(uid), CSR: der_of(make_csr()), 0: None, 5: [1, [2, [3]]], -1: {1: {2: {3: b"x"}}},
               "name": True, b"bytes": False, 2 ** 53: 2 ** 53, 99: -2 ** 53, 100: "\u00fc" * 40}
    assert register(server, message)[2] == f"thing_{uid}"


def test_longer_heads_than_needed_are_read(server):
    """Small stacks write lengths of a fixed size."""
    uid = fresh()
    text = [b"\x78", b"\x79\x00", b"\x7a\x00\x00\x00"]
    for head in text:
        body = b"\xb9\x00\x02\x18\x01" + head + bytes([len(uid)]) + uid.encode() + b"\x19\x00\x02" + b"\x78" + \
            bytes([len(token(uid))]) + token(uid).encode()
        assert ask_cbor(server, body).status in (200, 409)


def test_a_secret_is_in_no_message(server):
    assert "hunter2" not in refused(server, cbor2.dumps({UID: "C0", TOKEN: b"hunter2hunter2hunter2"}), 400, "invalid_request")
    assert "hunter2" not in refused(server, cbor2.dumps({UID: "C0", TOKEN: "hunter2:" * 4}), 400, "invalid_request")
