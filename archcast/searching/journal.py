"""The journal of a search: one frame a batch, added as soon as the batch is evaluated, so that a kill loses one batch.

A file of frames: 4 bytes `ACJ1`, 8 bytes of length, 16 bytes of SHA-256, then as many bytes of content. The first holds
JSON that says which search it is, the others arrays (NumPy's .npz, never pickled). A frame that is torn ends the file:
it and all after it are dropped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from foundation.errors import BadFileError
from workloads.table import Array

MARK = b"ACJ1"
HEAD = len(MARK) + 8 + 16
MOST_BYTES = 2**31
"""Of one frame."""


class Journal:
    """An open journal: batches that were there, and `add` for more. One process at a time has it."""

    def __init__(self, path: str | Path, asked: Mapping[str, Any]) -> None:
        """Open or begin the journal of a search that `asked` says all about.

        Raises:
            BadFileError: it is the journal of another search, or no journal, or another process writes it, or the
                folder cannot be written.
        """
        self.path = Path(path)
        said = json.dumps(dict(asked), sort_keys=True).encode()
        try:
            self._file: IO[bytes] = open(self.path, "a+b")  # noqa: SIM115 - held until `close`
        except OSError as error:
            raise BadFileError(path, f"cannot be written ({error.strerror}).") from None
        try:
            self._lock()
            self.batches, whole = self._read(said)
            self._file.truncate(whole)
            if not whole:
                self._append(said)
        except BaseException:
            self._file.close()
            raise

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Add a batch; it is on disk when this returns. Raises BadFileError: the disk is full."""
        found = io.BytesIO()
        np.savez(found, **arrays)  # type: ignore[arg-type]
        self._append(found.getvalue())

    def close(self) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # no such locks on Windows: two processes are the user's care there
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadFileError(self.path, "another process runs this search now.") from None

    def _append(self, content: bytes) -> None:
        try:
            self._file.write(
                MARK + len(content).to_bytes(8, "little") + hashlib.sha256(content).digest()[:16] + content
            )
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BadFileError(self.path, f"cannot be written ({error.strerror}).") from None

    def _read(self, said: bytes) -> tuple[list[dict[str, Array]], int]:
        """Return the batches that are whole, and the bytes up to the end of the last."""
        self._file.seek(0)
        start = self._file.read(len(MARK))
        if start and not MARK.startswith(start):
            raise BadFileError(self.path, "it is no journal of a search.", hint="Name another folder or file.")
        self._file.seek(0)
        batches: list[dict[str, Array]] = []
        whole = 0
        for place, content in enumerate(_frames(self._file)):
            if place == 0:
                if content != said:
                    raise BadFileError(
                        self.path, f"it is the journal of another search: {_difference(content, said)}.",
                        hint="Name another folder, or ask as before.",
                    )  # fmt: skip
            else:
                batches.append(self._arrays(content))
            whole += HEAD + len(content)
        return batches, whole

    def _arrays(self, content: bytes) -> dict[str, Array]:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (ValueError, OSError, KeyError, zipfile.BadZipFile):
            raise BadFileError(self.path, "a batch in it is not readable.") from None


def said_in(path: str | Path) -> dict[str, Any] | None:
    """Return what the journal at a path says of its search; None where there is none, or none that says it."""
    try:
        with open(path, "rb") as file:
            found = json.loads(next(_frames(file), b"null"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _frames(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the contents of frames up to the first that is torn."""
    while True:
        head = file.read(HEAD)
        size = int.from_bytes(head[4:12], "little")
        if len(head) < HEAD or head[:4] != MARK or size > MOST_BYTES:
            return
        content = file.read(size)
        if len(content) < size or hashlib.sha256(content).digest()[:16] != head[12:]:
            return
        yield content


def _difference(there: bytes, here: bytes) -> str:
    """Return the first thing that two searches do not have in common."""
    try:
        first, second = json.loads(there), json.loads(here)
        name = next(key for key in second if first.get(key) != second[key])
    except (ValueError, StopIteration, AttributeError):
        return "it says something else"
    return f"its {name} is {str(first.get(name))[:80]}, not {str(second[name])[:80]}"
