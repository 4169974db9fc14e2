"""Tiles of any size: bounds are covered, costs are those of plain loops, the best is never slower than the rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.spatial.architectures import FORMAT_BITS, edge_tpu_like, tpu_like
from costmodel.spatial.devices import machine_of
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.hierarchy import DIMS, Hierarchy, hierarchy_of
from costmodel.spatial.layers import Layers, products
from costmodel.spatial.machine import WS, Machine, Operands
from costmodel.spatial.mapped import mapped
from costmodel.spatial.nest import PAD, Nest
from costmodel.spatial.nest_costs import evaluate
from costmodel.spatial.orders import best_mapping, best_orders, candidates
from costmodel.spatial.tilings import PIXELS, chain_of, tilings
from hardware_specs import load_device

BOUNDS = st.tuples(*[st.sampled_from([1, 1, 2, 3, 7, 13, 49, 64, 197])] * len(DIMS))
EVEN = Layers(1.0, 1.0, 384.0, 768.0, 24.0, 7.0, 3.0, 3.0, 1.0, **FORMAT_BITS)
"""Every cut of its bounds by 2, 3, 4, 6 or 8 is even on 32 columns; 24 rows by 16 are not."""


@st.composite
def layer(draw: st.DrawFn) -> Layers:
    kernel = draw(st.sampled_from([1, 3, 7]))
    side = draw(st.sampled_from([1, 7, 13, 56]))
    rows = draw(st.integers(1, 60)) if side > 1 else 1
    groups = draw(st.sampled_from([1, 1, 1, 24]))
    k, c = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    return Layers(float(draw(st.sampled_from([1, 3]))), float(groups), float(k), float(c), float(rows),
                  float(side if side > 1 else draw(st.integers(1, 900))), float(kernel), float(kernel),
                  float(draw(st.sampled_from([1, 2]))))  # fmt: skip


@st.composite
def machine(draw: st.DrawFn) -> Machine:
    room, port = (
        Operands(*(float(draw(st.integers(*ends))) for _ in range(3))) for ends in ((2000, 400_000), (8, 256))
    )
    return Machine(
        draw(st.integers(1, 130)), draw(st.integers(1, 130)), draw(st.sampled_from([1, 2, 3])), room, port,
        draw(st.sampled_from([1.0, 8.0, 50.0])), cores=draw(st.sampled_from([1, 1, 3])), unified=draw(st.booleans()),
        shared_bytes=draw(st.sampled_from([0.0, 1e6])), shared_bytes_per_cycle=64.0,
        double_buffered=draw(st.booleans()), preload_hidden=draw(st.booleans()), kernel_on_rows=draw(st.booleans()),
        dram_latency_cycles=draw(st.sampled_from([0.0, 100.0])), issue_cycles=draw(st.sampled_from([0.0, 50.0])),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(layer(), machine())
def test_the_best_is_never_slower_than_the_rule_on_any_array(one: Layers, made: Machine) -> None:
    best, rule = best_mapping(one, made), fixed_mapping(one, made)
    if np.all(rule.feasible):
        assert best.feasible.all()
        assert best.cycles[0] <= float(np.ravel(rule.cycles)[0])
        assert best.macs[0] == pytest.approx(float(one.macs), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(layer(), machine())
def test_at_about_equal_cycles_the_best_moves_no_more_than_the_rule(one: Layers, made: Machine) -> None:
    best, rule = best_mapping(one, made), fixed_mapping(one, made)
    if np.all(rule.feasible) and float(np.ravel(rule.cycles)[0]) <= 1.01 * best.cycles[0]:
        assert float(np.ravel(best.dram_bytes)[0]) <= float(np.ravel(rule.dram_bytes)[0]) * (1 + 1e-9)


@pytest.mark.parametrize("device", ["eyeriss", "gemmini-128x128", "zigzag-tpu-like"])
def test_what_transformers_multiply_is_as_fast_as_under_the_rule_without_its_help(device: str) -> None:
    # 128 tokens of BERT-base, 197 of ViT-base, and a long feed-forward; prime factors alone lose up to 2.6 times
    made = machine_of(load_device(device))
    m, n, k = np.array([[128, 768, 768], [128, 3072, 768], [197, 768, 3072], [197, 3072, 768], [512, 3072, 768.0]]).T
    layers = products(m=m, n=n, k=k)
    tiled = best_orders(layers, hierarchy_of(made), any_tile=True).costs.cycles + made.dram_latency_cycles
    assert (tiled <= 1.01 * np.asarray(fixed_mapping(layers, made).cycles)).all()


def test_a_feed_forward_on_128_x_128_elements_takes_the_cycles_of_its_memory() -> None:
    # inputs in 2 tiles of 256 rows (192 KiB of 256), weights twice: 393,216 + 2 x 2,359,296 + 1,572,864 bytes at 16
    made = machine_of(load_device("gemmini-128x128"))
    costs = best_mapping(products(m=512.0, n=3072.0, k=768.0), made)
    assert costs.dram_bytes[0] == 393_216 + 2 * 2_359_296 + 1_572_864
    assert costs.dram_bytes[0] / 16 <= costs.cycles[0] <= 1.001 * costs.dram_bytes[0] / 16


@given(BOUNDS)
@settings(max_examples=30, deadline=None)
def test_tiles_cover_their_bounds_and_hold_at_least_the_mean(left: tuple[int, ...]) -> None:
    for dims, sizes, codes, states in tilings(left):
        assert (states.total[codes[-1]] == np.prod(left)).all()
        assert (states.total[codes[0]] == 1).all()
        assert (np.diff(states.total[codes], axis=0) >= 0).all()
        assert states.room is not None
        assert all((states.room.plain[o] >= states.plain[o] * (1 - 1e-12)).all() for o in "IWO")
        assert ((sizes > 1) == (dims != PAD)).all()
        for dim, bound in enumerate(left):
            # so many tiles of the largest size are enough, and one tile fewer is not
            own = np.where(dims == dim, sizes, 1.0)
            turns = np.where((np.cumsum(own > 1, axis=0) > 1) & (own > 1), own, 1.0).prod(axis=0)
            assert (own.prod(axis=0) >= bound).all()
            assert ((turns - 1) * own.prod(axis=0) / turns < bound).all()


def test_a_prime_bound_is_cut_into_tiles_of_its_mean_size() -> None:
    chain = chain_of((1, 1, 1, 1, 1, 197, 1, 1), PIXELS, True)
    assert chain is not None
    ox = DIMS.index("OX")
    assert chain.sizes[1].tolist() == [2, 3, 4, 6, 8, 12, 16, 29]  # 32 tiles of 7 would be 29
    assert chain.sizes[0].tolist() == [99, 66, 50, 33, 25, 17, 13, 7]
    np.testing.assert_allclose(chain.means[1, ox] * chain.sizes[1], 197)
    assert chain.means[2, ox].tolist() == [197] * 8


@pytest.mark.parametrize("hierarchy", [tpu_like(), edge_tpu_like()], ids=lambda h: h.name)
def test_even_tiles_cost_what_plain_loops_of_their_sizes_cost(hierarchy: Hierarchy) -> None:
    made = candidates(EVEN, hierarchy, 1, any_tile=True).nest
    assert made.states is not None
    assert made.codes is not None
    plain = Nest(made.layers, made.dims, made.sizes, made.spatial, made.owner)
    even = made.sizes.prod(axis=1) == made.states.total[made.codes[-1]]
    assert even.sum() > 1000
    left, right = evaluate(made, hierarchy), evaluate(plain, hierarchy)
    np.testing.assert_allclose(left.cycles[even], right.cycles[even], rtol=1e-12)
    np.testing.assert_allclose(left.energy_pj[even], right.energy_pj[even], rtol=1e-12)
    np.testing.assert_array_equal(left.feasible[even], right.feasible[even])


@pytest.mark.parametrize(("short", "turns"), [(0.0, 2), (1.0, 3)])
def test_uneven_tiles_need_the_room_of_the_largest(short: float, turns: int) -> None:
    # 5 rows of 64 pixels and 64 channels: of 2 tiles the larger is 3 rows, 12,288 B (mean 10,240), in half of a buffer
    made = Machine(64, 64, WS, Operands(2 * (12_288 - short), 10_000.0, 1e6), Operands(64, 64, 64), 1.0)
    hierarchy = hierarchy_of(made)
    nest = candidates(Layers(1.0, 1.0, 640.0, 64.0, 5.0, 64.0, 1.0, 1.0), hierarchy, 1, any_tile=True).nest
    costs = evaluate(nest, hierarchy)
    read = sum(costs.moved_bits[costs.moves.index(("dram", move))] / 8 for move in ("I feed", "W feed"))
    # all weights once for each tile of inputs
    assert read[costs.feasible].min() == 5 * 64 * 64 + turns * 640 * 64


def test_latency_of_memory_counts_once_as_under_the_rule() -> None:
    made = machine_of(load_device("gemmini-16x16"))
    one = products(m=64.0, n=64.0, k=64.0)
    far = replace(made, dram_latency_cycles=made.dram_latency_cycles + 1000)
    for mapping in ("fixed", "best"):
        near, late = (float(mapped(one, replace(m, mapping=mapping)).cycles.item()) for m in (made, far))
        assert late - near == pytest.approx(1000), mapping
