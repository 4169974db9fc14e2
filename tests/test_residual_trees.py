"""The flat trees give what XGBoost gives, and refuse what is not such a model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from costmodel.tree_kernel import CompiledTrees, walker
from costmodel.trees import trees_from_json
from foundation.errors import BadValueError

xgboost = pytest.importorskip("xgboost")


def trained(depth: int, rounds: int, seed: int = 0) -> tuple[Any, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2_000, 7)).astype(np.float32)
    target = np.sin(rows[:, 0] * 2) + rows[:, 1] * (rows[:, 2] > 0) + 3.0
    data = xgboost.DMatrix(rows, label=target)
    settings = {"max_depth": depth, "eta": 0.2, "seed": seed, "nthread": 1, "tree_method": "hist"}
    return xgboost.train(settings, data, num_boost_round=rounds), rows


@pytest.mark.parametrize(("depth", "rounds"), [(1, 3), (3, 1), (6, 120), (9, 40)])
def test_flat_trees_equal_xgboost(depth: int, rounds: int) -> None:
    booster, rows = trained(depth, rounds)
    flat = trees_from_json(booster.save_raw("json"))
    assert flat.trees == rounds
    expected = booster.inplace_predict(rows)
    np.testing.assert_allclose(flat.predict(rows), expected, rtol=1e-6)
    one_by_one = np.concatenate([flat.predict(rows[i : i + 1]) for i in range(200)])
    np.testing.assert_array_equal(one_by_one, flat.predict(rows[:200]))


@pytest.mark.parametrize(("depth", "rounds"), [(1, 3), (6, 120), (9, 40)])
@pytest.mark.parametrize("rows", [1, 7, 700])
def test_compiled_loops_give_the_bits_of_the_flat_trees(depth: int, rounds: int, rows: int) -> None:
    pytest.importorskip("numba")
    walk = walker()
    assert walk is not None
    booster, matrix = trained(depth, rounds)
    flat = trees_from_json(booster.save_raw("json"))
    some = matrix[:rows].copy()
    some[0, 0], some[-1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(CompiledTrees(flat).predict(some, walk), flat.predict(some))


def test_a_row_on_a_threshold_goes_the_way_that_xgboost_sends_it() -> None:
    booster, rows = trained(4, 10)
    flat = trees_from_json(booster.save_raw("json"))
    edges = np.tile(rows[:1], (sum(len(t) for t in flat.thresholds), 1))
    for i, (feature, threshold) in enumerate(
        zip(np.concatenate(flat.features), np.concatenate(flat.thresholds), strict=True)
    ):
        edges[i, feature] = threshold if np.isfinite(threshold) else 0
    np.testing.assert_array_equal(flat.predict(edges), booster.inplace_predict(edges))


def test_a_matrix_by_columns_and_an_empty_one_are_served() -> None:
    booster, rows = trained(3, 5)
    flat = trees_from_json(booster.save_raw("json"))
    np.testing.assert_array_equal(flat.predict(np.asfortranarray(rows)), flat.predict(rows))
    assert flat.predict(rows[:0]).shape == (0,)


def damaged(change: str) -> bytes:
    model = json.loads(bytes(trained(2, 2)[0].save_raw("json")))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    if change == "objective":
        model["learner"]["objective"]["name"] = "binary:logistic"
    elif change == "child beyond the end":
        tree["left_children"][0] = 99
    elif change == "feature beyond the end":
        tree["split_indices"][0] = 7
    elif change == "ragged":
        tree["right_children"].pop()
    elif change == "a circle":
        tree["left_children"][0] = 0
    elif change == "no trees":
        model["learner"]["gradient_booster"]["model"]["trees"] = []
    return json.dumps(model).encode()


@pytest.mark.parametrize(
    "change", ["objective", "child beyond the end", "feature beyond the end", "ragged", "a circle", "no trees"]
)
def test_a_damaged_model_is_refused(change: str) -> None:
    with pytest.raises(BadValueError):
        trees_from_json(damaged(change))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"learner": 3}', b"\x80\x04."])
def test_what_is_no_model_is_refused(text: bytes) -> None:
    with pytest.raises(BadValueError, match="not one that XGBoost saved"):
        trees_from_json(text)
