"""Files at the border: checked before they are read, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import BadFileError


def plain_file(path: str | Path, max_bytes: int) -> Path:
    """Return `path` where it is a file of at most `max_bytes` bytes.

    Raises:
        BadFileError: it is absent, a folder or a device, or larger.
    """
    file = Path(path)
    if not file.exists():
        raise BadFileError(path, "there is no such file.", hint="Check the path.")
    if not file.is_file():
        what = "a folder, not a plain file; name the file in it" if file.is_dir() else "not a plain file"
        raise BadFileError(path, f"this is {what}.")
    size = file.stat().st_size
    if size > max_bytes:
        raise BadFileError(path, f"the file has {size:,} bytes; at most {max_bytes:,} are read.")
    return file


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a place beside `path` to write to; what stands there takes the place of `path` where the block ends well.

    So a reader never sees half a file, and a failure leaves what was there before.

    Raises:
        BadFileError: the folder is absent, `path` is a folder, or the system refuses to write.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise BadFileError(path, f"cannot be written: there is no folder {file.parent}; make it first.")
    if file.is_dir():
        raise BadFileError(path, "is a folder; name a file in it.")
    part = file.with_name(f".{file.name[:100]}.{os.getpid()}.part")
    try:
        yield part
        part.replace(file)
    except OSError as error:
        raise BadFileError(path, f"cannot be written ({error.strerror or error}).") from None
    finally:
        part.unlink(missing_ok=True)


def write_text_whole(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all. Raises as `written_whole`."""
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
