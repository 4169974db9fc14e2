"""Names to descriptions: the built-in catalogue (compiled to SI, `compiled.json.gz`) and users' own YAML files.

A catalogue name needs neither pint nor a YAML parser; both are imported only when a file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from foundation.errors import UnknownNameError
from hardware_specs.compiled import Section, read_sections
from hardware_specs.cores import on_cores
from hardware_specs.figures import Sourced
from hardware_specs.schema import DeviceSpec
from hardware_specs.systems import ClusterSpec, LinkSpec, NodeSpec

COMPILED = Path(__file__).with_name("compiled.json.gz")

HOST_CPU = "host-cpu"
"""The id of the processor that archcast runs on: detected by `hardware_specs.host`, in no file."""

Model = TypeVar("Model", bound=Sourced)


@cache
def _compiled() -> dict[str, Section]:
    return read_sections(COMPILED)


def device_ids() -> list[str]:
    """Return the ids of all devices of the catalogue, sorted."""
    return list(_compiled()["devices"])


def link_ids() -> list[str]:
    """Return the ids of all links of the catalogue, sorted."""
    return list(_compiled()["links"])


def node_ids() -> list[str]:
    """Return the ids of all nodes of the catalogue, sorted."""
    return list(_compiled()["nodes"])


def cluster_ids() -> list[str]:
    """Return the ids of all clusters of the catalogue, sorted."""
    return list(_compiled()["clusters"])


def load_device(name_or_path: str | Path) -> DeviceSpec:
    """Return a device by its catalogue id, an alias, or the path of a YAML file; `host-cpu` is this machine's.

    `id:group` and `id:2xgroup` are some of its cores, where they are described (`hardware_specs.cores`).

    Raises:
        UnknownNameError: no such name; the three nearest are named.
        BadFileError: the file cannot be used; file, line and key are named.
    """
    if not is_path(name_or_path) and plain_name(str(name_or_path)) == HOST_CPU:
        from hardware_specs.host import host_device

        return host_device()
    whole, colon, cores = ("" if is_path(name_or_path) else str(name_or_path)).partition(":")
    if colon:
        return on_cores(load_device(whole), plain_name(cores))
    return _load(name_or_path, DeviceSpec, "device", _compiled()["aliases"])


def load_link(name_or_path: str | Path) -> LinkSpec:
    """Return a link by its catalogue id or the path of a YAML file. Raises as `load_device`."""
    return _load(name_or_path, LinkSpec, "link", {})


def load_node(name_or_path: str | Path) -> NodeSpec:
    """Return a node by its catalogue id, an alias, or the path of a YAML file. Raises as `load_device`.

    Where the file names its device or link by a path, that path resolves relative to the file.
    """
    node = _load(name_or_path, NodeSpec, "node", _aliases("nodes", name_or_path))
    return node.model_copy(update=_resolved(name_or_path, device=node.device, intra_link=node.intra_link))


def load_cluster(name_or_path: str | Path) -> ClusterSpec:
    """Return a cluster by its catalogue id, an alias, or the path of a YAML file. Raises, resolves as `load_node`."""
    cluster = _load(name_or_path, ClusterSpec, "cluster", _aliases("clusters", name_or_path))
    return cluster.model_copy(update=_resolved(name_or_path, node=cluster.node, inter_link=cluster.inter_link))


def node_of(device_id: str) -> NodeSpec | None:
    """Return the catalogue's node of a device (the one with most devices, then the first id), or None."""
    device = _compiled()["aliases"].get(plain_name(device_id), plain_name(device_id))
    found = [(-entry["count"], name) for name, entry in _compiled()["nodes"].items() if entry["device"] == device]
    return load_node(min(found)[1]) if found else None


def table_names() -> list[str]:
    """Return the measured tables whose device names are known, sorted."""
    return list(_compiled()["tables"])


def device_of(table: str, name: str) -> str:
    """Return the catalogue id of the device that a measured table calls `name`, e.g. ("neusight", "NVIDIA A100-40GB").

    Upper and lower case, spaces and underscores do not matter.

    Raises:
        UnknownNameError: no such table, or the table has no such name; the nearest are named.
    """
    devices = measured_devices(table)
    if name in devices:
        return devices[name]
    by_plain = {plain_name(known): device for known, device in devices.items()}
    if plain_name(name) not in by_plain:
        raise UnknownNameError(f"device of the table {table}", name, devices)
    return by_plain[plain_name(name)]


def measured_devices(table: str) -> dict[str, str]:
    """Return the device names of a measured table with their catalogue ids.

    Raises:
        UnknownNameError: no such table; the nearest are named.
    """
    if table not in _compiled()["tables"]:
        raise UnknownNameError("measured table", table, table_names())
    devices: dict[str, str] = _compiled()["tables"][table]
    return devices


def compiled_entries(kind: str) -> Mapping[str, Any]:
    """Return the compiled entries of one kind by id, e.g. "pipelines"; none where the catalogue has no such kind."""
    return _compiled().get(kind, {})


def is_path(name_or_path: str | Path) -> bool:
    """Tell whether a user means a file: a `Path`, a name with a folder, or one that ends in .yaml or .yml."""
    if isinstance(name_or_path, Path):
        return True
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path or "\\" in name_or_path


def _aliases(kind: str, name_or_path: str | Path) -> dict[str, str]:
    """Return the aliases of nodes or clusters with their ids; none where an id is given, since that decodes all."""
    table = _compiled()[kind]
    if plain_name(str(name_or_path)) in table:
        return {}
    return {alias: name for name, entry in table.items() for alias in entry.get("aliases", ())}


def _load(name_or_path: str | Path, model: type[Model], kind: str, aliases: Mapping[str, str]) -> Model:
    if is_path(name_or_path):
        from hardware_specs.reader import read_file

        return read_file(name_or_path, model)
    table = _compiled()[f"{kind}s"]
    name = plain_name(str(name_or_path))
    name = aliases.get(name, name)
    if name not in table:
        hint = _node_hint(name) if kind == "device" else ""
        hint = hint or f"A path to a YAML file that describes a {kind} works too."
        host = [HOST_CPU] if kind == "device" else []
        raise UnknownNameError(kind, str(name_or_path), [*table, *aliases, *host], hint)
    return model.model_validate(table[name])


def _node_hint(name: str) -> str:
    """Say how to ask for a node whose name was given for a device's ("" where there is none)."""
    for node, entry in _compiled()["nodes"].items():
        if name == node or name in entry.get("aliases", ()):
            device, count = entry["device"], entry["count"]
            return f"'{name}' is {count} devices: ask for {device} with count={count} (--on {device} --count {count})."
    return ""


def _resolved(origin: str | Path, **references: str) -> dict[str, str]:
    """Return those references that are paths, made relative to the folder of the file that names them."""
    folder = Path(origin).parent
    return {key: str(folder / text) for key, text in references.items() if is_path(origin) and is_path(text)}


def plain_name(name: str) -> str:
    """Return a name as ids are written: lower case, with hyphens."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")
