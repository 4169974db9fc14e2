"""Straight pieces through points of a curve, for linear and mixed-integer programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from workloads.table import Array


@dataclass(frozen=True)
class Segments:
    """Breakpoints (`at`, `value`) of straight pieces; between them `value` is linear.

    `largest_error` is the largest |pieces - curve| / curve over the points of the curve; `shape` is convex, concave,
    linear or neither (a convex one needs no integers where it is minimised).
    """

    quantity: str
    at: Array
    value: Array
    largest_error: float
    shape: str

    def __call__(self, at: Array | float) -> Array:
        """Return the pieces' value at places within the breakpoints."""
        return np.asarray(np.interp(at, self.at, self.value))

    @property
    def slopes(self) -> Array:
        return np.asarray(np.diff(self.value) / np.diff(self.at))

    def to_json(self) -> dict[str, Any]:
        return {"quantity": self.quantity, "at": self.at.tolist(), "value": self.value.tolist(),
                "largest_error": self.largest_error, "shape": self.shape}  # fmt: skip


def fit_segments(at: Array, value: Array, tolerance: float, quantity: str) -> Segments:
    """Return the fewest pieces between points of the curve (from the left, each as long as it may be).

    A piece from a point may reach as far as its line stays within `tolerance` of every point between: the cone of
    slopes that do is narrowed point by point (Reumann and Witkam 1974; Sklansky and Gonzalez 1980).

    Raises:
        BadValueError: fewer than two points, or a tolerance that is not positive.
    """
    tolerance = finite_number("tolerance", tolerance, high=1.0, strict=True)
    x, first = np.unique(at, return_index=True)
    y = np.asarray(value, float)[first]
    if len(x) < 2:
        raise BadValueError("Straight pieces need at least two values of the knob that can be answered.")
    kept, start = [0], 0
    while start < len(x) - 1:
        dx, room = x[start + 1 :] - x[start], tolerance * np.abs(y[start + 1 :])
        slope = (y[start + 1 :] - y[start]) / dx
        low = np.maximum.accumulate(slope - room / dx)
        high = np.minimum.accumulate(slope + room / dx)
        before = np.concatenate(([True], (slope[1:] >= low[:-1]) & (slope[1:] <= high[:-1])))
        start += 1 + int(np.flatnonzero(before)[-1])
        kept.append(start)
    pieces = np.interp(x, x[kept], y[kept])
    error = float(np.max(np.abs(pieces - y) / np.maximum(np.abs(y), 1e-300)))
    return Segments(quantity, x[kept], y[kept], error, _shape(x[kept], y[kept]))


def _shape(x: Array, y: Array) -> str:
    slopes = np.diff(y) / np.diff(x)
    turns = np.diff(slopes)
    slack = 1e-9 * np.max(np.abs(slopes))
    up, down = bool((turns >= -slack).all()), bool((turns <= slack).all())
    return "linear" if up and down else "convex" if up else "concave" if down else "neither"
