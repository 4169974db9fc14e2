"""What neighbours on a machine cost: a hook that scales the progress of each task by a ratio in (0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from foundation.errors import BadValueError

RATE_UNIT = 1_000_000
"""Progress is counted in millionths of the full rate, so that remaining work is a whole number."""


class Interference(Protocol):
    """Predicts the performance of tasks that share a machine, as a ratio to what each reaches alone there."""

    def ratios(self, machine: int, attempts: Sequence[int]) -> Sequence[float]:
        """Return one ratio in (0, 1] a task; asked again whenever who runs on the machine changes."""
        ...


def rates_of(ratios: Sequence[float], count: int) -> list[int]:
    """Return ratios as whole millionths, at least 1.

    Raises:
        BadValueError: another number of ratios than tasks, or one outside (0, 1].
    """
    if len(ratios) != count:
        raise BadValueError(f"gave {len(ratios)} ratios for {count} tasks.")
    found = []
    for ratio in ratios:
        number = float(ratio)
        if not (math.isfinite(number) and 0 < number <= 1):
            raise BadValueError(f"gave the ratio {number!r}; it must be above 0 and at most 1.")
        found.append(max(round(number * RATE_UNIT), 1))
    return found


@dataclass(frozen=True)
class ConstantPerNeighbour:
    """Each neighbour takes the same share of what is left: ratio = (1 - loss) ** neighbours. A plain example."""

    loss: float

    def __post_init__(self) -> None:
        if not 0 <= self.loss < 1:
            raise BadValueError(f"loss must be at least 0 and below 1, not {self.loss!r}.")

    def ratios(self, machine: int, attempts: Sequence[int]) -> list[float]:
        return [max((1 - self.loss) ** (len(attempts) - 1), 1 / RATE_UNIT)] * len(attempts)
