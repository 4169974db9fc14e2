"""All evaluations of a run as a table: Parquet (extra `parquet`) or CSV, one row a design, in order."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.space import DesignSpace
from foundation.errors import BadValueError, UnsupportedError
from foundation.files import written_whole
from workloads.table import Array

ENDS = (".parquet", ".csv")


def checked_name(path: str | Path) -> Path:
    """Return a file's path where a table can be written to it.

    Raises:
        BadValueError: it ends neither in .parquet nor in .csv.
        UnsupportedError: Parquet without pyarrow.
    """
    file = Path(path)
    if file.suffix not in ENDS:
        raise BadValueError(f"a log ends in .parquet or .csv; '{path}' does not.")
    if file.suffix == ".parquet" and not has_parquet():
        raise UnsupportedError("Parquet needs pyarrow: pip install 'archcast[parquet]', or log to a file in .csv.")
    return file


def has_parquet() -> bool:
    """Return whether pyarrow is installed."""
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def evaluation_table(space: DesignSpace, objectives: tuple[str, ...], run: Mapping[str, Array]) -> dict[str, Array]:
    """Return the columns of a run (of `codes`, `values`, `reason`, `violation`, `wall_s`, `batch`) by name.

    Knobs have their values (names as text, inactive ones empty), objectives are NaN where a design does not stand.
    """
    codes = run["codes"]
    active = space.active(codes)
    found: dict[str, Array] = {"evaluation": np.arange(codes.shape[1]), "batch": run["batch"], "wall_s": run["wall_s"]}
    for knob, row, on in zip(space.knobs, codes, active, strict=True):
        if knob.category:
            found[knob.name] = np.where(on, np.array(knob.values, dtype=str)[row.astype(np.intp)], "")
        else:
            found[knob.name] = np.where(on, knob.column(row), np.nan)
    for k, name in enumerate(objectives):
        found[name] = run["values"][:, k]
    return found | {"feasible": run["reason"] == "", "reason": run["reason"], "violation": run["violation"]}


def write_evaluations(path: str | Path, table: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Write a table whole or not at all; Parquet carries `about` as JSON in its metadata. Raises as `checked_name`."""
    file = checked_name(path)
    with written_whole(file) as part:
        if file.suffix == ".parquet":
            import pyarrow
            import pyarrow.parquet

            columns = pyarrow.table({name: pyarrow.array(column) for name, column in table.items()})
            kept = columns.replace_schema_metadata({"archcast_search": json.dumps(dict(about))})
            pyarrow.parquet.write_table(kept, part)
            return
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(table)
            writer.writerows(zip(*(_plain(column) for column in table.values()), strict=True))


def about_of(path: str | Path) -> dict[str, Any]:
    """Return what a log says of its search: nothing where it is no Parquet file, or has no such words."""
    file = Path(path)
    if file.suffix != ".parquet" or not file.is_file() or not has_parquet():
        return {}
    import pyarrow
    import pyarrow.parquet

    try:
        said = (pyarrow.parquet.read_schema(file).metadata or {}).get(b"archcast_search", b"{}")
        found = json.loads(said)
    except (pyarrow.ArrowException, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(column: Array) -> list[Any]:
    """Return values as CSV has them: empty where there is none."""
    return [("" if isinstance(value, float) and value != value else value) for value in column.tolist()]
