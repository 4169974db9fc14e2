"""Loop nests on a memory hierarchy: how loops are allotted to memories, and what moves where, in columns of candidates.

A mapping is an order of temporal loops, inner to outer. Each operand's loops are allotted to its memories from the
inside, as many as fit, each operand on its own ("uneven"): a memory then holds the tile of the loops up to its cut,
and is filled anew once per iteration of the loops above, except of those right above the cut that do not index the
operand (it stays). Outputs leave a memory as partial sums, and come back, where loops that they do not index remain.

The form (loop orders with allotment, windows, ports) is that of ZigZag and LOMA: Mei et al., "ZigZag", IEEE TC 2021;
Symons et al., "LOMA", AICAS 2021; Mei et al., "A uniform latency model for DNN accelerators", DATE 2022.
docs/npu-mappings.md says where this differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from costmodel.spatial.hierarchy import DIMS, OPERANDS, Hierarchy, Memory
from costmodel.spatial.layers import Layers
from foundation.errors import BadValueError
from workloads.elementwise import Value
from workloads.table import Array

PAD = len(DIMS)
"""Id of a loop that is not there (size 1)."""
INDEXES: dict[str, tuple[str, ...]] = {
    "W": ("G", "K", "C", "FY", "FX"), "O": ("B", "G", "K", "OY", "OX"), "I": ("B", "G", "C", "OY", "OX", "FY", "FX")
}  # fmt: skip
"""Loops that index an operand: other loops leave it as it is."""
PLAIN: dict[str, tuple[str, ...]] = {**INDEXES, "I": ("B", "G", "C")}
"""Loops that index an operand alone; those of the input's rows and columns index them in pairs (halo)."""
HALO = ("OY", "OX", "FY", "FX")
STAY_BIT = {"W": 1, "O": 2, "I": 4}
RUN_BIT = {"W": 8, "O": 16, "I": 32}
FLAGS = np.array(
    [sum(STAY_BIT[o] * (d in INDEXES[o]) + RUN_BIT[o] * (d in PLAIN[o]) for o in OPERANDS) for d in DIMS]
    + [sum(RUN_BIT.values())], np.uint8,
)  # fmt: skip
"""Of each dim, which operands it indexes (STAY_BIT) and indexes alone (RUN_BIT); a pad is in the way of neither."""


class Room(NamedTuple):
    """What sets of loops need at most, where their tiles are not all of one size; `plain` and `halo` as in `States`."""

    plain: dict[str, Array]
    halo: dict[str, Array]


class States(NamedTuple):
    """Sets of innermost loops, one entry each: products of all their sizes and of those that index an operand.

    `owner` is the layer of each (None: there is one only). Orders of the same loops share their states. Sizes are the
    mean over tiles; a memory needs those of the largest, `room` (None: all are of one size).
    """

    total: Array
    plain: dict[str, Array]
    halo: dict[str, Array]
    owner: Array | None
    room: Room | None = None


@dataclass(frozen=True)
class Nest:
    """Temporal loops in columns: `dims` and `sizes` are (candidates, loops), inner to outer, pads (size 1) allowed.

    `spatial` has for each axis of the array the units that each dim takes: the mean over the folds where the last is
    not full, so that it may be a fraction. Layers and units are scalars or one entry a layer; `owner` says whose each
    candidate is (None: candidate i is of layer i). `codes` (loops + 1, candidates) name the entry of `states` of
    the first 0, 1, ... loops, where they are known. `cuts` are given mappings: of each operand, how many loops (pads
    counted) its memories hold, inner to outer and without the outermost; where None, as many as fit.
    """

    layers: Layers
    dims: Array
    sizes: Array
    spatial: tuple[Mapping[str, Value], ...]
    owner: Array | None = None
    codes: Array | None = None
    states: States | None = None
    cuts: Mapping[str, tuple[Array, ...]] | None = None

    def __post_init__(self) -> None:
        if self.dims.ndim != 2 or self.dims.shape != self.sizes.shape:
            raise BadValueError(
                f"dims and sizes of loops are (candidates, loops), not {self.dims.shape} and {self.sizes.shape}."
            )
        if self.states is None and not (
            np.all(self.dims >= 0) and np.all(self.dims <= PAD) and np.all(self.sizes >= 1)
        ):
            raise BadValueError(f"a loop has a dim of 0 to {PAD} and a size of at least 1.")

    def rows(self, chosen: Any) -> Nest:
        """Return some candidates, chosen by a slice or by indexes."""
        owner = np.arange(len(self.dims)) if self.owner is None else self.owner
        codes = None if self.codes is None else self.codes[:, chosen]
        cuts = None if self.cuts is None else {o: tuple(c[chosen] for c in held) for o, held in self.cuts.items()}
        parts = {"dims": self.dims[chosen], "sizes": self.sizes[chosen]}
        return replace(self, **parts, owner=owner[chosen], codes=codes, cuts=cuts)

    @property
    def in_y(self) -> Value:
        """Input rows that are stored: padding is not moved."""
        return self.layers.iy - self.layers.pad_y

    @property
    def in_x(self) -> Value:
        """Input columns that are stored."""
        return self.layers.ix - self.layers.pad_x

    def each(self, value: Value) -> Value:
        """Return a value of layers as one of candidates."""
        if np.ndim(value) == 0 or np.size(value) == 1:
            return float(np.asarray(value).item())
        return np.asarray(value) if self.owner is None else np.asarray(value)[self.owner]


class Tiles(NamedTuple):
    """Units of the array below a memory, by layer: of each dim, in all, and the distinct elements they work on."""

    units: dict[str, Value]
    distinct: dict[str, Value]
    count: Value


class Link(NamedTuple):
    """One operand between a memory (-1: the elements) and the next one out, all in columns of candidates.

    `data` elements of `bits` go to or from each copy of the lower memory, `upper_data` to or from each copy of the
    upper, every `period` cycles, `times` times; `back` times partial sums return. `window` are the cycles of a period
    in which the lower memory can be written or read for it.
    """

    operand: str
    lower: int
    upper: int
    data: Value
    upper_data: Value
    bits: Value
    period: Array
    times: Array
    back: Array
    window: Array


def extent(outputs: Value, kernel: Value, stride: Value, whole: Value) -> Value:
    """Return the input positions that outputs x kernel positions read, each once, at most `whole` (no padding)."""
    return np.minimum(np.minimum(outputs * kernel, (outputs - 1) * stride + kernel), whole)


def tiles_below(nest: Nest, hierarchy: Hierarchy, across: tuple[str, ...]) -> Tiles:
    """Return what the units along some axes work on together."""
    units: dict[str, Value] = dict.fromkeys(DIMS, 1.0)
    for axis, taken in zip(hierarchy.axes, nest.spatial, strict=True):
        if axis.name in across:
            for dim, value in taken.items():
                units[dim] = units[dim] * value
    count: Value = 1.0
    for value in units.values():
        count = count * value
    distinct: dict[str, Value] = {}
    for operand in OPERANDS:
        distinct[operand] = 1.0
        for dim in PLAIN[operand]:
            distinct[operand] = distinct[operand] * units[dim]
    rows = extent(units["OY"], units["FY"], nest.layers.stride, nest.in_y)
    distinct["I"] = distinct["I"] * rows * extent(units["OX"], units["FX"], nest.layers.stride, nest.in_x)
    return Tiles(units, distinct, count)


def states_of(nest: Nest) -> tuple[Array, States]:
    """Return the states of a nest's first 0, 1, ... loops, (loops + 1, candidates), and what they are."""
    if nest.states is not None and nest.codes is not None:
        return nest.codes, nest.states
    dims, sizes = nest.dims.T, nest.sizes.T.astype(float)
    loops, count = dims.shape

    def product(names: tuple[str, ...]) -> Array:
        chosen = np.isin(dims, [DIMS.index(name) for name in names])
        whole = np.ones((loops + 1, count))
        np.cumprod(np.where(chosen, sizes, 1.0), axis=0, out=whole[1:])
        return whole.reshape(-1)

    owner = np.arange(count) if nest.owner is None else nest.owner
    made = States(product(DIMS), {o: product(PLAIN[o]) for o in OPERANDS}, {d: product((d,)) for d in HALO},
                  np.tile(owner, loops + 1))  # fmt: skip
    return np.arange((loops + 1) * count).reshape(loops + 1, count), made


class Layout:
    """Where each candidate's loops lie: its states, and which memory holds which loops of which operand."""

    def __init__(self, nest: Nest, hierarchy: Hierarchy) -> None:
        self.nest, self.hierarchy = nest, hierarchy
        codes, self.states = states_of(nest)
        self.codes = np.ascontiguousarray(codes)
        self.loops, self.count = self.codes.shape[0] - 1, self.codes.shape[1]
        self.columns = np.arange(self.count)
        self.below = [tiles_below(nest, hierarchy, memory.across) for memory in hierarchy.memories]
        self.whole = self.states.total.take(self.codes[-1])
        self.sums = self.states.total / self.states.plain["O"]
        """Product of the loops over which an output is summed, by state."""
        flags = FLAGS.take(np.where(nest.sizes.T == 1, PAD, nest.dims.T) if nest.states is None else nest.dims.T)
        self.stays = {o: self._stays((flags & STAY_BIT[o]) != 0) for o in OPERANDS}
        self._flags = flags
        self.feasible, self.short = np.ones(self.count, bool), np.zeros(self.count)
        self.cuts: dict[str, list[Array]] = {operand: [] for operand in OPERANDS}
        self.held: dict[tuple[str, int], Array] = {}
        self.needs: dict[tuple[str, int], Array] = {}
        self.bits: dict[tuple[str, int], Value] = {}
        for at in range(len(hierarchy.memories)):
            self._allot(at)
        self.tops = {o: [self.pick(self.stays[o], cut) for cut in self.cuts[o][:-1]] for o in OPERANDS}
        self.top_codes = {o: [self.pick(self.codes, top) for top in self.tops[o]] for o in OPERANDS}

    def pick(self, table: Array, at: Array) -> Array:
        """Return table[at[i], i] for each candidate i."""
        return np.asarray(table.reshape(-1).take(at * self.count + self.columns))

    def _stays(self, indexed: Array) -> Array:
        """Return for each cut the first loop from it on that indexes an operand: up to there its tile stays."""
        out = np.empty((self.loops + 1, self.count), np.int32)
        out[-1] = self.loops
        for row in range(self.loops - 1, -1, -1):
            out[row] = np.where(indexed[row], np.int32(row), out[row + 1])
        return out

    def _begins(self, member: Array) -> Array:
        """Return for each cut where the unbroken run of member loops right below it begins."""
        out = np.zeros((self.loops + 1, self.count), np.int32)
        for row in range(self.loops):
            out[row + 1] = np.where(member[row], out[row], np.int32(row + 1))
        return out

    def tile(self, operand: str, at: int, of: States | Room) -> Array:
        """Return the elements of an operand's tile in one copy of a memory, by state: in the mean, or at most."""
        states, nest, below = self.states, self.nest, self.below[at]

        def spread(value: Value) -> Value:
            alone = np.ndim(value) == 0 or np.size(value) == 1 or states.owner is None
            return float(np.asarray(value).reshape(-1)[0]) if alone else np.asarray(value)[states.owner]

        plain: Value = 1.0
        for dim in PLAIN[operand]:
            plain = plain * below.units[dim]
        tile = of.plain[operand] * spread(plain)
        if operand == "I":
            stride, halo = spread(nest.layers.stride), {d: of.halo[d] * spread(below.units[d]) for d in HALO}
            tile = tile * extent(halo["OY"], halo["FY"], stride, spread(nest.in_y))
            tile = tile * extent(halo["OX"], halo["FX"], stride, spread(nest.in_x))
        return np.asarray(tile)

    def width(self, operand: str, partial: Any) -> Value:
        """Return bits of an element; those of an output where it is `partial` or done."""
        layers = self.nest.layers
        if operand == "O":
            return np.where(partial, self.nest.each(layers.sum_bits), self.nest.each(layers.output_bits))
        return self.nest.each(layers.weight_bits if operand == "W" else layers.input_bits)

    def _allot(self, at: int) -> None:
        """Allot loops to one memory: as many as fit, and where operands share it, those with the fewest bits moved."""
        memory = self.hierarchy.memories[at]
        room: Value = memory.capacity_bits * (0.5 if memory.buffering == "double" else 1.0)
        need: Value = 0.0
        taken: Value = 0.0
        shared: list[str] = []
        for operand in memory.holds:
            mine, chain = self.cuts[operand], self.hierarchy.chains[operand]
            start = mine[-1] if mine else np.zeros(self.count, np.intp)
            code = self.pick(self.codes, start)
            partial = self.sums.take(code) < self.sums.take(self.codes[-1]) * (1 - 1e-9) if operand == "O" else None
            self.bits[operand, at] = 1.0 if memory.counts_elements else self.width(operand, partial)
            held = self.held[operand, at] = self.tile(operand, at, self.states)
            room_of = self.states.room
            self.needs[operand, at] = held if room_of is None else self.tile(operand, at, room_of)
            if chain[-1] == at or self.nest.cuts is not None:
                whole = np.full(self.count, self.loops)
                cut = whole if chain[-1] == at or self.nest.cuts is None else self.nest.cuts[operand][len(mine)]
                mine.append(cut)
                held = self.needs[operand, at].take(self.pick(self.codes, cut)) * self.bits[operand, at]
                taken = taken + held
            else:
                shared.append(operand)
                held = self.needs[operand, at].take(code) * self.bits[operand, at]
            need = need + held
        missing = np.maximum(need - room, 0.0)
        self.feasible &= missing <= 0
        self.short = np.maximum(self.short, missing)
        for operand, cut in zip(shared, self._share(shared, at, room - taken), strict=True):
            self.cuts[operand].append(cut)

    def _most(self, operand: str, at: int, room: Value, start: Array | None) -> Array:
        """Return the most loops whose tile fits, at least `start`: tiles grow with the loops."""
        tile, limit = self.needs[operand, at], room / self.bits[operand, at]
        most = np.zeros(self.count, np.intp)
        for row in range(1, self.loops + 1):
            most += tile.take(self.codes[row]) <= limit
        return most if start is None else np.maximum(most, start)

    def _share(self, operands: list[str], at: int, room: Value) -> list[Array]:
        """Return how many loops each operand gets in a memory."""
        starts = [self.cuts[operand][-1] if self.cuts[operand] else None for operand in operands]
        if len(operands) < 2:
            return [self._most(o, at, room, start) for o, start in zip(operands, starts, strict=True)]
        full = sum(self.needs[o, at].take(self.codes[-1]) * self.bits[o, at] for o in operands)
        found = [np.full(self.count, self.loops) for _ in operands]
        rest = np.flatnonzero(full > room)
        if len(rest):
            codes = self.codes[:, rest]
            sizes = [self.needs[o, at].take(codes) * _of(self.bits[o, at], rest) for o in operands]
            again = self.whole[rest] / self.states.total.take(codes)
            begin = [np.zeros(len(rest), np.intp) if start is None else start[rest] for start in starts]
            chosen = fewest_moves(sizes, again, np.broadcast_to(room, (self.count,))[rest], begin)
            for target, part in zip(found, chosen, strict=True):
                target[rest] = part
        return found

    def links(self) -> list[Link]:
        """Return every link of every operand with what moves over it and when."""
        found: list[Link] = []
        each, elements = self.nest.each, tiles_below(self.nest, self.hierarchy, ())
        free = self._second_fits()
        for operand in OPERANDS:
            chain = self.hierarchy.chains[operand]
            for level, (low, upper) in enumerate(zip((-1, *chain[:-1]), chain, strict=True)):
                under = elements if low < 0 else self.below[low]
                if low >= 0:
                    code = self.top_codes[operand][level - 1]
                else:
                    code = self.codes[0] if operand == "O" else self.pick(self.codes, self.stays[operand][0])
                period = self.states.total.take(code)
                data: Value = 1.0 if low < 0 else self.held[operand, low].take(code)
                window = period if low < 0 else self._window(operand, level - 1, low, period, free)
                grow = each(self.below[upper].distinct[operand] / under.distinct[operand])
                times, back = self.whole / period, np.zeros(1)
                if operand == "O":
                    outputs = self.states.plain["O"]
                    back = times - outputs.take(self.codes[-1]) / outputs.take(code)
                bits = self.width(operand, back > 0.5)
                found.append(Link(operand, low, upper, data, data * grow, bits, period, times, back, window))
        return found

    def _second_fits(self) -> dict[tuple[str, int], Array]:
        """Say where a second tile in use fits beside the first; of loops at the top, one iteration's slice is used."""
        free: dict[tuple[str, int], Array] = {}
        for at, memory in enumerate(self.hierarchy.memories):
            operands = [o for o in memory.holds if self.hierarchy.chains[o][-1] != at]
            if memory.buffering != "free" or not operands:
                continue
            shares: dict[str, Array] = {}
            for operand in operands:
                level = self.hierarchy.chains[operand].index(at)
                slices = self._run(operand, level, (self._flags & RUN_BIT[operand]) != 0)
                held = self.needs[operand, at].take(self.top_codes[operand][level]) * self.bits[operand, at]
                shares[operand] = held / (slices * memory.capacity_bits)
            used = np.asarray(sum(shares.values()))
            for operand, share in shares.items():
                free[operand, at] = (used <= 0.5) | (share <= 1 - used)
                if len(operands) > 1:
                    used = used + np.where(free[operand, at] & (used > 0.5), share, 0.0)
        return free

    def _run(self, operand: str, level: int, member: Array) -> Array:
        """Return the product of the run of member loops at the top of a memory's own loops."""
        top = self.tops[operand][level]
        begin = self.pick(self._begins(member), top)
        if level:
            begin = np.maximum(begin, self.tops[operand][level - 1])
        total = self.states.total
        return np.asarray(total.take(self.top_codes[operand][level]) / total.take(self.pick(self.codes, begin)))

    def _window(self, operand: str, level: int, at: int, period: Array, free: dict[tuple[str, int], Array]) -> Array:
        """Return the cycles of a period in which a memory's tile of an operand may be replaced.

        All of them where a second one fits; else those of the last of the iterations that all use the same tile.
        """
        memory: Memory = self.hierarchy.memories[at]
        if memory.buffering == "double" or (memory.buffering == "free" and free[operand, at].all()):
            return period
        alone = np.floor(period / self._run(operand, level, (self._flags & STAY_BIT[operand]) == 0))
        return np.where(free[operand, at], period, alone) if memory.buffering == "free" else alone


def _of(value: Value, rows: Array) -> Value:
    return np.asarray(value)[rows] if np.ndim(value) else value


def fewest_moves(sizes: list[Array], again: Array, room: Array, starts: list[Array]) -> list[Array]:
    """Return how many loops each of several operands gets in one memory, all in columns: (loops + 1, candidates).

    Of all combinations that fit in `room`, the one with the fewest bits moved to the memory: of each operand its tile,
    `again` times. The last operand takes the most that fits, since a larger tile never moves more.
    """
    columns = np.arange(len(room))
    width = len(room)
    best = np.full(width, np.inf)
    chosen = [start.copy() for start in starts]
    rows = len(again)
    moved = [size * again for size in sizes]
    for combination in np.ndindex(*([rows] * (len(sizes) - 1))):
        pairs = list(zip(combination, sizes, moved, strict=False))
        used = sum(size[i] for i, size, _ in pairs)
        last = np.maximum((sizes[-1] <= room - used).sum(axis=0) - 1, starts[-1])
        flat = last * width + columns
        cost = sum(part[i] for i, _, part in pairs) + moved[-1].reshape(-1).take(flat)
        better = (used + sizes[-1].reshape(-1).take(flat) <= room) & (cost <= best)
        for start, i in zip(starts, combination, strict=False):
            better &= start <= i
        best = np.where(better, cost, best)
        for target, new in zip(chosen, (*combination, last), strict=True):
            np.copyto(target, new, where=better)
    return chosen
