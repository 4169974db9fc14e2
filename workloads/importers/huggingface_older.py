"""Readers of `config.json`: decoders that differ from Llama in norms, biases or order, encoders, and T5."""

from __future__ import annotations

from workloads.importers.huggingface_llama import Knobs, llama, mistral, rotary_features
from workloads.importers.json_file import JsonObject


def gpt2(config: JsonObject) -> Knobs:
    hidden = config.size("n_embd", "hidden_size")
    return {
        "layers": config.size("n_layer", "num_hidden_layers"), "hidden": hidden,
        "heads": config.size("n_head", "num_attention_heads"), "inter": config.size("n_inner", default=4 * hidden),
        "vocab": config.size("vocab_size"), "max_context": config.size("n_positions", "n_ctx"),
        "tied": config.flag("tie_word_embeddings", True), "gated": False, "norm": "layer", "bias": "all",
        "position": "table",
    }  # fmt: skip


def falcon(config: JsonObject) -> Knobs:
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads", "n_head")
    grouped = config.flag("new_decoder_architecture", False)
    kv_heads = config.size("num_kv_heads", default=heads)
    if not grouped and config.flag("multi_query", True):
        kv_heads = 1
    return {
        "layers": config.size("num_hidden_layers", "n_layer"), "hidden": hidden, "heads": heads, "kv_heads": kv_heads,
        "inter": config.size("ffn_hidden_size", default=4 * hidden), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", True), "gated": False, "norm": "layer",
        "bias": "all" if config.flag("bias", False) else "none",
        "position": "none" if config.flag("alibi", False) else "rope",
        "max_context": config.size("max_position_embeddings", default=2048),
        "parallel": parallel_norms(config, grouped),
    }  # fmt: skip


def parallel_norms(config: JsonObject, grouped: bool) -> str:
    """Return how Falcon's layers run: one part after the other, or side by side through one norm or two."""
    if not grouped and not config.flag("parallel_attn", True):
        return "none"
    return "two-norms" if grouped and config.size("num_ln_in_parallel_attn", default=2) == 2 else "one-norm"


def gpt_j(config: JsonObject) -> Knobs:
    """GPT-J and CodeGen: both parts read one norm; biases in the feed-forward part and the head."""
    hidden = config.size("n_embd", "hidden_size")
    return {
        "layers": config.size("n_layer", "num_hidden_layers"), "hidden": hidden,
        "heads": config.size("n_head", "num_attention_heads"), "inter": config.size("n_inner", default=4 * hidden),
        "vocab": config.size("vocab_size"), "max_context": config.size("n_positions"), "gated": False, "norm": "layer",
        "parallel": "one-norm", "bias": "mlp", "rotary_dim": config.size("rotary_dim", default=64),
        "tied": (tied := config.flag("tie_word_embeddings", False)), "head_bias": not tied,
    }  # fmt: skip


def gpt_neox(config: JsonObject) -> Knobs:
    """GPT-NeoX and Pythia: side by side, each through a norm of its own, unless the file says otherwise."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    return {
        "layers": config.size("num_hidden_layers"), "hidden": hidden, "heads": heads,
        "inter": config.size("intermediate_size"), "vocab": config.size("vocab_size"),
        "max_context": config.size("max_position_embeddings"), "tied": config.flag("tie_word_embeddings", False),
        "gated": False, "norm": "layer", "bias": "all" if config.flag("attention_bias", True) else "mlp",
        "parallel": "two-norms" if config.flag("use_parallel_residual", True) else "none",
        "rotary_dim": rotary_features(config, hidden // heads, 0.25, "rotary_pct"),
    }  # fmt: skip


def phi(config: JsonObject) -> Knobs:
    """Phi-1.5 and phi-2."""
    return llama(config) | {
        "gated": False, "norm": "layer", "parallel": "one-norm", "bias": "all", "head_bias": True,
        "qk_norm": config.flag("qk_layernorm", False),
    }  # fmt: skip


def opt(config: JsonObject) -> Knobs:
    hidden, places = config.size("hidden_size"), config.size("max_position_embeddings")
    if config.size("word_embed_proj_dim", default=hidden) != hidden or not config.flag("do_layer_norm_before", True):
        config.fault("word_embed_proj_dim", "OPT with narrow embeddings and late norms (350m) is not modelled.")
    return {
        "layers": config.size("num_hidden_layers"), "hidden": hidden, "heads": config.size("num_attention_heads"),
        "inter": config.size("ffn_dim"), "vocab": config.size("vocab_size"), "max_context": places,
        "position_rows": places + 2, "tied": config.flag("tie_word_embeddings", True), "gated": False, "norm": "layer",
        "bias": "all" if config.flag("enable_bias", True) else "none", "position": "table",
    }  # fmt: skip


def bloom(config: JsonObject) -> Knobs:
    hidden = config.size("hidden_size", "n_embed")
    return {
        "layers": config.size("n_layer", "num_hidden_layers"), "hidden": hidden,
        "heads": config.size("n_head", "num_attention_heads"), "inter": 4 * hidden,
        "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", True), "gated": False,
        "norm": "layer", "embedding_norm": True, "bias": "all", "position": "none",
        "max_context": config.size("seq_length", default=2048),
    }  # fmt: skip


def gpt_bigcode(config: JsonObject) -> Knobs:
    return gpt2(config) | {"kv_heads": 1 if config.flag("multi_query", True) else 0}


def starcoder2(config: JsonObject) -> Knobs:
    bias = "all" if config.flag("use_bias", True) else "none"
    tied = config.flag("tie_word_embeddings", True)
    return mistral(config) | {"gated": False, "norm": "layer", "bias": bias, "tied": tied}


def mpt(config: JsonObject) -> Knobs:
    hidden = config.size("d_model")
    plain = config.flag("no_bias", True)
    section = config.get("attn_config", {})
    alibi = not isinstance(section, dict) or section.get("alibi", True) is not False
    return {
        "layers": config.size("n_layers"), "hidden": hidden, "heads": config.size("n_heads"),
        "inter": hidden * config.size("expansion_ratio", default=4), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", True), "gated": False, "norm": "layer-gain" if plain else "layer",
        "bias": "none" if plain else "all", "position": "none" if alibi else "table",
        "max_context": config.size("max_seq_len", default=2048),
    }  # fmt: skip


def bert(config: JsonObject) -> Knobs:
    masked = "MaskedLM" in str(config.get("architectures", ""))
    return {
        "layers": config.size("num_hidden_layers"), "hidden": config.size("hidden_size"),
        "heads": config.size("num_attention_heads"), "inter": config.size("intermediate_size"),
        "vocab": config.size("vocab_size"), "types": config.size("type_vocab_size", default=2, low=0),
        "max_context": config.size("max_position_embeddings"), "head": "mlm" if masked else "pooler",
    }  # fmt: skip


def t5(config: JsonObject) -> Knobs:
    layers = config.size("num_layers")
    return {
        "encoder_layers": layers, "decoder_layers": config.size("num_decoder_layers", default=layers),
        "hidden": config.size("d_model"), "heads": config.size("num_heads"), "head_dim": config.size("d_kv"),
        "inter": config.size("d_ff"), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", True),
        "gated": config.word("feed_forward_proj", "relu").startswith("gated"),
        "relative_buckets": config.size("relative_attention_num_buckets", default=32),
    }  # fmt: skip
