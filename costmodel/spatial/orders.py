"""All loop orders of layers on a hierarchy, and the best of them: exhaustive in columns, no search engine.

Loops are the prime factors of what the array leaves of each bound (the bound over the units that it unrolls, up to the
next whole number), the smallest two of the dim with the most merged until at most `limit` are left, as in LOMA (Symons
et al., AICAS 2021); the distinct permutations of these and of fewer factors down to four are the candidates, each
allotted to the memories by `nest.py`. Beyond four also those whose kernel loops move as one beside so many others, and
for a `Machine` tiles of any size (`tilings.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import ceil, factorial, prod
from typing import Any

import numpy as np

from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.hierarchy import DIMS, OPERANDS, Axis, Hierarchy, hierarchy_of
from costmodel.spatial.layers import FIELDS, Layers
from costmodel.spatial.machine import Machine, Operands
from costmodel.spatial.nest import HALO, PAD, PLAIN, Nest, Room, States
from costmodel.spatial.nest_costs import NestCosts, cycles_and_energy, evaluate
from costmodel.spatial.tilings import tilings
from foundation.errors import BadValueError
from workloads.elementwise import Value
from workloads.table import Array

OBJECTIVES: tuple[str, ...] = ("latency", "energy", "edp")
FACTOR_LIMIT = 6
LEAST_FACTORS = 4
MACHINE_SLACK = 0.01
MOST_ORDERS = 50_000
"""Orders of one layer at most; more factors are merged beyond it."""
BOUNDS: tuple[str, ...] = ("batch", "groups", "k", "c", "oy", "ox", "fy", "fx")
"""Fields of `Layers` in the order of DIMS."""
Loops = tuple[tuple[int, int], ...]
MERGE_ORDER: tuple[int, ...] = tuple(DIMS.index(dim) for dim in ("B", "K", "G", "OX", "OY", "C", "FX", "FY"))
"""Which dim merges first where several have as many factors."""


@lru_cache(maxsize=4096)
def unrolled(bounds: tuple[int, ...], axes: tuple[Axis, ...]) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Return what is left of each bound, and by axis the mean units of each dim: the fewest turns that an axis allows.

    Where an axis unrolls several dims, the first get as much as they can use at the fewest turns.
    """
    left = list(bounds)
    taken = []
    for axis in axes:
        at = [DIMS.index(dim) for dim in axis.dims]
        options = [_turns(left[i], axis.size) for i in at]
        fits = [c for c in itertools.product(*options) if prod(u for _, u in c) <= axis.size]
        best = min(fits, key=lambda c: (prod(t for t, _ in c), [-u for _, u in c]))
        units = [1.0] * len(DIMS)
        for i, (turns, _) in zip(at, best, strict=True):
            units[i] = left[i] / turns
            left[i] = turns
        taken.append(tuple(units))
    return tuple(left), tuple(taken)


def _turns(bound: int, size: int) -> list[tuple[int, int]]:
    """Return (turns, units) of a bound on up to `size` units, each number of units once, at its fewest turns."""
    found = {ceil(bound / units): units for units in range(min(bound, size), 0, -1)}
    return list(found.items())


@lru_cache(maxsize=4096)
def factors(left: tuple[int, ...], limit: int | None) -> Loops:
    """Return the loops (dim, size) of what is left of the bounds: prime factors, merged down to `limit` of them.

    A dim keeps at least one loop. Fewer where their orders would be more than MOST_ORDERS.
    """
    parts = {dim: _primes(left[dim]) for dim in MERGE_ORDER if left[dim] > 1}
    while (limit is not None and sum(map(len, parts.values())) > limit) or _count(parts) > MOST_ORDERS:
        most = max(parts, key=lambda dim: len(parts[dim]))
        if len(parts[most]) == 1:
            break
        first, second, *rest = parts[most]
        parts[most] = sorted([first * second, *rest])
    return tuple((dim, size) for dim, sizes in parts.items() for size in sizes)


def _primes(value: int) -> list[int]:
    found, divisor = [], 2
    while divisor * divisor <= value:
        while value % divisor == 0:
            found.append(divisor)
            value //= divisor
        divisor += 1
    return [*found, value] if value > 1 else found


def _count(parts: Mapping[int, list[int]]) -> int:
    count = factorial(sum(map(len, parts.values())))
    for sizes in parts.values():
        for size in set(sizes):
            count //= factorial(sizes.count(size))
    return count


@lru_cache(maxsize=4096)
def permutations(counts: tuple[int, ...]) -> Array:
    """Return the distinct orders of a multiset with `counts` of labels 0, 1, ...: (orders, labels in all)."""
    if not sum(counts):
        return np.zeros((1, 0), np.int8)
    parts = []
    for label, count in enumerate(counts):
        if count:
            rest = permutations((*counts[:label], count - 1, *counts[label + 1 :]))
            parts.append(np.column_stack([np.full(len(rest), label, np.int8), rest]))
    return np.concatenate(parts)


@lru_cache(maxsize=256)
def orders_of(loops: Loops, together: Loops = ()) -> tuple[Array, Array, Array, States]:
    """Return all orders of some loops: dims and sizes (loops, orders), codes (loops + 1, orders), and their states.

    Loops `together` move as one, the first inside. A state is how many of each kind of loop are inside; its code
    counts them in a mixed radix.
    """
    kinds = [*dict.fromkeys(loops), *together]
    counts = (*(loops.count(kind) for kind in kinds[: len(kinds) - len(together)]), *(1 for _ in together))
    order = permutations(counts[: len(counts) - max(len(together) - 1, 0)]).T
    for label in range(len(counts) - len(together) + 1, len(counts)):  # each right above the one before it
        row, at = np.arange(len(order) + 1)[:, None], (order == label - 1).argmax(axis=0)
        below, above = np.concatenate([order, order[-1:]]), np.concatenate([order[:1], order])
        order = np.where(row <= at, below, np.where(row == at + 1, np.int8(label), above))
    order = np.ascontiguousarray(order)
    radix = np.cumprod([1, *(count + 1 for count in counts)])
    codes = np.zeros((len(order) + 1, order.shape[1]), np.intp)
    np.cumsum(radix[:-1].astype(np.intp)[order], axis=0, out=codes[1:])
    inside = (np.arange(radix[-1])[:, None] // radix[:-1]) % (np.array(counts, int) + 1)
    sizes = np.array([size for _, size in kinds], float)
    powers = sizes**inside

    def product(names: Sequence[str]) -> Array:
        chosen = [i for i, (dim, _) in enumerate(kinds) if DIMS[dim] in names]
        return np.asarray(powers[:, chosen].prod(axis=1))

    states = States(product(DIMS), {o: product(PLAIN[o]) for o in OPERANDS}, {d: product((d,)) for d in HALO}, None)
    return np.array([dim for dim, _ in kinds], np.int8)[order], sizes[order], codes, states


@dataclass(frozen=True)
class Candidates:
    """The candidates of several layers in one nest: those of layer i are rows starts[i] to starts[i + 1]."""

    nest: Nest
    starts: Array


def candidates(
    layers: Layers, hierarchy: Hierarchy, limit: int | None = FACTOR_LIMIT, any_tile: bool = False
) -> Candidates:  # fmt: skip
    """Return all orders of each layer (columns of layers, whole bounds of at least 1), and those of `tilings`."""
    bounds = np.stack(np.broadcast_arrays(*(np.atleast_1d(getattr(layers, name)) for name in BOUNDS)), axis=1)
    if not (np.all(bounds >= 1) and np.all(bounds == np.round(bounds))):
        bad = bounds[~((bounds >= 1) & (bounds == np.round(bounds)))].flat[0]
        raise BadValueError(f"a bound of a loop must be a whole number of at least 1, not {bad:g}.")
    spread = [unrolled(tuple(row), hierarchy.axes) for row in bounds.astype(int).tolist()]
    parts = [(row, orders_of(*loops)) for row, (left, _) in enumerate(spread) for loops in splits(left, limit)]
    if any_tile:
        parts += [(row, part) for row, (left, _) in enumerate(spread) for part in tilings(left)]
        parts.sort(key=lambda part: part[0])
    owner = np.repeat([row for row, _ in parts], [part[0].shape[1] for _, part in parts])
    spatial = tuple(
        {dim: np.array([taken[at][DIMS.index(dim)] for _, taken in spread]) for dim in axis.dims}
        for at, axis in enumerate(hierarchy.axes)
    )
    dims, sizes, codes, states = _stacked(parts)
    nest = Nest(layers, dims.T, sizes.T, spatial, owner, codes, states)
    return Candidates(nest, np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(spread)))]))


def splits(left: tuple[int, ...], limit: int | None) -> list[tuple[Loops, Loops]]:
    """Return the loops at every limit from LEAST_FACTORS to `limit`, each once, and which of them move as one.

    Fewer factors are not a subset: whole loops may leave the room for a second tile that parts of them would fill.
    Beyond LEAST_FACTORS also the loops of a kernel as one beside so many others, which are then cut finer.
    """
    most = limit if limit is not None else max(sum(len(_primes(n)) for n in left), LEAST_FACTORS)
    kernel = tuple((DIMS.index(dim), left[DIMS.index(dim)]) for dim in ("FX", "FY") if left[DIMS.index(dim)] > 1)
    rest = tuple(1 if DIMS[dim] in ("FX", "FY") else size for dim, size in enumerate(left))
    found: dict[tuple[Loops, Loops], None] = {}
    for count in range(min(LEAST_FACTORS, most), most + 1):
        found[factors(left, count), ()] = None
        if len(kernel) > 1 and count > LEAST_FACTORS:
            found[factors(rest, count), kernel] = None
    return list(found)


def _stacked(parts: Sequence[tuple[int, tuple[Array, Array, Array, States]]]) -> tuple[Array, Array, Array, States]:
    """Return the orders of several layers side by side, padded on the inside to the same number of loops."""
    if len(parts) == 1:
        return parts[0][1]
    width, count = max(len(part[0]) for _, part in parts), sum(part[0].shape[1] for _, part in parts)
    dims, sizes = np.full((width, count), PAD, np.int8), np.ones((width, count))
    codes = np.empty((width + 1, count), np.intp)
    at = base = 0
    for _, part in parts:
        pad, end = width - len(part[0]), at + part[0].shape[1]
        dims[pad:, at:end], sizes[pad:, at:end] = part[0], part[1]
        codes[:pad, at:end], codes[pad:, at:end] = base, part[2] + base
        at, base = end, base + len(part[3].total)
    states = [part[3] for _, part in parts]
    needs = [s.room or Room(s.plain, s.halo) for s in states]
    room = None if all(s.room is None for s in states) else Room(
        {o: np.concatenate([s.plain[o] for s in needs]) for o in OPERANDS},
        {d: np.concatenate([s.halo[d] for s in needs]) for d in HALO},
    )  # fmt: skip
    joined = States(
        np.concatenate([s.total for s in states]), {o: np.concatenate([s.plain[o] for s in states]) for o in OPERANDS},
        {d: np.concatenate([s.halo[d] for s in states]) for d in HALO},
        np.repeat([row for row, _ in parts], [len(s.total) for s in states]), room,
    )  # fmt: skip
    return dims, sizes, codes, joined


@dataclass(frozen=True)
class BestMapping:
    """The best mapping of each layer: its costs (one entry a layer), its loops, and how many orders there were."""

    nest: Nest
    costs: NestCosts
    orders: Array
    hierarchy: Hierarchy

    def loops(self, row: int) -> str:
        """Return the loops of a layer in words, outer to inner, e.g. "K 2, OX 56, C 2"."""
        pairs = zip(self.nest.dims[row][::-1], self.nest.sizes[row][::-1], strict=True)
        return ", ".join(f"{DIMS[dim]} {size:g}" for dim, size in pairs if dim != PAD)


def best_orders(
    layers: Layers,
    hierarchy: Hierarchy,
    objective: str = "latency",
    limit: int | None = FACTOR_LIMIT,
    slack: float = 0.0,
    any_tile: bool = False,
    most_cycles: Array | None = None,
) -> BestMapping:
    """Return the best order of each layer, the first of equals; equal cycles are decided by energy, and the reverse.

    With `slack` those count as equal that are at most that share above the least, but none beyond `most_cycles` (one a
    layer) if one is below it. `any_tile`: tiles beside prime factors (`tilings`). Layers of the same shape are
    evaluated once. Raises BadValueError: an unknown objective, or one of energy on a hierarchy without energies.
    """
    if objective not in OBJECTIVES:
        raise BadValueError(f"objective '{objective}' of a mapping; known: {', '.join(OBJECTIVES)}.")
    if objective != "latency" and not hierarchy.has_energies:
        raise BadValueError(f"objective '{objective}' needs the energies of the memories of '{hierarchy.name}'.")
    columns = [np.atleast_1d(np.asarray(getattr(layers, name), float)) for name in FIELDS]
    rows = np.stack(np.broadcast_arrays(*columns), axis=1)
    known, inverse = np.unique(rows, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    shapes = Layers(**{name: known[:, i] for i, name in enumerate(FIELDS)})
    made = candidates(shapes, hierarchy, limit, any_tile)
    cycles, energy = cycles_and_energy(made.nest, hierarchy)
    keys = {"latency": (cycles, energy), "energy": (energy, cycles), "edp": (cycles * energy, cycles)}[objective]
    most = np.full(len(known), np.inf)
    if most_cycles is not None and objective == "latency":
        most[inverse] = most_cycles
    spans = zip(itertools.pairwise(made.starts), most, strict=True)
    chosen = np.array([_first_best(*keys, int(a), int(b), slack, up_to) for (a, b), up_to in spans])
    nest = made.nest.rows(chosen[inverse])
    return BestMapping(nest, evaluate(nest, hierarchy), np.diff(made.starts)[inverse], hierarchy)


def _first_best(key: Array, second: Array, start: int, stop: int, slack: float, up_to: float) -> int:
    """Return the row of the least key, of those the least second, of those the first."""
    part = key[start:stop]
    least = part.min()
    bound = max(least * (1 + 1e-12), min(least * (1 + 1e-12 + slack), up_to))
    equal = np.flatnonzero(part <= bound) if np.isfinite(least) else np.arange(1)
    return start + int(equal[np.argmin(second[start:stop][equal])])


def best_mapping(
    layers: Layers, machine: Machine | Hierarchy, objective: str = "latency", limit: int | None = FACTOR_LIMIT,
    energies_pj_per_bit: Mapping[str, tuple[float, float]] | None = None,
) -> SpatialCosts:  # fmt: skip
    """Return the costs of each layer at its best mapping; layers without outputs cost nothing.

    A machine's tiles may be of any size, and where the rule (`fixed_mapping`) is faster a layer takes that, so that for
    latency the best is never slower. Of orders within MACHINE_SLACK of the fastest (and not slower than the rule) the
    one with the least energy is taken; where no energies are known, that which moves least to and from device memory.
    `energies_pj_per_bit` are those of `hierarchy_of` (`energies_of` a technology). Raises BadValueError: see
    `best_orders`; UnsupportedError: a machine in columns.
    """
    hierarchy = machine if isinstance(machine, Hierarchy) else hierarchy_of(machine, energies_pj_per_bit)
    columns = {f: np.atleast_1d(np.asarray(getattr(layers, f), float)) for f in FIELDS}
    whole = dict(zip(FIELDS, np.broadcast_arrays(*columns.values()), strict=True))
    work = np.flatnonzero(Layers(**whole).macs > 0)
    size = len(whole["k"])
    some = Layers(**{name: column[work] for name, column in whole.items()})
    issue = 0.0 if isinstance(machine, Hierarchy) else float(np.asarray(machine.issue_cycles).item())
    wait = 0.0 if isinstance(machine, Hierarchy) else float(np.asarray(machine.dram_latency_cycles).item())
    if not len(work):
        return _spread({}, work, size)
    if isinstance(machine, Hierarchy):
        return _spread(_columns(best_orders(some, hierarchy, objective, limit).costs, hierarchy, 0.0, 0.0), work, size)
    rule = fixed_mapping(some, machine)
    most = np.where(rule.feasible, rule.cycles - wait, np.inf)
    best = best_orders(some, hierarchy, objective, limit, MACHINE_SLACK, any_tile=True, most_cycles=most)
    found = _columns(best.costs, hierarchy, issue, wait)
    return _spread(_faster(found, rule, not hierarchy.has_energies) if objective == "latency" else found, work, size)


def _faster(found: dict[str, Any], rule: SpatialCosts, by_bytes: bool) -> dict[str, Any]:
    """Return the costs of the best orders, or those of the rule in layers where it is faster or alone fits.

    `by_bytes`: also where it moves less and is at most MACHINE_SLACK slower.
    """
    cycles = np.where(found["feasible"], found["issue_cycles"], np.inf)
    own = np.where(rule.feasible, rule.cycles, np.inf)
    better = own < cycles
    if by_bytes:
        moved = sum(found["dram_read_bytes"]) + found["dram_write_bytes"]
        near = np.isfinite(own) & (own <= cycles * (1 + MACHINE_SLACK))
        better |= near & (rule.dram_bytes < moved * (1 - 1e-9))
    if not better.any():
        return found

    def either(new: Value, old: Value) -> Array:
        return np.asarray(np.where(better, np.asarray(new), np.asarray(old)))

    return {
        name: Operands(*map(either, getattr(rule, name), old)) if isinstance(old, Operands)
        else either(getattr(rule, name), old)
        for name, old in found.items()
    }  # fmt: skip


def spatial_costs(best: BestMapping, issue_cycles: float = 0.0, latency_cycles: float = 0.0) -> SpatialCosts:
    """Return the costs of chosen mappings in the form that fixed mappings have."""
    size = len(best.nest.dims)
    return _spread(_columns(best.costs, best.hierarchy, issue_cycles, latency_cycles), np.arange(size), size)


def _columns(costs: NestCosts, hierarchy: Hierarchy, issue: float, wait: float) -> dict[str, Any]:
    """Return the fields of SpatialCosts; device memory makes a layer wait once, as under the fixed mapping."""
    outer = hierarchy.memories[-1].name
    bytes_of = {move: bits / 8 for move, bits in zip(costs.moves, costs.moved_bits, strict=True)}
    zero = np.zeros(len(costs.macs))
    inner = {o: sum((b for (m, move), b in bytes_of.items() if move[0] == o and m not in (outer, "shared", "pe")), zero)
             for o in "IWO"}  # fmt: skip
    dram = {move: bytes_of.get((outer, move), zero) for move in ("I feed", "W feed", "O feed", "O sink")}
    tiles = costs.handovers
    lost = np.where(costs.feasible, 0.0, np.nan)
    ideal = costs.macs / hierarchy.units + lost
    shape = costs.temporal_cycles + lost
    fill = shape + costs.skew_cycles
    onchip = fill + costs.onchip_stall_cycles
    reached = fill + costs.stall_cycles + costs.load_cycles + wait
    return {
        "macs": costs.macs, "ideal_cycles": ideal, "shape_cycles": shape, "fill_cycles": fill, "onchip_cycles": onchip,
        "dram_cycles": reached, "issue_cycles": reached + issue * tiles,
        "buffer_bytes": Operands(inner["I"], inner["W"], inner["O"]),
        "shared_bytes": sum((b for (m, _), b in bytes_of.items() if m == "shared"), zero),
        "dram_read_bytes": Operands(dram["I feed"], dram["W feed"], dram["O feed"]),
        "dram_write_bytes": dram["O sink"], "tiles": tiles, "feasible": costs.feasible,
        "shortfall_bytes": costs.shortfall_bytes,
    }  # fmt: skip


def _spread(columns: dict[str, Any], rows: Array, size: int) -> SpatialCosts:
    """Return costs of all layers from those of some; the others cost nothing."""

    def put(values: Any, kind: type) -> Array:
        out = np.ones(size, bool) if kind is bool else np.zeros(size)
        if values is not None:
            out[rows] = values
        return out

    made: dict[str, Any] = {}
    for entry in fields(SpatialCosts):
        values = columns.get(entry.name)
        if entry.name in ("buffer_bytes", "dram_read_bytes"):
            made[entry.name] = Operands(*(put(v, float) for v in (values or (None, None, None))))
        else:
            made[entry.name] = put(values, bool if entry.name == "feasible" else float)
    return SpatialCosts(**made)
