"""Workload files: YAML in which a user writes operators out, block by block (docs/workload-files.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.checks import finite_number, whole_number
from foundation.errors import BadFileError, InputError, UnknownNameError
from foundation.yaml_file import Path_, YamlDocument, load_yaml
from workloads.graph import BLOCK_INPUT, Block, Operator, WorkloadGraph, as_table, ordered
from workloads.graph_model import GraphModel
from workloads.table import CATEGORIES, DEFAULTS

INPUT = "input"
"""How a file names what flows into a block."""
TOP = ("kind", "name", "source", "notes", "dtype", "boundary_elements", "blocks")
BLOCK = ("name", "count", "shared", "operators")
FIELDS = ("name", "op", "dtype", "kv_dtype", "inputs", "parameters", "active_parameters", "state_elements",
          "state_dtype", "state_shards", "shard", "trainable", "fused")  # fmt: skip
COLUMNS = (*(c for c in DEFAULTS if c != "count"), *(c for c in CATEGORIES if c not in FIELDS))
"""Keys of an operator that are columns of the operator table; how often a block runs is the block's `count`."""
SHARDS = ("", "column", "row", "heads", "experts", "vocab", "logits", "hidden")
MAX_OPERATORS = 20_000


def load_workload_file(path: str | Path) -> GraphModel:
    """Return the model in a workload file.

    Raises:
        BadFileError: file, line and key of the fault, and the nearest valid name.
    """
    return read_workload(load_yaml(path))


def read_workload(document: YamlDocument) -> GraphModel:
    """Return the model in a parsed workload file. Raises as `load_workload_file`."""
    data = document.data
    if not isinstance(data, dict):
        raise BadFileError(document.path, "the file must be a mapping of keys to values.", line=1)
    _known(document, (), data, TOP)
    if data.get("kind") != "workload":
        problem = f"'{data.get('kind')}' is no kind that is read here." if "kind" in data else "the key is missing."
        raise document.fault(("kind",), problem, "A workload file has `kind: workload`; an architecture has `family`.")
    dtype = _text(document, ("dtype",), data.get("dtype", "bf16"))
    blocks = []
    for i, entry in enumerate(_list(document, ("blocks",), data.get("blocks"))):
        blocks.append(read_block(document, ("blocks", i), entry, dtype))
        if sum(len(block.operators) for block in blocks) > MAX_OPERATORS:
            raise document.fault(("blocks", i), f"the file has more than {MAX_OPERATORS:,} operators.")
    names = [block.name for block in blocks]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise document.fault(("blocks", i, "name"), f"two blocks are named '{name}'.")
    boundary = _number(document, ("boundary_elements",), data.get("boundary_elements", 0))
    notes = tuple(str(note) for note in _list(document, ("notes",), data.get("notes") or [], empty=True))
    name = _text(document, ("name",), data.get("name") or document.path.stem)
    return GraphModel(name, WorkloadGraph(name, tuple(blocks), boundary), notes=notes, dtype=dtype)


def read_block(document: YamlDocument, at: Path_, entry: Any, dtype: str) -> Block:
    """Return one block of a file; operators without a format are in `dtype`. Raises BadFileError."""
    _known(document, at, entry, BLOCK)
    name = _text(document, (*at, "name"), entry.get("name", f"block{at[-1]}"))
    listed = _list(document, (*at, "operators"), entry.get("operators"))
    operators, places, last = [], {}, BLOCK_INPUT
    for j, one in enumerate(listed):
        where = (*at, "operators", j)
        operator = _operator(document, where, one, dtype, last)
        if operator.name in places:
            raise document.fault((*where, "name"), f"block '{name}' has two operators named '{operator.name}'.")
        places[operator.name], last = where, operator.name
        operators.append(operator)
    try:
        in_order = ordered(operators, where=f"block '{name}'")
    except InputError as error:
        culprit = next((places[o.name] for o in operators if f"'{o.name}'" in str(error)), at)
        raise document.fault((*culprit, "inputs"), str(error)) from None
    _check_sizes(document, in_order, places)
    count = entry.get("count", 1)
    try:
        repeats = whole_number("count", count, high=1_000_000)
    except InputError as error:
        raise document.fault((*at, "count"), str(error)) from None
    return Block(name, in_order, repeats, _flag(document, (*at, "shared"), entry.get("shared", False)))


def _operator(document: YamlDocument, at: Path_, entry: Any, dtype: str, last: str) -> Operator:
    _known(
        document, at, entry, (*FIELDS, *COLUMNS), {"count": "An operator runs once a block; set the block's `count`."}
    )
    for key in ("name", "op"):
        if key not in entry:
            raise document.fault((*at, key), f"an operator needs '{key}'.")
    name = _text(document, (*at, "name"), entry["name"])
    if name == INPUT:
        raise document.fault((*at, "name"), f"'{INPUT}' is what enters the block; name the operator otherwise.")
    shape: dict[str, Any] = {}
    for key, value in entry.items():
        if key in DEFAULTS:
            shape[key] = _number(document, (*at, key), value)
        elif key in CATEGORIES and key not in FIELDS:
            shape[key] = _option(document, (*at, key), value, CATEGORIES[key])
    try:
        return Operator(
            name, _text(document, (*at, "op"), entry["op"]), shape,
            dtype=_text(document, (*at, "dtype"), entry.get("dtype", dtype)),
            kv_dtype=str(entry.get("kv_dtype", "")), inputs=_inputs(document, at, entry, last),
            parameters=_parameters(document, (*at, "parameters"), entry, shape),
            active_parameters=_active(document, at, entry),
            state_elements=_number(document, (*at, "state_elements"), entry.get("state_elements", 0)),
            state_dtype=str(entry.get("state_dtype", "")),
            state_shards=_number(document, (*at, "state_shards"), entry.get("state_shards", 1)),
            shard=_option(document, (*at, "shard"), entry.get("shard", ""), SHARDS),
            trainable=_flag(document, (*at, "trainable"), entry.get("trainable", True)),
            fused=_flag(document, (*at, "fused"), entry.get("fused", False)),
        )  # fmt: skip
    except BadFileError:
        raise
    except InputError as error:
        key = "op" if isinstance(error, UnknownNameError) and error.kind == "operator" else "dtype"
        raise document.fault((*at, key), str(error)) from None


def _inputs(document: YamlDocument, at: Path_, entry: Mapping[str, Any], last: str) -> tuple[str, ...]:
    """Return what an operator reads: by default the one before it."""
    if "inputs" not in entry:
        return (last,)
    listed = entry["inputs"] if isinstance(entry["inputs"], list) else [entry["inputs"]]
    names = [_text(document, (*at, "inputs"), name) for name in listed]
    return tuple(dict.fromkeys(BLOCK_INPUT if name == INPUT else name for name in names)) or (BLOCK_INPUT,)


def _parameters(document: YamlDocument, at: Path_, entry: Mapping[str, Any], shape: Mapping[str, float]) -> float:
    """Return the stored elements; `auto` counts those of the operator's weights, without a bias."""
    value = entry.get("parameters", 0)
    if value != "auto":
        return _number(document, at, value)

    def size(key: str) -> float:
        return shape.get(key, DEFAULTS[key])

    if entry.get("op") == "gemm":
        return size("n") * size("k") * size("batch")
    if entry.get("op") == "conv2d":
        return size("c_in") / max(1.0, size("groups")) * size("kh") * size("kw") * size("c_out")
    if entry.get("op") == "norm":
        return size("hidden")
    if entry.get("op") == "moe":
        return size("experts") * size("hidden") * size("inter") * (3 if size("gated") else 2)
    raise document.fault(at, "`auto` is known for gemm, conv2d, norm and moe.", "Write the number of stored elements.")


def _active(document: YamlDocument, at: Path_, entry: Mapping[str, Any]) -> float | None:
    value = entry.get("active_parameters")
    return None if value is None else _number(document, (*at, "active_parameters"), value)


def _check_sizes(document: YamlDocument, operators: tuple[Operator, ...], places: Mapping[str, Path_]) -> None:
    """Refuse operators whose sizes describe nothing. Fused ones have a shape as well."""
    from dataclasses import replace

    table = as_table([replace(o, fused=False) for o in operators])
    for row, reason in table.faults():
        place = places[operators[row].name]
        key = next((word for word in reason.split() if word in DEFAULTS), "")
        raise document.fault((*place, key) if key else place, f"{reason}.")


def _known(
    document: YamlDocument, at: Path_, entry: Any, keys: tuple[str, ...], hints: Mapping[str, str] | None = None
) -> None:
    if not isinstance(entry, dict):
        raise document.fault(at, "this must be a mapping of keys to values.")
    for key in entry:
        if key not in keys:
            raise document.fault((*at, key), str(UnknownNameError("key", key, keys)), (hints or {}).get(key, ""))


def _list(document: YamlDocument, at: Path_, value: Any, *, empty: bool = False) -> list[Any]:
    if not isinstance(value, list) or not (value or empty):
        raise document.fault(at, f"'{at[-1]}' must be a list with at least one entry.")
    return value


def _number(document: YamlDocument, at: Path_, value: Any) -> float:
    try:
        return finite_number(str(at[-1]), value)
    except InputError as error:
        raise document.fault(at, str(error)) from None


def _text(document: YamlDocument, at: Path_, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or str(value) == "":
        raise document.fault(at, f"'{at[-1]}' must be a name, not {value!r}.")
    return str(value)


def _flag(document: YamlDocument, at: Path_, value: Any) -> bool:
    if not isinstance(value, bool):
        raise document.fault(at, f"'{at[-1]}' must be true or false, not {value!r}.")
    return value


def _option(document: YamlDocument, at: Path_, value: Any, options: tuple[str, ...]) -> Any:
    if value not in options:
        raise document.fault(at, str(UnknownNameError(f"value of {at[-1]}", str(value), [o for o in options if o])))
    return value
