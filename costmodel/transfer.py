"""A device of which 10 to 50 whole networks were measured, from devices of which many were.

Each source device gets an additive model of its own (non-negative cost of each group of operators, plus a small
boosted residual). Their log predictions differ from each other along few directions; random additive devices, whose
costs are drawn around the sources' and some of which drop dead code, add directions that no source shows but physics
allows. Both make the prior of `costmodel.bayes`; the shots do the rest. How much each counts is chosen, and intervals
are calibrated, on the sources: each in turn plays the target with as many shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costmodel.bayes import Posterior, Prior, condition, rounding_variance, spread_out
from foundation.errors import BadValueError
from workloads.table import Array

MIXES = ((1.0, 0.03), (1.0, 0.3), (0.3, 1.0))
"""Weights of the sources' and of the invented devices' variance that are tried."""
COMMON = 0.2
"""Prior standard deviation of the exponent that stretches the mean of the sources (estimated, 0.1 to 0.5)."""
INVENTED, COST_SPREAD, DROPS_DEAD = 200, 0.7, 0.3
"""Invented devices, the log standard deviation of their costs, and the share that drop dead code (estimated)."""
RIDGE, SETTLED = 1e-5, 1e-9
TREES = {"max_depth": 3, "eta": 0.05, "subsample": 0.8, "nthread": 1, "seed": 0}
TREE_ROUNDS = 120
FEWEST_SOURCES, FEWEST_NETWORKS = 3, 30
COVERAGE = 0.9
PLAYED_ROWS = 400


@dataclass(frozen=True)
class SourceDevice:
    """One source: additive `costs` of (1, features) in seconds, trees on the log residual, mean log of training."""

    costs: Array
    booster: bytes
    least_s: float
    centre: float

    def log_latency(self, features: Array) -> Array:
        """Return the log of the predicted seconds, shape (networks,)."""
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(self.booster))
        additive = np.maximum(_with_one(features) @ self.costs, self.least_s)
        return np.asarray(np.log(additive) + booster.inplace_predict(features.astype(np.float32)), float)


@dataclass(frozen=True)
class TransferModel:
    """Source devices, the mix of variances that serves them best by shots, and the widening of intervals."""

    sources: tuple[SourceDevice, ...]
    dead: Array
    mix: tuple[float, float] = MIXES[0]
    widening: float = float("nan")
    shots: int = 0

    def prior(self, features: Array) -> Prior:
        """Return the prior of networks; the order of rows is that of `features`."""
        return _prior(self._logs(features), self._invented(features), self.mix)

    def _logs(self, features: Array) -> Array:
        return np.stack([s.log_latency(features) - s.centre for s in self.sources], axis=1)

    def _invented(self, features: Array) -> Array:
        """Return a basis of the differences between devices whose costs are drawn around the sources' mean."""
        shares = np.stack([s.costs / np.exp(s.centre) for s in self.sources]).mean(axis=0)
        random = np.random.default_rng(0)
        costs = shares * np.exp(COST_SPREAD * random.standard_normal((INVENTED, len(shares))))
        drops = random.random(INVENTED) < DROPS_DEAD
        costs[np.ix_(drops, np.concatenate([[False], self.dead]))] = 0.0
        logs = np.log(np.maximum(_with_one(features) @ costs.T, 1e-12))
        logs -= logs.mean(axis=0)
        return _compressed((logs - logs.mean(axis=1)[:, None]) / np.sqrt(INVENTED))


def _prior(logs: Array, invented: Array, mix: tuple[float, float]) -> Prior:
    mean = logs.mean(axis=1)
    own = (logs - mean[:, None]) * np.sqrt(mix[0] / logs.shape[1])
    free = invented * np.sqrt(mix[1])
    return Prior(mean, np.column_stack([COMMON * (mean - mean.mean()), own, free]))


def _compressed(basis: Array) -> Array:
    """Return the same covariance in as many columns as matter (to 1e-6 of the variance)."""
    values, vectors = np.linalg.eigh(basis.T @ basis)
    keep = values > 1e-6 * max(float(values[-1]), 1e-12)
    return np.asarray(basis @ vectors[:, keep])


def fit_transfer(features: Array, latency_s: Array, shots: int, *, dead: Array | None = None) -> TransferModel:
    """Return a model of the source devices, calibrated for targets of so many shots.

    Args:
        features: sums over groups of operators of the training networks, non-negative, shape (networks, features).
        latency_s: measured on each source, shape (networks, sources), NaN where it was not.
        dead: which features count work that a compiler may drop, shape (features,).

    Raises:
        BadValueError: fewer than three sources, or one with fewer than thirty networks.
    """
    features, latency = np.asarray(features, float), np.asarray(latency_s, float)
    if latency.ndim != 2 or latency.shape[1] < FEWEST_SOURCES:
        raise BadValueError(f"Transfer needs at least {FEWEST_SOURCES} source devices.")
    known = np.isfinite(latency) & (latency > 0)
    if int(known.sum(axis=0).min()) < FEWEST_NETWORKS:
        raise BadValueError(
            f"Source device {int(np.argmin(known.sum(axis=0)))} has {int(known.sum(axis=0).min())} measured networks; "
            f"at least {FEWEST_NETWORKS} are needed."
        )
    sources = tuple(_source(features[k], latency[k, i]) for i, k in enumerate(known.T))
    droppable = np.zeros(features.shape[1], bool) if dead is None else np.asarray(dead, bool)
    return _calibrated(TransferModel(sources, droppable, shots=shots), features, latency)


def _source(features: Array, latency_s: Array) -> SourceDevice:
    import xgboost

    costs = additive_costs(features, latency_s)
    least = 0.3 * float(latency_s.min())
    rest = np.log(latency_s / np.maximum(_with_one(features) @ costs, least))
    data = xgboost.DMatrix(features.astype(np.float32), label=rest.astype(np.float32), nthread=1)
    booster = xgboost.train(TREES, data, num_boost_round=TREE_ROUNDS)
    return SourceDevice(costs, bytes(booster.save_raw("ubj")), least, float(np.log(latency_s).mean()))


def additive_costs(features: Array, latency_s: Array, rounds: int = 3000) -> Array:
    """Return non-negative costs of (1, features) that fit latencies best in relative error.

    Non-negative least squares by accelerated projected gradients (Beck and Teboulle 2009) on scaled columns.
    """
    matrix = _with_one(features) / latency_s[:, None]
    scale = np.maximum(np.sqrt((matrix**2).mean(axis=0)), 1e-30)
    matrix /= scale
    gram = matrix.T @ matrix / len(matrix) + RIDGE * np.eye(matrix.shape[1])
    aim = matrix.mean(axis=0)
    step = 1.0 / float(np.linalg.eigvalsh(gram)[-1])
    here = ahead = np.zeros(matrix.shape[1])
    pace = 1.0
    for _ in range(rounds):
        new = np.maximum(ahead - step * (gram @ ahead - aim), 0.0)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        still = np.abs(new - here).max() <= SETTLED * max(float(new.max()), 1e-30)
        ahead, here, pace = new + (pace - 1) / faster * (new - here), new, faster
        if still:
            break
    return np.asarray(here / scale)


def _calibrated(model: TransferModel, features: Array, latency_s: Array) -> TransferModel:
    """Return the model with the mix and the widening that suit sources that play the target."""
    rows = np.linspace(0, len(features) - 1, min(PLAYED_ROWS, len(features))).astype(int)
    logs, invented = model._logs(features[rows]), model._invented(features[rows])
    best: tuple[float, tuple[float, float], float] | None = None
    for mix in MIXES:
        errors, ratios = [], []
        for i in range(logs.shape[1]):
            others = np.delete(logs, i, axis=1)
            known = np.flatnonzero(latency_s[rows, i] > 0)
            played = _played(_prior(others, invented, mix), known, latency_s[rows, i], model.shots)
            errors.append(float(np.mean(np.abs(np.expm1(played[0])))))
            ratios.append(np.abs(played[0]) / played[1])
        score = float(np.mean(errors))
        if best is None or score < best[0]:
            best = (score, mix, float(np.quantile(np.concatenate(ratios), COVERAGE)))
    assert best is not None
    return replace(model, mix=best[1], widening=best[2])


def _played(prior: Prior, known: Array, latency_s: Array, shots: int) -> tuple[Array, Array]:
    """Return log errors and spreads on the rows that a pseudo-target was not shown."""
    at = spread_out(prior, known, min(shots, len(known) // 2))
    found = condition(prior, at, np.log(latency_s[at]), extra_variance=rounding_variance(latency_s[at]))
    rest = np.setdiff1d(known, at)
    return found.mean[rest] - np.log(latency_s[rest]), found.spread[rest]


@dataclass(frozen=True)
class Transferred:
    """Predicted seconds with a 90 % interval (`kind` pseudo_target), shape (networks,)."""

    latency_s: Array
    latency_lo_s: Array
    latency_hi_s: Array
    kind: str = "pseudo_target"


def predict_transfer(
    model: TransferModel, features: Array, at: Sequence[int] | Array, latency_s: Array, prior: Prior | None = None
) -> Transferred:  # fmt: skip
    """Return latencies of all networks on a device that measured those `at`, `latency_s` seconds each.

    `prior` is `model.prior(features)`, where a caller has it already. Raises BadValueError (fewer than three shots).
    """
    places, measured = np.asarray(at, int), np.asarray(latency_s, float)
    if not (measured > 0).all():
        raise BadValueError("A measured latency is not a positive finite number.")
    prior = model.prior(np.asarray(features, float)) if prior is None else prior
    found: Posterior = condition(prior, places, np.log(measured), extra_variance=rounding_variance(measured))
    half = model.widening * found.spread
    middle = np.exp(found.mean)
    return Transferred(middle, middle * np.exp(-half), middle * np.exp(half))


def choose_networks(model: TransferModel, features: Array, shots: int, among: Array | None = None) -> Array:
    """Return which networks to measure on a new device, most telling first."""
    prior = model.prior(np.asarray(features, float))
    return spread_out(prior, np.arange(len(prior.mean)) if among is None else among, shots)


def _with_one(features: Array) -> Array:
    return np.column_stack([np.ones(len(features)), features])
