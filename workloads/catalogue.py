"""Names and files to models: the built-in architectures, users' own, and every format that an importer reads.

Adding an architecture is one YAML file in a folder of `architectures/` (or one entry among the `variants` of a file);
adding a family is one builder file and one line in `workloads.families`. The files are compiled to `compiled.json.gz`
(`python -m workloads.compile`), so that a name is found without opening them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, InputError, UnknownNameError
from foundation.packed_text import read_packed
from foundation.yaml_file import YamlDocument, load_yaml, parse_yaml
from workloads.families import FACTS, FAMILIES, build
from workloads.model import Model

ARCHITECTURES = Path(__file__).with_name("architectures")
COMPILED = Path(__file__).with_name("compiled.json.gz")
EXAMPLES = Path(__file__).with_name("examples.json.gz")
"""The files of `examples/` in one: {name: text}. The folder stays in the repository and the source archive."""

DOMAINS = ("language", "multimodal", "vision", "generative", "graph", "search")
"""Folders of `architectures/`; `search` holds the spaces that architecture searches draw from."""

SUFFIXES = (".yaml", ".yml", ".json", ".onnx", ".mlir", ".stablehlo", ".pt2", ".tflite", ".safetensors", ".gguf")
"""Endings that make a name the path of a file even where there is none."""


def load_model(name_or_path: str | Path, changes: Mapping[str, Any] | None = None) -> Model:
    """Return a model by its built-in name, an alias, or the path of a file; `changes` sets some knobs.

    Files: an architecture (`.yaml` with `family`), a workload (`.yaml` with `kind: workload`), a Hugging Face
    `config.json`, an ONNX file, and what the registered importers read.

    Raises:
        UnknownNameError: no such name or knob; the nearest are named.
        BadValueError: a value that a knob cannot have.
        BadFileError: the file cannot be used; file, line and key are named.
    """
    if is_path(name_or_path):
        model = _from_file(Path(name_or_path))
    else:
        name = plain_name(str(name_or_path))
        text = None if _is_built_in(str(name_or_path)) else examples().get(name)
        model = _from_document(parse_yaml(text, Path(f"{name}.yaml"))) if text else _built_in(str(name_or_path))
    return model.with_knobs(changes) if changes else model


@cache
def examples() -> dict[str, str]:
    """Return the YAML of workloads and techniques that come along, by name; `load_model` takes these names too."""
    texts: dict[str, str] = json.loads(read_packed(EXAMPLES))
    return texts


def workload_names() -> list[str]:
    """Return the names of all built-in architectures, sorted."""
    return list(_compiled())


def architecture_facts(name: str) -> Mapping[str, Any]:
    """Return what the files state about a built-in architecture (family, domain, source, published figures, knobs).

    Raises:
        UnknownNameError: no such name or alias; the nearest are named.
    """
    facts: Mapping[str, Any] = _compiled()[_name_of(name)]
    return facts


def plain_name(text: str) -> str:
    """Return a name as the catalogue spells it: lower case, hyphens."""
    return text.strip().lower().replace("_", "-").replace(" ", "-")


def is_path(name_or_path: str | Path) -> bool:
    """Tell whether a user means a file: a `Path`, a known suffix, a folder or a name with a dot that exists."""
    if isinstance(name_or_path, Path):
        return True
    if name_or_path.lower().endswith(SUFFIXES):
        return True
    if "/" in name_or_path or "\\" in name_or_path:
        return Path(name_or_path).exists()
    if "." not in name_or_path or not Path(name_or_path).is_file():
        return False
    return not _is_built_in(name_or_path)  # a file that only a plug-in can read


@cache
def _compiled() -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(read_packed(COMPILED))
    return entries


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name, facts in _compiled().items() for alias in facts["aliases"]}


def _is_built_in(name: str) -> bool:
    return plain_name(name) in _compiled() or plain_name(name) in _aliases()


def _name_of(name: str) -> str:
    plain = plain_name(name)
    if plain in _compiled():
        return plain
    if plain not in _aliases():
        hint = "The path of a config.json, an ONNX file or a workload YAML works too."
        raise UnknownNameError("workload", name, [*_compiled(), *_aliases(), *examples()], hint)
    return _aliases()[plain]


def _built_in(name: str) -> Model:
    plain = _name_of(name)
    facts = _compiled()[plain]
    return build(facts["family"], str(facts.get("name") or plain), facts.get("knobs") or {}, facts.get("notes") or ())


def _from_file(path: Path) -> Model:
    if path.suffix.lower() not in (".yaml", ".yml"):
        from workloads.importers.base import importer_of

        return importer_of(path).load(path)
    return _from_document(load_yaml(path))


def _from_document(document: YamlDocument) -> Model:
    if not isinstance(document.data, dict):
        raise BadFileError(document.path, "the file must be a mapping of keys to values.", line=1)
    if "family" in document.data:
        return _architecture(document)
    if document.data.get("kind") == "composite":
        from workloads.importers.composite_file import read_composite

        return read_composite(document)
    from workloads.importers.workload_file import read_workload

    return read_workload(document)


def _architecture(document: YamlDocument) -> Model:
    data = document.data
    for key in data:
        if key not in FACTS:
            raise document.fault((key,), str(UnknownNameError("key", key, FACTS)))
    if "variants" in data:
        raise document.fault(
            ("variants",), "a file that is asked for by its path describes one network; state its knobs."
        )
    family = str(data["family"])
    if family not in FAMILIES:
        raise document.fault(("family",), str(UnknownNameError("family", family, FAMILIES)))
    knobs = data.get("knobs") or {}
    if not isinstance(knobs, dict):
        raise document.fault(("knobs",), "this must be a mapping of knobs to values.")
    notes = data.get("notes") or []
    if not isinstance(notes, list):
        raise document.fault(("notes",), "this must be a list of sentences.")
    name = str(data.get("name") or document.path.stem)
    try:
        return build(family, name, knobs, [str(note) for note in notes])
    except BadFileError:
        raise
    except InputError as error:
        raise document.fault(_knob_at_fault(knobs, str(error)), str(error)) from None


def _knob_at_fault(knobs: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """Return the key path of the knob that an error's message names, else that of the knobs."""
    words = message.replace("'", " ").replace("=", " ").split()
    return ("knobs", next((word for word in words if word in knobs), "")) if words else ("knobs",)
