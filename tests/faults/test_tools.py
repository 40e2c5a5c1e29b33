"""The fault tools are tools that work: they find what is wrong, and only that.

Each test runs a small program, mostly this Python with its sqlite3, with one of the libraries preloaded.
"""

import contextlib
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest

import replay

BUILD = pathlib.Path(os.environ.get("CVM_BUILD_DIR", "build")).resolve() / "tests" / "faults"
CUTS = 100
COMMITS = 150

pytestmark = pytest.mark.skipif(
    "CVM_BUILD_DIR" not in os.environ and not BUILD.is_dir(), reason=f"{BUILD} is not there: set CVM_BUILD_DIR"
)


def run(code, library, environment, *arguments):
    """Runs a Python program with a library preloaded; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"LD_PRELOAD": str(BUILD / library)} | {k: str(v) for k, v in environment.items()},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )
    return done.stdout


def record(tmp_path, code, *arguments):
    """Runs a program on the folder tmp_path/data; returns the recording and what the program printed."""
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    shutil.copytree(data, tmp_path / "initial")
    environment = {"CVM_RECORD_DIR": data, "CVM_RECORD_LOG": tmp_path / "log"}
    printed = run(code, "libcvm-recorder.so", environment, data, *arguments)
    return replay.load_log(tmp_path / "log", tmp_path / "initial"), printed


@contextlib.contextmanager
def rebuilt(tmp_path, recording, k, mode, seed=1):
    """The folder after a cut, for the time of a with block."""
    dest = tmp_path / "rebuilt"
    replay.rebuild(recording, dest, k, seed, mode)
    try:
        yield dest
    finally:
        shutil.rmtree(dest)


# ---- recorder and replay: SQLite ----

WRITER = """
    import os, sqlite3, sys, time
    folder, synchronous, commits = sys.argv[1], sys.argv[2], int(sys.argv[3])
    db = sqlite3.connect(folder + "/test.db", isolation_level=None)
    db.execute("PRAGMA synchronous = " + synchronous)
    db.execute("PRAGMA wal_autocheckpoint = 60")
    for i in range(commits):
        db.execute("INSERT INTO t VALUES (?, randomblob(?))", (i, 100 + i * 37 % 6000))
        print(i, time.monotonic_ns())
        if i % 40 == 39:
            db.execute("DELETE FROM t WHERE i < ? AND i % 2 = 0", (i - 20,))
    sys.stdout.flush()
    os._exit(0)
"""


def make_database(tmp_path):
    (tmp_path / "data").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "test.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, b BLOB)")


def record_commits(tmp_path, synchronous):
    """Commits to a database that was there. Returns the recording and [(row, when acknowledged)]."""
    make_database(tmp_path)
    recording, printed = record(tmp_path, WRITER, synchronous, COMMITS)
    return recording, [tuple(map(int, line.split())) for line in printed.splitlines()]


def lost_rows(folder, expected):
    """How many of the odd rows expected are gone (the even ones get deleted); the database must be sound."""
    with contextlib.closing(sqlite3.connect(folder / "test.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = {row for (row,) in db.execute("SELECT i FROM t")}
    return sum(row not in rows for row in expected if row % 2 == 1)


def cuts_that_lose(tmp_path, recording, acknowledged, mode):
    losing = 0
    for k in replay.cut_points(recording, limit=CUTS, seed=1):
        expected = [row for row, when in acknowledged if replay.acknowledged_before(recording, k, when)]
        with rebuilt(tmp_path, recording, k, mode) as folder:
            losing += lost_rows(folder, expected) > 0
    return losing


def test_synchronous_full_loses_no_commit(tmp_path):
    recording, acknowledged = record_commits(tmp_path, "FULL")
    assert len(acknowledged) == COMMITS
    assert replay.unseen(recording, tmp_path / "data") == []
    for mode in replay.MODES:
        assert cuts_that_lose(tmp_path, recording, acknowledged, mode) == 0, mode


def test_synchronous_normal_loses_commits(tmp_path):
    recording, acknowledged = record_commits(tmp_path, "NORMAL")
    losing = {mode: cuts_that_lose(tmp_path, recording, acknowledged, mode) for mode in replay.MODES}
    assert losing["keep"] == 0
    assert all(losing[mode] > CUTS // 2 for mode in ("drop", "random", "torn"))


CROWD = """
    import os, sqlite3, sys, threading, time
    folder, commits = sys.argv[1], int(sys.argv[2])
    def insert(first):
        db = sqlite3.connect(folder + "/test.db", isolation_level=None, timeout=30)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 60")
        for i in range(first, first + 2 * commits, 2):
            db.execute("INSERT INTO t VALUES (?, randomblob(?))", (i, i * 37 % 6000))
            os.write(1, b"%d %d\\n" % (i, time.monotonic_ns()))
    child = os.fork() == 0
    threads = [threading.Thread(target=insert, args=(1 + 1000 * (n + 2 * child),)) for n in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    if child:
        os._exit(0)
    assert os.wait()[1] == 0
"""


def test_threads_and_processes_share_a_log(tmp_path):
    make_database(tmp_path)
    recording, printed = record(tmp_path, CROWD, 40)
    acknowledged = [tuple(map(int, line.split())) for line in printed.splitlines()]
    assert len(acknowledged) == 4 * 40
    assert replay.unseen(recording, tmp_path / "data") == []
    for mode in ("drop", "torn"):
        assert cuts_that_lose(tmp_path, recording, acknowledged, mode) == 0, mode


def test_an_acknowledgement_before_the_sync_is_found_out(tmp_path):
    code = """
        import os, sys, time
        fd = os.open(sys.argv[1] + "/file", os.O_CREAT | os.O_WRONLY)
        os.fsync(os.open(sys.argv[1], os.O_RDONLY))
        os.write(fd, b"a promise")
        print(time.monotonic_ns())
        os.fsync(fd)
        print(time.monotonic_ns())
    """
    recording, printed = record(tmp_path, code)
    too_early, in_time = map(int, printed.split())

    def survives(time_ns):
        cuts = [k for k in replay.cut_points(recording) if replay.acknowledged_before(recording, k, time_ns)]
        assert cuts
        found = set()
        for k in cuts:
            with rebuilt(tmp_path, recording, k, "drop") as folder:
                found.add((folder / "file").read_bytes() == b"a promise")
        return found == {True}

    assert not survives(too_early)
    assert survives(in_time)
    assert replay.cut_at_time(recording, in_time) == len(recording.records)


# ---- recorder and replay: files ----

ALL_EFFECTS = """
    import ctypes, os, sys, tempfile
    os.chdir(sys.argv[1])
    libc = ctypes.CDLL(None)
    libc.fopen.restype = libc.fdopen.restype = ctypes.c_void_p
    def stdio(file, *texts):
        for text in texts:
            libc.fputs(text, ctypes.c_void_p(file))
            libc.fflush(ctypes.c_void_p(file))
        libc.fputs(b"end", ctypes.c_void_p(file))
        libc.fclose(ctypes.c_void_p(file))

    os.makedirs("a/b")
    fd = os.open("a/b/file", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"x" * 5000)
    os.writev(fd, [b"one", b"", b"two"])
    os.pwrite(fd, b"MIDDLE", 2000)
    os.pwritev(fd, [b"three", b"four"], 3000)
    os.posix_fallocate(fd, 0, 9000)
    os.ftruncate(fd, 8000)
    os.dup2(fd, 50)
    os.lseek(fd, 0, os.SEEK_END)
    os.write(50, b"by another descriptor")
    os.fchmod(fd, 0o640)
    with open("log", "a") as log:
        log.write("more")
    os.truncate("old", 3)
    open("old2", "w").close()
    stdio(libc.fopen(b"stdio", b"w"), b"first ", b"second ")
    stdio(libc.fopen(b"log", b"a"), b"third ")
    template = ctypes.create_string_buffer(b"a/tmp.XXXXXX")
    fd = libc.mkstemp(template)
    os.write(fd, b"by hand ")
    stdio(libc.fdopen(fd, b"w"), b"by stdio ")
    os.rename(template.value, b"a/renamed")
    os.rename("a", "c")
    os.link("c/renamed", "linked")
    os.symlink("old", "not-a-file")
    os.unlink("not-a-file")
    os.unlink("gone")
    os.mkdir("d"); os.rmdir("d")
    here = os.open(".", os.O_RDONLY)
    os.mkdir("e", dir_fd=here)
    os.rename("old2", "old3", dst_dir_fd=os.open("e", os.O_RDONLY))
    os.remove("again"); open("again", "w").write("a new file, perhaps with the old one's inode")
    if os.fork() == 0:
        open("child", "w").write("from the child")
        os._exit(0)
    os.wait()
"""


def test_every_effect_is_seen(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("log", "old", "old2", "gone", "again"):
        (data / name).write_text(f"what {name} held")
    recording, _ = record(tmp_path, ALL_EFFECTS)
    assert replay.unseen(recording, data) == []
    with rebuilt(tmp_path, recording, len(recording.records), "keep") as folder:
        assert (folder / "c" / "b" / "file").stat().st_mode & 0o777 == 0o640
    with rebuilt(tmp_path, recording, len(recording.records), "drop") as folder:
        assert subprocess.run(["diff", "-r", tmp_path / "initial", folder]).returncode == 0


def test_what_the_recorder_can_not_see_is_noticed(tmp_path):
    code = """
        import mmap, sys
        with open(sys.argv[1] + "/mapped", "w+b") as file:
            file.truncate(4096)
            mmap.mmap(file.fileno(), 4096)[0] = 1
    """
    recording, _ = record(tmp_path, code)
    assert replay.unseen(recording, tmp_path / "data") == ["mapped"]


REPLACER = """
    import os, sys
    folder, sync_file, sync_folder = sys.argv[1], sys.argv[2] == "yes", sys.argv[3] == "yes"
    with open(folder + "/new", "wb") as file:
        file.write(b"n" * 3000)
        file.flush()
        if sync_file:
            os.fsync(file.fileno())
    os.rename(folder + "/new", folder + "/file")
    if sync_folder:
        os.fsync(os.open(folder, os.O_RDONLY))
"""


def outcomes(tmp_path, sync_file, sync_folder):
    """All that the file can hold after a cut at the end."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(b"o" * 2000)
    recording, _ = record(tmp_path, REPLACER, sync_file, sync_folder)
    found = set()
    for mode in ("drop", "random", "torn"):
        for seed in range(40):
            with rebuilt(tmp_path, recording, len(recording.records), mode, seed) as folder:
                found.add((folder / "file").read_bytes())
    return found


def test_a_file_replaced_with_both_syncs_is_new(tmp_path):
    assert outcomes(tmp_path, "yes", "yes") == {b"n" * 3000}


def test_a_file_replaced_without_its_folders_sync_is_old_or_new(tmp_path):
    assert outcomes(tmp_path, "yes", "no") == {b"o" * 2000, b"n" * 3000}


def test_a_file_replaced_without_its_own_sync_may_be_anything(tmp_path):
    found = outcomes(tmp_path, "no", "yes")
    assert {b"", b"n" * 512, b"n" * 2560, bytes(3000), b"n" * 3000} <= found


# ---- faults of input and output ----

FAULTY = """
    import os, sys
    folder, control, fault = sys.argv[1:]
    def switch_on():
        with open(control + ".new", "w") as file:
            file.write(fault)
        os.rename(control + ".new", control)
    def attempt(function, *arguments):
        try:
            function(*arguments)
            print("ok", end=" ")
        except OSError as error:
            print(os.strerror(error.errno).split()[0], end=" ")
    fd = os.open(folder + "/file", os.O_CREAT | os.O_RDWR)
    def all_calls():
        attempt(os.fsync, fd); attempt(os.fdatasync, fd); attempt(os.pwrite, fd, b"x", 0)
        attempt(os.write, fd, b"x"); attempt(os.writev, fd, [b"x"]); attempt(os.ftruncate, fd, 5)
        print()
    all_calls()
    switch_on(); all_calls()
    os.unlink(control); all_calls()
    switch_on(); all_calls(); all_calls(); all_calls()
"""

FINE = "ok ok ok ok ok ok"


def faulty(tmp_path, fault):
    (tmp_path / "data").mkdir()
    environment = {"CVM_FAULT_DIR": tmp_path / "data", "CVM_FAULT_CONTROL": tmp_path / "control"}
    printed = run(FAULTY, "libcvm-faultio.so", environment, tmp_path / "data", tmp_path / "control", fault)
    return [line.strip() for line in printed.splitlines()]


@pytest.mark.parametrize(
    "fault, answers",
    [
        ("fdatasync EIO", "ok Input/output ok ok ok ok"),
        ("fsync EIO\nftruncate EDQUOT", "Input/output ok ok ok ok Disk"),
        ("pwrite ENOSPC\nwrite ENOSPC on fil", "ok ok No No No ok"),
        ("pwrite ENOSPC on other", FINE),
    ],
)
def test_faults_switch_on_and_off(tmp_path, fault, answers):
    assert faulty(tmp_path, fault) == [FINE, answers, FINE, answers, answers, answers]


def test_faults_begin_and_end_by_number(tmp_path):
    fails = "ok Input/output ok ok ok ok"
    assert faulty(tmp_path, "fdatasync EIO after 1 times 1") == [FINE, FINE, FINE, FINE, fails, FINE]


SQLITE_FAULT = """
    import os, sqlite3, sys
    folder, control, fault = sys.argv[1:]
    db = sqlite3.connect(folder + "/test.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE t (i)")
    open(control, "w").write(fault)
    try:
        db.execute("INSERT INTO t VALUES (1)")
    except sqlite3.OperationalError as error:
        print(error.sqlite_errorname)
    os.unlink(control)
    db.execute("INSERT INTO t VALUES (2)")
    print(db.execute("SELECT i FROM t").fetchall())
"""


@pytest.mark.parametrize(
    "fault, error", [("fdatasync EIO on -wal", "SQLITE_IOERR_FSYNC"), ("pwrite ENOSPC on -wal", "SQLITE_FULL")]
)
def test_sqlite_meets_the_faults(tmp_path, fault, error):
    (tmp_path / "data").mkdir()
    environment = {"CVM_FAULT_DIR": tmp_path / "data", "CVM_FAULT_CONTROL": tmp_path / "control"}
    printed = run(SQLITE_FAULT, "libcvm-faultio.so", environment, tmp_path / "data", tmp_path / "control", fault)
    assert printed.split("\n")[:2] == [error, "[(2,)]"]


def test_what_a_failed_sync_covered_may_stay_lost(tmp_path):
    """Recorder in front of faults: after a failed fsync a good one doesn't bring the data back."""
    code = """
        import os, sys
        fd = os.open(sys.argv[1] + "/file", os.O_CREAT | os.O_WRONLY)
        os.fsync(os.open(sys.argv[1], os.O_RDONLY))
        os.write(fd, b"lost ")
        try:
            os.fdatasync(fd)
        except OSError:
            os.write(fd, b"kept")
        os.fdatasync(fd)
    """
    control = tmp_path / "control"
    control.write_text("fdatasync EIO times 1")
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "initial").mkdir()
    environment = {
        "LD_PRELOAD": f"{BUILD}/libcvm-recorder.so {BUILD}/libcvm-faultio.so",
        "CVM_RECORD_DIR": data,
        "CVM_RECORD_LOG": tmp_path / "log",
        "CVM_FAULT_DIR": data,
        "CVM_FAULT_CONTROL": control,
    }
    run(code, "", environment, data)
    recording = replay.load_log(tmp_path / "log", tmp_path / "initial")
    with rebuilt(tmp_path, recording, len(recording.records), "drop") as folder:
        assert (folder / "file").read_bytes() == bytes(5) + b"kept"


# ---- failing allocations ----

SWEEP = """
    import ctypes, sqlite3, sys
    tool = ctypes.CDLL(None)
    tool.failmalloc_arm.argtypes = [ctypes.c_int64]
    tool.failmalloc_count.restype = ctypes.c_int64
    db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    db.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, b)")

    def attempt(nth):
        tool.failmalloc_arm(nth)
        try:
            db.execute("INSERT INTO t (b) VALUES (zeroblob(20000))")
            return True
        except MemoryError:
            return False

    attempt(0)
    needed = tool.failmalloc_count()
    failures, nth = 0, 1
    while True:
        done = attempt(nth)
        reached = tool.failmalloc_count() >= nth
        tool.failmalloc_arm(0)
        if not reached:
            break
        failures += not done
        nth += 1
    print(needed, nth - 1, failures, db.execute("PRAGMA integrity_check").fetchone()[0])
"""


def test_each_allocation_of_a_library_fails_in_turn():
    printed = run(SWEEP, "libcvm-failmalloc.so", {"CVM_FAIL_FROM_LIBRARY": "libsqlite3"})
    needed, reached, failures, sound = printed.split()
    assert int(needed) > 5
    assert int(reached) > 5
    assert int(failures) > 5
    assert sound == "ok"


ALLOCATOR = """
    import ctypes, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("malloc", "calloc", "realloc", "strdup"):
        getattr(libc, name).restype = ctypes.c_void_p
    calls = [(libc.malloc, 10), (libc.calloc, 10, 10), (libc.realloc, None, 10), (libc.strdup, b"text")]
    open(sys.argv[1], "w").close()
    results = [function(*arguments) for function, *arguments in calls * 2]
    os.unlink(sys.argv[1])
    print(*(int(result is not None) for result in results))
"""


@pytest.mark.parametrize(
    "environment, answers",
    [
        ({}, "1 1 1 1 1 1 1 1"),
        ({"CVM_FAIL_AT": 1}, "0 1 1 1 1 1 1 1"),
        ({"CVM_FAIL_AT": 4}, "1 1 1 0 1 1 1 1"),
        ({"CVM_FAIL_AT": 6, "CVM_FAIL_KEEP": 1}, "1 1 1 1 1 0 0 0"),
        ({"CVM_FAIL_AT": 1, "CVM_FAIL_FROM_LIBRARY": "libother"}, "1 1 1 1 1 1 1 1"),
    ],
)
def test_the_nth_allocation_fails(tmp_path, environment, answers):
    """libffi makes the calls, so it is the module that they come from."""
    count_file = tmp_path / "count"
    environment = {
        "CVM_FAIL_FROM_LIBRARY": "libnothing:libffi",
        "CVM_FAIL_ARMED_FILE": tmp_path / "armed",
        "CVM_FAIL_COUNT_FILE": count_file,
    } | environment
    assert run(ALLOCATOR, "libcvm-failmalloc.so", environment, tmp_path / "armed").strip() == answers
    assert int(count_file.read_text()) == (0 if "other" in environment["CVM_FAIL_FROM_LIBRARY"] else 8)
