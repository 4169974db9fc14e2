"""The method `random`: designs drawn evenly over codes and spans."""

from __future__ import annotations

import numpy as np

from archcast.searching.sampler import Sampler
from workloads.table import Array


class RandomSampler(Sampler):
    """Draws each knob on its own; an inactive knob of a drawn design is neutral."""

    name = "random"

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        return self.space.decode(rng.random((count, len(self.space.knobs))))
