"""A token of a language model on a small system as a sum of physical terms, with coefficients of classes.

A token streams the weights once (of experts, those that it activates). On a graphics unit add up: the stream, the
arithmetic of widening the weights, the kernels of a layer (by driver), what a driver without coherent memory does more
on a board, the logits over a narrow link, and the engine's own work for a token. On cores stream and arithmetic
overlap, and threads meet at a barrier after every operator.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hardware_specs import DeviceSpec, load_link
from workloads.table import Array

DENSE_KERNELS, EXPERT_KERNELS = 15.0, 25.0
"""Kernels of a layer after fusion: norms, products, position, cache, attention, activation; with experts also router,
choice, three grouped products, biases and the weighted sum (estimated from the graphs of llama.cpp)."""
BARRIERS = 31.0
"""Of a layer of ggml's graph: 22 operators, and the 9 products meet once more after quantising their input."""

Bounds = tuple[float, float, float]
"""(where a coefficient starts and is drawn to, least, most)."""
COEFFICIENTS: dict[str, Bounds] = {
    "gpu_stream": (1.12, 1.0, 1.6),
    "gpu_flop": (6.0, 2.0, 20.0),
    "nvidia_layer_s": (3e-5, 5e-6, 2e-4),
    "amd_layer_s": (6e-5, 1e-5, 4e-4),
    "intel_layer_s": (2e-4, 2e-5, 2e-3),
    "apple_layer_s": (1.2e-4, 2e-5, 5e-4),
    "board_layer_s": (2e-4, 2e-5, 1e-3),
    "readback": (1.4, 1.0, 4.0),
    "engine_s": (8e-4, 1e-4, 4e-3),
    "cpu_stream": (1.0, 0.7, 1.5),
    "dot_work": (10.0, 3.0, 40.0),
    "wide_cycles": (1.2, 0.4, 4.0),
    "plain_cycles": (6.0, 2.0, 15.0),
    "barrier_s": (1e-7, 3e-8, 1e-6),
}  # fmt: skip
"""Class -> (where the fit starts and is drawn to, least, most): estimated, with the rows in sight. The answer does not
hang on them: starts scattered by a factor of up to 3 either way give medians of 12 to 14 % (six draws), these 13 %.

gpu_stream: a read of all of a card's memory reaches 0.85 to 0.93 of its peak. gpu_flop: a multiply-add, shifts, masks
and two scales a weight. *_layer_s: some 15 kernels a layer of 2 us (captured graphs), 4 us (command buffers) or 8 us.
board_layer_s: the open drivers copy through uncached memory on Arm boards. readback: 0.5 to 0.9 of the link's rate.
engine_s: sampling of 1e5 logits and what passes between Ollama's processes. dot_work: instructions of a block for each
integer dot product in it (unpacking, scales, sums of minima). wide_cycles, plain_cycles: cycles of a core for a weight
in 128-bit lanes without dot products, and one value at a time.
barrier_s: a cache line that passes from core to core.
"""
AT = {name: at for at, name in enumerate(COEFFICIENTS)}
PLAIN_C = ("core2-quad-q8400", "eswin-eic7700", "eswin-eic7702", "asus-tinker-v")
"""Processors for which ggml has only plain C for these formats: no AVX, no vector extension (ggml-cpu/quants.c)."""
NO_DOT = ("raspberry-pi-400", "raspberry-pi-4", "snapdragon-835", "exynos-9610")
"""Processors with vector lanes but without integer dot products (Cortex-A72 and A73)."""
OPEN_DRIVERS = ("amd", "intel")
"""Vendors whose cards run on Arm and RISC-V boards with Mesa's drivers."""
SHARPNESS = 4.0
"""Of the soft maximum of stream and arithmetic on cores, which overlap."""


@dataclass(frozen=True)
class Token:
    """What a token of a network does: bytes of weights read, weights multiplied, layers, size of the vocabulary and of
    the hidden state; `stored_bytes` is the file, `kernels` those of a layer."""

    read_bytes: Array | float
    weights: Array | float
    layers: float
    vocab: Array | float
    hidden: float
    stored_bytes: float
    kernels: float


@dataclass(frozen=True)
class Terms:
    """Seconds a token of rows, a column a coefficient where it is 1. `added` add up; `stream` and `work` overlap.

    `fixed_s` needs no coefficient (networks of clusters); `baseline_s` is the baseline.
    """

    added: Array
    stream: Array
    work: Array
    fixed_s: Array
    baseline_s: Array

    def take(self, rows: Array) -> Terms:
        """Return some of the rows."""
        return Terms(*(getattr(self, field.name)[rows] for field in fields(self)))

    def seconds(self, values: Array) -> Array:
        """Return seconds a token under coefficients in the order of `COEFFICIENTS`."""
        stream_s, work_s = self.stream @ values, self.work @ values
        peak = np.maximum(np.maximum(stream_s, work_s), 1e-12)
        both = peak * ((stream_s / peak) ** SHARPNESS + (work_s / peak) ** SHARPNESS) ** (1 / SHARPNESS)
        return np.asarray(self.added @ values + both + self.fixed_s)


@dataclass(frozen=True)
class Surroundings:
    """What stands around a graphics unit: whether the host is x86, the link to a card ('': none), which engine runs."""

    x86: bool = True
    link: str = ""
    ollama: bool = False


def add_cores(token: Token, spec: DeviceSpec, share: float, out: tuple[Array, Array, Array]) -> None:
    """Add the terms of a share of the weights on cores to (added, stream, work), each of shape (..., coefficients)."""
    added, stream, work = out
    unit, dram = spec.unit("matrix"), spec.dram
    stream[..., AT["cpu_stream"]] += token.read_bytes * share / dram.bandwidth_bytes_per_s.value / dram.efficiency.value
    if spec.id in PLAIN_C:
        work[..., AT["plain_cycles"]] += token.weights * share / unit.count / unit.clock_hz.value
    elif spec.id in NO_DOT:
        work[..., AT["wide_cycles"]] += token.weights * share / unit.count / unit.clock_hz.value
    else:
        work[..., AT["dot_work"]] += 2 * token.weights * share / unit.peak_flop_per_s["int8"].value
    added[..., AT["barrier_s"]] += token.layers * share * BARRIERS * unit.count


def add_card(token: Token, spec: DeviceSpec, share: float, around: Surroundings, added: Array) -> None:
    """Add the terms of a share of the weights on a graphics unit. Raises KeyError: a vendor without a class."""
    added[..., AT["gpu_stream"]] += token.read_bytes * share / spec.dram.bandwidth_bytes_per_s.value
    added[..., AT["gpu_flop"]] += token.weights * share / spec.unit("vector").peak_flop_per_s["fp32"].value
    vendor, layers = spec.vendor.lower(), token.layers * share
    added[..., AT[f"{vendor}_layer_s"]] += layers * token.kernels / DENSE_KERNELS
    if not around.x86 and vendor in OPEN_DRIVERS:
        added[..., AT["board_layer_s"]] += layers * token.kernels / DENSE_KERNELS
    if around.ollama:
        added[..., AT["engine_s"]] += 1.0
    if around.link:
        added[..., AT["readback"]] += token.vocab * 4 / load_link(around.link).bandwidth_bytes_per_s.value
