"""Changes of plain data (as YAML gives it) by dotted path: `stages.HLT.servers`, `detectors.*.link.energy_per_bit_j`.

Items of lists go by their `name`, which may hold dots, or by their number from 0; `*` means every item of a list.
Mappings that are absent on the way are made, so what the keys may be is left to whoever reads the data afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.errors import BadValueError, nearest_names
from foundation.yaml_file import Path_, parse_yaml


def copied(data: Any) -> Any:
    """Return a copy of plain data whose mappings and lists are its own."""
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data


def read_value(key: str, value: Any) -> Any:
    """Return the value for a path; text is read as YAML, so that `1e-3` is a number and `[a, b]` a list.

    Raises:
        BadValueError: the text is empty or is not YAML.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise BadValueError(f"The setting '{key}' has no value.")
    return parse_yaml(value, Path(f"setting of {key}")).data


def set_at(data: Any, key: str, value: Any, *, over_values: bool = False) -> list[Path_]:
    """Set the value at a dotted path, in place; return the key path of each place that changed or was made.

    over_values: a plain value on the way gives way to a mapping (`traffic: NAME` to `traffic: {rate_hz: 2}`).

    Raises:
        BadValueError: the path is empty, or leads to an item that is not there; the nearest names are given.
    """
    parts = key.split(".")
    if not all(parts):
        raise BadValueError(f"The path '{key}' has an empty part.")
    return _set(data, parts, (), (key, value, over_values))


def get_at(data: Any, place: Path_) -> Any:
    """Return what stands at a key path. Raises KeyError, IndexError."""
    for part in place:
        data = data[part]
    return data


def _set(data: Any, parts: list[str], at: Path_, wanted: tuple[str, Any, bool]) -> list[Path_]:
    key = wanted[0]
    if isinstance(data, list):
        if parts[0] == "*":
            steps = [(1, index) for index in range(len(data))]
        else:
            steps = [_item(data, parts, key)]
        return [place for used, step in steps for place in _down(data, step, parts[used:], at, wanted)]
    if isinstance(data, dict):
        return _down(data, parts[0], parts[1:], at, wanted)
    raise BadValueError(f"The path '{key}' leads nowhere: what stands before '{parts[0]}' is {data!r}, no mapping.")


def _down(data: Any, step: str | int, rest: list[str], at: Path_, wanted: tuple[str, Any, bool]) -> list[Path_]:
    """Set at `step` of a mapping or list, or below it."""
    place = (*at, step)
    if not rest:
        data[step] = copied(wanted[1])
        return [place]
    if isinstance(data, dict):
        there = data.get(str(step))
        if there is None or (wanted[2] and not isinstance(there, (dict, list))):
            data[step] = {}
            _set(data[step], rest, place, wanted)
            return [place]
    return _set(data[step], rest, place, wanted)


def _item(items: list[Any], parts: list[str], key: str) -> tuple[int, int]:
    """Return (parts used, index) of the item that a path names; the longest name wins."""
    names = {str(item["name"]): index for index, item in enumerate(items) if isinstance(item, dict) and "name" in item}
    for used in range(len(parts), 0, -1):
        if (name := ".".join(parts[:used])) in names:
            return used, names[name]
    if parts[0].isdigit() and int(parts[0]) < len(items):
        return 1, int(parts[0])
    near = nearest_names(parts[0], names) or list(names)
    nearest = f" Nearest: {', '.join(near)}." if near else ""
    raise BadValueError(f"The path '{key}' leads nowhere: '{parts[0]}' is not in the list.{nearest}")
