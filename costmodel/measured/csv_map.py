"""A plain table with names and units of its own: columns are renamed, scaled, or set to one value.

The option `map` is a list such as `m=M,latency_s=ms*1e-3,op:gemm,device:h100-sxm`: `TARGET=COLUMN`, where a number may
be scaled by `*FACTOR`, and `TARGET:VALUE`, one value for all rows. Nothing else is understood and nothing is evaluated.
Columns of the file that already have a name of the measurement table are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from workloads.column_files import read_columns
from workloads.measurements import LABELS, MEASURED, MeasurementTable, measurement_table
from workloads.table import CATEGORIES, DEFAULTS

NUMBERS = (*DEFAULTS, *MEASURED)
TEXTS = (*CATEGORIES, *LABELS)
MAX_RULES = 200


@dataclass(frozen=True)
class Rule:
    """One column of the measurement table: from `column` x `factor`, or `value` in every row."""

    target: str
    column: str = ""
    factor: float = 1.0
    value: str = ""


def parse_map(text: str) -> dict[str, Rule]:
    """Return the rules of a map by target.

    Raises:
        BadValueError: not of the form above, or a target stands twice.
        UnknownNameError: a target that is no column of the measurement table.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or len(parts) > MAX_RULES:
        raise BadValueError(f"A map has from 1 to {MAX_RULES} rules, e.g. m=M,latency_s=ms*1e-3,op:gemm.")
    rules: dict[str, Rule] = {}
    for part in parts:
        rule = _rule(part)
        if rule.target not in NUMBERS and rule.target not in TEXTS:
            raise UnknownNameError("column of the measurement table", rule.target, (*NUMBERS, *TEXTS))
        if rule.target in rules:
            raise BadValueError(f"The map sets '{rule.target}' twice.")
        rules[rule.target] = rule
    return rules


def _rule(part: str) -> Rule:
    signs = [(part.index(sign), sign) for sign in "=:" if sign in part]
    target, value = (part[: min(signs)[0]].strip(), part[min(signs)[0] + 1 :].strip()) if signs else ("", "")
    if not target or not value:
        raise BadValueError(f"'{part}' in the map is neither TARGET=COLUMN, TARGET=COLUMN*FACTOR nor TARGET:VALUE.")
    if min(signs)[1] == ":":
        return Rule(target, value=value)
    column, star, factor = value.rpartition("*")
    if not star:
        return Rule(target, column=value)
    try:
        number = float(factor)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0) or target not in NUMBERS or not column.strip():
        raise BadValueError(f"'{part}' in the map: a factor is a number above 0 behind the column of a number.")
    return Rule(target, column=column.strip(), factor=number)


def load_csv_map(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the table of the file `request.path`; options `map` (needed) and `skip_bad` (`yes` leaves bad rows out).

    Raises:
        BadFileError: the file cannot be read, lacks a column that the map names, or has a bad row.
        BadValueError, UnknownNameError: the map cannot be used.
    """
    request.check_options("map", "skip_bad")
    path = request.needed_path("a CSV or Parquet file")
    rules = parse_map(request.options.get("map", ""))
    kinds = {name: name in NUMBERS for name in (*NUMBERS, *TEXTS) if name not in rules} | _kinds(rules)
    header: list[str] = []

    def wanted(name: str) -> bool:
        header.append(name)
        return name in kinds

    file = read_columns(path, lambda name: kinds.get(name, False), wanted)
    for rule in rules.values():
        if rule.column and rule.column not in file.columns:
            raise BadFileError(path, f"the map names the column '{rule.column}', but the file has none.",
                               key=rule.target, hint=f"It has: {', '.join(header[:30])}.")  # fmt: skip
    if file.rows == 0:
        raise BadFileError(path, "the table has a header but no rows.")
    if file.unread:
        row, column, text = file.unread[0]
        line = int(file.lines[row]) if len(file.lines) else None
        raise BadFileError(path, f"row {row + 1}: '{text[:40]}' is not a usable number.", line=line, key=column)
    columns = _columns(file.columns, rules, path)
    request.report.read += file.rows
    table = measurement_table(str(path), columns, skip_bad=request.options.get("skip_bad") == "yes")
    request.report.skip("a bad row", len({bad.row for bad in table.skipped}))
    yield table


def _kinds(rules: Mapping[str, Rule]) -> dict[str, bool]:
    """Return whether each column that the map names holds numbers. Raises BadValueError where it would be both."""
    kinds: dict[str, bool] = {}
    for target, rule in rules.items():
        if rule.column and kinds.setdefault(rule.column, target in NUMBERS) != (target in NUMBERS):
            raise BadValueError(f"The map reads the column '{rule.column}' as numbers and as text.")
    return kinds


def _columns(found: Mapping[str, Any], rules: Mapping[str, Rule], path: Path) -> dict[str, Any]:
    """Return columns of the measurement table: the file's own of such a name, and those of the rules."""
    columns: dict[str, Any] = {
        name: column for name, column in found.items() if (name in NUMBERS or name in TEXTS) and name not in rules
    }
    for target, rule in rules.items():
        if rule.column:
            columns[target] = found[rule.column] * rule.factor if target in NUMBERS else found[rule.column]
        elif target in TEXTS:
            columns[target] = rule.value
        else:
            try:
                columns[target] = np.float64(rule.value)
            except ValueError:
                raise BadValueError(f"The map sets '{target}' to '{rule.value}', which is no number.") from None
    columns.setdefault("source", f"{path.name}, columns renamed")
    return columns
