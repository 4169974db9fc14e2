"""GGUF files for tests, written by hand: header, metadata, tensor table, zeros as data (docs/gguf.md of ggml)."""

from __future__ import annotations

import struct
from typing import Any

KINDS = {"F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34),
         "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "MXFP4": (39, 32, 17)}  # fmt: skip
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Name -> kind and sizes, fastest axis first."""


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_of(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def gguf(metadata: dict[str, Any], tensors: Tensors, *, version: int = 3) -> bytes:
    """Return a whole file."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + value_of(value) for key, value in metadata.items())
    at = 0
    for name, (kind, dims) in tensors.items():
        number, block, size = KINDS[kind]
        elements = 1
        for n in dims:
            elements *= n
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, at)
        at += -(-(elements // block * size) // 32) * 32
    return head + b"\0" * (-len(head) % 32) + b"\0" * at


def decoder(
    architecture: str = "qwen2", *, layers: int = 2, hidden: int = 256, heads: int = 4, kv_heads: int = 2,
    inter: int = 512, vocab: int = 1000, bias: bool = True, tied: bool = True, experts: int = 0, **more: Any,
) -> tuple[dict[str, Any], Tensors]:  # fmt: skip
    """Return metadata and tensors of a decoder as llama.cpp names them: Q4_K with Q6_K for values and `ffn_down`."""
    size = hidden // heads
    metadata: dict[str, Any] = {"general.architecture": architecture, "tokenizer.ggml.tokens": ["a", "b"]}
    sizes: dict[str, Any] = {
        "block_count": layers, "embedding_length": hidden, "feed_forward_length": inter, "context_length": 2048,
        "attention.head_count": heads, "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-6,
    }  # fmt: skip
    if experts:
        sizes |= {"expert_count": experts, "expert_used_count": 2, "expert_feed_forward_length": inter}
    metadata |= {f"{architecture}.{key}": value for key, value in (sizes | more).items()}
    tensors: Tensors = {"token_embd.weight": ("Q8_0", (hidden, vocab)), "output_norm.weight": ("F32", (hidden,))}
    if not tied:
        tensors["output.weight"] = ("Q6_K", (hidden, vocab))
    for i in range(layers):
        parts: Tensors = {
            "attn_norm.weight": ("F32", (hidden,)), "ffn_norm.weight": ("F32", (hidden,)),
            "attn_q.weight": ("Q4_K", (hidden, heads * size)), "attn_k.weight": ("Q4_K", (hidden, kv_heads * size)),
            "attn_v.weight": ("Q6_K", (hidden, kv_heads * size)),
            "attn_output.weight": ("Q4_K", (heads * size, hidden)),
        }  # fmt: skip
        if bias:
            widths = {"q": heads, "k": kv_heads, "v": kv_heads}
            parts |= {f"attn_{name}.bias": ("F32", (n * size,)) for name, n in widths.items()}
        tail, last = ("_exps.weight", (experts,)) if experts else (".weight", ())
        kind = "MXFP4" if experts else "Q4_K"
        parts |= {f"ffn_{name}{tail}": (kind, (hidden, inter, *last)) for name in ("gate", "up")}
        parts[f"ffn_down{tail}"] = ("MXFP4" if experts else "Q6_K", (inter, hidden, *last))
        if experts:
            parts["ffn_gate_inp.weight"] = ("F32", (hidden, experts))
        tensors |= {f"blk.{i}.{name}": value for name, value in parts.items()}
    return metadata, tensors
