"""Sentences about an allocation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from archcast.render.human import digits, listed, percent
from archcast.render.search_words import plain as _plain
from archcast.render.search_words import shown as _shown

if TYPE_CHECKING:
    from archcast.allocating.answer import Allocation, Used


LEAST_SHOWN = 0.0005
"""Of the worth: what safety gives up that is less reads as 0.0 %."""


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


def whole(number: float) -> str:
    """Return a count: whole ones without decimals."""
    near = round(number)
    return f"{near:,}" if abs(number - near) <= 1e-9 * max(abs(number), 1.0) and near < 10**9 else digits(number)


def enough(number: float) -> str:
    """Return a number of three digits that is no less."""
    if not number > 0:
        return digits(number)
    step = 10.0 ** (math.floor(math.log10(number)) - 2)
    up = math.ceil(number / step * (1 - 1e-12)) * step
    return digits(up) if up >= number * (1 - 1e-9) else digits(up + step)


def summary_of(answer: Allocation) -> str:
    """Return the sentence that answers."""
    study = answer.study
    if not answer.chosen:
        return f"{study.name}: {_why(answer)}"
    requests = sum(one.count * one.share for one in answer.chosen)
    many = f"{whole(requests)} request{'' if requests == 1 else 's'}"
    proof = (
        "certified the best" if answer.gap <= 2e-6
        else f"certified within {max(100 * answer.gap, 1e-4):.2g} % of the best"
    )  # fmt: skip
    if study.risk.kind == "chance":
        proof = (
            f"{digits(answer.nominal_worth)} if costs were certain" if answer.price_of_risk >= LEAST_SHOWN
            else "as much as if costs were certain"
        )  # fmt: skip
    tight = [one for one in answer.used if one.binds]
    binds = (
        f"{listed([_bound(one) for one in tight])} {'binds' if len(tight) == 1 else 'bind'}" if tight
        else "every item has its most valuable option, no shared budget binds" if answer.all_best
        else "no better choice fits in what is left of the budgets"
    )  # fmt: skip
    return (
        f"{study.name}: {many}, worth {digits(answer.worth)} in all ({proof}); {binds}; held against budgets: "
        f"{answer.basis}."
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
    todo = _todo(answer)
    then = f"; {todo}" if todo else ""
    if words:
        return f"infeasible: {'; '.join(words[:5])}{then}."
    if answer.grown is not None and answer.grown <= 1:
        return f"infeasible: budgets have room for most likely costs, but not for {_risk(answer)}{then}."
    return f"infeasible: each budget can be met, but not all of them together{then}."


def _risk(answer: Allocation) -> str:
    risk = answer.study.risk
    return f"risk {risk.kind}" + (f" with gamma {risk.gamma:g}" if risk.kind == "robust" else "")


def _todo(answer: Allocation) -> str:
    """Return what would make a choice possible, as keys of the file."""
    least: dict[str, float] = {}
    for one in answer.lacking:
        if np.isfinite(one.least):
            least[one.what] = max(least.get(one.what, 0.0), one.least)
    ways = []
    if least:
        near = "about" if answer.study.risk.kind == "chance" else "at least"
        ways.append("raise " + listed([f"{name} to {near} {enough(value)}" for name, value in least.items()]))
    elif not answer.lacking and answer.grown is not None and answer.grown > 1:
        ways.append(f"{enough(answer.grown)} times as much of every budget is enough")
    elif not answer.lacking:
        ways.append("raise the budgets")
    if answer.study.choose != "at most one":
        ways.append("choose: at most one")
    return ", or ".join(ways)
