"""`hypervolume`: how much of the space up to a reference point the points of a front dominate."""

from __future__ import annotations

from typing import Any

import numpy as np

from archcast.searching.front import hypervolume as volume_of
from foundation.errors import BadValueError, UnsupportedError

MOST_OBJECTIVES = 3


def hypervolume(values: Any, reference: Any) -> float:
    """Return the volume that points dominate up to a reference point, exactly; the product of the columns' units.

    Args:
        values: points, shape (points, objectives), each objective the smaller the better (turn the sign of others); any
            points, not only those of a front. Rows with NaN (designs without a value) dominate nothing.
        reference: the worst that counts of each objective, shape (objectives,). Points beyond it dominate nothing.

    Raises:
        BadValueError: shapes that do not go together, minus infinity, or a reference that is not finite.
        UnsupportedError: more than three objectives.
    """
    points, corner = _numbers("values", values), _numbers("reference", reference)
    if corner.ndim != 1 or not len(corner) or not np.isfinite(corner).all():
        raise BadValueError(f"reference must be one finite number for each objective, not {reference!r}.")
    if not points.size:
        return 0.0
    if points.ndim != 2 or points.shape[1] != len(corner):
        raise BadValueError(
            f"values must have the shape (points, {len(corner)}), one column for each number of the reference, not "
            f"{points.shape}."
        )
    if len(corner) > MOST_OBJECTIVES:
        raise UnsupportedError(f"The hypervolume is of at most {MOST_OBJECTIVES} objectives, not {len(corner)}.")
    if np.isneginf(points).any():
        raise BadValueError("values holds minus infinity, whose volume has no end; give a finite number or NaN.")
    return float(volume_of(points[~np.isnan(points).any(axis=1)], corner) or 0.0)


def _numbers(name: str, values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadValueError(f"{name} must hold numbers, in rows of one length.") from None
