"""What the system tests share."""

import pathlib
import shutil
import signal
import tempfile

import pytest

from cvm_server import Instance, scale, seed


# nohup, or a shell's "&", leaves signals ignored, and programs would inherit that; a handler is not inherited.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)


def pytest_report_header(config):
    return f"cvm: CVM_TEST_SCALE={scale()} CVM_TEST_SEED={seed()}"


def _folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="cvm-test-"))
    path.chmod(0o755)  # brokers and databases may read as other users
    return path


@pytest.fixture
def tmp_path():
    """Like pytest's, but gone after the test."""
    path = _folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def module_path():
    """A folder that a file's tests share."""
    path = _folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def instance(tmp_path):
    """An instance of the test's own. A server that is left running is stopped, and checked."""
    instance = Instance(tmp_path)
    yield instance
    try:
        instance.stop()
    finally:
        instance.kill()
