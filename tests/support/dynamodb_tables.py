#!/usr/bin/python3
"""Calls DynamoDB Local, which looks at no signature: URL TABLE makes the store's two tables, empty. A module too."""
import http.client
import json
import sys
from urllib.parse import urlsplit


class Refused(Exception):
    """What DynamoDB answers instead."""

    def __init__(self, answer):
        super().__init__(answer.get("__type", ""), answer.get("message", answer.get("Message", "")))
        self.name = answer.get("__type", "").split("#")[-1]
        self.answer = answer


def call(url, name, **body):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("POST", "/", json.dumps(body), {
        "X-Amz-Target": "DynamoDB_20120810." + name, "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"})
    response = connection.getresponse()
    answer = json.loads(response.read() or b"{}")
    connection.close()
    if response.status != 200:
        raise Refused(answer)
    return answer


def drop(url, table):
    """`cvm store create` protects what it makes."""
    call(url, "UpdateTable", TableName=table, DeletionProtectionEnabled=False)
    call(url, "DeleteTable", TableName=table)


def make(url, table, **keys):
    try:
        drop(url, table)
    except Refused as refused:
        if refused.name != "ResourceNotFoundException":
            raise
    call(url, "CreateTable", TableName=table, BillingMode="PAY_PER_REQUEST",
         KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
         AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys])


def empty(url, table):
    make(url, table, device_uid="HASH")
    make(url, table + "-cvm", pk="HASH", sk="RANGE")


if __name__ == "__main__":
    empty(*sys.argv[1:])
