"""The servers of a comparison, each started in a folder of its own and stopped by its pid."""

import contextlib
import os
import pathlib
import socket
import ssl
import subprocess
import time

NGINX_CONF = """\
{user}
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.err warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    keepalive_requests 1000000000;
    default_type application/json;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_session_cache off;
    ssl_session_tickets off;
    ssl_conf_command NumTickets 0;
    server {{ listen 127.0.0.1:{fresh} ssl backlog=4096; root {dir}/www; keepalive_timeout 0; }}
    server {{ listen 127.0.0.1:{kept} ssl backlog=4096; root {dir}/www; keepalive_timeout 300; }}
}}
"""
STATIC_BYTES = 3 * 1024
START_SECONDS = 20
# A server behind this load generator sees one address only.
CVM_SETTINGS = (
    "limit.connections=20000",
    "limit.connections_per_address=20000",
    "ops.listen=off",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, process, log):
    """What `condition` returns once it is true; ends with the log's last lines if it never is."""
    deadline = time.monotonic() + START_SECONDS
    while not (value := condition()):
        if process.poll() is not None or time.monotonic() > deadline:
            last = "".join(log.read_text().splitlines(keepends=True)[-5:])
            raise SystemExit(f"bench: {process.args[0]} did not come up:\n{last}")
        time.sleep(0.002)
    return value


def children(parent):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def rss_kb(pids):
    pages = sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGESIZE") // 1024


def cpu_us(pid):
    """What a process has used, with its children that have ended; 0 if it has, which is its parent's then."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


def stop(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Cvm:
    """`cvm serve` on an instance made by `cvm init`."""

    def __init__(self, binary, folder, settings, name="cvm"):
        self.name, self.binary, self.dir = name, str(binary), pathlib.Path(folder) / name
        self.database = None  # it is on, else on its file
        self.settings = [*CVM_SETTINGS, *settings]
        self.run("init", str(self.dir))
        self.conf = str(self.dir / "cvm.conf")
        self.root = str(self.dir / "ca" / "root.pem")

    def run(self, *arguments):
        subprocess.run([self.binary, *arguments], check=True, stdout=subprocess.DEVNULL)

    def use(self, database):
        self.database = database
        with open(self.conf, "a") as conf:
            for name, value in database.settings(pathlib.Path(self.binary)).items():
                conf.write(f"{name} = {value}\n")
        self.run("store", "migrate", "-c", self.conf)

    def import_command(self, file):
        return [self.binary, "device", "import", str(file), "-c", self.conf]

    def spawn(self, port=0):
        command = [self.binary, "serve", "-c", self.conf, "--set", f"http.listen=127.0.0.1:{port}"]
        for setting in self.settings:
            command += ["--set", setting]
        with open(self.dir / "serve.out", "wb") as out, open(self.dir / "serve.err", "wb") as err:
            return subprocess.Popen(command, stdout=out, stderr=err)

    def address(self):
        whole, _, _ = (self.dir / "serve.out").read_text().rpartition("\n")
        for line in whole.splitlines():
            if line.startswith("listening https "):
                return line.split()[2]
        return None

    @contextlib.contextmanager
    def running(self):
        process = self.spawn()
        try:
            address = wait_for(self.address, process, self.dir / "serve.err")
            self.url = f"https://{address}/registration"
            self.pids = [process.pid]
            yield self
        finally:
            stop(process)

    def target(self, kept):
        return ["--url", self.url, "--ca", self.root]


class Postgresql:
    """A server of its own that writes durably, its processes' CPU, and a store on it for an instance."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder) / "postgresql"
        self.script = pathlib.Path(__file__).resolve().parent.parent / "tests/support/postgresql"

    @contextlib.contextmanager
    def running(self):
        subprocess.run([self.script, "start", self.dir, "-c", "fsync=on"], check=True)
        try:
            lines = (self.dir / "data/postmaster.pid").read_text().splitlines()
            self.main = int(lines[0])
            yield self
        finally:
            subprocess.run([self.script, "stop", self.dir], check=True)

    def cpu_us(self):
        return sum(cpu_us(pid) for pid in (self.main, *children(self.main)))

    def settings(self, binary):
        return {"store": f"postgresql:host={self.dir} user=cvm dbname=postgres",
                "module.path": binary.parent}


class Nginx:
    """nginx with one worker and a static file of the size of an answer, the same TLS settings and
    the same certificate and key as its peer."""

    name = "nginx"

    def __init__(self, folder, cvm):
        self.dir = pathlib.Path(folder) / "nginx"
        self.root = cvm.root
        self.cert, self.key = cvm.dir / "tls" / "server.pem", cvm.dir / "tls" / "server.key"
        (self.dir / "www").mkdir(parents=True)
        (self.dir / "www" / "answer").write_bytes(b"x" * STATIC_BYTES)

    def spawn(self, port=0):
        self.fresh, self.kept = port or free_port(), free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        (self.dir / "nginx.conf").write_text(NGINX_CONF.format(
            user=user, dir=self.dir, cert=self.cert, key=self.key, fresh=self.fresh, kept=self.kept))
        return subprocess.Popen(["nginx", "-p", self.dir, "-c", self.dir / "nginx.conf"])

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.kept), 1).close()
            return True
        return False

    @contextlib.contextmanager
    def running(self):
        process = self.spawn()
        try:
            log = self.dir / "nginx.err"
            wait_for(self.answers, process, log)
            self.pids = [process.pid, *wait_for(lambda: children(process.pid), process, log)]
            yield self
        finally:
            stop(process)

    def target(self, kept):
        port = self.kept if kept else self.fresh
        return ["--url", f"https://127.0.0.1:{port}/answer", "--ca", self.root, "--get"]


def first_answer_ms(spawn, root, request):
    """Milliseconds from the start of a server's process until it answers `request` by 200."""
    context = ssl.create_default_context(cafile=root)
    port = free_port()
    begin = time.perf_counter()
    process = spawn(port)
    try:
        while time.perf_counter() - begin < START_SECONDS:
            with contextlib.suppress(ConnectionError):
                status = ask(context, port, request)
                if status != b"200":
                    raise SystemExit(f"bench: the first answer is {status.decode()}, not 200")
                return 1000 * (time.perf_counter() - begin)
            time.sleep(0.0002)
    finally:
        stop(process)
    raise SystemExit("bench: no answer after the start")


def ask(context, port, request):
    with socket.create_connection(("127.0.0.1", port), START_SECONDS) as plain:
        # Nagle would hold the request back until the handshake's last flight is acknowledged.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            tls.sendall(request)
            return tls.recv(4096).split(b" ", 2)[1]
