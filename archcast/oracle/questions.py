"""Questions as columns: what is asked of the oracle, one row a question, whatever they were given as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archcast.batches import DEFAULTS
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from hardware_specs import DeviceSpec
from workloads.model import Model
from workloads.table import Array

ALIASES = {"device": "on", "tokens": "generate"}
SAMPLES, KNOBS, NAME = "samples", "knobs", "name"
KEYS = ("workload", "on", *DEFAULTS, SAMPLES, KNOBS, NAME)
"""What a question may say; `name` is only a label, `knobs` are those of the model."""
NUMBERS = ("batch", "prompt", "generate", SAMPLES, "count", "tp", "pp", "ep", "dp", "cp")
SIZES = ("batch", "prompt", "generate", SAMPLES)
"""Numbers of a question that an array may hold without a group of its own for each value."""
MOST_ROWS = 4_000_000
MOST_SAMPLES = 10**6
"""Most samples of a request, and devices in any one direction."""

Question = Mapping[str, Any]


@dataclass(frozen=True)
class Questions:
    """Columns of questions; an array of shape (rows,), numbers as float64, the rest as objects."""

    rows: int
    columns: dict[str, Array]

    def take(self, index: Array) -> Questions:
        return Questions(len(index), {name: column[index] for name, column in self.columns.items()})

    def with_columns(self, **changes: Any) -> Questions:
        """Return the questions with some columns replaced (one value stands for all rows)."""
        new = {name: np.broadcast_to(np.asarray(values), (self.rows,)) for name, values in changes.items()}
        return Questions(self.rows, {**self.columns, **new})

    def numbers(self, name: str, default: float) -> Array:
        """Return a column of numbers, what is not said as `default`."""
        found = self.columns.get(name)
        return np.full(self.rows, default) if found is None else np.where(np.isnan(found), default, found)


def as_questions(given: Question | Sequence[Question] | Questions, what: str = "question") -> Questions:
    """Return one question or several as columns.

    Raises:
        BadValueError: none, not a mapping, or a number that is none. UnknownNameError: a key that does not exist.
    """
    if isinstance(given, Questions):
        return given
    many = [given] if isinstance(given, Mapping) else list(given) if isinstance(given, Sequence) else None
    if many is None or isinstance(given, (str, bytes)):
        one = f"{'An' if what[0] in 'aeio' else 'A'} {what}"
        raise BadValueError(f"{one} is a mapping such as {{'workload': 'resnet-50', 'on': 'l40s'}}, not {given!r}.")
    if not many:
        raise BadValueError(f"There is no {what}: the list is empty.")
    checked = [_checked(one, f"{what} {i + 1}" if len(many) > 1 else what) for i, one in enumerate(many)]
    names = [name for name in KEYS if any(name in one for one in checked)]
    return Questions(len(checked), {name: _column(name, [one.get(name) for one in checked]) for name in names})


def product(items: Questions, options: Questions) -> Questions:
    """Return every item with every option, items first; where both say something, the option holds.

    Raises:
        BadValueError: more rows than one call answers.
    """
    shape = (items.rows, options.rows)
    limited(shape[0] * shape[1])
    columns: dict[str, Array] = {}
    for name in KEYS:
        ours, theirs = items.columns.get(name), options.columns.get(name)
        if ours is None and theirs is None:
            continue
        if theirs is None:
            grid = np.broadcast_to(np.asarray(ours)[:, None], shape)
        elif ours is None:
            grid = np.broadcast_to(theirs[None, :], shape)
        else:
            grid = np.where(said(theirs)[None, :], theirs[None, :], np.asarray(ours)[:, None])
        columns[name] = grid.reshape(-1)
    columns.pop(NAME, None)
    return Questions(shape[0] * shape[1], columns)


def limited(rows: int) -> int:
    """Return the number of rows. Raises BadValueError: more than one call answers."""
    if rows > MOST_ROWS:
        raise BadValueError(f"{rows:,} cells are asked for at once; one call answers up to {MOST_ROWS:,}.")
    return rows


def said(column: Array) -> Array:
    """Return which rows say something."""
    if column.dtype.kind == "f":
        return ~np.isnan(column)
    return np.array([value is not None for value in column], dtype=bool)


def key_of(name: str, known: Sequence[str] = KEYS, what: str = "key of a question") -> str:
    """Return the key that a name stands for. Raises UnknownNameError: none, with the nearest."""
    name = ALIASES.get(name, name)
    if name not in known:
        raise UnknownNameError(what, name, [*known, *ALIASES])
    return name


def _checked(one: Any, what: str) -> dict[str, Any]:
    if not isinstance(one, Mapping):
        raise BadValueError(f"{what.capitalize()} must be a mapping of keys to values, not {one!r}.")
    found: dict[str, Any] = {}
    for name, value in one.items():
        key = key_of(str(name))
        if key in found:
            raise BadValueError(f"{what.capitalize()} says '{key}' twice: it is also called '{name}'.")
        if value is not None:
            found[key] = _value(key, value)
    return found


def _value(key: str, value: Any) -> Any:
    if key in NUMBERS:
        low = 0 if key in ("prompt", "generate") else 1
        return float(whole_number(key, value, low=low, high=10**9 if key in SIZES[:3] else MOST_SAMPLES))
    if key == KNOBS and not isinstance(value, Mapping):
        raise BadValueError(f"knobs must be a mapping of the model's knobs to values, not {value!r}.")
    if key in ("workload", "on"):
        kinds = (str, Path, Model) if key == "workload" else (str, Path, DeviceSpec)
        if not isinstance(value, kinds):
            raise BadValueError(f"{key} must be a name or a file, not {value!r}.")
    elif key not in (KNOBS, NAME) and not isinstance(value, str):
        raise BadValueError(f"{key} must be text, not {value!r}.")
    return value


def _column(name: str, values: list[Any]) -> Array:
    if name in NUMBERS:
        return np.array([np.nan if value is None else value for value in values])
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
