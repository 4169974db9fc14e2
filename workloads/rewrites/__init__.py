"""Rewrites: pure functions from one workload graph to another, which compose in any order.

Patterns are those of `fnmatch`, matched against `operator` and `block/operator`; a pattern that matches nothing is an
error that names what is near.
"""

from workloads.rewrites.attention import sparse_attention
from workloads.rewrites.fusion import fuse, fuse_attention, fuse_pointwise, unfuse
from workloads.rewrites.layers import drop_layers, share
from workloads.rewrites.lowrank import freeze, lora, low_rank
from workloads.rewrites.prune import prune
from workloads.rewrites.quantize import quantize

__all__ = [
    "drop_layers", "freeze", "fuse", "fuse_attention", "fuse_pointwise", "lora", "low_rank", "prune", "quantize",
    "share", "sparse_attention", "unfuse",
]  # fmt: skip
