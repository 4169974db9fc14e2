"""The terms of a token (`costmodel.edge_llm`) for measured rows, and the fit of their coefficients.

A token streams the weights once: GGUF Q4_K_M has blocks of 4.5 bits, with half of two products and the head at 6.56; of
experts, those that the token activates; the cache of some hundred tokens adds under 2 % and is left out. Weights that
do not fit stay in the memory of the host and are read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from costmodel.edge_llm import (
    COEFFICIENTS,
    DENSE_KERNELS,
    EXPERT_KERNELS,
    Bounds,
    Surroundings,
    Terms,
    Token,
    add_card,
    add_cores,
)
from costmodel.measured.llm_edge import EdgeRow
from hardware_specs import DeviceSpec, load_device
from workloads.catalogue import load_model
from workloads.table import Array

Q4_BITS, Q6_BITS, MX_BITS = 4.5, 6.5625, 4.25
"""Bits a weight of the blocks that Q4_K_M mixes (ggml-common.h): half of the value and down products and the head are
Q6_K (llama-quant.cpp of llama.cpp), the rest Q4_K."""
LINK_HOP_S, LINK_BYTES_PER_S = 3e-4, 1.1e8
"""Of a message between nodes over Ethernet and TCP: start (estimated, 1e-4 to 6e-4) and rate of 1 Gbit/s."""
HELD_BACK_BYTES = 2.5e9
"""Memory of a card that the engine gives to cache, buffers and the desktop when it divides a network (estimated)."""
DRAWN, WILD = 0.06, 0.3
"""Weight of a log unit from the start against one squared log error; log error beyond which a row counts less."""
ROUNDS, STEP = 40, 1e-4


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


def terms_of(rows: Sequence[EdgeRow]) -> Terms:
    """Return the terms of rows. Raises UnknownNameError: a network or device is not in the catalogue."""
    added, stream, work = (np.zeros((len(rows), len(COEFFICIENTS))) for _ in range(3))
    fixed = np.zeros(len(rows))
    for i, row in enumerate(rows):
        token, spec = token_of(row.workload), load_device(row.device)
        held = _held_share(row, token, spec)
        fixed[i] = _network_s(row, token)
        if row.on_cpu:
            add_cores(token, spec, 1 / (row.nodes if row.division == "tensor" else 1), (added[i], stream[i], work[i]))
        else:
            add_card(token, spec, held, Surroundings(row.x86, row.link, row.engine == "ollama"), added[i])
        if row.host_memory:
            add_cores(token, load_device(row.host_memory), 1 - held, (added[i], stream[i], work[i]))
    return Terms(added, stream, work, fixed, np.array([bandwidth_bound_s(row) for row in rows]))


def bandwidth_bound_s(row: EdgeRow) -> float:
    """Return the baseline: the weights of a token over the bandwidth of the memory (of all nodes of a cluster)."""
    read_bytes = float(token_of(row.workload).read_bytes)
    return read_bytes / load_device(row.device).dram.bandwidth_bytes_per_s.value / row.nodes


def _held_share(row: EdgeRow, token: Token, spec: DeviceSpec) -> float:
    """Return the share of the weights that the device itself holds: all, unless a host holds the rest."""
    if not row.host_memory:
        return 1.0
    return min(1.0, (spec.dram.capacity_bytes.value - HELD_BACK_BYTES) / token.stored_bytes)


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
