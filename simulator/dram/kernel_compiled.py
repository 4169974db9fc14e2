"""The source of `kernel` compiled by numba, function by function, so that there is one source for both."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

from foundation.errors import UnsupportedError
from simulator.dram import kernel
from simulator.dram.kernel import Machine

ORDER = (
    "record", "room", "next_to_enter", "enter", "next_entry", "oldest", "choose", "earliest", "activate", "close",
    "take_out", "finish", "release", "answer", "transfer", "refresh_from", "refresh", "rest", "command", "serve",
)  # fmt: skip
"""Functions of the kernel, each after those that it calls."""


@functools.cache
def installed() -> bool:
    """Say whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def _writable() -> bool:
    """Say whether numba can keep what it compiles beside the source; else it compiles once a process."""
    folder = Path(kernel.__file__).parent / "__pycache__"
    return os.access(folder if folder.is_dir() else folder.parent, os.W_OK)


@functools.cache
def compiled_serve() -> Callable[[Machine], None]:
    """Return `kernel.serve` compiled; kept in numba's cache where that can be written. Raises UnsupportedError."""
    if not installed():
        raise UnsupportedError("the compiled DRAM kernel needs numba: `pip install archcast[fast]`, or go without it.")
    import numba

    names = dict(vars(kernel))
    for name in ORDER:
        plain = getattr(kernel, name)
        mine = FunctionType(plain.__code__, names, name, plain.__defaults__)
        mine.__module__, mine.__qualname__ = plain.__module__, plain.__qualname__
        names[name] = numba.njit(error_model="numpy", cache=_writable())(mine)
    found: Callable[[Machine], None] = names["serve"]
    return found
