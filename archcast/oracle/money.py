"""`break_even` and `cost_of_pass`: decisions about money from costs and success that the caller brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.oracle.words import number_text, text_table
from costmodel.estimate import Quantity
from foundation.errors import BadValueError
from workloads.table import Array

Amount = float | Quantity | Sequence[float] | Array
"""A number, a `Quantity`, or (value, lo, hi)."""


@dataclass(frozen=True)
class BreakEven:
    """`uses`: how many uses pay the fixed cost back, with its ends; infinite where each use costs no less.

    `lo` takes the cheapest fixed cost and the largest saving, `hi` the opposite: both ends at once, so that the
    interval is no narrower than that of its parts.
    """

    fixed: Quantity
    per_use: Quantity
    other_per_use: Quantity
    uses: Quantity

    def at_ratio(self, ratio: float) -> float:
        """Return the uses at which the other way costs `ratio` times as much (infinite where it never does)."""
        saved = self.other_per_use.value - ratio * self.per_use.value
        return ratio * self.fixed.value / saved if saved > 0 else np.inf

    def ratio_at(self, uses: Array | float) -> Array:
        """Return how many times as much the other way costs after so many uses."""
        n = np.asarray(uses, float)
        return np.asarray(n * self.other_per_use.value / (self.fixed.value + n * self.per_use.value))

    def to_json(self) -> dict[str, Any]:
        def plain(q: Quantity) -> dict[str, float | None]:
            return {side: v if np.isfinite(v) else None for side, v in q.to_json().items()}

        return {"fixed": plain(self.fixed), "per_use": plain(self.per_use),
                "other_per_use": plain(self.other_per_use), "uses": plain(self.uses)}  # fmt: skip

    def text(self) -> str:
        if not np.isfinite(self.uses.value):
            return "It never pays: each use costs no less than the other way."
        words = [_uses_text(x) for x in (self.uses.value, self.uses.lo, self.uses.hi)]
        return f"Pays back after {words[0]} uses [{words[1]}, {words[2]}]."


def break_even(fixed: Amount, per_use: Amount, other_per_use: Amount) -> BreakEven:
    """Return after how many uses a fixed cost is paid back by cheaper uses: fixed / (other_per_use - per_use).

    Raises:
        BadValueError: an amount that is not a number of at least 0, or whose ends do not enclose it.
    """
    once, ours, other = (amount(n, x) for n, x in (
        ("fixed", fixed), ("per_use", per_use), ("other_per_use", other_per_use)))  # fmt: skip
    least, most = _uses(once.lo, other.hi - ours.lo), _uses(once.hi, other.lo - ours.hi)
    uses = Quantity(_uses(once.value, other.value - ours.value), least, most)
    return BreakEven(once, ours, other, uses)


def _uses_text(uses: float) -> str:
    """Return a number of uses: '12,500', '0.25', 'never'."""
    if not np.isfinite(uses):
        return "never"
    return f"{uses:,.0f}" if uses >= 1000 else number_text(uses)


def _uses(fixed: float, saved: float) -> float:
    return fixed / saved if saved > 0 else 0.0 if fixed == 0 and saved == 0 else np.inf


def amount(name: str, given: Amount) -> Quantity:
    """Return an amount with its ends. Raises BadValueError: not a number >= 0, or ends that do not enclose it."""
    if isinstance(given, Quantity):
        given = (given.value, given.lo, given.hi)
    try:
        numbers = np.ravel(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if len(numbers) == 1:
        numbers = np.repeat(numbers, 3)
    if len(numbers) != 3 or not np.isfinite(numbers).all() or numbers.min() < 0:
        raise BadValueError(f"{name} must be a number of at least 0, or (value, lo, hi), not {given!r}.")
    value, lo, hi = numbers.tolist()
    if not lo <= value <= hi:
        raise BadValueError(f"{name}: the value {value:g} lies outside of its ends {lo:g} and {hi:g}.")
    return Quantity(value, lo, hi)


@dataclass(frozen=True)
class CostOfPass:
    """What one success costs on average: cost / success of each candidate; `value`, `lo`, `hi` of shape (candidates,).

    `front` lists the candidates on the frontier by rising success: each succeeds at times, none is both cheaper and at
    least as often right. From success `rates[i - 1]` (0 at first) to `rates[i]`, `front[i]` is the cheapest that
    reaches it. `best` is the candidate of least cost a success (-1: none ever succeeds).
    """

    candidates: tuple[str, ...]
    cost: Array
    success: Array
    value: Array
    lo: Array
    hi: Array
    front: tuple[int, ...]
    rates: tuple[float, ...]
    best: int

    def cheapest(self, success: float) -> int:
        """Return the cheapest candidate that succeeds at least so often, -1 where none does."""
        place = int(np.searchsorted(np.array(self.rates), success, side="left"))
        return self.front[place] if place < len(self.front) else -1

    def to_json(self) -> dict[str, Any]:
        def plain(values: Array) -> list[float | None]:
            return [float(v) if np.isfinite(v) else None for v in values]

        return {"candidates": list(self.candidates), "cost": self.cost.tolist(), "success": self.success.tolist(),
                "cost_of_pass": {"value": plain(self.value), "lo": plain(self.lo), "hi": plain(self.hi)},
                "front": [self.candidates[i] for i in self.front], "front_success": list(self.rates),
                "best": self.candidates[self.best] if self.best >= 0 else None}  # fmt: skip

    def text(self) -> str:
        lines = [
            [name, number_text(self.cost[i, 0]), f"{self.success[i, 0]:.3g}", number_text(self.value[i]),
             f"[{number_text(self.lo[i])}, {number_text(self.hi[i])}]",
             ("cheapest success" if i == self.best else "on the frontier") if i in self.front else ""]
            for i, name in enumerate(self.candidates)
        ]  # fmt: skip
        return text_table(["candidate", "cost", "success", "cost of a pass", "", ""], lines)


def cost_of_pass(
    cost: Sequence[Amount] | Array, success: Sequence[Amount] | Array, candidates: Sequence[str] = ()
) -> CostOfPass:
    """Return cost / success of candidates, and who is on the frontier of cost and success.

    Args:
        cost: what one try costs, of each candidate: numbers, or (value, lo, hi) each.
        success: how often a try succeeds, from 0 to 1, likewise. It comes from the caller: it is never guessed.

    The ends take the cheapest cost with the best success and the dearest with the worst.

    Raises:
        BadValueError: no candidate, lists of different lengths, or a number outside its range.
    """
    costs, rates = (_amounts(n, x) for n, x in (("cost", cost), ("success", success)))
    if len(costs) != len(rates):
        raise BadValueError(f"{len(costs)} costs and {len(rates)} successes are given; each candidate needs both.")
    if not len(costs):
        raise BadValueError("There is no candidate.")
    if np.any(rates > 1):
        raise BadValueError(f"success is a share from 0 to 1, not {float(rates.max()):g}.")
    names = tuple(str(c) for c in candidates) or tuple(f"candidate {i + 1}" for i in range(len(costs)))
    if len(names) != len(costs):
        raise BadValueError(f"{len(names)} names are given for {len(costs)} candidates.")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value, lo, hi = (costs[:, a] / rates[:, b] for a, b in ((0, 0), (1, 2), (2, 1)))
    front = _front(costs[:, 0], rates[:, 0])
    usable = np.where(rates[:, 0] > 0, value, np.inf)
    best = int(np.argmin(usable)) if np.isfinite(usable).any() else -1
    return CostOfPass(names, costs, rates, value, lo, hi, front, tuple(float(rates[i, 0]) for i in front), best)


def _amounts(name: str, given: Any) -> Array:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
        raise BadValueError(f"{name} must be a list with one number a candidate, not {given!r}.")
    return np.array([list(amount(name, x).to_json().values()) for x in given]).reshape(len(given), 3)


def _front(cost: Array, success: Array) -> tuple[int, ...]:
    """Return candidates that no other beats in both, by rising success (of equal ones the first)."""
    order = np.lexsort((np.arange(len(cost)), -success, cost))
    best = np.maximum.accumulate(np.concatenate(([0.0], success[order][:-1])))
    return tuple(int(i) for i in order[success[order] > best])  # who never succeeds is no choice
