"""Cascades: models in an order; each keeps a share of what it gets and passes the rest on.

How much a model passes on (`escalate`) and how often what it keeps is right (`success`) come from the caller, for each
of its thresholds. They are taken as they are whatever stands before the model; where the cases that reach it are
harder, the caller gives numbers for those.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array

MOST_CASCADES = 500_000


@dataclass(frozen=True)
class Stage:
    """A model of a cascade at one threshold.

    Attributes:
        name: of the model. cost: of one request, by name (`cost_usd`, `energy_j`). latency_s: of one request.
        escalate: share of what reaches it that it passes on. success: share right of what it keeps.
        alone: share right of all that reaches it when it is the last and keeps all; None: as `success`.
    """

    name: str
    cost: Mapping[str, float]
    latency_s: float
    escalate: float
    success: float
    alone: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        for key in ("escalate", "success", "alone"):
            share = getattr(self, key)
            if share is not None and not 0 <= share <= 1:
                raise BadValueError(f"{key} of '{self.name}' must be a share from 0 to 1, not {share!r}.")
        if any(not np.isfinite(x) or x < 0 for x in (*self.cost.values(), self.latency_s)):
            raise BadValueError(f"costs of '{self.name}' must be finite numbers of at least 0.")

    @property
    def at_the_end(self) -> float:
        return self.success if self.alone is None else self.alone


@dataclass(frozen=True)
class CascadeCost:
    """What one request costs on average through a cascade, and its latency by path.

    `reach` is the share that gets to each stage; `path_s` the latency of what ends there, `ends` its share.
    """

    stages: tuple[Stage, ...]
    reach: Array
    ends: Array
    path_s: Array
    cost: dict[str, float]
    success: float

    @property
    def mean_s(self) -> float:
        return float(self.ends @ self.path_s)

    def latency_s(self, probability: float) -> float:
        """Return the least latency that at least this share of requests keeps."""
        return float(self.path_s[int(np.argmax(np.cumsum(self.ends) >= probability - 1e-12))])

    def to_json(self) -> dict[str, object]:
        return {
            "stages": [s.name for s in self.stages], "thresholds": [s.threshold for s in self.stages],
            "reach": self.reach.tolist(), "success": self.success, **self.cost,
            "latency_s": {"mean": self.mean_s, "p50": self.latency_s(0.5), "p95": self.latency_s(0.95)},
        }  # fmt: skip


def cascade_cost(stages: Sequence[Stage]) -> CascadeCost:
    """Return the expected cost, success and latencies of stages in their order; the last one keeps all.

    Raises:
        BadValueError: no stage.
    """
    if not stages:
        raise BadValueError("a cascade has at least one stage.")
    on = np.array([*(s.escalate for s in stages[:-1]), 0.0])
    reach = np.concatenate([[1.0], np.cumprod(on[:-1])])
    ends = reach * (1 - on)
    names = list(dict.fromkeys(name for s in stages for name in s.cost))
    cost = {n: float(reach @ np.array([s.cost.get(n, 0.0) for s in stages])) for n in names}
    right = np.array([*(s.success for s in stages[:-1]), stages[-1].at_the_end])
    path = np.cumsum([s.latency_s for s in stages])
    return CascadeCost(tuple(stages), reach, ends, path, cost, float(ends @ right))


@dataclass(frozen=True)
class CascadeChoice:
    """The best cascade within budgets, and the front of success against the first cost."""

    best: CascadeCost | None
    front: tuple[CascadeCost, ...]
    tried: int
    least: dict[str, float]


def best_cascade(
    models: Sequence[Sequence[Stage]], budget: Mapping[str, float], *, p95_s: float = np.inf, most_stages: int = 4,
    any_order: bool = True,
) -> CascadeChoice:  # fmt: skip
    """Return the cascade with the most success within budgets: every subset, order and threshold is tried.

    Args:
        models: each a list of stages, one a threshold. budget: most mean cost of a request, by name.
        p95_s: most latency at 95 %. any_order: else a model never comes before one that is listed ahead of it.

    Raises:
        BadValueError: no model, an unknown cost, more than 500,000 cascades.
    """
    if not models or not all(models):
        raise BadValueError("a cascade needs at least one model, each with at least one threshold.")
    known = {name for model in models for stage in model for name in stage.cost}
    if strange := set(budget) - known:
        raise BadValueError(f"no stage has the cost '{min(strange)}'; known: {', '.join(sorted(known))}.")
    ways = itertools.permutations if any_order else itertools.combinations
    orders = [o for size in range(1, min(most_stages, len(models)) + 1) for o in ways(range(len(models)), size)]
    count = sum(int(np.prod([len(models[m]) for m in order[:-1]])) for order in orders)
    if count > MOST_CASCADES:
        raise BadValueError(f"{count:,} cascades are more than {MOST_CASCADES:,}; give fewer models or thresholds.")
    found: list[CascadeCost] = []
    for order in orders:  # the last stage keeps all: its threshold does not matter
        last = models[order[-1]][0]
        found += [cascade_cost((*first, last)) for first in itertools.product(*(models[m] for m in order[:-1]))]
    first = next(iter(budget), min(known, default=""))
    fits = [
        one for one in found
        if all(one.cost.get(n, 0.0) <= most for n, most in budget.items()) and one.latency_s(0.95) <= p95_s
    ]  # fmt: skip
    best = max(fits, key=lambda one: (one.success, -one.cost.get(first, 0.0)), default=None)
    least = {n: min(one.cost.get(n, 0.0) for one in found) for n in budget}
    return CascadeChoice(best, _front(found, first), len(found), least)


def _front(found: Sequence[CascadeCost], name: str) -> tuple[CascadeCost, ...]:
    """Return the cascades that no other is as cheap and as often right as, cheapest first."""
    front: list[CascadeCost] = []
    for one in sorted(found, key=lambda c: (c.cost.get(name, 0.0), -c.success)):
        if not front or one.success > front[-1].success:
            front.append(one)
    return tuple(front)
