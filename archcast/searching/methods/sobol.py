"""The method `sobol`: scrambled points of Sobol's sequence, which fill a space more evenly than random ones."""

from __future__ import annotations

import warnings

import numpy as np

from archcast.searching.sampler import Sampler, stream
from workloads.table import Array


class SobolSampler(Sampler):
    """Takes the next points of one sequence, scrambled by the seed (Owen, as scipy.stats.qmc has it)."""

    name = "sobol"
    asks_matter = True

    def prepare(self) -> None:
        from scipy.stats import qmc

        self._points = qmc.Sobol(len(self.space.knobs), rng=stream(self.asked.seed, "sobol scramble", 0))

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        with warnings.catch_warnings():  # it says that a count that is no power of 2 is a little less even
            warnings.simplefilter("ignore")
            return self.space.decode(self._points.random(count))
