"""The space `daq-chain`: thresholds, links, farm and buffers of a trigger chain of two levels, and its year.

`closed_form` is `simulator.pipelines.small_chain.estimate`, `events` follows the same numbers of chance for every
design (`seed`). Power is divided by the fit of the published study to technology (`simulator.pipelines.technology`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import exact_details, knob_of
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


@dataclass(frozen=True)
class DaqChain:
    """One search. `events`: whether events are followed. Implements `Problem`."""

    space: DesignSpace
    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    fixed: Mapping[str, Any]
    events: bool

    @property
    def notes(self) -> tuple[str, ...]:
        how = f"{self.fixed['events']:,} events, one by one" if self.events else "in closed form"
        return (f"{self.fixed['crossing_hz']:g} crossings a second through two levels, {how}.",)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._links, (self._events if self.events else self._closed)

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
        """Return the years of the space and the factors that power is divided by in them."""
        technology = load_pipeline("cms-run5-pu200").technology
        years = knob_of(self.space, "year").numbers
        return years, np.array([technology_scaling(technology, int(year)).factor.value for year in years])

    def _links(self, columns: Columns) -> Found:
        chains = self.chains(columns)
        return Found({}, {LINKS: chains.first_hz * chains.link_s >= 1, TOO_MANY: chains.servers > MOST_CORES})

    def _closed(self, columns: Columns) -> Found:
        found = estimate(self.chains(columns))
        return Found(self._values(columns, found.loss, found.latency_s, found.busy))

    @cached_property
    def _drawn(self) -> tuple[Array, Array]:
        streams = RandomStreams(int(self.fixed["seed"]))
        names = ("daq/arrivals", "daq/service")
        first, second = (streams.get(name).exponential(1.0, int(self.fixed["events"])) for name in names)
        return first, second

    def _events(self, columns: Columns) -> Found:
        chains = self.chains(columns)
        rows = [simulate(chains, i, *self._drawn) for i in range(len(chains.servers))]
        return Found(self._values(columns, *np.array(rows).reshape(-1, 3).T))

    def _values(self, columns: Columns, loss: Array, latency: Array, busy: Array) -> dict[str, Array]:
        chains, fixed = self.chains(columns), self.fixed
        years, factors = self._scaling
        idle = 0.4  # of a core's power while nothing runs on it (estimated, 0.2 to 0.6)
        cores_w = fixed["core_w"] * (idle * chains.servers + (1 - idle) * busy)
        power = (cores_w + fixed["link_w"] * columns["links"]) / factors[np.searchsorted(years, columns["year"])]
        price = fixed["node_usd"] * columns["nodes"] * columns["cores"] / 4 + fixed["link_usd"] * columns["links"]
        return {
            "missed": 1 - chains.efficiency * (1 - loss), "latency_s": latency, "loss": loss, "power_w": power,
            "price_usd": np.asarray(price, dtype=float), "energy_j": power / chains.first_hz,
            "out_hz": chains.first_hz * (1 - loss) / chains.second_reduction,
        }  # fmt: skip

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON; the ends are the values themselves, as no measurement stands beside them."""
        return exact_details(self.space, codes, self.stages[1](self.space.columns(codes)).values)


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
