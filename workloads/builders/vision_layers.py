"""What builders of image networks share: a stack of layers that tracks the feature map, and the one-pass workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workloads.builders.knobs import KnobModel
from workloads.builders.one_pass import one_pass
from workloads.graph import BLOCK_INPUT, Operator, Size, Workload, WorkloadGraph
from workloads.model import Request
from workloads.table import Array

ACTIVATION_FLOP = {"relu": 1.0, "relu6": 2.0, "silu": 4.0}
"""Per element: compare; two compares; exp, add, divide, multiply."""
BATCH_NORM_FLOP = 2.0
"""Per element at inference, where mean and variance are constants: one multiply, one add."""


class Layers:
    """Collects the operators of one block and tracks the feature map: `channels` x `height` x `width` an image.

    Batch normalisation and activations are `fused`: they keep their parameters and run inside the convolution's
    kernel, as in every inference runtime.
    """

    def __init__(self, batch: Size, dtype: str, channels: int, height: int, width: int) -> None:
        self.batch, self.dtype = batch, dtype
        self.channels, self.height, self.width = channels, height, width
        self.operators: list[Operator] = []
        self.last = BLOCK_INPUT

    @property
    def elements(self) -> Size:
        """Elements of the feature map, whole batch."""
        return self.batch * self.channels * self.height * self.width

    def next_block(self) -> Layers:
        """Return an empty stack that continues from this feature map."""
        return Layers(self.batch, self.dtype, self.channels, self.height, self.width)

    def add(self, name: str, op: str, shape: dict[str, Any], inputs: Sequence[str] = (), **rest: Any) -> str:
        sources = tuple(dict.fromkeys(inputs or (self.last,)))
        self.operators.append(Operator(name, op, shape, dtype=self.dtype, inputs=sources, **rest))
        self.last = name
        return name

    def conv(
        self, name: str, c_out: int, kernel: int, *, stride: int = 1, padding: int | None = None, groups: int = 1,
        act: str = "", bias: bool = False, batch_norm: bool = True, inputs: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """Append a square convolution ("same" padding by default) with what is fused into it."""
        pad = kernel // 2 if padding is None else padding
        shape = {
            "batch": self.batch, "c_in": self.channels, "h": self.height, "w": self.width, "c_out": c_out, "kh": kernel,
            "kw": kernel, "stride": stride, "padding": pad, "groups": groups,
        }  # fmt: skip
        stored = self.channels // groups * kernel * kernel * c_out + c_out * bias
        self.add(name, "conv2d", shape, inputs, parameters=float(stored))
        self.height, self.width = (_after(side, kernel, stride, pad) for side in (self.height, self.width))
        self.channels = c_out
        if batch_norm:
            self.fused(f"{name}.bn", "norm", BATCH_NORM_FLOP, parameters=2.0 * c_out)
        if act:
            self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act])
        return self.last

    def fused(self, name: str, op: str, flop: float, parameters: float = 0.0) -> str:
        """Append a pointwise operator that runs inside the kernel before it."""
        shape = {**self._pixels(), "flop_per_element": flop}
        return self.add(name, op, shape, parameters=parameters, fused=True)

    def residual(self, name: str, shortcut: str, act: str = "") -> str:
        """Append the addition of a shortcut: a kernel of its own that reads both branches."""
        self.add(name, "elementwise", {**self._pixels(), "operands": 2}, (self.last, shortcut))
        return self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act]) if act else self.last

    def pool(self, name: str, kernel: int, stride: int, padding: int) -> str:
        """Append a pooling layer: one compare or add for each element of the window, the whole map read once."""
        before = self.height * self.width
        self.height, self.width = (_after(side, kernel, stride, padding) for side in (self.height, self.width))
        reads = before / (self.height * self.width)
        return self.add(name, "elementwise", {**self._pixels(), "operands": reads, "flop_per_element": kernel * kernel})

    def classify(self, classes: int) -> None:
        """Append global average pooling and the classifier."""
        pixels = self.height * self.width
        self.height = self.width = 1
        self.add("pool", "elementwise", {**self._pixels(), "operands": pixels, "flop_per_element": pixels})
        shape = {"m": self.batch, "n": classes, "k": self.channels}
        self.add("fc", "gemm", shape, parameters=float(classes * (self.channels + 1)), shard="logits")

    def _pixels(self) -> dict[str, Any]:
        return {"rows": self.batch * (self.height * self.width), "hidden": self.channels}


def _after(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return a side of the map after a window of `kernel`; with padding of half the window it is at least 1."""
    return (size + 2 * padding - kernel) // stride + 1


def image_pass(model: KnobModel, graph: WorkloadGraph, batch: Array, request: Request) -> Workload:
    """Return one forward pass over a batch of images, or the training step of it."""
    return one_pass(model.name, graph, batch, request, notes=model.notes + _sequence_notes(model.name, request))


def _sequence_notes(name: str, request: Request) -> tuple[str, ...]:
    asked = [k for k in ("prompt", "generate") if getattr(request, k) is not None and np.any(getattr(request, k))]
    return (f"'{name}' takes images, not tokens: {' and '.join(asked)} changed nothing.",) if asked else ()


def largest_boundary(blocks: Sequence[Layers]) -> Size:
    """Return the largest feature map between blocks: what a pipeline stage must send at most."""
    return max((layers.elements for layers in blocks[:-1]), key=lambda size: float(np.max(size)), default=0.0)


def in_format(model: Any, request: Request) -> Any:
    """Return the model in the request's number format."""
    return replace(model, dtype=request.dtype) if request.dtype else model
