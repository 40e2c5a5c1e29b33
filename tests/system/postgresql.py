"""A PostgreSQL server of a test's own, and instances of cvm on it."""

import pathlib
import shutil
import subprocess
import tempfile
import time

from cvm_server import Instance, build_folder, free_port
from network import Network

SERVER = pathlib.Path(__file__).parent.parent / "support/postgresql"


class PostgreSQL:
    """On a unix socket in a folder; gone after a with block. behind_network: what is asked of it goes through one, which
    can be made bad (network)."""

    def __init__(self, standby_of=None, behind_network=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cvm-postgresql-"))
        self.hosts = [self.folder]  # of the URI
        self.is_running = False
        self.port, self.network = 5432, None
        self._standby_of, self._behind_network = standby_of, behind_network

    def __enter__(self):
        if self._standby_of:
            self._run("standby", self._standby_of.folder)
        else:
            self._run("start")
        self.is_running = True
        if self._behind_network:
            try:
                self._listen()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_):
        if self.network:
            self.network.stop()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, action, *arguments):
        subprocess.run([SERVER, action, self.folder, *arguments], check=True)

    def _listen(self):
        port = free_port()
        self.sql("ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
        self.sql(f"ALTER SYSTEM SET port = {port}")
        self.restart()
        self.port = port
        self.network = Network(f"127.0.0.1:{port}")

    def stop(self):
        """As if power was lost."""
        if self.is_running:
            self._run("stop")
        self.is_running = False

    def promote(self):
        """The standby takes writes from now on."""
        self._run("promote")

    def restart(self):
        """As after a loss of power."""
        self._run("stop")
        self._run("start")

    def freeze(self, seconds):
        """All of its processes stand still for so long."""
        self._run("freeze")
        time.sleep(seconds)
        self._run("thaw")

    def set(self, name, value):
        """A setting of the server's, for what begins from now on."""
        self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    @property
    def uri(self):
        if self.network:
            return f"postgresql://cvm@{self.network.address}/postgres"
        return f"postgresql://cvm@/postgres?host={','.join(map(str, self.hosts))}"

    def sql(self, text):
        """What a statement answers, a row a line."""
        done = subprocess.run(["psql", "-h", self.folder, "-p", str(self.port), "-U", "cvm", "-Atqc", text, "postgres"],
                              check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def end_backends(self):
        """Those that servers of ours are connected to. Their number."""
        return self.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'cvm'")

    def instances(self, folder, count):
        """So many that share the store, whose tables are made, and the first one's CA."""
        first = self.instance(folder, "s0")
        first.cvm("store", "migrate")
        return [first] + [self.instance(folder, f"s{i}", like=first) for i in range(1, count)]

    def instance(self, folder, name, like=None):
        """An instance whose store is there; like: it shares that one's CA."""
        instance = Instance(folder, name=name)
        text = instance.conf.read_text().replace("store = file:devices.db", f"store = {self.uri}")
        instance.conf.write_text(f"{text}\nmodule.path = {build_folder()}\n")
        if like:
            shutil.rmtree(instance.folder / "ca")
            shutil.copytree(like.folder / "ca", instance.folder / "ca")
            shutil.rmtree(instance.folder / "mosquitto")  # of the CA that it had
        return instance
