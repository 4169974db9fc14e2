"""What describes a stream of requests: rate, burstiness, lengths, and how much of the prompts was seen before.

These are the figures that fitted traffic is held to (docs/traffic.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foundation.checks import finite_number
from workloads.table import Array

if TYPE_CHECKING:
    from workloads.traffic.stream import Traffic

WINDOWS_S = (1.0, 10.0, 60.0)
"""Windows in which burstiness is reported."""


def dispersion(arrival_s: Array, window_s: float, *, from_s: float = 0.0) -> float:
    """Return the index of dispersion of counts: variance over mean of the arrivals a window.

    Windows of `window_s` follow each other from `from_s`; a last one that is cut short is left out. 1 is a Poisson
    process, 0 a clock, above 1 is bursty; NaN where the times hold fewer than two windows.
    """
    window_s = finite_number("window_s", window_s, strict=True)
    times = np.asarray(arrival_s, dtype=float) - from_s
    windows = int(times[-1] // window_s) if len(times) else 0
    if windows < 2:
        return float("nan")
    at = np.floor(times / window_s).astype(np.int64)
    counts = np.bincount(at[(at >= 0) & (at < windows)], minlength=windows)
    return float(counts.var() / counts.mean()) if counts.any() else float("nan")


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank. 0 where one does not vary."""
    ranks = [_ranks(np.asarray(one)) for one in (a, b)]
    if any(len(one) < 2 or one.std() == 0 for one in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: Array = (last - (counts - 1) / 2)[inverse.ravel()]
    return mean_rank


def blocks_seen(traffic: Traffic) -> Array:
    """Return how many leading blocks of each prompt some earlier request had too, shape (requests,).

    So many would a prefix cache without limit hold. A block counts only where all blocks before it were seen.
    """
    start = traffic.prefix_start
    # A block is old where its id stood before; the leading run of old blocks ends at the first new one.
    _, first = np.unique(traffic.prefix_ids, return_index=True)
    fresh = np.zeros(len(traffic.prefix_ids) + 1, dtype=bool)
    fresh[first] = True
    fresh[-1] = True
    next_fresh = np.flatnonzero(fresh)
    reach = next_fresh[np.searchsorted(next_fresh, start[:-1])]
    seen: Array = np.minimum(reach, start[1:]) - start[:-1]
    return seen


def prefix_share(traffic: Traffic) -> float:
    """Return the share of all prompt tokens that a prefix cache without limit would hold."""
    seen = np.minimum(blocks_seen(traffic) * traffic.prefix_tokens, traffic.prompt)
    return float(seen.sum() / traffic.prompt.sum()) if len(traffic) else 0.0


def summary(traffic: Traffic) -> dict[str, float | int | str]:
    """Return the description of `Traffic.summary`: text, counts, Hz, s and tokens."""
    found: dict[str, float | int | str] = {
        "name": traffic.name, "source": traffic.source, "requests": len(traffic), "span_s": traffic.span_s,
        "rate_hz": traffic.rate_hz, "sessions": len(np.unique(traffic.session[traffic.session >= 0])),
    }  # fmt: skip
    if not len(traffic):
        return found
    for window_s in WINDOWS_S:
        found[f"dispersion_{window_s:g}s"] = dispersion(traffic.arrival_s, window_s)
    for name, column in (("prompt", traffic.prompt), ("generate", traffic.generate)):
        found[f"{name}_mean"] = float(column.mean())
        for percent in (10, 50, 90, 99):
            found[f"{name}_p{percent}"] = float(np.percentile(column, percent))
    found["rank_correlation"] = rank_correlation(traffic.prompt, traffic.generate)
    found["prefix_share"] = prefix_share(traffic)
    return found
