"""Compile the YAML catalogue to `compiled.json.gz`: `python -m hardware_specs.compile`, after a change of the YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError
from foundation.packed_text import write_packed
from foundation.yaml_file import load_yaml
from hardware_specs.books import BookSpec
from hardware_specs.catalogue import COMPILED
from hardware_specs.compiled import text_of
from hardware_specs.figures import Sourced
from hardware_specs.pipelines import compile_pipeline
from hardware_specs.reader import read_file
from hardware_specs.runtimes import RuntimeSpec
from hardware_specs.schema import DeviceSpec
from hardware_specs.systems import ClusterSpec, LinkSpec, NodeSpec
from hardware_specs.tables import TableNames
from hardware_specs.technology import TechnologySpec

FOLDER = Path(__file__).with_name("catalogue")

_KINDS: dict[str, type[Sourced]] = {
    "devices": DeviceSpec,
    "links": LinkSpec,
    "nodes": NodeSpec,
    "clusters": ClusterSpec,
    "technology": TechnologySpec,
    "runtimes": RuntimeSpec,
    "books": BookSpec,
}

_REFERENCES = (
    ("nodes", "device", "devices"),
    ("nodes", "intra_link", "links"),
    ("clusters", "node", "nodes"),
    ("clusters", "inter_link", "links"),
)


def compile_catalogue(folder: Path = FOLDER) -> dict[str, Any]:
    """Return the whole catalogue in SI, as `compiled.json.gz` holds it: by kind, then by id.

    Raises:
        BadFileError: a file cannot be used, its id differs from its name, or it refers to what is absent.
    """
    catalogue: dict[str, Any] = {kind: _read_kind(folder / kind, model) for kind, model in _KINDS.items()}
    _check_references(catalogue, folder)
    catalogue["aliases"] = _aliases(catalogue["devices"], folder / "devices")
    for kind in ("nodes", "clusters"):
        _aliases(catalogue[kind], folder / kind)
    catalogue["pipelines"] = _read_pipelines(folder / "pipelines")
    catalogue["tables"] = _read_tables(folder / "tables", catalogue["devices"])
    _check_books(catalogue, folder / "books")
    return catalogue


def _check_books(catalogue: Mapping[str, Any], folder: Path) -> None:
    """Refuse a price of a device that is not in the catalogue."""
    for name, book in catalogue["books"].items():
        for i, one in enumerate(book.get("purchases", ())):
            if one["device"] not in catalogue["devices"]:
                problem = f"'{one['device']}' is not among the devices."
                raise BadFileError(folder / f"{name}.yaml", problem, key=f"purchases[{i}].device")


def _read_kind(folder: Path, model: type[Sourced]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        spec = read_file(path, model)
        if spec.id != path.stem:
            raise BadFileError(path, f"the id '{spec.id}' differs from the file's name.", key="id")
        entries[spec.id] = spec.model_dump(mode="json", exclude_defaults=True)
    return entries


def _read_pipelines(folder: Path) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        spec, entries[path.stem] = compile_pipeline(load_yaml(path))
        if spec.id != path.stem:
            raise BadFileError(path, f"the id '{spec.id}' differs from the file's name.", key="id")
    return entries


def _read_tables(folder: Path, devices: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        table = read_file(path, TableNames)
        if table.set != path.stem:
            raise BadFileError(path, f"the set '{table.set}' differs from the file's name.", key="set")
        for name, device in table.devices.items():
            if device not in devices:
                raise BadFileError(path, f"'{device}' is not among the devices.", key=f"devices.{name}")
        if not table.devices and not table.notes:
            raise BadFileError(path, "a table without devices needs notes that say why.", key="notes")
        tables[table.set] = table.devices
    return tables


def _check_references(catalogue: dict[str, Any], folder: Path) -> None:
    wanted = [
        (kind, name, field, entry[field], target)
        for kind, field, target in _REFERENCES
        for name, entry in catalogue[kind].items()
    ]
    for name, entry in catalogue["devices"].items():
        wanted += [("devices", name, "links", port["link"], "links") for port in entry.get("links", ())]
        host = entry.get("host", {})
        wanted += [("devices", name, f"host.{key}", host[key], f"{key}s") for key in ("device", "link") if key in host]
    for name, entry in catalogue["runtimes"].items():
        devices = entry["runs_on"].get("devices", ())
        wanted += [("runtimes", name, "runs_on.devices", device, "devices") for device in devices]
    for kind, name, field, reference, target in wanted:
        if reference not in catalogue[target]:
            raise BadFileError(folder / kind / f"{name}.yaml", f"'{reference}' is not among the {target}.", key=field)


def _aliases(entries: dict[str, Any], folder: Path) -> dict[str, str]:
    """Return aliases with their ids; refuse one that stands for two entries."""
    aliases: dict[str, str] = {}
    for name, entry in entries.items():
        for alias in entry.get("aliases", ()):
            if alias in entries or alias in aliases:
                raise BadFileError(folder / f"{name}.yaml", f"'{alias}' is taken.", key="aliases")
            aliases[alias] = name
    return aliases


def main() -> None:
    """Write `compiled.json.gz`."""
    write_packed(COMPILED, text_of(compile_catalogue()))


if __name__ == "__main__":
    main()
