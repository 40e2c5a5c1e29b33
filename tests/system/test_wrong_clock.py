"""The programs under a clock that is wrong: nothing useless is made, nothing is ruined, and it heals."""

import datetime
import glob
import json
import sqlite3

import pytest

from csr_tools import openssl
from cvm_server import is_sanitized
from fault_checker import Crl

CERTIFICATES = ("tls/server.pem", "mosquitto/server.pem")
TRY_AGAIN = 75

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)

pytestmark = pytest.mark.skipif(is_sanitized() or not LIBRARY, reason="faketime does not run under sanitizers")


def turned(date):
    """The environment of a program under another wall clock."""
    return {"LD_PRELOAD": LIBRARY, "FAKETIME": f"@{date}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def at(instance, date, *arguments):
    return instance.cvm(*arguments, check=False, env=turned(date))


def serve_at(instance, date):
    return instance.serve(env=turned(date))


def files(instance):
    return {name: (instance.folder / name).read_bytes() for name in (*CERTIFICATES, "ca/crl.pem")}


def describe(instance, name, *what):
    return openssl("x509", "-noout", "-in", instance.folder / name, *what).decode()


def is_valid_now(instance, name):
    done = openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", instance.root_ca, "-untrusted",
                   instance.folder / "ca/issuing.pem", instance.folder / name, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("date", ["1970-01-02 00:00:00", "2000-01-01 00:00:00", "2050-01-01 00:00:00"])
def test_a_server_waits_for_its_clock(instance, date):
    instance.add("DEVICE")
    with instance.serve():
        assert instance.register("DEVICE")[0] == 200
    instance.add("OTHER")
    before = files(instance)
    with serve_at(instance, date) as server:
        status, text = instance.ops("/readyz")
        assert status == 503 and "the clock says" in text
        assert instance.ops("/livez")[0] == 200
        assert instance.metrics()["cvm_clock_trusted"] == 0
        assert server.stderr.count("nothing is issued") == 1
    done = at(instance, date, "serve", "--check-config")
    assert done.returncode == TRY_AGAIN and b"the clock says" in done.stderr, done
    done = at(instance, date, "device", "revoke", "DEVICE")
    assert done.returncode == TRY_AGAIN and b"not carried out" in done.stderr, done
    done = at(instance, date, "ca", "server", "--renew")
    assert done.returncode == TRY_AGAIN, done
    assert files(instance) == before
    with instance.serve() as server:
        assert instance.register("OTHER")[0] == 200
        assert server.stderr.count("nothing is issued") == 0
        instance.cvm("device", "revoke", "DEVICE")  # which was recorded
    assert len(Crl(instance.folder / "ca/crl.pem", instance.folder / "ca").entries) == 1


def test_certificates_of_a_clock_that_was_ahead_are_renewed(instance):
    assert at(instance, "2044-06-01 00:00:00", "ca", "server", "--renew").returncode == 0
    assert not any(is_valid_now(instance, name) for name in CERTIFICATES)
    with instance.serve():
        assert all(is_valid_now(instance, name) for name in CERTIFICATES)
        instance.add("DEVICE")
        assert instance.register("DEVICE")[0] == 200  # the client checks the server's


def test_none_is_written_past_its_issuer(instance):
    before = files(instance)
    assert at(instance, "2046-11-30 00:00:00", "ca", "server", "--renew").returncode == TRY_AGAIN
    done = at(instance, "1999-01-01 00:00:00", "ca", "server", "broker", "--out", instance.folder / "other")
    assert done.returncode and b"the clock lies outside" in done.stderr, done
    assert files(instance) == before


def test_renewed_by_hand_they_keep_their_names_and_keys(instance):
    before = {name: describe(instance, name, "-ext", "subjectAltName", "-pubkey") for name in CERTIFICATES}
    serials = {name: describe(instance, name, "-serial") for name in CERTIFICATES}
    done = instance.cvm("ca", "server", "--renew")
    assert all(name in done.stdout.decode() for name in CERTIFICATES), done
    for name in CERTIFICATES:
        assert describe(instance, name, "-ext", "subjectAltName", "-pubkey") == before[name]
        assert describe(instance, name, "-serial") != serials[name]
        assert is_valid_now(instance, name)
    assert instance.cvm("ca", "server", "--renew", "name", check=False).returncode == 64


def set_mark(instance, value):
    with sqlite3.connect(instance.folder / "devices.db") as db:
        db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('clock_mark', ?)", (value,))
    db.close()


def test_a_mark_of_a_clock_that_was_ahead_is_put_right(instance):
    instance.add("DEVICE")
    set_mark(instance, "2500000000000")  # 2049
    assert instance.cvm("serve", "--check-config", check=False).returncode == TRY_AGAIN
    done = instance.cvm("store", "clock")
    assert b"2049" in done.stdout and b"begin in the future: 0" in done.stdout, done
    before = f"{datetime.datetime.utcnow():%Y-%m-%dT%H:%M:%SZ}"
    report = json.loads(instance.cvm("store", "clock", "--json").stdout)
    assert before <= report.pop("now") <= f"{datetime.datetime.utcnow():%Y-%m-%dT%H:%M:%SZ}"
    assert report == {"mark": "2049-03-22T04:26:40Z", "begin_in_the_future": 0, "accepted": False}
    assert instance.cvm("serve", "--check-config", check=False).returncode == TRY_AGAIN
    with instance.serve() as server:
        assert "cvm store clock --accept" in server.stderr
        status, _, body = instance.register("DEVICE")
        assert (status, body["payload"]["code"]) == (503, "platform_unavailable")
        assert b"accepted" in instance.cvm("store", "clock", "--accept").stdout
        instance.server.wait_for_log("the clock is right again", timeout_s=30)
        assert instance.register("DEVICE")[0] == 200
    assert instance.cvm("serve", "--check-config").returncode == 0


def test_a_mark_that_is_none_holds_nobody_up(instance):
    instance.add("DEVICE")
    for value in ("", "junk", "-5"):
        set_mark(instance, value)
        with instance.serve():
            assert instance.ops("/readyz")[0] == 200
