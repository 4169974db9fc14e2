"""`sensitivities`: by how much per cent a cost changes for one per cent of a figure of the device.

The elasticity d log(cost) / d log(figure) by central differences of the closed form: the workload is lowered once, and
every device that differs in one figure prices the same rows. Where the slopes to both sides differ (a bound changes
there, or the power limit) the figure is marked as a kink and both are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.batches import grouped_questions
from archcast.fallback import is_alone, runtime_of
from archcast.oracle.cells import versions_of
from archcast.oracle.questions import KNOBS, SAMPLES, Question, Questions, as_questions
from archcast.oracle.words import text_table
from archcast.prediction import linked_devices
from archcast.quantities import quantities as quantities_of
from archcast.question import Target, ask, find_model, parallel
from archcast.software import check_software
from costmodel.collectives import Fabric, fabric_of
from costmodel.costs import BOUNDS, OpCosts
from costmodel.estimate import compose, owners_of
from costmodel.in_network import costs_in_network
from costmodel.memory import memory_of
from costmodel.protocol import PhysicsModel
from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from foundation.formats import FORMAT_NAMES
from workloads.graph import Workload
from workloads.lowering import Lowered, lower
from workloads.mapping import Mapping
from workloads.table import Array

STEP = 0.01
"""Relative step to either side. Costs are straight or hyperbolic between kinks: the error is of its square."""
KINK = 0.02
"""Slopes that differ by more than this to both sides are a kink."""
COSTS = ("latency_s", "energy_j", "cost_usd")
Device = tuple[Target, Fabric | None]
Change = Callable[[Device, float], Device]


@dataclass(frozen=True)
class Sensitivities:
    """Elasticities: `value`, `below`, `above` (one-sided) have shape (questions, figures, quantities).

    -1 means that one per cent more of the figure saves one per cent; 0 that it changes nothing. `kink` is true where
    the sides differ. `bound` is the share of the time that each bound holds of each question; `explained_by` the bound
    that a figure acts through. `room` is how much of the memory is left: capacity changes what fits, and no cost.
    """

    figures: tuple[str, ...]
    quantities: tuple[str, ...]
    value: Array
    below: Array
    above: Array
    kink: Array
    bound: tuple[dict[str, float], ...]
    explained_by: tuple[str, ...]
    room: Array
    versions: dict[str, Any]

    def of(self, figure: str, quantity: str = "latency_s") -> Array:
        """Return the elasticity of every question, shape (questions,)."""
        if figure not in self.figures:
            raise UnknownNameError("figure", figure, self.figures)
        return np.asarray(self.value[:, self.figures.index(figure), self.quantities.index(quantity)])

    def to_json(self) -> dict[str, Any]:
        found = [
            {
                "bound": self.bound[q], "memory_left": _plain(self.room[q]),
                "elasticity": {
                    figure: {
                        name: {"value": _plain(self.value[q, f, k]), "below": _plain(self.below[q, f, k]),
                               "above": _plain(self.above[q, f, k]), "kink": bool(self.kink[q, f, k])}
                        for k, name in enumerate(self.quantities)
                    }
                    for f, figure in enumerate(self.figures)
                },
            }
            for q in range(len(self.value))
        ]  # fmt: skip
        return {"step": STEP, "explained_by": dict(zip(self.figures, self.explained_by, strict=True)),
                "questions": found, "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        lines = []
        for q in range(len(self.value)):
            for f, figure in enumerate(self.figures):
                words = [
                    f"{self.value[q, f, k]:+.3f}"
                    + (f" ({self.below[q, f, k]:+.3f}/{self.above[q, f, k]:+.3f})" if self.kink[q, f, k] else "")
                    for k in range(len(self.quantities))
                ]
                share = self.bound[q].get(self.explained_by[f], 0.0)
                why = f"{self.explained_by[f]}-bound {share:.0%} of the time" if share else self.explained_by[f]
                lines.append([figure, *words, why])
        return text_table(["1 % more of", *(f"% {name}" for name in self.quantities), "acts through"], lines)


def sensitivities(question: Question | Sequence[Question], knobs: Sequence[str] | None = None) -> Sensitivities:
    """Return elasticities of time, energy and money to the figures of the device, by the closed form.

    Args:
        question: one, or several, as `cost_table` takes them.
        knobs: figures, such as dram_bytes_per_s, peak_flop_per_s.bf16, link_bytes_per_s, launch_s, limit_w
            (None: all that the first question's device has).

    The learned model is not asked: what it knows of a device holds for its figures as they are.

    Raises:
        InputError: an unknown figure, or a question that does not fit or is not answered from one table of operators.
    """
    questions = as_questions(question)
    groups = _groups(questions)
    known = _figures(groups[0][1])
    figures = tuple(known) if knobs is None else tuple(knobs)
    if not figures:
        raise BadValueError(f"No figure is given; there are {', '.join(known)}.")
    for name in figures:
        if name not in known and not name.startswith("peak_flop_per_s."):
            raise UnknownNameError("figure of a device", str(name), known, f"Known: {', '.join(known)}.")
    shape = (questions.rows, len(figures), len(COSTS))
    value, below, above = (np.zeros(shape) for _ in range(3))
    bound: list[dict[str, float]] = [{}] * questions.rows
    room = np.full(questions.rows, np.nan)
    for where, case in groups:
        base = case.costs(case.device)
        changes = _figures(case)
        for f, name in enumerate(figures):
            if name not in changes:
                continue
            less, more = (case.costs(changes[name][0](case.device, 1 + sign * STEP)) for sign in (-1, 1))
            value[where, f] = np.log(more / less) / np.log((1 + STEP) / (1 - STEP))
            below[where, f] = np.log(less / base) / np.log(1 - STEP)
            above[where, f] = np.log(more / base) / np.log(1 + STEP)
        for row, shares in zip(where, case.bounds(), strict=True):
            bound[row] = shares
        room[where] = case.room
    through = tuple(known[name][1] if name in known else "compute" for name in figures)
    return Sensitivities(figures, COSTS, value, below, above, np.abs(above - below) > KINK, tuple(bound), through, room,
                         versions_of(PhysicsModel(), questions))  # fmt: skip


@dataclass(frozen=True)
class _Case:
    """Questions on one device that are one table of rows."""

    device: Device
    workload: Workload
    lowered: Lowered
    mapping: Mapping
    weights_bytes: float
    room: Array

    def priced(self, device: Device) -> OpCosts:
        target, fabric = device
        return costs_in_network(
            PhysicsModel(), self.lowered.table, target.rates, fabric, self.mapping.software, self.weights_bytes
        )

    def costs(self, device: Device) -> Array:
        """Return latency_s, energy_j, cost_usd, shape (requests, 3)."""
        totals = compose(self.workload, self.lowered, self.priced(device))
        found = quantities_of(self.workload, totals, self.mapping, device[0])
        return np.stack([found[name][:, 0] for name in COSTS], axis=1)

    def bounds(self) -> list[dict[str, float]]:
        """Return the share of the time that each bound holds, of each request."""
        costs = self.priced(self.device)
        owner, everyone = owners_of(self.workload, self.lowered)
        seconds = costs.latency_s * self.lowered.table.full("count")
        requests, codes = self.workload.requests, costs.bound.astype(np.intp)
        own = np.where(everyone, 0.0, seconds)
        sums = np.bincount(owner * len(BOUNDS) + codes, weights=own, minlength=requests * len(BOUNDS))
        sums = sums.reshape(requests, len(BOUNDS))
        if everyone.any():
            sums = sums + np.bincount(codes[everyone], weights=seconds[everyone], minlength=len(BOUNDS))
        shares = sums / sums.sum(axis=1, keepdims=True)
        return [{name: float(s) for name, s in zip(BOUNDS, row, strict=True) if s > 0} for row in shares]


def _groups(questions: Questions) -> list[tuple[Array, _Case]]:
    columns = {n: c for n, c in questions.columns.items() if n not in (SAMPLES, KNOBS, "name")}
    if SAMPLES in questions.columns:
        raise BadValueError("Sensitivities are of one answer a request; leave samples out, or give a batch.")
    if KNOBS in questions.columns:
        columns["workload"] = np.array(
            [find_model(w, k or None) for w, k in zip(columns["workload"], questions.columns[KNOBS], strict=True)],
            dtype=object,
        )
    return [(where, _case(key, sizes)) for key, where, sizes in grouped_questions(columns, questions.rows)]


def _case(key: dict[str, Any], sizes: dict[str, Array]) -> _Case:
    """Return questions that differ in their sizes as one table. Raises InputError: one that does not fit."""
    mapping = parallel(key["count"] or None, key["tp"], key["pp"], key["ep"], key["dp"], key["software"], key["cp"])
    if mapping is None:
        raise BadValueError(f"count={key['count']} alone does not say how to divide the model; give tp, pp or dp too.")
    names = ("dtype", "kv_dtype", "mode", "software")
    question = ask(key["workload"], key["on"], **{name: key[name] for name in names})
    target = question.target
    check_software(key["software"], PhysicsModel(), target.spec)
    if (
        is_alone(target)
        or runtime_of(mapping.software, target) is not None
        or bool(getattr(question.model, "paths", ()))
    ):
        raise UnsupportedError(
            f"Sensitivities are of operators that all run on {target.spec.id} from one memory; this question is not."
        )
    defaults = question.model.defaults
    tokens: dict[str, Any] = {
        n: np.where(sizes[n] > 0, sizes[n], float(defaults[n])) if defaults[n] else None for n in ("prompt", "generate")
    }
    request = replace(question.request, batch=np.ceil(sizes["batch"] / mapping.dp), **tokens)
    workload = question.model.workload(request)
    lowered = lower(workload.passes, mapping)
    report = memory_of(workload, lowered, mapping, target.rates)
    short = float(report.shortfall_bytes.max())
    if short > 0:
        raise BadValueError(f"'{question.model.name}' does not fit on {target.spec.id}: it has no cost to differ.")
    fabric = fabric_of(target.spec, linked_devices(mapping, lowered.table))
    room = 1 - report.total_bytes / report.capacity_bytes
    return _Case((target, fabric), workload, lowered, mapping, float(report.parts["weights"][0]), room)


def _figures(case: _Case) -> dict[str, tuple[Change, str]]:
    """Return what a device has that can differ, and the bound that it acts through."""
    target, fabric = case.device
    rates, found = target.rates, {}
    for code in np.flatnonzero(np.bincount(case.lowered.table.full("dtype").astype(np.intp))):
        found[f"peak_flop_per_s.{FORMAT_NAMES[int(code)]}"] = (_entry("peak_flop_per_s", int(code)), "compute")
    found |= {
        "vector_flop_per_s": (_rate("vector_flop_per_s"), "compute"),
        "dram_bytes_per_s": (_rate("dram_bytes_per_s"), "memory"),
        "cache_bytes_per_s": (_rate("cache_bytes_per_s"), "memory"),
        "cache_bytes": (_rate("cache_bytes"), "memory"),
        "usable_bytes": (_rate("usable_bytes"), "capacity"),
        "launch_s": (_rate("launch_s"), "overhead"),
        "idle_w": (_rate("idle_w"), "power"),
        "limit_w": (_rate("limit_w"), "power"),
        "matrix_energy_j": (_rate("matrix_energy_j"), "power"),
        "dram_energy_j": (_rate("dram_energy_j"), "power"),
    }
    if rates.array is not None or rates.spatial is not None:
        found = {n: c for n, c in found.items() if not n.startswith("peak_flop_per_s.")}
    if fabric is not None:
        found["link_bytes_per_s"] = (_links, "network")
    if target.spec.price is not None:
        found["usd_per_hour"] = (_price, "price")
    return found


def _rate(name: str) -> Change:
    def change(device: Device, factor: float) -> Device:
        target, fabric = device
        old: Any = getattr(target.rates, name)
        new = tuple(x * factor for x in old) if isinstance(old, tuple) else old * factor
        figure: Any = {name: new}
        return replace(target, rates=replace(target.rates, **figure)), fabric

    return change


def _entry(name: str, code: int) -> Change:
    def change(device: Device, factor: float) -> Device:
        target, fabric = device
        new = np.array(getattr(target.rates, name))
        new[code] *= factor
        figure: Any = {name: new}
        return replace(target, rates=replace(target.rates, **figure)), fabric

    return change


def _links(device: Device, factor: float) -> Device:
    target, fabric = device
    if fabric is None:
        return device
    faster = replace(fabric, local_bytes_per_s=fabric.local_bytes_per_s * factor,
                     remote_bytes_per_s=fabric.remote_bytes_per_s * factor)  # fmt: skip
    return target, faster


def _price(device: Device, factor: float) -> Device:
    target, fabric = device
    price = target.spec.price
    if price is None:
        return device
    old = price.usd_per_hour
    figure = old.model_copy(update={end: getattr(old, end) * factor for end in ("value", "lo", "hi")})
    spec = target.spec.model_copy(update={"price": price.model_copy(update={"usd_per_hour": figure})})
    return replace(target, spec=spec), fabric


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
