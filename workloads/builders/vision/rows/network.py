"""Networks that a list of rows describes: plain chains, branches, maps that later rows read, detection heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import ClassVar

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.knobs import choice, rows, share, size, sizes, switch
from workloads.builders.vision.layers import ACTIVATIONS, ImageNetwork, Layers, Point, Sketch
from workloads.builders.vision.rows.heads import HEADS
from workloads.builders.vision.rows.modules import MODULES, Style
from workloads.builders.vision.rows.notation import EXAMPLE, ROW, Module, Step, parsed
from workloads.builders.vision.rows.steps import draw_steps
from workloads.graph import BLOCK_INPUT

HERE = "x"
"""The name under which a row reads the map of the row before it."""
MAX_NUMBER = 100_000
MAX_REPEAT = 1000
"""Largest channel count or window of a row, and largest repeat."""


@dataclass(frozen=True)
class RowNetwork(ImageNetwork):
    """`rows` in the notation of `rows/notation.py`, one block a row.

    Attributes:
        width, depth, most: multipliers of the channels of convolutions and modules (rounded up to eights; before that
            no more than `most`, 0: any number), and of the repeats of modules (compound scaling, as in YOLO).
        batch_norm, bias: what every convolution has, unless its row says otherwise.
        anchors: boxes a pixel of each map that a detection head reads (one entry for all maps, or one each).
        bins: distances that a side of a box is one of (DFL).
    """

    family: ClassVar[str] = "rows"

    rows: tuple[str, ...] = rows(("64x7s2-m3s2p1", "gap-fc"), ROW, EXAMPLE)
    width: float = share(1.0, high=100.0, strict=True)
    depth: float = share(1.0, high=100.0, strict=True)
    most: int = size(0, low=0, high=100_000)
    batch_norm: bool = switch(True)
    bias: bool = switch(False)
    act: str = choice("relu", ACTIVATIONS)
    anchors: tuple[int, ...] = sizes((3,), high=1000)
    bins: int = size(16, high=1000)

    def check(self) -> None:
        known = [HERE]
        for text in self.rows:
            row = parsed(text)
            for source in row.sources:
                if source not in known:
                    raise UnknownNameError(f"map that the row '{text}' reads,", source, known)
            if row.module:
                self._check_module(text, row.module, len(row.sources) or 1)
            for step in (step for branch in row.branches for fork in branch for step in fork):
                if not all(1 <= number <= MAX_NUMBER for number in (*step.numbers, step.stride, step.groups)):
                    raise BadValueError(f"rows has an entry '{text}' with a number outside [1, {MAX_NUMBER}].")
            known.append(row.name or HERE)

    def _check_module(self, text: str, module: Module, sources: int) -> None:
        if module.kind not in MODULES and module.kind not in HEADS:
            raise UnknownNameError("module", module.kind, {**MODULES, **HEADS})
        if module.kind == "add" and sources != 2:
            raise BadValueError(f"rows has an entry '{text}' that does not read two maps, such as add:@x.p3.")
        if module.kind in MODULES and module.kind != "add" and not module.numbers:
            raise BadValueError(f"rows has an entry '{text}' without channels.")
        least = 8 if module.kind in MODULES else 1
        odd = least == 8 and any(number % 2 for number in module.numbers[:1])
        if odd or not all(least <= number <= MAX_NUMBER for number in module.numbers):
            raise BadValueError(f"rows has an entry '{text}' whose channels are not even and in [8, {MAX_NUMBER}].")
        if not (1 <= module.repeat <= MAX_REPEAT and 1 <= module.stride <= 8 and module.expansion <= 100):
            raise BadValueError(f"rows has an entry '{text}' with a repeat, stride or expansion out of range.")
        if module.kind in HEADS and len(self.anchors) not in (1, sources):
            raise BadValueError(f"anchors needs one entry, or one for each map that '{text}' reads.")

    def draw(self, net: Sketch) -> None:
        maps: dict[str, Point] = {}
        for number, text in enumerate(self.rows, start=1):
            row = parsed(text)
            maps[HERE] = net.layers.here._replace(name=BLOCK_INPUT)
            points = tuple(maps[source] for source in row.sources or (HERE,))
            net.block(f"row{number}.{row.name}".rstrip("."), partial(self._row, text, points))
            if row.name:
                maps[row.name] = net.layers.here._replace(name=BLOCK_INPUT)

    def _row(self, text: str, points: Sequence[Point], x: Layers) -> None:
        row, style = parsed(text), self._style()
        x.back_to(points[0])
        if row.module and row.module.kind in HEADS:
            anchors = self.anchors * (len(points) // len(self.anchors))
            HEADS[row.module.kind](x, points, self._scaled(row.module), style, self.classes, anchors, self.bins)
            return
        _refuse_misfits(text, points, adding=row.module is not None and row.module.kind == "add")
        if row.module and row.module.kind == "add":
            MODULES["add"](x, row.module, style)
            return
        if len(points) > 1:
            x.concat("sources", points)
        if row.module:
            MODULES[row.module.kind](x, self._scaled(row.module), style)
        else:
            draw_steps(x, [[[self._wide(s) for s in fork] for fork in b] for b in row.branches], style, self.classes)

    def _style(self) -> Style:
        return Style(self.act, self.batch_norm, self.bias)

    def _wide(self, step: Step) -> Step:
        """Return a step whose channels are multiplied by `width`."""
        if step.kind not in ("conv", "t"):
            return step
        return step._replace(numbers=(self._channels(step.numbers[0]), *step.numbers[1:]))

    def _scaled(self, module: Module) -> Module:
        """Return a module with its channels (its first number) and repeats multiplied."""
        numbers = module.numbers
        if numbers and module.kind in MODULES:
            numbers = (self._channels(numbers[0]), *numbers[1:])
        repeat = max(1, round(module.repeat * self.depth)) if module.repeat > 1 else module.repeat
        return module._replace(numbers=numbers, repeat=repeat)

    def _channels(self, asked: int) -> int:
        capped = min(asked, self.most) if self.most else asked
        return capped if self.width == 1.0 else ceil(round(capped * self.width, 6) / 8) * 8


def _refuse_misfits(text: str, points: Sequence[Point], *, adding: bool) -> None:
    """Refuse maps that cannot be added, or joined (larger maps are cropped to the first). Raises BadValueError."""
    first = points[0]
    for other in points[1:]:
        smaller = other.height < first.height or other.width < first.width
        if smaller or (adding and other[1:] != first[1:]):
            sizes = " and ".join(f"{p.channels} x {p.height} x {p.width}" for p in (first, other))
            raise BadValueError(
                f"The row '{text}' reads maps of {sizes}, which do not fit; choose an image size that halves evenly."
            )
