"""Compute cycles of arrays, by hand: folds, edges, skew, loads, groups, cores and skipped zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.spatial.folds import Folds, folds
from costmodel.spatial.layers import Layers, products
from costmodel.spatial.machine import IS, OS, WS, Machine, Operands
from foundation.errors import BadValueError


def machine(rows: float = 4, cols: float = 4, dataflow: Any = WS, **fields: Any) -> Machine:
    return Machine(rows, cols, dataflow, Operands(1e6, 1e6, 1e6), Operands(64, 64, 64), 16.0, **fields)


def cycles(found: Folds) -> tuple[float, float, float]:
    return float(found.ideal_cycles), float(found.shape_cycles), float(found.fill_cycles)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        # m = 10, n = 6, k = 5 on 4 x 4: 300 MAC / 16 = 18.75 at best
        (WS, (18.75, 2 * 2 * 10, 2 * 2 * (10 + 4 + 4 + 4 - 2))),  # k on rows, n on columns: 2 x 2 folds of 10
        (OS, (18.75, 3 * 2 * 5, 3 * 2 * (5 + 4 + 4 - 2))),  # m on rows: 3 x 2 folds of 5
        (IS, (18.75, 2 * 3 * 6, 2 * 3 * (6 + 4 + 4 + 4 - 2))),  # k on rows, m on columns: 2 x 3 folds of 6
    ],
)
def test_folds_that_stand_alone_pay_skew_and_load_each(flow: int, expected: tuple[float, float, float]) -> None:
    assert cycles(folds(products(10, 6, 5), machine(dataflow=flow, preload_hidden=False))) == expected


@pytest.mark.parametrize(("flow", "once"), [(WS, 4 + 4 + 4 - 2), (OS, 4 + 4 - 2), (IS, 4 + 4 + 4 - 2)])
def test_folds_that_overlap_pay_them_once_a_layer(flow: int, once: int) -> None:
    found = folds(products(10, 6, 5), machine(dataflow=flow))
    assert found.fill_cycles == found.shape_cycles + once


def test_a_stream_shorter_than_the_load_of_the_next_fold_waits_for_it() -> None:
    # one row of pixels: each of 8 x 2 folds streams 1 cycle, but 4 rows of weights take 4 to load
    found = folds(products(1, 8, 32), machine())
    assert cycles(found) == (16.0, 16.0, 15 * 4 + 1 + 10)


def test_a_depthwise_convolution_keeps_one_column_busy() -> None:
    # 8 channels of 3 x 3 over 6 x 6 outputs: k = 9 in 3 folds of rows, one column of four
    layer = Layers(batch=1.0, groups=8.0, k=1.0, c=1.0, oy=6.0, ox=6.0, fy=3.0, fx=3.0)
    found = folds(layer, machine())
    assert found.count == 8 * 3
    assert cycles(found) == (8 * 36 * 9 / 16, 24 * 36, 24 * 36 + 10)


def test_groups_share_a_fold_on_the_diagonal_only_where_asked() -> None:
    layer = Layers(batch=1.0, groups=8.0, k=1.0, c=1.0, oy=6.0, ox=6.0, fy=3.0, fx=3.0)
    # 32 rows hold 3 blocks of 9, 4 columns hold 4 of 1: 3 groups a fold, 8 groups in 3 folds
    assert folds(layer, machine(rows=32)).count == 8
    assert folds(layer, machine(rows=32, packs_groups=True)).count == 3
    # nothing fits twice in 4 rows
    assert folds(layer, machine(packs_groups=True)).count == 24


def test_rows_of_input_channels_only_take_each_position_of_the_kernel_in_turn() -> None:
    layer = Layers(batch=1.0, groups=1.0, k=4.0, c=3.0, oy=6.0, ox=6.0, fy=3.0, fx=3.0)
    assert folds(layer, machine()).count == 7  # 27 on 4 rows
    assert folds(layer, machine(kernel_on_rows=False)).count == 9  # 3 on 4 rows, 9 times
    assert folds(layer, machine(kernel_on_rows=False, dataflow=OS)).count == 9  # 36 pixels on 4 rows, 27 along


def test_cores_take_folds_in_turn_and_share_those_that_are_left() -> None:
    # 2 x 5 folds of 10 pixels on 4 cores: two each, and each of the last two on 2 cores, 5 pixels a core
    found = folds(products(10, 20, 5), machine(cores=4))
    assert found.waves == 3
    assert cycles(found) == (1000 / 64, 2 * 10 + 5, 2 * 10 + 5 + 10)


@pytest.mark.parametrize("cores", [1, 2, 4, 16])
def test_one_fold_of_many_pixels_is_divided_over_all_cores(cores: int) -> None:
    ws = folds(products(100000, 16, 16), machine(16, 16, WS, cores=cores))
    assert cycles(ws)[1:] == (100000 / cores, 100000 / cores + 46)
    inputs = folds(products(16, 100000, 16), machine(16, 16, IS, cores=cores))
    assert cycles(inputs)[1:] == (100000 / cores, 100000 / cores + 46)


def test_a_reduction_that_streams_is_not_divided() -> None:
    # os: one fold of 16 x 16 outputs; the sums lie in one core
    assert cycles(folds(products(16, 16, 100000), machine(16, 16, OS, cores=16)))[1:] == (100000, 100030)


def test_all_cores_share_what_is_left_in_turn_where_that_is_sooner() -> None:
    # 3 folds of 100 pixels on 2 cores: one each, and half of the last; 2 folds on 3 cores: 34 + 34 pixels
    assert cycles(folds(products(100, 12, 4), machine(cores=2)))[1:] == (150, 160)
    assert cycles(folds(products(100, 8, 4), machine(cores=3)))[1:] == (68, 78)
    # of 6 pixels each core would stream 2 and wait 2 for the next fold's weights: 4 + 2; a core each takes 6 as well,
    # and on 3 pixels (2 + 2 waits for 4 rows): a core each, 3
    assert cycles(folds(products(3, 8, 4), machine(cores=3)))[1:] == (3, 13)


def test_shared_folds_that_stand_alone_pay_skew_and_load_each() -> None:
    # one fold of 101 pixels on 2 cores: 51 and 50, each with 4 + 4 + 4 - 2
    found = folds(products(101, 4, 4), machine(cores=2, preload_hidden=False))
    assert cycles(found)[1:] == (51, 61)
    # 3 folds on 2 cores: 101 + 10 and 51 + 10
    assert cycles(folds(products(101, 12, 4), machine(cores=2, preload_hidden=False)))[1:] == (152, 172)


def test_columns_of_cores_equal_each_alone() -> None:
    counts, flows = np.arange(1.0, 18.0), np.array([[WS], [OS], [IS]])
    wide = folds(products(50, 37, 29), machine(dataflow=flows, cores=counts))
    for flow in (WS, OS, IS):
        for i, count in enumerate(counts):
            alone = folds(products(50, 37, 29), machine(dataflow=flow, cores=float(count)))
            assert wide.fill_cycles[flow - 1, i] == alone.fill_cycles
        assert (np.diff(wide.fill_cycles[flow - 1]) <= 0).all()


def test_a_tile_that_streams_less_than_a_load_takes_waits_for_it() -> None:
    # 2 folds of 10 pixels in runs of 3, 3, 3, 1: each of 8 runs takes the 4 cycles of a load, the last its 2.5
    found = folds(products(10, 8, 4), machine())
    assert tuple(map(float, found.cut(run=3.0))) == (20, 7 * 4 + 2.5 + 10)
    # where folds stand alone each run pays skew and load
    alone = folds(products(10, 8, 4), machine(preload_hidden=False))
    assert tuple(map(float, alone.cut(run=3.0))) == (20, 20 + 8 * 10)


def test_skipped_zeros_save_their_share_of_the_stream_and_gated_ones_none() -> None:
    half = products(1000, 4, 4, weight_density=0.5)
    assert folds(half, machine()).shape_cycles == 1000
    assert folds(half, machine(skips_weights=1.0)).shape_cycles == 500
    assert folds(half, machine(skips_weights=0.5)).shape_cycles == 750
    both = products(1000, 4, 4, weight_density=0.5, input_density=0.4)
    assert folds(both, machine(skips_weights=1.0, skips_inputs=1.0)).shape_cycles == pytest.approx(200, rel=1e-12)


def test_columns_of_layers_and_machines_equal_each_pair_alone() -> None:
    m, n, k = np.array([3.0, 100, 17]), np.array([5.0, 64, 1]), np.array([7.0, 9, 300])
    flows = np.array([1, 2, 3])
    wide = folds(products(m, n, k).reshaped((-1, 1)), machine(dataflow=flows))
    assert wide.fill_cycles.shape == (3, 3)
    for i in range(3):
        for j in range(3):
            one = folds(products(m[i], n[i], k[i]), machine(dataflow=int(flows[j])))
            assert wide.fill_cycles[i, j] == one.fill_cycles


def test_rows_without_work_cost_nothing() -> None:
    found = folds(products(np.array([0.0, 4.0]), np.array([0.0, 4.0]), np.array([0.0, 4.0])), machine())
    assert found.fill_cycles[0] == 0
    assert found.fill_cycles[1] > 0


@pytest.mark.parametrize(("rows", "cols"), [(0, 4), (4, 0), (np.array([4.0, -1.0]), 4), (4, float("nan"))])
def test_an_array_of_size_0_is_refused(rows: Any, cols: Any) -> None:
    with pytest.raises(BadValueError, match=r"(rows|cols) of a spatial array must be at least 1, not"):
        machine(rows=rows, cols=cols)
