"""Speed of the model of spatial arrays: `python -m pytest benchmarks/bench_spatial.py -m benchmark`.

`python benchmarks/bench_spatial.py` prints networks a processor second beside SCALE-Sim v3 (scalesim 3.0.0), which took
82.6 CPU-s for the 19 layers of tests/test_spatial_scale_sim.py (measured once; 1,000 to 15,000 simulated cycles a
CPU-s). A whole ResNet-18 on 32 x 32 takes it about 370 CPU-s, extrapolated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from archcast.question import ask
from costmodel.spatial.layers import FIELDS, Layers, layers_of
from costmodel.spatial.machine import Machine, Operands
from costmodel.spatial.networks import NetworkCosts, distinct, networks
from workloads.lowering import lower
from workloads.table import Array

DESIGNS = 100_000
SCALE_SIM_CPU_S = 370.0


def network(name: str) -> tuple[Layers, Array]:
    """Return the unequal layers of a network and how often each occurs (rows of a table repeat by their count)."""
    question = ask(name, "gemmini-16x16")
    table = lower(question.model.workload(question.request).passes).table
    layers = layers_of(table)
    times = np.repeat(np.arange(table.rows), table.full("count").astype(int))
    columns = {n: np.asarray(v)[times] if np.ndim(v := getattr(layers, n)) else v for n in FIELDS}
    return distinct(Layers(**columns))


def random_designs(count: int) -> Machine:
    """Return arrays of 8 to 128, all dataflows, buffers of 16 KiB to 1 MiB."""
    rng = np.random.default_rng(0)
    edges = [8.0, 16.0, 32.0, 64.0, 128.0]
    return Machine(
        rows=rng.choice(edges, count), cols=rng.choice(edges, count), dataflow=rng.integers(1, 4, count),
        buffer_bytes=Operands(*(2.0 ** rng.integers(14, 21, count) for _ in range(3))),
        buffer_bytes_per_cycle=Operands(*(2.0 ** rng.integers(4, 9, count) for _ in range(3))),
        dram_bytes_per_cycle=2.0 ** rng.integers(2, 7, count), dram_latency_cycles=100.0,
    )  # fmt: skip


def one_design() -> Machine:
    """Return one array of 32 x 32, weight stationary."""
    kib = 1024.0
    return Machine(32.0, 32.0, 1, Operands(64 * kib, 64 * kib, 64 * kib), Operands(32.0, 32.0, 128.0), 16.0)


def cpu_s(action: Callable[[], object], repeats: int) -> float:
    """Return the least processor seconds of some runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


def test_a_hundred_thousand_designs_of_resnet_18(benchmark: Any) -> None:
    layers, counts = network("resnet-18")
    designs = random_designs(DESIGNS)
    benchmark.extra_info["designs"] = DESIGNS
    found: NetworkCosts = benchmark(networks, layers, counts, designs)
    assert np.isfinite(found.cycles[found.feasible]).all()
    assert found.feasible.mean() > 0.5


def test_one_design_of_resnet_18(benchmark: Any) -> None:
    layers, counts = network("resnet-18")
    found: NetworkCosts = benchmark(networks, layers, counts, one_design())
    assert found.feasible.all()


def main() -> None:
    """Print the table."""
    print("| network | unequal layers | designs a CPU-s | one design | SCALE-Sim v3 |")
    print("|---|---:|---:|---:|---|")
    for name in ("resnet-18", "resnet-50", "mobilenet-v2"):
        layers, counts = network(name)
        many, one = random_designs(DESIGNS), one_design()
        rate = DESIGNS / cpu_s(lambda: networks(layers, counts, many), 3)  # noqa: B023
        single = cpu_s(lambda: [networks(layers, counts, one) for _ in range(100)], 5) / 100  # noqa: B023
        peer = f"about {SCALE_SIM_CPU_S:.0f} CPU-s" if name == "resnet-18" else "not run"
        print(f"| {name} | {len(counts)} | {rate:,.0f} | {single * 1e6:.0f} us | {peer} |")


if __name__ == "__main__":
    main()
