"""Names and files to models: the built-in architectures, users' own, and every format that an importer reads.

Adding an architecture is one YAML file in `architectures/`; adding a family is one builder file and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError, InputError, UnknownNameError
from foundation.yaml_file import YamlDocument, load_yaml
from workloads.model import Model

ARCHITECTURES = Path(__file__).with_name("architectures")

FAMILIES: dict[str, str] = {
    "decoder": "workloads.builders.decoder:Decoder",
    "encoder": "workloads.builders.encoder:Encoder",
    "encoder-decoder": "workloads.builders.encoder_decoder:EncoderDecoder",
    "vit": "workloads.builders.vision_vit:VisionTransformer",
    "resnet": "workloads.builders.vision_resnet:ResNet",
    "mobilenet": "workloads.builders.vision_mobilenet:MobileNet",
}
"""Builder of each family, imported when it is needed. A builder has `from_knobs(name, knobs, notes)`."""

FACTS = ("family", "name", "aliases", "source", "notes", "published_parameters", "published_active_parameters",
         "published_macs", "published_source", "knobs")  # fmt: skip
"""Keys of an architecture file."""


def load_model(name_or_path: str | Path, changes: Mapping[str, Any] | None = None) -> Model:
    """Return a model by its built-in name, an alias, or the path of a file; `changes` sets some knobs.

    Files: an architecture (`.yaml` with `family`), a workload (`.yaml` with `kind: workload`), a Hugging Face
    `config.json`, an ONNX file, and what the registered importers read.

    Raises:
        UnknownNameError: no such name or knob; the nearest are named.
        BadValueError: a value that a knob cannot have.
        BadFileError: the file cannot be used; file, line and key are named.
    """
    model = _from_file(Path(name_or_path)) if is_path(name_or_path) else _built_in(str(name_or_path))
    return model.with_knobs(changes) if changes else model


def workload_names() -> list[str]:
    """Return the names of all built-in architectures, sorted."""
    return sorted(path.stem for path in ARCHITECTURES.glob("*.yaml"))


def architecture_facts(name: str) -> Mapping[str, Any]:
    """Return what the file of a built-in architecture states (source, published figures, knobs)."""
    facts: Mapping[str, Any] = load_yaml(_file_of(name)).data
    return facts


def is_path(name_or_path: str | Path) -> bool:
    """Tell whether a user means a file: a `Path`, a known suffix, or a name with a folder that exists."""
    if isinstance(name_or_path, Path):
        return True
    if name_or_path.lower().endswith((".yaml", ".yml", ".json", ".onnx")):
        return True
    return ("/" in name_or_path or "\\" in name_or_path) and Path(name_or_path).exists()


def _built_in(name: str) -> Model:
    return _architecture(load_yaml(_file_of(name)))


def _file_of(name: str) -> Path:
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    path = ARCHITECTURES / f"{plain}.yaml"
    if plain and plain == Path(plain).name and path.is_file():
        return path
    stem = _aliases().get(plain)
    if stem is None:
        hint = "The path of a config.json, an ONNX file or a workload YAML works too."
        raise UnknownNameError("workload", name, [*workload_names(), *_aliases()], hint)
    return ARCHITECTURES / f"{stem}.yaml"


@cache
def _aliases() -> dict[str, str]:
    """Return alias -> file; read only where a name is no file's own, since it opens them all."""
    found: dict[str, str] = {}
    for stem in workload_names():
        for alias in load_yaml(ARCHITECTURES / f"{stem}.yaml").data.get("aliases") or ():
            found[str(alias).lower()] = stem
    return found


def _from_file(path: Path) -> Model:
    if path.suffix.lower() not in (".yaml", ".yml"):
        from workloads.importers.base import importer_of

        return importer_of(path).load(path)
    document = load_yaml(path)
    if not isinstance(document.data, dict):
        raise BadFileError(path, "the file must be a mapping of keys to values.", line=1)
    if "family" in document.data:
        return _architecture(document)
    from workloads.importers.workload_file import read_workload

    return read_workload(document)


def build(family: str, name: str, knobs: Mapping[str, Any], notes: Sequence[str] = ()) -> Model:
    """Return a model of one of `FAMILIES`; its builder is imported now. Raises UnknownNameError, BadValueError."""
    module, _, builder = FAMILIES[family].partition(":")
    model: Model = getattr(import_module(module), builder).from_knobs(name, knobs, tuple(notes))
    return model


def _architecture(document: YamlDocument) -> Model:
    data = document.data
    for key in data:
        if key not in FACTS:
            raise document.fault((key,), str(UnknownNameError("key", key, FACTS)))
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
