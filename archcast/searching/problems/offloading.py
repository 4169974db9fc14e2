"""The space `offloading`: a policy and the servers that users' tasks go to, for one drawn place of users.

`closed_form` estimates means (`simulator.offloading.closed_form`); `events` runs `simulator.offloading` in its physical
mode. All designs see the same users, links and tasks (`seed`); frequencies are drawn around each design's, within a
quarter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import knob_of, places, ranged_details
from archcast.searching.problems.posed import Posed
from archcast.searching.space import Columns, DesignSpace
from simulator.offloading.closed_form import POLICY_NAMES, Systems, estimate
from simulator.offloading.settings import OffloadingConfig
from simulator.offloading.study import Plan, run_once
from simulator.offloading.system import System, draw_system
from simulator.streams import RandomStreams
from workloads.model import Model, Request
from workloads.table import Array

FREQUENCY = KnobKind("real", 1e6, 1e12, "Hz")
KNOBS: dict[str, KnobKind] = {
    "policy": KnobKind("name", names=POLICY_NAMES), "weight": KnobKind("real", 0.0, 1.0),
    "edges": KnobKind("whole", 1, 50), "edge_frequency_hz": FREQUENCY, "cloud_frequency_hz": FREQUENCY,
    "edge_bandwidth_hz": KnobKind("real", 1e3, 1e10, "Hz"), "cloud_bandwidth_hz": KnobKind("real", 1e3, 1e10, "Hz"),
    "sending_power_w": KnobKind("real", 1e-4, 100.0, "W"),
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "policy": "greedy", "weight": 0.5, "edges": 3, "edge_frequency_hz": 2e9, "cloud_frequency_hz": 4e9,
    "edge_bandwidth_hz": 1.8e6, "cloud_bandwidth_hz": 1.8e6, "sending_power_w": 0.2,
}  # fmt: skip
FIXED: dict[str, KnobKind] = {
    "users": KnobKind("whole", 1, 1000), "rate_hz": KnobKind("real", 1e-3, 1e5, "Hz"),
    "mean_bits": KnobKind("real", 1.0, 1e12), "tasks": KnobKind("whole", 20, 100_000),
    "seed": KnobKind("whole", 0, 2**53),
}  # fmt: skip
FIXED_DEFAULTS: dict[str, Any] = {"users": 10, "rate_hz": 4.0, "mean_bits": 1e6, "tasks": 500, "seed": 1}
VALUES = {"latency_s": "s", "energy_j": "J", "power_w": "W", "capacity_hz": "Hz"}
"""All to be small: mean delay; joules of a task, sent and executed; those times the rate; cycles a second of all
servers, which stand for what they cost."""
SPREAD = 0.25
SPACE: dict[str, Any] = {
    "policy": list(POLICY_NAMES), "weight": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "edges": {"from": 1, "to": 8, "step": 1},
    "edge_frequency_hz": ["1 GHz", "1.5 GHz", "2 GHz", "3 GHz", "4 GHz"],
    "cloud_frequency_hz": ["2 GHz", "4 GHz", "8 GHz", "16 GHz"],
    "edge_bandwidth_hz": ["0.9 MHz", "1.8 MHz", "3.6 MHz"], "cloud_bandwidth_hz": ["0.9 MHz", "1.8 MHz", "3.6 MHz"],
    "sending_power_w": [0.05, 0.1, 0.2, 0.4],
}  # fmt: skip
REPLICATIONS, T_95 = 5, 2.132
"""Runs behind an interval of the events, and Student's t of 90 % between both ends (4 degrees of freedom)."""
AGAINST_EVENTS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "random": ((0.29, 1.7), (0.84, 1.2)), "all-cloud": ((0.5, 4.9), (0.93, 1.1)),
    "nearest-edge": ((0.31, 1.2), (0.89, 1.1)), "least-loaded": ((0.46, 1.8), (0.46, 1.6)),
    "greedy": ((0.1, 12.0), (0.55, 5.5)),
}  # fmt: skip
"""Policy -> events over the closed form of (delay, joules), from the 5 % to the 95 % quantile: 140 systems (2 to 29
users, 0.1 to 0.8 tasks a second each) with 8 designs each; of 139 other systems 93 and 92 % lie within
(benchmarks/closed_form_agreement.py)."""
WORKLOAD = ""
OBJECTIVES = ("latency_s", "energy_j", "capacity_hz")


@dataclass(frozen=True)
class OffloadingProblem(Posed):
    """One search. `events`: whether tasks are run. Implements `Problem`."""

    events: bool

    @property
    def notes(self) -> tuple[str, ...]:
        how = f"{int(self.fixed['tasks']):,} tasks, run" if self.events else "means in closed form, which rank designs"
        return (f"{self.fixed['users']} users with {self.fixed['rate_hz']:g} tasks a second in all: {how}.",)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return ((self._events if self.events else self._closed),)

    def config(self, design: Mapping[str, Any]) -> OffloadingConfig:
        """Return the system of a design (values by name) as `simulator.offloading` takes it."""
        base = OffloadingConfig()
        kinds = {
            name: replace(
                getattr(base, name), frequency_hz=float(design[f"{name}_frequency_hz"]),
                frequency_spread_hz=SPREAD * float(design[f"{name}_frequency_hz"]),
                bandwidth_hz=float(design[f"{name}_bandwidth_hz"]), sending_power_w=float(design["sending_power_w"]),
            )
            for name in ("cloud", "edge")
        }  # fmt: skip
        fixed = self.fixed
        return OffloadingConfig(
            users=int(fixed["users"]), rate_hz=fixed["rate_hz"], mean_bits=fixed["mean_bits"],
            tasks=int(fixed["tasks"]), edges=int(design["edges"]), weight=float(design["weight"]), **kinds,
        )  # fmt: skip

    @cached_property
    def _most(self) -> int:
        return int(max(knob_of(self.space, "edges").numbers))

    def _drawn(self, **changes: float) -> System:
        """Return the servers and links of all edges that a design may have; fewer edges are the first of them."""
        design = {**DEFAULTS, "edges": self._most, **changes}
        return draw_system(self.config(design), RandomStreams(int(self.fixed["seed"])))

    @cached_property
    def _sending(self) -> tuple[Array, Array]:
        """Return seconds of a task to the cloud and to edges: (bandwidths, powers, servers), the mean of users."""
        powers = knob_of(self.space, "sending_power_w").numbers
        found = []
        for name in ("cloud", "edge"):
            bands = knob_of(self.space, f"{name}_bandwidth_hz").numbers
            found.append([[
                (self.fixed["mean_bits"] / self._drawn(**{f"{name}_bandwidth_hz": band, "sending_power_w": power})
                 .rate_bits_per_s).mean(axis=1) for power in powers
            ] for band in bands])  # fmt: skip
        return np.array(found[0])[..., :1], np.array(found[1])[..., 1:]

    @cached_property
    def _nearest(self) -> Array:
        """Return by number of edges the share of users to whom a server is the nearest edge, (edges + 1, servers)."""
        distance = self._drawn().distance_m
        table = np.zeros((self._most + 1, self._most + 1))
        for edges in range(1, self._most + 1):
            near = 1 + np.argmin(distance[1 : edges + 1], axis=0)
            table[edges] = np.bincount(near, minlength=self._most + 1) / distance.shape[1]
        return table

    @cached_property
    def _base(self) -> System:
        return self._drawn()

    def _closed(self, columns: Columns) -> Found:
        base, fixed = self._base, self.fixed
        edges = np.asarray(columns["edges"], dtype=np.intp)
        there = np.arange(self._most + 1) <= edges[:, None]
        asked = np.repeat(np.asarray(columns["edge_frequency_hz"], float)[:, None], self._most + 1, axis=1)
        asked[:, 0] = columns["cloud_frequency_hz"]
        drawn = base.frequency_hz / np.array([kind.frequency_hz for kind in base.kinds])
        hertz, cycles = asked * drawn, base.cycles_per_bit * fixed["mean_bits"]
        power = np.asarray(columns["sending_power_w"], float)
        power_at = np.searchsorted(knob_of(self.space, "sending_power_w").numbers, power)
        sent = [
            self._sending[k][
                np.searchsorted(knob_of(self.space, f"{name}_bandwidth_hz").numbers, columns[f"{name}_bandwidth_hz"]),
                power_at,
            ]
            for k, name in enumerate(("cloud", "edge"))
        ]
        latency = np.array([kind.latency_s for kind in base.kinds])
        sending = np.concatenate(sent, axis=1)
        joules = np.array([kind.energy_j_per_cycle_hz2 for kind in base.kinds]) * hertz**2 * cycles
        delay, energy = estimate(Systems(
            there, cycles / hertz, sending + latency, self._nearest[edges], joules, sending * power[:, None],
            places(self.space, columns, "policy", POLICY_NAMES), np.asarray(columns["weight"], float),
            fixed["rate_hz"], int(fixed["tasks"]),
        ))  # fmt: skip
        return Found(self._values(columns, delay, energy))

    def _values(self, columns: Columns, delay: Array, energy: Array) -> dict[str, Array]:
        capacity = columns["cloud_frequency_hz"] + columns["edges"] * columns["edge_frequency_hz"]
        power = energy * self.fixed["rate_hz"]
        return {"latency_s": delay, "energy_j": energy, "power_w": power, "capacity_hz": np.asarray(capacity, float)}

    def _events(self, columns: Columns) -> Found:
        return Found(self._values(columns, *self._runs(columns, 0)))

    def _runs(self, columns: Columns, replication: int) -> Array:
        """Return mean delays and joules of a task of designs in one replication, shape (2, designs)."""
        rows = np.zeros((2, len(columns["edges"])))
        for i in range(rows.shape[1]):
            design = {name: column[i] for name, column in columns.items()}
            policy = str(knob_of(self.space, "policy").value(int(design["policy"])))
            plan = Plan(self.config(design), policy, (policy,), (float(design["weight"]),), 1, int(self.fixed["seed"]))
            found = run_once(plan, policy, float(design["weight"]), replication).numbers
            rows[:, i] = found["delay_s"], found["energy_per_task_j"]
        return rows

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON, with 90 % intervals.

        By events: of another draw of users, links and tasks, from `REPLICATIONS` runs (Student's t). In closed form:
        what events gave of other systems, by policy (`AGAINST_EVENTS`). Capacity is exact.
        """
        columns = self.space.columns(codes)
        found = self.stages[0](columns).values
        measured = np.array([found["latency_s"], found["energy_j"]])
        ends = self._drawn_ends(columns, measured) if self.events else measured * self._ratios(columns)
        lo, hi = (self._values(columns, *end) for end in ends)
        return ranged_details(self.space, codes, found, lo, hi)

    def _ratios(self, columns: Columns) -> Array:
        """Return the ends of events over closed form, shape (2 ends, delay and joules, designs)."""
        table = np.array([AGAINST_EVENTS[name] for name in POLICY_NAMES])
        return np.moveaxis(table[places(self.space, columns, "policy", POLICY_NAMES)], 0, -1).swapaxes(0, 1)

    def _drawn_ends(self, columns: Columns, measured: Array) -> Array:
        """Return between which values another draw lies, shape (2 ends, delay and joules, designs)."""
        runs = np.log([measured, *(self._runs(columns, i) for i in range(1, REPLICATIONS))])
        wide = T_95 * runs.std(axis=0, ddof=1) * math.sqrt(1 + 1 / REPLICATIONS)
        return np.exp([runs.mean(axis=0) - wide, runs.mean(axis=0) + wide])


def offloading(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None, *, events: bool = False,
) -> Problem:  # fmt: skip
    """Return the problem of servers and a policy; the tasks are its workload."""
    return OffloadingProblem(space, objectives, limits, fixed, events)


DESIGN = Design(
    KNOBS, (), DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, offloading, workload=False,
    fidelities={"events": partial(offloading, events=True)},
)  # fmt: skip
