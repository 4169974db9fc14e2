"""Headers of GGUF files: metadata and the tensor table, bounded; no weight is read.

Layout: docs/gguf.md of ggml (github.com/ggml-org/ggml), versions 2 and 3. Block sizes: `foundation.formats`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from foundation.errors import BadFileError
from foundation.files import plain_file
from foundation.formats import GGML_BLOCKS

MAX_FILE_BYTES = 2**43
MAX_TENSORS = 200_000
MAX_KEYS = 20_000
MAX_TEXT_BYTES = 8_000_000
"""One string; a chat template is some kB, a merges table is an array."""
MAX_ARRAY = 4_000_000
MAX_HEADER_BYTES = 512_000_000
KEPT_ITEMS = 10_000
"""Numbers of an array that are kept: one for each layer; vocabularies are only counted."""
MAX_ELEMENTS = 10**15

TYPES: dict[int, tuple[str, int, int]] = {
    0: ("fp32", 1, 4), 1: ("fp16", 1, 2), 24: ("int8", 1, 1), 25: ("int16", 1, 2), 26: ("int32", 1, 4),
    27: ("int64", 1, 8), 28: ("fp64", 1, 8), 30: ("bf16", 1, 2), 39: ("w4a16_mxfp4", 32, 17), 40: ("nvfp4", 64, 36),
    **{
        number: (name, *GGML_BLOCKS[name])
        for number, name in (
            (2, "q4_0"), (3, "q4_1"), (6, "q5_0"), (7, "q5_1"), (8, "q8_0"), (10, "q2_k"), (11, "q3_k"), (12, "q4_k"),
            (13, "q5_k"), (14, "q6_k"), (16, "iq2_xxs"), (17, "iq2_xs"), (18, "iq3_xxs"), (19, "iq1_s"),
            (20, "iq4_nl"), (21, "iq3_s"), (22, "iq2_s"), (23, "iq4_xs"), (29, "iq1_m"), (34, "tq1_0"), (35, "tq2_0"),
        )
    },
}  # fmt: skip
"""Tensor types by ggml's number: name here, weights of a block, its bytes."""

_SCALARS: dict[int, struct.Struct] = {
    kind: struct.Struct(f"<{code}")
    for kind, code in ((0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (6, "f"), (7, "?"), (10, "Q"),
                       (11, "q"), (12, "d"))
}  # fmt: skip
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufTensor:
    """One line of the tensor table: sizes (fastest axis first), format, and bytes in the file."""

    name: str
    dims: tuple[int, ...]
    format: str
    memory_bytes: int

    @property
    def elements(self) -> int:
        return prod(self.dims)


@dataclass(frozen=True)
class GgufArray:
    """A metadata array: its length, and its numbers where there are few."""

    length: int
    items: tuple[Any, ...] = ()


@dataclass(frozen=True)
class GgufFile:
    """What the header of a file says."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor] = field(repr=False)

    @property
    def parameters(self) -> int:
        """Stored elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, without padding."""
        return sum(tensor.memory_bytes for tensor in self.tensors.values())


class _Reader:
    """Takes numbers and strings off a file, never more than the file has."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file = path, file
        self.size = size
        self.left = min(size, MAX_HEADER_BYTES)

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise BadFileError(self.path, "the header ends before its tables do; the file is truncated or damaged.")
        self.left -= count
        data = self.file.read(count)
        if len(data) != count:
            raise BadFileError(self.path, "the file became shorter while it was read.")
        return data

    def number(self, code: struct.Struct) -> Any:
        return code.unpack(self.take(code.size))[0]

    def size_of(self, what: str, limit: int) -> int:
        """Read a count. Raises BadFileError: beyond its limit, or beyond what the file could hold."""
        count = int(self.number(_U64))
        if count > limit or count > self.left:
            raise BadFileError(self.path, f"the header claims {what} of {count:,}; at most {min(limit, self.left):,}.")
        return count

    def text(self, what: str) -> str:
        data = self.take(self.size_of(f"a length of {what}", MAX_TEXT_BYTES))
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise BadFileError(self.path, f"{what} is not text; the file is damaged.") from None
        return text

    def name(self, what: str) -> str:
        text = self.text(what)
        if not text or len(text) > 1000 or not text.isprintable():
            raise BadFileError(self.path, f"{what} {text[:40]!r} is no name; the file is damaged.")
        return text

    def value(self, key: str) -> Any:
        kind = int(self.number(_U32))
        if kind == _STRING:
            return self.text(f"the value of '{key}'")
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _SCALARS:
            raise BadFileError(self.path, f"'{key}' has the unknown type {kind}; the file is damaged or newer.")
        return self.number(_SCALARS[kind])

    def _array(self, key: str) -> GgufArray:
        kind = int(self.number(_U32))
        length = self.size_of(f"a length of the array '{key}'", MAX_ARRAY)
        if kind == _STRING:
            for _ in range(length):
                self.take(self.size_of(f"a length of an item of '{key}'", MAX_TEXT_BYTES))
            return GgufArray(length)
        if kind not in _SCALARS:
            raise BadFileError(self.path, f"'{key}' is an array of the type {kind}, which is not read.")
        code = _SCALARS[kind]
        data = self.take(length * code.size)
        kept = min(length, KEPT_ITEMS)
        return GgufArray(length, tuple(item[0] for item in code.iter_unpack(data[: kept * code.size])))


_U32, _U64 = _SCALARS[4], _SCALARS[10]


def read_gguf(path: Path) -> GgufFile:
    """Return the header of a GGUF file.

    Raises:
        BadFileError: absent, truncated, no GGUF, of another version, or with impossible tables.
    """
    file = plain_file(path, MAX_FILE_BYTES)
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            return _header(_Reader(path, stream, size))
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None


def _header(reader: _Reader) -> GgufFile:
    path = reader.path
    if reader.left < 24 or reader.take(4) != b"GGUF":
        raise BadFileError(path, "this is not a GGUF file, or it is truncated.")
    version = int(reader.number(_U32))
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
        what = "big-endian" if swapped in (2, 3) else f"version {version}"
        raise BadFileError(path, f"this GGUF file is of {what}; little-endian versions 2 and 3 are read.")
    tensors = reader.size_of("a number of tensors", MAX_TENSORS)
    keys = reader.size_of("a number of keys", MAX_KEYS)
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = reader.name("a key")
        if key in metadata:
            raise BadFileError(path, "the key stands twice.", key=key)
        metadata[key] = reader.value(key)
    if "split.count" in metadata and metadata["split.count"] not in (0, 1):
        metadata["split.count"] = int(metadata["split.count"])
    table: dict[str, GgufTensor] = {}
    end = 0
    for _ in range(tensors):
        tensor, offset = _tensor(reader)
        if tensor.name in table:
            raise BadFileError(path, f"the tensor '{tensor.name}' stands twice.")
        table[tensor.name] = tensor
        end = max(end, offset + tensor.memory_bytes)
    _check_end(reader, metadata, end)
    return GgufFile(path, metadata, table)


def _check_end(reader: _Reader, metadata: dict[str, Any], end: int) -> None:
    align = metadata.get("general.alignment", 32)
    if isinstance(align, bool) or not isinstance(align, int) or not 1 <= align <= 2**20:
        raise BadFileError(reader.path, "this is no alignment.", key="general.alignment")
    header = reader.file.tell()
    start = -(-header // align) * align
    if end and start + end > reader.size:
        raise BadFileError(
            reader.path, f"its tensors need {start + end:,} bytes, but the file has {reader.size:,}: it is truncated."
        )


def _tensor(reader: _Reader) -> tuple[GgufTensor, int]:
    name = reader.name("a tensor")
    rank = int(reader.number(_U32))
    if not 0 <= rank <= 8:
        raise BadFileError(reader.path, f"the tensor '{name}' has {rank} axes; the file is damaged.")
    dims = tuple(int(reader.number(_U64)) for _ in range(rank))
    kind, offset = int(reader.number(_U32)), int(reader.number(_U64))
    if any(not 0 < size <= MAX_ELEMENTS for size in dims) or prod(dims) > MAX_ELEMENTS:
        raise BadFileError(reader.path, f"the tensor '{name}' has the impossible shape {list(dims)}.")
    if kind not in TYPES:
        raise BadFileError(reader.path, f"the tensor '{name}' is of ggml type {kind}, which is not known here.")
    word, block, size = TYPES[kind]
    if prod(dims[:1]) % block:
        raise BadFileError(reader.path, f"the rows of '{name}' ({dims[:1]}) do not fill blocks of {block} ({word}).")
    return GgufTensor(name, dims, word, prod(dims) // block * size), offset
