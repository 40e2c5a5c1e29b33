"""Memory that runs out in the middle of a registration over DynamoDB and AWS IoT: at each place in turn, in our module and in
what reads JSON for it. (libcurl 7.88 divides by zero when its own fails.) The device gets its certificate or a refusal that lets it ask again, and once there is memory all is
as it should be."""

import itertools
import mmap
import struct

import pytest

from aws_iot import Cloud
from cvm_server import scale, token
from dynamodb import DynamoDB
from fault_server import preloaded
from test_faults_aws_iot import register_until_final, settle

OBJECTS = {"ours": "/cvm-dynamodb.so:/cvm-aws", "its JSON's": "/libcjson.so"}
EVERY = {"ours": 8, "its JSON's": 4}  # in CI a sample
QUOTAS = ("create_certificate", "attach_policy", "create_thing", "attach_principal", "update_certificate")


class Memory:
    """Which allocation of the server's fails, and how many there were."""

    def __init__(self, path, objects):
        path.write_bytes(bytes(16))
        with open(path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 16)
        self.env = preloaded("failmalloc", CVM_FAIL_SHARED=path, CVM_FAIL_FROM_LIBRARY=objects)

    def fail(self, nth):
        self.shared[:] = struct.pack("qq", nth, 0)

    def relent(self):
        """How many there were."""
        _, count = struct.unpack("qq", self.shared)
        self.shared[:] = bytes(16)
        return count


@pytest.fixture(scope="module")
def database():
    with DynamoDB() as server:
        yield server


@pytest.mark.parametrize("objects", OBJECTS)
def test_memory_runs_out(database, tmp_path, objects):
    database.empty()
    memory = Memory(tmp_path / "memory", OBJECTS[objects])
    with Cloud(tmp_path) as cloud:
        instance = cloud.configure(database.instance(tmp_path), **{f"aws.quota_{name}": "10000/s" for name in QUOTAS})
        answers = {}
        with instance.serve_plain(env=memory.env):
            for nth in itertools.count(1, 1 if scale() > 1 else EVERY[objects]):
                uid = f"DEVICE{nth}"
                database.put({"device_uid": {"S": uid}, "device_token": {"S": token(uid)}, "is_enabled": {"N": "1"}})
                memory.fail(nth)
                answers[uid] = status, _, body = instance.register(uid)
                assert status in (200, 500, 502, 503), (nth, body)
                if memory.relent() < nth:
                    break
            settle(cloud, instance)  # what a write has come to may not have been understood: its lease is over by then
            for uid, (status, _, _) in answers.items():
                if status != 200:
                    register_until_final(instance, uid)
        assert len(answers) > 10 and {status for status, _, _ in answers.values()} >= {200, 503}
        settle(cloud, instance)
        assert cloud.problems(instance, answers) == []
