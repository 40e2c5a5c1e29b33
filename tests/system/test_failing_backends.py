"""Stores and platforms that fail: what devices are told, that nothing is left behind, kills and ends.

The command here is a build of its own (tests/backends): its platform "world:" has effects outside the
store, which outlive it, and both it and the store around the file store fail as a file tells them."""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import sqlite3
import time

import pytest

from csr_tools import make_csr
from cvm_server import REPORTS, Instance, build_folder
from raw_http import Wire, ask, post, registration
from test_contract_http import check_error

DEADLINE_S = 2
SETTINGS = {"request.deadline": f"{DEADLINE_S}s", "log.format": "json", "limit.failures_per_address": "0/min"}
TEXTS = {
    "in_progress": "the device is being registered, or was a moment ago; ask again",
    "platform_error": "the platform answered what can't be understood",
    "overloaded": "the server is full",
    "store_unavailable": "the device records can't be reached",
    "platform_unavailable": "the platform can't be reached",
    "unknown": "the outcome is not known yet; ask again",
}


@pytest.fixture(scope="module", autouse=True)
def failing_command():
    """This file's servers and commands are those of the other build."""
    before = os.environ.get("CVM_BUILD_DIR")
    os.environ["CVM_BUILD_DIR"] = str(build_folder() / "tests/backends")
    yield
    os.environ["CVM_BUILD_DIR"] = before


class World:
    """What is outside the store, and what is to fail."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def tell(self, *lines):
        new = self.folder / "faults.new"
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self.folder / "faults")

    def held(self, call):
        path = self.folder / "held"
        return path.read_text().splitlines().count(call) if path.exists() else 0

    def wait_for_held(self, call, count=1):
        eventually(lambda: self.held(call) >= count, f"{call} is not held")

    def forget_held(self):
        (self.folder / "held").unlink(missing_ok=True)

    def certificates(self, uid):
        """{id: {state, has_policy, thing}} of a device's that are not deleted."""
        found = {}
        for path in (self.folder / "certificates").iterdir():
            owner, state, policy, _, thing, _ = path.read_text().split()
            if owner == uid:
                found[path.name] = {"state": state, "policy": policy, "thing": thing}
        return found

    def active(self, uid):
        return [name for name, row in self.certificates(uid).items() if row["state"] == "active"]


class Failing(Instance):
    def __init__(self, folder, name, devices=60):
        super().__init__(folder, name=name)
        self.name, self.devices, self.counter = name, devices, itertools.count()
        self.world = World(self.folder / "world")
        text = self.conf.read_text()
        for what, value in (("store", f"told:{self.folder}/devices.db"), ("platform", f"world:{self.folder}/world")):
            text, count = re.subn(rf"^{what} *=.*$", f"{what} = {value}", text, flags=re.M)
            assert count == 1, text
        self.conf.write_text(text)
        self.import_csv([f"{name}{i}" for i in range(devices)])

    def fresh(self):
        return f"{self.name}{next(self.counter) % self.devices}"

    def serve(self, settings=None, **options):
        return super().serve({**SETTINGS, **(settings or {})}, **options)

    def log_of(self, request_id):
        """The line of an attempt; a later one says how it was settled."""
        lines = [json.loads(line) for line in self.server.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("request_id") == request_id]

    def rows(self, statement, *values):
        with contextlib.closing(sqlite3.connect(self.folder / "devices.db", timeout=10)) as database:
            database.row_factory = sqlite3.Row
            with database:
                return [dict(row) for row in database.execute(statement, values)]

    def device(self, uid):
        return self.rows("SELECT * FROM devices WHERE device_uid = ?", uid)[0]


def eventually(true, what, within_s=30):
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def failing(module_path):
    instance = Failing(module_path, "dev")
    instance.serve()
    try:
        yield instance
        instance.world.tell()
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture(autouse=True)
def no_faults(request):
    """A test that failed tells the next one nothing."""
    yield
    if "failing" in request.fixturenames:
        request.getfixturevalue("failing").world.tell()
        request.getfixturevalue("failing").world.forget_held()


def check_told(answer, status, code, http_status=None):
    """The error, to the letter."""
    check_error(answer, status, code, http_status)
    request_id = answer.json["payload"]["request_id"]
    wanted = {"statusCode": status, "status": "ERROR", "payload": {
        "message": TEXTS[code], "code": code, "retryable": True, "request_id": request_id}}
    assert answer.body == json.dumps(wanted, separators=(",", ":")).encode()
    return request_id


def check_registered(instance, uid, csr, within_s=30):
    """The device asks again, as it was told to, until it has the one certificate that is active."""
    end = time.monotonic() + within_s
    while (answer := ask(instance, post(registration(uid, csr=csr)))).status != 200:
        assert answer.json["payload"]["retryable"] and time.monotonic() < end, answer.body
        time.sleep(0.1)
    payload = answer.json["payload"]
    identity = payload["certificate_id"]
    assert payload["certificates"]["device_certificate"] == f"WORLD CERTIFICATE {identity}\n"
    eventually(lambda: instance.world.active(uid) == [identity], instance.world.certificates(uid))
    assert instance.world.certificates(uid)[identity] == {
        "state": "active", "policy": "1", "thing": f"thing_{uid}"}
    device = instance.device(uid)
    assert device["is_registered"] == 1 and device["certificate_id"] == identity
    assert not device["lease_owner"] and not device["lease_certificate_id"]
    return identity


def is_untouched(instance, uid):
    """Nothing outside, and no lease: as if it had not asked."""
    device = instance.device(uid)
    return (not instance.world.certificates(uid) and not device["lease_owner"] and not device["lease_certificate_id"]
            and device["is_registered"] == 0)


# --- What devices are told ---

# What is told: status, code, the step in the log, the platform's call and result in the metrics.
FAULTS = {
    "prepare busy": (503, "overloaded", "prepare", "busy"),
    "prepare unavailable": (503, "platform_unavailable", "prepare", "unavailable"),
    "prepare broken": (502, "platform_error", "prepare", "broken"),
    "create_certificate busy": (503, "overloaded", "create certificate", "busy"),
    "create_certificate unavailable": (503, "platform_unavailable", "create certificate", "unavailable"),
    "create_certificate broken": (502, "platform_error", "create certificate", "broken"),
    "create_certificate unknown": (503, "unknown", "create certificate", "unknown"),
    "attach_policy unavailable": (503, "platform_unavailable", "attach policy", "unavailable"),
    "create_thing broken": (502, "platform_error", "create thing", "broken"),
    "attach_certificate busy": (503, "overloaded", "attach certificate", "busy"),
    "activate unavailable": (503, "platform_unavailable", "activate", "unavailable"),
    "activate unknown-done": (503, "unknown", "activate", "unknown"),
    "get unavailable": (503, "store_unavailable", "verify", None),
    "get broken": (503, "store_unavailable", "verify", None),
    "swap busy 1 1": (503, "overloaded", "claim", None),
    "swap unavailable 1 1": (503, "store_unavailable", "claim", None),
    "swap unavailable 2 2": (503, "store_unavailable", "record", None),
    "swap unavailable 3 3": (503, "store_unavailable", "update", None),
}


def counts(instance, code, call, result):
    metrics = instance.metrics()
    return (metrics.get(f'cvm_registrations_total{{result="error",reason="{code}",transport="http"}}', 0),
            metrics.get(f'cvm_platform_requests_total{{platform="world",call="{call}",result="{result}"}}', 0))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_device_is_told(failing, fault):
    status, code, step, result = FAULTS[fault]
    uid, other, csr = failing.fresh(), failing.fresh(), make_csr()
    call = fault.split()[0]
    before = counts(failing, code, call, result)
    failing.world.tell(fault)
    answer = ask(failing, post(registration(uid, csr=csr)))
    request_id = check_told(answer, status, code)
    failing.world.tell()
    after = counts(failing, code, call, result)
    assert after == (before[0] + 1, before[1] + (result is not None))
    line = failing.log_of(request_id)[-1]
    assert (line["uid"], line["step"], line["code"], line["detail"]) == (uid, step, code, "failed as told")
    if fault != "create_certificate unknown":  # what it made is for others to find: nobody knows its id
        assert not failing.world.active(uid)
        assert is_untouched(failing, uid), (failing.device(uid), failing.world.certificates(uid))
    assert ask(failing, post(registration(other, csr=make_csr()))).status == 200  # the server lives
    check_registered(failing, uid, csr)


def test_first_fault_is_found_by_the_next_device_too(failing):
    """One that stays is told to each device, and all of them are served once it is gone."""
    devices = [(failing.fresh(), make_csr()) for _ in range(5)]
    failing.world.tell("create_certificate unavailable")
    for uid, csr in devices:
        check_told(ask(failing, post(registration(uid, csr=csr))), 503, "platform_unavailable")
    failing.world.tell()
    for uid, csr in devices:
        check_registered(failing, uid, csr)


def test_in_progress_by_a_lease_that_is_held(failing):
    uid, csr = failing.fresh(), make_csr()
    failing.world.tell("create_certificate hold")
    with Wire(failing) as first:
        first.send(post(registration(uid, csr=csr)))
        failing.world.wait_for_held("create_certificate")
        for again in (csr, make_csr(), None):
            more = {"csr": again} if again else {}
            check_told(ask(failing, post(registration(uid, **more))), 409, "in_progress")
        failing.world.tell()
        assert first.answer().status in (200, 503)  # in time or not
    check_registered(failing, uid, csr)


@pytest.mark.parametrize("fault", ["prepare hold", "create_certificate hold", "activate hold", "activate hold-done",
                                   "swap hold 1 1", "swap hold-done 1 1", "swap hold-done 3 3", "get hold"])
def test_deadline_is_over(failing, fault):
    """The device is told `unknown`; what has begun ends, and the same CSR gets the certificate."""
    uid, csr = failing.fresh(), make_csr()
    call = fault.split()[0]
    failing.world.tell(fault)
    request_id = check_told(ask(failing, post(registration(uid, csr=csr))), 503, "unknown")
    failing.world.wait_for_held(call)
    assert failing.log_of(request_id)[-1]["code"] == "unknown"
    failing.world.tell()
    check_registered(failing, uid, csr)


def test_ready_probe_of_a_store_that_fails_or_waits(failing):
    failing.world.tell("ready unavailable")
    assert failing.ops("/readyz")[0] == 503 and failing.ops("/livez")[0] == 200
    failing.world.tell("ready hold")
    status, body = failing.ops("/readyz")
    assert status == 503 and json.loads(body)["payload"]["code"] == "unknown"
    failing.world.tell()
    eventually(lambda: failing.ops("/readyz")[0] == 200, "it is not ready again")


def test_legacy_status(module_path):
    instance = Failing(module_path, "old")
    instance.serve({"http.legacy_status": "true"})
    try:
        for fault in ("prepare busy", "create_certificate unavailable", "create_certificate broken", "get unavailable",
                      "create_certificate hold"):
            status, code = FAULTS.get(fault, (503, "unknown"))[:2]
            uid, csr = instance.fresh(), make_csr()
            instance.world.tell(fault)
            check_told(ask(instance, post(registration(uid, csr=csr))), status, code, http_status=200)
            if fault == "create_certificate hold":
                check_told(ask(instance, post(registration(uid, csr=csr))), 409, "in_progress", http_status=200)
            instance.world.tell()
        instance.stop()
    finally:
        instance.kill()


# --- Answers that come late ---


def test_answers_whose_connections_are_gone(module_path):
    """Devices that hung up while a platform kept them waiting: their answers go nowhere, and harm nobody."""
    instance = Failing(module_path, "gone")
    devices = [(f"gone{i}", make_csr()) for i in range(20)]
    instance.world.tell("create_certificate hold")
    instance.serve({"workers": "3", "request.deadline": "60s"})
    try:
        for i, (uid, csr) in enumerate(devices):
            wire = Wire(instance)
            wire.send(post(registration(uid, csr=csr)))
            instance.world.wait_for_held("create_certificate", i + 1)
            (wire.reset if i % 2 else wire.close)()
        assert instance.metrics()["cvm_queue_depth"] == len(devices)
        instance.world.tell()
        eventually(lambda: instance.metrics()["cvm_queue_depth"] == 0, "not all have ended")
        eventually(lambda: instance.metrics()['cvm_connections{transport="http"}'] == 0, "connections are left")
        for uid, csr in devices:
            check_registered(instance, uid, csr)
        instance.stop()
    finally:
        instance.kill()


def test_end_with_pipelined_requests(module_path):
    """The request under way is answered, and says that it is the last; those behind it were not begun."""
    instance = Failing(module_path, "pipe", 3)
    instance.world.tell("create_certificate hold 1 1")
    instance.serve({"request.deadline": "60s"})
    try:
        with Wire(instance) as wire, Wire(instance) as idle:
            wire.send(b"".join(post(registration(f"pipe{i}", csr=make_csr())) for i in range(3)))
            instance.world.wait_for_held("create_certificate")
            instance.server.send_signal(signal.SIGTERM)
            assert idle.is_closed()
            instance.world.tell()
            answers = wire.answers()
        assert [answer.status for answer in answers] == [200] and answers[0].closes
        instance.server.wait()
        assert [instance.device(f"pipe{i}")["is_registered"] for i in range(3)] == [1, 0, 0]
    finally:
        instance.kill()


# --- Killed at each step ---

STEPS = ["prepare", "swap 1", "create_certificate", "swap 2", "attach_policy", "create_thing", "attach_certificate",
         "activate", "swap 3"]  # the swaps: claim, record and update


@pytest.fixture(scope="module")
def killed(module_path):
    instance = Failing(module_path, "kill")
    yield instance
    instance.kill()


def kill_at(instance, uid, csr, fault):
    """The server dies while the fault holds the device's registration."""
    call = fault.split()[0]
    instance.world.forget_held()
    instance.world.tell(fault)
    instance.serve({"request.deadline": "60s"})
    with Wire(instance) as wire:
        wire.send(post(registration(uid, csr=csr)))
        instance.world.wait_for_held(call)
        instance.kill()
    instance.world.tell()


def end_leases(instance):
    """As if a lease and its grace had gone by."""
    instance.rows("UPDATE devices SET lease_until = lease_until - 200000 WHERE lease_owner IS NOT NULL"
                  " OR lease_certificate_id IS NOT NULL")


def is_reconciled(instance):
    return not instance.rows("SELECT 1 FROM devices WHERE lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL"
                             " UNION ALL SELECT 1 FROM certificates WHERE state IN ('pending', 'retiring')")


@pytest.mark.parametrize("when", ["hold", "hold-done"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_and_reconciled(killed, step, when):
    """The reconciler alone leaves nothing active that the record does not lead to."""
    uid, csr = killed.fresh(), make_csr()
    call, _, number = step.partition(" ")
    kill_at(killed, uid, csr, f"{call} {when} {number} {number}".strip())
    was_activated = step == "swap 3" or (step == "activate" and when == "hold-done")
    assert len(killed.world.active(uid)) == was_activated  # so there is something to be found
    end_leases(killed)
    killed.serve()
    eventually(lambda: is_reconciled(killed), "what is due was not carried out")
    device = killed.device(uid)
    is_over = step == "swap 3" and when == "hold-done"
    assert killed.world.active(uid) == ([device["certificate_id"]] if is_over else [])
    assert device["is_registered"] == is_over
    identity = check_registered(killed, uid, csr)
    assert not is_over or identity == device["certificate_id"]
    killed.stop()


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_asked_again(killed, step):
    """The lease is over, and the device itself comes first: it is served as if nothing had been."""
    uid, csr = killed.fresh(), make_csr()
    call, _, number = step.partition(" ")
    kill_at(killed, uid, csr, f"{call} hold-done {number} {number}".strip())
    end_leases(killed)
    killed.serve({"reconcile.interval": "0"})
    check_registered(killed, uid, csr)
    killed.stop()


# --- The end while a backend does not answer ---


@pytest.mark.parametrize("fault", ["create_certificate hold", "activate hold-done", "get hold", "swap hold-done 2 2"])
def test_end_while_a_backend_waits(tmp_path, fault):
    instance = Failing(tmp_path, "end", 1)
    uid, csr, call = "end0", make_csr(), fault.split()[0]
    instance.world.tell(fault)
    instance.serve()
    try:
        with Wire(instance) as wire:
            wire.send(post(registration(uid, csr=csr)))
            instance.world.wait_for_held(call)
            instance.server.send_signal(signal.SIGTERM)
            check_told(wire.answer(), 503, "unknown")
        server = instance.server
        server.wait(DEADLINE_S + 5 + 15)  # with code 0
        assert "did not end in time: closing the platform and the store" in server.stderr
        assert not any(report in server.stderr for report in REPORTS)
        instance.world.tell()
        end_leases(instance)
        instance.serve()
        check_registered(instance, uid, csr)
        instance.stop()
    finally:
        instance.kill()


def test_end_while_a_probe_waits(tmp_path):
    instance = Failing(tmp_path, "end", 1)
    instance.world.tell("ready hold")
    instance.serve()
    try:
        with Wire(instance, port=instance.ops_port) as wire:
            wire.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            instance.world.wait_for_held("ready")
            instance.server.send_signal(signal.SIGTERM)
            assert wire.answer().status == 503
        instance.server.wait(DEADLINE_S + 5 + 15)
    finally:
        instance.kill()
