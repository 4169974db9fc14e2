"""The knapsack of 1,000 items x 20 options x 3 budgets: gap and time by family, against HiGHS alone and a scaled DP.

    python benchmarks/bench_knapsack.py [--items 1000] [--seeds 3] [--milp-s 5]

Families as in Kellerer, Pferschy and Pisinger (Knapsack Problems, 2004, 11.7): uncorrelated, weakly and strongly
correlated, subset sum; and the costs that archcast predicts for language models on devices (`predicted`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from archcast.allocating.exact import solve_exact
from archcast.allocating.greedy import solve_greedy
from archcast.allocating.knapsack import Knapsack, knapsack
from archcast.allocating.solver import silent
from workloads.table import Array

FAMILIES = ("uncorrelated", "weakly", "strongly", "subset sum", "saturating", "predicted")
DP_CELLS = 10_000
Found = TypeVar("Found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--options", type=int, default=20)
    parser.add_argument("--budgets", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--milp-s", type=float, default=5.0)
    asked = parser.parse_args()
    print(f"{asked.items} items x {asked.options} options x {asked.budgets} budgets; worst of {asked.seeds} seeds")
    print(f"{'family':14} {'greedy gap':>11} {'s':>6} {'exact gap':>10} {'s':>6} {'HiGHS gap':>10} {'s':>6}")
    for family in FAMILIES:
        rows = []
        for seed in range(asked.seeds):
            problem = make(family, np.random.default_rng(seed), asked.items, asked.options, asked.budgets)
            greedy, greedy_s = timed(partial(solve_greedy, problem))
            exact, exact_s = timed(partial(solve_exact, problem))
            alone, alone_s = timed(partial(milp_alone, problem, asked.milp_s))
            rows.append((greedy.gap, greedy_s, exact.gap, exact_s, alone, alone_s))
        w = np.max(np.array(rows), axis=0)
        print(f"{family:14} {w[0]:11.2e} {w[1]:6.2f} {w[2]:10.2e} {w[3]:6.2f} {w[4]:10.2e} {w[5]:6.2f}", flush=True)
    print("\none budget, against dynamic programming on costs rounded up to 1/10,000 of the budget (worst of seeds)")
    print(f"{'family':14} {'exact gap':>10} {'s':>6} {'DP below exact':>15} {'s':>6}")
    for family in FAMILIES:
        single = []
        for seed in range(asked.seeds):
            problem = make(family, np.random.default_rng(seed), asked.items, asked.options, 1)
            exact, exact_s = timed(partial(solve_exact, problem))
            worth, dp_s = timed(partial(scaled_dp, problem))
            single.append((exact.gap, exact_s, (exact.value - worth) / abs(exact.value), dp_s))
        w = np.max(np.array(single), axis=0)
        print(f"{family:14} {w[0]:10.2e} {w[1]:6.2f} {w[2]:15.2e} {w[3]:6.2f}", flush=True)


def timed(run: Callable[[], Found]) -> tuple[Found, float]:
    """Return (result, wall seconds)."""
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


def make(family: str, rng: np.random.Generator, items: int, options: int, budgets: int) -> Knapsack:
    """Return an instance; every budget allows 0.3 of the range between the least and the most use."""
    shape = (items, options, budgets)
    cost = rng.uniform(1, 100, shape)
    value = rng.uniform(1, 100, shape[:2])
    if family == "weakly":
        value = cost.mean(axis=2) + rng.uniform(-10, 10, shape[:2])
    elif family == "strongly":
        value = cost.mean(axis=2) + 10
    elif family == "subset sum":
        cost = np.round(cost)
        value = cost.sum(axis=2)
    elif family == "saturating":
        size = np.sort(rng.lognormal(0, 1, shape[:2]), axis=1)
        cost = size[:, :, None] * rng.lognormal(0, 0.2, (items, 1, budgets))
        value = 1 - np.exp(-size * rng.uniform(0.3, 3, (items, 1)))
    elif family == "predicted":
        cost, value = predicted(rng, *shape)
    least, most = cost.min(axis=1).sum(axis=0), cost.max(axis=1).sum(axis=0)
    return knapsack(value, cost, least + 0.3 * (most - least))


def predicted(rng: np.random.Generator, items: int, options: int, budgets: int) -> tuple[Array, Array]:
    """Return costs (seconds, joules, dollars) of language models on devices at the items' prompts, and worths."""
    from archcast.batches import predict_batch

    models, devices = ("llama-3.1-8b", "qwen3-30b-a3b"), ("h100-sxm", "a100-sxm-80gb", "h200-sxm", "b200")
    places = [(m, d, g) for m in models for d in devices for g in (128, 512, 2048, 4096, 8192)]
    chosen = [places[i] for i in rng.permutation(len(places))[:options]]
    prompts = rng.choice([256, 1024, 4096, 16384], items)
    sizes = np.unique(prompts)
    rows = [(m, d, int(p), g) for p in sizes for m, d, g in chosen]
    found = predict_batch(
        workload=[r[0] for r in rows], on=[r[1] for r in rows], prompt=[r[2] for r in rows],
        generate=[r[3] for r in rows],
    )  # fmt: skip
    table = np.stack([found[n].reshape(len(sizes), -1) for n in ("latency_s", "energy_j", "cost_usd")], axis=-1)
    cost = table[np.searchsorted(sizes, prompts)][:, :, :budgets]
    grown = np.array([g for _, _, g in chosen]) * np.array([1.0 if m == models[0] else 2.0 for m, _, _ in chosen])
    return cost, 1 - np.exp(-grown / rng.lognormal(7, 1, (items, 1)))


def milp_alone(problem: Knapsack, time_limit_s: float) -> float:
    """Return the gap that HiGHS reports on the whole problem without any reduction (1 where it finds nothing)."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    item, option = np.nonzero(problem.mask)
    one = csr_matrix((np.ones(len(item)), (item, np.arange(len(item)))), shape=(problem.items, len(item)))
    with silent():
        found = milp(
            -problem.value[item, option], integrality=np.ones(len(item)), bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one, 1, 1),
                         LinearConstraint(problem.cost[item, option].T, -np.inf, problem.budget)],
            options={"time_limit": time_limit_s, "mip_rel_gap": 1e-4},
        )  # fmt: skip
    return float(found.mip_gap) if found.x is not None else 1.0


def scaled_dp(problem: Knapsack) -> float:
    """Return the best worth with costs rounded up to steps of the budget / 10,000: feasible, but not the best."""
    steps = np.ceil(problem.cost[:, :, 0] / problem.budget[0] * DP_CELLS).astype(int)
    best = np.zeros(DP_CELLS + 1)
    for i in range(problem.items):
        now = np.full(DP_CELLS + 1, -np.inf)
        for j in range(problem.value.shape[1]):
            step = steps[i, j]
            if problem.mask[i, j] and step <= DP_CELLS:
                np.maximum(now[step:], best[: DP_CELLS + 1 - step] + problem.value[i, j], out=now[step:])
        best = now
    return float(best.max())


if __name__ == "__main__":
    main()
