"""Requests: when each arrives, how long its prompt is, and how many tokens it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import BadValueError
from simulator.clock import Ticks, to_ticks
from workloads.table import Array
from workloads.traffic.stream import Traffic

MAX_REQUESTS = 20_000_000


@dataclass(frozen=True)
class Requests:
    """A stream of requests in the order of their arrival, one array a column, shape (requests,).

    arrival: ticks (picoseconds); prompt, generate: tokens, both at least 1. session: requests of one conversation share
    it, -1 stands for none; priority: smaller goes first. Request i's prompt begins with the blocks of `prefix_tokens`
    tokens each whose ids are `prefix_ids[prefix_start[i]:prefix_start[i + 1]]`: equal ids are equal tokens.
    """

    arrival: Ticks
    prompt: Array
    generate: Array
    session: Array
    priority: Array
    prefix_start: Array
    prefix_ids: Array
    prefix_tokens: int = 512

    def __len__(self) -> int:
        return len(self.arrival)

    @staticmethod
    def of(arrival_s: Array, prompt: Array, generate: Array) -> Requests:
        """Return a checked stream of requests that share nothing, sorted by arrival (equal times keep their order).

        Raises:
            BadValueError: a time or a length that a request cannot have; the position is named.
        """
        return Requests.from_traffic(Traffic.of(arrival_s, prompt, generate))

    @staticmethod
    def from_traffic(traffic: Traffic) -> Requests:
        """Return the requests of traffic, with their times in ticks. Raises BadValueError: too many for one run."""
        if len(traffic) > MAX_REQUESTS:
            raise BadValueError(f"{len(traffic):,} requests are more than the {MAX_REQUESTS:,} that one run takes.")
        return Requests(
            to_ticks(traffic.arrival_s, what="an arrival"), traffic.prompt, traffic.generate, traffic.session,
            traffic.priority, traffic.prefix_start, traffic.prefix_ids, traffic.prefix_tokens,
        )  # fmt: skip
