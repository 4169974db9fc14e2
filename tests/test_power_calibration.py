"""Calibration takes measured power along: it is learned, scored on unseen shapes, kept in the artefact, and answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_calibration import gemm_columns

from archcast.calibration import calibrate as calibrate_files
from costmodel.artefact import load_artefact, load_card
from costmodel.calibration import calibrate
from costmodel.physics import predict_physics
from costmodel.power_physics import activity, share_of_limit
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.measurements import MeasurementTable, measurement_table
from workloads.table import Array, OpTable

pytest.importorskip("xgboost")

COEFFICIENTS = np.array([0.2, 0.9, 1.3, 2.0, 0.5, 0.5, 0.2, 0.05, 1.0, 1.0, 1.0, 1.0, 1.0])
FACTOR = 1.5


def true_watts(table: OpTable, device: str, latency_s: Array, more: float = 1.0) -> Array:
    rates = compile_rates(load_device(device))
    active = activity(table, rates, latency_s)
    return share_of_limit(COEFFICIENTS, active.use, active.family) ** (1 / more) * rates.limit_w


def rows_of(
    device: str, groups: int, seed: int = 3, *, given: str = "power_w", unit: float = 1.0, more: float = 1.0
) -> MeasurementTable:
    """Products whose kernels take 1.5 times the closed form, with the power of known coefficients, and 3 % noise."""
    columns = gemm_columns(groups, 20, seed)
    table = OpTable.from_columns(columns)
    rng = np.random.default_rng(seed)
    physics = predict_physics(table, compile_rates(load_device(device))).latency_s
    latency = physics * FACTOR * np.exp(rng.normal(0, 0.03, table.rows))
    watts = true_watts(table, device, latency, more) * np.exp(rng.normal(0, 0.03, table.rows)) * unit
    measured = {"power_w": watts} if given == "power_w" else {"energy_j": watts * latency} if given else {}
    texts = {"device": device, "software": "stack 1", "op": "gemm", "dtype": "bf16"}
    sizes = {name: table.full(name) for name in "mnk"}
    return measurement_table("made up", {**texts, **sizes, "latency_s": latency, **measured})


TABLES = [rows_of("h200-sxm", 60), rows_of("a100-sxm-80gb", 40, given="")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("power")
    calibrate(TABLES, folder / "base", rounds=20)
    return folder / "base"


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def unseen() -> OpTable:
    return OpTable.from_columns(gemm_columns(10, 20, 77, inner=True))


def energy_error(model: LearnedModel, device: str, more: float = 1.0) -> float:
    """Return the median error of energy on shapes that were not measured."""
    rates, table = compile_rates(load_device(device)), unseen()
    latency = predict_physics(table, rates).latency_s * FACTOR
    truth = true_watts(table, device, latency, more) * latency
    return float(np.median(np.abs(model.predict(table, rates).energy_j / truth - 1)))


def test_energy_of_a_measured_device_rests_on_its_power(base: Path) -> None:
    model = load_artefact(base)
    assert energy_error(model, "h200-sxm") < 0.06
    assert energy_error(model, "h200-sxm") < 0.5 * energy_error(replace(model, power=None), "h200-sxm")


def test_the_card_scores_power_and_energy_on_shapes_that_were_held_out(base: Path) -> None:
    card = load_card(base)
    assert set(card.power_scores) == {"h200-sxm/gemm"}
    score = card.power_scores["h200-sxm/gemm"]
    assert score.rows == card.scores["h200-sxm/gemm"].rows
    assert score.mape < 0.06
    assert score.energy_mape < 0.12
    assert score.energy_mape < 0.7 * score.closed_form_mape
    assert score.mape < 0.5 * score.constant_mape  # of the noise's own mean, 2.4 %
    assert 0.8 <= score.coverage <= 1.0
    assert 0.8 <= score.energy_coverage <= 1.0
    assert 1.0 < score.width < 1.6


def test_energy_of_other_devices_of_what_ifs_and_of_other_operators_is_the_closed_forms(base: Path) -> None:
    model = load_artefact(base)
    plain = replace(model, power=None)
    a100, h200 = (compile_rates(load_device(name)) for name in ("a100-sxm-80gb", "h200-sxm"))
    norm = OpTable.from_columns({"op": "norm", "dtype": "bf16", "rows": np.arange(1.0, 40.0), "hidden": 4096.0})
    for table, rates in ((unseen(), a100), (unseen(), h200.scaled(bandwidth=2.0)), (norm, h200)):
        np.testing.assert_array_equal(model.predict(table, rates).energy_j, plain.predict(table, rates).energy_j)
    assert not model.knows_power(a100)
    assert model.knows_power(h200)


def test_energy_lies_in_its_interval_and_between_idle_and_limit(base: Path) -> None:
    model, rates = load_artefact(base), compile_rates(load_device("h200-sxm"))
    costs = model.predict(unseen(), rates)
    assert (costs.energy_lo_j <= costs.energy_j).all()
    assert (costs.energy_j <= costs.energy_hi_j).all()
    assert (costs.energy_j <= rates.limit_w * costs.latency_s * (1 + 1e-9)).all()
    assert (costs.energy_j >= rates.idle_w[1] * costs.latency_s * (1 - 1e-9)).all()


def test_energy_in_joules_serves_as_power_does(base: Path, tmp_path: Path) -> None:
    calibrate([rows_of("h200-sxm", 40, given="energy_j")], tmp_path / "joules", rounds=20)
    assert energy_error(load_artefact(tmp_path / "joules"), "h200-sxm") < 0.06


def test_rows_without_power_make_an_artefact_without_it(tmp_path: Path) -> None:
    card = calibrate([rows_of("h200-sxm", 20, given="")], tmp_path / "plain", rounds=5)
    assert card.power_scores == {}
    assert load_artefact(tmp_path / "plain").power is None
    assert sorted(p.name for p in (tmp_path / "plain").iterdir()) == ["card.json", "model.bin"]


def test_the_same_rows_and_seed_give_the_same_power_file(base: Path, tmp_path: Path) -> None:
    calibrate(TABLES, tmp_path / "again", rounds=20)
    assert (tmp_path / "again" / "power.json").read_bytes() == (base / "power.json").read_bytes()
    assert (base / "power.json").stat().st_size < 100_000


def test_a_changed_or_missing_power_file_is_noticed(copied: Path) -> None:
    path = copied / "power.json"
    text = path.read_text()
    path.write_text(text.replace("0.", "0.1", 1))
    with pytest.raises(BadFileError, match=r"power\.json: the file was changed after the artefact was made"):
        load_artefact(copied)
    path.unlink()
    with pytest.raises(BadFileError, match="cannot be read"):
        load_artefact(copied)


def test_power_in_milliwatts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="check for milliwatts"):
        calibrate([rows_of("h200-sxm", 20, unit=1e3)], tmp_path / "model", rounds=5)


def test_few_rows_with_power_adapt_a_new_device(base: Path, tmp_path: Path) -> None:
    more = 1.3  # a device that draws more at the same use
    card = calibrate([rows_of("b200", 1, 9, more=more)], tmp_path / "new", base=base)
    model = load_artefact(tmp_path / "new")
    assert model.power is not None
    assert model.power.kind_of(compile_rates(load_device("b200"))) == "few_shot"
    assert card.power_scores["b200/gemm"].rows == 20
    assert card.power_scores["b200/gemm"].energy_mape != card.power_scores["b200/gemm"].energy_mape  # NaN: no latency
    assert card.power_scores["h200-sxm/gemm"] == load_card(base).power_scores["h200-sxm/gemm"]
    assert energy_error(model, "b200", more) < 0.5 * energy_error(load_artefact(base), "b200", more)


def test_the_public_calibrate_keeps_power_through_files(tmp_path: Path) -> None:
    table = rows_of("h200-sxm", 40)
    sizes = {x: table.table.full(x) for x in "mnk"}
    texts = {name: np.array([word] * table.rows, dtype=object) for name, word in
             {"device": "h200-sxm", "software": "stack 1", "op": "gemm", "dtype": "bf16"}.items()}  # fmt: skip
    columns = {**texts, **sizes, "latency_s": table.value("latency_s"), "power_w": table.value("power_w")}
    write_columns(tmp_path / "m.csv", columns)
    done = calibrate_files(tmp_path / "m.csv", out=tmp_path / "model")
    assert "h200-sxm/gemm" in done.to_json()["power_scores"]
    assert load_artefact(tmp_path / "model").power is not None
    assert set(json.loads((tmp_path / "model" / "card.json").read_text())["files"]) == {"model.bin", "power.json"}
