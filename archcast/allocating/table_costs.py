"""Costs from a table that the caller gives: rows of item, option, value and own columns, in the file or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from archcast.allocating.allocate_file import MOST_CELLS, MOST_ITEMS, MOST_VARIANTS, Study
from archcast.allocating.costs import Costs, two_sided
from foundation.checks import finite_number
from foundation.errors import BadFileError
from foundation.yaml_file import Path_, read_text

MOST_BYTES = 50_000_000
FIXED = ("item", "option", "value", "count", "group")


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
    items = tuple(dict.fromkeys(str(row.get("item")) for _, row in rows))
    options = tuple(dict.fromkeys(str(row.get("option")) for _, row in rows))
    if len(items) > MOST_ITEMS or len(options) > MOST_VARIANTS or len(items) * len(options) > MOST_CELLS:
        raise study.settings.fault(("table",), f"{len(items):,} items x {len(options):,} options are too many.")
    shape = (len(items), len(options), len(names))
    cost, lo, hi = (np.full(shape, np.nan) for _ in range(3))
    worth, count, group = np.full(shape[:2], np.nan), np.ones(len(items)), np.zeros(shape[:2], dtype=int)
    groups: dict[str, int] = {}
    places, at_item = {n: j for j, n in enumerate(options)}, {n: i for i, n in enumerate(items)}
    for at, row in rows:
        study.settings.known(at, row, known)
        read = partial(_number, study, at, row)
        i, j = at_item[str(row.get("item"))], places[str(row.get("option"))]
        if not np.isnan(worth[i, j]):
            raise study.settings.fault(at, f"item '{items[i]}' with option '{options[j]}' stands twice in the table.")
        worth[i, j] = read("value", low=-np.inf)
        count[i] = read("count", 1.0)
        group[i, j] = groups.setdefault(str(row.get("group") or ""), len(groups))
        for k, name in enumerate(names):
            cost[i, j, k] = read(name)
            low, high = ends(name)
            lo[i, j, k], hi[i, j, k] = read(low, cost[i, j, k]), read(high, cost[i, j, k])
            if not lo[i, j, k] <= cost[i, j, k] <= hi[i, j, k]:
                raise study.settings.fault(at, f"{name} must lie between {low} and {high}.")
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


def _number(
    study: Study, at: Path_, row: Mapping[str, Any], name: str, default: float | None = None, low: float = 0.0
) -> float:
    value = row.get(name)
    if value in (None, ""):
        if default is None:
            raise study.settings.fault(at, f"a row of the table has no '{name}'.")
        return default
    return study.settings.at((*at, name), lambda: finite_number(name, value, low=low))


def _rows(study: Study) -> list[tuple[Path_, Mapping[str, Any]]]:
    """Return (place, row) of a table in the file, or of a CSV file beside it."""
    given = study.table
    if isinstance(given, str):
        path = study.settings.near(given)
        text = study.settings.at(("table",), lambda: read_text(path, max_bytes=MOST_BYTES))
        try:
            found: Sequence[Mapping[str, Any]] = list(csv.DictReader(io.StringIO(text), strict=True))
        except csv.Error as error:
            raise BadFileError(path, f"this is not a CSV table ({error}).") from None
        if any(None in row for row in found):
            raise BadFileError(path, "a row has more cells than the head has columns.")
    elif isinstance(given, list) and all(isinstance(row, dict) for row in given):
        found = given
    else:
        raise study.settings.fault(("table",), "a table is a CSV file, or a list of rows {item, option, value, ...}.")
    if not found:
        raise study.settings.fault(("table",), "the table has no rows.")
    for key in ("item", "option"):
        if any(row.get(key) in (None, "") for row in found):
            raise study.settings.fault(("table",), f"every row of the table needs '{key}'.")
    return [(("table", i), row) for i, row in enumerate(found)]
