"""`SearchAnswer`: the front with its designs, what limits them, what each knob can reach, and what was refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from archcast.searching.adaptive import Run
from archcast.searching.front import hypervolume, knee, thinned
from archcast.searching.grid import Tally
from archcast.searching.metrics import Convergence, convergence
from archcast.searching.problem import Problem, evaluate
from archcast.searching.search_file import Shard, Study
from archcast.searching.space import Knob
from workloads.table import Array

LISTED = 12
"""Designs that stand for a front where people read it."""
REFERENCE = 1.1
"""The reference point of the hypervolume: so many times the worst of the front in each objective."""


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found. `front` has one entry a design, by rising first objective."""

    study: Study
    tally: Tally
    shard: Shard
    seed: int
    wall_s: float
    front: tuple[dict[str, Any], ...]
    binds: tuple[dict[str, dict[str, Any]], ...]
    values: Array
    notes: tuple[str, ...]
    codes: Array = field(repr=False)
    """Of the front, (knobs, designs)."""
    versions: dict[str, str] = field(default_factory=dict)
    run: Run | None = None
    """All evaluations, of an adaptive method; designs are then numbered by evaluation."""
    proxy: dict[str, Any] | None = None
    """What is to say of the proxy that stood for the closed form (`Learned.about`)."""

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.study.problem.objectives

    @property
    def verdict(self) -> str:
        return "feasible" if self.front else "infeasible"

    @property
    def best(self) -> dict[str, int]:
        """Return the place in the front of the least value of each objective."""
        return {name: int(np.argmin(self.values[:, k])) for k, name in enumerate(self.objectives) if self.front}

    @property
    def knee(self) -> int | None:
        """Return the place in the front of the design nearest to the best of everything, in logarithms."""
        return knee(self.values) if self.front else None

    def listed(self, count: int = LISTED) -> list[int]:
        """Return places in the front that stand for it, by rising first objective."""
        if self.knee is None:
            return []
        return sorted(thinned(self.values, count, [*self.best.values(), self.knee]))

    @property
    def reference(self) -> Array:
        worst, best = self.values.max(axis=0), self.values.min(axis=0)
        wide = np.where(worst > best, worst - best, 1.0)  # of an objective that is 0 all over any width will do
        tenth = (REFERENCE - 1) * np.where(worst < 0, -worst, wide)
        return np.asarray(np.where(worst > 0, REFERENCE * worst, worst + tenth))  # values of 0 and below too

    @property
    def hypervolume(self) -> float | None:
        """Return the volume that the front dominates, as a share of the box from the best values to the reference.

        None with one objective, and with more than three.
        """
        if len(self.objectives) < 2:  # one design, which is the whole box
            return None
        if not self.front:
            return 0.0
        volume = hypervolume(self.values, self.reference)
        return None if volume is None else volume / float(np.prod(self.reference - self.values.min(axis=0)))

    @cached_property
    def convergence(self) -> Convergence | None:
        """Return the best so far against evaluations and time, of an adaptive method that found a design."""
        if self.run is None or not self.front:
            return None
        found = self.run.arrays
        return convergence(found["values"], found["reason"] == "", found["wall_s"], self.reference)

    def sensitivity(self) -> dict[str, list[dict[str, Any]]]:
        """Return for each knob with a choice the least of each objective by value (None: no design stands)."""
        return {
            knob.name: [
                {"value": knob.value(code), **{
                    name: float(best[code, k]) if np.isfinite(best[code, k]) else None
                    for k, name in enumerate(self.objectives)
                }}
                for code in range(len(knob.values))
            ]
            for knob, best in zip(self.study.problem.space.knobs, self.tally.best, strict=True)
            if len(knob.values) > 1
        }  # fmt: skip

    @property
    def chosen(self) -> list[str]:
        """Return the knobs that have a choice."""
        return [knob.name for knob in self.study.problem.space.knobs if knob.count > 1]

    def at_ends(self, place: int) -> list[str]:
        """Return the knobs of a design of the front that stand at the end of their range and are bound there."""
        space = self.study.problem.space
        return [
            knob.name for knob, code in zip(space.knobs, self.codes[:, place], strict=True)
            if knob.count > 2 and not knob.category and float(code) in _ends(knob)
        ]  # fmt: skip

    def refused(self) -> list[dict[str, Any]]:
        """Return the reasons that rejected designs, the most frequent first."""
        ranked = sorted(self.tally.refused.items(), key=lambda item: (-item[1].designs, item[0]))
        return [
            {"reason": name, "designs": found.designs}
            | ({"shortfall_bytes": {"least": found.least_bytes, "most": found.most_bytes}} if found.most_bytes else {})
            for name, found in ranked
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the whole answer; names end in their unit, an uncertain value has `value`, `lo` and `hi`."""
        study, tally = self.study, self.tally
        order = front_order(tally)
        front = [
            {"design": int(tally.archive.index[row]), **shown, "binds": binds}
            for row, shown, binds in zip(order, self.front, self.binds, strict=True)
        ]
        return {
            "kind": "search", "verdict": self.verdict, "workload": study.name,
            **({"batch": study.batch, "dtype": study.dtype} if study.request else {}),
            "design": study.design, "method": study.method, "fidelity": study.fidelity,
            "objectives": list(self.objectives), "seed": self.seed,
            "shard": None if self.shard.of == 1 else f"{self.shard.number}/{self.shard.of}",
            "space": {knob.name: _values(knob) for knob in study.problem.space.knobs},
            "fixed": dict(study.problem.fixed), "space_designs": study.problem.space.size, "designs": tally.designs,
            "feasible_designs": tally.feasible, "infeasible": self.refused(), "front_designs": len(front),
            "hypervolume_share": self.hypervolume,
            "hypervolume_reference": (
                dict(zip(self.objectives, map(float, self.reference), strict=True))
                if front and len(self.objectives) > 1 else None
            ),
            "best": self.best, "knee": self.knee, "listed": self.listed(), "sensitivity": self.sensitivity(),
            **({"proxy": self.proxy} if self.proxy is not None else {}),
            "front": front, "convergence": self._course(), "notes": list(self.notes), "digest": study.digest,
            "versions": dict(self.versions), "wall_s": self.wall_s,
        }  # fmt: skip

    def _course(self) -> dict[str, Any] | None:
        found = self.convergence
        if found is None:
            return None
        best = {name: [float(x) if np.isfinite(x) else None for x in found.best[:, k]]
                for k, name in enumerate(self.objectives)}  # fmt: skip
        volume = None if found.volume is None else found.volume.tolist()
        return {"evaluations": found.evaluations.tolist(), "wall_s": found.wall_s.tolist(), "best": best,
                "hypervolume_share": volume}  # fmt: skip


def _ends(knob: Knob) -> tuple[float, float]:
    """Return the codes at both ends of a knob's range."""
    return (knob.span.low, knob.span.high) if knob.span is not None else (0.0, len(knob.values) - 1.0)


def _values(knob: Knob) -> Any:
    """Return the values of a knob as JSON: a list, or the ends of its range."""
    if knob.span is None:
        return [knob.value(code) for code in range(len(knob.values))]
    scale = "log" if knob.span.log else "linear"
    return {"from": knob.value(knob.span.low), "to": knob.value(knob.span.high), "scale": scale}


def front_order(tally: Tally) -> Array:
    """Return the front's rows by rising first objective, then the others, then the design's number."""
    archive = tally.archive
    return np.lexsort((archive.index, *archive.values.T[::-1]))


def binding(problem: Problem, codes: Array) -> tuple[dict[str, dict[str, Any]], ...]:
    """Return for each design and objective the one step of one knob that lowers it most, within the limits.

    A step is to the next value of a number or to any other of a category. `ratio` is the new value over the old; an
    objective that no step lowers has no entry.
    """
    space, names = problem.space, problem.objectives
    moved, owner, knob_of = [], [], []
    designs = np.arange(codes.shape[1])
    for place, knob in enumerate(space.knobs):
        count = len(knob.values)
        for step in range(1, count) if knob.category else (-1, 1) if count > 1 else ():
            target = (codes[place] + step) % count if knob.category else codes[place] + step
            inside = designs[(target >= 0) & (target < count)]
            there = codes[:, inside].copy()
            there[place] = target[inside]
            moved.append(there)
            owner.append(inside)
            knob_of.append(np.full(len(inside), place))
    found: tuple[dict[str, dict[str, Any]], ...] = tuple({} for _ in designs)
    if not moved or not len(designs):
        return found
    steps, owners, places = (np.concatenate(parts, axis=-1) for parts in (moved, owner, knob_of))
    here = evaluate(problem, space.columns(codes))
    there_found = evaluate(problem, space.columns(steps))
    for name in names:
        now = here.values[name][owners]
        ratio = np.full(len(now), np.inf)  # what is 0 already nothing lowers
        np.divide(there_found.values[name], now, out=ratio, where=there_found.feasible & (now != 0))
        ranked = np.lexsort((places, ratio, owners))
        first = ranked[np.searchsorted(owners[ranked], designs[np.isin(designs, owners)])]
        for row in first:
            if ratio[row] < 1 - 1e-9:
                knob = space.knobs[places[row]]
                to = knob.value(int(steps[places[row], row]))
                found[owners[row]][name] = {"knob": knob.name, "to": to, "ratio": float(ratio[row])}
    return found
