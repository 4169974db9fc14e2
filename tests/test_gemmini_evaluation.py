"""Gemmini against RTL: folds keep layers together, constants come from other runs, and what is reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from costmodel.evaluation.gemmini import (
    CALIBRATED,
    DEFAULT_PHYSICS,
    MOST_LAYERS,
    PHYSICS,
    SHOTS,
    SIDE,
    GemminiRows,
    evaluate_gemmini,
    few_rows,
    layers_run,
    read_gemmini,
    read_random,
    some,
    train_constants,
)
from costmodel.evaluation.scores import Score
from costmodel.spatial.gemmini import CONSTANTS, NAMES, gemmini_costs

EVEN, ODD, STRIDED = 2.0, 3.0, 7.0


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "dosa-gemmini-firesim"


@pytest.fixture(scope="module")
def rows(folder: Path) -> GemminiRows:
    return read_gemmini(folder)


@pytest.fixture(scope="module")
def scores(folder: Path) -> dict[str, Score]:
    return {found.split: found for found in evaluate_gemmini(folder, seeds=(0,), shots=(0, 20))}


def test_even_kernels_give_a_row_more_and_products_none() -> None:
    column = {"N": 1, "C": 8, "K": 8, "P": [56, 56, 112, 16], "Q": [56, 56, 112, 1], "R": [EVEN, ODD, STRIDED, 1],
              "S": [EVEN, ODD, STRIDED, 1], "Hstride": [1, 1, 2, 1]}  # fmt: skip
    found = {f"prob.{name}": np.broadcast_to(np.array(value, float), (4,)) for name, value in column.items()}
    layers, padding = layers_run(found)
    assert np.asarray(layers.ox).tolist() == [57, 56, 112, 16]
    assert np.asarray(layers.oy).tolist() == [57, 56, 112, 1]
    assert padding.tolist() == [1, 1, 3, 0]


@pytest.mark.parametrize("count", SHOTS)
@pytest.mark.parametrize("seed", range(4))
def test_few_rows_are_as_many_as_asked_of_few_layers(count: int, seed: int) -> None:
    shape = np.repeat([f"layer {i}" for i in range(47)], 3)
    shown = few_rows(shape, count, seed)
    assert len(shown) == len(set(shown.tolist())) == count
    assert len(set(shape[shown])) == min(count, MOST_LAYERS)
    assert np.array_equal(shown, few_rows(shape, count, seed))


def test_layers_come_in_threes_and_networks_share_none(rows: GemminiRows) -> None:
    shapes, counts = np.unique(rows.shape, return_counts=True)
    assert len(shapes) == 47
    assert (counts == 3).all()
    assert not set(rows.shape[rows.network == "unet"]) & set(rows.shape[rows.network == "resnet50"])


def test_constants_come_from_runs_without_a_layer_of_the_test_rows(folder: Path, rows: GemminiRows) -> None:
    """The shipped constants are those of the fit, rounded: none was touched by hand."""
    runs, cycles = read_random(folder, rows.shape, SIDE)
    assert len(cycles) == 348
    layers, test = (
        {(*limits, stride) for limits, stride in zip(run.limits.tolist(), run.stride.tolist(), strict=True)}
        for run in (runs.touched, rows.runs.touched)
    )
    assert len(test) == 47
    assert not layers & test
    found = train_constants(folder)
    assert [getattr(found, name) for name in NAMES] == pytest.approx(
        [getattr(CONSTANTS, name) for name in NAMES], rel=0.01
    )


def test_some_rows_are_priced_as_among_all(rows: GemminiRows) -> None:
    part = rows.network == "unet"
    assert gemmini_costs(some(rows.runs, part)).cycles == pytest.approx(gemmini_costs(rows.runs).cycles[part])


def test_rtl_cycles_are_met_as_issue_7_asks(scores: dict[str, Score]) -> None:
    alone, calibrated = scores[PHYSICS], scores[CALIBRATED]
    assert (alone.n, calibrated.n) == (141, 141)
    assert alone.baseline_mape == pytest.approx(0.265, abs=0.001)
    assert alone.mape <= 0.12
    assert calibrated.mape <= 0.12
    assert calibrated.rho >= 0.98
    assert scores[DEFAULT_PHYSICS].mape <= 0.18
    assert next(found for split, found in scores.items() if split.startswith("20 rows")).mape <= 0.15


def test_intervals_cover_nine_in_ten(scores: dict[str, Score]) -> None:
    for split in (PHYSICS, CALIBRATED, DEFAULT_PHYSICS):
        assert 0.85 <= scores[split].inside <= 0.95
