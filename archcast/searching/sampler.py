"""`Sampler`: what chooses the next designs of an adaptive search. A method is one file of `methods/` with one class.

A sampler sees a space, told values and a stream of random numbers for each batch: the stream depends on the seed, the
method's name and the batch alone, so that a search continues from its log as if it had not stopped.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from archcast.searching.space import Columns, DesignSpace
from foundation.checks import finite_number, whole_number
from foundation.errors import UnknownNameError
from workloads.table import Array

Prior = Callable[[Columns], Array]
"""A cheap guess of the objectives: from columns to an array (designs, objectives), NaN where it knows none."""


@dataclass(frozen=True)
class Asked:
    """What a sampler is made for. `options` are those of its method, by name."""

    space: DesignSpace
    objectives: int
    seed: int = 0
    allowed: Callable[[Array], Array] | None = None
    """Which codes keep the limits on knobs; None: all."""
    prior: Prior | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """Evaluated designs: codes (knobs, designs), values (designs, objectives), which stand, and how far others are off.

    Values of designs that do not stand are NaN. `violation` is 0 where a design stands, else above 0.
    """

    codes: Array
    values: Array
    feasible: Array
    violation: Array


class Sampler(ABC):
    """Chooses designs. Subclasses read their `options` in `prepare`, and keep what they learn on themselves."""

    name: ClassVar[str]
    asks_matter: ClassVar[bool] = False
    """Whether the state depends on what was asked too, so that a replay must ask again."""
    known: ClassVar[tuple[str, ...]] = ()
    """Names of the options."""

    def __init__(self, asked: Asked) -> None:
        for name in asked.options:
            if name not in self.known:
                hint = f"Known: {', '.join(self.known)}." if self.known else "It has none."
                raise UnknownNameError(f"option of {self.name}", str(name), self.known, hint)
        self.asked, self.space = asked, asked.space
        self.prepare()

    def prepare(self) -> None:  # noqa: B027 - a method without state has none to prepare
        """Make the state of a search that has seen nothing."""

    @abstractmethod
    def propose(self, count: int, rng: np.random.Generator) -> Array:
        """Return codes (knobs, at most `count`) of floats; those that were seen or break limits are dropped later."""

    def learn(self, told: Told) -> None:  # noqa: B027 - a method may learn nothing
        """Take values in."""

    def whole(self, name: str, default: int, low: int = 1, high: int = 10**6) -> int:
        """Return an option that is a whole number. Raises BadValueError."""
        return whole_number(name, self.asked.options.get(name, default), low=low, high=high)

    def number(self, name: str, default: float, low: float = 0.0, high: float = 1e9) -> float:
        """Return an option that is a number. Raises BadValueError."""
        return finite_number(name, self.asked.options.get(name, default), low=low, high=high)


def stream(seed: int, name: str, batch: int) -> np.random.Generator:
    """Return the random numbers of one batch of one method."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)], spawn_key=(batch,)))


def keys_of(codes: Array) -> list[int]:
    """Return a 64-bit key for each design: equal codes have equal keys, others differ but for 1 in 10^19 pairs."""
    bits = np.ascontiguousarray(codes.T + 0.0, dtype=np.float64).view(np.uint64)  # + 0.0: no negative zero
    with np.errstate(over="ignore"):
        mixed = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * _odd(bits.shape[1])
        total = mixed.sum(axis=1, dtype=np.uint64)
        total = (total ^ (total >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    found: list[int] = (total ^ (total >> np.uint64(29))).tolist()
    return found


_ODD: dict[int, Array] = {}


def _odd(count: int) -> Array:
    """Return one odd multiplier a knob."""
    if count not in _ODD:
        _ODD[count] = np.random.default_rng(20211).integers(0, 2**63, count, dtype=np.uint64) * np.uint64(
            2
        ) + np.uint64(1)
    return _ODD[count]
