"""Users who wait for an answer, think, and ask again: the load follows the speed of the service."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.checks import whole_number
from foundation.errors import UnknownNameError
from simulator.clock import to_ticks
from simulator.serving.failures import seconds
from simulator.streams import RandomStreams

LAWS = ("fixed", "exponential")


@dataclass(frozen=True)
class ClosedLoop:
    """`users` who each have one request at a time and send the next `think_s` after the last is done (or was lost).

    Users start evenly over `ramp_s`. The requests' lengths are taken in their order; their own arrival times are not
    used. think: "fixed", or "exponential" with mean think_s.
    """

    users: int
    think_s: float = 0.0
    ramp_s: float = 0.0
    think: str = "fixed"

    def __post_init__(self) -> None:
        whole_number("users", self.users)
        seconds("think_s", self.think_s)
        seconds("ramp_s", self.ramp_s)
        if self.think not in LAWS:
            raise UnknownNameError("law of thinking", self.think, LAWS)

    def starts(self) -> list[int]:
        """Return the tick at which each user sends the first request."""
        found: list[int] = to_ticks(np.arange(self.users) * (self.ramp_s / self.users), what="a start").tolist()
        return found

    def thinks(self, requests: int, streams: RandomStreams) -> list[int]:
        """Return the ticks of thought after each request, by its number."""
        if self.think == "fixed":
            thought_s = np.full(requests, self.think_s)
        else:
            thought_s = streams.get("closed_loop/think").exponential(self.think_s, requests)
        found: list[int] = to_ticks(thought_s, what="a time of thought").tolist()
        return found
