"""Uploads: tables and networks that strangers send, read once before they are kept, and named by their content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from archcast.service.jobs.job import BusyError, TooLargeError
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError

SUFFIXES = (".csv", ".parquet", ".onnx")
MEASUREMENTS, TABLE, NETWORK = "measurements", "table", "network"
_BLOCK = 1 << 20
_NAME = re.compile(r"[0-9a-f]{16}-[A-Za-z0-9_][A-Za-z0-9._-]{0,60}\.(csv|parquet|onnx)")
_EXPANDED = 10
"""A Parquet file may hold so many times `file_bytes` once it is unpacked."""


@dataclass(frozen=True)
class UploadLimits:
    """Bounds of the uploads of one service."""

    file_bytes: int = 64_000_000
    total_bytes: int = 2_000_000_000
    count: int = 1000


@dataclass(frozen=True)
class Upload:
    """One upload: its name (for requests), what it is (measurements, table or network), its rows (0: no table)."""

    name: str
    kind: str
    rows: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


class Uploads:
    """The uploads in one folder, which several processes may share."""

    def __init__(self, folder: str | Path, limits: UploadLimits | None = None) -> None:
        self.folder = Path(folder)
        self.limits = limits or UploadLimits()

    def store(self, name: str, stream: IO[bytes] | Iterable[bytes]) -> Upload:
        """Read, check and keep a file. The same content under the same name is one upload.

        Args:
            name: a label that ends in .csv, .parquet or .onnx; its folders are dropped.
            stream: its bytes, read only as far as the limit.

        Raises:
            BadValueError: the label. TooLargeError: too many bytes. BusyError: no room for another.
            BadFileError, UnsupportedError: it cannot be read as what it says it is.
        """
        label, suffix = _label(name)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.folder / f".{secrets.token_hex(8)}{suffix}"
        try:
            digest, size = self._received(stream, part)
            found = Upload(f"{digest[:16]}-{label}{suffix}", *self._checked(part, suffix, f"{label}{suffix}"), size)
            kept = self.list()
            if found.name not in {one.name for one in kept}:
                self._room(kept, size)
                note = part.with_suffix(".note")
                note.write_text(json.dumps(found.to_json()), encoding="utf-8")
                part.replace(self.folder / found.name)
                note.replace(self.folder / f"{found.name}.json")
        finally:
            part.unlink(missing_ok=True)
        return found

    def _received(self, stream: IO[bytes] | Iterable[bytes], part: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        blocks = iter(lambda: stream.read(_BLOCK), b"") if hasattr(stream, "read") else stream
        with part.open("xb") as file:
            for block in blocks:
                size += len(block)
                if size > self.limits.file_bytes:
                    raise TooLargeError(f"The upload has more than {self.limits.file_bytes:,} bytes; send less.")
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if size == 0:
            raise BadValueError("The upload is empty; send the bytes of the file as the body.")
        return digest.hexdigest(), size

    def _checked(self, path: Path, suffix: str, label: str) -> tuple[str, int]:
        """Return the kind and the rows of a file. Raises BadFileError with the label in place of the path."""
        try:
            if suffix == ".onnx":
                return NETWORK, _network(path)
            if suffix == ".parquet" or _is_parquet(path):
                _unpacked(path, _EXPANDED * self.limits.file_bytes)
            return _table(path)
        except ArchcastError as error:
            raise BadFileError(label, _after(str(error), path)) from None

    def _room(self, kept: list[Upload], size: int) -> None:
        if len(kept) >= self.limits.count or sum(one.bytes for one in kept) + size > self.limits.total_bytes:
            raise BusyError(f"There is no room for another upload ({len(kept):,} are kept); delete some first.")

    def list(self) -> list[Upload]:
        """Return all uploads, by name."""
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            try:
                one = Upload(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue  # deleted meanwhile
            found.append(one)
        return found

    def get(self, name: str) -> Upload:
        """Return an upload. Raises UnknownNameError."""
        self.path(name)
        return Upload(**json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8")))

    def has(self, name: str) -> bool:
        """Return whether a text is the name of an upload."""
        return _NAME.fullmatch(name) is not None and (self.folder / f"{name}.json").is_file()

    def path(self, name: str) -> Path:
        """Return the file of an upload. Raises UnknownNameError."""
        if not isinstance(name, str) or not self.has(name):
            known = [one.name for one in self.list()]
            raise UnknownNameError("upload", str(name)[:80], known, "Send the file first; its answer has the name.")
        return self.folder / name

    def delete(self, name: str) -> None:
        """Delete an upload; jobs that run keep theirs. Raises UnknownNameError."""
        path = self.path(name)
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def put_into(self, folder: Path, name: str) -> None:
        """Have an upload stand in a job's folder under its name. Raises UnknownNameError."""
        source, place = self.path(name), folder / name
        if place.exists():
            return
        try:
            os.link(source, place)
        except OSError:  # another file system
            import shutil

            shutil.copyfile(source, place)


def _label(name: object) -> tuple[str, str]:
    text = str(name).replace("\\", "/").rsplit("/", 1)[-1] if isinstance(name, str) else ""
    suffix = next((one for one in SUFFIXES if text.lower().endswith(one)), "")
    if not suffix or len(text) > 200:
        raise BadValueError(f"The name of an upload ends in {', '.join(SUFFIXES)}, such as mine.csv.")
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text[: -len(suffix)]).strip("-")[:48]
    return plain or "upload", suffix


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _unpacked(path: Path, most_bytes: int) -> None:
    """Refuse a Parquet file that is far larger once unpacked. Raises BadFileError; the reader says where it is none."""
    try:
        import pyarrow.parquet as parquet

        about = parquet.ParquetFile(path).metadata
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    except (ImportError, OSError, ValueError):
        return
    if size > most_bytes:
        raise BadFileError(path, f"it has {size:,} bytes once unpacked; at most {most_bytes:,} are read.")


def _table(path: Path) -> tuple[str, int]:
    """Return measurements where there is a column `op`, else a table, such as a trace, and its rows."""
    from workloads.column_files import read_columns
    from workloads.measurements import read_measurements

    if "op" in read_columns(path, lambda _: False, lambda name: name == "op").columns:
        return MEASUREMENTS, read_measurements(path).rows
    rows = read_columns(path, lambda _: False, lambda _: True).rows
    if rows == 0:
        raise BadFileError(path, "the table has a header but no rows.")
    return TABLE, rows


def _network(path: Path) -> int:
    from workloads.catalogue import load_model

    load_model(str(path))
    return 0


def _after(text: str, path: Path) -> str:
    """Return a sentence without the place of the file on the server."""
    text = text.removeprefix(f"{path}: ").removeprefix(str(path))
    return text.replace(str(path), "the file").removeprefix(":")
