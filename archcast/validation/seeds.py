"""Several seeds of one case as one: means, and the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.validation.scoring import Errors, Line

if TYPE_CHECKING:
    from archcast.validation.run import Outcome

SHARES = ("answered_share", "coverage_share", "width_ratio", "group_mape_share", "rho_ratio", "auroc_share",
          "cell_least_share", "cell_most_share", "cells_met_share")  # fmt: skip
ERRORS = ("mape_share", "median_error_share", "p90_error_share")


def over_seeds(found: Sequence[Outcome]) -> Outcome:
    """Return the first seed's outcome with the means of all seeds; lines are those that every seed has."""
    scored = [outcome for outcome in found if outcome.lines]
    if not scored:
        return found[0]
    runs = tuple(outcome.lines for outcome in scored)
    if len(runs) == 1:
        return replace(scored[0], runs=runs)
    by_name = [{(line.device, line.label): line for line in run} for run in runs]
    names = [name for name in by_name[0] if all(name in others for others in by_name)]
    merged = tuple(mean_line([lines[name] for lines in by_name]) for name in names)
    return replace(scored[0], lines=merged, runs=runs)


def mean_line(found: Sequence[Line]) -> Line:
    """Return the mean of the lines of one device and label over seeds; rows add up, `worst_share` is the worst MAPE."""
    first = found[0]
    values: dict[str, Any] = {name: mean(getattr(line, name) for line in found) for name in SHARES}
    return replace(
        first, **values, rows=sum(line.rows for line in found), groups=max(line.groups for line in found),
        errors=_mean_errors([line.errors for line in found]),
        worst_share=max(line.errors.mape_share for line in found),
        baselines={name: _mean_errors([line.baselines[name] for line in found if name in line.baselines])
                   for name in first.baselines},
        counts=all(line.counts for line in found),
    )  # fmt: skip


def _mean_errors(found: Sequence[Errors]) -> Errors:
    a, b, c = (mean(getattr(errors, name) for errors in found) for name in ERRORS)
    return Errors(sum(errors.rows for errors in found), a, b, c)


def mean(values: Iterable[float]) -> float:
    """Return the mean of what is finite, NaN without any."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
