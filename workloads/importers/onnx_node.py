"""What a cost handler sees of a node, and what it answers: parts, each a row of the operator table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from workloads.importers.onnx_shapes import Tensor


@dataclass(frozen=True)
class Part:
    """One operator of a node: its family, its columns, and the column that grows with the batch ("" = the family's)."""

    op: str
    shape: Mapping[str, float]
    suffix: str = ""
    grows: str = ""


@dataclass(frozen=True)
class Node:
    """A node with its attributes and typed tensors; an absent optional input is None."""

    op_type: str
    label: str
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    opset: int = field(default=13)

    def input(self, place: int) -> Tensor | None:
        """Return input `place`, None where it is absent."""
        return self.inputs[place] if place < len(self.inputs) else None

    def needed(self, place: int) -> Tensor:
        """Return an input that the operator cannot be without. Raises LookupError."""
        tensor = self.input(place)
        if tensor is None:
            raise LookupError(f"{self.label} lacks input {place}")
        return tensor

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def present(self) -> list[Tensor]:
        return [tensor for tensor in self.inputs if tensor is not None]

    @property
    def written(self) -> int:
        """Elements of all outputs."""
        return sum(tensor.elements for tensor in self.outputs)

    def number(self, name: str, default: float) -> float:
        """Return a numeric attribute."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def numbers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return a list attribute of integers."""
        value = self.attributes.get(name, default)
        return tuple(int(x) for x in value) if isinstance(value, list | tuple) else default


Handler = Callable[[Node], list[Part]]


def pointwise(
    rows: float, hidden: float, flop: float, *, reads: float | None = None, op: str = "elementwise", suffix: str = ""
) -> Part:
    """Return a part that writes rows x hidden elements, spends `flop` on each and reads `reads` elements in all."""
    written = rows * hidden
    shape = {"rows": float(rows), "hidden": float(hidden)}
    if reads is not None and reads != written:
        shape["operands"] = reads / written
    if flop and op != "copy":
        shape["flop_per_element"] = float(flop)
    return Part(op, shape, suffix)


def by_rows(tensor: Tensor) -> tuple[int, int]:
    """Return (rows, columns) of a tensor: all leading axes, the last one."""
    return (prod(tensor.dims[:-1]), tensor.dims[-1]) if tensor.dims else (1, 1)


def by_channels(tensor: Tensor) -> tuple[int, int]:
    """Return (pixels, channels) of an N x C x ... tensor."""
    channels = tensor.dims[1] if len(tensor.dims) > 1 else 1
    return tensor.elements // channels, channels
