"""The library from another language, by its header alone: no helper in C, no struct, no callback needs more than
what every foreign function interface has."""

import json
import subprocess
import sys

import pytest

from cvm_server import Instance, build_folder, environment, scale, token

# Ten lines, from nothing to an answer; run in a process of its own, as a reader would.
TEN_LINES = """
from ctypes import *
lib, callback = CDLL(LIBRARY), CFUNCTYPE(None, c_void_p, c_void_p)
lib.cvm_conf_new.restype, lib.cvm_result_body.restype = c_void_p, c_char_p
conf, cvm = c_void_p(lib.cvm_conf_new()), c_void_p()
done = callback(lambda _, result: (print(lib.cvm_result_body(c_void_p(result), None).decode()), lib.cvm_stop(cvm, None, None)))
started = callback(lambda _, error: lib.cvm_handle(cvm, None, None, PAYLOAD, c_size_t(len(PAYLOAD)), done, None, None))
lib.cvm_conf_load(conf, CONFIGURATION)
lib.cvm_new(conf, byref(cvm))
lib.cvm_start_command(cvm, started, None)
lib.cvm_run(cvm)
"""


def payload(uid):
    return json.dumps({"device_uid": uid, "device_token": token(uid)}).encode()


@pytest.fixture(name="instance")
def make_instance(tmp_path):
    instance = Instance(tmp_path)
    instance.add("DEVICE001")
    return instance


def library():
    return str(build_folder().resolve() / "libcvm.so")


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), timeout=60, check=True)


def test_ten_lines_register_a_device(instance):
    assert len(TEN_LINES.strip().splitlines()) == 10
    names = (f"LIBRARY, CONFIGURATION, PAYLOAD = {library()!r}, {str(instance.conf).encode()!r},"
             f" {payload('DEVICE001')!r}")
    answer = json.loads(run_python(names + TEN_LINES).stdout)
    assert answer["statusCode"] == 200 and answer["payload"]["thing_name"] == "thing_DEVICE001"


def test_an_error_is_read_by_its_getters(instance):
    """And a foreign loop drives the instance: descriptor, timeout, process."""
    done = run_python(f"""
import select
from ctypes import *
lib = CDLL({library()!r})
for name in ("cvm_conf_new", "cvm_conf_set", "cvm_request_new", "cvm_new", "cvm_start_command", "cvm_register", "cvm_result_error"):
    getattr(lib, name).restype = c_void_p
lib.cvm_error_name.restype = lib.cvm_error_text.restype = c_char_p
conf, cvm, seen = c_void_p(lib.cvm_conf_new()), c_void_p(), []
error = c_void_p(lib.cvm_conf_set(conf, b"no_such", b"1"))
print(lib.cvm_error_code(error), lib.cvm_error_name(error).decode(), b"no_such" in lib.cvm_error_text(error))
lib.cvm_error_free(error)
lib.cvm_conf_load(conf, {str(instance.conf).encode()!r}); lib.cvm_new(conf, byref(cvm))
request = c_void_p(lib.cvm_request_new())
lib.cvm_request_set_uid(request, b"DEVICE001"); lib.cvm_request_set_token(request, b"wrong")
callback = CFUNCTYPE(None, c_void_p, c_void_p)
answered = callback(lambda _, result: seen.append(lib.cvm_error_name(c_void_p(lib.cvm_result_error(c_void_p(result)))).decode()))
started = callback(lambda _, error: lib.cvm_register(cvm, request, answered, None, None))
lib.cvm_start_command(cvm, started, None)
while not seen:
    wait = lib.cvm_timeout_ms(cvm)
    select.select([lib.cvm_fd(cvm)], [], [], None if wait < 0 else wait / 1000)
    lib.cvm_process(cvm)
lib.cvm_free(cvm)
print(seen[0])
""")
    assert done.stdout.decode().split("\n")[:2] == ["8 configuration True", "not_authorized"]


def test_the_library_says_what_it_is(instance):
    """Its version as text and number, and what is compiled in: each store and platform is found by its name."""
    done = run_python(f"""
from ctypes import *
lib = CDLL({library()!r})
for name in ("cvm_version", "cvm_backend", "cvm_error_text", "cvm_error_subject"):
    getattr(lib, name).restype = c_char_p
for name in ("cvm_conf_new", "cvm_new"):
    getattr(lib, name).restype = c_void_p
major, minor, patch = map(int, lib.cvm_version().split(b"."))
print(lib.cvm_version_number() == major * 1000000 + minor * 1000 + patch)
backends = [lib.cvm_backend(i).decode() for i in iter(range(100)) if lib.cvm_backend(i)]
print(backends)
for kind, name in (backend.split(" ") for backend in backends + ["store none"]):
    if kind == "transport":
        continue
    conf, cvm = c_void_p(lib.cvm_conf_new()), c_void_p()
    lib.cvm_conf_load(conf, {str(instance.conf).encode()!r})
    lib.cvm_conf_set(conf, kind.encode(), f"{{name}}:{{'' if kind == 'store' else '/nonexistent'}}".encode())
    error = c_void_p(lib.cvm_new(conf, byref(cvm)))
    print(name, b"there is no" in lib.cvm_error_text(error), lib.cvm_error_subject(error).decode())
""")
    assert done.stdout.decode().splitlines() == [
        "True", "['store file', 'platform local', 'transport http', 'transport ops']",
        "file False store", "local False platform", "none True store"], done.stdout


def test_the_interpreter_ends_while_keys_are_made(instance):
    """A daemon thread runs the loop; the program ends without a stop, while devices wait for RSA keys and TLS is served.
    What is the binding's: the interpreter frees its callbacks when it ends, so they are kept for ever."""
    for i in range(2, 6):
        instance.add(f"DEVICE00{i}")
    code = f"""
import sys, threading, time
from ctypes import *
lib = CDLL({library()!r})
lib.cvm_conf_new.restype = c_void_p
conf, cvm, busy = c_void_p(lib.cvm_conf_new()), c_void_p(), threading.Event()
lib.cvm_conf_load(conf, {str(instance.conf).encode()!r})
for name, value in ((b"server_key.type", b"rsa2048"), (b"http.listen", b"127.0.0.1:0"), (b"ops.listen", b"off")):
    lib.cvm_conf_set(conf, name, value)
lib.cvm_new(conf, byref(cvm))
callback = CFUNCTYPE(None, c_void_p, c_void_p)
done = callback(lambda _, result: None)
def begin(_, error):
    lib.cvm_listen(cvm)
    for payload in {[payload(f"DEVICE00{i}") for i in range(1, 6)]!r}:
        lib.cvm_handle(cvm, None, None, payload, c_size_t(len(payload)), done, None, None)
    busy.set()
started = callback(begin)
for kept in (done, started):
    pythonapi.Py_IncRef(py_object(kept))
lib.cvm_start(cvm, started, None)
threading.Thread(target=lib.cvm_run, args=(cvm,), daemon=True).start()
assert busy.wait(20)
time.sleep(float(sys.argv[1]))
"""
    for i in range(5 * scale()):
        for number in range(1, 6):
            instance.cvm("device", "reset", f"DEVICE00{number}")
        delay = str(i * 0.037 % 0.25)
        done = subprocess.run([sys.executable, "-c", code, delay], capture_output=True, env=environment(), timeout=60,
                              check=False)
        assert done.returncode == 0, (delay, done.returncode, done.stderr[-2000:])
