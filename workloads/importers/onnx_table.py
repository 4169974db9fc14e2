"""Every ONNX operator: its cost handler, or why it is free, or why it has no cost model."""

from __future__ import annotations

from workloads.importers.onnx_matrix import MATRIX
from workloads.importers.onnx_node import Handler
from workloads.importers.onnx_pointwise import POINTWISE

HANDLERS: dict[str, Handler] = {**MATRIX, **POINTWISE}
"""Operators of the default domain with a cost."""

FREE: frozenset[str] = frozenset({
    "Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze", "SequenceAt",
    "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "Optional",
    "OptionalGetElement", "OptionalHasElement",
})  # fmt: skip
"""Operators that name, view or collect tensors: no kernel runs. Dropout is an identity at inference."""

CONTROL: frozenset[str] = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators with bodies: a body's cost times its trip count."""

UNMODELLED: dict[str, str] = {
    "ImageDecoder": "decoding a compressed image depends on its content and runs on the host",
    "MelWeightMatrix": "a table that runtimes compute once, from five scalars",
    "Multinomial": "sampling runs on the host in most runtimes",
    "NonMaxSuppression": "its work depends on how many boxes overlap",
    "NonZero": "its output depends on the data",
    "RegexFullMatch": "text processing on the host",
    "StringConcat": "text processing on the host",
    "StringNormalizer": "text processing on the host",
    "StringSplit": "text processing on the host",
    "TfIdfVectorizer": "text processing on the host",
    "Unique": "sorting; its output depends on the data",
}
"""Operators of the default domain without a cost model, and why. Their traffic is counted; the report names them."""

OTHER_DOMAIN = "an operator outside ONNX's default domain; archcast does not know what it computes"
NEWER = "an operator that this version of archcast does not know"
SHAPELESS = "the shape of one of its tensors is not known"


def reason_unmodelled(op_type: str, domain: str) -> str:
    """Return why an operator has no cost model, "" where it has one."""
    if domain not in ("", "ai.onnx"):
        return OTHER_DOMAIN
    if op_type in HANDLERS or op_type in FREE or op_type in CONTROL:
        return ""
    return UNMODELLED.get(op_type, NEWER)
