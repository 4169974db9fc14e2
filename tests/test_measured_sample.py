"""The committed table of a host's processor is one that calibrate reads, and whose units are seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from costmodel.physics import price
from costmodel.rates import compile_rates
from hardware_specs.host import HostFacts, describe
from workloads.measurements import read_measurements

SAMPLE = Path(__file__).resolve().parents[1] / "benchmarks" / "data" / "host_cpu_avx512_2cores.csv"


def test_the_sample_table_is_whole_and_near_the_closed_form_of_its_machine() -> None:
    table = read_measurements(SAMPLE, devices=["host-cpu"])
    assert SAMPLE.stat().st_size < 300_000
    assert table.rows >= 400
    assert {"gemm", "conv2d", "attention", "norm", "softmax", "elementwise", "embedding", "copy"} <= set(
        table.table.names("op")
    )
    flags = frozenset(["avx512f", "avx512_vnni", "avx512_bf16"])
    zen4 = HostFacts("EPYC", "AuthenticAMD", 25, "x86_64", flags, 2, 2, 2.596e9, 0.0, 25 * 10**9, ())
    costs = price(table.table, compile_rates(describe(zen4))).costs
    ratio = table.value("latency_s") / costs.latency_s
    assert 0.5 < np.median(ratio) < 2.0
    # noise: half of the rows repeat within a fifth
    assert np.median(table.value("latency_std_s") / table.value("latency_s")) < 0.2
