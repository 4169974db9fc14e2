"""Calls of operators, nested in time, and the kernels that they launched: which row each kernel belongs to.

A row is the outermost call that is an operator here (`aten::linear`, not the `aten::addmm` within). Its time is the sum
of the kernels launched from inside it, or, in a trace without a device, its own time on the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from costmodel.measured.kineto_operators import Call, is_free, kernel_family, kernel_format, operator_of
from costmodel.measured.trace_rows import TraceRow, unknown

TOLERANCE_S = 5e-9
"""Ends of nested calls may differ by rounding."""
NO_OPERATOR = "an operator that archcast does not know"
GRAPH = "a kernel without an operator (a captured graph, or a launch outside of operators)"
HOST_COPY = "a copy between host and device"
WRAPPERS = re.compile(r"^(torch::)?autograd::|^\w+Backward\d*$")
MATRIX_OPS = frozenset({"gemm", "conv2d", "attention"})


@dataclass(frozen=True)
class HostCall:
    """A call on the host; times in seconds. `thread` names process and thread, `key` how launches may refer to it."""

    call: Call
    thread: tuple[int, int]
    start_s: float
    time_s: float
    key: int = -1


@dataclass(frozen=True)
class Kernel:
    """One activity of the device. `launcher` is an index into the calls, -1 = none.

    `row` is set where the kernel is a row of its own, such as a collective; `host` marks a copy from or to the host.
    """

    name: str
    start_s: float
    time_s: float
    launcher: int = -1
    row: TraceRow | None = None
    host: bool = False


def nested(calls: Sequence[HostCall]) -> list[int]:
    """Return the index of the innermost call that each call stands in, -1 for none."""
    parents = [-1] * len(calls)
    stack: list[int] = []
    for i in sorted(range(len(calls)), key=lambda i: (calls[i].thread, calls[i].start_s, -calls[i].time_s, i)):
        me = calls[i]
        while stack and not _holds(calls[stack[-1]], me):
            stack.pop()
        parents[i] = stack[-1] if stack else -1
        stack.append(i)
    return parents


def _holds(outer: HostCall, inner: HostCall) -> bool:
    ends = outer.start_s + outer.time_s + TOLERANCE_S
    return outer.thread == inner.thread and inner.start_s + inner.time_s <= ends


def innermost(calls: Sequence[HostCall], points: Sequence[tuple[tuple[int, int], float]]) -> list[int]:
    """Return the innermost call that holds each (thread, time), -1 for none."""
    found = [-1] * len(points)
    order = sorted(range(len(calls)), key=lambda i: (calls[i].thread, calls[i].start_s, -calls[i].time_s, i))
    stack: list[int] = []
    at = 0
    for p in sorted(range(len(points)), key=points.__getitem__):
        thread, time_s = points[p]
        while at < len(order) and (calls[order[at]].thread, calls[order[at]].start_s) <= (thread, time_s):
            me = calls[order[at]]
            while stack and not _holds(calls[stack[-1]], me):
                stack.pop()
            stack.append(order[at])
            at += 1
        while stack and not (
            calls[stack[-1]].thread == thread and time_s <= calls[stack[-1]].start_s + calls[stack[-1]].time_s
        ):
            stack.pop()
        found[p] = stack[-1] if stack else -1
    return found


def ordered_parents(calls: Sequence[HostCall], parents: Sequence[int]) -> list[int]:
    """Return the calls so that each stands after the one it stands in; a ring of parents is cut."""
    order: list[int] = []
    state = [0] * len(calls)
    for i in range(len(calls)):
        path = []
        while i >= 0 and not state[i]:
            state[i] = 1
            path.append(i)
            i = parents[i]
        order += reversed(path)
    return order


def rows_of(
    calls: Sequence[HostCall], parents: Sequence[int], kernels: Sequence[Kernel], *, device: bool
) -> tuple[list[TraceRow], float]:
    """Return the rows in the order of their start, and the seconds of the host that belong to none.

    `device`: times are those of kernels; otherwise those of the host.
    """
    owners, found = _owners(calls, parents)
    if not device:
        return _host_rows(calls, parents, owners, found)
    launched: dict[int, list[Kernel]] = {}
    rows: list[TraceRow] = []
    for kernel in kernels:
        owner = owners[kernel.launcher] if kernel.launcher >= 0 else -1
        if kernel.row is not None:
            rows.append(kernel.row)
        elif owner >= 0:
            launched.setdefault(owner, []).append(kernel)
        else:
            reason = HOST_COPY if kernel.host else GRAPH
            rows.append(unknown(kernel.name, kernel.time_s, kernel.start_s, reason, kernel_family(kernel.name)))
    rows += [_device_row(calls[owner], found.get(owner), group) for owner, group in launched.items()]
    return sorted(rows, key=lambda row: row.start_s), 0.0


def _device_row(call: HostCall, row: TraceRow | None, kernels: Sequence[Kernel]) -> TraceRow:
    """Return the row of a call with the time of its kernels."""
    time_s, start_s = sum(k.time_s for k in kernels), min(k.start_s for k in kernels)
    names = [k.name for k in kernels]
    if any(k.host for k in kernels) and (row is None or row.op == "copy"):
        return unknown(call.call.name, time_s, start_s, HOST_COPY, "copy")
    if row is None or not row.op:
        family = next(filter(None, map(kernel_family, names)), "")
        reason = row.reason if row is not None else NO_OPERATOR
        return unknown(call.call.name, time_s, start_s, reason, family)
    shape, told = dict(row.shape), kernel_format(names)
    if not shape.get("dtype") and told:
        shape["dtype"] = told
    elif row.op in MATRIX_OPS and shape.get("dtype") == "fp32" and told == "tf32":
        shape["dtype"] = "tf32"
    return replace(row, shape=shape, latency_s=time_s, start_s=start_s)


def _owners(calls: Sequence[HostCall], parents: Sequence[int]) -> tuple[list[int], dict[int, TraceRow]]:
    """Return the row-making call of each call (-1 = none), and the rows by call, with times of the host.

    A call that is no operator here, and has none inside, is a row without an operator.
    """
    owners = [-1] * len(calls)
    found: dict[int, TraceRow] = {}
    order = ordered_parents(calls, parents)
    for i in order:
        me, parent = calls[i], parents[i]
        if parent >= 0 and owners[parent] >= 0:
            owners[i] = owners[parent]
            continue
        told = operator_of(me.call)
        if told is not None:
            owners[i] = i
            op, shape, reason = told
            found[i] = TraceRow(me.call.name, op, shape, me.time_s, me.start_s, reason)
    holds = [False] * len(calls)
    for i in reversed(order):
        if (holds[i] or i in found) and parents[i] >= 0:
            holds[parents[i]] = True
    outer = set(parents)
    for i in order:
        parent = parents[i]
        if owners[i] >= 0 or holds[i] or _wraps(calls[i].call.name, i in outer):
            continue
        if parent >= 0 and owners[parent] >= 0:
            owners[i] = owners[parent]
        elif not is_free(calls[i].call.name):
            owners[i] = i
            found[i] = unknown(calls[i].call.name, calls[i].time_s, calls[i].start_s, NO_OPERATOR)
    return owners, found


def _wraps(name: str, has_calls: bool) -> bool:
    """Tell whether a call only holds others: the engine of autograd, a user's range."""
    return bool(WRAPPERS.search(name)) or ("::" not in name and has_calls)


def _host_rows(
    calls: Sequence[HostCall], parents: Sequence[int], owners: Sequence[int], found: dict[int, TraceRow]
) -> tuple[list[TraceRow], float]:
    overhead_s = 0.0
    for i, me in enumerate(calls):
        if owners[i] < 0:
            overhead_s += me.time_s
        if parents[i] >= 0 and owners[parents[i]] < 0:
            overhead_s -= me.time_s
    return sorted(found.values(), key=lambda row: row.start_s), max(0.0, overhead_s)


def keyed(calls: Iterable[HostCall]) -> dict[int, int]:
    """Return the index of the call of each key; of one key twice, the last."""
    return {call.key: i for i, call in enumerate(calls) if call.key >= 0}
