"""What builders of image networks share: layers that track the feature map, blocks that repeat, the one-pass model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from workloads.builders.knobs import KnobModel, number_format_knob, size
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import BLOCK_INPUT, Block, Operator, Size, Workload, WorkloadGraph
from workloads.graph_model import with_batch
from workloads.model import Request
from workloads.table import Array

ACTIVATION_FLOP = {
    "relu": 1.0, "relu6": 2.0, "leaky": 2.0, "silu": 4.0, "sigmoid": 3.0, "hard-sigmoid": 3.0, "hard-swish": 4.0,
    "gelu": 8.0, "mish": 8.0,
}  # fmt: skip
"""Per element: compare; two compares; compare and multiply; exp, add, divide, multiply; and so on."""
ACTIVATIONS = tuple(ACTIVATION_FLOP)
BATCH_NORM_FLOP = 2.0
"""Per element at inference, where mean and variance are constants: one multiply, one add."""
LAYER_NORM_FLOP = 5.0
RMS_NORM_FLOP = 4.0
"""Per element: two sums, subtract, scale, shift; without a mean: square, sum, two scales."""


class Point(NamedTuple):
    """A feature map inside a block: the operator that made it, and its shape."""

    name: str
    channels: int
    height: int
    width: int


class Layers:
    """Collects the operators of one block and tracks the feature map: `channels` x `height` x `width` an image.

    Batch normalisation and activations are `fused`: they keep their parameters and run inside the convolution's
    kernel, as in every inference runtime. What a network computes before a convolution (`norm`) cannot be.
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

    @property
    def here(self) -> Point:
        """The feature map that the next layer would read."""
        return Point(self.last, self.channels, self.height, self.width)

    def back_to(self, point: Point) -> None:
        """Let the next layer read an earlier feature map."""
        self.last, self.channels, self.height, self.width = point

    def next_block(self) -> Layers:
        """Return an empty stack that continues from this feature map."""
        return Layers(self.batch, self.dtype, self.channels, self.height, self.width)

    def add(self, name: str, op: str, shape: dict[str, Any], inputs: Sequence[str] = (), **rest: Any) -> str:
        sources = tuple(dict.fromkeys(inputs or (self.last,)))
        self.operators.append(Operator(name, op, shape, dtype=self.dtype, inputs=sources, **rest))
        self.last = name
        return name

    def conv(
        self, name: str, c_out: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: int | None = None,
        groups: int = 1, act: str = "", bias: int = 0, batch_norm: bool = True, inputs: Sequence[str] = (),
        stored: bool = True,
    ) -> str:  # fmt: skip
        """Append a convolution ("same" padding by default) with what is fused into it.

        `bias` is how many learned numbers an output channel has beside its filter (a bias, a gain); `stored` False:
        the filter is a constant (blurring), without parameters.
        """
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        pad = min(high, wide) // 2 if padding is None else padding
        shape: dict[str, Any] = {
            "batch": self.batch, "c_in": self.channels, "h": self.height, "w": self.width, "c_out": c_out, "kh": high,
            "kw": wide, "stride": stride, "padding": pad, "groups": groups,
        }  # fmt: skip
        parameters = self.channels // groups * high * wide * c_out + c_out * bias if stored else 0
        sides = (self.height, self.width)
        if high == wide:
            self.height, self.width = (_after(side, high, stride, pad) for side in sides)
        elif padding is None:  # a 1 x k window keeps the map: its padding differs from side to side
            shape |= {"out_h": -(-self.height // stride), "out_w": -(-self.width // stride)}
            self.height, self.width = shape["out_h"], shape["out_w"]
        else:
            self.height, self.width = (_after(s, k, stride, pad) for s, k in zip(sides, (high, wide), strict=True))
        self.add(name, "conv2d", shape, inputs, parameters=float(parameters))
        self.channels = c_out
        if batch_norm:
            self.fused(f"{name}.bn", "norm", BATCH_NORM_FLOP, parameters=2.0 * c_out)
        if act:
            self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act])
        return self.last

    def depthwise(self, name: str, kernel: int, **rest: Any) -> str:
        """Append a convolution with one filter a channel."""
        return self.conv(name, self.channels, kernel, groups=self.channels, **rest)

    def fused(self, name: str, op: str, flop: float, parameters: float = 0.0) -> str:
        """Append a pointwise operator that runs inside the kernel before it."""
        shape = {**self._pixels(), "flop_per_element": flop}
        return self.add(name, op, shape, parameters=parameters, fused=True)

    def norm(self, name: str, kind: str = "layer", act: str = "", *, bias: bool = True) -> str:
        """Append a normalisation in a kernel of its own: `batch` (before a convolution), `layer`, `group` or `rms`."""
        flop = {"batch": BATCH_NORM_FLOP, "rms": RMS_NORM_FLOP}.get(kind, LAYER_NORM_FLOP)
        shape = {**self._pixels(), "flop_per_element": flop}
        self.add(name, "norm", shape, parameters=float(self.channels * (1 + (bias and kind != "rms"))))
        return self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act]) if act else self.last

    def pointwise(self, name: str, flop: float = 1.0, *, inputs: Sequence[str] = (), parameters: float = 0.0) -> str:
        """Append an elementwise kernel over the maps of `inputs` (all of one shape, or broadcast to it)."""
        shape = {**self._pixels(), "operands": max(1, len(inputs)), "flop_per_element": flop}
        return self.add(name, "elementwise", shape, inputs, parameters=parameters)

    def residual(self, name: str, shortcut: str, act: str = "", *, parameters: float = 0.0) -> str:
        """Append the addition of a shortcut: a kernel of its own that reads both branches (and a layer scale)."""
        shape = {**self._pixels(), "operands": 2}
        self.add(name, "elementwise", shape, (self.last, shortcut), parameters=parameters)
        return self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act]) if act else self.last

    def concat(self, name: str, points: Sequence[Point]) -> str:
        """Append the joining of maps of one size along their channels: every element copied once."""
        self.channels, (_, _, self.height, self.width) = sum(point.channels for point in points), points[0]
        return self.add(name, "copy", self._pixels(), tuple(point.name for point in points))

    def take(self, channels: int) -> None:
        """Let the next layer read the first `channels` of the map (a view: nothing is copied)."""
        self.channels = channels

    def squeeze_excite(
        self, name: str, inner: int, *, act: str = "relu", gate: str = "sigmoid", bias: bool = True, norm: bool = False,
    ) -> str:  # fmt: skip
        """Append channel attention (Hu et al. 2017): mean of the map, two dense layers, a gate that scales the map."""
        entry = self.here
        self.average(f"{name}.pool")
        self.dense(f"{name}.reduce", inner, bias=bias, batch_norm=norm, act=act)
        gates = self.dense(f"{name}.expand", entry.channels, bias=bias, act=gate)
        self.back_to(entry)
        return self.pointwise(f"{name}.scale", inputs=(entry.name, gates))

    def efficient_attention(self, name: str, kernel: int) -> str:
        """Append channel attention by a 1-D convolution over the channels (Wang et al. 2019)."""
        entry = self.here
        self.average(f"{name}.pool")
        shape = {
            "batch": self.batch, "c_in": 1, "h": 1, "w": entry.channels, "c_out": 1, "kh": 1, "kw": kernel, "groups": 1,
            "padding": 0, "out_h": 1, "out_w": entry.channels,
        }  # fmt: skip
        self.add(f"{name}.conv", "conv2d", shape, parameters=float(kernel))
        gates = self.fused(f"{name}.gate", "elementwise", ACTIVATION_FLOP["sigmoid"])
        self.back_to(entry)
        return self.pointwise(f"{name}.scale", inputs=(entry.name, gates))

    def pool(self, name: str, kernel: int, stride: int, padding: int, *, ceil: bool = False) -> str:
        """Append a pooling layer: one compare or add for each element of the window, the whole map read once."""
        before = self.height * self.width
        extra = stride - 1 if ceil else 0
        self.height, self.width = (_after(side + extra, kernel, stride, padding) for side in (self.height, self.width))
        reads = before / (self.height * self.width)
        return self.add(name, "elementwise", {**self._pixels(), "operands": reads, "flop_per_element": kernel * kernel})

    def average(self, name: str = "pool") -> str:
        """Append global average pooling."""
        pixels = self.height * self.width
        self.height = self.width = 1
        return self.add(name, "elementwise", {**self._pixels(), "operands": pixels, "flop_per_element": pixels})

    def resize(self, name: str, scale: int) -> str:
        """Append an enlargement of the map to `scale` times its sides, by interpolation between the nearest pixels."""
        self.height, self.width = self.height * scale, self.width * scale
        return self.add(name, "elementwise", {**self._pixels(), "operands": 1 / scale**2, "flop_per_element": 4.0})

    def dense(
        self, name: str, features: int, *, bias: bool = True, batch_norm: bool = False, act: str = "", shard: Any = "",
    ) -> str:  # fmt: skip
        """Append a dense layer over the channels of every pixel, with what is fused into it."""
        shape = {"m": self.batch * (self.height * self.width), "n": features, "k": self.channels}
        self.add(name, "gemm", shape, parameters=float(features * (self.channels + bias)), shard=shard)
        self.channels = features
        if batch_norm:
            self.fused(f"{name}.bn", "norm", BATCH_NORM_FLOP, parameters=2.0 * features)
        if act:
            self.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act])
        return self.last

    def classify(self, classes: int) -> None:
        """Append global average pooling and the classifier."""
        self.average()
        self.dense("fc", classes, shard="logits")

    def _pixels(self) -> dict[str, Any]:
        return {"rows": self.batch * (self.height * self.width), "hidden": self.channels}


class Sketch:
    """Blocks of a network in order; a block equal to the one before it becomes its repeat."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.blocks: list[Block] = []
        self.maps: list[Layers] = []

    def block(self, name: str, draw: Callable[[Layers], Any]) -> None:
        """Append the block whose layers `draw` appends; it continues from the feature map of the one before."""
        layers = self.layers = self.layers.next_block()
        draw(layers)
        operators = tuple(layers.operators)
        if self.blocks and self.blocks[-1].operators == operators:
            self.blocks[-1] = replace(self.blocks[-1], count=self.blocks[-1].count + 1)
            return
        self.blocks.append(Block(name, operators))
        self.maps.append(layers)


@dataclass(frozen=True)
class ImageNetwork(KnobModel):
    """A network that takes images of `image` x `image` pixels with `channels` colours; `draw` makes its blocks.

    `image_height` and `image_width` are the sides of images that are no squares (0: `image`).
    """

    image: int = size(224, high=100_000)
    image_height: int = size(0, low=0, high=100_000)
    image_width: int = size(0, low=0, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000)
    dtype: str = number_format_knob("fp16")

    @abstractmethod
    def draw(self, net: Sketch) -> None:
        """Append the blocks for one image."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: ImageNetwork = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass; equal blocks that follow each other are one block and a count."""
        sides = self.image_height or self.image, self.image_width or self.image
        net = Sketch(Layers(1, self.dtype, self.channels, *sides))
        self.draw(net)
        graph = WorkloadGraph(self.name, tuple(net.blocks), boundary_elements=largest_boundary(net.maps))
        many = np.asarray(batch, float)
        return graph if many.ndim == 0 and many == 1 else with_batch(graph, many)


def divisible(channels: float, divisor: int = 8, *, least: int = 0, limit: float = 0.9) -> int:
    """Return channels rounded to the nearest multiple of `divisor`, never below `limit` of what was asked.

    The rule of the MobileNet authors' code (tensorflow/models, `_make_divisible`).
    """
    rounded = max(least or divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded


def _after(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return a side of the map after a window of `kernel`; with padding of half the window it is at least 1."""
    return max(1, (size + 2 * padding - kernel) // stride + 1)


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
