"""A registration server that is strict about requests and fails in its answers as it is told to."""

import json
import socket
import ssl
import threading
import time

from device_pki import certificate_id, openssl, public_key_of_csr, request


def reply(status, body, *headers, reason="X"):
    """Bytes of an HTTP answer; a body that is not bytes becomes JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json",
             "Cache-Control: no-store", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status, code, retryable, *headers, http_status=None):
    body = {"statusCode": status, "status": "ERROR", "payload": {
        "message": f"told to say {code}", "code": code, "retryable": retryable,
        "request_id": "r1"}}
    return reply(http_status or status, body, *headers)


def chunked(answer):
    """The same answer in chunks of 7 bytes."""
    head, body = answer.split(b"\r\n\r\n", 1)
    head = b"\r\n".join(line for line in head.split(b"\r\n") if b"Content-Length" not in line)
    parts = [body[i:i + 7] for i in range(0, len(body), 7)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class RegistrationServer:
    """`script` holds one function for each coming request: (server, json) -> bytes, or None to cut
    the connection. When it is used up, requests are served as they should be."""

    def __init__(self, issuer, root, certificate, endpoint="127.0.0.1:1"):
        self.issuer, self.root, self.endpoint = issuer, root, endpoint
        self.script, self.requests, self.times, self.problems = [], [], [], []
        self.issued = {}
        self.server_time = None
        self.arrived = threading.Event()
        self.released = threading.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*map(str, certificate))
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}/registration"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.released.set()
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(20)
        try:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                answer = self._answer(tls)
                if answer is not None:
                    tls.sendall(answer)
                    tls.unwrap()
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, tls):
        message = self._read(tls)
        with self.lock:
            self.requests.append(message)
            self.times.append(time.monotonic())
            step = self.script.pop(0) if self.script else type(self).serve
        self.arrived.set()
        return step(self, message)

    def _read(self, tls):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive(tls)
        head, body = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        self._insist(first == "POST /registration HTTP/1.1", first)
        self._insist(headers.get("content-type") == "application/json", "content type")
        self._insist(headers.get("host") == f"127.0.0.1:{self.port}", "host")
        length = int(headers["content-length"])
        self._insist(length <= 8192, "length")
        while len(body) < length:
            body += self._receive(tls)
        self._insist(len(body) == length, "bytes after the body")
        message = json.loads(body)
        self._insist(set(message) <= {"device_uid", "device_token", "csr"}, "fields")
        return message

    def _receive(self, tls):
        data = tls.recv(65536)
        if not data:
            raise OSError("closed early")
        return data

    def _insist(self, true, what):
        if not true:
            self.problems.append(what)

    def public_keys(self):
        """The distinct keys that certificates were asked for."""
        return {public_key_of_csr(message["csr"].encode()) for message in self.requests}

    def payload(self, message):
        thing = f"thing_{message['device_uid']}"
        if "csr" in message:
            key = public_key_of_csr(message["csr"].encode())
            if key not in self.issued:
                self.issued[key] = self.issuer.issue(message["csr"].encode(), name=thing)
            leaf = self.issued[key]
        pair = None
        if "csr" not in message:
            private = self.server_key()
            path = self.issuer.folder / "server-made.key"
            path.write_bytes(private)
            leaf = self.issuer.issue(request(path, thing))
            self.issued[private] = leaf
            pair = {"publicKey": openssl("pkey", "-pubout", data=private).decode(),
                    "privateKey": private.decode()}
        payload = {
            "endpoint": self.endpoint, "thing_name": thing,
            "certificates": {
                "device_certificate": (leaf + self.issuer.certificate.read_bytes()).decode(),
                "root_ca": self.root.certificate.read_text()},
            "certificate_id": certificate_id(leaf),
            "server_time": self.server_time or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if pair:
            payload["keyPair"] = pair
        return payload

    @staticmethod
    def server_key():
        return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")

    def serve(self, message):
        """As it should be: a second key for a registered device is refused."""
        with self.lock:
            if self.issued and "csr" in message:
                if public_key_of_csr(message["csr"].encode()) not in self.issued:
                    return error(409, "already_registered", False)
            return reply(200, self.success(message))

    def success(self, message, **changes):
        payload = self.payload(message)
        payload.update(changes)
        return {"statusCode": 200, "status": "SUCCESS", "payload": payload}

    def lose(self, message):
        """Registers the device, and then the answer gets lost."""
        self.serve(message)

    def hang(self, message):
        """Registers the device, and answers only when the test is over."""
        self.serve(message)
        self.released.wait(20)
