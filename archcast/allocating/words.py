"""Sentences about an allocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archcast.render.human import digits, listed, percent
from archcast.render.search_words import plain as _plain
from archcast.render.search_words import shown as _shown

if TYPE_CHECKING:
    from archcast.allocating.answer import Allocation, Used


def amount(name: str, value: float) -> str:
    """Return a value with the unit of its name; dollars and own columns too."""
    if not np.isfinite(value):
        return "none"
    if name.endswith("_usd") or name == "cost_usd":
        return f"${digits(value)}"
    return _shown(name, value) if name.endswith(("_s", "_j", "_bytes", "_w")) else digits(value)


def plain(name: str) -> str:
    """Return a name without its unit."""
    return "cost" if name == "cost_usd" else _plain(name)


def summary_of(answer: Allocation) -> str:
    """Return the sentence that answers."""
    study = answer.study
    if not answer.chosen:
        return f"{study.name}: {_why(answer)}"
    requests = sum(one.count * one.share for one in answer.chosen)
    proof = (
        "certified the best" if answer.gap <= 2e-6
        else f"certified within {max(100 * answer.gap, 1e-4):.2g} % of the best"
    )  # fmt: skip
    if study.risk.kind == "chance":
        proof = f"gives up {percent(max(answer.price_of_risk, 0.0))} of the worth at most likely costs"
    tight = [one for one in answer.used if one.binds]
    binds = (
        f"{listed([_bound(one) for one in tight])} {'binds' if len(tight) == 1 else 'bind'}" if tight
        else "every item has its most valuable option, no shared budget binds" if answer.all_best
        else "no better choice fits in what is left of the budgets"
    )  # fmt: skip
    return (
        f"{study.name}: worth {digits(answer.worth)} of {digits(requests)} requests ({proof}); {binds}; held against "
        f"budgets: {answer.basis}."
    )


def _bound(one: Used) -> str:
    if one.budget == 0:
        return f"{plain(one.name)} (none is allowed)"
    return f"{plain(one.name)} ({percent(one.share)} of {amount(one.name, one.budget)})"


def _why(answer: Allocation) -> str:
    words = []
    for one in answer.lacking:
        if not np.isfinite(one.least):
            words.append(f"'{one.item}' has no option ({one.what})")
            continue
        whose = f" of '{one.item}'" if one.item else ""
        words.append(
            f"{plain(one.what)}{whose} is {amount(one.what, one.least)} at the least, "
            f"{amount(one.what, one.least - one.most)} over {amount(one.what, one.most)}"
        )
    if not words:
        grown = answer.grown
        how = f"; {digits(grown)} times as much of every budget is enough" if grown is not None else ""
        return f"infeasible: each budget can be met, but not all of them together{how}."
    return f"infeasible: {'; '.join(words[:5])}."
