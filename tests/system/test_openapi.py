"""docs/openapi.yaml says what the server does: each answer that it names is provoked and held against it,
its examples are registered, and schemathesis asks what it thinks of."""

import copy
import hashlib
import json
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

from broker import REPOSITORY
from csr_tools import certificates_in, make_csr, openssl, public_key_of
from cvm_server import Instance, build_folder, environment, token
from raw_http import Wire, ask, post, registration
from test_failing_backends import Failing

DOCUMENT = yaml.safe_load((REPOSITORY / "docs/openapi.yaml").read_text())
SCHEMATHESIS = REPOSITORY / "third_party/schemathesis"
METHODS = {"get", "head", "post", "put", "delete", "patch", "options", "trace"}
# What only the operator's verbs can fail with.
NOT_OF_HTTP = {"ok", "no_such_device", "device_exists", "device_registered", "not_carried_out", "conflict",
               "configuration", "unavailable", "invalid_argument", "wrong_process", "wrong_thread"}


def resolve(part):
    while "$ref" in part:
        path = part["$ref"].removeprefix("#/").split("/")
        part = DOCUMENT
        for name in path:
            part = part[name]
    return part


def validator(schema):
    """The document's own definitions are beside the schema, so that references to them are found."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())


def check(answer, path="/registration", method="post"):
    """The answer is one that the document names, to the letter."""
    response = resolve(DOCUMENT["paths"][path][method]["responses"][str(answer.status)])
    for name, header in response["headers"].items():
        header, value = resolve(header), answer.headers.get(name.lower())
        assert value is not None or not header.get("required"), f"{name} is missing"
        if value is not None:
            schema = resolve(header["schema"])
            validator(schema).validate(int(value) if schema.get("type") == "integer" else value)
    assert {"allow", "retry-after"} & set(answer.headers) <= {name.lower() for name in response["headers"]}
    (media_type, content), = response["content"].items()
    assert answer.headers["content-type"].split(";")[0] == media_type
    if media_type == "application/json":
        validator(content["schema"]).validate(answer.json)
        assert answer.json.get("statusCode", 200) == answer.status
    return answer


def code_of(answer):
    return answer.json["payload"].get("code", "ok")


def errors_of_the_document():
    """{code: (status, retryable)}"""
    found = {}
    for row in DOCUMENT["components"]["schemas"]["Error"]["oneOf"]:
        payload = row["properties"]["payload"]["properties"]
        found[payload["code"]["const"]] = (row["properties"]["statusCode"]["const"], payload["retryable"]["const"])
    return found


# --- The document itself ---


def test_schemas_are_schemas():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [operation["operationId"] for path in DOCUMENT["paths"].values()
             for method, operation in path.items() if method in METHODS]
    assert len(names) == len(set(names)) == 8


def test_errors_are_those_of_the_library():
    """Each code of the one table in the code, with its status and whether a retry may help."""
    source = next(path for path in (REPOSITORY / "src").rglob("*.h") if "define CVM_REASON_MAP(" in path.read_text())
    rows = re.findall(r'X\(\w+,\s*"(\w+)",\s*\w+,\s*(\d+),\s*([01]),', source.read_text())
    known = {name: (int(status), retryable == "1") for name, status, retryable in rows if name not in NOT_OF_HTTP}
    assert errors_of_the_document() == known


def test_examples_fit_their_schemas_and_each_other():
    operation = DOCUMENT["paths"]["/registration"]["post"]
    media = {name: part["application/json"] for name, part in (
        ("asked", operation["requestBody"]["content"]), ("answered", operation["responses"]["200"]["content"]))}
    for part in media.values():
        for example in part["examples"].values():
            validator(part["schema"]).validate(example["value"])
    for name, example in media["answered"]["examples"].items():
        asked, payload = media["asked"]["examples"][name]["value"], example["value"]["payload"]
        leaf, issuing = certificates_in(payload["certificates"]["device_certificate"])
        assert asked["device_token"] == token(asked["device_uid"])
        assert payload["certificate_id"] == hashlib.sha256(openssl("x509", "-outform", "DER", data=leaf)).hexdigest()
        assert ("csr" in asked) != ("keyPair" in payload)
        key = public_key_of(asked["csr"], "req") if "csr" in asked else payload["keyPair"]["publicKey"]
        assert public_key_of(leaf) == key
        for certificate, issuer in ((leaf, issuing), (issuing, payload["certificates"]["root_ca"])):
            assert openssl("x509", "-noout", "-issuer_hash", data=certificate) == \
                openssl("x509", "-noout", "-subject_hash", data=issuer)


def test_the_page_tells_the_same_story():
    """docs/protocol.md quotes the first example."""
    text = (REPOSITORY / "docs/protocol.md").read_text()
    operation = DOCUMENT["paths"]["/registration"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"]["csr"]["value"]
    answered = operation["responses"]["200"]["content"]["application/json"]["examples"]["csr"]["value"]["payload"]
    for value in (asked["device_uid"], asked["device_token"], answered["endpoint"], answered["certificate_id"],
                  answered["server_time"], f"Content-Length: {len(json.dumps(asked))}\n"):
        assert value in text
    for code, (status, _) in errors_of_the_document().items():
        assert re.search(rf"^\| [^|]*\b{status}\b[^|]*\|[^|]*`{code}`", text, re.M), code


# --- Each answer ---


@pytest.fixture(scope="module")
def serving(module_path):
    instance = Instance(module_path)
    instance.import_csv([f"DEVICE{i:03}" for i in range(20)])
    instance.serve_plain({"http.request_timeout": "500ms", "limit.failures_per_address": "1/min"})
    try:
        yield instance
        instance.stop()
    finally:
        instance.kill()


def test_examples_are_registered(serving):
    content = DOCUMENT["paths"]["/registration"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        answer = check(ask(serving, post(json.dumps(example["value"]).encode())))
        assert code_of(answer) == "ok" and serving.show(example["value"]["device_uid"])["is_registered"]
        again = check(ask(serving, post(json.dumps(example["value"]).encode())))
        assert code_of(again) == ("ok" if "csr" in example["value"] else "in_progress")


REFUSED = {
    "invalid_request": lambda at: [ask(at, post(b"{}")), ask(at, post(b"[")), ask(at, b"rubbish\r\n\r\n")],
    "not_authorized": lambda at: [ask(at, post(registration("nobody")), source="127.0.0.2")],
    "not_found": lambda at: [ask(at, post(registration("nobody"), target="/registrations"))],
    "method_not_allowed": lambda at: [ask(at, b"PUT /registration HTTP/1.1\r\nHost: a\r\n\r\n")],
    "request_timeout": lambda at: [ask(at, post(registration("nobody"))[:-1])],
    "already_registered": lambda at: [ask(at, post(registration("DEVICE010", csr=make_csr()))) for _ in range(2)][1:],
    "in_progress": lambda at: [ask(at, post(registration("DEVICE011"))) for _ in range(2)][1:],
    "too_large": lambda at: [ask(at, post(registration("nobody").ljust(8193)))],
    "uri_too_long": lambda at: [ask(at, post(registration("nobody"), target="/registration?" + "a" * 300))],
    "unsupported_media_type": lambda at: [ask(at, post(registration("nobody"), media_type=f"Content-Type: {name}"))
                                          for name in ("application/cose", "image/png", "multipart/form-data")],
    "invalid_csr": lambda at: [ask(at, post(registration("DEVICE012", csr="rubbish")))],
    "too_many_requests": lambda at: [ask(at, post(registration("nobody")), source="127.0.0.3") for _ in range(2)][1:],
    "head_too_large": lambda at: [ask(at, post(registration("nobody"), "X-Long: " + "a" * 20000))],
}


@pytest.mark.parametrize("code", REFUSED)
def test_refused(serving, code):
    for answer in REFUSED[code](serving):
        assert code_of(check(answer)) == code


@pytest.mark.parametrize("media_type", [
    None, "application/json", "application/json; charset=utf-8", "application/senml+json", "text/plain",
    "application/octet-stream", "application/x-www-form-urlencoded"])
def test_media_types_that_are_read_as_json(serving, media_type):
    header = media_type and f"Content-Type: {media_type}"
    assert code_of(check(ask(serving, post(b"{}", media_type=header)))) == "invalid_request"


UNAVAILABLE = {"prepare busy": "overloaded", "get unavailable": "store_unavailable",
               "prepare unavailable": "platform_unavailable", "prepare broken": "platform_error", "get hold": "unknown"}


@pytest.fixture(scope="module")
def failing(module_path):
    """A server whose store and platform fail as they are told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVM_BUILD_DIR", str(build_folder() / "tests/backends"))
        instance = Failing(module_path, "failing", len(UNAVAILABLE))
        instance.serve({"request.deadline": "500ms"})
        try:
            yield instance
            instance.world.tell()
            instance.stop()
        finally:
            instance.kill()


@pytest.mark.parametrize("fault", UNAVAILABLE)
def test_unavailable(failing, fault):
    failing.world.tell(fault)
    answer = check(ask(failing, post(registration(failing.fresh(), csr=make_csr()))))
    failing.world.tell()
    assert code_of(answer) == UNAVAILABLE[fault]


def test_operators_paths(failing):
    failing.world.tell("ready unavailable")
    assert check(look(failing, "/readyz"), "/readyz", "get").status == 503
    failing.world.tell()
    for path in ("/metrics", "/livez", "/readyz"):
        assert check(look(failing, path), path, "get").status == 200
        assert check(look(failing, path, "POST"), path, "get").status == 405


def look(instance, path, method="GET"):
    with Wire(instance, port=instance.ops_port) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return wire.answer()


def test_every_error_was_provoked():
    """But the one that takes a lack of memory (tests/contract/test_failing_memory.c)."""
    assert {*REFUSED, *UNAVAILABLE.values(), "internal"} == set(errors_of_the_document())


# --- What schemathesis thinks of ---


# NUL is refused in any text, which no schema can say.
SETTINGS = """
continue-on-failure = true
[generation]
deterministic = true
allow-x00 = false
[checks.positive_data_acceptance]
expected-statuses = [200, 403, 409, 422]
"""


def for_this_server(folder):
    """The document with the limit of this server's thing names: schemathesis may send what it allows."""
    document = copy.deepcopy(DOCUMENT)
    document["components"]["schemas"]["Registration"]["properties"]["device_uid"]["maxLength"] = 58
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("tag", ["registration", "operator"])
def test_schemathesis(tmp_path, tag):
    assert SCHEMATHESIS.is_dir(), f"{SCHEMATHESIS} is missing: run scripts/install --tests"
    instance = Instance(tmp_path)
    instance.import_csv(["DEVICE001", "DEVICE002"])
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    with instance.serve_plain({"limit.failures_per_address": "0/min"}) as server:
        port = server.port if tag == "registration" else server.ops_port
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"), "run",
             str(for_this_server(tmp_path)), "--url", f"http://127.0.0.1:{port}", "--include-tag", tag, "--no-color"],
            cwd=tmp_path, env=environment(PYTHONPATH=str(SCHEMATHESIS), PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr
        if tag == "registration":
            assert all(instance.show(uid)["is_registered"] for uid in ("DEVICE001", "DEVICE002"))
            refused = 'cvm_registrations_total{result="error",reason="invalid_request",transport="http"}'
            assert instance.metrics()[refused] > 20
        assert not re.search(r" error ", server.stderr), server.stderr
