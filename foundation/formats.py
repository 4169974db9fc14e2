"""Number formats: how many bits a weight, an activation and an output take, and which peak rate applies.

Scale overheads are those of the formats' definitions: OCP Microscaling Formats (MX) v1.0 section 5
(one 8-bit scale per 32 elements), NVFP4 (one FP8 scale per 16 elements), DeepSeek-V3 technical report
section 3.3.2 (FP32 scales per 128x128 weight block and per 1x128 activation tile), GPTQ/AWQ with groups of
128 (one FP16 scale and one 4-bit zero point per group). Block-quantised formats of GGUF files: bytes of a block over
its weights, as `ggml-common.h` of ggml (github.com/ggml-org/ggml) lays the blocks out.
"""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """One number format as a user names it.

    Bits are per element, scale factors included. `math` names the peak rate of a device that applies.
    """

    name: str
    math: str
    weight_bits: float
    activation_bits: float
    output_bits: float


def _plain(name: str, bits: float, math: str = "", output_bits: float | None = None) -> NumberFormat:
    return NumberFormat(name, math or name, bits, bits, bits if output_bits is None else output_bits)


_GROUP_128 = 20 / 128  # FP16 scale + 4-bit zero point per 128 weights

GGML_BLOCKS: dict[str, tuple[int, int]] = {
    "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34), "q2_k": (256, 84),
    "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176), "q6_k": (256, 210), "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74), "iq3_xxs": (256, 98), "iq1_s": (256, 50), "iq4_nl": (32, 18), "iq3_s": (256, 110),
    "iq2_s": (256, 82), "iq4_xs": (256, 136), "iq1_m": (256, 56), "tq1_0": (256, 54), "tq2_0": (256, 66),
}  # fmt: skip
"""Weights of a block and its bytes, scales included. The blocks are widened to 16 bits as they are read."""

GGUF_MIXES: dict[str, float] = {
    "q2_k_s": 2.9697, "q3_k_s": 3.6429, "q3_k_m": 4.0038, "q3_k_l": 4.2979, "q4_k_s": 4.6672, "q4_k_m": 4.8944,
    "q5_k_s": 5.5704, "q5_k_m": 5.7036,
}  # fmt: skip
"""Mean bits of a weight where llama.cpp mixes blocks over the tensors of a file: half of some products and the head
have more bits than the rest. Those of Llama 3.1 8B (tools/quantize/README.md of llama.cpp; q3_k_m from the size of its
file). `q2_k`, `q6_k` and `q8_0` name the blocks; a file of that name is nearly all of them, but for Q2_K (3.16)."""
_MIXED_WEIGHTS, _MIXED_TABLE = 8_030_261_248, 128_256 * 4096
"""Weights of Llama 3.1 8B, and those of its embedding, and again of its head."""
_LOW_BITS = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs")
_EMBEDDINGS: dict[str, str] = {
    "iq1_s": "q2_k", "iq1_m": "q2_k", "iq2_xxs": "q2_k", "iq2_xs": "q2_k", "iq2_s": "iq3_s", "iq3_xxs": "iq3_s",
    "tq1_0": "q4_k", "tq2_0": "q4_k", **{name: name[:4] for name in GGUF_MIXES},
}  # fmt: skip


def gguf_head(name: str) -> str:
    """Return the blocks in which a GGUF file of that name has its head, '' for other formats.

    A table that is embedding and head at once counts as the head (llama_tensor_get_type in llama-quant.cpp).
    """
    if name not in GGML_BLOCKS and name not in GGUF_MIXES:
        return ""
    return "q8_0" if name == "q8_0" else "q5_k" if name in _LOW_BITS else "q6_k"


def gguf_embedding(name: str, *, tied: bool = False) -> str:
    """Return the blocks in which a GGUF file of that name has its embedding, '' for other formats."""
    head = gguf_head(name)
    return head if tied or not head else _EMBEDDINGS.get(name, name)


def _layer_bits(name: str, mean_bits: float) -> float:
    """Return the bits of a mix in the layers: those of the file without its embedding and its head."""
    blocks = (GGML_BLOCKS[table] for table in (gguf_embedding(name), gguf_head(name)))
    tables = sum(_MIXED_TABLE * 8 * size / weights for weights, size in blocks)
    return (mean_bits * _MIXED_WEIGHTS - tables) / (_MIXED_WEIGHTS - 2 * _MIXED_TABLE)


_SCALED_ONLY = 16 / 128  # FP16 scale per 128 weights, symmetric

FORMATS: dict[str, NumberFormat] = {
    f.name: f
    for f in (
        _plain("fp64", 64),
        _plain("fp32", 32),
        _plain("tf32", 32),
        _plain("bf16", 16),
        _plain("fp16", 16),
        _plain("fp8", 8, output_bits=16),
        NumberFormat("fp8_block", "fp8", 8 + 32 / 128**2, 8 + 32 / 128, 16),
        _plain("int8", 8),
        _plain("int4", 4),
        NumberFormat("w8a16", "bf16", 8 + 16 / 128, 16, 16),
        NumberFormat("w4a16", "bf16", 4 + _GROUP_128, 16, 16),
        NumberFormat("w4a8", "int8", 4 + _GROUP_128, 8, 16),
        NumberFormat("w4afp8", "fp8", 4 + _GROUP_128, 8, 16),
        NumberFormat("nvfp4", "fp4", 4 + 8 / 16, 4 + 8 / 16, 16),
        NumberFormat("mxfp4", "fp4", 4 + 8 / 32, 4 + 8 / 32, 16),
        NumberFormat("mxfp8", "fp8", 8 + 8 / 32, 8 + 8 / 32, 16),
        NumberFormat("w4a16_mxfp4", "bf16", 4 + 8 / 32, 16, 16),
        NumberFormat("w4a8_mxfp4_mxfp8", "fp8", 4 + 8 / 32, 8 + 8 / 32, 16),
        *(NumberFormat(name, "fp16", 8 * size / weights, 16, 16) for name, (weights, size) in GGML_BLOCKS.items()),
        *(NumberFormat(name, "fp16", _layer_bits(name, bits), 16, 16) for name, bits in GGUF_MIXES.items()),
        *(NumberFormat(f"w{bits}a16", "bf16", bits + (16 + bits) / 128, 16, 16) for bits in (2, 3)),
        *(NumberFormat(f"w{bits}a16", "bf16", bits + _SCALED_ONLY, 16, 16) for bits in (5, 6)),
    )
}

ALIASES: dict[str, str] = {
    "float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "half": "fp16", "float64": "fp64",
    "int8_wo": "w8a16", "int4_wo": "w4a16", "w4afp8": "w4afp8", "w8a8": "int8", "fp4": "nvfp4",
    "w2": "w2a16", "w3": "w3a16", "w4": "w4a16", "w5": "w5a16", "w6": "w6a16", "w8": "w8a16",
    "float8": "fp8", "float8_e4m3fn": "fp8", "fp8_e4m3": "fp8",
}  # fmt: skip

DIGESTED_FORMATS = 39
"""How many formats the hash of a device's rates covers: the later ones compute as one of these does, so they say
nothing more of a device, and models that were calibrated before they came still know it."""
FORMAT_NAMES: tuple[str, ...] = tuple(FORMATS)
FORMAT_CODES: dict[str, int] = {name: code for code, name in enumerate(FORMAT_NAMES)}

MATH_FALLBACK: dict[str, tuple[str, ...]] = {
    "fp64": (),
    "fp32": ("fp64",),
    "tf32": ("fp32",),
    "bf16": ("fp16", "tf32", "fp32"),
    "fp16": ("bf16", "tf32", "fp32"),
    "fp8": ("bf16", "fp16", "fp32"),
    "int8": ("fp16", "bf16", "fp32"),
    "int4": ("int8", "fp16", "bf16", "fp32"),
    "fp4": ("fp8", "bf16", "fp16", "fp32"),
}
"""Where a device has no unit for a format, the operands are widened to the first of these that it has."""


def number_format(name: str) -> NumberFormat:
    """Return the format named `name` (aliases such as `bfloat16` resolve).

    Raises:
        UnknownNameError: no such format.
    """
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in FORMATS:
        raise UnknownNameError("number format", name, FORMATS, "`archcast devices NAME` lists what a device has.")
    return FORMATS[key]
