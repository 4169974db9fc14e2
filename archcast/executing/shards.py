"""`Shards`: a folder with one file for each finished chunk, written whole, and trusted only where its checksum agrees.

A shard is one line of JSON (what it is, and the SHA-256 of the rest) and then arrays as numpy's .npz, read without
pickle. Its name is the digest of the task, the chunk and archcast's own code, so that another file, another cut and
another version never meet.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from archcast.executing.chunks import Chunk, Task
from foundation.errors import BadFileError, BadValueError
from workloads.table import Array

KIND = "archcast shard 1"
MOST_BYTES = 2_000_000_000
MOST_HEAD = 1024
STALE_S = 24 * 3600.0
"""Parts of files that a killed process left are removed when they are this old."""
CODE = ("foundation", "hardware_specs", "workloads", "costmodel", "simulator", "archcast")
CODE_FILES = (".py", ".yaml", ".json", ".csv", ".bin", ".gz", ".npz")


class Shards:
    """The shards of one sweep in `folder`, which other sweeps and other processes may share.

    Raises:
        BadFileError: the folder cannot be made or written to.
    """

    def __init__(self, folder: str | Path, task: Task, chunks: Sequence[Chunk]) -> None:
        self.folder, self.task, self.chunks = Path(folder), task, chunks
        version = code_version()
        self.names = [shard_name(task.digest, chunk.digest, version) for chunk in chunks]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep_up()
            listed = [{"chunk": str(chunk), "shard": name} for chunk, name in zip(chunks, self.names, strict=True)]
            manifest = {"kind": "archcast sweep 1", "task": task.digest, "code": version, "chunks": listed}
            text = json.dumps(manifest, indent=1).encode()
            name = f"manifest-{hashlib.sha256(text).hexdigest()[:16]}.json"
            if not (self.folder / name).exists():
                _write(self.folder / name, text)
        except OSError as error:
            raise _refused(folder, error) from None

    def whole(self, place: int) -> bool:
        """Return whether the shard of a chunk is there and can be trusted."""
        return self.read(place) is not None

    def read(self, place: int) -> Any:
        """Return the result of a chunk; None where its shard is absent, torn or another's."""
        try:
            with (self.folder / self.names[place]).open("rb") as file:
                head = json.loads(file.readline(MOST_HEAD))
                data = file.read(MOST_BYTES)
            if head != _head(self.names[place], data):
                return None
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return self.task.unpack({name: arrays[name] for name in arrays.files}, self.chunks[place])
        except Exception:  # whatever stands in a file that is not ours: the chunk is worked out again
            return None

    def write(self, place: int, result: Any) -> None:
        """Keep the result of a chunk. Raises BadFileError, and BadValueError where it is no plain array."""
        arrays = {name: np.asarray(array) for name, array in self.task.pack(result).items()}
        if bad := [name for name, array in arrays.items() if array.dtype.hasobject]:
            raise BadValueError(f"'{bad[0]}' holds objects; a shard keeps numbers, truth values and text.")
        out = io.BytesIO()
        np.savez(out, **arrays)  # type: ignore[arg-type]
        data = out.getvalue()
        try:
            _write(self.folder / self.names[place], json.dumps(_head(self.names[place], data)).encode() + b"\n" + data)
        except OSError as error:
            raise _refused(self.folder, error) from None

    def _sweep_up(self) -> None:
        for part in self.folder.glob(".*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > STALE_S:
                    part.unlink()


def shard_name(task: str, chunk: str, version: str) -> str:
    """Return the file name of a chunk's shard."""
    return f"{hashlib.sha256(json.dumps([task, chunk, version]).encode()).hexdigest()[:40]}.shard"


@cache
def code_version() -> str:
    """Return a digest of archcast's own files and of numpy's version: results of other code are not mixed."""
    home = Path(__file__).resolve().parents[2]
    found = hashlib.sha256(np.__version__.encode())
    for package in CODE:
        for file in sorted((home / package).rglob("*")):
            if file.suffix in CODE_FILES and file.is_file():
                found.update(str(file.relative_to(home)).encode() + b"\0")
                found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]


def _head(name: str, data: bytes) -> dict[str, Array | str | int]:
    return {"kind": KIND, "shard": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and have it on disk when this returns; of two writers either wins."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        if hasattr(os, "O_DIRECTORY"):
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        part.unlink(missing_ok=True)


def _refused(folder: str | Path, error: OSError) -> BadFileError:
    return BadFileError(folder, f"the results of a sweep cannot be kept there ({error.strerror or error}).")
