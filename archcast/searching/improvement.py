"""Expected hypervolume improvement, exact for one to three objectives, of independent normal or log-normal values.

What no told design beats is cut into boxes (strips in a plane, slabs of strips in space). The expected volume that a
design adds is a sum over boxes of products of expected lengths, E (u - max(l, y))+ = f(u) - f(l) with
f(a) = E (a - y)+ (Emmerich, Deutz and Klinkenberg, 2011, whose sum this is in other words).
"""

from __future__ import annotations

import numpy as np

from workloads.table import Array

LEAST_SPREAD = 1e-9


def expected_gap(ends: Array, mean: Array, spread: Array, log: bool) -> Array:
    """Return E (end - y)+ for each design and end, shape (designs, ends); y is normal, or e to a normal where `log`."""
    from scipy.special import ndtr

    spread = np.maximum(spread, LEAST_SPREAD)[:, None]
    centre = mean[:, None]
    if log:
        with np.errstate(divide="ignore"):
            far = (np.log(np.maximum(ends, 0.0)) - centre) / spread
        return np.asarray(ends * ndtr(far) - np.exp(centre + spread**2 / 2) * ndtr(far - spread))
    far = (ends - centre) / spread
    return np.asarray((ends - centre) * ndtr(far) + spread * np.exp(-0.5 * far**2) / np.sqrt(2 * np.pi))


def expected_improvement(front: Array, reference: Array, means: Array, spreads: Array, logs: Array) -> Array:
    """Return the volume that each design is expected to add to what `front` dominates below `reference`.

    Args:
        front: values of the designs that stand for the front, (designs, objectives), one to three objectives.
        means, spreads: of each candidate and objective (of the logarithm where `logs`), (candidates, objectives).
    """
    inside = front[(front < reference).all(axis=1)]
    gaps = [
        expected_gap(np.append(inside[:, k], reference[k]), means[:, k], spreads[:, k], bool(logs[k]))
        for k in range(len(reference))
    ]
    everyone = np.arange(len(inside))
    if len(reference) == 1:
        return np.asarray(gaps[0].min(axis=1))  # the gap rises with its end: the least is that to the best
    if len(reference) == 2:
        return _strips(inside, everyone, gaps)
    order = np.argsort(inside[:, 2], kind="stable")
    total = np.zeros(len(means))
    below = np.zeros(len(means))
    for place in range(len(order) + 1):
        above = gaps[2][:, order[place] if place < len(order) else -1]
        total += (above - below) * _strips(inside, order[:place], gaps)
        below = above
    return total


def _strips(front: Array, among: Array, gaps: list[Array]) -> Array:
    """Return the expected area that designs add in the plane of the first two objectives, to `among` of the front."""
    kept, least = [], np.inf
    for place in among[np.lexsort((front[among, 1], front[among, 0]))]:
        if front[place, 1] < least:
            kept.append(int(place))
            least = front[place, 1]
    right, top = gaps[0][:, [*kept, -1]], gaps[1][:, [-1, *kept]]
    wide = np.diff(right, axis=1, prepend=0.0)
    return np.asarray(np.einsum("ij,ij->i", wide, top))
