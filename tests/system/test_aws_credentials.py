"""Keys from where AWS's SDKs look, shown by what the requests are signed with."""

import datetime
import http.server
import json
import os
import threading
import time
import urllib.parse

import pytest

import aws_proxy
from cvm_server import token
from dynamodb import KEYS, DynamoDB


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        server.empty()
        server.put({"device_uid": {"S": "DEVICE"}, "device_token": {"S": token("DEVICE")}, "is_enabled": {"N": "1"}})
        yield server


@pytest.fixture
def proxy(database, monkeypatch):
    monkeypatch.setattr(aws_proxy, "SECRETS", {name: f"{name}/secret+" for name in ("ENV", "FILE", "CONFIG", "OTHER", "CONTAINER", "ROLE", "ROLE2")})
    with aws_proxy.Proxy(database.url, "dynamodb") as proxy:
        yield proxy


@pytest.fixture
def instance(database, proxy, tmp_path, monkeypatch):
    for name in KEYS:
        if name != "AWS_REGION":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")  # nobody
    instance = database.instance(tmp_path, url=proxy.url)
    yield instance
    instance.stop()


@pytest.fixture
def metadata():
    """What a container or an instance asks; paths: (method, path) → (status, text) or a function of the headers."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def answer(self):
            self.server.asked.append((self.command, self.path))
            found = self.server.paths.get((self.command, self.path), (404, "none"))
            status, text = found(self.headers) if callable(found) else found
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = answer

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.paths, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def keys(name, lasts_s=3600):
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=lasts_s)
    return 200, json.dumps({"Code": "Success", "AccessKeyId": name, "SecretAccessKey": f"{name}/secret+", "Token": f"{name}-session/+==",
                            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")})


def use(monkeypatch, name):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{name}/secret+")


def expect(instance, proxy, name):
    proxy.key_ids.clear()
    assert instance.show("DEVICE")["device_uid"] == "DEVICE"
    assert set(proxy.key_ids) == {name} and not proxy.wrong


def serve_metadata(metadata, monkeypatch):
    """An instance with the role `factory`."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    path = "/latest/meta-data/iam/security-credentials/"

    def needs_token(answer):
        return lambda headers: answer if headers["X-aws-ec2-metadata-token"] == "secret-token" else (401, "")

    metadata.paths.update({
        ("PUT", "/latest/api/token"): lambda headers: (200, "secret-token") if headers["X-aws-ec2-metadata-token-ttl-seconds"] else (400, ""),
        ("GET", path): needs_token((200, "factory")), ("GET", path + "factory"): needs_token(keys("ROLE"))})


def test_each_place_comes_before_the_next(instance, proxy, metadata, monkeypatch, tmp_path):
    serve_metadata(metadata, monkeypatch)
    expect(instance, proxy, "ROLE")

    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/role")
    (tmp_path / "token").write_text("container-token\n")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    metadata.paths["GET", "/role"] = lambda headers: keys("CONTAINER") if headers["Authorization"] == "container-token" else (403, "")
    expect(instance, proxy, "CONTAINER")

    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("# ours\n[default]\naws_access_key_id = CONFIG\naws_secret_access_key=CONFIG/secret+\n"
                                          "[profile other]\naws_access_key_id = OTHER\naws_secret_access_key = OTHER/secret+\n")
    expect(instance, proxy, "CONFIG")
    (tmp_path / ".aws/credentials").write_text("[other]\nx = y\n[default]\n aws_access_key_id = nested\naws_access_key_id = FILE  \n"
                                               "aws_secret_access_key = FILE/secret+\r\naws_session_token = a/b+c==\n")
    expect(instance, proxy, "FILE")
    monkeypatch.setenv("AWS_PROFILE", "other")
    expect(instance, proxy, "OTHER")

    use(monkeypatch, "ENV")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session/+==")
    expect(instance, proxy, "ENV")


@pytest.fixture
def sts(monkeypatch):
    """STS: what it was asked, and with what."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = dict(urllib.parse.parse_qsl(body.decode()))
            self.server.asked.append(asked)
            if asked["Action"] == "AssumeRole":
                wrong = aws_proxy.signature_fault("sts", "eu-central-1", "POST", self.path, self.headers, body)
                assert wrong is None, wrong
            answer = json.loads(keys("ROLE")[1])
            xml = (f"<AssumeRoleResponse><Credentials><AccessKeyId>{answer['AccessKeyId']}</AccessKeyId><SecretAccessKey>{answer['SecretAccessKey']}"
                   f"</SecretAccessKey><SessionToken>{answer['Token']}</SessionToken><Expiration>{answer['Expiration']}</Expiration></Credentials>"
                   "</AssumeRoleResponse>")
            if asked["RoleArn"].endswith("/denied"):
                xml = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>"
            self.send_response(403 if "Error" in xml else 200)
            self.end_headers()
            self.wfile.write(xml.encode())

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_roles_are_assumed(instance, proxy, metadata, sts, monkeypatch, tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[source]\naws_access_key_id = FILE\naws_secret_access_key = FILE/secret+\n")
    (tmp_path / ".aws/config").write_text("""[default]
role_arn = arn:aws:iam::123456789012:role/factory
source_profile = source
external_id = a b/c
role_session_name = line-1
[profile environment]
role_arn = arn:aws:iam::123456789012:role/other
credential_source = Environment
[profile container]
role_arn = arn:aws:iam::123456789012:role/other
credential_source = EcsContainer
[profile denied]
role_arn = arn:aws:iam::123456789012:role/denied
source_profile = source
[profile lost]
role_arn = arn:aws:iam::123456789012:role/lost
""")
    expect(instance, proxy, "ROLE")
    assert sts.asked[-1] == {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::123456789012:role/factory",
                             "RoleSessionName": "line-1", "ExternalId": "a b/c"}
    monkeypatch.setenv("AWS_PROFILE", "container")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/role")
    metadata.paths["GET", "/role"] = keys("CONTAINER")
    expect(instance, proxy, "ROLE")
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    for profile, text in (("environment", "there are no keys"), ("container", "there are no keys"), ("denied", "HTTP 403: AccessDenied: not you"),
                          ("lost", "without source_profile"), ("missing", "'missing' is in no file")):
        monkeypatch.setenv("AWS_PROFILE", profile)
        done = instance.cvm("device", "show", "DEVICE", check=False)
        assert done.returncode == 69 and text.encode() in done.stderr, done.stderr


def test_a_cluster_gives_a_role(instance, proxy, sts, monkeypatch, tmp_path):
    """Web identity, as EKS has it."""
    (tmp_path / "identity").write_text("header.claims/+.signature\n")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "identity"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    expect(instance, proxy, "ROLE")
    assert sts.asked == [{"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::123456789012:role/pod",
                          "RoleSessionName": "libcvm", "WebIdentityToken": "header.claims/+.signature"}]


def test_what_is_set_up_and_fails_is_told(instance, proxy, metadata, monkeypatch, tmp_path):
    """Nobody else's keys are used instead."""
    serve_metadata(metadata, monkeypatch)

    def expect_error(text):
        done = instance.cvm("device", "show", "DEVICE", check=False)
        assert done.returncode == 69 and text.encode() in done.stderr, done.stderr

    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.url}/role")
    expect_error("the container's credentials endpoint: it answers HTTP 404")
    for answer in ("{}", "<html>", '{"AccessKeyId": "A", "SecretAccessKey": "B", "Token": "C"}', "x" * 100000):
        metadata.paths["GET", "/role"] = (200, answer)
        expect_error("the container's credentials endpoint: it answers no keys")
    for url in ("http://192.0.2.1/role", "http://127.evil.example/role", "http://127.0.0.1@192.0.2.1/role", "ftp://localhost/role"):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        expect_error("expected https:, or a host of the container's own")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    expect_error("one of them is missing")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    if os.getuid():
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws/credentials").write_text("")
        (tmp_path / ".aws/credentials").chmod(0)
        expect_error("Permission denied")
    assert not proxy.key_ids


def test_keys_are_looked_for_anew_before_they_expire(instance, proxy, metadata, monkeypatch):
    serve_metadata(metadata, monkeypatch)
    path = "/latest/meta-data/iam/security-credentials/factory"
    metadata.paths["GET", path] = keys("ROLE", lasts_s=200)  # good, and to be replaced soon
    with instance.serve_plain({"registration.reissue_after": 0}):
        metadata.paths["GET", path] = keys("ROLE2")
        proxy.key_ids.clear()
        for _ in range(3):
            assert instance.register("DEVICE")[0] in (200, 409)
        assert "ROLE2" in proxy.key_ids and not proxy.wrong
        # A role that can't be had for a while: the last good keys are used.
        metadata.paths["GET", path] = (500, "")
        proxy.plan("BatchGetItem", "expired")
        status, _, body = instance.register("DEVICE")
        assert status == 503, body
        metadata.paths["GET", path] = keys("ROLE")
        for _ in range(100):
            status, _, body = instance.register("DEVICE")
            if status != 503:
                break
            time.sleep(0.1)
        assert status in (200, 409), body
        text = instance.server.stderr
    assert "secret+" not in text and "secret-token" not in text and "session/+" not in text
