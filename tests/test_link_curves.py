"""Curves of collectives: what they say at measured sizes, between them, of other ranks, and beyond."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from costmodel.calibration import fitted
from costmodel.calibration.links import Observed, straight
from costmodel.calibration.rows import gather
from costmodel.collectives import Fabric, fabric_of
from costmodel.costs import OpCosts
from costmodel.curves import BEYOND, COMPLETED, MEASURED, UNKNOWN, CurveSet
from costmodel.forest import Forest
from costmodel.physics import price
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import KINDS, Array, OpTable

ALL_REDUCE, ALL_GATHER, SEND = (KINDS.index(name) for name in ("all_reduce", "all_gather", "send_recv"))
# kind, ranks, measured, most ranks, log2 of the first size; then the log factor at 1 KiB, 2 KiB, 4 KiB
TABLE = np.array([
    [ALL_REDUCE, 2, 1, 8, 10, 0.0, 0.2, 0.4], [ALL_REDUCE, 8, 0, 8, 10, 1.0, 1.2, 1.4],
    [ALL_GATHER, 2, 1, 8, 10, -1.0, -1.0, -1.0], [ALL_GATHER, 8, 1, 8, 10, -2.0, -2.0, -2.0],
], dtype=np.float32)  # fmt: skip


def said(kind: int, ranks: float, size: float) -> tuple[float, int]:
    factor, rests = CurveSet.of(TABLE).at(np.array([kind]), np.array([ranks]), np.array([size]))
    return float(factor[0]), int(rests[0])


def test_a_measured_curve_says_its_points_and_is_straight_between_them() -> None:
    assert said(ALL_REDUCE, 2, 2048) == (pytest.approx(0.2), MEASURED)
    assert said(ALL_REDUCE, 2, 1024 * 2**0.5) == (pytest.approx(0.1), MEASURED)
    assert said(ALL_GATHER, 8, 4096) == (pytest.approx(-2.0), MEASURED)


def test_other_ranks_lie_between_their_neighbours_in_the_logarithm() -> None:
    assert said(ALL_REDUCE, 8, 1024) == (pytest.approx(1.0), COMPLETED)
    assert said(ALL_REDUCE, 4, 1024) == (pytest.approx(0.5), COMPLETED)  # log2: halfway from 2 to 8


def test_beyond_the_measured_ranks_and_sizes_curves_are_level_and_say_so() -> None:
    assert said(ALL_REDUCE, 16, 4096) == (pytest.approx(1.4), BEYOND)
    assert said(ALL_REDUCE, 2, 8192) == (pytest.approx(0.4), MEASURED)  # an octave more
    assert said(ALL_REDUCE, 2, 2**20) == (pytest.approx(0.4), BEYOND)
    assert said(SEND, 2, 2048) == (0.0, UNKNOWN)


def test_one_row_says_what_many_say() -> None:
    curves, sizes = CurveSet.of(TABLE), np.geomspace(100, 1e5, 40)
    many, rests = curves.at(np.full(40, ALL_REDUCE), np.full(40, 3.0), sizes)
    ones = [curves.at(np.int16(ALL_REDUCE), np.float64(3.0), size) for size in sizes]
    assert [float(f) for f, _ in ones] == pytest.approx(many.tolist(), rel=1e-9)
    assert [int(r) for _, r in ones] == rests.tolist()


def test_own_points_join_straight_and_a_single_point_makes_no_curve() -> None:
    nan = np.nan
    found = straight(np.array([[nan, 1.0, nan, 3.0, nan], [nan, nan, 5.0, nan, nan]]))
    assert found[0].tolist() == [1, 1, 2, 3, 3]
    assert np.isnan(found[1]).all()


def factor_of(kind: Array, ranks: Array, size: Array) -> Array:
    """A made-up log factor: by kind, ranks and size."""
    return 0.3 * (kind - 2) + 0.2 * np.log2(ranks) - 0.1 + 0.3 * np.sin(np.log2(size) / 3)


def measured(device: str, without: tuple[int, int] | None = None) -> MeasurementTable:
    cells = [(k, n, 2.0**x) for k in (1, 2, 3, 4) for n in (2, 4, 8) for x in range(10, 28) if (k, n) != without]
    kind, ranks, size = (np.array(column) for column in zip(*cells, strict=True))
    names = [KINDS[int(k)] for k in kind]
    table = OpTable.from_columns({"op": "collective", "kind": names, "dtype": "fp16", "bytes": size, "ranks": ranks})
    spec = load_device(device)
    time = price(table, compile_rates(spec), fabric_of(spec, 8)).costs.latency_s * np.exp(factor_of(kind, ranks, size))
    rows = len(cells)
    words = [np.full(rows, word) for word in (device, "nccl 2.29", "made up")]
    return MeasurementTable("made up", table, *words, {"latency_s": time}, {}, np.arange(1, rows + 1))


@cache
def model() -> LearnedModel:
    """A model of two devices; the second lacks all-reduce of 4 ranks."""
    tables = [measured("h100-sxm"), measured("b200", without=(ALL_REDUCE, 4))]
    return fitted(gather(tables, 0), 0, 5)[0]


def answered(device: str, kind: str, ranks: float, size: float) -> tuple[OpCosts, float, float]:
    """Return the costs, the closed form's seconds, and those of the made-up truth."""
    spec, table = load_device(device), OpTable.from_columns({
        "op": "collective", "kind": kind, "dtype": "fp16", "bytes": [size], "ranks": ranks,
    })  # fmt: skip
    fabric, rates = fabric_of(spec, 8), compile_rates(spec)
    plain = float(price(table, rates, fabric).costs.latency_s[0])
    truth = plain * float(np.exp(factor_of(np.array(KINDS.index(kind)), np.array(ranks), np.array(size))))
    return model().predict(table, rates, fabric, software="nccl 2.29"), plain, truth


def test_a_size_between_measured_ones_is_learned() -> None:
    costs, _, truth = answered("h100-sxm", "all_reduce", 4, 3e6)
    assert costs.sources() == ["learned"]
    assert costs.latency_s.shape == costs.energy_j.shape == (1,)
    assert costs.interval_kind == "conformal"
    assert costs.latency_s[0] == pytest.approx(truth, rel=0.02)
    assert costs.latency_lo_s[0] <= truth <= costs.latency_hi_s[0]


def test_ranks_that_a_device_lacks_follow_its_other_ranks_and_other_devices() -> None:
    costs, plain, truth = answered("b200", "all_reduce", 4, 2.0**20)
    assert costs.sources() == ["learned"]
    assert costs.latency_s[0] == pytest.approx(truth, rel=0.1)
    assert abs(costs.latency_s[0] - truth) < abs(plain - truth)


def test_more_ranks_than_were_measured_are_extrapolated() -> None:
    assert answered("h100-sxm", "all_reduce", 16, 2.0**20)[0].sources() == ["extrapolated"]


def test_a_device_never_measured_is_answered_by_links_like_its_own() -> None:
    costs, plain, truth = answered("h200-sxm", "all_gather", 8, 2.0**20)
    assert costs.sources() == ["learned"]
    assert costs.interval_kind == "pseudo_target"
    assert abs(costs.latency_s[0] - truth) < abs(plain - truth)


def test_links_unlike_all_measured_ones_are_left_to_the_closed_form() -> None:
    costs, plain, _ = answered("l40s", "all_gather", 8, 2.0**20)  # no switch
    assert costs.latency_s[0] == plain


def test_curves_survive_the_file_and_the_same_rows_make_the_same_bytes() -> None:
    once = model().forest.to_bytes()
    again = fitted(gather([measured("h100-sxm"), measured("b200", (ALL_REDUCE, 4))], 0), 0, 5)[0]
    assert again.forest.to_bytes() == once
    read = replace(model(), forest=Forest.from_bytes(once))
    spec = load_device("h100-sxm")
    table = OpTable.from_columns(
        {"op": "collective", "kind": "all_gather", "dtype": "fp16", "bytes": [5e5], "ranks": 4}
    )
    fabric: Fabric | None = fabric_of(spec, 8)
    times = [m.predict(table, compile_rates(spec), fabric).latency_s[0] for m in (read, model())]
    assert times[0] == pytest.approx(times[1], rel=2e-3)  # half floats


def test_points_left_out_leave_the_others() -> None:
    found = Observed(np.zeros((1, 10)), np.array([[1.0, 2.0, 3.0]]), np.arange(3.0), np.zeros(3, int), np.arange(3.0))
    rest = found.without(np.array([False, True, False])).values
    assert np.isnan(rest[0, 1])
    assert rest[0, [0, 2]].tolist() == [1, 3]
