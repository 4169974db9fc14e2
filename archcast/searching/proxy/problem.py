"""A proxy as a `Problem`: any method of search runs on it, between the closed form and the events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.searching.limits import Limit
from archcast.searching.problem import Found, Problem, Stage
from archcast.searching.proxy.model import Predicted, Proxy
from archcast.searching.space import Columns, DesignSpace
from foundation.errors import BadValueError
from workloads.table import Array


@dataclass(frozen=True)
class ProblemGuess:
    """A problem's own values as a closed form: those of all stages, whatever limits and stages refuse."""

    problem: Problem

    def __call__(self, columns: Columns) -> Mapping[str, Array]:
        found: dict[str, Array] = {}
        with np.errstate(all="ignore"):
            for stage in self.problem.stages:
                found |= stage(columns).values
        return found


@dataclass(frozen=True)
class ProxyProblem:
    """Designs of `problem` (a closed form) with the values of a proxy; what the closed form refuses stays refused.

    Implements `Problem`. Raises BadValueError: a proxy of another space, or without a value that is looked at.
    """

    problem: Problem
    proxy: Proxy

    def __post_init__(self) -> None:
        if not same_space(self.problem.space, self.proxy.space):
            raise BadValueError("the proxy was made for another space than this search has; make one from its own log.")
        if missing := [name for name in self.problem.objectives if name not in self.proxy.names]:
            raise BadValueError(f"the proxy knows {', '.join(self.proxy.names)}, not {', '.join(missing)}.")

    @property
    def space(self) -> DesignSpace:
        return self.problem.space

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.problem.objectives

    @property
    def limits(self) -> tuple[Limit, ...]:
        return self.problem.limits

    @property
    def fixed(self) -> Mapping[str, Any]:
        return self.problem.fixed

    @property
    def notes(self) -> tuple[str, ...]:
        card = self.proxy.card
        errors = ", ".join(
            # an error over the value says nothing where that may be 0
            f"{name} {one['rmse_over_mean']:.1%} of its mean" if "zeros" in one else f"{name} {one['mape']:.1%}"
            for name, one in card["left_out"].items()
        )
        said = f"Values are a proxy's, learned from {card['designs']:,} designs; mean error on left-out ones: {errors}."
        under = "What it does not know is the closed form's (`closed_form` of a design), of"
        return (said, *(f"{under}: {note}" for note in self.problem.notes))

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (*(_Refusing(stage, self.proxy.names) for stage in self.problem.stages), self._predicted)

    def _predicted(self, columns: Columns) -> Found:
        return Found(self.proxy.predict(columns, return_interval=False).value)

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON: the proxy's interval of one run, the value itself for its ends where it has none.

        `unlike_log` says so: a design of levels, or of pairs of them, that the log did not have. `closed_form` has what
        the closed form says and the proxy does not know; it does not go with the proxy's values.
        """
        found: Predicted = self.proxy.predict(self.space.columns(codes))
        shown: list[dict[str, Any]] = []
        for i, closed in enumerate(self.problem.details(codes)):
            others = {name: said for name, said in closed.items() if name not in ("knobs", *found.value)}
            design: dict[str, Any] = {"knobs": closed["knobs"]}
            for name, column in found.value.items():
                value = float(column[i])
                low, high = float(found.lo[name][i]), float(found.hi[name][i])
                design[name] = {
                    "value": value,
                    "lo": low if low == low else value,
                    "hi": high if high == high else value,
                }
            design["unlike_log"] = bool(found.outside[i])
            shown.append(design | ({"closed_form": others} if others else {}))
        return shown


@dataclass(frozen=True)
class _Refusing:
    """A stage of the closed form without the values that the proxy knows better."""

    stage: Stage
    names: tuple[str, ...]

    def __call__(self, columns: Columns) -> Found:
        found = self.stage(columns)
        kept = {name: column for name, column in found.values.items() if name not in self.names}
        return Found(kept, found.refused, found.shortfall_bytes)


def same_space(one: DesignSpace, other: DesignSpace) -> bool:
    """Return whether two spaces have the same designs."""
    return one.knobs == other.knobs and set(one.conditions) == set(other.conditions)
