"""The learned model: bounds, intervals, what it does outside its training, and that all its paths agree."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_calibration import ROUNDS, gemm_columns, measured

from costmodel import residual
from costmodel.artefact import load_artefact
from costmodel.calibration import calibrate
from costmodel.costs import COLUMNS, NUMERIC
from costmodel.features import LAYOUTS, describe, floor_s
from costmodel.physics import predict_physics, price
from costmodel.rates import Rates, compile_rates
from costmodel.residual import LearnedModel, distinct
from foundation.formats import FORMAT_CODES
from hardware_specs import load_device
from workloads.table import OpTable

pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LearnedModel:
    folder = tmp_path_factory.mktemp("model")
    calibrate([measured(folder)], folder / "model", rounds=ROUNDS)
    return load_artefact(folder / "model")


@pytest.fixture(scope="module")
def rates() -> Rates:
    return compile_rates(load_device("h100-sxm"))


def known(groups: int = 30, rows: int = 40) -> OpTable:
    """Rows of the kind that the model was trained on."""
    return OpTable.from_columns(gemm_columns(groups, rows, inner=True))


def test_rows_like_those_of_training_are_learned_with_a_conformal_interval(model: LearnedModel, rates: Rates) -> None:
    costs = model.predict(known(), rates)
    assert set(costs.sources()) == {"learned"}
    assert costs.interval_kind == "conformal"
    assert costs.shared_log_error == model.shared_log_error
    assert (costs.latency_lo_s < costs.latency_s).all()
    assert (costs.latency_s < costs.latency_hi_s).all()


def test_the_order_and_the_company_of_rows_change_nothing(model: LearnedModel, rates: Rates) -> None:
    table = known()
    whole = model.predict(table, rates)
    order = np.random.default_rng(0).permutation(table.rows)
    shuffled = model.predict(table.take(order), rates)
    ones = [model.predict(table.take(np.array([i])), rates) for i in range(40)]
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(whole, name)[order])
        alone = np.concatenate([getattr(one, name) for one in ones])
        np.testing.assert_allclose(alone, getattr(whole, name)[:40], rtol=1e-6)


@pytest.mark.parametrize("numba", [True, False])
def test_flat_and_compiled_trees_agree_in_the_model(
    model: LearnedModel, rates: Rates, monkeypatch: pytest.MonkeyPatch, numba: bool
) -> None:
    table = known()
    monkeypatch.setattr(residual, "COMPILED_ROWS", 10**9)
    flat_s = replace(model, _boosters={}).predict(table, rates).latency_s
    monkeypatch.setattr(residual, "COMPILED_ROWS", 0)
    if numba:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(residual, "walker", lambda: None)
    compiled = replace(model, _boosters={})
    np.testing.assert_array_equal(compiled.predict(table, rates).latency_s, flat_s)
    assert bool(compiled._heaps) == numba
    assert bool(compiled._boosters) != numba


@pytest.mark.parametrize("numba", [True, False])
def test_a_forest_is_compiled_once_enough_rows_were_asked(
    model: LearnedModel, rates: Rates, monkeypatch: pytest.MonkeyPatch, numba: bool
) -> None:
    if numba:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(residual, "walker", lambda: None)
    table, fresh = known(), replace(model, _boosters={})
    monkeypatch.setattr(residual, "COMPILED_ROWS", 2 * table.rows)
    answers = [fresh.predict(table, rates).latency_s]
    assert not fresh._boosters
    assert not fresh._heaps
    answers += [fresh.predict(table, rates).latency_s for _ in range(3)]
    assert fresh._heaps if numba else fresh._boosters
    for later in answers[1:]:
        np.testing.assert_array_equal(later, answers[0])


def test_a_warmed_model_answers_alike(model: LearnedModel, rates: Rates) -> None:
    table = known()
    warm = replace(model, _boosters={}).warmed()
    np.testing.assert_array_equal(warm.predict(table, rates).latency_s, model.predict(table, rates).latency_s)


def test_chunks_give_what_one_piece_gives(model: LearnedModel, rates: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    table = known()
    whole = model.predict(table, rates)
    monkeypatch.setattr(residual, "CHUNK", 100)
    pieces = model.predict(table, rates)
    assert pieces.interval_kind == "conformal"
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=1e-6)


def test_repeated_rows_are_priced_once_and_all_answered(model: LearnedModel, rates: Rates) -> None:
    table = known()
    again = table.take(np.random.default_rng(1).integers(0, table.rows, 5_000))
    small, inverse = distinct(again)
    assert small.rows < table.rows
    assert inverse is not None
    for name in "mnk":
        np.testing.assert_array_equal(small[name][inverse], again[name])
    costs = model.predict(again, rates)
    np.testing.assert_allclose(costs.latency_s, model.predict(small, rates).latency_s[inverse], rtol=1e-6)


def test_the_repeat_count_does_not_part_equal_rows_and_other_columns_do() -> None:
    columns = {"op": "gemm", "dtype": "bf16", "m": np.ones(200), "n": np.ones(200), "k": np.ones(200)}
    small, _ = distinct(OpTable.from_columns({**columns, "count": np.arange(1.0, 201)}))
    assert small.rows == 1
    small, inverse = distinct(OpTable.from_columns({**columns, "batch": np.arange(1.0, 201)}))
    assert (small.rows, inverse) == (200, None)


def test_no_answer_beats_the_physical_floor(model: LearnedModel, rates: Rates, tmp_path: Path) -> None:
    calibrate([measured(tmp_path, factor=0.3)], tmp_path / "fast", rounds=ROUNDS)  # faster than the hardware allows
    table = known()
    floor = floor_s(price(table, rates).stages, rates)
    costs = load_artefact(tmp_path / "fast").predict(table, rates)
    assert (costs.latency_s == floor).any()
    assert (costs.latency_s >= floor).all()
    assert (costs.latency_lo_s >= floor).all()


def test_outside_the_trained_range_physics_answers_and_says_so(model: LearnedModel, rates: Rates) -> None:
    far = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": [1e6], "n": [1e6], "k": [1e5]})
    costs, physics = model.predict(far, rates), predict_physics(far, rates)
    assert costs.sources() == ["extrapolated"]
    assert costs.interval_kind == "propagated"
    assert costs.shared_log_error == 1.0
    assert costs.latency_s == physics.latency_s
    assert costs.latency_lo_s < physics.latency_lo_s
    assert costs.latency_hi_s > physics.latency_hi_s


def test_a_format_or_software_that_was_not_measured_is_extrapolated(model: LearnedModel, rates: Rates) -> None:
    columns = gemm_columns(30, 2, inner=True)
    other = OpTable.from_columns({**columns, "dtype": "fp8"})
    assert set(model.predict(other, rates).sources()) == {"extrapolated"}
    table = OpTable.from_columns(columns)
    assert set(model.predict(table, rates, software="stack 2").sources()) == {"extrapolated"}
    assert set(model.predict(table, rates, software="stack 1").sources()) == {"learned"}


def test_a_device_with_other_figures_than_those_of_training_is_extrapolated(model: LearnedModel, rates: Rates) -> None:
    table = known(3, 5)
    assert set(model.predict(table, compile_rates(load_device("h100-sxm"))).sources()) == {"learned"}
    faster = rates.scaled(bandwidth=1.01)
    costs = model.predict(table, faster)
    assert set(costs.sources()) == {"extrapolated"}
    np.testing.assert_allclose(costs.latency_s, predict_physics(table, faster).latency_s, rtol=1e-12)


def test_what_was_never_measured_is_physics_unchanged(model: LearnedModel, rates: Rates) -> None:
    norms = OpTable.from_columns({"op": "norm", "dtype": "bf16", "rows": [8.0, 512.0], "hidden": 4096.0})
    other = compile_rates(load_device("l40s"))
    for table, device in ((norms, rates), (known(3, 5), other)):
        costs, physics = model.predict(table, device), predict_physics(table, device)
        assert set(costs.sources()) == {"physics"}
        for name in NUMERIC:
            np.testing.assert_allclose(getattr(costs, name), getattr(physics, name), rtol=1e-12)


def test_a_mixed_table_is_answered_row_by_row(model: LearnedModel, rates: Rates) -> None:
    gemm, norm = known(2, 3), OpTable.from_columns({"op": "norm", "dtype": "bf16", "rows": [8.0], "hidden": 64.0})
    attention = OpTable.from_columns(
        {"op": "attention", "dtype": "bf16", "kv_dtype": "fp8", "phase": "decode", "batch": 4, "q_len": 1,
         "kv_len": 512, "heads": 32, "kv_heads": 8, "head_dim": 128}
    )  # fmt: skip
    costs = model.predict(OpTable.concat([gemm, norm, attention]), rates)
    assert costs.sources() == ["learned"] * 6 + ["physics"] * 2
    np.testing.assert_allclose(costs.latency_s[:6], model.predict(gemm, rates).latency_s, rtol=1e-6)


@settings(max_examples=60)
@given(
    m=st.integers(1, 10**7), n=st.integers(1, 10**6), k=st.integers(1, 10**6), batch=st.integers(1, 64),
    dtype=st.sampled_from(["bf16", "fp16", "fp8", "int8", "fp64"]),
)  # fmt: skip
def test_every_answer_is_finite_ordered_and_within_the_power_limit(
    m: int, n: int, k: int, batch: int, dtype: str, model: LearnedModel, rates: Rates
) -> None:
    table = OpTable.from_columns({"op": "gemm", "dtype": dtype, "m": m, "n": n, "k": k, "batch": batch})
    costs = model.predict(table, rates)
    for lo, value, hi in (
        (costs.latency_lo_s, costs.latency_s, costs.latency_hi_s),
        (costs.energy_lo_j, costs.energy_j, costs.energy_hi_j),
    ):
        assert 0 < lo[0] <= value[0] <= hi[0] < np.inf
    assert costs.energy_j[0] <= rates.limit_w * costs.latency_s[0] * (1 + 1e-9)
    assert costs.energy_j[0] >= rates.idle_w[1] * costs.latency_s[0] * (1 - 1e-9)


def test_features_have_no_raw_sizes(rates: Rates) -> None:
    """The same operator ten times over, on a device with ten times of everything, looks the same."""
    from dataclasses import replace

    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": [256.0], "n": [512.0], "k": [1024.0]})
    batched = OpTable.from_columns(
        {"op": "gemm", "dtype": "bf16", "m": [256.0], "n": [512.0], "k": [1024.0], "batch": 10.0}
    )
    wide = replace(rates, units=rates.units * 10, peak_flop_per_s=rates.peak_flop_per_s * 10,
                   vector_flop_per_s=rates.vector_flop_per_s * 10, dram_bytes_per_s=rates.dram_bytes_per_s * 10,
                   cache_bytes=rates.cache_bytes * 10, cache_bytes_per_s=rates.cache_bytes_per_s * 10,
                   idle_w=(0.0, 0.0, 0.0), limit_w=1e9)  # fmt: skip
    same = replace(rates, idle_w=(0.0, 0.0, 0.0), limit_w=1e9)
    a, b = (describe(t, price(t, r), r, "gemm").matrix[0] for t, r in ((table, same), (batched, wide)))
    different = {LAYOUTS["gemm"].names[i] for i in np.flatnonzero(~np.isclose(a, b, rtol=1e-4, atol=1e-4))}
    assert different <= {"products", "blocked_over_compulsory", "compute_over_memory", "units"}


def test_a_small_question_does_not_load_xgboost(model: LearnedModel, tmp_path: Path, repository: Path) -> None:
    calibrate([measured(tmp_path)], tmp_path / "model", rounds=5)
    code = f"""
import sys
from dataclasses import replace
sys.path.insert(0, {str(repository)!r})
from costmodel.artefact import load_artefact
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.table import OpTable
model = load_artefact({str(tmp_path / "model")!r})
table = OpTable.from_columns({{"op": "gemm", "dtype": "bf16", "m": [64.0, 512.0], "n": 4096.0, "k": 4096.0}})
print(model.predict(table, compile_rates(load_device("h100-sxm"))).sources())
assert not [m for m in ("xgboost", "scipy", "pint", "numba", "pyarrow") if m in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "learned" in done.stdout


def test_half_precision_is_answered_as_bfloat16_where_only_that_was_measured(model: LearnedModel, rates: Rates) -> None:
    rows = known()
    code = FORMAT_CODES["fp16"]
    halves = OpTable(rows.rows, {**rows.columns, "dtype": np.full_like(rows.full("dtype"), code)})
    one, other = model.predict(halves, rates), model.predict(rows, rates)
    assert np.array_equal(one.latency_s, other.latency_s)
    assert set(one.sources()) == {"learned"}


def test_a_version_that_was_not_measured_is_answered_by_the_nearest_of_its_framework(model: LearnedModel) -> None:
    stacks = ["vllm 0.14.0", "vllm 0.24.0", "sglang 0.5.14"]
    like = model.scope.like_stack
    assert like(stacks, "vllm 0.15.1") == "vllm 0.14.0"
    assert like(stacks, "vllm 0.23.0") == "vllm 0.24.0"
    assert like(stacks, "vllm") == "vllm 0.24.0"
    assert like(stacks, "trtllm 1.0.0") == like(stacks, "my engine 1.0") == ""
