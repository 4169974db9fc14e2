"""Calibration: measurements in, an artefact out, with its error on rows that it never saw.

Rows are split by groups of one shape (a gemm's n and k, an attention's heads), never by rows, so that the held-out
error is that of a shape that was not measured. The larger part trains the trees, one part calibrates the intervals,
one part is scored. Where an operator has few shapes, intervals are calibrated by cross-fitting in place of a part.
Same rows, seed and platform give the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from costmodel.artefact import Card, save_artefact
from costmodel.calibration.difficulty import learned_difficulty, with_forests
from costmodel.calibration.intervals import (
    COVERAGE,
    calibrated,
    conformal_half,
    predicted_s,
    scores,
    shared_share,
)
from costmodel.calibration.link_tables import curve_scores, with_curves
from costmodel.calibration.power import with_power
from costmodel.calibration.rows import SHAPE_KEYS, STRATUM_RULE, Gathered, Rows, gather
from costmodel.calibration.shots import adapt
from costmodel.calibration.split import CONFORMAL, FEWEST_GROUPS, HELD_OUT, TRAIN, folds, split
from costmodel.calibration.training import MODEL_ROWS, OWN_SETTINGS, ROUNDS, SETTINGS, ranges, train_all
from costmodel.calibration.transfer import transferred
from costmodel.calibration.units import check_units
from costmodel.curves import LINKS
from costmodel.difficulty import forest_name
from costmodel.forest import Forest, packed
from costmodel.knowledge import Intervals, Scope, Transfer
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from costmodel.trees import FlatTrees
from foundation.errors import BadValueError
from foundation.formats import FORMAT_NAMES
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array

FEWEST_ROWS = 30
FEW_SHAPES = 50
"""Below so many shapes of a group of operators, intervals come from `FOLDS` models that each leave out some shapes."""
FOLDS = 3

__all__ = [
    "CONFORMAL", "HELD_OUT", "SHAPE_KEYS", "TRAIN", "calibrate", "conformal_half", "shared_share", "split",
]  # fmt: skip


def calibrate(
    measurements: Sequence[MeasurementTable], out: str | Path, *, seed: int = 0, rounds: int = ROUNDS,
    base: str | Path | None = None, progress: Callable[[str], None] = lambda _: None,
) -> Card:  # fmt: skip
    """Fit a model to measured latencies and write it as an artefact; returns its card with the held-out scores.

    Args:
        seed: decides the split and the trees' samples.
        base: an artefact of other devices to start from; 10 to 50 rows of a new device then suffice.
        progress: told in one line what is being done.

    Raises:
        BadValueError: too few rows or shape groups, a row without a device, latencies in another unit.
        UnknownNameError: a device that is not in the catalogue.
        BadFileError: `out` holds something else.
    """
    if base is not None:
        return adapt(measurements, base, out, seed=seed, progress=progress)
    progress("pricing the measured rows by the closed form")
    gathered = gather(measurements, seed)
    model, rows, parts, left_out = fitted(gathered, seed, rounds, progress)
    model, power_scores, unmeasured = with_power(model, measurements, rows, parts, seed, progress)
    progress("scoring the held-out rows")
    trees = [g for g in rows if g != LINKS]
    found = {n: s for g in trees for n, s in scores(rows[g].take(_at(parts[g], HELD_OUT)), model, g).items()}
    if LINKS in rows:
        found |= curve_scores(rows[LINKS], parts[LINKS] == HELD_OUT, model, seed)
    counts = np.sum([np.bincount(part, minlength=3) for part in parts.values()], axis=0)
    used = {OPS[int(o)] for r in rows.values() for o in np.unique(r.op)}
    names = {"train": TRAIN, "conformal": CONFORMAL, "held_out": HELD_OUT}
    below = {n: v for r in rows.values() for n, v in _below_floor(r).items()}
    card = Card(
        scope=model.scope, intervals=model.intervals, transfer=model.transfer, shared_log_error=model.shared_log_error,
        scores=dict(sorted(found.items())),
        rows={**{n: int(counts[c]) for n, c in names.items()}, "unpriced": gathered.unpriced,
              "thinned": gathered.thinned},
        groups={n: v for g, r in rows.items() for n, v in _group_counts(r, parts[g], names).items()},
        left_out=left_out | unmeasured, below_floor=below, data_sha256=gathered.digest,
        rates_digests=model.rates_digests,
        settings={**SETTINGS, **OWN_SETTINGS, "rounds": rounds, "seed": seed, "rows_rule": STRATUM_RULE,
                  "model_rows": MODEL_ROWS, "shape_keys": {k: SHAPE_KEYS[k] for k in sorted(used)},
                  "held_out": _held_out(rows, parts)},
        versions=_versions(), power_scores=power_scores,
    )  # fmt: skip
    power = None if model.power is None else model.power.to_json().encode()
    return save_artefact(out, model.forest.to_bytes(), card, power)


def fitted(
    gathered: Gathered, seed: int, rounds: int, progress: Callable[[str], None] = lambda _: None
) -> tuple[LearnedModel, dict[str, Rows], dict[str, Array], dict[str, str]]:
    """Return the model, the rows by group of operators, the part of each row, and why families are left out."""
    total = sum(len(rows) for rows in gathered.rows.values())
    if total < FEWEST_ROWS:
        hint = f" ({gathered.unpriced} cannot be priced)" if gathered.unpriced else ""
        raise BadValueError(
            f"Calibration needs at least {FEWEST_ROWS} rows with a latency_s that can be priced; {total} are given"
            f"{hint}."
        )
    check_units(gathered.rows)
    rows, left_out = _families(gathered.rows)
    parts = {group: split(r.group, r.family, seed) for group, r in rows.items()}
    if set(rows) == {LINKS}:
        model = transferred({}, _blank(gathered, rows, parts, {LINKS}, {}), seed, {})
    else:
        model = _with_trees(gathered, rows, parts, seed, rounds, progress)
    if LINKS in rows:
        progress("fitting the curves of collectives")
        model = with_curves(model, rows[LINKS], parts[LINKS] == HELD_OUT, seed)
    return model, rows, parts, left_out


def _with_trees(
    gathered: Gathered, every_row: dict[str, Rows], parts: dict[str, Array], seed: int, rounds: int,
    progress: Callable[[str], None],
) -> LearnedModel:  # fmt: skip
    """Return a model with the trees of all groups of operators but collectives."""
    rows = {g: r for g, r in every_row.items() if g != LINKS}
    crossed = {g for g, r in rows.items() if len(np.unique(r.group)) < FEW_SHAPES}
    train = _trained_on(rows, parts, crossed)
    models = train_all({g: (rows[g], train[g]) for g in rows}, seed, rounds, progress)
    model = _blank(gathered, every_row, parts, crossed | {LINKS}, models)
    calibration = {g: r.take(_at(parts[g], CONFORMAL)) for g, r in rows.items() if g not in crossed}
    errors = {g: np.log(r.latency_s / predicted_s(r, model)) for g, r in calibration.items()}
    for g in sorted(crossed):
        progress(f"calibrating {g} by cross-fitting")
        calibration[g] = rows[g].take(train[g])
        errors[g] = _crossed(calibration[g], model, seed, rounds)
    progress("telling hard rows from easy ones")
    hard = {g: learned_difficulty(calibration[g], errors[g], model, seed) for g in sorted(calibration)}
    found = [calibrated(calibration[g], errors[g], None if trees is None else h) for g, (trees, h) in hard.items()]
    model = with_forests(model, {forest_name(g, kin=False): trees for g, (trees, _) in hard.items()})
    every = np.concatenate(list(errors.values()))
    shared = shared_share(every, np.concatenate([calibration[g].group for g in calibration]))
    model = replace(model, intervals=_joined(found), shared_log_error=shared)
    progress("leaving each device out in turn")
    known = _trained_on(rows, parts, set(rows))
    model = transferred(calibration, model, seed, {g: (rows[g], known[g]) for g in calibration})
    progress("training once more, with what calibrated the intervals")
    train = _trained_on(rows, parts, set(rows))
    again = {g: (rows[g], train[g]) for g in rows if g not in crossed}
    models |= train_all(again, seed, rounds, progress)
    return _retrained(model, _blank(gathered, every_row, parts, set(every_row), models))


def _trained_on(rows: dict[str, Rows], parts: dict[str, Array], whole: set[str]) -> dict[str, Array]:
    """Return the indices of the rows that train: of groups in `whole` all but those held out."""
    return {g: np.flatnonzero(parts[g] != HELD_OUT if g in whole else parts[g] == TRAIN) for g in rows}


def _retrained(model: LearnedModel, whole: LearnedModel) -> LearnedModel:
    """Return a model with the trees and ranges of `whole`, which learned from the calibration rows too.

    Its intervals stay those of trees that knew a sixth fewer shapes: on measured data they cover a little more so.
    """
    sections = {**model.forest.sections, **whole.forest.sections}
    forest = Forest({name: sections[name] for name in sorted(sections)}, model.forest.tables)
    return replace(model, forest=forest, scope=whole.scope, _boosters={})


def _at(part: Array, code: int) -> Array:
    return np.flatnonzero(part == code)


def _joined(found: Sequence[Intervals]) -> Intervals:
    merged: dict[str, dict[str, object]] = {"cuts": {}, "half": {}, "physics": {}}
    for one in found:
        for name, into in merged.items():
            into.update(getattr(one, name))
    return Intervals(COVERAGE, **merged)  # type: ignore[arg-type]


def _crossed(rows: Rows, model: LearnedModel, seed: int, rounds: int) -> Array:
    """Return log errors of rows, each from models that did not see its shape."""
    fold, found = folds(rows.group, FOLDS, seed), np.empty(len(rows))
    for i in range(FOLDS):
        there, here = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        some = train_all({"": (rows, there)}, seed, rounds)
        whole = {name: some.get(name) or model.forest.trees(name) for name in model.forest.names}
        other = replace(model, forest=packed(whole), _boosters={})
        part = rows.take(here)
        found[here] = np.log(part.latency_s / predicted_s(part, other))
    return found


def _blank(
    gathered: Gathered, rows: dict[str, Rows], parts: dict[str, Array], whole: set[str], models: dict[str, FlatTrees]
) -> LearnedModel:  # fmt: skip
    """Return a model without intervals; `whole` as in `_trained_on`."""
    train = _trained_on(rows, parts, whole)
    kernels: set[tuple[str, str, str, str]] = set()
    stacks: dict[str, int] = {}
    words = gathered.words
    trees = [g for g in rows if g != LINKS]
    spans = {name: span for g in trees for name, span in ranges(rows[g], train[g], g).items()}
    for g, r in rows.items():
        columns = np.stack([r.op, r.dtype, r.device, r.software], axis=1)[train[g]].astype(np.int64)
        for (op, dtype, device, stack), count in zip(*np.unique(columns, axis=0, return_counts=True), strict=True):
            kernels.add((OPS[op], FORMAT_NAMES[dtype], words.devices[device], words.softwares[stack]))
            stacks[words.softwares[stack]] = stacks.get(words.softwares[stack], 0) + int(count)
    devices = tuple(sorted({kernel[2] for kernel in kernels}))
    fabrics = {d: f for d, f in sorted(gathered.fabrics.items()) if d in devices}
    softwares = tuple(sorted(stacks, key=lambda s: (-stacks[s], s)))
    digests = {name: compile_rates(load_device(name)).digest() for name in devices}
    scope = Scope(devices, softwares, tuple(sorted(kernels)), spans, fabrics)
    forest: Forest = packed(models)
    return LearnedModel(forest, scope, Intervals(COVERAGE, {}, {}, {}), Transfer(), 1.0, digests)


def _families(rows: dict[str, Rows]) -> tuple[dict[str, Rows], dict[str, str]]:
    """Return the rows of families with enough shapes, and why the others are left out."""
    left_out: dict[str, str] = {}
    kept: dict[str, Rows] = {}
    for group, some in rows.items():
        family, keep = some.family, np.ones(len(some), dtype=bool)
        for name in sorted(set(family.tolist())):
            mine = family == name
            shapes = len(np.unique(some.group[mine]))
            if shapes < FEWEST_GROUPS:
                keys = ", ".join(SHAPE_KEYS[name.rsplit("/", 1)[1]])
                left_out[name] = f"{shapes} different ({keys}); at least {FEWEST_GROUPS} are needed"
                keep &= ~mine
        if keep.any():
            kept[group] = some.take(np.flatnonzero(keep))
    if not kept:
        name, reason = next(iter(left_out.items()))
        raise BadValueError(f"Nothing can be held out: {name} has {reason}. Measure more shapes.")
    return kept, left_out


def _below_floor(rows: Rows) -> dict[str, float]:
    family, below = rows.family, rows.latency_s < rows.floor_s
    return {name: float(np.mean(below[family == name])) for name in sorted(set(family.tolist()))}


def _group_counts(rows: Rows, part: Array, names: dict[str, int]) -> dict[str, dict[str, int]]:
    family = rows.family
    return {
        name: {word: len(np.unique(rows.group[(family == name) & (part == code)])) for word, code in names.items()}
        for name in sorted(set(family.tolist()))
    }


def _held_out(rows: dict[str, Rows], parts: dict[str, Array]) -> dict[str, list[str]]:
    """Return the shape groups that nothing was learned from (`group_hash` in hexadecimal), by group of operators."""
    return {g: [f"{int(key):016x}" for key in np.unique(r.group[parts[g] == HELD_OUT])] for g, r in rows.items()}


def _versions() -> dict[str, str]:
    import xgboost

    return {"xgboost": xgboost.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}"}  # fmt: skip


assert set(SHAPE_KEYS) == set(OPS)
