"""How hard a row is: the |log error| to expect of its learned answer, from its features and from what the trees say.

A small forest for each group of operators, trained on errors of shape groups that no other tree saw, predicts the
logarithm of |log(measured / predicted)|. Half widths of intervals are multiples of it (normalised conformal prediction:
Papadopoulos et al. 2011; Lei et al. 2018, section 5.2), so that they are wide where errors are large. A row outside the
trained ranges is as hard as the nearest trained one, and more so the farther it lies.
"""

from __future__ import annotations

import numpy as np

from workloads.elementwise import Value, lesser
from workloads.table import Array

PREFIX, KIN_PREFIX = "difficulty/", "difficulty/kin/"
LEAST, MOST = 0.01, 1.0
"""Errors are counted as at least and at most this: below lies the noise of measurements, above a fault of the row."""
GROWTH = 3.0
"""Growth of the expected error with the distance outside the trained ranges, as a part of the range (estimated, 1 to 5:
of products and attention with their largest sizes left out, 1.5 to 2 times at 0.1 to 0.4 of the range)."""
FARTHEST = 0.8
"""Distance beyond which the closed form answers alone (estimated, 0.4 to 1; measured up to there, as above)."""
MEAN_OVER_HALF = 0.485
"""Mean |error| over the half width that covers 90 %, of normal errors: sqrt(2 / pi) / 1.645."""


def forest_name(group: str, kin: bool) -> str:
    """Return the name of the forest for a group of operators, on measured devices or on such as resemble them."""
    return (KIN_PREFIX if kin else PREFIX) + group


def inputs(features: Array, *columns: Array | float) -> Array:
    """Return what the forest sees: features and, beside them, more columns (float32, C order)."""
    rows, width = features.shape
    matrix = np.empty((rows, width + len(columns)), dtype=np.float32)
    matrix[:, :width] = features
    for i, column in enumerate(columns):
        matrix[:, width + i] = column
    return matrix


def grown(distance: Value) -> Value:
    """Return by how much an error is larger for the distance of its row outside the trained ranges."""
    return 1.0 + GROWTH * lesser(np.float64(1.0) * distance, np.float64(1.0))


def target_of(error: Array) -> Array:
    """Return what the forest learns of log errors."""
    return np.asarray(np.log(np.clip(np.abs(error), LEAST, MOST)), dtype=np.float32)
