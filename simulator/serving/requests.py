"""Requests: when each arrives, how long its prompt is, and how many tokens it asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from simulator.clock import Ticks, to_ticks
from workloads.table import Array

MAX_REQUESTS = 20_000_000


@dataclass(frozen=True)
class Requests:
    """A stream of requests in the order of their arrival, one array a column, shape (requests,).

    arrival: ticks (picoseconds); prompt, generate: tokens, both at least 1.
    """

    arrival: Ticks
    prompt: Array
    generate: Array

    def __len__(self) -> int:
        return len(self.arrival)

    @staticmethod
    def of(arrival_s: Array, prompt: Array, generate: Array) -> Requests:
        """Return a checked stream, sorted by arrival (equal times keep their order).

        Raises:
            BadValueError: a time or a length that a request cannot have; the position is named.
        """
        columns = [np.atleast_1d(np.asarray(c)) for c in (arrival_s, prompt, generate)]
        if len({len(c) for c in columns}) != 1:
            raise BadValueError("arrival_s, prompt and generate must have one value a request each.")
        if len(columns[0]) > MAX_REQUESTS:
            raise BadValueError(f"{len(columns[0]):,} requests are more than the {MAX_REQUESTS:,} that one run takes.")
        ticks = to_ticks(columns[0], what="an arrival")
        for name, values in (("prompt", columns[1]), ("generate", columns[2])):
            bad = ~((values >= 1) & (values == np.floor(values)) & (values < 2**31))
            if bad.any():
                at = int(np.argmax(bad))
                raise BadValueError(
                    f"Request {at + 1}: {name} must be a whole number of tokens, at least 1, not {values[at]}."
                )
        order = np.argsort(ticks, kind="stable")
        return Requests(ticks[order], columns[1].astype(np.int64)[order], columns[2].astype(np.int64)[order])
