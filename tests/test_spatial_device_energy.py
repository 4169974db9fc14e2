"""Joules of a device's array: accesses times what each takes at its node, where its energy a FLOP is an estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import archcast as ac
from archcast.question import find_target
from costmodel.physics import predict_physics
from costmodel.spatial.device_energy import ON_CHIP, array_energy_j
from costmodel.spatial.devices import machine_of
from costmodel.spatial.energy import energy
from costmodel.spatial.layers import layers_of
from costmodel.spatial.mapped import mapped
from costmodel.spatial.technology import technology
from foundation.formats import FORMAT_CODES
from hardware_specs import load_device
from workloads.table import OpTable

ROWS = OpTable.from_columns({"op": "gemm", "m": [64.0, 256.0], "n": 256.0, "k": 512.0, "batch": 1.0, "dtype": "int8"})


def test_a_device_with_a_node_and_estimated_joules_counts_its_accesses() -> None:
    assert machine_of(load_device("gemmini-16x16")).node_nm == 22
    assert machine_of(load_device("eyeriss")).node_nm == 65
    assert machine_of(load_device("zigzag-tpu-like")).node_nm == 0  # its file states joules an access


def test_the_joules_on_chip_are_those_of_the_components() -> None:
    machine = machine_of(load_device("gemmini-16x16"))
    costs = mapped(layers_of(ROWS), machine)
    value, lo, hi = array_energy_j(costs, machine, ROWS.full("dtype"))
    parts = energy(costs, machine, technology(22.0, dtype="int8")).parts
    assert value == pytest.approx(sum(parts[name] for name in ON_CHIP))
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


def test_published_power_of_eyeriss_lies_in_the_interval() -> None:
    """278 mW in the convolutions of AlexNet, 236 mW in those of VGG-16 (Chen et al., JSSC 2017, tables V and VI)."""
    for name, batch, published_w in (("alexnet", 4, 0.278), ("vgg-16", 3, 0.236)):
        power = ac.predict(name, on="eyeriss", batch=batch).power_w
        assert power is not None
        assert power.lo < published_w < power.hi
        assert 0.5 < power.value / published_w < 2
