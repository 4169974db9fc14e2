"""Dead time and trigger rules, against recorded events of simulated detectors and chains of whole windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_oracles import mean_of, solve_chain

from foundation.errors import BadValueError, UnsupportedError
from simulator.queues import closed_forms as cf

Rules = tuple[tuple[int, int], ...]


@pytest.mark.parametrize(
    ("x", "fixed", "extended"), [(0.5, 0.33333, 0.30327), (1.0, 0.5, 0.36788), (2.0, 0.66667, 0.27067)]
)
def test_dead_time_has_its_reference_values(x: float, fixed: float, extended: float) -> None:
    assert cf.non_paralyzable_hz(x, 1.0) == pytest.approx(fixed, abs=5e-6)
    assert cf.paralyzable_hz(x, 1.0) == pytest.approx(extended, abs=5e-6)


def test_the_hybrid_law_is_that_of_a_simulated_detector() -> None:
    rng = np.random.default_rng(101)
    fixed, extendable, n = 0.5, 0.4, 400_000
    times = np.cumsum(rng.exponential(1.0, n)).tolist()
    last, recorded = -10.0, 0
    for t in times:
        if t - last >= fixed:  # seen
            recorded += t - last >= fixed + extendable
            last = t
    rate = cf.hybrid_hz(1.0, fixed, extendable)
    assert recorded / times[-1] == pytest.approx(rate, abs=4 * (rate / n) ** 0.5)


@given(rate=st.floats(0.0, 1e7), dead=st.floats(0.0, 1e-6))
def test_the_hybrid_law_has_both_others_as_limits(rate: float, dead: float) -> None:
    assert cf.hybrid_hz(rate, dead, 0.0) == cf.non_paralyzable_hz(rate, dead)
    assert cf.hybrid_hz(rate, 0.0, dead) == cf.paralyzable_hz(rate, dead)
    assert cf.paralyzable_hz(rate, dead) <= cf.non_paralyzable_hz(rate, dead) * (1 + 1e-12)


@given(rate=st.floats(1.0, 0.99e6), extendable=st.booleans())
def test_the_true_rate_is_found_again(rate: float, extendable: bool) -> None:
    recorded = cf.live_share(rate, 1e-6, extendable) * rate
    assert cf.true_rate_hz(recorded, 1e-6, extendable) == pytest.approx(rate, rel=1e-6)


def test_rates_may_be_arrays() -> None:
    rates = np.array([0.0, 1e5, 1e6])
    assert cf.paralyzable_hz(rates, 1e-6).tolist() == pytest.approx(
        [cf.paralyzable_hz(r, 1e-6) for r in rates.tolist()]
    )
    assert cf.non_paralyzable_hz(rates, 1e-6)[2] == pytest.approx(5e5)


def windows_live_share(p: float, rules: Rules) -> float:
    """Return the live share from the chain of whole windows of past crossings."""
    size = max(n for _, n in rules) - 1

    def live(window: tuple[int, ...]) -> bool:
        return all(sum(window[: n - 1]) < k for k, n in rules)

    def moves(window: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
        accept = p if live(window) else 0.0
        found = [(1.0 - accept, (0, *window[:-1]))] if accept < 1.0 else []
        return found + ([(accept, (1, *window[:-1]))] if accept else [])

    return mean_of(solve_chain((0,) * size, moves), live)


@pytest.mark.parametrize("p", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("rule", [(1, 3), (1, 7), (2, 5), (2, 9), (3, 8), (4, 9), (5, 9)])
def test_one_rule_equals_the_chain_of_its_windows(p: float, rule: tuple[int, int]) -> None:
    assert cf.rule_live_share(p, *rule) == pytest.approx(windows_live_share(p, (rule,)), rel=1e-9)


@pytest.mark.parametrize("p", [0.05, 0.4, 0.95])
@pytest.mark.parametrize(
    "rules",
    [
        ((1, 2), (2, 8)),
        ((1, 3), (2, 9)),
        ((1, 2), (2, 5), (3, 9)),
        ((1, 2), (2, 5), (3, 8), (4, 10)),
        ((2, 4), (4, 10)),
    ],
)
def test_rules_together_equal_the_chain_of_their_windows(p: float, rules: Rules) -> None:
    assert cf.rules_live_share(p, rules) == pytest.approx(windows_live_share(p, rules), rel=1e-7)


def test_one_accept_in_three_is_the_renewal_formula() -> None:
    assert cf.rule_live_share(0.1, 1, 3) == pytest.approx(1 / 1.2, rel=1e-14)
    assert cf.bernoulli_live_share(0.1, 2) == pytest.approx(1 / 1.2, rel=1e-14)


def test_four_rules_of_cms_kill_what_a_simulation_kills() -> None:
    p = 750e3 / 40.0789e6
    rng = np.random.default_rng(102)
    times = np.cumsum(rng.geometric(p, 400_000)).tolist()
    accepted: list[int] = [-(10**6)] * 4
    for t in times:
        if all(t - accepted[-k] >= n for k, n in cf.CMS_RULES):
            accepted.append(t)
    live = (len(accepted) - 4) / len(times)
    # Three of the four by the exact chain in milliseconds bound it from above; the estimate from below.
    assert 1 - live == pytest.approx(0.359, abs=0.005)
    assert cf.rules_live_share(p, cf.CMS_RULES[:3]) > live
    assert 1.0 <= (1 - cf.rules_live_share_estimate(p, cf.CMS_RULES)) / (1 - live) < 1.15


@pytest.mark.demand
@pytest.mark.parametrize(("rate_hz", "dead", "error"), [(100e3, 0.00900, 0.00018), (750e3, 0.359, 0.001)])
def test_four_rules_of_cms_have_their_reference_dead_time(rate_hz: float, dead: float, error: float) -> None:
    assert 1 - cf.rules_live_share(rate_hz / 40.0789e6, cf.CMS_RULES) == pytest.approx(dead, abs=error)


@pytest.mark.parametrize("p", [0.0005, 0.0025, 0.006, 0.0187])
def test_the_estimate_of_three_rules_states_up_to_an_eighth_too_much(p: float) -> None:
    exact = 1 - cf.rules_live_share(p, cf.CMS_RULES[:3])
    assert 1.0 <= (1 - cf.rules_live_share_estimate(p, cf.CMS_RULES[:3])) / exact < 1.125


@given(p=st.floats(0.0, 1.0), first=st.integers(1, 6), second=st.integers(2, 14))
@settings(max_examples=25, deadline=None)
def test_more_triggers_and_more_rules_keep_a_smaller_share(p: float, first: int, second: int) -> None:
    both: Rules = ((1, first), (2, second))
    kept = cf.rules_live_share(p, both)
    assert 0.0 < kept <= 1.0
    assert kept <= min(cf.rule_live_share(p, 1, first), cf.rule_live_share(p, 2, second)) + 1e-7
    assert cf.rules_live_share(min(1.0, p + 0.05), both) <= kept + 1e-7
    assert cf.rules_live_share_estimate(p, both) == pytest.approx(kept, rel=1e-7)


@given(
    p=st.floats(0.001, 1.0),
    rules=st.lists(st.tuples(st.integers(1, 4), st.integers(2, 12)), min_size=1, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_the_bounds_of_rules_together_hold(p: float, rules: list[tuple[int, int]]) -> None:
    low, high = cf.rules_live_share_bounds(p, rules)
    kept = cf.rules_live_share(p, rules)
    assert low * (1 - 1e-6) <= kept <= high * (1 + 1e-6)


def test_a_rule_that_forbids_nothing_changes_nothing() -> None:
    assert cf.rules_live_share(0.3, ((1, 1), (3, 3))) == 1.0
    assert cf.rules_live_share(0.3, ((1, 4), (2, 8))) == pytest.approx(cf.rule_live_share(0.3, 1, 4))
    assert cf.rules_live_share(0.0, cf.CMS_RULES) == 1.0


def test_impossible_rates_and_rules_are_named() -> None:
    with pytest.raises(BadValueError, match="at most"):
        cf.true_rate_hz(2e6, 1e-6)
    with pytest.raises(BadValueError, match="at most"):
        cf.true_rate_hz(0.4e6, 1e-6, extendable=True)
    with pytest.raises(BadValueError, match="finite"):
        cf.non_paralyzable_hz(-1.0, 1e-6)
    with pytest.raises(BadValueError, match="probability"):
        cf.rule_live_share(1.2, 1, 3)
    with pytest.raises(BadValueError, match="accepts"):
        cf.rules_live_share(0.1, ((0, 3), (1, 2)))
    with pytest.raises(UnsupportedError, match="estimate"):
        cf.rules_live_share(0.1, ((1, 3), (5, 50)))
    with pytest.raises(UnsupportedError, match="bounds"):
        cf.rules_live_share_estimate(0.1, ((1, 3), (5, 5_000)))
