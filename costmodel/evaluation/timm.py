"""timm's table: the time of a batch on one device, networks of a family held out together.

Operators come from our graphs, those too that a compiler would fuse. Two models see them: a sum of costs of each kind
of work with trees on top (`costmodel.network_costs`), and arithmetic, traffic and launches in seconds of an ideal
device with factors that trees learn (`costmodel.whole_network`); the prediction is their mean in the log. One model a
device and software, from that device's rows only. Intervals: the errors of the other folds' families set the width.
Baseline: XGBoost on the log of the three figures that the table itself holds of a network (MACs, activations,
parameters), of the same rows.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.evaluation.scores import Score, folds, score
from costmodel.network_costs import fit_network_costs, predict_network_costs
from costmodel.network_work import FUSED, KINDS, Amounts, NetworkWork, amounts_of, work_of
from costmodel.whole_network import Settings, fit_terms, predict_terms
from foundation.errors import ArchcastError
from workloads.catalogue import load_model
from workloads.model import Request
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

CONFIGS = (
    "infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo", "infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo",
    "infer-amp-nchw-pt240-cu124-rtx3090", "infer-amp-nchw-pt240-cu124-rtx4090",
    "infer-amp-nchw-pt291-cu130-pro6000maxq",
)  # fmt: skip
"""One configuration of inference a device."""
SETTINGS = Settings(additive_start=True, rounds=200, depth=4, rate=0.08, sharpness=1.0, columns=0.4, leaf_weight=1.0)
PLAIN_TREES = {"max_depth": 4, "eta": 0.05, "subsample": 0.8, "nthread": 1}
PLAIN_ROUNDS = 250
FOLDS = 5
COSTS_SHARE = 0.5
"""Share of the sum of costs (and its trees) in the mean; the rest is the terms. Chosen on seeds 0 and 1."""
IDEAL_FLOP_PER_S, IDEAL_BYTES_PER_S, IDEAL_LAUNCH_S = 1e13, 1e12, 1e-5
"""Rates of the ideal device that terms are stated for; a factor on each is learned, so their values do not matter."""


def describe(workload: str, image: int) -> NetworkWork:
    """Return what one image makes a device do. Raises ArchcastError: the network cannot have that image."""
    return work_of(load_model(workload, {"image": image}).workload(Request(batch=1)).passes)


@dataclass(frozen=True)
class Rows:
    """Rows of one device and software: work, terms, ratios, seconds, family, and figures for the baseline."""

    device: str
    software: str
    workload: Array
    amounts: Amounts
    terms: Array
    ratios: Array
    latency_s: Array
    family: Array
    plain: Array
    answered: float
    families: int


def read_rows(root: Path, tables: Iterable[WorkloadMeasurements], configs: Sequence[str] = CONFIGS) -> list[Rows]:
    """Return the rows of some configurations of inference, all where none is named; `root` is the data's folder."""
    with gzip.open(root / "timm" / "benchmark.csv.gz", "rt", encoding="utf-8") as file:
        asked = Counter(row["config"] for row in csv.DictReader(file) if row["infer_step_time"])
    known: dict[tuple[str, int], NetworkWork | None] = {}
    named = [(table.path.split()[-1], table) for table in tables]
    return [rows_of(table, known, asked[config]) for config, table in named
            if config in configs or (not configs and config.startswith("infer"))]  # fmt: skip


def rows_of(table: WorkloadMeasurements, known: dict[tuple[str, int], NetworkWork | None], asked: int) -> Rows:
    """Return the rows of one table that our graphs can describe; `asked` is the rows of the data set on this device."""
    found: list[tuple[int, NetworkWork]] = []
    for row in range(table.rows):
        key = (str(table.workload[row]), int(table.knobs(row).get("image", 0)))
        if key not in known:
            try:
                known[key] = describe(*key)
            except ArchcastError:
                known[key] = None
        described = known[key]
        if described is not None:
            found.append((row, described))
    at = np.array([row for row, _ in found], int)
    batch = table.size("batch", 1.0)[at]
    works = [work for _, work in found]
    amounts = amounts_of(works, batch)
    # terms are of a compiled network; what eager software pays on top, the trees read from the shares
    launched = len(KINDS) - len(FUSED)
    flop, weights, calls = (
        np.array([float(getattr(w, n)[:launched].sum()) for w in works]) for n in ("flop", "weight_bytes", "launches")
    )
    moved = np.array([float((w.read_bytes + w.written_bytes)[:launched].sum()) for w in works])
    terms = np.stack([flop * batch / IDEAL_FLOP_PER_S, (moved * batch + weights) / IDEAL_BYTES_PER_S,
                      calls * IDEAL_LAUNCH_S], axis=1)  # fmt: skip
    work, traffic, launch = np.log(terms).T
    ratios = np.column_stack([amounts.shapes, work - traffic, work - launch, traffic - launch,
                              weights / (moved * batch + weights), np.log(weights)])  # fmt: skip
    plain = np.log(np.stack([flop / 2 * batch, moved * batch, weights], axis=1))
    family = table.groups()[at]
    answered, families = len(at) / max(asked, len(at)), len(set(family.tolist()))
    return Rows(
        str(table.device[0]), str(table.text("software")[0]), table.workload[at], amounts, terms, ratios,
        table.value("latency_s")[at], family, plain, answered, families,
    )  # fmt: skip


def evaluate_timm(
    tables: Iterable[Rows], seeds: Sequence[int] = (0, 1, 2, 3, 4), settings: Settings = SETTINGS
) -> list[Score]:
    """Return a score for each table and seed: five folds by family, each predicted by the other four."""
    return [_folded(rows, seed, settings) for rows in tables for seed in seeds]


def _folded(rows: Rows, seed: int, settings: Settings) -> Score:
    import xgboost

    part = folds(rows.family, FOLDS, seed)
    value, other = np.zeros(len(part)), np.zeros(len(part))
    for i in range(FOLDS):
        train, test = part != i, part == i
        value[test] = _predicted(rows, train, test, settings)
        data = xgboost.DMatrix(rows.plain[train], label=np.log(rows.latency_s[train]), nthread=1)
        trees = xgboost.train({**PLAIN_TREES, "seed": seed}, data, num_boost_round=PLAIN_ROUNDS)
        other[test] = np.exp(trees.inplace_predict(rows.plain[test]))
    errors = np.abs(np.log(value / rows.latency_s))
    half = np.array([conformal_half(errors[part != i]) for i in range(FOLDS)])[part]
    return score(
        ("timm", f"{rows.device} {rows.software}", f"family out, {rows.families} families", "graph costs", seed),
        rows.latency_s, value, ends=(value * np.exp(-half), value * np.exp(half)),
        baseline=("XGBoost on 3 figures", other), answered=rows.answered,
    )  # fmt: skip


def _predicted(rows: Rows, train: Array, test: Array, settings: Settings) -> Array:
    """Return seconds of the test rows, of models that saw the train rows."""
    work, seconds = rows.amounts, rows.latency_s[train]
    sums = fit_network_costs(work.matrix[train], work.rates, work.parts, work.shapes[train], seconds)
    terms = fit_terms(rows.terms[train], rows.ratios[train], seconds, rows.family[train], settings, calibrate=False)
    first = np.log(predict_network_costs(sums, work.matrix[test], work.shapes[test]))
    second = np.log(predict_terms(terms, rows.terms[test], rows.ratios[test]).value)
    return np.asarray(np.exp(COSTS_SHARE * first + (1 - COSTS_SHARE) * second))
