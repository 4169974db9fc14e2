"""The compiled kernel: 10^7 items through a chain of five stations, and M/M/1 against simpy's Resource.

    python benchmarks/bench_queue_kernel.py [--items 10000000]
    python -m pytest benchmarks/bench_queue_kernel.py -m benchmark

Times include drawing the variates and building the record; compiling is left out (a short run comes first).
"""

from __future__ import annotations

import argparse
import time

import pytest
from bench_queues import FLOORS, measure

from simulator.queues.arrivals import poisson
from simulator.queues.elements import Exit, Network, Service, Source, Station, to
from simulator.queues.kernel import run_kernel
from simulator.queues.laws import EXPONENTIAL
from simulator.streams import RandomStreams

STAGES = 5
LOAD = 0.8
TICKS_PER_SECOND = 10**9
CHAIN_S = 30.0
"""Most seconds for 10^7 items through the chain."""


def chain() -> Network:
    """Return five M/M/1 stations in a row: mean service 1 s each."""
    names = [f"stage{number}" for number in range(STAGES)]
    following = [*names[1:], "exit"]
    stations = [
        Station(name, Service((1.0,), EXPONENTIAL), to(after)) for name, after in zip(names, following, strict=True)
    ]
    return Network((Source("source", poisson(LOAD), to(names[0])), *stations, Exit("exit")), TICKS_PER_SECOND)


def run_chain(items: int) -> tuple[int, float, float]:
    """Run about so many items; return (items that left, wall seconds, processor seconds)."""
    run_kernel(chain(), RandomStreams(), 100 * TICKS_PER_SECOND)
    wall_s, processor_s = time.perf_counter(), time.process_time()
    record = run_kernel(chain(), RandomStreams(), round(items / LOAD * TICKS_PER_SECOND))
    return int(record.end.sums["left"][-1]), time.perf_counter() - wall_s, time.process_time() - processor_s


@pytest.mark.benchmark
def test_ten_million_items_pass_five_stations_in_time() -> None:
    pytest.importorskip("numba")
    items, wall_s, _ = run_chain(10**7)
    assert items > 0.99 * 10**7
    assert wall_s < CHAIN_S


@pytest.mark.benchmark
def test_the_kernel_is_faster_than_simpy_by_the_budget() -> None:
    pytest.importorskip("numba")
    found = measure(100_000, 3)
    assert found["kernel"][0] >= FLOORS["kernel"] * found["simpy Resource"][0], found


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=10**7)
    given = parser.parse_args()
    items, wall_s, processor_s = run_chain(given.items)
    print(f"{items:,} items through {STAGES} stations: {wall_s:.2f} s wall, {processor_s:.2f} s processor")
    found = measure(100_000, 3)
    ratio = found["kernel"][0] / found["simpy Resource"][0]
    print(f"M/M/1 at {LOAD}: {found['kernel'][0]:,.0f} customers/s, {ratio:.1f} x simpy Resource")


if __name__ == "__main__":
    main()
