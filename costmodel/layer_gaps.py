"""Layers in the order in which they run: their time beside the ideal that their MACs alone would take.

The distance between the two is the efficiency gap (Lavin, "On the Efficiency of Convolutional Neural Networks", 2024,
section 2): what networks of equal MACs differ by. A layer is compute bound where its intensity is above the device's
ratio of FLOP to bytes, its waterline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.costs import BOUNDS
from costmodel.estimate import Detail
from costmodel.physics import stages
from workloads.table import OPS, Array
from workloads.work import count_work


@dataclass(frozen=True)
class LayerGaps:
    """Layers of one pass in execution order, columns of shape (layers,); a repeated block's layers stand once.

    `ideal_s`: all MACs at the peak of the layer's format; `latency_s` what they take, repeats included in both.
    `intensity_flop_per_byte` counts traffic to device memory; `waterline_flop_per_byte` is the device's
    ratio in the format of most of the work.
    """

    pass_name: str
    names: tuple[str, ...]
    ops: tuple[str, ...]
    bounds: tuple[str, ...]
    repeats: Array
    ideal_s: Array
    latency_s: Array
    intensity_flop_per_byte: Array
    waterline_flop_per_byte: float

    @property
    def efficiency_share(self) -> float:
        """Share of the time that the ideal would take."""
        total = float(self.latency_s.sum())
        return float(self.ideal_s.sum()) / total if total > 0 else 0.0


def layer_gaps(detail: Detail) -> LayerGaps:
    """Return the layers of the pass that takes most of the time (its first scenario, scaled to all of them)."""
    table, costs, lowered = detail.lowered.table, detail.costs, detail.lowered
    seconds = costs.latency_s * table.full("count")
    longest = int(np.argmax(np.bincount(lowered.pass_index, weights=seconds)))
    mine = lowered.pass_index == longest
    first = int(lowered.scenario[mine].min())
    rows = np.flatnonzero(mine & (lowered.scenario == first) & (seconds > 0))
    scale = float(seconds[mine].sum()) / float(seconds[rows].sum())
    work = count_work(table)
    ideal = np.broadcast_to(stages(table, work, detail.rates).ideal_s, (table.rows,)) * table.full("count")
    flop = np.broadcast_to(work.flop, (table.rows,))[rows]
    moved = np.broadcast_to(costs.dram_bytes, (table.rows,))[rows]
    intensity = np.divide(flop, moved, out=np.full(len(rows), np.inf), where=moved > 0)
    ops = table.full("op")
    return LayerGaps(
        detail.workload.passes[longest].name, tuple(table.labels[i] for i in rows),
        tuple(OPS[int(ops[i])] for i in rows), tuple(BOUNDS[int(costs.bound[i])] for i in rows),
        np.asarray(table.full("count")[rows]), np.minimum(ideal[rows], seconds[rows]) * scale, seconds[rows] * scale,
        intensity, _waterline(detail, table.full("dtype")[rows], flop * table.full("count")[rows]),
    )  # fmt: skip


def _waterline(detail: Detail, formats: Array, flop: Array) -> float:
    """Return FLOP per byte at which the format that most of the work is in takes as long to compute as to read."""
    used = int(np.argmax(np.bincount(formats.astype(np.intp), weights=flop)))
    return float(detail.rates.peak_flop_per_s[used] / detail.rates.dram_bytes_per_s)
