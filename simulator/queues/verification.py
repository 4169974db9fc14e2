"""Held to closed forms: what a check of the engine is, how it runs, and when it passes.

The checks are data (`verification_stations`, `_limits`, `_networks`, `_exact`; all of them: `verification_cases`), so
that the tests, the benchmark and the documentation show the same ones. Every check has a seed of its own, made from its
name alone: nobody can choose it by its result, and a new check changes no other. A number passes where it deviates from
its closed form by at most `MOST_ERRORS` standard errors of independent replications *and* by at most its bound. The
laws that hold exactly in every run (`invariants_of_run`) are checked in all runs here, as in any other.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from simulator.queues.arrivals import Arrivals, poisson
from simulator.queues.elements import Exit, Network, Route, Service, Source, Station, to
from simulator.queues.laws import CONSTANT, EXPONENTIAL, Floats, Law
from simulator.queues.replications import Metric, Replications, replicate
from simulator.queues.run import EngineName
from simulator.queues.statistics import NetworkRun

MOST_ERRORS = 4.0
"""Standard errors. Of 25 replications, chance alone goes beyond in 0.05 % of all numbers (Student's t)."""
REPLICATIONS = 25
WARM_UP = 0.1
"""Part of the horizon."""
TICKS_PER_SECOND = 10**9
"""Services take about a second: rounding is below 1e-9 of them."""
H2 = Law("hyperexponential", cv=2.0)
E4 = Law("erlang", cv=0.5)
LAWS = {"exponential": EXPONENTIAL, "constant": CONSTANT, "hyperexponential, cv 2": H2, "Erlang-4": E4}


@dataclass(frozen=True)
class Measure:
    """One number of a run and what it must be; `bound` is the largest relative error (0: equal, in whole ticks)."""

    what: str
    metric: Metric
    expected: Callable[[], float] = field(repr=False)
    bound: float
    error: float = 0.0
    """Standard error of what is expected, where that was simulated or rounded itself."""


@dataclass(frozen=True)
class Check:
    """A network whose steady state is known.

    `closed_form` says in words and symbols what is expected; `customers` come in one replication, warm-up included.
    """

    family: str
    name: str
    closed_form: str
    network: Callable[[], Network] = field(repr=False)
    measures: tuple[Measure, ...] = field(repr=False)
    customers: int
    rate_hz: float
    """Arrivals a second, which with `customers` give the horizon."""
    replications: int = REPLICATIONS
    warm_up: float = WARM_UP

    @property
    def seed(self) -> int:
        """Return the seed, from the name alone."""
        return int.from_bytes(hashlib.sha256(f"verification of {self.name}".encode()).digest()[:4], "big")

    @property
    def horizon_s(self) -> float:
        return self.customers / self.rate_hz


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    check: Check
    measure: Measure
    expected: float
    simulated: float
    standard_error: float
    cpu_s: float
    """Of the whole check."""
    times: int = 1

    @property
    def bound(self) -> float:
        """The measure's, over the root of how many times more replications were run (not where it has an error)."""
        return self.measure.bound if self.measure.error else self.measure.bound / math.sqrt(self.times)

    @property
    def deviation(self) -> float:
        """Simulated less expected, in standard errors (of both, where the expected number has one)."""
        off = self.simulated - self.expected
        error = math.hypot(self.standard_error, self.measure.error)
        if error != 0:
            return off / error
        return 0.0 if off == 0 else math.copysign(math.inf, off)

    @property
    def relative_error(self) -> float:
        return self.simulated / self.expected - 1

    @property
    def passed(self) -> bool:
        """Within the standard errors and within the bound; a number that is not known does not pass."""
        return abs(self.deviation) <= MOST_ERRORS and abs(self.relative_error) <= self.bound


def run_check(
    check: Check, engine: EngineName = "callbacks", network: Network | None = None, times: int = 1
) -> list[Row]:
    """Run a check.

    Args:
        network: another one in its place, which the check should notice.
        times: so many times the replications, held to bounds that are tighter by the root of it.

    Raises:
        As `replicate`.
    """
    start = time.process_time()
    found = replications_of(check, engine, network, times)
    values = [np.array(found.values(measure.metric)) for measure in check.measures]
    cpu_s = time.process_time() - start
    return [_row(check, measure, x, cpu_s, times) for measure, x in zip(check.measures, values, strict=True)]


def _row(check: Check, measure: Measure, values: Floats, cpu_s: float, times: int) -> Row:
    expected = measure.expected()
    if not measure.bound:
        # Equal in every run, not in the mean.
        worst = float(values[np.argmax(np.abs(values - expected))])
        return Row(check, measure, expected, worst, 0.0, cpu_s, times)
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    return Row(check, measure, expected, float(values.mean()), error, cpu_s, times)


def replications_of(
    check: Check, engine: EngineName = "callbacks", network: Network | None = None, times: int = 1
) -> Replications:
    """Return the runs of a check."""
    return replicate(
        network or check.network(), check.replications * times, horizon_s=check.horizon_s,
        warm_up_s=check.horizon_s * check.warm_up, seed=check.seed, engine=engine,
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table; the closed form, customers and seconds stand in a check's first row."""
    lines = [
        "| check | closed form | number | expected | simulated | standard error | deviation / SE | bound | "
        "customers | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    before = None
    for row in rows:
        check, first = row.check, row.check is not before
        before = check
        done = f"{check.customers * check.replications * row.times:,}", f"{row.cpu_s:.2f}"
        cells = [
            check.name if first else "", check.closed_form if first else "", row.measure.what, f"{row.expected:.6g}",
            f"{row.simulated:.6g}", f"{row.standard_error:.2g}",
            f"{row.deviation:+.2f}{'' if row.passed else ' FAILS'}",
            f"{row.bound:.1%}" if row.measure.bound else "equal", *(done if first else ("", "")),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def single(
    arrivals: Arrivals | float, spread: Law = EXPONENTIAL, *, service_s: float = 1.0, servers: int = 1,
    places: int | None = None,
) -> Network:  # fmt: skip
    """Return `source`, one station `queue` with `places` waiting places, and `exit`; a number is a Poisson rate."""
    process = poisson(arrivals) if isinstance(arrivals, float) else arrivals
    queue = Station("queue", Service((service_s,), spread), to("exit"), servers, places=places)
    return before_exit(process, queue)


def before_exit(process: Arrivals, *elements: Station) -> Network:
    """Return a network of a source, some elements, the first of which the source feeds, and an exit."""
    return Network((Source("source", process, to(elements[0].name)), *elements, Exit("exit")), TICKS_PER_SECOND)


def by_class(classes: int) -> Route:
    """Return the route that sends class k to `exit K`, so that each class has its own times."""
    targets = tuple(f"exit {k}" for k in range(classes))
    return Route(targets, {k: tuple(float(j == k) for j in range(classes)) for k in range(classes)})


def exact(value: float) -> Callable[[], float]:
    """Return a closed form that is a number."""
    return lambda: value


def beyond(exit_name: str, time_s: float) -> Callable[[NetworkRun], float]:
    """Return the metric: the share of the items whose time to an exit is above `time_s`."""
    return lambda run: float((run.sojourn_s(exit_name) > time_s).mean())


__all__ = [
    "E4", "H2", "LAWS", "MOST_ERRORS", "REPLICATIONS", "TICKS_PER_SECOND", "Check", "Measure", "Row", "before_exit",
    "beyond", "by_class", "exact", "replications_of", "run_check", "single", "table",
]  # fmt: skip
