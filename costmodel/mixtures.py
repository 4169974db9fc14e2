"""What batches of unequal inputs cost: closed forms over a dynamic network's paths, and quantiles of what is drawn.

Each input takes path p with share s_p, on its own. A batch of B has N_v inputs of variant v of a part, binomial with
B and the sum of its paths' shares; parts run the N_v that they have (compact), or all B at the dearest variant that any
of them needs (padded). Both are beside batches that are filled up again with inputs of their own kind (regrouped).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.table import Array

QUANTILES = (0.5, 0.9, 0.99)
DRAWS = 20_000
"""Batches drawn for quantiles; the share below a quantile is then known to 0.2 points (two standard errors)."""
SEED = 20260101
MAX_SIZES = 96


@dataclass(frozen=True)
class VariantCost:
    """Cost of a variant by how many inputs it has: `costs` (sizes, 3) value, lo, hi at `sizes`, 0 inputs cost 0."""

    part: str
    paths: tuple[int, ...]
    sizes: Array
    costs: Array

    def at(self, inputs: Array, column: int = 0) -> Array:
        """Return the cost of so many inputs, linear between the sizes that are known."""
        return np.asarray(np.interp(inputs, np.append(0, self.sizes), np.append(0.0, self.costs[:, column])))


@dataclass(frozen=True)
class Mixture:
    """Cost of a batch: `mean` (value, lo, hi), quantiles of the value, and means in other ways of batching."""

    mean: tuple[float, float, float]
    p50: float
    p90: float
    p99: float
    regrouped: float
    padded: float


def batch_sizes(batch: int) -> Array:
    """Return the sizes at which costs are taken: all up to the batch, or a geometric grid of at most `MAX_SIZES`."""
    if batch <= MAX_SIZES:
        return np.arange(1, batch + 1)
    return np.unique(np.round(np.geomspace(1, batch, MAX_SIZES)).astype(int))


def mixture(found: Sequence[VariantCost], shares: Sequence[float], batch: int) -> Mixture:
    """Return what a batch costs. `shares` are those of the paths, in their order."""
    share = np.asarray(shares)
    own = [float(share[list(variant.paths)].sum()) for variant in found]
    mean = np.zeros(3)
    for variant, part in zip(found, own, strict=True):
        inputs, chance = binomial(batch, part)
        mean += [float(chance @ variant.at(inputs, column)) for column in range(3)]
    regrouped = sum(part * float(v.at(np.array(batch))) for v, part in zip(found, own, strict=True))
    values, weights = _drawn(found, share, batch)
    p50, p90, p99 = (_quantile(values, weights, q) for q in QUANTILES)
    value, lo, hi = mean.tolist()
    return Mixture((value, lo, hi), p50, p90, p99, regrouped, _padded(found, own, batch))


def binomial(count: int, share: float) -> tuple[Array, Array]:
    """Return (0 .. count, the chance of each) for `count` independent trials."""
    inputs = np.arange(count + 1)
    if share in (0.0, 1.0):
        return inputs, (inputs == count * share).astype(float)
    logs = np.append(0.0, np.cumsum(np.log(np.arange(1, count + 1))))
    chance = np.exp(
        logs[-1] - logs - logs[::-1] + inputs * np.log(share) + (count - inputs) * np.log1p(-share)
    )  # fmt: skip
    return inputs, chance / chance.sum()


def _drawn(found: Sequence[VariantCost], share: Array, batch: int) -> tuple[Array, Array]:
    """Return (costs of batches, their weights): one a path where inputs come alone, else batches that are drawn."""
    if batch == 1:
        counts, weights = np.eye(len(share)), share
    else:
        counts = np.random.default_rng(SEED).multinomial(batch, share, size=DRAWS).astype(float)
        weights = np.full(DRAWS, 1.0 / DRAWS)
    costs = np.zeros(len(counts))
    for variant in found:
        costs += variant.at(counts[:, list(variant.paths)].sum(axis=1))
    return costs, weights


def _quantile(values: Array, weights: Array, share: float) -> float:
    """Return the least value that at least `share` of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(reached, share - 1e-12)), len(values) - 1)])


def _padded(found: Sequence[VariantCost], own: Sequence[float], batch: int) -> float:
    """Return the mean where every input runs the dearest variant of a part that any in its batch needs.

    The dearest of B is at most variant v with the chance (share of v and all cheaper ones)^B.
    """
    total = 0.0
    for part in dict.fromkeys(variant.part for variant in found):
        mine = [(float(v.at(np.array(batch))), s) for v, s in zip(found, own, strict=True) if v.part == part]
        below = 0.0
        for cost, share in sorted(mine):
            total += cost * ((below + share) ** batch - below**batch)
            below = min(below + share, 1.0)
    return total
