"""Replications of a scenario, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulator.clock import to_seconds
from simulator.intervals import (
    WIDEST,
    Uncertain,
    batches,
    combined,
    combined_log,
    half_width,
    half_width_log,
    in_order,
)  # fmt: skip
from simulator.serving.fleet import Fleet, FleetRun, Pool
from simulator.serving.fleet_run import PoolRun
from simulator.serving.log import Segments
from simulator.serving.requests import Requests
from simulator.serving.results import (
    TIMES,
    Paid,
    Run,
    Sample,
    Spread,
    is_unstable,
    levels,
    measures,
    sample_of,
    spreads,
    window_of,
)  # fmt: skip
from simulator.serving.scenario import LEVELS, PoolPlan, Scenario
from simulator.serving.series import Level
from simulator.streams import RandomStreams

STATISTICS = ("mean", "p50", "p90", "p99")
RISING = STATISTICS[1:]
OF_A_TOKEN = {"energy_per_token_j": ("power_w", 1.0), "usd_per_million_tokens": ("usd_per_s", 1e6)}
"""Numbers of a token out: what is spent on it a second, and for how many tokens."""
SECONDS_PER_HOUR = 3600.0
WIDE_NOTE = (
    f"Some times have no interval: it would reach further than a factor of {WIDEST:g}; raise replications or requests."
)
FEWEST_REQUESTS = 300
"""Counted requests below which a run says little of percentiles, and nothing of a queue that grows slowly."""
FEWEST_LATENCIES = 3.0
"""A run that is shorter than so many mean latencies ends before its queue has settled (estimated, 2 to 10)."""


@dataclass(frozen=True)
class Study:
    """What all replications say. `times` has the statistics of each time, `numbers` all else; `first` is run 0.

    `chance` says what the intervals for chance rest on: "replications", "batch means", or "" (there is none).
    """

    times: Mapping[str, Mapping[str, Uncertain]]
    numbers: Mapping[str, Uncertain]
    lost: Mapping[str, float]
    unstable: bool
    unstable_runs: int
    runs: int
    chance: str
    model_interval: bool
    trace_hashes: Sequence[str]
    first: Run
    sample: Sample
    levels: Mapping[str, Level]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _One:
    """One replication, reduced to numbers."""

    spreads: Mapping[str, Spread]
    measures: Mapping[str, float]
    lost: Mapping[str, int]
    unstable: bool
    trace_hash: str


def run(scenario: Scenario) -> Study:
    """Run all replications: at the step costs, and at the ends of their interval on the same random numbers.

    Raises:
        BadValueError: pools or traffic that cannot go together.
        InvariantError: a law of conservation does not hold (a fault of the simulator).
    """
    first, sample, found_levels = _kept(scenario)
    known = [level for level in LEVELS if all(level in plan.costs for plan in scenario.pools)]
    ones = [_reduced(scenario, first, sample, found_levels)]
    for i in range(1, scenario.replications):
        ones.append(_reduced(scenario, once(scenario, i)))
        if i == 1 and ones[1].trace_hash == first.trace_hash:
            ones.pop()  # nothing is drawn: every replication is this one
            break
    by_level = {LEVELS[0]: ones}
    for level in known[1:]:
        by_level[level] = [_reduced(scenario, once(scenario, i, level)) for i in range(len(ones))]
    chance = "replications" if len(ones) > 1 else "batch means" if batches(len(sample.times["request"])) else ""
    causes = sorted({cause for one in ones for cause in one.lost})
    unstable = sum(one.unstable for one in ones)
    notes = _notes(chance, len(known) > 1, unstable, len(ones), scenario.replications)
    times = {name: _statistics(name, by_level, sample) for name in TIMES}
    if chance and any(not x.known and x.value > 0 for found in times.values() for x in found.values()):
        notes += (WIDE_NOTE,)
    notes += _short(sample, first.open_loop) if not unstable else ()
    if not unstable and any(one.unstable for one in by_level.get("hi", ())):
        notes += ("Where steps take as long as the upper end of their interval says, it is unstable: see hi.",)
    return Study(
        times=times,
        numbers={name: _number(name, by_level, sample) for name in ones[0].measures},
        lost={cause: float(np.mean([one.lost.get(cause, 0) for one in ones])) for cause in causes},
        unstable=2 * unstable >= len(ones), unstable_runs=unstable, runs=len(ones), chance=chance,
        model_interval=len(known) > 1, trace_hashes=[one.trace_hash for one in ones], first=first, sample=sample,
        levels=found_levels, notes=notes,
    )  # fmt: skip


def once(scenario: Scenario, replication: int, level: str = LEVELS[0]) -> Run:
    """Run one replication at one level of the step costs."""
    streams = RandomStreams(scenario.seed, replication)
    requests = Requests.from_traffic(scenario.traffic(streams))
    pools = [_pool(plan, level) for plan in scenario.pools]
    found = Fleet(pools, requests, streams, segments=True, **scenario.fleet).run()
    return _run(scenario, found, level)


def _pool(plan: PoolPlan, level: str) -> Pool:
    engine = plan.engine
    return Pool(
        plan.name, plan.costs[level], plan.policy, plan.instances, plan.lanes, plan.devices, engine.mapping.tp,
        engine.rates.idle_w[LEVELS.index(level)], **plan.options,
    )  # fmt: skip


def _kept(scenario: Scenario) -> tuple[Run, Sample, dict[str, Level]]:
    first = once(scenario, 0)
    window = window_of(first, scenario.warmup)
    return first, sample_of(first, window, scenario.slo), levels(first, window)


def _reduced(
    scenario: Scenario, one: Run, sample: Sample | None = None, found: Mapping[str, Level] | None = None
) -> _One:  # fmt: skip
    window = sample.window if sample else window_of(one, scenario.warmup)
    sample = sample or sample_of(one, window, scenario.slo)
    numbers = measures(one, sample, found or levels(one, window))
    lost = {cause: len(requests) for cause, requests in one.lost.items()}
    return _One(spreads(sample), numbers, lost, is_unstable(one, window), one.trace_hash)


def _statistics(name: str, by_level: Mapping[str, list[_One]], sample: Sample) -> dict[str, Uncertain]:
    """Return mean and percentiles of a time; intervals in the logarithm, but of times that may be 0."""
    found = {}
    for statistic in STATISTICS:
        columns = {level: [getattr(o.spreads[name], statistic) for o in ones] for level, ones in by_level.items()}
        values = columns[LEVELS[0]]
        several = values if len(values) > 1 else _of_batches(name, statistic, sample)
        ends = (columns.get("lo", ()), columns.get("hi", ()))
        if all(x > 0 for column in (*columns.values(), several) for x in column if math.isfinite(x)):
            found[statistic] = combined_log(values, half_width_log(several), *ends)
        else:
            found[statistic] = combined(values, half_width(several), *ends)
    return found | dict(zip(RISING, in_order([found[key] for key in RISING]), strict=True))


def _of_batches(name: str, statistic: str, sample: Sample) -> list[float]:
    """Return the statistic of ten batches in a row, nothing where there are too few requests.

    Gaps between tokens are taken in ten batches of steps.
    """
    values = sample.gaps[0] if name == "itl_s" else sample.times[name]
    parts = batches(len(values))
    if parts is None or batches(len(sample.times["request"])) is None:
        return []
    found = []
    for part in parts:
        kept, weights = values[part], sample.gaps[1][part] if name == "itl_s" else None
        known = np.isfinite(kept)
        found.append(getattr(Spread.of(kept[known], None if weights is None else weights[known]), statistic))
    return found


def _number(name: str, by_level: Mapping[str, list[_One]], sample: Sample) -> Uncertain:
    columns = {level: _column(name, ones) for level, ones in by_level.items()}
    low, high = columns.get("lo", ()), columns.get("hi", ())
    value = columns[LEVELS[0]]
    chance = half_width(value)
    parts = batches(len(sample.met))
    if name == "goodput_share" and len(value) == 1 and parts is not None:
        chance = half_width([float(sample.met[part].mean()) for part in parts])
    if low and high and len(low) == len(high):  # a rate falls where steps are slower, so the ends may change places
        ends = sorted((low, high), key=lambda column: float(np.mean(column)))
        return combined(value, chance, ends[0], ends[1])
    return combined(value, chance)


def _column(name: str, ones: list[_One]) -> list[float]:
    """Return a number of each replication.

    Those of a token are made linear about the ratio of the sums, R + (x - R y) / mean of y, so that their mean is that
    ratio and not the mean of ratios: tokens a second x joules a token are the watts (Cochran, Sampling Techniques, 6).
    """
    found = [one.measures[name] for one in ones]
    if name not in OF_A_TOKEN:
        return found
    spent = np.array([one.measures[OF_A_TOKEN[name][0]] for one in ones]) * OF_A_TOKEN[name][1]
    tokens = np.array([one.measures["token_rate_hz"] for one in ones])
    if not (np.isfinite(spent) & np.isfinite(tokens)).all() or tokens.sum() <= 0:
        return found
    ratio = spent.sum() / tokens.sum()
    linear: list[float] = (ratio + (spent - ratio * tokens) / tokens.mean()).tolist()
    return linear


def _notes(chance: str, model: bool, unstable: int, runs: int, asked: int) -> tuple[str, ...]:
    found = [] if runs == asked else ["Nothing is drawn at random here: one run is all there is."]
    if chance == "":
        found.append("One run of few requests: it says nothing about chance, so there are no intervals.")
    elif chance == "batch means":
        found.append(
            "One run: intervals of times and of goodput's share rest on ten batches of its requests; others have none."
        )
    if chance and not model:
        found.append("Intervals hold chance alone, not the error of the cost model (intervals: false).")
    if unstable:
        found.append(
            f"Unstable in {unstable} of {runs} runs: requests come faster than they are served, so times grow with the "
            "length of the run and are no steady state."
        )
    return tuple(found)


def _short(sample: Sample, open_loop: bool) -> tuple[str, ...]:
    """Return a note where the run is too short to tell a queue that grows from one that does not."""
    length_s, latency_s = sample.window.length_s, sample.times["latency_s"]
    mean_s = float(latency_s.mean()) if len(latency_s) else 0.0
    if sample.counted >= FEWEST_REQUESTS and length_s >= FEWEST_LATENCIES * mean_s:
        return ()
    what = "whether it keeps up" if open_loop else "what its steady state is"
    return (
        f"Too short to tell {what}: {sample.counted:,} requests are counted over {length_s:.3g} s, and one takes "
        f"{mean_s:.3g} s on average; raise traffic.requests (or give more of the trace).",
    )


def _run(scenario: Scenario, found: FleetRun, level: str) -> Run:
    """Return what the results need of a fleet's run at a level of the step costs."""
    names = [
        f"{pool.name} {instance}" + (f" lane {i}" if pool.instance_of_lane.count(instance) > 1 else "")
        for pool in found.pools
        for i, instance in enumerate(pool.instance_of_lane)
    ]
    number = [lane for pool in found.pools for lane in pool.lanes]
    segments = found.log.segments if found.log.segments is not None else Segments()
    prices = {plan.name: plan.usd_per_hour for plan in scenario.pools}
    return Run(
        found.requests, found.log, segments.columns(), [name for _, name in sorted(zip(number, names, strict=True))],
        found.lost, found.horizon, found.blocks, found.energy_j, found.device_s,
        sum(prices[pool.name] * pool.device_s / SECONDS_PER_HOUR for pool in found.pools), found.trace_hash,
        _paid(scenario, found, level),
        open_loop="closed_loop" not in scenario.fleet, pools=[_pool_json(pool, found.horizon) for pool in found.pools],
        transfer=asdict(found.transfer) if found.transfer else None, nodes=found.node_counts, stack=scenario.stack,
    )  # fmt: skip


def _paid(scenario: Scenario, found: FleetRun, level: str) -> Paid:
    """Return when which instance was there, and what it is."""
    plans = {plan.name: plan for plan in scenario.pools}
    rows, spans, ranks = [], [], np.zeros((2, sum(len(pool.lanes) for pool in found.pools)))
    for pool in found.pools:
        plan = plans[pool.name]
        idle_w, blocks = plan.engine.rates.idle_w[LEVELS.index(level)], plan.lanes * plan.policy.blocks
        usd_per_s = plan.devices * plan.usd_per_hour / SECONDS_PER_HOUR
        rows += [(plan.lanes, blocks, plan.devices * idle_w, usd_per_s)] * len(pool.paid)
        spans += pool.paid
        ranks[0, pool.lanes], ranks[1, pool.lanes] = plan.engine.mapping.tp, idle_w
    ends = np.array(spans, dtype=np.int64).reshape(-1, 2)  # floats would round ticks
    return Paid(ends[:, 0], ends[:, 1], *np.array(rows, dtype=float).reshape(-1, 4).T, *ranks)


def _pool_json(pool: PoolRun, horizon: int) -> dict[str, Any]:
    """Return what a pool did, as plain values. instances: the most that were up at once; started: ever."""
    each = pool.blocks // max(pool.instances, 1)
    return {
        "name": pool.name, "utilisation": pool.utilisation, "energy_j": pool.energy_j,
        "power_w": pool.energy_j / max(float(to_seconds(horizon)), 1e-12), "device_s": pool.device_s,
        "instances": pool.most_up, "instances_started": pool.instances, "instances_mean": pool.mean_up,
        "instance_s": pool.paid_s, "outages": pool.outages, "interrupted": pool.interrupted,
        "preempted": pool.preempted, "kv_blocks": each * pool.most_up,
        "instances_up": [[float(to_seconds(at)), up] for at, up in pool.sizes],
    }  # fmt: skip
