"""The `quantization_config` of a Hugging Face file as the knobs of number formats."""

from __future__ import annotations

from typing import Any

from workloads.importers.json_file import JsonObject

METHODS = ("fp8", "fbgemm_fp8", "gptq", "awq", "bitsandbytes", "compressed-tensors", "mxfp4", "modelopt")


def quantized_formats(config: JsonObject) -> dict[str, str]:
    """Return the knobs `dtype` or `expert_dtype` that a quantisation sets; none without one.

    Raises:
        BadFileError: a method or a width that is not known: guessing would misstate memory by a factor.
    """
    section = config.get("quantization_config", {})
    if not section:
        return {}
    if not isinstance(section, dict):
        config.fault("quantization_config", "this must be an object.")
    method = str(section.get("quant_method", "")).lower()
    if method == "mxfp4":
        return {"expert_dtype": "w4a16_mxfp4"}
    found = _format(method, section)
    if not found:
        known = ", ".join(METHODS)
        config.fault(
            "quantization_config", f"the quantisation '{method[:40]}' in this form is not known.", f"Known: {known}."
        )
    return {"dtype": found}


def _format(method: str, section: dict[str, Any]) -> str:
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8_block" if section.get("weight_block_size") else "fp8"
    if method in ("gptq", "awq"):
        return {4: "w4a16", 8: "w8a16"}.get(section.get("bits", 4), "")
    if method == "bitsandbytes":
        if section.get("load_in_4bit") or section.get("_load_in_4bit"):
            return "w4a16"
        return "w8a16" if section.get("load_in_8bit") or section.get("_load_in_8bit") else ""
    if method == "modelopt":
        return {"FP8": "fp8", "NVFP4": "nvfp4", "W4A16_AWQ": "w4a16"}.get(str(section.get("quant_algo")).upper(), "")
    if method == "compressed-tensors":
        return _compressed(section)
    return ""


def _compressed(section: dict[str, Any]) -> str:
    """Read the first group: weights of so many bits, with or without quantised activations."""
    groups = section.get("config_groups")
    group = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        return ""
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    inputs = bool(isinstance(group, dict) and group.get("input_activations"))
    if isinstance(bits, bool) or not isinstance(bits, int):
        return ""
    if kind == "float":
        return {(8, True): "fp8", (4, True): "nvfp4", (8, False): "w8a16"}.get((bits, inputs), "")
    return {(8, True): "int8", (8, False): "w8a16", (4, False): "w4a16", (4, True): "w4a8"}.get((bits, inputs), "")
