"""Hailo's published rates: what is held out stays unseen, and how near the costs come (skipped without the data)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from costmodel.dataflow_shipped import shipped_costs
from costmodel.dataflow_work import AMOUNTS, read_sheet
from costmodel.evaluation.hailo import (
    BOTH,
    SHEET,
    Rows,
    evaluate_chips,
    family,
    fit_shipped,
    held_out,
    interval_half,
    predicted,
    read_rows,
    variant,
)


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> Rows:
    if not (shared_data / "hailo").is_dir():
        pytest.skip("the measured data have no folder 'hailo'")
    return _read(shared_data)


@cache
def _read(root: Path) -> Rows:
    return read_rows(root)


def test_networks_that_differ_in_post_processing_alone_are_one() -> None:
    assert variant("yolov5s_bbox_decoding_only") == variant("yolov5s")
    assert variant("yolov6n_0.2.1_nms_core") == variant("yolov6n")
    assert variant("deit_tiny") == variant("vit_tiny") == variant("vit_tiny_bn")
    assert variant("yolov5s") != variant("yolov5m")


def test_a_family_holds_all_sizes_and_tasks_of_a_detector() -> None:
    assert family("yolov8x") == family("yolov8n_seg") == family("yolov8s_pose")
    assert family("yolov8x") != family("yolov10x")
    assert family("tinyclip_vit_8m_16_text_3m_yfcc15m_text_encoder") == "tinyclip"


def test_the_sheet_has_no_empty_or_negative_work() -> None:
    for name, (amounts, _) in read_sheet(SHEET).items():
        assert (amounts >= 0).all(), name
        assert amounts[AMOUNTS.index("layers")] >= 3, name
        assert amounts[AMOUNTS.index("imbalance_ratio")] >= 1, name


def test_nearly_every_published_rate_is_described(rows: Rows) -> None:
    assert rows.asked == 1638
    assert len(rows.rate_hz) == 1634
    assert set(rows.chip.tolist()) == {"hailo-8", "hailo-8l", "hailo-10h", "hailo-15h", "hailo-15l"}


def test_the_sheet_agrees_with_the_published_weights_of_public_networks(rows: Rows) -> None:
    sheet = read_sheet(SHEET)
    public = np.array([sheet[name][1] for name in rows.network])
    assert rows.exact[public].mean() > 0.9


def test_predictions_do_not_depend_on_rates_of_the_networks_held_out(rows: Rows) -> None:
    """The rates of the test networks, on any chip, may be anything."""
    names = np.unique(rows.variants)
    test = np.flatnonzero(np.isin(rows.variants, names[::5]))
    train = np.setdiff1d(np.arange(len(rows.rate_hz)), test)
    rate, several = rows.rate_hz.copy(), rows.several.copy()
    rate[test] = 1.0
    several[test] = ~several[test]
    first = predicted(rows, train, test, rows.variants)
    second = predicted(replace(rows, rate_hz=rate, several=several), train, test, rows.variants)
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


def test_networks_held_out_are_within_a_quarter_at_the_median(rows: Rows) -> None:
    found = held_out(rows, rows.variants, seed=5)
    error = {
        "kin": np.abs(found.both_hz / rows.rate_hz - 1),
        "costs": np.abs(found.costs_hz / rows.rate_hz - 1),
        "plain": np.abs(found.plain_hz / rows.rate_hz - 1),
    }
    assert np.median(error["kin"]) < 0.25
    assert np.median(error["costs"]) < 0.25
    assert np.median(error["kin"]) < 0.7 * np.median(error["plain"])
    log_error = np.abs(np.log(found.both_hz / rows.rate_hz))
    inside = log_error <= interval_half(log_error, found.unsure, found.part)
    assert 0.85 <= inside.mean() <= 0.95


def test_intervals_come_from_other_folds_alone() -> None:
    errors = np.concatenate([np.full(30, 0.1), np.full(30, 0.2), np.full(30, 9.0)])
    part = np.repeat([0, 1, 2], 30)
    half = interval_half(errors, np.zeros(90, bool), part)
    assert half[part == 2].max() == pytest.approx(0.2)


def test_a_chip_left_out_is_told_by_its_twin(rows: Rows) -> None:
    found = {(s.device, s.method): s for s in evaluate_chips(rows, (0,))}
    assert found["hailo-15h", "nearest chip"].median < 0.05
    assert found["hailo-15h", "completion"].n > 100
    assert BOTH not in {method for _, method in found}


def test_the_shipped_costs_are_those_of_the_table(rows: Rows) -> None:
    fitted, shipped = fit_shipped(rows, seeds=(0,)), shipped_costs()
    assert fitted.model.chips == shipped.model.chips
    for name in ("one", "many", "switch", "gate"):
        mine, theirs = getattr(fitted.model, name), getattr(shipped.model, name)
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())
