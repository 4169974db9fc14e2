"""Operator measurements of NVIDIA's aiconfigurator (github.com/ai-dynamo/aiconfigurator, Apache-2.0).

Read from the installed package aiconfigurator-core (found, never imported), or from a folder: a copy of its
`systems/data`, or tables whose rows name their `system`. Latency is in milliseconds and power in watts of one GPU.
Where one stack measured one operator more than once (other kernels, a graph beside eager calls, a second run), the
fastest row is kept: that is the kernel which a tuned stack picks, and second runs of one kernel differ by 1 % (median).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.aiconfigurator_tables import TABLES, Columns, TableKind, named, why_not
from costmodel.measured.base import ImportReport, ImportRequest
from costmodel.measured.rows import row_keys
from foundation.errors import BadFileError, InputError, UnknownNameError, UnsupportedError
from hardware_specs import device_of
from workloads.column_files import NEED_PARQUET, read_columns
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import Array

PACKAGE, DISTRIBUTION, LICENCE = "aiconfigurator_core", "aiconfigurator-core", "Apache-2.0"
LEAST_MS = 1e-4
"""Latencies below this are differences of two kernels, not measurements."""
MAX_FILES = 20_000
LABELS = ("framework", "version")
REPEATED = "measured again by the same stack; the fastest is kept"


@dataclass(frozen=True)
class _File:
    """One Parquet file. `system`, `backend` and `version` come from its place ('' = its rows say it)."""

    path: Path
    table: str
    system: str
    backend: str
    version: str
    rows: int


def load_aiconfigurator(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield a table for each (table, system), in the order of their names.

    The option `tables` names the tables to read, e.g. `gemm_perf,moe_perf` (default: all that are operators).

    Raises:
        UnsupportedError: the package is not installed and no folder is given, or pyarrow is absent.
        BadFileError: no tables in the folder, or one that cannot be read.
        UnknownNameError: an unknown option or table.
    """
    request.check_options("tables")
    wanted = [word for word in request.options.get("tables", "").split(",") if word]
    for word in wanted:
        if word not in TABLES:
            raise UnknownNameError("table of aiconfigurator", word, TABLES)
    root, source = _root(request.path)
    files = [file for file in _files(root) if not wanted or file.table in wanted]
    files = [file for file in files if _asked(file, request)]
    total, done = max(1, sum(file.rows for file in files)), 0
    units: dict[tuple[str, str], list[_File]] = {}
    for file in files:
        if file.table in TABLES:
            units.setdefault((file.table, file.system or str(file.path)), []).append(file)
        else:
            request.report.read += file.rows
            request.report.skip(why_not(file.table), file.rows)
            done += file.rows
    for (table, system), parts in sorted(units.items()):
        request.progress(f"{table.removesuffix('_perf')} of {Path(system).name}", done / total)
        found = _unit(TABLES[table], parts, request, source)
        done += sum(part.rows for part in parts)
        if found is not None:
            yield found
    request.progress("read", 1.0)


def _root(path: Path | None) -> tuple[Path, str]:
    """Return the folder of the tables, and what the column `source` says."""
    if path is not None:
        if not path.is_dir():
            raise BadFileError(path, "not a folder of aiconfigurator's tables.")
        inner = [path / sub for sub in (f"{PACKAGE}/systems/data", "systems/data", "data")]
        return next((place for place in inner if place.is_dir()), path), f"aiconfigurator, {path.name} ({LICENCE})"
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(
            f"The package {DISTRIBUTION} is not installed; run `pip install {DISTRIBUTION}`, "
            "or name a folder of its tables: --import aiconfigurator=FOLDER."
        )
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return Path(
        next(iter(spec.submodule_search_locations))
    ) / "systems" / "data", f"{DISTRIBUTION} {version} ({LICENCE})"


def _files(root: Path) -> list[_File]:
    """Return the tables under a folder with their row counts. Raises BadFileError, UnsupportedError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError(f"{root}: {NEED_PARQUET}") from None
    paths = sorted(root.rglob("*.parquet"))
    if not paths:
        raise BadFileError(root, "no Parquet tables are in this folder.")
    if len(paths) > MAX_FILES:
        raise BadFileError(root, f"{len(paths):,} Parquet files are too many; at most {MAX_FILES:,} are read.")
    found = []
    for path in paths:
        try:
            rows = pyarrow.parquet.read_metadata(path).num_rows
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0][:120]
            raise BadFileError(path, f"not a readable Parquet file ({reason}).") from None
        place = path.relative_to(root).parts
        system, backend, version = (place[0], place[2], place[3]) if len(place) == 5 else ("", "", "")
        name = path.stem.removeprefix("op_power_").removeprefix("comm_")
        found.append(_File(path, name.removesuffix("_perf") + "_perf", system, backend, version, rows))
    return found


def _asked(file: _File, request: ImportRequest) -> bool:
    """Tell whether a file may hold rows of the devices asked for; systems not known are noted, not read."""
    if not file.system:
        return True
    device = _device(file.system)
    if not device:
        request.report.read += file.rows
        request.report.skip(f"system '{file.system}' is not in the catalogue", file.rows)
    return bool(device) and (not request.devices or device in request.devices)


def _device(system: str) -> str:
    """Return the catalogue id of a system, '' where there is none."""
    try:
        return device_of("aiconfigurator", system)
    except InputError:
        return ""


def _unit(
    kind: TableKind, files: Sequence[_File], request: ImportRequest, source: str
) -> MeasurementTable | None:  # fmt: skip
    """Return the rows of some files of one table that can be used, each operator once a stack."""
    parts = [part for file in files if (part := _mapped(kind, file, request)) is not None]
    if not parts:
        return None
    names = list(parts[0])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    keys = row_keys({n: c for n, c in columns.items() if n not in ("latency_s", "power_w", "energy_j")})
    order = np.lexsort((columns["latency_s"], keys))
    first = np.ones(len(order), dtype=bool)
    first[1:] = keys[order][1:] != keys[order][:-1]
    keep = np.sort(order[first])
    request.report.skip(REPEATED, len(order) - len(keep))
    columns = {name: column[keep] for name, column in columns.items()}
    if np.isnan(columns["power_w"]).all():
        del columns["power_w"], columns["energy_j"]
    table = measurement_table(f"aiconfigurator {files[0].table}", {**columns, "source": source}, skip_bad=True)
    for bad in table.skipped:
        request.report.skip(f"{bad.column}: {bad.reason}", 1)
    return replace(table, skipped=())


def _mapped(kind: TableKind, file: _File, request: ImportRequest) -> dict[str, Array] | None:
    """Return the usable rows of one file as columns of the measurement table, or None where there are none."""
    numbers = (*kind.numbers, "latency", "power")
    texts = (*kind.texts, *LABELS, "system")
    raw = read_columns(file.path, numbers.__contains__, lambda name: name in numbers or name in texts)
    report, rows = request.report, raw.rows
    report.read += rows
    columns = {**raw.columns}
    missing = [n for n in (*kind.numbers, *kind.texts, "latency") if n not in columns and n != "window_size"]
    if missing or rows == 0:
        report.skip(f"no column '{missing[0]}' in the file" if missing else "an empty file", rows)
        return None
    for name in (n for n in (*numbers, *texts) if n not in columns):
        columns[name] = np.full(rows, np.nan) if name in numbers else np.full(rows, "", dtype=object)
    device = _devices(columns, file)
    keep = _kept(kind, columns, device, request)
    if not keep.any():
        return None
    columns = {name: column[keep] for name, column in columns.items()}
    built = {name: _full(value, int(keep.sum())) for name, value in kind.build(columns).items()}
    latency_s, power_w = columns["latency"] * 1e-3, np.where(columns["power"] > 0, columns["power"], np.nan)
    built |= {
        "device": device[keep], "software": _software(kind, columns, file), "latency_s": latency_s,
        "power_w": power_w, "energy_j": power_w * latency_s,
    }  # fmt: skip
    good = _known(built, kind, columns, report)
    return {name: column[good] for name, column in built.items()} if good.any() else None


def _full(value: Any, rows: int) -> Array:
    if isinstance(value, np.ndarray):
        return value.astype(object) if value.dtype.kind == "U" else value
    return np.full(rows, value, dtype=object if isinstance(value, str) else np.float64)


def _devices(columns: Columns, file: _File) -> Array:
    """Return the catalogue id of each row, '' where there is none."""
    if file.system:
        return np.full(len(columns["latency"]), _device(file.system), dtype=object)
    return named(columns["system"], _device)


def _kept(kind: TableKind, columns: Columns, device: Array, request: ImportRequest) -> Array:
    """Return a mask of the rows that are a measurement of a device asked for; counts the others."""
    report, latency = request.report, columns["latency"]
    keep = device != ""
    report.skip("a system that is not in the catalogue", int((~keep).sum()))
    if request.devices:
        other = keep & ~np.isin(device.astype(str), request.devices)
        report.skip("a device that was not asked for", int(other.sum()))
        keep &= ~other
    gaps = keep & ~np.isfinite(latency)
    for name in kind.numbers:
        if name != "window_size":
            gaps |= keep & ~np.isfinite(columns[name])
    report.skip("a cell that is empty", int(gaps.sum()))
    keep &= ~gaps
    short = keep & (latency < LEAST_MS)
    report.skip(f"latency below {LEAST_MS:g} ms", int(short.sum()))
    return np.asarray(keep & ~short)


def _software(kind: TableKind, columns: Columns, file: _File) -> Array:
    """Return 'stack version' of each row; the file's place where a row names none."""
    rows = len(columns["latency"])
    stack, version = columns["framework"].tolist(), columns["version"].tolist()
    pairs = {(a, b): f"{kind.software or (a or file.backend).lower()} {b or file.version}".strip()
             for a, b in set(zip(stack, version, strict=True))}  # fmt: skip
    texts = np.empty(rows, dtype=object)
    texts[:] = [pairs[pair] for pair in zip(stack, version, strict=True)]
    return texts


def _known(built: Columns, kind: TableKind, columns: Columns, report: ImportReport) -> Array:
    """Return a mask of the rows whose names all mean something here; counts the others by the name."""
    good = np.ones(len(built["latency_s"]), dtype=bool)
    told = {"kind": "op_name", "skew": "distribution", "phase": "phase"}
    own = next((name for name in kind.texts if name.endswith("_dtype")), "kernel_source")
    for name in ("kind", "phase", "skew", "dtype", "kv_dtype"):
        column = built.get(name)
        if column is None:
            continue
        bad = good & ((column == "") if column.dtype == object else np.isnan(column))
        word = "kv_cache_dtype" if name == "kv_dtype" and "kv_cache_dtype" in columns else told.get(name, own)
        if bad.any():
            words = columns.get(word, built["op"])[bad]
            for value in sorted(set(words.tolist())):
                report.skip(f"{word} '{value}' is no operator or format here", int((words == value).sum()))
        good &= ~bad
    return good
