"""Which measured rows train, which calibrate intervals, and which are only scored: by shape groups, never by rows."""

from __future__ import annotations

import hashlib

import numpy as np

from workloads.table import Array

CALIBRATE_SHARE, HELD_OUT_SHARE = 0.15, 0.1
TRAIN, CONFORMAL, HELD_OUT = range(3)
FEWEST_GROUPS = 5
"""Shape groups that a (device, operator) needs: fewer leave nothing to hold out."""


def ordered(groups: Array, seed: int) -> list[int]:
    """Return groups in an order that depends on the seed and on nothing else."""
    salt = seed.to_bytes(8, "little", signed=True)
    return sorted(
        (int(g) for g in groups), key=lambda g: hashlib.blake2b(g.to_bytes(8, "little") + salt, digest_size=8).digest()
    )


def split(group: Array, family: Array, seed: int) -> Array:
    """Return the part of each row (TRAIN, CONFORMAL, HELD_OUT). A group is in one part; every family is in all three.

    Groups of each family are ordered by a hash of group and seed, and cut by count; the first family (in order of its
    name) that has a group decides for all.
    """
    decided: dict[int, int] = {}
    for name in sorted(set(family.tolist())):
        order = ordered(np.unique(group[family == name]), seed)
        held, calibrated = (max(1, round(share * len(order))) for share in (HELD_OUT_SHARE, CALIBRATE_SHARE))
        for i, g in enumerate(order):
            decided.setdefault(g, HELD_OUT if i < held else CONFORMAL if i < held + calibrated else TRAIN)
    shapes, inverse = np.unique(group, return_inverse=True)
    return np.array([decided[int(g)] for g in shapes], dtype=np.int8)[inverse.ravel()]


def folds(group: Array, count: int, seed: int) -> Array:
    """Return a fold (0 to count - 1) for each row: groups are dealt in the order of `ordered`."""
    shapes, inverse = np.unique(group, return_inverse=True)
    rank = {g: i for i, g in enumerate(ordered(shapes, seed))}
    return np.array([rank[int(g)] % count for g in shapes], dtype=np.int8)[inverse.ravel()]
