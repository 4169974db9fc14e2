"""A calibrated model of mean board power: the physics of `power_physics` times a bounded learned factor.

`power_fit.fit_power` learns from measured devices; `PowerModel.adapt` carries the model to another with some 20 rows;
`PowerModel.predict` answers in watts with an interval, never above the device's limit and never below its idle power.
Energy is power times latency.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.physics import Stages
from costmodel.power_net import PowerNet
from costmodel.power_physics import (
    COEFFICIENTS,
    FAMILIES,
    PRIOR_SPREAD,
    SIGNALS,
    WIDTHS,
    Activity,
    KindPhysics,
    activity,
    family_of,
    fit_coefficients,
    share_of_limit,
    signals_of,
    widths,
)
from costmodel.power_shots import Shots, fit_shots, place_of
from costmodel.rates import Rates
from foundation.errors import BadFileError, BadValueError
from workloads.elementwise import Value, larger, lesser
from workloads.table import OP_CODES, OPS, Array, OpTable
from workloads.work import OpWork

SCHEMA = 3
COVERAGE = 0.9
LARGEST_RESIDUAL = 0.9
"""Log of the factor that the network may put on the physics."""
ABROAD = 0.7
"""How much of the network's factor is believed on a device that it was not trained on (0.4 to 1: within 0.5 points)."""
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
MAX_TEXT = 500_000
MAX_DEVICES = 500

Ends = tuple[Array, Array, Array]
"""(value, lo, hi), each of shape (rows,)."""
Names = Array | str | None
"""The software of each row, of all rows, or none that is known."""


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

    @property
    def share(self) -> Array:
        """Power over the limit."""
        return np.asarray(self.power_w / self.rates.limit_w)

    @property
    def frameworks(self) -> Array:
        return frameworks_of(self.software, self.table.rows)


def framework_of(software: str) -> str:
    """Return the framework of a software stack: `vllm 0.22.0` is one of vllm, whose kernels change little."""
    return software.split(" ")[0].lower()


def frameworks_of(software: Names, rows: int) -> Array:
    """Return the framework of each row; '' where it is not known."""
    names, back = np.unique(np.asarray("" if software is None else software, dtype=str), return_inverse=True)
    return np.asarray(np.broadcast_to(np.array([framework_of(name) for name in names])[back.ravel()], (rows,)))


@dataclass(frozen=True)
class Kind:
    """What answers rows of one family, width and framework on a device."""

    physics: KindPhysics
    category: Array
    trust: float


@dataclass(frozen=True)
class PowerModel:
    """Power of operators on the devices in `coefficients`, and by `base` on any other.

    `stacks` are the 'device/framework' pairs that the network was trained on, `seen` the (family, width) codes.
    `spreads` maps a kind of interval to the quantiles of log(measured / predicted), shape (bins, 2); `kinds` says
    which kind a device has. `digests` are those of the devices as their rows were priced, `ops` the codes of the
    operators that were measured.
    """

    coefficients: Mapping[str, Array]
    kinds: Mapping[str, str]
    base: Array
    net: PowerNet
    stacks: tuple[str, ...]
    seen: frozenset[tuple[int, int]]
    spreads: Mapping[str, Array]
    digests: Mapping[str, str] = field(default_factory=dict)
    ops: frozenset[int] = frozenset()
    shots: Mapping[str, Shots] = field(default_factory=dict)

    @cached_property
    def _found(self) -> dict[tuple[str, int, int, str], Kind]:
        return {}

    @cached_property
    def _quantiles(self) -> dict[str, list[list[float]]]:
        return {kind: quantiles.tolist() for kind, quantiles in self.spreads.items()}

    @cached_property
    def _widths(self) -> dict[str, Array]:
        return {}

    def knows(self, rates: Rates, op: int) -> bool:
        """Say whether power of this operator rests on measurements of this very device (no what-if of it)."""
        return op in self.ops and self.digests.get(rates.device) == rates.digest()

    def kind_of(self, rates: Rates) -> str:
        """Return what the interval of a device rests on: one of `KINDS`."""
        return self.kinds.get(rates.device, "uncalibrated")

    def predict(self, table: OpTable, rates: Rates, latency_s: Array, software: Names = None) -> Ends:
        """Return mean board power in watts and its 90 % interval (lo, hi), each of shape (rows,).

        Args:
            latency_s: seconds each row takes, measured or predicted.

        Raises:
            BadValueError: latencies that do not fit the rows.
        """
        latency = np.asarray(latency_s, dtype=np.float64)
        share = self.share(activity(table, rates, latency), rates, frameworks_of(software, table.rows))
        power, low, high = self._bounds(share, rates, latency)
        return np.asarray(power), np.asarray(low), np.asarray(high)

    def energy(self, table: OpTable, rates: Rates, latency_s: Ends, software: Names = None) -> Ends:
        """Return energy in joules and its interval (lo, hi) from a predicted latency with its own (value, lo, hi).

        Power is taken at the predicted latency: a latency that is too long makes the power too low, so that most of
        the error cancels where work decides the energy. The two log errors are taken as independent.
        """
        value, lo_s, hi_s = (np.asarray(end, dtype=np.float64) for end in latency_s)
        share = self.share(activity(table, rates, value), rates, frameworks_of(software, table.rows))
        found = _energy(self._bounds(share, rates, value), value, lo_s, hi_s, rates)
        return np.asarray(found[0]), np.asarray(found[1]), np.asarray(found[2])

    def energy_of_kind(
        self, table: OpTable, work: OpWork, parts: Stages, rates: Rates, times: tuple[Value, Value, Value], op: int,
        software: str,
    ) -> tuple[Value, Value, Value]:  # fmt: skip
        """Return the same for rows of one operator, format and phase that are already priced; scalars for one row."""
        value = times[0]
        signals = signals_of(table, work, parts, rates, value)
        codes = self._widths.get(rates.device)
        if codes is None:
            codes = self._widths[rates.device] = widths(rates)
        width, family = int(codes[_first(table["dtype"])]), int(family_of(op, _first(table["phase"])))
        framework = framework_of(software)
        if isinstance(value, np.ndarray):
            share = self._share(signals, rates.device, family, width, framework)
            return _energy(self._bounds(share, rates, value), *times, rates)
        if rates.device in self.shots:
            one = float(self._share(signals, rates.device, family, width, framework)[0])
        else:
            one = self._share_of_one(signals, self._kind(rates.device, family, width, framework))
        return self._energy_of_one(one, rates, *(float(time) for time in times))

    def _share_of_one(self, signals: Array, kind: Kind) -> float:
        """Return what `_share` returns of one row: the same arithmetic with fewer arrays."""
        log_share = signals[-1, 0] = math.log(kind.physics.share_of_one(signals[:, 0]))
        if kind.trust:
            learned = float(self.net.answer(signals, kind.category)[0])
            log_share += kind.trust * min(max(learned, -LARGEST_RESIDUAL), LARGEST_RESIDUAL)
        return math.exp(min(log_share, 0.0))

    def _energy_of_one(
        self, share: float, rates: Rates, value_s: float, lo_s: float, hi_s: float
    ) -> tuple[Value, Value, Value]:
        """Return what `_energy` returns of one row."""
        idle, limit = min(rates.idle_w[1], rates.limit_w), rates.limit_w
        down, up = self._quantiles[self.kind_of(rates)][bins_of(value_s, share)]
        watts = min(max(share * limit, idle), limit)
        low, high = max(watts * math.exp(down), idle), min(watts * math.exp(up), limit)
        least, most = min(lo_s, value_s), max(hi_s, value_s)
        energy = watts * value_s
        lo = energy * math.exp(-math.hypot(math.log(watts / low), math.log(value_s / least)))
        hi = energy * math.exp(math.hypot(math.log(high / watts), math.log(most / value_s)))
        lo, hi = min(max(lo, idle * least), energy), max(min(hi, limit * most), energy)
        return np.float64(energy), np.float64(lo), np.float64(hi)

    def share(self, active: Activity, rates: Rates, frameworks: Array) -> Array:
        """Return power as a share of the limit, shape (rows,)."""
        codes = active.family * len(WIDTHS) + active.width
        found = np.empty(len(codes))
        for name in np.unique(frameworks):
            for code in np.unique(codes[frameworks == name]):
                at = np.flatnonzero((codes == code) & (frameworks == name))
                family, width = divmod(int(code), len(WIDTHS))
                found[at] = self._share(active.signals[:, at], rates.device, family, width, str(name))
        return found

    def _share(self, signals: Array, device: str, family: int, width: int, framework: str) -> Array:
        """Return the share of the limit of rows of one kind."""
        log_share = self.unshot(signals, device, family, width, framework)
        shots = self.shots.get(device)
        if shots is not None:
            place = place_of(self.net.standard(signals), log_share)
            log_share = log_share + shots.error(family, framework, place)
        return np.asarray(np.minimum(np.exp(log_share), 1.0))

    def unshot(self, signals: Array, device: str, family: int, width: int, framework: str) -> Array:
        """Return the log share of rows of one kind without what few rows of the device say; fills the last signal."""
        kind = self._kind(device, family, width, framework)
        log_physics = signals[-1] = np.log(kind.physics.share(signals))
        if not kind.trust:
            return log_physics
        learned = self.net.answer(signals, kind.category).astype(np.float64)
        learned = np.minimum(np.maximum(learned, -LARGEST_RESIDUAL), LARGEST_RESIDUAL)
        return np.asarray(np.minimum(log_physics + kind.trust * learned, 0.0))

    def _kind(self, device: str, family: int, width: int, framework: str) -> Kind:
        key = (device, family, width, framework)
        found = self._found.get(key)
        if found is None:
            own = [name for name in self.stacks if name.split("/")[0] == device]
            like = [name for name in own or self.stacks if name.split("/")[1] == framework]
            at = [len(FAMILIES) + len(WIDTHS) + self.stacks.index(name) for name in like or own or self.stacks]
            vectors = self.net.category
            category = self.net.bias[:, 0] + vectors[:, family] + vectors[:, len(FAMILIES) + width]
            category = (category + vectors[:, at].mean(axis=1))[:, None].astype(np.float32)
            trust = 0.0 if (family, width) not in self.seen else 1.0 if own else ABROAD
            found = self._found[key] = Kind(
                KindPhysics.of(self.coefficients.get(device, self.base), family, width), category, trust
            )
        return found

    def _bounds(self, share: Value, rates: Rates, latency_s: Value) -> tuple[Value, Value, Value]:
        """Return power in watts with its interval."""
        idle, limit = np.float64(min(rates.idle_w[1], rates.limit_w)), np.float64(rates.limit_w)
        quantiles = self.spreads[self.kind_of(rates)][bins_of(latency_s, share)]
        power = lesser(larger(share * limit, idle), limit)
        factor = np.exp(quantiles)
        return power, larger(power * factor[..., 0], idle), lesser(power * factor[..., 1], limit)

    def adapt(self, sample: PowerSample) -> PowerModel:
        """Return the model with what the sample's rows say of its device, from as few as 3 rows.

        Raises:
            BadValueError: fewer rows, or rows that cannot be used.
        """
        check_sample(sample, FEWEST_SHOTS)
        device, share = sample.rates.device, sample.share
        model = replace(self, coefficients={**self.coefficients, device: self._adapted(sample)})
        place, log_share = model.places(sample)
        active, frameworks = _active(sample), sample.frameworks
        own = fit_shots(active.family, frameworks, place, np.log(share) - log_share)
        spreads, kind = dict(self.spreads), "pseudo_target"
        if kind not in spreads:
            kind, half = "few_shot", self._from_shots(sample)
            other = spreads.get(kind, half)  # of a device met before: the wider serves both
            spreads[kind] = np.stack([np.minimum(half[:, 0], other[:, 0]), np.maximum(half[:, 1], other[:, 1])], axis=1)
        return replace(
            model, kinds={**self.kinds, device: kind}, shots={**self.shots, device: own}, spreads=spreads,
            digests={**self.digests, device: sample.rates.digest()},
        )  # fmt: skip

    def _adapted(self, sample: PowerSample) -> Array:
        """Return coefficients fitted to a few rows under what the network says of them."""
        active, every = _active(sample), np.ones(len(sample.power_w))
        _, log_share = replace(self, coefficients={}).places(sample)
        learned = np.exp(log_share) / share_of_limit(self.base, active.use, active.family)
        return fit_coefficients(
            active.use, active.family, sample.share / learned, every, self.base, np.array(PRIOR_SPREAD), SHOT_TAIL
        )

    def places(self, sample: PowerSample) -> tuple[Array, Array]:
        """Return (place, log share without what few rows say) of measured rows."""
        active, frameworks = _active(sample), sample.frameworks
        signals, log_share = active.signals, np.empty(len(frameworks))
        keys = np.char.add((active.family * len(WIDTHS) + active.width).astype(str), np.char.add(" ", frameworks))
        for key in np.unique(keys):
            at = np.flatnonzero(keys == key)
            family, width = divmod(int(key.split(" ")[0]), len(WIDTHS))
            part = signals[:, at]
            log_share[at] = self.unshot(part, sample.rates.device, family, width, str(frameworks[at[0]]))
            signals[-1, at] = part[-1]
        return place_of(self.net.standard(signals), log_share), log_share

    def _from_shots(self, sample: PowerSample) -> Array:
        """Return quantiles for a few-shot device where only one device was there to learn from.

        Each row is predicted from the others; the errors' quantiles widen those of the known device where they are
        larger. Bins of latency and level that none of the rows fell in are wider by `AWAY`.
        """
        count = len(sample.power_w)
        # with the quantiles of any kind in place, adapting asks for no others
        bare = replace(self, spreads={"pseudo_target": np.zeros((BINS, 2))})
        answers = np.empty(count)
        for i in range(count):
            model = bare.adapt(sample.take(np.flatnonzero(np.arange(count) != i))) if count > FEWEST_SHOTS else self
            one = sample.take(np.array([i]))
            answers[i] = model.share(_active(one), sample.rates, one.frameworks)[0]
        errors = np.sort(np.abs(np.log(sample.share / answers)))
        reach = float(errors[min(count, math.ceil((count + 1) * COVERAGE)) - 1])
        hit = np.isin(np.arange(BINS), bins_of(sample.latency_s, answers))
        half = np.where(hit, reach, np.hypot(reach, AWAY))
        known = self.spreads["conformal"]
        return np.stack([np.minimum(known[:, 0], -half), np.maximum(known[:, 1], half)], axis=1)

    def to_json(self) -> str:
        """Return the model as JSON text below `MAX_TEXT` characters."""
        plain = {
            "schema": SCHEMA, "coefficient_names": list(COEFFICIENTS), "inputs": list(SIGNALS),
            "coefficients": {name: list(map(float, c)) for name, c in sorted(self.coefficients.items())},
            "kinds": dict(sorted(self.kinds.items())), "digests": dict(sorted(self.digests.items())),
            "ops": [OPS[code] for code in sorted(self.ops)], "base": list(map(float, self.base)),
            "stacks": list(self.stacks), "seen": sorted(list(pair) for pair in self.seen),
            "spreads": {kind: np.asarray(q).tolist() for kind, q in sorted(self.spreads.items())},
            "net": self.net.to_plain(),
            "shots": {name: shots.to_plain() for name, shots in sorted(self.shots.items())},
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


def _active(sample: PowerSample) -> Activity:
    return activity(sample.table, sample.rates, sample.latency_s)


def _first(codes: Value) -> int:
    return int(codes[0]) if isinstance(codes, np.ndarray) else int(codes)


def _energy(
    power: tuple[Value, Value, Value], value_s: Value, lo_s: Value, hi_s: Value, rates: Rates
) -> tuple[Value, Value, Value]:
    """Return energy in joules with its interval: the log errors of power and latency in quadrature, within bounds."""
    watts, low, high = power
    least, most = lesser(lo_s, value_s), larger(hi_s, value_s)
    down = np.hypot(np.log(watts / low), np.log(value_s / least))
    up = np.hypot(np.log(high / watts), np.log(most / value_s))
    energy = watts * value_s
    idle = np.float64(min(rates.idle_w[1], rates.limit_w))
    lo = lesser(larger(energy * np.exp(-down), idle * least), energy)
    return energy, lo, larger(lesser(energy * np.exp(up), rates.limit_w * most), energy)


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


def bins_of(latency_s: Value, share: Value) -> Value:
    """Return the bin of each row: how long it takes, then how near the limit it is predicted."""
    time = (latency_s >= TIMES_S[0]) * 1 + (latency_s >= TIMES_S[1])
    level = (share >= LEVELS[0]) * 1 + (share >= LEVELS[1])
    return time * (len(LEVELS) + 1) + level


def _refused(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity are not JSON


def _read(plain: Mapping[str, Any]) -> PowerModel:
    """Return the model of plain data. Raises ValueError, KeyError, TypeError where it is not one."""
    if plain["schema"] != SCHEMA or tuple(plain["inputs"]) != SIGNALS:
        raise ValueError("version")
    if tuple(plain["coefficient_names"]) != COEFFICIENTS or len(plain["coefficients"]) > MAX_DEVICES:
        raise ValueError("coefficients")
    coefficients = {str(name): _positive(values) for name, values in plain["coefficients"].items()}
    shots = {str(name): Shots.from_plain(one) for name, one in plain["shots"].items()}
    kinds = {str(name): str(kind) for name, kind in plain["kinds"].items()}
    spreads = {str(kind): _finite(values, (BINS, 2)) for kind, values in plain["spreads"].items()}
    digests = {str(name): str(digest) for name, digest in plain["digests"].items()}
    if not set(shots) <= set(kinds) == set(digests) == set(coefficients):
        raise ValueError("devices")
    if not {"uncalibrated", *kinds.values()} <= set(spreads) <= set(KINDS):
        raise ValueError("kinds")
    if any((q[:, 0] > 0).any() or (q[:, 1] < 0).any() or np.abs(q).max() > 50 for q in spreads.values()):
        raise ValueError("spreads")
    stacks = tuple(str(name) for name in plain["stacks"])
    if not stacks or len(stacks) > MAX_DEVICES or any(name.count("/") != 1 for name in stacks):
        raise ValueError("stacks")
    net = PowerNet.from_plain(plain["net"], len(SIGNALS), len(FAMILIES) + len(WIDTHS) + len(stacks))
    seen = frozenset((int(family), int(width)) for family, width in plain["seen"])
    ops = frozenset(OP_CODES[name] for name in plain["ops"])
    return PowerModel(
        coefficients, kinds, _positive(plain["base"]), net, stacks, seen, spreads, digests, ops, shots
    )  # fmt: skip


def _finite(values: Any, shape: tuple[int, ...]) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError("numbers")
    return array


def _positive(values: Any) -> Array:
    array = _finite(values, (len(COEFFICIENTS),))
    if (array <= 0).any() or (array > 1e6).any():
        raise ValueError("coefficients")
    return array
