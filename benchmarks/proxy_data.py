"""Simulations that proxies are trained on and scored against, kept in a folder so that a second run need not repeat them."""  # noqa: E501

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.designs import PLACES
from archcast.searching.problem import Problem
from archcast.searching.search_file import Study, read_search
from archcast.searching.space import DesignSpace
from workloads.table import Array

PART = 250
"""Designs simulated before what is known is kept."""


@dataclass(frozen=True)
class Runs:
    """Simulations: numbers of designs, the seed of each, values by name, and CPU-seconds for all."""

    index: Array
    seed: Array
    values: Mapping[str, Array]
    cpu_s: float

    def __len__(self) -> int:
        return len(self.index)

    @property
    def cpu_each_s(self) -> float:
        return self.cpu_s / len(self)

    def and_also(self, other: Runs) -> Runs:
        """Return these and others."""
        values = {name: np.concatenate((column, other.values[name])) for name, column in self.values.items()}
        index, seed = (np.concatenate(both) for both in ((self.index, other.index), (self.seed, other.seed)))
        return Runs(index, seed, values, self.cpu_s + other.cpu_s)


def study_of(design: str, fixed: Mapping[str, Any], when: Mapping[str, Any] | None = None) -> Study:
    """Return a search of a kind of space with the ranges of its environment, valued by events."""
    module = import_module(PLACES[design][0])
    document = {"kind": "search", "design": design, "space": module.SPACE, "objectives": list(module.OBJECTIVES),
                "method": "random", "fidelity": "events", "fixed": dict(fixed), "when": dict(when or {})}  # fmt: skip
    if module.WORKLOAD:
        document["workload"] = module.WORKLOAD
    return read_search(document)


def columns_of(space: DesignSpace, index: Array) -> dict[str, Array]:
    """Return the columns of designs by number; inactive knobs are neutral."""
    return space.columns(space.codes(index))


def simulated(
    design: str, fixed: Mapping[str, Any], when: Mapping[str, Any], index: Array, seeds: Sequence[int],
    keep: Path | None,
) -> Runs:  # fmt: skip
    """Return the runs of designs, cut into equal parts, one for each seed; from the folder where they are known."""
    asked = json.dumps([design, dict(fixed), dict(when), list(seeds)]) + hashlib.sha256(index.tobytes()).hexdigest()
    file = keep / f"{design}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.npz" if keep else None
    if file is not None and file.exists():
        with np.load(file, allow_pickle=False) as stored:
            values = {name[2:]: stored[name] for name in stored.files if name.startswith("v:")}
            return Runs(stored["index"], stored["seed"], values, float(stored["cpu_s"]))
    parts, spent, seed_of = [], 0.0, []
    for seed, mine in zip(seeds, np.array_split(index, len(seeds)), strict=True):
        problem = study_of(design, {**fixed, "seed": seed}, when).problem
        values_of(problem, mine[:1])  # tables, and what numba compiles, are no simulation
        for start in range(0, len(mine), PART):
            began = time.process_time()
            parts.append(values_of(problem, mine[start : start + PART]))
            spent += time.process_time() - began
        seed_of.append(np.full(len(mine), seed))
    found = Runs(index, np.concatenate(seed_of), {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}, spent)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        columns: dict[str, Any] = {f"v:{name}": column for name, column in found.values.items()}
        np.savez(file, index=index, seed=found.seed, cpu_s=np.array(spent), **columns)
    return found


def values_of(problem: Problem, index: Array) -> dict[str, Array]:
    """Return the objectives of designs, NaN where one does not stand."""
    from archcast.searching.problem import evaluate

    found = evaluate(problem, columns_of(problem.space, index))
    return {name: np.where(found.feasible, found.values[name], np.nan) for name in problem.objectives}
