"""In networks, kernels whose measured time is the host's keep the closed form's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel.costs import SOURCES, OpCosts
from costmodel.host_time import without_host
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.table import OpTable

RATES = compile_rates(load_device("h100-sxm"))
TOKENS = np.array([1.0, 16.0, 128.0, 16384.0])
GEMMS = OpTable.from_columns({"op": "gemm", "dtype": "fp8_block", "m": TOKENS, "n": 4096.0, "k": 4096.0})


def measured(host_s: float, table: OpTable) -> OpCosts:
    """Return costs of a loop whose host needs `host_s` a call: the longer of it and of the closed form."""
    found = predict_physics(table, RATES)
    times = {name: np.maximum(getattr(found, name), host_s) for name in ("latency_s", "latency_lo_s", "latency_hi_s")}
    return replace(found, **times, source=np.full(table.rows, SOURCES.index("learned"), dtype=np.int8))


def test_rows_that_show_the_host_have_the_closed_form_and_say_so() -> None:
    costs = measured(80e-6, GEMMS)
    found = without_host(costs, GEMMS, RATES, lambda rows: measured(80e-6, rows))
    closed = predict_physics(GEMMS, RATES)
    np.testing.assert_array_equal(found.latency_s[:3], closed.latency_s[:3])
    assert found.latency_s[3] == costs.latency_s[3] > 200e-6
    assert found.sources() == ["extrapolated"] * 3 + ["learned"]
    assert (found.latency_hi_s[:3] >= 80e-6).all()  # it may yet be so
    assert (found.energy_j[:3] == closed.energy_j[:3]).all()


def test_kernels_that_are_started_in_time_stay_as_they_were_measured() -> None:
    costs = measured(6e-6, GEMMS)
    assert without_host(costs, GEMMS, RATES, lambda rows: measured(6e-6, rows)) is costs


def test_a_kernel_that_is_slow_on_the_device_is_not_taken_for_the_hosts() -> None:
    slow = replace(measured(0.0, GEMMS), latency_s=4 * predict_physics(GEMMS, RATES).latency_s)
    assert without_host(slow, GEMMS, RATES, lambda rows: measured(0.0, rows)) is slow


def test_the_closed_form_is_asked_nothing_more() -> None:
    closed = predict_physics(GEMMS, RATES)

    def never(rows: OpTable) -> OpCosts:
        raise AssertionError("asked again")

    assert without_host(closed, GEMMS, RATES, never) is closed
