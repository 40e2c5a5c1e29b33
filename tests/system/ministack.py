"""AWS on this machine, by people who know nothing of us: API Gateway, Lambda, DynamoDB, and IoT Core with MQTT over mutual TLS.

    with Ministack(folder) as aws:
        aws.client("lambda").create_function(…)
"""

import json
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request

import botocore.session

from cvm_server import free_port

THIRD_PARTY = pathlib.Path(__file__).parents[2] / "third_party"
REGION = "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
START_S = 60


class Ministack:
    def __init__(self, folder):
        self.port, self.mqtt_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = pathlib.Path(folder)
        self.log = self.folder / "ministack.log"
        self.root_ca = self.folder / "iot-ca.pem"
        self._session = botocore.session.Session()

    def __enter__(self):
        environment = {**os.environ, **KEYS, "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_PORT": str(self.mqtt_port),
                       "MINISTACK_REGION": REGION, "SERVICES": "lambda,apigateway,dynamodb,iot,iam,sts,logs", "TMPDIR": str(self.folder),
                       "PYTHONPATH": str(THIRD_PARTY / "ministack")}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "ministack"], env=environment, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while not self._is_up():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)
        with urllib.request.urlopen(f"{self.url}/_ministack/iot/ca.pem", timeout=10) as answer:
            self.root_ca.write_bytes(answer.read())
        self._wake_listener()
        return self

    def _wake_listener(self):
        """It makes its certificate at the first connection, and lets that one hang."""
        context = ssl.create_default_context(cafile=str(self.root_ca))
        try:
            with socket.create_connection(("127.0.0.1", self.mqtt_port), timeout=1) as plain:
                context.wrap_socket(plain, server_hostname="localhost").close()
        except OSError:
            pass

    def _is_up(self):
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5) as answer:
                return json.load(answer)["iot_mtls"] == "listening"
        except OSError:
            return False

    def __exit__(self, *problem):
        self.process.terminate()
        self.process.wait(30)

    def client(self, service):
        client = self._session.create_client(service, region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test")
        if service == "iot":  # Debian's botocore signs for a name that AWS has since given up
            client._request_signer._signing_name = "iot"
        return client

    def connect(self, endpoint, certificate, key, client_id):
        """Connects by MQTT over mutual TLS to the endpoint that a device was told; "accepted", or why not. Its name is asked for and
        checked; the port is this machine's."""
        context = ssl.create_default_context(cafile=str(self.root_ca))
        try:
            context.load_cert_chain(certificate, key)
            with socket.create_connection(("127.0.0.1", self.mqtt_port), timeout=10) as plain:
                with context.wrap_socket(plain, server_hostname=endpoint.partition(":")[0]) as connection:
                    name = client_id.encode()
                    packet = b"\x00\x04MQTT\x04\x02\x00\x1e" + struct.pack(">H", len(name)) + name
                    connection.sendall(b"\x10" + bytes([len(packet)]) + packet)
                    answer = connection.recv(4)
        except (OSError, ssl.SSLError) as problem:
            return str(problem)
        return "accepted" if answer == b"\x20\x02\x00\x00" else f"refused: {answer!r}"
