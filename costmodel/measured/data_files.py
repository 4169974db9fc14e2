"""What the importers of measured data sets share: their folder, their files, names of devices and networks.

A data set is a folder `NAME` with CSV (also gzip) or Parquet files, in a root folder that the user names or that the
environment variable `ARCHCAST_DATA` does. `read` of a report counts measurements: a row that holds several counts once
for each. Whatever is left out is counted by its reason.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from foundation.errors import BadFileError, UnknownNameError
from foundation.files import plain_file
from hardware_specs import device_of
from workloads.catalogue import architecture_facts, plain_name, workload_names
from workloads.column_files import MAX_FILE_BYTES, read_columns
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, workload_measurements

ROOT_VARIABLE = "ARCHCAST_DATA"
OWN_NAMES = "own"
"""Value of the option `names`: networks that the catalogue lacks keep the set's own name, behind `own:`."""
MAX_UNPACKED_BYTES = 2_000_000_000
CHUNK_BYTES = 1 << 20

Columns = dict[str, Array]
"""Columns of a file or a table: numbers as float64 (NaN = empty), text as objects ('' = empty)."""


def set_folder(request: ImportRequest, name: str) -> Path:
    """Return the folder of a data set: the request's path, a folder of that name in it, or one under the root.

    Raises:
        BadFileError: there is none.
    """
    named = os.environ.get(ROOT_VARIABLE)
    root = request.path or (Path(named) if named else None)
    if root is None:
        raise BadFileError(
            f"data set '{name}'", "no folder is given.", hint=f"Name its folder, or set {ROOT_VARIABLE} to that of all."
        )
    for place in (root / name, root):
        if place.is_dir() and (place.name == name or request.path is not None):
            return place
    raise BadFileError(root, f"there is no folder '{name}' of the data set.")


def check_names(request: ImportRequest) -> bool:
    """Tell whether networks may keep the set's own names. Raises UnknownNameError for other options or values."""
    request.check_options("names")
    names = request.options.get("names", "")
    if names not in ("", OWN_NAMES):
        raise UnknownNameError("value of the option names", names, [OWN_NAMES])
    return names == OWN_NAMES


def read_file(path: Path, numbers: tuple[str, ...], texts: tuple[str, ...] = (), *, header: str = "") -> Columns:
    """Return columns of a CSV, gzip-packed CSV or Parquet file. A number cell that cannot be read is NaN.

    `header` is put before the first line of a file that has none.

    Raises:
        BadFileError: absent, too large, damaged, or without one of the columns.
        UnsupportedError: Parquet without pyarrow.
    """
    names = (*numbers, *texts)
    if path.suffix == ".gz" or header:
        found = _read_unpacked(path, numbers, names, header)
    else:
        found = read_columns(path, numbers.__contains__, names.__contains__).columns
    for name in names:
        if name not in found:
            raise BadFileError(path, f"the table has no column '{name}'.")
    return found


def _read_unpacked(path: Path, numbers: tuple[str, ...], names: tuple[str, ...], header: str) -> Columns:
    """Unpack into a temporary file of bounded size, and read that."""
    source = plain_file(path, MAX_FILE_BYTES)
    with tempfile.TemporaryDirectory(prefix="archcast-") as folder:
        plain = Path(folder) / path.name.removesuffix(".gz")
        try:
            with (
                gzip.open(source, "rb") if path.suffix == ".gz" else source.open("rb") as packed,
                plain.open("wb") as out,
            ):
                out.write(f"{header}\n".encode() if header else b"")
                total = 0
                while piece := packed.read(CHUNK_BYTES):
                    total += len(piece)
                    if total > MAX_UNPACKED_BYTES:
                        raise BadFileError(path, f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes.")
                    out.write(piece)
            return read_columns(plain, numbers.__contains__, names.__contains__).columns
        except (OSError, EOFError, zlib.error) as error:
            raise BadFileError(path, f"not a readable gzip file ({error}).") from None
        except BadFileError as error:
            raise BadFileError(path, str(error).removeprefix(f"{plain}").lstrip(":, ")) from None


def texts(rows: int, value: str = "") -> Array:
    """Return a column of one text."""
    column = np.empty(rows, dtype=object)
    column[:] = value
    return column


def each(column: Array, answer: Callable[[str], Any]) -> Array:
    """Return what `answer` says of each cell, asked once a distinct text; numbers where all answers are floats."""
    table = {word: answer(word) for word in set(column.tolist())}
    found = [table[word] for word in column.tolist()]
    if table and all(isinstance(value, float) for value in table.values()):
        return np.array(found)
    answers = np.empty(len(found), dtype=object)
    answers[:] = found
    return answers


def device_id(table: str, name: str) -> str:
    """Return the catalogue id of a device by a data set's own name for it, '' where there is none."""
    try:
        return device_of(table, name)
    except UnknownNameError:
        return ""


@cache
def _by_name() -> dict[str, str]:
    names = {alias: name for name in workload_names() for alias in architecture_facts(name).get("aliases", ())}
    return names | {name: name for name in workload_names()}


@cache
def by_timm_name() -> Mapping[str, str]:
    """Return the catalogue's networks by their name in timm's tables."""
    named = {name: architecture_facts(name).get("timm") for name in workload_names()}
    return {timm: name for name, timm in named.items() if timm}


def workload_id(name: str) -> str:
    """Return the catalogue's name of a network (an alias resolves, as do names in capitals), '' where there is none."""
    return _by_name().get(plain_name(name), "") if name else ""


def whole_models(
    request: ImportRequest, origin: str, columns: Mapping[str, Any], *, unknown: Array | None = None
) -> WorkloadMeasurements | None:
    """Return the rows whose device and network are known and asked for; counts the others by name.

    `unknown` is what the data set calls the network of each row, for the report (default: nothing is said). With the
    option `names=own` it becomes the workload where the catalogue has none: timings of whole networks can be carried
    from device to device without knowing what is inside.
    """
    rows = len(columns["workload"])
    full = {name: _full(column, rows) for name, column in columns.items()}
    keep = _devices(request, full["device"])
    stray = keep & (full["workload"] == "")
    if request.options.get("names") == OWN_NAMES and unknown is not None:
        full["workload"] = np.where(stray, OWN_NAMES + ":" + unknown, full["workload"]).astype(object)
        stray = np.zeros(rows, dtype=bool)
    for word in sorted(set((unknown if unknown is not None else texts(rows))[stray].tolist())):
        named = stray if unknown is None else stray & (unknown == word)
        request.report.skip(f"network '{word}' is not in the catalogue", int(named.sum()))
    keep &= ~stray
    return workload_measurements(origin, _taken(full, keep)) if keep.any() else None


def operators(request: ImportRequest, origin: str, columns: Mapping[str, Any]) -> MeasurementTable | None:
    """Return the operator rows whose device is known and asked for, and whose latency is one; counts the others."""
    rows = len(columns["latency_s"])
    full = {name: _full(column, rows) for name, column in columns.items()}
    keep = _devices(request, full["device"])
    blank = keep & ~(full["latency_s"] > 0)
    request.report.skip("no latency, or one that rounds to zero", int(blank.sum()))
    keep &= ~blank
    return measurement_table(origin, _taken(full, keep)) if keep.any() else None


def _devices(request: ImportRequest, device: Array) -> Array:
    """Return a mask of the rows of known devices that are asked for."""
    keep = np.asarray(device != "")
    request.report.skip("a device that is not in the catalogue, or not stated", int((~keep).sum()))
    if request.devices:
        other = keep & ~np.isin(device.astype(str), request.devices)
        request.report.skip("a device that was not asked for", int(other.sum()))
        keep &= ~other
    return keep


def _full(column: Any, rows: int) -> Array:
    """Return a column of `rows` cells, from one or from one for all."""
    array = np.asarray(column)
    if array.ndim:
        return array.astype(object) if array.dtype.kind == "U" else array
    return texts(rows, str(column)) if isinstance(column, str) else np.full(rows, array)


def _taken(columns: Mapping[str, Array], keep: Array) -> Columns:
    return {name: column[keep] for name, column in columns.items()}


def drop(request: ImportRequest, columns: Mapping[str, Array], bad: Array, reason: str) -> Columns:
    """Return the rows that are not `bad`; counts those that are."""
    request.report.skip(reason, int(bad.sum()))
    return _taken(columns, ~bad)
