"""Spaces of chains of inverted residuals, as searches encode them: FBNet, and Once-for-All on MobileNet v3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.knobs import share, size, sizes, text
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch, divisible

FBNET_WIDTHS, FBNET_DEPTHS = (16, 24, 32, 64, 112, 184, 352), (1, 4, 4, 4, 4, 4, 1)
OFA_WIDTHS, OFA_STRIDES = (24, 40, 80, 112, 160), (2, 2, 2, 1, 2)
OFA_SQUEEZES, OFA_ACTS = (False, True, False, True, True), ("relu", "relu", "hard-swish", "hard-swish", "hard-swish")
OFA_PLACES = 4


def inverted_residual(
    layers: Layers, width: int, *, kernel: int, inner: int, stride: int, act: str = "relu", groups: int = 1,
    squeeze: bool = False, expand: bool = True,
) -> None:  # fmt: skip
    """Append expansion, depthwise convolution and projection (Sandler et al. 2018), with a shortcut where it fits."""
    entry = layers.here
    if expand:
        layers.conv("expand", inner, 1, groups=groups, act=act)
    layers.depthwise("depthwise", kernel, stride=stride, act=act)
    if squeeze:
        layers.squeeze_excite("se", divisible(inner / 4), act="relu", gate="hard-sigmoid")
    layers.conv("project", width, 1, groups=groups)
    if stride == 1 and entry.channels == width:
        layers.residual("add", entry.name)


@dataclass(frozen=True)
class FBNet(ImageNetwork):
    """A chain of the FBNet space (Wu et al. 2019, arXiv 1812.03443, tables 1 and 2).

    `blocks` names the 22 blocks, joined by `|`: `k5_e6` is kernel 5 and expansion 6, `_g2` two groups, `skip` none.
    The strides are those of the 224-pixel network; benchmarks on 32-pixel images use 1,1,2,2,1,2,1.
    """

    family: ClassVar[str] = "fbnet"

    blocks: str = text("|".join(["k3_e6"] * 22))
    strides: tuple[int, ...] = sizes((1, 2, 2, 2, 1, 2, 1), high=4)
    stem_stride: int = size(2, high=4)
    head: int = size(1984)

    def check(self) -> None:
        if len(self.strides) != len(FBNET_WIDTHS):
            raise BadValueError(f"strides must list {len(FBNET_WIDTHS)} stages, not {len(self.strides)}.")
        parsed_blocks(self.blocks)

    def draw(self, net: Sketch) -> None:
        """Append the blocks for one image."""
        choices = iter(parsed_blocks(self.blocks))
        net.block("stem", lambda layers: layers.conv("conv", 16, 3, stride=self.stem_stride, act="relu"))
        for stage, (width, depth) in enumerate(zip(FBNET_WIDTHS, FBNET_DEPTHS, strict=True)):
            for place in range(depth):
                stride, choice = 1 if place else self.strides[stage], next(choices)
                if choice is None and stride == 1 and net.layers.channels == width:
                    continue
                net.block(f"stage{stage + 1}.{place}", partial(_fbnet_block, choice=choice, width=width, stride=stride))
        net.block("head", self._head)

    def _head(self, layers: Layers) -> None:
        layers.conv("conv", self.head, 1, act="relu")
        layers.classify(self.classes)


def parsed_blocks(text_of_blocks: str) -> list[tuple[int, int, int] | None]:
    """Return (kernel, expansion, groups) of each block, None for a skip. Raises BadValueError, UnknownNameError."""
    words = text_of_blocks.strip().split("|")
    if len(words) != sum(FBNET_DEPTHS):
        raise BadValueError(f"blocks lists {len(words)} blocks; it must list {sum(FBNET_DEPTHS)}, joined by '|'.")
    known = [f"k{k}_e{e}" for k in (3, 5) for e in (1, 3, 6)] + ["k3_e1_g2", "k5_e1_g2", "skip"]
    for word in words:
        if word not in known:
            raise UnknownNameError("block", word, known)
    return [
        None if word == "skip" else (int(word[1]), int(word[4]), 2 if word.endswith("_g2") else 1) for word in words
    ]


def _fbnet_block(layers: Layers, choice: tuple[int, int, int] | None, width: int, stride: int) -> None:
    if choice is None:  # a skip that changes the map is a 1x1 convolution (the authors' code)
        layers.conv("skip", width, 1, stride=stride, act="relu")
        return
    kernel, expansion, groups = choice
    inverted_residual(layers, width, kernel=kernel, inner=layers.channels * expansion, stride=stride, groups=groups)


@dataclass(frozen=True)
class OnceForAll(ImageNetwork):
    """A sub-network of the Once-for-All MobileNet v3 (Cai et al. 2020, arXiv 1908.09791, section 4.1).

    Five stages of 2 to 4 blocks: `depth` one a stage, `kernels` and `expand` four a stage (those beyond the depth do
    not run), each one value for all or a list of 20. `width` multiplies the channels.
    """

    family: ClassVar[str] = "once-for-all"

    image: int = size(224, low=32, high=100_000)
    width: float = share(1.0, low=0.1, high=10.0)
    depth: tuple[int, ...] = sizes((4,), high=OFA_PLACES)
    kernels: tuple[int, ...] = sizes((7,), high=31)
    expand: tuple[int, ...] = sizes((6,), high=64)

    def check(self) -> None:
        for knob, values, full in (
            ("depth", self.depth, 5),
            ("kernels", self.kernels, 20),
            ("expand", self.expand, 20),
        ):
            if len(values) not in (1, full):
                raise BadValueError(f"{knob} must have 1 or {full} entries, not {len(values)}.")

    def draw(self, net: Sketch) -> None:
        """Append the blocks for one image."""
        stem, first = self._channels(16), self._channels(16)
        net.block("stem", lambda layers: layers.conv("conv", stem, 3, stride=2, act="hard-swish"))
        net.block("first", lambda layers: inverted_residual(
            layers, first, kernel=3, inner=stem, stride=1, expand=False))  # fmt: skip
        kernels, expand = _spread(self.kernels, 20), _spread(self.expand, 20)
        for stage, depth in enumerate(_spread(self.depth, 5)):
            for place in range(depth):
                at = OFA_PLACES * stage + place
                draw = partial(self._block, stage=stage, place=place, kernel=kernels[at], expand=expand[at])
                net.block(f"stage{stage + 1}.{place}", draw)
        net.block("head", self._head)

    def _block(self, layers: Layers, stage: int, place: int, kernel: int, expand: int) -> None:
        inverted_residual(
            layers, self._channels(OFA_WIDTHS[stage]), kernel=kernel, inner=divisible(layers.channels * expand),
            stride=1 if place else OFA_STRIDES[stage], act=OFA_ACTS[stage], squeeze=OFA_SQUEEZES[stage],
        )  # fmt: skip

    def _head(self, layers: Layers) -> None:
        layers.conv("expand", self._channels(960), 1, act="hard-swish")
        layers.average()
        layers.dense("mix", self._channels(1280), bias=False, act="hard-swish")
        layers.dense("fc", self.classes, shard="logits")

    def _channels(self, base: int) -> int:
        return divisible(base * self.width)


def _spread(values: Sequence[int], count: int) -> tuple[int, ...]:
    return tuple(values) if len(values) == count else tuple(values) * count
