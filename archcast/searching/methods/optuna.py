"""The methods `optuna-tpe` and `optuna-nsga2`: Optuna's samplers (extra `optuna`) by its own ask and tell.

A knob is one of Optuna's distributions: names are categories, listed numbers whole numbers of their place, spans
floats or whole numbers. All knobs are asked for; those that a condition switches off count for nothing here.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from archcast.searching.sampler import Sampler, Told, keys_of
from archcast.searching.space import Knob
from foundation.errors import UnsupportedError
from workloads.table import Array


class TpeSampler(Sampler):
    """Tree-structured Parzen estimators, of many objectives."""

    name = "optuna-tpe"
    asks_matter = True
    known = ("initial",)

    def prepare(self) -> None:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():  # of arguments that Optuna calls experimental
            warnings.simplefilter("ignore")
            sampler = self.made(optuna)
        self._study = optuna.create_study(directions=["minimize"] * self.asked.objectives, sampler=sampler)
        self._knobs = {knob.name: _distribution(optuna, knob) for knob in self.space.knobs}
        self._open: dict[int, Any] = {}
        self._failed = optuna.trial.TrialState.FAIL

    def made(self, optuna: Any) -> Any:
        """Return Optuna's sampler."""
        return optuna.samplers.TPESampler(
            seed=self.asked.seed % 2**32, n_startup_trials=self.whole("initial", 20), multivariate=True,
            constant_liar=True,
        )  # fmt: skip

    def propose(self, count: int, rng: np.random.Generator) -> Array:
        trials = [self._study.ask(self._knobs) for _ in range(count)]
        codes = np.array([[float(trial.params[knob.name]) for trial in trials] for knob in self.space.knobs])
        codes = self.space.canonical(codes)
        for key, trial in zip(keys_of(codes), trials, strict=True):
            if key in self._open:  # the same design twice: one of the trials is given up
                self._study.tell(trial, state=self._failed)
            else:
                self._open[key] = trial
        return codes

    def learn(self, told: Told) -> None:
        for place, key in enumerate(keys_of(told.codes)):
            trial = self._open.pop(key, None)
            if trial is None:
                continue
            if told.feasible[place]:
                self._study.tell(trial, told.values[place].tolist())
            else:
                self._study.tell(trial, state=self._failed)


class OptunaGeneticSampler(TpeSampler):
    """Optuna's NSGA-II."""

    name = "optuna-nsga2"
    known = ("population",)

    def made(self, optuna: Any) -> Any:
        return optuna.samplers.NSGAIISampler(
            seed=self.asked.seed % 2**32, population_size=self.whole("population", 50, low=2)
        )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UnsupportedError("this method needs Optuna: pip install 'archcast[optuna]'.") from None
    return optuna


def _distribution(optuna: Any, knob: Knob) -> Any:
    found = optuna.distributions
    if knob.span is None:
        places = len(knob.values)
        return found.CategoricalDistribution(list(range(places))) if knob.category else found.IntDistribution(
            0, places - 1
        )  # fmt: skip
    span = knob.span
    if span.whole:
        return found.IntDistribution(int(span.low), int(span.high), log=span.log)
    return found.FloatDistribution(span.low, span.high, log=span.log)
