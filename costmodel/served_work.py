"""What an engine that serves a language model does in one step, as columns: seconds, joules, bytes, experts.

In the steady state each of `batch` slots serves one request at a time: a step makes one token for each slot, and takes
up batch / generate new prompts on the way. A prompt that joins a step shares the weights that the step reads anyway,
so it costs what its tokens add to the products of the step, and its own attention.

Seconds are those of the cost model, but of experts the closed form's: tables of experts come from other versions of a
stack than serve, and are measured with choices that served tokens do not make.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.collectives import Fabric
from costmodel.in_network import costs_in_network
from costmodel.memory import memory_of
from costmodel.physics import predict_physics
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from costmodel.tempered import with_skew
from foundation.errors import BadValueError
from foundation.formats import FORMATS
from workloads.graph import Workload
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Model, Request
from workloads.routing import busiest
from workloads.table import OP_CODES, OPS, Array, OpTable
from workloads.work import count_work

KINDS: tuple[str, ...] = ("gemm", "moe", "attention", "scan", "collective", "pointwise")
"""Kinds of operators whose times are kept apart; the last is all others."""
PARTS: tuple[str, ...] = ("decode", "prefill")
SUMS: tuple[str, ...] = ("energy_j", "closed_s", "closed_energy_j", "flop_s", "dram_s")
COLUMNS: tuple[str, ...] = (
    *(f"{part}_{kind}_s" for part in PARTS for kind in KINDS), *(f"{part}_{what}" for part in PARTS for what in SUMS),
    "expert_layers", "eight_bit_expert_layers", "uneven", "narrow", "batch", "prompts", "devices", "ranks", "limit_w",
    "idle_w",
)  # fmt: skip
"""Of one rank and one step: seconds of each kind; joules; seconds and joules of the closed form alone; FLOP at their
peak and bytes at full bandwidth, in seconds; layers of experts, those in 8 bits, how unevenly ranks have them (share of
the busiest rank's rows that the mean rank lacks), how narrow weights are (log2 of 16 over their bits); requests in
flight in a replica, prompts a step; devices of the replica, tensor ranks; limits of one device."""
SKEW = 1.01
"""Exponent of the power law by which served tokens choose experts: that of aiconfigurator's collectors (ai-dynamo,
collector/helper.py, Apache-2.0; estimated, 0.6 to 1.2)."""
_KIND: Array = np.full(len(OPS), len(KINDS) - 1)
for _name, _place in (("gemm", 0), ("moe", 1), ("attention", 2), ("mla", 2), ("scan", 3), ("collective", 4)):
    _KIND[OP_CODES[_name]] = _place
_MOE, _ATTENTION = KINDS.index("moe"), KINDS.index("attention")
_BITS: Array = np.array([form.weight_bits for form in FORMATS.values()], dtype=float)

Work = dict[str, Array]
"""The columns of `COLUMNS`, each of shape (rows,)."""


@dataclass(frozen=True)
class Served:
    """What serves: a model in its formats, a device, a mapping, and the cost model that prices operators."""

    model: Model
    rates: Rates
    fabric: Fabric | None
    mapping: Mapping
    cost_model: CostModel
    dtype: str = ""
    kv_dtype: str = ""


def served_work(engine: Served, batch: Array, prompt: Array, generate: Array, spread: Array | float = 1.0) -> Work:
    """Return the columns of one engine under different loads.

    Args:
        batch: requests in flight in one replica. prompt, generate: mean tokens of a request; all of shape (rows,).
        spread: squared coefficient of variation of the generated tokens; long requests are in flight for longer.

    Raises:
        BadValueError: the model generates no tokens. UnsupportedError, MappingError: it cannot run so.
    """
    requests, tokens, outputs = (np.maximum(np.asarray(x, float), 1.0) for x in (batch, prompt, generate))
    # a pipeline holds as many batches as it has stages, which follow one another: each is one part of the requests
    slots, tokens = np.maximum(np.round(requests / engine.mapping.pp), 1.0), np.round(tokens)
    # tokens made so far, seen from a step: half of a request's mean where all are of one length
    context = np.maximum(np.round(tokens + outputs * (1.0 + np.asarray(spread)) / 2.0), 1.0)
    steps = _pass(engine, "decode", slots, context)
    prefills = _pass(engine, "prefill", 1.0, np.concatenate([slots + tokens, slots, tokens]))
    prompts = requests / engine.mapping.pp / outputs
    out = {f"decode_{name}": column for name, column in steps.items()}
    for name, column in prefills.items():
        joined, without, alone = np.split(column, 3)
        added = alone if name == f"{KINDS[_ATTENTION]}_s" else np.maximum(joined - without, 0.0)
        out[f"prefill_{name}"] = added * prompts
    mapping, rates = engine.mapping, engine.rates
    plain = {
        "batch": requests, "prompts": prompts, "devices": mapping.devices, "ranks": mapping.tp,
        "limit_w": rates.limit_w, "idle_w": rates.idle_w[0],
        **{name: steps[name] for name in ("expert_layers", "eight_bit_expert_layers", "uneven", "narrow")},
    }  # fmt: skip
    out |= {name: np.broadcast_to(np.asarray(value, float), slots.shape) for name, value in plain.items()}
    return {name: out[name] for name in COLUMNS}


def joined_work(parts: list[Work]) -> Work:
    """Return the rows of several engines, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def taken(work: Work, index: Array) -> Work:
    """Return the rows at `index` (a mask or indices)."""
    return {name: column[index] for name, column in work.items()}


def _pass(engine: Served, name: str, batch: Array | float, prompt: Array) -> dict[str, Array]:
    """Return the sums of a pass over its operators, each of shape (rows,)."""
    request = Request(batch=batch, prompt=prompt, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
    workload = engine.model.workload(request)
    run = next((one for one in workload.passes if one.name == name), None)
    if run is None:
        raise BadValueError(f"'{workload.name}' generates no tokens one by one, so it cannot be served in steps.")
    lowered = lower([run], engine.mapping)
    count = lowered.table.full("count")
    keep = np.flatnonzero(count > 0)
    owner = np.asarray(workload.owners.get(name, np.arange(len(prompt))))[lowered.scenario[keep]]
    return _sums(engine, as_routed(lowered.table.take(keep)), count[keep], owner, _weights_bytes(engine, workload))


def _weights_bytes(engine: Served, workload: Workload) -> float:
    report = memory_of(workload, lower(workload.passes, engine.mapping), engine.mapping, engine.rates)
    return float(report.parts["weights"][0])


def as_routed(table: OpTable) -> OpTable:
    """Return the rows with experts chosen as served tokens do, where the model does not say how."""
    return with_skew(table, SKEW)


def _sums(engine: Served, table: OpTable, count: Array, owner: Array, weights_bytes: float) -> dict[str, Array]:
    rates = engine.rates
    closed = predict_physics(table, rates, engine.fabric)
    seconds, joules = closed.latency_s.copy(), closed.energy_j.copy()
    others = np.flatnonzero(table.full("op") != OP_CODES["moe"])
    own = costs_in_network(
        engine.cost_model, table.take(others), rates, engine.fabric, engine.mapping.software, weights_bytes
    )
    seconds[others], joules[others] = own.latency_s, own.energy_j
    kind = _KIND[table.full("op").astype(int)]
    rows = int(owner.max()) + 1

    def total(column: Array) -> Array:
        return np.asarray(np.bincount(owner, weights=np.broadcast_to(column, count.shape) * count, minlength=rows))

    found = {f"{word}_s": total(seconds * (kind == i)) for i, word in enumerate(KINDS)}
    found |= {
        "energy_j": total(joules), "closed_s": total(closed.latency_s),
        "closed_energy_j": total(closed.energy_j),
    }  # fmt: skip
    return found | busy_signs(table, count, owner, rates, closed.dram_bytes, rows)


def busy_signs(
    table: OpTable, count: Array, owner: Array, rates: Rates, dram_bytes: Array, rows: int
) -> dict[str, Array]:  # fmt: skip
    """Return what steps keep busy, the columns flop_s to narrow, each of shape (rows,), as `COLUMNS` says.

    Args:
        table, count, owner: operators, how often each runs, and the step that it belongs to.
        dram_bytes: of each operator, by the closed form.
    """
    work, dtype = count_work(table), table.full("dtype").astype(int)
    kind = _KIND[table.full("op").astype(int)]

    def total(column: Array) -> Array:
        return np.asarray(np.bincount(owner, weights=np.broadcast_to(column, count.shape) * count, minlength=rows))

    stored = np.where(kind == _ATTENTION, 0.0, work.weight_bytes)
    experts = kind == _MOE
    return {
        "flop_s": total(np.nan_to_num(work.matrix_flop / rates.peak_flop_per_s[dtype])),
        "dram_s": total(dram_bytes / rates.dram_bytes_per_s),
        "expert_layers": total(experts), "eight_bit_expert_layers": total(experts & (np.round(_BITS[dtype]) == 8)),
        "uneven": total(_uneven(table)) / np.maximum(total(experts), 1.0),
        "narrow": total(stored * np.log2(16.0 / _BITS[dtype])) / np.maximum(total(stored), 1.0),
    }  # fmt: skip


def _uneven(table: OpTable) -> Array:
    """Return the share of the busiest rank's rows that the mean rank lacks, 0 for what are no experts."""
    out = np.zeros(table.rows)
    rows = np.flatnonzero((table.full("op") == OP_CODES["moe"]) & (table.full("ep") > 1))
    if len(rows):
        tokens, experts, topk, ep, skew = (
            table.full(name)[rows] for name in ("tokens", "experts", "topk", "ep", "skew")
        )  # fmt: skip
        out[rows] = np.maximum(1.0 - tokens * topk / ep / busiest(tokens, experts, topk, ep, skew).rows, 0.0)
    return out
