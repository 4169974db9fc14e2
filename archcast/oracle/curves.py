"""`curve`: what a question costs as one of its knobs changes, and the same as straight pieces for linear programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.batches import DEFAULTS, QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, pick_quantities, price, versions_of
from archcast.oracle.checks import check_effect, check_one
from archcast.oracle.questions import (
    ALIASES,
    KNOBS,
    NUMBERS,
    SAMPLES,
    Question,
    Questions,
    as_questions,
    key_of,
    limited,
)  # fmt: skip
from archcast.oracle.segments import Segments, fit_segments
from archcast.oracle.words import quantity_text, text_table
from archcast.question import MAX_BATCH, MAX_TOKENS, find_model
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

LEAST = {"prompt": 1, "generate": 1}
MOST = {"prompt": MAX_TOKENS, "generate": MAX_TOKENS, "batch": MAX_BATCH, SAMPLES: 10**6}


@dataclass(frozen=True)
class Curve:
    """Costs at `values` of a knob, in the order given; `value`, `lo`, `hi` have shape (points, quantities).

    `monotone` says of each quantity whether it never falls as the knob grows, over the feasible points.
    """

    knob: str
    values: Array
    quantities: tuple[str, ...]
    value: Array
    lo: Array
    hi: Array
    feasible: Array
    reason: Array
    monotone: dict[str, bool]
    versions: dict[str, Any]
    cells: Cells
    questions: Questions

    def of(self, quantity: str, side: str = "value") -> Array:
        """Return one quantity at every point; side: value, lo or hi."""
        return np.asarray(getattr(self, side)[:, self.quantities.index(quantity)])

    def segments(self, tolerance: float = 0.01, quantity: str = "latency_s", side: str = "value") -> Segments:
        """Return straight pieces through points of the curve for linear programs, with their largest error.

        Args:
            tolerance: the largest error of a piece at any point of the curve, as a part of the value there.
        """
        use = self.feasible & ~np.isnan(self.of(quantity, side))
        return fit_segments(self.values[use], self.of(quantity, side)[use], tolerance, quantity)

    def to_json(self) -> dict[str, Any]:
        points = {
            name: {side: _numbers(self.of(name, side)) for side in ("value", "lo", "hi")} for name in self.quantities
        }
        return {"knob": self.knob, "values": self.values.tolist(), **points, "feasible": self.feasible.tolist(),
                "reason": self.reason.tolist(), "monotone": self.monotone, "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        lines = []
        for row, at in enumerate(self.values.tolist()):
            ends = zip(self.quantities, self.value[row], self.lo[row], self.hi[row], strict=True)
            lines.append([f"{at:g}", *(quantity_text(n, *e) for n, *e in ends), str(self.reason[row])])
        falls = [name for name, rises in self.monotone.items() if not rises]
        order = np.argsort(self.values, kind="stable")
        down = [name for name in falls if rises(-self.of(name)[order])]
        mixed = [name for name in falls if name not in down]
        note = f"\nFalls as {self.knob} grows: {', '.join(down)}." if down else ""
        note += f"\nNot monotone in {self.knob}: {', '.join(mixed)}." if mixed else ""
        return text_table([self.knob, *self.quantities, ""], lines) + note


def curve(
    question: Question, knob: str, values: Sequence[float] | Array,
    quantities: Sequence[str] = ("latency_s", "energy_j", "memory_bytes", "cost_usd"), model: AnyModel = None,
) -> Curve:  # fmt: skip
    """Return what a question costs at each value of a knob, by one call of the batch query.

    Args:
        question: a mapping of `workload`, `on` and what else `cost_table` takes.
        knob: batch, prompt, generate (or tokens), samples, tp, ..., or a knob of the model such as layers.
        values: whole numbers, in any order.

    Raises:
        InputError: an unknown knob, no value, or one that the knob cannot have.
    """
    names = pick_quantities(quantities)
    questions = as_questions(question)
    if questions.rows != 1:
        raise BadValueError(f"A curve is of one question, not {questions.rows}; ask for each in turn.")
    check_one(questions)
    knob, own = find_knob(questions, knob)
    points = knob_values(knob, values)
    asked = at_values(questions.take(np.zeros(limited(len(points)), dtype=int)), knob, points, own)
    cells, cost_model = price(asked, model)
    pick = [QUANTITIES.index(name) for name in names]
    order = np.argsort(points, kind="stable")
    rising = {name: rises(cells.value[order, k]) for name, k in zip(names, pick, strict=True)}
    return Curve(knob, points, names, cells.value[:, pick], cells.lo[:, pick], cells.hi[:, pick], cells.feasible,
                 cells.reason, rising, versions_of(cost_model, asked), cells, asked)  # fmt: skip


def find_knob(questions: Questions, knob: str) -> tuple[str, bool]:
    """Return a knob's name, and whether it is one of the model's own.

    Raises UnknownNameError: no such knob. BadValueError: one without values in between, or that changes nothing.
    """
    name = ALIASES.get(str(knob), str(knob))
    if name in NUMBERS:
        if "workload" in questions.columns:
            check_effect(questions, name)
        return name, False
    workload = questions.columns["workload"][0] if "workload" in questions.columns else None
    known = find_model(workload).knobs() if workload is not None else {}
    if name not in DEFAULTS and isinstance(known.get(name), (int, float)) and not isinstance(known[name], bool):
        return name, True
    if name in DEFAULTS or name in known:
        raise BadValueError(f"'{name}' has no values between which a curve could run; knobs are {', '.join(NUMBERS)}.")
    raise UnknownNameError("knob", str(knob), [*NUMBERS, *ALIASES, *known])


def knob_values(knob: str, values: Any) -> Array:
    """Return values of a knob as numbers. Raises BadValueError: none, or one that is not a whole number in range."""
    given = np.ravel(np.asarray(values, dtype=object))
    if not len(given):
        raise BadValueError(f"No value of {knob} is given.")
    low, high = LEAST.get(knob, 1), MOST.get(knob, 10**9)
    try:
        points = given.astype(float)
    except (TypeError, ValueError, OverflowError):
        points = np.full(len(given), np.nan)
    with np.errstate(invalid="ignore"):
        bad = ~((points >= low) & (points <= high) & (points == np.floor(points)))
    if bad.any():
        whole_number(knob, given[int(np.argmax(bad))], low=low, high=high)
    return points


def at_values(questions: Questions, knob: str, values: Array, own: bool) -> Questions:
    """Return questions with a knob at the value of each row."""
    if not own:
        return questions.with_columns(**{key_of(knob): np.asarray(values, float)})
    before = questions.columns.get(KNOBS, np.full(questions.rows, None, dtype=object))
    changed = np.empty(questions.rows, dtype=object)
    changed[:] = [
        {**(old or {}), knob: int(value)} for old, value in zip(before.tolist(), values.tolist(), strict=True)
    ]
    return questions.with_columns(**{KNOBS: changed})


def rises(values: Array) -> bool:
    """Say whether values never fall, but for rounding; rows without an answer are passed over."""
    known = values[~np.isnan(values)]
    return bool((np.diff(known) >= -1e-12 * np.abs(known[:-1])).all())


def _numbers(values: Array) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
