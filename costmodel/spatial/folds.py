"""Compute cycles of spatial arrays: a layer is cut into folds of the array; what fold, edge and pipeline lose.

A fold lays one axis of the product down the rows and one across the columns; the third streams along (see `Machine`).
With P = rows and Q = columns, a fold that stands alone takes along + P + Q - 2 cycles of skew, and P more to load what
is stationary (SCALE-Sim v2, Samajdar et al., ISPASS 2020, equations 1 to 3). Elements that hold a second operand
(`preload_hidden`; TPU, Jouppi et al., ISCA 2017, section 2) take the next fold's while this one streams: folds then
follow without a gap, a fold that has a next takes max(along, P), and skew and first load are paid once a layer.

Groups: an array runs one group a fold, since rows share their inputs across all columns. Depthwise layers so leave all
but one column idle. `packs_groups` puts as many groups as fit on the diagonal of the array, zeros elsewhere, which any
such array can do where its compiler does. Where rows hold input channels only (`kernel_on_rows` False: Gemmini's loops
over convolutions, NVDLA), each position of the kernel is a fold, and layers of few channels leave rows idle too.
Cores: whole waves of folds are dealt over them. Of the folds that are left, fewer than cores, each is shared by as many
cores as there are for one, or all cores share one after the other, whichever is sooner: each core streams a part of the
pixels (`ws`) or output channels (`is`) past its copy of what is stationary. The reduction of `os` stays in one core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import OS, WS, Machine, Operands
from workloads.elementwise import Value, choose, some
from workloads.table import Array

WHOLE = np.inf
"""Steps that a tile streams where nothing cuts the stream of a fold."""


@dataclass(frozen=True)
class Loads:
    """Cycles of loading: the next fold's where it hides behind a stream, each fold's own where not, and the first."""

    next_cycles: Value
    overhead_cycles: Value
    once_cycles: Value


@dataclass(frozen=True)
class Deal:
    """What the busiest core gets: `waves` folds of whole streams, then `parts` folds of which it streams a part."""

    waves: Value
    along: Value
    parts: Value = 0.0
    along_part: Value = 0.0

    def cycles(self, loads: Loads, share: Value, cuts: Value, run: Value) -> tuple[Value, Value]:
        """Return cycles of the streams, and those with waits, skew and loads; see `Folds.cut`."""
        stream, turns = self.along * share, _passes(self.along, run)
        waves = self.waves if turns is None else self.waves * turns
        wait = np.maximum(loads.next_cycles - (stream if turns is None else stream / turns), 0.0)
        if self.parts is WITHOUT:
            shape = self.waves * stream
            # the last fold has no next one to load
            fill = shape + np.maximum(waves - 1.0, 0.0) * wait + self.waves * loads.overhead_cycles + loads.once_cycles
            return shape, fill if cuts is UNCUT and turns is None else fill + self.waves * loads.overhead_cycles * (
                _most(cuts, turns) - 1.0
            )
        part, again = self.along_part * share, _passes(self.along_part, run)
        shape = self.waves * stream + self.parts * part
        parts = self.parts if again is None else self.parts * again
        wait_part = np.maximum(loads.next_cycles - (part if again is None else part / again), 0.0)
        fill = shape + np.maximum(waves - (self.parts == 0), 0.0) * wait + np.maximum(parts - 1.0, 0.0) * wait_part
        fill = fill + (self.waves + self.parts) * loads.overhead_cycles + loads.once_cycles
        more = self.waves * (_most(cuts, turns) - 1.0) + self.parts * (_most(cuts, again) - 1.0)
        return shape, fill + more * loads.overhead_cycles


WITHOUT = Deal.parts
"""No fold is shared by cores."""
UNCUT = 1.0


@dataclass(frozen=True)
class Folds:
    """Cycles of a layer: `ideal` at every element busy, `shape` with whole folds and waves, `fill` with skew and loads.

    `count` are the folds of all groups and cores, `waves` those of the busiest core; `overhead` is what one fold pays
    beyond its stream where folds do not overlap (0 where they do). `along` are the steps of one fold's stream.
    """

    ideal_cycles: Array
    shape_cycles: Array
    fill_cycles: Array
    count: Array
    waves: Array
    overhead_cycles: Value
    along: Value
    share: Value
    deals: tuple[Deal, ...]
    loads: Loads

    def cut(self, cuts: Value = UNCUT, run: Value = WHOLE) -> tuple[Value, Value]:
        """Return shape and fill cycles where tiles cut each stream.

        `cuts` is into how many tiles; where folds do not overlap each of them pays skew and load. `run` is how many
        steps stream before what is stationary changes: below a load's cycles each run waits for the next load.
        """
        return _soonest(self.deals, self.loads, self.share, cuts, run)[:2]


def _passes(along: Value, run: Value) -> Value:
    """Return in how many runs a stream falls (None: in one)."""
    return None if run is WHOLE else np.maximum(np.ceil(along / run), 1.0)


def _most(cuts: Value, passes: Value) -> Value:
    return cuts if passes is None else np.maximum(cuts, passes)


def _soonest(
    deals: tuple[Deal, ...], loads: Loads, share: Value, cuts: Value, run: Value
) -> tuple[Value, Value, Value]:
    """Return (shape cycles, fill cycles, folds of the busiest core) of the deal that is done soonest."""
    shape, fill = deals[0].cycles(loads, share, cuts, run)
    waves = deals[0].waves + deals[0].parts
    for deal in deals[1:]:
        other, later = deal.cycles(loads, share, cuts, run)
        sooner = later < fill
        shape, fill = np.where(sooner, other, shape), np.where(sooner, later, fill)
        waves = np.where(sooner, deal.waves + deal.parts, waves)
    return shape, fill, waves


def _dealt(count: Value, along: Value, machine: Machine) -> tuple[Deal, ...]:
    """Return the ways to deal folds over cores; on one core there is one."""
    cores = machine.cores
    if np.ndim(cores) == 0 and cores == 1:
        return (Deal(count, along),)
    divides = by_dataflow(machine.dataflow, True, False, True)
    if divides is False or not some(cores != 1):
        return (Deal(np.ceil(count / cores), along),)
    whole = np.where(divides, np.floor(count / cores), np.ceil(count / cores))
    rest = np.where(divides, np.ceil(count - whole * cores), 0.0)

    def part(sharing: Value) -> Value:
        return np.minimum(np.ceil(along / sharing), along)

    side_by_side = Deal(whole, along, np.minimum(rest, 1.0), part(np.floor(cores / np.maximum(rest, 1.0))))
    return side_by_side, Deal(whole, along, rest, part(cores))


def by_dataflow(dataflow: Value, weights: Value, outputs: Value, inputs: Value) -> Value:
    """Return the value of each dataflow: what is stationary is weights, outputs or inputs."""
    if dataflow.__class__ is int or np.ndim(dataflow) == 0:
        return (weights, outputs, inputs)[int(dataflow) - 1]
    return np.where(dataflow == WS, weights, np.where(dataflow == OS, outputs, inputs))


def executed_share(layers: Layers, machine: Machine) -> Value:
    """Return the share of multiply-accumulates whose cycles are not skipped."""
    weights = 1.0 - machine.skips_weights * (1.0 - layers.weight_density)
    return weights * (1.0 - machine.skips_inputs * (1.0 - layers.input_density))


def reduction(layers: Layers, machine: Machine) -> tuple[Value, Value]:
    """Return what of the reduction lies on rows, and how many positions of the kernel take turns there."""
    if machine.kernel_on_rows is True:
        return layers.depth, 1.0
    split = machine.kernel_on_rows
    return choose(split, layers.depth, layers.c), choose(split, 1.0, layers.fy * layers.fx)


def folds(layers: Layers, machine: Machine, *, scale_sim_compatible: bool = False) -> Folds:
    """Return the compute cycles of layers on arrays, of the shape that both broadcast to.

    With `scale_sim_compatible` the fill cycles are SCALE-Sim v3's: one core, no fold overlaps the next, and one cycle
    less than its own equations say.
    """
    m, n, k = layers.pixels, layers.k, layers.depth
    rows, cols, flow = machine.rows, machine.cols, machine.dataflow
    on_rows, positions = reduction(layers, machine)
    down, across = by_dataflow(flow, on_rows, m, on_rows), by_dataflow(flow, n, n, m)
    along = by_dataflow(flow, m, k, n)
    groups = layers.groups
    if some(machine.packs_groups):
        fits = np.minimum(np.floor(rows / np.maximum(down, 1.0)), np.floor(cols / np.maximum(across, 1.0)))
        groups = choose(machine.packs_groups, np.ceil(groups / np.maximum(fits, 1.0)), groups)
    count = np.ceil(down / rows) * np.ceil(across / cols) * groups * by_dataflow(flow, positions, 1.0, positions)
    share = executed_share(layers, machine)
    ideal = layers.macs * share / machine.elements
    skew = rows + cols - 2.0
    load = by_dataflow(flow, rows, 0.0 * rows, rows)
    if scale_sim_compatible:
        waves, alone = np.ceil(count / machine.cores), skew + load
        shape, deal = waves * (along * share), Deal(waves, along)
        fill = shape + waves * alone - 1.0 * (count > 0)
        return Folds(ideal, shape, fill, count, waves, alone, along, share, (deal,), Loads(0.0, alone, 0.0))
    hidden = machine.preload_hidden
    once = choose(hidden, skew + load, 0.0) * (count > 0)
    loads = Loads(choose(hidden, rows, 0.0), choose(hidden, 0.0, skew + load), once)
    deals = _dealt(count, along, machine)
    shape, fill, waves = _soonest(deals, loads, share, UNCUT, WHOLE)
    return Folds(ideal, shape, np.asarray(fill), count, waves, loads.overhead_cycles, along, share, deals, loads)


def scale_sim_output(size: Value, kernel: Value, stride: Value) -> Value:
    """Return the output size that SCALE-Sim counts, ceil((H - FH + s) / s): one more than there is at most strides."""
    return np.ceil((size - kernel + stride) / stride)


def scale_sim_cycles(m: Value, k: Value, n: Value, rows: Value, cols: Value, dataflow: Value) -> Array:
    """Return the compute cycles that SCALE-Sim v3 counts for M x K x N (pixels, reduction, filters), to the cycle."""
    machine = Machine(rows, cols, dataflow, Operands(0.0, 0.0, 0.0), Operands(1.0, 1.0, 1.0), 1.0)
    layer = Layers(batch=1.0, groups=1.0, k=n, c=k, oy=1.0, ox=m)
    return folds(layer, machine, scale_sim_compatible=True).fill_cycles
