"""Keys, CSRs and checks of certificates by the openssl command."""

import base64
import pathlib
import re
import subprocess
import tempfile

BEGIN = "-----BEGIN CERTIFICATE REQUEST-----"
END = "-----END CERTIFICATE REQUEST-----"


def openssl(*arguments, data=b"", check=True):
    data = data.encode() if isinstance(data, str) else data
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, timeout=60)
    assert not check or done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout if check else done


def make_key(kind="P-256", *options):
    """PEM. kind: a curve's name, "rsa:BITS" or an algorithm."""
    if kind.startswith("rsa:"):
        return openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:]}",
                       *options).decode()
    if kind.startswith("ed"):
        return openssl("genpkey", "-algorithm", kind).decode()
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{kind}", *options).decode()


def make_csr(key=None, *options, subject="/CN=anything"):
    """PEM of a request for the key (PEM); a new P-256 key if none."""
    with tempfile.NamedTemporaryFile("w", suffix=".key") as file:
        file.write(key or make_key())
        file.flush()
        return openssl("req", "-new", "-key", file.name, "-subj", subject, *options).decode()


def csr_of(kind, *options):
    return make_csr(make_key(kind), *options)


def der_of(pem):
    return base64.b64decode("".join(pem.strip().splitlines()[1:-1]))


def pem_of(der, begin=BEGIN, end=END):
    text = base64.b64encode(der).decode()
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    return "\n".join([begin, *lines, end]) + "\n"


def certificates_in(pem):
    return re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", pem, re.S)


def public_key_of(pem, kind="x509"):
    """SPKI PEM of a certificate (x509) or a request (req)."""
    return openssl(kind, "-noout", "-pubkey", data=pem).decode()


def verify(device_certificate, root_ca, crl, strict=True):
    """openssl verify's CompletedProcess, for a chain as it is answered and a file of CRLs."""
    leaf, *issuing = certificates_in(device_certificate)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "leaf").write_text(leaf)
        (folder / "issuing").write_text("".join(issuing))
        (folder / "root").write_text(root_ca)
        return openssl("verify", *(["-x509_strict"] if strict else []), "-crl_check_all", "-CRLfile", crl,
                       "-CAfile", folder / "root", "-untrusted", folder / "issuing",
                       "-purpose", "sslclient", folder / "leaf", check=False)
