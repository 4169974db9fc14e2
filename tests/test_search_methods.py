"""Methods of a search: ranks by hand, volumes by simulation, slopes by differences, and all better than chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_problems import REFERENCE, searched, space, values

from archcast.searching.candidates import neighbours
from archcast.searching.front import hypervolume, nondominated
from archcast.searching.improvement import expected_improvement
from archcast.searching.ranking import crowding, ranks
from archcast.searching.surrogate import GaussianProcess, _cost

SEEDS = (11, 12)


def volume(method: str, evaluations: int, **options: Any) -> float:
    """Return the mean volume of some seeds."""
    found = [searched(method, evaluations, seed, **options).front().values for seed in SEEDS]
    return float(np.mean([hypervolume(front, REFERENCE) for front in found]))


def test_ranks_of_six_designs_are_those_counted_by_hand() -> None:
    found = ranks(np.array([[1, 5], [2, 2], [5, 1], [3, 3], [4, 4], [2, 2]]), np.zeros(6))
    assert found.tolist() == [0, 0, 0, 1, 2, 0]  # equals do not beat each other


def test_designs_that_break_limits_come_after_all_that_stand_by_how_far_they_are_off() -> None:
    found = ranks(np.array([[9.0, 9.0], [1, 1], [1, 1], [5, 5]]), np.array([0.0, 2.0, 1.0, 0.0]))
    assert found.tolist() == [1, 3, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_rank_by_rank_is_what_peeling_fronts_gives(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, dtype=float)
    found = ranks(table, np.zeros(len(table)))
    left = np.arange(len(table))
    for rank in range(int(found.max()) + 1):
        beaten = [
            any((table[j] <= table[i]).all() and (table[j] < table[i]).any() for j in left) for i in left
        ]  # fmt: skip
        assert sorted(left[~np.array(beaten)]) == sorted(np.flatnonzero(found == rank))
        left = left[np.array(beaten)]
    assert not len(left)


def test_the_loneliness_of_a_line_is_the_gap_between_neighbours() -> None:
    found = crowding(np.array([[0.0, 10.0], [1, 6], [4, 1], [10, 0]]), np.zeros(4, dtype=int))
    assert found[1] == pytest.approx(4 / 10 + 9 / 10)
    assert found[2] == pytest.approx(9 / 10 + 6 / 10)
    assert np.isinf(found[[0, 3]]).all()


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("log", [False, True])
def test_the_expected_improvement_is_the_mean_of_drawn_ones(columns: int, log: bool) -> None:
    rng = np.random.default_rng(columns)
    front = rng.random((12, columns)) + 0.5
    front = front[nondominated(front, np.arange(12))]
    reference = np.full(columns, 1.6)
    mean = 0.3 + rng.random((3, columns))
    centre, spread = np.log(mean) if log else mean, 0.1 + 0.3 * rng.random((3, columns))
    found = expected_improvement(front, reference, centre, spread, np.full(columns, log))
    base = hypervolume(front, reference)
    for row in range(3):
        drawn = rng.normal(centre[row], spread[row], (2000, columns))
        drawn = np.exp(drawn) if log else drawn
        gains = np.array([hypervolume(np.vstack([front, one]), reference) - base for one in drawn])
        assert found[row] == pytest.approx(gains.mean(), abs=4 * gains.std() / np.sqrt(2000) + 1e-4)


def test_slopes_of_the_likelihood_are_differences_of_it() -> None:
    rng = np.random.default_rng(1)
    points, target, groups = rng.random((40, 5)), rng.normal(size=40), np.array([0, 1, 2, 2, 3])
    at = np.concatenate([rng.normal(size=4), [0.2, -3.0]])
    slope = _cost(at, points, target, groups, 1.5)[1]
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 1e-5
        difference = _cost(at + step, points, target, groups, 1.5)[0] - _cost(at - step, points, target, groups, 1.5)[0]
        assert slope[k] == pytest.approx(difference / 2e-5, rel=1e-4)


def test_a_process_tells_a_smooth_function_between_its_designs_and_knows_how_well() -> None:
    rng = np.random.default_rng(2)

    def truth(x: Any) -> Any:
        return 5 + np.sin(3 * x[:, 0]) + x[:, 1] ** 2

    points, others = rng.random((60, 6)), rng.random((300, 6))
    process = GaussianProcess(points, truth(points), np.arange(6))
    mean, variance = process.predict(others)
    off = mean - truth(others)
    assert np.sqrt((off**2).mean()) < 0.02 * truth(others).std()
    assert (np.abs(off) <= 3 * np.sqrt(variance)).mean() > 0.97
    cover = process.covariances(others[:5])
    assert np.diag(cover) == pytest.approx(variance[:5], rel=1e-6, abs=1e-10)


def test_neighbours_are_designs_of_the_space_with_something_changed() -> None:
    known = space()
    codes = known.decode(np.random.default_rng(3).random((4, len(known.knobs))))
    near = neighbours(known, codes, 500, np.random.default_rng(4))
    assert np.array_equal(known.codes_of(known.columns(near)), near)
    changed = (near[:, :, None] != codes[:, None, :]).sum(axis=0).min(axis=1)
    assert (changed >= 1).mean() > 0.9
    assert np.median(changed) <= 2


@pytest.mark.parametrize("method", ["nsga2", "ants"])
def test_methods_that_learn_beat_as_many_random_designs_and_three_times_as_many(method: str) -> None:
    options = {"population": 30} if method == "nsga2" else {}
    assert volume(method, 300, **options) > volume("random", 900)


def test_the_bayesian_method_needs_a_tenth_of_random_designs_and_less_with_a_guess() -> None:
    random = volume("random", 800)
    alone = volume("bayesian", 80, pool=1000)
    guided = volume("bayesian", 80, pool=1000, prior_designs=4000, prior=lambda columns: values(columns, bent=False))
    assert alone > random
    assert guided > alone


def test_sobol_points_fill_a_space_more_evenly_than_random_ones() -> None:
    from scipy.stats import qmc

    known = space()
    far = {
        name: qmc.discrepancy(known.encode(searched(name, 256, 1, 256).history.codes)[:, 5:9])
        for name in ("sobol", "random")
    }
    assert far["sobol"] < 0.5 * far["random"]


def test_a_bayesian_search_of_one_and_of_four_objectives_works_too() -> None:
    from archcast.searching.study import make_study

    for count in (1, 4):
        study = make_study(space(), [f"o{k}" for k in range(count)], "bayesian", seed=1, pool=500)
        while study.evaluations < 48:
            columns = study.ask(8)
            two = values(columns)
            table = np.stack([two[:, k % 2] * (1 + 0.1 * k * columns["x1"]) for k in range(count)], axis=1)
            study.tell(columns, table)
        worst = study.history.values.max(axis=1)
        assert np.nanmin(worst[24:]) < np.nanmin(worst[:24])
