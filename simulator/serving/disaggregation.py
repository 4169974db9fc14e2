"""Prefill and decode on engines of their own: the KV cache of a prompt crosses a link between them.

The first token is that of the prefill engine. Its blocks are free when the prefill ends, not when the last byte is
sent. A decode engine that takes a cache away again, or takes over from one that failed, computes it anew itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from foundation.checks import finite_number
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.failures import LONGEST_S, seconds, ticks


@dataclass(frozen=True)
class Transfer:
    """A link that sends one cache after the other: prompt tokens x kv_bytes_per_token at bandwidth_bytes_per_s.

    A cache is there `latency_s` after its last byte was sent; the latency does not hold the link.
    """

    kv_bytes_per_token: float
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        finite_number("kv_bytes_per_token", self.kv_bytes_per_token, high=1e15)
        finite_number("bandwidth_bytes_per_s of the KV link", self.bandwidth_bytes_per_s, strict=True)
        seconds("latency_s of the KV link", self.latency_s)


class Link:
    """The link in time. `sent_bytes`, `busy` (ticks) and `waited` (ticks) sum over transfers."""

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.free = 0
        self.busy = 0
        self.waited = 0
        self.transfers = 0
        self.sent_bytes = 0.0
        self._latency = ticks(transfer.latency_s)

    def send(self, tokens: int, at: int) -> int:
        """Send the cache of so many tokens from tick `at` on; return the tick at which it is there."""
        size = tokens * self.transfer.kv_bytes_per_token
        took_s = min(size / self.transfer.bandwidth_bytes_per_s, 2 * LONGEST_S)  # longer than any run, but finite
        took = round(took_s * PICOSECONDS_PER_SECOND)
        start = max(at, self.free)
        self.free = start + took
        self.busy += took
        self.waited += start - at
        self.transfers += 1
        self.sent_bytes += size
        return self.free + self._latency
