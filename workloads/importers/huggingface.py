"""Hugging Face `config.json`: a local file becomes a model. No network, no code of the repository is run.

A key that is neither used nor known to be harmless is named in the model's notes; an architecture that is not known
is an error that lists those that are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, InputError, UnknownNameError
from workloads.families import build
from workloads.importers.huggingface_keys import HARMLESS, MODEL_TYPES, TORCH_DTYPES
from workloads.importers.json_file import JsonObject, load_json
from workloads.importers.quantization import quantized_formats
from workloads.model import Model

Knobs = dict[str, Any]


def load_huggingface(path: str | Path) -> Model:
    """Return the model that a `config.json` describes.

    Raises:
        BadFileError: the file is not such a file, names an unknown architecture, or has sizes no model can have.
    """
    config = load_json(Path(path))
    architecture = _architecture(config)
    family, read = ARCHITECTURES[architecture]
    knobs = read(config)
    notes = _formats(config, knobs)
    unknown = sorted(set(config.data) - config.asked - HARMLESS)
    if unknown:
        notes.append(f"{config.path.name}: not used, since unknown: {', '.join(unknown[:20])}.")
    return _build(config, family, knobs, notes)


def _build(config: JsonObject, family: str, knobs: Knobs, notes: list[str]) -> Model:

    path = config.path
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    try:
        return build(family, name or "model", knobs, notes)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(path, str(error)) from None


def _architecture(config: JsonObject) -> str:
    listed = config.get("architectures", [])
    model_type = config.word("model_type")
    first = str(listed[0])[:80] if isinstance(listed, list) and listed else ""
    name = first or MODEL_TYPES.get(model_type, model_type)
    if not name:
        raise BadFileError(
            config.path, "neither 'architectures' nor 'model_type' says what this is.", key="architectures"
        )
    if name not in ARCHITECTURES:
        hint = f"Known: {', '.join(ARCHITECTURES)}."
        config.fault("architectures", str(UnknownNameError("architecture", name, ARCHITECTURES, hint)))
    return name


def _formats(config: JsonObject, knobs: Knobs) -> list[str]:
    """Set the knobs of number formats from the stored type and the quantisation; return notes."""
    stored = config.get("torch_dtype", config.get("dtype"))
    notes: list[str] = []
    if stored is None:
        notes.append(f"{config.path.name} names no torch_dtype; bf16 is assumed.")
    elif str(stored) not in TORCH_DTYPES:
        config.fault("torch_dtype", f"the type '{str(stored)[:40]}' is not one of {', '.join(TORCH_DTYPES)}.")
    knobs["dtype"] = TORCH_DTYPES.get(str(stored), "bf16")
    knobs |= quantized_formats(config)
    return notes


def _llama(config: JsonObject) -> Knobs:
    heads = config.size("num_attention_heads")
    attention = config.flag("attention_bias", False)
    knobs: Knobs = {
        "layers": config.size("num_hidden_layers"), "hidden": config.size("hidden_size"), "heads": heads,
        "kv_heads": config.size("num_key_value_heads", default=heads), "head_dim": config.size("head_dim", default=0),
        "inter": config.size("intermediate_size"), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", False), "bias": "qkv" if attention else "none",
        "max_context": config.size("max_position_embeddings", default=131072),
    }  # fmt: skip
    if config.flag("mlp_bias", False):
        knobs["bias"] = "all"
    return knobs


def _mistral(config: JsonObject) -> Knobs:
    return _llama(config) | _window(config)


def _window(config: JsonObject) -> Knobs:
    """Sliding windows: on all layers, or on those that `layer_types` says."""
    width = config.size("sliding_window", default=0, low=0)
    if not width:
        return {}
    return {"window": width, "mixers": _layer_types(config) or ["window"]}


def _layer_types(config: JsonObject) -> list[str]:
    words = {"full_attention": "attention", "sliding_attention": "window"}
    listed = config.get("layer_types", [])
    if not isinstance(listed, list) or any(not isinstance(word, str) or word not in words for word in listed):
        config.fault("layer_types", f"this must list {' and '.join(words)}.")
    return [words[word] for word in listed]


def _mixtral(config: JsonObject) -> Knobs:
    experts = {"ffns": ["moe"], "experts": config.size("num_local_experts"), "topk": config.size("num_experts_per_tok")}
    return _mistral(config) | experts


def _qwen2(config: JsonObject) -> Knobs:
    knobs = _llama(config) | {"bias": "qkv"}
    if config.flag("use_sliding_window", False):
        full = min(config.size("max_window_layers", default=0, low=0), knobs["layers"])
        mixers = _layer_types(config) or ["attention"] * full + ["window"] * (knobs["layers"] - full)
        knobs |= {"window": config.size("sliding_window"), "mixers": mixers}
    return knobs


def _qwen3(config: JsonObject) -> Knobs:
    bias = "qkv" if config.flag("attention_bias", False) else "none"
    return _qwen2(config) | {"bias": bias, "qk_norm": True}


def _qwen_experts(config: JsonObject, layers: int) -> Knobs:
    every = config.size("decoder_sparse_step", default=1)
    dense = config.get("mlp_only_layers", [])
    if not isinstance(dense, list):
        config.fault("mlp_only_layers", "this must be a list of layers.")
    ffns = ["dense" if i in dense or (i + 1) % every else "moe" for i in range(min(layers, 10_000))]
    return {
        "ffns": ffns, "experts": config.size("num_experts"), "topk": config.size("num_experts_per_tok"),
        "moe_inter": config.size("moe_intermediate_size"),
    }  # fmt: skip


def _qwen2_moe(config: JsonObject) -> Knobs:
    knobs = _qwen2(config)
    shared = config.size("shared_expert_intermediate_size", default=0, low=0)
    return knobs | _qwen_experts(config, knobs["layers"]) | {"shared_experts": int(shared > 0), "shared_inter": shared}


def _qwen3_moe(config: JsonObject) -> Knobs:
    knobs = _qwen3(config)
    return knobs | _qwen_experts(config, knobs["layers"])


def _deepseek(config: JsonObject) -> Knobs:
    knobs = _llama(config)
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
    return knobs


def _gemma(config: JsonObject) -> Knobs:
    return _llama(config) | {"tied": config.flag("tie_word_embeddings", True)}


def _gemma2(config: JsonObject) -> Knobs:
    mixers = _layer_types(config) or ["window", "attention"]
    return _gemma(config) | {"post_norm": True, "window": config.size("sliding_window", default=4096), "mixers": mixers}


def _gemma3(config: JsonObject) -> Knobs:
    every = config.size("sliding_window_pattern", default=6)
    mixers = _layer_types(config) or ["window"] * (every - 1) + ["attention"]
    window = config.size("sliding_window", default=1024)
    return _gemma(config) | {"post_norm": True, "qk_norm": True, "window": window, "mixers": mixers}


def _gpt_oss(config: JsonObject) -> Knobs:
    experts = config.size("num_local_experts", "num_experts")
    topk = config.size("num_experts_per_tok", "experts_per_token")
    return _llama(config) | _window(config) | {"ffns": ["moe"], "experts": experts, "topk": topk}


def _gpt2(config: JsonObject) -> Knobs:
    hidden = config.size("n_embd", "hidden_size")
    return {
        "layers": config.size("n_layer", "num_hidden_layers"), "hidden": hidden,
        "heads": config.size("n_head", "num_attention_heads"), "inter": config.size("n_inner", default=4 * hidden),
        "vocab": config.size("vocab_size"), "max_context": config.size("n_positions", "n_ctx"),
        "tied": config.flag("tie_word_embeddings", True), "gated": False, "norm": "layer", "bias": "all",
        "position": "table",
    }  # fmt: skip


def _falcon(config: JsonObject) -> Knobs:
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
    }  # fmt: skip


def _bert(config: JsonObject) -> Knobs:
    masked = "MaskedLM" in str(config.get("architectures", ""))
    return {
        "layers": config.size("num_hidden_layers"), "hidden": config.size("hidden_size"),
        "heads": config.size("num_attention_heads"), "inter": config.size("intermediate_size"),
        "vocab": config.size("vocab_size"), "types": config.size("type_vocab_size", default=2, low=0),
        "max_context": config.size("max_position_embeddings"), "head": "mlm" if masked else "pooler",
    }  # fmt: skip


def _t5(config: JsonObject) -> Knobs:
    layers = config.size("num_layers")
    return {
        "encoder_layers": layers, "decoder_layers": config.size("num_decoder_layers", default=layers),
        "hidden": config.size("d_model"), "heads": config.size("num_heads"), "head_dim": config.size("d_kv"),
        "inter": config.size("d_ff"), "vocab": config.size("vocab_size"),
        "tied": config.flag("tie_word_embeddings", True),
        "gated": config.word("feed_forward_proj", "relu").startswith("gated"),
        "relative_buckets": config.size("relative_attention_num_buckets", default=32),
    }  # fmt: skip


def _mamba(config: JsonObject) -> Knobs:
    hidden, expand = config.size("hidden_size", "d_model"), config.size("expand", default=2)
    rank = config.get("time_step_rank", "auto")
    return {
        "layers": config.size("num_hidden_layers", "n_layer"), "hidden": hidden, "heads": 1, "inter": 1,
        "vocab": config.size("vocab_size"), "tied": config.flag("tie_word_embeddings", True), "position": "none",
        "mixers": ["mamba"], "ffns": ["none"], "ssm_expand": expand, "ssm_state": config.size("state_size", default=16),
        "conv_width": config.size("conv_kernel", default=4), "max_context": 10**6,
        "dt_rank": 0 if rank == "auto" else config.size("time_step_rank"),
    }  # fmt: skip


ARCHITECTURES: Mapping[str, tuple[str, Callable[[JsonObject], Knobs]]] = {
    "LlamaForCausalLM": ("decoder", _llama),
    "MistralForCausalLM": ("decoder", _mistral),
    "MixtralForCausalLM": ("decoder", _mixtral),
    "Qwen2ForCausalLM": ("decoder", _qwen2),
    "Qwen2MoeForCausalLM": ("decoder", _qwen2_moe),
    "Qwen3ForCausalLM": ("decoder", _qwen3),
    "Qwen3MoeForCausalLM": ("decoder", _qwen3_moe),
    "DeepseekV2ForCausalLM": ("decoder", _deepseek),
    "DeepseekV3ForCausalLM": ("decoder", _deepseek),
    "GemmaForCausalLM": ("decoder", _gemma),
    "Gemma2ForCausalLM": ("decoder", _gemma2),
    "Gemma3ForCausalLM": ("decoder", _gemma3),
    "Phi3ForCausalLM": ("decoder", _mistral),
    "GptOssForCausalLM": ("decoder", _gpt_oss),
    "GPT2LMHeadModel": ("decoder", _gpt2),
    "FalconForCausalLM": ("decoder", _falcon),
    "MambaForCausalLM": ("decoder", _mamba),
    "BertModel": ("encoder", _bert),
    "BertForMaskedLM": ("encoder", _bert),
    "T5ForConditionalGeneration": ("encoder-decoder", _t5),
}
"""Family and reader of each architecture; a new one is a function and a line."""
