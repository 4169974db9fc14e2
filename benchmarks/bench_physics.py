"""Speed of the closed form on columns: `python -m pytest benchmarks/bench_physics.py -m benchmark`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import device_rates, random_products

from costmodel import physics_numba
from costmodel.physics import predict_physics

ROWS = 1_000_000


def test_numpy_into_columns_that_the_caller_reuses(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics_numba, "installed", lambda: False)
    table, rates = random_products(ROWS), device_rates()
    out = predict_physics(table, rates)
    benchmark.extra_info["rows"] = ROWS
    benchmark(predict_physics, table, rates, out=out)
    assert np.isfinite(out.latency_hi_s).all()


@pytest.mark.parametrize("reuse", [True, False], ids=["reused columns", "fresh columns"])
def test_compiled(benchmark: Any, reuse: bool) -> None:
    pytest.importorskip("numba")
    physics_numba.kernel()
    table, rates = random_products(ROWS), device_rates()
    out = predict_physics(table, rates)
    benchmark.extra_info["rows"] = ROWS
    benchmark(predict_physics, table, rates, out=out if reuse else None)
    assert np.isfinite(out.latency_hi_s).all()


def test_ten_thousand_rows(benchmark: Any) -> None:
    table, rates = random_products(10_000), device_rates()
    benchmark(predict_physics, table, rates)


def test_one_row(benchmark: Any) -> None:
    table, rates = random_products(1), device_rates()
    benchmark(predict_physics, table, rates)
