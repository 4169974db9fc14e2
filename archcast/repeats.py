"""Rows that measure one operator twice: within noise their median counts, further apart they contradict each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel.measured.rows import row_keys
from foundation.errors import BadFileError
from workloads.measurement_checks import BadRow
from workloads.measurements import MeasurementTable
from workloads.table import Array

CONFLICT = 3.0
"""Latencies of one operator on one device and stack that are further apart than this factor are no noise (estimated, 2
to 5: small operators of a busy host vary by a factor of 2)."""
SKIPPED = "measured more than once; the median is used"


def settled(table: MeasurementTable, *, skip_bad: bool = False) -> MeasurementTable:
    """Return one row for each device, software and operator with its sizes: the medians of what was measured.

    Args:
        skip_bad: leave out the rows that contradict each other, and list them in `skipped`.

    Raises:
        BadFileError: two rows are further apart than `CONFLICT`; both are named.
    """
    columns = {
        name: np.asarray(table.table.full(name)) for name in table.table.columns if name not in ("label", "count")
    }
    keys = row_keys({**columns, "device": table.device, "software": table.software})
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    if counts.max(initial=1) == 1:
        return table
    inverse = inverse.ravel()
    table, keep = _consistent(table, inverse, skip_bad)
    medians = {name: _medians(column, inverse)[inverse] for name, column in table.measured.items()}
    chosen = np.sort(first[keep])
    return replace(table, measured=medians).take(chosen)


def _consistent(table: MeasurementTable, key: Array, skip_bad: bool) -> tuple[MeasurementTable, Array]:
    """Return the table, and which keys' latencies agree; the rows of the others are listed. Raises BadFileError."""
    latency = table.value("latency_s")
    least, most = np.full(key.max() + 1, np.inf), np.zeros(key.max() + 1)
    known = np.isfinite(latency)
    np.minimum.at(least, key[known], latency[known])
    np.maximum.at(most, key[known], latency[known])
    torn = most > CONFLICT * least
    if not torn.any():
        return table, ~torn
    if not skip_bad:
        raise _contradiction(table, np.flatnonzero(key == key[np.argmax(torn[key])]), latency)
    bad = [BadRow(int(table.row_numbers[i]), 0, "latency_s", "another row of this operator contradicts it")
           for i in np.flatnonzero(torn[key])]  # fmt: skip
    if torn.all():
        raise _contradiction(table, np.flatnonzero(key == key[0]), latency)
    return replace(table, skipped=(*table.skipped, *bad)), ~torn


def _contradiction(table: MeasurementTable, same: Array, latency: Array) -> BadFileError:
    low, high = same[np.nanargmin(latency[same])], same[np.nanargmax(latency[same])]
    one, two = sorted((low, high))
    rows = " and ".join(str(int(table.row_numbers[i])) for i in (one, two))
    times = " and ".join(f"{latency[i]:.3g} s" for i in (one, two))
    hint = f"Up to a factor of {CONFLICT:g} counts as noise, of which the median is used; delete one."
    problem = f"rows {rows} measure the same operator on the same device and software, but took {times}."
    return BadFileError(table.path, problem, key="latency_s", hint=hint)


def _medians(column: Array, key: Array) -> Array:
    """Return the median of the finite values of each key, NaN without any, shape (keys,)."""
    order = np.lexsort((column, key))  # NaN stands last within each key
    starts = np.concatenate(([0], np.cumsum(np.bincount(key))[:-1]))
    known = np.bincount(key, np.isfinite(column)).astype(np.intp)
    inside = starts + np.maximum(known - 1, 0) // 2, starts + np.maximum(known, 1) // 2
    low, high = (
        column[order[np.minimum(place, len(order) - 1)]] for place in (inside[0], np.where(known, inside[1], starts))
    )
    return np.asarray(np.where(known > 0, (low + high) / 2, np.nan))
