"""The Pareto front of the fleets that were run: money against waiting, and power."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from archcast.planning.confirm import Outcome
from workloads.table import Array


@dataclass(frozen=True)
class Point:
    """A fleet that was run under the demand. `front`: no other that meets the objectives is as good on each of money,
    TTFT and power and better on one; only fleets that meet them are on it."""

    outcome: Outcome
    meets: bool
    front: bool

    @property
    def label(self) -> str:
        return f"{self.outcome.instances} x {self.outcome.candidate.label}"


def points_of(outcomes: Iterable[Outcome]) -> list[Point]:
    """Return the points, cheapest first."""
    ranked = sorted(outcomes, key=lambda o: (_finite(o.usd_per_hour), o.ttft_s.value, o.candidate.label))
    meets = np.array([o.meets for o in ranked], dtype=bool)
    table = np.array([[_finite(o.usd_per_hour), o.ttft_s.value, o.power_w.value] for o in ranked]).reshape(-1, 3)
    front = on_front(table, meets)
    return [Point(o, bool(m), bool(f)) for o, m, f in zip(ranked, meets, front, strict=True)]


def on_front(table: Array, allowed: Array) -> Array:
    """Return which rows no other allowed row dominates (all columns are to be small), shape (rows,)."""
    found = np.zeros(len(table), dtype=bool)
    for i in np.flatnonzero(allowed):
        others = table[allowed]
        dominated = (others <= table[i]).all(axis=1) & (others < table[i]).any(axis=1)
        found[i] = not dominated.any()
    return found


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
