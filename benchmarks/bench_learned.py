"""Speed of physics, learned factor and interval: `python -m pytest benchmarks/bench_learned.py -m benchmark`.

`python benchmarks/bench_learned.py` prints where XGBoost becomes faster than the flat trees.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Learned, best, learned_case

from costmodel.features import describe
from costmodel.physics import price


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


def crossover() -> None:
    """Print the time of both evaluators by batch size."""
    with tempfile.TemporaryDirectory() as folder:
        case = learned_case(Path(folder))
    features = np.ascontiguousarray(
        describe(case.table, price(case.table, case.rates), case.rates, "gemm", case.model.scope.softwares[0]).matrix
    )
    name = case.model.forest.names[0]
    trees, booster = case.model.forest.trees(name), case.model._booster(name)
    print("| rows | flat trees (us) | xgboost (us) |\n|---|---|---|")
    for rows in (1, 2, 4, 8, 16, 32, 48, 64, 128):
        some = features[:rows]
        flat = best(partial(trees.predict, some), 50)
        xgb = best(partial(booster.inplace_predict, some), 50)
        print(f"| {rows} | {flat.wall_s * 1e6:.0f} | {xgb.wall_s * 1e6:.0f} |")


if __name__ == "__main__":
    crossover()
