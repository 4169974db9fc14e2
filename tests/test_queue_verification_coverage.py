"""Do 95 % intervals hold the truth in 95 % of cases? 200 seeds each, on demand (`-m slow -s` prints the shares)."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simulator.queues.replications import replicate
from simulator.queues.run import EngineName, run_network
from simulator.queues.verification import Check
from simulator.queues.verification_cases import named

SEEDS = 200
LOW, HIGH = 0.90, 0.99
"""Three standard deviations of a share of 200 around 95 %."""


def _engine() -> EngineName:
    """Return the fast engine where it is installed: the trace is the same."""
    from simulator.queues.kernel_jit import installed

    return "kernel" if installed() else "callbacks"


def _seeded(check: Check, number: int) -> Check:
    """Return a check with a seed of its own, by a name of its own."""
    return replace(check, name=f"coverage {number} of {check.name}")


REPLICATED = (
    ("M/M/1, load 0.5", 3_000), ("M/M/1, load 0.8", 10_000), ("M/H2/1, cv 2, load 0.6", 6_000),
    ("M/M/1/5, load 0.8", 2_000), ("M/G/8/8, hyperexponential, cv 2, 8 erlang", 3_000),
    ("6 items, 3 single servers", 3_000), ("2 M/M/1, load 0.6", 3_000),
)  # fmt: skip


@pytest.mark.demand
@pytest.mark.parametrize(("name", "customers"), REPLICATED)
def test_t_intervals_over_replications_hold_the_truth(name: str, customers: int) -> None:
    check = replace(named(name), customers=customers)
    held = [0] * len(check.measures)
    for number in range(SEEDS):
        one = _seeded(check, number)
        runs = replicate(one.network(), 10, horizon_s=one.horizon_s, warm_up_s=one.horizon_s * one.warm_up,
                         seed=one.seed, engine=_engine())  # fmt: skip
        for at, measure in enumerate(check.measures):
            found = runs.estimate(measure.metric)
            held[at] += found.lo <= measure.expected() <= found.hi
    for count, measure in zip(held, check.measures, strict=True):
        print(f"replications, {name}, {measure.what}: {count / SEEDS:.1%}")
    assert all(LOW <= count / SEEDS <= HIGH for count in held), held


BATCHED = (("M/M/1, load 0.5", 60_000, 2.0), ("M/D/1, load 0.8", 100_000, 3.0), ("M/M/1, load 0.8", 300_000, 5.0))


@pytest.mark.demand
@pytest.mark.parametrize(("name", "customers", "response_s"), BATCHED)
def test_batch_means_of_one_run_hold_the_truth(name: str, customers: int, response_s: float) -> None:
    """Intervals of ten batch means of the response; where batches depend on each other there must be none."""
    check, held, known = replace(named(name), customers=customers), 0, 0
    for number in range(SEEDS):
        one = _seeded(check, number)
        run = run_network(one.network(), horizon_s=one.horizon_s, warm_up_s=one.horizon_s * one.warm_up, seed=one.seed,
                          engine=_engine())  # fmt: skip
        mean = run.sojourns("exit").mean_s
        if not math.isnan(mean.lo):
            known += 1
            held += mean.lo <= response_s <= mean.hi
    print(f"batch means, {name}: {held / known:.1%} of {known}")
    assert known >= 0.9 * SEEDS
    assert LOW <= held / known <= HIGH
