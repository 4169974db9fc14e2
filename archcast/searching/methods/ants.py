"""The method `ants`: ant colony optimisation for mixed variables (ACO_MV, Liao, Socha, Montes de Oca, Stuetzle, Dorigo 2014).

The pheromone is an archive of good designs, ranked by domination. An ant takes each number near that of a guide from
the archive (a normal step as wide as the archive's spread, ACO_R), and each name by the weights of the archive's names,
of which some share is left to names that the archive lacks.
"""  # noqa: E501

from __future__ import annotations

import numpy as np

from archcast.searching.ranking import crowding, ranks
from archcast.searching.sampler import Sampler, Told
from workloads.table import Array


class AntSampler(Sampler):
    """Options: `archive` designs, `greed` (small: the best guide nearly always), `spread` of steps, ants at `first`."""

    name = "ants"
    known = ("archive", "greed", "spread", "initial")

    def prepare(self) -> None:
        knobs = self.space.knobs
        self.size = self.whole("archive", 50, low=2, high=10_000)
        self.greed = self.number("greed", 0.3, low=1e-3, high=10.0)
        self.spread = self.number("spread", 0.6, low=1e-3, high=10.0)
        self.initial = self.whole("initial", 30, low=2)
        self.names = np.array([knob.category for knob in knobs])
        self.cells = np.array([0.0 if knob.span is not None else 1.0 / len(knob.values) for knob in knobs])
        self.seen = 0
        self.codes = np.zeros((len(knobs), 0))
        self.values = np.zeros((0, self.asked.objectives))
        self.violation = np.zeros(0)
        self.weights = np.zeros(0)

    def learn(self, told: Told) -> None:
        self.seen += len(told.values)
        codes = np.concatenate((self.codes, told.codes), axis=1)
        values = np.concatenate((self.values, np.where(told.feasible[:, None], told.values, 0.0)))
        violation = np.concatenate((self.violation, np.where(told.feasible, 0.0, told.violation)))
        rank = ranks(values, violation, self.size)
        keep = np.lexsort((-crowding(values, rank), rank))[: self.size]
        self.codes, self.values, self.violation = codes[:, keep], values[keep], violation[keep]
        # designs of one rank are equally good guides: the weight falls with the mean place of the rank
        place = np.array([np.mean(np.flatnonzero(rank[keep] == one)) for one in rank[keep]])
        share = np.exp(-0.5 * (place / (self.greed * self.size)) ** 2)
        self.weights = share / share.sum()

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        if self.seen < self.initial or self.codes.shape[1] < 2:
            return self.space.decode(rng.random((count, len(self.space.knobs))))
        units = self.space.encode(self.codes)
        guides = rng.choice(len(units), count, p=self.weights)
        away = np.abs(units[guides][:, None, :] - units[None, :, :]).sum(axis=1) / (len(units) - 1)
        # listed values: never so narrow that all ants stay in the guide's cell
        width = np.maximum(self.spread * away, 0.35 * self.cells)
        found = units[guides] + width * rng.normal(size=units[guides].shape)
        found = np.where(found < 0, -found, np.where(found > 1, 2 - found, found))
        found = np.clip(found, 0, 1)
        for place in np.flatnonzero(self.names):
            found[:, place] = self._names(int(place), count, rng)
        return self.space.decode(found)

    def _names(self, place: int, count: int, rng: np.random.Generator) -> Array:
        """Return names for ants, as points of the unit cube."""
        names = len(self.space.knobs[place].values)
        weights = np.bincount(self.codes[place].astype(np.intp), weights=self.weights, minlength=names)
        fresh = 1.0 / (1.0 + len(self.weights) / names)  # the share of names that are drawn evenly
        chosen = rng.choice(names, count, p=(1 - fresh) * weights / weights.sum() + fresh / names)
        return np.asarray((chosen + 0.5) / names)
