"""The parts of staged networks by name: stems, blocks, transitions between stages, heads."""

from __future__ import annotations

from workloads.builders.vision_blocks_conv import CONV_BLOCKS, CONV_DOWNS, CONV_HEADS, CONV_STEMS
from workloads.builders.vision_blocks_linear import LINEAR_BLOCKS, LINEAR_DOWNS, LINEAR_HEADS
from workloads.builders.vision_blocks_window import WINDOW_BLOCKS, WINDOW_DOWNS, WINDOW_HEADS, WINDOW_STEMS
from workloads.builders.vision_stage import Part, Stage
from workloads.builders.vision_tokens import Tokens


def _none(t: Tokens, s: Stage) -> None:
    """No transition: the stem has made the map of the first stage."""


STEMS: dict[str, Part] = {**WINDOW_STEMS, **CONV_STEMS}
BLOCKS: dict[str, Part] = {**WINDOW_BLOCKS, **CONV_BLOCKS, **LINEAR_BLOCKS}
DOWNS: dict[str, Part] = {"none": _none, **WINDOW_DOWNS, **CONV_DOWNS, **LINEAR_DOWNS}
HEADS: dict[str, Part] = {**WINDOW_HEADS, **CONV_HEADS, **LINEAR_HEADS}
