"""What calibration keeps for devices that it never saw: their kin, and the errors of leaving each device out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from costmodel.adaptation import KinTable, Mix, best_mix, designs, seen_of
from costmodel.calibration.difficulty import KinErrors, kin_difficulty, with_forests
from costmodel.calibration.forms import Pooled, fitted_form, fitted_pool, pooled
from costmodel.calibration.intervals import conformal_half, widths_of_next
from costmodel.calibration.rows import Rows
from costmodel.difficulty import forest_name
from costmodel.features import GROUP_OF
from costmodel.forms import FORMED, SHARED, formed, shared_name
from costmodel.kin import kin_place, near_name
from costmodel.knowledge import Intervals, Transfer
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from costmodel.trees import FlatTrees
from hardware_specs import load_device
from workloads.table import OP_CODES, OPS, Array

FEWEST_DESIGNS = 2
"""Designs below which models of all devices cannot be judged: another must have taught them."""
KIN_ROWS = 400
"""Rows of each device that a table of kin keeps."""
TABLE = "kin/"


def transferred(
    rows: dict[str, Rows], model: LearnedModel, seed: int, every: Mapping[str, tuple[Rows, Array]]
) -> LearnedModel:
    """Return the model with what it needs to answer for unseen devices.

    Args:
        rows: those that did not train the trees of devices, by group of operators.
        every: all rows, and the indices of those that models of all devices may learn from: such a model is judged on
            designs that it never saw.
    """
    devices = model.scope.devices
    rates = {name: compile_rates(load_device(name)) for name in devices}
    kinship = {name: kin_place(r) for name, r in rates.items()}
    kinds = {name: r.kind for name, r in rates.items()}
    reach: dict[str, float] = {}
    share: dict[str, float] = {}
    shared: dict[str, tuple[float, float]] = {}
    tables: dict[str, Array] = {}
    intervals = model.intervals
    forests: dict[str, FlatTrees | None] = {}
    near: dict[str, KinErrors] = {}
    for group, some in rows.items():
        left: dict[str, tuple[KinTable, KinErrors]] = {}
        for code in np.unique(some.op):
            op = OPS[int(code)]
            if op == "collective":
                continue  # what a link does says nothing of another
            few = kin_rows(some.take(np.flatnonzero(some.op == code)), seed)
            numbers = dict(zip(devices, map(int, designs(devices, kinship)), strict=True))
            of_all = pooled(*every[group], op, numbers, seed) if op in FORMED else None
            table = with_shared(kin_table(few, model, op), few, of_all, numbers, seed)
            apart = table.apart(kinship)
            mix = best_mix(apart, kinship)
            # without another design, nobody can say how far one's rows serve for others
            known, used = (apart, mix) if sum(mix[1:]) > 0 else (table, Mix(mix.reach, 1.0))
            errors = KinErrors.of(few, known, kinship, used, group)
            if not len(errors.error):
                continue
            reach[op], share[op], shared[op] = mix.reach, mix.kin, mix[2:]
            if of_all is not None and sum(mix[2:]) > 0:
                tables[shared_name("form", op)] = fitted_form(of_all)
                forests[shared_name("pool", op)] = fitted_pool(of_all, seed)
            tables[TABLE + op], left[op] = table.matrix(), (table, errors)
            near[op] = KinErrors.of(few, table.of_near(kinship), kinship, Mix(mix.reach, 1.0), group)
        if left:
            trees, hard = kin_difficulty([errors for _, errors in left.values()], seed)
            forests[forest_name(group, kin=True)] = trees
            for (op, (table, errors)), mine in zip(left.items(), hard, strict=True):
                design = designs(devices, kinship)
                found_by = (errors.error / mine, errors.size, design[errors.target])
                intervals = _with_pseudo_targets(intervals, table, found_by, op)
                close = near[op]
                if len(close.error):
                    hard_there = 1.0 if trees is None else np.exp(trees.predict(close.seen).astype(np.float64))
                    cuts, half = widths_of_next(close.error / hard_there, close.size, design[close.target])
                    name = near_name(op)
                    intervals = replace(
                        intervals, cuts={**intervals.cuts, name: cuts}, half={**intervals.half, name: half}
                    )
    model = with_forests(model, forests)
    forest = replace(model.forest, tables=tables)
    return replace(
        model, forest=forest, intervals=intervals, transfer=Transfer(kinship, kinds, reach, share, {}, shared)
    )


def with_shared(
    table: KinTable, rows: Rows, of_all: Pooled | None, numbers: Mapping[str, int], seed: int
) -> KinTable:  # fmt: skip
    """Return the table with what models of all devices say of its rows, each learned without the rows' design."""
    if of_all is None or len(set(numbers.values())) < FEWEST_DESIGNS:
        return table
    design = np.array([numbers[table.devices[i]] for i in table.target])

    def strangers(number: int) -> Array:
        features, others = np.ascontiguousarray(rows.matrix[design == number]), of_all.without(number)
        form, trees = fitted_form(others), fitted_pool(others, seed)
        return np.column_stack([formed(form, features, of_all.op), trees.predict(features)])

    def mates(index: int) -> Array:
        features = np.ascontiguousarray(rows.matrix[table.target == index])
        others = of_all.mates_of(index, numbers[table.devices[index]])
        return fitted_pool(others, seed).predict(features) if len(others.error) else np.full(len(features), np.nan)

    shared, near = np.empty((len(rows), len(SHARED))), np.empty(len(rows))
    present, targets = np.unique(design), np.unique(table.target)
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for number, said in zip(present, pool.map(strangers, present), strict=True):
            shared[design == number] = said
        for index, said in zip(targets, pool.map(mates, targets), strict=True):
            near[table.target == index] = said
    return replace(table, shared=shared, mates=near)


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
