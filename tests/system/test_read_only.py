"""A store on a file system that is read-only: commands read it, and what would write says so."""

import contextlib
import json
import shutil
import subprocess

import pytest

from cvm_server import Instance
from test_command import tree


@contextlib.contextmanager
def read_only(folder):
    """A copy of the folder's content on a read-only file system at the same path."""
    spare = folder.with_name("spare")
    shutil.copytree(folder, spare)
    if subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount here")
    try:
        shutil.copytree(spare, folder, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def instance(tmp_path):
    instance = Instance(tmp_path)
    instance.add("D1")
    with instance.serve():
        assert instance.register("D1")[0] == 200
    yield instance
    instance.kill()


def reads(instance, tmp_path):
    assert json.loads(instance.cvm("device", "show", "D1", "--json").stdout)["is_registered"]
    assert instance.cvm("device", "list").stdout.count(b"\n") == 1
    instance.cvm("ca", "show")
    instance.cvm("store", "check")
    instance.cvm("backup", tmp_path / "copy.db")
    instance.cvm("backup", tmp_path / "again.db", "--set", f"store=file:{tmp_path}/copy.db")


def test_a_store_that_was_closed(instance, tmp_path):
    before = tree(instance.folder)
    with read_only(instance.folder):
        reads(instance, tmp_path)
        assert tree(instance.folder) == before


def test_without_its_lock(instance, tmp_path):
    """As it is copied by who knows the database alone."""
    (instance.folder / "devices.db.lock").unlink()
    with read_only(instance.folder):
        reads(instance, tmp_path)


def test_a_store_whose_log_was_not_written_back(instance, tmp_path):
    """The log is read too: what it holds is the newest."""
    with instance.serve():
        instance.add("D2")
        instance.kill()
    assert (instance.folder / "devices.db-wal").stat().st_size
    with read_only(instance.folder):
        assert instance.cvm("device", "list").stdout.count(b"\n") == 2
        assert not json.loads(instance.cvm("device", "show", "D2", "--json").stdout)["is_registered"]
        instance.cvm("backup", tmp_path / "copy.db")
    done = instance.cvm("device", "list", "--set", f"store=file:{tmp_path}/copy.db")
    assert done.stdout.count(b"\n") == 2


def test_what_would_write_says_so(instance):
    with read_only(instance.folder):
        done = instance.cvm("device", "disable", "D1", check=False)
        assert done.returncode == 69 and b"read-only" in done.stderr and done.stderr.count(b"\n") == 1, done
        done = instance.cvm("serve", "--set", "audit.file=", check=False)
        assert done.returncode == 78 and b"Read-only file system" in done.stderr, done
