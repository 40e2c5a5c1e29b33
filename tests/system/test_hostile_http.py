"""Malformed, ambiguous and oversized HTTP. What can be read in two ways is refused, and nothing behind
it on the connection is executed: each case has a good registration behind it that must not happen."""

import itertools
import json
import random

import pytest

from cvm_server import Instance, scale, seed
from raw_http import Wire, ask, chunked, post, registration

FREE = "FREE"  # for cases that are served


def hostile(uid):
    """name → (bytes, the statuses that may be answered). All are to be refused; a body registers uid."""
    body = registration(uid)
    size = len(body)
    line = b"POST /registration HTTP/1.1\r\n"
    host = b"Host: a\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % size
    encoded = b"Transfer-Encoding: chunked\r\n"
    bad = {400}
    return {
        # framing
        "two lengths, same": (line + host + length + length + b"\r\n" + body, bad),
        "two lengths, different": (line + host + length + b"Content-Length: 0\r\n\r\n" + body, bad),
        "two lengths, smaller first": (line + host + b"Content-Length: 3\r\n" + length + b"\r\n" + body, bad),
        "list of lengths": (line + host + b"Content-Length: %d, %d\r\n\r\n" % (size, size) + body, bad),
        "length with plus": (line + host + b"Content-Length: +%d\r\n\r\n" % size + body, bad),
        "negative length": (line + host + b"Content-Length: -1\r\n\r\n" + body, bad),
        "hexadecimal length": (line + host + b"Content-Length: 0x%x\r\n\r\n" % size + body, bad),
        "empty length": (line + host + b"Content-Length:\r\n\r\n" + body, bad),
        "length over 64 bits": (line + host + b"Content-Length: 18446744073709551617\r\n\r\n" + body, {400, 413}),
        "length with space inside": (line + host + b"Content-Length: 1 0\r\n\r\n" + body, bad),
        "length and chunked": (line + host + length + encoded + b"\r\n" + chunked(body), bad),
        "chunked and length": (line + host + encoded + length + b"\r\n" + chunked(body), bad),
        "chunked and length 0": (line + host + encoded + b"Content-Length: 0\r\n\r\n" + chunked(body), bad),
        "chunked twice": (line + host + encoded + encoded + b"\r\n" + chunked(body), bad),
        "chunked twice in a list": (line + host + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(body), bad),
        "chunked, identity": (line + host + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked(body), bad),
        "identity": (line + host + b"Transfer-Encoding: identity\r\n" + length + b"\r\n" + body, bad),
        "identity, chunked": (line + host + b"Transfer-Encoding: identity, chunked\r\n\r\n" + chunked(body), bad),
        "gzip": (line + host + b"Transfer-Encoding: gzip\r\n\r\n" + chunked(body), bad),
        "gzip, chunked": (line + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(body), bad),
        "xchunked": (line + host + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(body), bad),
        "chunked with form feed": (line + host + b"Transfer-Encoding: \x0cchunked\r\n\r\n" + chunked(body), bad),
        "chunked with parameter": (line + host + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + chunked(body), bad),
        "chunked in quotes": (line + host + b"Transfer-Encoding: \"chunked\"\r\n\r\n" + chunked(body), bad),
        "empty coding": (line + host + b"Transfer-Encoding:\r\n" + length + b"\r\n" + body, bad),
        "coding behind 300 bytes": (line + host + b"Transfer-Encoding: " + b"x" * 300 + b", chunked\r\n\r\n" + chunked(body), bad),
        "chunked in HTTP/1.0": (b"POST /registration HTTP/1.0\r\n" + host + encoded + b"\r\n" + chunked(body), bad),
        # chunks
        "chunk size no number": (line + host + encoded + b"\r\nzz\r\n" + body + b"\r\n0\r\n\r\n", bad),
        "chunk size 0x": (line + host + encoded + b"\r\n0x%x\r\n" % size + body + b"\r\n0\r\n\r\n", bad),
        "chunk size negative": (line + host + encoded + b"\r\n-1\r\n" + body + b"\r\n0\r\n\r\n", bad),
        "chunk size over 64 bits": (line + host + encoded + b"\r\n" + b"f" * 17 + b"\r\n" + body, {400, 413}),
        "chunk size near 64 bits": (line + host + encoded + b"\r\n" + b"f" * 16 + b"\r\n" + body, {400, 413}),
        "chunk size with space": (line + host + encoded + b"\r\n %x\r\n" % size + body + b"\r\n0\r\n\r\n", bad),
        "chunk size empty": (line + host + encoded + b"\r\n\r\n" + body + b"\r\n0\r\n\r\n", bad),
        "chunk size ended by LF": (line + host + encoded + b"\r\n%x\n" % size + body + b"\r\n0\r\n\r\n", bad),
        "chunk longer than said": (line + host + encoded + b"\r\n%x\r\n" % (size - 2) + body + b"\r\n0\r\n\r\n", bad),
        "chunk not ended": (line + host + encoded + b"\r\n%x\r\n" % size + body + b"0\r\n\r\n", bad),
        "chunk extension of 100 KB": (line + host + encoded + b"\r\n" + chunked(body, 8192, b";a=" + b"b" * 100000), {400, 413}),
        "chunk extensions without end": (line + host + encoded + b"\r\n" + chunked(body, 1, b";a=" + b"b" * 300), {400, 413}),
        "chunk extension with LF": (line + host + encoded + b"\r\n%x;a\nb\r\n" % size + body + b"\r\n0\r\n\r\n", bad),
        # the head's form
        "folded header": (line + host + length + b"X-A: b\r\n c\r\n\r\n" + body, bad),
        "folded length": (line + host + b"Content-Length:\r\n %d\r\n\r\n" % size + body, bad),
        "NUL in a name": (line + host + length + b"X\0A: b\r\n\r\n" + body, bad),
        "NUL in a value": (line + host + length + b"X-A: b\0c\r\n\r\n" + body, bad),
        "NUL in the target": (b"POST /registration\0 HTTP/1.1\r\n" + host + length + b"\r\n" + body, bad),
        "bare CR in a value": (line + host + length + b"X-A: b\rc\r\n\r\n" + body, bad),
        "bare CR as line end": (line + host + length + b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n" + body, bad),
        "LF line ends": ((line + host + length + b"\r\n").replace(b"\r\n", b"\n") + body, bad),
        "one LF line end": (line + host + length + b"X-A: b\n\r\n" + body, bad),
        "CR LF LF": (line + host + length[:-2] + b"\r\n\n" + body, bad),
        "space before colon": (line + host + b"Content-Length : %d\r\n\r\n" % size + body, bad),
        "tab before colon": (line + host + encoded.replace(b":", b"\t:") + b"\r\n" + chunked(body), bad),
        "no colon": (line + host + length + b"nonsense\r\n\r\n" + body, bad),
        "no name": (line + host + length + b": b\r\n\r\n" + body, bad),
        "space before first header": (line + b" X-A: b\r\n" + host + length + b"\r\n" + body, bad),
        "control character in a name": (line + host + length + b"X\x01A: b\r\n\r\n" + body, bad),
        "8-bit in a name": (line + host + length + b"X\xe4A: b\r\n\r\n" + body, bad),
        "no host": (line + length + b"\r\n" + body, bad),
        "two hosts": (line + host + b"Host: b\r\n" + length + b"\r\n" + body, bad),
        "host twice": (line + host + b"Host: a\r\n" + length + b"\r\n" + body, bad),
        # the request line
        "no version": (b"POST /registration\r\n" + host + length + b"\r\n" + body, bad),
        "HTTP/0.9": (b"POST /registration HTTP/0.9\r\n" + host + length + b"\r\n" + body, bad),
        "HTTP/1.2": (b"POST /registration HTTP/1.2\r\n" + host + length + b"\r\n" + body, bad),
        "HTTP/2.0": (b"POST /registration HTTP/2.0\r\n" + host + length + b"\r\n" + body, bad),
        "HTTP/11.1": (b"POST /registration HTTP/11.1\r\n" + host + length + b"\r\n" + body, bad),
        "http/1.1 in small letters": (b"POST /registration http/1.1\r\n" + host + length + b"\r\n" + body, bad),
        "ICE/1.0": (b"POST /registration ICE/1.0\r\n" + host + length + b"\r\n" + body, bad),
        "RTSP/1.0": (b"POST /registration RTSP/1.0\r\n" + host + length + b"\r\n" + body, bad),
        "space behind the version": (b"POST /registration HTTP/1.1 \r\n" + host + length + b"\r\n" + body, bad),
        "tab for space": (b"POST\t/registration\tHTTP/1.1\r\n" + host + length + b"\r\n" + body, bad),
        "space before the method": (b" POST /registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, bad),
        "unknown method": (b"REGISTER /registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {400, 405}),
        "small letters": (b"post /registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, bad),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", bad),
        "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n" + host + b"\r\n", {400, 404, 405}),
        "CONNECT to the path": (b"CONNECT /registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {400, 405}),
        "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n", {404, 405}),
        "no slash": (b"POST registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {400, 404}),
        "encoded path": (b"POST /%72egistration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {404}),
        "dots in the path": (b"POST /x/../registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {404}),
        "double slash": (b"POST //registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {404}),
        "absolute, no path": (b"POST http://registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {404}),
        "absolute, other scheme": (b"POST ftp://a/registration HTTP/1.1\r\n" + host + length + b"\r\n" + body, {400, 404}),
        "empty line only": (b"\r\n\r\nnonsense\r\n\r\n", bad),
        "TLS to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, bad),
        # sizes
        "1 MB of headers": (line + host + b"".join(b"X-%d: %s\r\n" % (i, b"b" * 1000) for i in range(1000)) + length + b"\r\n" + body, {431}),
        "100,000 empty headers": (line + host + b"A:\r\n" * 100000 + length + b"\r\n" + body, {431}),
        "a header of 1 MB": (line + host + b"X-A: " + b"b" * 1000000 + b"\r\n" + length + b"\r\n" + body, {431}),
        "a name of 1 MB": (line + host + b"X" * 1000000 + b": b\r\n" + length + b"\r\n" + body, {431}),
        "a target of 1 MB": (b"POST /" + b"r" * 1000000 + b" HTTP/1.1\r\n" + host + length + b"\r\n" + body, {414}),
        "a query of 10 KB": (b"POST /registration?" + b"r" * 10000 + b" HTTP/1.1\r\n" + host + length + b"\r\n" + body, {414}),
        "20 KB body": (line + host + b"Content-Length: 20000\r\n\r\n" + b" " * 20000, {413}),
        "20 KB body in chunks": (line + host + encoded + b"\r\n" + chunked(b" " * 20000), {413}),
        "8193 bytes": (line + host + b"Content-Length: 8193\r\n\r\n" + body.ljust(8193), {413}),
        "8193 bytes in chunks": (line + host + encoded + b"\r\n" + chunked(body.ljust(8193), 4096), {413}),
        "trailers of 100 KB": (line + host + encoded + b"\r\n" + chunked(body)[:-2] + b"X-A: " + b"b" * 100000 + b"\r\n\r\n", {400, 413}),
    }


NAMES = sorted(hostile("X"))


@pytest.fixture(scope="module")
def plain(module_path):
    instance = Instance(module_path, name="plain")
    instance.import_csv([f"BAD{i}" for i in range(len(NAMES))] + [f"BEHIND{i}" for i in range(len(NAMES))] +
                        [f"{FREE}{i}" for i in range(200)])
    instance.serve_plain(limit_failures_per_address="0/min", http_idle_timeout="3s")
    yield instance
    try:
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture
def free_uid(counter=itertools.count()):
    return f"{FREE}{next(counter)}"


def registered(instance):
    """The uids of the registered devices."""
    lines = instance.cvm("device", "list", "--json").stdout.splitlines()
    return {row["device_uid"] for row in map(json.loads, lines) if row["is_registered"]}


def is_alive(instance, uid):
    answer = ask(instance, post(registration(uid)))
    return answer is not None and answer.status == 200


@pytest.mark.parametrize("name", NAMES)
def test_refused_and_nothing_behind_it_is_executed(plain, name):
    number = NAMES.index(name)
    data, statuses = hostile(f"BAD{number}")[name]
    with Wire(plain) as wire:
        wire.send(data + post(registration(f"BEHIND{number}")))
        answers = wire.answers()
    assert len(answers) <= 1, [answer.head for answer in answers]
    for answer in answers:
        assert answer.status in statuses, answer.body
        assert answer.closes
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.json["payload"]["request_id"]) == 16
    assert answers, "closed without a word"


def test_in_pieces_it_is_refused_too(plain):
    """The same cases with the bytes cut elsewhere: a parser's state must not depend on segments."""
    random_source = random.Random(seed())
    for name in NAMES:
        data, statuses = hostile(f"BAD{NAMES.index(name)}")[name]
        data = data[:4000] if len(data) > 20000 and name != "20 KB body" else data
        if len(data) == 4000:
            continue
        with Wire(plain) as wire:
            wire.send(data, piece=random_source.randint(1, 40))
            wire.send(post(registration(f"BEHIND{NAMES.index(name)}")))
            answers = wire.answers()
        assert len(answers) == 1 and answers[0].status in statuses, (name, seed(), answers)


def test_of_all_these_none_was_registered(plain):
    """Runs after the cases above."""
    wrong = {uid for uid in registered(plain) if not uid.startswith(FREE)}
    assert not wrong, {NAMES[int(uid.strip("BADEHIN"))] for uid in wrong}


def test_control_what_stands_behind_a_good_request_is_executed(plain, free_uid):
    """Else the cases above would prove nothing."""
    with Wire(plain) as wire:
        wire.send(post(registration("nobody")) + post(registration(free_uid), "Connection: close"))
        assert [answer.status for answer in wire.answers()] == [403, 200]
    assert free_uid in registered(plain)


@pytest.mark.parametrize("target", ["http://cvm.test/registration", "HTTPS://user@a:1/registration?x=y",
                                    "/registration?x=y", "/registration"])
def test_targets_that_are_served(plain, free_uid, target):
    assert ask(plain, post(registration(free_uid), target=target)).status == 200


def test_upgrade_is_ignored(plain, free_uid):
    data = post(registration("nobody"), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABkAAQAAP__")
    with Wire(plain) as wire:
        wire.send(data + post(registration(free_uid), "Upgrade: websocket", "Connection: Upgrade"))
        assert [wire.answer().status, wire.answer().status] == [403, 200]


def test_long_name_is_no_header_of_ours(plain, free_uid):
    """Cut so that the first piece is "Host", or "Expect"."""
    data = post(registration(free_uid), host=None)
    data = data.replace(b"\r\n", b"\r\nHost" + b"x" * 60 + b": a\r\n", 1)
    at = data.index(b"Host") + 4
    with Wire(plain) as wire:
        wire.send(data[:at], pause_s=0.1)
        wire.send(data[at:])
        assert wire.answer().status == 400  # it has no Host


def test_long_media_type_is_not_taken(plain, free_uid):
    data = post(registration(free_uid), media_type="Content-Type: text/plain; a=" + "b" * 300)
    assert ask(plain, data).status == 415
    data = post(registration(free_uid), media_type="Content-Type: " + "b" * 300 + "application/json")
    assert ask(plain, data).status == 415


@pytest.mark.parametrize("trailers, statuses", [
    (b"X-A: b\r\n", [403, 200]), (b"Host: b\r\n", [403, 200]),
    (b"Content-Length: 5\r\n", [400]), (b"Transfer-Encoding: gzip\r\n", [400])])
def test_trailers_change_nothing(plain, free_uid, trailers, statuses):
    data = post(b"", "Transfer-Encoding: chunked", length=False) + \
        chunked(registration("nobody"))[:-2] + trailers + b"\r\n"
    with Wire(plain) as wire:
        wire.send(data + post(registration(free_uid), "Connection: close"))
        assert [answer.status for answer in wire.answers()] == statuses


def test_leading_empty_lines_are_taken(plain, free_uid):
    """RFC 9112 §2.2: at least one is to be ignored."""
    assert ask(plain, b"\r\n" + post(registration(free_uid))).status == 200


def test_bytes_behind_the_body_are_the_next_request(plain):
    with Wire(plain) as wire:
        wire.send(post(registration("nobody")) + b"garbage\r\n\r\n")
        assert [answer.status for answer in wire.answers()] == [403, 400]


def test_body_of_a_refused_request_is_not_a_request(plain, free_uid):
    """A 404, 405 or 415 closes: the bytes behind it could be its body."""
    inner = post(registration(free_uid))
    for data in (post(inner, target="/elsewhere"), b"GET /registration HTTP/1.1\r\nHost: a\r\n\r\n" + inner,
                 post(inner, media_type="Content-Type: image/png")):
        with Wire(plain) as wire:
            wire.send(data)
            answers = wire.answers()
        assert len(answers) == 1 and answers[0].closes
    assert free_uid not in registered(plain)


def test_random_mutations(plain, free_uid):
    """Whatever comes is answered or closed, and the server lives."""
    random_source = random.Random(seed())
    good = post(registration("nobody"), "X-A: b") + \
        post(b"", "Transfer-Encoding: chunked", length=False) + chunked(registration("nobody"), 20)
    for _ in range(150 * scale()):
        data = bytearray(good)
        for _ in range(random_source.randint(1, 6)):
            at = random_source.randrange(len(data))
            choice = random_source.randrange(3)
            if choice == 0:
                data[at] = random_source.choice(b"\0\r\n\t :;,0\xff/HTC")
            elif choice == 1:
                del data[at:at + random_source.randint(1, 9)]
            else:
                data[at:at] = random_source.choice([b"\r\n", b"\n", b": ", b"\0", b"0\r\n\r\n", b" "])
        with Wire(plain) as wire:
            wire.send(bytes(data))
            wire.finish()
            statuses = [answer.status for answer in wire.answers()]
        assert len(statuses) <= 4 and set(statuses) <= {400, 403, 404, 405, 413, 414, 415, 431}, (seed(), bytes(data))
    assert is_alive(plain, free_uid)


def test_server_lives(plain, free_uid):
    assert is_alive(plain, free_uid)
    plain.server.check_reports()
