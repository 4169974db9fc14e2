"""How families of operators become kernels: launches, waves of blocks, special functions. Estimates with ranges.

A product is one kernel; attention and grouped products are several, and their thread blocks start with loads that
nothing hides. The values were set on the half of the shape groups of the H200 rows of the aiconfigurator tables that
`benchmarks/physics_accuracy.py` does not report; calibration replaces them by what a software stack really does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.table import OP_CODES, OPS, Array

EXPONENTIAL_FLOP = 16.0
"""FLOP that fit in the time of one exponential: 256 a clock and SM against 16 special functions (CUDA C++ Programming
Guide, throughput of native arithmetic instructions, compute capability 8.0 and 9.0). Software exponentials on SIMD
lanes take 10 to 20 FLOP (estimated for devices without special-function units)."""

SERIAL = (0.7, 0.0, 1.0)
"""Share of the lesser of matrix and vector work that is not hidden behind the other (value, lo, hi). FlashAttention-3
overlaps softmax with products in part (Shah et al. 2024, section 3.2); estimated."""

GPU_LAUNCHES: dict[str, tuple[float, float, float]] = {
    "attention": (2.5, 1.0, 4.5),
    "mla": (2.5, 1.0, 4.5),
    "moe": (5.0, 2.0, 9.0),
}
"""Kernels of one operator on a GPU (value, lo, hi); others are one. Attention writes the cache, plans, attends and
merges its splits; experts are sorted, multiplied twice, activated and merged. Estimated."""

GPU_WAVE_S: dict[str, tuple[float, float, float]] = {
    "attention": (3.1e-6, 0.6e-6, 5.0e-6),
    "mla": (3.1e-6, 0.6e-6, 5.0e-6),
}
"""Fill and drain of one wave of attention blocks on a GPU: queries, first keys, epilogue. Estimated."""


GPU_SHARES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "moe": ((0.5, 0.3, 0.95), (0.75, 0.45, 1.0)),
}
"""Share of the device's compute and memory efficiency that a family reaches on a GPU (value, lo, hi). Grouped products
have uneven groups and pass what lies between their two products through memory. Estimated."""


@dataclass(frozen=True)
class Kernels:
    """Per family (order of `OPS`): columns of shape (families, 3), value, lo, hi.

    `plain` (families,) is True for families of one kernel at full efficiency, without waves and special functions.
    """

    launches: Array
    wave_s: Array
    compute_share: Array
    memory_share: Array
    plain: Array


def kernels_of(kind: str) -> Kernels:
    """Return how families become kernels on a kind of device."""
    launches, compute, memory = (np.ones((len(OPS), 3)) for _ in range(3))
    wave_s = np.zeros((len(OPS), 3))
    plain = np.ones(len(OPS), dtype=bool)
    plain[[OP_CODES[name] for name in ("attention", "mla", "moe", "softmax", "scan", "collective")]] = False
    if kind == "gpu":
        for name, figure in GPU_LAUNCHES.items():
            launches[OP_CODES[name]] = figure
        for name, figure in GPU_WAVE_S.items():
            wave_s[OP_CODES[name]] = figure
        for name, figures in GPU_SHARES.items():
            compute[OP_CODES[name]], memory[OP_CODES[name]] = figures
    return Kernels(launches, wave_s, compute, memory, plain)
