"""GGUF files as decoder models: sizes from the metadata, what kind of layers from the tensor table.

Metadata keys: docs/gguf.md of ggml (github.com/ggml-org/ggml). Which parts a layer has (gates, biases, norms, tied
embeddings, experts) is read off the tensor names, so an architecture needs no reader of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, InputError
from workloads.importers.gguf_read import GgufArray, GgufFile, GgufTensor, read_gguf
from workloads.model import Model

ARCHITECTURES: tuple[str, ...] = (
    "llama", "llama4", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3",
    "gpt-oss", "deepseek2", "gpt2", "starcoder2", "falcon", "stablelm", "command-r", "olmo", "olmo2", "granite",
    "granitemoe", "smollm3", "exaone", "internlm2", "baichuan", "glm4", "nemotron", "mpt", "gptneox", "bloom",
)  # fmt: skip
"""Decoders with attention in every layer."""
PATTERNS: dict[str, tuple[str, ...]] = {
    "gemma2": ("window", "attention"), "gpt-oss": ("window", "attention"), "phi3": ("window",), "llama": ("window",),
    "gemma3": (*("window",) * 5, "attention"),
}  # fmt: skip
"""Which layers see a window only, where `attention.sliding_window` is given."""
TOLERANCE = 0.01
"""Share by which the parameters of file and model may differ before a note says so."""
_LAYER = re.compile(r"blk\.([0-9]{1,5})\.(.+)")


def load_gguf(path: str | Path) -> Model:
    """Return the decoder that a GGUF file describes.

    Raises:
        BadFileError: the file cannot be used, or is of an architecture that is not known.
    """
    header = read_gguf(Path(path))
    if header.metadata.get("split.count", 0) not in (0, 1):
        raise BadFileError(
            path, f"this is one of {header.metadata['split.count']} parts.", hint="Join them: gguf-split --merge."
        )
    name = header.metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        counts = f"It holds {header.parameters:,} parameters in {header.weight_bytes:,} bytes."
        raise BadFileError(
            path, f"the architecture {str(name)[:40]!r} is not known. {counts}", key="general.architecture",
            hint=f"Known: {', '.join(ARCHITECTURES)}.",
        )  # fmt: skip
    from workloads.families import build

    facts = _Facts(header, str(name))
    knobs = facts.knobs()
    try:
        model = build("decoder", Path(path).stem, knobs)
        counted = model.summary()["parameters"]
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(path, f"its sizes do not fit each other: {error}") from None
    return build("decoder", Path(path).stem, knobs, _notes(header, knobs, counted))


class _Facts:
    """What the tables say about the network."""

    def __init__(self, header: GgufFile, architecture: str) -> None:
        self.header, self.architecture = header, architecture
        self.layers: dict[int, dict[str, GgufTensor]] = {}
        for name, tensor in header.tensors.items():
            if found := _LAYER.fullmatch(name):
                self.layers.setdefault(int(found[1]), {})[found[2]] = tensor
        self.parts = Counter(part for layer in self.layers.values() for part in layer)

    def has(self, *parts: str) -> bool:
        """Tell whether a layer has one of these tensors."""
        return any(part in self.parts for part in parts)

    def number(self, key: str, default: int | None = None, *, largest: bool = True) -> int:
        """Return a size of the architecture; of a list with one for each layer, the largest (or the first)."""
        value = self.header.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, GgufArray):
            whole = [item for item in value.items if isinstance(item, int)]
            value = (max(whole) if largest else whole[0]) if whole else None
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**9:
            problem = "this size is missing." if value is None else f"{value!r} is no size."
            raise BadFileError(self.header.path, problem, key=f"{self.architecture}.{key}")
        return value

    def knobs(self) -> dict[str, Any]:
        layers, heads = self.number("block_count"), self.number("attention.head_count")
        if "ssm_in.weight" in self.parts or not self.has("attn_q.weight", "attn_qkv.weight", "attn_q_b.weight"):
            raise BadFileError(self.header.path, "its layers have no attention tensors; it is no plain decoder.")
        hidden = self.number("embedding_length")
        if not heads or not hidden:
            raise BadFileError(self.header.path, "a network of no heads or no width.")
        knobs: dict[str, Any] = {
            "layers": layers, "hidden": hidden, "heads": heads,
            "kv_heads": self.number("attention.head_count_kv", heads), "inter": self._inter(),
            "head_dim": self.number("attention.key_length", 0),
            "max_context": self.number("context_length", 4096), "vocab": self._vocab(),
            "tied": "output.weight" not in self.header.tensors, "gated": self._gated(),
            "norm": "layer" if self.has("attn_norm.bias") else "rms", "bias": self._bias(),
            "qk_norm": self.has("attn_q_norm.weight"),
            "post_norm": self.has("post_attention_norm.weight", "attn_post_norm.weight"),
            "position": "table" if "position_embd.weight" in self.header.tensors else "rope",
        }  # fmt: skip
        return knobs | self._mixers() | self._experts() | self._formats()

    def _vocab(self) -> int:
        table = self.header.tensors.get("token_embd.weight")
        if table is None or len(table.dims) != 2:
            raise BadFileError(self.header.path, "there is no tensor 'token_embd.weight'.")
        return table.dims[1]

    def _inter(self) -> int:
        return self.number("feed_forward_length", 0) or self.number("expert_feed_forward_length")

    def _gated(self) -> bool:
        """Gate and up are two tensors, or one of twice the width."""
        up = next((layer["ffn_up.weight"] for layer in self.layers.values() if "ffn_up.weight" in layer), None)
        double = up is not None and len(up.dims) == 2 and up.dims[1] == 2 * self._inter()
        return double or self.has("ffn_gate.weight", "ffn_gate_exps.weight", "ffn_gate_up_exps.weight")

    def _bias(self) -> str:
        if self.has("ffn_up.bias", "ffn_down.bias") or (self.has("attn_output.bias") and self.has("attn_q.bias")):
            return "all"
        return "qkv" if self.has("attn_q.bias", "attn_qkv.bias") else "none"

    def _mixers(self) -> dict[str, Any]:
        if self.has("attn_kv_a_mqa.weight"):
            rope = self.number("rope.dimension_count")
            key = self.number("attention.key_length_mla", 0) or self.number("attention.key_length")
            value = self.number("attention.value_length_mla", 0) or self.number("attention.value_length")
            return {
                "mixers": ["mla"], "kv_heads": 0, "head_dim": key - rope, "v_dim": value, "rope_dim": rope,
                "q_rank": self.number("attention.q_lora_rank", 0), "kv_rank": self.number("attention.kv_lora_rank"),
            }  # fmt: skip
        window = self.number("attention.sliding_window", 0)
        if not window or self.architecture not in PATTERNS:
            return {}
        return {"mixers": list(PATTERNS[self.architecture][: self.number("block_count")]), "window": window}

    def _experts(self) -> dict[str, Any]:
        experts = self.number("expert_count", 0)
        if not experts:
            return {}
        inter = self.number("expert_feed_forward_length", self._inter())
        shared = self.number("expert_shared_count", 1 if self.has("ffn_up_shexp.weight") else 0)
        return {
            "ffns": ["moe"], "experts": experts, "topk": self.number("expert_used_count"), "moe_inter": inter,
            "first_k_dense": self.number("leading_dense_block_count", 0), "shared_experts": shared,
            "shared_inter": self.number("expert_shared_feed_forward_length", 0),
        }  # fmt: skip

    def _formats(self) -> dict[str, str]:
        """Formats by the bytes that they take: of the layers' matrices, of experts, of the table, of the logits."""
        parts = [(part, t) for layer in self.layers.values() for part, t in layer.items() if len(t.dims) > 1]
        experts = [tensor for part, tensor in parts if part.endswith("_exps.weight")]
        rest = [tensor for part, tensor in parts if not part.endswith("_exps.weight")]
        table = self.header.tensors["token_embd.weight"]
        logits = self.header.tensors.get("output.weight", table)
        found = {"dtype": main_format(rest), "embedding_dtype": table.format, "lm_head_dtype": logits.format}
        if experts:
            found["expert_dtype"] = main_format(experts)
        unusable = sorted({word for word in found.values() if word.startswith("int")})
        if unusable:
            raise BadFileError(self.header.path, f"its matrices are stored as {', '.join(unusable)}.")
        return found


def main_format(tensors: Iterable[GgufTensor]) -> str:
    """Return the format that takes most bytes. "bf16" of no tensors."""
    held: Counter[str] = Counter()
    for tensor in tensors:
        held[tensor.format] += tensor.memory_bytes
    return held.most_common(1)[0][0] if held else "bf16"


def _notes(header: GgufFile, knobs: dict[str, Any], counted: float) -> list[str]:
    """Return what a user should know: exact size of the file's weights, and where the model differs from the file."""
    held: Counter[str] = Counter()
    for tensor in header.tensors.values():
        held[tensor.format] += tensor.elements
    total = header.parameters
    mix = ", ".join(f"{count / total:.0%} {word}" for word, count in held.most_common(4))
    bits = 8 * header.weight_bytes / total
    notes = [
        f"The file holds {total:,} parameters in {header.weight_bytes:,} bytes ({bits:.2f} bits each: {mix}); the "
        f"layers are counted as {knobs['dtype']}."
    ]
    if abs(counted / total - 1) > TOLERANCE:
        notes.append(f"The model has {counted:,} parameters, {counted / total - 1:+.1%} against the file.")
    return notes
