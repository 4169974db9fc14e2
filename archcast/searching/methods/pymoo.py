"""The method `pymoo-nsga2`: NSGA-II of pymoo (extra `pymoo`) on the unit cube, by its own ask and tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from archcast.searching.sampler import Sampler, Told, keys_of
from foundation.errors import UnsupportedError
from workloads.table import Array


class PymooSampler(Sampler):
    """A generation is handed out as it is asked for, and told once all of it is back.

    pymoo wants a value for every design it made: one that was left out (seen before, or beyond a limit on knobs) is
    told as one that does not stand.
    """

    name = "pymoo-nsga2"
    asks_matter = True
    known = ("population",)

    def prepare(self) -> None:
        try:
            from pymoo.algorithms.moo.nsga2 import NSGA2
            from pymoo.core.problem import Problem
        except ImportError:
            raise UnsupportedError("this method needs pymoo: pip install 'archcast[pymoo]'.") from None
        self._search = NSGA2(pop_size=self.whole("population", 100, low=4))
        knobs = len(self.space.knobs)
        problem = Problem(
            n_var=knobs, n_obj=self.asked.objectives, n_ieq_constr=1, xl=np.zeros(knobs), xu=np.ones(knobs)
        )
        self._search.setup(problem, termination=("n_gen", 10**9), seed=self.asked.seed % 2**32, verbose=False)
        self._asked: Any = None
        self._keys: list[int] = []
        self._found: dict[int, tuple[Array, float]] = {}
        self._left = np.zeros((len(self.space.knobs), 0))

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        if not self._left.shape[1]:
            if self._asked is not None:
                self._end()
            self._asked = self._search.ask()
            codes = self.space.decode(np.asarray(self._asked.get("X"), dtype=float))
            self._keys, self._left = keys_of(codes), codes
        found, self._left = self._left[:, :count], self._left[:, count:]
        return found

    def learn(self, told: Told) -> None:
        for place, key in enumerate(keys_of(told.codes)):
            values = told.values[place] if told.feasible[place] else np.full(self.asked.objectives, 1e30)
            self._found[key] = (values, float(told.violation[place]))

    def _end(self) -> None:
        """Tell pymoo its generation."""
        lost = (np.full(self.asked.objectives, 1e30), 1.0)
        rows = [self._found.get(key, lost) for key in self._keys]
        self._asked.set("F", np.array([values for values, _ in rows]))
        self._asked.set("G", np.array([[off] for _, off in rows]))
        self._search.tell(infills=self._asked)
