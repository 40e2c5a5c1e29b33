"""HTTP by hand: requests as bytes, answers read strictly. For what http.client would not send."""

import json
import socket
import ssl
import struct
import time

from cvm_server import token


def registration(uid, token_text=None, **more):
    """The body of a registration."""
    message = {"device_uid": uid, "device_token": token(uid) if token_text is None else token_text}
    return json.dumps({**message, **more}).encode()


def post(body, *headers, target="/registration", version="1.1", host="Host: cvm.test",
         length=True, media_type="Content-Type: application/json"):
    """A POST with a Content-Length; a header of None is left out."""
    lines = [f"POST {target} HTTP/{version}", host, media_type,
             f"Content-Length: {len(body)}" if length else None, *headers]
    return "\r\n".join(line for line in lines if line is not None).encode("latin-1") + b"\r\n\r\n" + body


def chunked(body, size=64, extension=b""):
    """The body in the transfer coding chunked."""
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


class Answer:
    def __init__(self, head, body):
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, self.phrase = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        self.status = int(status)
        self.headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in self.headers, f"{name} twice"
            self.headers[name.lower()] = value
        self.head, self.body = head, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error's name, or "" for a success."""
        return self.json["payload"].get("code", "")

    @property
    def closes(self):
        return self.headers["connection"] == "close"


class Wire:
    """A connection. version: of TLS (an ssl.TLSVersion), if the server speaks it."""

    def __init__(self, instance, source=None, version=None, timeout_s=15, port=None, address="127.0.0.1"):
        self.timeout_s = timeout_s
        self.socket = socket.create_connection(
            (address, port or instance.port), timeout_s, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        if instance.server.is_tls and port is None:
            self.socket = instance.tls_context(version).wrap_socket(
                self.socket, server_hostname="127.0.0.1")

    def send(self, data, piece=None, pause_s=0):
        """Sends it, in pieces if said. True if the peer took it all."""
        size = piece or len(data) or 1
        try:
            for i in range(0, len(data), size):
                self.socket.sendall(data[i:i + size])
                if pause_s:
                    time.sleep(pause_s)
        except (ConnectionError, ssl.SSLError):
            return False
        return True

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.data += data
        return bool(data)

    def answer(self, of_head=False):
        """The next answer; None if the connection ends before its first byte."""
        while b"\r\n\r\n" not in self.data:
            if not self._more():
                assert not self.data, f"cut off: {self.data!r}"
                return None
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        length = 0
        if not of_head and not head.startswith(b"HTTP/1.1 1"):
            length = int(Answer(head, b"").headers["content-length"])
        while len(self.data) < length:
            assert self._more(), "cut off in a body"
        body, self.data = self.data[:length], self.data[length:]
        return Answer(head, body)

    def answers(self):
        """All that come until the connection ends."""
        found = []
        while (answer := self.answer()) is not None:
            found.append(answer)
        return found

    def is_closed(self, within_s=5):
        """True if the peer closes without another byte."""
        self.socket.settimeout(within_s)
        try:
            return not self._more()
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(self.timeout_s)

    def finish(self):
        """Half closes: nothing more comes from here."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)  # ssl's would end TLS for reading too

    def reset(self):
        """Closes by a reset."""
        plain = self.socket
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(instance, data, **options):
    """One request on a connection of its own; the answer."""
    with Wire(instance, **options) as wire:
        wire.send(data)
        return wire.answer()
