"""timm's table: the time of a batch on one device, networks of a family held out together.

Operators come from our graphs: arithmetic and traffic of each kind of operator, launches, and the sizes that decide
how well a product fills a processor. Terms are arithmetic, traffic and launches in seconds of an ideal device; what a
device makes of them, the trees learn from ratios, one model a device and software. Baseline: XGBoost on the log of the
three figures that the table itself holds of a network (MACs, activations, parameters), of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.evaluation.scores import Score, folds, score
from costmodel.whole_network import Settings, fit_terms, predict_terms
from foundation.errors import ArchcastError
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.model import Request
from workloads.table import OPS, Array, OpTable
from workloads.work import OpWork, count_work
from workloads.workload_measurements import WorkloadMeasurements

SETTINGS = Settings(additive_start=True, rounds=200, depth=4, rate=0.08, sharpness=1.0, columns=0.4, leaf_weight=1.0)
PLAIN_TREES = {"max_depth": 4, "eta": 0.05, "subsample": 0.8, "nthread": 1}
PLAIN_ROUNDS = 250
FOLDS = 5
KINDS = ("conv1", "conv", "grouped", "depthwise", "gemm", "attention", "norm", "elementwise", "copy", "other")
IDEAL_FLOP_PER_S, IDEAL_BYTES_PER_S, IDEAL_LAUNCH_S = 1e13, 1e12, 1e-5
"""Rates of the ideal device that terms are stated for; a factor on each is learned, so their values do not matter."""
SMALL = 1e-6


@dataclass(frozen=True)
class Described:
    """A network at one image size: per image FLOP and bytes of each kind, launches, weights, and shape statistics."""

    flop: Array
    activation_bytes: Array
    launches: Array
    weight_bytes: float
    shapes: Array


def describe(workload: str, image: int) -> Described:
    """Return what one image makes a device do. Raises ArchcastError: the network cannot have that image."""
    model = load_model(workload, {"image": image})
    table = lower(model.workload(Request(batch=1)).passes).table
    work = count_work(table)
    kinds = _kinds(table)
    count = table.full("count")

    def per_kind(values: Array) -> Array:
        return np.bincount(kinds, np.broadcast_to(values, (table.rows,)) * count, len(KINDS))

    return Described(
        per_kind(work.flop), per_kind(work.input_bytes + work.output_bytes), per_kind(np.ones(table.rows)),
        float((np.broadcast_to(work.weight_bytes, (table.rows,)) * count).sum()), _shapes(work, count),
    )  # fmt: skip


def _kinds(table: OpTable) -> Array:
    names = np.array(OPS)[table.full("op")]
    wide, groups, inputs = table.full("kh") * table.full("kw"), table.full("groups"), table.full("c_in")
    conv = np.where(
        groups <= 1, np.where(wide <= 1, "conv1", "conv"), np.where(groups >= inputs, "depthwise", "grouped")
    )
    found = np.where(names == "conv2d", conv, names)
    return np.array([KINDS.index(name) if name in KINDS else len(KINDS) - 1 for name in found.tolist()])


def _shapes(work: OpWork, count: Array) -> Array:
    """Return means of log sizes: of products weighted by FLOP, and of traffic by bytes; and their spread."""
    rows = len(count)
    matrix = np.broadcast_to(work.matrix_flop, (rows,)) * count
    moved = np.broadcast_to(work.bytes_moved, (rows,)) * count
    found = []
    for weights, columns in ((matrix, (work.m, work.n, work.k, work.gemms)), (moved, (work.bytes_moved,))):
        share = weights / max(float(weights.sum()), 1e-30)
        for column in columns:
            logs = np.log(np.maximum(np.broadcast_to(column, (rows,)), 1.0))
            mean = float(share @ logs)
            found += [mean, float(np.sqrt(max(share @ (logs - mean) ** 2, 0.0)))]
    return np.array(found)


@dataclass(frozen=True)
class Rows:
    """Rows of one device and software: terms and ratios, seconds, family, and figures of the table for the baseline."""

    device: str
    software: str
    workload: Array
    terms: Array
    ratios: Array
    latency_s: Array
    family: Array
    plain: Array
    answered: float
    families: int


def rows_of(table: WorkloadMeasurements, known: dict[tuple[str, int], Described | None], asked: int) -> Rows:
    """Return the rows of one table that our graphs can describe; `asked` is the rows of the data set on this device."""
    found: list[tuple[int, Described]] = []
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
    flop, moved, launches = (np.stack([getattr(d, name) for _, d in found]) for name in
                             ("flop", "activation_bytes", "launches"))  # fmt: skip
    weights = np.array([d.weight_bytes for _, d in found])
    shapes = np.stack([d.shapes for _, d in found])
    terms, ratios = _features(flop, moved, launches, weights, batch, shapes)
    plain = np.log(np.stack([flop.sum(axis=1) / 2 * batch, moved.sum(axis=1) * batch, weights], axis=1))
    family = table.groups()[at]
    answered, families = len(at) / max(asked, len(at)), len(set(family.tolist()))
    return Rows(
        str(table.device[0]), str(table.text("software")[0]), table.workload[at], terms, ratios,
        table.value("latency_s")[at], family, plain, answered, families,
    )  # fmt: skip


def _features(
    flop: Array, moved: Array, launches: Array, weights: Array, batch: Array, shapes: Array
) -> tuple[Array, Array]:  # fmt: skip
    """Return terms in ideal seconds, and the ratios."""
    work, traffic, calls = flop.sum(axis=1) * batch, moved.sum(axis=1) * batch + weights, launches.sum(axis=1)
    terms = np.stack([work / IDEAL_FLOP_PER_S, traffic / IDEAL_BYTES_PER_S, calls * IDEAL_LAUNCH_S], axis=1)
    shares = [part / part.sum(axis=1, keepdims=True) for part in (flop, moved, launches)]
    own = np.log(np.maximum(flop, SMALL) / np.maximum(moved, SMALL)).clip(-5, 15)
    ratios = np.column_stack([
        *shares, own, shapes, np.log(work / traffic), np.log(work / calls), np.log(traffic / calls),
        weights / traffic, np.log(weights),
    ])  # fmt: skip
    return terms, ratios


def evaluate_timm(
    tables: Iterable[Rows], seeds: Sequence[int] = (0, 1, 2, 3, 4), settings: Settings = SETTINGS
) -> list[Score]:
    """Return a score for each table and seed: five folds by family, each predicted by the other four."""
    scores = []
    for rows in tables:
        for seed in seeds:
            scores.append(_folded(rows, seed, settings))
    return scores


def _folded(rows: Rows, seed: int, settings: Settings) -> Score:
    import xgboost

    part = folds(rows.family, FOLDS, seed)
    value, lo, hi, other = (np.zeros(len(part)) for _ in range(4))
    for i in range(FOLDS):
        train, test = part != i, part == i
        model = fit_terms(rows.terms[train], rows.ratios[train], rows.latency_s[train], rows.family[train], settings)
        found = predict_terms(model, rows.terms[test], rows.ratios[test])
        value[test], lo[test], hi[test] = found.value, found.lo, found.hi
        data = xgboost.DMatrix(rows.plain[train], label=np.log(rows.latency_s[train]), nthread=1)
        trees = xgboost.train({**PLAIN_TREES, "seed": seed}, data, num_boost_round=PLAIN_ROUNDS)
        other[test] = np.exp(trees.inplace_predict(rows.plain[test]))
    return score(
        ("timm", f"{rows.device} {rows.software}", f"family out, {rows.families} families", "graph terms", seed),
        rows.latency_s, value, ends=(lo, hi), baseline=("XGBoost on 3 figures", other), answered=rows.answered,
    )  # fmt: skip
