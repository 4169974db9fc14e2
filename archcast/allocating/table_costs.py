"""Costs from a table that the caller gives: rows of item, option, value and own columns, in the file or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from archcast.allocating.allocate_file import MOST_CELLS, MOST_ITEMS, MOST_NUMBER, MOST_VARIANTS, Study
from archcast.allocating.costs import Costs, two_sided
from foundation.checks import finite_number
from foundation.errors import BadFileError, BadValueError, nearest_names
from foundation.yaml_file import read_text

MOST_BYTES = 50_000_000
FIXED = ("item", "option", "value", "count", "group")


MOST_COST = 1e30
"""Of one request. Far beyond what is asked for, and far from where sums of products lose all digits."""


@dataclass(frozen=True)
class Row:
    """A row of a table, of the file itself or of a CSV file (`path`, `line`)."""

    study: Study
    place: int
    cells: Mapping[str, Any]
    path: str = ""
    line: int = 0

    def fault(self, problem: str, key: str = "") -> BadFileError:
        """Return the error for a fault of this row, with the line that has it."""
        if self.path:
            return BadFileError(self.path, problem, line=self.line)
        return self.study.settings.fault(("table", self.place, *([key] if key else [])), problem)

    def known(self, allowed: tuple[str, ...]) -> None:
        """Refuse columns that are not among `allowed`. Raises BadFileError with the nearest."""
        if not self.path:
            self.study.settings.known(("table", self.place), self.cells, allowed)
            return
        for key in self.cells:
            if key not in allowed:
                near = nearest_names(str(key), allowed)
                hint = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(allowed)}."
                raise BadFileError(self.path, f"unknown column '{key}'.", line=1, hint=hint)


def ends(name: str) -> tuple[str, str]:
    """Return the columns of the interval of a quantity: `latency_lo_s`, or `credits_lo` for names without a unit."""
    stem, cut, unit = name.rpartition("_")
    return (f"{stem}_lo_{unit}", f"{stem}_hi_{unit}") if cut else (f"{name}_lo", f"{name}_hi")


def table_costs(study: Study) -> Costs:
    """Return the costs of a file's table.

    A row is an item with an option: `value`, the budgets' columns, perhaps their ends (`cost_lo_usd`), `count` (of
    requests; value and costs are of one) and `group` (rows of one group err together). Pairs without a row are not
    options.

    Raises:
        BadFileError: a column that is missing or unknown, a value that is no number, a pair that stands twice.
    """
    rows = _rows(study)
    names = tuple(budget.name for budget in study.budgets)
    known = (*FIXED, *names, *(end for name in names for end in ends(name)))
    items = tuple(dict.fromkeys(str(row.cells.get("item")) for row in rows))
    options = tuple(dict.fromkeys(str(row.cells.get("option")) for row in rows))
    if len(items) > MOST_ITEMS or len(options) > MOST_VARIANTS or len(items) * len(options) > MOST_CELLS:
        raise study.settings.fault(("table",), f"{len(items):,} items x {len(options):,} options are too many.")
    shape = (len(items), len(options), len(names))
    cost, lo, hi = (np.full(shape, np.nan) for _ in range(3))
    worth, count, group = np.full(shape[:2], np.nan), np.ones(len(items)), np.zeros(shape[:2], dtype=int)
    groups: dict[str, int] = {}
    places, at_item = {n: j for j, n in enumerate(options)}, {n: i for i, n in enumerate(items)}
    said: dict[int, float | None] = {}
    for row in rows:
        row.known(known)
        read = partial(_number, row)
        i, j = at_item[str(row.cells.get("item"))], places[str(row.cells.get("option"))]
        if not np.isnan(worth[i, j]):
            raise row.fault(f"item '{items[i]}' with option '{options[j]}' stands twice in the table.")
        worth[i, j] = read("value", low=-MOST_NUMBER, most=MOST_NUMBER)
        said[i] = _count(row, said.get(i))
        count[i] = said[i] or 1.0
        group[i, j] = groups.setdefault(str(row.cells.get("group") or ""), len(groups))
        for k, name in enumerate(names):
            cost[i, j, k] = read(name)
            low, high = ends(name)
            lo[i, j, k], hi[i, j, k] = read(low, cost[i, j, k]), read(high, cost[i, j, k])
            if not lo[i, j, k] <= cost[i, j, k] <= hi[i, j, k]:
                raise row.fault(f"{name} must lie between {low} and {high}.")
    limits = np.tile([b.most if b.of == "each" else np.inf for b in study.budgets], (len(items), 1))
    mask = ~np.isnan(worth)

    def draw(n: int) -> np.ndarray[Any, Any]:
        normal = np.random.default_rng([study.seed, 1]).standard_normal((n, max(len(groups), 1)))
        return two_sided(cost, lo, hi, normal[:, group][..., None])

    sure = bool((lo[mask] == hi[mask]).all())
    notes = (
        ("The table gives no intervals: costs are taken as certain.",) if sure and study.risk.kind != "nominal" else ()
    )
    reason = np.where(mask, "", "not in the table").astype(object)
    return Costs(
        items, options, names, count, np.where(mask, worth, 0.0), None, cost, lo, hi, limits, mask, reason, draw,
        {"source": "the caller's table"}, notes,
    )  # fmt: skip


def _count(row: Row, said: float | None) -> float | None:
    """Return the requests of an item as far as its rows say. Raises BadFileError: two rows disagree."""
    if row.cells.get("count") in (None, ""):
        return said
    given = _number(row, "count", most=MOST_NUMBER, strict=True)
    if said is not None and said != given:
        item = row.cells.get("item")
        raise row.fault(f"item '{item}' has a count of {given:g} here and of {said:g} in a row above; give one count.")
    return given


def _number(
    row: Row, name: str, default: float | None = None, low: float = 0.0, most: float = MOST_COST, strict: bool = False
) -> float:
    value = row.cells.get(name)
    if value in (None, ""):
        if default is None:
            raise row.fault(f"a row of the table has no '{name}'.")
        return default
    try:
        return finite_number(name, value, low=low, high=most, strict=strict)
    except BadValueError as error:
        raise row.fault(str(error), name) from None


def _rows(study: Study) -> list[Row]:
    """Return the rows of a table in the file, or of a CSV file beside it."""
    given = study.table
    if isinstance(given, str):
        found = _csv_rows(study, given)
    elif isinstance(given, list) and all(isinstance(row, dict) for row in given):
        found = [Row(study, i, row) for i, row in enumerate(given)]
    else:
        raise study.settings.fault(("table",), "a table is a CSV file, or a list of rows {item, option, value, ...}.")
    if not found:
        raise study.settings.fault(("table",), "the table has no rows.")
    for row in found:
        for key in ("item", "option"):
            if row.cells.get(key) in (None, ""):
                raise row.fault(f"every row of the table needs '{key}'.")
    return found


def _csv_rows(study: Study, name: str) -> list[Row]:
    """Return the rows of a CSV file, cells apart by commas, or by semicolons or tabs where the head has those only."""
    path = study.settings.near(name)
    text = study.settings.at(("table",), lambda: read_text(path, max_bytes=MOST_BYTES)).removeprefix("\ufeff")
    head = text.split("\n", 1)[0]
    apart = next((mark for mark in ",;\t" if mark in head), ",")
    reader = csv.DictReader(io.StringIO(text), strict=True, delimiter=apart)
    found = []
    try:
        for i, cells in enumerate(reader):
            row = Row(study, i, cells, path, reader.line_num)
            if None in cells:
                raise row.fault("this row has more cells than the head has columns.")
            found.append(row)
    except csv.Error as error:
        raise BadFileError(path, f"this is not a CSV table ({error}).", line=reader.line_num) from None
    return found
