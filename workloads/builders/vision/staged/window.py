"""Windowed attention: Swin and its version 2, and what they share with others (patches, merging, windows)."""

from __future__ import annotations

from workloads.builders.vision.staged.conv import classify, mean
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens


def windows(t: Tokens, side: int) -> tuple[int, float]:
    """Return (side of a window, windows an image): the map is padded to whole windows; 0 is one for the whole map."""
    window = min(side, t.height) if side else t.height
    return window, float((-(-t.height // window)) ** 2)


def window_attention(t: Tokens, s: Stage, *, table: bool = True, name: str = "attention") -> None:
    """Append attention within windows; `table`: of relative positions, (2 window - 1)^2 entries a head."""
    width, heads = t.channels, s.heads
    window, count = windows(t, s.windows)
    rows = t.batch * count * window**2
    if count > 1:
        t.copy(f"{name}.window")  # partition, with the shift of every other block
    t.linear(f"{name}.qkv", 3 * heads * s.head_dim, bias=not s.has("no-qkv-bias"), rows=rows)
    t.attend(
        name, heads, s.head_dim, queries=window**2, windows=count, bias=table * float(heads * (2 * window - 1) ** 2)
    )
    t.linear(f"{name}.out", width, rows=rows)
    if count > 1:
        t.copy(f"{name}.unwindow")


def swin(t: Tokens, s: Stage) -> None:
    """Swin (Liu et al. 2021, section 3.2): windowed attention and a feed-forward part, normalised before each."""
    entry = t.last
    t.norm("norm")
    window_attention(t, s)
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def swin2(t: Tokens, s: Stage) -> None:
    """Swin V2 (Liu et al. 2022): cosine attention, normalised after each part.

    The table of positions comes from a small network over log-spaced offsets (512 hidden features): its parameters
    are stored, its output does not depend on the image. The keys have no bias.
    """
    entry, width, heads = t.last, t.channels, s.heads
    window, count = windows(t, s.windows)
    rows = t.batch * count * window**2
    if count > 1:
        t.copy("attention.window")
    t.linear("attention.qkv", 3 * width, bias=False, rows=rows)
    t.add("attention.cosine", "norm", {"rows": rows, "hidden": 2 * width, "flop_per_element": 3.0},
          parameters=2.0 * width + heads)  # fmt: skip
    table = 512.0 * (2 + 1) + 512.0 * heads
    t.channels = width
    t.attend("attention", heads, width // heads, queries=window**2, windows=count, bias=table)
    t.linear("attention.out", width, rows=rows)
    if count > 1:
        t.copy("attention.unwindow")
    t.norm("norm1")
    entry = t.residual("attention.add", entry)
    t.mlp("mlp.fc", s.inner, s.act)
    t.norm("norm2")
    t.residual("mlp.add", entry)


def swin_cr(t: Tokens, s: Stage, *, extra: bool = False) -> None:
    """Swin V2 as timm first built it from the paper (`swinv2_cr`): a network of 384 features scores every pair.

    It runs at every pass, over the pairs of one window. `extra`: a normalisation of the stream at the end.
    """
    entry, width, heads = t.last, t.channels, s.heads
    window, count = windows(t, s.windows)
    rows, pairs = t.batch * count * window**2, float(window**4)
    if count > 1:
        t.copy("attention.window")
    t.linear("attention.qkv", 3 * width, rows=rows)
    unit = {"rows": rows, "hidden": 2 * width, "flop_per_element": 3.0}
    unit_name = t.add("attention.cosine", "elementwise", unit, parameters=float(heads))
    t.add("positions.up", "gemm", {"m": pairs, "n": 384, "k": 2}, (entry,), parameters=384.0 * 3)
    t.add("positions.down", "gemm", {"m": pairs, "n": heads, "k": 384}, parameters=385.0 * heads)
    t.channels = width
    inputs = (unit_name, t.last)
    t.attend("attention", heads, width // heads, queries=window**2, windows=count, inputs=inputs)
    t.linear("attention.out", width, rows=rows)
    if count > 1:
        t.copy("attention.unwindow")
    t.norm("norm1")
    entry = t.residual("attention.add", entry)
    t.mlp("mlp.fc", s.inner, s.act)
    t.norm("norm2")
    t.residual("mlp.add", entry)
    if extra:
        t.norm("norm3")


def _patch(t: Tokens, s: Stage) -> None:
    """Patches of `patch` x `patch` pixels to the first stage's width, normalised."""
    t.conv("patches", s.stem_widths[0] or s.width, s.patch, stride=s.patch, padding=0, batch_norm=False, bias=True)
    if not s.has("no-stem-norm"):
        t.norm("norm")


def _merge(t: Tokens, s: Stage) -> None:
    """Swin's merging: four neighbours side by side, normalised, projected without bias."""
    _gather(t)
    t.norm("norm")
    t.linear("project", s.width, bias=False)


def _merge_post(t: Tokens, s: Stage) -> None:
    """Merging with the normalisation after the projection (Swin V2)."""
    _gather(t)
    t.linear("project", s.width, bias=False)
    t.norm("norm")


def _gather(t: Tokens) -> None:
    """Append the copy of 2 x 2 neighbours into one token."""
    t.height, t.width = -(-t.height // 2), -(-t.width // 2)
    t.channels *= 4
    t.copy("gather")


def _norm_mean(t: Tokens, s: Stage) -> None:
    """Normalisation, the mean over the tokens, the classifier."""
    t.norm("norm")
    mean(t)
    classify(t, s)


def _own_norm_mean(t: Tokens, s: Stage) -> None:
    """The network's kind of normalisation, the mean over the tokens, the classifier."""
    t.norm("norm", s.norm)
    mean(t)
    classify(t, s)


def _mean(t: Tokens, s: Stage) -> None:
    """The mean over the tokens and the classifier."""
    mean(t)
    classify(t, s)


def _mean_norm(t: Tokens, s: Stage) -> None:
    """The mean over the tokens, a normalisation of it, the classifier."""
    mean(t)
    t.norm("norm")
    classify(t, s)


WINDOW_BLOCKS: dict[str, Part] = {
    "swin": swin, "swin2": swin2, "swin-cr": swin_cr, "swin-cr-norm": lambda t, s: swin_cr(t, s, extra=True),
}  # fmt: skip
WINDOW_STEMS: dict[str, Part] = {"patch": _patch}
WINDOW_DOWNS: dict[str, Part] = {"merge": _merge, "merge-post-norm": _merge_post}
WINDOW_HEADS: dict[str, Part] = {
    "norm-mean": _norm_mean,
    "mean": _mean,
    "mean-norm": _mean_norm,
    "own-norm-mean": _own_norm_mean,
}
