"""PyTorch profiler (Kineto) traces: what `torch.profiler.profile(record_shapes=True)` exports with
`export_chrome_trace`, as .json or .json.gz.

Times are in microseconds. With a device, a row's time is that of its kernels; without, that of the host. Events of
`cpu_op` carry the sizes, runtime calls the launches (`correlation`), kernels the times. A collective is the NCCL kernel
with the annotation that PyTorch puts on it; its time includes waiting for the other ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodel.measured.base import ImportRequest
from costmodel.measured.kineto_operators import FORMATS, Call, collective_of
from costmodel.measured.kineto_tree import HostCall, Kernel, innermost, keyed, nested, rows_of
from costmodel.measured.trace_json import JsonItems, input_sizes, number, text, whole
from costmodel.measured.trace_rows import Trace, TraceRow, checked, device_named, load_rows, unknown
from costmodel.measured.trace_shapes import with_format
from foundation.errors import BadFileError
from workloads.measurements import MeasurementTable

MAX_KEPT = 1_000_000
"""Calls and kernels that are kept, each."""
MICROSECOND = 1e-6
KERNELS = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
LAUNCHES = frozenset({"cuda_runtime", "cuda_driver", "privateuse1_runtime", "mtia_ccp_events"})
NO_TIME = "an event whose time is no number"
SEVERAL = "a kernel of another device of the trace"


@dataclass
class _Events:
    """What is kept of a trace."""

    calls: list[HostCall] = field(default_factory=list)
    launches: dict[int, tuple[tuple[int, int], float]] = field(default_factory=dict)
    kernels: list[tuple[str, float, float, int, int, Mapping[str, Any]]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    device: int = -1


def load_kineto(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the measurements of a trace. Raises as `read_kineto` and `load_rows`."""
    trace = read_kineto(request.needed_path("a trace of PyTorch's profiler (.json, .json.gz)"))
    yield from load_rows(trace, request)


def read_kineto(path: str | Path) -> Trace:
    """Read a trace.

    Raises:
        BadFileError: the file cannot be read, is no such trace, is too large, or has no operators.
    """
    file = Path(path)
    items = JsonItems(file, "traceEvents")
    events = _Events()
    for event in items.read():
        _take(event, events, file)
    if not events.calls and not events.kernels:
        raise BadFileError(file, "the trace has neither operators nor kernels; it is not one of PyTorch's profiler.")
    kernels = _kernels(events)
    rows, overhead_s = rows_of(events.calls, nested(events.calls), kernels, device=bool(kernels))
    name = _device_name(items.meta, events.device) if kernels else ""
    return Trace(
        str(file), f"PyTorch profiler, {file.name}", "pytorch", device_named(name), name,
        tuple(checked(row) if kernels else row for row in rows), overhead_s, dict(events.notes),
    )  # fmt: skip


def _take(event: Mapping[str, Any], events: _Events, path: Path) -> None:
    """Keep what an event tells."""
    category = event.get("cat")
    if event.get("ph") != "X" or not isinstance(category, str):
        return
    args = event.get("args")
    args = args if isinstance(args, dict) else {}
    is_kernel = category in KERNELS
    if not is_kernel and category != "cpu_op" and category not in LAUNCHES:
        return
    start_s, time_s = number(event.get("ts")) * MICROSECOND, number(event.get("dur"), high=1e13) * MICROSECOND
    if not (start_s >= 0 and time_s >= 0):
        events.notes[NO_TIME] += 1
        return
    if len(events.calls) >= MAX_KEPT or len(events.kernels) >= MAX_KEPT or len(events.launches) >= MAX_KEPT:
        raise BadFileError(path, f"more than {MAX_KEPT:,} operators or kernels; profile a shorter run.")
    thread = (whole(event.get("pid")), whole(event.get("tid")))
    if category == "cpu_op":
        events.calls.append(HostCall(_call(text(event.get("name")), args), thread, start_s, time_s,
                                     whole(args.get("External id"))))  # fmt: skip
    elif is_kernel:
        _take_kernel(event, args, events, start_s, time_s)
    elif (correlation := whole(args.get("correlation"))) > 0:
        events.launches[correlation] = (thread, start_s)


def _take_kernel(
    event: Mapping[str, Any], args: Mapping[str, Any], events: _Events, start_s: float, time_s: float
) -> None:
    device = whole(args.get("device"))
    if device >= 0 and events.device < 0:
        events.device = device
    if device >= 0 and device != events.device:
        events.notes[SEVERAL] += 1
        return
    annotation = {name: args[name] for name in _ANNOTATION if name in args}
    links = (whole(args.get("correlation")), whole(args.get("External id")))
    events.kernels.append((text(event.get("name")), start_s, time_s, *links, annotation))


_ANNOTATION = ("Collective name", "dtype", "In msg nelems", "Out msg nelems", "Group size")


def _call(name: str, args: Mapping[str, Any]) -> Call:
    dims = input_sizes(args.get("Input Dims", args.get("Input dims"))) or []
    return Call(name, dims, _texts(args.get("Input type")), _texts(args.get("Concrete Inputs")), _noted(args))


def _noted(args: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: args[name] for name in _ANNOTATION if name in args}


def _texts(value: object) -> list[str]:
    return [text(item, 120) for item in value[:128]] if isinstance(value, list) else []


def _kernels(events: _Events) -> list[Kernel]:
    """Return the activities with the calls that launched them."""
    by_key = keyed(events.calls)
    known = [events.launches.get(correlation) for _, _, _, correlation, _, _ in events.kernels]
    points = [point for point in known if point is not None]
    places = iter(innermost(events.calls, points))
    found = []
    for (name, start_s, time_s, _, key, annotation), point in zip(events.kernels, known, strict=True):
        launcher = next(places) if point is not None else -1
        launcher = by_key.get(key, -1) if launcher < 0 else launcher
        row = None
        if "nccl" in name[:40].lower() or "rccl" in name[:40].lower():
            notes = annotation or (events.calls[launcher].call.notes if launcher >= 0 else {})
            row = _collective(name, start_s, time_s, notes)
        host = name.startswith("Memcpy") and "DtoD" not in name and "Device -> Device" not in name
        found.append(Kernel(name, start_s, time_s, launcher, row, host))
    return found


def _collective(name: str, start_s: float, time_s: float, notes: Mapping[str, Any]) -> TraceRow:
    made = collective_of(
        text(notes.get("Collective name")), whole(notes.get("In msg nelems")), whole(notes.get("Out msg nelems")),
        text(notes.get("dtype")), whole(notes.get("Group size"), high=10**7),
    )  # fmt: skip
    op, shape, reason = with_format(made, FORMATS.get(text(notes.get("dtype")).lower(), ""))
    if not op:
        return unknown(name, time_s, start_s, reason, "collective")
    return TraceRow(name, op, shape, time_s, start_s)


def _device_name(meta: Mapping[str, Any], device: int) -> str:
    """Return the name of the device whose kernels are read: of its id, else of the first."""
    listed = meta.get("deviceProperties")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    mine = [entry for entry in entries if entry.get("id") == device] or entries[:1]
    return text(mine[0].get("name"), 100) if mine else ""
