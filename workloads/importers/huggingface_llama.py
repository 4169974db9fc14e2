"""Readers of `config.json`: decoders of the Llama kind, with or without windows, latents and experts."""

from __future__ import annotations

from typing import Any

from workloads.importers.json_file import JsonObject

Knobs = dict[str, Any]
MAX_PERIOD = 10_000


def period(config: JsonObject, key: str, default: int) -> int:
    """Return after how many layers a pattern repeats. Raises BadFileError."""
    value = config.size(key, default=default)
    if value > MAX_PERIOD:
        config.fault(key, f"this must be a whole number of at most {MAX_PERIOD}, not {value}.")
    return value


def llama(config: JsonObject) -> Knobs:
    heads = config.size("num_attention_heads")
    attention = config.flag("attention_bias", False)
    knobs: Knobs = {
        "layers": config.size("num_hidden_layers"), "hidden": config.size("hidden_size"), "heads": heads,
        "kv_heads": config.size("num_key_value_heads", default=heads), "head_dim": config.size("head_dim", default=0),
        "inter": config.size("intermediate_size"), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", False), "bias": "attention" if attention else "none",
        "max_context": config.size("max_position_embeddings", default=131072),
    }  # fmt: skip
    if config.flag("mlp_bias", False):
        knobs["bias"] = "all"
    if rotary := rotary_features(config, knobs["head_dim"] or knobs["hidden"] // heads):
        knobs["rotary_dim"] = rotary
    return knobs


def rotary_features(config: JsonObject, head: int, default: float = 1.0, key: str = "partial_rotary_factor") -> int:
    """Return how many features of a head are rotated; 0 for all."""
    section = config.get("rope_parameters", {})
    nested = section.get(key) if isinstance(section, dict) else None
    share = config.get(key, default if nested is None else nested)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        config.fault(key, "this must be a share above 0 and at most 1.")
    return 0 if share == 1 else max(1, int(head * share))


def mistral(config: JsonObject) -> Knobs:
    return llama(config) | window(config)


def window(config: JsonObject) -> Knobs:
    """Sliding windows: on all layers, or on those that `layer_types` says."""
    width = config.size("sliding_window", default=0, low=0)
    if not width:
        return {}
    return {"window": width, "mixers": layer_types(config) or ["window"]}


def layer_types(config: JsonObject) -> list[str]:
    words = {"full_attention": "attention", "sliding_attention": "window"}
    listed = config.get("layer_types", [])
    if not isinstance(listed, list) or any(not isinstance(word, str) or word not in words for word in listed):
        config.fault("layer_types", f"this must list {' and '.join(words)}.")
    return [words[word] for word in listed]


def mixtral(config: JsonObject) -> Knobs:
    experts = {"ffns": ["moe"], "experts": config.size("num_local_experts"), "topk": config.size("num_experts_per_tok")}
    return mistral(config) | experts


def qwen2(config: JsonObject) -> Knobs:
    knobs = llama(config) | {"bias": "qkv"}
    if config.flag("use_sliding_window", False):
        full = min(config.size("max_window_layers", default=0, low=0), knobs["layers"])
        mixers = layer_types(config) or ["attention"] * full + ["window"] * (knobs["layers"] - full)
        knobs |= {"window": config.size("sliding_window"), "mixers": mixers}
    return knobs


def qwen3(config: JsonObject) -> Knobs:
    bias = "attention" if config.flag("attention_bias", False) else "none"
    return qwen2(config) | {"bias": bias, "qk_norm": True}


def qwen_experts(config: JsonObject, layers: int) -> Knobs:
    every = config.size("decoder_sparse_step", default=1)
    dense = config.get("mlp_only_layers", [])
    if not isinstance(dense, list):
        config.fault("mlp_only_layers", "this must be a list of layers.")
    ffns = ["dense" if i in dense or (i + 1) % every else "moe" for i in range(min(layers, 10_000))]
    return {
        "ffns": ffns, "experts": config.size("num_experts"), "topk": config.size("num_experts_per_tok"),
        "moe_inter": config.size("moe_intermediate_size"),
    }  # fmt: skip


def qwen2_moe(config: JsonObject) -> Knobs:
    knobs = qwen2(config)
    shared = config.size("shared_expert_intermediate_size", default=0, low=0)
    return knobs | qwen_experts(config, knobs["layers"]) | {"shared_experts": int(shared > 0), "shared_inter": shared}


def qwen3_moe(config: JsonObject) -> Knobs:
    knobs = qwen3(config)
    return knobs | qwen_experts(config, knobs["layers"])


def deepseek(config: JsonObject) -> Knobs:
    """Latent attention, routed and shared experts; with an indexer where the file has one (V3.2, GLM-5)."""
    knobs = llama(config) | {"rotary_dim": 0}
    every = config.size("moe_layer_freq", default=1)
    if every > knobs["layers"]:
        config.fault("moe_layer_freq", f"{every} is more than the {knobs['layers']} layers.")
    knobs |= {
        "mixers": ["mla"], "kv_heads": 0, "head_dim": config.size("qk_nope_head_dim"),
        "q_rank": config.size("q_lora_rank", default=0), "kv_rank": config.size("kv_lora_rank"),
        "rope_dim": config.size("qk_rope_head_dim"), "v_dim": config.size("v_head_dim"),
        "experts": config.size("n_routed_experts"), "topk": config.size("num_experts_per_tok"),
        "moe_inter": config.size("moe_intermediate_size"), "ffns": ["moe"] + ["dense"] * (every - 1),
        "shared_experts": config.size("n_shared_experts", default=0, low=0),
        "first_k_dense": config.size("first_k_dense_replace", default=0, low=0),
    }  # fmt: skip
    if config.get("index_topk") is not None:
        knobs |= {
            "mixers": ["dsa"], "index_heads": config.size("index_n_heads"), "index_dim": config.size("index_head_dim"),
            "topk_keys": config.size("index_topk"),
        }  # fmt: skip
    return knobs


def longcat(config: JsonObject) -> Knobs:
    return {
        "layers": config.size("num_layers"), "hidden": config.size("hidden_size"),
        "heads": config.size("num_attention_heads"), "inter": config.size("ffn_hidden_size"),
        "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", False),
        "max_context": config.size("max_position_embeddings"), "mixers": ["mla"],
        "head_dim": config.size("qk_nope_head_dim"), "q_rank": config.size("q_lora_rank", default=0),
        "kv_rank": config.size("kv_lora_rank"), "rope_dim": config.size("qk_rope_head_dim"),
        "v_dim": config.size("v_head_dim"), "ffns": ["shortcut-moe"], "experts": config.size("n_routed_experts"),
        "zero_experts": config.size("zero_expert_num", default=0, low=0), "topk": config.size("moe_topk"),
        "moe_inter": config.size("expert_ffn_hidden_size"),
    }  # fmt: skip


def glm4_moe(config: JsonObject) -> Knobs:
    """GLM-4.5: biases of queries, keys and values only."""
    bias = "qkv" if config.flag("attention_bias", False) else "none"
    return llama(config) | {
        "bias": bias, "qk_norm": config.flag("use_qk_norm", False), "ffns": ["moe"],
        "experts": config.size("n_routed_experts"), "topk": config.size("num_experts_per_tok"),
        "moe_inter": config.size("moe_intermediate_size"),
        "shared_experts": config.size("n_shared_experts", default=0, low=0),
        "first_k_dense": config.size("first_k_dense_replace", default=0, low=0),
    }  # fmt: skip


def minimax_m2(config: JsonObject) -> Knobs:
    norm = config.flag("use_qk_norm", True)
    return llama(config) | {
        "qk_norm": norm, "qk_norm_wide": norm and config.word("qk_norm_type", "per_layer") == "per_layer",
        "rotary_dim": config.size("rotary_dim", default=0, low=0), "ffns": ["moe"],
        "experts": config.size("num_local_experts"), "topk": config.size("num_experts_per_tok"),
    }  # fmt: skip


def llama4(config: JsonObject) -> Knobs:
    """Llama 4: every so many layers have experts; three of four attend within a chunk, counted as a window."""
    every = period(config, "interleave_moe_layer_step", 1)
    full = period(config, "no_rope_layer_interval", 4)
    return llama(config) | {
        "inter": config.size("intermediate_size_mlp"), "moe_inter": config.size("intermediate_size"),
        "mixers": ["window"] * (full - 1) + ["attention"], "window": config.size("attention_chunk_size", default=8192),
        "ffns": ["dense"] * (every - 1) + ["moe"], "experts": config.size("num_local_experts"),
        "topk": config.size("num_experts_per_tok"), "shared_experts": 1,
    }  # fmt: skip


def gemma(config: JsonObject) -> Knobs:
    return llama(config) | {"tied": config.flag("tie_word_embeddings", True)}


def gemma2(config: JsonObject) -> Knobs:
    mixers = layer_types(config) or ["window", "attention"]
    return gemma(config) | {"post_norm": True, "window": config.size("sliding_window", default=4096), "mixers": mixers}


def gemma3(config: JsonObject) -> Knobs:
    every = period(config, "sliding_window_pattern", 6)
    mixers = layer_types(config) or ["window"] * (every - 1) + ["attention"]
    window = config.size("sliding_window", default=1024)
    return gemma(config) | {"post_norm": True, "qk_norm": True, "window": window, "mixers": mixers}


def gemma3_text(config: JsonObject) -> Knobs:
    """The text part of a Gemma 3 with vision; its files leave out what is the default of the class."""
    for key, value in {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
    }.items():
        config.data.setdefault(key, value)
    return gemma3(config)


def gpt_oss(config: JsonObject) -> Knobs:
    experts = config.size("num_local_experts", "num_experts")
    topk = config.size("num_experts_per_tok", "experts_per_token")
    stored = {"bias": "all", "sinks": True}
    return llama(config) | window(config) | stored | {"ffns": ["moe"], "experts": experts, "topk": topk}
