"""A model of traffic: how requests arrive, how long they are and what they share, drawn from two random streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.arrivals import Arrivals
from workloads.traffic.lengths import PromptAndAnswer, normal_cdf
from workloads.traffic.sessions import Sessions
from workloads.traffic.stream import NO_SESSION, Traffic

COLUMNS = 6
"""Normal numbers a request: prompt, answer, continues, shared, age, priority. Fixed, so that one feature shifts no
other."""


@dataclass(frozen=True)
class TrafficModel:
    """What `draw` draws from. `requests` and `horizon_s` say how much, where the caller of `draw` does not.

    `priorities` maps a priority to its share of the requests; the rest has priority 0.
    """

    arrivals: Arrivals
    lengths: PromptAndAnswer
    sessions: Sessions | None = None
    priorities: tuple[tuple[int, float], ...] = ()
    requests: int | None = None
    horizon_s: float | None = None
    name: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        shares = [(value, finite_number("share of a priority", share, high=1)) for value, share in self.priorities]
        if sum(share for _, share in shares) > 1 + 1e-9:
            raise BadValueError("priorities: the shares add up to more than 1.")
        object.__setattr__(self, "priorities", tuple(shares))
        if self.horizon_s is not None:
            object.__setattr__(self, "horizon_s", finite_number("horizon_s", self.horizon_s, strict=True))

    @property
    def rate_hz(self) -> float:
        return self.arrivals.rate_hz

    def at_rate(self, rate_hz: float) -> TrafficModel:
        """Return the same traffic at another mean rate; bursts keep their seconds and their relative size."""
        return replace(self, arrivals=self.arrivals.at_rate(rate_hz))

    def draw(
        self, random: tuple[np.random.Generator, np.random.Generator], *,
        requests: int | None = None, horizon_s: float | None = None,
    ) -> Traffic:  # fmt: skip
        """Return requests drawn from two streams, `(arrivals, lengths)`: a change of one part does not shift the other.

        The caller's `requests` or `horizon_s` take the place of the model's own; where both are given both bound.

        Raises:
            BadValueError: nothing says how much to draw, it is too much, or nothing arrived before the horizon.
        """
        if requests is None and horizon_s is None:
            requests, horizon_s = self.requests, self.horizon_s
        times = self.arrivals.times(random[0], requests=requests, horizon_s=horizon_s)
        count = len(times)
        if count == 0:
            raise BadValueError(f"No request arrives within {horizon_s:g} s at {self.rate_hz:g} a second. Take longer.")
        normal = random[1].standard_normal((count, COLUMNS))
        prompt, generate = self.lengths.of_normal(normal[:, :2])
        session, start, ids, tokens = self._prefixes(times, prompt, normal[:, 2:5])
        return Traffic(
            times, prompt, generate, session, self._priority(normal[:, 5]), start, ids, tokens, self.name, self.source
        )

    def _prefixes(self, times: Array, prompt: Array, normal: Array) -> tuple[Array, Array, Array, int]:
        if self.sessions:
            return (*self.sessions.prefixes(times, prompt, normal), self.sessions.block_tokens)
        count = len(times)
        none = np.full(count, NO_SESSION, dtype=np.int64)
        return none, np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64), 512

    def _priority(self, normal: Array) -> Array:
        if not self.priorities:
            return np.zeros(len(normal), dtype=np.int64)
        edges = np.cumsum([share for _, share in self.priorities])
        values = np.array([value for value, _ in self.priorities] + [0], dtype=np.int64)
        found: Array = values[np.searchsorted(edges, normal_cdf(normal), side="right")]
        return found
