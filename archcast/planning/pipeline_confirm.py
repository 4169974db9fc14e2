"""Events confirm a farm: one live part through the station network, where losses are frequent and where they are rare.

Of a share of 1e-6 a simulation sees nothing unless it is long, and its few losses come in bursts. So the same part,
at the same load, is also run with smaller buffers at which the closed form loses 1e-2 to 1e-4. There the ratio of
events to closed form is measured, and the logarithm of the one, linear in that of the other (both tails are geometric
in the buffer), is followed to the limit, with an interval from the jackknife over replications.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from archcast.planning.pipeline_bounds import lower_bound, upper_bound
from archcast.planning.pipeline_farm import Farm, loss_of
from archcast.planning.pipeline_file import Effort, FarmStudy
from archcast.planning.pipeline_loss import Part
from archcast.planning.pipeline_search import first_true
from simulator.intervals import t_975
from simulator.pipelines.steps import service_of
from simulator.queues.arrivals import Arrivals, Renewal, poisson
from simulator.queues.elements import Exit, Network, Service, Source, Station, to
from simulator.queues.laws import Law
from simulator.queues.run import engine_for, run_network

Array = npt.NDArray[np.float64]

LEVELS = (1e-2, 2e-3, 4e-4, 8e-5)
"""Losses in closed form at which events are held against it."""
EVENTS = {"kernel": 16_000_000, "callbacks": 2_400_000}
"""Events of a plan unless the file says otherwise: half a minute on one core (measured: 0.2 and 0.08 million a second
at 256 servers)."""
SHARES = {"levels": 0.25, "best": 0.35, "below": 0.075}
"""Of the events: each round of levels (two), the farm itself, and each of two neighbours."""
WARM_SERVICES, WARM_LINES, MOST_WARM = 12.0, 4.0, 0.5
"""The start that is left out: service times, and relaxation times of the line; at most this share of the events."""
FEWEST_LOSSES = 20
SAMPLES = 400
"""Of what waits over time, for the picture."""
LOAD_STEPS = 200
"""Where no buffer at all loses less than a level, the rate is raised by steps of one over this."""


@dataclass(frozen=True)
class Counted:
    """What events of one part counted: by replication, events that came and those that were lost."""

    farm: Farm
    part: Part
    arrived: tuple[int, ...]
    lost: tuple[int, ...]
    closed_loss: float
    engine: str
    horizon_s: float
    warm_up_s: float
    trace_hash: str
    series: tuple[Array, Array, Array] | None = field(default=None, repr=False)
    """Of the first replication: times (s), events waiting, and busy servers, from the end of the warm-up."""
    dispersion: float = 1.0
    """Variance over mean of the losses of equal stretches: 1 for single ones, about twice the size of bursts."""

    @property
    def events(self) -> int:
        return sum(self.arrived)

    @property
    def losses(self) -> int:
        return sum(self.lost)

    @property
    def loss(self) -> float:
        return self.losses / self.events if self.events else math.nan

    @property
    def upper(self) -> float:
        """Upper 95 % bound of the loss, bursts counted as one."""
        return upper_bound(self.losses / self.dispersion, self.events / self.dispersion)

    @property
    def lower(self) -> float:
        return lower_bound(self.losses / self.dispersion, self.events / self.dispersion)

    @property
    def upper_if_single(self) -> float:
        """The same if losses were independent of one another (Clopper and Pearson; rule of three for none)."""
        return upper_bound(self.losses, self.events)


@dataclass(frozen=True)
class Ratio:
    """Losses of events against the closed form: ln(events) = a + b ln(closed), with the jackknife's fits."""

    levels: tuple[Counted, ...]
    fits: tuple[tuple[float, float], ...] = field(repr=False)
    """(a, b) over all replications, then without each."""

    @property
    def known(self) -> bool:
        return bool(self.fits)

    def loss(self, closed: float, side: int = 0) -> float:
        """Return the loss that events would give where the closed form gives `closed`; side 1, -1: ends of 95 %."""
        if closed <= 0 or not self.fits:
            return closed
        x = math.log(closed)
        at = np.array([a + b * x for a, b in self.fits])
        rest = at[1:]
        error = math.sqrt((len(rest) - 1) / len(rest) * float(((rest - rest.mean()) ** 2).sum()))
        return min(1.0, math.exp(float(at[0]) + side * t_975(len(rest) - 1) * error))

    def upper(self, closed: float) -> float:
        return self.loss(closed, 1)


class Confirmer:
    """Runs farms of one study. Equal replications of all farms see the same random numbers."""

    def __init__(self, study: FarmStudy, seed: int) -> None:
        self.study, self.seed, self.effort = study, seed, study.confirm
        self.events = 0
        self.runs = 0
        self.ratios: list[Ratio] = []

    def engine(self, farm: Farm, part: Part) -> str:
        """Return the engine that runs this part."""
        if self.effort.engine != "auto":
            return self.effort.engine
        return str(engine_for(network_of(farm, part), "auto", 1e7 / part.arrival_hz))

    def budget(self, engine: str) -> int:
        return self.effort.events or EVENTS.get(engine, EVENTS["callbacks"])

    def count(self, farm: Farm, part: Part, share: float, closed: float | None = None) -> Counted:
        """Run a part for a share of the events of the plan."""
        engine = self.engine(farm, part)
        each = max(2_000, int(self.budget(engine) * share / self.effort.replications))
        window_s = each / (part.arrival_hz * farm.site.batch)
        warm_s = warm_up_s(part, window_s)
        horizon_s = self.effort.horizon_s or warm_s + window_s
        warm_s = min(warm_s, MOST_WARM * horizon_s)
        network = network_of(farm, part)
        arrived, lost, first, series = list[int](), list[int](), "", None
        for replication in range(self.effort.replications):
            run = run_network(
                network, horizon_s=horizon_s, warm_up_s=warm_s, samples=0 if replication else SAMPLES, seed=self.seed,
                replication=replication, engine=engine,  # type: ignore[arg-type]
            )  # fmt: skip
            window, at = run.record.window, run.record.at("farm")
            arrived.append(int(window.sums["arrived"][at]))
            lost.append(int(window.lost[at].sum()))
            if not replication:
                first, series = run.trace_hash, run.series("farm")
            self.events += int(run.record.end.sums["arrived"][at])
            self.runs += 1
        found = part.loss() if closed is None else closed
        return Counted(
            farm, part, tuple(arrived), tuple(lost), found, engine, horizon_s, warm_s, first, series,
            dispersion_of(lost),
        )  # fmt: skip

    def ratio(self, farm: Farm) -> Ratio:
        """Hold events against the closed form at the load of a farm, with smaller buffers (or more load)."""
        parts = levels_of(farm, live_part(farm, self.study))
        ranks = range(1, len(parts) + 1)  # the deeper, the rarer, the more events
        found = tuple(
            self.count(farm, part, SHARES["levels"] * k / sum(ranks)) for k, part in zip(ranks, parts, strict=True)
        )
        self.ratios.append(Ratio(found, fits_of(found)))
        return self.ratios[-1]


def measured_at(farm: Farm, ratios: Sequence[Ratio]) -> Ratio | None:
    """Return what events said at the levels of this very farm, None where they were not run or lost too few."""
    return next((ratio for ratio in ratios if ratio.known and ratio.levels[0].farm == farm), None)


@dataclass(frozen=True)
class Seen:
    """A loss as events say it, with the ends of 95 %; `closed` is that of the closed form alone, where that is exact
    the other three too; without events the ends are NaN."""

    value: float
    lo: float
    hi: float
    closed: float
    exact: bool = False


def seen_loss(farm: Farm, study: FarmStudy, ratio: Ratio | None) -> Seen:
    """Return the loss of a farm as events say it, over the numbers down at random; without events the closed form's."""
    closed = loss_of(farm, study)
    if live_part(farm, study).exact:
        return Seen(closed, closed, closed, closed, exact=True)
    if ratio is None or not ratio.known:
        return Seen(closed, math.nan, math.nan, closed)

    def at(side: int) -> float:
        return loss_of(farm, study, adjust=lambda loss: ratio.loss(loss, side))

    return Seen(at(0), at(-1), at(1), closed)


def live_part(farm: Farm, study: FarmStudy) -> Part:
    """Return a part of a farm of which the failing share, and the mean of what breaks at random, are down."""
    down = farm.units_down(study.failing)
    if study.failures is not None:
        left = (farm.parts if farm.parts > 1 else farm.servers) - down
        down += math.ceil(left * study.failures.down_share - 1e-9)
    return farm.part(down)


def network_of(farm: Farm, part: Part) -> Network:
    """Return one part as a station network. Of several parts each takes every n-th of Poisson events."""
    stage, batch = farm.site.stage, farm.site.batch
    service, batches = service_of(stage, farm.site.size_bytes, 1.0, farm.site.times)
    hz = part.arrival_hz * batch
    cv = math.sqrt(part.arrival_cv2 * batch)
    arrivals: Arrivals = poisson(hz) if cv > 1 - 1e-9 else Renewal(Law("gamma", 1 / hz, cv))
    polynomial = Service((part.service_s / batch,), service.spread)
    station = Station(
        "farm",
        polynomial,
        to("done"),
        servers=part.servers,
        places=room_events(farm, part),
        when_full="drop",
        batch=batches,
    )
    ticks = 10**12
    while 1e7 / hz * ticks > 4e13 and ticks > 10**6:
        ticks //= 1000
    return Network((Source("events", arrivals, to("farm")), station, Exit("done")), ticks_per_second=ticks)


def room_events(farm: Farm, part: Part) -> int:
    """Return the waiting places of a part in events; a batch that is being collected takes its own."""
    batch = farm.site.batch
    return part.room if batch == 1 else (part.room + 1) * batch


def levels_of(farm: Farm, part: Part) -> tuple[Part, ...]:
    """Return the part with rooms (where none loses as much: at more load) at which it loses each of `LEVELS`."""
    found = list[Part]()
    for level in LEVELS:
        one = _at_level(part, level)
        if one not in found and one.loss() > 0:
            found.append(one)
    return tuple(found) or (part,)


def _at_level(part: Part, level: float) -> Part:
    def sized(room: int) -> Part:
        return replace(part, room=room)

    def loaded(step: int) -> Part:
        return replace(part, room=0, arrival_hz=part.arrival_hz * (1 + step / LOAD_STEPS))

    if sized(0).loss() >= level:
        room = first_true(part.room + 1, lambda r: sized(r).loss() <= level)
        return part if room is None else sized(room)
    step = first_true(2 * LOAD_STEPS, lambda i: loaded(i).loss() >= level)
    return loaded(step or 0)


def warm_up_s(part: Part, window_s: float) -> float:
    """Return the start to leave out: an empty part fills, and its line comes to rest."""
    spare = max(1e-6, abs(1 - part.load))
    line = 2 * part.spread / (spare**2 * part.arrival_hz)
    filling = part.room / (spare * part.arrival_hz)
    return min(MOST_WARM * window_s, WARM_SERVICES * part.service_s + WARM_LINES * min(line, filling))


def dispersion_of(lost: Sequence[int]) -> float:
    """Return variance over mean of the losses of the replications, at least 1."""
    counts = np.asarray(lost, dtype=float)
    mean = float(counts.mean())
    return max(1.0, float(counts.var(ddof=1)) / mean) if mean > 0 and len(counts) > 1 else 1.0


def fits_of(levels: Sequence[Counted]) -> tuple[tuple[float, float], ...]:
    """Return (a, b) of ln(events) = a + b ln(closed), over all replications and without each; weights are losses."""
    seen = [one for one in levels if one.losses >= FEWEST_LOSSES]
    if not seen:
        return ()
    count = len(seen[0].arrived)
    found = [_fit(seen, None)] + [_fit(seen, i) for i in range(count)]
    return () if any(fit is None for fit in found) else tuple(fit for fit in found if fit is not None)


def _fit(levels: Sequence[Counted], without: int | None) -> tuple[float, float] | None:
    rows = []
    for one in levels:
        lost = one.losses - (0 if without is None else one.lost[without])
        came = one.events - (0 if without is None else one.arrived[without])
        if lost > 0:
            rows.append((math.log(one.closed_loss), math.log(lost / came), min(lost / one.dispersion, 1e3)))
    if not rows:
        return None
    x, y, w = np.array(rows).T
    mean = float((w * x).sum() / w.sum())
    spread = float((w * (x - mean) ** 2).sum())
    slope = float((w * (x - mean) * y).sum() / spread) if len(rows) > 1 and spread > 0 else 1.0
    return float((w * y).sum() / w.sum()) - slope * mean, slope


def with_dispersion(counted: Counted, levels: Sequence[Counted]) -> Counted:
    """Return counts whose bursts are at least those of the deepest level that saw enough losses to tell."""
    seen = [one.dispersion for one in levels if one.losses >= FEWEST_LOSSES]
    return replace(counted, dispersion=max([counted.dispersion, *seen[-1:]]))


__all__ = ["Confirmer", "Counted", "Effort", "Ratio", "live_part", "network_of", "with_dispersion"]
