"""What users of a service see: times to tokens by percentile, what was lost, and how busy the engines were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.stack import PLAIN, Stack
from simulator.clock import PICOSECONDS_PER_SECOND, to_seconds
from simulator.serving.log import Log
from simulator.serving.replications import mser_5
from simulator.serving.requests import Requests
from simulator.serving.series import Level, level_of
from workloads.table import Array

PERCENTILES = (50, 90, 99)
TIMES = ("ttft_s", "tpot_s", "itl_s", "latency_s", "queue_s")
"""The times that are distributions."""


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


@dataclass(frozen=True)
class Run:
    """One replication.

    steps: columns of `Segments` (ticks; one row a run of equal steps). lanes: names by number. lost: request numbers by
    cause. blocks: KV blocks of all lanes together. energy_j: of all boards until `horizon` (ticks), idle power
    included; device_s: devices x seconds that are paid for, usd: what they cost (NaN: no price). pools: what each pool
    did; transfer: what the KV link did; nodes: requests by node of the workflow; stack: what shows users the tokens.
    """

    requests: Requests
    log: Log
    steps: Mapping[str, Array]
    lanes: Sequence[str]
    lost: Mapping[str, Sequence[int]]
    horizon: int
    blocks: int
    energy_j: float
    device_s: float
    usd: float
    trace_hash: str
    open_loop: bool = True
    pools: Sequence[Mapping[str, Any]] = ()
    transfer: Mapping[str, Any] | None = None
    nodes: Mapping[str, int] | None = None
    stack: Stack = PLAIN


def times_s(requests: Requests, log: Log, stack: Stack = PLAIN) -> dict[str, Array]:
    """Return ttft_s, tpot_s, latency_s and queue_s of each request that was done (DESIGN: definitions), and which.

    A stack shows the first token later than the engine made it, and all others with it.
    """
    done = np.array(log.done, dtype=np.int64)
    where = np.flatnonzero(done >= 0)
    first, admitted = (np.array(x, dtype=np.int64)[where] for x in (log.first_token, log.admitted))
    arrival, generate = requests.arrival[where], requests.generate[where]
    made, tpot = to_seconds(first - arrival), to_seconds(done[where] - first) / np.maximum(generate - 1, 1)
    seen = made if stack is PLAIN else stack.shown_ttft_s(made, tpot)
    return {
        "request": where, "ttft_s": seen, "latency_s": to_seconds(done[where] - arrival) + (seen - made),
        "queue_s": to_seconds(admitted - arrival), "tpot_s": np.where(generate > 1, tpot, np.nan),
    }  # fmt: skip


def gaps_s(steps: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return (seconds, decodes): every step that decoded, and how many requests had to wait for it for a token.

    Tokens that one step gives a request together (speculation) have no gap between them.
    """
    kept = steps["decodes"] > 0
    count = steps["steps"][kept]
    which = np.repeat(np.flatnonzero(kept), count)
    place = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    return to_seconds(steps["first"][which] + place * steps["more"][which]), steps["decodes"][which]


@dataclass(frozen=True)
class Window:
    """What is counted: requests that arrive from `start_s` on; rates are those of the time until `end_s`."""

    start_s: float
    end_s: float
    counted: Array

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


def window_of(run: Run, warmup: tuple[str, float]) -> Window:
    """Return the window after the warm-up: to the last arrival, or to the last completion where most are done later."""
    arrival = run.requests.arrival
    order = np.argsort(arrival, kind="stable")
    first = int(warmup[1] * len(arrival))
    if warmup[0] == "mser-5":
        found = times_s(run.requests, run.log, run.stack)
        in_turn = np.argsort(arrival[found["request"]], kind="stable")
        cut = mser_5(found["latency_s"][in_turn])
        first = int(np.searchsorted(arrival[order], arrival[found["request"][in_turn[cut]]])) if len(in_turn) else 0
    start, last = int(arrival[order[min(first, len(order) - 1)]]), int(arrival[order[-1]])
    counted = arrival >= start
    done = np.array(run.log.done, dtype=np.int64)[counted]
    ended = done[done >= 0]
    if len(ended) and np.count_nonzero(ended <= last) < len(done) / 2:
        last = int(ended.max())
    return Window(start / PICOSECONDS_PER_SECOND, last / PICOSECONDS_PER_SECOND, counted)


@dataclass(frozen=True)
class Sample:
    """The counted requests of one run: their times by name, and which they are. Gaps carry weights (tokens)."""

    window: Window
    times: dict[str, Array]
    gaps: tuple[Array, Array]
    counted: int
    met: Array


def sample_of(run: Run, window: Window, slo: Mapping[str, float]) -> Sample:
    """Return the times of the requests that are counted, and which met every limit (a time that is none meets it)."""
    found = times_s(run.requests, run.log, run.stack)
    keep = window.counted[found["request"]]
    times = {name: values[keep] for name, values in found.items()}
    begin, end = (round(t * PICOSECONDS_PER_SECOND) for t in (window.start_s, window.end_s))
    inside = (run.steps["start"] >= begin) & (run.steps["start"] <= end)
    gaps = gaps_s({name: column[inside] for name, column in run.steps.items()})
    met = np.ones(len(times["request"]), dtype=bool)
    for name, limit in slo.items():
        met &= ~(times[name] > limit)
    return Sample(window, times, gaps, int(np.count_nonzero(window.counted)), met)


def spreads(sample: Sample) -> dict[str, Spread]:
    """Return the spread of every time of `TIMES`."""
    found = {name: Spread.of(_known(sample.times[name])) for name in TIMES if name in sample.times}
    found["itl_s"] = Spread.of(*sample.gaps)
    return found


def _known(values: Array) -> Array:
    return values[np.isfinite(values)]


def levels(run: Run, window: Window) -> dict[str, Level]:
    """Return queue (requests that were not yet admitted), running, and the share of KV blocks in use, over time."""
    log, arrival = run.log, run.requests.arrival
    admitted, done = (np.array(x, dtype=np.int64) for x in (log.admitted, log.done))
    left = np.where(admitted >= 0, admitted, np.where(done >= 0, done, -1))
    for numbers in run.lost.values():  # what was lost before it was admitted leaves the queue as it comes
        index = np.asarray(numbers, dtype=np.intp)
        left[index] = np.where(left[index] >= 0, left[index], arrival[index])
    came, went = to_seconds(arrival), to_seconds(left[left >= 0])
    began, ended = to_seconds(admitted[admitted >= 0]), to_seconds(done[(done >= 0) & (admitted >= 0)])
    span = (window.start_s, window.end_s)
    return {
        "queue": level_of(np.concatenate([came, went]), _steps(came, went), *span),
        "running": level_of(np.concatenate([began, ended]), _steps(began, ended), *span),
        "kv": level_of(*_held(run), *span),
    }  # fmt: skip


def _held(run: Run) -> tuple[Array, Array]:
    """Return (seconds, changes) of the share of KV blocks in use; a step holds its own from its start to its end."""
    begin, end = (to_seconds(run.steps[name]) for name in ("start", "end"))
    share = run.steps["blocks"] / max(run.blocks, 1)
    return np.concatenate([begin, end]), np.concatenate([share, -share])


def _steps(up: Array, down: Array) -> Array:
    return np.concatenate([np.ones(len(up)), -np.ones(len(down))])


def measures(run: Run, sample: Sample, found: Mapping[str, Level]) -> dict[str, float]:
    """Return the numbers of one run by name, NaN where there is none. Rates are those of the window."""
    window, log = sample.window, run.log
    done = np.array(log.done, dtype=np.int64)
    ended = (done >= round(window.start_s * PICOSECONDS_PER_SECOND)) & (
        done <= round(window.end_s * PICOSECONDS_PER_SECOND)
    )
    length = window.length_s if window.length_s > 0 else float("nan")
    met = np.zeros(len(done), dtype=bool)
    met[sample.times["request"][sample.met]] = True
    tokens = int(run.requests.generate[done >= 0].sum())
    prompts = int(run.requests.prompt[done >= 0].sum())
    horizon_s = run.horizon / PICOSECONDS_PER_SECOND
    busy = float((run.steps["end"] - run.steps["start"]).sum())
    lost = sum(len(numbers) for numbers in run.lost.values())
    return {
        "requests": float(sample.counted), "request_rate_hz": np.count_nonzero(ended) / length,
        "token_rate_hz": float(run.requests.generate[ended].sum()) / length,
        "prompt_token_rate_hz": float(run.requests.prompt[ended].sum()) / length,
        "goodput_share": np.count_nonzero(sample.met) / max(sample.counted, 1),
        "goodput_hz": np.count_nonzero(met & ended) / length,
        "queue_mean": found["queue"].mean, "queue_max": found["queue"].most,
        "running_mean": found["running"].mean, "kv_mean": found["kv"].mean, "kv_max": found["kv"].most,
        "preemptions": float(sum(log.preempted)), "prefix_hit_share": sum(log.hit) / max(prompts, 1),
        "lost": float(lost), "utilisation": busy / (len(run.lanes) * run.horizon) if run.horizon else float("nan"),
        "energy_j": run.energy_j, "energy_per_token_j": run.energy_j / max(tokens, 1),
        "power_w": run.energy_j / horizon_s if horizon_s else float("nan"),
        "cost_usd": run.usd, "usd_per_million_tokens": 1e6 * run.usd / max(tokens, 1), "device_s": run.device_s,
    }  # fmt: skip


def is_unstable(run: Run, window: Window) -> bool:
    """Return whether the queue grows without end: more come than leave while the lanes are busy all the time.

    In the second half of the arrivals after the warm-up, n of them: the queue of those not admitted grows by more than
    max(5, 3 sqrt(n)) (three deviations of a Poisson count), less than 97 % of what comes is done, and the lanes work
    for more than 95 % of the time. A closed loop waits for its answers, so it never is.
    """
    if not run.open_loop:
        return False
    arrival = to_seconds(run.requests.arrival)
    end = float(arrival.max())
    middle = (window.start_s + end) / 2
    admitted, done = (
        np.where(np.array(x) >= 0, to_seconds(np.array(x, dtype=np.int64)), np.inf)
        for x in (run.log.admitted, run.log.done)
    )
    gone = {number for numbers in run.lost.values() for number in numbers}
    kept = np.ones(len(arrival), dtype=bool)
    kept[list(gone)] = False
    queue = [np.count_nonzero(kept & (arrival <= t) & (admitted > t)) for t in (middle, end)]
    came = np.count_nonzero(kept & (arrival > middle) & (arrival <= end))
    left = np.count_nonzero((done > middle) & (done <= end))
    if came < 10 or queue[1] - queue[0] <= max(5.0, 3 * came**0.5) or left >= 0.97 * came:
        return False
    return busy_share(run, middle, end) > 0.95


def busy_share(run: Run, start_s: float, end_s: float) -> float:
    """Return the share of the time between two moments that the lanes computed, over all lanes."""
    begin, end = (round(t * PICOSECONDS_PER_SECOND) for t in (start_s, end_s))
    busy = np.minimum(run.steps["end"], end) - np.maximum(run.steps["start"], begin)
    return float(np.maximum(busy, 0).sum()) / max(len(run.lanes) * (end - begin), 1)
