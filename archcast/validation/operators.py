"""Operators: the learned model is trained on the train groups, or the closed form answers alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.question import find_target
from archcast.validation.baselines import NEAREST, ROOFLINE, codes, nearest, roofline_s
from archcast.validation.cases import FACTOR, TREES, Case
from archcast.validation.networks import conformal_half
from archcast.validation.scoring import Predictions, joined
from costmodel.calibration import calibrate
from costmodel.collectives import fabric_of
from costmodel.costs import SOURCES, OpCosts
from costmodel.measured.rows import shape_keys
from costmodel.protocol import CostModel, PhysicsModel
from foundation.errors import ArchcastError
from workloads.measurements import MeasurementTable
from workloads.table import CATEGORIES, DEFAULTS, KINDS, OPS, Array

FITTED_SOURCES = [SOURCES.index(name) for name in ("measured", "interpolated", "learned")]


@dataclass(frozen=True)
class Priced:
    """What a model says of rows, shape (rows,), NaN where the device cannot run them; and their roofline in seconds."""

    latency_s: Array
    lo_s: Array
    hi_s: Array
    energy_j: Array
    energy_lo_j: Array
    energy_hi_j: Array
    source: Array
    roof_s: Array


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
    parts = [np.full(rows.rows, np.nan) for _ in range(8)]
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


def score_operators(
    case: Case, rows: Rows, seed: int, model: CostModel | None, progress: Callable[[float], None]
) -> Predictions | None:
    """Return the held-out rows with their predictions, or None where nothing can be held out.

    A model that is given is scored as it is, on every row.
    """
    measured, groups = rows.value(case.quantity), rows.groups(case.split.by)
    whole = np.ones(rows.rows, dtype=bool)
    parts = [(~whole, whole)] if model is not None else list(case.split.parts(groups, seed))
    if case.devices and case.split.by == "device":
        parts = [(train, test) for train, test in parts if np.isin(rows.device[test].astype(str), case.devices).any()]
    closed = priced(rows, model or PhysicsModel())
    found = []
    for i, (train, test) in enumerate(parts):
        progress(i / len(parts))
        fitted = model is not None or case.fitted == TREES
        answer = _trained(rows, train, test, seed) if fitted and model is None else _at(closed, test)
        value, lo, hi = _quantity(answer, case.quantity)
        if case.fitted == FACTOR and model is None:
            value, lo, hi = _factor(rows, closed, measured, train, test)
        answered = np.isin(answer.source, FITTED_SOURCES) if fitted else np.isfinite(value)
        labels = np.array(OPS, dtype=object)[rows.column("op")[test].astype(int)]
        found.append(Predictions(
            rows.device[test], labels, groups[test].astype(str).astype(object), measured[test], value, lo, hi,
            np.asarray(answered), _baselines(case, rows, closed, measured, train, test),
        ))  # fmt: skip
    return joined(found) if found else None


def _trained(rows: Rows, train: Array, test: Array, seed: int) -> Priced:
    """Calibrate on the train rows and price the test rows with what comes out."""
    with tempfile.TemporaryDirectory(prefix="archcast-") as folder:
        calibrate(rows.taken(train), Path(folder) / "model", seed=seed)
        return priced(Rows(rows.taken(test)), find_cost_model(Path(folder) / "model"))


def _at(found: Priced, index: Array) -> Priced:
    return Priced(*(getattr(found, name)[index] for name in Priced.__dataclass_fields__))


def _quantity(found: Priced, name: str) -> tuple[Array, Array, Array]:
    if name == "energy_j":
        return found.energy_j, found.energy_lo_j, found.energy_hi_j
    return found.latency_s, found.lo_s, found.hi_s


def _factor(
    rows: Rows, closed: Priced, measured: Array, train: Array, test: Array
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return (value, lo, hi): the closed form times the median of measured over it on like train rows.

    Like are rows of one device, stack and kind of collective; without any, of one device.
    """
    ratio = np.log(measured / closed.latency_s)
    known = train & np.isfinite(ratio)
    value, lo, hi = (column[test].copy() for column in (closed.latency_s, closed.lo_s, closed.hi_s))
    left = np.isfinite(value)
    own = codes([rows.device, rows.software, rows.column("op"), rows.column("kind")])
    for level in (own, codes([rows.device]), np.zeros(rows.rows, dtype=np.int64)):
        for kind in np.unique(level[test][left]) if left.any() else ():
            same, mine = ratio[known & (level == kind)], left & (level[test] == kind)
            if len(same):
                middle = float(np.median(same))
                half = conformal_half(np.abs(same - middle))
                value[mine] *= np.exp(middle)
                if np.isfinite(half):
                    lo[mine], hi[mine] = value[mine] * np.exp(-half), value[mine] * np.exp(half)
                else:
                    lo[mine], hi[mine] = lo[mine] * np.exp(middle), hi[mine] * np.exp(middle)
                left &= ~mine
    return value, lo, hi


def _baselines(
    case: Case, rows: Rows, closed: Priced, measured: Array, train: Array, test: Array
) -> dict[str, Array]:  # fmt: skip
    found: dict[str, Array] = {}
    if ROOFLINE in case.baselines:
        found[ROOFLINE] = closed.roof_s[test]
    if NEAREST in case.baselines:
        kinds = codes([rows.device, rows.software, *(rows.column(name) for name in CATEGORIES)])
        columns = [rows.column(name).astype(np.float64) for name in DEFAULTS if name != "count"]
        sizes = np.stack([1.0 + c if c.min() <= 0 else c for c in columns if c.min() != c.max()] or columns[:1], axis=1)
        found[NEAREST] = nearest(sizes, kinds, measured, train, test)
    return found
