"""The lines of `served-energy`: joules of an output token of served models, each family of models left out in turn.

Version 3 of ML.ENERGY (H100) is fitted and scored by families, with the mean of requests in flight as an input and with
only the most that are allowed; version 2 (an older engine, A100 and H100) is answered by what is fitted to all of
version 3. Rows with images and videos are answered by what generates their tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from archcast.validation.scoring import Line, Predictions, score_line
from costmodel.evaluation.served_energy import (
    GIVEN,
    MOST,
    LeftOut,
    Row,
    ServedRows,
    answered_by,
    leave_families_out,
    read_served,
)
from costmodel.served_power import fit_served_power

LANGUAGE, EVERY, VISION = "language", "all tasks", "images, video"
OLDER = "v2, fitted to v3"
TASKS: dict[str, Callable[[Row], bool]] = {
    LANGUAGE: lambda row: row.language, EVERY: lambda _row: True, VISION: lambda row: not row.language,
}  # fmt: skip
FEWEST = 10
"""Rows that a family needs for a line of its own."""

_read = lru_cache(maxsize=4)(read_served)


def served_energy_lines(root: Path, _seed: int, least_answered: float, _full: bool = False) -> list[Line]:
    """Return the lines; nothing is drawn at random. Raises BadFileError."""
    given, most, older = _read(root, "v3"), _read(root, "v3", MOST), _read(root, "v2")
    out: list[Line] = []
    for batch, asked in ((GIVEN, None), (MOST, most)):
        found = leave_families_out(given, asked)
        out += [_line(found, keep, tasks, batch, least_answered) for tasks, keep in TASKS.items()]
        if batch == GIVEN:
            out += _families(found, least_answered)
    fitted = answered_by(fit_served_power(given.work, given.labels), given, older)
    for device in dict.fromkeys(row.device for row in older.rows):

        def ran_on(row: Row, device: str = device) -> bool:
            return row.device == device

        out.append(_line(fitted, ran_on, device, OLDER, least_answered))
    return out


def _families(found: LeftOut, least: float) -> list[Line]:
    out = []
    for tasks in (LANGUAGE, VISION):
        for family in dict.fromkeys(row.family for row in found.rows.rows):

            def keep(row: Row, tasks: str = tasks, family: str = family) -> bool:
                return row.family == family and TASKS[tasks](row)

            if sum(map(keep, found.rows.rows)) >= FEWEST:
                out.append(_line(found, keep, family, tasks, least))
    return out


def _line(found: LeftOut, keep: Callable[[Row], bool], name: str, label: str, least: float) -> Line:
    """Return the line of the rows that are kept; those that cannot be asked count as not answered."""
    mine = np.flatnonzero([keep(row) for row in found.rows.rows])
    left = sum(map(keep, found.rows.left))
    return score_line(predictions_of(found).take(mine), name, label, least, len(mine) / (len(mine) + left))


def predictions_of(found: LeftOut) -> Predictions:
    """Return all rows with their answers and baselines, by model as the group."""
    rows: ServedRows = found.rows
    value, lo, hi = found.answer.energy_per_token_j
    count = len(rows.rows)
    return Predictions(
        rows.device, np.array([row.task for row in rows.rows], dtype=object),
        np.array([row.model for row in rows.rows], dtype=object), rows.energy_per_token_j, value, lo, hi,
        np.isfinite(value), np.full(count, np.nan), found.baselines,
    )  # fmt: skip
