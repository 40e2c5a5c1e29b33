#!/usr/bin/env python3
"""Prints how long the three refusals take: unknown device, wrong token, disabled device. Nothing is
asserted: the figures are for a person's eye. They should not be told apart.

    CVM_BUILD_DIR=build/release tests/system/timing_refusals.py [ROUNDS]"""

import random
import statistics
import sys
import tempfile
import time

from cvm_server import Instance, seed, token
from raw_http import Wire, post, registration

DEVICES = 2000


def requests(random_source):
    """One of each kind, in a random order, none of them seen before."""
    n = random_source.randrange(DEVICES)
    kinds = [("unknown device", post(registration(f"NOBODY{n:04}"))),
             ("wrong token", post(registration(f"ENABLED{n:04}", token("else")))),
             ("disabled device", post(registration(f"DISABLE{n:04}"))),
             ("disabled, wrong", post(registration(f"DISABLE{n:04}", token("else"))))]
    random_source.shuffle(kinds)
    return kinds


def measure(instance, rounds):
    times, random_source = {}, random.Random(seed())
    with Wire(instance) as wire:
        for _ in range(rounds):
            for kind, data in requests(random_source):
                start = time.perf_counter_ns()
                wire.send(data)
                assert wire.answer().status == 403
                times.setdefault(kind, []).append((time.perf_counter_ns() - start) / 1000)
    return times


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory(prefix="cvm-timing-") as folder:
        instance = Instance(folder)
        instance.import_csv([(f"ENABLED{n:04}", token(f"ENABLED{n:04}"), "true") for n in range(DEVICES)] +
                            [(f"DISABLE{n:04}", token(f"DISABLE{n:04}"), "false") for n in range(DEVICES)])
        with instance.serve_plain(limit_failures_per_address="0/min", log_level="error"):
            measure(instance, 100)
            times = measure(instance, rounds)
    print(f"{'µs':18}{'p10':>8}{'p25':>8}{'median':>8}{'p75':>8}{'p90':>8}{'p99':>8}   of {rounds}")
    for kind in sorted(times):
        cuts = statistics.quantiles(times[kind], n=100)
        print(f"{kind:18}" + "".join(f"{cuts[p - 1]:8.1f}" for p in (10, 25, 50, 75, 90, 99)))


if __name__ == "__main__":
    main()
