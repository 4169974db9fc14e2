"""A fence around the process of a job: it opens its own folder, its code, and what the system's libraries need.

The names in a request are checked before it is queued; this is the second wall, for a name that got through.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

SYSTEM = ("/usr/lib", "/usr/share/", "/lib/", "/lib64/", "/sys/", "/dev/shm/", "/etc/localtime", "/etc/ld.so.cache")
MACHINE = (
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/filesystems", "/dev/null", "/dev/zero",
    "/dev/urandom",
)  # fmt: skip


def keep_inside(folder: Path) -> None:
    """From now on, Python code of this process opens no file outside; an attempt raises PermissionError."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    code = [sys.prefix, sys.base_prefix, sys.exec_prefix, *(place for place in sys.path if os.path.isdir(place))]
    places = [str(folder), *code, os.environ.get("NUMBA_CACHE_DIR") or _numba_cache()]
    roots = tuple(os.path.realpath(place).rstrip(os.sep) + os.sep for place in places)
    mine = f"/proc/{os.getpid()}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or isinstance(arguments[0], int) or arguments[0] is None:
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith((*roots, *SYSTEM, mine)) and path not in MACHINE:
            raise PermissionError(1, "is outside of the job's folder", os.path.basename(path))

    sys.addaudithook(hook)


def _numba_cache() -> str:
    """Return where numba keeps compiled code where the package's own folder cannot be written."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numba")
