"""`cost_table`: what every item costs by every option, as arrays that a solver takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, pick_quantities, price, versions_of
from archcast.oracle.checks import check_names
from archcast.oracle.questions import NAME, Question, Questions, as_questions, product
from archcast.oracle.words import quantity_text, text_table
from foundation.errors import BadValueError
from workloads.table import Array

ALLOCATED = ("latency_s", "energy_j", "memory_bytes", "cost_usd")
MOST_LINES = 200
"""Lines of a table that people read."""


@dataclass(frozen=True)
class CostTable:
    """Costs of `items` x `options`.

    `value`, `lo` and `hi` have shape (items, options, quantities), NaN where there is no answer; `feasible` and
    `reason` (why not) have shape (items, options). The ends are those of a 90 % interval. `cells` and `questions` hold
    the rows behind it, items first, for `scenarios`.
    """

    items: tuple[str, ...]
    options: tuple[str, ...]
    quantities: tuple[str, ...]
    value: Array
    lo: Array
    hi: Array
    feasible: Array
    reason: Array
    versions: dict[str, Any]
    cells: Cells
    questions: Questions

    @property
    def shape(self) -> tuple[int, int]:
        """(items, options)."""
        return self.feasible.shape[0], self.feasible.shape[1]

    def of(self, quantity: str, side: str = "value") -> Array:
        """Return one quantity of every cell, shape (items, options); side: value, lo or hi."""
        return np.asarray(getattr(self, side)[:, :, self.quantities.index(quantity)])

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON: a list of rows a quantity, null without an answer."""
        costs = {
            name: {side: _nested(self.of(name, side)) for side in ("value", "lo", "hi")} for name in self.quantities
        }
        return {"items": list(self.items), "options": list(self.options), **costs, "feasible": self.feasible.tolist(),
                "reason": self.reason.tolist(), "mapping": self.cells.mapping.reshape(self.shape).tolist(),
                "versions": self.versions}  # fmt: skip

    def text(self) -> str:
        """Return one line a cell."""
        head = ["item", "option", *self.quantities, ""]
        lines: list[list[str]] = []
        for i, item in enumerate(self.items):
            for j, option in enumerate(self.options):
                if len(lines) == MOST_LINES:
                    rest = self.feasible.size - MOST_LINES
                    return text_table(head, lines) + f"\n... and {rest:,} cells more (--json gives all)"
                ends = [(self.value[i, j, k], self.lo[i, j, k], self.hi[i, j, k]) for k in range(len(self.quantities))]
                numbers = [quantity_text(n, *e) for n, e in zip(self.quantities, ends, strict=True)]
                lines.append([item, option, *numbers, str(self.reason[i, j])])
        return text_table(head, lines)


def cost_table(
    items: Question | Sequence[Question], options: Question | Sequence[Question],
    quantities: Sequence[str] = ALLOCATED, model: AnyModel = None,
) -> CostTable:  # fmt: skip
    """Return what every item costs by every option; rows and columns keep the order given.

    Args:
        items: what must be done: mappings of `workload`, `prompt`, `generate`, `batch`, `mode`, `knobs`, ... A key that
            all share can be in one of them only where it is in all.
        options: how: mappings of `device` (or `on`), `count` or `tp`/`pp`/`dp`, `dtype`, `software`, `samples`,
            `tokens` (= generate), `workload`, ... What an option says holds over what the item says. `name` labels.
        quantities: of latency_s, ttft_s, tpot_s, energy_j, memory_bytes, cost_usd; of the whole item.
        model: as in `predict`.

    A cell that cannot be answered or does not fit is not feasible and has a reason; the others are answered. Names that
    no catalogue has are refused.

    Raises:
        InputError: an unknown key, quantity or name, a number that is none, or no item or option.
    """
    names = pick_quantities(quantities)
    rows, ways = as_questions(items, "item"), as_questions(options, "option")
    for given in (rows, ways):
        check_names(given)
    for given, what in ((rows, "items"), (ways, "options")):
        _told_apart(given, what)
    questions = product(rows, ways)
    cells, cost_model = price(questions, model)
    shape = (rows.rows, ways.rows)
    pick = [cells.quantities.index(name) for name in names]
    value, lo, hi = (getattr(cells, side)[:, pick].reshape(*shape, -1) for side in ("value", "lo", "hi"))
    return CostTable(
        labels(rows, "item"), labels(ways, "option"), names, value, lo, hi, cells.feasible.reshape(shape),
        cells.reason.reshape(shape), versions_of(cost_model, questions), cells, questions,
    )  # fmt: skip


def labels(questions: Questions, what: str) -> tuple[str, ...]:
    """Return a short name of each row: its own, else what it says that others do not, else its place."""
    given = questions.columns.get(NAME)
    differ = [n for n, column in questions.columns.items() if n != NAME and len(set(map(_word, column.tolist()))) > 1]
    found = []
    for row in range(questions.rows):
        if given is not None and given[row] is not None:
            found.append(str(given[row]))
            continue
        said = [_said(n, questions.columns[n][row]) for n in differ or list(questions.columns)[:2] if n != NAME]
        found.append(" ".join(word for word in said if word) or f"{what} {row + 1}")
    return tuple(found)


def _told_apart(questions: Questions, what: str) -> None:
    """Refuse a name that two rows are given. Raises BadValueError."""
    given = [str(name) for name in questions.columns.get(NAME, np.array([])) if name is not None]
    if again := next((name for name, times in Counter(given).items() if times > 1), ""):
        raise BadValueError(
            f"Two of the {what} have the name '{again}' (a name cannot stand twice); give each its own."
        )


def _said(name: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return _word(value) if name in ("workload", "on", "dtype", "software", "mode") else f"{name}={_word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return str(getattr(value, "id", None) or getattr(value, "name", None) or value)


def _nested(values: Array) -> list[Any]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]
