"""The HTTP transport as a server: slow and rude peers, limits, ends, reloads, and what operators see."""

import contextlib
import http.client
import itertools
import json
import os
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import types

import pytest

from csr_tools import make_csr, openssl
from cvm_server import Failed, Instance, build_folder, environment, is_sanitized, scale, seed, token
from fault_server import preloaded
from raw_http import Wire, ask, chunked, post, registration

SHORT = {"http.handshake_timeout": "1s", "http.request_timeout": "1s", "http.answer_timeout": "1s",
         "http.idle_timeout": "1s", "limit.failures_per_address": "0/min"}
CLOSED_WITHIN_S = 20  # a deadline of 1 s, on a machine that is busy
WITHOUT_DEADLINE_S = 12  # sooner than the shortest of the deadlines that are set by default
COUNTER = itertools.count()


@contextlib.contextmanager
def running(folder, name, tls=True, devices=40, settings=None, **options):
    instance = Instance(folder, name=name)
    instance.import_csv([f"{name}{i}" for i in range(devices)])
    instance.name = name
    (instance.serve if tls else instance.serve_plain)(
        {"limit.failures_per_address": "0/min", **(settings or {})}, **options)
    try:
        yield instance
        if "limits" not in options and instance.server.process:
            assert "no descriptor" not in instance.server.stderr, "it had enough of them"
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture(scope="module")
def plain(module_path):
    with running(module_path, "plain", tls=False, devices=300, settings=SHORT) as instance:
        yield instance


@pytest.fixture(scope="module")
def tls(module_path):
    with running(module_path, "tls", devices=300, settings=SHORT) as instance:
        yield instance


@pytest.fixture(scope="module")
def patient(module_path):
    """What ends here within a test's time was not ended by a deadline."""
    with running(module_path, "patient", tls=False, devices=300) as instance:
        yield instance


@pytest.fixture(scope="module")
def patient_tls(module_path):
    with running(module_path, "patient_tls", devices=300) as instance:
        yield instance


def fresh(instance):
    return f"{instance.name}{next(COUNTER)}"


def eventually(true, what, within_s=CLOSED_WITHIN_S):
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def has_no_connections(instance):
    return instance.metrics().get('cvm_connections{transport="http"}', 0) == 0


def is_registered(instance, uid):
    return instance.show(uid)["is_registered"]


@contextlib.contextmanager
def locked(instance):
    """Registrations wait while this lasts: the store can't be written."""
    database = sqlite3.connect(instance.folder / "devices.db", isolation_level=None, timeout=10)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


# --- Slow peers ---


class Dripping:
    """Connections from addresses of their own that send a byte of data now and then, until closed."""

    def __init__(self, port, count, data):
        self.data, self.open = data, {}
        self.lasted_s, self.since = [], {}
        self.selector = selectors.DefaultSelector()
        for i in range(count):
            wire = socket.socket()
            wire.bind((f"127.{10 + i // 250}.{1 + i % 250}.{1 + i % 200}", 0))
            wire.connect(("127.0.0.1", port))
            wire.setblocking(False)
            self.open[wire], self.since[wire] = 0, time.monotonic()
            self.selector.register(wire, selectors.EVENT_READ)

    def drip(self):
        """A byte on each; takes note of those that were closed."""
        for wire in list(self.open):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                wire.send(self.data[self.open[wire]:self.open[wire] + 1])
            self.open[wire] = min(self.open[wire] + 1, len(self.data) - 1)
        for key, _ in self.selector.select(0.2):
            try:
                is_over = not key.fileobj.recv(65536)
            except ConnectionError:
                is_over = True
            if is_over:
                self.selector.unregister(key.fileobj)
                del self.open[key.fileobj]
                self.lasted_s.append(time.monotonic() - self.since[key.fileobj])
                key.fileobj.close()
        time.sleep(0.05)

    def close(self):
        for wire in self.open:
            wire.close()
        self.selector.close()


def client_hello():
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wire = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.do_handshake()
    return outgoing.read()


SLOW = {
    "in the handshake": ("tls", client_hello()),
    "in a header": ("plain", b"POST /registration HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 500),
    "in the body": ("plain", b"POST /registration HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n" + b" " * 8000),
    "in chunks": ("plain", b"POST /registration HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                  b"1\r\n \r\n" * 900),
    "saying nothing": ("plain", b""),
    "saying nothing to TLS": ("tls", b""),
    "sending empty lines": ("plain", b"\r\n" * 2000),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_peers_are_closed_and_others_served(plain, tls, name):
    kind, data = SLOW[name]
    instance = {"plain": plain, "tls": tls}[kind]
    slow = Dripping(instance.port, 100 * scale(), data)
    try:
        end = time.monotonic() + CLOSED_WITHIN_S
        served = 0
        while slow.open:
            assert time.monotonic() < end, f"{len(slow.open)} still open"
            slow.drip()
            if served < 5:
                assert instance.register(fresh(instance))[0] == 200
                served += 1
        assert served and min(slow.lasted_s) > 0.8  # by the deadline, not at once
    finally:
        slow.close()
    eventually(lambda: has_no_connections(instance), "connections that were not forgotten")


def test_slow_request_is_told_so(plain):
    with Wire(plain) as wire:
        wire.send(post(registration("a"))[:-5])
        answer = wire.answer()
        assert (answer.status, answer.code) == (408, "request_timeout") and answer.closes
        wire.send(post(registration("a"))[-5:])
        assert wire.is_closed()


def test_slow_reader_is_closed(plain):
    """It asks for megabytes and reads nothing."""
    ask_for_much = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 2000
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", plain.ops_port))
        wire.settimeout(CLOSED_WITHIN_S)
        with contextlib.suppress(ConnectionError):
            wire.sendall(ask_for_much)
        time.sleep(2)
        eventually(lambda: plain.metrics()['cvm_connections{transport="ops"}'] == 1, "not closed")


def test_deep_pipeline_does_not_keep_others_waiting(plain):
    with Wire(plain, port=plain.ops_port) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 3000)
        assert plain.ops("/livez")[0] == 200
        assert all(wire.answer().status == 200 for _ in range(3000))


# --- Rude peers ---


def reset_at(instance, phase):
    """Connects, goes as far as phase, resets."""
    if phase.startswith("handshake"):
        with socket.create_connection(("127.0.0.1", instance.port), 10) as wire:
            if phase != "handshake: nothing":
                wire.sendall(client_hello()[:50 if phase == "handshake: half a hello" else None])
            if phase == "handshake: after the server's hello":
                wire.recv(100)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    data = post(registration("nobody"))
    wire = Wire(instance)
    steps = {"nothing": b"", "head": data[:40], "body": data[:-5], "wait": data, "answer": data * 40}
    wire.send(steps[phase])
    if phase == "answer":
        wire.socket.recv(10)
    wire.reset()


HANDSHAKE_PHASES = ["handshake: nothing", "handshake: half a hello", "handshake: a whole hello",
                    "handshake: after the server's hello"]


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_resets_in_every_phase(patient, patient_tls, kind):
    instance = {"plain": patient, "tls": patient_tls}[kind]
    phases = ["nothing", "head", "body", "wait", "answer"] + (HANDSHAKE_PHASES if kind == "tls" else [])
    random_source = random.Random(seed())
    for phase in phases * (10 * scale()):
        reset_at(instance, phase)
        if random_source.random() < 0.05:
            assert instance.register(fresh(instance))[0] == 200
    assert instance.register(fresh(instance))[0] == 200
    eventually(lambda: has_no_connections(instance), "connections that were not forgotten", WITHOUT_DEADLINE_S)
    eventually(lambda: instance.metrics()["cvm_queue_depth"] == 0, "requests that were not finished")


# A program that embeds the library: its own loop, its own signals, SIGPIPE as it was born with.
HOST_PROGRAM = """
import signal
from ctypes import *
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
lib, callback = CDLL(LIBRARY), CFUNCTYPE(None, c_void_p, c_void_p)
lib.cvm_conf_new.restype, lib.cvm_listener.restype = c_void_p, c_char_p
conf, cvm = c_void_p(lib.cvm_conf_new()), c_void_p()
lib.cvm_conf_load(conf, CONFIGURATION)
for name, value in SETTINGS:
    lib.cvm_conf_set(conf, name.encode(), value.encode())
lib.cvm_new(conf, byref(cvm))
started = callback(lambda _, error: (lib.cvm_listen(cvm), print(lib.cvm_listener(cvm, 0).decode(), flush=True)))
lib.cvm_start(cvm, started, None)
lib.cvm_run(cvm)
"""


@contextlib.contextmanager
def host_program(instance, tls):
    settings = [("http.listen", "127.0.0.1:0"), ("ops.listen", "off"), *SHORT.items()]
    if not tls:
        settings += [("http.tls_certificate", ""), ("http.tls_private_key", "")]
    library = str(build_folder().resolve() / "libcvm.so")
    code = (f"LIBRARY, CONFIGURATION, SETTINGS = {library!r}, {str(instance.conf).encode()!r}, {settings!r}\n"
            + HOST_PROGRAM)
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment())
    try:
        port = int(host.stdout.readline().decode().rpartition(":")[2])
        instance.server = types.SimpleNamespace(port=port, is_tls=tls)
        yield host
    finally:
        instance.server = None
        host.kill()
        host.wait()
        host.stdout.close()


@pytest.mark.skipif(is_sanitized(), reason="Python can't load a library with sanitizers")
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_resets_do_not_end_a_program_with_the_default_sigpipe(tmp_path, kind):
    instance = Instance(tmp_path)
    instance.add("DEVICE")
    phases = ["nothing", "head", "body", "wait", "answer"] + (HANDSHAKE_PHASES if kind == "tls" else [])
    with host_program(instance, kind == "tls") as host:
        for phase in phases * (10 * scale()):
            reset_at(instance, phase)
        assert instance.register("DEVICE")[0] == 200
        assert host.poll() is None


def test_reset_while_it_waits_for_the_answer(plain):
    """The registration runs on without its connection."""
    uids = [fresh(plain) for _ in range(10)]
    with locked(plain):
        for uid in uids:
            wire = Wire(plain)
            wire.send(post(registration(uid)))
            eventually(lambda: plain.metrics()["cvm_queue_depth"] >= 1, "it did not arrive")
            wire.reset()
    eventually(lambda: plain.metrics()["cvm_queue_depth"] == 0, "requests that were not finished")
    assert all(is_registered(plain, uid) for uid in uids)


def test_half_closed_peers(patient):
    for data, statuses in [(b"", []), (post(registration("nobody"))[:30], []),
                           (post(registration("nobody"))[:-5], []), (post(registration("nobody")), [403]),
                           (post(registration("nobody")) * 2, [403, 403])]:
        with Wire(patient, timeout_s=WITHOUT_DEADLINE_S) as wire:
            wire.send(data)
            wire.finish()
            assert [answer.status for answer in wire.answers()] == statuses
    eventually(lambda: has_no_connections(patient), "connections that were not forgotten", WITHOUT_DEADLINE_S)


def test_tls_rubbish(patient_tls):
    """Cut, changed and misplaced records: closed, and nothing worse."""
    random_source = random.Random(seed())
    hello = client_hello()
    for _ in range(100 * scale()):
        data = bytearray(hello)
        for _ in range(random_source.randint(1, 8)):
            data[random_source.randrange(len(data))] = random_source.randrange(256)
        with socket.create_connection(("127.0.0.1", patient_tls.port), WITHOUT_DEADLINE_S) as wire:
            wire.sendall(bytes(data[:random_source.randint(1, len(data))]))
            with contextlib.suppress(OSError):  # it may have been reset by now
                wire.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while wire.recv(65536):
                    pass
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28" * 100, b"\x17\x03\x03\x00\x00" * 1000,
                  b"\x80\x2e\x01\x00\x02" + b"\0" * 43, b"\0" * 5000):
        with socket.create_connection(("127.0.0.1", patient_tls.port), WITHOUT_DEADLINE_S) as wire:
            with contextlib.suppress(ConnectionError):
                wire.sendall(first)
                while wire.recv(65536):
                    pass
    assert patient_tls.register(fresh(patient_tls))[0] == 200


def test_rubbish_after_the_handshake(patient_tls):
    """Bytes under TLS that are no records."""
    for _ in range(5):
        wire = Wire(patient_tls)
        socket.socket.sendall(wire.socket, b"POST /registration HTTP/1.1\r\n")
        assert wire.is_closed()
        wire.close()
    assert patient_tls.register(fresh(patient_tls))[0] == 200


# --- Handshakes that fail ---


def shake_hands(instance, context, name="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", instance.port), 10) as wire:
        with pytest.raises(OSError), context.wrap_socket(wire, server_hostname=name) as tls_wire:
            tls_wire.recv(1)


def with_ciphers(instance):
    context = instance.tls_context(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the server has no RSA key
    return context


@pytest.mark.parametrize("version, ciphers", [
    ("-tls1_2", ("-cipher", "ECDHE-ECDSA-AES128-CCM")), ("-tls1_3", ("-ciphersuites", "TLS_AES_128_CCM_SHA256")),
    ("-tls1_2", ("-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")), ("-tls1_3", ("-ciphersuites", "TLS_AES_128_GCM_SHA256"))])
def test_ciphers_that_a_constrained_device_offers_alone(tls, version, ciphers):
    done = openssl("s_client", "-connect", f"127.0.0.1:{tls.port}", "-CAfile", tls.root_ca, "-verify_return_error",
                   version, *ciphers, "-ign_eof",
                   data=b"GET /registration HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert f"Cipher is {ciphers[1]}".encode() in done and b"HTTP/1.1 405" in done


def test_weak_ciphers_are_not_offered(tls):
    for ciphers in ("ECDHE-ECDSA-AES128-CCM8", "NULL", "AES128-SHA", "ECDHE-ECDSA-DES-CBC3-SHA"):
        done = openssl("s_client", "-connect", f"127.0.0.1:{tls.port}", "-tls1_2", "-cipher", f"{ciphers}@SECLEVEL=0",
                       check=False)
        assert done.returncode != 0, done


def old_context(instance):
    context = instance.tls_context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def in_a_hundred_years(instance):
    openssl("s_client", "-connect", f"127.0.0.1:{instance.port}", "-CAfile", instance.root_ca,
            "-verify_return_error", "-attime", str(int(time.time()) + 100 * 31536000), check=False)


def say(instance, data, reset=False, wait=False):
    """Bytes on a connection of their own, and its end."""
    with socket.create_connection(("127.0.0.1", instance.port), CLOSED_WITHIN_S) as wire:
        with contextlib.suppress(OSError):
            wire.sendall(data)
            if reset:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if not wait:
                wire.shutdown(socket.SHUT_WR)
            while wire.recv(65536):
                pass


FAILING = {
    "unknown_ca": [lambda at: shake_hands(at, ssl.create_default_context())],
    "bad_certificate": [lambda at: shake_hands(at, at.tls_context(), "another.name")],
    "certificate_expired": [in_a_hundred_years],
    "no_shared_cipher": [lambda at: shake_hands(at, with_ciphers(at))],
    "protocol_version": [lambda at: shake_hands(at, old_context(at))],
    "not_tls": [lambda at: say(at, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), lambda at: say(at, b"SSH-2.0-OpenSSH_9.2\r\n")],
    "timeout": [lambda at: say(at, client_hello()[:50], wait=True), lambda at: say(at, b"", wait=True)],
    "reset": [lambda at: say(at, client_hello()[:50]), lambda at: say(at, client_hello(), reset=True)],
    "other": [lambda at: say(at, client_hello()[:60] + b"\xff" * 600)],
}


def failed_handshakes(instance):
    found = {name: int(value) for name, value in instance.metrics().items() if "handshake_failures" in name}
    return {re.search('reason="(.*)"', name)[1]: value for name, value in found.items()}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("reason", FAILING)
def test_failed_handshakes_leave_a_trace(tls, reason):
    before, lines = failed_handshakes(tls), tls.server.stderr.count("TLS handshake failed")
    for fail in FAILING[reason]:
        fail(tls)
    expected = {**before, reason: before.get(reason, 0) + len(FAILING[reason])}
    eventually(lambda: failed_handshakes(tls) == expected, f"{failed_handshakes(tls)} instead of {expected}")
    found = [line for line in log_lines(tls.server.stderr, "text") if line["event"] == "TLS handshake failed"][lines:]
    assert [(line["level"], line["peer"], line["reason"]) for line in found] == \
        [("info", "127.0.0.1", reason)] * len(FAILING[reason])


def test_who_only_looks_whether_the_port_is_open_leaves_none(tls):
    before = failed_handshakes(tls)
    for reset in (False, True):
        say(tls, b"", reset=reset)
    eventually(lambda: has_no_connections(tls), "connections that were not forgotten")
    assert tls.register(fresh(tls))[0] == 200 and failed_handshakes(tls) == before


def test_plain_http_is_told_that_the_port_speaks_tls(tls):
    request = post(registration("nobody"))
    with socket.create_connection(("127.0.0.1", tls.port), 10) as wire:
        wire.sendall(request)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        payload = json.loads(answer.read())["payload"]
        assert answer.status == 400 and answer.headers["Connection"] == "close"
        assert payload["code"] == "invalid_request" and payload["message"] == "this port speaks TLS"
        assert wire.recv(1) == b""
    line = next(line for line in tls.server.stderr.splitlines() if payload["request_id"] in line)
    assert "TLS handshake failed" in line and "reason=not_tls" in line
    eventually(lambda: has_no_connections(tls), "connections that were not forgotten")


def test_failed_handshakes_do_not_fill_the_log(tmp_path):
    with running(tmp_path, "hello", devices=1, settings={"log.refusals_per_address": "5/min"}) as instance:
        for _ in range(50):
            say(instance, b"rubbish\r\n")
        eventually(lambda: failed_handshakes(instance) == {"not_tls": 50}, "not all of them were counted")
        assert instance.server.stderr.count("TLS handshake failed") < 20
        instance.stop()
        lines = log_lines((instance.folder / "serve-0.err").read_text(), "text")
        in_full = sum(line["event"] == "TLS handshake failed" for line in lines)
        assert in_full + summed(lines, "TLS handshake: not_tls") == 50


# --- Limits ---


def is_open(wire):
    """True if the server answers on it."""
    wire.send(post(registration("nobody")))
    try:
        return wire.answer() is not None
    except (AssertionError, ConnectionError):
        return False


def test_connections_per_address(tmp_path):
    settings = {"limit.connections_per_address": "5", "http.trusted_proxies": "127.0.0.9"}
    with running(tmp_path, "caps", tls=False, devices=1, settings=settings) as instance:
        wires = [Wire(instance, source="127.0.0.2") for _ in range(5)]
        assert all(is_open(wire) for wire in wires)
        assert not is_open(Wire(instance, source="127.0.0.2"))
        assert is_open(Wire(instance, source="127.0.0.3"))
        proxies = [Wire(instance, source="127.0.0.9") for _ in range(12)]
        assert all(is_open(wire) for wire in proxies)
        wires.pop().close()
        eventually(lambda: is_open(Wire(instance, source="127.0.0.2")), "the place was not given back")


BEHIND = {"http.proxy_protocol": "on", "http.trusted_proxies": "127.0.0.1, 10.0.0.0/8"}


def told(instance, address):
    """A connection through a proxy that tells this address; None: none."""
    wire = Wire(instance)
    family = "TCP6" if address and ":" in address else "TCP4"
    other = "::1" if family == "TCP6" else "127.0.0.1"
    wire.send(f"PROXY {family} {address} {other} 1 2\r\n".encode() if address else b"PROXY UNKNOWN\r\n")
    return wire


def test_connections_per_address_that_a_proxy_tells(tmp_path):
    settings = {"limit.connections_per_address": "5", **BEHIND}
    with running(tmp_path, "caps", tls=False, devices=1, settings=settings) as instance:
        wires = [told(instance, "192.0.2.1") for _ in range(5)]
        assert all(is_open(wire) for wire in wires)
        assert not is_open(told(instance, "192.0.2.1"))
        assert is_open(told(instance, "192.0.2.2"))
        # Those of another proxy, and those that it tells nothing of, are many devices'.
        others = [told(instance, address) for address in ["10.1.2.3", None] * 8]
        assert all(is_open(wire) for wire in others)
        of_one_network = [told(instance, f"2001:db8::{i}") for i in range(1, 6)]
        assert all(is_open(wire) for wire in of_one_network)
        assert not is_open(told(instance, "2001:db8::ffff")) and is_open(told(instance, "2001:db8:0:1::1"))
        wires.pop().close()
        eventually(lambda: is_open(told(instance, "192.0.2.1")), "the place was not given back")
        assert instance.metrics()['cvm_connections{transport="http"}'] < 40


def forwarded(uid, address):
    return post(registration(uid), f"X-Forwarded-For: {address}")


def is_in_flight(instance, count):
    return instance.metrics()["cvm_queue_depth"] == count


def test_requests_in_flight_per_forwarded_address(tmp_path):
    """A proxy's kept connections carry many devices' requests, so it is those that count."""
    settings = {"limit.connections_per_address": "3", "http.trusted_proxies": "127.0.0.1"}
    with running(tmp_path, "flight", tls=False, devices=10, settings=settings) as instance:
        wires = [Wire(instance) for _ in range(8)]
        with locked(instance):
            for i in range(3):
                wires[i].send(forwarded(f"flight{i}", "192.0.2.1"))
            eventually(lambda: is_in_flight(instance, 3), "they did not arrive")
            for _ in range(2):  # the connection is the proxy's: it is kept
                wires[3].send(forwarded("flight3", "192.0.2.1"))
                answer = wires[3].answer()
                assert (answer.status, answer.code) == (503, "overloaded") and not answer.closes
                assert int(answer.headers["retry-after"]) >= 1
            for i in range(4, 7):
                wires[i].send(forwarded(f"flight{i}", "192.0.2.2"))
            wires[7].send(post(registration("flight7")))  # the proxy's own
            eventually(lambda: is_in_flight(instance, 7), "others were refused")
        assert [wires[i].answer().status for i in (0, 1, 2, 4, 5, 6, 7)] == [200] * 7
        wires[3].send(forwarded("flight3", "192.0.2.1"))
        assert wires[3].answer().status == 200
        refused = 'cvm_registrations_total{result="error",reason="overloaded",transport="http"}'
        assert instance.metrics()[refused] == 2


def stall(instance, source=None, prefix=b"", data=None):
    """A TLS handshake that does not go on."""
    wire = socket.create_connection(("127.0.0.1", instance.port), 30, (source, 0) if source else None)
    with contextlib.suppress(ConnectionError):
        wire.sendall(prefix + (client_hello() if data is None else data))
    return wire


def is_closed_by_peer(wire):
    """True if it is; what came is thrown away."""
    wire.setblocking(False)
    try:
        while wire.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@contextlib.contextmanager
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 8192), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_stalled_handshakes_leave_room_for_devices(tmp_path, workers):
    """The oldest of whoever has most go, and no device's."""
    count, addresses = 2000, 40
    settings = {"http.handshake_timeout": "10min", "workers": workers}
    with many_descriptors(), running(tmp_path, "stalled", devices=50, settings=settings) as instance:
        hello, registered, stalled = client_hello(), [], []
        devices = threading.Thread(
            target=lambda: registered.extend(instance.register(f"stalled{i}")[0] for i in range(50)))
        try:
            for i in range(count):
                stalled.append(stall(instance, f"127.0.0.{i % addresses + 10}", data=hello))
                if i == count // 2:
                    devices.start()
            devices.join()
            assert registered == [200] * 50

            def open_ones():
                return sum(not is_closed_by_peer(wire) for wire in stalled)
            eventually(lambda: open_ones() <= 1024, "more handshakes are under way than may be")
            eventually(lambda: sum(failed_handshakes(instance).values()) + open_ones() == count, "not all were counted")
            assert set(failed_handshakes(instance)) <= {"evicted", "timeout"}
            assert failed_handshakes(instance)["evicted"] > 0
        finally:
            for wire in stalled:
                wire.close()
        eventually(lambda: has_no_connections(instance), "connections that were not forgotten")


def test_handshakes_per_address(tmp_path):
    settings = {"limit.handshakes_per_address": "3", "http.handshake_timeout": "10min"}
    with running(tmp_path, "shake", devices=1, settings=settings) as instance:
        other = stall(instance, "127.0.0.3")
        wires = [stall(instance, "127.0.0.2") for _ in range(5)]
        eventually(lambda: [is_closed_by_peer(wire) for wire in wires] == [True] * 2 + [False] * 3,
                   "it is not the oldest that are closed")
        assert not is_closed_by_peer(other) and failed_handshakes(instance) == {"evicted": 2}
        with Wire(instance, source="127.0.0.2") as done:  # whose handshake is done has no place any more
            assert is_open(done)
            eventually(lambda: is_closed_by_peer(wires[2]), "there was no place for it")
            wires += [stall(instance, "127.0.0.2") for _ in range(3)]
            eventually(lambda: is_closed_by_peer(wires[4]), "there was no place for it")
            assert is_open(done)
        for wire in [other, *wires]:
            wire.close()


def test_who_is_told_that_the_port_speaks_tls_has_no_place_any_more(tmp_path):
    settings = {"limit.handshakes_per_address": "1", "http.handshake_timeout": "10min"}
    with running(tmp_path, "shake", devices=1, settings=settings) as instance:
        told = stall(instance, data=post(registration("nobody")))
        assert told.recv(65536).startswith(b"HTTP/1.1 400 ")
        wire = stall(instance)
        with Wire(instance, source="127.0.0.2") as done:  # what came before it was seen by now
            assert is_open(done)
        assert failed_handshakes(instance) == {"not_tls": 1}
        for other in (told, wire):
            other.close()


def test_handshakes_per_address_that_a_proxy_tells(tmp_path):
    settings = {"limit.handshakes_per_address": "3", "http.handshake_timeout": "10min", **BEHIND}
    with running(tmp_path, "shake", devices=1, settings=settings) as instance:
        def behind(address):
            header = f"PROXY TCP4 {address} 127.0.0.1 1 2\r\n" if address else "PROXY UNKNOWN\r\n"
            return stall(instance, prefix=header.encode())
        others = [behind(address) for address in ["192.0.2.2"] + [None] * 8]
        wires = [behind("192.0.2.1") for _ in range(5)]
        eventually(lambda: sum(map(is_closed_by_peer, wires)) == 2, "they do not count for the address")
        assert not any(map(is_closed_by_peer, others))
        for wire in wires + others:
            wire.close()


def test_handshakes_have_less_time_while_there_are_many(tmp_path):
    """Also those that were under way before there were many."""
    settings = {"limit.handshakes": "10", "http.handshake_timeout": "10min"}
    with running(tmp_path, "hurry", devices=1, settings=settings) as instance:
        wires = [stall(instance, f"127.0.0.{i + 2}") for i in range(4)]
        time.sleep(7)
        assert not any(map(is_closed_by_peer, wires))
        wires.append(stall(instance, "127.0.0.9"))
        eventually(lambda: any(map(is_closed_by_peer, wires)), "all have the time that few have")
        assert not is_closed_by_peer(wires[4]) and set(failed_handshakes(instance)) == {"timeout"}
        for wire in wires:
            wire.close()


def test_large_hellos_are_refused_by_what_they_announce(tls):
    """OpenSSL would set the memory aside before the rest comes."""
    before = failed_handshakes(tls).get("other", 0)
    for size in (16385, 131396):
        wire = stall(tls, data=b"\x16\x03\x01\x00\x04\x01" + struct.pack(">I", size)[1:])
        eventually(lambda wire=wire: is_closed_by_peer(wire), "it waits for the rest")
        wire.close()
    assert failed_handshakes(tls)["other"] == before + 2
    assert "excessive message size" in tls.server.stderr


def test_connections_in_total(tmp_path):
    with running(tmp_path, "caps", tls=False, devices=1, settings={"limit.connections": "10"}) as instance:
        wires = [Wire(instance, source=f"127.0.1.{i + 1}") for i in range(10)]
        assert all(is_open(wire) for wire in wires)
        assert not is_open(Wire(instance, source="127.0.2.1"))
        assert instance.ops("/livez")[0] == 200  # it has places of its own
        for wire in wires:
            wire.close()
        eventually(lambda: is_open(Wire(instance)), "the places were not given back")


def test_out_of_descriptors_and_back(tmp_path):
    limits = {resource.RLIMIT_NOFILE: (80, 80)}
    settings = {"registration.reissue_after": "1s"}
    with running(tmp_path, "few", tls=False, devices=2, limits=limits, settings=settings) as instance:
        first = instance.register("few0")[2]["payload"]["certificate_id"]
        early = Wire(instance)
        assert is_open(early)
        wires = [socket.create_connection(("127.0.0.1", instance.port), 10) for _ in range(120)]
        instance.server.wait_for_log("no descriptor")
        time.sleep(1)
        assert instance.server.stderr.count("no descriptor") <= 3  # no flood
        early.send(post(registration("few0")))
        answer = early.answer()  # who is connected is served
        assert answer.status == 200 and answer.json["payload"]["certificate_id"] != first
        for wire in wires:
            wire.close()
        eventually(lambda: is_open(Wire(instance)), "it did not recover")
        assert instance.register("few1")[0] == 200
        serial = next(row["serial"] for row in instance.show("few0")["certificates"]
                      if row["certificate_id"] == first)
        eventually(lambda: serial.upper() in openssl("crl", "-noout", "-text", "-in", instance.folder / "ca/crl.pem")
                   .decode(), "the old certificate was not revoked")


def test_three_workers(tmp_path):
    with running(tmp_path, "work", devices=60, settings={"workers": "3"}) as instance:
        answers, lock = [], threading.Lock()

        def register(uids):
            for uid in uids:
                status, _, body = instance.register(uid)
                with lock:
                    answers.append((status, body["payload"].get("thing_name")))
        uids = [f"work{i}" for i in range(60)]
        threads = [threading.Thread(target=register, args=(uids[i::12],)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == sorted((200, f"thing_{uid}") for uid in uids)
        others = [Wire(instance) for _ in range(30)]
        assert all(is_open(wire) for wire in others)
        assert instance.metrics()['cvm_connections{transport="http"}'] == 30


# --- The end ---


def read_all(wire):
    """The answers until the end, which must be a clean one: none is cut off."""
    with wire:  # the server lingers until both sides are closed
        return [answer.status for answer in wire.answers()]


@pytest.mark.parametrize("kind", ["waiting connections", "TLS", "new connections", "many new connections",
                                  "three workers"])
def test_what_was_sent_before_the_end_is_answered(tmp_path, kind):
    count = 400 if kind == "many new connections" else 20
    settings = {"workers": "3" if kind == "three workers" else "1", "limit.connections_per_address": "1000"}
    with running(tmp_path, "end", tls=kind == "TLS", devices=count, settings=settings) as instance:
        if "new" in kind:
            os.kill(instance.server.pid, signal.SIGSTOP)  # they wait in the listener's queue
        wires = [Wire(instance) for _ in range(count)]
        for i, wire in enumerate(wires):
            wire.send(post(registration(f"end{i}")))
        instance.server.send_signal(signal.SIGTERM)
        if "new" in kind:
            os.kill(instance.server.pid, signal.SIGCONT)
        assert [read_all(wire) for wire in wires] == [[200]] * count
        instance.server.wait()


def test_requests_under_way_are_finished(tmp_path):
    with running(tmp_path, "end", tls=False, devices=2) as instance:
        wire, idle = Wire(instance), Wire(instance)
        with locked(instance):
            wire.send(post(registration("end0")))
            eventually(lambda: instance.metrics()["cvm_queue_depth"] == 1, "it did not arrive")
            instance.server.send_signal(signal.SIGTERM)
            assert idle.is_closed()
            with pytest.raises(ConnectionRefusedError):
                Wire(instance, timeout_s=5)  # nobody new is taken, nor kept waiting
            assert instance.server.is_running()
        answer = wire.answer()
        assert answer.status == 200 and answer.closes and wire.is_closed()
        wire.close()
        instance.server.wait()
        assert is_registered(instance, "end0")


def test_half_a_request_may_be_finished(tmp_path):
    with running(tmp_path, "end", tls=False, devices=1) as instance:
        with Wire(instance) as wire:
            data = post(registration("end0"))
            wire.send(data[:-5])
            eventually(lambda: not has_no_connections(instance), "it did not arrive")
            time.sleep(0.2)
            instance.server.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            wire.send(data[-5:])
            answer = wire.answer()
            assert answer.status == 200 and answer.closes
        instance.server.wait()


def test_slow_peers_do_not_keep_it_from_ending(tmp_path):
    with running(tmp_path, "end", tls=False, devices=1, settings=SHORT) as instance:
        wires = [Wire(instance) for _ in range(5)]
        for wire in wires:
            wire.send(post(registration("end0"))[:-5])
        time.sleep(0.2)
        instance.server.stop(signal.SIGINT, timeout_s=CLOSED_WITHIN_S)
        assert [read_all(wire) for wire in wires] == [[408]] * 5


def test_idle_peers_behind_a_proxy_do_not_keep_it_from_ending(tmp_path):
    """They said who they are, and nothing more, when the end came."""
    settings = {"http.proxy_protocol": "on", "http.trusted_proxies": "127.0.0.1", "http.idle_timeout": "5min"}
    with running(tmp_path, "end", tls=False, devices=1, settings=settings) as instance:
        os.kill(instance.server.pid, signal.SIGSTOP)
        wires = [Wire(instance) for _ in range(400)]
        for wire in wires:
            wire.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        instance.server.send_signal(signal.SIGTERM)
        os.kill(instance.server.pid, signal.SIGCONT)
        instance.server.wait()
        assert all(wire.is_closed() for wire in wires)


def test_end_under_load_loses_nothing(tmp_path):
    """Whoever got an answer got a whole one; whoever was answered 200 is registered."""
    per_client, clients = 40, 8
    with running(tmp_path, "load", devices=per_client * clients, settings={"workers": "2"}) as instance:
        answered, cut, lock = set(), [], threading.Lock()
        context = instance.tls_context()

        def register(number):
            for i in range(per_client):
                uid = f"load{number * per_client + i}"
                try:
                    status, _, body = instance.register(uid, context=context, timeout_s=10)
                except (ConnectionError, ssl.SSLError):
                    return  # closed before it was read, or nobody listens
                except Exception as problem:  # pylint: disable=broad-except
                    with lock:
                        cut.append(f"{type(problem).__name__}: {problem}")
                    return
                with lock:
                    if status == 200:
                        answered.add(uid)
                    elif body["payload"]["code"] != "overloaded":
                        cut.append(body)
        threads = [threading.Thread(target=register, args=(i,)) for i in range(clients)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) > 20, "no load")
        instance.stop()
        for thread in threads:
            thread.join()
        problems = [text for text in cut if "RemoteDisconnected" not in text]
        assert not problems
        lines = instance.cvm("device", "list", "--json").stdout.splitlines()
        recorded = {row["device_uid"] for row in map(json.loads, lines) if row["is_registered"]}
        assert answered <= recorded
        # What was recorded and not answered would be a lost answer: none, since the end was clean.
        assert recorded == answered


def test_second_signal_ends_at_once(tmp_path):
    with running(tmp_path, "end", tls=False, devices=1) as instance:
        wire = Wire(instance)
        wire.send(b"POST /registration HTTP/1.1\r\n")
        time.sleep(0.2)
        instance.server.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert instance.server.is_running()
        instance.server.send_signal(signal.SIGTERM)
        assert instance.server.process.wait(10) == -signal.SIGTERM
        instance.server.process = None


# --- Reloading ---


def served_serial(instance):
    with socket.create_connection(("127.0.0.1", instance.port), 10) as wire:
        with instance.tls_context().wrap_socket(wire, server_hostname="127.0.0.1") as tls_wire:
            der = tls_wire.getpeercert(binary_form=True)
    return openssl("x509", "-inform", "DER", "-noout", "-serial", data=der).decode()


def replace_certificate(instance, folder):
    instance.cvm("ca", "server", "localhost", "127.0.0.1", "--out", folder)
    for name in ("server.pem", "server.key"):
        shutil.copy(next(folder.glob(f"*{name[-4:]}")), instance.folder / "tls" / name)


def test_new_certificate_is_served(tmp_path):
    with running(tmp_path, "reload", devices=2) as instance:
        before = served_serial(instance)
        with Wire(instance) as wire:
            replace_certificate(instance, tmp_path / "new")
            assert served_serial(instance) == before
            instance.server.send_signal(signal.SIGHUP)
            eventually(lambda: served_serial(instance) != before, "the new one is not served")
            wire.send(post(registration("reload0")))  # connections go on with what they began with
            assert wire.answer().status == 200
        assert instance.register("reload1")[0] == 200


BROKEN = {
    "missing": lambda path: (path / "server.pem").unlink(),
    "empty": lambda path: (path / "server.pem").write_text(""),
    "rubbish": lambda path: (path / "server.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n"),
    "half a chain": lambda path: (path / "server.pem").write_text((path / "server.pem").read_text()[:-200]),
    "another key": lambda path: (path / "server.key").write_text(
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").decode()),
    "encrypted key": lambda path: (path / "server.key").write_bytes(
        openssl("pkcs8", "-topk8", "-passout", "pass:secret", data=(path / "server.key").read_bytes())),
    "missing key": lambda path: (path / "server.key").unlink(),
}


def test_broken_certificates_are_not_served(tmp_path):
    with running(tmp_path, "reload", devices=1) as instance:
        good = served_serial(instance)
        shutil.copytree(instance.folder / "tls", tmp_path / "kept")
        for number, (name, break_it) in enumerate(BROKEN.items()):
            break_it(instance.folder / "tls")
            instance.server.send_signal(signal.SIGHUP)
            instance.server.wait_for_log("cvm: reload: ", count=number + 1)
            assert served_serial(instance) == good, name
            shutil.copytree(tmp_path / "kept", instance.folder / "tls", dirs_exist_ok=True)
        text = instance.server.stderr
        assert "tls/server.pem: can't be used for TLS: No such file or directory" in text  # why, in words
        assert "tls/server.key: can't be used for TLS: No such file or directory" in text
        assert "tls/server.key: can't be used for TLS: key values mismatch" in text
        assert instance.register("reload0")[0] == 200


BROKEN_CA = {
    "no key": lambda path: (path / "issuing.key").unlink(),
    "another key": lambda path: (path / "issuing.key").write_text(
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").decode()),
    "no root": lambda path: (path / "root.pem").unlink(),
    "root is rubbish": lambda path: (path / "root.pem").write_text("rubbish\n"),
    "no issuing CA": lambda path: (path / "issuing.pem").unlink(),
    "no folder": shutil.rmtree,
}


def test_broken_ca_is_not_taken(tmp_path):
    """It goes on with what it has, and says why."""
    with running(tmp_path, "ca", devices=20) as instance:
        root = instance.root_ca.read_text()
        context = instance.tls_context()
        shutil.copytree(instance.folder / "ca", tmp_path / "kept")
        for number, (name, break_it) in enumerate(BROKEN_CA.items()):
            break_it(instance.folder / "ca")
            instance.server.send_signal(signal.SIGHUP)
            instance.server.wait_for_log("cvm: reload: ", count=number + 1)
            line = [text for text in instance.server.stderr.splitlines() if "cvm: reload: " in text][-1]
            assert str(instance.folder / "ca") in line, (name, line)
            shutil.rmtree(instance.folder / "ca", ignore_errors=True)
            shutil.copytree(tmp_path / "kept", instance.folder / "ca")
            status, _, body = instance.register(f"ca{number}", context=context)
            assert status == 200, (name, body)
            assert body["payload"]["certificates"]["root_ca"] == root
        instance.server.send_signal(signal.SIGHUP)
        assert instance.register("ca19", context=context)[0] == 200


@pytest.mark.parametrize("name", ["another key", "rubbish", "encrypted key"])
def test_start_with_a_broken_certificate_is_refused(tmp_path, name):
    instance = Instance(tmp_path)
    BROKEN[name](instance.folder / "tls")
    with pytest.raises(Failed, match="(?s)78.*tls/server"):
        instance.serve()


def test_log_files_are_reopened(tmp_path):
    log = tmp_path / "cvm.log"
    with running(tmp_path, "rotate", tls=False, devices=4, settings={"log.file": log}) as instance:
        audit = instance.folder / "audit.log"
        instance.register("rotate0")
        for path in (log, audit):
            path.rename(path.with_suffix(".1"))
        instance.register("rotate1")
        instance.server.send_signal(signal.SIGHUP)
        eventually(lambda: log.exists() and audit.exists(), "not opened again")
        eventually(lambda: instance.register("rotate2")[0] != 403 and "rotate2" in log.read_text(),
                   "not written to")
        for path in (log, audit):
            old, new = path.with_suffix(".1").read_text(), path.read_text()
            assert "rotate0" in old and "rotate1" in old and "rotate2" not in old
            assert "rotate2" in new and "rotate1" not in new
        assert log.stat().st_mode & 0o007 == 0
        assert "uid=" not in instance.server.stderr


# --- Listeners ---


def test_several_listeners(tmp_path):
    listen = "127.0.0.1:0, [::1]:0, 127.0.0.2:0"
    with running(tmp_path, "many", tls=False, devices=3, settings={"http.listen": listen, "ops.listen": "[::1]:0"}) \
            as instance:
        found = [(scheme, host) for scheme, host, _ in instance.server.listeners]
        assert found == [("http", "127.0.0.1"), ("http", "::1"), ("http", "127.0.0.2"), ("ops", "::1")]
        for i, (scheme, host, port) in enumerate(instance.server.listeners):
            assert port > 0
            if scheme == "http":
                with Wire(instance, address=host, port=port) as wire:
                    wire.send(post(registration(f"many{i}")))
                    assert wire.answer().status == 200
        assert "peer=::1 " in instance.server.stderr


def test_ipv6_any_takes_ipv4_too(tmp_path):
    with running(tmp_path, "any", tls=False, devices=1, settings={"http.listen": "[::]:0"}) as instance:
        assert ask(instance, post(registration("any0"))).status == 200
        assert "peer=127.0.0.1 " in instance.server.stderr


def test_without_ipv6_its_any_address_is_ipv4s(tmp_path):
    """In a kernel without IPv6, such as some containers have; an address of it is an error all the same."""
    without = preloaded("noipv6")
    with running(tmp_path, "four", tls=False, devices=1, settings={"http.listen": "[::]:0"}, env=without) as instance:
        assert ask(instance, post(registration("four0"))).status == 200
        assert [host for scheme, host, _ in instance.server.listeners if scheme == "http"] == ["0.0.0.0"]
        [line] = [line for line in instance.server.stderr.splitlines() if "IPv6" in line]
        assert "warning" in line and f"0.0.0.0:{instance.port}" in line and "[::]:0" in line
    with pytest.raises(Failed, match="ended with 69"):
        instance.serve_plain({"http.listen": "[::1]:0"}, env=without)


@pytest.mark.parametrize("listen, code", [
    ("127.0.0.1", 78), ("localhost:0", 78), ("127.0.0.1:99999", 78), ("::1:0", 78), ("127.0.0.1:x", 78), ("", 78),
    (",".join(["127.0.0.1:0"] * 9), 78), ("192.0.2.1:0", 69)])
def test_listeners_that_can_not_be(tmp_path, listen, code):
    instance = Instance(tmp_path)
    with pytest.raises(Failed, match=f"ended with {code}"):
        instance.serve({"http.listen": listen})


def test_port_in_use(tmp_path):
    instance = Instance(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Failed, match=f"(?s)69.*{address}"):
            instance.serve({"http.listen": address})


def test_second_listener_in_use(tmp_path):
    """What was opened before it is closed again."""
    instance = Instance(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Failed, match=f"(?s)69.*{address}"):
            instance.serve({"ops.listen": address})


def test_http_off(tmp_path):
    instance = Instance(tmp_path)
    with instance.serve({"http.listen": "off"}) as server:
        assert [scheme for scheme, _, _ in server.listeners] == ["ops"]


# --- What operators see ---


METRICS = {
    "cvm_registrations_total": {"result", "reason", "transport"}, "cvm_registration_duration_seconds": {"le"},
    "cvm_auth_failures_total": {"reason"}, "cvm_certificates_issued_total": {"platform"},
    "cvm_certificates_revoked_total": {"reason"}, "cvm_store_operation_duration_seconds": {"store", "op", "le"},
    "cvm_platform_requests_total": {"platform", "call", "result"}, "cvm_connections": {"transport"},
    "cvm_queue_depth": set(), "cvm_ca_certificate_expiry_timestamp_seconds": {"ca"}, "cvm_certificate_expiry_timestamp_seconds": {"file"},
    "cvm_crl_next_update_timestamp_seconds": set(), "cvm_crl_number": {"issuer"},
    "cvm_crl_made_timestamp_seconds": {"issuer"}, "cvm_build_info": {"version"}, "cvm_key_conflicts_total": set(),
    "cvm_tls_handshake_failures_total": {"reason"}, "cvm_clock_trusted": set(), "cvm_log_lines_dropped_total": set(),
    "cvm_crl_unsigned_rows": {"issuer"}, "cvm_store_clock_offset_seconds": set()}


def test_metrics(tmp_path):
    with running(tmp_path, "seen", tls=False, devices=5) as instance:
        serials = []
        for i in range(2):
            payload = instance.register(f"seen{i}")[2]["payload"]
            serials.append(payload["certificate_id"])
        instance.register("seen2", "wrong")
        instance.register("nobody")
        instance.post(b"{")
        instance.register("seen3", csr="rubbish")
        instance.register("seen0", csr=make_csr())
        connection = Wire(instance, port=instance.ops_port)
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = connection.answer()
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = answer.body.decode()
        families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        assert set(families) == set(METRICS)
        assert set(re.findall(r"^# HELP (\S+) .", text, re.M)) == set(METRICS)
        for line in text.splitlines():
            if line.startswith("#") or "{file=" in line:
                continue
            name, labels = re.fullmatch(r"([a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? [-+0-9.e]+", line).groups()
            assert set(re.findall(r'(\w+)="', labels or "")) <= METRICS[name]
            assert "seen" not in line and "nobody" not in line
        assert not any(serial in text for serial in serials)
        metrics = instance.metrics()
        assert metrics['cvm_registrations_total{result="success",reason="ok",transport="http"}'] == 2
        expected = {"not_authorized": 2, "invalid_request": 1, "invalid_csr": 1, "already_registered": 1}
        for reason, count in expected.items():
            assert metrics[f'cvm_registrations_total{{result="error",reason="{reason}",transport="http"}}'] == count
        assert metrics['cvm_auth_failures_total{reason="wrong_token"}'] == 1
        assert metrics['cvm_auth_failures_total{reason="unknown_device"}'] == 1
        assert metrics['cvm_certificates_issued_total{platform="local"}'] == 2
        assert metrics["cvm_registration_duration_seconds_count"] == 7
        assert metrics['cvm_registration_duration_seconds_bucket{le="+Inf"}'] == 7


def test_operators_listener(plain):
    assert plain.ops("/livez") == (200, '{"live":true}\n')
    assert plain.ops("/readyz") == (200, '{"ready":true}\n')
    for path in ("/", "/registration", "/metrics/"):
        assert plain.ops(path)[0] == 404
    with Wire(plain, port=plain.ops_port) as wire:
        wire.send(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer(of_head=True).status == 200
        wire.send(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        answer = wire.answer()
        assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD"


def log_lines(text, form):
    """The fields of each line of the log."""
    if form == "json":
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\w+) +(\w[\w ]*?) ((?:\w+=\S+|\w+=\"[^\"]*\"| )*)",
                             line)
        if match:
            fields = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', match[4]))
            found.append({"time": match[1], "level": match[2], "event": match[3], **fields})
    return found


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_and_audit(tmp_path, form):
    with running(tmp_path, "logged", tls=False, devices=3, settings={"log.format": form}) as instance:
        identities = {}
        for name, body in {"good": registration("logged0"), "wrong": registration("logged1", "wrong"),
                           "unknown": registration("nobody"), "form": b"{", "state": registration("logged0")}.items():
            payload = ask(instance, post(body)).json["payload"]
            identities[name] = payload.get("request_id")
        identities["path"] = ask(instance, post(b"{}", target="/x")).json["payload"]["request_id"]
        lines = log_lines(instance.server.stderr, form)
        by_id = {line.get("request_id"): line for line in lines}
        for name, code, step, detail in [("wrong", "not_authorized", "verify", "wrong_token"),
                                         ("unknown", "not_authorized", "verify", "unknown_device"),
                                         ("form", "invalid_request", "verify", None),
                                         ("state", "in_progress", None, None), ("path", "not_found", None, None)]:
            line = by_id[identities[name]]
            assert line["code"] == code and line["peer"] == "127.0.0.1" and line["transport"] == "http"
            assert line["level"] == "info"
            assert step is None or line["step"].strip('"') == step
            assert detail is None or line["detail"] == detail
            assert name == "path" or float(line["ms"]) >= 0
        good = next(line for line in lines if line.get("code") == "ok")
        assert good["uid"] == "logged0" and good["event"] == "registration"
        audit = [json.loads(line) for line in (instance.folder / "audit.log").read_text().splitlines()]
        registered = [line for line in audit if line["event"] == "registered"]
        assert len(registered) == 1
        assert registered[0]["uid"] == "logged0" and registered[0]["request_id"] == good["request_id"]
        assert set(registered[0]) == {"time", "level", "event", "uid", "request_id", "peer", "certificate_id",
                                      "actor", "actor_uid", "command"}


def refused_times(instance, count, body, **options):
    """So many refusals on one connection."""
    with Wire(instance, **options) as wire:
        for done in range(0, count, 500):
            wire.send(post(body) * min(500, count - done))
            for _ in range(min(500, count - done)):
                assert wire.answer().status in (403, 409)


def summed(lines, kind):
    return sum(int(re.match(r'"?(\d+) more in \d+ s: ', line["text"])[1]) for line in lines
               if line["event"] == "summed up" and line["text"].strip('"').endswith(f": {kind}"))


def test_refusals_do_not_fill_the_log(tmp_path):
    """Whoever has no token is summed up; each device that registers has its line, whatever goes on."""
    count = 20000
    with running(tmp_path, "flood", tls=False, devices=20, settings={"log.format": "json"}) as instance:
        flood = threading.Thread(target=refused_times, args=(instance, count, registration("flood0", "wrong")),
                                 kwargs={"source": "127.0.0.2"})
        flood.start()
        for i in range(1, 20):
            assert instance.register(f"flood{i}")[0] == 200
        flood.join()
        assert instance.register("nobody")[0] == 403  # another's refusal has its line too
        assert instance.metrics()['cvm_auth_failures_total{reason="wrong_token"}'] == count
        instance.stop()
        text = (instance.folder / "serve-0.err").read_text()
        assert len(text) < 100_000
        lines = log_lines(text, "json")
        registered = {line["uid"] for line in lines if line["event"] == "registration" and line["code"] == "ok"}
        assert registered == {f"flood{i}" for i in range(1, 20)}
        assert any(line.get("uid") == "nobody" for line in lines)
        in_full = sum(line.get("detail") == "wrong_token" for line in lines)
        assert 60 <= in_full < 600 and in_full + summed(lines, "wrong_token") == count
        sums = [line for line in lines if line["event"] == "summed up"]
        assert all(line["peer"] == "127.0.0.2" and line["uids"] == "flood0 flood0 flood0" for line in sums)


def test_sums_are_written_while_it_runs(tmp_path):
    with running(tmp_path, "sums", tls=False, devices=1, settings={"log.refusals_per_address": "1/min"}) as instance:
        refused_times(instance, 5, registration("nobody"))
        assert "summed up" not in instance.server.stderr
        instance.server.wait_for_log('summed up text="4 more in 10 s: unknown_device" peer=127.0.0.1 '
                                     'uids="nobody nobody nobody"', timeout_s=30)


def test_refusals_of_the_transport_are_summed_up_too(tmp_path):
    settings = {"log.refusals_per_address": "0", "log.refusals": "10/min"}
    with running(tmp_path, "paths", tls=False, devices=1, settings=settings) as instance:
        for _ in range(50):
            assert ask(instance, post(b"{}", target="/x")).status == 404
        assert instance.server.stderr.count("refused") == 10
        instance.stop()
        lines = log_lines((instance.folder / "serve-0.err").read_text(), "text")
        assert summed(lines, "not_found") == 40


def test_clones_do_not_fill_the_audit(tmp_path):
    with running(tmp_path, "clone", tls=False, devices=2, settings={"log.refusals_per_address": "5/min"}) as instance:
        assert instance.register("clone0", csr=make_csr())[0] == 200
        refused_times(instance, 300, registration("clone0", csr=make_csr()))
        assert instance.register("clone1")[0] == 200
        assert instance.metrics()["cvm_key_conflicts_total"] == 300
        instance.stop()
        audit = log_lines((instance.folder / "audit.log").read_text(), "json")
        in_full = [line for line in audit if line["event"] == "other_key"]
        assert 5 <= len(in_full) < 100 and len(in_full) + summed(audit, "other_key") == 300
        assert [line["uid"] for line in audit if line["event"] == "registered"] == ["clone0", "clone1"]
        sums = [line for line in audit if line["event"] == "summed up"]
        assert sums and sums[0]["peer"] == "127.0.0.1" and "clone0" in sums[0]["uids"]


def test_no_secret_is_written_anywhere(tmp_path):
    """Tokens and private keys: not in the log, the audit, the records or the core's files."""
    settings = {"log.level": "debug", "log.file": tmp_path / "cvm.log"}
    with running(tmp_path, "secret", devices=6, settings=settings) as instance:
        secrets = [token(f"secret{i}") for i in range(6)] + ["WRONGTOKEN" * 4, token("nobody")]
        for i in range(2):
            key = instance.register(f"secret{i}")[2]["payload"]["keyPair"]["privateKey"]
            secrets += [line for line in key.splitlines()[1:-1]]
        instance.register("secret2", csr=make_csr())
        instance.register("secret3", "WRONGTOKEN" * 4)
        instance.register("nobody")
        instance.register("secret4", csr="rubbish")
        instance.register("secret4", token("secret4") + ":")
        instance.register("secret0")
        instance.post(registration("secret5")[:-1])
        instance.post(registration("secret5") + b"x")
        ask(instance, post(registration("secret5"), target=f"/registration/{token('secret5')}"))
        ask(instance, post(registration("secret5"), f"X-Token: {token('secret5')}\0"))
        ask(instance, post(json.dumps({"device_uid": token("secret5"), "device_token": "a b"}).encode()))
        with locked(instance):
            wire = Wire(instance)
            wire.send(post(registration("secret5")))
            time.sleep(0.2)
            wire.reset()
        instance.stop()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in
               ("root.key", "issuing.key", "server.key")]
    assert any(path.name == "devices.db" for path in written) and len(written) > 8
    for path in written:
        data = path.read_bytes()
        for secret in secrets:
            if secret.encode() in data:
                # One that came as a uid is an identity by then.
                lines = [line for line in data.splitlines() if secret.encode() in line]
                assert all(b"uid=" + secret.encode() in line for line in lines), (path, secret)
        assert b"PRIVATE KEY" not in data, path


def memory_of(pid):
    """What a process can write to, region by region."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for begin, end in re.findall(r"^(\w+)-(\w+) rw", maps.read(), re.MULTILINE):
            memory.seek(int(begin, 16))
            yield memory.read(int(end, 16) - int(begin, 16))


def tell_secrets(instance):
    """Requests of all kinds; pieces, not overwritten as soon as the whole, of the secrets in them and their answers."""
    def body(number, before=""):
        secret = before + token(f"secret{number}")
        secrets.extend((secret[:24], secret[-32:-8]))
        return registration(f"secret{number}", secret)
    secrets = []
    for number in range(4):
        assert instance.post(body(number))[0] == 200
        assert instance.post(body(number + 4, "WRONG"))[0] == 403
    for number in range(8, 10):
        answer = instance.post(body(number))[2]
        key = json.loads(answer)["payload"]["keyPair"]["privateKey"]
        secrets.append(key.splitlines()[2][:24])
    assert instance.post(json.dumps({**json.loads(body(10)), "csr": make_csr()}))[0] == 200
    assert instance.post(body(11) + b"x")[0] == 400
    assert instance.post(body(12, "NOT:ONE"))[0] == 400
    assert instance.post(body(13).ljust(9000))[0] == 413
    chunks = post(b"", "Transfer-Encoding: chunked", length=False) + chunked(body(14), 50)
    with Wire(instance) as wire:
        wire.send(chunks + post(body(15)), piece=100)  # the second waits for the first one's end
        assert [wire.answer().status, wire.answer().status] == [200, 200]
        wire.send(post(body(16))[:-3])  # and this one is not finished
        eventually(lambda: instance.metrics()["cvm_queue_depth"] == 0, "requests that were not finished")
    return secrets


@pytest.mark.skipif(is_sanitized(), reason="sanitizers keep what was freed")
@pytest.mark.parametrize("is_tls", [False, True])
def test_no_secret_stays_in_memory(tmp_path, is_tls):
    """A core of the server holds none of those that passed through it: each copy was wiped."""
    with running(tmp_path, "secret", tls=is_tls, devices=17) as instance:
        secrets = [secret.encode() for secret in tell_secrets(instance)]
        eventually(lambda: has_no_connections(instance), "connections that were not forgotten")
        for region in memory_of(instance.server.pid):
            assert not [secret for secret in secrets if secret in region]
        root = instance.root_ca.read_bytes()
        assert any(root in region for region in memory_of(instance.server.pid))  # else this would prove nothing


def test_client_of_curl(tls):
    """The command that documents show."""
    uid = fresh(tls)
    done = subprocess.run(["curl", "-sS", "--cacert", tls.root_ca, "-d", registration(uid),
                           "-H", "Content-Type: application/json", f"https://127.0.0.1:{tls.port}/registration"],
                          capture_output=True, timeout=30) if shutil.which("curl") else None
    if done is None:
        pytest.skip("there is no curl")
    assert json.loads(done.stdout)["status"] == "SUCCESS", done.stderr


# --- The example of a server of one's own ---


@contextlib.contextmanager
def example_server(instance):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = build_folder() / "examples/cvm-http-server"
    with open(instance.folder / "example.err", "wb") as err:
        process = subprocess.Popen([program, instance.conf, str(port)], stderr=err, env=environment())
    try:
        eventually(lambda: process.poll() is not None or can_connect(port), "it does not listen")
        yield port
        assert process.poll() is None, (instance.folder / "example.err").read_text()
    finally:
        process.kill()
        process.wait()


def can_connect(port):
    with socket.socket() as wire:
        return wire.connect_ex(("127.0.0.1", port)) == 0


def ask_example(port, uid, token_text=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/registration", registration(uid, token_text))
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())["payload"]


def test_example_server(tmp_path):
    """It counts failures by address, and sees to what is due while nobody asks."""
    instance = Instance(tmp_path)
    instance.add("small0")
    with open(instance.conf, "a", encoding="ascii") as conf:
        conf.write("limit.failures_per_address = 3/min\nregistration.reissue_after = 1s\n")
    with example_server(instance) as port:
        status, _, first = ask_example(port, "small0")
        assert status == 200
        answers = [ask_example(port, "small0", "wrong") for _ in range(4)]
        assert [answer[0] for answer in answers] == [403, 403, 403, 429]
        assert int(answers[3][1]["Retry-After"]) >= 1
        eventually(lambda: ask_example(port, "small0")[0] == 200, "it is not issued again")
        serial = next(row["serial"] for row in instance.show("small0")["certificates"]
                      if row["certificate_id"] == first["certificate_id"])
        eventually(lambda: serial.upper() in openssl("crl", "-noout", "-text", "-in", instance.folder / "ca/crl.pem")
                   .decode(), "the old certificate was not revoked")
