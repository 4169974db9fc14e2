"""`explain()`: the waterfall from the peak to what is achieved, and the operators that take most of the time.

The ladder has the form of Eyexam (Chen et al. 2019, section III): each step tightens the rate, and the losses add up
to the difference exactly. Rates are FLOP per second averaged over the whole workload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.costs import BOUNDS, SOURCES, DividedCosts
from costmodel.estimate import Detail, Estimate
from costmodel.physics import compute_s, side_by_side, stages
from foundation.errors import BadValueError
from workloads.table import KINDS, OP_CODES, OPS, Array, OpTable
from workloads.work import count_work

STEPS: tuple[tuple[str, str], ...] = (
    ("peak", "every FLOP at the peak rate of its format"),
    ("shape", "idle lanes in edge tiles, idle units in the last wave, folds that do not fill the array"),
    ("fill and drain", "array fill and drain, starts and ends of waves"),
    ("efficiency", "share of the peak that kernels reach"),
    ("on-chip memory", "waiting for the last-level cache or scratchpad"),
    ("device memory", "waiting for device memory"),
    ("network", "waiting for other devices"),
    ("power", "slowed to keep to the power limit, or what a calibrated model adds"),
    ("launch", "starting operators"),
)
"""Steps of the waterfall in order, and what each one loses."""

STREAMED = ("weights", "waiting for weights that do not stay on the chip")
ELSEWHERE = ("other processor", "what a runtime leaves to the host, and changing processor")
"""Last steps where weights come from outside, and where a runtime divides a network."""


@dataclass(frozen=True)
class Step:
    """One step: the time that it adds to the workload, and the FLOP rate that is left after it.

    `mostly` says on a spatial array which kind of layer takes most of it, e.g. "depthwise 93 %".
    """

    name: str
    meaning: str
    added_s: float
    rate_flop_per_s: float
    mostly: str = ""

    def to_json(self) -> dict[str, Any]:
        plain = dict(vars(self))
        return plain if self.mostly else {name: value for name, value in plain.items() if name != "mostly"}


@dataclass(frozen=True)
class OperatorCost:
    """One operator over the whole workload (all repeats, passes and steps of one name).

    `elsewhere` is the share of its time on another processor or on the way to it.
    """

    name: str
    phase: str
    op: str
    calls: float
    latency_s: float
    share: float
    energy_j: float
    work_flop: float
    dram_bytes: float
    bound: str
    source: str
    elsewhere: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """The waterfall (first step = peak, last = achieved) and the operators, longest first."""

    steps: tuple[Step, ...]
    operators: tuple[OperatorCost, ...]

    def to_json(self) -> dict[str, Any]:
        return {"waterfall": [s.to_json() for s in self.steps], "operators": [vars(o) for o in self.operators]}


def explain(estimate: Estimate) -> Explanation:
    """Return why an estimate is what it is.

    Raises:
        BadValueError: it has no time, since the workload does not fit.
    """
    if estimate.detail is None or estimate.latency_s is None:
        raise BadValueError(
            f"{estimate.workload} on {estimate.device} is {estimate.verdict}: there is no time to explain."
        )
    return Explanation(waterfall(estimate.detail), operator_costs(estimate.detail))


def waterfall(detail: Detail) -> tuple[Step, ...]:
    """Return the ladder; `added_s` of all steps sums to the latency exactly."""
    table, rates = detail.lowered.table, detail.rates
    work, count, ops = count_work(table), table.full("count"), table.full("op")
    parts = stages(table, work, rates)
    link = (
        detail.fabric.seconds(table) * (table.full("kind") > 0) if detail.fabric is not None else np.zeros(table.rows)
    )
    levels: list[Array] = [side_by_side(step, parts.vector_s) for step in (parts.ideal_s, parts.shaped_s)]
    levels.append(side_by_side(parts.filled_s, parts.vector_s) + parts.waves * rates.kernels.wave_s[ops, 0])
    levels.append(compute_s(parts, rates, ops))
    dram_s = parts.dram_s / rates.memory_share(ops)
    # the wait for memory belongs to the level that binds: data from device memory passes the chip meanwhile
    levels.append(np.maximum(levels[-1], np.where(parts.cache_s > dram_s, parts.cache_s, 0.0)))
    # on an array the first load and the last store, and latencies and starts of tiles, hide behind nothing
    levels.append(np.maximum(levels[-1] + parts.exposed_s, dram_s) + parts.serial_s)
    levels.append(np.maximum(levels[-1], link))
    launch = np.minimum(detail.costs.latency_s, rates.kernels.launches[ops, 0] * rates.launch_s[0])
    divided = detail.costs if isinstance(detail.costs, DividedCosts) else None
    apart = ((STREAMED, divided.streamed_s), (ELSEWHERE, divided.elsewhere_s)) if divided else ()
    running = detail.costs.latency_s - launch
    # a calibrated model may answer less than the closed form's step: then that step took what there is
    levels = [np.minimum(level, running) for level in levels]
    # what is not the device's own is told as what it adds to the time that all would take here
    here = np.maximum(levels[-1], running - sum(seconds for _, seconds in apart))
    levels += [here, here + launch]
    names: tuple[tuple[str, str], ...] = STEPS
    for step, seconds in apart:
        if np.any(seconds):
            names = (*names, step)
            levels.append(np.minimum(levels[-1] + seconds, detail.costs.latency_s))
    levels[-1] = detail.costs.latency_s
    times = [float((np.broadcast_to(level, count.shape) * count).sum()) for level in levels]
    flop = float((work.flop * count).sum())
    mostly = _mostly(table, levels) if rates.spatial is not None else [""] * len(levels)
    steps, before = [], 0.0
    for (name, meaning), time, kind in zip(names, times, mostly, strict=True):
        steps.append(Step(name, meaning, time - before, flop / time if time > 0 else 0.0, kind))
        before = time
    return tuple(steps)


LAYER_KINDS = {"gemm": "product", "conv2d": "convolution"}
"""What rows of these families are called; convolutions of one channel a group are depthwise."""


def _mostly(table: OpTable, levels: list[Array]) -> list[str]:
    """Return, for each step, the kind of layer that takes most of what it adds, with its share."""
    groups = np.where(table.full("op") == OP_CODES["conv2d"], table.full("groups"), 1.0)
    kinds = [LAYER_KINDS.get(name, name) for name in table.names("op")]
    divided = ("depthwise", "grouped convolution")
    kinds = [divided[int(c > g)] if g > 1 else kind
             for kind, g, c in zip(kinds, groups.tolist(), table.full("c_in").tolist(), strict=True)]  # fmt: skip
    names, owner = np.unique(kinds, return_inverse=True)
    found, before = [], np.zeros(table.rows)
    for level in levels:
        level = np.broadcast_to(level, (table.rows,))
        added = np.bincount(owner, weights=np.maximum(level - before, 0.0) * table.full("count"))
        top, whole, before = int(np.argmax(added)), float(added.sum()), level
        found.append(f"{names[top]} {added[top] / whole:.0%}".replace("%", " %") if whole > 0 else "")
    return found


SHARD_SUFFIXES = (".row", ".logits", ".vocab", ".experts")
"""What lowering adds to the name of an operator's own part, where a collective that follows bears the plain name."""


def _shown(label: str, kind: int) -> str:
    """Return the name that people read: `down` for the product, `down.all_reduce` for the collective behind it."""
    if kind:
        return label if label.endswith((".dispatch", ".send")) else f"{label.removesuffix('.row')}.{KINDS[int(kind)]}"
    return next((label.removesuffix(suffix) for suffix in SHARD_SUFFIXES if label.endswith(suffix)), label)


def operator_costs(detail: Detail, limit: int = 1000) -> tuple[OperatorCost, ...]:
    """Return operators by time, rows of one (pass, name) added up."""
    table, costs = detail.lowered.table, detail.costs
    work, count = count_work(table), table.full("count")
    seconds = costs.latency_s * count
    names, inverse = np.unique(
        [f"{p}\x00{label}" for p, label in zip(detail.lowered.pass_index, table.labels, strict=True)],
        return_inverse=True,
    )
    sums = {
        key: np.bincount(inverse, weights=np.broadcast_to(values, (table.rows,)) * count)
        for key, values in (
            ("s", costs.latency_s),
            ("j", costs.energy_j),
            ("f", work.flop),
            ("b", costs.dram_bytes),
            ("e", costs.elsewhere_s if isinstance(costs, DividedCosts) else 0.0),
        )
    }
    calls = np.bincount(inverse, weights=count)
    total = float(seconds.sum())
    found = []
    for i in np.argsort(-sums["s"], kind="stable")[:limit]:
        rows = np.flatnonzero(inverse == i)
        top = rows[np.argmax(seconds[rows])]
        found.append(
            OperatorCost(
                name=_shown(str(names[i]).split("\x00")[1], table.full("kind")[top]),
                phase=detail.workload.passes[int(detail.lowered.pass_index[top])].name,
                op=OPS[int(table.full("op")[top])],
                calls=float(calls[i]),
                latency_s=float(sums["s"][i]),
                share=float(sums["s"][i]) / total if total > 0 else 0.0,
                energy_j=float(sums["j"][i]),
                work_flop=float(sums["f"][i]),
                dram_bytes=float(sums["b"][i]),
                bound=BOUNDS[int(costs.bound[top])],
                source=SOURCES[int(costs.source[top])],
                elsewhere=float(sums["e"][i] / sums["s"][i]) if sums["s"][i] > 0 else 0.0,
            )
        )
    return tuple(found)
