"""What a proxy has to beat: the nearest logged design, and a line in the logarithm of the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from archcast.searching.space import Columns, DesignSpace
from workloads.table import Array

Ask = Callable[[Columns], Array]
BLOCK = 500


def _points(space: DesignSpace, columns: Columns) -> Array:
    """Return numbers on the unit cube and names one by one."""
    codes = space.codes_of(columns)
    unit = space.encode(codes)
    found = [
        np.stack([codes[k] == code for code in range(len(knob.values))], axis=1) * np.sqrt(0.5)
        if knob.category else unit[:, k : k + 1] for k, knob in enumerate(space.knobs)
    ]  # fmt: skip
    return np.concatenate(found, axis=1)


def nearest(space: DesignSpace, columns: Columns, values: Array) -> Ask:
    """Return the value of the nearest design (names that differ are as far apart as the ends of a number)."""
    known, told = _points(space, columns), values
    norms = (known**2).sum(axis=1)

    def ask(wanted: Columns) -> Array:
        points = _points(space, wanted)
        found = [
            told[(norms - 2.0 * (points[at : at + BLOCK] @ known.T)).argmin(axis=1)]
            for at in range(0, len(points), BLOCK)
        ]
        return np.concatenate(found)

    return ask


def linear(space: DesignSpace, columns: Columns, values: Array) -> Ask:
    """Return a line in knobs (names one by one) of the logarithm of the value, by least squares."""
    points = _points(space, columns)
    weights = np.linalg.lstsq(np.column_stack([np.ones(len(points)), points]), np.log(values), rcond=None)[0]
    return lambda wanted: np.asarray(np.exp(weights[0] + _points(space, wanted) @ weights[1:]))


BASELINES: Mapping[str, Callable[[DesignSpace, Columns, Array], Ask]] = {"nearest": nearest, "line": linear}
