"""The parts that a decoder's layer is made of, by the names that the knobs `mixers` and `ffns` use.

A new mixer or feed-forward part is one function `(decoder, chain)` in a file beside this one, and a name here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.builders.chain import Chain
from workloads.builders.language import feedforward, mixers, mixers_latent, mixers_shared, mixers_state

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder

Part = Callable[["Decoder", Chain], None]

MIXERS: dict[str, Part] = {
    "attention": mixers.attention, "window": mixers.window_attention, "sparse": mixers.sparse_attention,
    "topk": mixers.topk_attention, "evict": mixers_shared.evicting_attention, "reuse": mixers_shared.reused_attention,
    "keys": mixers_shared.keys_only, "mla": mixers_latent.latent_attention, "dsa": mixers_latent.indexed_attention,
    "linear": mixers_state.linear_attention, "deltanet": mixers_state.delta_net, "mamba": mixers_state.mamba,
    "mamba2": mixers_state.mamba2, "rwkv6": mixers_state.rwkv6, "conv": mixers_state.short_convolution,
}  # fmt: skip
"""What lets a token see others."""

FEEDFORWARDS: dict[str, Part] = {
    "dense": feedforward.dense, "moe": feedforward.mixture, "shortcut-moe": feedforward.shortcut_mixture,
    "channel-mix": feedforward.channel_mix, "none": feedforward.none,
}  # fmt: skip
"""What a layer does with each token alone."""
