"""Certificates for the device client's tests, made with the openssl command line."""

import hashlib
import subprocess

LONG_AGO = "20200101000000Z"
SOON_OVER = "20210101000000Z"
FAR_AHEAD = "20790101000000Z"
FUTURE = "20700101000000Z"

CONFIG = """
[ca]
default_ca = this
[this]
dir = {folder}
database = {folder}/{name}.index
serial = {folder}/{name}.serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
"""

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
SERVER = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={}\n"
CLIENT = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n"


def openssl(*arguments, data=None):
    return subprocess.run(
        ["openssl", *map(str, arguments)],
        input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def certificate_id(pem):
    return hashlib.sha256(openssl("x509", "-outform", "DER", data=pem)).hexdigest()


def public_key_of_csr(csr):
    """The CSR's public key; fails if the CSR's signature is wrong."""
    return openssl("req", "-verify", "-noout", "-pubkey", data=csr)


class Authority:
    """A CA in a folder: NAME.pem, NAME.key and what `openssl ca` keeps."""

    def __init__(self, folder, name, issuer=None, start=LONG_AGO):
        self.folder, self.name = folder, name
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        new_key(self.key)
        (folder / f"{name}.index").write_text("")
        (folder / f"{name}.serial").write_text("1000\n")
        (folder / f"{name}.cnf").write_text(CONFIG.format(folder=folder, name=name))
        csr = request(self.key, name)
        self.certificate.write_bytes((issuer or self)._sign(csr, CA, start, FAR_AHEAD, issuer is None))

    def _sign(self, csr, extensions, start, end, itself, name=None):
        text = self.folder / f"{self.name}.ext"
        text.write_text(extensions)
        signer = ["-selfsign"] if itself else ["-cert", self.certificate]
        out = self.folder / f"{self.name}.out"
        incoming = self.folder / f"{self.name}.in"
        incoming.write_bytes(csr)
        openssl("ca", "-batch", "-notext", "-config", self.folder / f"{self.name}.cnf", *signer,
                "-keyfile", self.key, "-in", incoming, "-out", out, "-extfile", text,
                "-startdate", start, "-enddate", end,
                *(["-subj", f"/CN={name}"] if name else []))
        return out.read_bytes()

    def issue(self, csr, extensions=CLIENT, start=LONG_AGO, end=FAR_AHEAD, name=None):
        """A certificate for the CSR's key; `name` replaces the CSR's subject."""
        return self._sign(csr, extensions, start, end, False, name)

    def server(self, name, host="IP:127.0.0.1", start=LONG_AGO, end=FAR_AHEAD):
        """A server's certificate and key, in two files NAME.pem and NAME.key."""
        key = self.folder / f"{name}.key"
        new_key(key)
        certificate = self.folder / f"{name}.pem"
        certificate.write_bytes(
            self.issue(request(key, name), SERVER.format(host), start, end))
        return certificate, key

    def client(self, name):
        key = self.folder / f"{name}.key"
        new_key(key)
        certificate = self.folder / f"{name}.pem"
        certificate.write_bytes(self.issue(request(key, name)) + self.certificate.read_bytes())
        return certificate, key


def new_key(path):
    path.write_bytes(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))


def request(key, name):
    return openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")
