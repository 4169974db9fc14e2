"""`Stage`: the numbers that a block kind of a staged network reads, and the traits that a network may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads.builders.vision.staged.tokens import Tokens

PER_STAGE = (
    "widths", "heads", "head_dims", "v_dims", "inters", "windows", "kernels", "reductions", "strides", "groups",
    "expansions",
)  # fmt: skip
"""Knobs with one entry a stage."""

TRAITS = (
    "none", "layer-scale", "residual-scale", "no-bias", "no-qkv-bias", "no-attention", "no-mlp", "no-stem-norm",
    "inner-norm", "class-token", "distilled", "pool-first", "conv-bias", "stem-act", "stem-bias", "expand-output",
    "expand-first", "output-bias", "shortcut-bias", "stride-pool", "convnext", "position-network", "window-table",
    "branches", "stem-plain", "legacy-norm",
)  # fmt: skip
"""What may hold in a whole network; the kinds of block say which they heed."""


@dataclass(frozen=True)
class Stage:
    """What one stage's blocks are made of; fields in the plural are knobs with one entry a stage (see the builder)."""

    index: int
    stages: int
    depth: int
    image: int
    classes: int
    patch: int
    widths: int
    heads: int
    head_dims: int
    v_dims: int
    inters: int
    windows: int
    kernels: int
    reductions: int
    strides: int
    groups: int
    expansions: int
    stem_widths: tuple[int, ...]
    head_widths: tuple[int, ...]
    norm: str
    act: str
    traits: frozenset[str]

    @property
    def width(self) -> int:
        return self.widths

    @property
    def head_dim(self) -> int:
        """Size of a query or key."""
        return self.head_dims or self.widths // self.heads

    @property
    def inner(self) -> int:
        """Hidden features of a feed-forward part."""
        return self.inters or self.expansions * self.widths

    def has(self, trait: str) -> bool:
        return trait in self.traits


Part = Callable[[Tokens, Stage], None]
"""A stem, block, transition or head: appends its operators."""


def finish(t: Tokens, s: Stage, name: str, entry: str) -> str:
    """Append what ends a residual branch: the scale of the network, if it has one, and the addition."""
    if s.has("layer-scale"):
        t.scale(f"{name}.scale")
    return t.residual(name, entry)


def feed_forward(t: Tokens, s: Stage, *, name: str = "mlp", inner: int = 0) -> str:
    """Append a residual feed-forward part: normalisation, two projections, addition."""
    entry = t.last
    t.norm(f"{name}.norm", s.norm)
    t.mlp(f"{name}.fc", inner or s.inner, s.act, bias=not s.has("no-bias"))
    return finish(t, s, f"{name}.add", entry)
