"""DynamoDB Local, with instances on its tables; and what the reference system makes of a row."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from cvm_server import Instance, build_folder

SUPPORT = pathlib.Path(__file__).parent.parent / "support"
sys.path.insert(0, str(SUPPORT))
import dynamodb_tables  # noqa: E402 (it is beside the shell script that tests in C use)
from dynamodb_tables import Refused, call  # noqa: E402,F401
from reference_lambda import verdict  # noqa: E402

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true"}


class DynamoDB:
    """A server, in memory. table: the maker's; the other one is called table-cvm."""

    table = "devices"

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="cvm-dynamodb-")
        self.folder = pathlib.Path(self._folder.name)
        os.environ.update(KEYS)

    def __enter__(self):
        subprocess.run([SUPPORT / "dynamodb", "start", self.folder], check=True)
        self.url = (self.folder / "url").read_text().strip()
        subprocess.run([SUPPORT / "dynamodb", "stop-after", self.folder, str(os.getpid())], check=True)
        return self

    def __exit__(self, *problem):
        subprocess.run([SUPPORT / "dynamodb", "stop", self.folder], check=True)
        self._folder.cleanup()

    def call(self, name, **body):
        return call(self.url, name, **body)

    def empty(self):
        dynamodb_tables.empty(self.url, self.table)

    def drop(self):
        for table in self.call("ListTables")["TableNames"]:
            dynamodb_tables.drop(self.url, table)

    def put(self, row):
        """As a maker's script does, whatever is there."""
        self.call("PutItem", TableName=self.table, Item=row)

    def row(self, uid):
        return self.call("GetItem", TableName=self.table, Key={"device_uid": {"S": uid}}, ConsistentRead=True).get("Item")

    def items(self, table=None):
        """All of a table."""
        items, more = [], {}
        while True:
            answer = self.call("Scan", TableName=table or self.table, ConsistentRead=True, **more)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def certificates(self, uid, state):
        return [item for item in self.items(self.table + "-cvm")
                if item["sk"] == {"S": "C"} and item["device_uid"] == {"S": uid} and item["state"] == {"S": state}]

    def instance(self, folder, name="cvm", url=None, like=None):
        """An instance on the tables; url: by way of a proxy; like: it shares that one's CA."""
        instance = Instance(folder, name=name)
        text = instance.conf.read_text().replace("store = file:devices.db", f"store = dynamodb:{self.table}")
        instance.conf.write_text(f"{text}\nmodule.path = {build_folder()}\naws.endpoint_dynamodb = {url or self.url}\n")
        if like:
            shutil.rmtree(instance.folder / "ca")
            shutil.copytree(like.folder / "ca", instance.folder / "ca")
            shutil.rmtree(instance.folder / "mosquitto")  # of the CA that it had
        return instance


def python_value(attribute):
    """As boto3's resource hands it to the reference: numbers compare as numbers, texts as texts."""
    (kind, value), = attribute.items()
    return {"N": lambda: float(value), "S": lambda: value, "BOOL": lambda: value}[kind]()


def reference_verdict(row, token):
    """What the reference's Lambda decides about a row: "registers", "registered", "disabled" or "token"."""
    return verdict({name: python_value(attribute) for name, attribute in row.items()}, token) or "registers"
