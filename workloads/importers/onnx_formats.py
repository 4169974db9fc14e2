"""Number formats of ONNX operators: from element types, and from quantise/dequantise pairs around them."""

from __future__ import annotations

from collections.abc import Mapping

from workloads.importers.onnx_matrix import INTEGER, MATRIX
from workloads.importers.onnx_node import Node
from workloads.importers.onnx_shapes import Tensor

ELEMENT_FORMATS: dict[str, str] = {
    "FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64", "FLOAT8E4M3FN": "fp8",
    "FLOAT8E4M3FNUZ": "fp8", "FLOAT8E5M2": "fp8", "FLOAT8E5M2FNUZ": "fp8", "INT8": "int8", "UINT8": "int8",
    "INT4": "int4", "UINT4": "int4", "FLOAT4E2M1": "nvfp4", "BOOL": "int8", "INT16": "fp16", "UINT16": "fp16",
}  # fmt: skip
"""Wider integers and everything else move and compute as fp32 (index arithmetic runs on 32-bit units)."""
FLOATS: frozenset[str] = frozenset(name for name in ELEMENT_FORMATS if "FLOAT" in name or name == "DOUBLE")
STORED: frozenset[str] = FLOATS | {"INT8", "UINT8", "INT4", "UINT4"}
"""Element types that parameters have."""

QUANTISED: dict[str, str] = {
    **{name: "int8" for name in ("INT8", "UINT8")}, **{name: "int4" for name in ("INT4", "UINT4")},
    **{name: "fp8" for name in FLOATS if name.startswith("FLOAT8")}, "FLOAT4E2M1": "fp4",
}  # fmt: skip
"""What a tensor that `DequantizeLinear` yields was stored in."""
PAIRS: dict[tuple[str, str], str] = {
    ("int8", "int8"): "int8", ("int4", "int8"): "w4a8", ("fp8", "fp8"): "fp8", ("int4", "fp8"): "w4afp8",
    ("fp4", "fp4"): "nvfp4", ("int8", ""): "w8a16", ("fp8", ""): "w8a16", ("int4", ""): "w4a16",
    ("fp4", ""): "w4a16_mxfp4", ("fp4", "fp8"): "w4a8_mxfp4_mxfp8", ("int8", "fp8"): "fp8", ("fp8", "int8"): "int8",
}  # fmt: skip
"""(weights, activations) as stored -> number format; "" is not quantised."""


def format_of(node: Node, quantised: Mapping[str, str]) -> str:
    """Return the number format in which a node computes; `quantised` says which tensors were dequantised from what."""
    if node.op_type in INTEGER:
        return "int8"
    words = [quantised.get(tensor.name, "") for tensor in node.present]
    if node.op_type in MATRIX and len(words) > 1 and words[1]:
        return PAIRS.get((words[1], words[0]), element_format(node.needed(0)))
    moving = [word for word, tensor in zip(words, node.present, strict=True) if not tensor.constant]
    if (
        node.op_type not in MATRIX
        and moving
        and all(word == moving[0] for word in moving)
        and moving[0] in ("int8", "fp8")
    ):
        return moving[0]
    floating = [tensor for tensor in (*node.outputs[:1], *node.present) if tensor.element in FLOATS]
    return element_format((floating or [*node.outputs, *node.present])[0])


def element_format(tensor: Tensor) -> str:
    return ELEMENT_FORMATS.get(tensor.element, "fp32")
