"""Pointwise epilogues: what an inference runtime computes inside the kernel that made its input.

A node joins the kernel of its root where everything it reads (constants apart) comes from that root and has its
size, and where at most one tensor of the group is needed elsewhere: a kernel writes one result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from workloads.importers.onnx_node import Part
from workloads.importers.onnx_pointwise import EPILOGUES

ROOTS: frozenset[str] = frozenset({"gemm", "conv2d", "elementwise", "norm"})


@dataclass
class Entry:
    """A node on its way to becoming operators of a segment."""

    name: str
    op_type: str
    dtype: str
    parts: list[Part]
    reads: tuple[str, ...]
    """Tensors, constants apart, after views are looked through."""
    writes: tuple[str, ...]
    elements: int
    parameters: float = 0.0
    fused: bool = field(default=False)


def fuse(entries: Sequence[Entry], kept: frozenset[str]) -> None:
    """Mark the entries that run inside another's kernel; `kept` are tensors that later segments or the caller read."""
    root: dict[str, Entry] = {}
    groups: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        first = root.get(entry.reads[0]) if entry.reads else None
        joins = (
            entry.op_type in EPILOGUES
            and first is not None
            and len(entry.writes) == 1
            and entry.elements == first.elements
            and all(root.get(tensor) is first for tensor in entry.reads)
        )
        if joins and first is not None:
            entry.fused = True
            groups[id(first)].append(entry)
            root[entry.writes[0]] = first
        elif len(entry.writes) == 1 and len(entry.parts) == 1 and entry.parts[0].op in ROOTS:
            root[entry.writes[0]] = entry
            groups[id(entry)].append(entry)
    readers: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        for tensor in entry.reads:
            readers[tensor].append(entry)
    for group in groups.values():
        _shorten(group, readers, kept)


def _shorten(group: list[Entry], readers: dict[str, list[Entry]], kept: frozenset[str]) -> None:
    """Take members off the end until at most one tensor leaves the group."""
    inside = {id(entry) for entry in group}
    while len(group) > 1:
        leaving = [e for e in group if e.writes[0] in kept or any(id(r) not in inside for r in readers[e.writes[0]])]
        if len(leaving) <= 1:
            return
        last = group.pop()
        last.fused = False
        inside.discard(id(last))
