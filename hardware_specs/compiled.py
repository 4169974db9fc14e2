"""`compiled.json.gz`: one JSON document with a line an entry, so that naming one device decodes that device alone.

With about 170 devices the text has more than a megabyte; cutting it into lines takes a millisecond or two, decoding
all of it ten times that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import ArchcastError
from foundation.packed_text import read_packed

_ENTRY = b'  "'
_BETWEEN = b'": '


class Section(Mapping[str, Any]):
    """One kind of entry by id, each decoded when it is asked for."""

    def __init__(self, texts: dict[str, bytes]) -> None:
        self._texts = texts
        self._entries: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            self._entries[name] = json.loads(self._texts[name])
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def text_of(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the one text that a catalogue compiles to: sorted, and with one line an entry."""
    parts = [f' "{kind}": {{\n{_lines(entries)}\n }}' for kind, entries in sorted(sections.items())]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_sections(path: Path) -> dict[str, Section]:
    """Return the sections of a compiled catalogue.

    Raises:
        ArchcastError: the file is not as `text_of` writes it.
    """
    sections: dict[str, dict[str, bytes]] = {}
    texts: dict[str, bytes] = {}
    for line in read_packed(path).split(b"\n"):
        if line.startswith(_ENTRY):
            end = line.index(_BETWEEN)
            name = line[len(_ENTRY) : end].decode()
            texts[json.loads(f'"{name}"') if "\\" in name else name] = line[end + len(_BETWEEN) :].rstrip(b",")
        elif line.endswith(b": {"):
            texts = sections.setdefault(line.split(b'"')[1].decode(), {})
    if not sections:
        raise ArchcastError(f"{path} holds no catalogue; run python -m hardware_specs.compile.")
    return {kind: Section(entries) for kind, entries in sections.items()}


def _lines(entries: Mapping[str, Any]) -> str:
    return ",\n".join(f"  {_json(name)}: {_json(entries[name])}" for name in sorted(entries))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
