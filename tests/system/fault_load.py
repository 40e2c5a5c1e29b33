"""Load for the fault tests, and its journal: who asked for what when, and what was acknowledged.

    journal = Journal()
    load = Load(instance, journal, uids, seed=1)
    load.start()
    ...
    load.stop()

A device belongs to one thread at a time, so that its events in the journal stand in the order in which they happened.
"""

import base64
import dataclasses
import hashlib
import http.client
import itertools
import json
import queue
import random
import re
import subprocess
import threading
import time

from cvm_server import environment, program, token

CLIENTS = 4
SETTINGS = {"registration.reissue_after": "0s", "registration.retry_max": "100", "log.level": "warning",
            "reconcile.interval": "1s"}


# --- CSRs, many and fast: successive private keys, so that each costs one addition of points ---------


class CsrMaker:
    """P-256. Its keys follow each other and its nonces too: for tests alone."""

    P = 2**256 - 2**224 + 2**192 + 2**96 - 1
    N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
         0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
    SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
    NAME = bytes.fromhex("300f310d300b06035504030c0474657374")
    ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")

    def __init__(self, seed):
        chance = random.Random(f"keys:{seed}")
        self.key, self.nonce = chance.randrange(2, 2**255), chance.randrange(2, 2**255)
        self.point, self.nonce_point = self._multiple(self.key), self._multiple(self.nonce)

    def _add(self, a, b):
        if a is None or b is None:
            return a or b
        p = self.P
        slope = ((3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, p) if a == b else
                 (b[1] - a[1]) * pow(b[0] - a[0], -1, p)) % p
        x = (slope * slope - a[0] - b[0]) % p
        return x, (slope * (a[0] - x) - a[1]) % p

    def _multiple(self, number):
        result, power = None, self.G
        while number:
            result = self._add(result, power) if number & 1 else result
            power = self._add(power, power)
            number >>= 1
        return result

    @staticmethod
    def _der(tag, content):
        length = len(content)
        head = bytes([length]) if length < 128 else bytes([0x81, length]) if length < 256 else \
            bytes([0x82]) + length.to_bytes(2, "big")
        return bytes([tag]) + head + content

    def _integer(self, number):
        return self._der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    def make(self):
        """PEM of a request with a key of its own."""
        self.key, self.point = self.key + 1, self._add(self.point, self.G)
        self.nonce, self.nonce_point = self.nonce + 1, self._add(self.nonce_point, self.G)
        spki = self.SPKI + b"".join(part.to_bytes(32, "big") for part in self.point)
        body = self._der(0x30, b"\x02\x01\x00" + self.NAME + spki + b"\xa0\x00")
        r = self.nonce_point[0] % self.N
        digest = int.from_bytes(hashlib.sha256(body).digest(), "big")
        s = pow(self.nonce, -1, self.N) * (digest + r * self.key) % self.N
        signature = self._der(0x30, self._integer(r) + self._integer(s))
        der = self._der(0x30, body + self.ALGORITHM + self._der(3, b"\x00" + signature))
        text = base64.b64encode(der).decode()
        lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
        return f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}\n-----END CERTIFICATE REQUEST-----\n"


# --- The journal ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Event:
    uid: str
    verb: str  # register, revoke, disable, enable, reset, remove
    begun_ns: int
    done_ns: int | None = None  # acknowledged; None: nobody knows what came of it
    certificate_id: str | None = None
    pem: str | None = None
    csr: str | None = None


class Journal:
    """What was asked for and what was acknowledged, by uid, in order."""

    def __init__(self):
        self.events = {}
        self.violations = []  # what clients saw that must not be
        self.answers = {}  # (status, code) → how often
        self._lock = threading.Lock()

    def begin(self, uid, verb, csr=None):
        event = Event(uid, verb, time.monotonic_ns(), csr=csr)
        with self._lock:
            self.events.setdefault(uid, []).append(event)
        return event

    def copy(self):
        """For a copy of the folder that goes its own way."""
        return self.until(float("inf"))

    def until(self, acknowledged_ns, begun_ns=None):
        """As it was at a moment of time.monotonic_ns(); for a backup, its begin and its end."""
        other = Journal()
        for uid, events in list(self.events.items()):
            begun = [event for event in list(events) if event.begun_ns < (begun_ns or acknowledged_ns)]
            other.events[uid] = [
                event if event.done_ns is not None and event.done_ns < acknowledged_ns else
                Event(uid, event.verb, event.begun_ns, csr=event.csr) for event in begun]
        other.events = {uid: events for uid, events in other.events.items() if events}
        return other

    def count(self, status, code):
        with self._lock:
            self.answers[status, code] = self.answers.get((status, code), 0) + 1

    def acknowledged(self):
        return sum(event.done_ns is not None for events in self.events.values() for event in events)

    def certificates(self):
        return sum(event.certificate_id is not None for events in self.events.values() for event in events)

    def last(self, uid):
        return self.events[uid][-1]


# --- Clients and operators --------------------------------------------------------------------------


def first_certificate(pem):
    return re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", pem, re.S).group()


class Client:
    """A connection that is kept, by TLS or plain."""

    def __init__(self, instance, journal, timeout_s=30):
        self.instance = instance
        self.journal = journal
        self.connection = instance.connect(timeout_s=timeout_s)

    def register(self, uid, csr=None):
        """Registers and notes what came of it. The event, (status, headers, body); errors of the connection pass
        through."""
        message = {"device_uid": uid, "device_token": token(uid), **({"csr": csr} if csr else {})}
        event = self.journal.begin(uid, "register", csr)
        self.connection.request("POST", "/registration", json.dumps(message),
                                {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        if answer.status == 200:
            event.certificate_id = body["payload"]["certificate_id"]
            event.pem = first_certificate(body["payload"]["certificates"]["device_certificate"])
            event.done_ns = time.monotonic_ns()
        self.journal.count(answer.status, body["payload"].get("code"))
        return event, (answer.status, answer.headers, body)

    def close(self):
        self.connection.close()


class Load:
    """Threads that register devices, ask again, and run the operator's commands, until stop()."""

    def __init__(self, instance, journal, uids, seed, clients=CLIENTS, operators=1, env=None):
        self.instance = instance
        self.journal = journal
        self.chance = random.Random(f"load:{seed}")
        self.fresh = queue.SimpleQueue()
        for uid in uids:
            self.fresh.put(uid)
        self.handed, self.returned = queue.SimpleQueue(), queue.SimpleQueue()
        self.makers = [CsrMaker(f"{seed}:{i}") for i in range(clients)]
        self.clients, self.operators, self.env = clients, operators, env or {}
        self.owned = [[] for _ in range(clients)]  # uids that are registered, or may be
        self.disabled = []
        self.failures = []
        self.threads, self.commands = [], set()

    def start(self):
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._guard, args=(self._client, i)) for i in range(self.clients)]
        self.threads += [threading.Thread(target=self._guard, args=(self._operator, i))
                         for i in range(self.operators)]
        for thread in self.threads:
            thread.start()

    def stop(self, kill_commands=False):
        self.is_over.set()
        if kill_commands:
            for process in list(self.commands):
                process.kill()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def _guard(self, function, number):
        try:
            function(number, random.Random(self.chance.random()))
        except Exception as problem:  # reported by stop()
            self.failures.append(repr(problem))

    # A server that is gone ends a client's loop.
    def _client(self, number, chance):
        try:
            client = Client(self.instance, self.journal)
            while not self.is_over.is_set():
                self._one(client, number, chance)
        except (OSError, http.client.HTTPException):
            pass

    def _one(self, client, number, chance):
        owned = self.owned[number]
        if owned and chance.random() < 0.45:
            self._ask_again(client, chance.choice(owned))
            return
        uid = self._next_uid()
        if uid is None:
            time.sleep(0.005)
            return
        owned.append(uid)  # before: whatever comes of it, it is asked for again
        client.register(uid, self.makers[number].make() if chance.random() < 0.5 else None)
        if self.operators and self.handed.empty() and chance.random() < 0.5:
            uid = owned.pop(chance.randrange(len(owned)))
            self.handed.put(uid)

    def _next_uid(self):
        for source in (self.returned, self.fresh):
            try:
                return source.get_nowait()
            except queue.Empty:
                continue
        return None

    def _ask_again(self, client, uid):
        before = self.journal.last(uid)
        event, (status, _, body) = client.register(uid, before.csr)
        is_known = before.done_ns and before.verb == "register" and before.csr
        if is_known and (status != 200 or event.certificate_id != before.certificate_id):
            if status != 503:
                self.journal.violations.append(f"{uid}: the same CSR got {status} {body}")

    def _operator(self, _number, chance):
        while not self.is_over.is_set():
            if self.disabled and chance.random() < 0.3:
                self._command("enable", self.disabled.pop())
                continue
            try:
                uid = self.handed.get(timeout=0.02)
            except queue.Empty:
                continue
            verb = chance.choice(["revoke", "disable", "reset", "reset", "remove"])
            if self._command(verb, uid) and verb == "reset":
                self.returned.put(uid)
            elif verb == "disable":
                self.disabled.append(uid)

    def _command(self, verb, uid):
        more = ["--force"] if verb == "remove" else []
        event = self.journal.begin(uid, verb)
        with subprocess.Popen([program(), "device", verb, uid, *more, "-c", str(self.instance.conf)],
                              env=environment(**self.env), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE) as process:
            self.commands.add(process)
            process.communicate()
            self.commands.discard(process)
        if process.returncode == 0:
            event.done_ns = time.monotonic_ns()
        self.journal.count(f"device {verb}", process.returncode)
        return process.returncode == 0


def numbered(prefix, count):
    return [f"{prefix}{i:05d}" for i in itertools.islice(itertools.count(), count)]
