"""Speed of what chooses designs: `python -m pytest benchmarks/bench_samplers.py -m benchmark`.

`python benchmarks/bench_samplers.py` prints candidates a processor second of every method on 10 knobs and 2 objectives
(asking, telling and the front, without the evaluation), beside pymoo's NSGA-II as pymoo itself runs it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytest

from archcast.searching.ranges import Choice, Real
from archcast.searching.space import DesignSpace
from archcast.searching.study import make_study

REAL = DesignSpace.of(**{f"x{i}": Real(0, 1) for i in range(10)})
LISTED = DesignSpace.of(**{f"x{i}": Choice([k / 11 for k in range(12)]) for i in range(10)})


def pace(space: DesignSpace, method: str, batch: int, seconds: float = 1.5, **options: Any) -> float:
    """Return candidates a processor second; the time of the two sums that value them is taken off."""
    study = make_study(space, ["near", "far"], method, seed=1, **options)
    spent, count = 0.0, 0
    while spent < seconds:
        started = time.process_time()
        columns = study.ask(batch)
        spent += time.process_time() - started
        points = np.stack([columns[f"x{i}"] for i in range(10)], axis=1)
        values = np.stack([(points**2).sum(axis=1), ((points - 1) ** 2).sum(axis=1)], axis=1)
        started = time.process_time()
        study.tell(None, values)
        spent += time.process_time() - started
        count += len(values)
    return count / spent


def pymoo_pace(population: int, seconds: float = 1.5) -> float:
    """Return candidates a processor second of pymoo's own ask and tell, 10 real variables."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem

    search = NSGA2(pop_size=population)
    search.setup(Problem(n_var=10, n_obj=2, xl=0.0, xu=1.0), termination=("n_gen", 10**9), seed=1, verbose=False)
    spent, count = 0.0, 0
    while spent < seconds:
        started = time.process_time()
        asked = search.ask()
        spent += time.process_time() - started
        points = asked.get("X")
        asked.set("F", np.stack([(points**2).sum(axis=1), ((points - 1) ** 2).sum(axis=1)], axis=1))
        started = time.process_time()
        search.tell(infills=asked)
        spent += time.process_time() - started
        count += len(points)
    return count / spent


@pytest.mark.benchmark
@pytest.mark.parametrize("population", [100, 1000])
def test_the_genetic_method_makes_twenty_thousand_candidates_a_second(population: int) -> None:
    assert pace(REAL, "nsga2", population, population=population) >= 20_000


@pytest.mark.benchmark
@pytest.mark.parametrize("method", ["random", "sobol"])
def test_even_methods_make_more_than_a_hundred_thousand(method: str) -> None:
    assert pace(LISTED, method, 1000) >= 100_000


def main() -> None:
    """Print the speeds."""
    for name, space in (("real", REAL), ("listed", LISTED)):
        for method, batch in (("random", 1000), ("sobol", 1000), ("nsga2", 100), ("nsga2", 1000), ("ants", 100)):
            options = {"population": batch} if method == "nsga2" else {}
            found = pace(space, method, batch, **options)
            print(f"{name:6} {method:12} batch {batch:5,}: {found:10,.0f} candidates/CPU-s")
    print(f"real   bayesian     batch     8: {pace(REAL, 'bayesian', 8, 5.0):10,.1f} candidates/CPU-s (first 5 CPU-s)")
    for population in (100, 1000):
        print(f"real   pymoo itself, population {population:5,}: {pymoo_pace(population):10,.0f} candidates/CPU-s")


if __name__ == "__main__":
    main()
