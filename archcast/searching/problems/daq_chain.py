"""The space `daq-chain`: thresholds, links, farm and buffers of a trigger chain of two levels, and its year.

`closed_form` is `simulator.pipelines.small_chain.estimate`, `events` follows the same numbers of chance for every
design (`seed`). Power is divided by the fit of the published study to technology (`simulator.pipelines.technology`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import knob_of, ranged_details
from archcast.searching.problems.posed import Posed
from archcast.searching.space import Columns, DesignSpace
from hardware_specs.pipelines import load_pipeline
from simulator.pipelines.small_chain import Chains, estimate, simulate
from simulator.pipelines.technology import technology_scaling
from simulator.streams import RandomStreams
from workloads.model import Model, Request
from workloads.table import Array

KNOBS: dict[str, KnobKind] = {
    "first_reduction": KnobKind("real", 1.01, 1e7), "second_reduction": KnobKind("real", 1.01, 1e5),
    "links": KnobKind("whole", 1, 10_000), "link_bits_per_s": KnobKind("real", 1e6, 1e13),
    "nodes": KnobKind("whole", 1, 512), "cores": KnobKind("whole", 1, 8), "places": KnobKind("whole", 0, 100_000),
    "year": KnobKind("whole", 2022, 2032),
}  # fmt: skip
"""`places`: events that wait for a core, of all nodes together. At most 4,096 cores in all."""
DEFAULTS: dict[str, Any] = {
    "first_reduction": 400.0, "second_reduction": 100.0, "links": 16, "link_bits_per_s": 100e9, "nodes": 100,
    "cores": 4, "places": 100, "year": 2024,
}  # fmt: skip
FIXED: dict[str, KnobKind] = {
    "crossing_hz": KnobKind("real", 1.0, 1e9, "Hz"), "event_bytes": KnobKind("real", 1.0, 1e12, "B"),
    "service_s": KnobKind("real", 1e-9, 1e4, "s"), "first_apart": KnobKind("real", 0.0, 20.0),
    "second_apart": KnobKind("real", 0.0, 20.0), "core_w": KnobKind("real", 0.0, 1e4, "W"),
    "link_w": KnobKind("real", 0.0, 1e4, "W"), "node_usd": KnobKind("real", 0.0, 1e7),
    "link_usd": KnobKind("real", 0.0, 1e7), "events": KnobKind("whole", 100, 1_000_000),
    "seed": KnobKind("whole", 0, 2**53),
}  # fmt: skip
FIXED_DEFAULTS: dict[str, Any] = {
    "crossing_hz": 40e6, "event_bytes": 2e6, "service_s": 4e-3, "first_apart": 4.0, "second_apart": 4.0, "core_w": 8.0,
    "link_w": 5.0, "node_usd": 2500.0, "link_usd": 800.0, "events": 5000, "seed": 1,
}  # fmt: skip
"""A made-up experiment of the size of LHCb's or CMS's Run 2 (2 MB, 100 kHz). All estimated: core_w 4 to 15 in 2022,
link_w 2 to 12, node_usd 1,500 to 6,000 of 4 cores, link_usd 300 to 2,000, apart 2 to 6."""
VALUES = {"missed": "", "latency_s": "s", "loss": "", "power_w": "W", "price_usd": "", "energy_j": "J", "out_hz": "Hz"}
"""All to be small: share of signal that is not kept; mean time from crossing to decision of what is kept; share lost
after the first level; power and price of farm and links; joules of an event of the first level; rate to storage."""
SPACE: dict[str, Any] = {
    "first_reduction": [200, 300, 400, 600, 800, 1200], "second_reduction": [20, 50, 100, 200, 500],
    "links": [8, 12, 16, 24, 32], "link_bits_per_s": [25e9, 100e9, 200e9, 400e9],
    "nodes": {"from": 40, "to": 240, "step": 20}, "cores": [2, 4], "places": [0, 10, 50, 200, 1000],
    "year": [2022, 2024, 2026, 2028, 2030],
}  # fmt: skip
WORKLOAD = ""
OBJECTIVES = ("missed", "price_usd", "power_w")
LINKS = "the links carry less than comes"
MOST_CORES = 4096
TOO_MANY = f"more than {MOST_CORES:,} cores"
IDLE = (0.4, 0.2, 0.6)
"""Share of a core's power while nothing runs on it (estimated, with its range)."""
HIDDEN = "the farm is offered more than it bears, and the run is too short to show all that it loses"
SHOWN = 0.9
"""Share of the loss of an endless run that a run of an overloaded farm shows, at least, if nothing is remarked."""
REPLICATIONS, T_95 = 5, 2.132
"""Runs behind an interval of the events, and Student's t of 90 % between both ends (4 degrees of freedom)."""
FULL = (0.9, 1.5)
"""Ends of the middle group of `AGAINST_EVENTS`: cores that work for all that comes, over cores."""
AGAINST_EVENTS = (
    ((1.0, 1.0), (0.97, 1.1), (0.92, 1.1)),  # what these keep follows from `RARE`
    ((0.99, 1.4), (0.41, 1.1), (0.73, 1.0)),
    ((1.0, 3.5), (0.55, 1.1), (0.86, 1.0)),
)  # fmt: skip
"""Of farms less full, as full and fuller: events over the closed form of (share that links and farm keep, latency, busy
cores), from the 5 % to the 95 % quantile: 434 experiments with up to 8 designs each; of 433 others 96, 96 and 94 % lie
within (benchmarks/closed_form_agreement.py). Events begin with empty buffers, the closed form does not."""
RARE = (-3.6, 5.9)
"""Losses of farms less full, which come in bursts: events less the closed form over `DaqChain.chance`, from the 5 % to
the 95 % quantile where at least one is expected, of 454 experiments; of 453 others 92 % lie within (same benchmark)."""


@dataclass(frozen=True)
class DaqChain(Posed):
    """One search. `events`: whether events are followed. Implements `Problem`."""

    events: bool

    @property
    def notes(self) -> tuple[str, ...]:
        run = f"{int(self.fixed['events']):,} events, one by one; buffers that they cannot fill hide losses"
        how = run if self.events else "in closed form"
        return (f"{self.fixed['crossing_hz']:,.12g} crossings a second through two levels, {how}.",)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._links, self._means

    def chains(self, columns: Columns) -> Chains:
        """Return the chains of designs."""
        fixed = self.fixed
        number = {name: np.asarray(column, dtype=float) for name, column in columns.items()}
        return Chains(
            fixed["crossing_hz"], number["first_reduction"], number["second_reduction"], fixed["first_apart"],
            fixed["second_apart"], fixed["event_bytes"], number["links"] * number["link_bits_per_s"] / 8,
            number["nodes"] * number["cores"], number["places"], fixed["service_s"],
        )  # fmt: skip

    @cached_property
    def _scaling(self) -> tuple[Array, Array]:
        """Return the years of the space, and what power is divided by in them: (value, most, least; years)."""
        technology = load_pipeline("cms-run5-pu200").technology
        years = knob_of(self.space, "year").numbers
        factors = [technology_scaling(technology, int(year)).factor for year in years]
        return years, np.array([[one.value, one.hi, one.lo] for one in factors]).T

    def _links(self, columns: Columns) -> Found:
        chains = self.chains(columns)
        return Found({}, {LINKS: chains.first_hz * chains.link_s >= 1, TOO_MANY: chains.servers > MOST_CORES})

    def _means(self, columns: Columns) -> Found:
        return Found(self._values(columns, self.means(columns)))

    def means(self, columns: Columns) -> Array:
        """Return loss after the first level, latency and busy cores of designs, shape (3, designs)."""
        if self.events:
            return self._runs(columns, 0)
        found = estimate(self.chains(columns))
        return np.array([found.loss, found.latency_s, found.busy])

    def fullness(self, columns: Columns) -> Array:
        """Return which group of `AGAINST_EVENTS` each design is of."""
        chains = self.chains(columns)
        return np.searchsorted(FULL, chains.first_hz * chains.service_s / chains.servers)

    def _runs(self, columns: Columns, replication: int) -> Array:
        """Return loss, latency and busy cores of designs in one replication, shape (3, designs)."""
        chains, streams = self.chains(columns), RandomStreams(int(self.fixed["seed"]), replication)
        count = int(self.fixed["events"])
        gaps, work = (streams.get(name).exponential(1.0, count) for name in ("daq/arrivals", "daq/service"))
        rows = [simulate(chains, i, gaps, work) for i in range(len(chains.servers))]
        return np.array(rows).reshape(-1, 3).T

    def _values(self, columns: Columns, means: Array, end: int = 0) -> dict[str, Array]:
        """Return the values of designs; `end` is 0, or 1 and 2 for the lower and the upper end of what is estimated."""
        chains, fixed, (loss, latency, busy) = self.chains(columns), self.fixed, means
        years, factors = self._scaling
        idle = IDLE[end]
        cores_w = fixed["core_w"] * (idle * chains.servers + (1 - idle) * busy)
        power = (cores_w + fixed["link_w"] * columns["links"]) / factors[end][np.searchsorted(years, columns["year"])]
        price = fixed["node_usd"] * columns["nodes"] * columns["cores"] / 4 + fixed["link_usd"] * columns["links"]
        return {
            "missed": 1 - chains.efficiency * (1 - loss), "latency_s": latency, "loss": loss, "power_w": power,
            "price_usd": np.asarray(price, dtype=float), "energy_j": power / chains.first_hz,
            "out_hz": chains.first_hz * (1 - loss) / chains.second_reduction,
        }  # fmt: skip

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON, with 90 % intervals.

        By events: of another run of the same length, from `REPLICATIONS` runs (Student's t). In closed form: what
        events gave of other chains, by how full the farm is (`AGAINST_EVENTS`). Power and energy have besides what
        idle cores may draw and how technology may grow. The price is exact.
        """
        columns = self.space.columns(codes)
        found = self.means(columns)
        values = self._values(columns, found)
        ends = self._drawn_ends(columns, found) if self.events else self._agreed_ends(columns, found)
        lo, hi = (self._values(columns, one, end) for end, one in enumerate(ends, start=1))
        lo["out_hz"], hi["out_hz"] = hi["out_hz"], lo["out_hz"]  # what is lost does not leave
        shown = ranged_details(self.space, codes, values, lo, hi)
        for i in np.flatnonzero(self.hidden(columns, found[0])) if self.events else ():
            shown[i]["remark"] = HIDDEN
        return shown

    def hidden(self, columns: Columns, loss: Array) -> Array:
        """Return which farms are offered more than they bear and lost less in a run than `SHOWN` of what all lose."""
        chains = self.chains(columns)
        always = 1 - chains.servers / (chains.first_hz * chains.service_s)  # whatever the buffers are
        return np.asarray((always > 0) & (loss < SHOWN * always))

    def _agreed_ends(self, columns: Columns, found: Array) -> Array:
        """Return the ends of loss, latency and busy cores, shape (2 ends, 3, designs)."""
        ratio = np.moveaxis(np.array(AGAINST_EVENTS)[self.fullness(columns)], 0, -1)  # (3, 2 ends, designs)
        kept = (1 - found[0]) * ratio[0, ::-1]
        loss = np.where(self.fullness(columns) == 0, found[0] + np.outer(RARE, self.chance(found[0])), 1 - kept)
        return np.stack((np.clip(loss, 0, 1), found[1] * ratio[1], found[2] * ratio[2]), axis=1)

    def chance(self, loss: Array) -> Array:
        """Return the standard deviation of a share lost if each event were lost by itself, one of them at least."""
        return np.asarray(np.sqrt((loss + 1 / self.fixed["events"]) / self.fixed["events"]))

    def _drawn_ends(self, columns: Columns, found: Array) -> Array:
        """Return between which values another run lies, shape (2 ends, 3, designs)."""
        runs = np.array([found, *(self._runs(columns, i) for i in range(1, REPLICATIONS))])
        wide = T_95 * runs.std(axis=0, ddof=1) * math.sqrt(1 + 1 / REPLICATIONS)
        unseen = 1 / self.fixed["events"]  # where five runs lost none, one more loses at most one event mostly
        wide[0] = np.where(runs[:, 0].any(axis=0), wide[0], unseen)
        lo, hi = np.maximum(runs.mean(axis=0) - wide, 0.0), runs.mean(axis=0) + wide
        hi[0] = np.minimum(hi[0], 1.0)
        return np.array([lo, hi])


def daq_chain(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None, *, events: bool = False,
) -> Problem:  # fmt: skip
    """Return the problem of a trigger chain; its crossings are its workload."""
    return DaqChain(space, objectives, limits, fixed, events)


DESIGN = Design(
    KNOBS, (), DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, daq_chain, workload=False,
    fidelities={"events": partial(daq_chain, events=True)},
)  # fmt: skip
