"""What calibration keeps for devices that it never saw: their kin, and the errors of leaving each device out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel.adaptation import KinTable, best_kin, designs, seen_of
from costmodel.calibration.difficulty import KinErrors, kin_difficulty, with_forests
from costmodel.calibration.intervals import conformal_half, widths_of_next
from costmodel.calibration.rows import Rows
from costmodel.difficulty import forest_name
from costmodel.features import GROUP_OF
from costmodel.plans import Intervals, Transfer, kin_place
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from costmodel.trees import FlatTrees
from hardware_specs import load_device
from workloads.table import OP_CODES, OPS, Array

KIN_ROWS = 400
"""Rows of each device that a table of kin keeps."""
TABLE = "kin/"


def transferred(rows: dict[str, Rows], model: LearnedModel, seed: int) -> LearnedModel:
    """Return the model with what it needs to answer for unseen devices; `rows` are those that did not train."""
    devices = model.scope.devices
    rates = {name: compile_rates(load_device(name)) for name in devices}
    kinship = {name: kin_place(r) for name, r in rates.items()}
    kinds = {name: r.kind for name, r in rates.items()}
    reach: dict[str, float] = {}
    share: dict[str, float] = {}
    tables = {}
    intervals = model.intervals
    forests: dict[str, FlatTrees | None] = {}
    for group, some in rows.items():
        left: dict[str, tuple[KinTable, KinErrors]] = {}
        for code in np.unique(some.op):
            op = OPS[int(code)]
            if op == "collective":
                continue  # what a link does says nothing of another
            few = kin_rows(some.take(np.flatnonzero(some.op == code)), seed)
            table = kin_table(few, model, op)
            apart = table.apart(kinship)
            reach[op], share[op] = best_kin(apart, kinship)
            # without another design, nobody can say how far one's rows serve for others
            known = apart if share[op] > 0 else table
            errors = KinErrors.of(few, known.blended(share[op] or 1.0), kinship, reach[op], group)
            if not len(errors.error):
                del reach[op], share[op]
                continue
            tables[TABLE + op], left[op] = table.matrix(), (table, errors)
        if left:
            trees, hard = kin_difficulty([errors for _, errors in left.values()], seed)
            forests[forest_name(group, kin=True)] = trees
            for (op, (table, errors)), mine in zip(left.items(), hard, strict=True):
                found_by = (errors.error / mine, errors.size, designs(table, kinship)[errors.target])
                intervals = _with_pseudo_targets(intervals, table, found_by, op)
    model = with_forests(model, forests)
    forest = replace(model.forest, tables=tables)
    return replace(model, forest=forest, intervals=intervals, transfer=Transfer(kinship, kinds, reach, share, {}))


def kin_rows(rows: Rows, seed: int) -> Rows:
    """Return some rows of each device."""
    rng = np.random.default_rng(seed)
    picked = []
    for code in np.unique(rows.device):
        mine = np.flatnonzero(rows.device == code)
        picked.append(np.sort(rng.permutation(mine)[:KIN_ROWS]))
    return rows.take(np.concatenate(picked))


def kin_table(rows: Rows, model: LearnedModel, op: str) -> KinTable:
    """Return what the models of all devices say of rows of each."""
    devices = model.scope.devices
    target = np.array([devices.index(rows.words.devices[int(code)]) for code in rows.device])
    factor = factors_of(rows, model, op)
    seen = seen_of(rows.matrix, GROUP_OF[OP_CODES[op]], factor)
    return KinTable(
        devices, target, rows.log_error, np.log(rows.physics_s), np.log(rows.floor_s / rows.physics_s),
        seen.regime, seen.kernel, factor,
    )  # fmt: skip


def factors_of(rows: Rows, model: LearnedModel, op: str) -> Array:
    """Return the log factors that the models of all devices give rows of one operator; NaN where one has none.

    NaN also where siblings share the model of the row's own device: it learned from that device.
    """
    devices = model.scope.devices
    factor = np.full((len(rows), len(devices)), np.nan)
    for code in np.unique(rows.model):
        own = rows.words.models[int(code)]
        part = [*own.split("/"), ""][2]
        where = np.flatnonzero(rows.model == code)
        features = np.ascontiguousarray(rows.matrix[where])
        names = [model.scope.model_of(op, device, part) for device in devices]
        said = {name: model.log_factor(name, features) for name in names if name is not None}
        for i, name in enumerate(names):
            if name is not None:
                theirs = name != own or rows.device[where] == rows.words.devices.index(devices[i])
                factor[where, i] = np.where(theirs, said[name], np.nan)
    return factor


def _with_pseudo_targets(
    intervals: Intervals, table: KinTable, left: tuple[Array, Array, Array], op: str
) -> Intervals:  # fmt: skip
    """Return intervals with the entry of unseen devices; `left` has scores, log sizes and designs of rows left out."""
    cuts, half = widths_of_next(*left)
    name = f"/{op}"
    return replace(
        intervals, cuts={**intervals.cuts, name: cuts}, half={**intervals.half, name: half},
        physics={**intervals.physics, name: conformal_half(np.abs(table.error))},
    )  # fmt: skip
