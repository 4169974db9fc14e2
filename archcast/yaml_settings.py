"""A YAML document with overrides by dotted path, and checks whose faults name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from foundation.checks import whole_number
from foundation.errors import ArchcastError, BadFileError, UnknownNameError, nearest_names
from foundation.overrides import copied, read_value, set_at
from foundation.yaml_file import Path_, YamlDocument, key_text

Found = TypeVar("Found")


class Settings:
    """The mapping of a document. `override` changes it; all else reads it."""

    def __init__(self, document: YamlDocument) -> None:
        if not isinstance(document.data, dict):
            raise document.fault((), "the file must be a mapping of keys to values.")
        self.document = document
        self.data: dict[str, Any] = copied(document.data)
        self.given: set[Path_] = set()

    def override(self, key: str, value: Any, paths: Iterable[str] = ()) -> None:
        """Set the value at a dotted path, making mappings on the way; items of lists go by name or number from 0.

        Text is read as YAML. Values of keys in `paths` that are files in the working folder become absolute.

        Raises:
            BadValueError: the path leads nowhere or the value cannot be read.
        """
        found = read_value(key, value)
        if key in paths and isinstance(found, str) and Path(found).suffix and Path(found).exists():
            found = str(Path(found).resolve())
        self.given.update(set_at(self.data, key, found, over_values=True))

    def fault(self, at: Path_, problem: str, hint: str = "") -> BadFileError:
        """Return the error for a fault at a key path; an override is named as such."""
        if any(at[: len(place)] == place for place in self.given):
            return BadFileError(
                self.document.path, problem, key=key_text(at), hint=f"{hint} An override gave this value.".strip()
            )
        return self.document.fault(at, problem, hint)

    def at(self, place: Path_, make: Callable[[], Found]) -> Found:
        """Run `make`; what it refuses becomes a fault at a key path. Raises BadFileError."""
        try:
            return make()
        except BadFileError:
            raise
        except ArchcastError as error:
            if error.exit_code != 2:
                raise
            raise self.fault(self._closer(place, str(error)), str(error)) from None

    def _closer(self, place: Path_, message: str) -> Path_:
        """Return the key below `place` that a message names before `=` or `must`, if the file has it; else `place`."""
        for word in re.findall(r"(?:^|: |The )([a-z_]+)(?:=| must| cannot)", message):
            if self.has((*place, word)):
                return (*place, word)
        return place

    def has(self, place: Path_) -> bool:
        found: Any = self.data
        for part in place:
            inside = range(len(found)) if isinstance(found, list) else found if isinstance(found, dict) else ()
            if part not in inside:
                return False
            found = found[part]
        return True

    def known(self, at: Path_, keys: Iterable[Any], allowed: tuple[str, ...]) -> None:
        """Refuse keys that are not among `allowed`. Raises BadFileError with the nearest."""
        for key in keys:
            if key not in allowed:
                near = nearest_names(str(key), allowed)
                hint = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(allowed)}."
                raise self.fault((*at, str(key)), f"unknown key '{key}'.", hint)

    def mapping(self, at: tuple[str]) -> dict[str, Any] | None:
        """Return the mapping of a top key, None where the file has none. Raises BadFileError."""
        found = self.data.get(at[0])
        if found is not None and not isinstance(found, dict):
            raise self.fault(at, f"'{at[0]}' must be a mapping of keys to values.")
        return found

    def whole(self, at: tuple[str], default: int, high: int) -> int:
        value = self.data.get(at[0], default)
        return self.at(at, lambda: whole_number(at[0], value, high=high))

    def switch(self, at: tuple[str], default: bool) -> bool:
        value = self.data.get(at[0], default)
        if not isinstance(value, bool):
            raise self.fault(at, f"'{at[0]}' must be true or false, not {value!r}.")
        return value

    def choice(self, at: Path_, value: Any, kind: str, names: tuple[str, ...]) -> str:
        """Return a name that must be one of `names`. Raises BadFileError."""
        if value not in names:
            raise self.fault(at, str(UnknownNameError(kind, str(value), names, f"Known: {', '.join(names)}.")))
        return str(value)

    def near(self, name: str) -> str:
        """Resolve a path relative to the file that names it; names of the catalogue stay as they are."""
        beside = self.document.path.parent / name
        return str(beside) if (Path(name).suffix or "/" in name) and beside.exists() else name
