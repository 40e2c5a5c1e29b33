"""An instance of cvm in a folder of its own, and a server on it: what the system tests start from.

    instance = Instance(tmp_path)
    instance.add("DEVICE001", token("DEVICE001"))
    with instance.serve(log_level="debug"):
        status, headers, body = instance.register("DEVICE001", token("DEVICE001"))
"""

import hashlib
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import ssl
import subprocess
import time

START_S = 30
STOP_S = 40
WRAPPER = os.environ.get("CVM_TEST_WRAPPER", "").split()  # a command that runs servers: valgrind
REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "MemorySanitizer",
           "runtime error:", "Assertion ")


def build_folder():
    build = os.environ.get("CVM_BUILD_DIR")
    assert build, "set CVM_BUILD_DIR to the folder of a build"
    return pathlib.Path(build)


def program():
    path = build_folder() / "cvm"
    assert path.is_file(), f"{path} is missing: build it"
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clock(offset):
    """Environment of a program whose wall clock is off by so much ("+90s", "-5d"). By faketime's library alone: the
    program itself is a parent that passes no signals on."""
    library = subprocess.run(["faketime", "-f", "+0d", "printenv", "LD_PRELOAD"], check=True, capture_output=True, text=True)
    return {"LD_PRELOAD": library.stdout.strip(), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}  # the sanitizer's library comes behind it


def scale():
    """1 in CI, 10 in the long run."""
    return int(os.environ.get("CVM_TEST_SCALE", "1"))


def seed():
    return int(os.environ.get("CVM_TEST_SEED", "20240229"))


def is_sanitized():
    """Is the program built with sanitizers? What is preloaded or made for speed doesn't go with them."""
    return b"__asan_init" in pathlib.Path(program()).read_bytes()


def environment(**more):
    """Ours without CVM_*: cvm would read them as properties."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CVM_")}
    return {**kept, **more}


def token(uid):
    """A registration token for the device, as a shared secret would make it."""
    return hashlib.sha256(f"YOUR_SECRET_SALT//{uid}".encode()).hexdigest()


def property_name(name):
    """log_level → log.level; only the first underscore is a dot."""
    if name.startswith("server_key_"):
        return name.replace("server_key_", "server_key.", 1)
    return name.replace("_", ".", 1)


def property_value(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


class Failed(Exception):
    """A command that should have succeeded."""


class Server:
    """One run of `cvm serve`. Stops, and checks how it stopped, at the end of a with block."""

    def __init__(self, command, folder, env, limits=None):
        self.folder = folder
        number = len(list(folder.glob("serve-*.out")))
        self.stdout_path = folder / f"serve-{number}.out"
        self.stderr_path = folder / f"serve-{number}.err"
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            env=env, preexec_fn=self._limiter(limits))
        self.pid = self.process.pid
        self.listeners = self._wait_for_listeners()

    @staticmethod
    def _limiter(limits):
        def set_limits():
            for name, value in (limits or {}).items():
                resource.setrlimit(name, value)
        return set_limits

    def cpu_s(self):
        """Seconds of processor time that it has taken, by the system's clock tick."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _wait_for_listeners(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            text = self.stdout_path.read_text()
            if text.endswith("\n"):  # they come in one write
                return [self._listener(line) for line in text.splitlines()]
            if self.process.poll() is not None:
                raise Failed(f"serve ended with {self.process.returncode}: {self.stderr}")
            time.sleep(0.01)
        self.kill()
        raise Failed(f"serve did not listen in {START_S} s: {self.stderr}")

    @staticmethod
    def _listener(line):
        word, scheme, address = line.split(" ")
        assert word == "listening", line
        host, _, port = address.rpartition(":")
        return scheme, host.strip("[]"), int(port)

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def port_of(self, *schemes):
        return next((port for scheme, _, port in self.listeners if scheme in schemes), None)

    @property
    def port(self):
        return self.port_of("https", "http")

    @property
    def ops_port(self):
        return self.port_of("ops")

    @property
    def is_tls(self):
        return self.port_of("https") is not None

    def send_signal(self, number):
        self.process.send_signal(number)

    def is_running(self):
        return self.process.poll() is None

    def wait_for_log(self, text, timeout_s=10, count=1):
        end = time.monotonic() + timeout_s
        while self.stderr.count(text) < count:
            assert time.monotonic() < end, f"no {text!r} in the log:\n{self.stderr[-4000:]}"
            time.sleep(0.02)

    def stop(self, number=signal.SIGTERM, timeout_s=STOP_S):
        """Ends it and checks that it ended well. Does nothing when it has been stopped or killed."""
        if self.process is None:
            return
        if self.is_running():
            self.send_signal(number)
        self.wait(timeout_s)

    def wait(self, timeout_s=STOP_S):
        """Waits for the end that a signal asked for, and checks that it was a good one."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"serve did not stop in {timeout_s} s: {self.stderr[-4000:]}") from None
        self.process = None
        assert code == 0, f"serve ended with {code}:\n{self.stderr[-8000:]}"
        self.check_reports()

    def check_reports(self):
        text = self.stderr
        assert not any(report in text for report in REPORTS), text[-8000:]

    def kill(self):
        """SIGKILL. Does nothing when it is gone already."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            try:
                self.stop()
            except (AssertionError, Failed) as problem:
                print(problem)  # beside what failed first


class Instance:
    """What `cvm init` makes in a folder, and at most one server on it."""

    def __init__(self, tmp_path, *init_arguments, name="cvm"):
        self.folder = pathlib.Path(tmp_path) / name
        self.conf = self.folder / "cvm.conf"
        self.root_ca = self.folder / "ca/root.pem"
        self.server = None
        self._run("init", str(self.folder), *(init_arguments or ("--endpoint", "localhost")))

    # --- Commands ---

    @staticmethod
    def _run(*arguments, stdin=b"", check=True, env=None, timeout_s=120):
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run([program(), *map(str, arguments)], input=stdin, capture_output=True,
                              env=environment(**(env or {})), timeout=timeout_s)
        errors = done.stderr.decode(errors="replace")
        assert not any(report in errors for report in REPORTS), errors
        if check and done.returncode:
            raise Failed(f"cvm {' '.join(map(str, arguments))}: {done.returncode}: {errors}")
        return done

    def cvm(self, *arguments, **options):
        """Runs a command on this instance: cvm("device", "show", uid). Its CompletedProcess."""
        return self._run(*arguments, "-c", self.conf, **options)

    def add(self, uid, token_text=None, *more):
        """Adds one device; its token is token(uid) unless said."""
        self.cvm("device", "add", uid, "--token-file", "-", *more, stdin=token_text or token(uid))

    def import_csv(self, rows, *more):
        """rows: (uid, token) or (uid, token, is_enabled), or uids alone."""
        rows = [(row, token(row)) if isinstance(row, str) else row for row in rows]
        names = ["device_uid", "device_token", "is_enabled"][:len(rows[0])]
        lines = [",".join(names)] + [",".join(map(str, row)) for row in rows]
        return self.cvm("device", "import", "-", *more, stdin="\n".join(lines) + "\n")

    def show(self, uid):
        return json.loads(self.cvm("device", "show", uid, "--json").stdout)

    # --- The server ---

    def serve(self, settings=None, *, limits=None, env=None, wrapper=(), **named):
        """Starts `cvm serve` on free ports. Properties by keyword (log_level="debug") or, by their
        own names, in settings. limits: {resource.RLIMIT_NOFILE: (soft, hard)}."""
        chosen = {"http.listen": "127.0.0.1:0", "ops.listen": "127.0.0.1:0",
                  **(settings or {}), **{property_name(name): value for name, value in named.items()}}
        options = [part for name, value in chosen.items() if value is not None
                   for part in ("--set", f"{name}={property_value(value)}")]
        command = [*(wrapper or WRAPPER), program(), "serve", "-c", str(self.conf), *options]
        assert self.server is None or self.server.process is None, "stop the other one first"
        self.server = Server(command, self.folder, environment(**(env or {})), limits)
        return self.server

    def serve_plain(self, settings=None, **named):
        """Without TLS, as behind a proxy."""
        plain = {"http.tls_certificate": "", "http.tls_private_key": "", **(settings or {})}
        return self.serve(plain, **named)

    @property
    def port(self):
        return self.server.port

    @property
    def ops_port(self):
        return self.server.ops_port

    def stop(self):
        if self.server:
            self.server.stop()

    def kill(self):
        if self.server:
            self.server.kill()

    # --- Requests ---

    def tls_context(self, version=None):
        context = ssl.create_default_context(cafile=str(self.root_ca))
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def connect(self, timeout_s=30, source=None, context=None):
        """A connection of http.client's, not yet open."""
        source = (source, 0) if source else None
        if self.server.is_tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_s,
                                               source_address=source,
                                               context=context or self.tls_context())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s,
                                          source_address=source)

    def post(self, body, headers=None, connection=None, **options):
        """(status, headers, bytes of the body)."""
        own = connection or self.connect(**options)
        try:
            own.request("POST", "/registration", body,
                        headers if headers is not None else {"Content-Type": "application/json"})
            answer = own.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if not connection:
                own.close()

    def register(self, uid, token_text=None, csr=None, **options):
        """(status, headers, body from JSON). The token is token(uid) unless said."""
        message = {"device_uid": uid, "device_token": token(uid) if token_text is None else token_text}
        if csr is not None:
            message["csr"] = csr
        status, headers, body = self.post(json.dumps(message), **options)
        return status, headers, json.loads(body)

    def ops(self, path):
        """(status, text) of the operator's listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ops_port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        """{'name{label="value"}': number}."""
        lines = [line for line in self.ops("/metrics")[1].splitlines() if line and line[0] != "#"]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
