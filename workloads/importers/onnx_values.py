"""Arithmetic on shapes, worked out: what exporters write as Shape, Gather, Where, Concat, ... becomes constants.

ONNX's own inference propagates some of it; this takes the rest, on small tensors only and with plain numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.importers.onnx_read import KEPT_ELEMENTS, subgraphs

Value = npt.NDArray[Any]


def settle_values(given: Any, found: Any, types: Mapping[str, Any], outer: Mapping[str, Value]) -> int:
    """Replace nodes of `given` whose result is known by constants, and return how many there were.

    `found` is the same graph after inference; `types` are its tensor types with all sizes known.
    """
    from onnx import helper, numpy_helper

    values = {**outer, **constants_of(found)}
    count = 0
    for mine, node in zip(given.node, found.node, strict=True):
        for inner, sub in zip(subgraphs(mine), subgraphs(node), strict=True):
            count += settle_values(inner, sub, types, values)
        if node.op_type == "Constant" or node.domain not in ("", "ai.onnx"):
            continue
        value = evaluate(node, values, types)
        if value is None:
            continue
        values[node.output[0]] = value
        tensor = numpy_helper.from_array(value, node.output[0])
        mine.CopyFrom(helper.make_node("Constant", [], [node.output[0]], name=node.name, value=tensor))
        count += 1
    return count


def constants_of(graph: Any) -> dict[str, Value]:
    """Return the small constants of a graph by name."""
    from onnx import numpy_helper

    found: dict[str, Value] = {}
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        if node.op_type == "Constant":
            tensors += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
            for value in (_listed(a) for a in node.attribute):
                if value is not None and value.size <= KEPT_ELEMENTS:
                    found[node.output[0]] = value
    for name, tensor in tensors:
        if prod(tensor.dims) <= KEPT_ELEMENTS and tensor.data_location != tensor.EXTERNAL:
            try:
                found[name] = np.asarray(numpy_helper.to_array(tensor))
            except Exception:  # a malformed small constant is one without a value
                continue
    return found


def _listed(attribute: Any) -> Value | None:
    """Return a constant given as `value_int`, `value_ints`, `value_float` or `value_floats`."""
    kinds: dict[str, Callable[[], Value]] = {
        "value_int": lambda: np.array(attribute.i, np.int64), "value_ints": lambda: np.array(attribute.ints, np.int64),
        "value_float": lambda: np.array(attribute.f, np.float32),
        "value_floats": lambda: np.array(attribute.floats, np.float32),
    }  # fmt: skip
    return kinds[attribute.name]() if attribute.name in kinds else None


def evaluate(node: Any, values: Mapping[str, Value], types: Mapping[str, Any]) -> Value | None:
    """Return the result of a node over known small values, None where it is not known or not small."""
    from onnx import helper

    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if not a.HasField("g")}
    if node.op_type in ("Shape", "Size"):
        kind = types.get(node.input[0]) if node.input else None
        if kind is None:
            return None
        dims = np.array([dim.dim_value for dim in kind.shape.dim], np.int64)
        if node.op_type == "Size":
            return np.array(dims.prod(), np.int64)
        return dims[attributes.get("start", 0) : attributes.get("end", len(dims))]
    rule = RULES.get(node.op_type)
    if rule is None or not all(not name or name in values for name in node.input) or len(node.output) != 1:
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(rule([values.get(name) for name in node.input], attributes))
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError):
        return None
    small = result.size <= (1 if result.dtype.kind == "f" else KEPT_ELEMENTS)  # longer rows of floats are parameters
    return result if small and result.dtype.kind in "iufb" else None


Inputs = list[Any]
Rule = Callable[[Inputs, Mapping[str, Any]], Any]


def _divide(x: Inputs, _: Mapping[str, Any]) -> Any:
    """Integers divide as in C: towards zero."""
    if np.result_type(*x).kind in "iu":
        if not np.all(x[1]):
            raise ValueError("division by zero")
        return (np.sign(x[0]) * np.sign(x[1]) * (np.abs(x[0]) // np.abs(x[1]))).astype(x[0].dtype)
    return x[0] / x[1]


def _slice(x: Inputs, _: Mapping[str, Any]) -> Any:
    data, starts, ends = x[:3]
    axes = x[3] if len(x) > 3 and x[3] is not None else range(len(starts))
    steps = x[4] if len(x) > 4 and x[4] is not None else [1] * len(starts)
    index: list[slice] = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end <= -data.shape[int(axis)] - 1 else int(end)
        index[int(axis)] = slice(int(start), stop, int(step))
    return data[tuple(index)]


def _axes(x: Inputs, a: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the axes of a reduction or (un)squeeze: an attribute, later an input."""
    if len(x) > 1 and x[1] is not None:
        return tuple(int(i) for i in x[1].reshape(-1))
    return tuple(a["axes"]) if "axes" in a else None


def _unsqueeze(x: Inputs, a: Mapping[str, Any]) -> Any:
    return np.expand_dims(x[0], _axes(x, a) or ())


def _range(x: Inputs, _: Mapping[str, Any]) -> Any:
    start, limit, step = (part.reshape(-1)[0] for part in x)
    if step == 0 or (limit - start) / step > KEPT_ELEMENTS:
        raise ValueError("not small")
    return np.arange(start, limit, step, dtype=x[0].dtype)


def _filled(x: Inputs, a: Mapping[str, Any]) -> Any:
    from onnx import numpy_helper

    dims = tuple(int(d) for d in x[0])
    if np.prod(dims, dtype=np.float64) > KEPT_ELEMENTS or min(dims, default=1) < 0:
        raise ValueError("not small")
    value = numpy_helper.to_array(a["value"]).reshape(-1)[0] if "value" in a else np.float32(0)
    return np.full(dims, value)


def _expand(x: Inputs, _: Mapping[str, Any]) -> Any:
    dims = np.broadcast_shapes(x[0].shape, tuple(int(d) for d in x[1]))
    if np.prod(dims, dtype=np.float64) > KEPT_ELEMENTS:
        raise ValueError("not small")
    return np.broadcast_to(x[0], dims).copy()


def _cast(x: Inputs, a: Mapping[str, Any]) -> Any:
    from onnx import helper

    kind = np.dtype(helper.tensor_dtype_to_np_dtype(a["to"]))
    if kind.kind not in "iufb":
        raise ValueError("not a plain number")
    return x[0].astype(kind)


def _reshape(x: Inputs, _: Mapping[str, Any]) -> Any:
    dims = [x[0].shape[i] if d == 0 else int(d) for i, d in enumerate(x[1])]
    return x[0].reshape(dims)


def _reduce(function: Callable[..., Any]) -> Rule:
    return lambda x, a: function(x[0], axis=_axes(x, a), keepdims=bool(a.get("keepdims", 1)))


def _pair(function: Callable[[Any, Any], Any]) -> Rule:
    return lambda x, _: function(x[0], x[1])


RULES: dict[str, Rule] = {
    "Identity": lambda x, _: x[0], "Cast": _cast, "Reshape": _reshape, "Unsqueeze": _unsqueeze,
    "Squeeze": lambda x, a: np.squeeze(x[0], _axes(x, a)), "Slice": _slice, "Range": _range, "ConstantOfShape": _filled,
    "Expand": _expand, "Concat": lambda x, a: np.concatenate(x, a["axis"]),
    "Gather": lambda x, a: np.take(x[0], x[1], a.get("axis", 0)), "Where": lambda x, _: np.where(*x), "Div": _divide,
    "Add": _pair(np.add), "Sub": _pair(np.subtract), "Mul": _pair(np.multiply), "Equal": _pair(np.equal),
    "Less": _pair(np.less), "LessOrEqual": _pair(np.less_equal), "Greater": _pair(np.greater),
    "GreaterOrEqual": _pair(np.greater_equal), "And": _pair(np.logical_and), "Or": _pair(np.logical_or),
    "Mod": lambda x, a: (np.fmod if a.get("fmod") else np.mod)(x[0], x[1]), "Not": lambda x, _: np.logical_not(x[0]),
    "Neg": lambda x, _: -x[0], "Abs": lambda x, _: np.abs(x[0]), "Floor": lambda x, _: np.floor(x[0]),
    "Ceil": lambda x, _: np.ceil(x[0]), "Sqrt": lambda x, _: np.sqrt(x[0]),
    "Min": lambda x, _: np.minimum.reduce(np.broadcast_arrays(*x)), "ReduceProd": _reduce(np.prod),
    "Max": lambda x, _: np.maximum.reduce(np.broadcast_arrays(*x)), "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max), "ReduceMin": _reduce(np.min),
}  # fmt: skip
"""How to work out each operator; a rule raises where its inputs do not fit or its result is not small."""
