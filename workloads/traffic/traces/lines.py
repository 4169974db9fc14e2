"""Lines of a stranger's text file, plain or gzip, bounded before they are believed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from foundation.errors import BadFileError
from foundation.files import plain_file

MAX_FILE_BYTES = 500_000_000
MAX_TEXT_BYTES = 1_000_000_000
"""Of the text of a gzip file; a file of a few kilobytes can say it holds terabytes."""
MAX_LINES = 2_000_001
"""A header and two million requests, which take some 20 s to read."""
MAX_LINE_BYTES = 1_000_000
BLOCK_BYTES = 1 << 20


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without its end) of every line that is not blank.

    Raises:
        BadFileError: absent, too large, a broken gzip file, a line too long, or not UTF-8.
    """
    file = plain_file(path, MAX_FILE_BYTES)
    number = read_bytes = 0
    with _faults(path, lambda: number), file.open("rb") as raw, _opened(raw) as stream:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            read_bytes += len(line)
            _bounded(path, number, len(line), read_bytes)
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if text.strip():
                yield number, text


def check_size(path: str | Path) -> None:
    """Count the bytes and lines of a file before its rows are believed: that takes seconds, not minutes.

    Raises:
        BadFileError: absent, a broken gzip file, or more text or lines than one trace may have.
    """
    file = plain_file(path, MAX_FILE_BYTES)
    lines = read_bytes = 0
    with _faults(path, lambda: lines), file.open("rb") as raw, _opened(raw) as stream:
        while block := stream.read(BLOCK_BYTES):
            read_bytes += len(block)
            lines += block.count(b"\n")
            _bounded(path, None, 0, read_bytes)
            if lines > MAX_LINES or (lines == MAX_LINES and not block.endswith(b"\n")):
                problem = f"the trace has more than {MAX_LINES:,} lines, a header and {MAX_LINES - 1:,} requests."
                raise BadFileError(path, problem, hint="Split the trace.")


@contextmanager
def _faults(path: str | Path, number: Callable[[], int]) -> Iterator[None]:
    """Turn what a file can do to its reader into BadFileError; `number` is the last line that was read."""
    try:
        yield
    except UnicodeDecodeError:
        raise BadFileError(path, "this is not UTF-8 text.", line=number()) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem = f"the gzip file is damaged or cut short ({error})."
        raise BadFileError(path, problem, line=number() + 1, hint="Fetch it again.") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror or error}).") from None


def first_line(path: str | Path) -> str:
    """Return the first line that is not blank. Raises as `numbered_lines`, also where there is none."""
    for _, text in numbered_lines(path):
        return text
    raise BadFileError(path, "the file is empty.", hint="A trace has a header and one row a request.")


def _opened(raw: BinaryIO) -> BinaryIO:
    """Gzip is known by its magic number, not by the name."""
    magic = raw.read(2)
    raw.seek(0)
    return cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=raw))) if magic == b"\x1f\x8b" else raw


def _bounded(path: str | Path, number: int | None, line_bytes: int, read_bytes: int) -> None:
    if line_bytes > MAX_LINE_BYTES:
        raise BadFileError(path, f"the line is longer than {MAX_LINE_BYTES:,} bytes.", line=number)
    if read_bytes > MAX_TEXT_BYTES:
        problem = f"the text is longer than {MAX_TEXT_BYTES:,} bytes."
        raise BadFileError(path, problem, line=number, hint="Split the trace.")
