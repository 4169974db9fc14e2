"""MLCommons Chakra execution traces in JSON (github.com/mlcommons/chakra, schema et_def.proto).

Read are the files that `chakra_jsonizer` writes (one object after the other, the first with the version), and objects
with an array `nodes`. Times are in microseconds. A collective is sized by `comm_size`, bytes of what one rank puts in,
so that of an all-gather is the `ranks`-th part of its buffer. Nodes of computation are operators where they bear
PyTorch's names and sizes (`inputs.shapes`); `num_ops` and `tensor_size` alone do not tell which operator ran.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.measured.base import ImportRequest
from costmodel.measured.kineto_operators import Call
from costmodel.measured.kineto_tree import HostCall, Kernel, keyed, rows_of
from costmodel.measured.trace_json import JsonItems, input_sizes, number, text, whole
from costmodel.measured.trace_rows import OPTIONS, Trace, TraceRow, checked, device_named, load_rows, unknown
from costmodel.measured.trace_shapes import Found, collective, with_format
from foundation.errors import BadFileError, BadValueError
from workloads.measurements import MeasurementTable

MAX_NODES = 1_000_000
MICROSECOND = 1e-6
TYPES = ("INVALID_NODE", "METADATA_NODE", "MEM_LOAD_NODE", "MEM_STORE_NODE", "COMP_NODE", "COMM_SEND_NODE",
         "COMM_RECV_NODE", "COMM_COLL_NODE", "STORAGE_NODE", "BATCH_NODE", "CHECKPOINT_NODE")  # fmt: skip
COLLECTIVES = ("ALL_REDUCE", "REDUCE", "ALL_GATHER", "GATHER", "SCATTER", "BROADCAST", "ALL_TO_ALL", "REDUCE_SCATTER",
               "REDUCE_SCATTER_BLOCK", "BARRIER")  # fmt: skip
KINDS = {"ALL_REDUCE": "all_reduce", "ALL_GATHER": "all_gather", "ALL_TO_ALL": "all_to_all",
         "REDUCE_SCATTER": "reduce_scatter", "REDUCE_SCATTER_BLOCK": "reduce_scatter"}  # fmt: skip
RANKS = ("group_size", "pg_size", "comm_group_size", "num_ranks", "world_size")
NO_OPERATOR = "a compute node that does not tell its operator (num_ops and tensor_size only)"
MAX_SHAPE_TEXT = 20_000


@dataclass(frozen=True)
class _Node:
    """What is kept of a node; `parent` is the id of the first node that it waits for."""

    id: int
    name: str
    type: str
    start_s: float
    time_s: float
    parent: int
    attributes: Mapping[str, Any]
    call: Call


def load_chakra(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the measurements of a trace; option `ranks` gives the ranks of collectives that do not tell theirs.

    Raises as `read_chakra` and `load_rows`.
    """
    request.check_options(*OPTIONS, "ranks")
    ranks = request.options.get("ranks", "0")
    if not ranks.isdecimal() or len(ranks) > 9:
        raise BadValueError(f"The option ranks must be a whole number, not '{ranks[:40]}'.")
    trace = read_chakra(request.needed_path("a Chakra execution trace (.json)"), ranks=int(ranks))
    options = {name: value for name, value in request.options.items() if name != "ranks"}
    plain = ImportRequest(request.path, request.devices, options, request.progress, request.report)
    yield from load_rows(trace, plain)


def read_chakra(path: str | Path, *, ranks: int = 0) -> Trace:
    """Read a trace of one rank; `ranks` is the size of groups of ranks that the trace does not tell (0 = not known).

    Raises:
        BadFileError: the file cannot be read, is no such trace, is too large, or has no nodes.
    """
    file = Path(path)
    items = JsonItems(file, "nodes", loose=True)
    notes: Counter[str] = Counter()
    nodes: list[_Node] = []
    version = ""
    for item in items.read():
        if "id" not in item and "version" in item:
            version = text(item["version"], 40)
        elif (node := _node(item)) is not None:
            nodes.append(node)
        else:
            notes["a node without an id, a type or a time"] += 1
        if len(nodes) > MAX_NODES:
            raise BadFileError(file, f"more than {MAX_NODES:,} nodes; trace a shorter run.")
    if not nodes:
        raise BadFileError(file, "the trace has no nodes with a type and a time; it is not a Chakra execution trace.")
    rows, overhead_s = _rows(nodes, ranks, notes)
    name = text(items.meta.get("device"), 100)
    source = f"Chakra trace, {file.name}"
    version = version or text(items.meta.get("version"), 40)
    return Trace(str(file), source, f"chakra {version}".strip(), device_named(name), name, tuple(rows), overhead_s,
                 dict(notes))  # fmt: skip


def _node(item: Mapping[str, Any]) -> _Node | None:
    kind = item.get("type", 0)
    kind = text(kind, 30) if isinstance(kind, str) else TYPES[whole(kind)] if 0 <= whole(kind) < len(TYPES) else ""
    number_id = whole(item.get("id", 0))
    attributes = _attributes(item.get("attr"))
    time = _either(item, "durationMicros", "duration_micros")
    time = attributes.get("runtime", 0) if time is None else time
    start = _either(item, "startTimeMicros", "start_time_micros") or 0
    time_s, start_s = number(time, high=1e13) * MICROSECOND, number(start) * MICROSECOND
    if kind not in TYPES[1:] or number_id < 0 or not (time_s >= 0 and start_s >= 0):
        return None
    waits = _either(item, "ctrlDeps", "ctrl_deps") or _either(item, "parent")
    parent = whole(waits[0]) if isinstance(waits, list) and waits else whole(waits)
    name = text(item.get("name"))
    inputs = item.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    dims = input_sizes(_listed(inputs.get("shapes"))) or []
    types = [text(word, 80) for word in _listed(inputs.get("types")) if isinstance(word, str)]
    plain = [word.removeprefix("Tensor(").removesuffix(")") for word in types]
    values = [str(value)[:120] for value in _listed(inputs.get("values"))]
    return _Node(number_id, name, kind, start_s, time_s, parent, attributes, Call(name, dims, plain, values))


def _either(item: Mapping[str, Any], *names: str) -> Any:
    return next((item[name] for name in names if name in item), None)


def _attributes(value: object) -> dict[str, Any]:
    """Return attributes by name, from protobuf's list of them, or from a plain object."""
    if isinstance(value, dict):
        return {str(name)[:60]: entry for name, entry in list(value.items())[:200]}
    found: dict[str, Any] = {}
    for entry in value[:200] if isinstance(value, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            held = [v for name, v in entry.items() if name not in ("name", "docString", "doc_string")]
            found[entry["name"][:60]] = held[0] if held else None
    return found


def _listed(value: object) -> list[Any]:
    """Return a list that stands as text, as PyTorch's traces write it ([] where it is none); nothing is evaluated."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or len(value) > MAX_SHAPE_TEXT or not value.startswith("["):
        return []
    try:
        found = json.loads(re.sub(r"\b(True|False|None)\b", lambda m: _JSON[m[0]], value.replace("'", '"')))
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


_JSON = {"True": "true", "False": "false", "None": "null"}


def _rows(nodes: list[_Node], ranks: int, notes: Counter[str]) -> tuple[list[TraceRow], float]:
    """Return the rows: collectives, and operators with the time of their kernels where there are kernels."""
    rows: list[TraceRow] = []
    host: list[_Node] = []
    device: list[_Node] = []
    for node in nodes:
        if node.type in ("COMM_COLL_NODE", "COMM_SEND_NODE", "COMM_RECV_NODE"):
            rows.append(_collective(node, ranks))
        elif node.type != "COMP_NODE":
            notes["a node of metadata, memory or storage"] += 1
        elif node.time_s == 0 and not node.name.startswith("aten::"):
            notes["a compute node without a time"] += 1
        else:
            on_host = node.attributes.get("is_cpu_op")
            (device if on_host in (False, 0, "false") else host).append(node)
    calls = [HostCall(node.call, (0, 0), node.start_s, node.time_s, node.id) for node in host]
    places = keyed(calls)
    parents = [places.get(node.parent, -1) for node in host]
    parents = [-1 if parent == i else parent for i, parent in enumerate(parents)]
    kernels = [Kernel(node.name, node.start_s, node.time_s, places.get(node.parent, -1)) for node in device]
    found, overhead_s = rows_of(calls, parents, kernels, device=bool(kernels))
    return sorted((*rows, *map(_told, found)), key=lambda row: row.start_s), overhead_s


def _told(row: TraceRow) -> TraceRow:
    """Return a row, its reason that of this format."""
    if not row.op and "::" not in row.name and not row.family:
        return unknown(row.name, row.latency_s, row.start_s, NO_OPERATOR)
    return checked(row) if row.shape.get("dtype") else row


def _collective(node: _Node, ranks: int) -> TraceRow:
    size = whole(node.attributes.get("comm_size"))
    told = next((whole(node.attributes[name]) for name in RANKS if name in node.attributes), ranks)
    made: Found
    if node.type != "COMM_COLL_NODE":
        made = collective("send_recv", size, 2)
    else:
        kind = node.attributes.get("comm_type", 0)
        place = whole(kind)  # protobuf writes long numbers as text, enumerations by number or name
        word = COLLECTIVES[place] if 0 <= place < len(COLLECTIVES) else text(kind, 40).upper()
        name = KINDS.get(word, "")
        full = size * told if name == "all_gather" and size > 0 else size
        made = collective(name, full, told) if name else f"a collective of another kind ({word[:30]})"
    op, shape, reason = with_format(made, "")
    if not op:
        return unknown(node.name, node.time_s, node.start_s, reason, "collective")
    return TraceRow(node.name, op, shape, node.time_s, node.start_s)
