"""Kinds of space by the name that files give them."""

from __future__ import annotations

from archcast.searching.npu_array import NPU_ARRAY
from archcast.searching.problem import Design

DESIGNS: dict[str, Design] = {"npu-array": NPU_ARRAY}
