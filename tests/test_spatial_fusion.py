"""Chains of convolutions through on-chip buffers: bytes, rows and recomputed work by hand, and the best cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.spatial import fusion
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.fusion import chained, fuse
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import WS, Machine, Operands
from foundation.errors import BadValueError


def machine(each_bytes: float = 1e6, **fields: Any) -> Machine:
    given: dict[str, Any] = {"dram_bytes_per_cycle": 4.0, **fields}
    return Machine(
        rows=16.0, cols=16.0, dataflow=WS, buffer_bytes=Operands(each_bytes, each_bytes, each_bytes),
        buffer_bytes_per_cycle=Operands(64.0, 64.0, 256.0), unified=True, **given,
    )  # fmt: skip


def chain(count: int = 3, size: float = 32.0, channels: float = 16.0, kernel: float = 3.0) -> Layers:
    """Layers of the same size, padded."""
    one = np.ones(count)
    return Layers(
        batch=one, groups=one, k=channels * one, c=channels * one, oy=size * one, ox=size * one, fy=kernel * one,
        fx=kernel * one, pad_y=(kernel - 1) * one, pad_x=(kernel - 1) * one,
    )  # fmt: skip


def test_a_chain_that_fits_moves_its_first_input_its_last_output_and_its_weights() -> None:
    found = fuse(chain(), machine())
    map_bytes, weights = 16 * 32 * 32, 16 * 16 * 9
    assert [(stack.first, stack.last) for stack in found.stacks] == [(0, 2)]
    assert found.dram_bytes == 2 * map_bytes + 3 * weights
    assert found.layer_dram_bytes == 6 * map_bytes + 3 * weights
    assert found.saved_dram_bytes == 4 * map_bytes
    assert found.recomputed_macs == 0
    assert found.cycles < found.layer_cycles


def test_line_buffers_hold_the_rows_of_the_kernels() -> None:
    # little room, but bands of one row: each input of three layers keeps 3 rows of 32 x 16 B; the first input and the
    # last output pass twice (1 row of each more, 2 of the output); weights of 2304 B a layer stay
    row, weights = 32 * 16, 3 * 2304
    need = 3 * 3 * row + 1 * row + 2 * row + weights
    found = fuse(chain(), machine(need / 3 + 1e-9, dram_bytes_per_cycle=0.5))
    assert [stack.fused for stack in found.stacks] == [True]
    assert found.stacks[0].rows == 1
    assert found.stacks[0].keeps_rows
    assert found.buffer_bytes == need
    less = fuse(chain(), machine(need / 3 - 1, dram_bytes_per_cycle=0.5))
    assert less.dram_bytes > found.dram_bytes


def test_bands_that_keep_nothing_compute_shared_rows_again() -> None:
    # 2 layers, 4 bands of 8 rows: the first layer makes 10 rows a band in place of 8, at the ends 9: 38 in place of 32
    layers, on = chain(2), machine()
    state = fusion._Bands(
        np.array([8.0]),
        np.array([False]),
        np.array([4.0]),
        np.array([8.0]),
        np.zeros(1),
        np.zeros(1),
        np.zeros(1),
        np.zeros(1),
    )
    column = fusion._columns(layers)
    fusion._add_layer(state, fusion._layer(column, 1), on)
    fusion._add_layer(state, fusion._layer(column, 0), on)
    assert state.overlap.tolist() == [4.0]  # rows of the input that two bands read
    assert state.again_macs[0] == pytest.approx(16 * 16 * 9 * 32 * 6, rel=1e-12)
    stack = fusion._best_of(state, column, on, 0, 1)
    assert stack is not None
    assert stack.dram_bytes == 16 * 32 * (32 + 3 * 4) + 16 * 32 * 32 + 2 * 2304


def test_weights_that_do_not_fit_beside_the_maps_come_once_a_band_or_the_chain_is_cut() -> None:
    layers = chain(2, size=16.0, channels=512.0, kernel=1.0)  # 256 KiB of weights a layer, 128 KiB of maps
    found = fuse(layers, machine(100e3))
    assert found.dram_bytes <= found.layer_dram_bytes
    assert all(stack.buffer_bytes <= 300e3 for stack in found.stacks)


def test_a_chain_is_cut_where_the_next_layer_reads_something_else() -> None:
    layers = chain(4)
    assert chained(layers).tolist() == [True] * 3
    pooled = replace(layers, oy=np.array([32.0, 32, 16, 16]), ox=np.array([32.0, 32, 16, 16]))
    assert chained(pooled).tolist() == [True, False, True]
    assert [(stack.first, stack.last) for stack in fuse(pooled, machine()).stacks] == [(0, 1), (2, 3)]
    strided = replace(pooled, stride=np.array([1.0, 1, 2, 1]), pad_y=np.array([2.0, 2, 1, 2]),
                      pad_x=np.array([2.0, 2, 1, 2]))  # fmt: skip
    assert chained(strided).tolist() == [True] * 3


def test_depthwise_layers_chain_by_all_their_channels() -> None:
    layers = Layers(
        batch=np.ones(3), groups=np.array([1.0, 96, 1]), k=np.array([96.0, 1, 24]), c=np.array([16.0, 1, 96]),
        oy=np.full(3, 28.0), ox=np.full(3, 28.0), fy=np.array([1.0, 3, 1]), fx=np.array([1.0, 3, 1]),
        pad_y=np.array([0.0, 2, 0]), pad_x=np.array([0.0, 2, 0]),
    )  # fmt: skip
    found = fuse(layers, machine(100e3))
    assert [(stack.first, stack.last) for stack in found.stacks] == [(0, 2)]
    assert found.saved_dram_bytes == 4 * 96 * 28 * 28


def test_nothing_is_fused_where_nothing_is_saved() -> None:
    # arithmetic binds and bands only shorten the streams: one layer after the other is as fast, and fusing moves less
    found = fuse(chain(), machine(dram_bytes_per_cycle=1e6, dram_latency_cycles=0.0))
    assert found.cycles <= found.layer_cycles


@settings(max_examples=40)
@given(
    count=st.integers(1, 5), size=st.sampled_from([4.0, 14.0, 56.0]), channels=st.sampled_from([8.0, 64.0]),
    kernel=st.sampled_from([1.0, 3.0, 5.0]), room=st.sampled_from([2e3, 2e4, 2e5]), double=st.booleans(),
    rate=st.sampled_from([1.0, 64.0]),
)  # fmt: skip
def test_the_best_cut_is_never_slower_than_no_fusion_and_covers_each_layer_once(
    count: int, size: float, channels: float, kernel: float, room: float, double: bool, rate: float
) -> None:
    layers = chain(count, size, channels, kernel)
    on = machine(room, double_buffered=double, dram_bytes_per_cycle=rate)
    found = fuse(layers, on)
    assert found.cycles <= found.layer_cycles * (1 + 1e-12)
    assert found.layer_cycles == pytest.approx(float(fixed_mapping(layers, on).cycles.sum()), rel=1e-12)
    ends = [stack.last for stack in found.stacks]
    assert [stack.first for stack in found.stacks] == [0, *(end + 1 for end in ends[:-1])]
    assert ends[-1] == count - 1
    least = float(layers.input_bytes[0] + layers.output_bytes[-1] + layers.weight_bytes.sum())
    assert found.dram_bytes >= least * (1 - 1e-12)
    assert all(stack.buffer_bytes <= 3 * room for stack in found.stacks)


def test_a_chain_that_cannot_run_is_refused() -> None:
    with pytest.raises(BadValueError, match="does not fit alone, by"):
        fuse(chain(), machine(100.0))
    with pytest.raises(BadValueError, match="on one machine"):
        fuse(chain(), replace(machine(), rows=np.array([8.0, 16.0])))
    with pytest.raises(BadValueError, match="no layers"):
        fuse(chain(0), machine())
