"""Operators: the learned model is trained on the train groups, or the closed form answers alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.validation.baselines import NEAREST, PLAIN, ROOFLINE, codes, nearest, plain_trees
from archcast.validation.case import FACTOR, TREES, Case
from archcast.validation.networks import conformal_half
from archcast.validation.rows import FITTED_SOURCES, Priced, Rows, priced
from archcast.validation.scoring import Predictions, joined
from costmodel.calibration import calibrate
from costmodel.protocol import CostModel, PhysicsModel
from workloads.table import CATEGORIES, DEFAULTS, OPS, Array


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
            np.asarray(answered), answer.doubt, baselines_of(case, rows, closed.roof_s, train, test, seed),
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


def baselines_of(
    case: Case, rows: Rows, roof_s: Array, train: Array, test: Array, seed: int
) -> dict[str, Array]:  # fmt: skip
    """Return what the baselines of a case say of the test rows; those that learn, from the train rows."""
    found: dict[str, Array] = {}
    measured = rows.value(case.quantity)
    if ROOFLINE in case.baselines:
        found[ROOFLINE] = roof_s[test]
    if NEAREST in case.baselines:
        kinds = codes([rows.device, rows.software, *(rows.column(name) for name in CATEGORIES)])
        columns = [rows.column(name).astype(np.float64) for name in DEFAULTS if name != "count"]
        sizes = np.stack([1.0 + c if c.min() <= 0 else c for c in columns if c.min() != c.max()] or columns[:1], axis=1)
        found[NEAREST] = nearest(sizes, kinds, measured, train, test)
    if PLAIN in case.baselines:
        found[PLAIN] = plain_trees(rows.plain(), roof_s, measured, train, test, seed)
    return found
