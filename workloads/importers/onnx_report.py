"""The report of an ONNX import: what became an operator, what did not, and how much that weighs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workloads.graph import Pass, WorkloadGraph
from workloads.importers.onnx_graph import Findings
from workloads.lowering import lower
from workloads.work import count_work


def report_of(graph: WorkloadGraph, findings: Findings) -> Mapping[str, Any]:
    """Return the report as plain data.

    `unmodelled` has an entry for each operator type without a cost model: its nodes, the reason, and its shares. The
    bytes are its inputs and outputs, which is what its cost consists of; the FLOP share assumes one operation for each
    element that it writes, which is a lower bound.
    """
    lowered = lower((Pass("forward", graph),))
    work, count = count_work(lowered.table), lowered.table.full("count")
    flop = np.broadcast_to(work.flop, lowered.table.rows) * count
    moved = np.broadcast_to(work.bytes_moved, lowered.table.rows) * count
    elements = lowered.table.full("rows") * lowered.table.full("hidden") * count
    rows = {label: i for i, label in enumerate(lowered.table.labels)}
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    least = sum(float(elements[rows[found["node"]]]) for found in findings.unmodelled)
    all_flop, all_bytes = max(1.0, float(flop.sum()) + least), max(1.0, float(moved.sum()))
    for found in findings.unmodelled:
        row = rows[found["node"]]
        new = {"op": found["op"], "domain": found["domain"], "reason": found["reason"], "nodes": [],
               "share_of_flop": 0.0, "share_of_bytes": 0.0}  # fmt: skip
        entry = grouped.setdefault((found["domain"], found["op"]), new)
        entry["nodes"].append(found["node"])
        entry["share_of_flop"] += float(elements[row]) / all_flop
        entry["share_of_bytes"] += float(moved[row]) / all_bytes
    operators = [o for block in graph.blocks for o in block.operators]
    return {
        "nodes": findings.nodes, "operators": sum(not o.fused for o in operators),
        "fused": sum(o.fused for o in operators),
        "free": findings.free, "folded": findings.folded, "unmodelled": list(grouped.values()),
        "share_of_flop": sum(entry["share_of_flop"] for entry in grouped.values()),
        "share_of_bytes": sum(entry["share_of_bytes"] for entry in grouped.values()),
        "notes": list(findings.notes),
    }  # fmt: skip
