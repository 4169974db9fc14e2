"""What a run says in readable columns, SI units: rates, losses by cause, shares of time, waits, occupancy, sojourns.

All of it is of the window after the warm-up. Where a line cannot be averaged (`stability.py`) its means are NaN, and
None in JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.errors import UnknownNameError
from simulator.intervals import Uncertain, batches, half_width
from simulator.queues.elements import CAUSES, Network
from simulator.queues.record import HISTOGRAM_BINS, RunRecord
from simulator.queues.stability import Shape, deadlocked, names_where, shape_of, standing_since_s, unstable

Floats = npt.NDArray[np.float64]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
MOST_CORRELATION = 0.5
"""Lag-1 correlation of ten batch means beyond which they are not independent (1.6 / sqrt(10), one-sided 5 %)."""
FEWEST_BEYOND = 10
"""Observations that a batch needs beyond a quantile, for the quantile to have an interval."""


@dataclass(frozen=True)
class ElementStatistics:
    """One element in the window. A number that is not known, or must not be averaged, is NaN."""

    name: str
    kind: str
    arrived_hz: float
    left_hz: float
    lost_hz: float
    loss_share: float
    """Lost over arrived, all causes; `loss_shares` has them by cause."""
    loss_shares: dict[str, float]
    utilisation: float
    """Busy time over servers x window."""
    blocked_share: float
    down_share: float
    mean_wait_s: float
    """Over all items that started service."""
    wait_share: float
    """Share of the items that waited."""
    mean_waiting: float
    mean_present: float
    mean_sojourn_s: float
    """Over what left: from entering to leaving this element."""
    waiting_p50: float
    waiting_p99: float
    waiting_p999: float
    """Waiting items that are exceeded at most this share of the time; infinite beyond 4,095."""
    most_waiting: int
    """In the whole run, warm-up included."""
    mean_waiting_bytes: float
    in_bytes_per_s: float
    out_bytes_per_s: float
    lost_bytes_per_s: float
    unstable: bool
    present_at_end: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields; None stands for what is not known."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "name"}


@dataclass(frozen=True)
class Sojourns:
    """Times from birth to an exit, or waits at a station, of the window: the mean and quantiles with intervals.

    Intervals are 95 % t intervals of ten batch means in a row; they are missing where there are too few observations,
    or the batches depend on each other (`lag_1` above 0.5: run longer, or replicate).
    """

    count: int
    mean_s: Uncertain
    quantiles_s: dict[float, Uncertain]
    most_s: float
    lag_1: float
    unstable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the numbers; None stands for what is not known."""
        return {
            "count": self.count,
            "mean_s": self.mean_s.to_json(),
            **{f"p{f'{100 * q:g}'.replace('.', '')}_s": x.to_json() for q, x in self.quantiles_s.items()},
            "most_s": _plain(self.most_s),
            "lag_1": _plain(self.lag_1),
            "interval": "95 %, ten batch means",
            "unstable": self.unstable,
        }


@dataclass(frozen=True)
class NetworkRun:
    """One run of a network: its record and what to read from it."""

    record: RunRecord
    shape: Shape
    seed: int
    replication: int
    warm_up_rule: str
    """`given`, or how it was found."""
    columns: dict[str, Floats] = field(repr=False)
    """An entry an element: the numeric fields of `ElementStatistics`."""
    loss_shares: Floats = field(repr=False)
    """Elements x causes."""
    unstable: tuple[str, ...]
    """Elements with a line that the window cannot average."""
    deadlock: tuple[str, ...]
    """Elements that hold each other up for good: their means are NaN too."""
    deadlock_since_s: float = math.nan
    """Since when nothing moved there, to a sample; NaN without a deadlock."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.record.names

    @property
    def horizon_s(self) -> float:
        return self.record.end.tick / self.record.ticks_per_second

    @property
    def warm_up_s(self) -> float:
        return self.record.warm.tick / self.record.ticks_per_second

    @property
    def trace_hash(self) -> str:
        return self.record.trace_hash

    def at(self, name: str) -> int:
        """Return the index of an element. Raises UnknownNameError."""
        if name not in self.names:
            raise UnknownNameError("element", name, self.names)
        return self.record.at(name)

    def element(self, name: str) -> ElementStatistics:
        """Return the numbers of one element. Raises UnknownNameError."""
        return self._row(self.at(name))

    @cached_property
    def elements(self) -> tuple[ElementStatistics, ...]:
        """The numbers of all elements, in the order of the network."""
        return tuple(self._row(index) for index in range(len(self.names)))

    def _row(self, index: int) -> ElementStatistics:
        found: dict[str, Any] = {name: float(column[index]) for name, column in self.columns.items()}
        name = self.names[index]
        lost = dict(zip(CAUSES, self.loss_shares[index].tolist(), strict=True))
        found.update(most_waiting=int(found["most_waiting"]), present_at_end=int(found["present_at_end"]))
        return ElementStatistics(
            name, self.shape.kinds[index], loss_shares=lost, unstable=name in self.unstable or name in self.deadlock,
            **found
        )  # fmt: skip

    def sojourn_s(self, exit_name: str) -> Floats:
        """Return birth-to-exit times in the window, in the order of their ends. Raises UnknownNameError."""
        if exit_name not in self.record.sojourns:
            raise UnknownNameError("exit", exit_name, self.record.sojourns)
        first = int(self.record.warm.exits[self.at(exit_name)])
        return np.asarray(self.record.sojourns[exit_name][first:], dtype=float) / self.record.ticks_per_second

    def wait_s(self, station: str) -> Floats:
        """Return the waits in the window of a station that was observed, in the order of their starts.

        Raises:
            UnknownNameError: it was not asked for (`observe`).
        """
        if station not in self.record.waits:
            raise UnknownNameError("observed station", station, self.record.waits, "Name it in `observe`.")
        first = int(self.record.warm.sums["started"][self.at(station)])
        return np.asarray(self.record.waits[station][first:], dtype=float) / self.record.ticks_per_second

    def sojourns(self, exit_name: str) -> Sojourns:
        """Return the mean and quantiles of the times to an exit; no mean where a line is unstable, or in a deadlock."""
        return summary(self.sojourn_s(exit_name), unstable=bool(self.unstable or self.deadlock))

    def waits(self, station: str) -> Sojourns:
        """Return the mean and quantiles of the waits at an observed station."""
        return summary(self.wait_s(station), unstable=station in self.unstable or station in self.deadlock)

    def series(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Return (times in s, waiting, busy servers) at the samples of the whole run. Raises UnknownNameError."""
        index = self.at(name)
        times = np.asarray(self.record.sampled_at, dtype=float) / self.record.ticks_per_second
        waiting, busy = (x[index].astype(float) for x in (self.record.sampled_waiting, self.record.sampled_busy))
        return times, waiting, busy

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """Return everything by name, with units in the names; `series` adds the samples."""
        exits = {name: self.sojourns(name).to_json() for name in self.record.sojourns}
        found: dict[str, Any] = {
            "engine": self.record.engine,
            "seed": self.seed,
            "replication": self.replication,
            "horizon_s": self.horizon_s,
            "warm_up_s": self.warm_up_s,
            "warm_up_rule": self.warm_up_rule,
            "ticks_per_second": self.record.ticks_per_second,
            "events": self.record.events,
            "trace_hash": self.trace_hash,
            "failure": self.record.failure,
            "unstable": list(self.unstable),
            "deadlock": list(self.deadlock),
            "deadlock_since_s": _plain(self.deadlock_since_s),
            "elements": {row.name: row.to_json() for row in self.elements},
            "exits": exits,
            "waits": {name: self.waits(name).to_json() for name in self.record.waits},
        }
        if series:
            times = (np.asarray(self.record.sampled_at, dtype=float) / self.record.ticks_per_second).tolist()
            rows = {name: [x.astype(int).tolist() for x in self.series(name)[1:]] for name in self.names}
            found["series"] = {
                "time_s": times, "waiting": {name: x[0] for name, x in rows.items()},
                "busy": {name: x[1] for name, x in rows.items()},
            }  # fmt: skip
        return found


def network_run(
    network: Network, record: RunRecord, *, seed: int, replication: int, warm_up_rule: str = "given"
) -> NetworkRun:  # fmt: skip
    """Return the readable form of a record."""
    shape = shape_of(network)
    held = deadlocked(record, shape)
    grows = unstable(record, shape)
    flags = grows | np.isin(record.names, held)
    columns, shares = _columns(record, shape)
    for name in ("mean_wait_s", "mean_waiting", "mean_present", "mean_sojourn_s", "mean_waiting_bytes"):
        columns[name] = np.where(flags, np.nan, columns[name])
    return NetworkRun(
        record, shape, seed, replication, warm_up_rule, columns, shares, names_where(record, grows),
        held, standing_since_s(record, shape, held),
    )  # fmt: skip


def _columns(record: RunRecord, shape: Shape) -> tuple[dict[str, Floats], Floats]:
    window, tps = record.window, float(record.ticks_per_second)
    sums = {name: values.astype(float) for name, values in window.sums.items()}
    length_s, ticks = window.tick / tps, float(window.tick)
    lost = window.lost.astype(float)
    server_ticks = np.array(shape.servers, dtype=float) * ticks
    has_line = np.array(
        [bool(count) or kind in ("gate", "custom") for count, kind in zip(shape.servers, shape.kinds, strict=True)]
    )
    p50, p99, p999 = _waiting_quantiles(record, (0.5, 0.99, 0.999))
    columns = {
        "arrived_hz": sums["arrived"] / length_s,
        "left_hz": sums["left"] / length_s,
        "lost_hz": lost.sum(axis=1) / length_s,
        "loss_share": _over(lost.sum(axis=1), sums["arrived"]),
        "utilisation": _over(sums["busy_ticks"], server_ticks),
        "blocked_share": _over(sums["blocked_ticks"], server_ticks),
        "down_share": _over(sums["down_ticks"], server_ticks),
        "mean_wait_s": _over(sums["wait_ticks"], sums["started"]) / tps,
        "wait_share": _over(sums["waited"], sums["started"]),
        "mean_waiting": sums["area_waiting"] / ticks,
        "mean_present": sums["area_present"] / ticks,
        "mean_sojourn_s": _over(sums["sojourn_ticks"], sums["left"]) / tps,
        "waiting_p50": np.where(has_line, p50, np.nan),
        "waiting_p99": np.where(has_line, p99, np.nan),
        "waiting_p999": np.where(has_line, p999, np.nan),
        "most_waiting": record.most_waiting.astype(float),
        "mean_waiting_bytes": window.area_bytes / ticks,
        "in_bytes_per_s": sums["bytes_in"] / length_s,
        "out_bytes_per_s": sums["bytes_out"] / length_s,
        "lost_bytes_per_s": sums["bytes_lost"] / length_s,
        "present_at_end": record.present.astype(float),
    }
    return columns, _over(lost, sums["arrived"][:, None])


def _waiting_quantiles(record: RunRecord, shares: tuple[float, ...]) -> list[Floats]:
    """Return the least n of which at most 1 - share of the time has more than n waiting, for each share."""
    histogram = record.window.histogram
    total = histogram.sum(axis=1)
    cumulative = np.cumsum(histogram, axis=1)
    found = []
    for share in shares:
        # In whole ticks: the least n with cumulative >= share x total.
        need = np.ceil(share * total.astype(float) * (1 - 1e-12)).astype(np.int64)
        at = (cumulative < need[:, None]).sum(axis=1).astype(float)
        at = np.where(at >= HISTOGRAM_BINS - 1, np.inf, at)
        found.append(np.where(total > 0, at, np.nan))
    return found


def summary(values_s: Floats, *, unstable: bool = False) -> Sojourns:
    """Return the mean and quantiles of times in a row, with intervals from batch means."""
    if not len(values_s):
        return Sojourns(
            0, Uncertain(math.nan), {q: Uncertain(math.nan) for q in QUANTILES}, math.nan, math.nan, unstable
        )
    parts = batches(len(values_s))
    means = np.array([values_s[part].mean() for part in parts]) if parts else np.array([])
    lag_1 = _lag_1(means)
    known = parts is not None and lag_1 <= MOST_CORRELATION and not unstable
    mean = float(values_s.mean())
    wide = half_width(means) if known else math.nan
    found = {}
    for share, value in zip(QUANTILES, np.quantile(values_s, QUANTILES, method="inverted_cdf").tolist(), strict=True):
        half = math.nan
        if known and parts is not None and (parts[0].stop - parts[0].start) * (1 - share) >= FEWEST_BEYOND:
            half = half_width([float(np.quantile(values_s[part], share, method="inverted_cdf")) for part in parts])
        found[share] = _around(value, half)
    shown = Uncertain(math.nan) if unstable else _around(mean, wide)
    return Sojourns(len(values_s), shown, found, float(values_s.max()), lag_1, unstable)


def _around(value: float, half: float) -> Uncertain:
    return Uncertain(value, max(value - half, 0.0), value + half) if math.isfinite(half) else Uncertain(value)


def _lag_1(means: Floats) -> float:
    """Return the lag-1 autocorrelation of batch means, NaN for none, 0 where they are all equal."""
    if not len(means):
        return math.nan
    off = means - means.mean()
    return float((off[1:] * off[:-1]).sum() / (off**2).sum()) if off.any() else 0.0


def _over(above: Floats, below: Floats) -> Floats:
    """Return above / below, NaN where below is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(below > 0, above / below, np.nan)
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
