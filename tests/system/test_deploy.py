"""What deploy/ holds is what it says: units that systemd takes, balancer snippets that work, a script that
a plain /bin/sh runs."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import types

import pytest

from broker import RELOAD, REPOSITORY, reload_script, wait_until
from cvm_server import Failed, Instance, free_port, program, token
from postgresql import PostgreSQL

DEPLOY = REPOSITORY / "deploy"
SYSTEMD = DEPLOY / "systemd"
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
NGINX_STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "PATH": PATH}, **options)
    return types.SimpleNamespace(code=done.returncode, text=done.stdout + done.stderr)


# --- Units ------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path):
    """The units, with programs that exist here."""
    for path in (path for path in SYSTEMD.glob("cvm*.*") if path.is_file()):
        text = path.read_text().replace("/usr/local/bin/cvm-mosquitto-reload", str(RELOAD))
        (tmp_path / path.name).write_text(text.replace("/usr/local/bin/cvm ", f"{program()} "))
    return sorted(path for path in tmp_path.iterdir() if path.suffix in (".service", ".path", ".timer"))


@needs("systemd-analyze")
def test_systemd_takes_the_units(units):
    assert len(units) == 4
    done = run("systemd-analyze", "verify", "--man=no", *units)
    complaints = [line for line in done.text.splitlines() if any(unit.name in line for unit in units)]
    assert done.code == 0 and not complaints, done.text


@needs("systemd-analyze")
def test_a_mistake_in_a_unit_would_be_found(units):
    service = next(unit for unit in units if unit.name == "cvm.service")
    service.write_text(service.read_text().replace("ProtectSystem", "ProtectSystm"))
    assert "ProtectSystm" in run("systemd-analyze", "verify", "--man=no", *units).text


@needs("systemd-analyze")
@pytest.mark.parametrize("is_mistaken", [False, True])
def test_systemd_takes_the_credentials(units, is_mistaken):
    service = next(unit for unit in units if unit.name == "cvm.service")
    folder = service.with_name("cvm.service.d")
    folder.mkdir()
    text = (SYSTEMD / "cvm.service.d/credentials.conf").read_text()
    (folder / "credentials.conf").write_text(text.replace("LoadCredential=", "LoadCredentail=") if is_mistaken else text)
    done = run("systemd-analyze", "verify", "--man=no", service)
    complaints = [line for line in done.text.splitlines() if "cvm.service" in line]
    assert bool(complaints) == is_mistaken, done.text


def test_the_server_runs_on_credentials(tmp_path):
    """With what its drop-in loads, in a folder as systemd makes it, and what its comment says to do."""
    with PostgreSQL() as database:
        [instance] = database.instances(tmp_path, 1)
        credentials = tmp_path / "run/credentials/cvm.service"
        credentials.mkdir(parents=True)
        key = instance.folder / "ca/issuing.key"
        key.rename(credentials / "issuing.key")
        key.symlink_to(credentials / "issuing.key")
        (credentials / "database-password").write_text("not asked for here\n")
        for path in credentials.iterdir():
            path.chmod(0o400)
        instance.conf.write_text(f"{instance.conf.read_text()}postgresql.password_file = {credentials}/database-password\n")
        credentials.chmod(0o500)
        loaded = {line.partition("=")[2].partition(":")[0] for line in settings("cvm.service.d/credentials.conf")
                  if line.startswith("LoadCredential=")}
        assert loaded == {path.name for path in credentials.iterdir()}
        with instance.serve_plain(env={"CREDENTIALS_DIRECTORY": str(credentials)}):
            instance.add("DEVICE001")
            assert instance.register("DEVICE001", token("DEVICE001"))[0] == 200
        old_key = (credentials / "issuing.key").read_bytes()
        instance.cvm("ca", "rotate", "--root-key", instance.folder / "ca/offline/root.key")
        assert not key.is_symlink() and key.read_bytes() != old_key  # the next key takes the link's place
        (credentials / "database-password").unlink()
        with pytest.raises(Failed, match="database-password"):  # that file it is that counts
            instance.serve_plain()


@needs("systemd-analyze")
def test_the_server_is_well_confined(units):
    service = next(unit for unit in units if unit.name == "cvm.service")
    done = run("systemd-analyze", "security", "--offline=yes", "--threshold=15", service)
    assert done.code == 0, done.text


def settings(name):
    lines = (SYSTEMD / name).read_text().splitlines()
    return [line for line in lines if line and line[0] not in "#["]


def test_the_units_name_the_same_places():
    assert "StateDirectory=cvm" in settings("cvm.service")
    assert "PathChanged=/var/lib/cvm/ca/crl.pem" in settings("cvm-mosquitto-reload.path")
    assert "PathChanged=/var/lib/cvm/mosquitto/server.pem" in settings("cvm-mosquitto-reload.path")
    assert "ReadWritePaths=/var/lib/cvm/mosquitto" in settings("cvm-mosquitto-reload.service")
    assert any("-c /var/lib/cvm/mosquitto/mosquitto.conf" in line
               for line in settings("mosquitto.service.d/cvm.conf"))


def test_a_port_that_is_busy_for_a_minute_is_tried_again(tmp_path):
    """However often: the unit has no limit of starts, and does not give up at that exit code."""
    instance = Instance(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = instance.cvm("serve", "--set", f"http.listen={address}", check=False)
    assert done.returncode == 69 and b"Address already in use" in done.stderr, done
    unit = settings("cvm.service")
    assert "StartLimitIntervalSec=0" in unit and "Restart=on-failure" in unit
    [prevented] = [line.split("=")[1].split() for line in unit if line.startswith("RestartPreventExitStatus=")]
    assert str(done.returncode) not in prevented


def test_a_server_under_nohup_reloads_and_stops(tmp_path):
    """What nohup, or a shell's "&", has ignored is still heeded."""
    instance = Instance(tmp_path)
    for number in (signal.SIGTERM, signal.SIGINT):
        server = instance.serve(wrapper=("env", "--ignore-signal=HUP,INT,TERM"))
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded")
        server.stop(number)


@needs("strace", "systemd-analyze")
def test_the_server_makes_no_system_call_that_its_unit_forbids(tmp_path):
    """What it does from its start over a registration and a new CRL to its stop."""
    instance = Instance(tmp_path)
    instance.add("DEVICE")
    trace = tmp_path / "trace"
    if run("strace", "-o", "/dev/null", "true").code:
        pytest.skip("ptrace is not permitted")
    env = {"ASAN_OPTIONS": "detect_leaks=0"}  # the leak checker can't run under strace
    before = instance.folder.joinpath("ca/crl.pem").read_bytes()
    with instance.serve(wrapper=("strace", "-D", "-f", "-qq", "-c", "-o", trace), env=env,
                        ca_crl_command="true") as server:
        assert instance.register("DEVICE")[0] == 200
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: instance.folder.joinpath("ca/crl.pem").read_bytes() != before, "a new CRL")
    wait_until(lambda: trace.exists() and "total" in trace.read_text(), "the end of the trace")
    called = {line.split()[-1] for line in trace.read_text().splitlines()[2:-2]}
    assert {"epoll_wait", "fdatasync"} & called, called
    assert called <= allowed_calls("cvm.service"), called - allowed_calls("cvm.service")


def calls_of(group):
    if not group.startswith("@"):
        return {group}
    listed = run("systemd-analyze", "syscall-filter", group).text.splitlines()[1:]
    names = [line.strip() for line in listed if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls_of(name) for name in names)) if names else set()


def allowed_calls(name):
    allowed = set()
    for line in settings(name):
        if line.startswith("SystemCallFilter=~"):
            for group in line.split("~")[1].split():
                allowed -= calls_of(group)
        elif line.startswith("SystemCallFilter="):
            for group in line.split("=")[1].split():
                allowed |= calls_of(group)
    return allowed | {"execve", "exit_group", "restart_syscall", "rt_sigreturn", "arch_prctl"}


# --- The script -------------------------------------------------------------------------------------


def test_the_script_is_plain_shell():
    assert os.access(RELOAD, os.X_OK) and RELOAD.read_text().startswith("#!/bin/sh\n")
    for shell in filter(shutil.which, ("dash", "bash")):
        assert run(shell, "-n", RELOAD).code == 0


def test_the_script_says_how_it_is_used(tmp_path):
    assert "usage:" in run(RELOAD, "--help").text and run(RELOAD, "--help").code == 0
    for arguments in ([], ["--pid"], ["--what", tmp_path], [tmp_path, "more"], [tmp_path / "missing"]):
        assert run(RELOAD, *arguments).code == 64, arguments


def test_the_script_leaves_nothing_behind(tmp_path):
    instance = Instance(tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    names = {path.name for path in (instance.folder / "mosquitto").iterdir()}
    instance.cvm("ca", "crl")
    for expected in (0, 65):
        done = run("env", f"TMPDIR={temporary}", RELOAD, instance.folder)
        assert done.code == expected, done.text
        assert not list(temporary.iterdir())
        assert {path.name for path in (instance.folder / "mosquitto").iterdir()} == names
        (instance.folder / "ca/crl.pem").write_text("junk")


def test_a_unit_that_does_not_run_needs_not_be_told(tmp_path):
    instance = Instance(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\n[ \"$4\" = mosquitto.service ] && echo 0\n")
    (tools / "systemctl").chmod(0o755)
    done = reload_script(instance, "--unit", "mosquitto.service",
                         wrapper=("env", f"PATH={tools}:{os.environ['PATH']}"))
    assert done.returncode == 0 and "does not run" in done.stderr


# --- Balancers --------------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path):
    """Two servers' ports: an instance can have one server on its file, so these are two."""
    made = [Instance(tmp_path, name=name) for name in ("one", "two")]
    options = {"http.proxy_protocol": "on", "http.trusted_proxies": "127.0.0.1",
               "limit.handshakes_per_address": "1000"}  # the balancers' own limits are what is seen
    try:
        for instance in made:
            instance.add("DEVICE")
            instance.serve(options)
        yield made
        for instance in made:
            instance.stop()
    finally:
        for instance in made:
            instance.kill()


def fit(text, port, servers):
    """A snippet with ports and addresses of this machine."""
    text = text.replace("10.0.0.11:8443", f"127.0.0.1:{servers[0].port}")
    return text.replace("10.0.0.12:8443", f"127.0.0.1:{servers[1].port}").replace("443 reuseport", str(port))


def check_balanced(port, servers):
    """Both servers are reached, and both see the device's address."""
    def connect(source):
        return run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-bind", source, input="")
    wait_until(lambda: "CONNECTED" in connect("127.0.0.1").text, "the balancer")
    for i in range(8):
        request = ('{"device_uid": "DEVICE", "device_token": "wrong-token-%d"}' % i)
        head = (f"POST /registration HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(request)}\r\nConnection: close\r\n\r\n")
        done = run("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-bind", "127.0.0.77",
                   input=head + request)
        assert "403" in done.text, done.text
    for instance in servers:
        assert "127.0.0.77" in instance.server.stderr, instance.server.stderr
    check_greedy_source(port, servers)


def check_greedy_source(port, servers):
    """What a source opens beyond its share does not get past the balancer."""
    def connections():
        return sum(instance.metrics().get('cvm_connections{transport="http"}', 0) for instance in servers)
    wait_until(lambda: connections() == 0, "the end of earlier connections")
    wires = [socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.78", 0)) for _ in range(160)]
    wait_until(lambda: connections() == 128, "as many as it may have")
    other = run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-bind", "127.0.0.77", input="")
    assert "Verification" in other.text, other.text
    assert connections() <= 129
    for wire in wires:
        wire.close()


@needs("nginx")
@pytest.mark.skipif(not NGINX_STREAM.exists(), reason="not installed: libnginx-mod-stream")
def test_the_nginx_snippet_works(tmp_path, servers):
    port = free_port()
    text = fit((DEPLOY / "balancer/nginx.conf").read_text(), port, servers)
    text = text.replace(f"listen [::]:{port};", "")
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"load_module {NGINX_STREAM};\ndaemon off;\npid {tmp_path}/pid;\n"
                    f"error_log {tmp_path}/error.log;\nevents {{ }}\n{text}")
    checked = run("nginx", "-t", "-c", conf)
    assert checked.code == 0, checked.text
    with subprocess.Popen([shutil.which("nginx", path=PATH), "-c", str(conf)]) as nginx:
        try:
            check_balanced(port, servers)
        finally:
            nginx.terminate()


@needs("haproxy")
def test_the_haproxy_snippet_works(tmp_path, servers):
    whole = (DEPLOY / "balancer/haproxy.cfg").read_text()
    checked = run("haproxy", "-c", "-f", DEPLOY / "balancer/haproxy.cfg")
    assert checked.code == 0, checked.text
    port = free_port()
    text = fit(whole, port, servers).replace("bind :443", f"bind 127.0.0.1:{port}")
    text = text.replace("bind :::443 v6only", "").replace("check port 9464", "check")
    for instance in servers:
        text = text.replace(f"127.0.0.1:{instance.port}",
                            f"127.0.0.1:{instance.port} port {instance.ops_port}")
    conf = tmp_path / "haproxy.cfg"
    conf.write_text(text)
    with subprocess.Popen([shutil.which("haproxy", path=PATH), "-db", "-f", str(conf)],
                          stderr=subprocess.DEVNULL) as haproxy:
        try:
            check_balanced(port, servers)
        finally:
            haproxy.terminate()
