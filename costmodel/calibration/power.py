"""Measured board power in calibration: which rows carry it, a model of it, and its scores on shapes never seen.

A shape that trains, calibrates intervals or is held out for latency does the same here, so that energy from predicted
latency is scored on shapes that neither model saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from costmodel.artefact import PowerScore
from costmodel.calibration.rows import Rows, group_hash
from costmodel.calibration.split import CONFORMAL, HELD_OUT, TRAIN
from costmodel.physics import CHUNK
from costmodel.power import BINS, FEWEST_SHOTS, PowerModel, PowerSample, check_sample
from costmodel.power_fit import FEWEST_ROWS, fit_power
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array, OpTable

POWER_ROWS = 60_000
"""Rows of one device that power is learned from; of more, a random part."""
FEWEST_HELD_OUT = 5
"""Shape groups of a device that calibrate the interval: with fewer its power is not learned."""


def power_of(table: MeasurementTable) -> Array:
    """Return mean power in watts, shape (rows,): as measured, or energy over latency; NaN where there is neither."""
    power = table.value("power_w")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.isfinite(power), power, table.value("energy_j") / table.value("latency_s")))


def power_samples(measurements: Sequence[MeasurementTable], seed: int) -> dict[str, PowerSample]:
    """Return the rows with power by device, in the order of their names."""
    parts: dict[str, list[PowerSample]] = {}
    for table in measurements:
        if not {"power_w", "energy_j"} & set(table.measured):
            continue
        power, latency = power_of(table), table.value("latency_s")
        good = np.isfinite(power) & (power > 0) & np.isfinite(latency) & (latency > 0)
        good &= table.table.full("op") != OPS.index("collective")  # a link's power says nothing of the board's parts
        for device in sorted(set(table.device[good].tolist())):
            where = np.flatnonzero(good & (table.device == device))
            rates = compile_rates(load_device(str(device)))
            ops = table.table.take(where)
            sample = PowerSample(
                ops, rates, latency[where], power[where], group_hash(ops), table.software[where].astype(str)
            )
            parts.setdefault(rates.device, []).append(sample)
    return {device: _thinned(_joined(parts[device]), seed) for device in sorted(parts)}


def _joined(parts: Sequence[PowerSample]) -> PowerSample:
    """Return the rows of all parts as one sample."""
    names = sorted({name for part in parts for name in part.table.columns})
    columns = {name: np.concatenate([_column(part.table, name) for part in parts]) for name in names}
    table = OpTable(sum(part.table.rows for part in parts), columns)
    latency, power, group = (np.concatenate([getattr(p, n) for p in parts]) for n in ("latency_s", "power_w", "group"))
    software = np.concatenate([np.asarray(part.software) for part in parts])
    return PowerSample(table, parts[0].rates, latency, power, group, software)


def _column(table: OpTable, name: str) -> Array:
    return table.full("dtype" if name == "kv_dtype" and name not in table.columns else name)


def _thinned(sample: PowerSample, seed: int) -> PowerSample:
    """Return the rows that the closed form can price, and of many a random part."""
    from costmodel.physics import predict_physics

    usable = np.flatnonzero(np.isfinite(predict_physics(sample.table, sample.rates).latency_s))
    if len(usable) > POWER_ROWS:
        usable = np.sort(np.random.default_rng(seed).permutation(usable)[:POWER_ROWS])
    return sample if len(usable) == sample.table.rows else sample.take(usable)


def with_power(
    model: LearnedModel, measurements: Sequence[MeasurementTable], rows: Mapping[str, Rows], parts: Mapping[str, Array],
    seed: int, progress: Callable[[str], None] = lambda _: None,
) -> tuple[LearnedModel, dict[str, PowerScore], dict[str, str]]:  # fmt: skip
    """Return the model with one of power where rows carry it, its held-out scores, and why devices are left out.

    Args:
        rows, parts: those of latency; a row of power is in the part of its shape.

    Raises:
        BadValueError: powers that are not in watts of one device.
    """
    part_of = {int(g): int(p) for name, r in rows.items() for g, p in zip(r.group, parts[name], strict=True)}
    left_out: dict[str, str] = {}
    kept: list[tuple[PowerSample, Array]] = []
    for device, sample in power_samples(measurements, seed).items():
        check_sample(sample, 1)
        part = np.array([part_of.get(int(g), TRAIN) for g in sample.group], dtype=np.int8)
        groups = len(np.unique(sample.group[part == CONFORMAL]))
        if min((part == TRAIN).sum(), (part == CONFORMAL).sum()) < FEWEST_ROWS or groups < FEWEST_HELD_OUT:
            left_out[f"{device}/power"] = f"{len(part)} rows with power of too few shapes to hold some out"
            continue
        kept.append((sample, part))
    if not kept:
        return model, {}, left_out
    progress("fitting board power")
    seen = [(sample.take(np.flatnonzero(part != HELD_OUT)), part[part != HELD_OUT]) for sample, part in kept]
    power = fit_power([sample for sample, _ in seen], seed=seed, held_out=[part == CONFORMAL for _, part in seen])
    model = replace(model, power=power)
    found: dict[str, PowerScore] = {}
    for sample, part in kept:
        found |= power_scores(sample.take(np.flatnonzero(part == HELD_OUT)), model)
    return model, dict(sorted(found.items())), left_out


def adapted_power(
    model: LearnedModel, measurements: Sequence[MeasurementTable], seed: int
) -> tuple[PowerModel | None, dict[str, PowerScore]]:
    """Return the model of power with the devices of the rows added, and what each row says with the others given."""
    power = model.power
    if power is None:
        return None, {}
    found: dict[str, PowerScore] = {}
    for device, sample in power_samples(measurements, seed).items():
        if device in power.coefficients or len(sample.power_w) < FEWEST_SHOTS + 1:
            continue
        if len(sample.power_w) > MOST_SHOTS:
            chosen = np.random.default_rng(seed).permutation(len(sample.power_w))[:MOST_SHOTS]
            sample = sample.take(np.sort(chosen))
        adapted = power.adapt(sample)
        ends = np.array([_one_out(power, adapted, sample, i) for i in range(len(sample.power_w))])
        found |= _scores(sample, (ends[:, 0], ends[:, 1], ends[:, 2]), None)
        power = adapted
    return power, found


MOST_SHOTS = 100
"""Rows that a new device's power is adapted to; of more, a random part."""


def _one_out(power: PowerModel, adapted: PowerModel, sample: PowerSample, i: int) -> tuple[float, float, float]:
    """Return power of row i with its interval, as the other rows tell it; the interval is the adapted model's."""
    rest = sample.take(np.flatnonzero(np.arange(len(sample.power_w)) != i))
    # with the quantiles of any kind in place, adapting asks for no others
    bare = replace(power, spreads={"pseudo_target": np.zeros((BINS, 2))})
    model = replace(bare.adapt(rest), spreads=adapted.spreads, kinds=adapted.kinds)
    one = sample.take(np.array([i]))
    value, lo, hi = model.predict(one.table, one.rates, one.latency_s, one.software)
    return float(value[0]), float(lo[0]), float(hi[0])


def power_scores(sample: PowerSample, model: LearnedModel) -> dict[str, PowerScore]:
    """Return the scores of rows by 'device/op': power with measured latency, energy with predicted latency."""
    power = model.power
    if power is None or not len(sample.power_w):
        return {}
    ends = power.predict(sample.table, sample.rates, sample.latency_s, sample.software)
    return _scores(sample, ends, model)


def _scores(sample: PowerSample, ends: tuple[Array, Array, Array], model: LearnedModel | None) -> dict[str, PowerScore]:
    energy = closed = None
    if model is not None:
        energy, closed = predicted_energy(model, sample), predicted_energy(replace(model, power=None), sample)
    found = {}
    ops = sample.table.full("op")
    for code in np.unique(ops):
        at = np.flatnonzero(ops == code)
        truth = sample.power_w[at]
        joule = truth * sample.latency_s[at]
        power = _figures(tuple(end[at] for end in ends), truth)
        of_energy = [np.nan] * 5 if energy is None else _figures(tuple(end[at] for end in energy), joule)
        plain = np.nan if closed is None else float(np.abs(closed[0][at] / joule - 1).mean())
        constant = float(np.abs(sample.power_w.mean() / truth - 1).mean())
        figures: list[float] = [*power, *of_energy, plain, constant]
        found[f"{sample.rates.device}/{OPS[int(code)]}"] = PowerScore(len(at), *figures)
    return found


def _figures(ends: tuple[Array, ...], truth: Array) -> list[float]:
    """Return MAPE, median, 90th percentile, coverage and the median ratio of the interval's ends."""
    value, lo, hi = ends
    error = np.abs(value / truth - 1)
    inside = (truth >= lo) & (truth <= hi)
    figures = (error.mean(), np.median(error), np.quantile(error, 0.9), inside.mean(), np.median(hi / lo))
    return [float(figure) for figure in figures]


def predicted_energy(model: LearnedModel, sample: PowerSample) -> tuple[Array, Array, Array]:
    """Return (value, lo, hi) of energy in joules as the model predicts it in each row's stack."""
    value, lo, hi = np.empty((3, len(sample.power_w)))
    stacks = np.asarray(sample.software)
    for stack in np.unique(stacks):
        where = np.flatnonzero(stacks == stack)
        for start in range(0, len(where), CHUNK):
            some = where[start : start + CHUNK]
            costs = model.predict(sample.table.take(some), sample.rates, software=str(stack))
            value[some], lo[some], hi[some] = costs.energy_j, costs.energy_lo_j, costs.energy_hi_j
    return value, lo, hi
