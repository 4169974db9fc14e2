"""What every importer is, and which one reads a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from foundation.errors import BadFileError
from workloads.model import Model

ENTRY_POINTS = "archcast.importers"


@dataclass(frozen=True)
class Importer:
    """Reads one file format. `loader` is `module:function`, imported when a file is read.

    The function takes a path and returns a `Model`. Files are hostile: a loader bounds size and depth, executes
    nothing, and raises `BadFileError` with the place of a fault.
    """

    name: str
    suffixes: tuple[str, ...]
    loader: str

    def sniff(self, path: Path) -> bool:
        """Tell whether the file's name is one that this importer reads."""
        return path.suffix.lower() in self.suffixes

    def load(self, path: Path) -> Model:
        """Return the model in a file. Raises BadFileError."""
        module, _, function = self.loader.partition(":")
        read: Callable[[Path], Model] = getattr(import_module(module), function)
        return read(path)


IMPORTERS: dict[str, Importer] = {
    i.name: i
    for i in (
        Importer("huggingface", (".json",), "workloads.importers.huggingface:load_huggingface"),
        Importer("onnx", (".onnx",), "workloads.importers.onnx:load_onnx"),
    )
}
"""The built-in importers; other packages add theirs as entry points of the group `archcast.importers`."""


def importer_of(path: Path) -> Importer:
    """Return the importer that reads a file. Raises BadFileError."""
    for importer in IMPORTERS.values():
        if importer.sniff(path):
            return importer
    from importlib.metadata import entry_points  # opens every installed package: only for an unknown suffix

    for entry in entry_points(group=ENTRY_POINTS):
        other: Importer = entry.load()
        if other.sniff(path):
            return other
    known = ", ".join(sorted({s for i in IMPORTERS.values() for s in i.suffixes} | {".yaml"}))
    raise BadFileError(path, f"no importer reads '{path.suffix}' files.", hint=f"Known: {known}.")
