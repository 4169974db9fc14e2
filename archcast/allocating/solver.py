"""HiGHS through scipy, without what it prints: some versions write to the process's stdout whatever they are told."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LOCK = threading.Lock()


@contextmanager
def silent() -> Iterator[None]:
    """Keep the C library's stdout from what is printed inside; with other threads alive it goes to stderr instead.

    An answer on stdout is one JSON document; a line of the solver's own before it would break it.
    """
    with _LOCK:
        try:
            sys.stdout.flush()
            saved = os.dup(1)
        except (OSError, ValueError, AttributeError):
            yield
            return
        alone = threading.active_count() == 1
        with suppress(OSError):
            target = os.open(os.devnull, os.O_WRONLY) if alone else os.dup(2)
            os.dup2(target, 1)
            os.close(target)
        try:
            yield
        finally:
            _flush_c()
            os.dup2(saved, 1)
            os.close(saved)


def _flush_c() -> None:
    """Empty C's own buffers while stdout still leads nowhere."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
