"""Served language models: aiconfigurator's silicon sample, every run as the benchmark that measured it.

Aggregated runs, repeated rows once. Engines are priced by learned costs tempered by the closed form; each run is the
usual benchmark through the event simulator; a stack's terms are fitted to whole (network, device) groups, quantised
variants of a network with it, and scored on the others. `nothing fitted` leaves the stacks out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.served_runs import asked, served_times
from archcast.validation.peers import peer_values
from costmodel.evaluation.scores import Score, score
from costmodel.measured.base import ImportRequest
from costmodel.measured.silicon_sample import SOURCE, load_silicon_sample
from costmodel.stack import SHIPPED_STACKS, ServedTimes, answer, fold_of, framework, with_intervals, write_stacks
from costmodel.tempered import TemperedModel
from workloads.table import Array

FOLDS = 5


@dataclass(frozen=True)
class Runs:
    """Distinct runs of the sample with the times of their step costs (NaN: not answered).

    `asked` counts all distinct runs, those included whose sizes contradict each other.
    """

    times: ServedTimes
    peer_ttft_s: Array
    peer_tpot_s: Array
    asked: int


def evaluate_served(root: Path, seed: int, full: bool) -> list[Score]:
    """Return the scores, fitted to other groups and with nothing fitted. Raises BadFileError."""
    del full
    runs = simulated(root)
    known = np.flatnonzero(np.isfinite(runs.times.tpot_s))
    times = runs.times.take(known)
    said, lo, hi = left_out(times, seed)
    plain = np.stack([times.ttft_s, times.tpot_s])
    out = []
    for row, (name, seen, peer) in enumerate((
        ("TTFT", times.seen_ttft_s, runs.peer_ttft_s), ("TPOT", times.seen_tpot_s, runs.peer_tpot_s),
    )):  # fmt: skip
        base, share = ("aiconfigurator", peer[known]), len(known) / runs.asked
        for word, value, ends in (("fitted", said[row], (lo[row], hi[row])), ("nothing fitted", plain[row], None)):
            labels = ("silicon sample", "all", f"{name} {word}", "benchmark by events", seed)
            out.append(score(labels, seen, value, ends=ends, baseline=base, answered=share))
    return out


def left_out(times: ServedTimes, seed: int) -> tuple[Array, Array, Array]:
    """Return (value, lo, hi) of time to first token and per token, shape (2, rows): each fold by the other four."""
    value, half = np.full((2, len(times.software)), np.nan), np.full((2, len(times.software)), np.nan)
    parts = fold_of(times.group, FOLDS, seed)
    for part in range(FOLDS):
        test = np.flatnonzero(parts == part)
        stacks = with_intervals(times.take(np.flatnonzero(parts != part)))
        held = times.take(test)
        value[:, test] = answer(stacks, held)
        own = [stacks.get(framework(str(name)), stacks[""]) for name in held.software]
        half[:, test] = np.array([[s.ttft_half for s in own], [s.tpot_half for s in own]])
    return value, value * np.exp(-half), value * np.exp(half)


@lru_cache(maxsize=2)
def simulated(root: Path) -> Runs:
    """Return the runs of the sample through the simulator. Raises BadFileError."""
    request = ImportRequest(root / "aiconfigurator")
    (table,) = load_silicon_sample(request)
    wrong = sum(rows for reason, rows in request.report.skipped.items() if "whole system" in reason)
    ttft, tpot, runs = table.value("ttft_s"), table.value("tpot_s"), asked(table)
    first = {(*runs[i], ttft[i], tpot[i]): i for i in reversed(range(table.rows))}
    kept = np.array(sorted(first.values()))
    said, _ = served_times([runs[i] for i in kept], TemperedModel(find_cost_model(None)))
    groups = np.array([f"{family(runs[i][0].workload)} on {runs[i][0].device}" for i in kept], dtype=object)
    nothing = np.full(table.rows, np.nan)
    peers = [peer_values("aiconfigurator", root, table, name) for name in ("ttft_s", "tpot_s")]
    peer_ttft, peer_tpot = (nothing[kept] if peer is None else peer[kept] for peer in peers)
    software = table.text("software")[kept]
    times = ServedTimes(software, groups, said[:, 0], said[:, 1], ttft[kept], tpot[kept])
    return Runs(times, peer_ttft, peer_tpot, len(kept) + wrong)


def family(workload: str) -> str:
    """Return the network that a quantised variant is of."""
    return re.sub(r"-(fp8|nvfp4)$", "", workload)


def write_shipped(root: Path) -> None:
    """Fit the stacks that come with the package to all runs. Raises BadFileError."""
    runs = simulated(root)
    known = np.flatnonzero(np.isfinite(runs.times.tpot_s))
    write_stacks(with_intervals(runs.times.take(known)), SHIPPED_STACKS, SOURCE)
