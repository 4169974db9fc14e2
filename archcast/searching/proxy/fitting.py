"""Making a proxy: runs to designs, folds, members and their weights, intervals, and the card."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.searching.proxy.boosting import MANY, Lesson, fitted_trees, tried
from archcast.searching.proxy.card import recall, scores
from archcast.searching.proxy.conformal import fitted_interval
from archcast.searching.proxy.domain import Domain
from archcast.searching.proxy.encoding import Encoding, Guess, guessed_logs
from archcast.searching.proxy.kriging import fitted_kriging
from archcast.searching.proxy.model import Member, Output, Proxy, standard
from archcast.searching.space import Columns, DesignSpace
from foundation.errors import BadValueError
from workloads.table import Array

LEAST_DESIGNS = 40
FOLDS, FEW_FOLDS = 5, 3
"""Of few designs, and of many (`boosting.MANY`)."""
LEAST_FOLD = 0.25
"""Of its even share: with a smaller fold groups tell nothing, as where every log has the same designs."""
SHARES = frozenset({"loss", "missed"})
"""Values that are shares of a whole."""
MOST_RECALLED = 10_000
"""Designs among which the front is looked for: memory rises with their square."""
LEAST_WEIGHT = 0.05
"""A member that counts less is left out."""


@dataclass(frozen=True)
class Logged:
    """Runs of designs in a random order: codes (knobs, designs), the design of each run, its values, folds of designs.

    `grouped`: whether folds are of whole groups of runs. `dropped`: runs without a number for every value.
    """

    codes: Array
    design: Array
    values: Mapping[str, Array]
    folds: Array
    digest: str
    grouped: bool
    dropped: int

    def mean(self, runs: Array) -> Array:
        """Return the mean over the runs of each design."""
        return np.asarray(np.bincount(self.design, runs) / self.counts)

    @property
    def counts(self) -> Array:
        return np.bincount(self.design).astype(float)


def fitted(
    space: DesignSpace, columns: Columns, values: Mapping[str, Array], closed_form: Guess | None, seed: int,
    most_kriged: int, groups: Array | None = None,
) -> Proxy:  # fmt: skip
    """Return a proxy (see `Proxy.fit`)."""
    started = time.process_time()
    rng = np.random.default_rng([seed, 86])
    logged = logged_runs(space, columns, values, rng, groups)
    designs = space.columns(logged.codes)
    guesses = _guesses(closed_form, designs)
    encoding = Encoding(space, guesses)
    logs = guessed_logs(closed_form, guesses, designs)
    middle, spread = _standards(logs)
    known = standard(logs, middle, spread)
    features, points = encoding.features(logged.codes, known), encoding.points(logged.codes, known)
    outputs, cards, left_out = [], {}, {}
    for name in values:
        output, card, said = _output(name, logged, guesses, logs, middle, features, points, most_kriged, rng)
        outputs.append(output)
        cards[name], left_out[name] = card, said
    true = {name: logged.mean(logged.values[name])[:MOST_RECALLED] for name in values}  # in a random order
    said_of_true = {name: said[:MOST_RECALLED] for name, said in left_out.items()}
    card = {
        "data": logged.digest, "runs": len(logged.design), "designs": logged.codes.shape[1], "knobs": len(space.knobs),
        "space": space.size, "folds": int(logged.folds.max()) + 1,
        "folds_of": "groups of runs" if logged.grouped else "designs", "dropped": logged.dropped,
        "left_out": cards, "front_recall": recall(said_of_true, true), "seed": seed,
        "fit_cpu_s": round(time.process_time() - started, 2),
    }  # fmt: skip
    domain = Domain.of(space, logged.codes, logs)
    return Proxy(encoding, closed_form, middle, spread, tuple(outputs), domain, card)


def logged_runs(
    space: DesignSpace, columns: Columns, values: Mapping[str, Array], rng: np.random.Generator,
    groups: Array | None = None,
) -> Logged:  # fmt: skip
    """Return checked runs. Raises BadValueError."""
    if not values:
        raise BadValueError("a proxy is of at least one value.")
    codes = space.codes_of(columns)
    table = {name: np.atleast_1d(np.asarray(column, dtype=float)) for name, column in values.items()}
    for name, column in table.items():
        if column.shape != (codes.shape[1],):
            raise BadValueError(f"{name} has {column.size:,} values for {codes.shape[1]:,} runs; give one for each.")
    good = np.all([np.isfinite(column) for column in table.values()], axis=0)
    codes, table = codes[:, good], {name: column[good] for name, column in table.items()}
    unique, design = np.unique(codes.T, axis=0, return_inverse=True)
    if len(unique) < LEAST_DESIGNS:
        raise BadValueError(f"the log has {len(unique)} designs that stand; a proxy needs {LEAST_DESIGNS}.")
    for name, column in table.items():
        if np.ptp(column) == 0.0:
            raise BadValueError(f"all designs have the same {name}; there is nothing to learn.")
    said = hashlib.sha256(np.ascontiguousarray(codes.T + 0.0, dtype="<f8").tobytes())
    for name, column in table.items():
        said.update(name.encode() + np.ascontiguousarray(column, dtype="<f8").tobytes())
    order = rng.permutation(len(unique))
    place = np.empty(len(unique), dtype=np.intp)
    place[order] = np.arange(len(unique))
    count = FOLDS if len(unique) < MANY else FEW_FOLDS
    folds, at = np.arange(len(unique)) % count, place[design.ravel()]
    grouped = False
    if groups is not None:
        by_group = folds.copy()
        by_group[at[::-1]] = (_groups(groups, good, rng) % count)[::-1]  # a design is of the group of its first run
        grouped = bool(np.bincount(by_group, minlength=count).min() >= LEAST_FOLD * len(unique) / count)
        folds = by_group if grouped else folds
    return Logged(unique[order].T, at, table, folds, said.hexdigest()[:16], grouped, int((~good).sum()))


def _groups(groups: Array, good: Array, rng: np.random.Generator) -> Array:
    """Return the groups of good runs, numbered in a random order. Raises BadValueError."""
    if np.shape(groups) != good.shape:
        raise BadValueError(f"there are {np.size(groups):,} groups for {good.size:,} runs; give one for each.")
    names, number = np.unique(np.asarray(groups)[good], return_inverse=True)
    if len(names) < FOLDS:
        raise BadValueError(f"there are {len(names)} groups of runs; at least {FOLDS} can be left out in turn.")
    return np.asarray(rng.permutation(len(names))[number.ravel()])


def _guesses(closed_form: Guess | None, designs: Columns) -> tuple[str, ...]:
    """Return the names of what a closed form says that differs between designs."""
    if closed_form is None:
        return ()
    found = closed_form(designs)
    return tuple(name for name in sorted(found) if np.nanmax(found[name]) > max(np.nanmin(found[name]), 0.0))


def _standards(logs: Array) -> tuple[Array, Array]:
    columns = [column[np.isfinite(column)] for column in logs.T]
    middle = np.array([float(column.mean()) if len(column) else 0.0 for column in columns])
    spread = np.array([float(column.std()) if len(column) else 1.0 for column in columns])
    return middle, np.where(spread > 1e-9, spread, 1.0)


def _output(
    name: str, logged: Logged, guesses: tuple[str, ...], logs: Array, middle: Array, features: Array, points: Array,
    most_kriged: int, rng: np.random.Generator,
) -> tuple[Output, dict[str, Any], Array]:  # fmt: skip
    """Return the models of one value, its card, and what they say of left-out designs."""
    runs = logged.values[name]
    log = bool((runs > 0).all())
    shaped = np.log(runs) if log else runs
    target, counts = logged.mean(shaped), logged.counts
    guess = guesses.index(name) if log and name in guesses else -1
    bases = [np.zeros(len(target))]
    if guess >= 0:
        bases.append(np.where(np.isnan(logs[:, guess]), middle[guess], logs[:, guess]))
    worth = np.exp(target - target.max()) if log else np.ones(len(target))
    own, worth = features.shape[1] - logs.shape[1], worth / worth.mean()
    lessons = [Lesson(features, own, target - base, counts, worth, logged.folds) for base in bases]
    settings = [tried(lesson) for lesson in lessons]
    best = min(setting.error for setting in settings)
    members, said = [], []
    for residual, (base, setting) in enumerate(zip(bases, settings, strict=True)):
        if setting.error == best or len(target) < MANY:
            trees, out = fitted_trees(lessons[residual], setting)
            members.append(Member(trees, bool(residual), 0.0))
            said.append(out + base)
        if len(target) <= most_kriged:
            kriging, out = fitted_kriging(points, target - base, counts, logged.folds, rng)
            members.append(Member(kriging, bool(residual), 0.0))
            said.append(out + base)
    weights = _weights(np.stack(said, axis=1), target)
    table = np.stack(said, axis=1) @ weights
    kept = [Member(one.model, one.residual, float(w)) for one, w in zip(members, weights, strict=True) if w > 0]
    interval, low, high = fitted_interval(features, shaped - table[logged.design], logged.design, logged.folds)
    output = Output(name, log, guess, tuple(kept), interval, *_can_be(name, runs))
    at, natural = table[logged.design], output.natural
    card = scores(natural(at), runs, natural(at + low), natural(at + high))
    said_of = {"members": {one.kind: round(one.weight, 3) for one in kept}}
    return output, {**card, **_noise(runs, logged), **said_of}, natural(table)


def _can_be(name: str, runs: Array) -> tuple[float, float]:
    """Return the least and the most that a value can be: none below 0 where no run is, no share above 1."""
    share = name in SHARES and float(runs.max()) <= 1.0
    return 0.0 if float(runs.min()) >= 0.0 else -math.inf, 1.0 if share else math.inf


def _weights(said: Array, target: Array) -> Array:
    """Return how much each member counts: non-negative least squares on left-out designs, summing to 1."""
    from scipy.optimize import nnls

    found = nnls(np.vstack((said, 1e3 * np.ones(said.shape[1]))), np.append(target, 1e3))[0]
    found = np.where(found < LEAST_WEIGHT, 0.0, found)
    if not found.any():
        found[int(np.argmin(((said - target[:, None]) ** 2).mean(axis=0)))] = 1.0
    return np.asarray(found / found.sum())


def _noise(runs: Array, logged: Logged) -> dict[str, float]:
    """Return the spread of runs of one design over the mean, where designs have several."""
    counts = logged.counts
    freedom = float((counts - 1).sum())
    if freedom < 1:
        return {}
    off = runs - logged.mean(runs)[logged.design]
    return {"noise_over_mean": float(np.sqrt((off**2).sum() / freedom) / abs(runs.mean()))}
