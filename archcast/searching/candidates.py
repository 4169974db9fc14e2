"""Designs that a surrogate is asked about: drawn ones, neighbours of good ones, and the front of a cheap guess."""

from __future__ import annotations

import numpy as np

from archcast.searching.ranking import crowding, ranks
from archcast.searching.sampler import Asked, Prior, Told, keys_of, stream
from archcast.searching.space import DesignSpace
from workloads.table import Array

GENERATION = 400
"""Designs at a time of the search on a cheap guess."""


def neighbours(space: DesignSpace, codes: Array, count: int, rng: np.random.Generator) -> Array:
    """Return `count` designs, each one of `codes` with one knob changed, or a few: listed numbers mostly by a place.

    No `codes` have none.
    """
    if not codes.shape[1]:
        return codes
    knobs = len(space.knobs)
    units = space.encode(codes)[rng.integers(0, codes.shape[1], count)]
    chosen = rng.random((count, knobs)) < rng.choice([0.0, 1.0, 2.0], (count, 1)) / knobs
    chosen[np.arange(count), rng.integers(0, knobs, count)] = True
    anywhere = rng.random((count, knobs))
    sign = np.where(rng.random((count, knobs)) < 0.5, -1.0, 1.0)
    cells = np.array([0.0 if knob.span is not None else 1.0 / len(knob.values) for knob in space.knobs])
    width = np.where(cells > 0, cells * np.where(rng.random((count, knobs)) < 0.25, 2.0, 1.0),
                     np.abs(rng.normal(size=(count, knobs))) * 10.0 ** rng.uniform(-2.5, -0.5, (count, 1)))  # fmt: skip
    near = units + sign * width
    near = np.clip(np.where(near < 0, -near, np.where(near > 1, 2 - near, near)), 0, 1)
    names = np.array([knob.category for knob in space.knobs])
    moved = np.where(names | (rng.random((count, knobs)) < 0.2), anywhere, near)
    return space.decode(np.where(chosen, moved, units))


def distinct(codes: Array, seen: set[int]) -> Array:
    """Return designs that are not in `seen`, each once."""
    known = np.array(keys_of(codes), dtype=np.uint64)
    _, first = np.unique(known, return_index=True)
    first.sort()
    keep = [place for place, key in zip(first.tolist(), known[first].tolist(), strict=True) if key not in seen]
    return codes[:, keep]


def thinned_front(values: Array, count: int) -> Array:
    """Return places of `count` rows: those that nothing beats first, the loneliest of a rank first."""
    rank = ranks(values, np.zeros(len(values)), count)
    return np.lexsort((-crowding(values, rank), rank))[:count]


def prior_front(asked: Asked, prior: Prior, designs: int, keep: int) -> Array:
    """Return the best `keep` designs of `designs` that NSGA-II tries on the cheap guess: the same for every batch."""
    from archcast.searching.methods.genetic import GeneticSampler

    space = asked.space
    search = GeneticSampler(
        Asked(space, asked.objectives, asked.seed, asked.allowed, None, {"population": GENERATION // 2})
    )
    rng = stream(asked.seed, "front of the prior", 0)
    tried, found = [], []
    for _ in range(max(designs // GENERATION, 1)):
        codes = search.propose(GENERATION, rng)
        if asked.allowed is not None:
            codes = codes[:, asked.allowed(codes)]
        codes = distinct(codes, set())
        if not codes.shape[1]:
            continue
        values = np.asarray(prior(space.columns(codes)), dtype=float)
        good = np.isfinite(values).all(axis=1)
        search.learn(Told(codes, values, good, np.where(good, 0.0, 1.0)))
        tried.append(codes[:, good])
        found.append(values[good])
    if not tried:
        return np.zeros((len(space.knobs), 0))
    codes, values = np.concatenate(tried, axis=1), np.concatenate(found)
    _, first = np.unique(np.array(keys_of(codes), dtype=np.uint64), return_index=True)
    codes, values = codes[:, np.sort(first)], values[np.sort(first)]
    return codes[:, _layers(values, keep)] if len(values) else codes


def _layers(values: Array, keep: int) -> Array:
    """Return places of the best rows, by the sum of ranks where there are too many to compare all with all."""
    if len(values) > 4 * GENERATION:
        from archcast.searching.front import nondominated

        places = nondominated(values, np.arange(len(values)))
        rest = np.setdiff1d(np.arange(len(values)), places)
        score = np.argsort(np.argsort(values[rest], axis=0), axis=0).sum(axis=1)
        places = np.concatenate((places, rest[np.argsort(score, kind="stable")[: 3 * GENERATION]]))
        return places[thinned_front(values[places], keep)]
    return thinned_front(values, keep)
