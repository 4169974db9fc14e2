"""Networks of stages, each a list of blocks of named kinds: windowed, pyramid and hybrid transformers, all-MLP nets.

Which stem, blocks and transitions a network has are knobs; what a name means is a function, found in the registries of
this folder. A knob that lists numbers has one entry a stage, or one for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.chain import grouped
from workloads.builders.knobs import KnobModel, choice, names, number_format_knob, size, sizes
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision.layers import image_pass, in_format, largest_boundary
from workloads.builders.vision.staged.blocks import BLOCKS, DOWNS, HEADS, STEMS
from workloads.builders.vision.staged.stage import PER_STAGE, TRAITS, Stage
from workloads.builders.vision.staged.tokens import ACT_FLOP, Tokens
from workloads.graph import Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class StagedNetwork(KnobModel):
    """A stem, stages of blocks with a transition (`downs`) before each, and a head.

    Attributes:
        blocks: one kind for each stage, or one for each block (`depths` then cuts the list into stages).
        downs: the transition into each stage, the first included (`none` where the stem has done it).
        widths: features of each stage; stem_widths those inside the stem, head_widths those inside the head.
        heads, head_dims, v_dims: attention heads, size of a query or key and of a value (0: width / heads, head_dim).
        inters: hidden features of a block's feed-forward part (0: 4 x width).
        windows: side of an attention window, or tokens that a block groups (0: the whole map).
        kernels, strides, groups, expansions, reductions: numbers that the kind of block explains.
        traits: what else holds in the whole network, by name.
    """

    family: ClassVar[str] = "vision-stages"

    image: int = size(224, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000, low=0)
    stem: str = choice("patch", tuple(STEMS))
    stem_widths: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    patch: int = size(4, high=10_000)
    depths: tuple[int, ...] = sizes((2, 2, 6, 2), low=0, high=1000)
    widths: tuple[int, ...] = sizes((96, 192, 384, 768), high=100_000)
    blocks: tuple[str, ...] = names(("swin",), tuple(BLOCKS))
    downs: tuple[str, ...] = names(("none",), tuple(DOWNS))
    heads: tuple[int, ...] = sizes((1,), high=100_000)
    head_dims: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    v_dims: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    inters: tuple[int, ...] = sizes((0,), low=0)
    windows: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    kernels: tuple[int, ...] = sizes((3,), high=999)
    reductions: tuple[int, ...] = sizes((1,), low=0, high=10_000)
    strides: tuple[int, ...] = sizes((1,), low=0, high=100)
    groups: tuple[int, ...] = sizes((1,), low=0, high=100_000)
    expansions: tuple[int, ...] = sizes((4,), low=0, high=1000)
    norm: str = choice("layer", ("layer", "batch", "group", "affine"))
    act: str = choice("gelu", tuple(ACT_FLOP))
    head: str = choice("norm-mean", tuple(HEADS))
    head_widths: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    traits: tuple[str, ...] = names(("none",), tuple(TRAITS))
    dtype: str = number_format_knob("fp16")

    def check(self) -> None:
        stages = len(self.depths)
        for knob in ("downs", *PER_STAGE):
            if len(getattr(self, knob)) not in (1, stages):
                raise BadValueError(f"{knob} needs one entry, or one for each of the {stages} stages.")
        if len(self.blocks) not in (1, stages, sum(self.depths)):
            raise BadValueError(f"blocks needs one kind, one for each of the {stages} stages, or one for each block.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: StagedNetwork = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass; equal blocks, and patterns of blocks, are one block and a count."""
        tokens = Tokens(batch, self.dtype, self.channels, self.image, self.image)
        STEMS[self.stem](tokens, self.stage(0))
        stacks, blocks = [tokens], [Block("stem", tuple(tokens.operators))]
        for index, kinds in enumerate(self._stages()):
            stage = self.stage(index)
            down, tokens = self._pick("downs", index), tokens.next_block()
            DOWNS[down](tokens, stage)
            if tokens.operators:
                stacks.append(tokens)
                blocks.append(Block(f"stage{index + 1}.down", tuple(tokens.operators)))
            for start, period, count in _groups(kinds):
                tokens = tokens.next_block()
                self._pattern(tokens, kinds[start : start + period], stage, count)
                stacks.append(tokens)
                blocks.append(Block(f"stage{index + 1}.{start}", tuple(tokens.operators), count))
        tokens = tokens.next_block()
        HEADS[self.head](tokens, self.stage(len(self.depths) - 1))
        blocks.append(Block("head", tuple(tokens.operators)))
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=largest_boundary([*stacks, tokens]))

    def stage(self, index: int) -> Stage:
        """Return the numbers of one stage."""
        own = {knob: self._pick(knob, index) for knob in PER_STAGE}
        return Stage(
            index=index, stages=len(self.depths), image=self.image, classes=self.classes, patch=self.patch,
            stem_widths=self.stem_widths, head_widths=self.head_widths, norm=self.norm, act=self.act,
            traits=frozenset(self.traits), depth=self.depths[index], **own,
        )  # fmt: skip

    def _pick(self, knob: str, index: int) -> Any:
        values = getattr(self, knob)
        return values[index] if len(values) > 1 else values[0]

    def _stages(self) -> list[tuple[str, ...]]:
        """Return the kinds of every stage's blocks."""
        if len(self.blocks) != sum(self.depths) or len(self.blocks) == len(self.depths):
            return [(self._pick("blocks", index),) * depth for index, depth in enumerate(self.depths)]
        cuts = [sum(self.depths[:index]) for index in range(len(self.depths) + 1)]
        return [self.blocks[low:high] for low, high in pairwise(cuts)]

    def _pattern(self, tokens: Tokens, kinds: Sequence[str], stage: Stage, count: int) -> None:
        entry = (tokens.channels, tokens.tokens)
        for place, kind in enumerate(kinds):
            tokens.start = f"{place}." if len(kinds) > 1 else ""
            BLOCKS[kind](tokens, stage)
        tokens.start = ""
        if count > 1 and entry != (tokens.channels, tokens.tokens):
            raise BadValueError(
                f"Blocks {', '.join(kinds)} of stage {stage.index + 1} turn {entry[1]} tokens of {entry[0]} features "
                f"into {tokens.tokens} of {tokens.channels}; blocks that repeat must keep them."
            )


def _groups(kinds: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return (start, period, count) of the repeating patterns in a list of kinds."""
    found, start = [], 0
    for period, count in grouped(kinds):
        found.append((start, period, count))
        start += period * count
    return found
