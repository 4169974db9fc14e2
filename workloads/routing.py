"""How many rows each expert of the busiest device gets: the laws of loads that expert layers are measured under.

`skew` 0: tokens are dealt round, so that loads differ by one row at most. Above 0 it is the exponent a of a bounded
power law: an expert's load is drawn with density x^-a on [1, 0.8 tokens] (on [0.01, 2] where choices are fewer than
experts), scaled to tokens x topk choices in whole rows, at most one a token and expert; what rounding leaves goes to
(or comes from) the devices in turn, to their least (from their most) loaded experts. Experts stand on devices in
blocks, and the device with the most rows counts. That is the law of aiconfigurator's collectors (ai-dynamo,
collector/helper.py, Apache-2.0), whose means over draws are taken over `DRAWS` fixed ones. Loads of whole rows do not
rise with every token, so that the closed form (`workloads.work.expert_load`) keeps a smoother law; learned features
have this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workloads.table import Array

TILES: tuple[int, ...] = (8, 16, 32, 64, 128)
"""Rows that kernels take at a time."""
DRAWS = 8
MOST_KEPT = 30_000
"""Drawn loads that are remembered (some 15 MB)."""
_CELLS = 60_000
"""Expert loads evaluated at a time: they stay in the second cache."""
_EXACT = 1 << 24
"""Whole numbers below this are exact in single precision."""
_SPREAD, _TAIL = (1.0, 0.8), (0.01, 2.0)
FIELDS = 3 + len(TILES)


@dataclass(frozen=True)
class Routed:
    """Mean over draws, on the busiest device: rows of all its experts, experts that have any, rows of the largest, and
    pieces of `TILES` rows, each expert's last one counted whole (shape (rows, tiles))."""

    rows: Array
    hit: Array
    largest: Array
    tiles: Array


def busiest(tokens: Array, experts: Array, topk: Array, ep: Array, skew: Array) -> Routed:
    """Return the loads of the busiest of `ep` devices for each row (columns of equal length)."""
    keys = np.stack([np.asarray(c, dtype=np.float64) for c in (tokens, experts, topk, ep, skew)], axis=1)
    if len(keys) == 1:
        found = np.array(busiest_of_one(*(float(x) for x in keys[0])))[None]
    else:
        kinds, inverse = np.unique(keys, axis=0, return_inverse=True)
        found = _remembered(kinds)[inverse.ravel()]
    return Routed(found[:, 0], found[:, 1], found[:, 2], found[:, 3:])


def _remembered(kinds: Array) -> Array:
    """Return `_loads`; those of drawn loads are kept, since searches ask for the same ones again and again."""
    drawn = np.flatnonzero(kinds[:, 4] > 0)
    if not len(drawn):
        return _loads(kinds)
    names = [kinds[i].tobytes() for i in drawn]
    new = np.array([name not in _kept for name in names])
    found, fresh = np.empty((len(kinds), FIELDS)), np.ones(len(kinds), dtype=bool)
    fresh[drawn[~new]] = False
    if not new.all():
        found[~fresh] = [_kept[name] for name, absent in zip(names, new, strict=True) if not absent]
    if fresh.any():
        found[fresh] = _loads(kinds[fresh])
    if len(_kept) + int(new.sum()) > MOST_KEPT:
        _kept.clear()
    added = [(name, i) for name, i, absent in zip(names, drawn, new, strict=True) if absent][:MOST_KEPT]
    _kept.update((name, tuple(found[i].tolist())) for name, i in added)
    return found


_kept: dict[bytes, tuple[float, ...]] = {}


@lru_cache(maxsize=4096)
def busiest_of_one(*key: float) -> tuple[float, ...]:
    """Return rows, experts hit, rows of the largest and pieces of `TILES` for (tokens, experts, topk, ep, skew)."""
    return tuple(float(x) for x in _loads(np.array([key]))[0])


def _loads(keys: Array) -> Array:
    """Return the columns of `Routed` for different (tokens, experts, topk, ep, skew)."""
    found = np.empty((len(keys), FIELDS))
    places, place_of = np.unique(keys[:, [1, 3]], axis=0, return_inverse=True)
    for place, (experts, ep) in enumerate(places):
        count = max(1, int(experts))
        held = max(1, int(count // max(ep, 1)))
        mine = place_of.ravel() == place
        even, drawn = np.flatnonzero(mine & (keys[:, 4] <= 0)), np.flatnonzero(mine & (keys[:, 4] > 0))
        found[even] = _dealt(keys[even, 0], count, keys[even, 2], held)
        step = max(1, _CELLS // (DRAWS * count))
        for part in (drawn[i : i + step] for i in range(0, len(drawn), step)):
            found[part] = _counted(_drawn(keys[part], count, held))
    return found


def _counted(loads: Array) -> Array:
    """Return rows, experts hit, the largest and pieces of loads, shape (cases, draws, experts), as means over draws."""
    if loads.max(initial=0.0) * loads.shape[2] < _EXACT:
        loads = loads.astype(np.float32)  # whole numbers and their sums stay exact, at half the cost
    columns = [loads.sum(axis=2), np.minimum(loads, 1.0).sum(axis=2), loads.max(axis=2)]
    piece = np.empty_like(loads)
    for tile in TILES:
        np.multiply(loads, loads.dtype.type(1.0 / tile), out=piece)
        columns.append(np.ceil(piece, out=piece).sum(axis=2))
    return np.stack([column.mean(axis=1, dtype=np.float64) for column in columns], axis=1)


def _dealt(tokens: Array, experts: int, topk: Array, held: int) -> Array:
    """Return the columns of `Routed` for the first `held` experts where token t takes experts t, t + stride ...

    An expert at place p of its stride has floor(tokens / stride) rows, and one more below tokens mod stride. Tokens
    that are fewer than places are spread over them: ceil(m tokens / stride) of them stand before place m.
    """
    stride = np.ceil(experts / np.maximum(topk, 1.0))
    turns, last = np.floor(held / stride), held % stride
    least = np.floor(tokens / stride)
    some = least > 0
    more = np.where(some, tokens % stride, tokens)
    before = np.where(some, np.minimum(last, more), np.minimum(tokens, np.ceil(last * tokens / stride)))
    with_more = turns * more + before
    rows, hit = with_more + held * least, np.where(some, held, with_more)
    columns = [rows, hit, least + (with_more > 0)]
    columns += [with_more * np.ceil((least + 1) / t) + (held - with_more) * np.ceil(least / t) for t in TILES]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=64)
def _uniform(count: int) -> Array:
    """Return fixed numbers in (0, 1), shape (draws, count): SplitMix64 of their places (Steele et al. 2014)."""
    draw = np.arange(1, DRAWS + 1, dtype=np.uint64)[:, None]
    place: Array = draw * np.uint64(1 << 32) + np.arange(count, dtype=np.uint64)
    x: Array = place * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.asarray(((x >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


def _drawn(keys: Array, experts: int, held: int) -> Array:
    """Return loads of the busiest device's experts under the power law, shape (cases, draws, held)."""
    tokens, topk, skew = (keys[:, i, None, None] for i in (0, 2, 4))
    target = tokens * topk
    many = target > experts
    low = np.where(many, _SPREAD[0], _TAIL[0])
    high = np.maximum(np.where(many, _SPREAD[1] * tokens, _TAIL[1]), low)
    power = np.where(np.abs(1 - skew) < 1e-6, 1e-6, 1 - skew)  # at 1 the limit: loads even in their logarithm
    start = low**power
    weight = (high**power - start) * _sorted_uniform(experts, held)[None]
    weight += start
    weight **= 1 / power
    weight *= target / weight.sum(axis=2, keepdims=True)
    loads = np.minimum(np.rint(weight, out=weight), tokens, out=weight)
    left = np.rint(target[:, :, 0] - loads.sum(axis=2))
    devices = experts // held
    blocks = loads[:, :, : devices * held].reshape(*loads.shape[:2], devices, held)
    share = np.floor(np.abs(left) / devices)[:, :, None] + (np.arange(devices) < (np.abs(left) % devices)[:, :, None])
    share *= np.sign(left)[:, :, None]
    most = (blocks.sum(axis=3) + share).argmax(axis=2)[:, :, None]
    mine = blocks[:, :, 0] if devices == 1 else np.take_along_axis(blocks, most[..., None], axis=2)[:, :, 0]
    rest = np.take_along_axis(share, most, axis=2)
    # as many experts at most change as there are rows to give or to take: the least or the most loaded ones
    edge = int(min(held, max(1.0, np.abs(rest).max())))
    least, most_loaded = mine[:, :, :edge], mine[:, :, held - edge :]
    filled = np.where(rest > 0, np.minimum(_filled(least, np.maximum(rest, 0.0)), tokens), least)
    cut = np.where(rest < 0, _cut(most_loaded, np.maximum(-rest, 0.0)), most_loaded)
    gets = rest[:, :, 0] > 0
    mine[:, :, :edge] = np.where(gets[..., None], filled, least)
    mine[:, :, held - edge :] = np.where(gets[..., None], mine[:, :, held - edge :], cut)
    return np.asarray(mine)


@lru_cache(maxsize=64)
def _sorted_uniform(experts: int, held: int) -> Array:
    """Return the numbers of `_uniform` in rising order on each device: so loads are, which rise with them."""
    numbers, whole = _uniform(experts).copy(), experts // held * held
    blocks = numbers[:, :whole].reshape(DRAWS, -1, held)
    numbers[:, :whole] = np.sort(blocks, axis=2).reshape(DRAWS, whole)
    return numbers


def _filled(loads: Array, more: Array) -> Array:
    """Return loads (in rising order) with `more` rows given one at a time to the least loaded expert."""
    held = loads.shape[2]
    level = (np.cumsum(loads, axis=2) + more) / np.arange(1, held + 1)
    after = np.concatenate([loads[:, :, 1:], np.full((*loads.shape[:2], 1), np.inf)], axis=2)
    floor = np.floor(np.take_along_axis(level, (level <= after).argmax(axis=2)[:, :, None], axis=2))
    raised = np.maximum(loads, floor)
    return np.asarray(raised + (np.arange(held) < more - (raised - loads).sum(axis=2, keepdims=True)))


def _cut(loads: Array, fewer: Array) -> Array:
    """Return loads (in rising order) with `fewer` rows taken from the most loaded experts in turn."""
    held = loads.shape[2]
    turns, last = np.floor(fewer / held), fewer % held
    return np.asarray(np.maximum(loads - turns - (np.arange(held)[::-1] < last), 0.0))
