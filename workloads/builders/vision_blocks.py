"""The parts of staged networks by name: stems, blocks, transitions between stages, heads."""

from __future__ import annotations

from workloads.builders.vision_blocks_coat import COAT_BLOCKS, COAT_DOWNS, COAT_STEMS
from workloads.builders.vision_blocks_conv import CONV_BLOCKS, CONV_DOWNS, CONV_HEADS, CONV_STEMS
from workloads.builders.vision_blocks_cross import CROSS_BLOCKS, CROSS_HEADS, CROSS_STEMS
from workloads.builders.vision_blocks_dual import DUAL_BLOCKS, DUAL_DOWNS, DUAL_STEMS
from workloads.builders.vision_blocks_hybrid import HYBRID_BLOCKS, HYBRID_DOWNS, HYBRID_STEMS
from workloads.builders.vision_blocks_levit import LEVIT_BLOCKS, LEVIT_DOWNS
from workloads.builders.vision_blocks_linear import LINEAR_BLOCKS, LINEAR_DOWNS, LINEAR_HEADS
from workloads.builders.vision_blocks_maxvit import MAXVIT_BLOCKS, MAXVIT_DOWNS, MAXVIT_HEADS, MAXVIT_STEMS
from workloads.builders.vision_blocks_misc import MISC_BLOCKS, MISC_DOWNS, MISC_HEADS, MISC_STEMS
from workloads.builders.vision_blocks_mlp import MLP_BLOCKS
from workloads.builders.vision_blocks_mobile import MOBILE_BLOCKS, MOBILE_DOWNS, MOBILE_HEADS
from workloads.builders.vision_blocks_multiscale import MULTISCALE_BLOCKS, MULTISCALE_DOWNS, MULTISCALE_STEMS
from workloads.builders.vision_blocks_plain import PLAIN_BLOCKS, PLAIN_DOWNS, PLAIN_HEADS, PLAIN_STEMS
from workloads.builders.vision_blocks_pyramid import PYRAMID_BLOCKS, PYRAMID_DOWNS, PYRAMID_HEADS, PYRAMID_STEMS
from workloads.builders.vision_blocks_reparam import REPARAM_BLOCKS, REPARAM_DOWNS, REPARAM_HEADS, REPARAM_STEMS
from workloads.builders.vision_blocks_window import WINDOW_BLOCKS, WINDOW_DOWNS, WINDOW_HEADS, WINDOW_STEMS
from workloads.builders.vision_stage import Part, Stage
from workloads.builders.vision_tokens import Tokens


def _none(t: Tokens, s: Stage) -> None:
    """No transition: the stem has made the map of the first stage."""


STEMS: dict[str, Part] = {
    **COAT_STEMS,
    **CONV_STEMS,
    **CROSS_STEMS,
    **DUAL_STEMS,
    **HYBRID_STEMS,
    **MAXVIT_STEMS,
    **MULTISCALE_STEMS,
    **PLAIN_STEMS,
    **PYRAMID_STEMS,
    **REPARAM_STEMS,
    **WINDOW_STEMS,
    **MISC_STEMS,
}
BLOCKS: dict[str, Part] = {
    **COAT_BLOCKS,
    **CONV_BLOCKS,
    **CROSS_BLOCKS,
    **DUAL_BLOCKS,
    **HYBRID_BLOCKS,
    **LEVIT_BLOCKS,
    **LINEAR_BLOCKS,
    **MAXVIT_BLOCKS,
    **MLP_BLOCKS,
    **MOBILE_BLOCKS,
    **MULTISCALE_BLOCKS,
    **PLAIN_BLOCKS,
    **PYRAMID_BLOCKS,
    **REPARAM_BLOCKS,
    **WINDOW_BLOCKS,
    **MISC_BLOCKS,
}
DOWNS: dict[str, Part] = {
    "none": _none,
    **COAT_DOWNS,
    **CONV_DOWNS,
    **DUAL_DOWNS,
    **HYBRID_DOWNS,
    **LEVIT_DOWNS,
    **LINEAR_DOWNS,
    **MAXVIT_DOWNS,
    **MOBILE_DOWNS,
    **MULTISCALE_DOWNS,
    **PLAIN_DOWNS,
    **PYRAMID_DOWNS,
    **REPARAM_DOWNS,
    **WINDOW_DOWNS,
    **MISC_DOWNS,
}
HEADS: dict[str, Part] = {
    **CONV_HEADS,
    **CROSS_HEADS,
    **LINEAR_HEADS,
    **MAXVIT_HEADS,
    **MOBILE_HEADS,
    **PLAIN_HEADS,
    **PYRAMID_HEADS,
    **REPARAM_HEADS,
    **WINDOW_HEADS,
    **MISC_HEADS,
}
