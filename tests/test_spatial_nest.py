"""Loop nests on memories: textbook counts, an oracle that executes the loops, ports, windows and energy by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.spatial.hierarchy import DIMS, Axis, Hierarchy, Memory, port
from costmodel.spatial.layers import Layers
from costmodel.spatial.nest import INDEXES, Nest
from costmodel.spatial.nest_costs import NestCosts, evaluate
from foundation.errors import BadValueError

BITS: dict[str, Any] = {"weight_bits": 1.0, "input_bits": 1.0, "output_bits": 1.0, "sum_bits": 1.0}
ANY_RATE = 1e6
EVERY_MOVE = ", ".join(f"{operand} {move}" for operand in "IWO" for move in ("fill", "feed", "sink", "drain"))
Loops = list[tuple[str, int]]


def register(operand: str, elements: float, buffering: str = "free", rate: float = ANY_RATE) -> Memory:
    moves = "fill feed" if operand != "O" else "fill feed sink drain"
    ports = tuple(port(f"{operand} {move}", rate, 1) for move in moves.split())
    return Memory(f"reg {operand}", operand, elements, ports, (), 1.0, 1.0, buffering)


def two_levels(i: float, w: float, o: float, axes: tuple[Axis, ...] = (), rate: float = ANY_RATE) -> Hierarchy:
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, rate, 1),), tuple(a.name for a in axes), 10.0, 10.0)
    return Hierarchy("two", axes, (register("I", i), register("W", w), register("O", o), far))


def nest(loops: Loops, stride: float = 1.0, spatial: tuple[dict[str, float], ...] = ()) -> Nest:
    sizes = dict.fromkeys(DIMS, 1.0)
    for dim, size in [*loops, *((d, u) for axis in spatial for d, u in axis.items())]:
        sizes[dim] *= size
    b, g, k, c, oy, ox, fy, fx = (sizes[dim] for dim in DIMS)
    layers = Layers(b, g, k, c, oy, ox, fy, fx, stride, **BITS)
    dims = np.array([[DIMS.index(dim) for dim, _ in loops]], int).reshape(1, -1)
    return Nest(layers, dims, np.array([[size for _, size in loops]], float).reshape(1, -1), spatial)


def moved(costs: NestCosts) -> dict[tuple[str, str], float]:
    return {move: float(bits[0]) for move, bits in zip(costs.moves, costs.moved_bits, strict=True)}


@pytest.mark.parametrize(
    ("order", "inputs", "weights", "drained", "returned"),
    [
        # one register of each operand, 4 x 4 x 4: inner to outer; an operand moves unless the innermost loop leaves it
        (("C", "K", "OX"), 64, 64, 16, 0),  # the sum stays: all outputs leave once
        (("OX", "K", "C"), 64, 16, 64, 48),  # the weight stays: sums leave each cycle, come back but for the first 16
        (("K", "OX", "C"), 16, 64, 64, 48),  # the input stays
    ],
)
def test_a_product_of_4_x_4_x_4_moves_what_textbooks_say(
    order: tuple[str, ...], inputs: float, weights: float, drained: float, returned: float
) -> None:
    found = moved(evaluate(nest([(dim, 4) for dim in order]), two_levels(1, 1, 1)))
    assert found["far", "I feed"] == found["reg I", "I fill"] == inputs
    assert found["far", "W feed"] == found["reg W", "W fill"] == weights
    assert found["far", "O sink"] == found["reg O", "O drain"] == drained
    assert found["far", "O feed"] == found["reg O", "O fill"] == returned


def test_a_register_of_a_row_keeps_it_over_the_loop_that_leaves_it() -> None:
    found = moved(evaluate(nest([("C", 4), ("K", 4), ("OX", 4)]), two_levels(4, 1, 1)))
    assert found["far", "I feed"] == 16  # each row of 4 once
    assert found["far", "W feed"] == 64


def test_neighbouring_tiles_of_inputs_are_fetched_with_their_halo() -> None:
    # a tile of 2 outputs x 3 taps reads 4 inputs, two tiles 8, though the layer has 6
    found = moved(evaluate(nest([("FX", 3), ("OX", 2), ("OX", 2)]), two_levels(4, 3, 1)))
    assert found["far", "I feed"] == 8
    assert found["far", "W feed"] == 3


def test_a_stride_beyond_the_kernel_skips_inputs() -> None:
    found = moved(evaluate(nest([("OX", 4)], stride=2.0), two_levels(100, 100, 100)))
    assert found["far", "I feed"] == 4


def test_padding_is_not_moved() -> None:
    made = nest([("FX", 3), ("OX", 4)])
    layers = Layers(1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 1.0, 3.0, **BITS, pad_x=2.0)
    found = moved(evaluate(Nest(layers, made.dims, made.sizes, ()), two_levels(100, 100, 100)))
    assert found["far", "I feed"] == 4


def test_units_share_what_does_not_depend_on_them() -> None:
    axes = (Axis("rows", 2, ("C",)), Axis("cols", 4, ("K",)))
    taken = ({"C": 2.0}, {"K": 4.0})
    costs = evaluate(nest([("OX", 8)], spatial=taken), two_levels(1, 1, 1, axes))
    found = moved(costs)
    assert costs.macs[0] == 64
    assert costs.temporal_cycles[0] == 8
    assert found["far", "I feed"] == 16  # 2 channels x 8 pixels, one read for all columns
    assert found["reg I", "I fill"] == 64  # written into each of the 8 elements
    assert found["far", "W feed"] == 8
    assert found["far", "O sink"] == 32  # rows are summed on the way: 4 channels x 8 pixels
    assert found["reg O", "O drain"] == 64


def test_operands_that_share_a_memory_get_the_loops_that_move_least() -> None:
    ports = (port("I feed, O feed, O drain", ANY_RATE, 1), port("I fill, O fill, O sink", ANY_RATE, 1))
    both = Memory("both", "IO", 6.0, ports)
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, ANY_RATE, 1),))
    hierarchy = Hierarchy("shared", (), (register("W", 1), both, far))
    found = moved(evaluate(nest([("C", 2), ("K", 4), ("OX", 4)]), hierarchy))
    # 6 elements: inputs 2 (one pixel) and outputs 4 (one pixel): each moves once
    assert found["far", "I feed"] == 8
    assert found["far", "O sink"] == 16


def test_a_tile_that_does_not_fit_says_what_is_missing() -> None:
    axes = (Axis("cols", 4, ("K",)),)
    near = Memory("near", "W", 24.0, (port("W fill", 8), port("W feed", 8)), ("cols",))
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, 8, 1),), ("cols",))
    layers = Layers(1.0, 1.0, 4.0, 1.0, 1.0, 4.0, weight_bits=8.0)
    costs = evaluate(Nest(layers, np.array([[5]]), np.array([[4.0]]), ({"K": 4.0},)), Hierarchy("h", axes, (near, far)))
    assert not costs.feasible[0]
    assert np.isnan(costs.cycles[0])
    assert costs.shortfall_bytes[0] == 1  # 4 columns x 8 bit in 24


def test_energy_is_words_times_their_cost() -> None:
    costs = evaluate(nest([("C", 4), ("K", 4), ("OX", 4)]), two_levels(1, 1, 1, rate=8.0))
    # far: 64 + 64 feeds and 16 sinks of 1 bit, each 1/8 of a word of 10 pJ
    assert costs.memory_pj[3, 0] == pytest.approx(144 / 8 * 10)


@pytest.mark.parametrize(
    ("buffering", "bits_per_cycle", "stall"),
    [
        # a tile of 4 x 2 weights stays over 8 pixels: 4 fills of 8 bits, one in each 64 cycles
        ("double", 1.0, 0),  # 8 cycles of the 64
        ("double", 1 / 16, (128 - 64) * 3),  # the first is loaded before, three stall
        ("single", 1.0, 0),  # only while the last of 8 pixels frees the tile: 8 cycles
        ("single", 0.5, (16 - 8) * 3),
        ("free", 0.5, 0),  # 16 bits of room: a second tile fits beside the first
    ],
)
def test_a_fill_stalls_for_what_its_window_does_not_hold(buffering: str, bits_per_cycle: float, stall: float) -> None:
    ports = (port("W fill", bits_per_cycle, bits_per_cycle), port("W feed", ANY_RATE, 1))
    weights = Memory("reg W", "W", 16.0, ports, buffering=buffering)
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, ANY_RATE, 1),))
    hierarchy = Hierarchy("h", (), (register("I", 100), weights, register("O", 100), far))
    costs = evaluate(nest([("C", 4), ("K", 2), ("OX", 8), ("K", 4)]), hierarchy)
    assert costs.temporal_cycles[0] == 256
    assert costs.stall_cycles[0] == stall


def test_a_tile_of_more_than_half_a_memory_leaves_no_room_for_the_next() -> None:
    weights = Memory("reg W", "W", 15.0, (port("W fill", 0.5, 0.5), port("W feed", ANY_RATE, 1)))
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, ANY_RATE, 1),))
    hierarchy = Hierarchy("h", (), (register("I", 100), weights, register("O", 100), far))
    # 8 of 15 bits, all in use over the 8 pixels
    assert evaluate(nest([("C", 4), ("K", 2), ("OX", 8), ("K", 4)]), hierarchy).stall_cycles[0] == (16 - 8) * 3


def test_a_port_of_two_operands_stalls_for_what_the_loops_do_not_hide() -> None:
    # outputs stay; inputs and weights each move 1 bit a cycle over one port of 1 bit a cycle: 128 bits in 64 cycles
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, 1, 1),))
    hierarchy = Hierarchy("h", (), (register("I", 2, "double"), register("W", 2, "double"), register("O", 16), far))
    costs = evaluate(nest([("C", 4), ("K", 4), ("OX", 4)]), hierarchy)
    assert costs.stall_cycles[0] == 2 * 63 - 64  # all but the first transfers, which are loaded before


def test_bad_hierarchies_are_named() -> None:
    far = Memory("far", "IWO", 1e9, (port(EVERY_MOVE, 1),))
    with pytest.raises(BadValueError, match="no memory of 'h' holds operand I"):
        Hierarchy("h", (), (register("W", 1),))
    with pytest.raises(BadValueError, match="at least 1 unit, not 0"):
        Axis("rows", 0, ("K",))
    with pytest.raises(BadValueError, match="more than 0 bits a cycle, not 0"):
        port("I fill", 0)
    with pytest.raises(BadValueError, match="moves are such as"):
        port("I fil", 1)
    with pytest.raises(BadValueError, match="must stand across the axes"):
        Hierarchy("h", (Axis("a", 2, ("K",)),), (Memory("near", "W", 8, (), ("a",)), far))
    with pytest.raises(BadValueError, match="size of at least 1"):
        Nest(Layers(1, 1, 1, 1, 1, 1), np.array([[2]]), np.array([[0.5]]), ())


# An oracle that executes the loops: explicit tiles as sets of elements, a fill wherever the tile's indices change.


def touched(operand: str, index: dict[str, list[int]], stride: int) -> set[tuple[int, ...]]:
    if operand != "I":
        return set(itertools.product(*(index[dim] for dim in INDEXES[operand])))
    rows = {oy * stride + fy for oy in index["OY"] for fy in index["FY"]}
    columns = {ox * stride + fx for ox in index["OX"] for fx in index["FX"]}
    return set(itertools.product(index["B"], index["G"], index["C"], rows, columns))


def tile_size(operand: str, inside: Loops, stride: int) -> int:
    whole = dict.fromkeys(DIMS, 1)
    for dim, size in inside:
        whole[dim] *= size
    return len(touched(operand, {dim: list(range(size)) for dim, size in whole.items()}, stride))


def executed(loops: Loops, capacity: dict[str, int], stride: int) -> dict[str, tuple[int, int]]:
    """Run the loops: of each operand, elements moved into (outputs: out of) its register, and sums that come back."""
    found = {}
    for operand in "IWO":
        fits = [n for n in range(len(loops) + 1) if tile_size(operand, loops[:n], stride) <= capacity[operand]]
        cut, size = max(fits), tile_size(operand, loops[: max(fits)], stride)
        above = loops[cut:]
        last, visits, seen = None, 0, set()
        for turn in itertools.product(*(range(n) for _, n in reversed(above))):
            here = tuple(i for i, (dim, _) in zip(turn, reversed(above), strict=True) if dim in INDEXES[operand])
            visits += here != last
            last = here
            seen.add(here)
        found[operand] = (visits * size, (visits - len(seen)) * size)
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(DIMS), st.integers(1, 3)), min_size=0, max_size=5),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    st.integers(1, 3),
)
def test_moves_are_those_of_the_executed_loops(loops: Loops, room: tuple[int, int, int], stride: int) -> None:
    expected = executed(loops, dict(zip("IWO", room, strict=True)), stride)
    found = moved(evaluate(nest(loops, float(stride)), two_levels(*room)))
    assert found["far", "I feed"] == expected["I"][0]
    assert found["far", "W feed"] == expected["W"][0]
    assert (found["far", "O sink"], found["far", "O feed"]) == expected["O"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(DIMS), st.integers(2, 3)), min_size=1, max_size=5),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    st.floats(0.5, 20),
)
def test_cycles_are_never_below_the_loops_nor_any_ports_bits(
    loops: Loops, room: tuple[int, int, int], rate: float
) -> None:
    costs = evaluate(nest(loops), two_levels(*room, rate=rate))
    assert costs.cycles[0] >= costs.temporal_cycles[0]
    bits = sum(value for (memory, _), value in moved(costs).items() if memory == "far")
    # loads of inputs and weights are taken side by side, so that a port may be counted once for both
    assert costs.cycles[0] * 2 >= bits / rate


def test_chunks_do_not_matter() -> None:
    orders = list(itertools.permutations([("C", 4), ("K", 3), ("OX", 5), ("FX", 3)]))
    dims = np.array([[DIMS.index(dim) for dim, _ in order] for order in orders])
    sizes = np.array([[size for _, size in order] for order in orders], float)
    made = Nest(Layers(1.0, 1.0, 3.0, 4.0, 1.0, 5.0, 1.0, 3.0, **BITS), dims, sizes, (), owner=np.zeros(24, int))
    whole, parts = evaluate(made, two_levels(3, 5, 4)), evaluate(made, two_levels(3, 5, 4), chunk=7)
    np.testing.assert_array_equal(whole.cycles, parts.cycles)
    np.testing.assert_array_equal(whole.moved_bits, parts.moved_bits)
