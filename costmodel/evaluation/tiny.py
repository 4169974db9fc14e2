"""MLPerf Tiny on microcontrollers: the pace of a stack's kernels from all boards but one, the boards left out in turn.

The closed form of each network is divided by what kernels do (windows, 1 x 1, depthwise, dense layers); their paces are
fitted in relative error, drawn to one pace for all. Baseline: the closed form alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.memory import memory_of
from costmodel.network_costs import drawn_costs
from costmodel.on_chip import OnChip, placed
from costmodel.partition import KERNELS, kernel_of
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.mapping import ONE_DEVICE
from workloads.model import Request
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

STACKS = {"X-CUBE-AI": "x-cube-ai", "Hardware-Aware": "hale"}
"""What the software of a row begins with, or has in it, and the runtime of the catalogue."""
FITTED = len(KERNELS) - 1
"""All kernels but `other`, which no network has enough of."""
PULL = 0.1
FEWEST_BOARDS = 3


@dataclass(frozen=True)
class TinyRows:
    """Rows of one stack: the board of each, seconds by kernel of the closed form, and what was measured."""

    stack: str
    board: Array
    terms_s: Array
    measured_s: Array


def read_tiny(tables: Sequence[WorkloadMeasurements]) -> list[TinyRows]:
    """Return the rows of microcontrollers with a latency, by stack."""
    found: dict[str, list[tuple[str, Array, float]]] = {stack: [] for stack in STACKS.values()}
    known: dict[tuple[str, str, str], Array] = {}
    for table in tables:
        latency, software = table.value("latency_s"), table.text("software")
        for row in np.flatnonzero(np.isfinite(latency)):
            stack = next((name for word, name in STACKS.items() if word in str(software[row])), "")
            if not stack:
                continue
            key = (str(table.device[row]), str(table.workload[row]), str(table.text("params")[row]))
            if key not in known:
                known[key] = kernel_seconds(key[0], key[1], table.knobs(int(row)))
            found[stack].append((key[0], known[key], float(latency[row])))
    return [
        TinyRows(stack, np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))
        for stack, rows in found.items() if rows
    ]  # fmt: skip


def kernel_seconds(device: str, workload: str, knobs: dict[str, Any]) -> Array:
    """Return the seconds of a network in int8 by what its kernels do, weights in the memory where they lie."""
    spec = load_device(device)
    rates = compile_rates(spec)
    run = load_model(workload, {name: str(value) for name, value in knobs.items()}).workload(Request(dtype="int8"))
    lowered = lower(run.passes)
    report = placed(memory_of(run, lowered, ONE_DEVICE, rates), spec, rates, run, lowered)
    if isinstance(report, OnChip) and report.rates is not None:
        costs = report.priced(predict_physics(lowered.table, report.rates), lowered.table)
    else:
        costs = predict_physics(lowered.table, rates)
    seconds = costs.latency_s * lowered.table.full("count")
    return np.bincount(kernel_of(lowered.table), weights=seconds, minlength=len(KERNELS))


def fit_paces(rows: TinyRows, train: Array) -> Array:
    """Return the pace of each kernel: non-negative, of least relative error, drawn to what all have in common."""
    terms, rest = rows.terms_s[train, :FITTED], rows.terms_s[train, FITTED]
    left = np.maximum(rows.measured_s[train] - rest, 1e-3 * rows.measured_s[train])
    whole = terms.sum(axis=1) / left
    common = float(whole.sum() / (whole**2).sum())
    return np.append(drawn_costs(terms, left, np.full(FITTED, common), PULL), 1.0)


def evaluate_tiny(rows: Sequence[TinyRows]) -> list[Score]:
    """Return one score a stack, over all boards, each predicted by paces of the others."""
    found = []
    for one in rows:
        boards = np.unique(one.board)
        if len(boards) < FEWEST_BOARDS:
            continue
        predicted = np.zeros(len(one.measured_s))
        for board in boards:
            test = one.board == board
            predicted[test] = one.terms_s[test] @ fit_paces(one, ~test)
        labels = ("MLPerf Tiny", one.stack, "board left out", "paces of kernels", 0)
        baseline = ("closed form", one.terms_s.sum(axis=1))
        found.append(score(labels, one.measured_s, predicted, baseline=baseline))
    return found
