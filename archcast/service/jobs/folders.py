"""Working folders of jobs: what stays of them at the end, and what a kill between two steps may have left."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

KEPT = "artefact"
"""What stays of a job's folder when the job has ended."""
OLD_PART_S = 3600.0


def clear(folder: Path) -> None:
    """Remove a job's folder, but for its artefact. Another process may do the same at the same time."""
    if not (folder / KEPT).exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.name == KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def kept_bytes(folder: Path) -> int:
    """Return the size of what stays of a job's folder."""
    kept = folder / KEPT
    return sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) if kept.is_dir() else 0


def clear_left(folders: Path, state_of: Callable[[str], str]) -> None:
    """Clear the folders of jobs that have ended, and remove those of jobs that are no more (state '')."""
    for folder in folders.iterdir() if folders.is_dir() else ():
        state = state_of(folder.name)
        if not state:
            shutil.rmtree(folder, ignore_errors=True)
        elif state not in ("queued", "running") and [path.name for path in folder.iterdir()] != [KEPT]:
            clear(folder)


def clear_parts(uploads: Path) -> None:
    """Remove uploads that were never finished: their names begin with a dot."""
    before_s = time.time() - OLD_PART_S
    for path in uploads.glob(".*") if uploads.is_dir() else ():
        try:
            if path.stat().st_mtime < before_s:
                path.unlink()
        except OSError:  # finished, or removed by another
            continue
