"""Energy: operations, bytes and waiting, worked out by hand; the power limit; orders of magnitude."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_physics_closed_form import gemm, tiny

import archcast as ac
from archcast.question import find_target
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from foundation.formats import FORMAT_CODES, FORMATS
from hardware_specs import device_ids
from workloads.table import OpTable


def test_energy_is_operations_and_bytes_and_idle_power() -> None:
    # 32 x 32 x 64: 131072 FLOP x 1 pJ; 10240 B x (100 pJ from memory + 10 pJ on chip); 0.5 W x 263.144 us
    cost = predict_physics(gemm(32, 32, 64), tiny())
    dynamic = 131072 * 1e-12 + 10240 * 1.1e-10
    assert cost.energy_j[0] == pytest.approx(dynamic + 0.5 * 263.144e-6, rel=1e-12)
    # the low end: half of each energy, 0.25 W over the shortest time of 131.072 + 0.5 us
    assert cost.energy_lo_j[0] == pytest.approx(dynamic / 2 + 0.25 * 131.572e-6, rel=1e-12)
    assert cost.energy_hi_j[0] == pytest.approx(dynamic * 2 + 1.0 * 526.288e-6, rel=1e-12)


def test_traffic_beyond_the_operands_costs_energy_at_the_memory_only() -> None:
    # a product of 1024 moves 2 * 1024^3 / sqrt(32768) elements of 2 B and its result, but 3 x 2 MB pass the chip once
    cost, compulsory = predict_physics(gemm(1024, 1024, 1024), tiny()), 1024**2 * 2
    blocked = 2 * 1024**3 / 32768**0.5 * 2 + compulsory
    dynamic = 2 * 1024**3 * 1e-12 + blocked * 1e-10 + 3 * compulsory * 1e-11
    assert cost.energy_j[0] == pytest.approx(dynamic + 0.5 * cost.latency_s[0], rel=1e-12)


def test_the_high_end_keeps_the_power_limit_too() -> None:
    # 0.5 W of idle power may be 50 W: more than the limit of 10 W allows over the longest time
    cost = predict_physics(gemm(32, 32, 64), tiny(idle_w=(0.5, 0.25, 50.0)))
    assert cost.energy_hi_j[0] == pytest.approx(10 * cost.latency_hi_s[0], rel=1e-12)


def test_vector_operations_have_their_own_energy() -> None:
    # 1000 x 50 additions at 4 pJ, 200 kB at 110 pJ
    table = OpTable.from_columns({"op": "elementwise", "dtype": "bf16", "rows": [1000], "hidden": 50})
    cost = predict_physics(table, tiny())
    assert cost.energy_j[0] - 0.5 * cost.latency_s[0] == pytest.approx(50000 * 4e-12 + 200e3 * 1.1e-10, rel=1e-9)


def test_a_device_slows_until_it_keeps_its_power_limit() -> None:
    # 131072 FLOP at 1 uJ are 131 mJ; at 10 W less 0.5 W idle they take 13.8 ms instead of 0.26 ms
    hot = tiny(matrix_energy_j=np.full((len(FORMATS), 3), 1e-6))
    cost = predict_physics(gemm(32, 32, 64), hot)
    dynamic = 131072 * 1e-6 + 10240 * 1.1e-10
    assert cost.latency_s[0] == pytest.approx(dynamic / 9.5 + 1e-6, rel=1e-12)
    assert cost.energy_j[0] == pytest.approx(dynamic + 0.5 * cost.latency_s[0], rel=1e-12)
    assert cost.energy_j[0] <= 10 * cost.latency_s[0]


@given(factor=st.floats(1, 1e6))
def test_dearer_operations_never_save_energy_or_time(factor: float) -> None:
    base = tiny()
    dear = replace(base, matrix_energy_j=base.matrix_energy_j * factor)
    cheap_cost, dear_cost = (predict_physics(gemm(100, 100, 100), rates) for rates in (base, dear))
    assert dear_cost.energy_j[0] >= cheap_cost.energy_j[0]
    assert dear_cost.latency_s[0] >= cheap_cost.latency_s[0]


def test_a_lower_power_limit_never_saves_time() -> None:
    times = [
        predict_physics(gemm(4096, 4096, 4096), replace(find_target("h100-sxm").rates, limit_w=w)).latency_s[0]
        for w in (200, 300, 500, 700)
    ]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


@pytest.mark.parametrize("device", device_ids())
def test_every_format_has_an_energy_and_narrower_arithmetic_is_no_dearer(device: str) -> None:
    rates: Rates = find_target(device).rates
    able = [name for name in FORMATS if rates.supports(name)]
    for name in able:
        low, value, high = (rates.matrix_energy_j[FORMAT_CODES[name], part] for part in (1, 0, 2))
        assert 0 < low <= value <= high
    for wide, narrow in (("fp32", "fp16"), ("fp16", "int8"), ("fp16", "fp8")):
        if wide in able and narrow in able and narrow not in rates.widened:
            peaks = rates.peak_flop_per_s[[FORMAT_CODES[wide], FORMAT_CODES[narrow]]]
            if peaks[1] < peaks[0]:
                continue  # on other, slower lanes (int8 of V100 and of B300)
            energies = rates.matrix_energy_j[[FORMAT_CODES[wide], FORMAT_CODES[narrow]], 0]
            assert energies[1] <= energies[0], f"{narrow} against {wide}"


def test_decode_of_an_8b_model_costs_joules_a_token_alone_and_a_fraction_in_a_batch() -> None:
    # measured on A100 and H100: 2 to 4 J a token at batch 1, 0.1 to 0.5 J in large batches; half to twice that here
    for device in ("a100-sxm-80gb", "h100-sxm"):
        per_token = []
        for batch in (1, 64):
            found = ac.predict("llama-3.1-8b", on=device, batch=batch, prompt=64, generate=128)
            assert found.energy_j is not None
            per_token.append(found.energy_j.value / (batch * 128))
        assert 1 < per_token[0] < 8
        assert 0.05 < per_token[1] < 1
