"""The Lambda under AWS's own runtime emulator (from the package aws-sam-cli), which stands in for Lambda itself.

    with Function(folder, {"device_dynamodb_table": "devices", …}) as function:
        answer = function.invoke({"device_uid": …, "device_token": …})
"""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import time

from cvm_server import REPORTS, build_folder, free_port

START_S = 10


def emulator():
    path = os.environ.get("CVM_LAMBDA_EMULATOR") or pathlib.Path(__file__).parents[2] / "third_party/lambda/aws-lambda-rie"
    assert pathlib.Path(path).is_file(), f"{path} is missing: scripts/install makes it"
    return str(path)


class Function:
    def __init__(self, folder, environment, bootstrap=None, timeout_s=30, handler="bootstrap"):
        self.log = pathlib.Path(folder) / "lambda.log"
        self.port = free_port()
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CVM_")}
        variables.update({name: str(value) for name, value in environment.items()})
        variables.setdefault("CVM_MODULE_PATH", str(build_folder()))
        variables["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(timeout_s)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [emulator(), "--log-level", "error", "--runtime-interface-emulator-address", f"127.0.0.1:{self.port}",
                 "--runtime-api-address", f"127.0.0.1:{free_port()}", str(bootstrap or build_folder() / "examples/lambda/bootstrap"), handler],
                env=variables, stdout=log, stderr=log, cwd=folder)

    def __enter__(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=1).connect()
                return self
            except OSError:
                assert self.process.poll() is None, self.text
                time.sleep(0.02)
        raise AssertionError(self.text)

    def __exit__(self, *problem):
        for pid in self.bootstraps():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        assert not any(report in self.text for report in REPORTS), self.text[-8000:]

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def bootstraps(self):
        """Processes that the emulator runs now."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for path in children for pid in path.read_text().split()]

    def invoke(self, event, timeout_s=60):
        """What it answers: JSON, or bytes where that is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", "/2015-03-31/functions/function/invocations", event if isinstance(event, bytes) else json.dumps(event))
            data = connection.getresponse().read()
        finally:
            connection.close()
        try:
            return json.loads(data)
        except ValueError:
            return data
