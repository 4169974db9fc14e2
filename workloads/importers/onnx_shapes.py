"""Shapes of every tensor of an ONNX model, once its open dimensions have sizes.

Open dimensions are named as the file names them (`sequence_length`), else `tensor.axis`. The leading open dimension
that the inputs share is the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt

from foundation.errors import BadFileError, BadValueError
from workloads.importers.onnx_read import LARGE_CONSTANT, graphs, node_label, subgraphs, type_name
from workloads.importers.onnx_values import constants_of, settle_values

BATCH_NAMES = ("batch", "batch_size", "n", "b", "bs", "batchsize", "batch_dim", "none", "?", "unk__0")
MAX_ROUNDS = 60
"""How often inference may run again after shapes were worked out or assumed."""


@dataclass(frozen=True)
class Tensor:
    """A tensor: its name, ONNX element type by name, sizes, and its value where it is a small constant."""

    name: str
    element: str
    dims: tuple[int, ...]
    constant: bool = False
    value: npt.NDArray[Any] | None = field(default=None, compare=False, repr=False)

    @property
    def elements(self) -> int:
        return prod(self.dims)


@dataclass(frozen=True)
class Shapes:
    """Result of inference: the model with the types of its tensors, and a sentence for each shape that was assumed."""

    model: Any
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class OpenDimensions:
    """The dimensions that a file leaves open: the batch ("" where it is fixed), its fixed size, and the others."""

    batch: str
    fixed_batch: int
    others: Mapping[str, str]
    """Name -> where it stands, for errors."""


def open_dimensions(model: Any, path: Path) -> OpenDimensions:
    """Return which dimensions of the inputs have no size.

    Raises:
        BadFileError: an input without a shape, a size that is not positive.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    leading: list[str | int] = []
    others: dict[str, str] = {}
    for info in model.graph.input:
        if info.name in constants or not info.type.HasField("tensor_type"):
            continue
        kind = info.type.tensor_type
        if not kind.HasField("shape"):
            raise BadFileError(path, f"input '{info.name}' has no shape.", hint="Export the model with shapes.")
        for axis, dim in enumerate(kind.shape.dim):
            name = dimension_name(info.name, axis, dim)
            if isinstance(name, int) and name < 1:
                raise BadFileError(path, f"input '{info.name}' has size {name} at axis {axis}; it must be at least 1.")
            if axis == 0:
                leading.append(name)
            if isinstance(name, str):
                others.setdefault(name, f"axis {axis} of input '{info.name}'")
    batch = _batch_of(leading)
    if batch:
        others.pop(batch)
    first = leading[0] if leading else 1
    return OpenDimensions(batch, first if isinstance(first, int) else 1, others)


def dimension_name(tensor: str, axis: int, dim: Any) -> str | int:
    """Return a dimension's size, or its name where it is open."""
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) or f"{tensor}.{axis}"


def _batch_of(leading: list[str | int]) -> str:
    named = [name for name in leading if isinstance(name, str)]
    known = [name for name in named if name.lower() in BATCH_NAMES or "batch" in name.lower()]
    if known:
        return known[0]
    return named[0] if named and leading[0] == named[0] else ""


def infer(model: Any, sizes: Mapping[str, int], path: Path) -> Shapes:
    """Return the model with the shape of every tensor, open dimensions replaced by `sizes`.

    Raises:
        BadFileError: inference finds the graph inconsistent.
    """
    from onnx import shape_inference

    given = type(model).FromString(model.SerializeToString())
    for graph in graphs(given.graph):
        _fix_dimensions(graph, sizes)
    assumed: dict[str, None] = {}
    for _ in range(MAX_ROUNDS):
        try:
            found = shape_inference.infer_shapes(given, data_prop=True)
        except Exception as error:  # the C++ side raises its own types, and RuntimeError
            reason = str(error).strip().splitlines()[-1][:300]
            raise BadFileError(path, f"shape inference failed: {reason}") from None
        more = _settle(given.graph, found.graph, sizes)
        types = known_types(found.graph, {})
        values = settle_values(given.graph, found.graph, types, {}) if _is_open(found.graph, types) else 0
        if not values:  # the last resort, since it guesses
            more += _assume(given.graph, found.graph, {})
        if not more and not values:
            return Shapes(found, tuple(assumed))
        assumed |= dict.fromkeys(more)
    return Shapes(found, tuple(assumed))


def _is_open(graph: Any, types: Mapping[str, Any]) -> bool:
    """Tell whether a tensor's shape is not known, or a body's runs depend on values."""
    names = (name for node in graph.node for name in node.output if name)
    return any(name not in types for name in names) or any(subgraphs(node) for node in graph.node)


def _settle(given: Any, found: Any, sizes: Mapping[str, int]) -> list[str]:
    """Give the data-dependent dimensions that the user has named (`tensor.axis`) to the next round of inference."""
    said = []
    for name in _fix_dimensions(found, sizes):
        info = next(i for i in (*found.value_info, *found.output) if i.name == name)
        _declare(given, name, info.type.tensor_type)
        said.append(f"Tensor '{name}' has the size that was set for it.")
    return said


def _fix_dimensions(graph: Any, sizes: Mapping[str, int]) -> list[str]:
    """Replace open dimensions that have a size, and return the tensors that gained one."""
    fixed: list[str] = []
    for info in (*graph.input, *graph.value_info, *graph.output):
        if not info.type.HasField("tensor_type"):
            continue
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            for name in (dim.dim_param, f"{info.name}.{axis}"):
                if name and not dim.HasField("dim_value") and name in sizes:
                    dim.dim_value = sizes[name]
                    fixed.append(info.name)
    return list(dict.fromkeys(fixed))


def known_types(graph: Any, outer: Mapping[str, Any]) -> dict[str, Any]:
    """Return name -> tensor type of every tensor visible in a graph whose sizes are all known."""
    found = dict(outer)
    for info in (*graph.input, *graph.value_info, *graph.output):
        if is_known(info.type):
            found[info.name] = info.type.tensor_type
        else:
            found.pop(info.name, None)
    return found


def is_known(kind: Any) -> bool:
    """Tell whether a type is a tensor with all sizes."""
    tensor = kind.tensor_type
    return (
        bool(kind.HasField("tensor_type"))
        and bool(tensor.HasField("shape"))
        and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _assume(given: Any, found: Any, outer: Mapping[str, Any]) -> list[str]:
    """Give shapes to what inference cannot know, in `given`: outputs of unknown operators, and loop-carried tensors.

    An operator that ONNX does not define is taken to keep its first input's shape; a tensor carried through a loop
    to keep its shape. Returns a sentence for each, empty where nothing was added.
    """
    types = known_types(found, outer)
    constants = {t.name: t for t in found.initializer}
    said: list[str] = []
    for mine, node in zip(given.node, found.node, strict=True):
        if node.op_type in ("Loop", "Scan") and node.domain in ("", "ai.onnx"):
            said += _enter_body(mine, node, types)
        for inner, sub in zip(subgraphs(mine), subgraphs(node), strict=True):
            said += _assume(inner, sub, types)
        if node.op_type in ("Loop", "Scan"):
            said += _leave_body(given, node, types)
        elif not _is_standard(node):
            source = next((n for n in node.input if n in types), None)
            said += _keep_shape(given, node, types.get(source) if source else None, types, constants)
    return said


def _is_standard(node: Any) -> bool:
    from onnx import defs

    return node.domain in ("", "ai.onnx", "ai.onnx.ml") and bool(
        defs.has(node.op_type, "" if node.domain == "ai.onnx" else node.domain)
    )


def _keep_shape(given: Any, node: Any, kind: Any, types: dict[str, Any], constants: Mapping[str, Any]) -> list[str]:
    said = []
    for name in node.output:
        if name and name not in types and kind is not None:
            _declare(given, name, kind)
            types[name] = kind
            said.append(f"{node_label(node)} is unknown; its output '{name}' is taken to have its input's shape.")
    return said


def _declare(graph: Any, name: str, kind: Any) -> None:
    info = next((i for i in (*graph.value_info, *graph.output, *graph.input) if i.name == name), None)
    if info is None:
        info = graph.value_info.add(name=name)
    info.type.tensor_type.CopyFrom(kind)


def _enter_body(mine: Any, node: Any, types: Mapping[str, Any]) -> list[str]:
    """Give a body's inputs the shapes of what the loop starts from."""
    body, skip = subgraphs(mine)[0], 2 if node.op_type == "Loop" else 0
    known = {info.name for info in subgraphs(node)[0].input if is_known(info.type)}
    said = []
    scans = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    carried = len(node.input) - scans if node.op_type == "Scan" else len(node.input)
    for place, name in enumerate(node.input[skip:], start=skip):
        if place >= len(body.input) or body.input[place].name in known or name not in types:
            continue
        kind = types[name]
        if place >= carried and kind.shape.dim:
            kind = type(kind).FromString(kind.SerializeToString())
            del kind.shape.dim[0]
        body.input[place].type.tensor_type.CopyFrom(kind)
        said.append(f"'{body.input[place].name}', carried through {node_label(node)}, is taken to keep its shape.")
    return said


def _leave_body(given: Any, node: Any, types: dict[str, Any]) -> list[str]:
    """Give a loop's carried outputs the shapes that its body yields."""
    body, skip = subgraphs(node)[0], 1 if node.op_type == "Loop" else 0
    said = []
    carried = len(node.input) - (
        2 if node.op_type == "Loop" else next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    )
    inner = known_types(body, types)
    for place, name in enumerate(node.output[:carried]):
        inside = body.output[place + skip].name if place + skip < len(body.output) else ""
        if name and name not in types and inside in inner:
            _declare(given, name, inner[inside])
            types[name] = inner[inside]
            said.append(f"'{name}' of {node_label(node)} is taken to have the shape of '{inside}'.")
    return said


def tensors_of(graph: Any, outer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors visible in a graph whose shape is known; constants are marked, small ones have values."""
    found = dict(outer)
    for info in (*graph.input, *graph.value_info, *graph.output):
        if is_known(info.type):
            kind = info.type.tensor_type
            dims = tuple(int(dim.dim_value) for dim in kind.shape.dim)
            found[info.name] = Tensor(info.name, type_name(kind.elem_type), dims, info.doc_string == LARGE_CONSTANT)
    values = constants_of(graph)
    for tensor in graph.initializer:
        element, value = type_name(tensor.data_type), values.get(tensor.name)
        found[tensor.name] = Tensor(tensor.name, element, tuple(tensor.dims), True, value)
    for name in (node.output[0] for node in graph.node if node.op_type == "Constant"):
        if name in found:
            found[name] = replace(found[name], constant=True, value=values.get(name))
    return found


def missing_shape(name: str, graph: Any, node: Any, path: Path) -> BadFileError | BadValueError:
    """Return the error for a tensor whose shape is not known: the knob to set, or that the file lacks it."""
    for info in (*graph.value_info, *graph.output, *graph.input):
        if info.name != name or not info.type.tensor_type.HasField("shape"):
            continue
        open_axes = [i for i, d in enumerate(info.type.tensor_type.shape.dim) if not d.HasField("dim_value")]
        if open_axes:
            knob = f"{name}.{open_axes[0]}"
            return BadValueError(
                f"{path}: axis {open_axes[0]} of tensor '{name}' ({node_label(node)}) depends on data; give its size: "
                f"--set {knob}=N."
            )
    return BadFileError(
        path,
        f"tensor '{name}' ({node_label(node)}) has no shape.",
        hint="Run onnx.shape_inference, or export with shapes.",
    )
