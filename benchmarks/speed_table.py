"""The speed budget against this machine: `python benchmarks/speed_table.py` prints a markdown table.

Each row names its budget, what was measured (best of several runs), the ratio to a floor measured in the same run (so
that a slow or busy machine slows both), and processor seconds. Rows: cold start; the closed form on columns; physics
with learned factor and interval.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from bench_cold_start import medians
from cases import Learned, Timing, best, device_rates, learned_case, random_products

from costmodel import physics_numba
from costmodel.features import describe
from costmodel.physics import predict_physics, price

ROWS = 1_000_000


@dataclass(frozen=True)
class Line:
    """One row of the table; `ratio` is the measured time over that of `floor`."""

    path: str
    budget: str
    measured: str
    holds: bool
    ratio: float
    floor: str
    cpu_s: float

    def markdown(self) -> str:
        verdict = "yes" if self.holds else "**no**"
        return (f"| {self.path} | {self.budget} | {self.measured} | {verdict} | {self.ratio:.3g} x {self.floor} "
                f"| {self.cpu_s:.3g} |")  # fmt: skip


def cold_start() -> Iterator[Line]:
    """A fresh interpreter with compiled bytecode at hand."""
    with tempfile.TemporaryDirectory() as cache:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = plain | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PYTHONPYCACHEPREFIX": cache}
        medians(1, environment)  # compiles
        before = os.times()
        found = medians(3, environment)
        after = os.times()
    cpu = (after.children_user + after.children_system - before.children_user - before.children_system) / 3 / len(found)
    for name, budget in (("archcast --help", 0.3), ("archcast predict --json", 1.0)):
        wall, ratio = found[name]
        yield Line(f"`{name}`, cold", f"{budget:g} s", f"{wall:.2f} s", wall <= budget, ratio, "`import numpy`", cpu)


def physics() -> Iterator[Line]:
    """The closed form with all intervals, energies and bounds."""
    table, rates = random_products(ROWS), device_rates()
    out = predict_physics(table, rates)
    column, product = np.random.default_rng(0).random(ROWS), np.empty(ROWS)
    floor = best(lambda: np.multiply(column, column, out=product))
    cases = [("numpy, reused columns", False, True), ("numpy, fresh columns", False, False)]
    if physics_numba.installed():
        cases += [("compiled (numba), reused columns", True, True), ("compiled (numba), fresh columns", True, False)]
    for label, compiled, reuse in cases:
        if compiled:
            physics_numba.kernel()  # not before the numpy rows: a loaded kernel is used
        timing = best(partial(predict_physics, table, rates, out=out if reuse else None), 9)
        rate = ROWS / timing.wall_s
        yield Line(f"physics only, 10^6 rows, {label}", "5e7 rows/s", f"{rate:.2g} rows/s", rate >= 5e7,
                   timing.wall_s / floor.wall_s, "one multiplication of a column", timing.cpu_s)  # fmt: skip


def learned(case: Learned) -> Iterator[Line]:
    """Physics, learned factor and conformal interval."""
    model, rates, rows = case.model, case.rates, case.table.rows
    stack = model.scope.softwares[0]
    features = np.ascontiguousarray(describe(case.table, price(case.table, rates), rates, "gemm", stack).matrix)
    booster = model._booster(next(n for n in model.forest.names if n.startswith("gemm/")))
    floor = best(lambda: booster.inplace_predict(features))
    again = case.table.take(np.random.default_rng(0).integers(0, rows // 10, rows))
    for label, table in (("all different", case.table), ("each about 10 times", again)):
        timing = best(partial(model.predict, table, rates))
        rate = rows / timing.wall_s
        path, own = f"physics + learned + interval, 10^4 rows, {label}", "xgboost's own predict of 10^4 rows"
        ratio = timing.wall_s / floor.wall_s
        yield Line(path, "2.5e5 rows/s", f"{rate:.3g} rows/s", rate >= 2.5e5, ratio, own, timing.cpu_s)
    one, alone = case.table.take(slice(0, 1)), best(lambda: booster.inplace_predict(features[:1]), 200)
    timing = best(lambda: model.predict(one, rates), 200)
    yield _microseconds("physics + learned + interval, one row", 100, timing, alone)


def _microseconds(path: str, budget_us: float, timing: Timing, floor: Timing) -> Line:
    us = timing.wall_s * 1e6
    return Line(path, f"{budget_us:g} us", f"{us:.0f} us", us <= budget_us, timing.wall_s / floor.wall_s,
                "xgboost's own predict of one row", timing.cpu_s)  # fmt: skip


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        case = learned_case(Path(folder))
    trees = case.model.forest.trees(next(n for n in case.model.forest.names if n.startswith("gemm/"))).trees
    print(f"Learned model: {trees} trees a kind of operator, trained on {case.origin}.")
    print(f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n")
    print("| path | budget | measured | holds | ratio to a floor of the same run | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for lines in (cold_start(), physics(), learned(case)):
        for line in lines:
            print(line.markdown(), flush=True)


if __name__ == "__main__":
    main()
