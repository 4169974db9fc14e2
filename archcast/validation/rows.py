"""Measured operators of several tables as one, and what a cost model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archcast.question import find_target
from archcast.validation.baselines import codes, roofline_s
from costmodel.collectives import fabric_of
from costmodel.costs import SOURCES, OpCosts
from costmodel.measured.rows import shape_keys
from costmodel.protocol import CostModel, PhysicsModel
from foundation.errors import ArchcastError
from workloads.measurements import MeasurementTable
from workloads.table import CATEGORIES, DEFAULTS, KINDS, Array

FITTED_SOURCES = [SOURCES.index(name) for name in ("measured", "interpolated", "learned")]


@dataclass(frozen=True)
class Priced:
    """What a model says of rows, shape (rows,), NaN where the device cannot run them; and their roofline in seconds.

    `doubt` is larger the less the model trusts a row: the error that it expects, where it says that; else 1 for what it
    did not answer from measurements.
    """

    latency_s: Array
    lo_s: Array
    hi_s: Array
    energy_j: Array
    energy_lo_j: Array
    energy_hi_j: Array
    source: Array
    roof_s: Array
    doubt: Array


class Rows:
    """Measured operators of several tables as one: columns that a case needs, shape (rows,)."""

    def __init__(self, tables: Sequence[MeasurementTable]) -> None:
        self.tables = list(tables)
        ends = np.cumsum([table.rows for table in self.tables])
        self.starts = np.concatenate([[0], ends[:-1]]).astype(np.intp)
        self.rows = int(ends[-1])
        self.device = np.concatenate([t.device for t in tables])
        self.software = np.concatenate([t.software for t in tables])

    def column(self, name: str) -> Array:
        """Return an operator column over all tables."""
        return np.concatenate([np.asarray(t.table.full(name)) for t in self.tables])

    def plain(self) -> Array:
        """Return what untuned trees are told of each row: sizes, codes, peak rate and bandwidth of its device."""
        columns = [self.column(name).astype(np.float64) for name in (*DEFAULTS, *CATEGORIES) if name != "count"]
        columns = [column for column in columns if column.min() != column.max()]
        columns.append(np.unique(self.software.astype(str), return_inverse=True)[1].astype(np.float64))
        peak, rate = np.empty(self.rows), np.empty(self.rows)
        formats = self.column("dtype").astype(int)
        for device in np.unique(self.device.astype(str)):
            mine, rates = self.device == device, find_target(str(device)).rates
            peak[mine], rate[mine] = rates.peak_flop_per_s[formats[mine]], rates.dram_bytes_per_s
        return np.stack([*columns, peak, rate], axis=1).astype(np.float32)

    def value(self, name: str) -> Array:
        return np.concatenate([t.value(name) for t in self.tables])

    def taken(self, mask: Array) -> list[MeasurementTable]:
        """Return the rows of a mask as tables, empty ones left out."""
        parts = [(t, mask[i : i + t.rows]) for i, t in zip(self.starts, self.tables, strict=True)]
        return [t.take(np.flatnonzero(mine)) for t, mine in parts if mine.any()]

    def groups(self, by: str) -> Array:
        """Return the group of each row, see `Split.by`."""
        if by == "device":
            return self.device
        if by == "link":
            kind, ranks = self.column("kind").astype(int), self.column("ranks")
            words = [f"{d}|{KINDS[k]}|{r:g}" for d, k, r in zip(self.device, kind, ranks, strict=True)]
            return np.array(words, dtype=object)
        return np.concatenate([shape_keys(t.table) for t in self.tables])


def priced(rows: Rows, model: CostModel) -> Priced:
    """Price every row; those of one device, stack and table at once."""
    parts = [np.full(rows.rows, np.nan) for _ in range(9)]
    out = Priced(*parts)
    out.source[:] = SOURCES.index("physics")
    for start, table in zip(rows.starts, rows.tables, strict=True):
        kinds = codes([table.device, table.software, table.table.full("dtype"), table.table.full("ranks")])
        for kind in np.unique(kinds):
            where = np.flatnonzero(kinds == kind)
            _price_some(out, start + where, table.take(where), model)
    return out


def _price_some(out: Priced, where: Array, some: MeasurementTable, model: CostModel) -> None:
    target = find_target(str(some.device[0]))
    try:
        ranks = int(some.table.full("ranks").max())
        fabric = fabric_of(target.spec, ranks)
        costs: OpCosts = model.predict(some.table, target.rates, fabric, software=str(some.software[0]))
    except ArchcastError:
        return
    good = np.isfinite(costs.latency_s)
    columns = (costs.latency_s, costs.latency_lo_s, costs.latency_hi_s, costs.energy_j, costs.energy_lo_j,
               costs.energy_hi_j, costs.source)  # fmt: skip
    names = ("latency_s", "lo_s", "hi_s", "energy_j", "energy_lo_j", "energy_hi_j", "source")
    for name, column in zip(names, columns, strict=True):
        getattr(out, name)[where[good]] = column[good]
    out.roof_s[where] = roofline_s(some.table, target.rates, fabric)
    difficulty = getattr(model, "difficulty", None)
    if difficulty is not None:
        out.doubt[where] = difficulty(some.table, target.rates, fabric, software=str(some.software[0]))
    elif not isinstance(model, PhysicsModel):
        out.doubt[where] = 1.0 - np.isin(costs.source, FITTED_SOURCES)
