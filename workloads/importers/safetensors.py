"""safetensors headers: what a checkpoint stores, without reading weights; a model where a `config.json` lies beside.

Format: https://github.com/huggingface/safetensors (README, "Format"): eight bytes of length, a JSON header, data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from foundation.errors import BadFileError
from foundation.files import plain_file
from workloads.importers.json_file import load_json
from workloads.model import Model

MAX_FILE_BYTES = 2**43
MAX_HEADER_BYTES = 100_000_000
"""The limit of the format's own library."""
MAX_ELEMENTS = 10**15
MAX_SHARDS = 10_000
TOLERANCE = 0.01
"""Share by which the parameters of checkpoint and model may differ before a note says so."""
INDEX = ".safetensors.index.json"

BITS: dict[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "I64": 64, "U64": 64, "I32": 32, "U32": 32, "I16": 16,
    "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip
PACKED = ("I32", "U32", "U8", "I8", "F4", "I64", "U64")
"""Formats in which quantised checkpoints store several weights an element, scales and tables beside them."""


@dataclass(frozen=True)
class TensorSummary:
    """What a checkpoint stores, all shards together: tensors, elements and bytes, and elements by format."""

    path: Path
    tensors: int
    parameters: int
    memory_bytes: int
    formats: Mapping[str, int]
    shards: tuple[Path, ...]
    missing: tuple[str, ...] = field(default=())
    """Shards that the index names and that are not there."""

    def __str__(self) -> str:
        mix = ", ".join(f"{count:,} {name}" for name, count in self.formats.items())
        files = f" in {len(self.shards)} files" if len(self.shards) > 1 else ""
        return f"{self.parameters:,} parameters ({mix}), {self.memory_bytes:,} bytes{files}"


def tensor_summary(path: str | Path) -> TensorSummary:
    """Return what a `.safetensors` file, or all files of an index, store. A shard stands for its whole checkpoint.

    Raises:
        BadFileError: absent, truncated, not such a file, or with impossible tables.
    """
    file = Path(path)
    index = file if file.name.endswith(INDEX) else _index_beside(file)
    names = _shards(index) if index is not None else [file.name]
    if file.name not in names and index != file:
        names = [file.name]  # beside an index, but no part of it
    folder = file.parent
    there = [folder / name for name in names if (folder / name).exists() or len(names) == 1]
    if not there:
        raise BadFileError(path, f"none of the {len(names)} files that the index names is beside it.")
    elements: Counter[str] = Counter()
    tensors = memory_bytes = 0
    for shard in there:
        for dtype, count, size in _table(shard):
            tensors, memory_bytes = tensors + 1, memory_bytes + size
            elements[dtype] += count
    missing = tuple(name for name in names if folder / name not in there)
    total = sum(elements.values())
    return TensorSummary(file, tensors, total, memory_bytes, dict(elements.most_common()), tuple(there), missing)


def load_safetensors(path: str | Path) -> Model:
    """Return the model of the `config.json` beside a checkpoint, its parameters checked against the checkpoint's.

    Raises:
        BadFileError: the checkpoint cannot be used, or no `config.json` is beside it (the counts are told).
    """
    from workloads.builders.knobs import KnobModel
    from workloads.importers.huggingface import load_huggingface

    file = Path(path)
    summary = tensor_summary(file)
    config = file.parent / "config.json"
    if not config.exists():
        problem = f"weights alone do not say what network they are of; they are {summary}."
        raise BadFileError(path, problem, hint="Put the model's config.json beside the file.")
    model = load_huggingface(config)
    note = _note(summary, int(model.summary()["parameters"]))
    return replace(model, notes=(*model.notes, note)) if isinstance(model, KnobModel) else model


def _note(summary: TensorSummary, counted: int) -> str:
    """Return what comparing a checkpoint with its model says."""
    where = f"{summary.path.name} holds {summary}"
    if summary.missing:
        return f"{where}; {len(summary.missing)} files of its index are missing, so it is not compared."
    if any(name in PACKED for name in summary.formats):
        return f"{where}; packed formats among them, so it is not compared with the model's {counted:,} parameters."
    share = counted / max(1, summary.parameters) - 1
    if abs(share) > TOLERANCE:
        return f"{where}; the model of config.json has {counted:,} parameters, {share:+.1%}: they differ."
    return f"{where}; the model of config.json agrees ({share:+.2%})."


def _index_beside(file: Path) -> Path | None:
    """Return the index of the checkpoint that a shard `NAME-00001-of-00002.safetensors` belongs to."""
    stem, _, last = file.stem.partition("-of-")
    name = stem.rpartition("-")[0] if last.isdigit() else ""
    index = file.parent / f"{name}{INDEX}"
    return index if name and index.is_file() else None


def _shards(index: Path) -> list[str]:
    found = load_json(index)
    table = found.get("weight_map", {})
    if not isinstance(table, dict) or not table:
        found.fault("weight_map", "this must say which file holds each tensor.")
    names = list(dict.fromkeys(table.values()))
    for name in names:
        if not isinstance(name, str) or not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
            found.fault("weight_map", f"{str(name)[:60]!r} is not the name of a file beside the index.")
    if len(names) > MAX_SHARDS:
        found.fault("weight_map", f"{len(names):,} files; at most {MAX_SHARDS:,} are read.")
    return names


def _table(path: Path) -> list[tuple[str, int, int]]:
    """Return (format, elements, bytes) of every tensor of a file."""
    file = plain_file(path, MAX_FILE_BYTES)
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise BadFileError(path, "this is not a safetensors file, or it is truncated.")
            header = stream.read(length)
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None
    data = _parsed(header, path)
    return [_tensor(path, name, entry, size - 8 - length) for name, entry in data.items() if name != "__metadata__"]


def _parsed(header: bytes, path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise BadFileError(path, "a key of the header stands twice.")
        return dict(pairs)

    try:
        data = json.loads(header.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise BadFileError(path, "its header is not JSON; the file is damaged.") from None
    if not isinstance(data, dict):
        raise BadFileError(path, "its header is no table of tensors.")
    return data


def _tensor(path: Path, name: str, entry: Any, room: int) -> tuple[str, int, int]:
    def refuse(problem: str) -> NoReturn:
        raise BadFileError(path, f"the tensor {name[:80]!r} {problem}.")

    if not isinstance(entry, dict):
        refuse("is no table")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        refuse(f"has the format {str(dtype)[:20]!r}, which is not known")
    if not isinstance(shape, list) or len(shape) > 64 or not all(_is_size(n) for n in shape):
        refuse("has an impossible shape")
    elements = 1
    for n in shape:
        elements *= n
        if elements > MAX_ELEMENTS:
            refuse(f"claims more than {MAX_ELEMENTS:.0e} elements")
    if not isinstance(span, list) or len(span) != 2 or not all(_is_size(n) for n in span) or span[0] > span[1]:
        refuse("has no data_offsets")
    if span[1] > room:
        refuse(f"ends at byte {span[1]:,} of {room:,}: the file is truncated")
    needed = -(-elements * BITS[str(dtype)] // 8)
    if span[1] - span[0] != needed:
        refuse(f"has {span[1] - span[0]:,} bytes, but its shape needs {needed:,}")
    return str(dtype), elements, needed


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ELEMENTS
