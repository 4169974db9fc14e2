"""What an offloading study is about: servers, users, tasks and radio, in physical form or as published."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.offloading.constants import constant

LAWS = ("exponential", "constant", "erlang", "hyperexponential", "lognormal", "uniform")
SENDING = ("queue", "together")
FADING = ("average", "fixed")
MOST_SERVERS, MOST_USERS, MOST_TASKS, MOST_STEPS = 1000, 10_000, 1_000_000, 100_000
MOST_EDGES = MOST_SERVERS - 1
PUBLISHED = ("multi-edge", "single-edge")
WITH_CV = {"erlang": 0.5, "hyperexponential": 2.0, "lognormal": 2.0}
"""Laws that have a coefficient of variation, with what it is where none is given."""
PHYSICAL_ONLY = ("load", "sending", "tasks", "noise_figure_db")
"""Keys that the published environment does not look at, and (below) of its servers."""
PHYSICAL_ONLY_OF_SERVERS = ("latency_s", "antenna_gain_db")
PAPER_ONLY = ("steps", "step_s", "wave_bits", "wave_steps")
RANGES = {
    "frequency_hz": (1.0, 1e15), "cycles_per_bit": (1e-6, 1e12), "bandwidth_hz": (1.0, 1e12),
    "sending_power_w": (1e-9, 1e6), "nearest_m": (1e-3, 1e8), "farthest_m": (1e-3, 1e8),
    "frequency_spread_hz": (0.0, 1e15), "energy_j_per_cycle_hz2": (0.0, 1.0), "latency_s": (0.0, 1e6),
    "idle_power_w": (0.0, 1e9), "antenna_gain_db": (-200.0, 200.0),
}  # fmt: skip
"""Of a server and its radio: beyond these a number is a slip of the unit."""


@dataclass(frozen=True)
class ServerKind:
    """One kind of server with the radio that leads to it.

    frequency_spread_hz: half of the range from which each server's frequency is drawn. energy_j_per_cycle_hz2: k of
    k f^2 joules a cycle. latency_s: of the way behind the radio. nearest_m, farthest_m: distances are drawn between.
    """

    frequency_hz: float
    frequency_spread_hz: float
    nearest_m: float
    farthest_m: float
    antenna_gain_db: float = 0.0
    latency_s: float = 0.0
    cycles_per_bit: float = constant("cycles_per_bit")
    energy_j_per_cycle_hz2: float = constant("energy_j_per_cycle_hz2")
    sending_power_w: float = constant("sending_power_w")
    bandwidth_hz: float = constant("bandwidth_hz")
    idle_power_w: float = constant("idle_power_w")

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            finite_number(name, getattr(self, name), low=low, high=high)
        finite_number("farthest_m", self.farthest_m, low=self.nearest_m)
        if self.frequency_spread_hz >= self.frequency_hz:
            raise BadValueError(
                f"frequency_spread_hz={self.frequency_spread_hz:g} must be below frequency_hz={self.frequency_hz:g}: "
                "no server runs at 0 Hz."
            )


def _physical(place: str, **more: float) -> ServerKind:
    names = ("frequency_hz", "frequency_spread_hz", "nearest_m", "farthest_m", "antenna_gain_db")
    return ServerKind(**{name: constant(f"{place}.{name}") for name in names}, **more)


@dataclass(frozen=True)
class OffloadingConfig:
    """An offloading study. The defaults are the physical mode; `paper_config` gives the published environment.

    servers: one cloud (server 0) and `edges` edges; (low, high) draws their number. rate_hz: tasks a second of all
    users together. load: offered work over what the servers can do, from which the mean size follows unless
    `mean_bits` gives it. sending: each user's radio sends one task after the other (`queue`) or all at once, each at
    the full rate (`together`, as published). fading: Rayleigh, so fast that a task sees its average, or drawn once for
    each link (`fixed`, as published). weight: w of w x delay cost + (1 - w) x energy cost. published: from which of
    PUBLISHED the values come. cv: of WITH_CV's laws; None takes the one named there.
    """

    paper_mode: bool = False
    published: str = ""
    users: int = 10
    rate_hz: float = 1.0
    edges: int | tuple[int, int] = 3
    cloud: ServerKind = field(default_factory=lambda: _physical("cloud", latency_s=constant("cloud.latency_s")))
    edge: ServerKind = field(default_factory=lambda: _physical("edge"))
    load: float = constant("load")
    mean_bits: float | None = None
    law: str = "exponential"
    cv: float | None = None
    least_bits: float = 0.0
    most_bits: float = math.inf
    wave_bits: float = 0.0
    wave_steps: float = 100.0
    sending: str = "queue"
    fading: str = "average"
    tasks: int = 2000
    step_s: float = 1.0
    steps: int = 100
    shadowing_db: float = constant("shadowing_db")
    path_loss_slope_db: float = constant("path_loss_slope_db")
    path_loss_at_1km_db: float = constant("path_loss_at_1km_db")
    noise_dbm_per_hz: float = constant("noise_dbm_per_hz")
    noise_figure_db: float = constant("noise_figure_db")
    weight: float = 0.5
    delay_cost_per_s: float = constant("delay_cost_per_s")
    energy_cost_per_j: float = constant("energy_cost_per_j")

    def __post_init__(self) -> None:
        if not isinstance(self.paper_mode, bool):
            raise BadValueError(f"paper_mode must be True or False, not {self.paper_mode!r}: see paper_config().")
        whole_number("users", self.users, high=MOST_USERS)
        whole_number("tasks", self.tasks, high=MOST_TASKS)
        whole_number("steps", self.steps, high=MOST_STEPS)
        for name in ("rate_hz", "load", "step_s", "wave_steps"):
            finite_number(name, getattr(self, name), strict=True)
        for name in ("shadowing_db", "noise_figure_db", "delay_cost_per_s", "energy_cost_per_j", "least_bits"):
            finite_number(name, getattr(self, name))
        for name in ("noise_dbm_per_hz", "path_loss_at_1km_db", "path_loss_slope_db"):
            finite_number(name, getattr(self, name), low=-1000.0, high=1000.0)
        finite_number("weight", self.weight, high=1.0)
        if self.mean_bits is not None:
            finite_number("mean_bits", self.mean_bits, strict=True)
        finite_number("wave_bits", self.wave_bits, high=self.mean_bits or math.inf)
        if not self.paper_mode and self.wave_bits:
            raise BadValueError("wave_bits is looked at in the published environment alone (paper_mode).")
        self._check_sizes()
        self._check_servers()

    def _check_sizes(self) -> None:
        """Raises BadValueError or UnknownNameError for sizes, words and their laws."""
        for name, known in (("law", LAWS), ("sending", SENDING), ("fading", FADING), ("published", ("", *PUBLISHED))):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), known, f"Known: {', '.join(known)}.")
        if self.most_bits != math.inf:
            finite_number("most_bits", self.most_bits, strict=True)
        if self.most_bits < self.least_bits:
            raise BadValueError(f"most_bits={self.most_bits:g} must be above 0 and at least least_bits.")
        if self.cv is None:
            return
        finite_number("cv", self.cv, strict=True, high=20.0)
        if self.law == "hyperexponential" and self.cv < 1:
            raise BadValueError(f"cv={self.cv:g} must be at least 1 for hyperexponential sizes.")
        if self.law == "erlang" and self.cv > 1:
            raise BadValueError(f"cv={self.cv:g} must be at most 1 for Erlang sizes.")

    def _check_servers(self) -> None:
        for name in ("cloud", "edge"):
            if not isinstance(getattr(self, name), ServerKind):
                raise BadValueError(f"{name} must be a ServerKind, not {getattr(self, name)!r}.")
        if isinstance(self.edges, tuple) and len(self.edges) != 2:
            raise BadValueError(f"edges must be a number or (fewest, most), not {self.edges!r}.")
        low, high = self.edge_range
        whole_number("edges", low, high=MOST_EDGES)
        whole_number("edges", high, low=low, high=MOST_EDGES)

    @property
    def edge_range(self) -> tuple[int, int]:
        """(fewest, most) edges."""
        return self.edges if isinstance(self.edges, tuple) else (self.edges, self.edges)

    @property
    def spread(self) -> float:
        """The coefficient of variation of the law of sizes, where it has one to choose."""
        return WITH_CV.get(self.law, 1.0) if self.cv is None else self.cv

    @property
    def clipped(self) -> bool:
        """Whether sizes are cut, so that their mean is not the stated one."""
        return self.least_bits > 0 or math.isfinite(self.most_bits)

    def changed(self) -> tuple[str, ...]:
        """Return what differs from the published environment, as `edges 3` or `cloud.frequency_hz 5e+09`."""
        base = paper_config(single_edge=self.published == "single-edge")
        found = []
        for item in fields(self):
            mine, other = getattr(self, item.name), getattr(base, item.name)
            if item.name in ("published", *PHYSICAL_ONLY) or mine == other:
                continue
            if isinstance(mine, ServerKind):
                parts = [x.name for x in fields(mine) if getattr(mine, x.name) != getattr(other, x.name)]
                found += [f"{item.name}.{part} {getattr(mine, part):g}" for part in parts]
            elif isinstance(mine, tuple):
                found.append(f"{item.name} {mine[0]} to {mine[1]}")
            else:
                found.append(f"{item.name} {mine:g}" if isinstance(mine, float) else f"{item.name} {mine}")
        return tuple(found)


def not_looked_at(key: str, *, paper_mode: bool) -> str:
    """Return the sentence for a key that this mode would ignore."""
    if paper_mode:
        return f"the published environment (paper_mode) does not look at '{key}': leave it out."
    return f"only the published environment (paper_mode) looks at '{key}': leave it out, or set paper_mode."


def paper_config(*, single_edge: bool = False, **changes: Any) -> OffloadingConfig:
    """Return the published environment (config1.json: `multi-edge`, or with `single_edge` `MEC_Config1`).

    Its offered load is 1 before sizes are clipped, and its rates divide by the noise twice; docs/offloading.md.

    Raises:
        BadValueError: a change of what the published environment does not look at (PHYSICAL_ONLY).
    """
    for name in PHYSICAL_ONLY:
        if name in changes:
            raise BadValueError(not_looked_at(name, paper_mode=True))
    same = {
        "cycles_per_bit": 1000.0, "energy_j_per_cycle_hz2": 5e-31, "sending_power_w": 0.01, "bandwidth_hz": 16.6e6,
    }  # fmt: skip
    spread = (0.0, 0.0) if single_edge else (1e9, 0.5e9)
    config = OffloadingConfig(
        paper_mode=True, published=PUBLISHED[single_edge], users=10, rate_hz=1.0, edges=1 if single_edge else (1, 10),
        cloud=ServerKind(4e9, spread[0], 1000.0, 2000.0, **same), edge=ServerKind(2e9, spread[1], 50.0, 500.0, **same),
        load=1.0, mean_bits=6e6 if single_edge else None, least_bits=0.1e6, most_bits=30e6 if single_edge else 100e6,
        sending="together", fading="fixed", step_s=1.0, steps=100, shadowing_db=8.0, noise_figure_db=0.0, weight=1.0,
        delay_cost_per_s=0.01, energy_cost_per_j=50.0,
    )  # fmt: skip
    return replace(config, **changes)
