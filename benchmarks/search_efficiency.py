"""How many simulations a search needs: hypervolume of 150 by each method against that of 1,000 random ones.

    python benchmarks/search_efficiency.py [--problems gpu-serving,daq-chain] [--seeds 1,2,3,4,5] [--methods random,..]

Every problem is one whose `events` fidelity simulates. Hypervolume is that of the objectives in their own units, as a
share of the box from the best value of each objective to the reference point: 1.1 times the worst value of each
objective on the union of all fronts found here (printed). "In logarithms" is the same of the objectives' logarithms,
which counts a factor as much at the small end as at the large one. IGD+ is against that union, each objective scaled
to 0 to 1 by its logarithm over the union. Both are means of the seeds with the standard deviation. Methods were
developed on spaces of tests and on seeds from 100 on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.adaptive import run_adaptive
from archcast.searching.designs import PLACES
from archcast.searching.front import hypervolume, nondominated
from archcast.searching.metrics import igd_plus, union_front
from archcast.searching.search_file import CLOSED_FORM, Study, read_search

FEW, MANY = 150, 1000
PROBLEMS = ("gpu-serving", "daq-chain", "dram-controller")
METHODS = ("random", "sobol", "nsga2", "ants", "optuna-tpe", "pymoo-nsga2", "bayesian without closed form", "bayesian")


def study_of(name: str, method: str, evaluations: int) -> Study:
    """Return the study of a problem's own space, workload and objectives at its events."""
    module = import_module(PLACES[name][0])
    file: dict[str, Any] = {
        "kind": "search", "design": name, "space": module.SPACE, "objectives": list(module.OBJECTIVES),
        "fidelity": "events", "method": method.split(" ")[0], "evaluations": evaluations,
    }  # fmt: skip
    if module.WORKLOAD:
        file["workload"] = module.WORKLOAD
    found = read_search(file)
    assert found.fidelity != CLOSED_FORM
    return replace(found, cheap=None) if "without" in method else found


def run(study: Study, seed: int) -> tuple[np.ndarray[Any, Any], float]:
    """Return the front of one run, and its CPU seconds."""
    started = time.process_time()
    found = run_adaptive(study, seed).arrays
    values = found["values"][found["reason"] == ""]
    front = values[nondominated(values, np.arange(len(values)))] if len(values) else values
    return front, time.process_time() - started


def report(name: str, fronts: dict[str, list[np.ndarray[Any, Any]]], seconds: dict[str, float]) -> None:
    """Print one problem's table."""
    union = union_front(*(front for runs in fronts.values() for front in runs if len(front)))
    reference, low = 1.1 * union.max(axis=0), union.min(axis=0)
    box = float(np.prod(reference - low))
    print(f"\n{name}: reference point {', '.join(f'{x:.4g}' for x in reference)}, {len(union)} designs on the union")
    head = f"| {'method':30} | simulations | hypervolume | lowest seed | of random's {MANY:,} | in logarithms, of it |"
    print(f"{head} IGD+ | CPU s a run |\n|---|---|---|---|---|---|---|---|")
    logs = np.log(union)
    base, span = logs.min(axis=0), np.maximum(np.ptp(logs, axis=0), 1e-12)

    def in_logs(front: np.ndarray[Any, Any]) -> float:
        return hypervolume(np.log(front), np.log(reference)) or 0.0

    many = np.mean([hypervolume(front, reference) or 0.0 for front in fronts[f"random, {MANY}"]])
    many_logs = np.mean([in_logs(front) for front in fronts[f"random, {MANY}"]])
    for method, runs in fronts.items():
        volumes = np.array([hypervolume(front, reference) or 0.0 for front in runs])
        far = [igd_plus((np.log(front) - base) / span, (logs - base) / span) for front in runs if len(front)]
        spread = volumes.std(ddof=1) / box if len(volumes) > 1 else 0.0
        share_logs = np.mean([in_logs(front) for front in runs]) / many_logs
        print(
            f"| {method:30} | {MANY if str(MANY) in method else FEW:,} | {volumes.mean() / box:.4f} ± {spread:.4f} | "
            f"{volumes.min() / box:.4f} | {volumes.mean() / many:.2%} | {share_logs:.2%} | {np.mean(far):.4f} ± "
            f"{np.std(far):.4f} | {seconds[method]:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--out", type=Path, help="Fronts as JSON.")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    kept: dict[str, Any] = {}
    for name in asked.problems.split(","):
        fronts: dict[str, list[np.ndarray[Any, Any]]] = {}
        seconds: dict[str, float] = {}
        for method, count in [("random", asked.many), *((method, FEW) for method in asked.methods.split(","))]:
            study = study_of(name, method, count)
            label = f"random, {MANY}" if count == asked.many else method
            found = [run(study, seed) for seed in seeds]
            fronts[label] = [front for front, _ in found]
            seconds[label] = float(np.mean([spent for _, spent in found]))
        report(name, fronts, seconds)
        kept[name] = {label: [front.tolist() for front in runs] for label, runs in fronts.items()}
    if asked.out:
        asked.out.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
