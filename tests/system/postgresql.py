"""A PostgreSQL server of a test's own, and instances of cvm on it."""

import pathlib
import shutil
import subprocess
import tempfile

from cvm_server import Instance, build_folder

SERVER = pathlib.Path(__file__).parent.parent / "support/postgresql"


class PostgreSQL:
    """On a unix socket in a folder; gone after a with block."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cvm-postgresql-"))

    def __enter__(self):
        self._run("start")
        return self

    def __exit__(self, *_):
        self._run("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, action):
        subprocess.run([SERVER, action, self.folder], check=True)

    def restart(self):
        """As after a loss of power."""
        self._run("stop")
        self._run("start")

    @property
    def uri(self):
        return f"postgresql://cvm@/postgres?host={self.folder}"

    def sql(self, text):
        """What a statement answers, a row a line."""
        done = subprocess.run(["psql", "-h", self.folder, "-U", "cvm", "-Atqc", text, "postgres"],
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
