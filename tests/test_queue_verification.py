"""The engine against closed forms, chains and published values: every check of the verification, on plain callbacks.

A number passes within four standard errors of 25 replications and within its stated bound; the seed of a check is made
from its name. About 45 s of CPU for all; `benchmarks/queue_verification.py` prints the table.
"""

from __future__ import annotations

import math

import pytest

from simulator.queues import closed_forms as forms
from simulator.queues.verification import Check, Measure, Row, exact, run_check, single, table
from simulator.queues.verification_cases import checks, named
from simulator.queues.verification_limits import CMS_DEAD_SHARES, CROSSING_RATE_HZ

MOST_CUSTOMERS = 16_000_000
"""Of all checks: under a minute at 300,000 a second."""


@pytest.mark.parametrize("name", [check.name for check in checks()])
def test_the_engine_gives_what_is_known(name: str) -> None:
    rows = run_check(named(name))
    assert rows
    assert all(row.passed for row in rows), "\n" + table(rows)


def test_every_check_has_a_name_and_a_seed_of_its_own() -> None:
    assert len({check.name for check in checks()}) == len({check.seed for check in checks()}) == len(checks()) >= 100


def test_the_whole_suite_is_small_enough_for_a_minute() -> None:
    assert sum(check.customers * check.replications for check in checks()) < MOST_CUSTOMERS


def test_every_family_of_networks_is_there() -> None:
    assert {check.family for check in checks()} == {
        "One server", "Several servers", "Processor sharing", "Priorities", "Batches", "Breakdowns", "Losses",
        "Dead time", "Trigger rules", "Derandomizers", "Credits", "Open networks", "Closed networks", "Blocking",
        "Fork and join", "Packets", "Routing", "Published values", "Constant times", "Laws of every run",
    }  # fmt: skip


def _row(simulated: float, standard_error: float, bound: float = 0.1, error: float = 0.0, times: int = 1) -> Row:
    measure = Measure("x", "queue.utilisation", exact(1.0), bound, error)
    check = Check("none", "none", "none", lambda: single(0.5), (measure,), 10, 1.0)
    return Row(check, measure, 1.0, simulated, standard_error, 0.0, times)


def test_a_number_passes_within_four_errors_and_the_bound_alone() -> None:
    assert _row(1.04, 0.011).passed
    assert not _row(1.04, 0.009).passed  # 4.4 standard errors
    assert not _row(1.11, 0.1).passed  # beyond the bound
    assert _row(1.04, 0.009, error=0.009).passed  # the expected number has an error too
    assert not _row(1.04, 0.011, times=10).passed  # ten times the runs: a bound of 3.2 %


def test_a_number_that_is_not_known_does_not_pass() -> None:
    assert not _row(math.nan, 0.1).passed
    assert not _row(1.0, math.nan).passed


def test_an_exact_number_must_be_equal() -> None:
    assert _row(1.0, 0.0, bound=0.0).passed
    assert not _row(1.0 + 1e-15, 0.0, bound=0.0).passed


@pytest.mark.demand
@pytest.mark.parametrize("rate_hz", CMS_DEAD_SHARES)
def test_the_noted_dead_shares_are_those_of_the_chain(rate_hz: float) -> None:
    live = forms.rules_live_share(rate_hz / CROSSING_RATE_HZ, forms.CMS_RULES)
    assert 1 - live == pytest.approx(CMS_DEAD_SHARES[rate_hz], rel=1e-6)
