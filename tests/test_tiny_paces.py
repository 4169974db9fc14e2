"""Paces of a microcontroller stack's kernels: fitted on some boards, scored on another."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from costmodel.evaluation.tiny import TinyRows, evaluate_tiny, fit_paces, kernel_seconds, read_tiny
from costmodel.measured.base import ImportRequest, find_importer
from costmodel.partition import KERNELS
from hardware_specs.runtimes import load_runtime
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
PACES = np.array([1.2, 0.9, 2.5, 1.1, 1.0])


def made(boards: int, paces: Array = PACES) -> TinyRows:
    """Return rows of boards that all have the same paces, on networks of very unlike kernels."""
    generator = np.random.default_rng(3)
    terms = generator.dirichlet([0.3] * len(KERNELS), size=8 * boards) * 1e-2
    return TinyRows("made", np.repeat([f"b{i}" for i in range(boards)], 8), terms, terms @ paces)


def test_paces_that_all_boards_share_are_met_on_a_board_left_out() -> None:
    rows = made(4)
    (found,) = evaluate_tiny([rows])
    assert found.n == 32
    assert found.median < 0.12  # paces are drawn to one another, so that they are not met exactly
    assert found.median < 0.3 * found.baseline_mape


def test_one_pace_for_all_kernels_is_recovered() -> None:
    rows = made(3, np.array([1.3, 1.3, 1.3, 1.3, 1.0]))
    assert fit_paces(rows, np.ones(24, bool)) == pytest.approx([1.3, 1.3, 1.3, 1.3, 1.0], rel=1e-3)


def test_two_boards_are_too_few_to_leave_one_out() -> None:
    assert evaluate_tiny([made(2)]) == []


def test_seconds_by_kernel_add_up_to_the_time_of_the_network() -> None:
    import archcast as ac

    found = ac.predict("ds-cnn", on="stm32l4r5", model="physics")
    assert found.latency_s is not None
    assert kernel_seconds("stm32l4r5", "ds-cnn", {}).sum() == pytest.approx(found.latency_s.value)


@pytest.mark.skipif(not (DATA / "mlperf_tiny").exists(), reason="the rows of MLPerf Tiny are not here (ARCHCAST_DATA)")
def test_the_paces_of_the_catalogue_are_those_of_the_rows() -> None:
    pieces = find_importer("mlperf_tiny").load(ImportRequest(DATA))
    rows = read_tiny([piece for piece in pieces if isinstance(piece, WorkloadMeasurements)])
    assert {one.stack: len(one.measured_s) for one in rows} == {"x-cube-ai": 24, "hale": 42}
    for one in rows:
        pace = load_runtime(one.stack).pace
        stated = [pace[name].value if name in pace else 1.0 for name in KERNELS]
        assert stated == pytest.approx(fit_paces(one, np.ones(len(one.measured_s), bool)), rel=0.01)
    medians = {score.device: score.median for score in evaluate_tiny(rows)}
    assert medians["x-cube-ai"] < 0.10
    assert medians["hale"] < 0.20
