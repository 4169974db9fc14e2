"""What a client may name: entries of the catalogues, or a file's content inline; never a path of this machine.

The readers of archcast take a name that looks like a path as one. Over HTTP that would let a stranger open files of
the server, or learn which exist, so every name is looked up in the catalogues here before a reader sees it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.cost_models import PHYSICS
from archcast.service.faults import ShapeError
from archcast.service.near import Index, index_of, shortlist
from archcast.service.reading import check_document
from archcast.service.settings import Limits
from foundation.errors import BadFileError, InputError, UnknownNameError

if TYPE_CHECKING:
    from archcast.cost_models import AnyModel
    from costmodel.protocol import CostModel
    from hardware_specs import DeviceSpec
    from workloads.model import Model

FREE = frozenset({"source", "sources", "url", "notes", "name", "description", "about", "_name_or_path", "auto_map",
                  "released", "date", "license", "vendor", "title", "text"})  # fmt: skip
"""Keys of inline documents whose texts no reader takes for a file."""
REFERENCES = frozenset({"workload", "on", "device", "like", "model", "network", "link", "intra_link", "inter_link",
                        "node", "cluster", "base", "draft"})  # fmt: skip
SERVED = "shipped"
"""Name of the cost model that is served."""
ENDINGS = (".yaml", ".yml", ".json", ".onnx", ".mlir", ".stablehlo", ".pt2", ".tflite", ".safetensors", ".gguf", ".csv",
           ".parquet")  # fmt: skip

_ID = re.compile(r"\w[\w .:+()-]{0,99}")
"""Ids of inline devices: those of the catalogue, and what people call their own."""

OWN: ContextVar[Callable[[str], CostModel | None] | None] = ContextVar("own cost models", default=None)
"""While a question is answered: what finds a cost model of one's own by the id of its job (`own_models`)."""


def looks_like_path(text: str) -> bool:
    """Tell whether a reader might take a text for a file, whether or not there is one."""
    return "/" in text or "\\" in text or text.startswith((".", "~")) or text.lower().endswith(ENDINGS)


def workload_of(value: str | dict[str, Any], limits: Limits) -> str | Model:
    """Return a catalogue name as it is, or the model that an inline document describes.

    Raises:
        UnknownNameError: no such name. ShapeError, BadFileError: a document that cannot be used.
    """
    if isinstance(value, str):
        return workload_name(value)
    check_document("workload", value, depth=limits.depth, values=limits.values)
    return _inline_model(json.dumps(value))


@lru_cache(maxsize=4096)
def workload_name(name: str) -> str:
    """Return a name where the catalogue of workloads has it. Raises UnknownNameError."""
    from workloads.catalogue import examples, plain_name

    plain = plain_name(name)
    if not looks_like_path(name):
        if plain in examples():
            return plain
        if plain in _workloads():
            return name
    hint = "GET /v1/workloads lists them; a config.json or a workload file can be sent as a JSON object."
    raise UnknownNameError("workload", name, shortlist(_workload_index(), name), hint)


@cache
def _workloads() -> frozenset[str]:
    """Return the names and aliases of the built-in architectures."""
    from workloads.catalogue import architecture_facts, workload_names

    return frozenset(known for name in workload_names() for known in (name, *architecture_facts(name)["aliases"]))


@cache
def _workload_index() -> Index:
    from workloads.catalogue import examples, workload_names

    return index_of([*workload_names(), *examples()])


def device_of(value: str | dict[str, Any], limits: Limits) -> str | DeviceSpec:
    """Return a catalogue id as it is, or the device that an inline document describes. Raises as `workload_of`."""
    if isinstance(value, str):
        return device_name(value)
    check_document("on", value, depth=limits.depth, values=limits.values)
    return _inline_device(json.dumps(value))


@lru_cache(maxsize=4096)
def device_name(name: str) -> str:
    """Return a name where the catalogue has it (`id:2xbig` are cores of one). Raises UnknownNameError."""
    from hardware_specs import load_device
    from hardware_specs.catalogue import plain_name

    if not looks_like_path(name) and plain_name(name.partition(":")[0]) in _devices():
        try:
            load_device(name)
            return name
        except UnknownNameError as error:
            if error.kind != "device":
                raise
            extra = str(error).partition("Nearest: ")[2].partition(". ")[2]
            if "devices: ask for" in extra:  # a node's name
                raise
    hint = "GET /v1/devices lists them; a device file can be sent as a JSON object."
    raise UnknownNameError("device", name, shortlist(_device_index(), name), hint)


@cache
def _devices() -> frozenset[str]:
    """Return the names that the reader of devices has an answer for: ids, aliases, this machine, and nodes."""
    from hardware_specs.catalogue import HOST_CPU, compiled_entries

    nodes = compiled_entries("nodes")
    also = (alias for entry in nodes.values() for alias in entry.get("aliases", ()))
    return frozenset({*compiled_entries("devices"), *compiled_entries("aliases"), HOST_CPU, *nodes, *also})


@cache
def _device_index() -> Index:
    from hardware_specs import device_ids

    return index_of(device_ids())


def cost_model_name(name: str) -> AnyModel:
    """Return what `find_cost_model` takes: a folder of the server is never named.

    Raises:
        UnknownNameError: no such model. NotDoneError, BadValueError: a job's id that stands for no model.
    """
    if name in ("", SERVED):
        return None
    if is_built_in(name):
        return name
    find = OWN.get()
    found = find(name) if find is not None else None
    if found is None:
        known = built_in_models()
        hint = f"Known: {', '.join(known)}; a model of your own is named by the id of its calibrate job."
        raise UnknownNameError("cost model", name, known, hint)
    return found


def is_built_in(name: str) -> bool:
    """Tell whether a name is that of a cost model of the installation."""
    return name in built_in_models() and not looks_like_path(name) and (name == PHYSICS or not Path(name).exists())


@cache
def built_in_models() -> tuple[str, ...]:
    """Return the names of the cost models that every service of this installation has."""
    from costmodel.contract import offered

    return (PHYSICS, SERVED, *offered())


def check_references(name: str, document: Any) -> None:
    """Refuse a document in which a text could be taken for a file, or a reference is in no catalogue.

    Raises:
        ShapeError: one sentence with the key.
    """
    for key, text in _texts("", document):
        if key in FREE:
            continue
        if looks_like_path(text):
            raise ShapeError(f"{name}: '{text[:100]}' looks like a path; a document sent to a service names no "
                             "files.", key)  # fmt: skip
        if key in REFERENCES and "." in text and not _is_known(text):
            raise ShapeError(f"{name}: '{text[:100]}' is in no catalogue.", key)


def _is_known(text: str) -> bool:
    """Tell whether a text with a dot (which may be a file's name) is one of the catalogues' names or a number."""
    for find in (workload_name, device_name):
        try:
            find(text)
            return True
        except InputError:
            continue
    return text.replace(".", "", 1).isdigit()


def _texts(key: str, item: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of every text in a document, its sources apart; its depth was checked before."""
    if isinstance(item, str):
        yield key, item
    elif isinstance(item, dict):
        for inner, value in item.items():
            if inner != "sources":  # citations by name: no reader takes one for a file
                yield from _texts(inner, value)
    elif isinstance(item, list):
        for value in item:
            yield from _texts(key, value)


@lru_cache(maxsize=32)
def _inline_model(text: str) -> Model:
    from workloads.catalogue import load_model

    own = '"family"' in text or '"kind"' in text
    document = json.loads(text)
    own = own and ("family" in document or "kind" in document)
    if own:
        check_references("workload", document)
    found: Model = _through_file(text, "workload.yaml" if own else "config.json", load_model)
    return found


@lru_cache(maxsize=32)
def _inline_device(text: str) -> DeviceSpec:
    from hardware_specs import load_device

    document = json.loads(text)
    _check_id(document.get("id", "mine"))
    if _has_ends(document):
        return _answered_device({key: value for key, value in document.items() if key != "versions"})
    check_references("on", document)
    found: DeviceSpec = _through_file(text, "device.yaml", load_device)
    return found


def _check_id(id: Any) -> None:
    """Refuse an id that is no name: answers repeat it. Raises ShapeError."""
    if isinstance(id, str) and (looks_like_path(id) or not _ID.fullmatch(id)):
        raise ShapeError(
            f"on: the id '{id[:100]}' is no name; write up to 100 letters, digits, '-', '_', '.', ':', '+' and blanks.",
            "id",
        )


def _has_ends(item: Any) -> bool:
    """Tell whether a figure of a document has both ends, as answers write them; files have a range."""
    if isinstance(item, dict):
        return {"value", "lo", "hi"} <= item.keys() or any(_has_ends(value) for value in item.values())
    return isinstance(item, list) and any(_has_ends(value) for value in item)


def _answered_device(document: dict[str, Any]) -> DeviceSpec:
    """Return the device that an answer of /v1/devices/NAME describes, whatever was changed in it.

    Raises:
        BadFileError: what it says cannot be true. ShapeError: a text that could be taken for a file.
    """
    from foundation.yaml_file import YamlDocument
    from hardware_specs.reader import validated
    from hardware_specs.schema import DeviceSpec

    check_references("on", {key: value for key, value in document.items() if key not in ("id", "aliases")})
    return validated(YamlDocument(Path("device.json"), document), document, DeviceSpec)


def _through_file(text: str, name: str, load: Any) -> Any:
    """Read a document by the reader of files: in a folder of its own, whose place no message names."""
    with tempfile.TemporaryDirectory(prefix="archcast-") as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8")
        try:
            return load(file)
        except InputError as error:
            if not isinstance(error, BadFileError):
                raise
            message = str(error).replace(f"{folder}/", "").replace(folder, "")
            clean = BadFileError.__new__(BadFileError)
            clean.path, clean.line, clean.key = name, error.line, error.key
            Exception.__init__(clean, message)
            raise clean from None
