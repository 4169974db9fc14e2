"""Energy of arrays: by hand, linear in what is counted, higher where sizes and rates are, with its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.spatial.energy import COMPONENTS, energy, sram_j_per_byte, static_w
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import IS, OS, WS, Machine, Operands
from costmodel.spatial.networks import networks
from costmodel.spatial.technology import technology
from workloads.elementwise import Value
from workloads.table import Array

TECH = technology(45, "ddr4", "int8")
KIB = 1024.0


@dataclass(frozen=True)
class Counted:
    """Counts as a model returns them."""

    macs: Array
    cycles: Array
    buffer_bytes: Operands
    shared_bytes: Value = 0.0
    dram_read_bytes: Value = 0.0
    dram_write_bytes: Value = 0.0


NOTHING = Counted(np.zeros(1), np.zeros(1), Operands(0.0, 0.0, 0.0))


def machine(**changes: object) -> Machine:
    given = Machine(
        rows=16.0, cols=16.0, dataflow=WS, buffer_bytes=Operands(64 * KIB, 64 * KIB, 64 * KIB),
        buffer_bytes_per_cycle=Operands(16.0, 16.0, 64.0), dram_bytes_per_cycle=16.0,
    )  # fmt: skip
    return replace(given, **changes)  # type: ignore[arg-type]


def test_multiplications_and_registers_by_hand() -> None:
    found = energy(replace(NOTHING, macs=np.array([1e9])), machine(), TECH)
    assert found.parts["mac"][0] == pytest.approx(1e9 * 0.3e-12)
    # weight read (8), input written and read (16), sum written and read (64): 88 bit at 0.009 pJ, from 40 to 45 nm
    at_40 = technology(40, "ddr4", "int8").value.register_j_per_bit
    assert at_40 == pytest.approx(0.009e-12)
    assert found.parts["registers"][0] == pytest.approx(1e9 * 88 * TECH.value.register_j_per_bit)
    assert found.value[0] == pytest.approx(found.parts["mac"][0] + found.parts["registers"][0])


@pytest.mark.parametrize(("flow", "bits"), [(WS, 88), (OS, 96), (IS, 88)])
def test_a_dataflow_moves_what_does_not_stay(flow: int, bits: int) -> None:
    found = energy(replace(NOTHING, macs=np.array([1.0])), machine(dataflow=flow), TECH)
    assert found.parts["registers"][0] == pytest.approx(bits * TECH.value.register_j_per_bit)


def test_an_access_of_a_buffer_by_hand() -> None:
    # 64 KiB, 128 bit: sqrt(64) (1.07 + 0.0252 x 128) pJ = 34.4 pJ for 16 bytes
    assert float(sram_j_per_byte(64 * KIB, 16.0, TECH, TECH.value)) == pytest.approx(
        8 * (1.07 + 0.0252 * 128) * 1e-12 / 16
    )
    # 64 bytes a cycle are two banks of 32 KiB and 256 bit
    assert float(sram_j_per_byte(64 * KIB, 64.0, TECH, TECH.value)) == pytest.approx(
        np.sqrt(32) * (1.07 + 0.0252 * 256) * 1e-12 / 32
    )


def test_buffers_that_are_not_there_and_ports_without_a_limit_are_finite() -> None:
    assert float(sram_j_per_byte(0.0, 16.0, TECH, TECH.value)) == 0
    assert 0 < float(sram_j_per_byte(64 * KIB, np.inf, TECH, TECH.value)) < 1e-9
    assert float(sram_j_per_byte(1.0, 16.0, TECH, TECH.value)) == pytest.approx(8 * TECH.value.register_j_per_bit)


def test_device_memory_and_static_power_by_hand() -> None:
    found = energy(replace(NOTHING, dram_read_bytes=6e6, dram_write_bytes=4e6), machine(), TECH)
    assert found.parts["dram"] == pytest.approx(10e6 * 8 * 18e-12)
    by_operand = energy(
        replace(NOTHING, dram_read_bytes=Operands(1e6, 2e6, 3e6), dram_write_bytes=4e6), machine(), TECH
    )  # type: ignore[arg-type]
    assert by_operand.parts["dram"] == pytest.approx(found.parts["dram"])
    second = energy(replace(NOTHING, cycles=np.array([1e9])), machine(), TECH)
    assert second.parts["static"][0] == pytest.approx(float(static_w(machine(), TECH, TECH.value)))
    assert second.parts["static"][0] > 16e9 * 0.04e-9  # idle power of 16 GB/s of DDR4


def test_a_unified_buffer_costs_what_its_whole_size_does() -> None:
    moved, ports = replace(NOTHING, buffer_bytes=Operands(1e6, 0.0, 0.0)), Operands(16.0, 16.0, 64.0)
    alone, whole = (
        energy(moved, machine(unified=u, buffer_bytes_per_cycle=ports), TECH).parts["buffer_inputs"]
        for u in (False, True)
    )
    # 96 bytes a cycle of 192 KiB are 3 banks of 64 KiB and 256 bit; alone 64 KiB of 128 bit, each sqrt(64) (a + b w)
    a, b = TECH.value.sram_root_j, TECH.value.sram_root_j_per_bit
    assert float(whole / alone) == pytest.approx((a / 256 + b) / (a / 128 + b))
    for name in ("buffer_inputs", "buffer_weights", "buffer_outputs"):
        every = energy(replace(NOTHING, buffer_bytes=Operands(1e6, 1e6, 1e6)), machine(unified=True), TECH)
        assert float(every.parts[name]) == pytest.approx(float(whole))


def test_energy_of_layers_adds_up_to_that_of_the_network() -> None:
    layers = Layers(batch=1.0, groups=1.0, k=np.array([64.0, 128.0]), c=np.array([32.0, 64.0]), oy=28.0, ox=28.0,
                    fy=3.0, fx=3.0)  # fmt: skip
    design = machine(dram_latency_cycles=50.0)
    column = layers.reshaped((-1, 1))
    by_layer = energy(fixed_mapping(column, design), design, TECH)
    whole = energy(networks(layers, np.array([1.0, 3.0]), design), design, TECH)
    for name in COMPONENTS:
        parts = np.broadcast_to(by_layer.parts[name], (2, 1))[:, 0]
        assert whole.parts[name].ravel()[0] == pytest.approx(parts[0] + 3 * parts[1])


@given(
    st.floats(1, 1e12), st.floats(1, 1e12), st.floats(0, 1e10), st.floats(KIB, 64 * KIB * KIB), st.floats(1, 4096),
    st.sampled_from([5, 7, 16, 22, 45, 65]),
)  # fmt: skip
def test_the_value_lies_in_its_interval_and_parts_add_up(
    macs: float, cycles: float, moved: float, size: float, port: float, node: float
) -> None:
    counts = Counted(np.array([macs]), np.array([cycles]), Operands(moved, moved, moved), moved, moved, moved)
    design = machine(buffer_bytes=Operands(size, size, size), buffer_bytes_per_cycle=Operands(port, port, port),
                     shared_bytes=4 * size, shared_bytes_per_cycle=port)  # fmt: skip
    found = energy(counts, design, technology(node, "lpddr4", "int8"))
    assert 0 < found.lo[0] <= found.value[0] <= found.hi[0]
    assert set(found.parts) == set(COMPONENTS)
    assert sum(float(np.ravel(part)[0]) for part in found.parts.values()) == pytest.approx(float(found.value[0]))


@given(st.floats(1.01, 64), st.floats(8 * KIB, 512 * KIB))
def test_a_larger_buffer_takes_more_an_access(factor: float, size: float) -> None:
    small, large = (float(sram_j_per_byte(s, 16.0, TECH, TECH.value)) for s in (size, size * factor))
    assert large / small == pytest.approx(np.sqrt(factor))


def test_columns_of_designs_take_the_same_path() -> None:
    sizes = np.array([8.0, 64.0, 1024.0]) * KIB
    designs = machine(rows=np.array([8.0, 16.0, 32.0]), buffer_bytes=Operands(sizes, sizes, sizes),
                      dataflow=np.array([WS, OS, IS]))  # fmt: skip
    counts = Counted(np.full(3, 1e9), np.full(3, 1e6), Operands(1e6, 2e6, 3e6), 0.0, 4e6, 5e6)
    together = energy(counts, designs, TECH).value
    for i in range(3):
        one = machine(rows=designs.rows[i], dataflow=int(designs.dataflow[i]), buffer_bytes=Operands(*[sizes[i]] * 3))
        alone = energy(replace(counts, macs=np.array([1e9]), cycles=np.array([1e6])), one, TECH).value
        assert together[i] == pytest.approx(alone[0])


def test_what_is_infeasible_has_no_energy() -> None:
    layer = Layers(batch=1.0, groups=1.0, k=64.0, c=64.0, oy=8.0, ox=8.0)
    tiny = machine(buffer_bytes=Operands(1.0, 1.0, 1.0))
    assert np.isnan(energy(fixed_mapping(layer, tiny), tiny, TECH).value).all()


def test_energy_ranks_layers_as_the_tool_behind_dosa_does(shared_data: object) -> None:
    """`target.energy` is Timeloop with Accelergy's tables (uJ) at DOSA's mapping; ours is the fixed mapping's."""
    import csv

    from scipy.stats import spearmanr

    with open(f"{shared_data}/dosa-gemmini-firesim/test_data_both.csv") as file:
        rows = list(csv.DictReader(file))
    size = {name: np.array([float(row[f"prob.{name}"]) for row in rows]) for name in "CKNPQRS"}
    stride = np.array([float(row["prob.Wstride"]) for row in rows])
    layers = Layers(batch=size["N"], groups=1.0, k=size["K"], c=size["C"], oy=size["Q"], ox=size["P"], fy=size["S"],
                    fx=size["R"], stride=stride)  # fmt: skip
    scratchpad = np.array([float(row["arch.mem2_entries"]) for row in rows]) / 2
    accumulator = np.array([float(row["arch.mem1_entries"]) for row in rows]) * 64
    design = machine(buffer_bytes=Operands(scratchpad, scratchpad, accumulator),
                     buffer_bytes_per_cycle=Operands(16.0, 16.0, 128.0))  # fmt: skip
    found = energy(fixed_mapping(layers, design), design, technology(45, "lpddr4", "int8"))
    tool = np.array([float(row["target.energy"]) for row in rows]) * 1e-6
    assert spearmanr(found.value, tool)[0] > 0.95
    assert 0.7 < np.median(found.value / tool) < 1.6
    assert np.mean((tool >= found.lo) & (tool <= found.hi)) > 0.85
