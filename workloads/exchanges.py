"""Collectives that lowering adds between the parts of a divided operator."""

from __future__ import annotations

from typing import Any

from workloads.graph import Operator
from workloads.table import category_code
from workloads.work import OUTPUT_BYTES


def collective(o: Operator, kind: str, ranks: int, size_bytes: Any, after: str, apart: int = 1) -> Operator:
    """Return a collective that bears `o`'s name, of `ranks` that stand `apart` devices from each other."""
    shape = {"kind": kind, "bytes": size_bytes, "ranks": float(ranks), "stride": float(apart)}
    if "phase" in o.shape:
        shape["phase"] = o.shape["phase"]
    return Operator(o.name, "collective", shape, dtype=o.dtype, inputs=(after,))


def element_bytes(o: Operator) -> float:
    """Return the bytes of one element of what `o` writes."""
    return float(OUTPUT_BYTES[category_code("dtype", o.dtype)])
