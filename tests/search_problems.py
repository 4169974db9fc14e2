"""Cheap spaces with values by hand that tests of methods share: names, listed and real knobs, and a corner without designs."""  # noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np

from archcast.searching.ranges import Choice, Names, Real
from archcast.searching.space import Columns, DesignSpace
from archcast.searching.study import AskTell, make_study

REFERENCE = np.array([6.0, 6.0])


def space() -> DesignSpace:
    """Return a space of 10 knobs."""
    listed = {f"x{i}": Choice(list(range(12))) for i in range(5)}
    return DesignSpace.of(**listed, **{f"y{i}": Real(0, 11) for i in range(4)}, kind=Names("a", "b", "c"))


def values(columns: Columns, bent: bool = True) -> Any:
    """Return two objectives that pull apart; a corner is infeasible. `bent` False: a guess that is off by factors."""
    x = np.stack([columns[f"x{i}"] / 11 for i in range(5)] + [columns[f"y{i}"] / 11 for i in range(4)], axis=1)
    kind = columns["kind"]
    one = 0.3 + (x**2).sum(axis=1) * (1 + 0.2 * kind)
    two = 0.2 + ((x - 1) ** 2).sum(axis=1) * (1 + 0.3 * (kind == 1))
    if bent:
        one = one * np.exp(0.3 * np.sin(3 * x[:, 0] + 2 * x[:, 5]))
        two = two * np.exp(0.2 * np.cos(4 * x[:, 2]))
    found = np.stack([one, two], axis=1)
    found[x[:, 0] * x[:, 6] > 0.5] = np.nan
    return found


def searched(method: str, evaluations: int, seed: int, batch: int = 10, **options: Any) -> AskTell:
    """Return a search that has spent its evaluations."""
    study = make_study(space(), ["one", "two"], method, seed=seed, **options)
    while study.evaluations < evaluations:
        columns = study.ask(min(batch, evaluations - study.evaluations))
        study.tell(columns, values(columns))
    return study
