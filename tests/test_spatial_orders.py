"""The best of all loop orders: the candidates are complete, the choice is the least, machines answer for networks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.evaluation.zigzag import network_layers
from costmodel.spatial.architectures import FORMAT_BITS, edge_tpu_like, tpu_like
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.hierarchy import DIMS, Axis, Hierarchy, energies_of, hierarchy_of
from costmodel.spatial.layers import Layers, products
from costmodel.spatial.machine import IS, OS, WS, Machine, Operands
from costmodel.spatial.nest import Nest
from costmodel.spatial.nest_costs import evaluate
from costmodel.spatial.orders import (
    best_mapping,
    best_orders,
    candidates,
    factors,
    orders_of,
    permutations,
    spatial_costs,
    unrolled,
)
from costmodel.spatial.technology import technology
from foundation.errors import BadValueError, UnsupportedError

CONV = Layers(1.0, 1.0, 64.0, 64.0, 14.0, 14.0, 3.0, 3.0, 1.0, **FORMAT_BITS, pad_y=2.0, pad_x=2.0)


def machine(dataflow: Any = WS, room: float = 65536.0, **fields: Any) -> Machine:
    return Machine(16, 16, dataflow, Operands(room, room, room), Operands(64, 64, 64), 16.0, **fields)


@given(st.lists(st.integers(0, 3), min_size=0, max_size=4))
def test_orders_are_the_distinct_permutations(counts: list[int]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    if len(labels) > 7:
        labels, counts = labels[:0], []
    found = {tuple(row) for row in permutations(tuple(counts)).tolist()}
    assert found == set(itertools.permutations(labels))
    assert len(found) == len(permutations(tuple(counts)))


@given(st.tuples(*[st.integers(1, 60)] * 8), st.integers(1, 8))
def test_merged_factors_keep_the_bounds(left: tuple[int, ...], limit: int) -> None:
    loops = factors(left, limit)
    for dim, bound in enumerate(left):
        assert math.prod(size for at, size in loops if at == dim) == bound
    assert len(loops) <= max(limit, sum(bound > 1 for bound in left))


def test_without_a_limit_loops_are_prime_factors() -> None:
    assert factors((1, 1, 12, 1, 7, 1, 1, 1), None) == ((2, 2), (2, 2), (2, 3), (4, 7))


def test_an_axis_takes_the_dims_that_leave_the_fewest_turns() -> None:
    axes = (Axis("rows", 32, ("C", "FY", "FX")), Axis("cols", 16, ("K",)))
    left, taken = unrolled((1, 1, 40, 3, 1, 1, 7, 7), axes)
    used = dict(zip(DIMS, taken[0], strict=True))
    # 7 x 4 taps on 32 rows: 2 turns for the taps, 3 for the channels; 3 channels x 7 taps would leave 7
    assert math.prod(left[DIMS.index(dim)] for dim in ("C", "FY", "FX")) == 6
    assert used["C"] * used["FY"] * used["FX"] == pytest.approx(147 / 6)
    # 40 channels on 16 columns: 3 turns of 13.3 on average
    assert left[DIMS.index("K")] == 3
    assert taken[1][DIMS.index("K")] == pytest.approx(40 / 3)


@settings(max_examples=6, deadline=None)
@given(st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 6), st.sampled_from(["latency", "energy", "edp"]))
def test_the_best_order_is_the_least_of_all_evaluated_one_by_one(bounds: tuple[int, ...], objective: str) -> None:
    k, c, oy, ox, fy, fx = (float(bound) for bound in bounds)
    layer = Layers(1.0, 1.0, 40 * k, 40 * c, oy, ox, fy, fx, 1.0, **FORMAT_BITS)
    hierarchy = tpu_like()
    best = best_orders(layer, hierarchy, objective, 4)
    made = candidates(layer, hierarchy, 4).nest
    # one by one, without the shared states
    costs = [
        evaluate(Nest(layer, made.dims[i : i + 1], made.sizes[i : i + 1], made.spatial), hierarchy)
        for i in range(len(made.dims))
    ]
    keys = {
        "latency": [c.cycles[0] for c in costs], "energy": [c.energy_pj[0] for c in costs],
        "edp": [c.cycles[0] * c.energy_pj[0] for c in costs],
    }  # fmt: skip
    mine = {
        "latency": best.costs.cycles,
        "energy": best.costs.energy_pj,
        "edp": best.costs.cycles * best.costs.energy_pj,
    }
    assert mine[objective][0] == pytest.approx(min(keys[objective]), rel=1e-9)
    assert best.orders[0] == len(costs)


def test_shared_states_give_the_costs_of_plain_loops() -> None:
    layers = Layers(1.0, 1.0, np.array([64.0, 96.0]), np.array([64.0, 24.0]), np.array([14.0, 28.0]),
                    np.array([14.0, 28.0]), 3.0, 3.0, np.array([1.0, 2.0]), **FORMAT_BITS)  # fmt: skip
    for hierarchy in (tpu_like(), edge_tpu_like()):
        made = candidates(layers, hierarchy, 7).nest
        plain = Nest(made.layers, made.dims, made.sizes, made.spatial, made.owner)
        left, right = evaluate(made, hierarchy), evaluate(plain, hierarchy)
        np.testing.assert_allclose(left.cycles, right.cycles, rtol=1e-12)
        np.testing.assert_allclose(left.energy_pj, right.energy_pj, rtol=1e-12)


@pytest.mark.parametrize("hierarchy", [tpu_like(), edge_tpu_like()], ids=lambda h: h.name)
def test_more_factors_never_make_the_best_worse(hierarchy: Hierarchy) -> None:
    kernel, size = np.array([3.0, 1.0, 3.0]), np.array([14.0, 7.0, 7.0])
    k, c = np.array([64.0, 960.0, 512.0]), np.array([64.0, 160.0, 512.0])
    layers = Layers(1.0, 1.0, k, c, size, size, kernel, kernel, **FORMAT_BITS)
    for objective in ("latency", "energy"):
        found = [best_orders(layers, hierarchy, objective, limit).costs for limit in (4, 6, 7)]
        for fewer, more in itertools.pairwise(found):
            left, right = (c.cycles if objective == "latency" else c.energy_pj for c in (fewer, more))
            assert (right <= left * (1 + 1e-12)).all()


def test_equal_layers_get_the_same_answer_wherever_they_stand() -> None:
    layers = Layers(1.0, 1.0, np.array([64.0, 128.0, 64.0]), 64.0, 14.0, 14.0, 3.0, 3.0, 1.0, **FORMAT_BITS)
    first, again = best_orders(layers, tpu_like()), best_orders(layers, tpu_like())
    assert first.costs.cycles[0] == first.costs.cycles[2]
    assert [first.loops(i) for i in range(3)] == [again.loops(i) for i in range(3)]
    assert first.loops(0) == first.loops(2)


def test_depthwise_layers_use_one_element_of_an_array_of_channels() -> None:
    layer = Layers(1.0, 32.0, 1.0, 1.0, 14.0, 14.0, 3.0, 3.0, 1.0, **FORMAT_BITS)
    best = best_orders(layer, tpu_like())
    assert best.costs.temporal_cycles[0] == best.costs.macs[0] == 32 * 196 * 9


@pytest.mark.parametrize("dataflow", [WS, OS, IS])
def test_machines_answer_for_every_layer_and_stages_add_up(dataflow: int) -> None:
    layers = Layers(1.0, np.array([1.0, 32.0, 1.0, 1.0]), np.array([64.0, 1.0, 100.0, 0.0]),
                    np.array([64.0, 1.0, 512.0, 0.0]), np.array([14.0, 28.0, 1.0, 0.0]),
                    np.array([14.0, 28.0, 1.0, 0.0]), np.array([3.0, 3.0, 1.0, 1.0]),
                    np.array([3.0, 3.0, 1.0, 1.0]))  # fmt: skip
    costs = best_mapping(layers, machine(dataflow))
    assert costs.feasible.all()
    assert np.isfinite(costs.cycles).all()
    assert costs.cycles[3] == 0  # no outputs: nothing to do
    np.testing.assert_array_equal(costs.macs, layers.macs)
    np.testing.assert_allclose(sum(costs.waterfall().values()), costs.cycles)
    assert all((step >= -1e-9).all() for step in costs.waterfall().values())
    work = np.arange(3)
    stored = np.asarray(layers.weight_bytes)[work]
    assert (np.asarray(costs.dram_read_bytes.weights)[work] >= stored * (1 - 1e-9)).all()


def test_the_best_order_of_a_product_is_near_what_the_fixed_mapping_takes() -> None:
    # a product that fits on chip: both are bound by the array, so the best cannot be far from the rule
    layer = products(256.0, 128.0, 64.0)
    best, fixed = best_mapping(layer, machine(OS)), fixed_mapping(layer, machine(OS))
    assert best.cycles[0] == pytest.approx(float(fixed.cycles), rel=0.25)


@pytest.mark.parametrize("dataflow", [WS, OS, IS])
def test_convolutions_take_about_what_the_fixed_mapping_takes(dataflow: int) -> None:
    # edges of 147 terms on 16 rows apart, and but for first and last tiles, the rule is as fast as the best order
    layers = network_layers("resnet-18")
    best, fixed = best_mapping(layers, machine(dataflow)), fixed_mapping(layers, machine(dataflow))
    assert np.all(best.cycles[1:] == pytest.approx(np.asarray(fixed.cycles)[1:], rel=0.15))
    assert best.cycles.sum() == pytest.approx(float(np.sum(fixed.cycles)), rel=0.05)


def test_kernels_off_the_rows_leave_rows_to_channels() -> None:
    layer = Layers(1.0, 1.0, 16.0, 3.0, 28.0, 28.0, 3.0, 3.0)
    apart = best_mapping(layer, machine(WS, kernel_on_rows=False))
    assert apart.shape_cycles[0] == 28 * 28 * 9
    assert best_mapping(layer, machine(WS)).shape_cycles[0] < apart.shape_cycles[0]


def test_loops_of_a_kernel_move_as_one() -> None:
    dims, _, codes, states = orders_of(((2, 2), (3, 3)), ((7, 3), (6, 3)))
    assert sorted(dims.T.tolist()) == sorted(
        [[2, 3, 7, 6], [2, 7, 6, 3], [3, 2, 7, 6], [3, 7, 6, 2], [7, 6, 2, 3], [7, 6, 3, 2]]
    )
    np.testing.assert_array_equal(states.total[codes[-1]], 54)


def test_a_buffer_smaller_than_a_tile_is_infeasible_with_the_bytes() -> None:
    costs = best_mapping(CONV, machine(WS, room=8.0))
    assert not costs.feasible[0]
    assert np.isnan(costs.cycles[0])
    assert costs.shortfall_bytes[0] > 0


def test_cores_split_the_work() -> None:
    one, four = best_mapping(CONV, machine()), best_mapping(CONV, machine(cores=4))
    assert four.shape_cycles[0] == one.shape_cycles[0] / 4
    assert four.cycles[0] < one.cycles[0]


def test_a_unified_buffer_and_a_shared_level_are_hierarchies_too() -> None:
    made = machine(WS, unified=True, shared_bytes=1e6, shared_bytes_per_cycle=64.0)
    assert [memory.name for memory in hierarchy_of(made).memories] == ["pe", "buffer", "shared", "dram"]
    costs = best_mapping(CONV, made)
    assert costs.feasible[0]
    assert float(np.asarray(costs.shared_bytes)[0]) > 0


def test_energy_is_an_objective_where_memories_have_one() -> None:
    with pytest.raises(BadValueError, match="needs the energies"):
        best_mapping(CONV, machine(), "energy")
    per_bit = energies_of(machine(), technology(16.0, "lpddr4", "int8"))
    assert per_bit["pe"][0] < per_bit["buffer I"][0] < per_bit["dram"][0]
    least = best_mapping(CONV, machine(), "energy", energies_pj_per_bit=per_bit)
    fast = best_mapping(CONV, machine(), "latency", energies_pj_per_bit=per_bit)
    assert float(np.asarray(least.dram_bytes)[0]) <= float(np.asarray(fast.dram_bytes)[0])


def test_bad_requests_are_named() -> None:
    with pytest.raises(BadValueError, match="objective 'speed' of a mapping; known: latency, energy, edp"):
        best_orders(CONV, tpu_like(), "speed")
    with pytest.raises(BadValueError, match=r"whole number of at least 1, not 2\.5"):
        best_orders(Layers(1.0, 1.0, 2.5, 1.0, 1.0, 1.0), tpu_like())
    with pytest.raises(UnsupportedError, match="one machine at a time"):
        best_mapping(CONV, Machine(np.array([8, 16]), 16, WS, Operands(1, 1, 1), Operands(1, 1, 1), 1.0))


def test_costs_of_given_mappings_have_the_form_of_fixed_ones() -> None:
    best = best_orders(CONV, tpu_like())
    costs = spatial_costs(best)
    assert costs.cycles[0] == best.costs.cycles[0]
    assert costs.dram_write_bytes[0] == 64 * 196
