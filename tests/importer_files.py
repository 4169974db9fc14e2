"""For tests of importers: damaged copies of files, and what reading one may end in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadFileError
from workloads.model import Request

FIXTURES = Path(__file__).with_name("fixtures")
Load = Callable[[Path], Any]


def with_bytes(load: Load, data: bytes, suffix: str) -> str:
    """Read a file of these bytes and count its work; return the one sentence of a refusal, "" where it was read.

    Anything but an error of ours is raised, and so is one while reading that is not `BadFileError`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m{suffix}"
        path.write_bytes(data)
        try:
            model = load(path)
        except BadFileError as error:
            said = str(error)
        else:
            try:
                model.workload(Request())
            except ArchcastError as error:  # sizes that fit a file, but no network
                said = str(error)
            else:
                return ""
    assert "\n" not in said
    assert len(said) < 1500
    return said


def flips(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Return places in a file of `length` bytes and what to flip there."""
    return st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 255)), min_size=1, max_size=4)


def flipped(data: bytes, places: list[tuple[int, int]]) -> bytes:
    """Return the bytes with some of them changed."""
    broken = bytearray(data)
    for place, flip in places:
        broken[place] ^= flip
    return bytes(broken)
