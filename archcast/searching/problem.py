"""The seam between what is searched and how: `Problem`, its stages, and what limits leave over.

A problem turns columns of knobs into columns of values, stage by stage, cheap ones first; a design that a limit
rejects after one stage does not reach the next. Searches see nothing else of a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.space import Columns, DesignSpace
from workloads.model import Model, Request
from workloads.table import Array


@dataclass(frozen=True)
class Found:
    """What a stage found: values by name, and designs that it refuses by reason, with what they lack in bytes."""

    values: Mapping[str, Array]
    refused: Mapping[str, Array] = field(default_factory=dict)
    shortfall_bytes: Array | None = None


Stage = Callable[[Columns], Found]
"""From columns of knobs to what can be said at this stage; all columns have the shape (designs,)."""


class Problem(Protocol):
    """What is searched: a space, what counts as good, and how designs are valued."""

    @property
    def space(self) -> DesignSpace: ...
    @property
    def objectives(self) -> tuple[str, ...]: ...
    @property
    def limits(self) -> tuple[Limit, ...]: ...
    @property
    def stages(self) -> tuple[Stage, ...]: ...
    @property
    def fixed(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return each design (codes of shape (knobs, designs)) as JSON: values with intervals, and what binds."""
        ...


class Build(Protocol):
    """Makes the problem of a workload from what a file says."""

    def __call__(
        self, space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
        model: Model, request: Request,
    ) -> Problem: ...  # fmt: skip


@dataclass(frozen=True)
class Design:
    """A kind of space: its knobs, those a file must give, what all designs of a search share, and its values."""

    knobs: Mapping[str, KnobKind]
    needed: tuple[str, ...]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, KnobKind]
    fixed_defaults: Mapping[str, Any]
    values: Mapping[str, str]
    """Name -> unit that text may carry in a limit ("" for none)."""
    build: Build
    workload: bool = True
    """Whether a file must name a workload; where not, `build` is given none, and no request."""
    fidelities: Mapping[str, Build] = field(default_factory=dict)
    """Closer ways to value the same designs, by name, such as `events`; `build` is the closed form."""
    open: tuple[str, ...] = ()
    """Knobs that adaptive methods may take from a range without steps: the problem does not look at listed values."""
    request: bool = True
    """Whether `batch` and `dtype` of a file mean something; where not, they are refused."""


@dataclass(frozen=True)
class Evaluated:
    """Values of designs. `reason` is 0 where a design stands, else 1 + its place in `reasons`.

    `values` are NaN where a design was rejected before they were known.
    """

    values: dict[str, Array]
    reason: Array
    reasons: tuple[str, ...]
    shortfall_bytes: Array

    @property
    def feasible(self) -> Array:
        return np.asarray(self.reason == 0)

    def table(self, names: Sequence[str]) -> Array:
        """Return some values of the feasible designs as columns, shape (feasible designs, names)."""
        where = np.flatnonzero(self.feasible)
        return np.stack([self.values[name][where] for name in names], axis=1)


def evaluate(problem: Problem, columns: Columns) -> Evaluated:
    """Return what designs are worth; each is rejected by the first limit or stage that it fails.

    The result of a design depends on that design alone.
    """
    designs = len(next(iter(columns.values())))
    reason = np.zeros(designs, dtype=np.int16)
    shortfall = np.zeros(designs)
    reasons: list[str] = []
    values: dict[str, Array] = {}
    alive = np.arange(designs)
    pending = list(problem.limits)

    def reject(name: str, bad: Array) -> None:
        nonlocal alive
        if name not in reasons:
            reasons.append(name)
        reason[alive[bad]] = 1 + reasons.index(name)
        alive = alive[~bad]

    def hold() -> None:
        known = {**columns, **values}
        for limit in [one for one in pending if one.known(known)]:
            pending.remove(limit)
            with np.errstate(invalid="ignore"):
                reject(limit.text, limit.broken(known)[alive])

    hold()
    for stage in problem.stages:
        found = stage({name: column[alive] for name, column in columns.items()})
        for name, column in found.values.items():
            values[name] = np.full(designs, np.nan)
            values[name][alive] = column
        if found.shortfall_bytes is not None:
            shortfall[alive] = np.maximum(shortfall[alive], found.shortfall_bytes)
        at = alive
        for name, bad in found.refused.items():
            whole = np.zeros(designs, dtype=bool)
            whole[at[bad]] = True
            reject(name, whole[alive])
        hold()
    return Evaluated(values, reason, tuple(reasons), shortfall)
