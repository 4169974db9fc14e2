"""`sweep` and `results`: the results of all chunks in order, from any executor, with or without a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from archcast.executing.chunks import Chunk, Task
from archcast.executing.executor import Executor, Serial
from archcast.executing.shards import Shards

Progress = Callable[[int, int], None]
"""Told the designs done and those in all, as they are done (in any order)."""


def sweep(
    task: Task, chunks: Sequence[Chunk], *, executor: Executor | None = None, folder: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Any]:  # fmt: skip
    """Return the result of every chunk, in the order of `chunks`: the same for any executor, bit for bit.

    Args:
        executor: where they are worked out; None is this process.
        folder: where each result is kept as soon as it is there, so that a sweep that was killed goes on from them.
        progress: told the designs done and those in all.

    Raises:
        InputError, ArchcastError: as the task raised them. ChunkError: another exception, or workers that died.
        BadFileError: the folder cannot be written to.
    """
    return list(results(task, chunks, executor=executor, folder=folder, progress=progress))


def results(
    task: Task, chunks: Sequence[Chunk], *, executor: Executor | None = None, folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Any]:  # fmt: skip
    """Yield what `sweep` returns, each as soon as those before it are there, so that not all are held at once."""
    shards = None if folder is None else Shards(folder, task, chunks)
    missing = [place for place in range(len(chunks)) if shards is None or not shards.whole(place)]
    count = _Count(chunks, missing, progress)
    early: dict[int, Any] = {}
    left = set(missing)
    found = (executor or Serial()).map(task, [chunks[place] for place in missing])
    try:
        for turn, chunk in enumerate(chunks):
            while turn in left:
                at, result = next(found)
                place = missing[at]
                if shards is not None:
                    shards.write(place, result)
                early[place] = result
                left.remove(place)
                count.add(place)
            if turn in early:
                yield early.pop(turn)
            elif shards is not None:
                kept = shards.read(turn)
                if kept is None:  # it was whole a moment ago
                    ((_, kept),) = Serial().map(task, [chunk])
                yield kept
    finally:
        if (close := getattr(found, "close", None)) is not None:
            close()


class _Count:
    """Designs done, told to whom it concerns."""

    def __init__(self, chunks: Sequence[Chunk], missing: Sequence[int], progress: Progress | None) -> None:
        self.chunks, self.progress = chunks, progress
        self.all = sum(chunk.designs for chunk in chunks)
        self.done = self.all - sum(chunks[place].designs for place in missing)
        if progress is not None and self.done:
            progress(self.done, self.all)

    def add(self, place: int) -> None:
        self.done += self.chunks[place].designs
        if self.progress is not None:
            self.progress(self.done, self.all)
