"""torch.export programs as plain records: from a `.pt2` file (a zip; its JSON is read, no pickle is opened), or live.

The JSON is the schema of `torch/_export/serde/schema.py` (PyTorch, schema version 8; older ones use the same names).
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from foundation.errors import BadFileError
from foundation.files import plain_file
from workloads.importers.onnx_shapes import Tensor

MAX_FILE_BYTES = 2**43
MAX_JSON_BYTES = 256_000_000
MAX_DIRECTORY_BYTES = 64_000_000
"""Table of contents of the zip."""
MAX_ELEMENTS = 10**13
MAX_RANK = 64
GRAPHS = ("models/model.json", "serialized_exported_program.json")
"""The graph's place in the archive: since PyTorch 2.7, and before."""

ELEMENTS: dict[int, str] = {
    1: "UINT8", 2: "INT8", 3: "INT16", 4: "INT32", 5: "INT64", 6: "FLOAT16", 7: "FLOAT", 8: "DOUBLE", 9: "COMPLEX64",
    10: "COMPLEX64", 11: "COMPLEX128", 12: "BOOL", 13: "BFLOAT16", 28: "UINT16", 29: "FLOAT8E4M3FN", 30: "FLOAT8E5M2",
    31: "FLOAT8E4M3FNUZ", 32: "FLOAT8E5M2FNUZ", 33: "FLOAT8E8M0", 34: "UINT32", 35: "UINT64",
}  # fmt: skip
"""`ScalarType` by number, by the names that ONNX gives them."""
LIVE: dict[str, str] = {
    "torch.uint8": "UINT8", "torch.int8": "INT8", "torch.int16": "INT16", "torch.int32": "INT32",
    "torch.int64": "INT64", "torch.float16": "FLOAT16", "torch.float32": "FLOAT", "torch.float64": "DOUBLE",
    "torch.bool": "BOOL", "torch.bfloat16": "BFLOAT16", "torch.float8_e4m3fn": "FLOAT8E4M3FN",
    "torch.float8_e5m2": "FLOAT8E5M2", "torch.complex64": "COMPLEX64",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One operator: `torch.ops.aten.NAME.OVERLOAD` and its arguments by name; a tensor argument is its `Tensor`."""

    target: str
    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Exported:
    """A program: its calls in order, and which tensors are parameters, other constants and inputs."""

    calls: tuple[Call, ...]
    parameters: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    open_sizes: Mapping[str, int] = field(default_factory=dict)
    """Sizes that the program leaves open, and what they were when it was exported."""


def read_pt2(path: Path) -> Exported:
    """Return the program of a `.pt2` file.

    Raises:
        BadFileError: absent, no such archive, truncated, or a graph that cannot be read.
    """
    text = _graph_text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFileError(path, "its graph is not JSON; the file is damaged.") from None
    return _Reader(path).program(data)


def _graph_text(path: Path) -> bytes:
    file = plain_file(path, MAX_FILE_BYTES)
    try:
        if _directory_bytes(file) > MAX_DIRECTORY_BYTES:
            raise BadFileError(path, f"its table of contents has more than {MAX_DIRECTORY_BYTES:,} bytes.")
        with zipfile.ZipFile(file) as archive:
            names = [info for info in archive.infolist() if info.filename.endswith(GRAPHS)]
            if not names:
                hint = "Save it with torch.export.save(program, path); a model saved by torch.save holds only pickles."
                raise BadFileError(
                    path, f"the archive has no graph ({' or '.join(GRAPHS)}), or it is truncated.", hint=hint
                )
            if len(names) > 1:
                raise BadFileError(path, f"the archive has {len(names)} graphs; export one model to a file.")
            if names[0].file_size > MAX_JSON_BYTES:
                raise BadFileError(path, f"its graph has more than {MAX_JSON_BYTES:,} bytes.")
            with archive.open(names[0]) as stream:
                return stream.read(MAX_JSON_BYTES)
    except BadFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError):
        raise BadFileError(path, "this is not a .pt2 archive (a zip), or it is truncated.") from None


def _directory_bytes(file: Path) -> int:
    """Return the size of a zip's table of contents as the end of the file states it, 0 where it states none."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - 66_000))
        tail = stream.read()
    wide = tail.rfind(b"PK\x06\x06")
    if wide >= 0 and wide + 48 <= len(tail):
        return int.from_bytes(tail[wide + 40 : wide + 48], "little")
    end = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0


class _Reader:
    """Turns the JSON into records; whatever is not as the schema says is a fault of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, Tensor] = {}
        self.open_sizes: dict[str, int] = {}

    def fault(self, problem: str) -> NoReturn:
        raise BadFileError(self.path, f"its graph is damaged or of an unknown schema: {problem}.")

    def program(self, data: Any) -> Exported:
        module = self._mapping(self._mapping(data, "the file").get("graph_module"), "graph_module")
        graph = self._mapping(module.get("graph"), "graph")
        for name, meta in self._mapping(graph.get("tensor_values"), "tensor_values").items():
            self.tensors[name] = self._tensor(name, meta)
        held = self._held(self._mapping(module.get("signature"), "signature"))
        calls = tuple(self._call(node, i) for i, node in enumerate(self._list(graph.get("nodes"), "nodes")))
        outputs = tuple(name for item in self._list(graph.get("outputs"), "outputs") for name in _names(item))
        return Exported(calls, held["parameter"], held["constant"], held["input"], outputs, self.open_sizes)

    def _mapping(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fault(f"{what} is no object")
        return value

    def _list(self, value: Any, what: str) -> list[Any]:
        if not isinstance(value, list):
            self.fault(f"{what} is no list")
        return value

    def _tensor(self, name: str, meta: Any) -> Tensor:
        meta = self._mapping(meta, f"tensor '{name[:80]}'")
        kind = meta.get("dtype")
        sizes = self._list(meta.get("sizes"), f"sizes of '{name[:80]}'")
        if not isinstance(kind, int) or kind not in ELEMENTS or len(sizes) > MAX_RANK:
            self.fault(f"tensor '{name[:80]}' has an unknown type or too many axes")
        dims, elements = [], 1
        for size in sizes:
            dims.append(self._size(size))
            elements *= dims[-1]
            if dims[-1] < 0 or elements > MAX_ELEMENTS:
                self.fault(f"tensor '{name[:80]}' has an impossible shape")
        return Tensor(name, ELEMENTS[kind], tuple(dims))

    def _size(self, size: Any) -> int:
        """Return a size; of an open one, what it was when the program was exported."""
        size = self._mapping(size, "a size")
        value = size.get("as_int")
        if value is None:
            open_size = self._mapping(size.get("as_expr"), "a size")
            value = self._mapping(open_size.get("hint"), "the hint of an open size").get("as_int")
            name = str(open_size.get("expr_str"))
            if isinstance(value, int) and name.startswith("Symbol('") and len(self.open_sizes) < 1000:
                self.open_sizes[name[8:].partition("'")[0][:40]] = value
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault("a size is no whole number")
        return value

    def _held(self, signature: dict[str, Any]) -> dict[str, tuple[Tensor, ...]]:
        held: dict[str, list[Tensor]] = {"parameter": [], "constant": [], "input": []}
        for spec in self._list(signature.get("input_specs"), "input_specs"):
            for kind, inside in self._mapping(spec, "an input").items():
                argument = inside.get("arg") if isinstance(inside, dict) else None
                role = {"parameter": "parameter", "user_input": "input"}.get(kind, "constant")
                for name in _names(argument if role == "input" else {"as_tensor": argument}):
                    if name in self.tensors:
                        held[role].append(self.tensors[name])
        return {role: tuple(found) for role, found in held.items()}

    def _call(self, node: Any, place: int) -> Call:
        node = self._mapping(node, "a node")
        target = node.get("target")
        if not isinstance(target, str) or not target.isprintable() or len(target) > 300:
            self.fault(f"node {place} has no target")
        arguments: dict[str, Any] = {}
        for given in self._list(node.get("inputs"), "inputs of a node"):
            given = self._mapping(given, "an argument")
            arguments[str(given.get("name"))[:80]] = self._value(given.get("arg"))
        names = [name for item in self._list(node.get("outputs"), "outputs of a node") for name in _names(item)]
        outputs = tuple(self.tensors[name] for name in names if name in self.tensors)
        name = node.get("name")
        plain = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100
        return Call(target, str(name) if plain else (names[0][:100] if names else f"node_{place}"), arguments, outputs)

    def _value(self, argument: Any) -> Any:
        """Return an argument as plain data: `Tensor`, numbers, lists of them; None for what no cost needs."""
        argument = self._mapping(argument, "an argument")
        for kind, value in argument.items():
            if kind in ("as_tensor", "as_tensors", "as_optional_tensors", "as_optional_tensor"):
                found = [self._known(name) for name in _names(argument)]
                return found if kind.endswith("s") else (found[0] if found else None)
            if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools"):
                return value
        return None

    def _known(self, name: str) -> Tensor:
        if name not in self.tensors:
            self.fault(f"a node reads '{name[:80]}', which nothing produces")
        return self.tensors[name]


def _names(argument: Any) -> Iterator[str]:
    """Yield the tensor names of an argument of the schema."""
    if not isinstance(argument, dict):
        return
    for kind, value in argument.items():
        if kind in ("as_tensor", "as_optional_tensor") and isinstance(value, dict):
            if isinstance(value.get("name"), str):
                yield value["name"]
            else:
                yield from _names(value)
        elif kind in ("as_tensors", "as_optional_tensors") and isinstance(value, list):
            for item in value:
                inner = item.get("as_tensor", item) if isinstance(item, dict) else None
                if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                    yield inner["name"]


def read_program(program: Any) -> Exported:
    """Return a live `torch.export.ExportedProgram` as records; no weight is read."""
    tensors: dict[str, Any] = {}
    open_sizes: dict[str, int] = {}

    def tensor(name: str, value: Any) -> Tensor:
        dims = []
        for size in value.shape:
            known = int(size) if isinstance(size, int) else int(size.node.hint)
            if not isinstance(size, int):
                open_sizes[str(size)[:40]] = known
            dims.append(known)
        return Tensor(name, LIVE.get(str(value.dtype), "INT64"), tuple(dims))

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if hasattr(value, "meta"):
            found = tensors.get(value.name)
            return found if isinstance(found, Tensor) else None
        return value if isinstance(value, int | float | bool | str) else None

    calls: list[Call] = []
    outputs: list[str] = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "output":
            outputs += [item.name for item in node.args[0] if hasattr(item, "name")]
        elif hasattr(value, "shape"):
            tensors[node.name] = tensor(node.name, value)
        elif isinstance(value, list | tuple):
            tensors[node.name] = [tensor(f"{node.name}.{i}", v) for i, v in enumerate(value) if hasattr(v, "shape")]
        if node.op != "call_function":
            continue
        target = str(node.target)
        if "getitem" in target:  # the results of a call under names of their own
            whole = tensors.get(node.args[0].name)
            if isinstance(whole, list) and node.args[1] < len(whole):
                tensors[node.name] = whole[node.args[1]]
            continue
        schema = getattr(node.target, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema else [str(i) for i in range(len(node.args))]
        given = dict(zip(names, map(plain, node.args), strict=False)) | {k: plain(v) for k, v in node.kwargs.items()}
        made = tensors.get(node.name)
        results = tuple(made) if isinstance(made, list) else (made,) if isinstance(made, Tensor) else ()
        calls.append(Call(f"torch.ops.{target}", node.name, given, results))
    held: dict[str, list[Tensor]] = {"PARAMETER": [], "USER_INPUT": []}
    for spec in program.graph_signature.input_specs:
        found = tensors.get(getattr(spec.arg, "name", ""))
        if isinstance(found, Tensor):
            held.setdefault(spec.kind.name, []).append(found)
    parameters, inputs = tuple(held.pop("PARAMETER")), tuple(held.pop("USER_INPUT"))
    constants = tuple(found for group in held.values() for found in group)
    names = [tensors[name].name for name in outputs if isinstance(tensors.get(name), Tensor)]
    return Exported(tuple(calls), parameters, constants, inputs, tuple(names), open_sizes)
