"""Fit the constants of the Gemmini model to measured runs: few rows move them little from where they start.

The least squares are of the log of predicted over measured, soft beyond a tenth so that odd rows do not rule, plus the
log of each constant over its start in units of `spread` (a Gaussian prior). With no rows the start comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.spatial.gemmini import (
    CONSTANTS,
    NAMES,
    GemminiConstants,
    GemminiRuns,
    gemmini_costs,
    with_values,
)
from foundation.errors import BadValueError
from workloads.table import Array

SOFT = 0.1
STEP = 0.02
LARGEST = 200
BOUND = np.log(30.0)
"""Constants stay within a factor of 30 of their start."""


def fit_constants(
    runs: Sequence[GemminiRuns], cycles: Sequence[Array], *, spread: float = np.inf,
    names: tuple[str, ...] = NAMES, start: GemminiConstants = CONSTANTS,
) -> GemminiConstants:  # fmt: skip
    """Return constants that explain the cycles of runs; `spread` of the prior in log (infinite: none).

    Raises:
        BadValueError: cycles that are not above 0, not one a row, or no rows at all without a prior.
    """
    from scipy.optimize import least_squares

    measured = [np.asarray(column, float) for column in cycles]
    for run, column in zip(runs, measured, strict=True):
        if column.shape != run.macs.shape or not (np.isfinite(column) & (column > 0)).all():
            raise BadValueError("Measured cycles must be one a layer, finite and above 0.")
    if not spread > 0 or (np.isinf(spread) and not sum(map(len, measured))):
        raise BadValueError("Constants cannot be fitted to no rows without a spread above 0 around where they start.")
    origin = np.log([getattr(start, name) for name in names])
    logs = [np.log(column) for column in measured]

    def residuals(values: Array) -> Array:
        constants = with_values(names, np.exp(values), start)
        errors = np.concatenate(
            [np.zeros(0), *(np.log(gemmini_costs(run, constants).cycles) - log
                            for run, log in zip(runs, logs, strict=True))]
        )  # fmt: skip
        soft = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + (errors / SOFT) ** 2) - 1))
        return np.concatenate([soft, (values - origin) / spread])

    found = least_squares(residuals, origin, bounds=(origin - BOUND, origin + BOUND), diff_step=STEP, max_nfev=LARGEST)
    return with_values(names, np.exp(found.x), start)
