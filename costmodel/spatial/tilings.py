"""Tiles of any size as candidates: a bound is cut into 2, 3, 4, ... tiles whose last one may be smaller.

Prime factors of a bound leave few tiles (197 none, 512 only powers of two) and many orders. Here pixels, output
channels and what is summed over are one loop each or two, a tile and how many there are; at most two of the three are
cut. What moves and the cycles are those of the mean tile, the room in a buffer is that of the largest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from costmodel.spatial.hierarchy import DIMS, OPERANDS
from costmodel.spatial.nest import HALO, PAD, PLAIN, Room, States
from workloads.table import Array

COUNTS: tuple[int, ...] = (2, 3, 4, 6, 8, 12, 16, 32)
"""Into how many tiles a bound is cut: steps of a third to a half, finer than which traffic changes little."""
PIXELS, CHANNELS, SUMMED = ("OX", "OY", "B"), ("K",), ("FX", "FY", "C")
"""Dims that are cut as one, inner to outer; the outermost that is longer than 1 is cut first."""


@dataclass(frozen=True)
class Chain:
    """Loops of some dims in a fixed order, in columns of cuts: `inner` loops are the tile, the rest its turns.

    `dims` are the loops' dims; `means` and `rooms` (loops + 1, dims of DIMS, cuts) say how much of each dim the first
    0, 1, ... loops cover, in the mean and at most; `sizes` (loops, cuts) are the loops' own.
    """

    dims: tuple[int, ...]
    inner: int
    means: Array
    rooms: Array
    sizes: Array


def chain_of(left: tuple[int, ...], names: Sequence[str], cut: bool) -> Chain | None:
    """Return the loops of some dims, cut into tiles or whole; None where there is nothing to loop over, or to cut."""
    dims = [DIMS.index(name) for name in names if left[DIMS.index(name)] > 1]
    if not dims:
        return None
    split = dims[-1:] if cut else []
    bounds = np.array([left[dim] for dim in dims])
    counts = sorted({ceil(left[split[0]] / ceil(left[split[0]] / count)) for count in COUNTS if count <= left[split[0]]}
                    ) if split else [1]  # fmt: skip
    covers = np.ones((len(dims) + len(split) + 1, len(DIMS), len(counts)))
    rooms = covers.copy()
    for row, dim in enumerate(dims):
        whole = float(bounds[row])
        tiles = np.array(counts, float) if dim in split else np.ones(len(counts))
        covers[row + 1 :, dim], rooms[row + 1 :, dim] = whole / tiles, np.ceil(whole / tiles)
    if split:
        covers[-1, split[0]] = rooms[-1, split[0]] = left[split[0]]
    sizes = np.ones((len(covers) - 1, len(counts)))
    sizes[: len(dims)] = [rooms[row + 1, dim] for row, dim in enumerate(dims)]
    if split:
        sizes[-1] = counts
    return Chain((*dims, *split), len(dims), covers, rooms, sizes)


@lru_cache(maxsize=1024)
def tilings(left: tuple[int, ...]) -> tuple[tuple[Array, Array, Array, States], ...]:
    """Return orders of tiles of what the array leaves of the bounds, in the form of `orders.orders_of`.

    Groups are the outermost loop.
    """
    found = []
    every: dict[tuple[tuple[str, ...], bool], Chain | None] = {
        (names, cut): chain_of(left, names, cut) for names in (PIXELS, CHANNELS, SUMMED) for cut in (False, True)
    }
    groups = chain_of(left, ("G",), False)
    for cuts in ((1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        parts = [(names, bool(cut)) for names, cut in zip((PIXELS, CHANNELS, SUMMED), cuts, strict=True)]
        chains = [every[part] for part in parts]
        if any(cut and chain is None for (_, cut), chain in zip(parts, chains, strict=True)):
            continue
        found.append(_ordered([chain for chain in chains if chain is not None], groups))
    return tuple(found)


def _ordered(chains: list[Chain], last: Chain | None) -> tuple[Array, Array, Array, States]:
    """Return all orders of the tiles of some chains for all their cuts, each tile inside its turns, `last` outside."""
    every = [*chains, *([last] if last else [])]
    places, dims, owner, rows = _walks(tuple((chain.dims, chain.inner) for chain in chains), last.dims if last else ())
    cuts = np.stack(np.meshgrid(*(np.arange(c.sizes.shape[1]) for c in every), indexing="ij")).reshape(len(every), -1)
    radix = np.cumprod([1, *(len(chain.dims) + 1 for chain in every)])
    inside = np.tensordot(radix[:-1], places, axes=1)
    codes = (inside[:, :, None] + radix[-1] * np.arange(cuts.shape[1])).astype(np.intp)
    starts = np.cumsum([0, *(len(chain.dims) for chain in every)])
    table = np.concatenate([chain.sizes[:, cuts[at]] for at, chain in enumerate(every)])
    sizes = table[starts[owner] + rows]
    named = np.where(sizes > 1, dims[:, :, None], np.int8(PAD))
    flat = (len(named), -1)
    return named.reshape(flat), sizes.reshape(flat), codes.reshape(len(codes), -1), _states(every, cuts, radix)


@lru_cache(maxsize=256)
def _walks(chains: tuple[tuple[tuple[int, ...], int], ...], last: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Return, by order, loops of each chain inside the first 0, 1, ... (chains, loops + 1, orders); dims, chain and row
    in its chain of each loop (loops, orders). A chain is its dims and how many of them are the tile.
    """
    labels = [at for at, (dims, inner) in enumerate(chains) for part in (inner, len(dims) - inner) if part]
    counts = np.array([len(dims) for dims, _ in chains] + ([len(last)] if last else []))
    owners = []
    for order in sorted(set(itertools.permutations(labels))):
        owner: list[int] = []
        for label in order:
            dims, inner = chains[label]
            owner += [label] * (len(dims) - inner if label in owner else inner)
        owners.append(owner + [len(chains)] * len(last))
    owner_of = np.array(owners).T
    mine = owner_of == np.arange(len(counts))[:, None, None]
    places = np.zeros((len(counts), len(owner_of) + 1, owner_of.shape[1]), int)
    np.cumsum(mine, axis=1, out=places[:, 1:])
    rows = np.take_along_axis(places[:, :-1], owner_of[None], axis=0)[0]
    starts = np.cumsum([0, *counts])
    every = np.array([dim for dims, _ in chains for dim in dims] + list(last), np.int8)
    return places, every[starts[owner_of] + rows], owner_of, rows


def _states(chains: list[Chain], cuts: Array, radix: Array) -> States:
    """Return what each state covers, cuts outside: how many loops of each chain are inside, in a mixed radix."""
    inside = [(np.arange(radix[-1]) // radix[at]) % (len(chain.dims) + 1) for at, chain in enumerate(chains)]

    def covered(of: str) -> Array:
        whole = np.ones((len(DIMS), cuts.shape[1], int(radix[-1])))
        for at, chain in enumerate(chains):  # dims of other chains are 1 in it
            dims = list(dict.fromkeys(chain.dims))
            whole[dims] = getattr(chain, of)[inside[at]][:, dims][:, :, cuts[at]].transpose(1, 2, 0)
        return whole.reshape(len(DIMS), -1)

    means, rooms = covered("means"), covered("rooms")

    def plain(of: Array) -> dict[str, Array]:
        return {o: of[[DIMS.index(d) for d in PLAIN[o]]].prod(axis=0) for o in OPERANDS}

    halo = {d: DIMS.index(d) for d in HALO}
    return States(
        means.prod(axis=0), plain(means), {d: means[at] for d, at in halo.items()}, None,
        Room(plain(rooms), {d: rooms[at] for d, at in halo.items()}),
    )  # fmt: skip
