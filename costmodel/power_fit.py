"""Fitting the power model to measured devices, and choosing what to measure on a new one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from costmodel.power import (
    BINS,
    COVERAGE,
    PowerModel,
    PowerSample,
    bins_of,
    check_sample,
)
from costmodel.power_net import EPOCHS, train_net
from costmodel.power_physics import (
    FAMILIES,
    TYPICAL,
    WIDTHS,
    activity,
    fit_coefficients,
    share_of_limit,
)
from costmodel.power_shots import representative
from foundation.errors import BadValueError
from workloads.table import Array

FEWEST_ROWS, FEWEST_IN_BIN = 30, 40
HELD_OUT_SHARE = 0.2
FIT_ROWS = 20_000
"""Rows that coefficients are fitted to; more change the third digit."""
FEWEST_SURE = 20
"""Rows of a family and framework that shots are chosen among; the longest where fewer are of `SURE_S`."""
SURE_S = 1e-3
"""Latency from which a reading of NVML is taken to be of the operator (docs/power.md)."""


def fit_power(
    samples: Sequence[PowerSample], *, seed: int = 0, epochs: int = EPOCHS, shots: int = 20,
    held_out: Sequence[Array] | None = None,
) -> PowerModel:  # fmt: skip
    """Return a model of the devices in `samples` (one sample a device).

    Rows are split by group: four fifths train, one fifth calibrates the interval. With two devices or more, each is
    also left out in turn and met again with `shots` rows: those errors are the interval of a few-shot device.

    Args:
        seed: decides the split and the network's start.
        epochs: how often training goes through all rows.
        held_out: which rows of each sample calibrate the interval (whole groups); None = decided by the seed.

    Raises:
        BadValueError: no rows, too few, or rows that cannot be used.
    """
    if not samples:
        raise BadValueError("There are no rows with power to fit.")
    if len({sample.rates.device for sample in samples}) < len(samples):
        raise BadValueError("Two samples are of one device; join their rows first.")
    for sample in samples:
        check_sample(sample, FEWEST_ROWS)
    if held_out is None:
        parts = [_part(sample, seed) for sample in samples]
    else:
        parts = list(zip(samples, held_out, strict=True))
    model = _fitted([sample.take(np.flatnonzero(~held)) for sample, held in parts], seed, epochs)
    held = [_errors(model, sample.take(np.flatnonzero(out))) for sample, out in parts]
    spreads = {"conformal": _quantiles(held)}
    spreads["uncalibrated"] = 2.0 * spreads["conformal"]  # an unseen device: nothing to calibrate on (estimated)
    if len(samples) > 1:
        spreads["pseudo_target"] = _quantiles(_left_out(samples, seed, epochs, shots))
        spreads["uncalibrated"] = 1.5 * spreads["pseudo_target"]
    return replace(model, spreads=spreads)


def _left_out(samples: Sequence[PowerSample], seed: int, epochs: int, shots: int) -> list[tuple[Array, Array]]:
    errors = []
    for i, target in enumerate(samples):
        sources = [sample for j, sample in enumerate(samples) if j != i]
        model = replace(_fitted(sources, seed, epochs), spreads={"pseudo_target": np.zeros((BINS, 2))})
        chosen = choose_shots(target, shots, model)
        others = np.setdiff1d(np.arange(len(target.power_w)), chosen)[:: max(1, len(target.power_w) // FIT_ROWS)]
        errors.append(_errors(model.adapt(target.take(chosen)), target.take(others)))
    return errors


def choose_shots(sample: PowerSample, count: int, model: PowerModel) -> Array:
    """Return the indices of rows to measure on a new device: such as stand for the others.

    Measured power is not looked at. Rows of `SURE_S` and longer are preferred, since short ones read badly.
    """
    place, _ = model.places(sample)
    family, frameworks = activity(sample.table, sample.rates, sample.latency_s).family, sample.frameworks
    names = np.char.add(family.astype(str), frameworks)
    pools = []
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        sure = rows[sample.latency_s[rows] >= SURE_S]
        longest = rows[np.argsort(-sample.latency_s[rows], kind="stable")[:FEWEST_SURE]]
        pools.append(sure if len(sure) >= FEWEST_SURE else longest)
    return representative(family, frameworks, place, np.sort(np.concatenate(pools)), count)


def _fitted(samples: Sequence[PowerSample], seed: int, epochs: int) -> PowerModel:
    """Return a model without intervals."""
    coefficients, inputs, targets, trusts, families, widths, stacks = {}, [], [], [], [], [], []
    for sample in samples:
        active = activity(sample.table, sample.rates, sample.latency_s)
        share, trust = sample.share, reading_trust(sample.latency_s)
        some = slice(None, None, -(-len(share) // FIT_ROWS))
        own = fit_coefficients(
            active.use[some], active.family[some], share[some], trust[some], np.array(TYPICAL), np.ones(len(TYPICAL))
        )
        physics = share_of_limit(own, active.use, active.family)
        coefficients[sample.rates.device] = own
        active.signals[-1] = np.log(physics)
        inputs.append(active.signals)
        targets.append(np.log(share / physics))
        trusts.append(trust)
        families.append(active.family)
        widths.append(active.width)
        stacks.append(np.char.add(f"{sample.rates.device}/", sample.frameworks))
    family, width, stack = np.concatenate(families), np.concatenate(widths), np.concatenate(stacks)
    names = tuple(sorted(set(stack.tolist())))
    category = np.concatenate([
        family == np.arange(len(FAMILIES))[:, None], width == np.arange(len(WIDTHS))[:, None],
        stack == np.array(names)[:, None],
    ])  # fmt: skip
    return PowerModel(
        coefficients=coefficients, kinds=dict.fromkeys(coefficients, "conformal"),
        base=np.exp(np.mean([np.log(c) for c in coefficients.values()], axis=0)),
        net=train_net(
            np.concatenate(inputs, axis=1), category, np.concatenate(targets), np.concatenate(trusts), seed, epochs
        ),
        stacks=names, seen=frozenset(zip(family.tolist(), width.tolist(), strict=True)), spreads={},
        digests={sample.rates.device: sample.rates.digest() for sample in samples},
        ops=frozenset(int(op) for sample in samples for op in np.unique(sample.table.full("op"))),
    )  # fmt: skip


def reading_trust(latency_s: Array) -> Array:
    """Return how far a power reading of an operator of this latency is to be trusted, 0.1 to 1 (estimated).

    NVML averages over a second, and collectors repeat an operator for a limited number of times: what is read of short
    ones is partly what ran before (docs/power.md).
    """
    return np.asarray(np.clip(np.sqrt(latency_s / SURE_S), 0.1, 1.0))


def _part(sample: PowerSample, seed: int) -> tuple[PowerSample, Array]:
    """Return the sample and which rows are held out, by whole groups (all rows train where there is one group)."""
    groups, inverse = np.unique(sample.group, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    held = np.zeros(len(groups), dtype=bool)
    held[order[: round(HELD_OUT_SHARE * len(groups))]] = True
    if not held.any() or held.all():
        raise BadValueError(
            f"{sample.rates.device}: {len(groups)} shape groups; at least 3 are needed to hold one out."
        )
    return sample, held[inverse.ravel()]


def _errors(model: PowerModel, sample: PowerSample) -> tuple[Array, Array]:
    """Return (bin, log(measured / predicted)) of rows."""
    share = model.share(activity(sample.table, sample.rates, sample.latency_s), sample.rates, sample.frameworks)
    return bins_of(sample.latency_s, share), np.log(sample.power_w / (share * sample.rates.limit_w))


def _quantiles(errors: Sequence[tuple[Array, Array]]) -> Array:
    """Return the conformal ends of the log error in each bin; bins with few rows have those of all rows."""
    bins, error = (np.concatenate([pair[i] for pair in errors]) for i in (0, 1))
    every = _ends(error)
    return np.array([_ends(error[bins == b]) if (bins == b).sum() >= FEWEST_IN_BIN else every for b in range(BINS)])


def _ends(error: Array) -> tuple[float, float]:
    """Return the lower and upper end that 90 % of new errors lie between (split conformal, 5 % a side)."""
    count, tail = len(error), (1.0 - COVERAGE) / 2
    ranked = np.sort(error)
    reach = min(count, math.ceil((count + 1) * (1.0 - tail)))
    return min(float(ranked[count - reach]), 0.0), max(float(ranked[reach - 1]), 0.0)
