"""Rockchip's published rates by the costs of a frame, families held out (skipped without the data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from costmodel.dataflow_chip import FRAME, Settings, fit_costs
from costmodel.dataflow_work import read_sheet
from costmodel.evaluation.hailo import ALL, SHEET
from costmodel.evaluation.rknn import NETWORKS, evaluate_rknn, read_rates


def test_every_network_of_the_table_that_is_named_is_in_the_sheet() -> None:
    assert set(NETWORKS.values()) <= set(read_sheet(SHEET))


def test_a_device_of_few_rows_takes_the_costs_of_all_times_its_speed() -> None:
    rng = np.random.default_rng(0)
    work = rng.uniform(1, 2, (64, len(FRAME)))
    place = np.array([0] * 60 + [1] * 4)
    seconds = work @ np.linspace(0.1, 1, len(FRAME)) * np.where(place == 1, 5.0, 1.0)
    costs = fit_costs(work, seconds, place, 2, Settings())
    np.testing.assert_allclose((work * costs[place]).sum(axis=1), seconds, rtol=0.05)
    ratio = costs[1, costs[0] > 0] / costs[0, costs[0] > 0]
    assert np.median(ratio) == pytest.approx(5, rel=0.3)


def test_families_held_out_are_within_a_quarter_at_the_median(shared_data: Path) -> None:
    if not (shared_data / "rknn").is_dir():
        pytest.skip("the measured data have no folder 'rknn'")
    rates = read_rates(shared_data)
    assert rates.asked == 292
    assert len(rates.rate_hz) == 198
    found = {s.device: s for s in evaluate_rknn(rates, (7,))}
    assert set(found) == {ALL, "rk1808", "rk3562", "rk3568", "rk3576", "rk3588", "rv1109", "rv1126"}
    assert found[ALL].median < 0.25
    assert found[ALL].mape < 0.7 * found[ALL].baseline_mape
    assert 0.82 <= found[ALL].inside <= 0.97
