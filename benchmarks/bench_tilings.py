"""Speed of loop nests: `python -m pytest benchmarks/bench_tilings.py -m benchmark`, or run it for CPU seconds.

Beside it, ZigZag (zigzag-dse 3.9.1, LOMA, lpf_limit 4) on the same kind of machine: 252 mappings a CPU second, 46 CPU
seconds for ResNet-18 on tpu_like.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from costmodel.evaluation.zigzag import network_layers
from costmodel.spatial.architectures import FORMAT_BITS, tpu_like
from costmodel.spatial.layers import Layers
from costmodel.spatial.nest_costs import cycles_and_energy
from costmodel.spatial.orders import best_orders, candidates

ZIGZAG_MAPPINGS_PER_CPU_S = 252
ZIGZAG_RESNET18_CPU_S = 46.4
# the first fits in the buffer; of the second, inputs and outputs share it, which costs a choice more
LAYERS = {
    "512 channels, 7 x 7": Layers(1.0, 1.0, 512.0, 512.0, 7.0, 7.0, 3.0, 3.0, 1.0, **FORMAT_BITS),
    "64 channels, 56 x 56": Layers(1.0, 1.0, 64.0, 64.0, 56.0, 56.0, 3.0, 3.0, 1.0, **FORMAT_BITS),
    "256 channels, 56 x 56": Layers(1.0, 1.0, 256.0, 256.0, 56.0, 56.0, 3.0, 3.0, 1.0, **FORMAT_BITS),
}
FACTORS = 8


def test_orders_of_a_layer(benchmark: Any) -> None:
    nest = candidates(LAYERS["64 channels, 56 x 56"], tpu_like(), FACTORS).nest
    benchmark.extra_info["candidates"] = len(nest.dims)
    cycles, _ = benchmark(cycles_and_energy, nest, tpu_like())
    assert cycles.min() > 0


def test_best_orders_of_resnet_18(benchmark: Any) -> None:
    layers = network_layers("resnet-18")
    best = benchmark(best_orders, layers, tpu_like())
    assert best.costs.feasible.all()


def cpu_s(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the least CPU seconds of a few runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Print candidates a CPU second, and CPU seconds of ResNet-18's best orders."""
    hierarchy = tpu_like()
    for name, layer in LAYERS.items():
        nest = candidates(layer, hierarchy, FACTORS).nest
        rate = len(nest.dims) / cpu_s(lambda nest=nest: cycles_and_energy(nest, hierarchy))  # type: ignore[misc]
        print(f"{name}: {len(nest.dims):,} orders, {rate:,.0f} a CPU second, {rate / ZIGZAG_MAPPINGS_PER_CPU_S:,.0f} x")
    layers = network_layers("resnet-18")
    for limit in (4, 6, 7):
        first = time.process_time()
        best = best_orders(layers, hierarchy, "latency", limit)
        first = time.process_time() - first
        again = cpu_s(lambda limit=limit: best_orders(layers, hierarchy, "latency", limit))  # type: ignore[misc]
        print(f"ResNet-18, {limit} factors: {again:.3f} CPU s ({first:.3f} the first time), "
              f"{ZIGZAG_RESNET18_CPU_S / again:,.0f} x; {best.orders.sum():,} orders with repeats")  # fmt: skip


if __name__ == "__main__":
    main()
