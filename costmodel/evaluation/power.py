"""Op power and energy of a GPU from another one's measurements and twenty rows of its own.

Rows: operators with measured board power. A fifth of the shape groups is scored, the others train; the scored groups
are unseen on both GPUs. Constants of the power model were set on half of the groups (an even CRC-32 of the group):
only the other half is ever scored. Power is answered with measured latency; energy with the latency of a model that is
calibrated on the training groups of both. Baseline: a constant power, the mean of the rows that were given.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.calibration import fitted
from costmodel.calibration.rows import gather, group_hash
from costmodel.evaluation.scores import Score, score
from costmodel.power import Ends, PowerModel, PowerSample
from costmodel.power_fit import choose_shots, fit_power
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import Array, OpTable

DEVICES = ("h200-sxm", "b200")
GIVEN_ROWS = 20
LATENCY_ROUNDS = 150
SCORED_SHARE = 0.4
"""Of the groups that may be scored, which are half of all."""


@dataclass(frozen=True)
class Powered:
    """Rows of one device, and which groups may be scored."""

    sample: PowerSample
    scorable: Array

    def take(self, mask: Array) -> Powered:
        where = np.flatnonzero(mask)
        return Powered(self.sample.take(where), self.scorable[where])


def powered(tables: Sequence[MeasurementTable], most: int = 0) -> list[MeasurementTable]:
    """Return the rows with measured power; of more than `most` in a table, a random part (0 = all)."""
    found = []
    for table in tables:
        where = np.flatnonzero(np.isfinite(table.value("power_w")) & np.isfinite(table.value("latency_s")))
        if most and len(where) > most:
            where = np.sort(np.random.default_rng(0).permutation(where)[:most])
        if len(where):
            found.append(table.take(where))
    return found


def rows_of(device: str, tables: Sequence[MeasurementTable]) -> Powered:
    """Return the rows of one device out of all tables."""
    mine = [table.take(np.flatnonzero(table.device == device)) for table in tables]
    mine = [table for table in mine if table.rows]
    names = sorted({name for table in mine for name in table.table.columns if name != "label"})
    columns = {name: np.concatenate([_column(table.table, name) for table in mine]) for name in names}
    table = OpTable(sum(t.rows for t in mine), columns)
    group = np.concatenate([group_hash(t.table) for t in mine])
    latency, power = (np.concatenate([t.value(name) for t in mine]) for name in ("latency_s", "power_w"))
    odd = {int(g): zlib.crc32(int(g).to_bytes(8, "little")) % 2 == 1 for g in np.unique(group)}
    software = np.concatenate([t.software.astype(str) for t in mine])
    sample = PowerSample(table, compile_rates(load_device(device)), latency, power, group, software)
    return Powered(sample, np.array([odd[int(g)] for g in group]))


def _column(table: OpTable, name: str) -> Array:
    return table.full("dtype" if name == "kv_dtype" and name not in table.columns else name)


def evaluate_power(tables: Sequence[MeasurementTable], seeds: Sequence[int]) -> list[Score]:
    """Return scores of power and of energy for each device and seed, the other one being known."""
    rows = {device: rows_of(device, tables) for device in DEVICES}
    return [one for seed in seeds for one in _one_seed(rows, tables, seed)]


def _one_seed(rows: dict[str, Powered], tables: Sequence[MeasurementTable], seed: int) -> list[Score]:
    groups = np.unique(np.concatenate([r.sample.group[r.scorable] for r in rows.values()]))
    order = np.random.default_rng(seed).permutation(len(groups))
    scored = groups[order[: max(1, round(SCORED_SHARE * len(groups)))]]
    out = {d: np.isin(r.sample.group, scored) for d, r in rows.items()}
    train, test = ({d: r.take(out[d] == held) for d, r in rows.items()} for held in (False, True))
    kept = [t.take(np.flatnonzero(~np.isin(group_hash(t.table), scored))) for t in tables]
    timed = fitted(gather([t for t in kept if t.rows], seed), seed, LATENCY_ROUNDS)[0]
    scores = []
    for known, other in (DEVICES, DEVICES[::-1]):
        model = fit_power([train[known].sample], seed=seed)
        given = train[other].sample.take(choose_shots(train[other].sample, GIVEN_ROWS, model))
        constant_w = float(given.power_w.mean())
        scores += _scored(model.adapt(given), test[other], timed, constant_w, f"from {known}", seed)
    return scores


def _scored(
    model: PowerModel, rows: Powered, timed: LearnedModel, constant_w: float, split: str, seed: int
) -> list[Score]:
    s, device = rows.sample, rows.sample.rates.device
    value, lo, hi = model.predict(s.table, s.rates, s.latency_s, s.software)
    times = predicted_latency(timed, s)
    energy, low, high = model.energy(s.table, s.rates, times, s.software)
    even = np.full(len(s.power_w), constant_w)
    return [
        score(("power", device, f"{split}, {GIVEN_ROWS} rows, power with measured latency", "power", seed), s.power_w,
              value, ends=(lo, hi), baseline=("constant power", even)),
        score(("power", device, f"{split}, {GIVEN_ROWS} rows, energy with predicted latency", "power", seed),
              s.power_w * s.latency_s, energy, ends=(low, high), baseline=("constant power", constant_w * times[0])),
    ]  # fmt: skip


def predicted_latency(model: LearnedModel, sample: PowerSample) -> Ends:
    """Return (value, lo, hi) of the learned latency in seconds."""
    software = np.broadcast_to(np.asarray(sample.software, dtype=str), (sample.table.rows,))
    value, lo, hi = np.empty((3, sample.table.rows))
    for stack in np.unique(software):
        where = np.flatnonzero(software == stack)
        costs = model.predict(sample.table.take(where), sample.rates, software=str(stack))
        value[where], lo[where], hi[where] = costs.latency_s, costs.latency_lo_s, costs.latency_hi_s
    return value, lo, hi
