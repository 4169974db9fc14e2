"""M/M/1 at a load of 0.8: customers a second of the station engine and of simpy's Resource, measured in turn.

    python benchmarks/bench_queues.py [--customers 200000] [--rounds 5]
    python -m pytest benchmarks/bench_queues.py -m benchmark

All run in one process, alternating, and the best round of each counts, so that a busy machine slows all alike. simpy
draws its variates in blocks too: what is compared is the cost of events. The kernel takes part where numba is.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import simpy

from simulator.queues.arrivals import poisson
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import Exit, Network, Service, Source, Station, to
from simulator.queues.laws import EXPONENTIAL
from simulator.streams import RandomStreams

LOAD = 0.8
TICKS_PER_SECOND = 10**9
FLOORS = {"callbacks": 5.0, "kernel": 50.0}
"""Least ratios to simpy's Resource."""
Run = Callable[[int], tuple[int, float]]
"""Takes about how many customers; returns (customers served, events a customer)."""


def network() -> Network:
    """Return M/M/1: mean service 1 s, arrivals at the load."""
    source = Source("source", poisson(LOAD), to("queue"))
    return Network((source, Station("queue", Service((1.0,), EXPONENTIAL), to("exit")), Exit("exit")), TICKS_PER_SECOND)


def with_simpy(customers: int) -> tuple[int, float]:
    """Run one process a customer: request, timeout, release."""
    environment = simpy.Environment()
    server = simpy.Resource(environment, capacity=1)
    streams = RandomStreams()
    gaps = _numbers(streams.get("gaps"), 1 / LOAD)
    services = _numbers(streams.get("services"), 1.0)
    served = [0]

    def customer() -> Generator[Any, Any, None]:
        with server.request() as request:
            yield request
            yield environment.timeout(next(services))
        served[0] += 1

    def source() -> Generator[Any, Any, None]:
        while True:
            yield environment.timeout(next(gaps))
            environment.process(customer())

    environment.process(source())
    environment.run(until=customers / LOAD)
    return served[0], 6.0  # arrival; start, request, timeout, release and end of the customer's process


def _numbers(rng: np.random.Generator, mean: float) -> Iterator[float]:
    return chain.from_iterable((rng.standard_exponential(16_384) * mean).tolist() for _ in iter(int, 1))


def with_callbacks(customers: int) -> tuple[int, float]:
    """Run the plain callbacks."""
    record = run_callbacks(network(), RandomStreams(), round(customers / LOAD * TICKS_PER_SECOND))
    served = int(record.end.sums["left"][1])
    return served, record.events / served


def with_kernel(customers: int) -> tuple[int, float]:
    """Run the compiled kernel."""
    from simulator.queues.kernel import run_kernel

    record = run_kernel(network(), RandomStreams(), round(customers / LOAD * TICKS_PER_SECOND))
    served = int(record.end.sums["left"][1])
    return served, record.events / served


def engines() -> dict[str, Run]:
    """Return the engines that this installation has; the kernel takes twenty times the customers."""
    found: dict[str, Run] = {"simpy Resource": with_simpy, "callbacks": with_callbacks}
    if all(importlib.util.find_spec(name) for name in ("numba", "simulator.queues.kernel")):
        found["kernel"] = lambda customers: with_kernel(20 * customers)
    return found


def measure(customers: int, rounds: int, left_out: str = "") -> dict[str, tuple[float, float]]:
    """Return (customers a second, events a customer) of each engine: the best of alternating rounds."""
    runs = {name: run for name, run in engines().items() if name != left_out}
    best = {name: (0.0, 0.0) for name in runs}
    for run in runs.values():
        run(1_000)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            served, events = run(customers)
            best[name] = max(best[name], (served / (time.process_time() - start), events))
    return best


@pytest.mark.benchmark
def test_stations_are_faster_than_simpy_by_the_budget() -> None:
    found = measure(200_000, 3)
    for name, floor in FLOORS.items():
        if name in found:
            assert found[name][0] >= floor * found["simpy Resource"][0], (name, found)


def main() -> None:
    """Print one line an engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", default="", choices=("", *FLOORS), help="an engine to leave out")
    arguments = parser.parse_args()
    found = measure(max(1, arguments.customers), max(1, arguments.rounds), arguments.without)
    base = found["simpy Resource"][0]
    for name, (rate, events) in found.items():
        print(f"{name:15} {rate:12,.0f} customers/s {events:6.2f} events a customer {rate / base:7.1f} x simpy")


if __name__ == "__main__":
    main()
