#!/usr/bin/env python3
"""A device by docs/protocol.md:  device.py DIR https://HOST[:PORT]/registration UID TOKEN_FILE ROOT_CA_FILE"""

import calendar
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import random
import ssl
import sys
import time
import urllib.parse

import paho.mqtt.client as mqtt

BUILT = "2026-01-01T00:00:00Z"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: a slow clock can judge the end alone, and check_end() does


def store(path, text):
    """All of it or nothing, whatever happens, and for this user only."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def trust(anchors):
    """TLS 1.2 or later, a chain to these anchors, the server's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=anchors)
    context.verify_flags |= NO_CHECK_TIME
    return context


def check_end(connection, known_time=BUILT):
    known_s = calendar.timegm(time.strptime(known_time, "%Y-%m-%dT%H:%M:%SZ"))
    if ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"]) < max(known_s, time.time()):
        raise ssl.SSLCertVerificationError("the server's certificate is over")


def insist(attempt, *arguments):
    """Tries until there is a result. An attempt returns that, or None, what is wrong and how long to wait at least."""
    for tries in itertools.count():
        try:
            result, problem, at_least_s = attempt(*arguments)
        except ssl.SSLCertVerificationError as error:
            sys.exit(f"device: stopped: {error}")
        except (OSError, http.client.HTTPException) as error:
            result, problem, at_least_s = None, error, 0
        if result:
            return result
        pause_s = at_least_s + random.uniform(0, min(2 ** min(tries, 12), 60 if tries < 10 else 3600))
        print(f"device: {problem}; next try in {pause_s:.1f} s", file=sys.stderr)
        time.sleep(pause_s)


def ask(url, body, context):
    """One request; the payload of a success."""
    connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context)
    connection.connect()
    check_end(connection.sock)
    connection.request("POST", url.path, body, {"Content-Type": "application/json", "Connection": "close"})
    answer = connection.getresponse()
    wait, text = answer.headers.get("Retry-After", ""), answer.read(65536)
    if answer.length:
        raise http.client.IncompleteRead(text, answer.length)
    try:
        message = json.loads(text)
        status, payload = message["statusCode"], message["payload"]  # HTTP may say 200 whatever it is
    except (ValueError, KeyError, TypeError):  # a proxy's
        status, payload = answer.status, {"retryable": answer.status >= 500 or answer.status == 429}
    if status == 200 and "certificates" in payload:
        return payload, None, 0
    problem = f"{status} {payload.get('code')}: {payload.get('message')} ({payload.get('request_id')})"
    if not payload.get("retryable"):
        sys.exit(f"device: stopped: {problem}")
    return None, problem, int(wait) if wait.isdigit() else 0


def register(folder, url, uid, token, anchors):
    """Checks before it stores. credentials.json comes last: where it is, all is."""
    body = json.dumps({"device_uid": uid, "device_token": token})
    payload = insist(ask, urllib.parse.urlsplit(url), body, trust(anchors))
    chain, end = payload["certificates"]["device_certificate"], "-----END CERTIFICATE-----"
    leaf = ssl.PEM_cert_to_DER_cert(chain.partition(end)[0] + end)
    if hashlib.sha256(leaf).hexdigest() != payload["certificate_id"]:
        sys.exit("device: stopped: certificate_id is not the certificate's")
    store(folder / "identity.pem", payload["keyPair"]["privateKey"] + chain)
    trust(payload["certificates"]["root_ca"]).load_cert_chain(folder / "identity.pem")  # raises if the key does not fit
    store(folder / "credentials.json", json.dumps(payload))


def hello(folder, payload):
    """One connection, one message. True once the broker has it."""
    done, name, endpoint = [], payload["thing_name"], urllib.parse.urlsplit(f"//{payload['endpoint']}")
    context = trust(payload["certificates"]["root_ca"])
    context.load_cert_chain(folder / "identity.pem")
    client = mqtt.Client(client_id=name)
    client.tls_set_context(context)
    client.on_connect = lambda *_: client.publish(f"things/{name}/hello", f"hello from {name}", qos=1)
    client.on_publish = lambda *_: done.append(True)
    client.connect(endpoint.hostname, endpoint.port or 8883)
    check_end(client.socket(), payload["server_time"])
    end = time.monotonic() + 30
    while not done and time.monotonic() < end and client.loop(1) == mqtt.MQTT_ERR_SUCCESS:
        pass
    client.disconnect()
    return bool(done), "the broker did not take it", 0


def main(folder, url, uid, token_file, ca_file):
    folder, credentials = pathlib.Path(folder), pathlib.Path(folder) / "credentials.json"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not credentials.exists():
        token, anchors = (pathlib.Path(file).read_text(encoding="ascii") for file in (token_file, ca_file))
        register(folder, url, uid, token.strip(), anchors)
        print(f"registered {uid}", flush=True)
    payload = json.loads(credentials.read_text(encoding="ascii"))
    insist(hello, folder, payload)
    print(f"published as {payload['thing_name']}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 6 else sys.exit(__doc__)
