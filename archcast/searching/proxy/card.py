"""How good predictions of left-out designs are: the numbers of a proxy's card."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archcast.searching.metrics import front_recall, spearman
from workloads.table import Array

FRONT_TIMES = 3
"""A proxy may put forward so many designs for each of the true front."""


def scores(predicted: Array, true: Array, low: Array | None = None, high: Array | None = None) -> dict[str, float]:
    """Return RMSE over the mean, MAPE, median and 90th percentile of errors, Spearman, and the interval's coverage.

    Where `zeros`, a share of true values, are 0, errors over the value are of the others.
    """
    off, zero = predicted - true, true == 0
    share = np.abs(off[~zero] / true[~zero])
    found = {
        "rmse_over_mean": float(np.sqrt((off**2).mean()) / np.abs(true.mean())), "mape": float(share.mean()),
        "median": float(np.median(share)), "p90": float(np.percentile(share, 90)),
        "spearman": spearman(predicted, true),
    }  # fmt: skip
    if zero.any():
        found["zeros"] = float(zero.mean())
    if low is not None and high is not None:
        found["coverage_90"] = float(((true >= low) & (true <= high)).mean())
        with np.errstate(divide="ignore", invalid="ignore"):
            found["width"] = float(np.nanmedian(((high - low) / np.abs(predicted))[~zero]))
    return found


def recall(predicted: Mapping[str, Array], true: Mapping[str, Array]) -> float:
    """Return the share of the true front among `FRONT_TIMES` as many designs as it has, chosen by the proxy."""
    from archcast.searching.front import nondominated

    names = tuple(true)
    best = np.stack([true[name] for name in names], axis=1)
    count = min(len(best), FRONT_TIMES * len(nondominated(best, np.arange(len(best)))))
    return front_recall(np.stack([predicted[name] for name in names], axis=1), best, count)
