"""Boosted trees on the log residual: one model a kind of operator of a device or of siblings, each on one thread.

A model has few kernels to learn, so that 200 trees are enough, and only these are asked for a row. Training
uses one thread (two spin where other work shares the cores); models are independent, so the result does not depend on
how many run at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from costmodel.anchors import ANCHORED, anchored, fitted_anchor
from costmodel.calibration.rows import Rows
from costmodel.features import LAYOUTS, UNBOUNDED
from costmodel.knowledge import FREE
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import OPS, Array

SETTINGS: dict[str, Any] = {
    "objective": "reg:squarederror", "tree_method": "hist", "eta": 0.1, "max_bin": 256, "min_child_weight": 3,
    "subsample": 0.8, "colsample_bytree": 0.5, "lambda": 1.0, "nthread": 1,
}  # fmt: skip
OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "gemm": {"colsample_bytree": 0.8},
    "attention": {"colsample_bytree": 0.8, "grow_policy": "lossguide", "max_leaves": 256, "max_depth": 10},
}
"""What operators with many rows take in place of `SETTINGS` where a model is deep: more of the features a tree, and for
attention leaves where they tell the most."""
DEEP, SHALLOW, DEEP_ROWS = 8, 6, 4_000
"""Depth of trees, and the rows from which the deeper is used."""
ROUNDS = 200
MODEL_ROWS = 200_000
"""Rows that one model is trained on; of more, a random part."""
FARTHEST = 7.0
"""Log residuals beyond this (a factor of 1,100) are pulled in: they are faults of a row, not of a kernel. The largest
that holds for whole curves is 6.9: block-scaled fp8 products of few rows in vLLM on the GB300."""


def train(rows: Rows, seed: int, rounds: int, depth: int | None = None) -> FlatTrees:
    """Return trees on the log residual of rows of one model."""
    import xgboost

    if len(rows) > MODEL_ROWS:
        rows = rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:MODEL_ROWS]))
    error, anchor = rows.log_error, None
    op = OPS[int(rows.op[0])]
    if op in ANCHORED:
        anchor = fitted_anchor(rows.matrix, op, rows.latency_s / rows.physics_s, rows.group)
        error = error - anchored(anchor, rows.matrix, op)
    target = np.clip(error, -FARTHEST, FARTHEST).astype(np.float32)
    deepest = depth or (DEEP if len(rows) >= DEEP_ROWS else SHALLOW)
    data = xgboost.QuantileDMatrix(np.ascontiguousarray(rows.matrix), label=target, nthread=1, max_bin=256)
    settings = {**SETTINGS, "max_depth": deepest, "seed": seed}
    if depth is None and deepest == DEEP:
        settings |= OWN_SETTINGS.get(OPS[int(rows.op[0])], {})
    booster = xgboost.train(settings, data, num_boost_round=rounds)
    return replace(trees_from_json(bytes(booster.save_raw("json"))), anchor=anchor)


def train_all(
    groups: dict[str, tuple[Rows, Array]], seed: int, rounds: int, progress: Callable[[str], None] = lambda _: None
) -> dict[str, FlatTrees]:  # fmt: skip
    """Return the trees of every model: of each group of operators, its rows and the indices that train."""
    jobs: list[tuple[str, Rows, Array]] = []
    for rows, chosen in groups.values():
        model = rows.model[chosen]
        jobs += [(rows.words.models[int(code)], rows, chosen[model == code]) for code in np.unique(model)]
    jobs.sort(key=lambda job: (-len(job[2]), job[0]))
    done = 0

    def work(job: tuple[str, Rows, Array]) -> tuple[str, FlatTrees]:
        nonlocal done
        name, rows, index = job
        found = train(rows.take(index), seed, rounds)
        done += 1
        progress(f"trained {done} of {len(jobs)} models")
        return name, found

    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        return dict(sorted(pool.map(work, jobs)))


def ranges(rows: Rows, chosen: Array, group: str) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the least and largest of each ratio that each model was trained on."""
    found, ranged = {}, LAYOUTS[group].ranged
    model = rows.model[chosen]
    for code in np.unique(model):
        op = rows.words.models[int(code)].split("/", 1)[0]
        free = np.isin(LAYOUTS[group].names[:ranged], UNBOUNDED.get(op, ()))
        part = rows.matrix[chosen[model == code], :ranged]
        lo, hi = np.where(free, -FREE, part.min(axis=0)), np.where(free, FREE, part.max(axis=0))
        found[rows.words.models[int(code)]] = (tuple(float(x) for x in lo), tuple(float(x) for x in hi))
    return found
