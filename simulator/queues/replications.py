"""Several runs on independent substreams: t intervals over them, and a rule that stops when they are narrow enough.

Serial or in processes, the runs are the same bit for bit, and so is the number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.intervals import half_width
from simulator.queues.checks_of_kinds import row
from simulator.queues.elements import CAUSES, Network
from simulator.queues.executor import Executor, Serial
from simulator.queues.run import EngineName, run_network, warm_up_of
from simulator.queues.statistics import NetworkRun
from simulator.streams import DEFAULT_SEED

MOST_REPLICATIONS = 100_000
FLOOR = 10
CEILING = 1_000
SOJOURNS = {"sojourn_p50_s": 0.5, "sojourn_p90_s": 0.9, "sojourn_p99_s": 0.99, "sojourn_p999_s": 0.999}

Factory = Callable[[], Network]
Metric = str | Callable[[NetworkRun], float]
"""A number of a run: `ELEMENT.COLUMN`, e.g. `farm.mean_wait_s`, `buffer.loss_share_full`, `done.sojourn_p99_s`; or a
function."""


@dataclass(frozen=True)
class Estimate:
    """A number over replications with its 95 % t interval; NaN where it is not known."""

    value: float
    half_width: float
    replications: int
    unstable: bool = False
    """In some replication the number must not be averaged: there is no value."""

    @property
    def lo(self) -> float:
        return self.value - self.half_width

    @property
    def hi(self) -> float:
        return self.value + self.half_width

    @property
    def standard_error(self) -> float:
        """Half width over the quantile of t."""
        from simulator.intervals import t_975

        return self.half_width / t_975(self.replications - 1) if self.replications > 1 else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the numbers; None stands for what is not known."""
        numbers = {"value": self.value, "lo": self.lo, "hi": self.hi}
        return {
            **{key: x if math.isfinite(x) else None for key, x in numbers.items()},
            "replications": self.replications,
            "interval": "95 %, t over replications",
            "unstable": self.unstable,
        }


@dataclass(frozen=True)
class RelativePrecision:
    """Stop when half of the 95 % interval of `metric` is at most `share` of its value.

    At least `floor` replications are run (few give intervals that are narrow by chance), at most `ceiling`.
    """

    metric: Metric
    share: float
    floor: int = FLOOR
    ceiling: int = CEILING

    def __post_init__(self) -> None:
        finite_number("share", self.share, high=1.0, strict=True)
        whole_number("floor", self.floor, low=2, high=MOST_REPLICATIONS)
        whole_number("ceiling", self.ceiling, low=self.floor, high=MOST_REPLICATIONS)

    def met(self, values: Sequence[float]) -> bool:
        """Return whether these values of the metric, one a run, are enough."""
        found = np.asarray(values, dtype=float)
        if len(found) < self.floor or not np.isfinite(found).all():
            return False
        return half_width(found) <= self.share * abs(float(found.mean()))


@dataclass(frozen=True)
class Replications:
    """Runs of one network, replication 0, 1, ... of one seed."""

    runs: tuple[NetworkRun, ...] = field(repr=False)
    stop_rule: str
    reached: bool
    """The asked precision was reached (True where none was asked for)."""

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def seed(self) -> int:
        return self.runs[0].seed

    @property
    def trace_hashes(self) -> tuple[str, ...]:
        return tuple(run.trace_hash for run in self.runs)

    @property
    def unstable(self) -> tuple[str, ...]:
        """Elements that were unstable in at least one run."""
        found = {name for run in self.runs for name in run.unstable}
        return tuple(name for name in self.runs[0].names if name in found)

    def values(self, metric: Metric) -> list[float]:
        """Return the number of each run. Raises UnknownNameError."""
        return [value_of(run, metric) for run in self.runs]

    def estimate(self, metric: Metric) -> Estimate:
        """Return the mean over the runs with its interval. Raises UnknownNameError."""
        return estimate(self.runs, metric)

    def to_json(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Return the estimates by metric, and how they came about."""
        first = self.runs[0]
        return {
            "replications": len(self.runs),
            "seed": first.seed,
            "horizon_s": first.horizon_s,
            "warm_up_s": first.warm_up_s,
            "warm_up_rule": first.warm_up_rule,
            "engine": first.record.engine,
            "stop_rule": self.stop_rule,
            "reached": self.reached,
            "unstable": list(self.unstable),
            "trace_hashes": list(self.trace_hashes),
            "estimates": {metric: self.estimate(metric).to_json() for metric in metrics},
        }


def replicate(
    network_or_factory: Network | Factory, replications: int = FLOOR, *, horizon_s: float,
    warm_up_s: float | Literal["auto"] = 0.0, seed: int = DEFAULT_SEED, samples: int = 0, engine: EngineName = "auto",
    observe: Sequence[str] = (), executor: Executor | None = None, until: RelativePrecision | None = None,
) -> Replications:  # fmt: skip
    """Run a network several times.

    Args:
        network_or_factory: a network, or a function without arguments that makes it (in each process anew).
        replications: how many; with `until` the rule's floor and ceiling hold instead.
        warm_up_s: `auto` finds one on a pilot run, once, for all replications.
        executor: Serial() by default, Processes(n) for processes.

    Raises:
        As `run_network` and the executor.
    """
    asked = whole_number("replications", replications, high=MOST_REPLICATIONS) if until is None else until.floor
    executor = executor or Serial()
    rule = "given"
    if warm_up_s == "auto":
        network = _made(network_or_factory)
        warm_up_s, rule = warm_up_of(network, horizon_s=horizon_s, seed=seed, engine=engine)
    settings = {
        "horizon_s": horizon_s, "warm_up_s": warm_up_s, "seed": seed, "samples": samples, "engine": engine,
        "observe": tuple(row("observe, the names of stations,", observe)),
    }  # fmt: skip
    one = partial(_one, network_or_factory, settings, rule)
    runs = executor.run(one, range(asked))
    if until is None:
        return Replications(tuple(runs), f"{asked} replications", True)
    text = f"half-width of 95 % <= {until.share:g} of the mean, {until.floor} to {until.ceiling} replications"
    # More runs than needed may be computed at once; only those up to the first that meets the rule count, so the
    # answer does not depend on how many workers there are.
    values: list[float] = [value_of(run, until.metric) for run in runs]
    for count in range(until.floor, until.ceiling + 1):
        if len(runs) < count:
            last = min(len(runs) + executor.workers, until.ceiling)
            more = executor.run(one, range(len(runs), last))
            runs, values = runs + more, values + [value_of(run, until.metric) for run in more]
        if until.met(values[:count]):
            return Replications(tuple(runs[:count]), text, True)
    return Replications(tuple(runs[: until.ceiling]), text, False)


def _one(network_or_factory: Network | Factory, settings: dict[str, Any], rule: str, replication: int) -> NetworkRun:
    """Compute one replication: at the top level, so that a process can."""
    from dataclasses import replace

    run = run_network(_made(network_or_factory), replication=replication, **settings)
    return run if rule == "given" else replace(run, warm_up_rule=rule)


def _made(network_or_factory: Network | Factory) -> Network:
    made = network_or_factory() if callable(network_or_factory) else network_or_factory
    if not isinstance(made, Network):
        raise BadValueError(f"What is replicated is a Network, or a function that returns one, not {made!r}.")
    return made


def value_of(run: NetworkRun, metric: Metric) -> float:
    """Return a number of a run.

    Raises:
        UnknownNameError: no such element or column. BadValueError: a name that is not ELEMENT.COLUMN.
    """
    if not isinstance(metric, str) and not callable(metric):
        raise BadValueError(f"A metric is ELEMENT.COLUMN, e.g. 'farm.mean_wait_s', or a function, not {metric!r}.")
    if not isinstance(metric, str):
        return float(metric(run))
    element, dot, column = metric.rpartition(".")
    if not dot:
        raise BadValueError(f"A metric is ELEMENT.COLUMN, e.g. 'farm.mean_wait_s', not {metric!r}.")
    index = run.at(element)
    if column in run.columns:
        return float(run.columns[column][index])
    losses = [f"loss_share_{cause}" for cause in CAUSES]
    if column in losses:
        return float(run.loss_shares[index, losses.index(column)])
    if element in run.record.sojourns and (column in SOJOURNS or column == "sojourn_mean_s"):
        times = run.sojourn_s(element)
        if not len(times) or ((run.unstable or run.deadlock) and column == "sojourn_mean_s"):
            return math.nan
        share = SOJOURNS.get(column)
        return float(times.mean() if share is None else np.quantile(times, share, method="inverted_cdf"))
    raise UnknownNameError("column", column, [*run.columns, *losses, *SOJOURNS, "sojourn_mean_s"])


def estimate(runs: Sequence[NetworkRun], metric: Metric) -> Estimate:
    """Return the mean of a number over runs with its t interval; no value where a run has none."""
    values = np.array([value_of(run, metric) for run in runs])
    if not np.isfinite(values).all():
        return Estimate(math.nan, math.nan, len(runs), any(run.unstable or run.deadlock for run in runs))
    return Estimate(float(values.mean()), half_width(values), len(runs))
