"""`cvm device import` against a real instance: what it takes, refuses, reports, and survives."""

import hashlib
import hmac
import json
import os
import pathlib
import pty
import re
import resource
import signal
import subprocess
import time

import pytest

import cvm_server
from cvm_server import environment, program

SALT = "YOUR_SECRET_SALT"
TOKEN = "ecab892722df5937d055dd496cdff41ac6bdece2cfc18b31e896960e52df5787"
MANY = 60_000
MORE_THAN_MEMORY = 1_300_000


def stored(token):
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


class Instance(cvm_server.Instance):
    """One that files are imported into."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.files = tmp_path

    def file(self, content, name="devices.csv"):
        path = self.files / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def command(self, path, *options):
        return [program(), "device", "import", str(path), "-c", str(self.conf), *options]

    def run(self, path, *options, code=0, **more):
        done = subprocess.run(self.command(path, *options), capture_output=True, text=True,
                              timeout=120, **{"env": environment(), **more})
        assert done.returncode == code, done.stderr
        return done

    def imports(self, content, *options, name="devices.csv", code=0, **counts):
        """Imports, and expects these counts and no others."""
        done = self.run(self.file(content, name), "--json", *options, code=code)
        report = json.loads(done.stdout)
        found = {name: report[name]
                 for name in ("inserted", "unchanged", "conflicts", "replaced", "rejected")
                 if report[name]}
        assert found == counts, done.stderr
        return done.stderr

    def refuses(self, content, *words, name="devices.csv", options=(), **counts):
        """Refuses the whole file: nothing of it is written."""
        before = self.devices()
        said = self.imports(content, *options, name=name, code=65, **(counts or {"rejected": 1}))
        for word in words:
            assert word in said
        assert "nothing was written" in said
        assert self.devices() == before
        return said

    def devices(self):
        done = self.cvm("device", "list", "--json")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return {row["device_uid"]: row for row in rows}


@pytest.fixture
def instance(tmp_path):
    instance = Instance(tmp_path)
    yield instance
    instance.kill()


def rows(count, uid="DEVICE{:07d}"):
    """A file of devices in an order that is not theirs."""
    uids = [uid.format(i * 7919 % count) for i in range(count)]
    return "device_uid,device_token\n" + "".join(f"{u},{i:x}{u:x>20}\n" for i, u in enumerate(uids))


# --- What is taken ----------------------------------------------------------------------------------

def test_csv_is_imported(instance):
    instance.imports(
        "\ufeffis_enabled,device_token,device_uid\r\n"
        f"1,{TOKEN},D1\r\n"
        "\r\n"
        '0,"a ""quoted"", token!","D2"\r\n'.replace(" ", "_") +
        f"true,{stored('t' * 16)},D:3\r\n"
        f"false,{'x' * 256},D_4-", inserted=4)
    devices = instance.devices()
    assert {uid: bool(row["is_enabled"]) for uid, row in devices.items()} == {
        "D1": True, "D2": False, "D:3": True, "D_4-": False}
    assert not any(row["is_registered"] for row in devices.values())


def test_what_is_kept_is_the_hash_of_the_token(instance):
    instance.imports(f"device_uid,device_token\nD1,{TOKEN}\nD2,{stored('t' * 16)}\n", inserted=2)
    instance.imports(f"device_uid,device_token\nD1,{stored(TOKEN)}\nD2,{'t' * 16}\n", unchanged=2)


def test_rows_without_the_column_are_enabled(instance):
    instance.imports(f"device_uid,device_token\nD1,{TOKEN}\n", inserted=1)
    assert instance.devices()["D1"]["is_enabled"]


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json"])
def test_json_lines_are_imported(instance, suffix):
    lines = [{"device_uid": "D1", "device_token": TOKEN},
             {"is_enabled": False, "device_uid": "D2", "device_token": TOKEN + "\\u0000"},
             {"device_uid": "D3", "device_token": TOKEN, "is_enabled": 0},
             {"device_uid": "D4", "device_token": TOKEN, "is_enabled": "1"}]
    instance.imports("\n".join(json.dumps(line) for line in lines), name=f"devices.{suffix}", inserted=4)
    assert [bool(row["is_enabled"]) for row in instance.devices().values()] == [
        True, False, False, True]


def test_standard_input_is_csv(instance):
    done = instance.run("-", "--json", input=rows(5000))
    assert json.loads(done.stdout)["inserted"] == 5000
    done = instance.run("-", code=65, input=rows(3) + "D 1,x\n")
    assert "standard input:5: " in done.stderr
    assert len(instance.devices()) == 5000


@pytest.mark.parametrize("form", ["guide", "hmac"])
def test_tokens_are_computed_from_a_secret(instance, form):
    salt = instance.file(SALT + "\n", "salt")
    token = TOKEN
    options = ["--salt-file", str(salt)]
    if form == "hmac":
        token = hmac.new(SALT.encode(), b"DEVICE001", "sha256").hexdigest()
        options.append("--hmac")
    instance.imports("device_uid,is_enabled\nDEVICE001,1\n", *options, inserted=1)
    instance.imports(f"device_uid,device_token\nDEVICE001,{token}\n", unchanged=1)
    instance.refuses(f"device_uid,device_token\nDEVICE002,{token}\n", "--salt-file", options=options)
    instance.refuses(json.dumps({"device_uid": "D2", "device_token": TOKEN}), "--salt-file",
                     name="devices.jsonl", options=options)
    instance.imports('{"device_uid": "D2"}', *options, name="devices.jsonl", inserted=1)


def test_a_file_without_devices_is_fine(instance):
    instance.imports("device_uid,device_token\n")
    instance.imports("", name="devices.jsonl")
    assert instance.devices() == {}


# --- What has been through a spreadsheet ------------------------------------------------------------

@pytest.mark.parametrize("content", [
    f"device_uid;device_token;is_enabled\r\nD1;{TOKEN};TRUE\r\nD2;{'x' * 16};FALSE\r\n",
    f"Device UID\tDevice Token\tIs Enabled\nD1\t{TOKEN}\tTrue\nD2\t{'x' * 16}\tfalse\n",
    f"DEVICE-UID|device_token|isEnabled\nD1|{TOKEN}|1\nD2|{'x' * 16}|0\n",
    f"\ufeffdevice_uid,device_token,is_enabled,,\r\nD1,{TOKEN},1,,\r\n,,,,\r\nD2,{'x' * 16},0\r\n,,,,\r\n ,\r\n",
    f'"device_uid","device_token","is_enabled"\n"D1","{TOKEN}","TRUE"\n"","",""\n"D2"," {"x" * 16} ","FALSE"\n',
    f",device_uid,,device_token,is_enabled\n,D1,,{TOKEN},1\n,D2,,{'x' * 16},0\n",
    f"device_uid , device_token , is_enabled\nD1 , {TOKEN} , true\n D2, {'x' * 16}, 0\n",
])
def test_what_can_be_read_without_guessing_is_taken(instance, content):
    assert instance.imports(content, inserted=2) == ""
    assert {uid: bool(row["is_enabled"]) for uid, row in instance.devices().items()} == {"D1": True, "D2": False}
    instance.imports(f"device_uid,device_token\nD1,{TOKEN}\nD2,{'x' * 16}\n", unchanged=2)


def test_a_column_that_is_empty_throughout_says_nothing(instance):
    instance.imports(f"device_uid,device_token,is_enabled\nD1,{TOKEN},\nD2,{'x' * 16}\n", inserted=2)
    assert all(row["is_enabled"] for row in instance.devices().values())


def test_a_bad_line_says_nothing_of_a_column(instance):
    instance.imports(f"device_uid,device_token,is_enabled\nD 1,{TOKEN},\nD2,{'x' * 16},\nD3,{'y' * 16},\n", "--skip-bad",
                     inserted=2, rejected=1)


@pytest.mark.parametrize("order", [("", "1", "", "0"), ("0", "", "1", ""), ("", "", "", "FALSE")])
def test_an_empty_flag_among_filled_ones_is_refused(instance, order):
    """Wherever the first filled one stands."""
    lines = [f"D{i},{i:x>20},{flag}\n" for i, flag in enumerate(order)]
    content = "device_uid,device_token,is_enabled\n" + "".join(lines)
    empty = [i for i, flag in enumerate(order) if not flag]
    said = instance.refuses(content, rejected=len(empty))
    assert re.findall(r":(\d+): is_enabled is empty", said) == [str(i + 2) for i in empty]
    instance.imports(content, "--skip-bad", inserted=4 - len(empty), rejected=len(empty))
    assert set(instance.devices()) == {f"D{i}" for i in range(4) if i not in empty}


@pytest.mark.parametrize("column, content", [
    ("device_uid", "device_uid,device_token\n" + "".join(
        f"8944538532046{i}0000,{i:x>20}\n" for i in range(10, 15))),
    ("device_token", "device_uid,device_token\n" + "".join(f"D{i},12345678901234{i}00000\n" for i in range(5))),
])
def test_numbers_that_a_spreadsheet_has_cut_are_refused(instance, column, content):
    """It keeps 15 digits of each. Nothing skips that: no line alone is bad."""
    for options in ([], ["--skip-bad"]):
        done = instance.run(instance.file(content), *options, code=65)
        assert f"{column} has numbers of more than 15 digits" in done.stderr and "JSON lines" in done.stderr
        assert done.stderr.count("\n") == 2 and "nothing was written" in done.stderr
    assert instance.devices() == {}


def test_long_numbers_that_are_whole_are_taken(instance):
    instance.imports("device_uid,device_token\n" + "".join(
        f"89445385320465{i:05d},{i:x>20}\n" for i in range(0, 90000, 9000)), inserted=10)


def test_devices_with_one_token_are_named(instance):
    """They are imported: a fleet may have been made so. But not without a word."""
    content = "device_uid,device_token\n" + "".join(
        f"D{i},{'shared' * 4 if i in (2, 5, 7) else f'{i:x>20}'}\n" for i in range(9))
    said = instance.imports(content, inserted=9)
    assert re.findall(r"warning: .*:(\d+): (\S+) has the same token as the device in line (\d+):", said) == [
        ("7", "D5", "4"), ("9", "D7", "4")]
    assert "shared" not in said
    mixed = f"device_uid,device_token\nA,{'shared' * 4}\nB,{stored('shared' * 4)}\nC,{'other' * 4}\n"
    assert instance.imports(mixed, inserted=3).count("the same token") == 1
    assert instance.imports(f"device_uid,device_token\nE,{'shared' * 4}\n", inserted=1) == ""
    many = "device_uid,device_token\n" + "".join(f"M{i:03},{'shared' * 4}\n" for i in range(100))
    said = instance.imports(many, "--dry-run")
    assert said.count("the same token") == 20 and "79 more" in said


@pytest.mark.parametrize("content, filter", [
    ("[]", ".[]"), ("[\n", ".[]"), (json.dumps([{"device_uid": "D1", "device_token": TOKEN}]), ".[]"),
    (json.dumps([{"device_uid": "D1", "device_token": TOKEN}], indent=2), ".[]"),
    (json.dumps({"device_uid": "D1", "device_token": TOKEN}, indent=4), "."), ("{\n}", "."),
    ('{"device_uid": "D1",\n"device_token": "%s"}' % TOKEN, ".")])
def test_json_that_is_no_lines_is_told_how_to_become_some(instance, content, filter):
    for name in ("devices.json", "devices.jsonl"):
        path = instance.file(content, name)
        done = instance.run(path, code=65)
        assert f"`jq -c '{filter}' {path} > devices.jsonl`" in done.stderr and done.stderr.count("\n") == 2
        assert TOKEN not in done.stderr
        instance.run(path, "--skip-bad", code=65)


def test_lines_that_end_in_cr_alone_are_refused(instance):
    assert "CR alone" in instance.refuses(f"device_uid,device_token\rD1,{TOKEN}\r", ":1: ")


# --- What is refused --------------------------------------------------------------------------------

@pytest.mark.parametrize("header, word", [
    ("device_uid,device_token,colour", '"colour"'),
    ("device_uid", "device_token"),
    ("device_token", "header"),
    ("device_uid,device_uid,device_token", "twice"),
    (f"D1,{TOKEN}", "header"),
])
def test_headers_that_are_refused(instance, header, word):
    for options in ([], ["--skip-bad"]):
        said = instance.refuses(f"{header}\nD1,{TOKEN},1\n", ":1: ", word, options=options)
        assert TOKEN not in said


def test_an_empty_csv_file_is_refused(instance):
    assert "header" in instance.run(instance.file(""), code=65).stderr


@pytest.mark.parametrize("row, word", [
    ("D1", "fields"),
    (f"D1,{TOKEN},1,1", "fields"),
    (f",{TOKEN},1", "device_uid"),
    (f"D 1,{TOKEN},1", "device_uid"),
    (f"{'D' * 129},{TOKEN},1", "device_uid"),
    (f"{'D' * 60},{TOKEN},1", "thing name"),
    (f"DÄ,{TOKEN},1", "device_uid"),
    ("D1,,1", "device_token"),
    ("D1,S3cretT0ken,1", "--allow-weak-tokens"),
    ("D1,S3cretT0ken:S3cretT0ken,1", "device_token"),
    ("D1,S3cretT0ken S3cretT0ken,1", "device_token"),
    (f"D1,{'S3cretT0ken' * 24},1", "256"),
    (f"D1,sha256:{TOKEN.upper()},1", "sha256"),
    (f"D1,{TOKEN},yes", "is_enabled"),
    (f"D1,{TOKEN},", "is_enabled is empty"),
    (f"D1,{TOKEN}", "is_enabled is empty"),
    (f"D1,{TOKEN},VRAI", "is_enabled"),
    (f"3.52E+14,{TOKEN},1", "device_uid is a number of which a spreadsheet"),
    ("D1,1.23456789012345E+30,1", "device_token is a number of which a spreadsheet"),
    (f"5-Mar,{TOKEN},1", "a date that a spreadsheet"),
    ("D1,####################,1", "instead of a value"),
    (f"D1,{TOKEN},1,,x", "place 5"),
    (f'D1,"{TOKEN},1', "quoted"),
    (f'D1,{TOKEN}",1', "quote"),
    (f"D1,{TOKEN}\0,1", "NUL"),
    (f"D1,{TOKEN * 100},1", "4096"),
])
def test_rows_that_are_refused(instance, row, word):
    content = f"device_uid,device_token,is_enabled\nD0,{TOKEN},1\n\n{row}\nD9,{TOKEN},0\n"
    said = instance.refuses(content, ":4: ", word)
    assert "S3cret" not in said and TOKEN not in said
    said = instance.imports(content, "--skip-bad", inserted=2, rejected=1)
    assert ":4: " in said
    assert set(instance.devices()) == {"D0", "D9"}


@pytest.mark.parametrize("line", [
    "D1," + TOKEN,
    "[]",
    "{",
    '{"device_uid": "D1"}',
    '{"device_token": "%s"}' % TOKEN,
    '{"device_uid": "D1", "device_token": "%s"} {}' % TOKEN,
    '{"device_uid": "D1", "device_token": "%s", "device_uid": "D1"}' % TOKEN,
    '{"device_uid": "D1", "Device_token": "%s"}' % TOKEN,
    '{"device_uid": 1, "device_token": "%s"}' % TOKEN,
    '{"device_uid": "D1", "device_token": null}',
    '{"device_uid": "D1\\u0000", "device_token": "%s"}' % TOKEN,
    '{"device_uid": "D1", "device_token": "%s", "is_enabled": 2}' % TOKEN,
    '{"device_uid": "D1", "device_token": "%s", "colour": 2}' % TOKEN,
])
def test_json_lines_that_are_refused(instance, line):
    good = json.dumps({"device_uid": "D0", "device_token": TOKEN})
    said = instance.refuses(f"{good}\n{line}\n", ":2: ", name="devices.jsonl")
    assert TOKEN not in said


@pytest.mark.parametrize("line, word", [
    (b'{"device_uid": "D1", "device_token": "TOKEN", "device_toke\\u006e": "TOKEN"}', "duplicate name"),
    (b'{"device_uid": "D1", "device_token": "TOKEN", "device_token": "TOKEN"}', "duplicate name"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\xff"}', "UTF-8"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\xc0\xaf"}', "UTF-8"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\\ud800"}', "surrogate"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\\u0000"}', "NUL"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\0"}', "NUL"),
    (b'{"device_uid": "D1", "device_token": "TOKEN\x01"}', "control character"),
    (b'{"device_uid": "D1", "device_token": "TOKEN"} x', "behind the object"),
    (b'{"device_uid": "D1", "device_token": "TOKEN",}', "string"),
    (b'{"device_uid": "D1", "DEVICE_TOKEN": "TOKEN"}', "unknown name"),
    (b'{"device_uid": "D1", "device_token": "TOKEN", "is_enabled": TRUE}', "value"),
    (b'{"device_uid": "D1", "device_token": "TOKEN", "is_enabled": 01}', "comma"),
    (b'\x0b{"device_uid": "D1", "device_token": "TOKEN"}', "object"),
    (b'["device_uid", "D1"]', "object"),
])
def test_json_is_read_strictly(instance, line, word):
    good = json.dumps({"device_uid": "D0", "device_token": TOKEN}).encode()
    bad = line.replace(b"TOKEN", TOKEN.encode()) if b"DEVICE_TOKEN" not in line else line
    content = good + b"\n" + bad + b"\n"
    said = instance.refuses(content, "devices.jsonl:2: ", word, name="devices.jsonl")
    assert TOKEN not in said
    instance.imports(content, "--skip-bad", name="devices.jsonl", inserted=1, rejected=1)


def test_duplicates_are_refused_naming_both_lines(instance):
    other = "x" * 20
    content = f"device_uid,device_token\nD2,{TOKEN}\nD1,{TOKEN}\nD2,{TOKEN}\nD1,{other}\nD1,{TOKEN}\n"
    said = instance.refuses(content, rejected=3)
    for line, uid, first in ((4, "D2", 2), (5, "D1", 3), (6, "D1", 3)):
        assert f":{line}: {uid} is in line {first} already" in said
    instance.imports(content, "--skip-bad", inserted=2, rejected=3)
    instance.imports(f"device_uid,device_token\nD1,{TOKEN}\nD2,{TOKEN}\n", unchanged=2)


def test_the_first_bad_lines_are_printed_and_the_rest_counted(instance):
    bad = "".join(f"D {i},{TOKEN}\n" for i in range(1000))
    said = instance.refuses("device_uid,device_token\n" + bad, rejected=1000)
    assert said.count("devices.csv:") == 21
    assert "980 more" in said


def test_weak_tokens_by_option(instance):
    instance.refuses("device_uid,device_token\nD1,weak\n", ":2: ")
    instance.imports("device_uid,device_token\nD1,weak\n", "--allow-weak-tokens", inserted=1)


def test_usage(instance):
    path = instance.file(f"device_uid,device_token\nD1,{TOKEN}\n")
    instance.run(path, "--hmac", code=64)
    instance.run(path, "--no-such-option", code=64)
    instance.run(path, "--set", "no.such=1", code=78)
    assert "nosuch.csv" in instance.run(instance.files / "nosuch.csv", code=66).stderr
    instance.run(instance.files, code=66)
    instance.run(path, "--salt-file", str(instance.files / "nosalt"), code=66)
    done = subprocess.run([program(), "device", "import", str(path)], capture_output=True, text=True)
    assert done.returncode == 64
    done = instance.run("--help")
    assert "--skip-bad" in done.stdout
    assert instance.devices() == {}


# --- What is there already --------------------------------------------------------------------------

def test_existing_devices_keep_state_and_token(instance):
    other = "x" * 20
    instance.imports(f"device_uid,device_token,is_enabled\nD1,{TOKEN},0\nD2,{TOKEN},1\n", inserted=2)
    said = instance.imports(
        f"device_uid,device_token,is_enabled\nD1,{TOKEN},1\nD2,{other},0\nD3,{TOKEN},1\n",
        inserted=1, unchanged=1, conflicts=1)
    assert "D2: " in said and "D1" not in said and other not in said
    instance.imports(f"device_uid,device_token\nD2,{TOKEN}\n", unchanged=1)
    instance.imports(f"device_uid,device_token\nD1,{TOKEN}\nD2,{other}\n", "--replace-tokens",
                     unchanged=1, replaced=1)
    instance.imports(f"device_uid,device_token\nD2,{other}\n", unchanged=1)
    devices = instance.devices()
    assert not devices["D1"]["is_enabled"] and devices["D2"]["is_enabled"]


def test_the_first_conflicts_are_printed_and_the_rest_counted(instance):
    instance.imports(rows(300), inserted=300)
    said = instance.imports(rows(300).replace("xx", "yy"), conflicts=300)
    assert said.count("another token") == 100
    assert "200 more" in said


def test_a_dry_run_writes_nothing(instance):
    done = instance.run(instance.file(rows(10)), "--dry-run", "--json")
    assert json.loads(done.stdout) == {"inserted": 0, "unchanged": 0, "conflicts": 0, "replaced": 0,
                                       "rejected": 0, "checked": 10, "dry_run": True}
    instance.run(instance.file("device_uid,device_token\nD1,x\n"), "--dry-run", code=65)
    assert instance.devices() == {}


def test_the_report_for_people(instance):
    done = instance.run(instance.file(rows(10)))
    assert done.stdout.split() == "inserted 10 unchanged 0 conflicts 0 rejected 0".split()
    assert done.stderr == ""
    done = instance.run(instance.file(rows(10)), "--replace-tokens")
    assert "replaced 0" in " ".join(done.stdout.split())


# --- Many -------------------------------------------------------------------------------------------

def test_a_killed_import_is_finished_by_running_it_again(instance):
    path = instance.file(rows(MANY))
    database = instance.folder / "devices.db-wal"
    with subprocess.Popen(instance.command(path)) as running:
        deadline = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < deadline:
            if database.exists() and database.stat().st_size > 1_000_000:
                break
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    done = json.loads(instance.run(path, "--json").stdout)
    assert done["unchanged"] > 0 and done["inserted"] > 0
    assert done["inserted"] + done["unchanged"] == MANY
    assert done["conflicts"] == done["rejected"] == 0
    assert len(instance.devices()) == MANY


@pytest.fixture(scope="module")
def large_file(module_path):
    path = module_path / "devices.csv"
    path.write_text(rows(MORE_THAN_MEMORY, uid="FACTORY-LINE-{:010d}") +
                    f"FACTORY-LINE-0000000007,{TOKEN}\n")
    return path


def test_more_rows_than_memory_are_sorted_through_a_file(instance, large_file):
    folder = instance.files / "tmp"
    folder.mkdir()
    before_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = instance.run(large_file, "--skip-bad", "--json", env=environment(TMPDIR=str(folder)))
    after_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    report = json.loads(done.stdout)
    assert report["inserted"] == MORE_THAN_MEMORY and report["rejected"] == 1
    assert f":{MORE_THAN_MEMORY + 2}: FACTORY-LINE-0000000007 is in line" in done.stderr
    assert list(folder.iterdir()) == []
    # 64 MiB of rows, their sorting and the program itself; sanitizers take many times that.
    if b"__asan_init" not in pathlib.Path(program()).read_bytes():
        assert after_kb < max(before_kb + 1, 160_000)


def test_no_room_for_the_temporary_file(instance, large_file):
    nowhere = environment(TMPDIR=str(instance.files / "nowhere"))
    done = instance.run(large_file, "--skip-bad", code=75, env=nowhere)
    assert "TMPDIR" in done.stderr
    assert instance.devices() == {}
    # What fits into memory needs no such file.
    instance.run(instance.file(rows(MANY)), env=nowhere)


def test_progress_is_drawn_on_a_terminal_only(instance):
    path = instance.file(rows(MANY))
    leader, follower = pty.openpty()
    done = subprocess.run(instance.command(path), stdout=subprocess.PIPE, stderr=follower,
                          env=environment(), timeout=60)
    os.close(follower)
    drawn = b""
    try:
        while block := os.read(leader, 65536):
            drawn += block
    except OSError:
        pass
    os.close(leader)
    assert done.returncode == 0
    assert re.search(rb"\rwriting  \[#*\.*\] +\d+ %, \d+ rows", drawn)
    assert drawn.endswith(b"\r\033[K")
    assert instance.run(path).stderr == ""


def test_an_import_beside_a_server(instance):
    """What is imported while the server runs can register with it at once."""
    with instance.serve():
        instance.imports(rows(MANY), inserted=MANY)
        instance.imports(f"device_uid,device_token\nDEVICE001,{TOKEN}\n", inserted=1)
        status, _, body = instance.register("DEVICE001", TOKEN)
        assert (status, body["status"]) == (200, "SUCCESS")
        # An import never takes back what a device has reached.
        instance.imports(f"device_uid,device_token,is_enabled\nDEVICE001,{TOKEN},0\n", unchanged=1)
        assert instance.devices()["DEVICE001"]["is_registered"]
