"""Composite files: YAML in which a user puts networks and operators together (docs/techniques.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadFileError, BadValueError, InputError, UnknownNameError
from foundation.yaml_file import Path_, YamlDocument, load_yaml
from workloads.composite import REWRITES, Blocks, Composite, Names, Part
from workloads.expressions import evaluate, names_in
from workloads.graph import Block, Operator
from workloads.importers.workload_file import read_block
from workloads.model import Model
from workloads.paths import REST, InputPath
from workloads.table import DEFAULTS

TOP = ("kind", "name", "source", "notes", "dtype", "prompt", "generate", "knobs", "parts", "paths")
PART = ("name", "workload", "blocks", "times", "batch", "prompt", "generate", "set", "dtype", "kv_dtype", "mode",
        "keep", "rewrites", "training", "weights")  # fmt: skip
TRAINING = ("optimizer", "recompute", "gradient_accumulation", "zero_stage")
REQUEST_NAMES = ("batch", "prompt", "generate")
SIZES = (*DEFAULTS, "parameters", "active_parameters", "state_elements", "state_shards")
"""Keys of an operator whose text is an expression."""
PATH = ("name", "share", "set")
MAX_PARTS = 200
MAX_PATHS = 100


def read_composite(document: YamlDocument) -> Composite:
    """Return the model in a parsed composite file.

    Raises:
        BadFileError: file, line and key of the fault, and the nearest valid name.
    """
    data = document.data
    _known(document, (), data, TOP)
    values = _values(document, data.get("knobs") or {})
    listed = data.get("parts")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_PARTS:
        raise document.fault(("parts",), f"this must be a list of 1 to {MAX_PARTS} parts.")
    names = {*values, *REQUEST_NAMES}
    parts = [
        _part(document, ("parts", i), entry, names, str(data.get("dtype", "bf16"))) for i, entry in enumerate(listed)
    ]
    for i, part in enumerate(parts):
        if part.name in [other.name for other in parts[:i]]:
            raise document.fault(("parts", i, "name"), f"two parts are named '{part.name}'.")
    try:
        composite = Composite(
            str(data.get("name") or document.path.stem), tuple(parts), values,
            prompt=whole_number("prompt", data.get("prompt", 0), low=0, high=10**9),
            generate=whole_number("generate", data.get("generate", 0), low=0, high=10**9),
            notes=tuple(str(note) for note in data.get("notes") or ()), paths=_paths(document, values, parts),
        )  # fmt: skip
        from workloads.model import Request

        composite.workload(Request())
    except BadFileError:
        raise
    except InputError as error:
        raise document.fault(_place(str(error), parts, data), str(error)) from None
    return composite


def _part(document: YamlDocument, at: Path_, entry: Any, names: set[str], dtype: str) -> Part:
    _known(document, at, entry, PART)
    if "name" not in entry or ("workload" in entry) == ("blocks" in entry):
        raise document.fault(at, "a part needs a name, and either `workload` or `blocks`.")
    for key in ("times", "batch", "prompt", "generate"):
        _check_expression(document, (*at, key), entry.get(key), names)
    mode, training = entry.get("mode", "infer"), entry.get("training") or {}
    if mode not in ("infer", "train"):
        raise document.fault((*at, "mode"), str(UnknownNameError("mode", str(mode), ("infer", "train"))))
    _known(document, (*at, "training"), training, TRAINING)
    if training and mode != "train":
        raise document.fault((*at, "training"), "this part does not train; say `mode: train`.")
    knobs = entry.get("set") or {}
    if not isinstance(knobs, dict):
        raise document.fault((*at, "set"), "this must be a mapping of knobs to values.")
    keep = entry.get("keep") or []
    return Part(
        str(entry["name"]), _source(document, at, entry, names, dtype), times=_size(entry.get("times", 1.0)),
        batch=_size(entry.get("batch")), prompt=_size(entry.get("prompt")), generate=_size(entry.get("generate")),
        knobs=knobs, dtype=str(entry.get("dtype", "")), kv_dtype=str(entry.get("kv_dtype", "")), mode=mode,
        keep=tuple(map(str, keep if isinstance(keep, list) else [keep])),
        rewrites=_rewrites(document, (*at, "rewrites"), entry.get("rewrites") or []), training=training,
        weights=str(entry.get("weights", "")), reads=_read_names(entry, names),
    )  # fmt: skip


def _paths(document: YamlDocument, values: Mapping[str, float], parts: list[Part]) -> tuple[InputPath, ...]:
    if "paths" not in document.data:
        return ()
    listed = document.data["paths"]
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_PATHS:
        raise document.fault(("paths",), f"this must be a list of 1 to {MAX_PATHS} paths.")
    found: list[InputPath] = []
    for i, entry in enumerate(listed):
        _known(document, ("paths", i), entry, PATH)
        if "name" not in entry or "share" not in entry:
            raise document.fault(("paths", i), "a path needs a name and its share of the inputs (or `share: rest`).")
        if str(entry["name"]) in [path.name for path in found]:
            raise document.fault(("paths", i, "name"), f"two paths are named '{entry['name']}'.")
        if entry["share"] != REST:
            _check_expression(document, ("paths", i, "share"), entry["share"], set(values))
        knobs = entry.get("set") or {}
        if not isinstance(knobs, dict):
            raise document.fault(("paths", i, "set"), "this must be a mapping of knobs to values.")
        for knob, value in knobs.items():
            part, dot, _ = str(knob).partition(".")
            if not dot and knob not in values:
                raise document.fault(("paths", i, "set", knob), str(UnknownNameError("knob", str(knob), values)))
            if dot and part not in [one.name for one in parts]:
                names = [one.name for one in parts]
                raise document.fault(("paths", i, "set", knob), str(UnknownNameError("part", part, names)))
            if not dot:
                _check_expression(document, ("paths", i, "set", knob), value, set(values))
        found.append(InputPath(str(entry["name"]), _size(entry["share"]), knobs))
    return tuple(found)


def _read_names(entry: Any, names: set[str]) -> frozenset[str]:
    """Return the names that expressions anywhere in a part may read."""
    if isinstance(entry, dict):
        return frozenset().union(*(_read_names(value, names) for value in entry.values()))
    if isinstance(entry, list):
        return frozenset().union(*(_read_names(value, names) for value in entry))
    try:
        return frozenset(names_in(entry) & names) if isinstance(entry, str) else frozenset()
    except InputError:
        return frozenset()


def _source(document: YamlDocument, at: Path_, entry: Mapping[str, Any], names: set[str], dtype: str) -> Model | Blocks:
    if "blocks" in entry:
        return _blocks(document, (*at, "blocks"), entry["blocks"], names, str(entry.get("dtype", dtype)))
    from workloads.catalogue import is_path, load_model

    name = str(entry["workload"])
    try:
        beside = document.path.parent / name
        if not is_path(name):
            return load_model(name)
        if beside.suffix.lower() in (".yaml", ".yml"):
            data = load_yaml(beside).data
            if isinstance(data, dict) and data.get("kind") == "composite":  # before it is read: it may name this file
                raise BadValueError(f"'{name}' is itself made of parts; list those here.")
        return load_model(beside)
    except BadFileError:
        raise
    except InputError as error:
        raise document.fault((*at, "workload"), str(error)) from None


def _blocks(document: YamlDocument, at: Path_, entries: Any, names: set[str], dtype: str) -> Blocks:
    """Return a function from values of names to the blocks; sizes of operators may be expressions."""
    if not isinstance(entries, list) or not entries:
        raise document.fault(at, "this must be a list of blocks.")
    for i, block in enumerate(entries):
        for j, one in enumerate(block.get("operators") or () if isinstance(block, dict) else ()):
            for key in SIZES if isinstance(one, dict) else ():
                if one.get(key) != "auto":
                    _check_expression(document, (*at, i, "operators", j, key), one.get(key), names)

    def build(values: Names) -> tuple[Block, ...]:
        return tuple(_one_block(document, (*at, i), block, values, dtype) for i, block in enumerate(entries))

    return build


def _one_block(document: YamlDocument, at: Path_, entry: Any, values: Names, dtype: str) -> Block:
    """Return a block with its expressions computed; sizes that differ between requests become arrays."""
    if not isinstance(entry, dict) or not isinstance(entry.get("operators"), list):
        return read_block(document, at, entry, dtype)
    arrays: list[dict[str, Any]] = []
    plain = []
    for one in entry["operators"]:
        found = {
            key: evaluate(value, values)
            for key, value in (one.items() if isinstance(one, dict) else ())
            if key in SIZES and isinstance(value, str) and value != "auto"
        }
        plain.append({**one, **{k: float(np.ravel(v)[0]) for k, v in found.items()}} if found else one)
        arrays.append({k: v for k, v in found.items() if np.size(v) > 1 and k in (*DEFAULTS, "state_elements")})
    count = entry.get("count", 1)
    times = {"count": float(np.ravel(evaluate(count, values))[0])} if isinstance(count, str) else {}
    block = read_block(document, at, {**entry, "operators": plain, **times}, dtype)
    by_name = {str(one["name"]): found for one, found in zip(plain, arrays, strict=True)}
    return replace(block, operators=tuple(_with_sizes(o, by_name[o.name]) for o in block.operators))


def _with_sizes(operator: Operator, found: Mapping[str, Any]) -> Operator:
    shape = {key: value for key, value in found.items() if key != "state_elements"}
    state = found.get("state_elements", operator.state_elements)
    return replace(operator, shape={**operator.shape, **shape}, state_elements=state)


def _rewrites(document: YamlDocument, at: Path_, entries: Any) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return (name, arguments): each entry is `rewrite: {argument: value}`."""
    if not isinstance(entries, list):
        raise document.fault(at, "this must be a list such as `- low_rank: {pattern: '*', rank: 64}`.")
    found = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or len(entry) != 1:
            raise document.fault((*at, i), "a rewrite is one name and its arguments, e.g. `freeze: {pattern: '*'}`.")
        name, arguments = next(iter(entry.items()))
        if name not in REWRITES:
            raise document.fault((*at, i, name), str(UnknownNameError("rewrite", str(name), REWRITES)))
        _check_arguments(document, (*at, i, name), str(name), arguments or {})
        found.append((str(name), dict(arguments or {})))
    return tuple(found)


def _check_arguments(document: YamlDocument, at: Path_, name: str, arguments: Any) -> None:
    from inspect import signature

    from workloads import rewrites

    known = list(signature(getattr(rewrites, name)).parameters)[1:]
    _known(document, at, arguments, tuple(known))


def _values(document: YamlDocument, knobs: Any) -> dict[str, float]:
    if not isinstance(knobs, dict):
        raise document.fault(("knobs",), "this must be a mapping of names to numbers.")
    found = {}
    for name, value in knobs.items():
        if not str(name).isidentifier() or name in REQUEST_NAMES:
            raise document.fault(("knobs", name), f"'{name}' cannot be the name of a knob here.")
        try:
            found[name] = finite_number(name, value)
        except InputError as error:
            raise document.fault(("knobs", name), str(error)) from None
    return found


def _check_expression(document: YamlDocument, at: Path_, value: Any, names: set[str]) -> None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return
    if not isinstance(value, str):
        raise document.fault(at, "this must be a number or an expression such as 2 * draft + 1.")
    try:
        read = names_in(value)
    except InputError as error:
        raise document.fault(at, str(error)) from None
    for name in sorted(read - names):
        raise document.fault(at, str(UnknownNameError("name", name, sorted(names))))


def _size(value: Any) -> Any:
    return float(value) if isinstance(value, int) else value


def _known(document: YamlDocument, at: Path_, entry: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entry, dict):
        raise document.fault(at, "this must be a mapping of keys to values.")
    for key in entry:
        if key not in keys:
            raise document.fault((*at, key), str(UnknownNameError("key", str(key), keys)))


def _place(message: str, parts: list[Part], data: Mapping[str, Any]) -> Path_:
    """Return the key path of the path or part that a message names."""
    for i, path in enumerate(data.get("paths") or ()):
        if f"path '{path['name']}'" in message:
            return ("paths", i)
    at = next((i for i, part in enumerate(parts) if f"'{part.name}'" in message), None)
    return ("parts",) if at is None else ("parts", at)
