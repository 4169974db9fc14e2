"""The process of one job: `python -m archcast.service.jobs.child FOLDER`.

The folder's order says what to run. The input stays open and silent: its end means that the runner is gone, and the
process ends at once. On Linux the kernel kills it too when the runner dies. Lines of progress go to the
output; the outcome is a file in the job's folder, written whole, so that it can be used even where the runner died
before it took it.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from archcast.service.jobs.job import INTERNAL, LOG, ORDER, OUTCOME

MOST_FILE_BYTES = 8_000_000_000
ORPHANED = 77
"""Exit code of a child whose runner is gone."""


def main() -> int:
    """Run one job. The exit code is 0 where the outcome is written, whether well or not."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    folder = Path(sys.argv[1])
    order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
    _die_with(int(order["parent"]))
    threading.Thread(target=_watch, args=(sys.stdin,), daemon=True).start()
    os.chdir(folder)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)  # what libraries print is not progress
    os.dup2(log, 2)
    _bound(int(order["memory_bytes"]))
    from archcast.service.jobs.fence import keep_inside

    keep_inside(folder)
    _write(folder / OUTCOME, _outcome(order, folder, _reporter(lines, float(order["progress_s"]))))
    lines.close()
    return 0


def _outcome(order: dict[str, Any], folder: Path, report: Callable[..., None]) -> dict[str, Any]:
    """Return {"result": ...} or {"error": sentence, "kind": name}."""
    from foundation.errors import ArchcastError

    try:
        module, _, name = order["runs"].partition(":")
        found = getattr(import_module(module), name)(order["request"], report, folder)
        return {"result": plain(found, folder)}
    except ArchcastError as error:
        return {"error": without_paths(str(error), folder), "kind": type(error).__name__}
    except MemoryError:
        return {"error": f"The job needs more memory than its {order['memory_bytes']:,} bytes; ask for less at once.",
                "kind": "OutOfMemory"}  # fmt: skip
    except Exception:
        import traceback

        traceback.print_exc()
        return {"error": "The job ended by a fault of archcast (the service's log has the details); please report it.",
                "kind": INTERNAL}  # fmt: skip


def without_paths(text: str, folder: Path) -> str:
    """Return text without the places of the server: the job's folder and the folders of the code."""
    if os.sep not in text:
        return text
    places = {str(folder), os.path.realpath(folder), *(place for place in sys.path if len(place) > 1)}
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place + os.sep, "").replace(place, ".")
    return text


def plain(value: Any, folder: Path) -> Any:
    """Return a document as plain JSON values: numpy ones by their content, numbers that are none as null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return without_paths(value, folder)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one, folder) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, folder) for one in value]
    return plain(value.tolist() if hasattr(value, "tolist") else str(value), folder)


def _reporter(lines: IO[str], progress_s: float) -> Callable[..., None]:
    """Return report(done, whole, note), which passes on no more than one line each `progress_s`."""
    last = -math.inf

    def report(done: float, whole: float = 0.0, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < progress_s and not (whole and done >= whole):
            return
        last = now
        lines.write(json.dumps([float(done), float(whole or 0.0), str(note)]) + "\n")

    return report


def _write(path: Path, document: dict[str, Any]) -> None:
    """Write whole or not at all, and to the disk before it has its name."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(document, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _watch(stream: IO[str]) -> None:
    """End the process when its runner is gone: then the other end of its input is closed."""
    stream.read()
    os._exit(ORPHANED)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG = 1); Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(ORPHANED)


def _bound(memory_bytes: int) -> None:
    """Bound files, cores and, well above the limit that the runner watches, data memory (getrlimit(2))."""
    import resource

    backstop = 2 * memory_bytes + 2**30
    wanted = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": MOST_FILE_BYTES, "RLIMIT_DATA": backstop}
    for name, bound in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        most = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (most, hard))


if __name__ == "__main__":
    sys.exit(main())
