"""Columns of knobs as problems use them: places of names in a known order, and where values stand on an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archcast.searching.space import Columns, DesignSpace, Knob
from workloads.table import Array


def knob_of(space: DesignSpace, name: str) -> Knob:
    """Return a knob by its name."""
    return next(knob for knob in space.knobs if knob.name == name)


def places(space: DesignSpace, columns: Columns, name: str, known: Sequence[str]) -> Array:
    """Return for each design where its value of a knob of names stands in `known`."""
    order = np.array([known.index(str(value)) for value in knob_of(space, name).values])
    return np.asarray(order[np.asarray(columns[name], dtype=np.intp)])


def between(axis: Array, values: Array) -> tuple[Array, Array]:
    """Return the lower point of an axis (rising) next to each value, and the share of the way to the next one.

    Values beyond the axis are held at its ends.
    """
    held = np.clip(values, axis[0], axis[-1])
    low = np.clip(np.searchsorted(axis, held, side="right") - 1, 0, max(len(axis) - 2, 0))
    width = axis[np.minimum(low + 1, len(axis) - 1)] - axis[low]
    return low, np.where(width > 0, (held - axis[low]) / np.where(width > 0, width, 1.0), 0.0)


def ranged_details(
    space: DesignSpace, codes: Array, values: Mapping[str, Array], lo: Mapping[str, Array], hi: Mapping[str, Array]
) -> list[dict[str, Any]]:  # fmt: skip
    """Return designs (codes of shape (knobs, designs)) as JSON; a value without ends in `lo` and `hi` is exact.

    What is between the ends holds the value too.
    """
    found = []
    for i in range(codes.shape[1]):
        shown: dict[str, Any] = {"knobs": space.values(codes[:, i])}
        for name, column in values.items():
            value = float(column[i])
            low, high = (float(ends[name][i]) if name in ends else value for ends in (lo, hi))
            shown[name] = {"value": value, "lo": min(low, value), "hi": max(high, value)}
        found.append(shown)
    return found
