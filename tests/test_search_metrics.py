"""Metrics of searches and proxies, by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.searching.front import hypervolume
from archcast.searching.metrics import convergence, front_recall, igd_plus, kendall, spearman, union_front
from foundation.errors import BadValueError


def test_igd_plus_counts_only_what_a_front_is_worse_by() -> None:
    reference = np.array([[1.0, 3.0], [3.0, 1.0]])
    assert igd_plus(np.array([[0.0, 3.0], [3.0, 0.0]]), reference) == 0.0
    # to (1, 3): (2, 3) is 1 worse, (3, 2) is 2 worse; to (3, 1): (3, 2) is 1 worse
    assert igd_plus(np.array([[2.0, 3.0], [3.0, 2.0]]), reference) == 1.0
    assert igd_plus(np.array([[4.0, 7.0]]), np.array([[1.0, 3.0]])) == 5.0
    with pytest.raises(BadValueError):
        igd_plus(np.zeros((0, 2)), reference)


def test_a_front_of_fronts_has_what_none_beats() -> None:
    found = union_front(np.array([[1.0, 4.0], [3.0, 3.0]]), np.array([[2.0, 2.0], [4.0, 1.0]]))
    assert sorted(map(tuple, found)) == [(1.0, 4.0), (2.0, 2.0), (4.0, 1.0)]


def test_correlations_of_ranks_are_those_of_scipy() -> None:
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 9, 60).astype(float), rng.integers(0, 9, 60).astype(float)
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert kendall(one, other) == pytest.approx(kendalltau(one, other).statistic)
    assert spearman(one, one**3) == pytest.approx(1.0)
    assert np.isnan(spearman(one, np.ones(60)))


def test_recall_is_the_share_of_the_true_front_that_a_proxy_puts_first() -> None:
    true = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [5.0, 5.0], [6.0, 6.0]])
    assert front_recall(true, true, 3) == 1.0
    proxy = true.copy()
    proxy[1] = [9.0, 9.0]
    assert front_recall(proxy, true, 3) == pytest.approx(2 / 3)
    assert front_recall(proxy, true, 5) == 1.0


def test_the_course_of_a_run_is_that_of_its_first_designs() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((50, 2))
    feasible = rng.random(50) < 0.7
    values[~feasible] = np.nan
    reference = np.array([1.1, 1.1])
    found = convergence(values, feasible, np.arange(50.0), reference)
    box = np.prod(reference - np.nanmin(values, axis=0))
    for place in (0, 10, len(found.evaluations) - 1):
        first = int(found.evaluations[place])
        part = values[:first][feasible[:first]]
        assert found.volume is not None
        assert found.volume[place] == pytest.approx((hypervolume(part, reference) if len(part) else 0.0) / box)
        assert found.wall_s[place] == first - 1
        if len(part):
            assert found.best[place] == pytest.approx(part.min(axis=0))
