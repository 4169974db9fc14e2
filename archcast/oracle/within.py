"""`max_within`: the largest value of a knob whose costs stay within a budget, for many questions at once.

Each round prices some 30 values of every question in one call and keeps the last that fits and the first after it that
does not. Costs need not rise everywhere (kernels change with size): values beyond the answer are then tried one by one,
as far as a window, and the answer moves to the last that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.batches import QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, pick_quantities, price, versions_of
from archcast.oracle.checks import check_one
from archcast.oracle.curves import LEAST, MOST, at_values, find_knob
from archcast.oracle.questions import Question, Questions, as_questions
from archcast.oracle.words import quantity_text, text_table
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array

POINTS = 30
WINDOW = 64
"""Values beyond the answer that are tried one by one."""
MOST_OWN = 4096
"""Largest value of a model's own knob that is tried: each is another network."""
SIDES = ("value", "lo", "hi")


@dataclass(frozen=True)
class Within:
    """`at`: the largest value that fits of each question (0: not even the least), shape (rows,).

    `value`, `lo`, `hi`: costs there, shape (rows, quantities), NaN at 0. `binds` says what the next value would break;
    `monotone` is False where a value below the answer did not fit, or one beyond the first that did not.
    """

    knob: str
    at: Array
    quantities: tuple[str, ...]
    value: Array
    lo: Array
    hi: Array
    binds: tuple[str, ...]
    monotone: Array
    side: str
    versions: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        costs = {
            name: {s: [None if np.isnan(v) else float(v) for v in getattr(self, s)[:, k]] for s in SIDES}
            for k, name in enumerate(self.quantities)
        }
        return {"knob": self.knob, "at": self.at.astype(int).tolist(), "binds": list(self.binds), "side": self.side,
                "monotone": self.monotone.tolist(), **costs, "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        lines = []
        for row, at in enumerate(self.at.astype(int).tolist()):
            ends = zip(self.quantities, self.value[row], self.lo[row], self.hi[row], strict=True)
            note = self.binds[row] + ("" if self.monotone[row] else " (not monotone)")
            lines.append([f"{at:,}", *(quantity_text(n, *e) for n, *e in ends), note])
        table = text_table([f"most {self.knob}", *self.quantities, "the next one breaks"], lines)
        none = [row + 1 for row in np.flatnonzero(self.at == 0)]
        if not none:
            return table
        which = "" if len(self.at) == 1 else f" of question {', '.join(map(str, none))}"
        return f"{table}\nNo {self.knob}{which} fits: the least already breaks what the last column names."


def max_within(
    question: Question | Sequence[Question], knob: str, budget: Mapping[str, Any], side: str = "value",
    model: AnyModel = None,
) -> Within:  # fmt: skip
    """Return the largest whole value of a knob with which every budget holds, of each question.

    Args:
        question: one, or several.
        budget: most of a quantity, such as {"latency_s": 2, "cost_usd": 0.001}; a list gives each question its own.
        side: what is held against the budget: the value, or "hi" to be safe.

    Raises:
        InputError: an unknown knob or quantity, no budget, or one that is not above 0.
    """
    if side not in SIDES:
        raise BadValueError(f"side must be value, lo or hi, not {side!r}.")
    questions = as_questions(question)
    check_one(questions)
    knob, own = find_knob(questions, knob)
    search = _Search(questions, knob, own, budgets(budget, questions.rows), side, model)
    at, monotone = search.bracketed()
    at, again = search.beyond(at)
    cells, cost_model = search.cells(np.maximum(at, search.least), np.arange(questions.rows))
    after, _ = search.cells(np.clip(at + 1, search.least, search.most), np.arange(questions.rows))
    names = tuple(dict.fromkeys((*search.budget, "latency_s", "energy_j", "memory_bytes", "cost_usd")))
    pick = [QUANTITIES.index(name) for name in names]
    costs = [np.where((at > 0)[:, None], getattr(cells, s)[:, pick], np.nan) for s in SIDES]
    binds = tuple(search.breaks(after, row, at[row] >= search.most) for row in range(questions.rows))
    return Within(knob, at, names, costs[0], costs[1], costs[2], binds, monotone & again, side,
                  versions_of(cost_model, questions))  # fmt: skip


def budgets(budget: Mapping[str, Any], rows: int) -> dict[str, Array]:
    """Return budgets by quantity, shape (rows,). Raises BadValueError: none, or one that is not above 0."""
    if not isinstance(budget, Mapping) or not budget:
        raise BadValueError("A budget names quantities and what they may be at most, such as latency_s=2.")
    found = {}
    for name in pick_quantities([str(key) for key in budget]):
        values = np.ravel(np.asarray(budget[name], dtype=object))
        if len(values) not in (1, rows):
            raise BadValueError(f"The budget of {name} has {len(values)} values for {rows} questions.")
        checked = [finite_number(f"The budget of {name}", value, strict=True) for value in values]
        found[name] = np.broadcast_to(np.array(checked), (rows,))
    return found


@dataclass(frozen=True)
class _Search:
    questions: Questions
    knob: str
    own: bool
    budget: dict[str, Array]
    side: str
    model: AnyModel

    @property
    def least(self) -> int:
        return LEAST.get(self.knob, 1)

    @property
    def most(self) -> int:
        return MOST_OWN if self.own else whole_number(self.knob, MOST.get(self.knob, 10**6))

    def cells(self, at: Array, rows: Array) -> tuple[Cells, Any]:
        return price(at_values(self.questions.take(rows), self.knob, np.asarray(at, float), self.own), self.model)

    def fits(self, at: Array, rows: Array) -> Array:
        """Return which values of some questions are within budget, shape (len(rows),)."""
        if not len(rows):
            return np.zeros(0, dtype=bool)
        cells, _ = self.cells(at, rows)
        good = cells.feasible.copy()
        for name, most in self.budget.items():
            with np.errstate(invalid="ignore"):
                good &= getattr(cells, self.side)[:, QUANTITIES.index(name)] <= most[rows]
        return good

    def bracketed(self) -> tuple[Array, Array]:
        """Return the last value that fits before one that does not (0: none), and where fits came in one piece."""
        count = self.questions.rows
        low, high = np.zeros(count), np.full(count, self.most + 1.0)
        monotone = np.ones(count, dtype=bool)
        open_rows = np.arange(count)
        while len(open_rows):
            tried = _between(low[open_rows], high[open_rows], self.least)
            rows, column = np.nonzero(~np.isnan(tried))
            good = np.zeros(tried.shape, dtype=bool)
            good[rows, column] = self.fits(tried[rows, column], open_rows[rows])
            known = ~np.isnan(tried)
            last = np.where(good, np.arange(tried.shape[1]), -1).max(axis=1)
            below = np.arange(tried.shape[1]) <= last[:, None]
            monotone[open_rows] &= ~(below & known & ~good).any(axis=1)
            for i, row in enumerate(open_rows):
                if last[i] >= 0:
                    low[row] = tried[i, last[i]]
                after = tried[i, last[i] + 1 :]
                after = after[~np.isnan(after)]
                high[row] = after[0] if len(after) else high[row]
            open_rows = open_rows[high[open_rows] - np.maximum(low[open_rows], self.least - 1) > 1]
        return low, monotone

    def beyond(self, at: Array) -> tuple[Array, Array]:
        """Return the last value that fits within a window of the answer, again and again, and where none was found."""
        at, monotone = at.copy(), np.ones(len(at), dtype=bool)
        open_rows = np.arange(len(at))
        while len(open_rows):
            steps = np.maximum(at[open_rows], self.least - 1)[:, None] + np.arange(1, WINDOW + 1)
            inside = steps <= self.most
            rows, column = np.nonzero(inside)
            good = np.zeros(steps.shape, dtype=bool)
            good[rows, column] = self.fits(steps[rows, column], open_rows[rows])
            more = good.any(axis=1)
            farthest = WINDOW - 1 - np.argmax(good[:, ::-1], axis=1)
            at[open_rows[more]] = steps[more, farthest[more]]
            monotone[open_rows[more]] = False
            open_rows = open_rows[more]
        return at, monotone

    def breaks(self, after: Cells, row: int, at_end: bool) -> str:
        """Return what the next value breaks."""
        if at_end:
            return f"nothing up to {self.most:,}"
        if not after.feasible[row]:
            return str(after.reason[row]) or "memory"
        costs = getattr(after, self.side)[row]
        broken = [name for name, most in self.budget.items() if not costs[QUANTITIES.index(name)] <= most[row]]
        return ", ".join(broken)


def _between(low: Array, high: Array, least: int) -> Array:
    """Return whole values to try strictly between, rising, shape (rows, POINTS), NaN where there are fewer.

    In equal ratios while the bracket spans more than twice its start, then in equal steps.
    """
    start = np.maximum(low, least - 1)
    first, last = start + 1, high - 1
    part = np.linspace(0.0, 1.0, POINTS)
    ratio = first[:, None] * (last / first)[:, None] ** part
    steps = first[:, None] + (last - first)[:, None] * part
    found = np.round(np.where((last > 2 * first)[:, None], ratio, steps))
    found = np.clip(found, first[:, None], last[:, None])
    repeat = np.diff(found, axis=1, prepend=-1.0) <= 0
    return np.asarray(np.where(repeat, np.nan, found))
