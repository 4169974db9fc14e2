"""Devices that were never measured: each is left out in turn, and answered without rows of its own, then with a few."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.validation.case import Case
from archcast.validation.operators import baselines_of
from archcast.validation.rows import FITTED_SOURCES, Priced, Rows, priced
from archcast.validation.scoring import Predictions, joined
from archcast.validation.splits import places
from costmodel.calibration import calibrate
from costmodel.protocol import PhysicsModel
from foundation.errors import BadValueError
from workloads.measurements import MeasurementTable
from workloads.table import Array

GIVEN_SHARE = 0.2
"""Share of the new device's shape groups from which its few rows are drawn; the other groups are scored."""


def shots_label(count: int) -> str:
    """Return how lines call an answer with so many rows of the device."""
    return f"{count} rows given" if count else "never seen"


def score_devices(
    case: Case, rows: Rows, seed: int, progress: Callable[[float], None]
) -> Predictions | None:  # fmt: skip
    """Return the rows of each left-out device with their predictions, once for each number of rows given.

    The rows that are given come from a fifth of the device's shape groups, the others are scored, always the same.
    None where no device can be left out.
    """
    present = sorted(set(rows.device.astype(str).tolist()))
    devices = [name for name in case.devices or present if name in present]
    if len(present) < 2:
        return None
    roof, shapes = priced(rows, PhysicsModel()).roof_s, rows.groups("shape")
    parts = []
    for i, device in enumerate(devices):
        progress(i / len(devices))
        mine = rows.device.astype(str) == device
        given, test = _parted(shapes, mine, seed)
        with tempfile.TemporaryDirectory(prefix="archcast-") as folder:
            base = Path(folder) / "base"
            calibrate(rows.taken(~mine), base, seed=seed)
            baselines = baselines_of(case, rows, roof, ~mine, test, seed)
            for count in case.shots:
                answer = _answered(rows, base, given, test, count, seed)
                if answer is not None:
                    parts.append(_predictions(case, rows, test, shapes, answer, shots_label(count), baselines))
    return joined(parts) if parts else None


def _parted(shapes: Array, mine: Array, seed: int) -> tuple[Array, Array]:
    """Return (given, test) of a device's rows as masks; no shape group is in both."""
    names = np.unique(shapes[mine].astype(str))
    order = names[np.argsort(places(names, seed, "given"), kind="stable")]
    shown = order[: max(1, round(GIVEN_SHARE * len(order)))] if len(order) > 1 else order[:0]
    given = mine & np.isin(shapes.astype(str), shown)
    return given, mine & ~given


def _answered(rows: Rows, base: Path, given: Array, test: Array, count: int, seed: int) -> Priced | None:
    """Return what a base artefact says of the test rows, adapted by some of the given rows; None where it cannot be."""
    model = base
    if count:
        model = base.with_name(f"given-{count}")
        try:
            calibrate(drawn(rows, given, count, seed), model, seed=seed, base=base)
        except BadValueError:
            return None  # the base knows no such operator, or too few rows are left
    return priced(Rows(rows.taken(test)), find_cost_model(model))


def drawn(rows: Rows, given: Array, count: int, seed: int) -> Sequence[MeasurementTable]:
    """Return so many random rows of those given."""
    where = np.flatnonzero(given)
    chosen = np.zeros(rows.rows, dtype=bool)
    chosen[np.random.default_rng([seed, count]).permutation(where)[:count]] = True
    return rows.taken(chosen)


def _predictions(
    case: Case, rows: Rows, test: Array, shapes: Array, answer: Priced, label: str, baselines: dict[str, Array]
) -> Predictions:  # fmt: skip
    labels = np.full(int(test.sum()), label, dtype=object)
    answered = np.isin(answer.source, FITTED_SOURCES)
    return Predictions(
        rows.device[test], labels, shapes[test].astype(str).astype(object), rows.value(case.quantity)[test],
        answer.latency_s, answer.lo_s, answer.hi_s, answered, answer.doubt, baselines,
    )  # fmt: skip
