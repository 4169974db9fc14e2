"""Sparse and mixed-format operands: bytes, skipped and gated cycles, and how far the fullest lane is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import products
from costmodel.spatial.machine import WS, Machine, Operands
from costmodel.spatial.sparsity import (
    at_precision,
    compressed,
    fullest_lane,
    gated_share,
    skipped_share,
    steps_a_product,
    stored_bits,
)
from foundation.errors import BadValueError, UnknownNameError


def machine(**fields: float) -> Machine:
    ports = Operands(64.0, 64.0, 256.0)
    return Machine(16.0, 16.0, WS, Operands(1e6, 1e6, 1e6), ports, 16.0, **fields)


@pytest.mark.parametrize(
    ("storage", "bits", "density", "expected"),
    [
        ("dense", 8, 0.25, 8),
        ("bitmap", 8, 0.25, 0.25 * 8 + 1),
        ("csr", 8, 0.25, 0.25 * (8 + 8) + 32 / 256),  # 8 bits name one of 256 columns
        ("2:4", 8, 0.5, 0.5 * (8 + 2)),
        ("1:4", 16, 0.25, 0.25 * (16 + 2)),
        ("4:8", 8, 0.5, 0.5 * (8 + 3)),
        ("run_length", 16, 1.0, 21),
        # half are zeros: runs beyond 31 have probability 2^-32
        ("run_length", 16, 0.5, 10.5),
        ("run_length", 16, 0.0, 21 / 32),  # one filler for 32 zeros
    ],
)
def test_an_element_takes_the_bits_of_its_storage(storage: str, bits: float, density: float, expected: float) -> None:
    assert stored_bits(storage, bits, density) == pytest.approx(expected, rel=1e-8)


def test_run_length_fillers_equal_a_count_over_random_zeros() -> None:
    rng, density, run, entries = np.random.default_rng(3), 0.03, 0, 0
    values = rng.random(400_000) < density
    for full in values:
        if full or run == 31:
            entries, run = entries + 1, 0
        else:
            run += 1
    assert stored_bits("run_length", 16, density) == pytest.approx(21 * entries / len(values), rel=0.01)


def test_what_compression_would_blow_up_stays_as_it_is() -> None:
    layer = products(64.0, 64.0, 64.0, weight_density=np.array([0.9, 0.25]), input_density=0.99)
    packed = compressed(layer, weights="bitmap", inputs="bitmap")
    assert packed.weight_bits.tolist() == [8.0, 3.0]
    assert packed.input_bits == 8.0
    moved = fixed_mapping(packed, machine()).dram_read_bytes.weights
    assert moved.tolist() == [4096, 4096 * 3 / 8]


def expected_largest(steps: int, density: float, lanes: int) -> float:
    """The mean of the largest of some binomials, exactly: the sum of 1 - F(x)^lanes."""
    terms = [math.comb(steps, x) * density**x * (1 - density) ** (steps - x) for x in range(steps + 1)]
    return float((1 - np.minimum(np.cumsum(terms), 1.0) ** lanes).sum())


@pytest.mark.parametrize("lanes", [2, 8, 16, 64, 256])
@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("steps", [32, 128, 512])
def test_the_fullest_lane_is_known_within_percents(steps: int, density: float, lanes: int) -> None:
    exact = expected_largest(steps, density, lanes)
    assert fullest_lane(steps, density, lanes) == pytest.approx(exact, rel=0.025)


def test_one_lane_waits_for_none_and_nothing_waits_longer_than_all_its_steps() -> None:
    assert fullest_lane(100.0, 0.3, 1.0) == pytest.approx(30, rel=1e-12)
    assert fullest_lane(4.0, 0.9, 1e6) == 4.0
    assert fullest_lane(100.0, 1.0, 64.0) == 100.0
    assert fullest_lane(100.0, 0.0, 64.0) == 0.0


def test_lanes_that_wait_for_each_other_save_less_than_the_zeros() -> None:
    deep, shallow = (skipped_share(steps, 0.5, 16.0) for steps in (1024.0, 16.0))
    assert 0 < shallow < deep < 1
    # 16 of 1024 half full: 512 + 1.77 x 16 = 540 of 1024 steps, so 484 of 512 zeros save a cycle
    assert deep == pytest.approx(1 - 1.7688 * 16 / 512, rel=1e-3)
    layer = products(4096.0, 16.0, 16.0, weight_density=0.5)
    assert fixed_mapping(layer, machine(skips_weights=float(deep))).shape_cycles == pytest.approx(
        4096 * 0.5276, rel=1e-3
    )


def test_gated_products_take_cycles_but_no_arithmetic() -> None:
    layer = products(64.0, 64.0, 64.0, weight_density=0.5, input_density=0.4)
    assert gated_share(layer, machine()) == pytest.approx(1 - 0.2, rel=1e-12)
    assert gated_share(layer, machine(skips_weights=1.0)) == pytest.approx(1 - 0.4, rel=1e-12)
    assert gated_share(layer, machine(skips_weights=1.0, skips_inputs=1.0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "weights", "inputs", "steps"),
    [
        ("whole", 8, 8, 1), ("whole", 4, 8, 1), ("whole", 16, 16, 4), ("whole", 8, 16, 2),
        ("composed", 8, 8, 1), ("composed", 4, 8, 0.5), ("composed", 2, 2, 1 / 16), ("composed", 16, 8, 2),
        ("serial", 4, 8, 4), ("serial", 1, 16, 1),
    ],
)  # fmt: skip
def test_a_product_takes_the_steps_of_its_multiplier(kind: str, weights: int, inputs: int, steps: float) -> None:
    assert steps_a_product(kind, weights, inputs) == steps


def test_a_format_of_two_steps_halves_the_peak_and_leaves_the_memory_as_it_is() -> None:
    layer = products(4096.0, 64.0, 64.0)
    plain, slow = machine(dram_latency_cycles=100.0), at_precision(machine(dram_latency_cycles=100.0), 2.0)
    one, two = fixed_mapping(layer, plain), fixed_mapping(layer, slow)
    assert two.ideal_cycles / slow.clock_hz == 2 * one.ideal_cycles / plain.clock_hz
    assert slow.dram_bytes_per_cycle * slow.clock_hz == plain.dram_bytes_per_cycle * plain.clock_hz
    assert slow.dram_latency_cycles / slow.clock_hz == plain.dram_latency_cycles / plain.clock_hz


def test_what_cannot_be_stored_or_multiplied_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown storage of sparse operands 'bitmask'\. Nearest: bitmap"):
        stored_bits("bitmask", 8, 0.5)
    with pytest.raises(BadValueError, match=r"2:4 storage holds a density of at most 0\.5"):
        stored_bits("2:4", 8, 0.6)
    with pytest.raises(BadValueError, match=r"between 0 and 1, not at 1\.5"):
        stored_bits("bitmap", 8, 1.5)
    with pytest.raises(UnknownNameError, match="Unknown kind of multiplier"):
        steps_a_product("digital", 8, 8)
    with pytest.raises(BadValueError, match="wider than 0 bits"):
        steps_a_product("whole", 0, 8)


@pytest.mark.parametrize("wrong", [-0.3, 1.5, float("nan")])
def test_of_several_densities_the_wrong_one_is_named(wrong: float) -> None:
    with pytest.raises(BadValueError, match=rf"A density lies between 0 and 1, not at {wrong:g}\."):
        stored_bits("bitmap", 8, np.array([0.5, wrong]))
