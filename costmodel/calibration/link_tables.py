"""Tables of collectives' curves for an artefact, with intervals from sizes, links and devices left out in turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel.artefact import Score
from costmodel.calibration.intervals import COVERAGE, calibrated, conformal_half, shared_share, thirds, widths_by_device
from costmodel.calibration.links import (
    COLUMNS,
    NONE,
    Fitted,
    Observed,
    blended,
    devices_in_turn,
    fit,
    groups_of_links,
    observed,
)
from costmodel.calibration.rows import Rows
from costmodel.calibration.split import folds
from costmodel.collectives import fabric_of
from costmodel.curves import LINKS, META, PREFIX, Curves, class_name, completed_name, table_name, unseen_name
from costmodel.features import FRAMEWORKS
from costmodel.knowledge import LIBRARIES, Intervals
from costmodel.residual import LearnedModel
from foundation.formats import FORMAT_NAMES, FORMATS
from hardware_specs import load_device
from workloads.table import Array

FOLDS = 5
"""Parts of the sizes, and of the (device, kind, ranks), that are left out in turn."""
_AT = {name: i for i, name in enumerate(COLUMNS)}


def with_curves(model: LearnedModel, rows: Rows, held_out: Array, seed: int) -> LearnedModel:
    """Return the model with the curves of measured collectives and their intervals.

    All rows make the curves; intervals rest on errors, of rows that are not `held_out` (a mask), where the size, the
    (device, kind, ranks) or the device was left out.
    """
    found = observed(rows)
    error = sizes_left_out(found, rows, seed)
    part = folds(groups_of_links(found).astype(np.uint64), FOLDS, seed)[found.curve]
    unlinked = _left_out(found, rows, part) if len(np.unique(part)) > 1 else np.full(len(rows), np.nan)
    use = np.flatnonzero(~held_out)
    intervals = _completed(calibrated(rows.take(use), error[use]), rows.take(use), unlinked[use])
    intervals = _unseen(intervals, found, rows, use)
    kept = {n: t for n, t in model.forest.tables.items() if not n.startswith(PREFIX)}
    forest = replace(model.forest, tables={**kept, **tables_of(found, rows)})
    every = {
        name: {**getattr(model.intervals, name), **getattr(intervals, name)} for name in ("cuts", "half", "physics")
    }
    shared = model.shared_log_error if model.intervals.half else shared_share(error[use], rows.group[use])
    return replace(model, forest=forest, intervals=Intervals(COVERAGE, **every), shared_log_error=shared)


def sizes_left_out(found: Observed, rows: Rows, seed: int) -> Array:
    """Return the log error of each row where its size was left out of all curves of its kind and ranks."""
    return _left_out(found, rows, folds(rows.group, FOLDS, seed))


def curve_scores(rows: Rows, held_out: Array, model: LearnedModel, seed: int) -> dict[str, Score]:
    """Return the scores of held-out sizes by 'device/collective', from curves that did not see them."""
    error = sizes_left_out(observed(rows), rows, seed)[held_out]
    rows, found = rows.take(np.flatnonzero(held_out)), {}
    size, family = np.log(rows.physics_s), rows.family
    for name in sorted(set(family.tolist())):
        i = np.flatnonzero(family == name)
        width = np.array(model.intervals.half[name])[thirds(size[i], model.intervals.cuts[name])]
        off, truth = np.abs(np.exp(-error[i]) - 1), rows.latency_s[i]
        physics, roofline = np.abs(rows.physics_s[i] / truth - 1), np.abs(rows.roofline_s[i] / truth - 1)
        found[name] = Score(
            rows=len(i), mape=float(off.mean()), median=float(np.median(off)), p90=float(np.quantile(off, 0.9)),
            coverage=float((np.abs(error[i]) <= width).mean()), width=float(np.median(np.exp(2 * width))),
            learned_share=1.0, roofline_mape=float(roofline.mean()), physics_mape=float(physics.mean()),
            physics_median=float(np.median(physics)),
            physics_coverage=float(((truth >= rows.lo_s[i]) & (truth <= rows.hi_s[i])).mean()),
        )  # fmt: skip
    return found


def _left_out(found: Observed, rows: Rows, fold: Array) -> Array:
    """Return the log error of each row from curves that did not see its fold."""
    error = np.empty(len(rows))
    for i in np.unique(fold):
        away = fold == i
        rest = found.without(away)
        error[away] = (rows.log_error - found.at_rows(blended(rest, fit(rest))))[away]
    return error


def _completed(intervals: Intervals, rows: Rows, error: Array) -> Intervals:
    """Return the intervals with those of kinds and ranks that were left out whole."""
    if not np.isfinite(error).all():
        return intervals
    size, device, cuts, half = np.log(rows.physics_s), rows.device, {}, {}
    for code in np.unique(device):
        mine, name = device == code, completed_name(rows.words.devices[int(code)])
        cuts[name] = low, high = intervals.cuts[f"{rows.words.devices[int(code)]}/{LINKS}"]
        third, whole = thirds(size[mine], (low, high)), conformal_half(np.abs(error[mine]))
        own = [conformal_half(np.abs(error[mine][third == i])) for i in range(3)]
        a, b, c = (whole if np.isnan(width) else width for width in own)
        half[name] = a, b, c
    return replace(intervals, cuts={**intervals.cuts, **cuts}, half={**intervals.half, **half})


def _unseen(intervals: Intervals, found: Observed, rows: Rows, use: Array) -> Intervals:
    """Return the intervals with those of unseen devices: each device was left out; by whether links are switched."""
    if len(np.unique(found.who[:, 0])) < 2:
        return intervals
    error = np.full(len(rows), np.nan)
    for device, curves in devices_in_turn(found):
        mine = np.flatnonzero(np.isin(found.curve, curves))
        others = found.without(mine)
        curves_of_others = Curves(general(others, fit(others)))
        error[mine] = _foreign(curves_of_others, found, rows, mine, device)
    switched, cuts, half, physics = found.who[found.curve, _AT["switched"]], {}, {}, {}
    for flag in (0, 1):
        mine = use[(switched[use] == flag) & np.isfinite(error[use])]
        if len(mine):
            name = unseen_name(bool(flag))
            cuts[name], half[name] = widths_by_device(error[mine], np.log(rows.physics_s[mine]), rows.device[mine])
            physics[name] = conformal_half(np.abs(rows.log_error[mine]))
    return replace(
        intervals, cuts={**intervals.cuts, **cuts}, half={**intervals.half, **half},
        physics={**intervals.physics, **physics},
    )  # fmt: skip


def _foreign(others: Curves, found: Observed, rows: Rows, mine: Array, device: float) -> Array:
    """Return the log errors of a device's rows by curves of other devices; NaN where none are like it."""
    fabric = fabric_of(load_device(rows.words.devices[int(device)]), 2)
    assert fabric is not None
    error = np.full(len(mine), np.nan)
    who = found.who[found.curve[mine]]
    pairs = np.stack([rows.software[mine], rows.dtype[mine]], axis=1)
    for software, dtype in np.unique(pairs, axis=0):
        at = np.flatnonzero((pairs == (software, dtype)).all(axis=1))
        curves = others.like(fabric, rows.words.softwares[int(software)], FORMAT_NAMES[int(dtype)])
        if curves is not None:
            kind, ranks = who[at, _AT["kind"]].astype(int), np.exp2(who[at, _AT["log_ranks"]])
            factor, _ = curves.at(kind, ranks, np.exp2(found.size[mine[at]]))
            error[at] = rows.log_error[mine[at]] - factor
    return error


def tables_of(found: Observed, rows: Rows) -> dict[str, Array]:
    """Return all tables: those of measured stacks, and those of links in general."""
    fitted = fit(found)
    own = blended(found, fitted)
    tables: dict[str, Array] = {}
    for device, curves in devices_in_turn(found):
        here = found.who[curves]
        most, grid = here[:, _AT["log_ranks"]].max(), _combined(here[:, _AT["kind"]], here[:, _AT["log_ranks"]])
        mine: dict[tuple[int, int], Array] = {}
        for stack, dtype in np.unique(here[:, [_AT["stack"], _AT["dtype"]]], axis=0):
            example = here[(here[:, _AT["stack"]] == stack) & (here[:, _AT["dtype"]] == dtype)][0]
            who = _like(example, grid)
            at = _places(found.who, who)
            values = np.where((at >= 0)[:, None], own[at], fitted.at(who))
            mine[int(stack), int(dtype)] = _table(who, at >= 0, values, most, found.octaves)
        place = rows.words.devices[int(device)]
        for (stack, dtype), table in _with_library(mine, here, found.who).items():
            tables[table_name(place, rows.words.softwares[stack], FORMAT_NAMES[dtype])] = table
    return {**tables, **general(found, fitted)}


def general(found: Observed, fitted: Fitted) -> dict[str, Array]:
    """Return tables of links in general: one for each class of links, framework and format, of the newest version."""
    tables: dict[str, Array] = {}
    columns = [_AT[name] for name in ("switched", "log_rate", "library")]
    measured = found.who[np.isfinite(found.values).any(axis=1)]
    for switched, log_rate, library in np.unique(measured[:, columns], axis=0):
        alike = measured[measured[:, _AT["switched"]] == switched]
        grid = _combined(alike[:, _AT["kind"]], alike[:, _AT["log_ranks"]])
        most = alike[:, _AT["log_ranks"]].max()
        mine: dict[tuple[int, int], Array] = {}
        served = measured[measured[:, _AT["library"]] == library]
        for framework, dtype in np.unique(served[:, [_AT["framework"], _AT["dtype"]]], axis=0):
            some = served[(served[:, _AT["framework"]] == framework) & (served[:, _AT["dtype"]] == dtype)]
            example = some[np.argmax(some[:, _AT["order"]])].copy()
            example[[_AT["device"], _AT["stack"]]] = NONE
            example[columns] = switched, log_rate, library
            who = _like(example, grid)
            mine[int(framework), int(dtype)] = _table(who, np.zeros(len(who)), fitted.at(who), most, found.octaves)
        place = class_name(bool(switched), float(np.exp(log_rate)), "oneccl" if library else "nccl")
        for (framework, dtype), table in _with_library(mine, None, found.who).items():
            tables[table_name(place, FRAMEWORKS[framework], FORMAT_NAMES[dtype])] = table
    return tables


def _combined(kinds: Array, log_ranks: Array) -> Array:
    """Return every kind with every number of ranks, shape (curves, 2)."""
    pairs = np.meshgrid(np.unique(kinds), np.unique(log_ranks), indexing="ij")
    return np.stack([axis.ravel() for axis in pairs], axis=1)


def _like(example: Array, grid: Array) -> Array:
    """Return curves of one stack and format with the kinds and ranks of `grid`."""
    who = np.repeat(example[None], len(grid), axis=0)
    who[:, [_AT["kind"], _AT["log_ranks"]]] = grid
    return who


def _places(known: Array, who: Array) -> Array:
    """Return where each curve stands among the known ones; -1 where it does not."""
    same = (known[None] == who[:, None]).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _table(who: Array, measured: Array, values: Array, most: float, octaves: Array) -> Array:
    ranks = np.exp2(who[:, _AT["log_ranks"]])
    meta = [who[:, _AT["kind"]], ranks, measured, np.full(len(who), np.exp2(most)), np.full(len(who), octaves[0])]
    assert len(meta) == len(META)
    return np.column_stack([*meta, values]).astype(np.float32)


def _with_library(mine: dict[tuple[int, int], Array], here: Array | None, known: Array) -> dict[tuple[int, int], Array]:
    """Return tables in which kinds that a framework was measured with nowhere are those of the library that it calls.

    Keys are (stack, format) with the curves of the device `here`, else (framework, format).
    """

    def framework(key: tuple[int, int]) -> int:
        return key[0] if here is None else int(here[here[:, _AT["stack"]] == key[0]][0, _AT["framework"]])

    def order(key: tuple[int, int]) -> tuple[float, int]:
        version = 0.0 if here is None else float(here[here[:, _AT["stack"]] == key[0]][0, _AT["order"]])
        return version, -abs(bits(key[1]) - 16)

    def bits(dtype: int) -> int:
        return int(FORMATS[FORMAT_NAMES[dtype]].weight_bits)

    libraries = [key for key in mine if FRAMEWORKS[framework(key)] in LIBRARIES]
    if not libraries:
        return mine
    found = {}
    for key, table in mine.items():
        own = known[known[:, _AT["framework"]] == framework(key)]
        lacking = ~np.isin(table[:, 0], own[:, _AT["kind"]])
        library = mine[max(libraries, key=lambda k: (bits(k[1]) == bits(key[1]), order(k), k))]
        found[key] = np.where(lacking[:, None], library, table)
    return found
