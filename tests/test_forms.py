"""Sums of stages of all devices: weights are found again, extend to other rates, and fall back from kernel to all."""

from __future__ import annotations

import numpy as np
import pytest
from test_calibration import gemm_columns

from costmodel.calibration.forms import Pooled, descended, fitted_form
from costmodel.features import LAYOUTS, describe
from costmodel.forms import KEYS, formed, stages, weights_of
from costmodel.physics import price
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.table import Array, OpTable


def features_of(device: str, seed: int = 3, dtype: str = "bf16") -> Array:
    table = OpTable.from_columns(gemm_columns(30, 20, seed) | {"dtype": dtype})
    rates = compile_rates(load_device(device))
    return describe(table, price(table, rates), rates, "gemm", "vllm 0.24.0").matrix.astype(np.float32)


def rows_of(weights: Array, *devices: str) -> Pooled:
    """Rows whose times are a sum of stages, on devices of designs of their own."""
    features = [features_of(name) for name in devices]
    error = np.log(np.concatenate([stages(f, "gemm") @ weights for f in features]))
    design = np.repeat(np.arange(len(devices)), [len(f) for f in features])
    return Pooled("gemm", np.concatenate(features), error, design, design, np.ones(len(error)))


def test_weights_are_found_and_hold_on_a_device_that_was_not_seen() -> None:
    weights = np.array([0.0, 2.0, 1.2, 1.5, 0.0, 1.4, 0.0, 0.0])
    table = fitted_form(rows_of(weights, "h100-sxm", "a100-sxm-80gb", "rtx-pro-6000"))
    new = features_of("l40s", seed=9)
    wrong = formed(table, new, "gemm") - np.log(stages(new, "gemm") @ weights)
    assert np.median(np.abs(wrong)) < 0.05
    assert (table[:, KEYS:] >= 0).all()


def test_what_fits_the_cache_with_its_copies_comes_at_its_rate() -> None:
    features = features_of("l40s")
    cold, warm = stages(features, "gemm")[:, 2:4].T
    names = ("bytes_over_cache", "memory_over_time", "cache_over_dram")
    held, memory, faster = (features[:, LAYOUTS["gemm"].names.index(n)].astype(float) for n in names)
    np.testing.assert_allclose(cold + warm * np.exp(faster), np.exp(memory), rtol=1e-5)
    small, large = held < np.log(1 / 60), held > np.log(10 / 6)
    assert small.any()
    assert (cold[small] < 0.02 * np.exp(memory[small])).all()
    assert large.any()
    assert (cold[large] > 0.98 * np.exp(memory[large])).all()


def test_an_unknown_kernel_has_the_weights_of_its_framework_or_of_all() -> None:
    table = np.array([[0, 0, 0, 0, 7.0], [1, 0, 1, 0, 8.0], [2, 3, 1, 0, 9.0]])
    assert weights_of(table, np.array([3, 1, 0])) == [9.0]
    assert weights_of(table, np.array([4, 1, 0])) == [8.0]
    assert weights_of(table, np.array([3, 2, 0])) == [7.0]
    with pytest.raises(ValueError, match="without weights for all"):
        weights_of(table[2:], np.array([4, 1, 0]))


def test_outliers_move_weights_little() -> None:
    rng = np.random.default_rng(0)
    parts = rng.uniform(0.1, 1.0, (400, 2))
    ratio = parts @ np.array([1.0, 2.0])
    ratio[:40] *= 10.0
    found = descended(parts / ratio[:, None], np.ones(400), np.array([1.0, 1.0]))
    np.testing.assert_allclose(found, [1.0, 2.0], rtol=0.15)
