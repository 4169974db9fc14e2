"""Whole models: each measured row is asked of `predict`; a fit on the train groups is one factor a device."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.prediction import predict
from archcast.quantities import quantities
from archcast.question import find_target
from archcast.validation.baselines import NEAREST, ROOFLINE, codes, nearest, roofline_s
from archcast.validation.case import CLOSED_FORM, FACTOR, Case
from archcast.validation.microbatches import Step, repeats, step
from archcast.validation.scoring import Predictions, joined
from costmodel.estimate import Detail, Estimate, compose
from costmodel.protocol import CostModel, PhysicsModel
from foundation.errors import ArchcastError
from workloads.measurements import LABELS, MEASURED
from workloads.table import Array
from workloads.workload_measurements import SIZES, TEXTS, WorkloadMeasurements, workload_measurements

COVERAGE = 0.9
TRAINING = ("micro_batch", "zero_stage", "wide_gradients")
"""Columns of training steps beside those of every table."""
FEWEST = 9
"""Train rows that a 90 % conformal interval needs (Vovk et al. 2005)."""


@dataclass(frozen=True)
class Asked:
    """What the closed form (or a model) says of rows: all of shape (rows,), NaN where it refuses.

    `work` holds FLOP, bytes and batch, by which networks are near each other. `reasons` counts refusals.
    """

    value: Array
    lo: Array
    hi: Array
    roof: Array
    work: Array
    reasons: dict[str, int]


def concat(pieces: Sequence[WorkloadMeasurements]) -> WorkloadMeasurements:
    """Return the rows of all pieces in one table; columns that no table knows are left out."""
    rows = [piece.rows for piece in pieces]
    columns: dict[str, Array] = {}
    for name in (*LABELS, *TEXTS, *SIZES, *MEASURED):
        text = name in (*LABELS, *TEXTS)
        parts = [p.text(name) if text else p.sizes.get(name, p.measured.get(name, np.full(n, np.nan)))
                 for p, n in zip(pieces, rows, strict=True)]  # fmt: skip
        joined_up = np.concatenate(parts)
        if text or not np.isnan(joined_up).all():
            columns[name] = joined_up
    for name in TRAINING:
        columns[name] = np.concatenate([p.raw.get(name, np.full(p.rows, np.nan)) for p in pieces])
    return workload_measurements("validation", columns)


def ask_all(
    table: WorkloadMeasurements, quantity: str, model: CostModel | None, progress: Callable[[float], None]
) -> Asked:
    """Ask every row, of the closed form where no model is given; rows that ask the same are asked once."""
    rows = table.rows
    value, lo, hi, roof = (np.full(rows, np.nan) for _ in range(4))
    out = Asked(value, lo, hi, roof, np.full((rows, 3), np.nan), {})
    keys = [_question(table, i) for i in range(rows)]
    seen: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(keys):
        seen.setdefault(key, []).append(i)
    for done, (key, where) in enumerate(seen.items()):
        if done % 25 == 0:
            progress(done / len(seen))
        try:
            asked = dict(key[1:])
            how = asked.pop("step", None)
            estimate = _predicted(table, where[0], asked, model or PhysicsModel())
        except ArchcastError as error:
            reason = textwrap.shorten(str(error).split(";")[0], 90, placeholder=" ...")
            out.reasons[reason] = out.reasons.get(reason, 0) + len(where)
            continue
        if estimate.latency_s is None:
            out.reasons["it does not fit in memory"] = out.reasons.get("it does not fit in memory", 0) + len(where)
        _fill(out, where, estimate, quantity, int(dict(key[1:]).get("concurrency") or 1), how)
    return out


def _question(table: WorkloadMeasurements, i: int) -> tuple[Any, ...]:
    """Return what a row asks, in a form that compares: the params text, then options of `predict`."""
    given: dict[str, Any] = {"workload": table.workload[i], "on": table.device[i]}
    given |= {n: str(table.text(n)[i]) for n in ("dtype", "kv_dtype", "mode", "software")}
    for name in SIZES:
        value = table.size(name)[i] if name in table.sizes else np.nan
        if not np.isnan(value):
            given[name] = max(round(float(value)), 1)
    given["mode"] = given["mode"] or "infer"
    if "concurrency" in given:
        given.pop("batch", None)
    if any(name in given for name in ("tp", "pp", "dp")):
        given.pop("count", None)
    micro, stage, wide = (float(table.raw[name][i]) for name in TRAINING)
    if given["mode"] == "train" and micro > 0 and "batch" in given:
        one = micro * given.get("dp", 1)
        given["step"] = Step(max(round(given["batch"] / one), 1), int(given.get("pp", 1)),
                             0 if np.isnan(stage) else int(stage), wide > 0)  # fmt: skip
        given["batch"] = round(one)
    return (str(table.text("params")[i]), *given.items())


def _predicted(table: WorkloadMeasurements, row: int, given: dict[str, Any], model: CostModel) -> Estimate:
    knobs = table.knobs(row)
    return predict(given.pop("workload"), knobs=knobs or None, model=model, **given)


def _fill(
    out: Asked, where: list[int], estimate: Estimate, quantity: str, slots: int, how: Step | None
) -> None:  # fmt: skip
    found = step(estimate, quantity, how) if how else getattr(estimate, quantity)
    if found is None or (quantity != "memory_bytes" and estimate.latency_s is None):
        return
    share = slots if quantity == "energy_j" else 1
    out.value[where], out.lo[where], out.hi[where] = found.value / share, found.lo / share, found.hi / share
    if estimate.detail is not None:
        out.roof[where] = _roofline(estimate.detail, quantity, slots)
        if how:
            out.roof[where] *= repeats(estimate.detail, how)
        flop, moved = estimate.work_flop or 1.0, estimate.dram_bytes or 1.0
        out.work[where] = (flop, moved, float(estimate.request.get("batch", slots)))


def _roofline(detail: Detail, quantity: str, slots: int) -> float:
    """Return the quantity as the plain roofline has it, composed as the estimate is; NaN where it has none."""
    if quantity in ("energy_j", "memory_bytes", "power_w"):
        return float("nan")
    roof = roofline_s(detail.lowered.table, detail.rates, detail.fabric)
    roof = np.where(np.isfinite(roof), roof, detail.costs.latency_s)
    costs = replace(detail.costs, latency_s=roof, latency_lo_s=roof, latency_hi_s=roof)
    totals = compose(detail.workload, detail.lowered, costs)
    target = find_target(detail.rates.device)
    columns = quantities(detail.workload, totals, detail.mapping, target, slots if slots > 1 else 0)
    if quantity == "rate_hz":
        return float(np.max(np.asarray(detail.workload.batch))) / float(columns["latency_s"][0, 0])
    return float(columns[quantity][0, 0])


def score_networks(
    case: Case, table: WorkloadMeasurements, seed: int, model: CostModel | None, peers: Array | None,
    progress: Callable[[float], None],
) -> tuple[Predictions | None, dict[str, int]]:  # fmt: skip
    """Return the held-out rows with their predictions, and why rows were refused; None where nothing can be held out.

    A model that is given is scored as it is: nothing is fitted, and every row is a test row.
    """
    asked = ask_all(table, case.quantity, model, progress)
    measured = table.value(case.quantity)
    groups = table.device if case.split.by == "device" else table.groups()
    whole = np.ones(table.rows, dtype=bool)
    parts = [(~whole, whole)] if model is not None else list(case.split.parts(groups, seed))
    if not parts and case.fitted == CLOSED_FORM:
        parts = [(~whole, whole)]
    kinds = codes([table.text(n) for n in ("device", "software", "dtype", "mode")])
    found = []
    for train, test in parts:
        value, lo, hi = (column[test] for column in (asked.value, asked.lo, asked.hi))
        if case.fitted == FACTOR and model is None:
            value, lo, hi = _scaled(case, table, asked, measured, train, test)
        baselines: dict[str, Array] = {}
        for name in case.baselines:
            if name == ROOFLINE:
                baselines[name] = asked.roof[test]
            elif name == NEAREST:
                near = np.isfinite(asked.work).all(axis=1)
                baselines[name] = nearest(np.nan_to_num(asked.work), kinds, measured, train & near, test)
            else:
                baselines[name] = peers[test] if peers is not None else np.full(int(test.sum()), np.nan)
        label = np.where(table.text("mode")[test] == "train", "train", "").astype(object)
        found.append(Predictions(
            table.device[test], label, groups[test], measured[test], value, lo, hi, np.isfinite(asked.value[test]),
            np.full(int(test.sum()), np.nan), baselines,
        ))  # fmt: skip
    return (joined(found) if found else None), asked.reasons


def _scaled(
    case: Case, table: WorkloadMeasurements, asked: Asked, measured: Array, train: Array, test: Array
) -> tuple[Array, Array, Array]:
    """Return (value, lo, hi) of the test rows: the closed form times a factor of the train rows nearest in kind.

    The factor is the median of measured over predicted among train rows that share `case.kin`; where there are none,
    of the same device, then stack and mode, then of all. The interval is conformal on the train rows' residuals.
    """
    ratio = np.where(np.isfinite(asked.value), np.log(measured / asked.value), np.nan)
    known = train & np.isfinite(ratio)
    value, lo, hi = asked.value[test].copy(), asked.lo[test].copy(), asked.hi[test].copy()
    open_rows = np.isfinite(value)
    for level in _levels(case, table):
        for kind in np.unique(level[test][open_rows]) if open_rows.any() else ():
            same = ratio[known & (level == kind)]
            mine = open_rows & (level[test] == kind)
            if not len(same) or not mine.any():
                continue
            middle = float(np.median(same))
            half = conformal_half(np.abs(same - middle))
            low, high = (np.exp(-half), np.exp(half)) if np.isfinite(half) else (lo[mine] / value[mine],
                                                                                hi[mine] / value[mine])  # fmt: skip
            value[mine] *= np.exp(middle)
            lo[mine], hi[mine] = value[mine] * low, value[mine] * high
            open_rows &= ~mine
    return value, lo, hi


def _levels(case: Case, table: WorkloadMeasurements) -> list[Array]:
    """Return codes of rows that share a factor, the closest kinship first."""

    def kinship(*names: str) -> Array:
        return codes([table.size(name, 0.0) if name in SIZES else table.text(name) for name in names])

    return [kinship(*case.kin), kinship("device"), kinship("software", "mode"), np.zeros(table.rows, dtype=np.int64)]


def conformal_half(errors: Array) -> float:
    """Return the half width that covers 90 % of new errors: the ceil((n + 1) 0.9)-th smallest; NaN below 9 errors."""
    rank = int(np.ceil((len(errors) + 1) * COVERAGE))
    if len(errors) < FEWEST or rank > len(errors):
        return float("nan")
    return float(np.partition(errors, rank - 1)[rank - 1])
