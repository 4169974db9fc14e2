"""What users of a service see: times to tokens by percentile, what was lost, and how busy the engines were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.stack import PLAIN, Stack
from simulator.clock import PICOSECONDS_PER_SECOND, to_seconds
from simulator.intervals import mser_5
from simulator.serving.log import Log
from simulator.serving.requests import Requests
from simulator.serving.series import Level, level_of
from workloads.table import Array

PERCENTILES = (50, 90, 99)
TIMES = ("ttft_s", "tpot_s", "itl_s", "latency_s", "queue_s")
"""The times that are distributions."""
OF_POOLS = {
    "outages": "outages", "interrupted": "interrupted", "instances_mean": "instances_mean",
    "instances_most": "instances", "instances_started": "instances_started", "instance_s": "instance_s",
}  # fmt: skip
"""Numbers that are sums over pools, and their names in what a pool did."""


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
class Paid:
    """Instances, arrays of shape (instances,): the ticks from `start` to `end` are paid for.

    lanes, blocks (KV blocks), idle_w and usd_per_s are of a whole instance. lane_ranks, lane_idle_w: by lane of the
    run, devices that its steps keep busy, and the idle power of one.
    """

    start: Array
    end: Array
    lanes: Array
    blocks: Array
    idle_w: Array
    usd_per_s: Array
    lane_ranks: Array
    lane_idle_w: Array

    def ticks(self, begin: int, end: int) -> Array:
        """Return the ticks of each instance that lie between two."""
        return _within(self.start, self.end, begin, end)

    def lane_ticks(self, begin: int, end: int) -> float:
        """Return the ticks that there are between two, over all lanes."""
        return float((self.lanes * self.ticks(begin, end)).sum())


def _within(start: Array, stop: Array, begin: int, end: int) -> Array:
    return np.asarray(np.maximum(np.minimum(stop, end) - np.maximum(start, begin), 0))


@dataclass(frozen=True)
class Run:
    """One replication.

    steps: columns of `Segments` (ticks; one row a run of equal steps). lanes: names by number. lost: request numbers by
    cause. blocks: KV blocks of all lanes together. energy_j: of all boards until `horizon` (ticks), idle power
    included; device_s: devices x seconds that are paid for, usd: what they cost (NaN: no price). paid: from
    when to when each instance is there. pools: what each pool did; transfer: what the KV link did; nodes: requests by
    node of the workflow; stack: what shows users the tokens.
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
    paid: Paid
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
    """What is counted: requests that arrive from `start_s` on; rates are those of the time until `end_s`.

    What ends at its first tick does not count, what ends at its last does: n users who wait for one another's answers
    have n - 1 gaps between n arrivals, and n - 1 ends in them.
    """

    start: int
    end: int
    counted: Array

    @property
    def start_s(self) -> float:
        return self.start / PICOSECONDS_PER_SECOND

    @property
    def end_s(self) -> float:
        return self.end / PICOSECONDS_PER_SECOND

    @property
    def length_s(self) -> float:
        return (self.end - self.start) / PICOSECONDS_PER_SECOND


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
    return Window(start, last, counted)


@dataclass(frozen=True)
class Sample:
    """The counted requests of one run: their times by name, and which they are. Gaps carry weights (tokens).

    met: of each that was done, whether it met every limit; good: the same of all requests, counted or not.
    """

    window: Window
    times: dict[str, Array]
    gaps: tuple[Array, Array]
    counted: int
    met: Array
    good: Array


def sample_of(run: Run, window: Window, slo: Mapping[str, float]) -> Sample:
    """Return the times of the requests that are counted, and which met every limit (a time that is none meets it)."""
    found = times_s(run.requests, run.log, run.stack)
    keep = window.counted[found["request"]]
    times = {name: values[keep] for name, values in found.items()}
    inside = (run.steps["start"] >= window.start) & (run.steps["start"] <= window.end)
    gaps = gaps_s({name: column[inside] for name, column in run.steps.items()})
    met = np.ones(len(keep), dtype=bool)
    for name, limit in slo.items():
        met &= ~(found[name] > limit)
    good = np.zeros(len(run.requests), dtype=bool)
    good[found["request"]] = met
    return Sample(window, times, gaps, int(np.count_nonzero(window.counted)), met[keep], good)


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
    """Return (seconds, changes) of the share in use of the KV blocks that there are.

    A step holds its own from its start to its end; the blocks of an instance are there while it is paid for.
    """
    steps, paid = run.steps, run.paid
    last = paid.end < run.horizon  # those that are there at the end stay
    ticks = np.concatenate([steps["start"], steps["end"], paid.start, paid.end[last]])
    used = np.concatenate([steps["blocks"], -steps["blocks"], np.zeros(len(paid.start) + np.count_nonzero(last))])
    there = np.concatenate([np.zeros(2 * len(steps["start"])), paid.blocks, -paid.blocks[last]])
    order = np.argsort(ticks, kind="stable")
    at, first = np.unique(ticks[order], return_index=True)
    if not len(at):
        return np.zeros(0), np.zeros(0)
    level = [np.cumsum(np.add.reduceat(column[order], first)) for column in (used, there)]
    return to_seconds(at), np.diff(level[0] / np.maximum(level[1], 1.0), prepend=0.0)


def _steps(up: Array, down: Array) -> Array:
    return np.concatenate([np.ones(len(up)), -np.ones(len(down))])


def measures(run: Run, sample: Sample, found: Mapping[str, Level]) -> dict[str, float]:
    """Return the numbers of one run by name, NaN where there is none.

    Rates, power, and what a token takes in energy and money are those of the window; energy_j and cost_usd of the run.
    """
    window, log = sample.window, run.log
    done = np.array(log.done, dtype=np.int64)
    ended = (done > window.start) & (done <= window.end)
    length = window.length_s if window.length_s > 0 else float("nan")
    tokens = float(run.requests.generate[ended].sum())
    prompts = int(run.requests.prompt[done >= 0].sum())
    joules, usd = spent(run, window.start, window.end)
    busy, there = float((run.steps["end"] - run.steps["start"]).sum()), run.paid.lane_ticks(0, run.horizon)
    lost = sum(len(numbers) for numbers in run.lost.values())
    pooled = {name: sum(float(pool[key]) for pool in run.pools) for name, key in OF_POOLS.items()}
    return {
        "requests": float(sample.counted), "request_rate_hz": np.count_nonzero(ended) / length,
        "token_rate_hz": tokens / length,
        "prompt_token_rate_hz": float(run.requests.prompt[ended].sum()) / length,
        "goodput_share": np.count_nonzero(sample.met) / max(sample.counted, 1),
        "goodput_hz": np.count_nonzero(sample.good & ended) / length,
        "queue_mean": found["queue"].mean, "queue_max": found["queue"].most,
        "running_mean": found["running"].mean, "kv_mean": found["kv"].mean, "kv_max": found["kv"].most,
        "preemptions": float(sum(log.preempted)), "prefix_hit_share": sum(log.hit) / max(prompts, 1),
        "lost": float(lost), "utilisation": busy / there if there else float("nan"),
        "energy_j": run.energy_j, "energy_per_token_j": joules / tokens if tokens else float("nan"),
        "power_w": joules / length, "cost_usd": run.usd, "usd_per_s": usd / length,
        "usd_per_million_tokens": 1e6 * usd / tokens if tokens else float("nan"), "device_s": run.device_s, **pooled,
    }  # fmt: skip


def spent(run: Run, begin: int, end: int) -> tuple[float, float]:
    """Return (joules of all boards, dollars) between two ticks; a step's joules are spread evenly over it."""
    steps, paid = run.steps, run.paid
    inside = _within(steps["start"], steps["end"], begin, end)
    lane, there_s = steps["lane"], to_seconds(paid.ticks(begin, end))
    part = inside / np.maximum(steps["end"] - steps["start"], 1)
    made = float((part * steps["energy_j"] * paid.lane_ranks[lane]).sum())
    busy = float((to_seconds(inside) * paid.lane_ranks[lane] * paid.lane_idle_w[lane]).sum())
    idle = max(float((there_s * paid.idle_w).sum()) - busy, 0.0)
    return made + idle, float((there_s * paid.usd_per_s).sum())


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
    """Return the share of the time between two moments that the lanes computed, over all that were paid for."""
    begin, end = (round(t * PICOSECONDS_PER_SECOND) for t in (start_s, end_s))
    busy = _within(run.steps["start"], run.steps["end"], begin, end)
    return float(busy.sum()) / max(run.paid.lane_ticks(begin, end), 1.0)
