"""Methods of a search by the name that files give them: the grid, and samplers that choose what to evaluate next."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from archcast.searching.sampler import Sampler
from foundation.errors import UnknownNameError

GRID = "grid"
SAMPLERS: Mapping[str, str] = {
    "random": "random:RandomSampler", "sobol": "sobol:SobolSampler", "nsga2": "genetic:GeneticSampler",
    "ants": "ants:AntSampler", "bayesian": "bayesian:BayesianSampler", "optuna-tpe": "optuna:TpeSampler",
    "optuna-nsga2": "optuna:OptunaGeneticSampler", "pymoo-nsga2": "pymoo:PymooSampler",
}  # fmt: skip
"""Name -> module of this folder and class; a module is imported when its method is asked for."""
METHODS: tuple[str, ...] = (GRID, *SAMPLERS)


def find_sampler(name: str) -> type[Sampler]:
    """Return the class of a method. Raises UnknownNameError; UnsupportedError where its package is not installed."""
    if name not in SAMPLERS:
        raise UnknownNameError("method", name, SAMPLERS, f"Known: {', '.join(SAMPLERS)}.")
    module, _, found = SAMPLERS[name].partition(":")
    sampler: type[Sampler] = getattr(import_module(f"archcast.searching.methods.{module}"), found)
    return sampler
