"""Three servers on one database behind the balancer of deploy/, restarted one after the other."""

import concurrent.futures
import http.client
import json
import pathlib
import shutil
import subprocess
import threading
import time

import pytest

from broker import REPOSITORY, free_port, wait_until
from cvm_server import scale, token
from postgresql import PostgreSQL

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
SERVERS = 3
DEVICES = 200 * scale()
DOWN_S = 3.5  # longer than the balancer tries the same one again, shorter than it takes to notice by its checks

pytestmark = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")


def configuration(port, ports):
    """deploy/balancer/haproxy.cfg for these servers: (port, ops port) each, which stay the same over restarts."""
    text = (REPOSITORY / "deploy/balancer/haproxy.cfg").read_text()
    head, _, _ = text.partition("    server cvm1")
    head = head.replace("bind :443", f"bind 127.0.0.1:{port}").replace("bind :::443 v6only", "")
    head = head.replace("{ sc0_conn_rate gt 500 }", "{ sc0_conn_rate gt 100000 }")  # all devices have one address here
    return head.replace("check port 9464", "check") + "".join(
        f"    server cvm{i} 127.0.0.1:{at} port {ops}\n" for i, (at, ops) in enumerate(ports))


@pytest.fixture
def fleet(tmp_path):
    with PostgreSQL() as database:
        instances = database.instances(tmp_path, SERVERS)
        ports = [(free_port(), free_port()) for _ in instances]

        def serve(i):
            instances[i].serve_plain({"http.listen": f"127.0.0.1:{ports[i][0]}", "ops.listen": f"127.0.0.1:{ports[i][1]}",
                                      "http.proxy_protocol": "on", "http.trusted_proxies": "127.0.0.1",
                                      "registration.retry_window": 0})
        for i in range(SERVERS):
            serve(i)
        port = free_port()
        path = pathlib.Path(tmp_path) / "haproxy.cfg"
        path.write_text(configuration(port, ports))
        with subprocess.Popen([HAPROXY, "-db", "-f", str(path)], stderr=subprocess.DEVNULL) as balancer:
            try:
                yield database, instances, serve, port
            finally:
                balancer.terminate()
        for instance in instances:
            instance.stop()


def ask(port, uid):
    """(code, how often the connection ended without an answer): asked until the answer is a final one."""
    body = json.dumps({"device_uid": uid, "device_token": token(uid)})
    lost = 0
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("POST", "/registration", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            payload = json.loads(answer.read())["payload"]
            code = "ok" if answer.status == 200 else payload["code"]
            if answer.status < 500 and code != "in_progress":
                return code, lost
        except (OSError, http.client.HTTPException):
            lost += 1
        finally:
            connection.close()
        time.sleep(0.1)
    raise AssertionError(f"{uid} gets no answer")


def test_a_rolling_restart_loses_nothing(fleet):
    database, instances, serve, port = fleet
    uids = [f"DEVICE{i:04}" for i in range(DEVICES)]
    instances[0].import_csv(uids)
    wait_until(lambda: ask(port, "NOBODY")[0] == "not_authorized", "the balancer")
    is_over = threading.Event()

    def restart():
        count = 0
        while not is_over.is_set() or count < SERVERS:
            instances[count % SERVERS].stop()
            time.sleep(DOWN_S)
            serve(count % SERVERS)
            count += 1
            time.sleep(0.2)
        return count

    def register(uid):
        time.sleep(0.4)
        return ask(port, uid)

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        restarts = pool.submit(restart)
        try:
            answers = dict(zip(uids, pool.map(register, uids)))
        finally:
            is_over.set()
        assert restarts.result() >= SERVERS
    lost = sum(count for _, count in answers.values())
    assert lost <= DEVICES // 100, f"{lost} connections ended without an answer"
    # who is not told "ok" was registered all the same, and its answer was what got lost
    assert sum(code == "ok" for code, _ in answers.values()) >= DEVICES - lost
    assert {code for code, _ in answers.values()} <= {"ok", "already_registered"}
    assert database.sql("SELECT count(*) FROM cvm.devices WHERE is_registered = 1") == str(DEVICES)
    assert database.sql("SELECT count(*) FROM cvm.certificates WHERE state = 'current'") == str(DEVICES)
