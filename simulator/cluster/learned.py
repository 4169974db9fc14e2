"""A learned model of interference: from counters of tasks that ran alone to the performance of each beside the others.

Trained on demand, in seconds, on SYNTHETIC contention (`contention`); no artefact is kept. It is judged on workloads
that were in no scenario of its training, beside two named baselines: the constant mean, and linear regression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.checks import whole_number
from simulator.cluster.attempts import attempts_of
from simulator.cluster.contention import (
    COUNTERS,
    RATIO_NOISE,
    Floats,
    Host,
    Workloads,
    counters_alone,
    features,
    made_workloads,
    ratios_together,
)
from simulator.cluster.interference import RATE_UNIT
from simulator.cluster.trace import TaskTrace
from simulator.streams import DEFAULT_SEED, RandomStreams

WORKLOADS = 24
MOST_TOGETHER = 8
ROUNDS = 150
SCENARIOS = 800
"""With 1,500 the error on workloads left out is the same (5.6 points) and training and judging take a third longer."""
SETTINGS = {
    "max_bin": 64,
    "max_depth": 4, "eta": 0.1, "subsample": 0.8, "min_child_weight": 4, "tree_method": "hist", "nthread": 1, "seed": 0,
    "objective": "reg:squarederror",
}  # fmt: skip
Fitted = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Contention:
    """Made scenarios as rows: the counters of a task and its neighbours, and what became of its speed.

    workload: of the row's task; present: shape (rows, workloads), who was in its scenario.
    """

    rows: Floats
    ratio: Floats
    workload: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """Errors of one model on workloads left out: of the ratio itself (0.05 is five points), and relative to it."""

    name: str
    mae: float
    median: float
    p90: float
    relative_mae: float
    n: int

    def to_json(self) -> dict[str, float]:
        return {key: value for key, value in self.__dict__.items() if key != "name"}


def made_contention(
    scenarios: int = SCENARIOS, seed: int = DEFAULT_SEED, workloads: Workloads | None = None
) -> Contention:
    """Return made scenarios of 2 to MOST_TOGETHER workloads side by side, with noise on counters and ratios.

    Raises:
        BadValueError: fewer than 10 scenarios or more than 100,000.
    """
    whole_number("scenarios", scenarios, low=10, high=100_000)
    kinds = workloads or made_workloads(WORKLOADS, seed)
    random = RandomStreams(seed).get("contention/scenarios")
    count = random.integers(2, MOST_TOGETHER + 1, scenarios)
    which = random.integers(0, len(kinds), (scenarios, MOST_TOGETHER))
    there = np.arange(MOST_TOGETHER) < count[:, None]
    ratio = ratios_together(kinds.take(which), there)
    seen = counters_alone(kinds, RandomStreams(seed).get("contention/counters"))[which]
    rows = features(seen, there)
    present = np.zeros((scenarios, len(kinds)), dtype=bool)
    for place in range(MOST_TOGETHER):
        present[np.flatnonzero(there[:, place]), which[there[:, place], place]] = True
    noisy = np.minimum(
        ratio * np.exp(RandomStreams(seed).get("contention/ratios").normal(0, RATIO_NOISE, ratio.shape)), 1
    )
    scenario = np.broadcast_to(np.arange(scenarios)[:, None], there.shape)[there]
    return Contention(rows[there], noisy[there], which[there], present[scenario])


def fit_trees(rows: Floats, ratio: Floats) -> Fitted:
    """Fit boosted trees (xgboost) to ratios."""
    import xgboost

    booster = xgboost.train(SETTINGS, xgboost.DMatrix(rows, ratio), ROUNDS)

    def predict(found: Floats) -> Floats:
        return np.clip(np.asarray(booster.inplace_predict(found), dtype=np.float64), 1 / RATE_UNIT, 1.0)

    return predict


def fit_mean(rows: Floats, ratio: Floats) -> Fitted:
    """The baseline that knows nothing: the mean of all ratios."""
    mean = float(ratio.mean())
    return lambda found: np.full(len(found), mean)


def fit_linear(rows: Floats, ratio: Floats) -> Fitted:
    """The baseline of linear regression on the same counters, scaled to deviation 1."""
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-30)
    scaled = np.column_stack([np.ones(len(rows)), (rows - mean) / spread])
    weights = np.linalg.lstsq(scaled, ratio, rcond=None)[0]

    def predict(found: Floats) -> Floats:
        answer = np.column_stack([np.ones(len(found)), (found - mean) / spread]) @ weights
        return np.asarray(np.clip(answer, 1 / RATE_UNIT, 1.0))

    return predict


MODELS: dict[str, Callable[[Floats, Floats], Fitted]] = {
    "constant mean": fit_mean, "linear": fit_linear, "xgboost": fit_trees,
}  # fmt: skip


def evaluate(
    data: Contention | None = None, *, scenarios: int = SCENARIOS, seed: int = DEFAULT_SEED,
    models: Sequence[str] = tuple(MODELS),
) -> list[Score]:  # fmt: skip
    """Return the errors of each model, leaving one workload out at a time.

    A model that is asked about a workload has seen no scenario in which that workload ran, as task or as neighbour.
    """
    data = data or made_contention(scenarios, seed)
    found = {name: np.zeros(len(data.ratio)) for name in models}
    for workload in np.unique(data.workload).tolist():
        asked = data.workload == workload
        known = ~data.present[:, workload]
        for name in models:
            found[name][asked] = MODELS[name](data.rows[known], data.ratio[known])(data.rows[asked])
    return [_score(name, predicted, data.ratio) for name, predicted in found.items()]


def _score(name: str, predicted: Floats, ratio: Floats) -> Score:
    off = np.abs(predicted - ratio)
    return Score(
        name, float(off.mean()), float(np.median(off)), float(np.percentile(off, 90)), float((off / ratio).mean()),
        len(off),
    )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A fitted model, and the counters of the workloads alone, shape (workloads, counters)."""

    predict: Fitted
    alone: Floats


def train(*, scenarios: int = SCENARIOS, seed: int = DEFAULT_SEED) -> Model:
    """Fit the model on all made scenarios: a few seconds."""
    data = made_contention(scenarios, seed)
    kinds = made_workloads(WORKLOADS, seed)
    alone = counters_alone(kinds, RandomStreams(seed).get("contention/counters"))
    return Model(fit_trees(data.rows, data.ratio), alone)


@dataclass
class LearnedInterference:
    """The hook of a replay: tasks have the counters of one of the model's workloads (`workload`, by attempt).

    Who stands beside whom decides, not in which order: answers are kept by the workloads on a machine.
    """

    model: Model
    workload: npt.NDArray[np.int64]
    _kept: dict[tuple[int, ...], dict[int, float]] = field(default_factory=dict)

    @staticmethod
    def of_trace(model: Model, tasks: TaskTrace, seed: int = DEFAULT_SEED) -> LearnedInterference:
        """Give each job of a trace one of the model's workloads, drawn by a stream of its own."""
        jobs, place = np.unique(tasks.job, return_inverse=True)
        drawn = RandomStreams(seed).get("cluster/workloads").integers(0, len(model.alone), len(jobs))
        return LearnedInterference(model, drawn[place][attempts_of(tasks).task])

    def ratios(self, machine: int, attempts: Sequence[int]) -> list[float]:
        kinds = self.workload[np.asarray(attempts)].tolist()
        if len(kinds) == 1:
            return [1.0]
        key = tuple(sorted(kinds))
        if key not in self._kept:
            own = self.model.alone[list(key)][None]
            found = self.model.predict(features(own, np.ones((1, len(key)), dtype=bool))[0])
            self._kept[key] = dict(zip(key, found.tolist(), strict=True))
        return [self._kept[key][kind] for kind in kinds]


@dataclass
class PhysicalInterference:
    """The truth that the learned model is to find: the laws of `contention` themselves, for tests and comparisons."""

    kinds: Workloads
    workload: npt.NDArray[np.int64]
    host: Host = field(default_factory=Host)

    def ratios(self, machine: int, attempts: Sequence[int]) -> list[float]:
        rows = self.workload[np.asarray(attempts)]
        columns = self.kinds.take(rows.reshape(1, -1))
        found: list[float] = ratios_together(columns, np.ones((1, len(rows)), dtype=bool), self.host)[0].tolist()
        return found


def importance(data: Contention) -> dict[str, Any]:
    """Return how far each counter matters to the trees: mean gain, as shares that sum to 1."""
    import xgboost

    booster = xgboost.train(SETTINGS, xgboost.DMatrix(data.rows, data.ratio, feature_names=list(COUNTERS)), ROUNDS)
    gains: dict[str, Any] = booster.get_score(importance_type="total_gain")
    total = sum(gains.values())
    return {name: gain / total for name, gain in sorted(gains.items(), key=lambda item: -item[1])}
