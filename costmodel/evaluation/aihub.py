"""Qualcomm AI Hub: a device left out, ten of its networks measured, those of other families predicted.

Every row of an NPU counts, parts of networks too: no graph is needed. Shots come from half of the families (the first
word of a name), the others are scored. Baseline: the one source that varies least against the shots, times a factor.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.bayes import spread_out
from costmodel.completion import fit_completion, predict_completion
from costmodel.evaluation.scores import Score, score
from workloads.table import Array

SHOTS = 10
FEWEST_KEYS = 60


@dataclass(frozen=True)
class Runs:
    """Seconds of each key on each device (NaN: not run), the family of a key, and its precision and runtime as 0/1."""

    devices: tuple[str, ...]
    latency_s: Array
    family: Array
    kinds: Array


def read_runs(path: Path) -> Runs:
    """Return the NPU rows of perf.csv.gz."""
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["primary_compute_unit"] == "NPU" and row["inference_ms"] and float(row["inference_ms"]) > 0:
                key = tuple(row[name] for name in ("model", "component", "precision", "runtime"))
                cells.setdefault(key, {})[row["device"]] = float(row["inference_ms"]) * 1e-3
    keys = sorted(cells)
    devices = sorted({device for found in cells.values() for device in found})
    latency = np.array([[cells[key].get(device, np.nan) for device in devices] for key in keys])
    words = [(key[2].removesuffix("_mixed_int16").removesuffix("_mixed_fp16"), key[3]) for key in keys]
    names = sorted({word for pair in words for word in pair})
    kinds = np.array([[float(name in pair) for name in names] for pair in words])
    return Runs(tuple(devices), latency, np.array([re.split(r"[_\d]", key[0])[0] for key in keys]), kinds)


def evaluate_aihub(runs: Runs, seeds: Sequence[int] = (0, 1, 2, 3, 4), shots: int = SHOTS) -> list[Score]:
    """Return a score for each device with at least sixty keys, seed and way to choose the shots."""
    scores = []
    for target, device in enumerate(runs.devices):
        own = np.isfinite(runs.latency_s[:, target])
        if own.sum() < FEWEST_KEYS:
            continue
        sources = np.delete(runs.latency_s, target, axis=1)
        model = fit_completion(sources, runs.kinds, shots)
        for seed in seeds:
            names = np.unique(runs.family[own])
            shown = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
            mine = np.isin(runs.family, shown)
            candidates = np.flatnonzero(own & mine & model.answered)
            test = np.flatnonzero(own & ~mine)
            prior = model.prior.take(candidates)
            ways = {"spread out": candidates[spread_out(prior, np.arange(len(candidates)), shots)],
                    "random": np.random.default_rng(seed + 100).permutation(candidates)[:shots]}  # fmt: skip
            for way, at in ways.items():
                value, lo, hi = predict_completion(model, at, runs.latency_s[at, target])
                there = test[np.isfinite(value[test])]
                base = best_source(sources, at, runs.latency_s[:, target])
                scores.append(score(
                    ("AI Hub", device, f"device out, {shots} shots, {way}", "completion", seed),
                    runs.latency_s[there, target], value[there], ends=(lo[there], hi[there]),
                    baseline=("best source", base[there]), answered=len(there) / len(test),
                ))  # fmt: skip
    return scores


def best_source(sources: Array, at: Array, measured_s: Array) -> Array:
    """Return the source whose ratio to the shots varies least, times the median ratio; NaN where it has no row."""
    best, found = np.inf, np.full(len(measured_s), np.nan)
    for column in sources.T:
        ratio = np.log(measured_s[at] / column[at])
        ratio = ratio[np.isfinite(ratio)]
        if len(ratio) >= len(at) // 2 and ratio.std() < best:
            best, found = float(ratio.std()), column * np.exp(np.median(ratio))
    return found
