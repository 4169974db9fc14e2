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
from workloads.importers import huggingface_llama as llama
from workloads.importers import huggingface_older as older
from workloads.importers import huggingface_state as state
from workloads.importers.huggingface_keys import HARMLESS, MODEL_TYPES, PREDICTION_LAYERS, TORCH_DTYPES
from workloads.importers.json_file import JsonObject, load_json
from workloads.importers.quantization import quantized_formats
from workloads.model import Model

Knobs = dict[str, Any]

TEXT = "text_config"
"""Where a model that also sees or hears describes its language part."""


def load_huggingface(path: str | Path) -> Model:
    """Return the model that a `config.json` describes.

    Raises:
        BadFileError: the file is not such a file, names an unknown architecture, or has sizes no model can have.
    """
    file = load_json(Path(path))
    architecture = _architecture(file)
    family, read = ARCHITECTURES[architecture]
    config = _language_part(file)
    knobs = read(config)
    notes = _formats(file, config, knobs)
    if config is not file:
        notes.append(f"{file.path.name}: only its {TEXT} is read; vision and other towers are left out.")
    if any(config.get(key) for key in PREDICTION_LAYERS):
        notes.append(f"{file.path.name}: its layers for multi-token prediction are left out.")
    unknown = sorted(set(config.data) - config.asked - HARMLESS)
    if unknown:
        notes.append(f"{config.path.name}: not used, since unknown: {', '.join(unknown[:20])}.")
    return _build(config, family, knobs, notes)


def _language_part(file: JsonObject) -> JsonObject:
    section = file.data.get(TEXT)
    if section is None:
        return file
    if not isinstance(section, dict):
        file.fault(TEXT, "this must be an object.")
    return JsonObject(file.path, file.text, section)


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


def _formats(file: JsonObject, config: JsonObject, knobs: Knobs) -> list[str]:
    """Set the knobs of number formats from the stored type and the quantisation; return notes."""
    stored = config.get("torch_dtype", config.get("dtype", file.get("torch_dtype", file.get("dtype"))))
    quantised = config if "quantization_config" in config.data else file
    notes: list[str] = []
    if stored is None and not quantised.data.get("quantization_config"):
        notes.append(f"{config.path.name} names no torch_dtype; bf16 is assumed.")
    elif stored is not None and str(stored) not in TORCH_DTYPES:
        config.fault("torch_dtype", f"the type '{str(stored)[:40]}' is not one of {', '.join(TORCH_DTYPES)}.")
    knobs["dtype"] = TORCH_DTYPES.get(str(stored), "bf16")
    found = quantized_formats(quantised)
    if "dtype" in found and "experts" in knobs and _attention_is_left(quantised):
        found = {"expert_dtype": found["dtype"]}
    knobs |= found
    return notes


def _attention_is_left(config: JsonObject) -> bool:
    """Say whether a quantisation leaves out attention, and so is one of the experts (Kimi-K2.5)."""
    section = config.data.get("quantization_config")
    ignored = section.get("ignore") if isinstance(section, dict) else None
    return isinstance(ignored, list) and any(
        "self_attn" in str(word) and "layers." not in str(word) for word in ignored
    )


Reader = Callable[[JsonObject], Knobs]

DECODERS: Mapping[str, Reader] = {
    "LlamaForCausalLM": llama.llama, "MistralForCausalLM": llama.mistral, "MixtralForCausalLM": llama.mixtral,
    "Qwen2ForCausalLM": llama.qwen2, "Qwen2MoeForCausalLM": llama.qwen2_moe, "Qwen3ForCausalLM": llama.qwen3,
    "Qwen3MoeForCausalLM": llama.qwen3_moe, "DeepseekV2ForCausalLM": llama.deepseek,
    "DeepseekV3ForCausalLM": llama.deepseek, "DeepseekV32ForCausalLM": llama.deepseek,
    "GlmMoeDsaForCausalLM": llama.deepseek, "KimiK25ForConditionalGeneration": llama.deepseek,
    "LongcatFlashForCausalLM": llama.longcat, "Glm4MoeForCausalLM": llama.glm4_moe,
    "MiniMaxM2ForCausalLM": llama.minimax_m2, "Llama4ForConditionalGeneration": llama.llama4,
    "GemmaForCausalLM": llama.gemma, "Gemma2ForCausalLM": llama.gemma2, "Gemma3ForCausalLM": llama.gemma3,
    "Gemma3ForConditionalGeneration": llama.gemma3_text, "Phi3ForCausalLM": llama.mistral,
    "GptOssForCausalLM": llama.gpt_oss, "GPT2LMHeadModel": older.gpt2, "GPTJForCausalLM": older.gpt_j,
    "CodeGenForCausalLM": older.gpt_j, "GPTNeoXForCausalLM": older.gpt_neox, "PhiForCausalLM": older.phi,
    "OPTForCausalLM": older.opt, "BloomForCausalLM": older.bloom, "FalconForCausalLM": older.falcon,
    "GPTBigCodeForCausalLM": older.gpt_bigcode, "Starcoder2ForCausalLM": older.starcoder2,
    "MPTForCausalLM": older.mpt, "MptForCausalLM": older.mpt, "MambaForCausalLM": state.mamba,
    "FalconMambaForCausalLM": state.mamba, "Mamba2ForCausalLM": state.mamba2, "JambaForCausalLM": state.jamba,
    "NemotronHForCausalLM": state.nemotron_h, "Qwen3NextForCausalLM": state.qwen_next,
    "Qwen3_5ForConditionalGeneration": state.qwen_next, "Qwen3_5MoeForConditionalGeneration": state.qwen_next,
    "Rwkv6ForCausalLM": state.rwkv6,
}  # fmt: skip

ARCHITECTURES: Mapping[str, tuple[str, Reader]] = {
    **{name: ("decoder", reader) for name, reader in DECODERS.items()},
    "BertModel": ("encoder", older.bert),
    "BertForMaskedLM": ("encoder", older.bert),
    "T5ForConditionalGeneration": ("encoder-decoder", older.t5),
}
"""Family and reader of each architecture; a new one is a function and a line."""
