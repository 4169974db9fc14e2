"""Gemmini's cycles: small cases by hand, and what must hold of any tile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.spatial.gemmini import CONSTANTS, NAMES, GemminiConstants, gemmini_costs, gemmini_runs
from costmodel.spatial.gemmini_cache import Touched, fetched_bytes
from costmodel.spatial.gemmini_fit import fit_constants
from costmodel.spatial.gemmini_tiling import CONV_ORDER, SIDES, GemminiHardware, GemminiTiles, is_product, limits_of
from costmodel.spatial.layers import Layers, products
from costmodel.spatial.machine import Operands
from foundation.errors import BadValueError

BARE = GemminiConstants(
    conv_issue_cycles=0.0, product_issue_cycles=0.0, pair_share=0.5, beat_cycles=0.0, narrow_miss_cycles=0.0,
    wide_miss_cycles=0.0, store_miss_cycles=0.0, device_cycles=0.0, start_cycles=0.0, overlap_power=400.0,
)  # fmt: skip
"""Nothing but the array: `overlap_power` makes the longest part count alone."""


def conv(c: float, k: float, rows: float, cols: float, kernel: float = 1.0, stride: float = 1.0) -> Layers:
    return Layers(batch=1.0, groups=1.0, k=k, c=c, oy=rows, ox=cols, fy=kernel, fx=kernel, stride=stride)


def tile(**sides: float) -> GemminiTiles:
    sizes = np.array([[sides.get(name, 1.0) for name in SIDES]])
    return GemminiTiles(sizes, np.array([CONV_ORDER]))


@pytest.mark.parametrize(
    ("rows", "cols", "expected"),
    [
        # a weight block takes: 4 runs of 4 pixels, each at least half the array's side
        (4, 4, 32),
        # 3 runs of 6, the last as long as the next weights take to move in: 6 + 6 + 16
        (3, 6, 28),
        # 10 rows of 30 pixels, as 16 and 14: 9 x 30 + 16 + 16
        (10, 30, 302),
        (1, 16, 16),
        (2, 1, 20),
    ],
)
def test_a_weight_block_takes_its_runs_of_pixels(rows: int, cols: int, expected: int) -> None:
    layers = conv(16.0, 16.0, float(rows), float(cols))
    costs = gemmini_costs(gemmini_runs(layers, tile(oy=rows, ox=cols, k=16, c=16)), BARE)
    # accumulators are zeroed a row a cycle meanwhile, which is never longer
    assert costs.fill_cycles[0] == max(expected, 8 * rows * -(-cols // 16))
    assert costs.ideal_cycles[0] == rows * cols


def test_blocks_of_channels_and_kernel_multiply() -> None:
    one = gemmini_costs(gemmini_runs(conv(16.0, 16.0, 8.0, 8.0), tile(oy=8, ox=8, k=16, c=16)), BARE)
    many = gemmini_costs(
        gemmini_runs(conv(33.0, 20.0, 8.0, 8.0, kernel=3.0), tile(oy=8, ox=8, k=20, c=33, fy=3, fx=3)), BARE
    )
    assert many.fill_cycles[0] == one.fill_cycles[0] * 3 * 2 * 9


def test_loads_take_their_beats() -> None:
    """8 x 8 pixels of 64 channels are 64 requests of 4 beats; 64 rows of 16 weights one beat each; 64 stores, and 64
    rows of sums to zero: 256 + 64 + 64 + 64 cycles at one a beat."""
    runs = gemmini_runs(conv(64.0, 16.0, 8.0, 8.0), tile(oy=8, ox=8, k=16, c=64), warm=True)
    slow = gemmini_costs(runs, replace(BARE, beat_cycles=1000.0)).cycles[0]
    assert slow == pytest.approx(1000 * (256 + 64 + 64) + 64, rel=1e-4)
    assert runs.counts.requests.inputs[0, 0] == 64
    assert runs.counts.beats.inputs[0, 0] == 256


def test_tiles_over_a_ragged_edge_add_up_to_the_layer() -> None:
    layers = conv(40.0, 24.0, 10.0, 23.0)
    counts = gemmini_runs(layers, tile(oy=4, ox=16, k=16, c=16)).counts
    assert counts.count.sum() == 3 * 2 * 2 * 3
    assert (counts.count * counts.padded).sum() == 10 * 23 * 2 * 3
    assert (counts.count * counts.requests.weights).sum() == 3 * 2 * 40 * 2


def test_padding_is_not_loaded() -> None:
    layers = conv(16.0, 16.0, 8.0, 8.0, kernel=3.0)
    whole = tile(oy=8, ox=8, k=16, c=16, fy=3, fx=3)
    bare, padded = (gemmini_runs(layers, whole, padding=pad).counts.requests.inputs[0, 0] for pad in (0.0, 1.0))
    assert bare == 100
    assert padded == pytest.approx(64)


def test_the_waterfall_adds_up_and_only_grows() -> None:
    layers = Layers(
        batch=1.0, groups=1.0, k=np.array([64.0, 1000.0, 8.0]), c=np.array([3.0, 2048.0, 1.0]),
        oy=np.array([112.0, 1.0, 30.0]), ox=np.array([112.0, 1.0, 30.0]), fy=np.array([7.0, 1.0, 3.0]),
        fx=np.array([7.0, 1.0, 3.0]), stride=np.array([2.0, 1.0, 1.0]),
    )  # fmt: skip
    costs = gemmini_costs(gemmini_runs(layers))
    steps = costs.waterfall()
    assert np.allclose(sum(steps.values()), costs.cycles)
    assert all((step >= -1e-6).all() for step in steps.values())
    assert costs.feasible.all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(2, 40), st.sampled_from([1, 3, 5]), st.integers(1, 2),
    st.sampled_from(NAMES[:-1]), st.floats(1.0, 5.0),
)  # fmt: skip
def test_a_dearer_constant_never_makes_a_layer_faster(
    c: int, k: int, size: int, kernel: int, stride: int, name: str, factor: float
) -> None:
    runs = gemmini_runs(conv(*map(float, (c, k, size, size, kernel, stride))))
    base, dear = (
        gemmini_costs(runs),
        gemmini_costs(runs, replace(CONSTANTS, **{name: getattr(CONSTANTS, name) * factor})),
    )
    assert base.cycles[0] >= base.ideal_cycles[0]
    assert dear.cycles[0] >= base.cycles[0] * (1 - 1e-12)


def test_groups_multiply_all_but_the_start() -> None:
    alone = gemmini_costs(gemmini_runs(conv(1.0, 1.0, 14.0, 14.0, kernel=3.0)))
    depthwise = gemmini_costs(gemmini_runs(replace(conv(1.0, 1.0, 14.0, 14.0, kernel=3.0), groups=96.0)))
    start = CONSTANTS.start_cycles
    assert depthwise.cycles[0] - start == pytest.approx(96 * (alone.cycles[0] - start))


def test_a_tile_beyond_half_a_buffer_is_not_feasible_and_says_the_bytes() -> None:
    costs = gemmini_costs(gemmini_runs(conv(16.0, 16.0, 40.0, 40.0), tile(oy=40, ox=40, k=16, c=16)))
    assert not costs.feasible[0]
    assert np.isnan(costs.cycles[0])
    # 1600 rows of 16 sums of 4 bytes, in half of 64 KiB
    assert costs.shortfall_bytes[0] == 1600 * 64 - 32 * 1024


def touched(layers: Layers, tiles: GemminiTiles) -> Touched:
    limits = limits_of(layers)
    one = np.ones(1)
    return Touched(
        limits, tiles.sizes, tiles.order, one, is_product(layers), limits[:, 1], limits[:, 2], Operands(one, one, one)
    )


def test_an_endless_cache_fetches_every_line_once_and_none_fetches_each_tile() -> None:
    run = touched(conv(64.0, 64.0, 32.0, 32.0), tile(oy=8, ox=8, k=64, c=64))
    endless = fetched_bytes(run, 1e15, 4.0, warm=False)
    assert endless.inputs[0] == pytest.approx(64 * 32 * 32)
    assert endless.weights[0] == pytest.approx(64 * 64)
    none = fetched_bytes(run, 1e-9, 4.0, warm=False)
    assert none.weights[0] == pytest.approx(16 * 64 * 64)
    assert fetched_bytes(run, 1e15, 4.0, warm=True).inputs[0] == pytest.approx(0.0, abs=1e-3)


def test_a_narrow_run_fetches_whole_lines_and_crowds_its_sets() -> None:
    run = touched(conv(64.0, 512.0, 8.0, 8.0), tile(oy=8, ox=8, k=16, c=64))
    assert run.footprint(run.sizes).weights[0] == 64 * 64
    assert run.crowding(run.sizes).weights[0] == 512 / 64
    assert run.crowding(run.limits).weights[0] == 1


def test_constants_are_found_again_from_cycles_that_they_made() -> None:
    random = np.random.default_rng(0)
    columns = [random.integers(1, 40, 60).astype(float) for _ in range(2)]
    layers = Layers(batch=1.0, groups=1.0, k=columns[0] * 8, c=columns[1] * 8, oy=14.0, ox=14.0, fy=3.0, fx=3.0)
    runs = gemmini_runs(layers)
    truth = replace(CONSTANTS, beat_cycles=2.5, narrow_miss_cycles=20.0)
    names = ("beat_cycles", "narrow_miss_cycles")
    found = fit_constants([runs], [gemmini_costs(runs, truth).cycles], names=names)
    assert found.beat_cycles == pytest.approx(2.5, rel=0.01)
    assert found.narrow_miss_cycles == pytest.approx(20.0, rel=0.01)
    assert found.start_cycles == CONSTANTS.start_cycles


def test_no_rows_leave_constants_where_they_start() -> None:
    found = fit_constants([], [], spread=0.3)
    assert [getattr(found, name) for name in NAMES] == pytest.approx([getattr(CONSTANTS, name) for name in NAMES])
    with pytest.raises(BadValueError, match="no rows"):
        fit_constants([], [])


@pytest.mark.parametrize("cycles", [[0.0], [np.nan], [-1.0], [1.0, 2.0]])
def test_cycles_that_are_none_are_refused(cycles: list[float]) -> None:
    with pytest.raises(BadValueError, match="cycles"):
        fit_constants([gemmini_runs(conv(16.0, 16.0, 4.0, 4.0))], [np.array(cycles)])


def test_a_narrower_array_takes_more_blocks() -> None:
    layer = conv(64.0, 64.0, 16.0, 16.0)
    blocks = [
        gemmini_runs(layer, tile(oy=16, ox=16, k=64, c=64), GemminiHardware(side=side)).counts.blocks[0, 0]
        for side in (8, 16, 32)
    ]
    assert blocks == [64, 16, 4]


def test_a_product_is_one_row_of_pixels() -> None:
    assert is_product(products(7.0, 30.0, 20.0)).all()
    assert not is_product(conv(20.0, 30.0, 7.0, 7.0)).any()
