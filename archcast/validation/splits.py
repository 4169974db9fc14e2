"""Groups: whole groups are sampled, dealt into folds and held out, never rows.

Where a group stands is a hash of its name and the seed, so that the same data and seed give the same split anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workloads.table import Array

RULE = "whole groups are taken in the order of a hash of their name and the seed, until the stated rows are reached"


@dataclass(frozen=True)
class Split:
    """How a case holds rows out.

    `by` names the groups: `shape` (an operator's shape group), `group` (what the data set says must stay together),
    `device`, `link` (device, kind and ranks of a collective). `text` says it in words. Groups are dealt into `folds`
    (0 = one a group), of which the first `rounds` are held out in turn (0 = all).
    """

    by: str
    text: str
    folds: int = 5
    rounds: int = 1

    def parts(self, groups: Array, seed: int) -> Iterator[tuple[Array, Array]]:
        """Yield (train, test) as masks of the rows. A group is never in both; with fewer than two groups, nothing."""
        names, inverse = np.unique(groups.astype(str), return_inverse=True)
        if len(names) < 2:
            return
        folds = min(self.folds or len(names), len(names))
        fold = np.empty(len(names), dtype=np.intp)
        fold[np.argsort(places(names, seed, "fold"), kind="stable")] = np.arange(len(names)) % folds
        for i in range(min(self.rounds or folds, folds)):
            test = (fold == i)[inverse]
            yield ~test, test


def places(names: Array, seed: int, salt: str) -> Array:
    """Return where each group stands, in [0, 1): a hash of its name, the seed and the purpose."""
    found = [
        int.from_bytes(hashlib.blake2b(f"{salt}|{seed}|{name}".encode(), digest_size=8).digest(), "little")
        for name in names.tolist()
    ]
    return np.array(found, dtype=np.float64) / 2.0**64


def sample(groups: Array, most_rows: int, seed: int) -> Array:
    """Return a mask of the rows of whole groups that make at most `most_rows` rows (at least two groups)."""
    if len(groups) <= most_rows:
        return np.ones(len(groups), dtype=bool)
    names, inverse, counts = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(places(names, seed, "sample"), kind="stable")
    taken = np.cumsum(counts[order]) <= most_rows
    taken[:2] = True
    keep = np.zeros(len(names), dtype=bool)
    keep[order[taken]] = True
    return np.asarray(keep[inverse])
