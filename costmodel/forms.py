"""What all devices share: sums of stages and trees learned from all of them, for devices unlike any that was measured.

The trees of one device know its caches and clocks. For a device of another design, two models of all devices together
say more: a sum of stages (launches, bytes from memory, bytes that a cache still holds, arithmetic, waves) with weights
that are not negative, which the new device prices by its own rates, and trees that see no ratio of the device alone.
Benchmarks repeat an operator with some copies of its weights; what fits the last cache with them comes at its rate.
"""

from __future__ import annotations

import numpy as np

from costmodel.features import CODES, GROUP_OF, LAYOUTS, STAGES
from workloads.table import OP_CODES, Array

SHARED: tuple[str, ...] = ("form", "pool")
"""The two models of all devices: the sum of stages, and the trees."""
FORMED: tuple[str, ...] = ("gemm", "attention", "mla", "moe")
"""Operators that have them."""
KEYS = 4
"""Leading columns of a table of weights: level (2: a kernel, 1: a framework and phase, 0: all), format, framework and
phase."""
COPIES = 6.0
"""Copies of its operands that a benchmark goes through (estimated, 4 to 10; the error differs by less than 1 %)."""
EFFICIENT = (0.75, 0.85)
"""Usual shares of the peak and of the bandwidth in the stage that takes the largest (estimated, 0.6 to 0.9)."""
LEAST = 1e-3
"""A sum of stages below this part of the closed form's time is raised to it."""


def shared_name(model: str, op: str) -> str:
    """Return the name of a model of all devices; `model` is one of `SHARED`."""
    return f"{model}/{op}"


def kernels(features: Array, op: str) -> Array:
    """Return (format, framework, phase) of each row, shape (rows, 3)."""
    names = LAYOUTS[GROUP_OF[OP_CODES[op]]].names
    first = len(names) - len(CODES)
    phase = features[:, names.index("phase")] if "phase" in names else np.zeros(len(features))
    return np.column_stack([features[:, first], features[:, first + CODES.index("framework")], phase])


def stages(features: Array, op: str) -> Array:
    """Return the stages of each row over the closed form's time, shape (rows, stages).

    First the largest of arithmetic and memory with what a cache holds, then launches, bytes from memory, bytes from the
    cache, FLOP, whole tiles of them, vector work, waves of blocks, and an operator's own (`features.STAGES`).
    """
    group = GROUP_OF[OP_CODES[op]]
    names = LAYOUTS[group].names

    def column(name: str) -> Array:
        return np.asarray(features[:, names.index(name)], dtype=np.float64)

    memory, held = column("memory_over_time"), 2.0 * (column("bytes_over_cache") + np.log(COPIES))
    cold = np.exp(np.minimum(memory - np.logaddexp(0.0, -held), 60.0))
    warm = np.exp(np.clip(memory - np.logaddexp(0.0, held) - column("cache_over_dram"), -60.0, 60.0))
    launch = np.exp(-column("time_over_launch"))
    ideal = memory + column("compute_over_memory")
    shaped = np.exp(np.clip(ideal + column("shape_waste"), -60.0, 60.0))
    vector = np.exp(np.clip(ideal + column("vector_over_matrix") + column("matrix_over_vector"), -60.0, 60.0))
    waves = launch * np.exp(np.clip(column("waves"), -60.0, 20.0))
    peak, bandwidth = EFFICIENT
    most = np.maximum(shaped / peak, cold / bandwidth + warm) + launch
    own = [np.exp(np.clip(column(name), -60.0, 60.0)) for name in STAGES.get(group, ())]
    return np.column_stack([most, launch, cold, warm, np.exp(np.minimum(ideal, 60.0)), shaped, vector, waves, *own])


def formed(table: Array, features: Array, op: str) -> Array:
    """Return log(sum of stages / closed form) of each row by a table of weights (see `KEYS`), shape (rows,)."""
    keys, inverse = np.unique(kernels(features, op), axis=0, return_inverse=True)
    weights = np.array([weights_of(table, key) for key in keys])[inverse.ravel()]
    return np.asarray(np.log(np.maximum((stages(features, op) * weights).sum(axis=1), LEAST)))


def weights_of(table: Array, key: Array) -> Array:
    """Return the weights of one kernel: its own, else its framework's in its phase, else those of all."""
    wide = table[:, :KEYS].astype(np.float64)
    for level, same in ((2.0, (True, True, True)), (1.0, (False, True, True)), (0.0, (False, False, False))):
        fits = (wide[:, 0] == level) & ((wide[:, 1:] == key) | ~np.array(same)).all(axis=1)
        if fits.any():
            return np.asarray(table[int(np.argmax(fits)), KEYS:], dtype=np.float64)
    raise ValueError("a table of stages without weights for all kernels")
