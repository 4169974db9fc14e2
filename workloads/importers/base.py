"""What every importer is, and which one reads a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from foundation.errors import ArchcastError, BadFileError
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
        return path.name.lower().endswith(self.suffixes)

    def load(self, path: Path) -> Model:
        """Return the model in a file. Raises BadFileError."""
        module, _, function = self.loader.partition(":")
        read: Callable[[Path], Model] = getattr(import_module(module), function)
        return read(path)


IMPORTERS: dict[str, Importer] = {
    i.name: i
    for i in (
        Importer(
            "safetensors", (".safetensors", ".safetensors.index.json"),
            "workloads.importers.safetensors:load_safetensors",
        ),
        Importer("huggingface", (".json",), "workloads.importers.huggingface:load_huggingface"),
        Importer("onnx", (".onnx",), "workloads.importers.onnx:load_onnx"),
        Importer("stablehlo", (".mlir", ".stablehlo"), "workloads.importers.stablehlo:load_stablehlo"),
        Importer("torch-export", (".pt2",), "workloads.importers.torch_export:load_torch_export"),
        Importer("tflite", (".tflite",), "workloads.importers.tflite:load_tflite"),
        Importer("gguf", (".gguf",), "workloads.importers.gguf:load_gguf"),
    )
}  # fmt: skip
"""The built-in importers; other packages add theirs as entry points of the group `archcast.importers`."""


def importer_of(path: Path) -> Importer:
    """Return the importer that reads a file: a built-in one, else the first plug-in that takes it.

    A plug-in that cannot be imported, or that is none, is passed over; where nothing else reads the file the error
    names it. Raises BadFileError.
    """
    for importer in IMPORTERS.values():
        if importer.sniff(path):
            return importer
    broken: list[str] = []
    suffixes = {suffix for importer in IMPORTERS.values() for suffix in importer.suffixes} | {".yaml"}
    for importer in plugins(broken):
        try:
            taken = importer.sniff(path)
        except Exception as error:  # a fault of the plug-in must not hide the others
            broken.append(f"'{importer.name}' ({type(error).__name__}: {error})")
            continue
        if taken:
            return PluginImporter(importer.name, importer.suffixes, importer.loader, importer)
        suffixes |= {str(suffix) for suffix in importer.suffixes}
    hint = f"Known: {', '.join(sorted(suffixes))}."
    if broken:
        hint += f" Importers that could not be used: {'; '.join(broken)[:500]}."
    raise BadFileError(path, f"no importer reads '{path.suffix}' files.", hint=hint)


def plugins(broken: list[str]) -> Iterator[Importer]:
    """Yield the importers of installed packages; `broken` gains a line for each that cannot be used."""
    from importlib.metadata import entry_points  # opens every installed package: only for an unknown suffix

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            found = entry.load()
        except Exception as error:  # whatever a stranger's module raises when it is imported
            broken.append(f"'{entry.name}' ({type(error).__name__}: {error})")
            continue
        if not isinstance(found, Importer):
            broken.append(f"'{entry.name}' (an entry point must name an Importer, not {type(found).__name__})")
        elif found.name in IMPORTERS:
            broken.append(f"'{entry.name}' (the name '{found.name}' is taken)")
        else:
            yield found


@dataclass(frozen=True)
class PluginImporter(Importer):
    """A plug-in's importer: what it raises by mistake becomes an error that names it."""

    inner: Importer

    def load(self, path: Path) -> Model:
        """Return the model in a file. Raises BadFileError."""
        try:
            model = self.inner.load(path)
        except ArchcastError:
            raise
        except Exception as error:
            problem = f"the importer '{self.name}' failed ({type(error).__name__}: {error})."
            raise BadFileError(path, problem) from error
        if not isinstance(model, Model):
            raise BadFileError(path, f"the importer '{self.name}' returned {type(model).__name__}, not a Model.")
        return model
