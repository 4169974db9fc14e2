"""What a sweep asks of a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from archcast.measuring.repeats import Timing

Row = Mapping[str, Any]
"""One operator: columns of the measurement table by name, such as {"op": "gemm", "dtype": "fp32", "m": 64, ...}."""


@dataclass(frozen=True)
class Network:
    """A whole network to run: a built-in workload, changes of its knobs, and the request."""

    workload: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    prompt: int | None = None
    decode: bool = False
    """True: one decode step after the prompt; else the pass over the prompt or the image."""


class Backend(Protocol):
    """Runs operators of one software stack on one device.

    `device` is the catalogue id, `software` the stack and its version as the table names it. `candidates` are the
    operators that the stack can run; `networks` the whole networks.
    """

    device: str
    software: str

    def candidates(self) -> Sequence[Row]:
        """Return the fixed pool that the sweep chooses from."""

    def measure(self, row: Row, limit_s: float) -> Timing:
        """Run one operator repeatedly, for about `limit_s` at the longest after it is set up.

        Raises:
            UnsupportedError: the stack refuses it.
        """

    def networks(self) -> Sequence[Network]:
        """Return the whole networks that can be run."""

    def measure_network(self, network: Network, limit_s: float) -> Timing:
        """Run one network repeatedly. Raises UnsupportedError."""
