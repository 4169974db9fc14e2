"""Errors of served times on aiconfigurator's silicon sample, stacks fitted to other groups and not at all.

    python benchmarks/served_accuracy.py ../shared/data [--seeds N] [--ship]

`--ship` fits the stacks that come with the package (costmodel/stacks.json) to all runs. Takes one to two minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from archcast.validation.served import evaluate_served, write_shipped


def main() -> None:
    """Print a table: a line for each of time to first token and per token, fitted and not, means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ship", action="store_true")
    given = parser.parse_args()
    if given.ship:
        write_shipped(given.data)
    runs = [evaluate_served(given.data, seed, full=True) for seed in range(given.seeds)]
    print("| quantity | n | answered | MAPE (worst) | median | p90 | inside 90 % | hi/lo | aiconfigurator |")
    print("|---|---|---|---|---|---|---|---|---|")
    for scores in zip(*runs, strict=True):
        mean = {name: float(np.mean([getattr(s, name) for s in scores]))
                for name in ("mape", "median", "p90", "inside", "width", "baseline_mape")}  # fmt: skip
        print(
            f"| {scores[0].split} | {scores[0].n:,} | {scores[0].answered:.1%} | {mean['mape']:.1%} "
            f"({max(s.mape for s in scores):.1%}) | {mean['median']:.1%} | {mean['p90']:.1%} | {mean['inside']:.0%} | "
            f"{mean['width']:.2f} | {mean['baseline_mape']:.1%} |"
        )


if __name__ == "__main__":
    main()
