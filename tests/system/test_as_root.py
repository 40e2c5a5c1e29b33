"""What root runs in a folder that another user can write to: nobody's link is followed, and what is made there is his."""

import os
import shutil
import subprocess

import pytest

from cvm_server import Instance, environment, program, token

USER = 65534  # nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")


@pytest.fixture
def owned(tmp_path):
    """An instance of another user's, and a file of root's that he would like to have."""
    instance = Instance(tmp_path)
    instance.add("DEVICE")
    with open(instance.conf, "a") as conf:
        conf.write("log.file = cvm.log\n")
    for folder, _, files in os.walk(instance.folder):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, USER, USER)
    victim = tmp_path / "victim"
    victim.write_text("root's\n")
    victim.chmod(0o600)
    return instance, victim


def as_user(*arguments):
    subprocess.run(["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *map(str, arguments)],
                   check=True, capture_output=True)


def is_untouched(victim):
    status = victim.stat()
    return (status.st_uid, status.st_mode & 0o777, status.st_nlink <= 2, victim.read_text()) == (0, 0o600, True, "root's\n")


@pytest.mark.parametrize("how", ["link", "hard link", "pipe"])
@pytest.mark.parametrize("name, command", [
    ("ca/.crl.lock", ("ca", "crl")), ("audit.log", ("device", "disable", "DEVICE")),
    ("devices.db.lock", ("device", "list")), ("devices.db", ("device", "list")),
    ("cvm.log", ("serve",))])
def test_no_link_is_followed(owned, name, command, how):
    instance, victim = owned
    path = instance.folder / name
    path.unlink(missing_ok=True)
    if how == "link":
        as_user("ln", "-s", victim, path)
    elif how == "hard link":
        os.link(victim, path)  # as before fs.protected_hardlinks
    else:
        as_user("mkfifo", path)
    done = instance.cvm(*command, check=False, timeout_s=60)
    assert done.returncode, done
    assert name.split("/")[-1].encode() in done.stderr, done
    assert is_untouched(victim)


def test_a_folder_that_is_a_link_is_not_entered(owned, tmp_path):
    instance, victim = owned
    target = tmp_path / "roots"
    shutil.copytree(instance.folder / "ca", target)
    shutil.rmtree(instance.folder / "ca")
    as_user("ln", "-s", target, instance.folder / "ca")
    before = {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()}
    done = instance.cvm("ca", "crl", check=False)
    assert done.returncode, done
    assert {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == before, done
    assert all(os.stat(target / name).st_uid == 0 for name in before)


def test_what_root_makes_is_the_users(owned):
    instance, _ = owned
    for name in ("ca/.crl.lock", "audit.log", "devices.db.lock"):
        (instance.folder / name).unlink(missing_ok=True)
    instance.cvm("device", "disable", "DEVICE")
    instance.cvm("device", "enable", "DEVICE")
    instance.cvm("ca", "crl")
    instance.cvm("ca", "server", "--renew")
    for folder, _, files in os.walk(instance.folder):
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_uid == USER, name
    as_user("env", "-i", program(), "device", "disable", "DEVICE", "-c", instance.conf)


def test_elsewhere_links_and_pipes_are_fine(tmp_path):
    """In a folder that is root's alone."""
    instance = Instance(tmp_path)
    log = instance.folder / "real.log"
    (instance.folder / "linked.log").symlink_to(log)
    with instance.serve_plain({"log.file": str(instance.folder / "linked.log"), "audit.file": "/dev/null"}):
        instance.add("DEVICE")
        assert instance.register("DEVICE", token("DEVICE"))[0] == 200
    assert "registration" in log.read_text()
    reader, writer = os.pipe()
    done = subprocess.run([program(), "device", "disable", "DEVICE", "-c", str(instance.conf), "--set",
                           f"audit.file=/proc/self/fd/{writer}"], pass_fds=(writer,), env=environment(),
                          capture_output=True)
    os.close(writer)
    assert done.returncode == 0 and b"device_disabled" in os.read(reader, 65536), done
    os.close(reader)
