"""The method `nsga2`: NSGA-II (Deb, Pratap, Agarwal and Meyarivan 2002) for numbers, listed values and names at once.

Real numbers and spans cross by simulated binary crossover and mutate by a polynomial; listed values and names are taken
from either parent; a listed number mutates to a neighbour or to any value, a name to any other.
"""

from __future__ import annotations

import numpy as np

from archcast.searching.ranking import crowding, ranks
from archcast.searching.sampler import Sampler, Told
from workloads.table import Array

CROSS_SPREAD, MUTATE_SPREAD = 15.0, 20.0
"""Indices of both distributions (Deb's own values)."""
CROSSED = 0.9
NEAR = 0.7
"""Of mutations of a listed number, those that go to a value nearby."""


class GeneticSampler(Sampler):
    """Keeps a population; children of tournaments' winners are asked for, and the best of both stay."""

    name = "nsga2"
    known = ("population", "mutation")

    def prepare(self) -> None:
        knobs = self.space.knobs
        self.size = self.whole("population", 100, low=4, high=100_000)
        self.mutation = self.number("mutation", 1.0, high=100.0) / len(knobs)
        self.smooth = np.array([knob.span is not None for knob in knobs])
        self.names = np.array([knob.category for knob in knobs])
        self.counts = np.array([1.0 if knob.span is not None else float(len(knob.values)) for knob in knobs])
        self.seen = 0
        self.units = np.zeros((0, len(knobs)))
        self.values = np.zeros((0, self.asked.objectives))
        self.violation = np.zeros(0)
        self.rank = np.zeros(0, dtype=np.int64)
        self.lonely = np.zeros(0)

    def learn(self, told: Told) -> None:
        self.seen += len(told.values)
        units = np.concatenate((self.units, self.space.encode(told.codes)))
        values = np.concatenate((self.values, np.where(told.feasible[:, None], told.values, 0.0)))
        violation = np.concatenate((self.violation, np.where(told.feasible, 0.0, told.violation)))
        rank = ranks(values, violation, self.size)
        lonely = crowding(values, rank)
        keep = np.lexsort((-lonely, rank))[: self.size]
        self.units, self.values, self.violation = units[keep], values[keep], violation[keep]
        self.rank, self.lonely = rank[keep], lonely[keep]

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        if self.seen < self.size or len(self.units) < 2:
            return self.space.decode(rng.random((count, len(self.space.knobs))))
        pairs = (count + 1) // 2
        parents = self._winners(2 * pairs, rng)
        first, second = self.units[parents[:pairs]], self.units[parents[pairs:]]
        children = np.concatenate(self._crossed(first, second, rng))[:count]
        return self.space.decode(self._mutated(children, rng))

    def _winners(self, count: int, rng: np.random.Generator) -> Array:
        """Return places of designs that won against another: the lower rank, then the lonelier."""
        one, other = rng.integers(0, len(self.units), (2, count))
        better = (self.rank[other] < self.rank[one]) | (
            (self.rank[other] == self.rank[one]) & (self.lonely[other] > self.lonely[one])
        )
        return np.asarray(np.where(better, other, one))

    def _crossed(self, first: Array, second: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        crossed = rng.random((len(first), 1)) < CROSSED
        draws, swaps = rng.random(first.shape), rng.random(first.shape) < 0.5
        one, two = np.where(swaps & crossed, second, first), np.where(swaps & crossed, first, second)
        if self.smooth.any():
            power = 1 / (CROSS_SPREAD + 1)
            spread = np.where(draws <= 0.5, (2 * draws) ** power, (0.5 / np.maximum(1 - draws, 1e-16)) ** power)
            spread = np.where(crossed & self.smooth, spread, 1.0)
            middle, half = (one + two) / 2, (one - two) / 2 * spread
            one, two = (
                np.where(self.smooth, np.clip(middle + half, 0, 1), one),
                np.where(self.smooth, np.clip(middle - half, 0, 1), two),
            )
        return one, two

    def _mutated(self, units: Array, rng: np.random.Generator) -> Array:
        chosen = rng.random(units.shape) < self.mutation
        draws, how = rng.random((2, *units.shape))
        power = 1 / (MUTATE_SPREAD + 1)
        found = units
        if self.smooth.any():
            step = np.where(draws < 0.5, (2 * draws) ** power - 1, 1 - (2 * (1 - draws)) ** power)
            found = np.where(chosen & self.smooth, np.clip(units + step, 0, 1), units)
        listed = chosen & ~self.smooth
        if listed.any():  # near: one place up or down, seldom more; else any value
            places = 1 + np.floor(-np.log(np.maximum(rng.random(units.shape), 1e-300)) / 1.2)
            near = units + np.where(draws < 0.5, -places, places) / self.counts
            near = np.where(near < 0, -near, np.where(near > 1, 2 - near, near))  # reflected at the ends
            moved = np.where((how < NEAR) & ~self.names, np.clip(near, 0, 1 - 1e-12), draws)
            found = np.where(listed, moved, found)
        return found
