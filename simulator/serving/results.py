"""What users of a service see: times to tokens by percentile, what was lost, and how busy the engines were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.clock import to_seconds
from simulator.serving.replica import Log, Segment
from simulator.serving.requests import Requests
from workloads.table import Array

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Spread:
    """Mean and percentiles of one time in seconds over requests (or gaps)."""

    mean: float
    p50: float
    p90: float
    p99: float

    @staticmethod
    def of(values: Array, weights: Array | None = None) -> Spread:
        """Return the spread of values, each counted `weights` times (the least value with at least that share)."""
        if not len(values):
            return Spread(*(float("nan"),) * 4)
        weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
        order = np.argsort(values, kind="stable")
        total = np.cumsum(weights[order])
        found = [float(values[order][np.searchsorted(total, q / 100 * total[-1])]) for q in PERCENTILES]
        return Spread(float(np.average(values, weights=weights)), *found)

    def to_json(self) -> dict[str, float]:
        return {"mean": self.mean, "p50": self.p50, "p90": self.p90, "p99": self.p99}


def times_s(requests: Requests, log: Log) -> dict[str, Array]:
    """Return ttft_s, tpot_s, latency_s and queue_s of each request that was done (DESIGN: definitions), and which."""
    done = np.array(log.done, dtype=np.int64)
    where = np.flatnonzero(done >= 0)
    first, admitted = (np.array(x, dtype=np.int64)[where] for x in (log.first_token, log.admitted))
    arrival, generate = requests.arrival[where], requests.generate[where]
    return {
        "request": where, "ttft_s": to_seconds(first - arrival), "latency_s": to_seconds(done[where] - arrival),
        "queue_s": to_seconds(admitted - arrival),
        "tpot_s": np.where(generate > 1, to_seconds(done[where] - first) / np.maximum(generate - 1, 1), np.nan),
    }  # fmt: skip


def gaps_s(segments: list[Segment]) -> tuple[Array, Array]:
    """Return (seconds, decodes): every step that decodes made, and how many tokens it gave, as inter-token gaps."""
    kept = [s for s in segments if s.decodes]
    steps = np.array([s.steps for s in kept], dtype=np.int64)
    which = np.repeat(np.arange(len(kept)), steps)
    place = np.arange(len(which)) - np.repeat(np.cumsum(steps) - steps, steps)
    first, more, decodes = (
        np.array([getattr(s, n) for s in kept], dtype=np.int64) for n in ("first", "more", "decodes")
    )
    return to_seconds(first[which] + place * more[which]), decodes[which]
