"""JSON that is not, that means two things, or that costs much. Read strictly: refused, with one line
that says why, and nothing of it repeated to the peer."""

import itertools
import json
import random

import pytest

from cvm_server import Instance, scale, seed, token
from raw_http import Wire, ask, post, registration

COUNTER = itertools.count()
DEVICES = 120


@pytest.fixture(scope="module")
def plain(module_path):
    instance = Instance(module_path, name="json")
    instance.import_csv([f"FREE{i}" for i in range(DEVICES)] + ["GOOD", "OTHER"])
    instance.serve_plain({"log.refusals_per_address": "0/min", "log.refusals": "0/min"},
                         limit_failures_per_address="0/min")
    yield instance
    try:
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture
def uid():
    return f"FREE{next(COUNTER)}"


def members(*pairs):
    """An object of exactly these bytes."""
    return b"{" + b",".join(b"%s:%s" % (name, value) for name, value in pairs) + b"}"


UID, TOKEN = b'"device_uid"', b'"device_token"'
NAME, SECRET = b'"GOOD"', b'"%s"' % token("GOOD").encode()
GOOD = members((UID, NAME), (TOKEN, SECRET))


def beside(value, name=b'"more"'):
    """A good registration with one more member."""
    return members((UID, NAME), (TOKEN, SECRET), (name, value))


BAD = {
    # structure
    "empty": b"",
    "white space": b" \r\n\t ",
    "an array": b"[" + GOOD + b"]",
    "a string": b'"device_uid"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "unfinished": GOOD[:-1],
    "unfinished string": GOOD[:-2],
    "no quotes": b"{device_uid:GOOD}",
    "single quotes": GOOD.replace(b'"', b"'"),
    "comma at the end": GOOD[:-1] + b",}",
    "comma at the beginning": b"{," + GOOD[1:],
    "two commas": GOOD.replace(b",", b",,"),
    "no comma": GOOD.replace(b",", b" "),
    "no colon": GOOD.replace(b":", b" ", 1),
    "comment": GOOD[:-1] + b"/* */}",
    "line comment": GOOD[:-1] + b"// a\n}",
    "name is a number": beside(b"1", b"1"),
    # what stands before and behind it
    "trailing byte": GOOD + b"x",
    "trailing object": GOOD + GOOD,
    "trailing comma": GOOD + b",",
    "trailing NUL": GOOD + b"\0",
    "trailing NUL and more": GOOD + b"\0" + b"x" * 20,
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32-be"),
    "form feed": GOOD + b"\x0c",
    "vertical tab before": b"\x0b" + GOOD,
    "no-break space": GOOD + b"\xc2\xa0",
    # names
    "uid twice": members((UID, NAME), (UID, NAME), (TOKEN, SECRET)),
    "uid twice, different": members((UID, b'"OTHER"'), (UID, NAME), (TOKEN, SECRET)),
    "token twice": members((UID, NAME), (TOKEN, b'"a"'), (TOKEN, SECRET)),
    "uid twice by an escape": members((UID, NAME), (b'"device\\u005fuid"', b'"OTHER"'), (TOKEN, SECRET)),
    "unknown name twice": members((UID, NAME), (TOKEN, SECRET), (b'"a"', b"1"), (b'"a"', b"2")),
    "unknown name twice by an escape": members((UID, NAME), (TOKEN, SECRET), (b'"a"', b"1"), (b'"\\u0061"', b"2")),
    "twice inside another member": beside(b'{"a":1,"a":2}'),
    "twice inside an array": beside(b'[{"a":1,"a":2}]'),
    "wrong case": GOOD.replace(b"device_uid", b"Device_UID"),
    "wrong case beside the right one": members((UID, NAME), (b'"DEVICE_UID"', b'"OTHER"'), (TOKEN, SECRET)),
    "wrong case by an escape": members((UID, NAME), (TOKEN, SECRET), (b'"\\u0044evice_uid"', b'"OTHER"')),
    "wrong case of csr": beside(b'"x"', b'"CSR"'),
    "NUL in a name": members((UID, NAME), (TOKEN, SECRET), (b'"device_uid\\u0000x"', b'"OTHER"')),
    # strings
    "NUL by an escape": GOOD.replace(b"GOOD", b"GOOD\\u0000"),
    "NUL raw": GOOD.replace(b"GOOD", b"GOOD\0"),
    "NUL in another member": beside(b'"\\u0000"'),
    "NUL in the token": GOOD.replace(b'"}', b'\\u0000x"}'),
    "line end": GOOD.replace(b"GOOD", b"GOOD\n"),
    "tab": beside(b'"\t"'),
    "escape character": beside(b'"\x1b[2J"'),
    "0x1f": beside(b'"\x1f"'),
    "unknown escape": beside(b'"\\x41"'),
    "escape of a line end": beside(b'"\\\n"'),
    "escape at the end": b'{"a":"\\',
    "short \\u": beside(b'"\\u12"'),
    "\\u without hex": beside(b'"\\u00g0"'),
    "\\u with a sign": beside(b'"\\u+123"'),
    "\\U": beside(b'"\\U0041"'),
    # UTF-8
    "lone continuation": beside(b'"\x80"'),
    "0xff": beside(b'"\xff"'),
    "cut short at the end": beside(b'"\xe2\x82"'),
    "cut short at the input's end": b'{"a":"\xf0\x9f\x98',
    "overlong slash, two bytes": beside(b'"\xc0\xaf"'),
    "overlong slash, three bytes": beside(b'"\xe0\x80\xaf"'),
    "overlong slash, four bytes": beside(b'"\xf0\x80\x80\xaf"'),
    "overlong NUL": beside(b'"\xc0\x80"'),
    "overlong quote": beside(b'"\xc0\xa2"'),
    "surrogate in UTF-8": beside(b'"\xed\xa0\x80"'),
    "surrogates in UTF-8 (CESU)": beside(b'"\xed\xa0\xbd\xed\xb8\x80"'),
    "past U+10FFFF": beside(b'"\xf4\x90\x80\x80"'),
    "five bytes": beside(b'"\xf8\x88\x80\x80\x80"'),
    "Latin-1": beside(b'"\xe4"'),
    "bad UTF-8 in a name": beside(b"1", b'"\xff"'),
    "lone high surrogate": beside(b'"\\ud83d"'),
    "lone low surrogate": beside(b'"\\ude00"'),
    "two high surrogates": beside(b'"\\ud83d\\ud83d"'),
    "high surrogate and a letter": beside(b'"\\ud83dA"'),
    "high surrogate and another escape": beside(b'"\\ud83d\\n"'),
    "high surrogate in a name": beside(b"1", b'"\\ud83d"'),
    # numbers and words
    "leading zero": beside(b"01"),
    "leading plus": beside(b"+1"),
    "no digits": beside(b"-"),
    "ends in a point": beside(b"1."),
    "begins with a point": beside(b".5"),
    "empty exponent": beside(b"1e"),
    "hexadecimal": beside(b"0x10"),
    "NaN": beside(b"NaN"),
    "Infinity": beside(b"-Infinity"),
    "undefined": beside(b"undefined"),
    "True": beside(b"True"),
    "truefalse": beside(b"truefalse"),
    "half a word": beside(b"nul"),
    # types
    "uid null": GOOD.replace(b'"GOOD"', b"null"),
    "uid true": GOOD.replace(b'"GOOD"', b"true"),
    "uid an object": GOOD.replace(b'"GOOD"', b'{"a":"GOOD"}'),
    "uid an array": GOOD.replace(b'"GOOD"', b'["GOOD"]'),
    "uid empty": GOOD.replace(b"GOOD", b""),
    "token null": members((UID, NAME), (TOKEN, b"null")),
    "token empty": members((UID, NAME), (TOKEN, b'""')),
    "token a number": members((UID, NAME), (TOKEN, b"12345678901234567890")),
    "csr null": beside(b"null", b'"csr"'),
    "csr empty": beside(b'""', b'"csr"'),
    "csr an object": beside(b"{}", b'"csr"'),
    "csr false": beside(b"false", b'"csr"'),
    "uid with an accent": GOOD.replace(b"GOOD", "GÖÖD".encode()),
    "uid with an emoji": GOOD.replace(b"GOOD", b"\\ud83d\\ude00"),
    "members in vain": b"{}",
    # cost
    "8 KiB of [": b"[" * 8192,
    "a number of 4,000 digits": beside(b"1" * 4000),
    "8 KiB of nested objects": b'{"a":' * 1600,
    "deep arrays beside": beside(b"[" * 1000 + b"]" * 1000),
    "deep objects beside": beside(b'{"a":' * 500 + b"1" + b"}" * 500),
    "8 KiB of members": b"{" + b",".join(b'"%d":1' % i for i in range(1000)) + b"}",
    "8 KiB of equal members": b"{" + b",".join([b'"a":1'] * 1300) + b"}",
    "8 KiB of a backslash": b'{"a":"' + b"\\" * 8000,
}


@pytest.mark.parametrize("name", BAD)
def test_refused(plain, name):
    answer = ask(plain, post(BAD[name]))
    assert answer.status == 400, answer.body
    assert answer.code == "invalid_request"
    assert answer.headers["connection"] == "keep-alive"  # the framing was sound
    message = answer.json["payload"]["message"]
    assert message.isascii() and message.isprintable()
    assert token("GOOD") not in answer.body.decode()


def test_of_all_these_none_was_registered(plain):
    """Runs after the cases above."""
    assert not plain.show("GOOD")["is_registered"] and not plain.show("OTHER")["is_registered"]


def good_forms(uid):
    name, secret = uid.encode(), token(uid).encode()
    plain_form = members((UID, b'"%s"' % name), (TOKEN, b'"%s"' % secret))

    def more(value, member=b'"more"'):
        return plain_form[:-1] + b"," + member + b":" + value + b"}"
    return {
        "plain": plain_form,
        "other order": members((TOKEN, b'"%s"' % secret), (UID, b'"%s"' % name)),
        "white space": b" \t\r\n" + plain_form.replace(b":", b" :\r\n\t").replace(b",", b" , ") + b"\r\n ",
        "escaped uid": plain_form.replace(name, b"".join(b"\\u%04x" % byte for byte in name)),
        "escaped name": plain_form.replace(b"device_uid", b"\\u0064evice_uid"),
        "all escapes": more(b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4"'),
        "emoji": more('"\U0001f600"'.encode()),
        "emoji by escapes": more(b'"\\ud83d\\ude00"'),
        "last character": more(b'"\xf4\x8f\xbf\xbf"'),
        "long number": more(b"1" * 60),
        "huge exponent": more(b"-1.5E+99999"),
        "tiny number": more(b"1e-99999"),
        "minus zero": more(b"-0"),
        "every type": more(b'[1, -2.5e-3, "a", null, true, false, {}, [], {"b": [{}]}]'),
        "empty name": more(b"1", b'""'),
        "long string": more(b'"' + b"a" * 7000 + b'"'),
        "sixty members": plain_form[:-1] + b"".join(b',"m%d":1' % i for i in range(60)) + b"}",
        "long array": more(b"[" + b"1," * 3000 + b"1]"),
        "names alike": more(b"1", b'"device_uid "'),
        "delete character": more(b'"\x7f"'),
    }


@pytest.mark.parametrize("name", good_forms("A"))
def test_taken(plain, uid, name):
    answer = ask(plain, post(good_forms(uid)[name]))
    assert answer.status == 200, answer.body


def test_refusal_leaves_the_connection_as_it_was(plain, uid):
    with Wire(plain) as wire:
        for name in ("uid twice", "deep arrays beside", "bad UTF-8 in a name", "unfinished"):
            wire.send(post(BAD[name]))
            assert wire.answer().status == 400
        wire.send(post(registration(uid)))
        assert wire.answer().status == 200


def test_nothing_of_the_payload_reaches_the_log_raw(plain):
    """No line of ours can be forged, and no terminal be driven, by what a device sends."""
    before = len(plain.server.stderr)
    bodies = [{"device_uid": "a\nforged line code=ok", "device_token": "b"},
              {"device_uid": "a\x1b[2Jb", "device_token": "b"},
              {"device_uid": "a" * 5000, "device_token": "b"},
              {"device_uid": "a\" uid=\"b", "device_token": "c"}]
    for body in bodies:
        assert ask(plain, post(json.dumps(body).encode())).status == 400
    added = plain.server.stderr[before:]
    assert added.isascii() and all(c.isprintable() or c == "\n" for c in added)
    assert len(added.splitlines()) == len(bodies)
    assert all(len(line) <= 2048 for line in added.splitlines())


def test_random_mutations(plain, uid):
    """Never a 5xx, never a hang; and what is taken is what a strict reader takes as well."""
    random_source = random.Random(seed())
    start = registration("GOOD", "wrong-token", more=[1, {"a": "b\u00e4"}, None])
    with Wire(plain) as wire:
        for _ in range(400 * scale()):
            data = bytearray(start)
            for _ in range(random_source.randint(1, 4)):
                at = random_source.randrange(len(data))
                choice = random_source.randrange(3)
                if choice == 0:
                    data[at] = random_source.randrange(256)
                elif choice == 1:
                    del data[at:at + random_source.randint(1, 5)]
                else:
                    data[at:at] = random_source.choice([b'"', b"\\", b"{", b"]", b"\0", b"\xc3", b"\\u0000", b","])
            wire.send(post(bytes(data)))
            answer = wire.answer()
            assert answer.status in (400, 403), (seed(), bytes(data))
            if answer.status == 403:
                assert is_strict_json(bytes(data)), (seed(), bytes(data))
    assert ask(plain, post(registration(uid))).status == 200


def is_strict_json(data):
    def no_duplicates(pairs):
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    def refuse(word):
        raise ValueError(word)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=refuse)
    except (ValueError, AssertionError):
        return False
    return isinstance(value, dict)
