"""How hard a row is: expected errors are told, intervals follow them, and what lies outside the ranges is harder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_calibration import ROUNDS, gemm_columns

from costmodel import difficulty
from costmodel.artefact import load_artefact
from costmodel.calibration import calibrate
from costmodel.calibration.difficulty import crossed_difficulty, train_difficulty
from costmodel.calibration.intervals import widths
from costmodel.physics import predict_physics
from costmodel.rates import Rates, compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.measurements import read_measurements
from workloads.table import Array, OpTable

pytest.importorskip("xgboost")

QUIET, NOISY = 0.03, 0.4
"""Noise of thick and of thin products (m below 64)."""


def latencies(table: OpTable, seed: int) -> Array:
    """Latencies that are 1.5 times the closed form's, with more noise where m is small."""
    rng = np.random.default_rng(seed)
    physics = predict_physics(table, compile_rates(load_device("h100-sxm"))).latency_s
    noise = np.where(table["m"] < 64, NOISY, QUIET)
    return np.asarray(physics * 1.5 * np.exp(rng.normal(0.3, 1.0, table.rows) * noise))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LearnedModel:
    folder = tmp_path_factory.mktemp("hard")
    table = OpTable.from_columns(gemm_columns(120, 40))
    texts = {"device": "h100-sxm", "software": "stack 1", "op": "gemm", "dtype": "bf16"}
    words = {name: np.array([word] * table.rows, dtype=object) for name, word in texts.items()}
    write_columns(folder / "m.csv", {**words, **{x: table[x] for x in "mnk"}, "latency_s": latencies(table, 1)})
    calibrate([read_measurements(folder / "m.csv")], folder / "model", rounds=ROUNDS)
    return load_artefact(folder / "model")


@pytest.fixture(scope="module")
def rates() -> Rates:
    return compile_rates(load_device("h100-sxm"))


def fresh(groups: int = 40) -> OpTable:
    """Shapes that were not measured, inside the range of those that were."""
    return OpTable.from_columns(gemm_columns(groups, 30, seed=7, inner=True))


def test_noisy_rows_are_expected_to_err_more(model: LearnedModel, rates: Rates) -> None:
    table = fresh()
    hard, thin = model.difficulty(table, rates), table["m"] < 64
    error = np.abs(np.log(latencies(table, 5) / model.predict(table, rates).latency_s))
    assert hard.shape == (table.rows,)
    assert np.median(hard[thin]) > 4 * np.median(hard[~thin])
    for part in (thin, ~thin):  # what is expected is what comes
        assert hard[part].mean() == pytest.approx(error[part].mean(), rel=0.35)


def test_intervals_are_as_wide_as_the_row_is_hard_and_cover(model: LearnedModel, rates: Rates) -> None:
    table = fresh()
    costs, truth, thin = model.predict(table, rates), latencies(table, 5), table["m"] < 64
    width = np.log(costs.latency_hi_s / costs.latency_s)
    assert np.median(width[thin]) > 4 * np.median(width[~thin])
    covered = (truth >= costs.latency_lo_s) & (truth <= costs.latency_hi_s)
    assert 0.85 <= covered.mean() <= 0.96
    assert covered[thin].mean() > 0.75
    usual = np.abs(np.log(truth / costs.latency_s)) <= np.median(width)  # one width for all
    assert usual[thin].mean() < 0.5


def test_a_row_alone_is_as_hard_as_in_company(model: LearnedModel, rates: Rates) -> None:
    table = fresh()
    whole = model.difficulty(table, rates)
    order = np.random.default_rng(0).permutation(table.rows)
    np.testing.assert_allclose(model.difficulty(table.take(order), rates), whole[order], rtol=1e-6)
    for i in range(0, table.rows, 97):
        assert model.difficulty(table.take(np.array([i])), rates) == pytest.approx(whole[i], rel=1e-6)


def test_outside_the_ranges_rows_are_harder_and_far_outside_the_closed_form_answers(
    model: LearnedModel, rates: Rates
) -> None:  # fmt: skip
    table = OpTable.from_columns(
        {"op": "gemm", "dtype": "bf16", "m": 1024.0, "n": [8192.0, 25_600.0, 1e9], "k": 8192.0}
    )  # fmt: skip
    costs, physics, hard = model.predict(table, rates), predict_physics(table, rates), model.difficulty(table, rates)
    assert costs.sources() == ["learned", "extrapolated", "extrapolated"]
    assert costs.latency_s[1] > 1.2 * physics.latency_s[1]  # the learned factor still serves
    assert costs.latency_s[2] == physics.latency_s[2]
    assert hard[0] < hard[1] < hard[2]
    ratio = costs.latency_hi_s / costs.latency_s
    assert ratio[0] < ratio[1] < ratio[2]


def test_without_a_forest_the_interval_tells_what_to_expect(model: LearnedModel, rates: Rates) -> None:
    bare = {name: section for name, section in model.forest.sections.items() if not name.startswith(difficulty.PREFIX)}
    plain = replace(model, forest=replace(model.forest, sections=bare), _boosters={})
    table = fresh(5)
    costs = plain.predict(table, rates)
    expected = difficulty.MEAN_OVER_HALF * np.log(costs.latency_hi_s / costs.latency_s)
    np.testing.assert_allclose(plain.difficulty(table, rates), expected)
    unmeasured = OpTable.from_columns({"op": "norm", "dtype": "bf16", "rows": 4096.0, "hidden": 4096.0})
    assert np.isfinite(model.difficulty(unmeasured, rates)).all()


def test_a_forest_finds_the_scale_of_errors_and_rises_where_told() -> None:
    rng = np.random.default_rng(0)
    seen = rng.uniform(0, 1, (4_000, 3)).astype(np.float32)
    error = rng.normal(0, 0.05 + 0.3 * seen[:, 0])
    trees, hard = crossed_difficulty(seen, error, np.arange(4_000) % 4, 0)
    assert hard.mean() == pytest.approx(np.abs(error).mean(), rel=0.02)
    assert np.corrcoef(hard, 0.05 + 0.3 * seen[:, 0])[0, 1] > 0.9
    rising = train_difficulty(seen, -error, 0, rising=1)
    line = np.full((50, 3), 0.5, dtype=np.float32)
    line[:, 2] = np.linspace(0, 1, 50)
    assert (np.diff(rising.predict(line)) >= -1e-6).all()
    np.testing.assert_array_equal(trees.predict(seen[:10]), trees.predict(seen)[:10])


def test_few_shapes_draw_a_width_to_that_of_all_devices() -> None:
    rng = np.random.default_rng(0)
    score, size, group = np.abs(rng.normal(0, 2, 900)), rng.uniform(0, 1, 900), np.repeat(np.arange(30), 30)
    _, alone = widths(score, size, group, float("nan"))
    _, drawn = widths(score, size, group, 1.0)
    assert all(1.0 < b < a for a, b in zip(alone, drawn, strict=True))
    assert all(np.isnan(width) for width in widths(score[:5], size[:5], group[:5], 1.0)[1])


def test_what_forests_learn_is_bounded(tmp_path: Path) -> None:
    target = difficulty.target_of(np.array([0.0, 1e-9, -0.1, 50.0]))
    np.testing.assert_allclose(np.exp(target), [difficulty.LEAST, difficulty.LEAST, 0.1, difficulty.MOST], rtol=1e-6)
