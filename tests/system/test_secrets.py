"""Secrets in files, in each place that reads one: what an editor or a shell puts around a secret is no part of it,
or is refused with its place. Nothing makes another secret of it without a word."""

import subprocess

import pytest

from cvm_server import Instance, environment, program, token
from csr_tools import openssl
from test_command import DATAERR, NOINPUT, USAGE, cvm, on, one_line

SALT = "YOUR_SECRET_SALT"
SAME = {"as it is": SALT, "LF": SALT + "\n", "CR LF": SALT + "\r\n", "CR": SALT + "\r"}
REFUSED = {
    "nothing": (b"", "is empty"),
    "a line end": (b"\r\n", "is empty"),
    "two line ends": (SALT.encode() + b"\n\n", "byte 17"),
    "CR LF twice": (SALT.encode() + b"\r\n\r\n", "byte 17"),
    "LF CR": (SALT.encode() + b"\n\r", "byte 17"),
    "a second line": (SALT.encode() + b"\nmore\n", "byte 17"),
    "a line before": (b"\n" + SALT.encode(), "byte 1,"),
    "a byte order mark": (b"\xef\xbb\xbf" + SALT.encode(), "byte order mark"),
    "UTF-16": (SALT.encode("utf-16"), "UTF-16"),
    "UTF-16, big end first": (SALT.encode("utf-16-be"), "byte 1, a NUL"),
    "UTF-16 with a mark, big end first": (b"\xfe\xff" + SALT.encode("utf-16-be"), "UTF-16"),
    "UTF-16 without a mark": (SALT.encode("utf-16-le"), "byte 2, a NUL"),
    "NUL": (b"YOUR\0SECRET", "byte 5, a NUL"),
    "NUL at the end": (SALT.encode() + b"\0", "byte 17, a NUL"),
    "a tab": (b"YOUR\tSECRET", "byte 5, a control character"),
    "DEL": (b"YOUR\x7f", "byte 5, a control character"),
    "Latin-1": ("sel marin salé".encode("latin-1"), "byte 14, what is no UTF-8"),
    "a cut character": ("salé".encode()[:-1], "byte 4, what is no UTF-8"),
    "1,024 bytes": (b"x" * 1024, "longer than 1023"),
    "1,023 bytes and a second line": (b"x" * 1023 + b"\r\nmore\n", "byte 1024"),
    "1,500 bytes": (b"x" * 1500, "longer than 1023"),
    "a megabyte": (b"x" * 1000000, "longer than 1023"),
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    return Instance(tmp_path_factory.mktemp("secrets"))


@pytest.fixture
def secret(tmp_path):
    """Writes a secret's file."""
    def write(content):
        path = tmp_path / "secret"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
    return write


@pytest.mark.parametrize("form", SAME)
def test_one_line_end_is_no_part_of_a_secret(instance, secret, form):
    path, uid = secret(SAME[form]), f"SALTED-{form.replace(' ', '-')}"
    assert cvm("token", "D1", "--salt-file", path).stdout == token("D1") + "\n"
    assert cvm("token", "D1", "--salt-env", "SALT", env={"SALT": SAME[form]}).stdout == token("D1") + "\n"
    csv = instance.folder / "uids.csv"
    csv.write_text(f"device_uid\n{uid}\n")
    assert '"inserted": 1' in on(instance, "device", "import", csv, "--salt-file", path, "--json").stdout
    csv.write_text(f"device_uid,device_token\n{uid},{token(uid)}\n")
    assert '"unchanged": 1' in on(instance, "device", "import", csv, "--json").stdout


def test_a_token_added_with_any_line_end_is_the_same(instance, secret):
    for uid, end in (("LF", "\n"), ("CRLF", "\r\n"), ("CR", "\r"), ("NONE", "")):
        on(instance, "device", "add", uid, "--token-file", secret(token(uid) + end))
    with instance.serve():
        for uid in ("LF", "CRLF", "CR", "NONE"):
            assert instance.register(uid)[0] == 200


@pytest.mark.parametrize("text", ["Salz, Zucker & Gemüse", "  blanks count  ", "密码 🔑", "x" * 1023])
def test_any_line_of_text_is_a_secret(secret, text):
    computed = cvm("token", "D1", "--salt-file", secret(text + "\n"), "--hmac").stdout.strip()
    expected = openssl("dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:" + text.encode().hex(), data=b"D1")
    assert computed == expected.decode().split()[-1]


@pytest.mark.parametrize("form", REFUSED)
def test_what_no_secret_holds_is_refused_with_its_place(instance, secret, tmp_path, form):
    content, word = REFUSED[form]
    path = secret(content)
    csv = tmp_path / "uids.csv"
    csv.write_text("device_uid\nREFUSED\n")
    for arguments in (["token", "REFUSED", "--salt-file", path],
                      ["device", "import", csv, "--salt-file", path, "-c", instance.conf],
                      ["device", "add", "REFUSED", "--token-file", path, "-c", instance.conf],
                      ["init", tmp_path / "new", "--root-passphrase-file", path]):
        said = one_line(cvm(*arguments, code=DATAERR).stderr)
        assert word in said and str(path) in said and "SECRET" not in said.replace(str(path), "")
    assert not (tmp_path / "new").exists()
    on(instance, "device", "show", "REFUSED", code=DATAERR)


def test_the_environment_is_read_in_the_same_way():
    for value, word in ((SALT + "\nmore", "byte 17"), ("\ufeff" + SALT, "byte order mark"), ("", "is empty"),
                        ("x" * 1024, "longer than 1023")):
        said = one_line(cvm("token", "D1", "--salt-env", "SALT", env={"SALT": value}, code=DATAERR).stderr)
        assert word in said and "SALT" in said


def test_standard_input_is_named(instance):
    done = subprocess.run([program(), "device", "add", "D1", "--token-file", "-", "-c", str(instance.conf)],
                          input=b"\xff\xfe", capture_output=True, env=environment(), check=False)
    assert done.returncode == DATAERR and b"standard input is UTF-16" in done.stderr
    on(instance, "device", "import", "-", "--salt-file", "-", code=USAGE)
    assert "nothere" in cvm("token", "D1", "--salt-file", "nothere", code=NOINPUT).stderr


def test_a_passphrase_opens_the_key_that_it_closed(tmp_path, secret):
    """The longest one that openssl reads, too."""
    for i, text in enumerate(["correct horse battery staple", "Schlüssel", "p" * 1023]):
        path = secret(text + "\r\n")
        folder = tmp_path / str(i)
        cvm("init", folder, "--root-passphrase-file", path)
        clean = tmp_path / "passphrase"
        clean.write_text(text + "\n")
        openssl("pkey", "-in", folder / "ca/offline/root.key", "-passin", f"file:{clean}", "-noout")
