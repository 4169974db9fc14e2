"""Few-shot calibration: an artefact of known devices, and 10 to 50 rows of a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from costmodel.adaptation import (
    KinTable,
    Mix,
    Seen,
    best_shrinkage,
    designs,
    filled,
    fit_shots,
    left_out,
    mixed,
    prior_of,
    seen_of,
)
from costmodel.artefact import Card, Score, load_artefact, load_card, save_artefact
from costmodel.calibration.intervals import thirds, widths_of_next
from costmodel.calibration.power import adapted_power
from costmodel.calibration.rows import Rows, gather
from costmodel.calibration.transfer import TABLE, factors_of
from costmodel.calibration.units import check_units
from costmodel.features import GROUP_OF
from costmodel.forms import SHARED, shared_name
from costmodel.kin import NEAR_KIN, kin_place
from costmodel.knowledge import Adapted
from costmodel.rates import Rates, compile_rates
from costmodel.residual import LearnedModel
from foundation.errors import BadValueError
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OP_CODES, OPS, Array

FEWEST_SHOTS, MOST_SHOTS = 3, 200
"""Rows of one operator that are needed, and that are used (of more, a random part): with more, calibrate anew."""


def adapt(
    measurements: Sequence[MeasurementTable], base: str | Path, out: str | Path, *, seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Card:  # fmt: skip
    """Write an artefact that knows what `base` knows, and a new device by a few of its rows; returns its card.

    Its scores of the new device are those of each row with the others given.

    Raises:
        BadFileError: `base` is no artefact, or `out` holds something else.
        BadValueError: no usable rows, or rows of a device that the base was calibrated on.
    """
    model, card = load_artefact(base), load_card(base)
    progress("pricing the measured rows by the closed form")
    gathered = gather(measurements, seed)
    if not gathered.rows:
        raise BadValueError("None of the rows has a latency_s that can be priced; there is nothing to adapt to.")
    check_units(gathered.rows)
    known = sorted(set(gathered.words.devices) & set(card.scope.devices))
    if known:
        raise BadValueError(
            f"The base artefact was calibrated on {known[0]} itself; few rows adapt it to other devices. "
            "Calibrate from all measurements at once."
        )
    adapted, scores = dict(card.transfer.adapted), dict(card.scores)
    for rows in gathered.rows.values():
        for name in sorted(set(rows.family.tolist())):
            some = rows.take(np.flatnonzero(rows.family == name))
            if len(some) > MOST_SHOTS:
                some = some.take(np.sort(np.random.default_rng(seed).permutation(len(some))[:MOST_SHOTS]))
            found = _family(some, model, compile_rates(load_device(name.split("/")[0])))
            if found is not None:
                adapted[name], scores[name] = found
    if len(adapted) == len(card.transfer.adapted):
        raise BadValueError(
            f"The base artefact can adapt {', '.join(sorted(card.transfer.reach)) or 'nothing'}; the table has fewer "
            f"than {FEWEST_SHOTS} rows of these."
        )
    digest = hashlib.sha256(f"{card.data_sha256} {gathered.digest}".encode()).hexdigest()
    settings = {**card.settings, "adapted_from": card.data_sha256, "adapted_seed": seed}
    power, power_scores = adapted_power(model, measurements, seed)
    card = replace(
        card, transfer=replace(card.transfer, adapted=adapted), scores=dict(sorted(scores.items())),
        data_sha256=digest, settings=settings, power_scores=dict(sorted({**card.power_scores, **power_scores}.items())),
    )  # fmt: skip
    return save_artefact(out, model.forest.to_bytes(), card, None if power is None else power.to_json().encode())


def _family(rows: Rows, model: LearnedModel, rates: Rates) -> tuple[Adapted, Score] | None:
    """Return what the rows of one (device, operator) say, and the score of each with the others given."""
    op = OPS[int(rows.op[0])]
    matrix = model.forest.tables.get(TABLE + op)
    if len(rows) < FEWEST_SHOTS or matrix is None or op not in model.transfer.reach:
        return None
    kinship, group = model.transfer.kinship, GROUP_OF[OP_CODES[op]]
    place, reach = kin_place(rates), model.transfer.reach[op]
    table = KinTable.of(model.scope.devices, matrix)
    factor = factors_of(rows, model, op)
    near = min(float(np.linalg.norm(np.subtract(ratios, place))) for ratios in kinship.values()) <= NEAR_KIN
    mix = Mix(reach, 1.0) if near else Mix(reach, model.transfer.share[op], *model.transfer.shared.get(op, (0.0, 0.0)))
    apart = table.of_near(kinship) if near else table.apart(kinship)
    known = apart if len(left_out(apart, kinship, mix, 0, 1.0, 1.0)[0]) else table
    weights = prior_of(table, kinship, rates.device, place, reach)
    factor, prior = mixed(filled(factor, weights), shared_factors(rows, model, op), weights, mix)
    seen, error, shots = seen_of(rows.matrix, group, factor), rows.log_error, min(len(rows), 50)
    stiffness, looseness, lean = best_shrinkage(known, kinship, mix, shots)
    told = fit_shots(seen, error, prior, stiffness, looseness)
    told = replace(told, offset=told.offset + lean)
    errors, sizes, targets = left_out(known, kinship, mix, shots, stiffness, looseness)
    nan, cuts = float("nan"), model.intervals.cuts[f"/{op}"]
    half = (nan, nan, nan)
    if len(errors):
        cuts, half = widths_of_next(errors - lean, sizes, designs(known.devices, kinship)[targets])
    sources = (*table.devices, *SHARED)
    # without models of all devices their factor was 0, as the closed form's: leaving their weights out is the same
    known_by = set(table.devices) | (set(SHARED) if shared_name("form", op) in model.forest.tables else set())
    weights_told = {
        d: float(w) for d, w in zip(sources, told.weights[:-1], strict=True) if abs(w) > 1e-3 and d in known_by
    }
    kernels = {int(code): offset for code, offset in told.kernels.items()}
    adapted = Adapted(weights_told, told.offset, tuple(map(float, told.regimes)), kernels, cuts, half, len(rows))
    one_out = lean + np.array([_without(i, seen, error, prior, stiffness, looseness) for i in range(len(rows))])
    return adapted, _score(rows, one_out, np.array(half)[thirds(np.log(rows.physics_s), cuts)])


def shared_factors(rows: Rows, model: LearnedModel, op: str) -> Array:
    """Return what the models of all devices say of rows, shape (rows, 2); NaN without them."""
    if shared_name("form", op) not in model.forest.tables:
        return np.full((len(rows), len(SHARED)), np.nan)
    features = np.ascontiguousarray(rows.matrix)
    return np.column_stack([model.log_factor(shared_name(name, op), features) for name in SHARED])


def _without(i: int, seen: Seen, error: Array, prior: Array, stiffness: float, looseness: float) -> float:
    """Return the log factor of row i as the other rows tell it."""
    rest = np.flatnonzero(np.arange(len(error)) != i)
    told = fit_shots(seen.take(rest), error[rest], prior, stiffness, looseness)
    return float(told.answer(seen.take(np.array([i])))[0])


def _score(rows: Rows, log_factor: Array, half: Array) -> Score:
    latency = np.maximum(rows.physics_s * np.exp(log_factor), rows.floor_s)
    truth = rows.latency_s
    error, physics = np.abs(latency / truth - 1), np.abs(rows.physics_s / truth - 1)
    covered = (truth >= rows.lo_s) & (truth <= rows.hi_s)
    return Score(
        rows=len(rows), mape=float(error.mean()), median=float(np.median(error)), p90=float(np.quantile(error, 0.9)),
        coverage=float((np.abs(np.log(truth / latency)) <= half).mean()), width=float(np.median(np.exp(2 * half))),
        learned_share=1.0, roofline_mape=float(np.abs(rows.roofline_s / truth - 1).mean()),
        physics_mape=float(physics.mean()), physics_median=float(np.median(physics)),
        physics_coverage=float(covered.mean()),
    )  # fmt: skip
