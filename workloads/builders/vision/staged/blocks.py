"""The parts of staged networks by name: stems, blocks, transitions between stages, heads."""

from __future__ import annotations

from workloads.builders.vision.staged.coat import COAT_BLOCKS, COAT_DOWNS, COAT_STEMS
from workloads.builders.vision.staged.context import CONTEXT_BLOCKS, CONTEXT_DOWNS, CONTEXT_HEADS, CONTEXT_STEMS
from workloads.builders.vision.staged.conv import CONV_BLOCKS, CONV_DOWNS, CONV_HEADS, CONV_STEMS
from workloads.builders.vision.staged.cross import CROSS_BLOCKS, CROSS_HEADS, CROSS_STEMS
from workloads.builders.vision.staged.dual import DUAL_BLOCKS, DUAL_DOWNS, DUAL_STEMS
from workloads.builders.vision.staged.hybrid import HYBRID_BLOCKS, HYBRID_DOWNS, HYBRID_STEMS
from workloads.builders.vision.staged.levit import LEVIT_BLOCKS, LEVIT_DOWNS
from workloads.builders.vision.staged.linear import LINEAR_BLOCKS, LINEAR_DOWNS, LINEAR_HEADS
from workloads.builders.vision.staged.maxvit import MAXVIT_BLOCKS, MAXVIT_DOWNS, MAXVIT_HEADS, MAXVIT_STEMS
from workloads.builders.vision.staged.misc import MISC_BLOCKS, MISC_DOWNS, MISC_HEADS, MISC_STEMS
from workloads.builders.vision.staged.mlp import MLP_BLOCKS
from workloads.builders.vision.staged.mobile import MOBILE_BLOCKS, MOBILE_DOWNS, MOBILE_HEADS
from workloads.builders.vision.staged.multiscale import MULTISCALE_BLOCKS, MULTISCALE_DOWNS, MULTISCALE_STEMS
from workloads.builders.vision.staged.plain import PLAIN_BLOCKS, PLAIN_DOWNS, PLAIN_HEADS, PLAIN_STEMS
from workloads.builders.vision.staged.pyramid import PYRAMID_BLOCKS, PYRAMID_DOWNS, PYRAMID_HEADS, PYRAMID_STEMS
from workloads.builders.vision.staged.reparam import REPARAM_BLOCKS, REPARAM_DOWNS, REPARAM_HEADS, REPARAM_STEMS
from workloads.builders.vision.staged.stage import Part, Stage
from workloads.builders.vision.staged.tokens import Tokens
from workloads.builders.vision.staged.window import WINDOW_BLOCKS, WINDOW_DOWNS, WINDOW_HEADS, WINDOW_STEMS


def _none(t: Tokens, s: Stage) -> None:
    """No transition: the stem has made the map of the first stage."""


STEMS: dict[str, Part] = {
    **COAT_STEMS,
    **CONTEXT_STEMS,
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
    **CONTEXT_BLOCKS,
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
    **CONTEXT_DOWNS,
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
    **CONTEXT_HEADS,
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
