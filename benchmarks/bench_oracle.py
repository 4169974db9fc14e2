"""Speed of the oracle: `python benchmarks/bench_oracle.py` prints candidates a processor second, with intervals.

Every line has the ratio to a floor measured beside it (ten passes of numpy over as many numbers), so that a slow or a
busy machine slows both. `python -m pytest benchmarks/bench_oracle.py -m benchmark` checks the budgets.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytest

from archcast.cost_models import find_cost_model
from archcast.operators import predict_ops
from archcast.oracle import cost_table, scenarios
from archcast.oracle.cells import price
from archcast.oracle.questions import Questions, as_questions
from archcast.serving_columns import serve_columns
from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from costmodel.residual import distinct
from workloads.table import OpTable

MUST = 1e5
"""Candidates a second that the closed form and operators must reach, with intervals."""


MODELS = (("physics", "closed form"), (None, "learned"))


def best_s(run: Callable[[], object], turns: int = 3) -> float:
    """Return the least processor seconds of several runs."""
    found = []
    for _ in range(turns):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def floor_s(rows: int) -> float:
    """Return what ten passes of numpy over `rows` numbers take."""
    a, b = np.random.default_rng(0).random((2, rows))

    def run() -> None:
        for _ in range(10):
            np.multiply(a, b, out=a)

    return best_s(run, 5)


def operators(rows: int) -> dict[str, Any]:
    """Return products of random sizes, all distinct."""
    rng = np.random.default_rng(1)
    sizes = {name: rng.integers(64, 16_384, rows) for name in ("n", "k")}
    return {"op": "gemm", "dtype": "bf16", "m": rng.integers(1, 8192, rows), **sizes}


def networks(rows: int, workload: str = "llama-3.1-8b") -> Questions:
    """Return questions of one network that differ in all sizes."""
    rng = np.random.default_rng(2)
    one = as_questions({"workload": workload, "on": "h100-sxm"}).take(np.zeros(rows, dtype=int))
    ends = {"batch": (1, 64), "prompt": (16, 4096), "generate": (2, 512)}
    return one.with_columns(**{name: rng.integers(*pair, rows).astype(float) for name, pair in ends.items()})


@dataclass
class Counting:
    """A cost model that counts the rows it is asked for, and how many of them are distinct."""

    inner: CostModel
    rows: int = 0
    shapes: int = 0
    name: str = field(default="counting")
    version: str = field(default="1")

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        self.rows += table.rows
        self.shapes += distinct(table)[0].rows
        return self.inner.predict(table, rates, fabric, software=software)


def served(rows: int, model: str | None) -> Callable[[], object]:
    """Return a run of whole networks in service: lengths and users of each differ."""
    rng = np.random.default_rng(3)
    prompt, generate, users = (rng.integers(low, high, rows) for low, high in ((16, 4096), (16, 512), (1, 64)))
    return lambda: serve_columns("llama-3.1-8b", on="h100-sxm", prompt=prompt, generate=generate, concurrency=users,
                                 cost_model=model)  # fmt: skip


@pytest.mark.benchmark
@pytest.mark.parametrize("model", ["physics", None])
def test_operators_are_priced_a_hundred_thousand_a_second(model: str | None) -> None:
    ops = operators(50_000)
    assert 50_000 / best_s(lambda: predict_ops(ops, on="h100-sxm", model=model)) > MUST


@pytest.mark.benchmark
def test_whole_networks_in_service_are_near_a_hundred_thousand_a_second() -> None:
    assert 50_000 / best_s(served(50_000, "physics")) > 0.7 * MUST  # 1.1e5 to 1.2e5 on a quiet core


def main() -> None:
    """Print the speeds."""
    print(f"{'what':58} {'candidates':>10} {'a CPU-s':>12} {'x floor':>8}")
    for model, word in MODELS:
        for rows in (10_000, 100_000):
            run = partial(predict_ops, operators(rows), on="h100-sxm", model=model)
            _line(f"operators, {word} (predict_ops)", rows, best_s(run))
    for rows in (20_000, 100_000):
        _line("whole networks in service, closed form (serve_columns)", rows, best_s(served(rows, "physics")))
    _line("whole networks in service, learned (serve_columns)", 100_000, best_s(served(100_000, None)))
    for model, word in MODELS:
        for workload in ("llama-3.1-8b", "resnet-50"):
            questions, counting = networks(2000, workload), Counting(find_cost_model(model))
            if workload == "resnet-50":
                questions = questions.with_columns(prompt=np.nan, generate=np.nan)
            price(questions, counting)
            seconds = best_s(partial(price, questions, model))
            _line(f"whole networks, {word}, {workload} (cost_table)", 2000, seconds)
            each = f"{counting.rows / 2000:.0f} rows of operators each, {counting.shapes / 2000:.1f} distinct"
            rate = f"{counting.rows / seconds:,.0f} rows and {counting.shapes / seconds:,.0f} shapes a CPU-s"
            print(f"    {each}: {rate}")
    items = [{"workload": w, "batch": b} for w in ("resnet-50", "bert-large") for b in range(1, 51)]
    options = [{"device": d} for d in ("h100-sxm", "a100-sxm", "l40s", "rtx-4090", "b200")]
    for model, word in MODELS:
        _line(
            f"2 networks x 5 devices x 50 batches, {word}",
            500,
            best_s(lambda m=model: cost_table(items, options, model=m)),
        )  # type: ignore[misc]
    table = cost_table(items, options)
    _line("joint draws of 500 cells x 4 quantities, each draw", 500 * 4 * 200, best_s(lambda: scenarios(table, 200)))


def _line(what: str, rows: int, seconds: float) -> None:
    print(f"{what:58} {rows:>10,} {rows / seconds:>12,.0f} {seconds / floor_s(rows):>8,.0f}")


if __name__ == "__main__":
    main()
