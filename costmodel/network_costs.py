"""Whole networks on one device as a sum of costs: so many seconds for each unit of each kind of work, and trees on top.

The costs are non-negative and fitted in relative error; each is drawn to the rate that all work of its sort shares on
the device (a FLOP, a byte, a launch, a byte of weights), so that a kind of operator which few networks have keeps a
physical cost. A sum of costs carries over to families that training did not see better than trees do; what bends it
(overlap, caches, shapes that fill a processor badly) boosted trees learn from shares and shapes. The prediction is the
mean of both in the log: half of what the trees say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array

FEWEST_ROWS = 30
ROUNDS, SETTLED, RIDGE = 2000, 1e-9, 1e-5
OFFSET = 0.01
"""The constant is stated in hundredths of the median time, so that the ridge does not favour it."""
TREES = {
    "max_depth": 4, "eta": 0.08, "subsample": 0.7, "colsample_bynode": 0.3, "min_child_weight": 4, "lambda": 5,
    "nthread": 1, "objective": "reg:pseudohubererror", "huber_slope": 0.15,
}  # fmt: skip


@dataclass(frozen=True)
class CostSettings:
    """How strongly costs are drawn to the common rates, the trees' rounds and seeds, and the share of them that counts.

    Pull chosen on timm (seeds 0 and 1, families held out) among 0 to 3: 1 serves CPUs and GPUs alike.
    """

    pull: float = 1.0
    rounds: int = 150
    seeds: int = 1
    trees_share: float = 0.5


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of (constant, columns) in seconds a unit, which columns add up to one share, and the boosters."""

    costs: Array
    unit_s: float
    parts: Array
    boosters: tuple[bytes, ...]
    trees_share: float


def fit_network_costs(
    amounts: Array, rates: Array, parts: Array, shapes: Array, measured_s: Array,
    settings: CostSettings = CostSettings(),
) -> NetworkCosts:  # fmt: skip
    """Return costs of work.

    Args:
        amounts: non-negative work of each network (FLOP, bytes, launches of a kind), shape (rows, columns).
        rates: which columns share a common rate, integers from 0, shape (columns,).
        parts: which columns are shown to the trees as one share of the predicted time, shape (columns,).
        shapes: further features of the trees, shape (rows, features).
        measured_s: shape (rows,).

    Raises:
        BadValueError: too few rows, or a time that is not positive.
    """
    amounts, shapes, measured = (np.asarray(x, float) for x in (amounts, shapes, measured_s))
    if len(measured) < FEWEST_ROWS:
        raise BadValueError(f"Costs of networks need at least {FEWEST_ROWS} rows; {len(measured)} are given.")
    if not (np.isfinite(measured).all() and (measured > 0).all() and (amounts >= 0).all()):
        raise BadValueError("Measured times must be positive and finite, and work must not be negative.")
    unit = OFFSET * float(np.median(measured))
    common = np.stack([amounts[:, rates == rate].sum(axis=1) for rate in range(int(rates.max()) + 1)], axis=1)
    shared = drawn_costs(_with_unit(common, unit), measured, np.zeros(common.shape[1] + 1), 0.0)
    start = np.concatenate([shared[:1], shared[1:][rates]])
    costs = drawn_costs(_with_unit(amounts, unit), measured, start, settings.pull)
    model = NetworkCosts(costs, unit, np.asarray(parts, int), (), settings.trees_share)
    if settings.trees_share == 0:
        return model
    value = _additive(model, amounts)
    boosters = tuple(
        _grow(_features(model, amounts, shapes, value), np.log(measured / value), settings.rounds, seed)
        for seed in range(settings.seeds)
    )
    return NetworkCosts(costs, unit, model.parts, boosters, settings.trees_share)


def predict_network_costs(model: NetworkCosts, amounts: Array, shapes: Array) -> Array:
    """Return seconds, shape (rows,)."""
    import xgboost

    amounts = np.asarray(amounts, float)
    value = _additive(model, amounts)
    if not model.boosters:
        return value
    features = _features(model, amounts, np.asarray(shapes, float), value)
    rest = np.zeros(len(value))
    for raw in model.boosters:
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(raw))
        rest += np.asarray(booster.inplace_predict(features), float) / len(model.boosters)
    return np.asarray(value * np.exp(model.trees_share * rest))


def drawn_costs(matrix: Array, measured_s: Array, start: Array, pull: float) -> Array:
    """Return non-negative costs of columns that fit times best in relative error, each drawn to `start`.

    Least squares of matrix @ costs / measured - 1 plus `pull` times the squared distance from the start, both in units
    of a column's root mean square share; accelerated projected gradients (Beck and Teboulle 2009).
    """
    shares = matrix / measured_s[:, None]
    scale = np.maximum(np.sqrt((shares**2).mean(axis=0)), 1e-30)
    shares = shares / scale
    aim = shares.mean(axis=0) + pull * start * scale
    gram = shares.T @ shares / len(shares) + (RIDGE + pull) * np.eye(shares.shape[1])
    step = 1.0 / float(np.linalg.eigvalsh(gram)[-1])
    here = ahead = start * scale
    pace = 1.0
    for _ in range(ROUNDS):
        new = np.maximum(ahead - step * (gram @ ahead - aim), 0.0)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        still = np.abs(new - here).max() <= SETTLED * max(float(new.max()), 1e-30)
        ahead, here, pace = new + (pace - 1) / faster * (new - here), new, faster
        if still:
            break
    return np.asarray(here / scale)


def _with_unit(amounts: Array, unit: float) -> Array:
    return np.column_stack([np.full(len(amounts), unit), amounts])


def _additive(model: NetworkCosts, amounts: Array) -> Array:
    return np.asarray(np.maximum(_with_unit(amounts, model.unit_s) @ model.costs, 0.1 * model.unit_s))


def _features(model: NetworkCosts, amounts: Array, shapes: Array, value: Array) -> Array:
    """Return the share of each part in the sum of costs, and the shapes."""
    each = amounts * model.costs[1:]
    shares = [each[:, model.parts == part].sum(axis=1) / value for part in range(int(model.parts.max()) + 1)]
    return np.column_stack([*shares, shapes]).astype(np.float32)


def _grow(features: Array, target: Array, rounds: int, seed: int) -> bytes:
    import xgboost

    data = xgboost.DMatrix(features, label=target, nthread=1)
    return bytes(xgboost.train({**TREES, "seed": seed}, data, num_boost_round=rounds).save_raw("ubj"))
