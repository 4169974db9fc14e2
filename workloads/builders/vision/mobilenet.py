"""Networks of depthwise and inverted blocks: MobileNet v1-v4, MnasNet, FBNet, EfficientNet v1 and v2, MixNet, LCNet.

A network is a list of rows in the notation of the MnasNet authors' code: `ir_r2_k3_s2_e6_c24_se0.25` is an inverted
residual, run 2 times, window 3, stride 2 (the first of them), expansion 6, 24 channels, squeeze-and-excitation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import ClassVar, NamedTuple

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, rows, share, size, switch
from workloads.builders.vision.layers import ACTIVATIONS, ImageNetwork, Layers, Sketch, divisible
from workloads.graph import BLOCK_INPUT

KINDS = {
    "cn": "a convolution", "ds": "depthwise, then 1x1", "dsa": "the same, activated, without shortcut",
    "ir": "inverted residual", "er": "inverted residual whose first convolution has the window (fused)",
    "uir": "universal inverted residual (MobileNet v4)",
}  # fmt: skip
_ACTIVATION = {"re": "relu", "r6": "relu6", "hs": "hard-swish", "sw": "silu"}
_LIST = r"\d+(\.\d+)*"
_ROW = rf"(cn|dsa?|u?ir|er)(_([rcs]\d+|fc\d+|gs\d+|[kap]{_LIST}|(e|se)\d+(\.\d+)?|n(re|r6|hs|sw)|skip|noskip))+"

MOBILENET_V2 = (
    "ds_r1_k3_s1_e1_c16", "ir_r2_k3_s2_e6_c24", "ir_r3_k3_s2_e6_c32", "ir_r4_k3_s2_e6_c64", "ir_r3_k3_s1_e6_c96",
    "ir_r3_k3_s2_e6_c160", "ir_r1_k3_s1_e6_c320",
)  # fmt: skip
"""Sandler et al. 2018, table 2."""


class Row(NamedTuple):
    """One row: blocks of one kind. `start`, `middle`, `end` are windows, several where the channels are split."""

    kind: str
    repeat: int
    middle: tuple[int, ...]
    stride: int
    expansion: float
    channels: int
    squeeze: float
    act: str
    start: tuple[int, ...]
    end: tuple[int, ...]
    forced: int
    group: int
    skip: bool | None


@dataclass(frozen=True)
class MobileNet(ImageNetwork):
    """A stem, rows of blocks, a last convolution and a classifier.

    Attributes:
        rows: the blocks, in the notation above (`a`, `p`: windows before and after; `gs`: channels of a group;
            `fc`: channels that the expansion counts from; `nre`, `nr6`, `nhs`, `nsw`: the activation).
        width, depth: multipliers of all channels, rounded to eights, and of the blocks of every row, rounded up.
        stem, last: channels before the rows, and before the classifier.
        scale_stem, scale_last: `width` applies to them (to the last only above 1).
        head: the last convolution stands before the pool (`conv`), or after it (`dense`: MobileNet v3;
            `dense-plain`: without bias; `dense-norm`: with a normalisation), or nowhere (`none`).
        squeeze_of, squeeze_limit: squeeze ratios count from the block's input or its expanded channels; 0 rounds the
            result to the nearest whole number, else to eights, never below this share of it.
        round_limit: channels times `width`, in eights, are never below this share of what was asked.
        antialias: maps shrink by an average after a convolution of stride 1.
    """

    family: ClassVar[str] = "mobilenet"

    rows: tuple[str, ...] = rows(MOBILENET_V2, _ROW, "ir_r2_k3_s2_e6_c24_se0.25")
    width: float = share(1.0, high=100.0, strict=True)
    depth: float = share(1.0, high=100.0, strict=True)
    stem: int = size(32, high=100_000)
    stem_kernel: int = size(3, high=99)
    last: int = size(1280, high=100_000)
    scale_stem: bool = switch(True)
    scale_last: bool = switch(True)
    head: str = choice("conv", ("conv", "dense", "dense-plain", "dense-norm", "none"))
    act: str = choice("relu6", ACTIVATIONS)
    squeeze_of: str = choice("input", ("input", "expanded"))
    squeeze_limit: float = share(0.0)
    round_limit: float = share(0.9)
    antialias: bool = switch(False)

    def check(self) -> None:
        for text in self.rows:
            row = parsed(text)
            if row.kind in ("ir", "er", "uir") and not row.expansion:
                raise BadValueError(f"rows has an entry '{text}' without an expansion (such as e6).")
            if not row.channels:
                raise BadValueError(f"rows has an entry '{text}' without channels (such as c24).")

    def draw(self, net: Sketch) -> None:
        stem = self._scaled(self.stem) if self.scale_stem else self.stem
        net.block("stem", lambda layers: layers.conv("conv", stem, self.stem_kernel, stride=2, act=self.act))
        for number, text in enumerate(self.rows, start=1):
            row = parsed(text)
            for i in range(ceil(row.repeat * self.depth)):
                net.block(f"row{number}.{i}", self._block(row if not i else row._replace(stride=1)))
        net.block("head", self._head)

    def _head(self, layers: Layers) -> None:
        last = self._scaled(self.last, max(1.0, self.width)) if self.scale_last else self.last
        if self.head == "conv":
            layers.conv("conv", last, 1, act=self.act)
        layers.average()
        if self.head.startswith("dense"):
            layers.dense("conv", last, bias=self.head == "dense", batch_norm=self.head == "dense-norm", act=self.act)
        layers.dense("fc", self.classes, shard="logits")

    def _block(self, row: Row) -> Callable[[Layers], None]:
        def draw(layers: Layers) -> None:
            entry, act, out = layers.channels, row.act or self.act, self._scaled(row.channels)
            if row.kind == "cn":
                layers.conv("conv", out, row.middle[0], stride=row.stride, act=act)
            elif row.kind in ("ds", "dsa"):
                self._windows(layers, "depthwise", row.middle, row.stride, act)
                self._squeeze(layers, row, entry, act)
                mixed(layers, "project", out, row.end, act if row.kind == "dsa" else "")
            else:
                self._inverted(layers, row, out, act)
            possible = row.stride == 1 and entry == out
            wanted = row.kind not in ("cn", "dsa") if row.skip is None else row.skip
            if possible and wanted:
                layers.residual("add", BLOCK_INPUT)

        return draw

    def _inverted(self, layers: Layers, row: Row, out: int, act: str) -> None:
        entry = layers.channels
        inner = divisible((self._scaled(row.forced) if row.forced else entry) * row.expansion)
        if row.kind == "er":
            groups = inner // row.group if row.group else 1
            late = self.antialias and row.stride > 1
            stride = 1 if late else row.stride
            layers.conv("expand", inner, row.middle[0], stride=stride, groups=groups, act=act)
            if late:
                layers.pool("expand.average", 2, 2, 0)
        else:
            universal = row.kind == "uir"
            if universal and row.start != (0,):
                self._windows(layers, "start", row.start, 1 if row.middle != (0,) else row.stride, "")
            mixed(layers, "expand", inner, (1,) if universal else row.start, act)
            if row.middle != (0,):
                self._windows(layers, "depthwise", row.middle, row.stride, act)
        self._squeeze(layers, row, entry, act)
        mixed(layers, "project", out, (1,) if row.kind == "uir" else row.end, "")

    def _windows(self, layers: Layers, name: str, kernels: tuple[int, ...], stride: int, act: str) -> None:
        late = self.antialias and stride > 1
        mixed(layers, name, layers.channels, kernels, act, stride=1 if late else stride, depthwise=True)
        if late:
            layers.pool(f"{name}.average", 2, 2, 0)

    def _squeeze(self, layers: Layers, row: Row, entry: int, act: str) -> None:
        if not row.squeeze:
            return
        share = row.squeeze if self.squeeze_of == "expanded" else row.squeeze / (row.expansion or 1.0)
        asked = layers.channels * share
        inner = divisible(asked, limit=self.squeeze_limit) if self.squeeze_limit else max(1, round(asked))
        layers.squeeze_excite("se", inner, act=act)

    def _scaled(self, channels: int, width: float | None = None) -> int:
        return divisible(channels * (self.width if width is None else width), limit=self.round_limit)


def mixed(
    layers: Layers, name: str, out: int, kernels: tuple[int, ...], act: str, *, stride: int = 1, depthwise: bool = False
) -> None:
    """Append one convolution, or one for each of `kernels` on its share of the channels (Tan and Le 2019)."""
    if len(kernels) == 1:
        groups = layers.channels if depthwise else 1
        layers.conv(name, out, kernels[0], stride=stride, groups=groups, act=act)
        return
    entry, parts = layers.here, []
    shares = zip(parted(entry.channels, len(kernels)), parted(out, len(kernels)), kernels, strict=True)
    for i, (before, after, kernel) in enumerate(shares):
        layers.back_to(entry)
        layers.take(before)
        layers.conv(f"{name}{i}", after, kernel, stride=stride, groups=before if depthwise else 1, act=act)
        parts.append(layers.here)
    layers.concat(f"{name}.concat", parts)


def parted(channels: int, parts: int) -> list[int]:
    """Return channels in equal parts; the first has what is left over."""
    share = channels // parts
    return [channels - share * (parts - 1)] + [share] * (parts - 1)


@lru_cache(maxsize=4096)
def parsed(text: str) -> Row:
    """Return a row as the numbers that it states; what it leaves out has the notation's defaults."""
    kind, *words = text.split("_")
    found = {word.rstrip("0123456789."): word for word in words}

    def number(key: str, default: float) -> float:
        return float(found[key][len(key) :]) if key in found else default

    def windows(key: str, default: int) -> tuple[int, ...]:
        text = found[key][1:] if key in found else str(default)
        return tuple(int(part) for part in text.split("."))

    act = next((_ACTIVATION[word[1:]] for word in words if word[1:] in _ACTIVATION and word[0] == "n"), "")
    outside = 0 if kind == "uir" else 1
    return Row(
        kind, int(number("r", 1)), windows("k", 3), int(number("s", 1)), number("e", 0.0), int(number("c", 0)),
        number("se", 0.0), act, windows("a", outside), windows("p", outside), int(number("fc", 0)),
        int(number("gs", 0)), True if "skip" in found else False if "noskip" in found else None,
    )  # fmt: skip
