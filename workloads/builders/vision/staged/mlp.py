"""All-MLP blocks: tokens mix by matrices over the patches (MLP-Mixer, ResMLP, gMLP)."""

from __future__ import annotations

from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens


def mixer(t: Tokens, s: Stage) -> None:
    """MLP-Mixer (Tolstikhin et al. 2021): a feed-forward part across tokens (half the width), one across channels."""
    entry, tokens = t.last, t.tokens
    t.norm("tokens.norm")
    t.mix("tokens.up", t.channels // 2, tokens)
    t.activate("tokens.gelu", "gelu")
    t.mix("tokens.down", tokens, t.channels // 2)
    t.residual("tokens.add", entry)
    feed_forward(t, s)


def gated_mixer(t: Tokens, s: Stage) -> None:
    """A mixer whose parts are gated: half of what goes up, after SiLU, multiplies the other half (timm's gMixer)."""
    entry, tokens, width = t.last, t.tokens, t.channels
    t.norm("tokens.norm")
    t.mix("tokens.up", width, tokens)
    t.add("tokens.gate", "elementwise", {"rows": t.batch * width, "hidden": width / 2, "operands": 2,
                                         "flop_per_element": 5.0})  # fmt: skip
    t.mix("tokens.down", tokens, width // 2)
    entry = t.residual("tokens.add", entry)
    t.norm("mlp.norm")
    t.linear("mlp.up", s.inner)
    t.channels //= 2
    t.add("mlp.gate", "elementwise", {**t._pixels(), "operands": 2, "flop_per_element": 5.0})
    t.linear("mlp.down", width)
    t.residual("mlp.add", entry)


def res_mlp(t: Tokens, s: Stage) -> None:
    """ResMLP (Touvron et al. 2021): one matrix over the patches, affine maps in place of normalisation."""
    entry, tokens = t.last, t.tokens
    t.norm("tokens.norm", s.norm)
    t.mix("tokens.mix", tokens, tokens)
    finish(t, s, "tokens.add", entry)
    feed_forward(t, s)


def gated_mlp(t: Tokens, s: Stage) -> None:
    """gMLP (Liu et al. 2021): half of the hidden features, mixed over the patches, gates the other half."""
    entry, tokens, width = t.last, t.tokens, t.channels
    t.norm("norm")
    t.linear("up", s.inner, act="gelu")
    hidden = t.last
    t.channels //= 2
    t.norm("gate.norm")
    t.mix("gate.mix", tokens, tokens)
    t.multiply("gate", hidden)
    t.linear("down", width)
    t.residual("add", entry)


MLP_BLOCKS: dict[str, Part] = {
    "mixer": mixer, "gated-mixer": gated_mixer, "res-mlp": res_mlp, "gated-mlp": gated_mlp,
}  # fmt: skip
