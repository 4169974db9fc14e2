"""Layers on arrays with buffers: traffic and waits by hand, what must hold for any of them, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.spatial.costs import STAGES, SpatialCosts
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import Layers, products
from costmodel.spatial.machine import IS, OS, WS, Machine, Operands
from costmodel.spatial.networks import distinct, networks
from foundation.errors import BadValueError

KIB = 1024.0
PORTS = Operands(64.0, 64.0, 256.0)


def machine(
    buffers: tuple[float, float, float] = (64 * KIB, 64 * KIB, 64 * KIB), dataflow: Any = WS, **fields: Any
) -> Machine:
    given: dict[str, Any] = {"rows": 16.0, "cols": 16.0, "dram_bytes_per_cycle": 16.0, **fields}
    return Machine(
        dataflow=dataflow, buffer_bytes=Operands(*buffers),
        buffer_bytes_per_cycle=given.pop("buffer_bytes_per_cycle", PORTS), **given,
    )  # fmt: skip


def test_what_fits_is_fetched_once() -> None:
    found = fixed_mapping(products(64.0, 64.0, 64.0), machine())
    assert tuple(found.dram_read_bytes) == (4096, 4096, 0)
    assert found.dram_write_bytes == 4096
    assert found.tiles == 1


def test_inputs_that_stay_make_weights_stream_once_for_each_band_of_them() -> None:
    # 1024 x 256 inputs in 32 KiB (half of 64 KiB): bands of 128 pixels, so 256 x 4096 weights pass 8 times.
    # Weights that stay: 128 of 4096 channels at a time, so inputs pass 32 times: 8 MiB in place of 8 MiB + 256 KiB
    layer, small = products(1024.0, 4096.0, 256.0), (64 * KIB, 64 * KIB, 2 * KIB)
    found = fixed_mapping(layer, machine(small))
    assert tuple(found.dram_read_bytes) == (1024 * 256, 8 * 4096 * 256, 0)
    wide = fixed_mapping(products(4096.0, 1024.0, 256.0), machine(small))
    assert tuple(wide.dram_read_bytes) == (8 * 4096 * 256, 1024 * 256, 0)  # now 8 sets of channels stay


def test_sums_that_stay_make_both_operands_pass() -> None:
    # 1024 x 1024 x 65536: neither 16 pixels nor 16 channels of full depth fit in 64 KiB, but 128 x 128 sums of 4 B do
    found = fixed_mapping(products(1024.0, 1024.0, 65536.0), machine((128 * KIB, 128 * KIB, 128 * KIB)))
    assert tuple(found.dram_read_bytes) == (8 * 2**26, 8 * 2**26, 0)


def test_sums_that_spill_go_out_and_come_back_once_a_slice() -> None:
    # sums: 16 x 16 of 4 B only, so that they would make 64 KiB of operands pass 64 times; 1024 of 4096 weights a
    # channel fit in 16 KiB, so that 3 of 4 slices spill: 1024 x 1024 sums of 4 B
    layer = products(1024.0, 1024.0, 4096.0)
    found = fixed_mapping(layer, machine((2 * KIB, 32 * KIB, 2 * KIB)))
    spilled = 3 * 1024 * 1024 * 4
    assert found.dram_read_bytes.outputs == spilled
    assert found.dram_write_bytes == spilled + 1024 * 1024
    assert found.dram_read_bytes.weights == 1024 * 4096
    assert found.dram_read_bytes.inputs == 64 * 1024 * 4096


def test_bands_of_a_convolution_read_their_halo_again() -> None:
    # 16 x 34 x 34 inputs, 3 x 3: 32 KiB hold 60 rows, all; 8 KiB hold 15 rows, 13 of output: 3 bands, 2 x 2 rows twice
    layer = Layers(batch=1.0, groups=1.0, k=1024.0, c=16.0, oy=32.0, ox=32.0, fy=3.0, fx=3.0)
    assert fixed_mapping(layer, machine()).dram_read_bytes.inputs == 16 * 34 * 34
    found = fixed_mapping(layer, machine((16 * KIB, 1024 * KIB, 64 * KIB)))
    assert found.dram_read_bytes.inputs == 16 * (34 + 2 * 2) * 34
    padded = replace(layer, pad_y=2.0, pad_x=2.0)
    assert fixed_mapping(padded, machine()).dram_read_bytes.inputs == 16 * 32 * 32


def test_a_stride_beyond_the_kernel_skips_inputs() -> None:
    layer = Layers(batch=2.0, groups=1.0, k=16.0, c=16.0, oy=28.0, ox=28.0, stride=2.0)
    assert fixed_mapping(layer, machine()).dram_read_bytes.inputs == 2 * 16 * 28 * 28 == layer.input_bytes


def test_memory_and_arithmetic_overlap_only_with_two_buffers() -> None:
    # 64 x 64 x 64 ws: 4 x 4 folds of 64 + 46 of skew and load; 12288 B at 16 B a cycle are 768; ends: 3 x 256 B = 48
    slow: dict[str, Any] = {"dram_latency_cycles": 100.0, "issue_cycles": 7.0}
    layer = products(64.0, 64.0, 64.0)
    both = fixed_mapping(layer, machine(**slow))
    assert both.cycles == 1024 + 46 + 48 + 100 + 7
    one = fixed_mapping(layer, machine(double_buffered=False, **slow))
    assert one.cycles == 1024 + 46 + 768 + 100 + 7
    starved = fixed_mapping(layer, machine(dram_bytes_per_cycle=4.0))
    assert starved.cycles == 12288 / 4
    names = {name: float(step) for name, step in both.waterfall().items()}
    assert names == {"ideal": 1024, "shape": 0, "fill": 46, "onchip": 0, "dram": 148, "issue": 7}


def test_the_narrowest_port_binds() -> None:
    # 64 x 64 inputs for each of 4 column folds: 16 KiB at 4 B a cycle are 4096 cycles
    narrow = machine(buffer_bytes_per_cycle=Operands(4.0, 64.0, 256.0))
    assert fixed_mapping(products(64.0, 64.0, 64.0), narrow).onchip_cycles == 4096
    # 7 passes of 4096 sums of 4 B (4 written, 3 read back) at 8 B a cycle
    narrow = machine(buffer_bytes_per_cycle=Operands(64.0, 64.0, 8.0))
    assert fixed_mapping(products(64.0, 64.0, 64.0), narrow).onchip_cycles == 7 * 4096 * 4 / 8


def test_an_operand_without_a_buffer_comes_from_memory_as_often_as_the_array_takes_it() -> None:
    found = fixed_mapping(products(64.0, 64.0, 64.0), machine((0.0, 64 * KIB, 64 * KIB)))
    assert found.dram_read_bytes.inputs == 4 * 4096  # once for each of 4 folds across
    assert found.buffer_bytes.inputs == 0
    without_sums = fixed_mapping(products(64.0, 64.0, 64.0), machine((64 * KIB, 64 * KIB, 0.0)))
    assert without_sums.dram_read_bytes.outputs == 3 * 4096 * 4
    assert fixed_mapping(
        products(64.0, 64.0, 64.0), machine((64 * KIB, 64 * KIB, 0.0), dataflow=OS)
    ).dram_read_bytes.outputs == 0  # fmt: skip


def test_a_shared_level_keeps_what_the_buffers_fetch_again() -> None:
    layer = products(1024.0, 4096.0, 256.0)
    alone = fixed_mapping(layer, machine((64 * KIB, 64 * KIB, 2 * KIB)))
    shared = fixed_mapping(layer, machine((64 * KIB, 64 * KIB, 2 * KIB), shared_bytes=8 * KIB * KIB))
    assert tuple(shared.dram_read_bytes) == (1024 * 256, 4096 * 256, 0)
    assert shared.shared_bytes == alone.dram_bytes
    slow = machine((64 * KIB, 64 * KIB, 2 * KIB), shared_bytes=8 * KIB * KIB, shared_bytes_per_cycle=1.0)
    assert fixed_mapping(layer, slow).onchip_cycles == alone.dram_bytes


@pytest.mark.parametrize(
    ("buffers", "unified", "short"),
    [
        # ws: 256 B of weights stand; one step along takes 16 B of inputs and 64 B of sums; each twice
        ((512.0, 511.0, 2048.0), False, 1.0),
        ((32.0, 512.0, 128.0), False, 0.0),
        ((31.0, 500.0, 120.0), False, 1.0 + 12.0 + 8.0),
        ((200.0, 200.0, 200.0), True, 2.0 * (256 + 16 + 64) - 600),
        ((672.0, 0.0, 0.0), True, 0.0),
    ],
)
def test_a_buffer_smaller_than_one_tile_is_named_with_the_bytes_it_lacks(
    buffers: tuple[float, float, float], unified: bool, short: float
) -> None:
    found = fixed_mapping(products(64.0, 64.0, 64.0), machine(buffers, unified=unified))
    assert found.shortfall_bytes == short
    assert found.feasible == (short == 0)
    assert np.isnan(found.cycles) == (short > 0)


def test_a_layer_smaller_than_the_array_needs_only_its_own_room() -> None:
    assert fixed_mapping(products(1.0, 2.0, 3.0), machine((6.0, 12.0, 16.0))).feasible


def test_an_array_longer_than_its_buffers_streams_what_they_hold() -> None:
    # 500 x 3 array, 64 KiB of each 128 KiB: 65536 // 500 = 131 pixels a run where 500 hide a load
    tall = machine((128 * KIB,) * 3, rows=500.0, cols=3.0, dram_bytes_per_cycle=1e9,
                   buffer_bytes_per_cycle=Operands(1e9, 1e9, 1e9))  # fmt: skip
    # one fold of 1000 pixels: 8 runs, 7 of them as long as a load; with all sums on chip the stream need not be cut
    found = fixed_mapping(products(1000.0, 3.0, 500.0), tall)
    assert found.feasible
    assert found.fill_cycles == 1000 + 1001
    # two slices of the reduction and 1000 x 3 sums of 4 B in 1.5 KiB each for 128 pixels: they spill once
    small = replace(tall, buffer_bytes=Operands(128 * KIB, 128 * KIB, 3 * KIB))
    spilled = fixed_mapping(products(1000.0, 3.0, 1000.0), small)
    assert spilled.fill_cycles == 2000 + 1001
    assert spilled.dram_read_bytes.outputs == 1000 * 3 * 4
    # where spilling costs more than waiting: 8 runs of 125 a fold, each but the last as long as a load of 500 rows
    slow = replace(small, dram_bytes_per_cycle=1.0, buffer_bytes=Operands(3000 * KIB, 128 * KIB, 3 * KIB))
    waiting = fixed_mapping(products(1000.0, 3.0, 1000.0), slow)
    assert waiting.dram_read_bytes.outputs == 0
    assert waiting.fill_cycles == 15 * 500 + 125 + 1001


def test_cores_that_share_a_fold_move_no_more_to_and_from_memory() -> None:
    # 16 x 16 weights and 4096 pixels: one fold, on 4 cores 1024 pixels each past weights that are fetched once
    one, four = (fixed_mapping(products(4096.0, 16.0, 16.0), machine(cores=cores)) for cores in (1.0, 4.0))
    assert (one.fill_cycles, four.fill_cycles) == (4096 + 46, 1024 + 46)
    assert tuple(four.dram_read_bytes) == (4096 * 16, 256, 0)
    assert tuple(four.buffer_bytes) == tuple(one.buffer_bytes)


def test_a_short_tile_below_a_shared_level_waits_or_spills_to_it_whichever_is_sooner() -> None:
    # two slices of 16 of the reduction; sums of 2 pixels: 256 runs, or all 256 pixels past each slice, sums spilled
    small = machine((64 * KIB, 512.0, 256.0), dram_bytes_per_cycle=1e9, shared_bytes=1e6)
    layer = products(256.0, 16.0, 32.0)
    assert fixed_mapping(layer, small).onchip_cycles == 512 + 46
    # 1 KiB of sums out and back at 8 B a cycle is 4096 cycles, so is waiting: 255 x 16 + 2 + 46
    slow = fixed_mapping(layer, replace(small, shared_bytes_per_cycle=8.0))
    assert slow.fill_cycles == 255 * 16 + 2 + 46


def test_outputs_that_stay_take_a_short_tile_of_the_reduction_without_waits() -> None:
    # os 16 x 16: one step takes 16 B of inputs and of weights; sums stay in the array
    found = fixed_mapping(products(16.0, 16.0, 1000.0), machine((32.0, 32.0, 2048.0), OS, dram_bytes_per_cycle=64.0))
    assert found.fill_cycles == 1000 + 30
    assert tuple(found.dram_read_bytes) == (16000, 16000, 0)


def test_inputs_that_stay_wait_where_their_channels_do_not_fit() -> None:
    # is 16 x 16: inputs of 16 x 16 stand; 4 channels a run (64 B of weights, 128 B double), 64 channels: 16 runs of 16
    on = machine((512.0, 128.0, 2048.0), IS, dram_bytes_per_cycle=1e9)
    found = fixed_mapping(products(16.0, 64.0, 16.0), on)
    assert found.fill_cycles == 15 * 16 + 4 + 46
    # inputs are loaded again for each run at the port: 16 x 256 B at 1 B a cycle
    narrow = replace(on, buffer_bytes_per_cycle=Operands(1.0, 1e9, 1e9))
    assert fixed_mapping(products(16.0, 64.0, 16.0), narrow).onchip_cycles == 16 * 256


SIZES = st.one_of(st.integers(1, 40), st.integers(1, 3000)).map(float)
BUFFERS = st.one_of(st.integers(600, 8000), st.integers(3000, 10**7)).map(float)


@st.composite
def layers(draw: st.DrawFn) -> Layers:
    kernel, stride = draw(st.sampled_from((1.0, 3.0, 5.0))), draw(st.sampled_from((1.0, 2.0)))
    edge = st.one_of(st.just(1.0), st.integers(1, 60).map(float))
    return Layers(
        batch=draw(st.sampled_from((1.0, 2.0, 7.0))), groups=draw(st.sampled_from((1.0, 3.0, 64.0))), k=draw(SIZES),
        c=draw(SIZES), oy=draw(edge), ox=draw(SIZES), fy=kernel, fx=kernel, stride=stride,
        weight_bits=draw(st.sampled_from((4.0, 8.0, 16.0))), weight_density=draw(st.sampled_from((1.0, 0.3))),
    )  # fmt: skip


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    edge, truth = st.sampled_from((1.0, 4.0, 12.0, 16.0, 32.0)), st.booleans()
    rate = st.sampled_from((1.0, 8.0, 64.0))
    return Machine(
        rows=draw(edge), cols=draw(edge), dataflow=draw(st.sampled_from((WS, OS, IS))),
        buffer_bytes=Operands(draw(BUFFERS), draw(BUFFERS), draw(BUFFERS) * 4),
        buffer_bytes_per_cycle=Operands(draw(rate), draw(rate), draw(rate)), dram_bytes_per_cycle=draw(rate),
        cores=draw(st.sampled_from((1.0, 2.0, 5.0))), unified=draw(truth), double_buffered=draw(truth),
        preload_hidden=draw(truth), dram_latency_cycles=draw(st.sampled_from((0.0, 200.0))),
        issue_cycles=draw(st.sampled_from((0.0, 30.0))), skips_weights=draw(st.sampled_from((0.0, 1.0))),
        packs_groups=draw(truth), kernel_on_rows=draw(truth),
    )  # fmt: skip


def no_slower(better: SpatialCosts, worse: SpatialCosts) -> None:
    """What fits in the worse fits in the better, and is no slower there."""
    if worse.feasible:
        assert better.feasible
        assert better.cycles <= worse.cycles * (1 + 1e-12)
    else:
        assert better.shortfall_bytes <= worse.shortfall_bytes


@settings(max_examples=250)
@given(layer=layers(), small=machines(), data=st.data())
def test_more_buffer_bandwidth_or_cores_is_never_slower(layer: Layers, small: Machine, data: st.DataObject) -> None:
    factor = data.draw(st.sampled_from((1.001, 1.3, 2.0, 10.0)))
    which = data.draw(st.integers(0, 2))
    what = data.draw(st.sampled_from(("buffer", "port", "dram", "cores", "latency", "issue", "preload")))
    grown: dict[str, Any] = {
        "buffer": {"buffer_bytes": small.buffer_bytes._replace(
            **{Operands._fields[which]: small.buffer_bytes[which] * factor})},
        "port": {"buffer_bytes_per_cycle": small.buffer_bytes_per_cycle._replace(
            **{Operands._fields[which]: small.buffer_bytes_per_cycle[which] * factor})},
        "dram": {"dram_bytes_per_cycle": small.dram_bytes_per_cycle * factor},
        "cores": {"cores": small.cores + which + 1}, "latency": {"dram_latency_cycles": 0.0},
        "issue": {"issue_cycles": 0.0}, "preload": {"preload_hidden": True},
    }[what]  # fmt: skip
    no_slower(fixed_mapping(layer, replace(small, **grown)), fixed_mapping(layer, small))


@settings(max_examples=250)
@given(layer=layers(), on=machines(), data=st.data())
def test_larger_layers_are_never_faster_nor_move_less(layer: Layers, on: Machine, data: st.DataObject) -> None:
    on = replace(on, preload_hidden=True)
    name = data.draw(st.sampled_from(("batch", "groups", "k", "c", "oy", "ox")))
    larger = replace(layer, **{name: getattr(layer, name) + data.draw(st.sampled_from((1.0, 2.0, 17.0)))})
    before, after = fixed_mapping(layer, on), fixed_mapping(larger, on)
    if before.feasible and after.feasible:
        assert after.cycles >= before.cycles * (1 - 1e-12)
        assert after.dram_bytes >= before.dram_bytes * (1 - 1e-12)


@settings(max_examples=150)
@given(layer=layers(), on=machines())
def test_the_waterfall_is_exact_and_no_step_gives_time_back(layer: Layers, on: Machine) -> None:
    found = fixed_mapping(layer, on)
    if found.feasible:
        steps = found.waterfall()
        assert list(steps) == list(STAGES)
        assert all(step >= -1e-9 * found.cycles for step in steps.values())
        assert sum(steps.values()) == pytest.approx(float(found.cycles), rel=1e-12)


@settings(max_examples=150)
@given(layer=layers(), on=machines())
def test_memory_moves_at_least_every_operand_once(layer: Layers, on: Machine) -> None:
    found = fixed_mapping(layer, on)
    for moved, once in zip(
        (found.dram_read_bytes.inputs, found.dram_read_bytes.weights, found.dram_write_bytes),
        (layer.input_bytes, layer.weight_bytes, layer.output_bytes), strict=True,
    ):  # fmt: skip
        assert moved >= once * (1 - 1e-12)
    for through, fetched in zip(found.buffer_bytes, found.dram_read_bytes, strict=True):
        assert through >= fetched
    if found.feasible:
        assert found.cycles >= found.dram_bytes / on.dram_bytes_per_cycle * (1 - 1e-12)


def test_a_larger_array_may_be_slower() -> None:
    # one row of pixels: 254 cycles of skew in place of 30, and 128 rows of weights to load first in place of 16
    layer = products(1.0, 16.0, 100.0)
    small, large = (fixed_mapping(layer, machine(rows=edge, cols=edge)) for edge in (16.0, 128.0))
    assert small.fill_cycles == 6 * 16 + 1 + 46
    assert large.fill_cycles == 1 + 382


def designs(count: int, **fields: Any) -> Machine:
    rng = np.random.default_rng(5)
    return Machine(
        rows=rng.choice([8.0, 16.0, 64.0], count), cols=rng.choice([8.0, 16.0, 64.0], count),
        dataflow=rng.integers(1, 4, count),
        buffer_bytes=Operands(*(rng.choice([1000.0, 5000.0, 1e5, 1e6], count) for _ in range(3))),
        buffer_bytes_per_cycle=Operands(8.0, 8.0, 32.0), dram_bytes_per_cycle=rng.choice([4.0, 16.0], count), **fields,
    )  # fmt: skip


def test_a_network_is_the_sum_of_its_layers_on_every_design(monkeypatch: pytest.MonkeyPatch) -> None:
    m, n, k = np.array([100.0, 7, 100, 0]), np.array([64.0, 300, 64, 0]), np.array([30.0, 1000, 30, 0])
    shapes, counts = distinct(products(m, n, k))
    assert sorted(counts) == [1, 2]
    on = designs(57, shared_bytes=20000.0, unified=np.arange(57) % 2 == 0)
    monkeypatch.setattr("costmodel.spatial.networks.CELLS", 20)
    found = networks(shapes, counts, on)
    every = fixed_mapping(products(m, n, k).reshaped((-1, 1)), on)
    np.testing.assert_allclose(found.cycles, every.cycles.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.macs, every.macs.sum(axis=0)[:1].repeat(57), rtol=1e-12)
    for got, wanted in (
        *zip(found.buffer_bytes, every.buffer_bytes, strict=True), (found.shared_bytes, every.shared_bytes),
        (found.dram_read_bytes, sum(every.dram_read_bytes)), (found.dram_write_bytes, every.dram_write_bytes),
        (found.tiles, every.tiles),
    ):  # fmt: skip
        np.testing.assert_allclose(got, np.broadcast_to(wanted, (4, 57)).sum(axis=0), rtol=1e-12)
    assert found.feasible.tolist() == every.feasible.all(axis=0).tolist()
    assert not found.feasible.all()
    assert found.feasible.any()
    np.testing.assert_array_equal(found.shortfall_bytes, every.shortfall_bytes.max(axis=0))


def test_a_layer_that_no_dataflow_maps_is_refused_in_a_network_and_left_out_by_distinct() -> None:
    layers = products(np.array([5.0, 0.0]), 3.0, 4.0)
    with pytest.raises(BadValueError, match="No dataflow maps layer 1: it has 0 multiply-accumulates"):
        networks(layers, np.ones(2), machine())
    assert distinct(layers)[1].tolist() == [1.0]


@pytest.mark.parametrize("size", [-5.0, float("nan"), float("inf")])
def test_a_layer_with_an_impossible_side_is_refused(size: float) -> None:
    for sides in ((size, 16.0, 16.0), (16.0, np.array([4.0, size]), 16.0)):
        with pytest.raises(
            BadValueError, match=r"'(ox|k)' of a layer must lie between 0 and 1e\+18, not at (-5|nan|inf)"
        ):
            products(*sides)
    with pytest.raises(BadValueError, match=r"'weight_density' of a layer must lie between 0 and 1, not at -0\.3"):
        products(4.0, 4.0, 4.0, weight_density=np.array([0.5, -0.3]))


def test_a_layer_without_work_costs_nothing_whatever_its_other_sides() -> None:
    columns = products(np.array([0.0, 64.0, 64.0]), np.array([16.0, 64.0, 0.0]), np.array([16.0, 64.0, 16.0]))
    for on in (machine(dram_latency_cycles=100.0, issue_cycles=7.0), machine((8.0, 8.0, 8.0), shared_bytes=1e5)):
        found = fixed_mapping(columns, on)
        none = [0, 2]
        assert found.feasible[none].all()
        for value in (*(getattr(found, f"{stage}_cycles") for stage in STAGES), found.macs, *found.buffer_bytes,
                      *found.dram_read_bytes, found.dram_write_bytes, found.dram_bytes, found.tiles):  # fmt: skip
            assert np.broadcast_to(value, (3,))[none].tolist() == [0.0, 0.0]
    alone = fixed_mapping(products(0.0, 16.0, 16.0), machine())
    assert [float(v) for v in (alone.cycles, alone.dram_bytes, alone.tiles)] == [0, 0, 0]
    assert fixed_mapping(columns, machine()).cycles[1] == 1024 + 46 + 48


@pytest.mark.parametrize("code", [0, 4, np.array([1, 7]), "ws"])
def test_a_dataflow_that_is_none_is_refused(code: Any) -> None:
    with pytest.raises(
        BadValueError, match=r"no dataflow has the code ([047]|ws); there are ws = 1, os = 2 and is = 3"
    ):
        machine(dataflow=code)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"skips_weights": 3.0}, "skips_weights, a share of zero operands, must lie between 0 and 1, not 3"),
        ({"skips_inputs": np.array([0.5, -1.0])}, "skips_inputs, a share of zero operands, .* not -1"),
        ({"shared_bytes": -1.0}, "shared_bytes of a spatial array must be at least 0, not -1"),
        ({"dram_latency_cycles": -100.0}, "dram_latency_cycles of a spatial array must be at least 0, not -100"),
        ({"issue_cycles": float("nan")}, "issue_cycles of a spatial array must be at least 0, not nan"),
        ({"rows": 1.5}, "rows of a spatial array must be whole, not 1.5"),
        ({"cores": np.array([2.0, 2.5])}, "cores of a spatial array must be whole, not 2.5"),
        ({"shared_bytes_per_cycle": 0.0}, "the bandwidth of the shared level must be above 0 bytes a cycle, not 0"),
        ({"sum_bits": 0.0}, "the bits of a partial sum must be at least 1, not 0"),
    ],
)
def test_a_figure_that_no_machine_has_is_refused_by_name(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadValueError, match=problem):
        machine(**fields)


def test_a_network_needs_a_count_for_each_layer() -> None:
    shapes, _ = distinct(products(np.array([1.0, 2.0]), 3.0, 4.0))
    with pytest.raises(BadValueError, match="one count for each of its layers"):
        networks(shapes, np.ones(3), machine())
