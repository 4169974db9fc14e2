"""The demand of a plan: requests by replication, from a generator or a trace, at the rate that is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.planning.plan_file import MOST_REQUESTS, Study
from foundation.errors import BadValueError
from simulator.streams import RandomStreams
from workloads.table import Array
from workloads.traffic import Traffic, TrafficModel

LEAST_REQUESTS = 1200
"""Of a replication: with twelve of them a 99th percentile rests on some hundred requests."""
LEAST_S, STAYS = 60.0, 5.0
"""A run lasts at least so long, and so many times what a request stays in the mean, for queues to have the time to grow
(estimated); many runs, as a demand may be calm or busy for longer than any of them."""
MEAN_SHARE = 0.5
"""Of a limit of TPOT at a high percentile that the mean takes, before any fleet is known (estimated, 0.3 to 0.9)."""
ENOUGH, FEWEST = 100_000, 3
"""Requests of all replications beyond which fewer, longer ones are drawn, but at least so many."""
TRACE_REQUESTS = 8000
"""Of a trace, where the file does not say how many."""


@dataclass(frozen=True)
class Demand:
    """Who asks: one stream of requests a replication, at a mean rate. A trace has one, its busiest part."""

    name: str
    rate_hz: float
    runs: tuple[Traffic, ...]
    trace: str
    notes: tuple[str, ...] = ()

    @property
    def prompt(self) -> Array:
        """Return the prompt tokens of every request of every replication."""
        return np.concatenate([run.prompt for run in self.runs])

    @property
    def generate(self) -> Array:
        """Return the output tokens of every request of every replication."""
        return np.concatenate([run.generate for run in self.runs])

    @property
    def longest(self) -> int:
        """Return the tokens of the longest request, prompt and output together."""
        return int(np.max(self.prompt + self.generate))

    @property
    def tokens_per_s(self) -> float:
        """Return the output tokens that are asked for in a second."""
        return self.rate_hz * float(np.mean(self.generate))

    @property
    def busiest_first(self) -> list[int]:
        """Return the replications by the tokens that they ask for in a second, most first."""
        tokens = [float((run.prompt + run.generate).sum()) / max(float(run.arrival_s[-1]), 1e-9) for run in self.runs]
        return sorted(range(len(tokens)), key=lambda i: (-tokens[i], i))

    @property
    def digest(self) -> str:
        """Return a hash of every request of every replication."""
        found = hashlib.sha256()
        for run in self.runs:
            for column in (run.arrival_s, run.prompt, run.generate):
                found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:16]

    def grown(self, factor: float) -> Demand:
        """Return the same requests arriving `factor` times as fast."""
        runs = tuple(replace(run, arrival_s=run.arrival_s / factor) for run in self.runs)
        return replace(self, rate_hz=self.rate_hz * factor, runs=runs)

    def to_json(self) -> dict[str, Any]:
        means = {
            key: {"mean": float(np.mean(x)), "p50": float(np.percentile(x, 50)), "p99": float(np.percentile(x, 99))}
            for key, x in (("prompt_tokens", self.prompt), ("generate_tokens", self.generate))
        }
        return {
            "name": self.name, "rate_hz": self.rate_hz, "requests": sum(len(run) for run in self.runs),
            "replications": len(self.runs), "trace": self.trace,
            "hash": self.digest, **means,
        }  # fmt: skip


def demand_of(study: Study, seed: int) -> Demand:
    """Return the demand of a study. Raises BadFileError: a trace or generator that cannot be, or too many requests."""
    return study.settings.at(study.demand_at, lambda: _trace(study) if study.trace else _drawn(study, seed))


def _drawn(study: Study, seed: int) -> Demand:
    """Draw the replications, and scale their times alike so that the mean rate over all is the one asked for."""
    from workloads.traffic import traffic_model

    spec = dict(study.traffic or {})
    asked = spec.pop("requests", None)
    model = traffic_model(spec)
    rate = model.rate_hz
    horizon = asked / rate if asked else max(LEAST_REQUESTS / rate, LEAST_S, STAYS * _stay_s(study, model, seed))
    count = study.replications if asked else _thinned(study.replications, rate * horizon)
    if rate * horizon * count > MOST_REQUESTS:
        raise BadValueError(
            f"{rate:g} requests a second are more than one plan simulates ({MOST_REQUESTS:,} in all); plan for "
            "a part of the demand, or ask for fewer requests or replications."
        )
    runs = []
    for replication in range(count):
        streams = RandomStreams(seed, replication)
        both = (streams.get("traffic/arrivals"), streams.get("traffic/lengths"))
        runs.append(model.draw(both, horizon_s=horizon))
    drawn = sum(len(run) for run in runs) / (horizon * len(runs))
    scaled = tuple(replace(run, arrival_s=run.arrival_s * (drawn / rate)) for run in runs)
    notes = () if count == study.replications else (
        f"{count} replications of {horizon:.3g} s in place of {study.replications}: at {rate:g} requests/s they have "
        "requests enough.",
    )  # fmt: skip
    return Demand(str(spec.get("name") or model.name or "traffic"), rate, scaled, "", notes)


def _thinned(replications: int, requests: float) -> int:
    """Return how many replications of so many requests are drawn."""
    return min(replications, max(FEWEST, int(ENOUGH / requests)))


def _stay_s(study: Study, model: TrafficModel, seed: int) -> float:
    """Return about how long a request stays in the mean in a fleet that just keeps the limit of TPOT (0: no limit)."""
    if study.slo.tpot_s is None:
        return 0.0
    streams = RandomStreams(seed, 0)
    few = model.draw((streams.get("traffic/arrivals"), streams.get("traffic/lengths")), requests=LEAST_REQUESTS)
    return MEAN_SHARE * study.slo.tpot_s * float(np.mean(few.generate))


def _rate(run: Traffic) -> float:
    span = float(run.arrival_s[-1] - run.arrival_s[0])
    if len(run) < 2 or span <= 0:
        raise BadValueError("A demand needs at least two requests at different times, so that it has a rate.")
    return (len(run) - 1) / span


def _trace(study: Study) -> Demand:
    from workloads.traffic import read_traffic

    spec = study.trace or {}
    whole = read_traffic(spec["file"], drop_empty=True)
    rate = _rate(whole)
    if "rate_hz" in spec:
        whole = replace(whole, arrival_s=(whole.arrival_s - whole.arrival_s[0]) * (rate / spec["rate_hz"]))
        rate = float(spec["rate_hz"])
    count = min(spec.get("requests", max(TRACE_REQUESTS, round(LEAST_S * rate))), MOST_REQUESTS, len(whole))
    first = _busiest(whole.arrival_s, count)
    part = whole.take(np.arange(first, first + count))
    part = replace(part, arrival_s=part.arrival_s - part.arrival_s[0])
    busy = _rate(part)
    notes = () if count == len(whole) else (
        f"The plan is for the busiest {count:,} requests in a row of the trace's {len(whole):,}: {busy:.3g} "
        f"requests/s, where the whole has {rate:.3g}.",
    )  # fmt: skip
    return Demand(whole.name or str(spec["file"]), busy, (part,), str(spec["file"]), notes)


def _busiest(arrival_s: Array, count: int) -> int:
    """Return the first of the `count` requests in a row that arrive in the shortest time."""
    spans = arrival_s[count - 1 :] - arrival_s[: len(arrival_s) - count + 1]
    return int(np.argmin(spans))
