"""Whole networks as a soft maximum of physical terms, on data whose factors are known."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.evaluation.helm import fit_steps, predict_steps
from costmodel.whole_network import Settings, fit_terms, predict_terms
from foundation.errors import BadValueError
from workloads.table import Array

QUICK = Settings(rounds=60, depth=3, rate=0.15)


def known_device(rows: int = 400, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return terms, ratios, measured and groups: arithmetic or traffic at known factors, by kind, with 3 % noise."""
    random = np.random.default_rng(seed)
    terms = np.exp(random.normal(0, 2, (rows, 2)))
    kind = random.integers(0, 2, rows).astype(float)
    measured = np.maximum(terms[:, 0] * (2 + 2 * kind), 3 * terms[:, 1]) * np.exp(0.03 * random.standard_normal(rows))
    return terms, np.column_stack([kind, random.random(rows)]), measured, random.integers(0, 20, rows)


def test_factors_of_a_known_device_are_learned_with_intervals_that_hold() -> None:
    terms, ratios, measured, groups = known_device()
    model = fit_terms(terms[:300], ratios[:300], measured[:300], groups[:300], QUICK)
    found = predict_terms(model, terms[300:], ratios[300:])
    assert np.mean(np.abs(found.value / measured[300:] - 1)) < 0.12
    assert found.kind == "conformal"
    assert np.mean((found.lo <= measured[300:]) & (measured[300:] <= found.hi)) >= 0.8


def test_sizes_beyond_training_are_reached_by_the_terms() -> None:
    terms, ratios, measured, groups = known_device()
    model = fit_terms(terms, ratios, measured, groups, QUICK, calibrate=False)
    near, far = predict_terms(model, terms[:20], ratios[:20]), predict_terms(model, 1e4 * terms[:20], ratios[:20])
    assert far.value == pytest.approx(1e4 * near.value, rel=1e-6)
    assert near.kind == "uncalibrated"


def test_a_larger_term_never_makes_a_network_faster() -> None:
    terms, ratios, measured, groups = known_device()
    model = fit_terms(terms, ratios, measured, groups, QUICK, calibrate=False)
    more = predict_terms(model, terms * np.array([1.0, 1.5]), ratios).value
    assert (more >= predict_terms(model, terms, ratios).value * (1 - 1e-9)).all()


def test_training_twice_gives_the_same_bytes() -> None:
    terms, ratios, measured, groups = known_device()
    one, two = (fit_terms(terms, ratios, measured, groups, QUICK, calibrate=False) for _ in range(2))
    assert one.boosters == two.boosters
    assert (one.start == two.start).all()


def test_few_rows_few_groups_and_impossible_values_are_refused() -> None:
    terms, ratios, measured, groups = known_device()
    with pytest.raises(BadValueError, match="at least 30 rows"):
        fit_terms(terms[:10], ratios[:10], measured[:10], groups[:10], QUICK)
    with pytest.raises(BadValueError, match="groups"):
        fit_terms(terms, ratios, measured, np.zeros(400), QUICK)
    with pytest.raises(BadValueError, match="positive"):
        fit_terms(terms, ratios, -measured, groups, QUICK)
    model = fit_terms(terms, ratios, measured, groups, QUICK, calibrate=False)
    with pytest.raises(BadValueError, match="2 positive terms"):
        predict_terms(model, terms[:, :1], ratios)


def test_steps_of_a_known_server_are_found() -> None:
    random = np.random.default_rng(3)
    layers = random.integers(20, 100, 120).astype(float)
    issued = np.column_stack([layers, layers * (layers > 60), np.zeros(120), np.ones(120), layers % 2])
    executed = np.column_stack([random.uniform(0.001, 0.3, (120, 3)) * [1, 0.05, 0.05], np.full(120, 0.002), layers])
    costs = (np.array([7e-4, 1.5e-4, 1e-2, 1e-3, 2e-3]), np.array([1.8, 2.0, 3.0, 1.0, 1e-4]))
    latency = predict_steps(issued, executed, costs)
    found = predict_steps(issued, executed, fit_steps(issued, executed, latency))
    assert np.abs(found / latency - 1).max() < 0.03
