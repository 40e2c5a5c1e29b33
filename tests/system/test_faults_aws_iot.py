"""What becomes of AWS IoT's calls on their way, and of those who make them: each lost, late, spoiled or refused; killed before or
behind its effect; stopped until the lease is another's. Worlds of their own, side by side: they wait more than they compute."""

import concurrent.futures
import http.client
import itertools
import random
import signal
import threading
import time

import pytest

from aws_iot import Cloud, REGISTRATION, thing_of
from aws_proxy import Proxy
from csr_tools import make_csr
from cvm_server import clock, scale, seed
from dynamodb import DynamoDB
from fault_server import wait_until

LEASE_OVER, LEASE_DUE = clock("+70s"), clock("+130s")  # for the device, which may take it over; and for who looks for what is left
FAULTS = ("lost", "reset", "html", "half", "empty", "error", "unavailable", "throttled", "denied", "skewed") + (("slow",) if scale() > 1 else ())
WORLDS = 8


def side_by_side(work, cases):
    """work(case) for each; whatever fails is told with its case."""
    with concurrent.futures.ThreadPoolExecutor(WORLDS) as pool:
        futures = {case: pool.submit(work, case) for case in cases}
    failures = {case: future.exception() for case, future in futures.items() if future.exception()}
    if failures:
        case, failure = next(iter(failures.items()))
        raise AssertionError(f"{len(failures)} of {len(futures)} fail: {list(failures)}; the first: {case}") from failure


def register_until_final(instance, uid, **more):
    """As a device does; the payload."""
    for _ in range(60):
        try:
            status, headers, body = instance.register(uid, **more)
        except (OSError, http.client.HTTPException, ValueError):
            return None  # it was killed
        if status == 200:
            return body["payload"]
        assert status in (502, 503) or body["payload"]["code"] == "in_progress", body
        time.sleep(0.3)
    raise AssertionError(body)


def settle(cloud, instance, env=LEASE_DUE):
    """One pass, when all leases are over: in truth a while later, when lists have what was made. Detaching takes AWS its time."""
    time.sleep(cloud.iot.lists_lag_s)
    for _ in range(4):
        done = instance.cvm("reconcile", "--full", env=env, check=False)
        if done.returncode == 0:
            return
        time.sleep(1)
    raise AssertionError(done.stderr)


# --- Answers ----------------------------------------------------------------------------------------


def test_each_call_of_a_registration(tmp_path):
    """With a CSR: whatever was lost, the device is answered what its record says, again and again."""
    def go(fault):
        with Cloud(tmp_path / fault) as cloud:
            cloud.proxy.slow_s = 12
            instance = cloud.instance(tmp_path / fault)
            uids = [f"DEVICE{number}" for number in range(len(REGISTRATION))]
            instance.import_csv(uids)
            with instance.serve_plain():
                for uid, call in zip(uids, REGISTRATION):
                    csr = make_csr()
                    cloud.proxy.plan(call, fault)
                    answer = register_until_final(instance, uid, csr=csr)
                    assert register_until_final(instance, uid, csr=csr)["certificate_id"] == answer["certificate_id"]
                settle(cloud, instance)
            assert cloud.problems(instance, uids) == []
    side_by_side(go, FAULTS)


UNDONE = {  # what fails, and which of the calls that then take it back
    "create": ("CreateCertificateFromCsr", "lost", ("ListCertificates", "DescribeCertificate", "DeleteCertificate")),
    "policy": ("AttachPolicy", "denied", ("DeleteCertificate",)),
    "principal": ("AttachThingPrincipal", "denied", ("DeleteCertificate", "DetachPolicy")),
    "activate": ("UpdateCertificate", "denied", ("DeleteCertificate", "DetachThingPrincipal", "DetachPolicy"))}


def test_each_call_that_takes_something_back(tmp_path):
    """The device never asks again: what was made for it goes all the same."""
    def go(case):
        name, call, fault = case
        with Cloud(tmp_path / "-".join(case)) as cloud:
            instance = cloud.instance(tmp_path / "-".join(case), **{"aws.timeout": "8s"})
            instance.add("DEVICE")
            with instance.serve_plain():
                cloud.proxy.plan(*UNDONE[name][:2])
                cloud.proxy.plan(call, fault, count=3)
                status, _, body = instance.register("DEVICE")
                assert status in (502, 503), body
                cloud.proxy.clear()
                settle(cloud, instance)
            assert cloud.problems(instance, [], ["DEVICE"]) == []
    cases = [(name, call, fault) for name, (_, _, calls) in UNDONE.items() for call in calls for fault in ("lost", "denied", "html", "empty")]
    side_by_side(go, cases)


def test_each_call_of_the_operators(tmp_path):
    def go(fault):
        with Cloud(tmp_path / fault) as cloud:
            instance = cloud.instance(tmp_path / fault)
            instance.add("DEVICE")
            with instance.serve_plain():
                register_until_final(instance, "DEVICE")
                for verb, status in (("disable", "INACTIVE"), ("enable", "ACTIVE"), ("revoke", "REVOKED")):
                    cloud.proxy.clear()
                    cloud.proxy.plan("UpdateCertificate", fault)
                    done = instance.cvm("device", verb, "DEVICE", check=False)
                    assert done.returncode in (0, 75), done.stderr
                    settle(cloud, instance)
                    assert cloud.statuses("DEVICE") == [status]
    side_by_side(go, FAULTS)


# --- Lists ------------------------------------------------------------------------------------------


def test_what_a_search_does_not_come_as_far_as_is_looked_for_by_a_full_pass(tmp_path):
    """Behind 50 inactive certificates of others, a page at a time; none of theirs is touched."""
    with Cloud(tmp_path) as cloud:
        instance = cloud.instance(tmp_path)
        instance.import_csv(["DEVICE", "OTHER"])
        cloud.iot.lists_lag_s = 0
        with instance.serve_plain():
            after = cloud.proxy.on_fault
            strangers = []
            after["CreateCertificateFromCsr after"] = lambda: strangers.extend(cloud.hang_on("crowd", "INACTIVE") for _ in range(50))
            cloud.proxy.plan("CreateCertificateFromCsr", "CreateCertificateFromCsr after")
            answer = register_until_final(instance, "DEVICE", csr=make_csr())
            lost = [c for c in cloud.ours() if not c.things]
            assert len(lost) == 1 and answer["certificate_id"] != lost[0].id
            cloud.iot.page_size = 20
            before = len(cloud.iot.certificates)
            settle(cloud, instance)
            assert len(cloud.iot.certificates) == before  # it may not be all yet
            settle(cloud, instance, clock("+10m"))
        assert lost[0].id not in cloud.iot.certificates and len(cloud.iot.certificates) == before - 1
        assert all(certificate.status == "INACTIVE" for certificate in strangers)
        cloud.others = cloud.state_of_others()


def test_a_full_pass_ends_whatever_its_time(tmp_path):
    """It tells of a note that it could not get on with, and asks for it another time."""
    with Cloud(tmp_path) as cloud:
        instance = cloud.instance(tmp_path, **{"aws.timeout": "1s", "aws.quota_share": 1})
        instance.add("DEVICE")
        with instance.serve_plain():
            cloud.proxy.plan("CreateCertificateFromCsr", "lost")
            instance.register("DEVICE")
        for _ in range(3):
            assert instance.cvm("reconcile", "--full", env=clock("+10m"), check=False, timeout_s=60).returncode in (0, 69, 75)


def test_a_key_that_was_noted_may_be_another_devices_by_now(tmp_path):
    """A CSR that two devices sent: what the second one has is its own, also while it is suspended."""
    with Cloud(tmp_path) as cloud:
        instance = cloud.instance(tmp_path)
        instance.import_csv(["WRONG", "RIGHT"])
        cloud.iot.lists_lag_s = 0
        csr, strangers = make_csr(), []
        with instance.serve_plain():
            cloud.proxy.on_fault["CreateCertificateFromCsr after"] = lambda: strangers.extend(cloud.hang_on("crowd", "INACTIVE") for _ in range(25))
            cloud.proxy.plan("CreateCertificateFromCsr", "CreateCertificateFromCsr after")
            instance.register("WRONG", csr=csr)
            instance.cvm("device", "remove", "WRONG", "--force", env=LEASE_DUE, check=False)
            answer = register_until_final(instance, "RIGHT", csr=csr)
            instance.cvm("device", "disable", "RIGHT")
            for stranger in strangers:
                del cloud.iot.certificates[stranger.id]
            settle(cloud, instance, clock("+10m"))
            instance.cvm("device", "enable", "RIGHT")
        assert cloud.statuses("RIGHT") == ["ACTIVE"] and cloud.iot.certificates[answer["certificate_id"]].status == "ACTIVE"


# --- Who makes them ---------------------------------------------------------------------------------


def test_killed_before_and_behind_each_effect(tmp_path):
    def go(case):
        call, when, number = case
        folder = tmp_path / f"{call}-{when}-{number}"
        with Cloud(folder) as cloud:
            instance = cloud.instance(folder)
            instance.import_csv(["DEVICE", "GONE"])
            csr = make_csr()
            for uid in ("GONE", "DEVICE"):
                server = instance.serve_plain()
                cloud.proxy.on_fault[f"{call} {when}"] = server.kill
                cloud.proxy.clear()
                cloud.proxy.plan(call, f"{call} {when}")
                assert register_until_final(instance, uid, csr=csr if uid == "DEVICE" else make_csr()) is None
                wait_until(lambda: server.process is None)
            time.sleep(cloud.iot.lists_lag_s)
            with instance.serve_plain(env=LEASE_OVER):
                answer = register_until_final(instance, "DEVICE", csr=csr)
                assert register_until_final(instance, "DEVICE", csr=csr)["certificate_id"] == answer["certificate_id"]
                settle(cloud, instance)
            assert cloud.problems(instance, ["DEVICE"], ["GONE"]) == []
    times = 1 if scale() == 1 else 5 * scale()  # two devices each
    side_by_side(go, itertools.product(REGISTRATION, ("before", "after"), range(times)))


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        yield server


def test_a_device_is_revoked_with_few_calls(database, tmp_path):
    with Cloud(tmp_path) as cloud, Proxy(database.url, "dynamodb") as tables:
        database.empty()
        instance = cloud.configure(database.instance(tmp_path, url=tables.url))
        instance.import_csv(["DEVICE"])
        with instance.serve_plain():
            register_until_final(instance, "DEVICE")
        tables.clear()
        cloud.calls.clear()
        instance.cvm("device", "revoke", "DEVICE")
        assert cloud.statuses("DEVICE") == ["REVOKED"] and cloud.calls == ["UpdateCertificate"]
        assert set(tables.calls) == {"GetItem", "BatchGetItem", "TransactWriteItems"} and len(tables.calls) <= 11
        assert tables.wrong == []


def test_what_the_reference_made_meanwhile_follows_its_device(database, tmp_path):
    """Ours has registered the device, and then the reference has, anew: the device works with a certificate that no row knows."""
    with Cloud(tmp_path) as cloud:
        database.empty()
        instance = cloud.configure(database.instance(tmp_path))
        instance.import_csv(["DEVICE"])
        with instance.serve_plain():
            register_until_final(instance, "DEVICE")
            theirs = cloud.hang_on(thing_of("DEVICE"), "ACTIVE", device_uid="DEVICE", registered_via="iot-core-cvm")
            database.put({**database.row("DEVICE"), "iot_core_registered_on": {"S": "2026-01-02 03:04:05.678901"}})
            assert theirs.id in {row["certificate_id"] for row in instance.show("DEVICE")["certificates"]}
            for verb, status in (("disable", "INACTIVE"), ("enable", "ACTIVE"), ("revoke", "REVOKED")):
                instance.cvm("device", verb, "DEVICE")
                assert cloud.statuses("DEVICE") == [status, status], verb
            assert len(instance.show("DEVICE")["certificates"]) == 2
            for verb in ("enable", "reset"):
                instance.cvm("device", verb, "DEVICE")
            newest = cloud.hang_on(thing_of("DEVICE"), "ACTIVE", device_uid="DEVICE", registered_via="iot-core-cvm")
            database.put({**database.row("DEVICE"), "iot_core_registered_on": {"S": "2026-02-03 04:05:06.789012"}})
            answer = register_until_final(instance, "DEVICE")
            instance.cvm("reconcile")
            assert newest.status == "REVOKED" and cloud.iot.certificates[answer["certificate_id"]].status == "ACTIVE"
            assert cloud.problems(instance, ["DEVICE"]) == []


def test_connections_that_end_unused_cost_nothing(tmp_path):
    with Cloud(tmp_path) as cloud:
        instance = cloud.instance(tmp_path)
        instance.import_csv(["DEVICE1", "DEVICE2"])
        with instance.serve_plain():
            register_until_final(instance, "DEVICE1")
            assert cloud.proxy.kept
            cloud.proxy.cut()
            before = instance.server.cpu_s()
            time.sleep(1)
            assert instance.server.cpu_s() - before < 0.5  # nobody goes round in circles about them
            register_until_final(instance, "DEVICE2")


def test_stopped_until_the_lease_is_anothers(database, tmp_path):
    """Before each call: the other server takes the lease over and registers the device; then the first one's call arrives. The store's
    clock is what leases go by: the second one sees it ahead."""
    with Cloud(tmp_path) as cloud, Proxy(database.url, "dynamodb") as later:
        later.date_offset_s = 70
        database.empty()
        first = cloud.configure(database.instance(tmp_path, "first"))
        second = cloud.configure(database.instance(tmp_path, "second", url=later.url, like=first))
        uids = [f"DEVICE{number}" for number in range(len(REGISTRATION))]
        first.import_csv(uids)
        second.serve_plain()
        for uid, call in zip(uids, REGISTRATION):
            server = first.serve_plain()
            csr, is_done, is_stopped = make_csr(), threading.Event(), threading.Event()

            def hold():
                server.send_signal(signal.SIGSTOP)
                is_stopped.set()
                is_done.wait(60)

            forward, cloud.proxy.forward = cloud.proxy.forward, lambda *words: held(*words)
            is_held = []

            def held(method, path, headers, body):
                if cloud.proxy.calls[-1] == call and not is_held:
                    is_held.append(True)
                    hold()
                return forward(method, path, headers, body)

            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                asked = pool.submit(first.register, uid, csr=csr, timeout_s=60)
                assert is_stopped.wait(20), call
                answer = register_until_final(second, uid, csr=csr)
                is_done.set()
                time.sleep(0.5)  # the call's effect comes late
                server.send_signal(signal.SIGCONT)
                status, _, body = asked.result()
            cloud.proxy.forward = forward
            assert status != 200 or body["payload"]["certificate_id"] == answer["certificate_id"], (call, body)
            server.stop()
        for _ in range(2):
            second.cvm("reconcile", "--full")
        second.stop()
        assert cloud.problems(second, uids) == []


def test_three_servers_that_are_killed(database, tmp_path):
    """On one table; each device asks all of them at once. When nobody is killed any more the store's clock goes on by a lease."""
    rng, count = random.Random(seed()), 15 * scale()
    with Cloud(tmp_path) as cloud, Proxy(database.url, "dynamodb") as store:
        database.empty()
        servers = [cloud.configure(database.instance(tmp_path, "s0", url=store.url))]
        servers += [cloud.configure(database.instance(tmp_path, f"s{number}", url=store.url, like=servers[0])) for number in (1, 2)]
        uids = [f"DEVICE{number:04}" for number in range(count)]
        servers[0].import_csv(uids)
        for server in servers:
            server.serve_plain()
        kills = []

        def kill_them():
            while len(kills) < count:
                time.sleep(rng.uniform(0.1, 0.5))
                server = rng.choice(servers)
                server.kill()
                server.serve_plain()
                kills.append(server)
            store.date_offset_s = 70
            for server in servers:  # they ask for the clock when they start
                server.kill()
                server.serve_plain()

        def ask(number):
            uid, csr = uids[number // 3], csrs[number // 3]
            for _ in range(300):
                try:
                    status, headers, body = servers[number % 3].register(uid, csr=csr)
                except (OSError, http.client.HTTPException, ValueError, AttributeError):
                    time.sleep(0.1)
                    continue
                if status == 200:
                    return uid, body["payload"]["certificate_id"]
                assert status in (502, 503) or body["payload"]["code"] == "in_progress", body
                time.sleep(0.3)
            raise AssertionError((uid, body))

        csrs = [make_csr() for _ in uids]
        with concurrent.futures.ThreadPoolExecutor(min(3 * count, 60) + 1) as pool:  # more are not let in from one address
            killer = pool.submit(kill_them)
            told = list(pool.map(ask, range(3 * count)))
            killer.result()
        store.date_offset_s = 1000  # notes are looked at minutes later
        for _ in range(4):
            if servers[0].cvm("reconcile", "--full", check=False).returncode == 0:
                break
            time.sleep(1)
        for server in servers:
            server.stop()
        assert len(kills) == count and len(set(told)) == count  # all three were answered the same
        assert cloud.problems(servers[0], uids) == []


# --- Quotas -----------------------------------------------------------------------------------------


def test_devices_beyond_the_quota_come_in_turn(tmp_path):
    """Two servers share it; nothing is sent that AWS would refuse, and nobody is left."""
    count = 40 * scale()
    with Cloud(tmp_path) as cloud:
        cloud.iot.quotas = {"CreateCertificateFromCsr": 15, "AttachPolicy": 15, "CreateThing": 100, "AttachThingPrincipal": 100, "UpdateCertificate": 10}
        servers = [cloud.instance(tmp_path, f"s{number}", **{"aws.quota_share": 50}) for number in range(2)]
        for number, server in enumerate(servers):
            server.import_csv([f"S{number}D{i}" for i in range(count // 2)])
            server.serve_plain({"limit.connections_per_address": 10000})

        def ask(i):
            told = []
            for _ in range(100):
                status, headers, body = servers[i % 2].register(f"S{i % 2}D{i // 2}")
                told.append("ok" if status == 200 else body["payload"]["code"])
                if status == 200:
                    return told
                time.sleep(float(headers["Retry-After"]))
            raise AssertionError(told)

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            told = [code for codes in pool.map(ask, range(count)) for code in codes]
        for server in servers:
            server.stop()
        assert set(told) <= {"ok", "overloaded"} and told.count("ok") == count
        assert cloud.calls.count("CreateCertificateFromCsr") <= count + 2
        active = [certificate for certificate in cloud.ours() if certificate.status == "ACTIVE"]
        assert len(active) == len(cloud.ours()) == count
