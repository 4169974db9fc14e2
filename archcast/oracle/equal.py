"""`iso`: which value of a knob makes one choice cost the same as another, by time, energy, money or FLOP.

Choices that are equal in FLOP are seldom equal in time or energy: the answer says both, and the gap between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.batches import QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, price, versions_of
from archcast.oracle.curves import LEAST, MOST, at_values, find_knob
from archcast.oracle.names import device_names
from archcast.oracle.questions import Question, Questions, as_questions
from archcast.oracle.within import MOST_OWN
from archcast.oracle.words import number_text, text_table
from costmodel.estimate import Quantity
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

FLOP = "work_flop"
BY = ("latency_s", "energy_j", "cost_usd", FLOP)
NAMES = {"flop": FLOP, "flops": FLOP, "time": "latency_s", "energy": "energy_j", "money": "cost_usd"}
POINTS = 33


@dataclass(frozen=True)
class Iso:
    """`at[by]`: the value of y's knob with which it costs what x does, with its ends; NaN where none does.

    Between whole values the cost is taken as straight. `ratio[by]` is y / x as the questions stand, `gap[by]` that
    ratio over the ratio of FLOP: 1 where equal work would be equal cost. `whole` is the largest whole value with which
    y does not cost more.
    """

    knob: str
    at: dict[str, Quantity]
    whole: dict[str, int]
    ratio: dict[str, Quantity]
    gap: dict[str, float]
    versions: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        at, ratio = ({n: _plain(q) for n, q in found.items()} for found in (self.at, self.ratio))
        gap = {n: g if np.isfinite(g) else None for n, g in self.gap.items()}
        return {"knob": self.knob, "at": at, "whole": self.whole, "ratio": ratio, "gap": gap, "versions": self.versions}

    def text(self) -> str:
        lines = []
        for name in self.ratio:
            q, r = self.at.get(name), self.ratio[name]
            solved = [f"{x:.4g}" if np.isfinite(x) else "-" for x in ((q.value, q.lo, q.hi) if q else ())]
            lines.append([name, f"{solved[0]} [{solved[1]}, {solved[2]}]" if q else "",
                          f"{number_text(r.value)} [{number_text(r.lo)}, {number_text(r.hi)}]",
                          number_text(self.gap[name])])  # fmt: skip
        table = text_table(["by", f"equal at {self.knob}", "y / x as asked", "over the ratio of FLOP"], lines)
        none = [name for name, q in self.at.items() if not np.isfinite(q.value)]
        if not none:
            return table
        why = [
            "the least of it costs more" if self.ratio[name].value > 1 else "no value of it that fits costs so much"
            for name in none
        ]
        said = "; ".join(f"by {name} {words}" for name, words in zip(none, why, strict=True))
        return f"{table}\nNo {self.knob} makes y cost what x does: {said}."


def iso(
    x: Question, y: Question, by: str | Sequence[str] = "latency_s", knob: str = "generate", model: AnyModel = None
) -> Iso:
    """Return with which value of its knob y costs the same as x.

    Args:
        by: latency_s, energy_j, cost_usd or work_flop (also time, energy, money, flop), one or several.

    Raises:
        InputError: an unknown measure or knob, or a question that cannot be answered.
    """
    wanted = tuple(dict.fromkeys(_measure(name) for name in ([by] if isinstance(by, str) else by)))
    if not wanted:
        raise BadValueError(f"No measure is given; there are {', '.join(BY)}.")
    first, second = as_questions(x, "question x"), as_questions(y, "question y")
    for what, questions in (("x", first), ("y", second)):
        if questions.rows != 1:
            raise BadValueError(f"{what} is one question, not {questions.rows}.")
    knob, own = find_knob(second, knob)
    (ours, cost_model), (theirs, _) = price(first, model), price(second, model)
    for what, cells in (("x", ours), ("y", theirs)):
        if not cells.feasible[0]:
            raise BadValueError(f"Question {what} has no cost to compare with: {cells.reason[0]}.")
    same = device_names(first, True)[0] == device_names(second, True)[0]
    ratio = {name: _ratio(ours, theirs, name, same) for name in BY}
    gap = {name: ratio[name].value / ratio[FLOP].value for name in BY}
    at, whole = {}, {}
    for name in wanted:
        target = _measured(ours, name)
        spread = np.array([1.0, ratio[name].lo / ratio[name].value, ratio[name].hi / ratio[name].value])
        # y dearer than predicted means that less of it is equal
        found = _solved(second, knob, own, name, target / spread, model)
        at[name] = Quantity(float(found[0]), float(found[2]), float(found[1]))
        whole[name] = int(np.floor(found[0] + 1e-9)) if np.isfinite(found[0]) else 0
    return Iso(knob, at, whole, ratio, gap, versions_of(cost_model, first))


def _measure(name: str) -> str:
    name = NAMES.get(str(name), str(name))
    if name not in BY:
        raise UnknownNameError("measure", name, [*BY, *NAMES])
    return name


def _measured(cells: Cells, name: str) -> Array:
    return cells.work_flop if name == FLOP else cells.of(name)[0]


def _ratio(x: Cells, y: Cells, name: str, same: bool) -> Quantity:
    """Return y / x.

    Where errors are independent, y may be high where x is low; as far as they are one (the shared part on one device,
    of the same operator families) both are high together, and only the difference of their widths is left.
    """
    if name == FLOP:
        value = float(y.work_flop[0] / x.work_flop[0])
        return Quantity(value, value, value)
    at = QUANTITIES.index(name)
    weights = [c.families[0, at] / max(float(np.linalg.norm(c.families[0, at])), 1e-300) for c in (x, y)]
    alike = float(weights[0] @ weights[1]) * float(np.sqrt(x.shared[0, at] * y.shared[0, at])) if same else 0.0
    alike = min(alike, 1.0)
    (xv, xl, xh), (yv, yl, yh) = ([float(v[0]) for v in c.of(name)] for c in (x, y))
    y_up, y_down, x_up, x_down = np.log((yh / yv, yv / yl, xh / xv, xv / xl)).tolist()
    up, down = (
        float(np.sqrt((1 - alike) * (a * a + b * b) + alike * (a - c) ** 2))
        for a, b, c in ((y_up, x_down, x_up), (y_down, x_up, x_down))
    )
    return Quantity(yv / xv, yv / xv * float(np.exp(-down)), yv / xv * float(np.exp(up)))


def _solved(y: Questions, knob: str, own: bool, name: str, targets: Array, model: AnyModel) -> Array:
    """Return the knob at which a rising cost reaches each target, between whole values straight; NaN where none does.

    Brackets shrink by a factor of 32 a round, all targets in one call.
    """
    most = MOST_OWN if own else MOST.get(knob, 10**6)
    low, high = np.full(len(targets), float(LEAST.get(knob, 1))), np.full(len(targets), float(most))
    for turn in range(40):
        part = np.linspace(0.0, 1.0, POINTS)
        ratio = low[:, None] * (high / low)[:, None] ** part
        tried = np.round(ratio if turn == 0 else low[:, None] + (high - low)[:, None] * part)
        questions = at_values(y.take(np.zeros(tried.size, dtype=int)), knob, tried.ravel(), own)
        cells, _ = price(questions, model)
        costs = np.where(cells.feasible, _measured(cells, name), np.inf).reshape(tried.shape)
        under = costs <= targets[:, None]
        last = np.where(under, np.arange(POINTS), -1).max(axis=1)
        rows, after = np.arange(len(targets)), np.minimum(last + 1, POINTS - 1)
        if ((tried[rows, after] - tried[rows, np.maximum(last, 0)]) <= 1).all() or turn == 39:
            break
        low = np.where(last >= 0, tried[rows, np.maximum(last, 0)], low)
        high = np.where(last < POINTS - 1, tried[rows, after], high)
    left, right = tried[rows, np.maximum(last, 0)], tried[rows, after]
    a, b = costs[rows, np.maximum(last, 0)], costs[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = left + np.where(b > a, (targets - a) / (b - a), 0.0) * (right - left)
    return np.where((last >= 0) & np.isfinite(b) & (last < POINTS - 1), inside, np.nan)


def _plain(q: Quantity) -> dict[str, float | None]:
    return {side: v if np.isfinite(v) else None for side, v in q.to_json().items()}
