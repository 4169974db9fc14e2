"""What a kernel's time is made of: a weighted sum of stages, fitted by kernel, that trees then correct.

Operators with few measured shapes (expert layers, latent attention) leave trees little to tell sizes from, and trees
are constant beyond what they saw. A sum of stages (weights read, arithmetic, rows moved, launches ...) with weights
that are not negative extends to other sizes as time does. Each kernel (number format, framework, version) of a model
has weights of its own, fitted to relative errors with all shapes counted alike and drawn to those of its format and
framework, which are drawn to the closed form. What a kernel of one shape would say of others is not asked.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from costmodel.features import CODES, GROUP_OF, LAYOUTS, STAGES
from workloads.table import OP_CODES, Array

ANCHORED: tuple[str, ...] = ("moe", "mla")
"""Operators whose trees learn what a sum of stages leaves."""
KEYS = ("dtype", "framework", "version")
"""Features that name a kernel of a model."""
FEWEST_SHAPES = 2
TO_FAMILY, TO_PHYSICS = 0.003, 0.001
"""How much a kernel's weights are drawn to those of its family, and a family's to the closed form, as a part of the
squared error (0.001 to 0.01 differ by less than 0.5 % of error in cross-validation; 0.3 loses 1 %)."""
SWEEPS = 300
LEAST = 1e-3
"""A sum of stages below this part of the closed form's time is raised to it: a fault of the fit."""
_APART = np.array([1e9, 1e6, 1.0])
"""How much a difference in each of `KEYS` counts where a kernel has no weights of its own: its format above all."""


@lru_cache(maxsize=16)
def _columns(op: str) -> tuple[Array, Array]:
    """Return the columns of stages (as logarithms) and of `KEYS` in an operator's features."""
    group = GROUP_OF[OP_CODES[op]]
    names = LAYOUTS[group].names
    return np.array([names.index(n) for n in STAGES.get(group, ())], dtype=np.intp), np.array(
        [len(names) - len(CODES) + CODES.index(n) for n in KEYS], dtype=np.intp
    )


def stages(features: Array, op: str) -> Array:
    """Return the stages of each row over the closed form's time: itself (1), those of every operator, its own."""
    own, _ = _columns(op)
    names = LAYOUTS[GROUP_OF[OP_CODES[op]]].names
    launch, memory, intensity, waste = (
        features[:, names.index(n)].astype(np.float64)
        for n in ("time_over_launch", "memory_over_time", "compute_over_memory", "shape_waste")
    )
    logs = np.empty((len(features), 4 + len(own)))
    logs[:, 0], logs[:, 1], logs[:, 2], logs[:, 3] = -launch, memory, memory + intensity, memory + intensity + waste
    logs[:, 4:] = features[:, own]
    return np.concatenate((np.ones((len(features), 1)), np.exp(np.clip(logs, -60, 60))), axis=1)


def anchored(table: Array, features: Array, name: str) -> Array:
    """Return log(sum of stages / closed form) of each row by the kernels of a table (rows: `KEYS`, then weights).

    `name` is that of an operator, or of a model of it."""
    op = name.split("/", 1)[0]
    _, keys = _columns(op)
    mine = features[:, keys]
    if len(features) > 1 and (mine == mine[0]).all():
        mine = mine[:1]
    kernels, inverse = np.unique(mine, axis=0, return_inverse=True) if len(mine) > 1 else (mine, None)
    nearest = [int((np.abs(table[:, : len(KEYS)] - kernel) @ _APART).argmin()) for kernel in kernels]
    weights = table[nearest, len(KEYS) :].astype(np.float64)
    # one order of adding for one row and for many: a batch is its rows one by one, to the last bit
    total = (stages(features, op) * (weights[0] if inverse is None else weights[inverse.ravel()])).sum(axis=1)
    return np.asarray(np.log(np.maximum(total, LEAST)))


def fitted_anchor(features: Array, op: str, ratio: Array, shape: Array) -> Array:
    """Return the table of a model's kernels; `ratio` is measured over closed form.

    Same rows, same table: rows are not drawn, and the descent has a fixed number of sweeps.
    """
    _, columns = _columns(op)
    keys, parts = features[:, columns], stages(features, op) / ratio[:, None]
    physics = np.zeros(parts.shape[1])
    physics[0] = 1.0
    families: dict[tuple[float, ...], Array] = {}
    found = []
    for key in np.unique(keys, axis=0):
        name = tuple(float(x) for x in key[:2])
        if name not in families:
            families[name] = _weights(parts, shape, (keys[:, :2] == key[:2]).all(axis=1), physics, TO_PHYSICS)
        own = _weights(parts, shape, (keys == key).all(axis=1), families[name], TO_FAMILY)
        found.append(np.concatenate((key, own)))
    return np.array(found, dtype=np.float32)


def _weights(parts: Array, shape: Array, mine: Array, prior: Array, pull: float) -> Array:
    """Return weights that are not negative and make the parts of each row sum to 1; the prior's for too few shapes."""
    where = np.flatnonzero(mine)
    _, inverse, counts = np.unique(shape[where], return_inverse=True, return_counts=True)
    if len(counts) < FEWEST_SHAPES:
        return prior
    share = (1.0 / (counts[inverse.ravel()] * len(counts)))[:, None]
    x = parts[where]
    scale = np.sqrt((share * x**2).sum(axis=0)) + 1e-12
    x = x / scale
    square, right = x.T @ (share * x), (share * x).sum(axis=0) + pull * prior * scale
    square[np.diag_indices(len(scale))] += pull
    weights = prior * scale
    for _ in range(SWEEPS):
        for i in range(len(weights)):
            weights[i] = max(0.0, weights[i] + (right[i] - square[i] @ weights) / square[i, i])
    return np.asarray(weights / scale)
