"""AWS IoT's control plane as its documents have it, strict where other stand-ins are not: certificates signed over the CSR's key, final
REVOKED, names and attributes within their limits, one thing for an exclusive principal, detaching that takes time, deletion only of
what is INACTIVE and detached, lists that lag, quotas by call.

    with FakeIoT(folder) as iot:
        ... iot.url ...
        iot.certificates   # by id
"""

import collections
import hashlib
import http.server
import json
import pathlib
import re
import ssl
import subprocess
import threading
import time
import urllib.parse

ACCOUNT = "123456789012"
DETACHING_S = 2
LAG_S = 1
NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}")
ATTRIBUTE_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")


class Refused(Exception):
    def __init__(self, status, name, message=""):
        super().__init__(name, message)
        self.status, self.name, self.message = status, name, message


def openssl(*arguments, data=b""):
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, timeout=60)
    if done.returncode:
        raise Refused(400, "InvalidRequestException", done.stderr.decode()[-200:])
    return done.stdout


class Certificate:
    def __init__(self, pem, arn_of, status):
        der = ssl.PEM_cert_to_DER_cert(pem)
        self.id = hashlib.sha256(der).hexdigest()
        self.arn, self.pem, self.status = arn_of(self.id), pem, status
        self.created = time.time()
        self.policies, self.things, self.detached_at, self.is_exclusive = set(), set(), 0, False


class FakeIoT:
    def __init__(self, folder, region="eu-central-1", policies=("cvm-device",)):
        self.region, self.policies = region, set(policies)
        self.certificates, self.things, self.calls = {}, {}, []
        self.quotas = {}  # calls a second by operation
        self.providers = []  # of certificates, by name
        self.page_size = 250
        self.lists_lag_s = LAG_S
        self.endpoint = f"abcdefghijklmn-ats.iot.{region}.amazonaws.com"
        self._spent = collections.defaultdict(list)
        self._lock = threading.RLock()
        self._ca = pathlib.Path(folder)
        self._ca.mkdir(parents=True, exist_ok=True)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/O=Amazon Web Services/CN=fake",
                "-keyout", self._ca / "ca.key", "-out", self._ca / "ca.pem")

    # --- What the tests look at ---

    def active(self):
        return [certificate for certificate in self.certificates.values() if certificate.status == "ACTIVE"]

    def of_thing(self, name):
        return [certificate for certificate in self.certificates.values() if name in certificate.things]

    # --- Operations ---

    def arn(self, kind, name):
        return f"arn:aws:iot:{self.region}:{ACCOUNT}:{kind}/{name}"

    def find(self, certificate_id):
        if not re.fullmatch("(0x)?[a-fA-F0-9]{64}", certificate_id):
            raise Refused(400, "InvalidRequestException", "certificateId")
        if certificate_id not in self.certificates:
            raise Refused(404, "ResourceNotFoundException", "certificate")
        return self.certificates[certificate_id]

    def find_by_arn(self, arn):
        match = re.fullmatch(self.arn("cert", "([0-9a-f]{64})"), arn or "")
        if not match:
            raise Refused(400, "InvalidRequestException", "principal")
        return self.find(match[1])

    def create_certificate(self, body, query):
        csr = body.get("certificateSigningRequest")
        if not isinstance(csr, str):
            raise Refused(400, "InvalidRequestException", "certificateSigningRequest")
        pem = openssl("x509", "-req", "-CA", self._ca / "ca.pem", "-CAkey", self._ca / "ca.key", "-days", "7300",
                      "-set_serial", f"0x{hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:32]}", data=csr.encode()).decode()
        return self.add(pem, "ACTIVE" if query.get("setAsActive") == "true" else "INACTIVE")

    def add(self, pem, status):
        certificate = Certificate(pem, lambda i: self.arn("cert", i), status)
        self.certificates[certificate.id] = certificate
        return {"certificateArn": certificate.arn, "certificateId": certificate.id, "certificatePem": certificate.pem}

    def register_certificate(self, body):
        pem = body.get("certificatePem", "")
        certificate = Certificate(pem, lambda i: self.arn("cert", i), body.get("status", "INACTIVE"))
        if certificate.id in self.certificates:
            raise Refused(409, "ResourceAlreadyExistsException", certificate.id)
        return {name: value for name, value in self.add(pem, certificate.status).items() if name != "certificatePem"}

    def update_certificate(self, certificate, query):
        wanted = query.get("newStatus")
        if wanted not in ("ACTIVE", "INACTIVE", "REVOKED"):
            raise Refused(400, "InvalidRequestException", "newStatus")
        if certificate.status == "REVOKED" and wanted != "REVOKED":
            raise Refused(406, "CertificateStateException", "REVOKED is final")
        certificate.status = wanted
        return {}

    def delete_certificate(self, certificate, query):
        if certificate.status == "ACTIVE":
            raise Refused(406, "CertificateStateException", "it is ACTIVE")
        if certificate.things or time.time() < certificate.detached_at + DETACHING_S:
            raise Refused(409, "DeleteConflictException", "things are attached")
        if certificate.policies and query.get("forceDelete") != "true":
            raise Refused(409, "DeleteConflictException", "policies are attached")
        del self.certificates[certificate.id]
        return {}

    def create_thing(self, name, body):
        attributes = body.get("attributePayload", {}).get("attributes", {})
        if len(attributes) > 3 or not all(NAME.fullmatch(key) and ATTRIBUTE_VALUE.fullmatch(value) for key, value in attributes.items()):
            raise Refused(400, "InvalidRequestException", "attributes")
        if self.things.setdefault(name, attributes) != attributes:
            raise Refused(409, "ResourceAlreadyExistsException", name)
        return {"thingName": name, "thingArn": self.arn("thing", name), "thingId": hashlib.md5(name.encode()).hexdigest()}

    def thing(self, name):
        if name not in self.things:
            raise Refused(404, "ResourceNotFoundException", f"thing {name}")
        return self.things[name]

    def attach(self, name, certificate, query):
        self.thing(name)
        kind = query.get("thingPrincipalType", "NON_EXCLUSIVE_THING")
        if kind not in ("EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"):
            raise Refused(400, "InvalidRequestException", "thingPrincipalType")
        if certificate.things - {name} and (certificate.is_exclusive or kind == "EXCLUSIVE_THING"):
            raise Refused(400, "InvalidRequestException", "the principal is exclusively attached to another thing")
        certificate.things.add(name)
        certificate.is_exclusive = kind == "EXCLUSIVE_THING"
        return {}

    def detach(self, name, certificate):
        self.thing(name)
        if name in certificate.things:
            certificate.things.discard(name)
            certificate.detached_at = time.time()
        return {}

    def policy(self, name):
        if name not in self.policies:
            raise Refused(404, "ResourceNotFoundException", f"policy {name}")
        return {"policyName": name, "policyArn": self.arn("policy", name), "defaultVersionId": "1"}

    def list_certificates(self, query):
        size, start = min(int(query.get("pageSize", 25)), self.page_size), int(query.get("marker", 0))
        found = sorted((item for item in self.certificates.values() if item.created < time.time() - self.lists_lag_s), key=lambda item: item.created,
                       reverse=query.get("isAscendingOrder") == "false")
        answer = {"certificates": [{"certificateArn": item.arn, "certificateId": item.id, "status": item.status, "creationDate": item.created}
                                   for item in found[start:start + size]]}
        if start + size < len(found):
            answer["nextMarker"] = str(start + size)
        return answer

    def describe_endpoint(self, query):
        if query.get("endpointType") != "iot:Data-ATS" or not self.endpoint:
            raise Refused(400, "InvalidRequestException", "endpointType")
        return {"endpointAddress": self.endpoint}

    def page(self, items, query, name):
        size, start = min(int(query.get("maxResults", 25)), self.page_size), int(query.get("nextToken", 0))
        answer = {name: items[start:start + size]}
        if start + size < len(items):
            answer["nextToken"] = str(start + size)
        return answer

    # --- Which one it is ---

    def answer(self, method, path, query, headers, body):
        """(operation, function that carries it out)."""
        if method in ("GET", "DELETE") and body:
            raise Refused(400, "InvalidRequestException", "a body where there is none")
        parts = [urllib.parse.unquote(part) for part in path.split("/")[1:]]
        principal = headers.get("x-amzn-principal")
        key = (method, parts[0], len(parts))
        name = parts[1] if len(parts) > 1 else ""
        if parts[0] == "things" and not NAME.fullmatch(name) or parts[0] in ("target-policies", "policies") and not POLICY_NAME.fullmatch(name):
            raise Refused(400, "InvalidRequestException", "name")
        table = {
            ("POST", "certificates", 1): ("CreateCertificateFromCsr", lambda: self.create_certificate(body, query)),
            ("GET", "certificates", 1): ("ListCertificates", lambda: self.list_certificates(query)),
            ("POST", "certificate", 2): ("RegisterCertificateWithoutCA", lambda: self.register_certificate(body)),
            ("GET", "certificates", 2): ("DescribeCertificate", lambda: {"certificateDescription": {
                "certificateArn": self.find(name).arn, "certificateId": name, "status": self.find(name).status,
                "certificatePem": self.find(name).pem, "creationDate": self.find(name).created}}),
            ("PUT", "certificates", 2): ("UpdateCertificate", lambda: self.update_certificate(self.find(name), query)),
            ("DELETE", "certificates", 2): ("DeleteCertificate", lambda: self.delete_certificate(self.find(name), query)),
            ("PUT", "target-policies", 2): ("AttachPolicy", lambda: self.policy(name) and (self.find_by_arn(body.get("target")).policies.add(name) or {})),
            ("POST", "target-policies", 2): ("DetachPolicy", lambda: self.find_by_arn(body.get("target")).policies.discard(name) or {}),
            ("GET", "policies", 2): ("GetPolicy", lambda: self.policy(name)),
            ("POST", "things", 2): ("CreateThing", lambda: self.create_thing(name, body)),
            ("GET", "things", 2): ("DescribeThing", lambda: {"thingName": name, "attributes": self.thing(name), "version": 1}),
            ("PUT", "things", 3): ("AttachThingPrincipal", lambda: self.attach(name, self.find_by_arn(principal), query)),
            ("DELETE", "things", 3): ("DetachThingPrincipal", lambda: self.detach(name, self.find_by_arn(principal))),
            ("GET", "things", 3): ("ListThingPrincipals", lambda: self.thing(name) is not None and self.page(
                [item.arn for item in self.of_thing(name)], query, "principals")),
            ("GET", "principals", 2): ("ListPrincipalThings", lambda: self.page(sorted(self.find_by_arn(principal).things), query, "things")),
            ("GET", "endpoint", 1): ("DescribeEndpoint", lambda: self.describe_endpoint(query)),
            ("GET", "certificate-providers", 2): ("ListCertificateProviders", lambda: {"certificateProviders": [
                {"certificateProviderName": name} for name in self.providers]}),
        }
        if key not in table:
            raise Refused(404, "ResourceNotFoundException", f"{method} {path}")
        return table[key]

    def throttle(self, operation):
        quota, now = self.quotas.get(operation), time.monotonic()
        if quota is None:
            return
        spent = self._spent[operation]
        spent[:] = [at for at in spent if at > now - 1]
        if len(spent) >= quota:
            raise Refused(400, "ThrottlingException", "Rate exceeded")
        spent.append(now)

    def handle(self, method, target, headers, body):
        path, _, query = target.partition("?")
        with self._lock:
            try:
                operation, carry_out = self.answer(method, path, dict(urllib.parse.parse_qsl(query)), headers, json.loads(body or b"{}"))
                self.calls.append(operation)
                self.throttle(operation)
                return 200, {}, carry_out()
            except Refused as refused:
                return refused.status, {"x-amzn-ErrorType": f"{refused.name}:http://internal.amazon.com/coral/"}, {"message": refused.message}

    def __enter__(self):
        iot = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # an answer in one piece

            def log_message(self, *words):
                pass

            def take(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, more, answer = iot.handle(self.command, self.path, self.headers, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = take

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *problem):
        self.server.shutdown()
        self.server.server_close()
