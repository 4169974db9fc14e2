"""Reading ONNX files that strangers wrote: bounded, nothing executed, no external data opened, nodes in order.

What leaves here is a `ModelProto` that shape inference can take: functions inlined, every graph in dependency order,
the contents of large tensors dropped (their shapes are all that a cost needs).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, UnsupportedError
from foundation.files import plain_file

MAX_FILE_BYTES = 2**31
"""protobuf cannot hold more; larger models keep their weights as external data."""
MAX_NODES = 200_000
MAX_SUBGRAPH_DEPTH = 8
MAX_ELEMENTS = 10**13
"""No tensor of a file may claim more elements."""
KEPT_ELEMENTS = 1024
"""Constants up to this size keep their values: shapes, axes, trip counts."""

ELEMENT_BITS: dict[str, int] = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8, "FLOAT16": 16,
    "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "BFLOAT16": 16, "FLOAT8E4M3FN": 8,
    "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4,
    "FLOAT8E8M0": 8, "UINT2": 2, "INT2": 2,
}  # fmt: skip


def read_onnx(path: Path) -> Any:
    """Return the checked `ModelProto` of a file.

    Raises:
        BadFileError: absent, too large, truncated, no ONNX, cyclic, external data outside its folder, impossible sizes.
        UnsupportedError: the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise UnsupportedError("Reading ONNX files needs the package onnx: pip install 'archcast[onnx]'.") from None
    model = _parse(path, onnx)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise BadFileError(path, "this is not an ONNX model: it has no graph.")
    model = _inlined(model, path)
    _check_nodes(model.graph, path)
    _check_names(model, path)
    trusted: set[str] = set()
    for graph in graphs(model.graph):
        for tensor in _tensors(graph):
            _check_tensor(tensor, path, trusted)
        _drop_contents(graph, onnx)
    _put_in_order(model.graph, path, frozenset())
    _complete_opsets(model)
    return model


def _parse(path: Path, onnx: Any) -> Any:
    file = plain_file(path, MAX_FILE_BYTES)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(file.read_bytes())
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None
    except Exception:  # protobuf's DecodeError, whose class depends on its implementation
        raise BadFileError(
            path, "this is not an ONNX file, or it is truncated.", hint="Export or copy it again."
        ) from None
    return model


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and all its subgraphs (control flow)."""
    yield graph
    for node in graph.node:
        for sub in subgraphs(node):
            yield from graphs(sub)


def subgraphs(node: Any) -> list[Any]:
    """Return the graphs among a node's attributes."""
    found = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return found + [g for attribute in node.attribute for g in attribute.graphs]


def _all_nodes(nodes: Any) -> Iterator[Any]:
    """Yield nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for sub in subgraphs(node):
            yield from _all_nodes(sub.node)


def node_label(node: Any) -> str:
    """Return how errors name a node."""
    kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return f"{kind} '{node.name or (node.output[0] if node.output else '')}'"


def _check_nodes(graph: Any, path: Path, depth: int = 0) -> int:
    if depth > MAX_SUBGRAPH_DEPTH:
        raise BadFileError(path, f"subgraphs are nested deeper than {MAX_SUBGRAPH_DEPTH} levels.")
    count = len(graph.node)
    for node in graph.node:
        for sub in subgraphs(node):
            count += _check_nodes(sub, path, depth + 1)
    if count > MAX_NODES:
        raise BadFileError(path, f"the graph has more than {MAX_NODES:,} nodes.")
    return count


def _check_names(model: Any, path: Path) -> None:
    """Refuse names that are not text in one line (protobuf hands other bytes on as they are)."""
    names: list[Any] = [opset.domain for opset in model.opset_import]
    for graph in graphs(model.graph):
        for info in (*graph.input, *graph.output, *graph.value_info):
            names += [info.name, *(dim.dim_param for dim in info.type.tensor_type.shape.dim)]
        for tensor in _tensors(graph):
            names += [tensor.name, *(entry.key for entry in tensor.external_data)]
        for node in graph.node:
            names += [
                node.name,
                node.op_type,
                node.domain,
                *node.input,
                *node.output,
                *(a.name for a in node.attribute),
            ]
    bad = next((name for name in names if not isinstance(name, str) or not name.isprintable()), None)
    if bad is not None:
        raise BadFileError(path, f"the name {bad[:40]!r} is not text; the file is damaged.")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: Any, path: Path, trusted: set[str]) -> None:
    elements = 1
    for dim in tensor.dims:
        if dim < 0 or (dim == 0 and len(tensor.dims) > 1):
            raise BadFileError(path, f"tensor '{tensor.name}' has the impossible shape {list(tensor.dims)}.")
        elements *= dim
    if elements > MAX_ELEMENTS:
        raise BadFileError(
            path, f"tensor '{tensor.name}' claims {elements:.3g} elements; at most {MAX_ELEMENTS:.3g} are read."
        )
    if tensor.data_location == tensor.EXTERNAL:
        _check_location(tensor, path, trusted)
    elif tensor.raw_data:
        bits = ELEMENT_BITS.get(type_name(tensor.data_type), 0)
        needed = -(-elements * bits // 8)
        if bits and len(tensor.raw_data) != needed:
            problem = f"tensor '{tensor.name}' holds {len(tensor.raw_data):,} bytes, but its shape needs {needed:,}."
            raise BadFileError(path, problem)


def _check_location(tensor: Any, path: Path, trusted: set[str]) -> None:
    """Refuse external data outside the model's folder; the data itself is never opened. `trusted` were checked."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    problem = f"the data of tensor '{tensor.name}' is at {location!r}, outside the model's folder; this is refused."
    if (
        not isinstance(location, str)
        or not location
        or "\0" in location
        or "\\" in location
        or Path(location).is_absolute()
    ):
        raise BadFileError(path, problem)
    if location not in trusted and not _is_inside(path.parent, location):
        raise BadFileError(path, problem)
    trusted.add(location)


def _is_inside(folder: Path, location: str) -> bool:
    """Tell whether a location stays in a folder, links resolved."""
    base = folder.resolve()
    try:
        return (base / location).resolve().is_relative_to(base)
    except (OSError, RuntimeError):  # a loop of links
        return False


@lru_cache(maxsize=256)
def type_name(elem_type: int) -> str:
    """Return the name of an ONNX element type, "" where it has none."""
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(elem_type)) if elem_type in TensorProto.DataType.values() else ""


def _drop_contents(graph: Any, onnx: Any) -> None:
    """Turn large and external initializers into typed names: inference needs their shapes only."""
    kept = []
    typed = {info.name for info in (*graph.input, *graph.value_info)}
    for tensor in graph.initializer:
        elements = 1
        for dim in tensor.dims:
            elements *= dim
        if elements <= KEPT_ELEMENTS and tensor.data_location != tensor.EXTERNAL:
            kept.append(tensor)
            continue
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        info.doc_string = LARGE_CONSTANT
        if tensor.name in typed:
            _remove(graph.input, tensor.name)
            _remove(graph.value_info, tensor.name)
        graph.value_info.append(info)
    for sparse in graph.sparse_initializer:
        info = onnx.helper.make_tensor_value_info(sparse.values.name, sparse.values.data_type, list(sparse.dims))
        info.doc_string = LARGE_CONSTANT
        graph.value_info.append(info)
    del graph.sparse_initializer[:]
    del graph.initializer[:]
    graph.initializer.extend(kept)


LARGE_CONSTANT = "archcast: constant"
"""Marks a value_info that stands for an initializer whose contents were dropped."""


def _remove(infos: Any, name: str) -> None:
    for i in range(len(infos) - 1, -1, -1):
        if infos[i].name == name:
            del infos[i]


def _inlined(model: Any, path: Path) -> Any:
    """Return the model with its local functions written out; recursion and blow-up are refused before."""
    if not model.functions:
        return model
    import onnx.inliner

    functions = {(f.domain, f.name): f for f in model.functions}
    calls = {key: [(n.domain, n.op_type) for n in _all_nodes(f.node)] for key, f in functions.items()}
    try:
        order = list(
            TopologicalSorter({key: set(found) & set(functions) for key, found in calls.items()}).static_order()
        )
    except CycleError as error:
        names = " -> ".join(name for _, name in error.args[1])
        raise BadFileError(path, f"its functions call themselves: {names}.") from None
    sizes: dict[tuple[str, str], int] = {}
    for key in order:
        sizes[key] = sum(sizes.get(call, 1) for call in calls[key])
    total = sum(sizes.get((n.domain, n.op_type), 1) for n in _all_nodes(model.graph.node))
    if total > MAX_NODES:
        raise BadFileError(path, f"the graph has more than {MAX_NODES:,} nodes once its functions are written out.")
    return onnx.inliner.inline_local_functions(model)


def _put_in_order(graph: Any, path: Path, outer: frozenset[str]) -> None:
    """Sort nodes after what they read. Raises BadFileError: a cycle, or a tensor that nothing produces."""
    given = {info.name for info in (*graph.input, *graph.initializer)} | {
        info.name for info in graph.value_info if info.doc_string == LARGE_CONSTANT
    }
    producer: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in producer or name in given):
                raise BadFileError(path, f"tensor '{name}' is produced twice ({node_label(node)}).")
            producer[name] = i
    needs: dict[int, set[int]] = {}
    known = outer | given
    for i, node in enumerate(graph.node):
        for name in (*node.input, *_captured(node)):
            if name and name not in producer and name not in known:
                raise BadFileError(
                    path, f"{node_label(node)} reads '{name}', which nothing produces; the file may be truncated."
                )
        needs[i] = {producer[name] for name in (*node.input, *_captured(node)) if name in producer}
    for info in graph.output:
        if info.name not in producer and info.name not in known:
            raise BadFileError(path, f"output '{info.name}' is produced by no node; the file may be truncated.")
    if any(max(sources, default=-1) >= i for i, sources in needs.items()):
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            cycle = " -> ".join(node_label(graph.node[i]) for i in reversed(error.args[1]))
            raise BadFileError(path, f"the nodes form a cycle: {cycle}. An ONNX graph has none.") from None
        nodes = [graph.node[i] for i in order]
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
    inside = known | frozenset(producer)
    for node in graph.node:
        for sub in subgraphs(node):
            _put_in_order(sub, path, inside)


def _captured(node: Any) -> list[str]:
    """Return the tensors of outer graphs that a node's subgraphs read."""
    found: list[str] = []
    for sub in subgraphs(node):
        own = {info.name for info in (*sub.input, *sub.initializer, *sub.value_info)}
        own |= {name for inner in sub.node for name in inner.output}
        reads = [name for inner in sub.node for name in (*inner.input, *_captured(inner))]
        reads += [info.name for info in sub.output]
        found += [name for name in reads if name and name not in own]
    return found


def _complete_opsets(model: Any) -> None:
    """Declare every domain in use: inference stops at one that is not."""
    declared = {opset.domain for opset in model.opset_import}
    if "ai.onnx" in declared:
        declared.add("")
    used = {"" if n.domain == "ai.onnx" else n.domain for graph in graphs(model.graph) for n in graph.node}
    for domain in sorted(used - declared):
        model.opset_import.add(domain=domain, version=1 if domain else 13)
