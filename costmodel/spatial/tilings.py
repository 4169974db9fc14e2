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
    for cuts in ((1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        parts = [(names, bool(cut)) for names, cut in zip((PIXELS, CHANNELS, SUMMED), cuts, strict=True)]
        chains = [chain_of(left, names, cut) for names, cut in parts]
        if any(cut and chain is None for (_, cut), chain in zip(parts, chains, strict=True)):
            continue
        groups = chain_of(left, ("G",), False)
        found.append(_ordered([chain for chain in chains if chain is not None], groups))
    return tuple(found)


def _ordered(chains: list[Chain], last: Chain | None) -> tuple[Array, Array, Array, States]:
    """Return all orders of the tiles of some chains for all their cuts, each tile inside its turns, `last` outside."""
    steps = [[chain.inner, len(chain.dims) - chain.inner] for chain in chains]
    labels = [at for at, step in enumerate(steps) for size in step if size]
    orders = sorted(set(itertools.permutations(labels)))
    every = [*chains, *([last] if last else [])]
    cuts = np.stack(np.meshgrid(*(np.arange(c.sizes.shape[1]) for c in every), indexing="ij")).reshape(len(every), -1)
    radix = np.cumprod([1, *(len(chain.dims) + 1 for chain in every)])
    places, dims, rows = _walks(orders, every, steps, last is not None)
    codes = (np.tensordot(radix[:-1], places, axes=1)[:, :, None] + radix[-1] * np.arange(cuts.shape[1])).astype(
        np.intp
    )
    sizes = np.ones((*dims.shape, cuts.shape[1]))
    for at, chain in enumerate(every):
        mine = rows[..., 0] == at
        sizes[mine] = chain.sizes[:, cuts[at]][rows[..., 1][mine]]
    named = np.where(sizes > 1, dims[:, :, None], PAD).astype(np.int8)
    flat = (len(named), -1)
    return named.reshape(flat), sizes.reshape(flat), codes.reshape(len(codes), -1), _states(every, cuts, radix)


def _walks(
    orders: Sequence[tuple[int, ...]], chains: list[Chain], steps: list[list[int]], last: bool
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return by order: loops of each chain inside the first 0, 1, ... (chains, loops + 1, orders), dims, and (chain,
    loop) of each.
    """
    places, dims, rows = [], [], []
    for order in orders:
        at = [0] * len(chains)
        walk, mine, own = [tuple(at)], [], []
        turn = [0] * len(chains)
        for label in (*order, *([len(chains) - 1] if last else [])):
            size = len(chains[label].dims) if label >= len(steps) else steps[label][turn[label]]
            turn[label] += 1
            for _ in range(size):
                mine.append(chains[label].dims[at[label]])
                own.append((label, at[label]))
                at[label] += 1
                walk.append(tuple(at))
        places.append(walk)
        dims.append(mine)
        rows.append(own)
    return np.array(places).T.reshape(len(chains), -1, len(orders)), np.array(dims).T, np.array(rows).swapaxes(0, 1)


def _states(chains: list[Chain], cuts: Array, radix: Array) -> States:
    """Return what each state covers, cuts outside: how many loops of each chain are inside, in a mixed radix."""
    inside = [(np.arange(radix[-1]) // radix[at]) % (len(chain.dims) + 1) for at, chain in enumerate(chains)]

    def covered(of: str) -> dict[str, Array]:
        whole = np.ones((len(DIMS), cuts.shape[1], int(radix[-1])))
        for at, chain in enumerate(chains):
            whole *= getattr(chain, of)[inside[at]][:, :, cuts[at]].transpose(1, 2, 0)
        return dict(zip(DIMS, whole.reshape(len(DIMS), -1), strict=True))

    means, rooms = covered("means"), covered("rooms")

    def product(of: dict[str, Array], names: Sequence[str]) -> Array:
        return np.asarray(np.prod([of[name] for name in names], axis=0))

    return States(
        product(means, DIMS), {o: product(means, PLAIN[o]) for o in OPERANDS}, {d: means[d] for d in HALO}, None,
        Room({o: product(rooms, PLAIN[o]) for o in OPERANDS}, {d: rooms[d] for d in HALO}),
    )  # fmt: skip
