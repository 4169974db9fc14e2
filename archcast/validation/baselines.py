"""What a prediction stands beside: the roofline, the nearest measured point of the train groups, untuned trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from costmodel.collectives import Fabric
from costmodel.physics import stages
from costmodel.rates import Rates
from workloads.table import KINDS, OP_CODES, Array, OpTable
from workloads.work import count_work

ROOFLINE, NEAREST, PLAIN = "roofline", "nearest", "plain trees"
CHUNK = 2048
"""Test rows whose distances to all train rows stand in memory at once."""
PLAIN_TREES = {"max_depth": 6, "eta": 0.1, "tree_method": "hist", "nthread": 1}
PLAIN_ROUNDS, PLAIN_ROWS = 400, 20_000
"""Trees of the baseline, and the train rows that it is given; of more, a random part."""


def roofline_s(table: OpTable, rates: Rates, fabric: Fabric | None = None) -> Array:
    """Return max(FLOP at the peak, compulsory bytes at the memory's rate) of each row, shape (rows,).

    Of a collective: the bytes that one device must send at its link's rate (Patarasuk and Yuan 2009 for all-reduce).
    """
    parts = stages(table, count_work(table), rates)
    roof = np.maximum(parts.ideal_s, parts.moved_bytes / rates.dram_bytes_per_s)
    out = np.array(np.broadcast_to(roof, (table.rows,)), dtype=np.float64)
    linked = table.full("op") == OP_CODES["collective"]
    if linked.any():
        out[linked] = np.nan
        if fabric is not None:
            ranks, size = np.maximum(table.full("ranks"), 1), table.full("bytes")
            twice = 1.0 + (table.full("kind") == KINDS.index("all_reduce"))
            out[linked] = (twice * (ranks - 1) / ranks * size / fabric.local_bytes_per_s)[linked]
    return out


def nearest(
    sizes: Array, kinds: Array, measured: Array, train: Array, test: Array
) -> Array:  # fmt: skip
    """Return for each test row what the nearest train row of its kind measured, NaN where there is none.

    Args:
        sizes: shape (rows, columns), positive; near means near in the logarithm of each.
        kinds: what must agree, shape (rows,).
        train, test: masks of the rows.
    """
    out = np.full(int(test.sum()), np.nan)
    logs = np.log(np.maximum(sizes, 1e-30)).astype(np.float64)
    wanted = np.flatnonzero(test)
    for kind in np.unique(kinds[wanted]):
        known = np.flatnonzero(train & (kinds == kind))
        asked = np.flatnonzero(kinds[wanted] == kind)
        if len(known):
            out[asked] = measured[known[_closest(logs[wanted[asked]], logs[known])]]
    return out


def _closest(asked: Array, known: Array) -> Array:
    """Return the index of the nearest known row of each asked row."""
    centre = known.mean(axis=0)
    asked, known = asked - centre, known - centre
    squares = (known**2).sum(axis=1)
    found = [
        np.argmin(squares - 2 * asked[i : i + CHUNK] @ known.T, axis=1) for i in range(0, len(asked), CHUNK)
    ]  # fmt: skip
    return np.concatenate(found)


def codes(columns: Sequence[Array] | Mapping[str, Array]) -> Array:
    """Return one number a row that is equal where all columns are, shape (rows,)."""
    arrays = list(columns.values()) if isinstance(columns, Mapping) else list(columns)
    out = np.zeros(len(arrays[0]), dtype=np.int64)
    for column in arrays:
        _, inverse = np.unique(column.astype(str) if column.dtype == object else column, return_inverse=True)
        _, out = np.unique(out * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)
    return out


def plain_trees(features: Array, roof: Array, measured: Array, train: Array, test: Array, seed: int) -> Array:
    """Return what untuned boosted trees on log(measured over roofline) say of the test rows, NaN without a roofline.

    Args:
        features: sizes and codes as they are, shape (rows, columns).
        roof: the roofline in the unit of `measured`, shape (rows,).
        train, test: masks of the rows.
    """
    import xgboost

    known = np.flatnonzero(train & np.isfinite(roof) & (roof > 0))
    if len(known) > PLAIN_ROWS:
        known = np.sort(np.random.default_rng(seed).permutation(known)[:PLAIN_ROWS])
    asked = np.flatnonzero(test)
    if not len(known):
        return np.full(len(asked), np.nan)
    data = xgboost.DMatrix(features[known], label=np.log(measured[known] / roof[known]), nthread=1)
    trees = xgboost.train({**PLAIN_TREES, "seed": seed}, data, num_boost_round=PLAIN_ROUNDS)
    found = roof[asked] * np.exp(trees.inplace_predict(features[asked]))
    return np.asarray(np.where(np.isfinite(found) & (found > 0), found, np.nan))
