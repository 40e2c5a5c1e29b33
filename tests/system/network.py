"""A network that can be made bad, between a server of a test's and those that connect to it: toxiproxy."""

import contextlib
import json
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

from cvm_server import free_port

TOXIPROXY = pathlib.Path(__file__).parents[2] / "third_party/toxiproxy/server"


class Network:
    def __init__(self, upstream):
        self._api = free_port()
        self.address = f"127.0.0.1:{free_port()}"
        self._process = subprocess.Popen([TOXIPROXY, "-host", "127.0.0.1", "-port", str(self._api)],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait()
            self._ask("POST", "/proxies", {"name": "network", "listen": self.address, "upstream": upstream, "enabled": True})
        except BaseException:
            self.stop()
            raise

    def _wait(self):
        for _ in range(200):
            with contextlib.suppress(urllib.error.URLError):
                self._ask("GET", "/version")
                return
            time.sleep(0.05)
        raise AssertionError("toxiproxy does not answer")

    def stop(self):
        self._process.terminate()
        self._process.wait(10)

    def _ask(self, method, path, value=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self._api}{path}", method=method,
                                         data=json.dumps(value).encode() if value else None,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    @contextlib.contextmanager
    def bad(self, kind, stream="downstream", **attributes):
        """As long as the block lasts. kind and attributes are toxiproxy's; downstream is what a server answers."""
        toxic = {"name": kind, "type": kind, "stream": stream, "attributes": attributes}
        self._ask("POST", "/proxies/network/toxics", toxic)
        try:
            yield
        finally:
            self._ask("DELETE", f"/proxies/network/toxics/{kind}")

    @contextlib.contextmanager
    def gone(self):
        """Nobody is connected, and nobody gets a connection."""
        self._ask("POST", "/proxies/network", {"enabled": False})
        try:
            yield
        finally:
            self._ask("POST", "/proxies/network", {"enabled": True})
