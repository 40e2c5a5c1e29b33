#!/usr/bin/env python3
"""Makes sigv4.json: requests as AWS's own botocore 1.34.162 signs them (pip install botocore==1.34.162)."""
import datetime
import json
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# method, host, path (encoded once), query (encoded, sorted), headers, body, service, region, token
CASES = [
    ("POST", "dynamodb.eu-central-1.amazonaws.com", "/", "", {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.GetItem"},
     '{"TableName":"devices"}', "dynamodb", "eu-central-1", None),
    ("POST", "dynamodb.us-gov-west-1.amazonaws.com", "/", "", {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.PutItem"},
     '{"Item":{"a":{"S":"\u00e9 \U0001f511"}}}', "dynamodb", "us-gov-west-1", "SESSION/TOKEN+WITH==/CHARACTERS"),
    ("POST", "127.0.0.1:8000", "/", "", {"content-type": "application/x-amz-json-1.0"}, "", "dynamodb", "us-east-1", None),
    ("GET", "iot.eu-west-1.amazonaws.com", "/endpoint", "endpointType=iot%3AData-ATS", {}, "", "execute-api", "eu-west-1", None),
    ("POST", "iot.eu-west-1.amazonaws.com", "/certificates", "setAsActive=false", {"content-type": "application/json"},
     '{"certificateSigningRequest":"-----BEGIN CERTIFICATE REQUEST-----\\n"}', "execute-api", "eu-west-1", "T" * 900),
    ("POST", "iot.cn-north-1.amazonaws.com.cn", "/things/thing%3Awith_every-char.%7E", "", {"content-type": "application/json"},
     '{"attributePayload":{"attributes":{"device_uid":"A:B"}}}', "iot", "cn-north-1", None),
    ("PUT", "iot.eu-west-1.amazonaws.com", "/things/t/principals", "thingPrincipalType=EXCLUSIVE_THING",
     {"x-amzn-principal": "arn:aws:iot:eu-west-1:123456789012:cert/" + "ab" * 32}, "", "iot", "eu-west-1", None),
    ("DELETE", "iot.eu-west-1.amazonaws.com", "/certificates/" + "0f" * 32, "forceDelete=true", {}, "", "iot", "eu-west-1", "x"),
    ("PUT", "iot.eu-west-1.amazonaws.com", "/target-policies/policy%20with%20blanks%2Fslash", "", {}, '{"target":"arn"}', "iot", "eu-west-1", None),
    ("GET", "iot.eu-west-1.amazonaws.com", "/certificates", "isAscendingOrder=false&marker=a%2Bb%2Fc%3D%3D&pageSize=250", {}, "", "iot", "eu-west-1", None),
]


def sign(number, case):
    method, host, path, query, headers, body, service, region, token = case
    now = datetime.datetime(2026, 1, 31, 23, 59, 50) + datetime.timedelta(seconds=7 * number)

    class Auth(botocore.auth.SigV4Auth):
        def add_auth(self, request):
            request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
            self._modify_request_before_signing(request)
            canonical = self.canonical_request(request)
            self._inject_signature_to_request(request, self.signature(self.string_to_sign(request, canonical), request))

    request = AWSRequest(method, f"https://{host}{path}" + (f"?{query}" if query else ""), headers, body.encode())
    request.headers["host"] = host
    Auth(Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token), service, region).add_auth(request)
    return {"method": method, "host": host, "path": path, "query": query, "headers": [f"{name}: {value}" for name, value in headers.items()],
            "body": body, "service": service, "region": region, "token": token or "", "now_ms": int(now.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000),
            "date": request.context["timestamp"], "authorization": request.headers["Authorization"]}


json.dump({"cases": [sign(number, case) for number, case in enumerate(CASES)]}, sys.stdout, indent=1)
print()
