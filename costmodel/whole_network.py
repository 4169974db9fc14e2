"""Whole networks on one device: a soft maximum of physical terms, each with an efficiency that trees learn.

A term is a time that physics knows up to a factor: the arithmetic at the peak, the bytes at the bandwidth, a message
over a link. The factor of each term comes from boosted trees on dimensionless features, all trees fitted together
through the maximum, so that sizes and rates enter by physics alone and the trees see ratios. With sharpness 1 terms
add up; the larger it is, the nearer to the largest term. Intervals are conformal, from groups held out in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.transfer import additive_costs
from foundation.errors import BadValueError
from workloads.table import Array

FEWEST_ROWS, FEWEST_GROUPS = 30, 4
STEP_LIMIT, CURVATURE = 1.0, 0.02
"""Largest log error that one step of boosting sees, and the least curvature of a term that is not the largest."""
PARTS = 3


@dataclass(frozen=True)
class Settings:
    """How the trees are grown; `seeds` models are averaged in the log.

    They start from the terms' best non-negative sum (`additive_start`: terms that add up), or all from one factor.
    """

    rounds: int = 500
    depth: int = 5
    rate: float = 0.05
    sharpness: float = 4.0
    rows: float = 0.8
    columns: float = 0.6
    leaf_weight: float = 1.5
    shrink: float = 3.0
    seeds: int = 1
    additive_start: bool = False


@dataclass(frozen=True)
class TermModel:
    """Boosters over the factors of `terms` terms, and the half width of the log interval (NaN: uncalibrated)."""

    boosters: tuple[bytes, ...]
    terms: int
    start: Array
    sharpness: float
    half: float = float("nan")
    held_out: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def kind(self) -> str:
        return "uncalibrated" if np.isnan(self.half) else "conformal"


@dataclass(frozen=True)
class Predicted:
    """Predictions with a 90 % interval, in the unit of the terms, shape (rows,)."""

    value: Array
    lo: Array
    hi: Array
    kind: str


def fit_terms(
    terms: Array, ratios: Array, measured: Array, groups: Array, settings: Settings = Settings(), *,
    calibrate: bool = True,
) -> TermModel:  # fmt: skip
    """Return a model of measured times.

    Args:
        terms: positive times of physics, shape (rows, terms).
        ratios: dimensionless features of the trees, shape (rows, features).
        measured: shape (rows,); same unit as the terms.
        groups: what must stay on one side of a split, shape (rows,); calibration holds them out in turn.

    Raises:
        BadValueError: too few rows or groups, or a value that is not positive.
    """
    terms, ratios, measured = (np.asarray(x, float) for x in (terms, ratios, measured))
    if len(measured) < FEWEST_ROWS:
        raise BadValueError(f"A model of whole networks needs at least {FEWEST_ROWS} rows; {len(measured)} are given.")
    if not (np.isfinite(measured).all() and (measured > 0).all() and (terms > 0).all()):
        raise BadValueError("Measured times and physical terms must be positive and finite.")
    held_out = np.zeros(0)
    if calibrate:
        if len(np.unique(groups.astype(str))) < FEWEST_GROUPS:
            raise BadValueError(f"Nothing can be held out: fewer than {FEWEST_GROUPS} groups of networks.")
        held_out = _held_out(terms, ratios, measured, groups, settings)
    start = _start(terms, measured) if settings.additive_start else _level(terms, measured)
    boosters = tuple(
        _grow(np.log(terms), ratios, np.log(measured), start, settings, seed) for seed in range(settings.seeds)
    )
    half = conformal_half(np.abs(held_out)) if calibrate else float("nan")
    return TermModel(boosters, terms.shape[1], start, settings.sharpness, half, held_out)


def _level(terms: Array, measured: Array) -> Array:
    """Return one log factor for all terms: the median of measured over each."""
    return np.full(terms.shape[1], float(np.median(np.log(measured)[:, None] - np.log(terms))))


def _start(terms: Array, measured: Array) -> Array:
    """Return the log factor of each term that trees start from: the best non-negative sum, no factor below 1/50."""
    shares = additive_costs(terms, measured)[1:] * (terms / measured[:, None]).mean(axis=0)
    shares = np.maximum(shares, 0.02 / terms.shape[1])
    return np.asarray(np.log(shares) - np.log((terms / measured[:, None]).mean(axis=0)))


def _held_out(terms: Array, ratios: Array, measured: Array, groups: Array, settings: Settings) -> Array:
    """Return the log errors of rows whose group was not trained on."""
    names = np.unique(groups.astype(str))
    order = np.random.default_rng(0).permutation(len(names))
    part = dict(zip(names[order].tolist(), (np.arange(len(names)) % PARTS).tolist(), strict=True))
    fold = np.array([part[g] for g in groups.astype(str)])
    errors = np.zeros(len(measured))
    for i in np.unique(fold):
        train, test = fold != i, fold == i
        if train.sum() < FEWEST_ROWS:
            continue
        model = fit_terms(terms[train], ratios[train], measured[train], groups[train], settings, calibrate=False)
        errors[test] = np.log(_value(model, terms[test], ratios[test]) / measured[test])
    return errors


def _grow(logs: Array, ratios: Array, target: Array, start: Array, settings: Settings, seed: int) -> bytes:
    import xgboost

    rows, terms = logs.shape
    data = xgboost.DMatrix(ratios.astype(np.float32), label=target, nthread=1)
    data.set_base_margin(np.tile(start, (rows, 1)))

    def objective(margin: Array, _: object) -> tuple[Array, Array]:
        value, share = _soft_largest(margin.reshape(rows, terms) + logs, settings.sharpness)
        error = np.clip(value - target, -STEP_LIMIT, STEP_LIMIT)
        return error[:, None] * share, share + CURVATURE

    booster = xgboost.train(
        {
            "max_depth": settings.depth, "eta": settings.rate, "subsample": settings.rows,
            "colsample_bynode": settings.columns, "min_child_weight": settings.leaf_weight,
            "reg_lambda": settings.shrink, "num_target": terms, "base_score": 0.0, "nthread": 1, "seed": seed,
            "disable_default_eval_metric": 1,
        },
        data, num_boost_round=settings.rounds, obj=objective,
    )  # fmt: skip
    return bytes(booster.save_raw("ubj"))


def _soft_largest(logs: Array, sharpness: float) -> tuple[Array, Array]:
    """Return the log of the soft maximum of terms given by their logs, and the share of each term in it."""
    sharp = logs * sharpness
    top = sharp.max(axis=1, keepdims=True)
    each = np.exp(sharp - top)
    whole = each.sum(axis=1, keepdims=True)
    return (top + np.log(whole))[:, 0] / sharpness, each / whole


def predict_terms(model: TermModel, terms: Array, ratios: Array) -> Predicted:
    """Return predictions of rows. Raises BadValueError: another number of terms, or one that is not positive."""
    terms, ratios = np.asarray(terms, float), np.asarray(ratios, float)
    if terms.ndim != 2 or terms.shape[1] != model.terms or not (terms > 0).all():
        raise BadValueError(f"The model has {model.terms} positive terms a row.")
    value = _value(model, terms, ratios)
    return Predicted(value, value * np.exp(-model.half), value * np.exp(model.half), model.kind)


def _value(model: TermModel, terms: Array, ratios: Array) -> Array:
    import xgboost

    data = xgboost.DMatrix(ratios.astype(np.float32), nthread=1)
    data.set_base_margin(np.tile(model.start, (len(terms), 1)))
    logs = np.zeros(len(terms))
    for raw in model.boosters:
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(raw))
        margin = booster.predict(data, output_margin=True).reshape(terms.shape)
        logs += _soft_largest(margin + np.log(terms), model.sharpness)[0]
    return np.asarray(np.exp(logs / len(model.boosters)))
