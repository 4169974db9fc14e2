"""Packed trees answer as those they were made from, in both evaluators, and damaged ones are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.forest import MAGIC, Forest, packed, xgboost_json
from costmodel.trees import FlatTrees, trees_from_json
from foundation.errors import BadValueError

xgboost = pytest.importorskip("xgboost")


def trained(rows: int = 2_000, depth: int = 6, rounds: int = 40, seed: int = 0) -> tuple[FlatTrees, Any]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 9)).astype(np.float32)
    target = features[:, 0] * features[:, 1] + np.sin(3 * features[:, 2])
    data = xgboost.QuantileDMatrix(features, label=target, nthread=1, max_bin=256)
    settings = {"max_depth": depth, "tree_method": "hist", "nthread": 1, "seed": seed}
    booster = xgboost.train(settings, data, num_boost_round=rounds)
    return trees_from_json(booster.save_raw("json")), features


def test_a_packed_model_is_the_same_model_to_a_thousandth_of_its_leaves() -> None:
    model, features = trained()
    data = packed({"gemm/a": model, "gemm/b": model}).to_bytes()
    assert len(data) < 2 * 40 * 2**7 * 4
    again = Forest.from_bytes(data).trees("gemm/b")
    largest = float(np.abs(model.leaves).max())
    np.testing.assert_allclose(again.predict(features[:200]), model.predict(features[:200]), atol=40 * largest * 5e-4)


def test_packing_what_was_unpacked_changes_nothing() -> None:
    data = packed({"x": trained()[0]}).to_bytes()
    assert packed({"x": Forest.from_bytes(data).trees("x")}).to_bytes() == data


@settings(max_examples=8, deadline=None)
@given(
    depth=st.integers(1, 8), rounds=st.integers(1, 12), rows=st.sampled_from([12, 200, 1_000]), seed=st.integers(0, 9)
)
def test_xgboost_reads_the_packed_trees_and_agrees(depth: int, rounds: int, rows: int, seed: int) -> None:
    model, features = trained(rows, depth, rounds, seed)
    flat = Forest.from_bytes(packed({"x": model}).to_bytes()).trees("x")
    booster = xgboost.Booster()
    booster.load_model(bytearray(xgboost_json(flat)))
    booster.set_param({"nthread": 1})
    np.testing.assert_allclose(booster.inplace_predict(features), flat.predict(features), rtol=1e-6, atol=1e-7)


def test_a_model_without_a_split_is_packed_too() -> None:
    rows = np.zeros((30, 2), dtype=np.float32)
    booster = xgboost.train({"nthread": 1}, xgboost.QuantileDMatrix(rows, label=np.ones(30), nthread=1), 3)
    flat = Forest.from_bytes(packed({"x": trees_from_json(booster.save_raw("json"))}).to_bytes()).trees("x")
    np.testing.assert_allclose(flat.predict(rows), 1.0, rtol=1e-3)


def test_tables_beside_the_models_come_back_as_half_floats() -> None:
    table = np.array([[1.5, np.nan, -2.25], [0.0, 1.0, 3.0]], dtype=np.float32)
    forest = Forest(packed({"x": trained(rows=50, rounds=2)[0]}).sections, {"kin/gemm": table})
    np.testing.assert_array_equal(Forest.from_bytes(forest.to_bytes()).tables["kin/gemm"], table)


@pytest.mark.parametrize("fault", ["magic", "short", "long", "header", "cut", "empty"])
def test_bytes_that_are_no_forest_are_refused(fault: str) -> None:
    data = packed({"x": trained(rows=100, rounds=3)[0]}).to_bytes()
    start = len(MAGIC) + 4
    damaged = {
        "magic": b"x" + data[1:], "short": data[:-1], "long": data + b"x", "empty": b"",
        "header": data[:start] + b"[" + data[start + 1 :], "cut": data[: start + 2],
    }[fault]  # fmt: skip
    with pytest.raises(BadValueError, match="not the trees of an artefact"):
        Forest.from_bytes(damaged)


def test_a_damaged_section_is_refused_when_it_is_asked_for() -> None:
    data = bytearray(packed({"x": trained(rows=100, rounds=3)[0]}).to_bytes())
    for at in range(len(data) - 40, len(data)):
        data[at] ^= 0x5A
    with pytest.raises(BadValueError, match="damaged"):
        Forest.from_bytes(bytes(data)).trees("x")
