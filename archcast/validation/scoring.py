"""Predictions of held-out rows, and the scores of a table's lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.table import Array

ALL = "all devices"
FEWEST_ROWS = 20
"""Test rows that a device needs for a line of its own; the line of all devices holds every row."""
FEWEST_CELL_ROWS = 100
"""Rows with an interval that a device's third of sizes needs to count."""
BAD_SHARE = 0.1
"""Errors above this are those that doubt should tell."""
NOMINAL = (0.88, 0.92)


@dataclass(frozen=True)
class Predictions:
    """Test rows as measured and as predicted, all of shape (rows,), in one SI unit.

    `label` is what ran (an operator, `train`, '' where the case has one kind of row only). `answered` is False where
    the model refused or fell back to the closed form. `predicted` is NaN where nothing at all could be said; such rows
    count as not answered and enter no error. `doubt` is larger the less the model trusts a row (NaN: it does not say).
    `baselines` hold other predictions, NaN where there is none.
    """

    device: Array
    label: Array
    group: Array
    measured: Array
    predicted: Array
    lo: Array
    hi: Array
    answered: Array
    doubt: Array
    baselines: dict[str, Array]

    @property
    def rows(self) -> int:
        return len(self.measured)

    def take(self, index: Array) -> Predictions:
        """Return the rows at `index` (a mask or indices)."""
        plain: dict[str, Any] = {name: getattr(self, name)[index] for name in COLUMNS}
        return Predictions(**plain, baselines={n: c[index] for n, c in self.baselines.items()})


COLUMNS = ("device", "label", "group", "measured", "predicted", "lo", "hi", "answered", "doubt")


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the rows of all parts, which have the same baselines, one after the other. At least one part."""
    plain: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    others = {n: np.concatenate([part.baselines[n] for part in parts]) for n in parts[0].baselines}
    return Predictions(**plain, baselines=others)


@dataclass(frozen=True)
class Errors:
    """Mean, median and 90th percentile of |predicted / measured - 1|, as shares, over `rows` rows (NaN for none)."""

    rows: int
    mape_share: float
    median_error_share: float
    p90_error_share: float

    @classmethod
    def of(cls, predicted: Array, measured: Array) -> Errors:
        """Return the errors of the rows that are predicted."""
        known = np.isfinite(predicted)
        error = np.abs(predicted[known] / measured[known] - 1)
        if not len(error):
            return cls(0, np.nan, np.nan, np.nan)
        return cls(len(error), float(error.mean()), float(np.median(error)), float(np.quantile(error, 0.9)))


@dataclass(frozen=True)
class Line:
    """One line of the table.

    `rows` are the test rows, `answered_share` of which the model answered by itself. `coverage_share` is the share of
    scored rows inside their interval, `width_ratio` the median of the intervals' ends, high over low. `counts` says
    that enough rows were answered. Further, NaN where there is none: `worst_share`, the largest MAPE of any seed;
    `group_mape_share`, the mean of each group's MAPE; `rho_ratio`, Spearman's rank correlation; `auroc_share`, how well
    doubt tells rows with an error above 10 %; and the coverage of each device and third of its sizes: the least and the
    most, and the share that is as nominal.
    """

    device: str
    label: str
    rows: int
    groups: int
    answered_share: float
    errors: Errors
    coverage_share: float
    width_ratio: float
    baselines: dict[str, Errors]
    counts: bool
    worst_share: float = np.nan
    group_mape_share: float = np.nan
    rho_ratio: float = np.nan
    auroc_share: float = np.nan
    cell_least_share: float = np.nan
    cell_most_share: float = np.nan
    cells_met_share: float = np.nan

    def baseline_mape_share(self, name: str) -> float:
        """Return the MAPE of a baseline on the same rows, NaN where this line has none of that name."""
        return self.baselines[name].mape_share if name in self.baselines else float("nan")


def lines(found: Predictions, least_answered: float, known_share: float = 1.0, by_label: bool = False) -> list[Line]:
    """Return the line of all rows, then one a device and label that has enough rows.

    `known_share` is the share of the data's rows that could be asked at all (networks that are described here); every
    line's answered share is that much smaller. `by_label` gives each label a line of all devices, for labels that are
    answers to the same rows.
    """
    out = [score_line(found, ALL, "", least_answered, known_share)]
    if by_label:
        out = [score_line(found.take(found.label == label), ALL, label, least_answered, known_share)
               for label in dict.fromkeys(found.label.tolist())]  # fmt: skip
    kinds = sorted({*zip(found.device.tolist(), found.label.tolist(), strict=True)})
    parts = [(device, label, (found.device == device) & (found.label == label)) for device, label in kinds]
    if len(parts) == 1:
        device, label, _ = parts[0]
        return [score_line(found, device, label, least_answered, known_share)]
    for device, label, mine in parts:
        if int(mine.sum()) >= FEWEST_ROWS:
            out.append(score_line(found.take(mine), device, label, least_answered, known_share))
    return out


def score_line(found: Predictions, device: str, label: str, least: float, known_share: float) -> Line:
    """Return the scores of rows under one name."""
    scored = found.take(np.isfinite(found.predicted))
    bounded = np.isfinite(scored.lo) & np.isfinite(scored.hi) & (scored.lo > 0)
    inside = (scored.measured >= scored.lo) & (scored.measured <= scored.hi)
    answered = float((found.answered & np.isfinite(found.predicted)).mean()) * known_share
    errors = Errors.of(scored.predicted, scored.measured)
    least_cell, most_cell, met = _cells(scored.take(bounded), inside[bounded])
    return Line(
        device=device, label=label, rows=found.rows, groups=len(np.unique(found.group.astype(str))),
        answered_share=answered, errors=errors,
        coverage_share=float(inside[bounded].mean()) if bounded.any() else np.nan,
        width_ratio=float(np.median(scored.hi[bounded] / scored.lo[bounded])) if bounded.any() else np.nan,
        baselines={name: Errors.of(column, found.measured) for name, column in found.baselines.items()},
        counts=answered >= least, worst_share=errors.mape_share, group_mape_share=_group_mape(scored),
        auroc_share=_auroc_of(scored),
        cell_least_share=least_cell, cell_most_share=most_cell, cells_met_share=met,
    )  # fmt: skip


def _group_mape(scored: Predictions) -> float:
    if not scored.rows:
        return float("nan")
    _, group = np.unique(scored.group.astype(str), return_inverse=True)
    error = np.abs(scored.predicted / scored.measured - 1)
    return float(np.mean(np.bincount(group, error) / np.bincount(group)))


def _auroc_of(scored: Predictions) -> float:
    known = scored.take(np.isfinite(scored.doubt))
    return auroc(known.doubt, np.abs(known.predicted / known.measured - 1) > BAD_SHARE)


def auroc(doubt: Array, bad: Array) -> float:
    """Return the chance that a bad row is doubted more than a good one (ties count half); NaN without both kinds."""
    if bad.all() or not bad.any():
        return float("nan")
    _, inverse, counts = np.unique(doubt, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(bad.sum())
    return float((rank[bad].sum() - positives * (positives + 1) / 2) / (positives * (len(bad) - positives)))


def nominal(covered_share: float, rows: int) -> bool:
    """Return whether a coverage is 88 to 92 %, widened by two binomial standard errors of so many rows."""
    slack = 2 * np.sqrt(0.9 * 0.1 / max(rows, 1))
    return bool(NOMINAL[0] - slack <= covered_share <= NOMINAL[1] + slack)


def _cells(found: Predictions, inside: Array) -> tuple[float, float, float]:
    """Return the least and the most coverage of a device's third of sizes, and the share of these that is nominal."""
    shares, met = [], []
    for device in sorted(set(found.device.tolist())):
        mine = np.flatnonzero(found.device == device)
        third = np.digitize(found.predicted[mine], np.quantile(found.predicted[mine], (1 / 3, 2 / 3)))
        for part in (mine[third == i] for i in range(3)):
            if len(part) >= FEWEST_CELL_ROWS:
                shares.append(float(inside[part].mean()))
                met.append(nominal(shares[-1], len(part)))
    return (min(shares), max(shares), float(np.mean(met))) if shares else (np.nan, np.nan, np.nan)


def points(found: Predictions, most: int) -> Iterator[tuple[str, Array, Array]]:
    """Yield (device, measured, predicted) with at most `most` rows, spread evenly over the measured sizes."""
    for device in sorted(set(found.device.tolist())):
        mine = np.flatnonzero((found.device == device) & np.isfinite(found.predicted))
        if len(mine):
            order = mine[np.argsort(found.measured[mine], kind="stable")]
            chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).astype(np.intp))]
            yield device, found.measured[chosen], found.predicted[chosen]
