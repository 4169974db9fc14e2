"""Evaluating a batch of an adaptive search, here or on workers: the same bits for any cut of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from archcast.executing import Executor, Rows, Task, results
from archcast.searching.problem import Evaluated, Problem, evaluate
from archcast.searching.space import Columns
from workloads.table import Array

PARTS_A_WORKER = 4
"""Parts of a batch for each worker, so that none waits long for another."""


@dataclass(frozen=True)
class EvaluateTask(Task):
    """Evaluates rows of designs. The problem travels with it."""

    digest: str
    problem: Problem

    def __call__(self, chunk: Rows) -> Mapping[str, Array]:
        return found_columns(self.problem, chunk.columns)


@dataclass(frozen=True)
class ProblemPrior:
    """A problem as a cheap guess of the objectives of another."""

    problem: Problem

    def __call__(self, columns: Columns) -> Array:
        found = evaluate(self.problem, columns)
        table = np.full((len(found.reason), len(self.problem.objectives)), np.nan)
        table[found.feasible] = found.table(self.problem.objectives)
        return table


def found_columns(problem: Problem, columns: Columns) -> dict[str, Array]:
    """Return what designs are worth as columns: `values` (designs, objectives), `reason`, `shortfall_bytes`, `violation`.

    Values of designs that do not stand are NaN; so are those of designs without a finite value.
    """  # noqa: E501
    found = evaluate(problem, columns)
    table = np.full((len(found.reason), len(problem.objectives)), np.nan)
    table[found.feasible] = found.table(problem.objectives)
    reasons = np.array(["", *found.reasons], dtype=str)
    reason = reasons[found.reason]
    endless = found.feasible & ~np.isfinite(table).all(axis=1)
    if endless.any():
        reason = np.where(endless, "a value is not finite", reason)
        table[endless] = np.nan
    violation = np.where(endless, 1.0, violations(problem, columns, found))
    return {"values": table, "reason": reason, "shortfall_bytes": found.shortfall_bytes, "violation": violation}


def violations(problem: Problem, columns: Columns, found: Evaluated) -> Array:
    """Return how far each design is from standing: 0 where it stands, else more for what it fails earlier.

    A limit that is broken adds up to 1 by the share that it is off; a design that a stage refuses is 1 off, or by the
    share of the bytes that it lacks of those that the worst here could lack.
    """
    known = {**columns, **found.values}
    off = np.zeros(len(found.reason))
    texts = {limit.text: limit for limit in problem.limits}
    for number, name in enumerate(found.reasons, start=1):
        bad = found.reason == number
        limit = texts.get(name)
        if limit is not None and limit.known(known):
            share = limit.excess({one: np.asarray(known[one])[bad] for one in limit.names})
            late = 0.0 if any(one in found.values for one in limit.names) else 2.0
            off[bad] = late + share / (1.0 + share)
        else:
            lacking = found.shortfall_bytes[bad]
            off[bad] = 1.0 + np.where(lacking > 0, lacking / (lacking + 2.0**20), 1.0)
    return np.where(found.feasible, 0.0, np.maximum(off, 1e-9))


def evaluated(task: EvaluateTask, columns: Columns, executor: Executor | None) -> dict[str, Array]:
    """Return the found columns of a batch, worked out here or in parts by an executor. Raises as `sweep`."""
    designs = len(next(iter(columns.values())))
    if executor is None or designs < 2:
        return dict(task(Rows(columns)))
    parts = min(designs, PARTS_A_WORKER * executor.workers)
    cuts = [designs * k // parts for k in range(parts + 1)]
    chunks = [
        Rows({name: column[first:last] for name, column in columns.items()}, first) for first, last in pairwise(cuts)
    ]
    return joined(list(results(task, chunks, executor=executor)))


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return columns of parts as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
