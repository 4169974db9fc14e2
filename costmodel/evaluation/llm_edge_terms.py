"""A token of a language model on a small system as a sum of physical terms, with coefficients of classes.

A token streams the weights once: GGUF Q4_K_M has blocks of 4.5 bits, with half of two products and the head at 6.56; of
experts, those that the token activates; the cache of some hundred tokens adds under 2 % and is left out. On a graphics
unit add up: the stream, the arithmetic of widening the weights, the kernels of a layer (by driver), what a driver
without coherent memory does more on a board, the logits over a narrow link, and the engine's own work for a token. On
cores stream and arithmetic overlap, and threads meet at a barrier after every operator. Weights that do not fit stay in
the memory of the host and are read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from costmodel.measured.llm_edge import EdgeRow
from hardware_specs import DeviceSpec, load_device, load_link
from workloads.catalogue import load_model
from workloads.table import Array

Q4_BITS, Q6_BITS, MX_BITS = 4.5, 6.5625, 4.25
"""Bits a weight of the blocks that Q4_K_M mixes (ggml-common.h): half of the value and down products and the head are
Q6_K (llama-quant.cpp of llama.cpp), the rest Q4_K."""
LINK_HOP_S, LINK_BYTES_PER_S = 3e-4, 1.1e8
"""Of a message between nodes over Ethernet and TCP: start (estimated, 1e-4 to 6e-4) and rate of 1 Gbit/s."""
HELD_BACK_BYTES = 2.5e9
"""Memory of a card that the engine gives to cache, buffers and the desktop when it divides a network (estimated)."""
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
PLAIN_C = ("core2-quad-q8400", "eswin-eic7700", "eswin-eic7702")
"""Processors for which ggml has only plain C for these formats: no AVX, no vector extension (ggml-cpu/quants.c)."""
NO_DOT = ("raspberry-pi-400",)
"""Processors with vector lanes but without integer dot products (Cortex-A72)."""
OPEN_DRIVERS = ("amd", "intel")
"""Vendors whose cards run on Arm and RISC-V boards with Mesa's drivers."""
SHARPNESS = 4.0
"""Of the soft maximum of stream and arithmetic on cores, which overlap."""
DRAWN, WILD = 0.06, 0.3
"""Weight of a log unit from the start against one squared log error; log error beyond which a row counts less."""
ROUNDS, STEP = 40, 1e-4


@dataclass(frozen=True)
class Token:
    """What a token of a network does: bytes of weights read, weights multiplied, layers, size of the vocabulary and of
    the hidden state; `stored_bytes` is the file, `kernels` those of a layer."""

    read_bytes: float
    weights: float
    layers: float
    vocab: float
    hidden: float
    stored_bytes: float
    kernels: float


@cache
def token_of(workload: str) -> Token:
    """Return what a token does in the format of its tag: Q4_K_M, or gpt-oss with experts in MXFP4 and the rest Q6_K.

    Rows of the embedding are looked up, not read; where it is the head as well, it counts as the head.
    """
    model = load_model(workload)
    knobs, facts = model.knobs(), model.summary()
    layers, hidden, inter = (float(knobs[name]) for name in ("layers", "hidden", "inter"))
    vocab = float(knobs["vocab"])
    head = vocab * hidden
    looked_up = 0.0 if knobs["tied"] else head
    total, weights = float(facts["parameters"]), float(facts["active_parameters"]) - looked_up
    if workload.startswith("gpt-oss"):
        expert = layers * 3 * hidden * inter
        bits = MX_BITS * expert * float(knobs["topk"]) + Q6_BITS * (weights - expert * float(knobs["topk"]))
        kept = MX_BITS * expert * float(knobs["experts"]) + Q6_BITS * (total - expert * float(knobs["experts"]))
    else:
        kv = float(knobs["kv_heads"]) / max(float(knobs["heads"]), 1.0)
        dense = not float(knobs["experts"])
        share = 0.5 * (inter + kv * hidden) / (3 * inter + 2 * (1 + kv) * hidden) if dense else 1 / 6
        mixed = Q4_BITS + (Q6_BITS - Q4_BITS) * share
        bits = mixed * (weights - head) + Q6_BITS * head
        kept = bits + mixed * (total - weights - looked_up) + Q4_BITS * looked_up
    kernels = EXPERT_KERNELS if float(knobs["experts"]) else DENSE_KERNELS
    return Token(bits / 8, weights, layers, vocab, hidden, kept / 8, kernels)


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


def terms_of(rows: Sequence[EdgeRow]) -> Terms:
    """Return the terms of rows. Raises UnknownNameError: a network or device is not in the catalogue."""
    added, stream, work = (np.zeros((len(rows), len(COEFFICIENTS))) for _ in range(3))
    fixed = np.zeros(len(rows))
    for i, row in enumerate(rows):
        token, spec = token_of(row.workload), load_device(row.device)
        held = _held_share(row, token, spec)
        fixed[i] = _network_s(row, token)
        if row.on_cpu:
            _add_cores(token, spec, 1 / (row.nodes if row.division == "tensor" else 1), (added[i], stream[i], work[i]))
        else:
            _add_card(row, token, spec, held, added[i])
        if row.host_memory:
            _add_cores(token, load_device(row.host_memory), 1 - held, (added[i], stream[i], work[i]))
    return Terms(added, stream, work, fixed, np.array([bandwidth_bound_s(row) for row in rows]))


def bandwidth_bound_s(row: EdgeRow) -> float:
    """Return the baseline: the weights of a token over the bandwidth of the memory (of all nodes of a cluster)."""
    return token_of(row.workload).read_bytes / load_device(row.device).dram.bandwidth_bytes_per_s.value / row.nodes


def _held_share(row: EdgeRow, token: Token, spec: DeviceSpec) -> float:
    """Return the share of the weights that the device itself holds: all, unless a host holds the rest."""
    if not row.host_memory:
        return 1.0
    return min(1.0, (spec.dram.capacity_bytes.value - HELD_BACK_BYTES) / token.stored_bytes)


def _add_cores(token: Token, spec: DeviceSpec, share: float, out: tuple[Array, Array, Array]) -> None:
    added, stream, work = out
    unit, dram = spec.unit("matrix"), spec.dram
    stream[AT["cpu_stream"]] += token.read_bytes * share / dram.bandwidth_bytes_per_s.value / dram.efficiency.value
    if spec.id in PLAIN_C:
        work[AT["plain_cycles"]] += token.weights * share / unit.count / unit.clock_hz.value
    elif spec.id in NO_DOT:
        work[AT["wide_cycles"]] += token.weights * share / unit.count / unit.clock_hz.value
    else:
        work[AT["dot_work"]] += 2 * token.weights * share / unit.peak_flop_per_s["int8"].value
    added[AT["barrier_s"]] += token.layers * share * BARRIERS * unit.count


def _add_card(row: EdgeRow, token: Token, spec: DeviceSpec, share: float, added: Array) -> None:
    added[AT["gpu_stream"]] += token.read_bytes * share / spec.dram.bandwidth_bytes_per_s.value
    added[AT["gpu_flop"]] += token.weights * share / spec.unit("vector").peak_flop_per_s["fp32"].value
    vendor, layers = spec.vendor.lower(), token.layers * share
    added[AT[f"{vendor}_layer_s"]] += layers * token.kernels / DENSE_KERNELS
    if not row.x86 and vendor in OPEN_DRIVERS:
        added[AT["board_layer_s"]] += layers * token.kernels / DENSE_KERNELS
    if row.engine == "ollama":
        added[AT["engine_s"]] += 1.0
    if row.link:
        added[AT["readback"]] += token.vocab * 4 / load_link(row.link).bandwidth_bytes_per_s.value


def _network_s(row: EdgeRow, token: Token) -> float:
    """Return what nodes of a cluster say to each other: two sums a layer, or one hand-over a node."""
    if row.nodes == 1:
        return 0.0
    if row.division == "pipeline":
        return row.nodes * (LINK_HOP_S + token.hidden * 4 / LINK_BYTES_PER_S)
    return 2 * token.layers * (LINK_HOP_S + 2 * token.hidden * 4 / LINK_BYTES_PER_S)


def fit_drawn(predict: Callable[[Array], Array], measured: Array, table: dict[str, Bounds]) -> Array:
    """Return coefficients in the order of `table`, fitted to the log of what was measured.

    Damped Gauss-Newton on their logs, each drawn to where it starts and kept in its bounds; rows whose log error passes
    `WILD` count less and less (the loss of a Cauchy distribution).
    """
    begin, least, most = np.log(np.array(list(table.values()))).T
    aim, ones = np.log(measured), np.eye(len(table))

    def error(at: Array) -> Array:
        return np.asarray(np.log(predict(np.exp(at))) - aim)

    theta, damping = begin.copy(), 0.3
    now = error(theta)
    for _ in range(ROUNDS):
        weight = 1 / (1 + (now / WILD) ** 2)
        slopes = np.column_stack([(error(theta + STEP * one) - now) / STEP for one in ones])
        curved = slopes.T @ (weight[:, None] * slopes) + (DRAWN + damping) * ones
        moved = theta - np.linalg.solve(curved, slopes.T @ (weight * now) + DRAWN * (theta - begin))
        moved = np.clip(moved, least, most)
        then = error(moved)
        if _loss(then, moved - begin) < _loss(now, theta - begin):
            theta, now, damping = moved, then, damping / 3
        else:
            damping *= 3
    return np.asarray(np.exp(theta))


def _loss(error: Array, away: Array) -> float:
    return float((WILD**2 * np.log1p((error / WILD) ** 2)).sum() + DRAWN * (away**2).sum())
