"""A calibrated model of mean board power: the physics of `power_physics` times a bounded learned residual.

`power_fit.fit_power` learns from measured devices; `PowerModel.adapt` carries the model to another with some 20 rows;
`PowerModel.predict` answers in watts with an interval, never above the device's limit and never below its idle power.
Energy is power times latency. Outside what was trained the residual fades and the physics alone answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.power_physics import (
    COEFFICIENTS,
    FAMILIES,
    FEATURES,
    MONOTONE,
    PRIOR_SPREAD,
    RANGED,
    WIDTHS,
    Activity,
    activity,
    fit_coefficients,
    share_of_limit,
)
from costmodel.power_trees import trees_from_plain, trees_to_plain
from costmodel.rates import Rates
from costmodel.trees import FlatTrees
from foundation.errors import BadFileError, BadValueError
from workloads.table import OP_CODES, OPS, Array, OpTable

SCHEMA = 2
COVERAGE = 0.9
LARGEST_RESIDUAL = 0.8
"""Log of the factor that the residual may put on the physics."""
FEWEST_SHOTS = 3
SHOT_TAIL = 0.3
"""Log error at which a row of a few-shot device counts half: they are few, and chosen among the long ones."""
AWAY = 0.25
"""Log error of a few-shot device where none of its rows were measured (estimated, 0.1 to 0.4)."""
TIMES_S: tuple[float, ...] = (1e-4, 1e-3)
LEVELS: tuple[float, ...] = (0.45, 0.8)
BINS = (len(TIMES_S) + 1) * (len(LEVELS) + 1)
KINDS: tuple[str, ...] = ("conformal", "pseudo_target", "few_shot", "uncalibrated")
"""What an interval rests on: held-out groups of the device; other devices left out in turn and met again by a few rows;
the few rows themselves, each predicted from the others; nothing but a multiple of the known devices' errors."""
MAX_TEXT = 300_000
MAX_DEVICES = 500
CHUNK = 1024
"""Rows that the trees answer at a time: what they touch stays in cache (twice as fast as 4,096)."""


Ends = tuple[Array, Array, Array]
"""(value, lo, hi), each of shape (rows,)."""


@dataclass(frozen=True)
class PowerSample:
    """Measured rows of one device: mean power in watts over `latency_s` seconds each, all of shape (rows,).

    `group` says which rows share a shape (any integers); held-out rows never share a group with trained ones.
    `software` is the stack of each row; None = not known.
    """

    table: OpTable
    rates: Rates
    latency_s: Array
    power_w: Array
    group: Array
    software: Array | None = None

    def take(self, index: Array) -> PowerSample:
        return PowerSample(
            self.table.take(index), self.rates, self.latency_s[index], self.power_w[index], self.group[index],
            None if self.software is None else self.software[index],
        )  # fmt: skip


@dataclass(frozen=True)
class PowerModel:
    """Power of operators on the devices in `coefficients`, and by `base` on any other.

    `spreads` maps a kind of interval to the quantiles of log(measured / predicted), shape (bins, 2); `kinds` says
    which kind a device has. `seen` are trained (family, width) codes; `lowest` and `highest` their features' range.
    `digests` are those of the devices as their rows were priced, `ops` the codes of the operators that were measured.
    """

    coefficients: Mapping[str, Array]
    kinds: Mapping[str, str]
    base: Array
    trees: FlatTrees | None
    seen: frozenset[tuple[int, int]]
    lowest: Array
    highest: Array
    spreads: Mapping[str, Array]
    digests: Mapping[str, str] = field(default_factory=dict)
    ops: frozenset[int] = frozenset()

    def knows(self, rates: Rates, op: int) -> bool:
        """Say whether power of this operator rests on measurements of this very device (no what-if of it)."""
        return op in self.ops and self.digests.get(rates.device) == rates.digest()

    def predict(
        self, table: OpTable, rates: Rates, latency_s: Array, software: Array | str | None = None
    ) -> Ends:  # fmt: skip
        """Return mean board power in watts and its 90 % interval (lo, hi), each of shape (rows,).

        Args:
            latency_s: seconds each row takes, measured or predicted.

        Raises:
            BadValueError: latencies that do not fit the rows.
        """
        latency = np.asarray(latency_s, dtype=np.float64)
        share = self.share(activity(table, rates, latency), rates)
        quantiles = self.spreads[self.kind_of(rates)][bins_of(latency, share)]
        power = np.clip(share * rates.limit_w, min(rates.idle_w[1], rates.limit_w), rates.limit_w)
        lo = np.clip(power * np.exp(quantiles[:, 0]), min(rates.idle_w[1], rates.limit_w), power)
        hi = np.clip(power * np.exp(quantiles[:, 1]), power, rates.limit_w)
        return power, lo, hi

    def energy(
        self, table: OpTable, rates: Rates, latency_s: Ends, software: Array | str | None = None
    ) -> Ends:  # fmt: skip
        """Return energy in joules and its interval (lo, hi) from a predicted latency with its own (value, lo, hi).

        Power is taken at the predicted latency: a latency that is too long makes the power too low, so that most of
        the error cancels where work decides the energy. The two log errors are taken as independent.
        """
        value, lo_s, hi_s = (np.asarray(end, dtype=np.float64) for end in latency_s)
        power, low, high = self.predict(table, rates, value)
        down = np.hypot(np.log(power / low), np.log(value / np.minimum(lo_s, value)))
        up = np.hypot(np.log(high / power), np.log(np.maximum(hi_s, value) / value))
        idle = min(rates.idle_w[1], rates.limit_w)
        energy = power * value
        lo = np.minimum(np.maximum(energy * np.exp(-down), idle * np.minimum(lo_s, value)), energy)
        hi = np.minimum(energy * np.exp(up), rates.limit_w * np.maximum(hi_s, value))
        return energy, lo, hi

    def kind_of(self, rates: Rates) -> str:
        """Return what the interval of a device rests on: one of `KINDS`."""
        return self.kinds.get(rates.device, "uncalibrated")

    def share(self, active: Activity, rates: Rates) -> Array:
        """Return power as a share of the limit, physics and residual together, shape (rows,)."""
        return self._share(active, self.coefficients.get(rates.device, self.base))

    def _share(self, active: Activity, coefficients: Array) -> Array:
        physics = share_of_limit(coefficients, active.use, active.family)
        return np.asarray(np.minimum(physics * np.exp(self._residual(active, physics)), 1.0))

    def _residual(self, active: Activity, physics: Array) -> Array:
        """Return the log factor on the physics: bounded, and faded to 0 within one range outside the trained one."""
        if self.trees is None:
            return np.zeros(len(physics))
        features = with_share(active, physics)
        parts = [self.trees.predict(features[i : i + CHUNK]) for i in range(0, len(features), CHUNK)]
        raw = np.clip(np.concatenate(parts).astype(np.float64), -LARGEST_RESIDUAL, LARGEST_RESIDUAL)
        ranged = features[:, :RANGED].astype(np.float64)
        outside = np.maximum(self.lowest - ranged, ranged - self.highest) / np.maximum(self.highest - self.lowest, 1e-6)
        # uses and the physics' share are bounded, and flat beyond their range: fading there would break monotony
        outside[:, :MONOTONE] = 0.0
        fade = np.clip(1.0 - outside.max(axis=1), 0.0, 1.0)
        width = features[:, FEATURES.index("width")].astype(int)
        known = np.array([(f, w) in self.seen for f in range(len(FAMILIES)) for w in range(len(WIDTHS))])
        return np.asarray(raw * fade * known[active.family * len(WIDTHS) + width])

    def adapt(self, sample: PowerSample) -> PowerModel:
        """Return the model with coefficients of its own for the sample's device, from as few as 3 rows.

        The coefficients lean on those of the devices already known (as shares of limit, peak and bandwidth).

        Raises:
            BadValueError: fewer rows, or rows that cannot be used.
        """
        check_sample(sample, FEWEST_SHOTS)
        active = activity(sample.table, sample.rates, sample.latency_s)
        share = sample.power_w / sample.rates.limit_w
        coefficients = self.adapted(active, share)
        device = sample.rates.device
        spreads, kind = dict(self.spreads), "pseudo_target"
        if kind not in spreads:
            kind, own = "few_shot", self._from_shots(active, share, sample.latency_s)
            other = spreads.get(kind, own)  # of a device met before: the wider serves both
            spreads[kind] = np.stack([np.minimum(own[:, 0], other[:, 0]), np.maximum(own[:, 1], other[:, 1])], axis=1)
        return replace(
            self, coefficients={**self.coefficients, device: coefficients}, kinds={**self.kinds, device: kind},
            spreads=spreads, digests={**self.digests, device: sample.rates.digest()},
        )  # fmt: skip

    def adapted(self, active: Activity, share: Array) -> Array:
        """Return coefficients fitted to a few rows: once for the physics, once more under the residual."""
        spread, trust = np.array(PRIOR_SPREAD), np.ones(len(share))
        coefficients = self.base
        for _ in range(2):
            left = np.exp(self._residual(active, share_of_limit(coefficients, active.use, active.family)))
            coefficients = fit_coefficients(
                active.use, active.family, share / left, trust, self.base, spread, SHOT_TAIL
            )
        return coefficients

    def _from_shots(self, active: Activity, share: Array, latency_s: Array) -> Array:
        """Return quantiles for a few-shot device where only one device was there to learn from.

        Each row is predicted from the others; the errors' quantiles widen those of the known device where they are
        larger (rows chosen for spread are harder than rows at random, so this errs on the wide side). Bins of latency
        and level that none of the rows fell in are wider by `AWAY`.
        """
        every = np.arange(len(share))
        errors, answers = np.empty((2, len(share)))
        for i in every:
            others = every != i
            coefficients = self.adapted(_take(active, others), share[others])
            answers[i] = self._share(_take(active, ~others), coefficients)[0]
            errors[i] = np.log(share[i] / answers[i])
        reach = float(np.sort(np.abs(errors))[min(len(errors), math.ceil((len(errors) + 1) * COVERAGE)) - 1])
        hit = np.isin(np.arange(BINS), bins_of(latency_s, answers))
        half = np.where(hit, reach, np.hypot(reach, AWAY))
        known = self.spreads["conformal"]
        return np.stack([np.minimum(known[:, 0], -half), np.maximum(known[:, 1], half)], axis=1)

    def to_json(self) -> str:
        """Return the model as JSON text below `MAX_TEXT` characters."""
        plain = {
            "schema": SCHEMA, "coefficient_names": list(COEFFICIENTS), "features": list(FEATURES),
            "coefficients": {name: list(map(float, c)) for name, c in sorted(self.coefficients.items())},
            "kinds": dict(sorted(self.kinds.items())), "digests": dict(sorted(self.digests.items())),
            "ops": [OPS[code] for code in sorted(self.ops)], "base": list(map(float, self.base)),
            "seen": sorted(list(pair) for pair in self.seen),
            "lowest": list(map(float, self.lowest)), "highest": list(map(float, self.highest)),
            "spreads": {kind: np.asarray(q).tolist() for kind, q in sorted(self.spreads.items())},
            "trees": None if self.trees is None else trees_to_plain(self.trees),
        }  # fmt: skip
        return json.dumps(plain, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes, origin: str | Path = "power.json") -> PowerModel:
        """Read what `to_json` wrote.

        Raises:
            BadFileError: something else, of another version, or too large.
        """
        if len(text) > MAX_TEXT:
            raise BadFileError(origin, f"a power model has at most {MAX_TEXT:,} bytes, this file {len(text):,}.")
        try:
            plain = json.loads(text, parse_constant=_refused)
            return _read(plain)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise BadFileError(
                origin, f"this is not a power model of this version ({type(error).__name__}).", hint="Calibrate again."
            ) from None


def with_share(active: Activity, physics: Array) -> Array:
    features = active.features.astype(np.float32)
    features[:, FEATURES.index("log_share_by_physics")] = np.log(physics)
    return np.ascontiguousarray(features)


def _take(active: Activity, mask: Array) -> Activity:
    return Activity(active.use[mask], active.family[mask], active.features[mask])


def check_sample(sample: PowerSample, fewest: int) -> None:
    device, rows = sample.rates.device, sample.table.rows
    if any(np.shape(column) != (rows,) for column in (sample.latency_s, sample.power_w, sample.group)):
        raise BadValueError(f"{device}: latencies, powers and groups must have one value for each of the {rows} rows.")
    if rows < fewest:
        raise BadValueError(f"{device}: {rows} rows with power; at least {fewest} are needed.")
    power = np.asarray(sample.power_w)
    if not (np.isfinite(power).all() and (power > 0).all()):
        raise BadValueError(f"{device}: a measured power is not above 0 W.")
    if np.median(power) > 2.0 * sample.rates.limit_w or np.max(power) < 0.02 * sample.rates.limit_w:
        raise BadValueError(
            f"{device}: the median power is {np.median(power):,.3g}, the limit {sample.rates.limit_w:,.0f} W; "
            "power_w is in watts of one device (check for milliwatts, kilowatts or a whole node)."
        )


def bins_of(latency_s: Array, share: Array) -> Array:
    """Return the bin of each row: how long it takes, then how near the limit it is predicted."""
    return np.asarray(np.digitize(latency_s, TIMES_S) * (len(LEVELS) + 1) + np.digitize(share, LEVELS))


def _refused(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity are not JSON


def _read(plain: Mapping[str, Any]) -> PowerModel:
    """Return the model of plain data. Raises ValueError, KeyError, TypeError where it is not one."""
    if plain["schema"] != SCHEMA or tuple(plain["features"]) != FEATURES:
        raise ValueError("version")
    if tuple(plain["coefficient_names"]) != COEFFICIENTS or len(plain["coefficients"]) > MAX_DEVICES:
        raise ValueError("coefficients")
    coefficients = {str(name): _positive(values) for name, values in plain["coefficients"].items()}
    kinds = {str(name): str(kind) for name, kind in plain["kinds"].items()}
    spreads = {str(kind): _finite(values, (BINS, 2)) for kind, values in plain["spreads"].items()}
    if set(kinds) != set(coefficients) or not {"uncalibrated", *kinds.values()} <= set(spreads) <= set(KINDS):
        raise ValueError("kinds")
    if any((q[:, 0] > 0).any() or (q[:, 1] < 0).any() or np.abs(q).max() > 50 for q in spreads.values()):
        raise ValueError("spreads")
    trees = None if plain["trees"] is None else trees_from_plain(plain["trees"], len(FEATURES))
    seen = frozenset((int(family), int(width)) for family, width in plain["seen"])
    lowest, highest = _finite(plain["lowest"], (RANGED,)), _finite(plain["highest"], (RANGED,))
    digests = {str(name): str(digest) for name, digest in plain["digests"].items()}
    if set(digests) != set(coefficients):
        raise ValueError("digests")
    ops = frozenset(OP_CODES[name] for name in plain["ops"])
    return PowerModel(
        coefficients, kinds, _positive(plain["base"]), trees, seen, lowest, highest, spreads, digests, ops
    )


def _finite(values: Any, shape: tuple[int, ...]) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError("numbers")
    return array


def _positive(values: Any) -> Array:
    array = _finite(values, (len(COEFFICIENTS),))
    if (array <= 0).any() or array[0] >= 1 or array.max() > 100:
        raise ValueError("coefficients")
    return array
