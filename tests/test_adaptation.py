"""Devices that were not measured: a blend of their kin, moved by a few rows, with intervals from devices left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_calibration import gemm_columns, measured

from costmodel.adaptation import KinTable, Mix, Seen, best_mix, filled, fit_shots, left_out, mixed, typical
from costmodel.artefact import load_artefact, load_card
from costmodel.calibration import calibrate
from costmodel.calibration.intervals import widths_of_next
from costmodel.kin import kin_ratios, kin_weights
from costmodel.physics import predict_physics
from costmodel.plans import _among
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from foundation.errors import BadValueError
from hardware_specs import load_device
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import OpTable

pytest.importorskip("xgboost")

FACTORS = {"h100-sxm": 1.5, "a100-sxm-80gb": 1.5, "l40s": 1.5}


def rows_of(device: str, factor: float, count: int, seed: int, noise: float = 0.03) -> MeasurementTable:
    """Products on a device whose kernels take `factor` times the closed form."""
    columns = gemm_columns(max(1, count // 20), min(count, 20), seed)
    table = OpTable.from_columns(columns)
    physics = predict_physics(table, compile_rates(load_device(device))).latency_s
    latency = physics * factor * np.exp(np.random.default_rng(seed).normal(0, noise, table.rows))
    texts = {"device": device, "software": "stack 1", "op": "gemm", "dtype": "bf16"}
    return measurement_table("made up", {**texts, **{x: table.full(x) for x in "mnk"}, "latency_s": latency})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    calibrate([rows_of(d, f, 1_200, 3) for d, f in FACTORS.items()], folder / "base", rounds=40)
    return folder / "base"


def inner(count: int = 200) -> OpTable:
    return OpTable.from_columns(gemm_columns(max(1, count // 20), 20, 77, inner=True))


def worst(model: LearnedModel, device: str, factor: float) -> float:
    """Return the median error of a model on a device whose kernels take `factor` times the closed form."""
    rates, table = compile_rates(load_device(device)), inner()
    truth = predict_physics(table, rates).latency_s * factor
    return float(np.median(np.abs(model.predict(table, rates).latency_s / truth - 1)))


def test_a_device_like_those_measured_is_answered_from_them(base: Path) -> None:
    model, rates = load_artefact(base), compile_rates(load_device("h200-sxm"))
    costs = model.predict(inner(), rates)
    assert costs.interval_kind == "pseudo_target"
    assert set(costs.sources()) == {"learned"}
    assert worst(model, "h200-sxm", 1.5) < 0.05


def test_a_device_unlike_all_of_them_is_left_to_the_closed_form(base: Path) -> None:
    model = load_artefact(base)
    for name in ("rk3588", "raspberry-pi-5"):
        table = OpTable.from_columns({"op": "gemm", "dtype": "int8", "m": [64.0], "n": [64.0], "k": [64.0]})
        assert model.predict(table, compile_rates(load_device(name))).sources() == ["physics"]


def test_few_rows_of_a_new_device_correct_it(base: Path, tmp_path: Path) -> None:
    before = worst(load_artefact(base), "h200-sxm", 2.2)
    card = calibrate([rows_of("h200-sxm", 2.2, 20, 5)], tmp_path / "new", base=base)
    model = load_artefact(tmp_path / "new")
    assert before > 0.25
    assert worst(model, "h200-sxm", 2.2) < before / 3
    assert card.transfer.adapted["h200-sxm/gemm"].shots == 20
    assert card.scores["h200-sxm/gemm"].mape < 0.2
    assert model.predict(inner(), compile_rates(load_device("h200-sxm"))).interval_kind == "pseudo_target"
    assert worst(model, "h100-sxm", 1.5) == worst(load_artefact(base), "h100-sxm", 1.5)  # others stay as they were


def test_the_same_rows_adapt_to_the_same_bytes(base: Path, tmp_path: Path) -> None:
    for name in "ab":
        calibrate([rows_of("h200-sxm", 2.0, 20, 5)], tmp_path / name, base=base)
    for file in ("card.json", "model.bin"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert load_card(tmp_path / "a").data_sha256 != load_card(base).data_sha256


def test_rows_that_cannot_adapt_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="was calibrated on h100-sxm itself"):
        calibrate([rows_of("h100-sxm", 1.5, 20, 5)], tmp_path / "x", base=base)
    norm: dict[str, Any] = {
        "device": "h200-sxm",
        "op": "norm",
        "dtype": "bf16",
        "rows": np.arange(1.0, 20),
        "hidden": 64.0,
    }
    with pytest.raises(BadValueError, match="can adapt gemm"):
        calibrate([measurement_table("n", {**norm, "latency_s": 1e-5})], tmp_path / "x", base=base)
    with pytest.raises(BadValueError, match="look like milliseconds"):
        calibrate([rows_of("h200-sxm", 1.5e3, 20, 5)], tmp_path / "x", base=base)


def test_one_device_alone_says_nothing_of_others(tmp_path: Path) -> None:
    calibrate([measured(tmp_path)], tmp_path / "one", rounds=5)
    model = load_artefact(tmp_path / "one")
    assert not model.transfer.reach
    assert set(model.predict(inner(), compile_rates(load_device("h200-sxm"))).sources()) == {"physics"}


def test_resemblance_falls_with_distance_and_adds_up_to_one() -> None:
    ratios = {name: kin_ratios(compile_rates(load_device(name))) for name in ("h100-sxm", "a100-sxm-80gb", "l40s")}
    weights = kin_weights(ratios, kin_ratios(compile_rates(load_device("h200-sxm"))), 0.4)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert max(weights, key=lambda name: weights[name]) == "h100-sxm"


def test_few_rows_find_the_right_source_or_offset() -> None:
    rng = np.random.default_rng(0)
    factor, regime = rng.normal(0, 0.5, (60, 3)), rng.uniform(size=(60, 4))
    seen, prior = Seen(factor, regime, np.repeat([48.0, 80.0], 30)), np.full(3, 1 / 3)
    error = factor[:, 1] + 0.3 + 0.5 * regime[:, 0]
    told = fit_shots(seen, error, prior, 0.1, 0.1)
    assert told.weights.sum() == pytest.approx(1.0)
    assert told.weights[1] > 0.9
    np.testing.assert_allclose(told.answer(seen), error, atol=0.05)
    stiff = fit_shots(seen, error, prior, 1e9, 1e9)
    np.testing.assert_allclose(stiff.weights, prior, atol=1e-6)


def test_few_rows_find_the_kernel_that_is_slow() -> None:
    rng = np.random.default_rng(0)
    seen = Seen(rng.normal(0, 0.2, (40, 2)), rng.uniform(size=(40, 4)), np.repeat([48.0, 80.0], 20))
    error = seen.factor.mean(axis=1) + 1.0 * (seen.kernel == 80.0)
    error[3] = 9.0  # one spoilt row
    told = fit_shots(seen, error, np.full(2, 0.5), 5.0, 0.3)
    assert told.kernels[80.0] - told.kernels[48.0] > 0.5
    rest = np.arange(40) != 3
    np.testing.assert_allclose(told.answer(seen)[rest], error[rest], atol=0.25)


def test_leaving_a_device_out_uses_nothing_of_its_own_model() -> None:
    devices, rng = ("a", "b", "c"), np.random.default_rng(0)
    target = np.repeat([0, 1, 2], 50)
    factor = np.stack([np.where(target == i, 0.0, 0.2) for i in range(3)], axis=1)  # own model: right, others: 0.2 off
    size, regime = rng.normal(size=150), rng.uniform(size=(150, 4))
    table = KinTable(devices, target, np.zeros(150), size, np.full(150, -9.0), regime, np.zeros(150), factor)
    kinship = {"a": (0.0,), "b": (0.1,), "c": (1.0,)}
    error, _, _ = left_out(table, kinship, Mix(0.4, 1.0), 0, 1.0, 1.0)
    np.testing.assert_allclose(error, -0.2)
    assert typical(error, np.zeros(150)) == pytest.approx(np.expm1(0.2))
    again = KinTable.of(devices, table.matrix())
    np.testing.assert_allclose(again.factor, factor, atol=1e-3)
    gaps = filled(np.array([[np.nan, 1.0, 3.0]]), np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(gaps, [[2.0, 1.0, 3.0]], atol=1e-6)


def designs_of(rng: np.random.Generator, misled: float) -> tuple[KinTable, dict[str, tuple[float, ...]]]:
    """Four devices of two designs, on which the closed form is right; those of the other design say `misled`."""
    devices, target = ("a", "a2", "b", "b2"), np.repeat(np.arange(4), 50)
    design = np.array([0, 0, 1, 1])
    factor = np.where(design[target][:, None] == design, 0.0, misled)
    size, floor = rng.normal(size=200), np.full(200, -9.0)
    table = KinTable(devices, target, np.zeros(200), size, floor, rng.uniform(size=(200, 4)), np.zeros(200), factor)
    return table, {"a": (0.0,), "a2": (0.1,), "b": (2.0,), "b2": (2.1,)}


def test_kin_that_mislead_leave_far_devices_to_the_closed_form() -> None:
    table, kinship = designs_of(np.random.default_rng(0), 0.8)
    assert best_mix(table.apart(kinship), kinship).kin == 0.0
    right, _ = designs_of(np.random.default_rng(0), -0.5)
    right = replace(right, error=np.full(200, -0.5))  # what the other design says is true
    assert best_mix(right.apart(kinship), kinship).kin == 1.0
    assert np.isnan(table.apart(kinship).factor[:50, 1]).all()  # nothing from the same design
    nothing = np.full((3, 2), np.nan)
    factor, weights = mixed(np.ones((3, 2)), nothing, np.array([0.5, 0.5]), Mix(0.4, 0.25))
    np.testing.assert_allclose(factor @ weights, 0.25)
    factor, weights = mixed(np.ones((3, 2)), np.full((3, 2), 2.0), np.array([0.5, 0.5]), Mix(0.4, 0.25, 0.5, 0.1))
    np.testing.assert_allclose(factor @ weights, 0.25 + 2 * 0.6)
    assert weights.sum() == pytest.approx(1.0)


def test_models_of_all_devices_serve_where_they_are_right() -> None:
    table, kinship = designs_of(np.random.default_rng(0), -0.8)
    told = replace(
        table, error=np.full(200, 0.4), shared=np.column_stack([np.full(200, 0.4), np.full(200, -1.0)]),
        mates=np.full(200, 0.3))  # fmt: skip
    mix = best_mix(told.apart(kinship), kinship)
    assert mix == (mix.reach, 0.0, 1.0, 0.0)
    again = KinTable.of(told.devices, told.matrix())
    np.testing.assert_allclose(again.shared, told.shared, atol=1e-6)
    older = KinTable.of(told.devices, told.matrix()[:, :-3])  # a table without models of all devices
    assert np.isnan(older.shared).all()
    near = told.of_near(kinship)
    np.testing.assert_allclose(near.factor[:50, 1], 0.3)
    assert np.isfinite(near.factor[:50]).tolist() == [[False, True, False, False]] * 50


def test_the_width_for_a_new_design_grows_as_designs_are_fewer() -> None:
    rng = np.random.default_rng(0)
    error, design = rng.normal(0, 0.2, 8_000), np.repeat(np.arange(8), 1_000)
    _, many = widths_of_next(error, rng.normal(size=8_000), design)
    _, few = widths_of_next(error[:2_000], rng.normal(size=2_000), design[:2_000])
    assert 1.645 * 0.2 < min(many) < max(many) < min(few)
    assert max(many) < 3 * 1.645 * 0.2


def test_a_source_that_does_not_know_a_kernel_says_what_the_others_say() -> None:
    told = {"a": 0.5, "b": -0.38, "c": 0.3, "form": 0.4}
    assert _among(told, {"a": 0.75, "b": 0.25}) == pytest.approx({"a": 0.725, "b": -0.305})
    assert _among(told, {"a": 0.2, "b": 0.3, "c": 0.5}) == pytest.approx({"a": 0.5, "b": -0.38, "c": 0.3})


def test_few_rows_serve_where_there_are_no_models_of_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costmodel.calibration.transfer.FEWEST_DESIGNS", 9)
    calibrate([rows_of(d, 1.5, 600, 3) for d in ("h100-sxm", "a100-sxm-80gb")], tmp_path / "one", rounds=20)
    assert not any(sum(parts) for parts in load_card(tmp_path / "one").transfer.shared.values())
    card = calibrate([rows_of("h100-pcie", 2.2, 20, 5)], tmp_path / "new", base=tmp_path / "one")
    assert not {"form", "pool"} & set(card.transfer.adapted["h100-pcie/gemm"].weights)
    assert worst(load_artefact(tmp_path / "new"), "h100-pcie", 2.2) < 0.3
