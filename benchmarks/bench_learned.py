"""Speed of physics, learned factor and interval: `python -m pytest benchmarks/bench_learned.py -m benchmark`.

`python benchmarks/bench_learned.py` prints, in processor time (best of many), what rows cost beside plain XGBoost of
the same forest and the design's targets, and where XGBoost becomes faster than the flat trees.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Learned, best, cpu_s, learned_case

from costmodel.features import describe
from costmodel.physics import price
from workloads.routing import busiest
from workloads.table import OpTable


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learned_case(tmp_path_factory.mktemp("learned"))


@pytest.mark.parametrize("rows", [1, 100, 10_000])
def test_different_rows(benchmark: Any, case: Learned, rows: int) -> None:
    table = case.table.take(slice(0, rows))
    costs = benchmark(case.model.predict, table, case.rates)
    assert np.isfinite(costs.latency_hi_s).all()


def test_ten_thousand_rows_of_a_thousand_different(benchmark: Any, case: Learned) -> None:
    table = case.table.take(np.random.default_rng(0).integers(0, 1_000, 10_000))
    benchmark(case.model.predict, table, case.rates)


TARGET_ONE_S, TARGET_ROWS_PER_S = 100e-6, 2.5e5


def speed(case: Learned) -> None:
    """Print processor time by path, with the ratio to XGBoost alone on the same forest and features, and the target."""
    model, table, rates = case.model, case.table, case.rates
    features = np.ascontiguousarray(
        describe(table, price(table, rates), rates, "gemm", model.scope.softwares[0]).matrix
    )
    booster = model._booster(next(n for n in model.forest.names if n.startswith("gemm/")))
    ones = [table.take(slice(i, i + 1)) for i in range(50)]
    alone = cpu_s(lambda: [booster.inplace_predict(features[i : i + 1]) for i in range(50)], 60) / 50
    many = cpu_s(partial(booster.inplace_predict, features), 15)
    print("| path | processor time | x plain xgboost | target | reached |\n|---|---|---|---|---|")
    for label, one in (("with measured power", model), ("without measured power", replace(model, power=None))):
        took = cpu_s(lambda one=one: [one.predict(row, rates) for row in ones], 60) / 50  # type: ignore[misc]
        print(f"| one row, {label} | {took * 1e6:.0f} us | {took / alone:.2f} | {TARGET_ONE_S * 1e6:.0f} us "
              f"| {'yes' if took <= TARGET_ONE_S else 'no'} |")  # fmt: skip
        took = cpu_s(partial(one.predict, table, rates), 15)
        rate = table.rows / took
        print(f"| 10^4 different rows, {label} | {rate:.3g} rows/s | {took / many:.2f} "
              f"| {TARGET_ROWS_PER_S:.3g} rows/s | {'yes' if rate >= TARGET_ROWS_PER_S else 'no'} |")  # fmt: skip


def experts(rows: int = 10_000) -> None:
    """Print what the loads of different expert layers cost: new to the process, and asked again."""
    rng = np.random.default_rng(0)
    tokens, kind = rng.permutation(40_000)[:rows] + 1.0, rng.integers(0, 4, rows)
    sizes = {"tokens": tokens, "experts": np.array([8, 64, 128, 256])[kind], "topk": np.array([2, 6, 8, 8])[kind]}
    print("\n| loads of 10^4 different expert layers | new | again |\n|---|---|---|")
    for skew in (0.0, 1.01, 1.2):
        table = OpTable.from_columns({"op": "moe", "dtype": "bf16", **sizes, "ep": 1.0 + 3 * (kind > 1), "skew": skew})
        columns = [np.atleast_1d(table.full(name)) for name in ("tokens", "experts", "topk", "ep", "skew")]
        start = time.process_time()
        busiest(*columns)
        new = time.process_time() - start
        again = cpu_s(partial(busiest, *columns), 5)
        print(f"| skew {skew:g} | {new / rows * 1e6:.1f} us a row | {again / rows * 1e6:.1f} us a row |")


def crossover(case: Learned) -> None:
    """Print the time of both evaluators by batch size."""
    features = np.ascontiguousarray(
        describe(case.table, price(case.table, case.rates), case.rates, "gemm", case.model.scope.softwares[0]).matrix
    )
    name = next(n for n in case.model.forest.names if n.startswith("gemm/"))
    trees, booster = case.model.forest.trees(name), case.model._booster(name)
    print("\n| rows | flat trees (us) | xgboost (us) |\n|---|---|---|")
    for rows in (1, 2, 4, 8, 16, 32, 48, 64, 128):
        some = features[:rows]
        flat = best(partial(trees.predict, some), 50)
        xgb = best(partial(booster.inplace_predict, some), 50)
        print(f"| {rows} | {flat.wall_s * 1e6:.0f} | {xgb.wall_s * 1e6:.0f} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        calibrated = learned_case(Path(made))
    speed(calibrated)
    experts()
    crossover(calibrated)
