"""`fit_proxy`: a proxy from what `archcast search FILE --log LOG` wrote, or from columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.evaluations import ENDS, has_parquet
from archcast.searching.problem import Problem
from archcast.searching.proxy.boosting import MANY
from archcast.searching.proxy.encoding import Guess
from archcast.searching.proxy.fitting import FOLDS
from archcast.searching.proxy.model import MOST_TABLE, Proxy
from archcast.searching.proxy.problem import ProblemGuess
from archcast.searching.space import Columns, DesignSpace
from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError, UnsupportedError
from foundation.files import plain_file
from workloads.table import Array

MOST_LOG_BYTES = 2**30
MOST_RUNS = 2_000_000
EXACT = 1e-6
"""Error up to which values are the closed form's own."""
REFUSED = ("false", "0", "0.0", "no")
"""What a log says under `feasible` of a run that does not stand."""


def fit_proxy(
    log: str | Path | Mapping[str, Any] | Sequence[str | Path], search: str | Path | Mapping[str, Any] | None = None, *,
    space: DesignSpace | None = None, values: Sequence[str] = (), closed_form: Guess | Problem | None = None,
    seed: int = 0, most_kriged: int = 4000, table: bool | None = None,
) -> Proxy:  # fmt: skip
    """Return a proxy of what was simulated in searches.

    Args:
        log: a .parquet or .csv file of evaluations, several, or columns by name (knobs and values, a row a run). Of
            five logs or more each is a group of its own (`Proxy.fit`), as if they were of different seeds; logs of the
            same designs are replications of these.
        search: the file of that search: it has the space, the objectives and the closed form.
        space, values, closed_form: instead of the file's; `values` are names of columns to learn, nowhere below 0.
            Runs that a log calls not feasible, or that lack one of them, are left out (`card["dropped"]`).
        seed: of folds. most_kriged: designs that kriging takes at most (0: trees alone, seconds instead of minutes).
        table: work out all designs of the space once, so that an answer is a look-up; unsaid: where the log has
            `boosting.MANY` designs and a table can hold the space.

    Raises:
        BadFileError, BadValueError, UnknownNameError: a log that is none of this space, with too few designs, with a
            value below 0, or of the closed form's own values; settings that mean nothing.
        UnsupportedError: Parquet without pyarrow.
    """
    seed, most_kriged = whole_number("seed", seed, low=0), whole_number("most_kriged", most_kriged, low=0)
    values = (values,) if isinstance(values, str) else tuple(values or ())
    if search is not None:
        from archcast.searching.search_file import read_search

        study = read_search(search)
        cheap = study.closed_form
        space, closed_form = space or cheap.space, closed_form or cheap
        values = values or cheap.objectives
    if space is None or not values:
        raise BadValueError("a proxy needs a space and the names of its values: give the file of the search, or both.")
    if knobs := [name for name in values if name in space.places]:
        raise BadValueError(f"'{knobs[0]}' is a knob of the space: a proxy learns values, of what knobs say.")
    guess: Any = ProblemGuess(closed_form) if hasattr(closed_form, "stages") else closed_form  # type: ignore[arg-type]
    tables = [_columns(one) for one in ([log] if isinstance(log, (str, Path, Mapping)) else log)]
    if not tables:
        raise BadValueError("no log is given.")
    columns = {knob.name: np.concatenate([_knob(one, space, knob.name) for one in tables]) for knob in space.knobs}
    wanted = {name: np.concatenate([_value(one, name) for one in tables]) for name in values}
    rows = [_runs(one, [*columns, *wanted]) for one in tables]
    every = np.repeat(np.arange(len(rows)), rows)
    stand = np.all([np.isfinite(column) for column in wanted.values()], axis=0)
    groups = every if len(np.unique(every[stand])) >= FOLDS else None
    if guess is not None and _is_its_own(guess, space.columns(space.codes_of(columns)), wanted):
        raise BadValueError("its values are the closed form's own; a proxy learns from simulated ones.")
    proxy = Proxy.fit(space, columns, wanted, guess, seed=seed, most_kriged=most_kriged, groups=groups)
    if table is None:
        table = proxy.card["designs"] >= MANY and space.listed and space.size <= MOST_TABLE
    return proxy.tabulated() if table else proxy


def _runs(table: Mapping[str, Array], names: Sequence[str]) -> int:
    """Return how many runs a log has. Raises BadValueError: columns of several lengths."""
    counts = {name: len(table[name]) for name in names}
    most = max(counts, key=lambda name: counts[name])
    for name, count in counts.items():
        if count != counts[most]:
            raise BadValueError(f"the column '{name}' of the log has {count:,} runs, and '{most}' {counts[most]:,}.")
    return counts[most]


def _knob(table: Mapping[str, Array], space: DesignSpace, name: str) -> Array:
    """Return a knob's column; where it is switched off a log has nothing, and any of its values will do."""
    knob = space.knobs[space.places[name]]
    if name not in table:
        raise BadValueError(f"the log has no column '{name}', a knob of the space.")
    column = np.asarray(table[name])
    if knob.category and column.dtype.kind in "UO":
        return np.asarray(knob.codes(np.where(column.astype(str) == "", knob.values[0], column.astype(str))))
    try:
        numbers = column.astype(float) if column.dtype.kind != "U" else np.array([float(x or "nan") for x in column])
    except (ValueError, TypeError):
        raise BadValueError(f"the column '{name}' of the log holds something that is no number.") from None
    return np.where(np.isnan(numbers), knob.column(np.array([knob.neutral]))[0], numbers)


def _value(table: Mapping[str, Array], name: str) -> Array:
    """Return what runs gave, NaN where a run does not stand. Raises BadValueError: a value below 0, or no number."""
    if name not in table:
        raise BadValueError(f"the log has no column '{name}', which the proxy is to learn.")
    column = np.asarray(table[name])
    try:
        found = column.astype(float) if column.dtype.kind != "U" else np.array([float(x or "nan") for x in column])
    except (ValueError, TypeError):
        raise BadValueError(f"the column '{name}' of the log holds something that is no number.") from None
    if len(below := np.flatnonzero(found < 0)):
        said = f"run {below[0] + 1:,} of the log has {name} {found[below[0]]:g}"
        raise BadValueError(f"{said}; no value of a search is below 0. Correct the run, or leave it out.")
    stands = np.asarray(table.get("feasible", np.ones(len(found))))
    if stands.shape != found.shape:
        raise BadValueError(f"the column 'feasible' of the log has {stands.size:,} runs, and '{name}' {found.size:,}.")
    return np.where(np.isin(np.char.lower(stands.astype(str)), REFUSED), np.nan, found)


def _is_its_own(guess: Guess, designs: Columns, wanted: Mapping[str, Array]) -> bool:
    """Return whether runs have what a closed form says of their designs, in each value."""
    found, good = guess(designs), np.all([np.isfinite(column) for column in wanted.values()], axis=0)
    return bool(good.any()) and all(
        name in found
        and np.allclose(np.broadcast_to(found[name], good.shape)[good], column[good], rtol=EXACT, atol=0.0)
        for name, column in wanted.items()
    )


def _columns(log: str | Path | Mapping[str, Any]) -> Mapping[str, Array]:
    """Return the columns of a log. Raises BadFileError, UnsupportedError."""
    if isinstance(log, Mapping):
        return {str(name): np.atleast_1d(np.asarray(column)) for name, column in log.items()}
    file = plain_file(log, MOST_LOG_BYTES)
    if file.suffix not in ENDS:
        raise BadFileError(log, "a log of evaluations ends in .parquet or .csv.")
    found = _parquet(file) if file.suffix == ".parquet" else _csv(file)
    if not found:
        raise BadFileError(log, "it is empty: a log has the names of its columns in the first row.")
    if max(map(len, found.values())) > MOST_RUNS:
        raise BadFileError(log, f"it has more than {MOST_RUNS:,} rows.")
    return found


def _parquet(file: Path) -> dict[str, Array]:
    if not has_parquet():
        raise UnsupportedError("Parquet needs pyarrow: pip install 'archcast[parquet]', or log to a file in .csv.")
    import pyarrow
    import pyarrow.parquet

    try:
        if pyarrow.parquet.read_metadata(file).num_rows > MOST_RUNS:
            raise BadFileError(file, f"it has more than {MOST_RUNS:,} rows.")
        table = pyarrow.parquet.read_table(file)
        found = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadFileError(file, f"it is no sound Parquet file ({type(error).__name__}).") from None
    return {name: column.astype(str) if column.dtype.kind == "O" else column for name, column in found.items()}


def _csv(file: Path) -> dict[str, Array]:
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream)
            names = next(rows, [])
            body = [row for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFileError(file, f"it is no table ({error}).") from None
    for line, row in enumerate(body, start=2):
        if len(row) != len(names):
            raise BadFileError(file, f"it has {len(row)} cells where the head has {len(names)}.", line=line)
    return {name: np.array([row[k] for row in body], dtype=str) for k, name in enumerate(names)}
