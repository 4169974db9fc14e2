"""Readers of `config.json`: models with recurrent layers (Mamba, Jamba, Nemotron-H, Qwen3-Next, RWKV)."""

from __future__ import annotations

from itertools import pairwise

from workloads.importers.huggingface_keys import TORCH_DTYPES
from workloads.importers.huggingface_llama import MAX_PERIOD, Knobs, llama, period, qwen3, qwen_experts
from workloads.importers.json_file import JsonObject

ENDLESS = 1_048_576
"""Context of models that have no positions, in tokens."""


def mamba(config: JsonObject) -> Knobs:
    """Mamba and Falcon-Mamba (whose `expand` is not what `intermediate_size` says; the latter holds)."""
    knobs = _attention_free(config) | {"mixers": ["mamba"], "dt_rank": _step_rank(config, "time_step_rank")}
    hidden, inner = knobs["hidden"], config.size("intermediate_size", default=0, low=0)
    if inner % hidden:
        config.fault("intermediate_size", f"this must be a multiple of the hidden size {hidden}.")
    return knobs | {"ssm_expand": inner // hidden or config.size("expand", default=2)}


def mamba2(config: JsonObject) -> Knobs:
    return _attention_free(config) | {
        "mixers": ["mamba2"], "ssm_heads": config.size("num_heads"), "ssm_head_dim": config.size("head_dim"),
        "ssm_groups": config.size("n_groups", default=1), "ssm_expand": config.size("expand", default=2),
    }  # fmt: skip


def _attention_free(config: JsonObject) -> Knobs:
    return {
        "layers": config.size("num_hidden_layers", "n_layer"), "hidden": config.size("hidden_size", "d_model"),
        "heads": 1, "inter": 1, "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", True),
        "position": "none", "ffns": ["none"], "ssm_state": config.size("state_size", default=16),
        "conv_width": config.size("conv_kernel", default=4), "max_context": ENDLESS,
    }  # fmt: skip


def _step_rank(config: JsonObject, key: str) -> int:
    return 0 if config.get(key, "auto") == "auto" else config.size(key)


def jamba(config: JsonObject) -> Knobs:
    """Jamba: attention and experts each every so many layers, at an offset."""
    mixers = _every(config, "attn_layer_period", "attn_layer_offset", ("mamba", "attention"), (8, 4))
    ffns = _every(config, "expert_layer_period", "expert_layer_offset", ("dense", "moe"), (2, 1))
    return llama(config) | {
        "mixers": mixers, "ffns": ffns, "position": "none", "experts": config.size("num_experts"),
        "topk": config.size("num_experts_per_tok"), "ssm_state": config.size("mamba_d_state", default=16),
        "conv_width": config.size("mamba_d_conv", default=4), "ssm_expand": config.size("mamba_expand", default=2),
        "dt_rank": _step_rank(config, "mamba_dt_rank"), "ssm_norm": True,
    }  # fmt: skip


def _every(
    config: JsonObject, length_key: str, place_key: str, words: tuple[str, str], defaults: tuple[int, int]
) -> list[str]:  # fmt: skip
    """Return one period of layers: the second word at the offset, the first elsewhere."""
    length = period(config, length_key, defaults[0])
    place = config.size(place_key, default=defaults[1], low=0)
    return [words[i == place] for i in range(length)]


def nemotron_h(config: JsonObject) -> Knobs:
    """Nemotron-H: `M` Mamba-2, `*` attention, `-` dense, `E` experts; each a layer of its own in the file."""
    mixers, ffns = _hybrid(config)
    if config.get("moe_latent_size") is not None:
        config.fault("moe_latent_size", "experts on a latent of the tokens are not modelled.")
    knobs: Knobs = {
        "layers": len(mixers), "mixers": mixers, "ffns": ffns, "hidden": config.size("hidden_size"),
        "heads": config.size("num_attention_heads"), "kv_heads": config.size("num_key_value_heads"),
        "head_dim": config.size("head_dim", "attention_head_dim"), "inter": config.size("intermediate_size"),
        "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", False), "gated": False,
        "position": "none", "max_context": config.size("max_position_embeddings"),
        "ssm_heads": config.size("mamba_num_heads"), "ssm_head_dim": config.size("mamba_head_dim"),
        "ssm_groups": config.size("n_groups", default=1), "ssm_state": config.size("ssm_state_size"),
        "conv_width": config.size("conv_kernel", default=4), "state_dtype": _state_format(config),
    }  # fmt: skip
    if "moe" in ffns:
        knobs |= {
            "experts": config.size("n_routed_experts"), "topk": config.size("num_experts_per_tok"),
            "moe_inter": config.size("moe_intermediate_size"),
            "shared_experts": config.size("n_shared_experts", default=0, low=0),
            "shared_inter": config.size("moe_shared_expert_intermediate_size", default=0, low=0),
        }  # fmt: skip
    return knobs


def _hybrid(config: JsonObject) -> tuple[list[str], list[str]]:
    """Return (mixer, feed-forward part) lists of a pattern in which every part is a layer; each follows a mixer."""
    pattern, key = config.word("hybrid_override_pattern"), "hybrid_override_pattern"
    mixers = {"M": "mamba2", "*": "attention"}
    parts = {"-": "dense", "E": "moe"}
    if not pattern or len(pattern) > MAX_PERIOD or set(pattern) - {*mixers, *parts}:
        config.fault(key, "this must be a text of M, *, - and E.")
    if any(after in parts and before in parts for before, after in pairwise("-" + pattern)):
        config.fault(key, "a feed-forward part that does not follow a mixer is not modelled.")
    following = pattern[1:] + "M"
    layers = [(mixers[c], parts.get(after, "none")) for c, after in zip(pattern, following, strict=True) if c in mixers]
    return [mixer for mixer, _ in layers], [part for _, part in layers]


def _state_format(config: JsonObject, default: str = "") -> str:
    stored = config.get("mamba_ssm_cache_dtype", config.get("mamba_ssm_dtype"))
    return default if stored is None else TORCH_DTYPES.get(str(stored), default)


def qwen_next(config: JsonObject) -> Knobs:
    """Qwen3-Next and Qwen3.5: gated delta nets with gated attention every fourth layer, dense or with experts."""
    every = period(config, "full_attention_interval", 4)
    words = {"linear_attention": "deltanet", "full_attention": "attention"}
    listed = config.get("layer_types", ["linear_attention"] * (every - 1) + ["full_attention"])
    if not isinstance(listed, list) or any(not isinstance(word, str) or word not in words for word in listed):
        config.fault("layer_types", f"this must list {' and '.join(words)}.")
    sparse = config.get("num_experts") is not None
    if sparse:
        config.data.setdefault("intermediate_size", 1)  # files of mixtures have no dense layer, and no size for it
    knobs = qwen3(config) | {
        "mixers": [words[word] for word in listed], "attention_gate": True,
        "linear_heads": config.size("linear_num_value_heads"), "linear_key_heads": config.size("linear_num_key_heads"),
        "linear_key_dim": config.size("linear_key_head_dim"), "linear_value_dim": config.size("linear_value_head_dim"),
        "conv_width": config.size("linear_conv_kernel_dim", default=4), "state_dtype": _state_format(config, "fp32"),
    }  # fmt: skip
    if "rotary_dim" not in knobs:
        knobs["rotary_dim"] = (knobs["head_dim"] or knobs["hidden"] // knobs["heads"]) // 4
    if sparse:
        shared = config.size("shared_expert_intermediate_size", default=0, low=0)
        knobs |= qwen_experts(config, knobs["layers"])
        knobs |= {"shared_experts": int(shared > 0), "shared_inter": shared, "shared_gate": shared > 0}
    return knobs


def rwkv6(config: JsonObject) -> Knobs:
    """RWKV-6; ranks and width of the channel mix are those of the released code (RWKV-LM, v6) where not stated."""
    hidden = config.size("hidden_size")
    size = config.size("head_size", default=64)
    wide = 2 if hidden >= 4096 else 1
    return {
        "layers": config.size("num_hidden_layers"), "hidden": hidden, "heads": max(1, hidden // size), "head_dim": size,
        "inter": config.size("intermediate_size", default=max(1, hidden * 7 // 2 // 32 * 32)),
        "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", False), "norm": "layer",
        "embedding_norm": True, "position": "none", "mixers": ["rwkv6"], "ffns": ["channel-mix"],
        "mix_rank": 32 * wide, "decay_rank": 64 * wide, "state_dtype": "fp32", "max_context": ENDLESS,
    }  # fmt: skip
