"""What a policy sees when it decides on a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from workloads.table import Array


@dataclass(frozen=True)
class State:
    """One task to decide on, and the servers: server 0 is the cloud, the others are edges.

    Columns have one entry a server. rate_bits_per_s and distance_m are those of this task's user; `sending` and
    `running` count tasks; energy_j is what the task would cost there (sending and execution).
    """

    step: int
    time_s: float
    user: int
    size_bits: float
    weight: float
    frequency_hz: Array
    speed_bits_per_s: Array
    rate_bits_per_s: Array
    distance_m: Array
    sending: Array
    running: Array
    energy_j: Array
    random: np.random.Generator
    delay_cost_per_s: float
    energy_cost_per_j: float
    added_delays: Callable[[], list[float]] = field(repr=False)

    @property
    def servers(self) -> int:
        return len(self.frequency_hz)

    def delay_increase_s(self) -> Array:
        """Return by how much the summed delay of all tasks grows on each server, exactly, if no other task comes."""
        return np.array(self.added_delays())

    def cost(self) -> Array:
        """Return w x delay cost + (1 - w) x energy cost of the task on each server."""
        delay = self.delay_cost_per_s * self.delay_increase_s()
        return self.weight * delay + (1 - self.weight) * self.energy_cost_per_j * self.energy_j
