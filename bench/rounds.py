"""Runs of the load generator, in pairs: what `compare` and `stores` are made of."""

import json
import pathlib
import statistics
import subprocess
from typing import NamedTuple

import peers

SALT = "bench-secret-not-for-use"
KEPT_FACTOR = 4  # kept connections answer faster: more requests, for runs that aren't too short


class Scenario(NamedTuple):
    title: str
    kept: bool = False
    csr: bool = False
    steady: bool = False  # at args.rate, well below what either can do: latency without queueing

    def requests(self, args):
        if self.steady:
            return args.rate * args.steady_seconds
        return args.requests * (KEPT_FACTOR if self.kept else 1)

    def load_options(self, args):
        options = ["--in-flight", str(args.in_flight), "--warmup", str(args.warmup),
                   "--requests", str(self.requests(args))]
        return options + (["--rate", str(args.rate)] if self.steady else [])


# What is taken from a run: title, unit, and where it stands in cvm-load's object.
METRICS = (
    ("server CPU", "us/request", lambda r: r["server_cpu_us_per_request"]),
    ("load's CPU", "us/request", lambda r: r["load_cpu_us_per_request"]),
    ("rate", "requests/s", lambda r: r["rate"]),
    ("latency p50", "ms", lambda r: r["latency_ms"]["p50"]),
    ("latency p99", "ms", lambda r: r["latency_ms"]["p99"]),
)


class Load:
    """Runs cvm-load and deals out devices, each only once."""

    def __init__(self, binary, folder):
        self.binary, self.next_device = str(binary), 0
        self.salt_file = pathlib.Path(folder) / "salt"
        self.salt_file.write_text(SALT)

    def take(self, count):
        first = self.next_device
        self.next_device += count
        return first

    def command(self, server, kept, options, devices):
        pids = [word for pid in server.pids for word in ("--server-pid", str(pid))]
        first = ["--salt-file", str(self.salt_file), "--first", str(self.take(devices))]
        keep = ["--kept"] if kept else []
        return [self.binary, "--json", *server.target(kept), *pids, *first, *keep, *options]

    def run(self, server, kept, options, devices=0):
        done = subprocess.run(
            self.command(server, kept, options, devices), stdout=subprocess.PIPE, check=False)
        return checked(server, done.stdout)

    def write_devices(self, file, count, uid_format):
        subprocess.run(
            [self.binary, "--write-devices", file, "--requests", str(count), "--uid-format",
             uid_format, "--salt-file", self.salt_file], check=True)


def checked(server, output):
    """A run counts only if every request succeeded."""
    if not output:
        raise SystemExit(f"bench: cvm-load failed against {server.name}")
    result = json.loads(output)
    if result.get("ok") != result.get("requests") or result.get("lost"):
        raise SystemExit(f"bench: not all requests to {server.name} succeeded: {output.decode()}")
    return result


def spread(values):
    digits = 1 if max(values) >= 10 else 3
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def say(text=""):
    print(text, flush=True)


def measure(load, server, scenario, args):
    options = scenario.load_options(args)
    if not isinstance(server, peers.Cvm):
        return load.run(server, scenario.kept, options)
    options += ["--csr"] if scenario.csr else []
    return load.run(server, scenario.kept, options, scenario.requests(args) + args.warmup)


def run_rounds(load, first, second, scenario, args):
    """Pairs of results. Who begins alternates, so that a drift of the machine evens out."""
    pairs = []
    for number in range(args.rounds):
        order = (first, second) if number % 2 == 0 else (second, first)
        results = [measure(load, server, scenario, args) for server in order]
        pairs.append(tuple(results if number % 2 == 0 else reversed(results)))
    return pairs


def tell_rounds(title, names, pairs, metrics=METRICS):
    say(f"\n{title}")
    say(f"  {'':12} {'':11} {names[0]:>25} {names[1]:>25} {'ratio':>7}  ratio of each round")
    table = {}
    for metric, unit, get in metrics:
        values = [[get(result) for result in side] for side in zip(*pairs)]
        ratios = [a / b for a, b in zip(*values) if b]
        told = [f"{statistics.median(ratios):7.2f} "] + [f"{ratio:.2f}" for ratio in ratios] if ratios else []
        say(f"  {metric:12} {unit:11} {spread(values[0]):>25} {spread(values[1]):>25} {' '.join(told)}")
        table[metric] = {"unit": unit, names[0]: values[0], names[1]: values[1], "ratios": ratios}
    return table
