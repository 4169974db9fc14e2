"""Joules of a device's array: accesses times what each takes at its node, where its energy a FLOP is an estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import archcast as ac
from archcast.question import find_target
from costmodel.physics import predict_physics
from costmodel.spatial.device_energy import array_energy_j
from costmodel.spatial.devices import machine_of
from costmodel.spatial.energy import energy, parts_j, sram_j_per_byte
from costmodel.spatial.layers import layers_of
from costmodel.spatial.machine import Operands
from costmodel.spatial.mapped import mapped
from costmodel.spatial.technology import technology
from foundation.formats import FORMAT_CODES
from hardware_specs import load_device
from workloads.table import OP_CODES, OpTable

ROWS = OpTable.from_columns({"op": "gemm", "m": [64.0, 256.0], "n": 256.0, "k": 512.0, "batch": 1.0, "dtype": "int8"})


def test_a_device_with_a_node_and_estimated_joules_counts_its_accesses() -> None:
    assert machine_of(load_device("gemmini-16x16")).node_nm == 22
    assert machine_of(load_device("eyeriss")).node_nm == 65
    assert machine_of(load_device("zigzag-tpu-like")).node_nm == 0  # its file states joules an access


def test_the_joules_on_chip_are_those_of_the_components() -> None:
    machine = machine_of(load_device("gemmini-16x16"))
    costs = mapped(layers_of(ROWS), machine)
    value, lo, hi = array_energy_j(costs, machine, ROWS.full("dtype"))
    whole = energy(costs, machine, technology(22.0, dtype="int8"))
    assert value == pytest.approx(whole.value - whole.parts["dram"] - whole.parts["static"])
    assert (lo <= value).all()
    assert (value <= hi).all()


def test_rows_of_several_formats_take_the_multiplier_of_their_own() -> None:
    machine = machine_of(load_device("gemmini-16x16"))
    costs = mapped(layers_of(ROWS), machine)
    codes = np.array([FORMAT_CODES["int8"], FORMAT_CODES["fp32"]])
    mixed = array_energy_j(costs, machine, codes)[0]
    assert mixed[0] == array_energy_j(costs, machine, codes[[0, 0]])[0][0]
    assert mixed[1] > array_energy_j(costs, machine, codes[[0, 0]])[0][1]


def test_predict_spends_them_beside_device_memory_and_idle_power() -> None:
    rates = find_target("gemmini-16x16").rates
    assert rates.spatial is not None
    costs = predict_physics(ROWS, rates)
    chip = array_energy_j(mapped(layers_of(ROWS), rates.spatial), rates.spatial, ROWS.full("dtype"))[0]
    expected = chip + costs.dram_bytes * rates.dram_energy_j[0] + rates.idle_w[0] * costs.latency_s
    assert costs.energy_j == pytest.approx(expected, rel=1e-9)
    plain = predict_physics(ROWS, replace(rates, spatial=replace(rates.spatial, node_nm=0.0)))
    assert plain.latency_s == pytest.approx(costs.latency_s)
    assert (plain.energy_j != costs.energy_j).all()


def test_one_row_by_itself_costs_what_it_costs_among_others() -> None:
    rates = find_target("gemmini-16x16").rates
    both, one = predict_physics(ROWS, rates), predict_physics(ROWS.take(np.array([1])), rates)
    assert one.energy_j[0] == pytest.approx(both.energy_j[1], rel=1e-12)


@pytest.mark.parametrize(("name", "batch", "published_w"), [("alexnet", 4, 0.278), ("vgg-16", 3, 0.236)])
def test_published_power_of_eyeriss_lies_in_the_interval(name: str, batch: int, published_w: float) -> None:
    """Chen et al., JSSC 2017, tables V and VI: the chip alone, in 16-bit words, over the convolutions."""
    detail = ac.predict(name, on="eyeriss", batch=batch, dtype="fp16").detail
    assert detail is not None
    whole = detail.lowered.table
    table = whole.take(np.flatnonzero(whole.full("op") == OP_CODES["conv2d"]))
    costs = predict_physics(table, replace(detail.rates, dram_energy_j=(0.0, 0.0, 0.0)))
    count = table.full("count")
    seconds = (costs.latency_s * count).sum()
    power, lo, hi = ((e * count).sum() / seconds for e in (costs.energy_j, costs.energy_lo_j, costs.energy_hi_j))
    assert lo < published_w < hi
    assert 0.5 < power / published_w < 2


def test_nothing_throttles_eyeriss_at_the_highest_of_its_energies() -> None:
    for name in ("alexnet", "vgg-16"):
        found = ac.predict(name, on="eyeriss", batch=4, dtype="fp16").detail
        assert found is not None
        free = predict_physics(found.lowered.table, replace(found.rates, limit_w=1e6))
        assert found.costs.latency_s == pytest.approx(free.latency_s)
        assert found.costs.energy_hi_j == pytest.approx(free.energy_hi_j)


def test_how_the_rate_of_a_unified_buffer_is_written_changes_no_joule() -> None:
    eyeriss = machine_of(load_device("eyeriss"))
    spread = replace(
        eyeriss, buffer_bytes=Operands(*3 * [36 * 1024.0]), buffer_bytes_per_cycle=Operands(16.0, 16.0, 32.0)
    )
    costs = mapped(layers_of(ROWS), eyeriss)
    one, other = (array_energy_j(costs, made, ROWS.full("dtype"))[0] for made in (eyeriss, spread))
    assert one == pytest.approx(other, rel=1e-6)
    # 64 bytes a cycle are two banks of 54 KiB: what a byte takes of them, not of a port of a byte
    known = technology(65.0, dtype="int8")
    a_byte = sram_j_per_byte(108 * 1024.0, 64.0, known, known.value)
    parts = parts_j(costs, eyeriss, known, known.value)
    for name, moved in costs.buffer_bytes._asdict().items():
        assert parts[f"buffer_{name}"] == pytest.approx(np.asarray(moved * a_byte), rel=1e-6)
