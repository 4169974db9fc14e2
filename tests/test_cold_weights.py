"""Weights come from memory in a network that does not fit the last cache, whatever a loop over one kernel showed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costmodel.cold import from_memory
from costmodel.costs import SOURCES
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.table import OpTable

RATES = compile_rates(load_device("h100-sxm"))
GEMMS = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": [1, 4096], "n": 4096, "k": 4096})
WEIGHT_BYTES = 4096 * 4096 * 2


def costs(source: str, factor: float):  # type: ignore[no-untyped-def]
    """Return the closed form's costs times a factor, marked as of a source."""
    found = predict_physics(GEMMS, RATES)
    times = {name: getattr(found, name) * factor for name in ("latency_s", "latency_lo_s", "latency_hi_s")}
    return replace(found, **times, source=np.full(2, SOURCES.index(source), dtype=np.int8))


def test_a_learned_row_is_not_faster_than_its_weights_come_from_memory() -> None:
    fast = costs("learned", 0.2)
    found = from_memory(fast, GEMMS, RATES, 100 * RATES.cache_bytes)
    least_s = WEIGHT_BYTES / 3.35e12
    assert found.latency_lo_s[0] == pytest.approx(least_s, rel=0.02)
    assert least_s < found.latency_s[0] < 1.3 * least_s
    assert found.latency_hi_s[0] / found.latency_s[0] == pytest.approx(fast.latency_hi_s[0] / fast.latency_s[0])
    assert found.energy_j[0] > fast.energy_j[0]


def test_what_takes_longer_anyway_is_left_alone() -> None:
    slow = costs("learned", 3.0)
    found = from_memory(slow, GEMMS, RATES, 100 * RATES.cache_bytes)
    assert np.array_equal(found.latency_s, slow.latency_s)


def test_a_network_that_fits_the_last_cache_and_the_closed_form_stay_as_they_are() -> None:
    fast = costs("learned", 0.2)
    assert from_memory(fast, GEMMS, RATES, 0.5 * RATES.cache_bytes) is fast
    physics = costs("physics", 1.0)
    assert from_memory(physics, GEMMS, RATES, 100 * RATES.cache_bytes) is physics
