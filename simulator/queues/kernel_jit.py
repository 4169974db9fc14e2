"""How the kernel's functions are compiled: by numba, once a machine, and kept in its cache where it can write."""

from __future__ import annotations

import functools
import importlib.util
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from foundation.errors import UnsupportedError

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def installed() -> bool:
    """Say whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


def need_numba() -> None:
    """Raise UnsupportedError where numba is not installed."""
    if not installed():
        raise UnsupportedError(
            "The compiled kernel needs numba, which is not installed: `pip install archcast[fast]`, "
            "or take the engine `callbacks`, which gives the same trace."
        )


def compiled(function: F) -> F:
    """Compile a function that is called from few places (no fastmath: floats are rounded as in Python)."""
    import numba

    return cast(F, numba.njit(error_model="numpy")(function))


def inlined(function: F) -> F:
    """Compile a small function into each of its callers: the arrays of the state are then not handed over again."""
    import numba

    return cast(F, numba.njit(error_model="numpy", forceinline=True)(function))


@functools.cache
def fingerprint() -> int:
    """Return a checksum over the kernel's files, never 0: numba looks only at the file of a cached function."""
    found = 1
    for path in sorted(Path(__file__).parent.glob("kernel*.py")):
        found = zlib.crc32(path.read_bytes(), found)
    return found or 1


def entry(function: F) -> F:
    """Compile the function that Python calls and keep it in numba's cache; without a writable folder, in memory."""
    import numba

    try:
        made = numba.njit(error_model="numpy", nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache: neither beside the source nor the user's
        made = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(F, made)
