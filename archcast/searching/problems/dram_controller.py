"""The space `dram-controller`: the knobs of a memory controller by ArchGym's names, on one trace and one channel.

`closed_form` estimates (`simulator.dram.closed_form`); `events` serves the trace command by command (`simulator.dram`).
The trace is the same for all designs; another `seed` draws another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import places, ranged_details
from archcast.searching.problems.posed import Posed
from archcast.searching.space import Columns, DesignSpace
from simulator.dram.closed_form import ClosedForm, Estimate
from simulator.dram.configuration import CHOICES, NUMBERS, Configuration, Knobs
from simulator.dram.device import DEVICES, DramDevice, find_dram
from simulator.dram.run import DramRun, simulate
from simulator.dram.traces import KINDS, Trace, make_trace
from workloads.model import Model, Request
from workloads.table import Array

ORDER = (
    "PagePolicy", "Scheduler", "SchedulerBuffer", "RequestBufferSize", "CmdMux", "RespQueue", "RefreshPolicy",
    "RefreshMaxPostponed", "RefreshMaxPulledin", "PowerDownPolicy", "Arbiter", "MaxActiveTransactions",
)  # fmt: skip
KNOBS: dict[str, KnobKind] = {
    name: KnobKind("name", names=CHOICES[name]) if name in CHOICES else KnobKind("whole", *NUMBERS[name])
    for name in ORDER
}
DEFAULTS: dict[str, Any] = {name: getattr(Configuration(), name) for name in ORDER}
FIXED: dict[str, KnobKind] = {
    "channel": KnobKind("name", names=tuple(DEVICES)), "trace": KnobKind("name", names=KINDS),
    "requests": KnobKind("whole", 1, 1_000_000), "load": KnobKind("real", 1e-4, 10.0),
    "seed": KnobKind("whole", 0, 2**53), "kernel": KnobKind("name", names=("plain", "compiled")),
}  # fmt: skip
FIXED_DEFAULTS: dict[str, Any] = {
    "channel": "ddr4-2400", "trace": "cloud-1", "requests": 1000, "load": 0.5, "seed": 1, "kernel": "plain",
}  # fmt: skip
"""`load`: asked for, over the channel's peak rate."""
VALUES = {"latency_s": "s", "power_w": "W", "energy_j": "J", "duration_s": "s"}
"""All to be small: mean time from arrival to answer, mean power and energy of the chips, time to the last answer."""
SPACE: dict[str, Any] = {
    **{name: list(known) for name, known in CHOICES.items()}, "RequestBufferSize": {"from": 1, "to": 128, "times": 2},
    "RefreshMaxPostponed": {"from": 1, "to": 8, "times": 2}, "RefreshMaxPulledin": {"from": 1, "to": 8, "times": 2},
    "MaxActiveTransactions": {"from": 1, "to": 128, "times": 2}, "RefreshPolicy": ["AllBank"],
}  # fmt: skip
"""ArchGym's ranges (its helpers.action_decoder_rl), but for NoRefresh, which saves time and energy by losing the data;
CmdMux and PowerDownPolicy are searched too."""
AGAINST_EVENTS: dict[str, dict[str, tuple[float, float]]] = {
    "cloud-1": {"latency_s": (0.22, 3.9), "power_w": (0.71, 1.3), "energy_j": (0.81, 1.3), "duration_s": (0.74, 1.7)},
    "cloud-2": {"latency_s": (0.25, 2.1), "power_w": (0.84, 1.4), "energy_j": (0.88, 1.2), "duration_s": (0.68, 1.4)},
    "random": {"latency_s": (0.28, 2.5), "power_w": (0.8, 1.4), "energy_j": (0.88, 1.2), "duration_s": (0.69, 1.4)},
    "stream": {"latency_s": (0.017, 2.3), "power_w": (0.73, 1.7), "energy_j": (0.63, 1.3), "duration_s": (0.38, 1.5)},
}  # fmt: skip
"""Events over the closed form, from the 5 % to the 95 % quantile, by kind of trace: 466 traces of 1,000 requests (loads
of 0.1 to 0.9, both channels) with 8 controllers each; of 465 other traces 90 to 93 % lie within
(benchmarks/closed_form_agreement.py)."""
WORKLOAD = ""
OBJECTIVES = ("latency_s", "power_w")


@dataclass(frozen=True)
class DramController(Posed):
    """One search. `events`: whether the trace is served. Implements `Problem`."""

    events: bool

    @property
    def notes(self) -> tuple[str, ...]:
        how = "command by command" if self.events else "in closed form, which ranks controllers and is no timing model"
        return (
            f"{len(self.trace):,} requests of the trace {self.fixed['trace']} at {self.fixed['load']:g} of the peak "
            f"rate of {self.device.name}, {how}; what drives the bus and its termination burns is not counted.",
        )

    @cached_property
    def device(self) -> DramDevice:
        return find_dram(str(self.fixed["channel"]))

    @cached_property
    def trace(self) -> Trace:
        """Return the requests, drawn once."""
        fixed = self.fixed
        return make_trace(str(fixed["trace"]), int(fixed["requests"]), fixed["load"], self.device, int(fixed["seed"]))

    @cached_property
    def closed(self) -> ClosedForm:
        return ClosedForm(self.device, self.trace)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return ((self._events if self.events else self._closed),)

    def _estimated(self, columns: Columns, closed: ClosedForm) -> Estimate:
        known = {name: places(self.space, columns, name, CHOICES[name]) if name in CHOICES
                 else np.asarray(columns[name], dtype=float) for name in ORDER}  # fmt: skip
        return closed.estimate(Knobs(*(known[name] for name in ORDER)))  # type: ignore[arg-type]

    def _closed(self, columns: Columns) -> Found:
        return Found(_values_of(self._estimated(columns, self.closed)))

    def _events(self, columns: Columns) -> Found:
        rows = np.zeros((len(VALUES), len(columns["PagePolicy"])))
        for i in range(rows.shape[1]):
            run = self.served(self._knobs(columns, i))
            rows[:, i] = [getattr(run, name) for name in VALUES]
        return Found(dict(zip(VALUES, rows, strict=True)))

    def _knobs(self, columns: Columns, row: int) -> dict[str, Any]:
        """Return the values of the knobs of a design by name."""
        return {
            knob.name: knob.value(int(columns[knob.name][row])) if knob.category else int(columns[knob.name][row])
            for knob in self.space.knobs
        }

    def served(self, values: Mapping[str, Any]) -> DramRun:
        """Return one run of the events; `values` are those of the knobs by name."""
        compiled = self.fixed["kernel"] == "compiled"
        return simulate(self.device, Configuration.of(values), self.trace, compiled=compiled)

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON, with intervals.

        Energy and power have what chips may draw of their data sheet's currents. Times by events are exact for the
        trace; those in closed form, and its energy, have besides what events gave on other traces (`AGAINST_EVENTS`).
        """
        columns = self.space.columns(codes)
        if self.events:
            values, ends = self._served_details(columns)
        else:
            values, ends = dict(self._closed(columns).values), self._closed_ends(columns)
        return ranged_details(self.space, codes, values, *ends)

    def _closed_ends(self, columns: Columns) -> list[dict[str, Array]]:
        ratio = AGAINST_EVENTS[str(self.fixed["trace"])]
        found = []
        for end, closed in enumerate(self._drawing):
            values = _values_of(self._estimated(columns, closed))
            found.append({name: column * ratio[name][end] for name, column in values.items()})
        return found

    def _served_details(self, columns: Columns) -> tuple[dict[str, Array], list[dict[str, Array]]]:
        """Return values and ends of runs: each design is served once, and its commands priced three times."""
        runs = [self.served(self._knobs(columns, i)) for i in range(len(columns["PagePolicy"]))]
        channels = [self.device, *(self.device.drawing(end) for end in (0, 1))]
        values, lo, hi = (
            {name: np.array([getattr(replace(run, device=one), name) for run in runs]) for name in VALUES}
            for one in channels
        )
        return values, [lo, hi]

    @cached_property
    def _drawing(self) -> tuple[ClosedForm, ClosedForm]:
        return replace(self.closed, device=self.device.drawing(0)), replace(self.closed, device=self.device.drawing(1))


def _values_of(found: Estimate) -> dict[str, Array]:
    return {name: getattr(found, name) for name in VALUES}


def dram_controller(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None, *, events: bool = False,
) -> Problem:  # fmt: skip
    """Return the problem of a controller; it has no workload but its trace."""
    return DramController(space, objectives, limits, fixed, events)


DESIGN = Design(
    KNOBS, (), DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, dram_controller, workload=False,
    fidelities={"events": partial(dram_controller, events=True)},
)  # fmt: skip
