"""Certificate signing requests that must not be signed, and those that must. A refused one is a 422
and leaves the device as it was."""

import base64
import csv
import hashlib
import itertools
import pathlib
import random

import pytest

from csr_tools import (BEGIN, END, certificates_in, csr_of, der_of, make_csr, make_key, openssl, pem_of,
                       public_key_of, verify)
from cvm_server import Instance, scale, seed
from raw_http import Wire, ask, post, registration

COUNTER = itertools.count()
DEVICES = 120


@pytest.fixture(scope="module")
def plain(module_path):
    instance = Instance(module_path, name="csr")
    instance.import_csv([f"FREE{i}" for i in range(DEVICES)] + ["GOOD"])
    instance.serve_plain(limit_failures_per_address="0/min")
    yield instance
    try:
        instance.stop()
    finally:
        instance.kill()


@pytest.fixture
def uid():
    return f"FREE{next(COUNTER)}"


# --- DER by hand, for what openssl would not make ---


def der(tag, *parts):
    body = b"".join(parts)
    length = len(body)
    if length < 128:
        return bytes([tag, length]) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d0101010500")
SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b0500")
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


def rsa_csr(modulus, exponent, sign):
    """A request for this RSA key; sign makes the signature of its first part."""
    spki = der(0x30, der(0x30, RSA_ENCRYPTION), der(3, b"\0", der(0x30, integer(modulus), integer(exponent))))
    info = der(0x30, integer(0), der(0x30), spki, der(0xa0))
    return pem_of(der(0x30, info, der(0x30, SHA256_WITH_RSA), der(3, b"\0", sign(info))))


def padded(info, bits):
    """PKCS#1 v1.5 padding of the hash: with the exponent 1 it is its own signature."""
    tail = b"\0" + SHA256_PREFIX + hashlib.sha256(info).digest()
    size = bits // 8
    return b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail


def big_odd(bits):
    return random.Random(seed()).getrandbits(bits) | 1 << (bits - 1) | 1


def changed_signature():
    data = bytearray(der_of(csr_of("P-256")))
    data[-1] ^= 1
    return pem_of(bytes(data))


def key_of_another():
    """One key's request with another's public key put in."""
    one, other = der_of(csr_of("P-256")), der_of(csr_of("P-256"))
    point = der_of(public_key_of(pem_of(one), "req"))[-65:]
    return pem_of(one.replace(point, der_of(public_key_of(pem_of(other), "req"))[-65:]))


def with_point(change):
    """A request whose public point is changed; the signature can't verify any more either."""
    data = der_of(csr_of("P-256"))
    point = der_of(public_key_of(pem_of(data), "req"))[-65:]
    return pem_of(data.replace(point, change(point)))


def certificate():
    key = make_key()
    return openssl("req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=a", data=key).decode()


def labelled(label):
    return csr_of("P-256").replace("CERTIFICATE REQUEST", label)


def cut_der(at):
    return pem_of(der_of(csr_of("P-256"))[:at])


def with_lines(*lines):
    """Lines behind the first one."""
    return csr_of("P-256").replace(BEGIN + "\n", BEGIN + "\n" + "".join(line + "\n" for line in lines))


BAD = {
    "signature changed": changed_signature,
    "signature by another key": key_of_another,
    "no signature": lambda: pem_of(der(0x30, *[der_of(csr_of("P-256"))[4:40]])),
    "RSA 512": lambda: csr_of("rsa:512"),
    "RSA 1024": lambda: csr_of("rsa:1024"),
    "RSA 2047": lambda: csr_of("rsa:2047"),
    "RSA 4097": lambda: rsa_csr(big_odd(4097), 65537, lambda info: b"\1" * 513),
    "RSA 8192": lambda: rsa_csr(big_odd(8192), 65537, lambda info: b"\1" * 1024),
    "RSA, e = 1, signature forged": lambda: rsa_csr(big_odd(2048), 1, lambda info: padded(info, 2048)),
    "RSA, e = 3": lambda: make_csr(make_key("rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3")),
    "RSA, e = 17": lambda: make_csr(make_key("rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:17")),
    "RSA, e even": lambda: rsa_csr(big_odd(2048), 65536, lambda info: b"\1" * 256),
    "RSA, e of 2048 bits": lambda: rsa_csr(big_odd(2048), big_odd(2047), lambda info: b"\1" * 256),
    "RSA, modulus 0": lambda: rsa_csr(0, 65537, lambda info: b"\0" * 256),
    "RSA, modulus even": lambda: rsa_csr(big_odd(2048) - 1, 65537, lambda info: b"\1" * 256),
    "explicit curve": lambda: make_csr(make_key("P-256", "-pkeyopt", "ec_param_enc:explicit")),
    "P-521": lambda: csr_of("P-521"),
    "P-224": lambda: csr_of("P-224"),
    "P-192": lambda: csr_of("prime192v1"),
    "secp256k1": lambda: csr_of("secp256k1"),
    "brainpool": lambda: csr_of("brainpoolP256r1"),
    "Ed25519": lambda: csr_of("ed25519"),
    "Ed448": lambda: csr_of("ed448"),
    "SHA-1": lambda: csr_of("P-256", "-sha1"),
    "SHA-1 by RSA": lambda: csr_of("rsa:2048", "-sha1"),
    "MD5 by RSA": lambda: csr_of("rsa:2048", "-md5"),
    "SHA-224": lambda: csr_of("P-256", "-sha224"),
    "point not on the curve": lambda: with_point(lambda p: p[:-1] + bytes([p[-1] ^ 1])),
    "point of zeroes": lambda: with_point(lambda p: b"\4" + b"\0" * 64),
    "point at infinity": lambda: with_point(lambda p: b"\0" + b"\0" * 64),
    "point too large": lambda: with_point(lambda p: b"\4" + b"\xff" * 64),
    "point of another form": lambda: with_point(lambda p: b"\5" + p[1:]),
    "RSA-PSS, SHA-1": lambda: pss(digest="sha1"),
    "RSA-PSS, SHA-224": lambda: pss(digest="sha224"),
    "RSA-PSS, MGF1 by SHA-1": lambda: pss("-sigopt", "rsa_mgf1_md:sha1"),
    "RSA-PSS, spoiled": lambda: spoiled(pss()),
    "RSA-PSS without parameters": lambda: with_algorithm(RSASSA_PSS),
    "RSA-PSS, its parameters NULL": lambda: with_algorithm(RSASSA_PSS, b"\5\0"),
    "RSA-PSS, MGF1 without a digest": lambda: with_algorithm(RSASSA_PSS, der(0x30, OF_SHA256, der(0xa1, der(0x30, MGF1)))),
    "signed by a key of another kind": lambda: other_algorithm(),
    # the envelope
    "labels of two kinds": lambda: csr_of("P-256").replace("BEGIN CERT", "BEGIN NEW CERT"),
    "no line end behind the first line": lambda: csr_of("P-256").replace(BEGIN + "\n", BEGIN),
    "no line end before the last line": lambda: csr_of("P-256").replace("\n" + END, END),
    "a blank in a line": lambda: csr_of("P-256").replace("MI", "M I", 1),
    "a blank before a line": lambda: csr_of("P-256").replace("\nMI", "\n MI", 1),
    "an indented last line": lambda: csr_of("P-256").replace(END, " " + END),
    "a CR in a line": lambda: csr_of("P-256").replace("MI", "M\rI", 1),
    "too long": lambda: csr_of("P-256") + "\n" * 3750,
    "long, of good base64": lambda: pem_of(b"\x30" * 3000),
    "two objects": lambda: csr_of("P-256") * 2,
    "text before": lambda: "Subject: a\n" + csr_of("P-256"),
    "text behind": lambda: csr_of("P-256") + "more",
    "text behind the last dashes": lambda: csr_of("P-256").rstrip() + " more\n",
    "key behind": lambda: csr_of("P-256") + make_key(),
    "a certificate": certificate,
    "a certificate by a wrong label": lambda: certificate().replace("CERTIFICATE", "CERTIFICATE REQUEST"),
    "a private key": make_key,
    "a private key by a wrong label": lambda: make_key().replace("PRIVATE KEY", "CERTIFICATE REQUEST"),
    "a public key": lambda: public_key_of(csr_of("P-256"), "req"),
    "label TRUSTED CERTIFICATE": lambda: labelled("TRUSTED CERTIFICATE"),
    "label in small letters": lambda: labelled("certificate request"),
    "no begin": lambda: csr_of("P-256").replace(BEGIN + "\n", ""),
    "no end": lambda: csr_of("P-256").replace(END, ""),
    "encrypted": lambda: with_lines("Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF", ""),
    "a header": lambda: with_lines("Proc-Type: 4,MIC-CLEAR", ""),
    "not base64": lambda: with_lines("!!!!"),
    "base64 after padding": lambda: with_lines("AAA=", "AAAA"),
    "DER instead of PEM": lambda: base64.b64encode(der_of(csr_of("P-256"))).decode(),
    "nothing inside": lambda: f"{BEGIN}\n{END}\n",
    "zeroes inside": lambda: pem_of(b"\0" * 200),
    # DER
    "bytes behind the DER": lambda: pem_of(der_of(csr_of("P-256")) + b"\0"),
    "DER cut by one": lambda: cut_der(-1),
    "DER cut in half": lambda: cut_der(150),
    "DER of one byte": lambda: cut_der(1),
    "length without end": lambda: pem_of(b"\x30\x80" + der_of(csr_of("P-256"))[3:]),
    "length of 4 GB": lambda: pem_of(b"\x30\x84\xff\xff\xff\xff" + der_of(csr_of("P-256"))[4:]),
    "length of 2^64": lambda: pem_of(b"\x30\x88" + b"\xff" * 8 + der_of(csr_of("P-256"))[4:]),
    "nested sequences": lambda: pem_of(b"\x30\x80" * 1400),
    "a word": lambda: "rubbish",
    "white space": lambda: " \n",
    "8 KiB": lambda: "A" * 7900,
}


@pytest.mark.parametrize("name", BAD)
def test_refused(plain, name):
    answer = ask(plain, post(registration("GOOD", csr=BAD[name]())))
    assert answer.status == 422, answer.body
    assert answer.code == "invalid_csr"
    message = answer.json["payload"]["message"]
    assert "CSR" in message and message.isascii() and message.isprintable()


def test_of_all_these_none_was_signed(plain):
    """Runs after the cases above."""
    shown = plain.show("GOOD")
    assert not shown["is_registered"] and shown["certificates"] == []


def test_100_kb_is_too_large(plain):
    assert ask(plain, post(registration("GOOD", csr="A" * 100000))).status == 413


def test_nul_in_a_csr(plain):
    csr = csr_of("P-256") + "\0rubbish"
    assert ask(plain, post(registration("GOOD", csr=csr))).status == 400


GOOD = {
    "P-256": lambda: csr_of("P-256"),
    "P-384": lambda: csr_of("P-384"),
    "RSA 2048": lambda: csr_of("rsa:2048"),
    "RSA 3072": lambda: csr_of("rsa:3072"),
    "SHA-384": lambda: csr_of("P-256", "-sha384"),
    "SHA-512": lambda: csr_of("P-384", "-sha512"),
    "SHA-512 by RSA": lambda: csr_of("rsa:2048", "-sha512"),
    "CR LF": lambda: csr_of("P-256").replace("\n", "\r\n"),
    "no line end at the end": lambda: csr_of("P-256").rstrip(),
    "two line ends at the end": lambda: csr_of("P-256") + "\r\n\n",
    "white space around it": lambda: " \r\n\t\n" + csr_of("P-256") + " \t\r\n \n",
    "blanks at line ends": lambda: csr_of("P-256").replace("\n", " \t\r\n"),
    "RSA-PSS, SHA-512": lambda: pss(digest="sha512"),
    "RSA-PSS, a short salt": lambda: pss(salt=8),
    "RSA-PSS, no salt": lambda: pss(salt=0),
    "RSA-PSS, the longest salt": lambda: pss(salt="max"),
    "short lines": lambda: pem_lines(der_of(csr_of("P-256")), 16),
    "lines of 76": lambda: pem_lines(der_of(csr_of("P-256")), 76),
    "empty subject": lambda: make_csr(subject="/"),
    "long subject": lambda: make_csr(subject="/CN=" + "a" * 64 + "/O=" + "b" * 64 + "/OU=" + "c" * 64),
    "another device's name": lambda: make_csr(subject="/CN=thing_GOOD"),
    "asks to be a CA": lambda: make_csr(None, "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
                                        "keyUsage=critical,keyCertSign,cRLSign"),
    "asks for names and uses": lambda: make_csr(None, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                                                "-addext", "extendedKeyUsage=serverAuth,codeSigning"),
}


def pss(*options, digest="sha256", salt="digest"):
    return make_csr(make_key("rsa:2048"), f"-{digest}", "-sigopt", "rsa_padding_mode:pss", "-sigopt",
                    f"rsa_pss_saltlen:{salt}", *options)


def spoiled(pem):
    data = bytearray(der_of(pem))
    data[-1] ^= 1
    return pem_of(bytes(data))


def with_algorithm(*parts):
    """A request with an RSA key whose signature's algorithm is another one."""
    data = der_of(csr_of("rsa:2048"))
    at = data.rindex(SHA256_WITH_RSA)
    body = data[4:at - 2] + der(0x30, *parts) + data[at + len(SHA256_WITH_RSA):]
    return pem_of(der(0x30, body))


def other_algorithm():
    """ecdsa-with-SHA256: the algorithm of another kind of key."""
    return with_algorithm(bytes.fromhex("06082a8648ce3d040302"))


RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")
OF_SHA256 = der(0xa0, der(0x30, bytes.fromhex("0609608648016503040201")))
MGF1 = bytes.fromhex("06092a864886f70d010108")


def pem_lines(data, width):
    text = base64.b64encode(data).decode()
    return "\n".join([BEGIN, *[text[i:i + width] for i in range(0, len(text), width)], END]) + "\n"


@pytest.mark.parametrize("name", GOOD)
def test_taken(plain, uid, name):
    csr = GOOD[name]()
    answer = ask(plain, post(registration(uid, csr=csr)))
    assert answer.status == 200, answer.body
    payload = answer.json["payload"]
    assert "keyPair" not in payload
    leaf = certificates_in(payload["certificates"]["device_certificate"])[0]
    assert public_key_of(leaf) == public_key_of(csr, "req")
    text = openssl("x509", "-noout", "-text", "-nameopt", "RFC2253", data=leaf).decode()
    assert f"Subject: CN=thing_{uid}\n" in text  # its subject and extensions are ignored
    assert "CA:FALSE" in text and "CA:TRUE" not in text and "localhost" not in text
    assert "TLS Web Client Authentication\n" in text and "Certificate Sign" not in text
    checked = verify(payload["certificates"]["device_certificate"], payload["certificates"]["root_ca"],
                     plain.folder / "ca/crl.pem")
    assert checked.returncode == 0, checked.stderr


def test_key_of_another_device(plain):
    one, other = f"FREE{next(COUNTER)}", f"FREE{next(COUNTER)}"
    key = make_key()
    assert ask(plain, post(registration(one, csr=make_csr(key)))).status == 200
    for csr in (make_csr(key), make_csr(key, "-sha384", subject="/CN=b")):
        answer = ask(plain, post(registration(other, csr=csr)))
        assert (answer.status, answer.code) == (422, "invalid_csr")
    assert not plain.show(other)["is_registered"]


def test_key_of_another_device_written_otherwise(plain):
    """A point may be written in three ways; it is the same key."""
    one, other = f"FREE{next(COUNTER)}", f"FREE{next(COUNTER)}"
    key = make_key()
    assert ask(plain, post(registration(one, csr=make_csr(key)))).status == 200
    for form in ("compressed", "hybrid"):
        same = openssl("ec", "-conv_form", form, data=key).decode()
        assert len(der_of(same)) != len(der_of(key)) or form == "hybrid"
        answer = ask(plain, post(registration(other, csr=make_csr(same))))
        assert (answer.status, answer.code) == (422, "invalid_csr"), form
    assert not plain.show(other)["is_registered"]


def test_key_of_the_ca(plain):
    """Nobody has it but the CA; were it stolen, it should not become a device's as well."""
    key = (plain.folder / "ca/issuing.key").read_text()
    answer = ask(plain, post(registration(f"FREE{next(COUNTER)}", csr=make_csr(key))))
    assert answer.status in (200, 422)
    assert plain.server.is_running()


def test_random_mutations(plain, uid):
    """No byte of a CSR can be changed, and no changed one brings the server down."""
    random_source = random.Random(seed())
    original = der_of(csr_of("P-256"))
    with Wire(plain) as wire:
        for _ in range(300 * scale()):
            data = bytearray(original)
            for _ in range(random_source.randint(1, 3)):
                at = random_source.randrange(len(data))
                choice = random_source.randrange(3)
                if choice == 0:
                    data[at] = random_source.randrange(256)
                elif choice == 1:
                    del data[at:at + random_source.randint(1, 4)]
                else:
                    data[at:at] = random_source.choice([b"\xff", b"\x30\x80", b"\0\0", b"\x84\xff\xff\xff\xff"])
            if bytes(data) == original:
                continue
            wire.send(post(registration("GOOD", csr=pem_of(bytes(data)))))
            answer = wire.answer()
            assert answer.status == 422, (seed(), bytes(data).hex())
    assert ask(plain, post(registration(uid, csr=pem_of(original)))).status == 200


# --- Requests as real tools write them: tests/data/csrs/index.csv says what becomes of each ---

CSRS = pathlib.Path(__file__).parent.parent / "data/csrs"
INDEX = list(csv.DictReader((CSRS / "index.csv").open()))
REASONS = {
    "the key, by name": "key is id-RSASSA-PSS", "the exponent": "exponent must be 65537", "the digest": "digest must",
    "the curve": "curve must be P-256 or P-384", "the parameters": "explicit parameters", "the key": "key must be",
    "the signature": "signature must be DER", "no PEM": "is no PEM",
}


def test_the_index_names_every_request():
    assert {row["file"] for row in INDEX} == {path.name for path in CSRS.glob("*.pem")} and len(INDEX) == 45


@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"].removesuffix(".pem"))
def test_requests_of_real_tools(plain, uid, row):
    csr = (CSRS / row["file"]).read_bytes().decode()
    answer = ask(plain, post(registration(uid if row["expected"] == "taken" else "GOOD", csr=csr)))
    if row["expected"] == "refused":
        assert answer.status == 422 and REASONS[row["note"]] in answer.json["payload"]["message"]
        return
    assert answer.status == 200, answer.body
    leaf = certificates_in(answer.json["payload"]["certificates"]["device_certificate"])[0]
    key = openssl("pkey", "-pubin", "-ec_conv_form", "uncompressed", data=public_key_of(csr.strip(), "req"), check=False)
    shown = key.stdout.decode() or public_key_of(csr.strip(), "req")
    assert public_key_of(leaf) == shown
    text = openssl("x509", "-noout", "-text", data=leaf).decode()
    assert "CA:FALSE" in text and "Subject Alternative Name" not in text
