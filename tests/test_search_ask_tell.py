"""Ask and tell: the same designs for the same seed, none twice, limits kept, and a replay that goes on to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from search_problems import searched, space, values

from archcast.searching.methods import SAMPLERS
from archcast.searching.ranges import Choice, Names, Whole
from archcast.searching.sampler import keys_of
from archcast.searching.space import DesignSpace
from archcast.searching.study import make_study
from foundation.errors import BadValueError, UnknownNameError

NEEDS = {"optuna-tpe": "optuna", "optuna-nsga2": "optuna", "pymoo-nsga2": "pymoo"}
OPTIONS = {
    "nsga2": {"population": 12}, "optuna-nsga2": {"population": 12}, "pymoo-nsga2": {"population": 12},
    "bayesian": {"initial": 14, "pool": 300}, "optuna-tpe": {"initial": 14}, "ants": {"initial": 14},
}  # fmt: skip
"""Small, so that 42 designs show every method at work."""


@pytest.fixture(params=sorted(SAMPLERS))
def method(request: pytest.FixtureRequest) -> str:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    return str(request.param)


def run(method: str, seed: int, evaluations: int = 42) -> Any:
    return searched(method, evaluations, seed, 7, **OPTIONS.get(method, {}))


def test_a_seed_gives_the_same_search_and_another_seed_another(method: str) -> None:
    one, same, other = run(method, 3), run(method, 3), run(method, 4)
    assert np.array_equal(one.history.codes, same.history.codes)
    assert np.array_equal(one.history.values, same.history.values, equal_nan=True)
    assert not np.array_equal(one.history.codes, other.history.codes)


def test_a_replayed_log_goes_on_as_the_search_that_was_not_stopped(method: str) -> None:
    whole = run(method, 5)
    told = whole.history
    again = make_study(space(), ["one", "two"], method, seed=5, **OPTIONS.get(method, {}))
    for batch in range(4):
        rows = told.batch == batch
        again.replay(told.codes[:, rows], told.values[rows], told.violation[rows])
    while again.evaluations < 42:
        columns = again.ask(7)
        again.tell(columns, values(columns))
    assert np.array_equal(again.history.codes, told.codes)
    assert np.array_equal(again.front().values, whole.front().values)


def test_no_design_is_asked_for_twice(method: str) -> None:
    small = DesignSpace.of(a=Choice(list(range(6))), b=Choice(list(range(6))), kind=Names("x", "y"))
    options = {"population": 8} if "nsga2" in method else {}
    study = make_study(small, ["one", "two"], method, seed=2, **options)
    for _ in range(6):
        columns = study.ask(10)
        study.tell(columns, np.stack([columns["a"] + 1.0 + columns["kind"], 9.0 - columns["b"]], axis=1))
    assert len(set(keys_of(study.history.codes))) == study.evaluations == 60


def test_a_space_that_is_used_up_gives_what_is_left() -> None:
    study = make_study(DesignSpace.of(a=Choice([1, 2, 3]), b=Choice([1, 2])), "cost", "nsga2")
    assert [len(study.ask(4)["a"]) for _ in range(3)] == [4, 2, 0]


@pytest.mark.parametrize("guess", [None, lambda columns: np.stack([columns["a"], 9.0 - columns["b"]], axis=1)])
def test_a_method_with_surrogates_ends_when_the_space_is_spent(guess: Any) -> None:
    small = DesignSpace.of(a=Choice([1, 2, 3, 4, 5, 6]), b=Choice([1, 2, 3]))
    study = make_study(small, ["one", "two"], "bayesian", prior=guess, initial=6, pool=100, prior_designs=400)
    for want in (6, 6, 6, 0, 0):
        columns = study.ask(6)
        assert len(columns["a"]) == want
        study.tell(columns, np.stack([columns["a"] + columns["b"] ** 2, 9.0 - columns["b"]], axis=1))


def test_limits_on_knobs_hold_for_every_design_that_is_asked_for(method: str) -> None:
    small = DesignSpace.of(rows=Choice([8, 16, 32, 64]), count=Whole(1, 64), kind=Names("x", "y"))
    options = {"population": 8} if "nsga2" in method else {}
    study = make_study(small, ["one", "two"], method, seed=1, limits={"max": {"rows * count": 512}}, **options)
    for _ in range(4):
        columns = study.ask(10)
        assert (columns["rows"] * columns["count"] <= 512).all()
        study.tell(columns, np.stack([1.0 / columns["rows"], columns["count"] + 1.0], axis=1))
    assert study.evaluations == 40


def test_designs_of_the_callers_own_are_taken_and_not_asked_for() -> None:
    small = DesignSpace.of(a=Choice([1, 2, 3]), kind=Names("x", "y"))
    study = make_study(small, ["one", "two"], "random")
    study.tell({"a": [1, 2], "kind": ["x", "y"]}, {"one": [1.0, 2.0], "two": [2.0, 1.0]})
    assert len(study.ask(10)["a"]) == 4
    assert study.front().values.tolist() == [[1.0, 2.0], [2.0, 1.0]]
    assert study.space.values(study.front().codes[:, 1]) == {"a": 2, "kind": "y"}


def test_infeasible_designs_are_history_and_never_front() -> None:
    small = DesignSpace.of(a=Choice([1, 2, 3]))
    study = make_study(small, ["one", "two"], "random")
    study.tell({"a": [1, 2, 3]}, [[np.nan, 0.0], [1.0, 1.0], [np.inf, 0.0]])
    assert study.front().values.tolist() == [[1.0, 1.0]]
    assert study.history.feasible.tolist() == [False, True, False]
    assert np.isnan(study.history.values[[0, 2]]).all()


def test_a_search_in_which_nothing_stands_goes_on(method: str) -> None:
    study = make_study(space(), ["one", "two"], method, seed=1, **OPTIONS.get(method, {}))
    for _ in range(4):
        columns = study.ask(12)
        study.tell(columns, np.full((len(columns["kind"]), 2), np.nan))
    assert study.evaluations == 48
    assert len(study.front().place) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "nsga"}, "Nearest: nsga2"), ({"objectives": []}, "at least one objective"), ({"seed": -1}, "seed"),
        ({"objectives": ["a", "a"]}, "named once"), ({"sizes": 3}, "Unknown option of nsga2"),
        ({"population": 2}, "population"), ({"limits": {"max": {"z": 1}}}, "Unknown knob"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=words):
        make_study(**{"space": space(), "objectives": ["one", "two"], **change})


def test_values_that_do_not_go_with_the_designs_are_refused() -> None:
    study = make_study(space(), ["one", "two"], "random")
    columns = study.ask(3)
    for bad, words in (
        (np.zeros((2, 2)), "shape"),
        ({"one": np.zeros(3)}, "nothing about two"),
        (np.zeros(3), "shape"),
    ):
        with pytest.raises(BadValueError, match=words):
            study.tell(columns, bad)
    with pytest.raises(BadValueError, match="number of designs"):
        study.ask(0)


def test_a_log_of_another_search_is_refused_where_the_method_can_tell() -> None:
    study = make_study(space(), ["one", "two"], "sobol", seed=1)
    other = searched("sobol", 8, 2, 8).history
    with pytest.raises(BadValueError, match="another search"):
        study.replay(other.codes, other.values)
