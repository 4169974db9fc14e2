"""Gemmini's default tiles: known ones of DOSA's rows (commit a7a32393, column dse.auto_tiling), and what must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.evaluation.gemmini import read_gemmini, tiling_texts
from costmodel.spatial.gemmini_tiling import SIDES, GemminiHardware, buffer_rows, default_tiling
from costmodel.spatial.layers import Layers, products
from foundation.errors import BadValueError

KNOWN = {
    # (c, k, pixels a side, kernel, stride): kernel, pixels, input and output channels, images
    (3, 64, 112, 7, 2): "7_7_23_22_3_16_1",
    (128, 128, 28, 3, 2): "3_3_23_22_48_16_1",
    (256, 256, 14, 3, 2): "3_3_14_14_105_32_1",
    (2048, 512, 7, 1, 1): "1_1_7_7_624_160_1",
    (512, 512, 7, 3, 1): "3_3_7_7_119_112_1",
    (64, 2, 388, 1, 1): "1_1_23_22_64_2_1",
    (1024, 512, 57, 2, 1): "2_2_23_22_208_16_1",
}


def conv(c: float, k: float, size: float, kernel: float, stride: float) -> Layers:
    return Layers(batch=1.0, groups=1.0, k=k, c=c, oy=size, ox=size, fy=kernel, fx=kernel, stride=stride)


@pytest.mark.parametrize("shape", KNOWN)
def test_a_convolution_gets_the_tile_that_the_software_printed(shape: tuple[int, int, int, int, int]) -> None:
    assert tiling_texts(default_tiling(conv(*map(float, shape)))) == [KNOWN[shape]]


def test_a_product_gets_the_tile_that_the_software_printed() -> None:
    assert tiling_texts(default_tiling(products(1.0, 1000.0, 2048.0))) == ["1_1_16_1_896_128_1"]


def test_layers_in_columns_get_the_tiles_that_they_get_alone() -> None:
    shapes = np.array(list(KNOWN), float).T
    together = tiling_texts(default_tiling(conv(*shapes)))
    assert together == list(KNOWN.values())


def test_every_row_of_the_data_gets_the_tile_that_the_software_printed(shared_data: Path) -> None:
    same = read_gemmini(shared_data / "dosa-gemmini-firesim").same_tiles
    assert same.sum() == 141 == len(same)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(2, 60), st.integers(1, 5), st.integers(1, 3),
    st.sampled_from([4, 8, 16, 32]),
)  # fmt: skip
def test_a_tile_fits_half_of_each_buffer_and_the_layer(
    c: int, k: int, size: int, kernel: int, stride: int, side: int
) -> None:
    hardware = GemminiHardware(side=side)
    tile = default_tiling(conv(*map(float, (c, k, size, kernel, stride))), hardware).sizes
    scratchpad, accumulator = buffer_rows(tile, np.array([float(stride)]), side)
    assert scratchpad[0] <= hardware.scratchpad_rows // 2
    assert accumulator[0] <= hardware.accumulator_rows // 2
    assert (tile[0] <= [1, size, size, k, kernel, kernel, c]).all()
    assert (tile >= 1).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1.5])
def test_a_side_that_is_no_whole_number_is_refused(side: str, value: float) -> None:
    layer = {**dict.fromkeys(SIDES, 2.0), side: value}
    with pytest.raises(BadValueError, match=f"'{side}'"):
        default_tiling(Layers(groups=1.0, **layer))


def test_a_side_too_long_for_steps_of_one_is_refused() -> None:
    with pytest.raises(BadValueError, match="No side"):
        default_tiling(conv(1.0, 1.0, 2.0**21, 1.0, 1.0))


@pytest.mark.parametrize(("field", "value"), [("side", 0), ("side", 5000), ("scratchpad_bytes", 16), ("bus_bytes", 0)])
def test_hardware_without_a_row_of_buffer_is_refused(field: str, value: int) -> None:
    with pytest.raises(BadValueError, match="Gemmini"):
        GemminiHardware(**{field: value})
