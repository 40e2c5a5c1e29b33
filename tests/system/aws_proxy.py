"""A proxy before a service of AWS's, or what stands in for one: it looks at each request's signature with botocore, keeps what
was asked, and lets answers come to harm.

    with Proxy(dynamodb.url, "dynamodb") as proxy:
        proxy.plan("TransactWriteItems", "lost", 2)      # the second one from now on
        ... proxy.url ...
        proxy.calls                                      # names, in their order
"""

import collections
import http.client
import http.server
import json
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials

SECRETS = {"test": "test"}  # by access key id
FAULTS = ("lost", "reset", "slow", "html", "half", "empty", "error", "unavailable", "throttled", "expired", "skewed")
ERRORS = {  # status, name
    "error": (500, "InternalServerError"), "throttled": (400, "ThrottlingException"), "expired": (400, "ExpiredTokenException"),
    "skewed": (400, "InvalidSignatureException"), "denied": (400, "AccessDeniedException"), "conflict": (400, "TransactionConflictException"),
    "in_progress": (400, "TransactionInProgressException")}


def signature_fault(service, region, method, path, headers, body):
    """Why the signature is not the one that botocore makes; None if it is."""
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "it is not signed"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    key_id, date, signed_region, signed_service, _ = parts["Credential"].split("/")
    if key_id not in SECRETS or (signed_region, signed_service) != (region, service):
        return f"for {parts['Credential']}"
    names = parts["SignedHeaders"].split(";")
    if "host" not in names or not headers["X-Amz-Date"].startswith(date):
        return "host or date"
    signed = {name: headers[name] for name in names if name not in ("x-amz-date", "x-amz-security-token")}
    request = botocore.awsrequest.AWSRequest(method, f"https://{headers['Host']}{path}", signed, body)
    request.context["timestamp"] = headers["X-Amz-Date"]
    token = headers.get("X-Amz-Security-Token")
    auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key_id, SECRETS[key_id], token), service, region)
    auth._modify_request_before_signing(request)
    wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if wanted == parts["Signature"] else f"{parts['Signature']} where {wanted} is right"


def dynamodb_fault(name, body):
    """What AWS would refuse, and DynamoDB Local takes."""
    request = json.loads(body)
    actions = request.get("TransactItems", [])
    if len(actions) > 100:
        return f"{len(actions)} actions"
    for (kind, action), in map(dict.items, actions):
        if kind == "Update" and not action.get("UpdateExpression"):
            return "an Update without UpdateExpression"
        if kind == "ConditionCheck" and not action.get("ConditionExpression"):
            return "a ConditionCheck without ConditionExpression"
    for action in [request] + [value for action in actions for value in action.values()]:
        if any(len(action.get(expression, "").encode()) > 4096 for expression in ("UpdateExpression", "ConditionExpression")):
            return "an expression above 4 KB"
        if any(not member for member in (action.get("ExpressionAttributeValues", 1), action.get("ExpressionAttributeNames", 1))):
            return "empty names or values"
    return None


class Proxy:
    """Between start and end; calls, faults planned and signatures that were wrong are there for the test."""

    def __init__(self, url, service, region="eu-central-1", name_of=None):
        self.upstream, self.service, self.region = urlsplit(url).netloc, service, region
        self.name_of = name_of or (lambda method, path, headers: headers["X-Amz-Target"].split(".")[1])
        self.calls, self.bodies, self.wrong, self.key_ids = [], [], [], []
        self.connections = 0
        self.kept = set()  # sockets
        self._plans = collections.defaultdict(list)
        self._lock = threading.Lock()
        self.slow_s = 30
        self.date_offset_s = 0  # of what answers say of the time
        self.on_fault = {}  # functions by name: "NAME before" is called before the effect, "NAME after" behind it; there is no answer

    def plan(self, name, fault, nth=1, count=1):
        """What becomes of the nth call of that name from now on, and of those after it."""
        with self._lock:
            done = self.calls.count(name)
            self._plans[name] += [(done + nth + i, fault) for i in range(count)]

    def clear(self):
        with self._lock:
            self._plans.clear()
            self.calls.clear()
            self.bodies.clear()

    def cut(self):
        """Ends all connections that were kept."""
        for kept in list(self.kept):
            try:
                kept.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def take(self, method, path, headers, body):
        """Notes a call: what is to become of it."""
        name = self.name_of(method, path, headers)
        wrong = signature_fault(self.service, self.region, method, path, headers, body)
        if self.service == "dynamodb":
            wrong = wrong or dynamodb_fault(name, body)
        with self._lock:
            self.calls.append(name)
            self.bodies.append((name, body))
            self.key_ids.append(headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0])
            if wrong:
                self.wrong.append((name, wrong))
            number = self.calls.count(name)
            return next((fault for nth, fault in self._plans[name] if nth == number), None)

    def forward(self, method, path, headers, body):
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        connection.request(method, path, body, {name: value for name, value in headers.items() if name.lower() != "connection"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind, *problem):
        self.server.shutdown()
        self.server.server_close()
        assert kind or not self.wrong, self.wrong[:5]


def _handler(proxy):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            super().setup()
            proxy.connections += 1
            proxy.kept.add(self.connection)

        def finish(self):
            super().finish()
            proxy.kept.discard(self.connection)

        def log_message(self, *words):
            pass

        def handle_one(self):
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            fault = proxy.take(self.command, self.path, self.headers, body)
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            if fault and fault.endswith(" before"):
                proxy.on_fault[fault]()
                self.close_connection = True
                return
            if fault == "html":
                self.answer(200, b"<html><body>Sign in to the network</body></html>", "text/html")
                return
            if fault == "unavailable":
                self.answer(503, b"<html>Service Unavailable</html>", "text/html")
                return
            if fault in ERRORS:
                status, name = ERRORS[fault]
                self.answer(status, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{name}", "message": "as planned"}).encode(), error=name)
                return
            status, headers, data = proxy.forward(self.command, self.path, self.headers, body)
            if fault == "slow":
                time.sleep(proxy.slow_s)
            if fault and fault.endswith(" after"):
                proxy.on_fault[fault]()
            if fault == "lost" or fault and fault.endswith(" after"):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif fault == "half":
                self.answer(status, data[:len(data) // 2] or b"{")
            elif fault == "empty":
                self.answer(status, b"")
            else:
                self.answer(status, data, headers.get("Content-Type"), headers.get("Date"), headers.get("x-amzn-ErrorType"))

        def answer(self, status, data, kind="application/x-amz-json-1.0", date=None, error=None):
            self.send_response_only(status)
            if error:
                self.send_header("x-amzn-ErrorType", error)
            self.send_header("Date", self.date_time_string(time.time() + proxy.date_offset_s) if proxy.date_offset_s else date or self.date_time_string())
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

        do_POST = do_GET = do_PUT = do_DELETE = do_PATCH = handle_one

    return Handler
