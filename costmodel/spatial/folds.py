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
Cores: folds are dealt over them; in the last wave some have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import OS, WS, Machine, Operands
from workloads.elementwise import Value, choose, some
from workloads.table import Array


@dataclass(frozen=True)
class Folds:
    """Cycles of a layer: `ideal` at every element busy, `shape` with whole folds and waves, `fill` with skew and loads.

    `count` are the folds of all groups and cores, `waves` those of the busiest core; `overhead` is what one fold pays
    beyond its stream where folds do not overlap (0 where they do).
    """

    ideal_cycles: Array
    shape_cycles: Array
    fill_cycles: Array
    count: Array
    waves: Array
    overhead_cycles: Value


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
    waves = count if np.ndim(machine.cores) == 0 and machine.cores == 1 else np.ceil(count / machine.cores)
    share = executed_share(layers, machine)
    stream = along * share
    ideal = layers.macs * share / machine.elements
    shape = waves * stream
    skew = rows + cols - 2.0
    load = by_dataflow(flow, rows, 0.0 * rows, rows)
    if scale_sim_compatible:
        alone = skew + load
        return Folds(ideal, shape, shape + waves * alone - 1.0 * (count > 0), count, waves, alone)
    hidden = machine.preload_hidden
    overhead, once = choose(hidden, 0.0, skew + load), choose(hidden, skew + load, 0.0)
    # the last fold has no next one to load
    waits = np.maximum(waves - 1.0, 0.0) * np.maximum(choose(hidden, rows, 0.0) - stream, 0.0)
    fill = shape + waits + waves * overhead + once * (count > 0)
    return Folds(ideal, shape, np.asarray(fill), count, waves, overhead)


def scale_sim_output(size: Value, kernel: Value, stride: Value) -> Value:
    """Return the output size that SCALE-Sim counts, ceil((H - FH + s) / s): one more than there is at most strides."""
    return np.ceil((size - kernel + stride) / stride)


def scale_sim_cycles(m: Value, k: Value, n: Value, rows: Value, cols: Value, dataflow: Value) -> Array:
    """Return the compute cycles that SCALE-Sim v3 counts for M x K x N (pixels, reduction, filters), to the cycle."""
    machine = Machine(rows, cols, dataflow, Operands(0.0, 0.0, 0.0), Operands(1.0, 1.0, 1.0), 1.0)
    layer = Layers(batch=1.0, groups=1.0, k=n, c=k, oy=1.0, ox=m)
    return folds(layer, machine, scale_sim_compatible=True).fill_cycles
