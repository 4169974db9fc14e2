"""A solution read as courses over time: what is bought, serves, costs and emits, by scenario and period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.growing.program import CARBON, PARTS, Program, blocks
from archcast.growing.solve import Solved
from workloads.table import Array

WAYS = ("bought", "leased", "rented")


@dataclass(frozen=True)
class Course:
    """Arrays are (scenarios, periods) unless said.

    ordered: units, (2, scenarios, periods, options): bought, and instances leased anew; held: units bought that stand,
    leased: instances leased, rented: instances rented in the mean of all hours, each (scenarios, periods, options).
    demand_hz is that of the peak; capacity_hz by way to have it, (3, scenarios, periods). cost_usd by part,
    (parts, periods, scenarios), undiscounted; carbon_kg likewise. power_w is the mean of all that serves, hall_w the
    largest that bought devices may take, by region, (regions, scenarios, periods).
    """

    ordered: Array
    held: Array
    leased: Array
    rented: Array
    demand_hz: Array
    mean_hz: Array
    capacity_hz: Array
    cost_usd: Array
    carbon_kg: Array
    power_w: Array
    hall_w: Array

    @property
    def total_usd(self) -> Array:
        """Return the cost by scenario and period."""
        return np.asarray(self.cost_usd.sum(axis=0).T)

    @property
    def total_kg(self) -> Array:
        return np.asarray(self.carbon_kg.sum(axis=0).T)


def course_of(solved: Solved, rate_hz: float) -> Course:
    """Return the courses of a solution."""
    program = solved.program
    tree, options, study = program.tree, program.options, program.study
    shape = (tree.scenarios, tree.periods, len(options))
    ordered, held, leased, rented = np.zeros((2, *shape)), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    power, peak_rent = np.zeros(shape[:2]), np.zeros(shape)
    parts = blocks(study)
    for key, i in program.columns.items():
        amount = float(solved.x[i])
        if key[0] == "short" or amount <= 1e-9:
            continue
        who, t, o = _members(program, key), key[-2], key[1]
        if key[0] in ("buy", "lease"):
            ordered[0 if key[0] == "buy" else 1, who, t, o] += amount
            if key[0] == "lease":
                for later in range(t, min(t + options.lease_periods, tree.periods)):
                    leased[who, later, o] += amount
        elif key[0] == "held":
            held[who, t, o] += amount
            power[who, t] += amount * options.idle_w[o]
        else:
            share = parts[key[2]][0]
            whole = options.run_w[o, t] + (0.0 if key[0] == "use" else options.idle_w[o] / options.unit[o])
            power[who, t] += amount * share * whole
            if key[0] == "rent":
                rented[who, t, o] += amount * share
                peak_rent[who, t, o] = max(float(peak_rent[who, t, o].max()), amount)
    each = options.hz.T[None]
    capacity = np.stack([(x * each).sum(axis=2) for x in (held * options.unit, leased, peak_rent)])
    halls = np.stack([
        (held * options.peak_w * np.array([r == region for r in options.region])).sum(axis=2)
        for region in study.regions
    ])  # fmt: skip
    mean = rate_hz * tree.factor
    most = max(multiple for _, multiple in parts)
    return Course(
        ordered, held, leased, rented, mean * most, mean, capacity, program.parts(solved.x),
        program.parts(solved.x, "carbon"), power, halls,
    )  # fmt: skip


def _members(program: Program, key: tuple[object, ...]) -> Array:
    """Return the scenarios of a column."""
    t, k = int(key[-2]), int(key[-1])  # type: ignore[call-overload]
    ids = program.tree.known if key[0] in ("buy", "lease", "held") else program.tree.seen
    return np.flatnonzero(ids[t] == k)


__all__ = ["CARBON", "PARTS", "WAYS", "Course", "course_of"]
