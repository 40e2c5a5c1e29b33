"""What the fault tests share: folders copied and started, programs traced and preloaded."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from cvm_server import Instance, build_folder, environment, program, scale, seed

CALLS = "pwrite64,write,fdatasync,fsync,rename,renameat,renameat2,ftruncate,unlink,unlinkat"


def rng(name):
    """Random, and the same again for the same CVM_TEST_SEED."""
    return random.Random(f"{seed()}:{name}")


def preloaded(*libraries, **variables):
    """Environment of a program with fault libraries preloaded."""
    paths = [build_folder().resolve() / "tests/faults" / f"libcvm-{name}.so" for name in libraries]
    assert all(path.is_file() for path in paths), paths
    return {"LD_PRELOAD": " ".join(map(str, paths)), **{name: str(value) for name, value in variables.items()},
            # the sanitizer's own library comes behind ours
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


class CopiedInstance(Instance):
    """An instance in a folder that is there already."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.conf = self.folder / "cvm.conf"
        self.root_ca = self.folder / "ca/root.pem"
        self.server = None


def copy_instance(instance, folder):
    shutil.copytree(instance.folder, folder)
    return CopiedInstance(folder)


# --- Killed at a system call ------------------------------------------------------------------------


def strace(inject=None, output="/dev/null", calls=CALLS):
    what = ["-e", f"inject={inject[0]}:signal=KILL:when={inject[1]}"] if inject else []
    return ["strace", "-f", "-qq", "-o", str(output), "-e", f"trace={calls}", *what]


def traced():
    """Environment of a traced program: leaks can't be looked for in one."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


def points_of(trace):
    """(call, N) for each call of a trace: strace counts the calls of each thread for itself."""
    counts = {}
    for line in pathlib.Path(trace).read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().split("(")[0]
        if call in CALLS.split(","):
            counts.setdefault(call, {}).setdefault(thread, 0)
            counts[call][thread] += 1
    return [(call, n) for call in sorted(counts) for n in range(1, max(counts[call].values()) + 1)]


def sample(chance, points, most):
    return points if len(points) <= most else sorted(chance.sample(points, most))


def run_traced(arguments, inject=None, output="/dev/null"):
    """Runs a command until its end or its Nth call. True if it was killed."""
    done = subprocess.run([*strace(inject, output), program(), *map(str, arguments)],
                          env=environment(**traced()), capture_output=True, timeout=120)
    killed = done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert killed or done.returncode == 0, (arguments, inject, done.returncode, done.stderr)
    return killed


def kill_traced(server):
    """Ends a traced server: its tracer would leave it running."""
    pid = server.pid
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    wait_killed(server)


def wait_killed(server, timeout_s=10):
    """True if it ended in time by SIGKILL."""
    try:
        code = server.process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    assert code in (-signal.SIGKILL, 128 + signal.SIGKILL), (code, server.stderr)
    server.check_reports()
    server.process = None
    return True


def wait_until(condition, timeout_s=20):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def report(what, **numbers):
    """For the log of a long run (pytest -s)."""
    print(f"\n{what}: scale {scale()}, seed {seed()}: " + ", ".join(f"{k} {v}" for k, v in numbers.items()))
