"""LowFormer's throughputs on an A40: what multiply-accumulates mislead about, and two points that calibrate."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from costmodel.evaluation.lowformer import (
    EVERY,
    FASTER,
    PRIOR,
    UNCALIBRATED,
    WORST,
    Networks,
    as_torchscript,
    evaluate_lowformer,
    read_networks,
)
from costmodel.evaluation.scores import Score, spearman
from workloads.catalogue import load_model
from workloads.model import Request


@pytest.fixture(scope="module")
def networks(shared_data: Path) -> Networks:
    return read_networks(shared_data / "lowformer" / "throughput.csv")


@pytest.fixture(scope="module")
def scores(networks: Networks) -> dict[str, Score]:
    return {score.split: score for score in evaluate_lowformer(networks)}


def test_the_order_of_the_rates_is_predicted_before_anything_is_fitted(networks: Networks) -> None:
    assert spearman(networks.predicted_hz, networks.measured_hz) >= 0.95


def test_e1_is_faster_than_b1_although_their_macs_are_about_equal(networks: Networks) -> None:
    e1, b1 = networks.names.index("E1"), networks.names.index("B1")
    assert networks.macs[e1] / networks.macs[b1] == pytest.approx(1, abs=0.05)
    assert networks.predicted_hz[e1] / networks.predicted_hz[b1] > 1.2
    assert networks.measured_hz[e1] / networks.measured_hz[b1] > 1.4


def test_any_two_networks_calibrate_each_of_the_others_within_20_percent(networks: Networks) -> None:
    for pair in combinations(range(len(networks.names)), 2):
        rest = [i for i in range(len(networks.names)) if i not in pair]
        errors = networks.calibrated(pair, networks.predicted_hz)[rest] / networks.measured_hz[rest] - 1
        assert np.abs(errors).max() < 0.20, [networks.names[i] for i in pair]


def test_macs_with_the_same_two_points_are_twice_as_far_off(scores: dict[str, Score]) -> None:
    assert scores[EVERY].baseline_mape > 2 * scores[EVERY].mape
    assert scores[WORST].baseline_mape > 2 * scores[WORST].mape
    assert scores[FASTER].baseline_mape > 2 * scores[FASTER].mape


def test_scores_hold_the_rows_that_set_no_factor(scores: dict[str, Score]) -> None:
    assert {name: score.n for name, score in scores.items()} == {
        UNCALIBRATED: 7, PRIOR: 5, EVERY: 105, WORST: 1, FASTER: 1,
    }  # fmt: skip


def test_a_factor_meets_its_points_in_the_geometric_mean() -> None:
    networks = Networks(("a", "b", "c"), np.array([2.0, 8.0, 1.0]), np.array([1.0, 1.0, 1.0]), np.ones(3))
    assert networks.calibrated((0, 1), networks.predicted_hz).tolist() == pytest.approx([4.0, 4.0, 4.0])


def test_torchscript_folds_normalisations_and_runs_activations_by_themselves() -> None:
    (run,) = load_model("lowformer-b1").workload(Request(batch=2, dtype="fp32")).passes
    before = [o for block in run.graph.blocks for o in block.operators]
    after = [o for block in as_torchscript(run).graph.blocks for o in block.operators]
    assert [o.name for o in after] == [o.name for o in before]
    assert {o.dtype for o in after if o.op == "conv2d"} == {"tf32"}
    assert not [o for o in after if o.fused and o.op == "elementwise"]
    assert [o.fused for o in after if o.op == "norm"] == [o.fused for o in before if o.op == "norm"]
