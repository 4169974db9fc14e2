"""How well proxies of the event simulators know designs that they never saw, beside the nearest design and a line.

    python benchmarks/proxy_accuracy.py [--problems dram-controller,gpu-serving,astrasim] [--sizes 500,2000,10000]
        [--kriged 4000] [--table] [--keep FOLDER] [--json FILE]

Designs are drawn at random and split by design; every choice (settings of trees, weights, intervals) is made by cross
validation among the training designs. dram-controller is deterministic: errors are against the one value, and 0.6 %
stands for its noise. gpu-serving draws its requests from a seed: every training design is simulated once, each by one
of 40 seeds, and test designs by eight other seeds. Its noise is the standard deviation over those eight (root of the
mean square over designs) over the mean; "ratio" is the error against the mean of the eight, "single" that against
single runs, which cannot be below 1. Simulations and answers are timed here, in CPU time, one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import proxy_astrasim
from proxy_baselines import BASELINES
from proxy_data import Runs, columns_of, simulated, study_of, values_of

from archcast.searching.problem import Problem, evaluate
from archcast.searching.proxy import ProblemGuess, Proxy
from archcast.searching.proxy.boosting import MANY
from archcast.searching.proxy.card import recall, scores
from archcast.searching.space import DesignSpace
from workloads.table import Array

DETERMINISTIC_NOISE = 0.006
TIMED_EVENTS, TIMED_ANSWERS = 60, 100_000
HEAD = ("designs", "CPU s", "model", "objective", "RMSE/mean", "noise", "ratio", "single", "MAPE", "median", "p90",
        "Spearman", "in 90 %", "us a design", "times faster")  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One problem: what it shares, and how designs are drawn (seeds of NumPy's generator and counts).

    Test designs are `test` of `draws` from `test_from` on; `more` are training designs alone.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)
    draws: tuple[tuple[int, int], ...] = ()
    more: tuple[tuple[int, int], ...] = ()
    test_from: int = 0
    test: int = 0
    train_seeds: tuple[int, ...] = (1,)
    test_seeds: tuple[int, ...] = (1,)
    standing: bool = False
    """Whether designs that the closed form refuses are left out before the cut into training and test."""


PROBLEMS = {
    # the thread's limit means nothing where the arbiter is Simple; numba runs the very same commands, sooner
    "dram-controller": Asked({"kernel": "compiled"}, {"MaxActiveTransactions": {"Arbiter": ["Fifo", "Reorder"]}},
                             ((5, 12_000), (55, 40_000)), ((555, 100_000),), 12_000, 2000),
    "gpu-serving": Asked(draws=((6, 4240),), test_from=4000, test=240, train_seeds=tuple(range(2, 42)),
                         test_seeds=tuple(range(1001, 1009))),
    "daq-chain": Asked(draws=((6, 8400),), test_from=4000, test=240, train_seeds=tuple(range(2, 42)),
                       test_seeds=tuple(range(1001, 1009)), standing=True),
}  # fmt: skip


def drawn(asked: Asked, problem: Problem) -> tuple[Array, Array]:
    """Return numbers of training and of test designs; `problem` is the closed form."""
    size = problem.space.size
    every = np.concatenate(
        [np.random.default_rng(seed).choice(size, count, replace=False) for seed, count in asked.draws]
    )
    last = asked.test_from + asked.test
    if asked.standing:
        every = every[evaluate(problem, columns_of(problem.space, every)).feasible][:last]
    return np.concatenate([every[: asked.test_from], every[last:]]), every[asked.test_from : last]


def without(space: DesignSpace, train: Array, test: Array, once: bool = False) -> Array:
    """Return which training designs are none of the test's, whatever inactive knobs say; `once`: first of equals."""
    mine, others = (space.index(space.canonical(space.codes(index))) for index in (train, test))
    first = np.zeros(len(mine), dtype=bool)
    first[np.unique(mine, return_index=True)[1]] = True
    return np.flatnonzero(~np.isin(mine, others) & (first | (not once)))


def problem_rows(
    name: str, asked: Asked, sizes: list[int], kriged: int, keep: Path | None, tabled: bool
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the rows of one problem's table."""
    study = study_of(name, asked.fixed, asked.when)
    space, guess = study.problem.space, ProblemGuess(study.cheap) if study.cheap else None
    train, test = drawn(asked, study.cheap or study.problem)
    log = simulated(name, asked.fixed, asked.when, train, asked.train_seeds, keep)
    for seed, count in asked.more if max(sizes) > len(train) else ():
        further = np.random.default_rng(seed).choice(space.size, count, replace=False)
        log = log.and_also(simulated(name, asked.fixed, asked.when, further, asked.train_seeds, keep))
    true = [simulated(name, asked.fixed, asked.when, test, [seed], keep) for seed in asked.test_seeds]
    table = {one: np.stack([run.values[one] for run in true]) for one in study.problem.objectives}
    event_s = timed_events(name, asked, test)
    events = ", ".join(f"{kind} {each * 1e3:.1f} ms" for kind, each in event_s.items())
    sized_as = f"{len(space.knobs)} knobs, {space.size:,} designs, {len(test):,} test designs"
    print(f"\n## {name}: {sized_as}; {events} of CPU a design simulated\n")
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    good = without(space, log.index, test, once=len(asked.train_seeds) == 1)
    rows: list[dict[str, Any]] = []
    for size in sorted({min(one, len(good)) for one in sizes}):
        some = picked(log, good, size, len(asked.train_seeds))
        rows += sized(name, space, guess, some, table, test, event_s, kriged, tabled or size >= MANY)
    return rows


def picked(log: Runs, good: Array, size: int, seeds: int) -> Runs:
    """Return so many runs, of all seeds alike."""
    order = good if seeds == 1 else good[np.argsort(np.arange(len(good)) % (len(good) // seeds), kind="stable")]
    at = order[:size]
    return Runs(log.index[at], log.seed[at], {k: v[at] for k, v in log.values.items()}, log.cpu_each_s * size)


def sized(
    name: str, space: DesignSpace, guess: Any, log: Runs, table: Mapping[str, Array], test: Array,
    event_s: Mapping[str, float], kriged: int, tabled: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the rows of one number of training designs: the proxy, and the baselines."""
    columns, unseen = columns_of(space, log.index), columns_of(space, test)
    groups = log.seed if len(np.unique(log.seed)) > 1 else None
    made = Proxy.fit(space, columns, log.values, guess, most_kriged=kriged, groups=groups)
    found = made.predict(unseen)
    each = timed(lambda many: made.predict(many, return_interval=False), space)
    slowest = max(event_s.values())
    rows: list[dict[str, Any]] = []
    if tabled:
        began = time.process_time()
        looked_up = made.tabulated()
        print(f"table of all {space.size:,} designs: {time.process_time() - began:.0f} CPU s", flush=True)
        quick = timed(lambda many: looked_up.predict(many, return_interval=False), space)
        said_there = looked_up.predict(unseen)
        for one, runs in table.items():
            rows.append(row(name, log, "proxy, table", one, said_there.value[one], runs, quick, slowest))
            show(rows[-1])
    for one, runs in table.items():
        said = row(name, log, "proxy", one, found.value[one], runs, each, slowest)
        covered = (runs >= found.lo[one]) & (runs <= found.hi[one])
        said |= {"in 90 %": float(covered[:, ~found.outside].mean()), "fit CPU s": made.card["fit_cpu_s"],
                 "members": made.card["left_out"][one]["members"], "left out": made.card["left_out"][one]}  # fmt: skip
        rows.append(said)
        show(said)
    for label, baseline in BASELINES.items():
        for one, runs in table.items():
            ask = baseline(space, columns, log.values[one])
            rows.append(row(name, log, label, one, ask(unseen), runs, timed(ask, space), slowest))
            show(rows[-1])
    means = {one: runs.mean(axis=0) for one, runs in table.items()}
    members = "; ".join(f"{one}: {card['members']}" for one, card in made.card["left_out"].items())
    front = f"{recall(found.value, means):.0%} of the test designs' front among three times as many"
    flagged = f"{found.outside.mean():.1%} flagged; fitted in {made.card['fit_cpu_s']:.0f} CPU s; {members}"
    print(f"\nproxy of {len(log):,} designs: {front}; {flagged}\n", flush=True)
    return rows


def row(
    problem: str, log: Runs, model: str, one: str, said: Array, runs: Array, each_s: float, event_s: float
) -> dict[str, Any]:  # fmt: skip
    """Return the numbers of one model and objective; `runs` (seeds, designs)."""
    mean = runs.mean(axis=0)
    noise = DETERMINISTIC_NOISE
    if len(runs) > 1:
        noise = float(np.sqrt(runs.var(axis=0, ddof=1).mean()) / mean.mean())
    found = scores(said, mean)
    single = float(np.sqrt(((runs - said) ** 2).mean()) / mean.mean()) / noise if noise else None
    return {
        "problem": problem, "designs": len(log), "CPU s": log.cpu_s, "model": model, "objective": one,
        "RMSE/mean": found["rmse_over_mean"], "noise": noise,
        "ratio": found["rmse_over_mean"] / noise if noise else None,
        "single": single if len(runs) > 1 else None, "MAPE": found["mape"], "median": found["median"],
        "p90": found["p90"], "Spearman": found["spearman"], "us a design": each_s * 1e6,
        "times faster": event_s / each_s,
    }  # fmt: skip


def show(said: Mapping[str, Any]) -> None:
    """Print one row."""
    shares = ("RMSE/mean", "noise", "MAPE", "median", "p90", "in 90 %")

    def text(name: str) -> str:
        value = said.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        if name in shares:
            return f"{value:.1%}" if name == "in 90 %" else f"{value:.2%}"
        return f"{value:,.0f}" if name in ("designs", "CPU s", "times faster") else f"{value:.4g}"

    print("| " + " | ".join(text(name) for name in HEAD) + " |", flush=True)


def timed(ask: Any, space: DesignSpace) -> float:
    """Return CPU-seconds of one design, of many asked for at once."""
    rng = np.random.default_rng(3)
    many = {n: c for n, c in columns_of(space, rng.integers(0, space.size, 2000)).items()}
    ask(many)
    began = time.process_time()
    ask(many)
    each = (time.process_time() - began) / 2000
    count = int(np.clip(1.0 / each, 2000, TIMED_ANSWERS))
    many = columns_of(space, rng.integers(0, space.size, count))
    began = time.process_time()
    ask(many)
    return (time.process_time() - began) / count


def timed_events(name: str, asked: Asked, test: Array) -> dict[str, float]:
    """Return CPU-seconds of one simulation, by kernel where there are two."""
    kinds = ("plain", "compiled") if "kernel" in asked.fixed else ("",)
    found = {}
    for kind in kinds:
        problem = study_of(name, {**asked.fixed, **({"kernel": kind} if kind else {})}, asked.when).problem
        values_of(problem, test[:1])
        began = time.process_time()
        values_of(problem, test[:TIMED_EVENTS])
        found[kind or "events"] = (time.process_time() - began) / TIMED_EVENTS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="dram-controller,gpu-serving,astrasim")
    parser.add_argument("--sizes", default="500,2000,4000,10000,46000,200000")
    parser.add_argument("--kriged", type=int, default=4000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--table", action="store_true", help="work out all designs for small logs too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    found: dict[str, Any] = {}
    for name in given.problems.split(","):
        if name == "astrasim":
            found[name] = proxy_astrasim.report()
        else:
            found[name] = problem_rows(name, PROBLEMS[name], sizes, given.kriged, given.keep, given.table)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
