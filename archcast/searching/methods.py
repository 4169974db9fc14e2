"""Methods of a search by the name that files give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from archcast.searching.grid import Tally, run_grid
from archcast.searching.problem import Problem


class Method(Protocol):
    """Evaluates designs numbered from `start` to before `stop`, `chunk` at a time, and returns what it kept."""

    def __call__(
        self, problem: Problem, start: int, stop: int, *, chunk: int, progress: Callable[[int], None] | None
    ) -> Tally: ...


METHODS: dict[str, Method] = {"grid": run_grid}
