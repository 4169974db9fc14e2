"""`marginal`: what the next token, sample or request costs: the difference of two answers over the step between them.

A step is 5 % of the value that it starts from (at least 1; 8 tokens), so that the jumps of a learned model from one
size to the next are not taken for costs; `step=1` asks for the bare difference. Both sides run the same operators on
the same device, so most of their error is the same and cancels:

* the shared part A of the deviation is perfectly correlated: of the difference it is |A(n + w) - A(n)|, which is what
  the added work has of it;
* the part of its own B is that of the same operators, too, but kernels may change from one size to the next: it is the
  larger of |B(n + w) - B(n)| and of the share that B has of the cost, taken of the difference;
* R is how far the two halves of the step differ (half of it): curvature, and jumps that the step did not even out.

The interval is sqrt(A^2 + B^2 + R^2) to either side. Taking both sides as independent would be far too wide, taking
all as cancelled too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.batches import QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, pick_quantities, price, versions_of
from archcast.oracle.checks import check_one
from archcast.oracle.curves import at_values, find_knob, knob_values
from archcast.oracle.questions import SAMPLES, Question, Questions, as_questions
from archcast.oracle.words import quantity_text, text_table
from archcast.question import find_model
from foundation.checks import whole_number
from foundation.errors import BadValueError
from workloads.table import Array

STEPS = {"generate": "token", SAMPLES: "sample", "batch": "request", "prompt": "token of the prompt"}


@dataclass(frozen=True)
class Marginal:
    """Cost of one more of `knob` at `at` (shape (rows,)); `value`, `lo`, `hi` have shape (rows, quantities).

    NaN where one more cannot be answered or does not fit; `reason` says why.
    """

    knob: str
    at: Array
    quantities: tuple[str, ...]
    value: Array
    lo: Array
    hi: Array
    reason: Array
    versions: dict[str, Any]

    def of(self, quantity: str, side: str = "value") -> Array:
        """Return one quantity of every row; side: value, lo or hi."""
        return np.asarray(getattr(self, side)[:, self.quantities.index(quantity)])

    def to_json(self) -> dict[str, Any]:
        costs = {
            name: {side: [None if np.isnan(v) else float(v) for v in self.of(name, side)] for side in SIDES}
            for name in self.quantities
        }
        return {"knob": self.knob, "at": self.at.tolist(), **costs, "reason": self.reason.tolist(),
                "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        lines = []
        for row, at in enumerate(self.at.tolist()):
            ends = zip(self.quantities, self.value[row], self.lo[row], self.hi[row], strict=True)
            lines.append([f"{at:g}", *(quantity_text(n, *e) for n, *e in ends), str(self.reason[row])])
        return text_table([f"next {STEPS.get(self.knob, self.knob)} after", *self.quantities, ""], lines)


STEP_SHARE = 0.05
"""Of the value that a step starts from (estimated, 0.02 to 0.1): wide beside the jumps of trees, narrow beside n."""
LEAST_STEP = {"generate": 8.0, "prompt": 8.0}
SIDES = ("value", "lo", "hi")


def marginal(
    question: Question | Sequence[Question], knob: str = "generate", at: float | Sequence[float] | Array | None = None,
    quantities: Sequence[str] = ("latency_s", "energy_j", "memory_bytes", "cost_usd"), model: AnyModel = None,
    step: int | None = None,
) -> Marginal:  # fmt: skip
    """Return what one more of a knob costs: the next token, sample or request.

    Args:
        question: one, or several; `at` is one value for all, one for each, or many for a single question.
        at: the value that is stepped from (None: what the question says).
        step: over how many the difference is taken (None: 5 % of `at`, see above; 1: the bare difference).

    Raises:
        InputError: an unknown knob, or a value that it cannot have.
    """
    names = pick_quantities(quantities)
    questions = as_questions(question)
    check_one(questions)
    knob, own = find_knob(questions, knob)
    points = said_values(questions, knob, own) if at is None else knob_values(knob, at)
    if questions.rows == 1 and len(points) > 1:
        questions = questions.take(np.zeros(len(points), dtype=int))
    if len(points) not in (1, questions.rows):
        raise BadValueError(f"{len(points)} values of {knob} are given for {questions.rows} questions.")
    points = np.broadcast_to(points, (questions.rows,))
    width = np.maximum(np.floor(STEP_SHARE * points), 1.0 if own else LEAST_STEP.get(knob, 1.0))
    if step is not None:
        width = np.full(len(points), float(whole_number("step", step, high=10**9)))
    rows = np.arange(questions.rows)
    values = np.concatenate((points, points + np.ceil(width / 2), points + width))
    cells, cost_model = price(at_values(questions.take(np.tile(rows, 3)), knob, values, own), model)
    parts = [cells.take(rows + i * len(rows)) for i in range(3)]
    found = difference(parts[0], parts[1], parts[2], width)
    pick = [QUANTITIES.index(name) for name in names]
    return Marginal(knob, points, names, found.value[:, pick], found.lo[:, pick], found.hi[:, pick], found.reason,
                    versions_of(cost_model, questions))  # fmt: skip


def difference(before: Cells, middle: Cells, after: Cells, width: Array) -> Cells:
    """Return what one more costs of a step of `width` with its middle (see above); width has shape (rows,)."""
    value, first = after.value - before.value, np.ceil(width / 2)[:, None]
    step = width[:, None]
    halves = (middle.value - before.value) / first, (after.value - middle.value) / np.maximum(step - first, 1.0)
    rough = np.where(step > 1, np.abs(halves[1] - halves[0]) / 2 * step, 0.0)
    ends = []
    for side in ("lo", "hi"):
        deviations = [np.abs(getattr(cells, side) - cells.value) for cells in (before, after)]
        together = [np.sqrt(c.shared) * d for c, d in zip((before, after), deviations, strict=True)]
        own = [np.sqrt(1 - c.shared) * d for c, d in zip((before, after), deviations, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.nan_to_num(own[1] / np.abs(after.value)) * np.abs(value)
        alone = np.maximum(np.abs(own[1] - own[0]), share)
        ends.append(np.sqrt((together[1] - together[0]) ** 2 + alone**2 + rough**2))
    fine = before.feasible & after.feasible
    reason = np.where(after.reason.astype(bool), after.reason, before.reason)
    return replace(
        after,
        value=value / step,
        lo=(value - ends[0]) / step,
        hi=(value + ends[1]) / step,
        feasible=fine,
        reason=reason,
    )


def said_values(questions: Questions, knob: str, own: bool) -> Array:
    """Return the value of a knob that each question has, its model's default where it says none."""
    found = np.empty(questions.rows)
    for row in range(questions.rows):
        workload = find_model(questions.columns["workload"][row])
        if own:
            found[row] = float(
                {**workload.knobs(), **((questions.columns.get("knobs", [None] * (row + 1))[row]) or {})}[knob]
            )
            continue
        said = float(questions.numbers(knob, 0.0)[row])
        default = workload.defaults.get(knob, 1) if knob in ("prompt", "generate") else 1
        found[row] = said or float(default or 0)
    if not found.all():
        raise BadValueError(f"The workload has no {knob}, so there is no next one; name another knob, such as batch.")
    return found
