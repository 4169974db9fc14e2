"""Traces of programs: what ran, in its order, each row an operator where shapes say which; and measurements of them.

The importers of profilers (kineto, onnxruntime, nsys, chakra) read a file into a `Trace`. As measurements, runs of one
operator are one row: the median of their times, with the spread and the count. Options of every such importer:

- `device`: catalogue id, where the trace names no device or one that is not in the catalogue; `software` likewise
- `dtype`: the format of operators whose format the trace does not tell
- `workload`, with `batch`, `prompt`, `generate`, `format`, `mode`: keep only rows that align with that workload
  (`costmodel.alignment`); a trace of another workload is refused
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from foundation.checks import MAX_SIZE
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import CATEGORIES, NEEDED

OPTIONS = ("device", "software", "dtype", "workload", "batch", "prompt", "generate", "format", "mode")

Shape = Mapping[str, float | str]
"""Columns of the measurement table: sizes, `dtype`, `kv_dtype`, `phase`, `kind`."""


@dataclass(frozen=True)
class TraceRow:
    """One thing that ran. Times are in seconds.

    Attributes:
        name: what the program calls it (an operator of the framework, a node, a kernel).
        op: the operator family, '' where the trace does not tell which operator it is; `reason` then says why.
        shape: its columns, with `dtype`; empty where `op` is.
        family: the operator family that the name of a kernel suggests, where no shape is known.
    """

    name: str
    op: str
    shape: Shape
    latency_s: float
    start_s: float = 0.0
    reason: str = ""
    family: str = ""


@dataclass(frozen=True)
class Trace:
    """A trace, its rows in the order of their start.

    `device` is a catalogue id ('' = not known), `device_name` what the trace calls it. `overhead_s` is time of the
    trace that belongs to no row (views, allocations, dispatch on the host). `notes` counts events that were not used.
    """

    path: str
    source: str
    software: str
    device: str
    device_name: str
    rows: tuple[TraceRow, ...] = field(repr=False)
    overhead_s: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Time of all rows."""
        return sum(row.latency_s for row in self.rows)


def unknown(name: str, latency_s: float, start_s: float, reason: str, family: str = "") -> TraceRow:
    """Return a row of something that is no operator here."""
    return TraceRow(name, "", {}, latency_s, start_s, reason, family)


def checked(row: TraceRow) -> TraceRow:
    """Return the row, or one without an operator where a size that it needs is zero or absurd, or its format none."""
    if not row.op:
        return row
    for size in row.shape.values():
        if not isinstance(size, str) and not 0 <= size <= MAX_SIZE and row.op != "collective":
            return unknown(row.name, row.latency_s, row.start_s, "a size that is absurd", row.op)
    if any(not row.shape.get(name, 1 if name == "batch" else 0) for name in NEEDED[row.op]):
        return unknown(row.name, row.latency_s, row.start_s, "an operator on nothing (a size of 0)", row.op)
    if not row.shape.get("dtype") and row.op != "collective":
        return unknown(row.name, row.latency_s, row.start_s, "the number format is not told; give dtype=", row.op)
    return row


_GPU_NAMES = {
    "h100-80gb-hbm3": "h100-sxm", "h100-pcie": "h100-pcie", "h100-nvl": "h100-nvl", "h200": "h200-sxm",
    "h200-nvl": "h200-nvl", "a100-80gb-pcie": "a100-pcie-80gb", "a100-pcie-40gb": "a100-pcie-40gb",
    "a100-pcie-80gb": "a100-pcie-80gb", "gh200-480gb": "gh200-96gb", "gh200-144g-hbm3e": "gh200-144gb",
    "rtx-6000-ada-generation": "rtx-6000-ada",
}  # fmt: skip
"""Names that drivers give, where they are no alias of the catalogue."""


def device_named(name: str) -> str:
    """Return the catalogue id of a device by the name that its driver gives, '' where there is none."""
    plain = "-".join(name.lower().replace("(r)", " ").replace("(tm)", " ").replace("_", "-").split())
    if not plain or "/" in plain or "\\" in plain or plain.endswith((".yaml", ".yml")):
        return ""
    short = plain.removeprefix("nvidia-")
    for word in (_GPU_NAMES.get(short, ""), short, plain, short.removeprefix("geforce-"), plain.removeprefix("amd-")):
        try:
            if word:
                return load_device(word).id
        except UnknownNameError:
            continue
    return ""


def load_rows(trace: Trace, request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the measurements of a trace: one row an operator of one shape; counts in the report what is left out.

    Raises:
        BadFileError: the device of the trace is not known and not given.
        BadValueError: the trace is not one of the workload that was asked for.
        UnknownNameError: an option, a device or a workload that is not known.
    """
    request.check_options(*OPTIONS)
    device = _device(trace, request)
    report = request.report
    report.read += len(trace.rows) + sum(trace.notes.values())
    for reason, count in trace.notes.items():
        report.skip(reason, count)
    if request.devices and device not in request.devices:
        report.skip("a device that was not asked for", len(trace.rows))
        return
    rows = [_with_format(row, request.options.get("dtype", "")) for row in trace.rows]
    if request.options.get("workload"):
        rows = _aligned(trace, rows, request)
    for row in rows:
        if not row.op or not row.latency_s > 0:
            report.skip(row.reason if not row.op else "it took no measurable time", 1)
    good = [row for row in rows if row.op and row.latency_s > 0]
    if good:
        columns = merged(good)
        report.skip("further runs of an operator (the median is kept)", len(good) - len(columns["op"]))
        software = request.options.get("software", "") or trace.software
        labels = {"device": device, "software": software, "source": trace.source}
        table = measurement_table(trace.path, {**columns, **labels}, skip_bad=True)
        report.skip("an operator that cannot be", len({bad.row for bad in table.skipped}))
        yield table


def _with_format(row: TraceRow, dtype: str) -> TraceRow:
    """Return the row with `dtype` where its own is not told, then checked."""
    if row.op and dtype and not row.shape.get("dtype"):
        row = TraceRow(row.name, row.op, {**row.shape, "dtype": dtype}, row.latency_s, row.start_s)
    return checked(row)


def _device(trace: Trace, request: ImportRequest) -> str:
    """Return the id of the device: as given, as the trace says, or the only one that was asked for."""
    given = request.options.get("device", "")
    if given:
        return load_device(given).id
    if trace.device:
        return trace.device
    if len(request.devices) == 1:
        return request.devices[0]
    says = f"the trace's device '{trace.device_name}' is not in the catalogue" if trace.device_name else (
        "the trace does not say which device it ran on")  # fmt: skip
    raise BadFileError(trace.path, f"{says}.", hint="Name one device (--devices ID, or the option device=ID).")


def _aligned(trace: Trace, rows: list[TraceRow], request: ImportRequest) -> list[TraceRow]:
    """Return the rows that belong to the workload of the request's options."""
    from costmodel.alignment import align
    from workloads.catalogue import load_model
    from workloads.model import Request

    sizes: dict[str, Any] = {}
    for name in ("batch", "prompt", "generate"):
        value = request.options.get(name, "")
        if value and not (value.isdecimal() and len(value) < 10):
            raise BadValueError(f"The option {name} must be a whole number, not '{value[:40]}'.")
        if value:
            sizes[name] = int(value)
    mode = request.options.get("mode", "infer")
    if mode not in ("infer", "train"):
        raise BadValueError(f"The option mode must be infer or train, not '{mode[:40]}'.")
    asked = Request(**sizes, dtype=request.options.get("format", ""), mode="train" if mode == "train" else "infer")
    workload = load_model(request.options["workload"]).workload(asked)
    found = align(rows, workload, origin=trace.path)
    kept = found.trace_indices()
    request.report.skip(f"not of the workload {workload.name}", len(rows) - len(kept))
    return [rows[i] for i in sorted(kept)]


def merged(rows: list[TraceRow]) -> dict[str, Any]:
    """Return columns of the measurement table, one row for all runs of one operator, in the order of the first."""
    groups: dict[tuple[Any, ...], list[float]] = {}
    firsts: list[TraceRow] = []
    for row in rows:
        key = (row.op, *sorted(row.shape.items()))
        if key not in groups:
            groups[key] = []
            firsts.append(row)
        groups[key].append(row.latency_s)
    names = sorted({name for row in firsts for name in row.shape})
    columns: dict[str, Any] = {"op": np.array([row.op for row in firsts], dtype=object)}
    for name in names:
        empty: Any = "" if name in CATEGORIES else np.nan
        values = [row.shape.get(name, empty) for row in firsts]
        columns[name] = np.array(values, dtype=object if name in CATEGORIES else np.float64)
    times = [np.array(group) for group in groups.values()]
    columns["latency_s"] = np.array([float(np.median(group)) for group in times])
    columns["n_repeat"] = np.array([float(len(group)) for group in times])
    columns["latency_std_s"] = np.array([float(group.std(ddof=1)) if len(group) > 1 else np.nan for group in times])
    return columns
