"""Policies compared over weights and replications on the same random numbers: means, Pareto front, hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.intervals import Uncertain, combined, half_width
from simulator.offloading.environment import build_world
from simulator.offloading.pareto import Point, front, hypervolume
from simulator.offloading.policies import WITHOUT_WEIGHT, Policy, decide, find_policy
from simulator.offloading.record import Record
from simulator.offloading.settings import OffloadingConfig
from simulator.offloading.stability import CRITICAL, TASKS_OF_THE_DOOMED, Loads, Verdict, doomed, judged, loads_of
from simulator.offloading.system import System, draw_system
from simulator.offloading.worlds import World
from simulator.streams import DEFAULT_SEED, RandomStreams
from workloads.table import Array

BEYOND = 1.1
"""The reference point, where none is given: this factor on the largest mean of each coordinate (a convention)."""
MOST_WEIGHTS, MOST_REPLICATIONS = 200, 10_000
DELAY, ENERGY = "delay_s", "energy_per_task_j"
NO_TASK = "no task of a size above 0 was decided on: raise rate_hz, tasks or steps"


@dataclass(frozen=True)
class Plan:
    """What is compared. `policy` at the config's weight is the one whose numbers head the answer.

    warm_up: share of the tasks that is left out at either end of a run (physical mode). reference: (delay in s,
    joules a task) or None. own: policies of the caller by name.
    """

    config: OffloadingConfig
    policy: str = "greedy"
    compare: tuple[str, ...] = ("random", "all-cloud", "nearest-edge", "least-loaded", "greedy")
    weights: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4, 0.2)
    replications: int = 5
    seed: int = DEFAULT_SEED
    warm_up: float = 0.05
    reference: Point | None = None
    own: Mapping[str, Policy] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.config, OffloadingConfig):
            raise BadValueError(f"config must be an OffloadingConfig, not {self.config!r}.")
        whole_number("replications", self.replications, high=MOST_REPLICATIONS)
        finite_number("warm_up", self.warm_up, high=0.45)
        for name in ("weights", "compare"):
            if not isinstance(getattr(self, name), tuple | list):
                raise BadValueError(f"{name} must be a tuple, not {getattr(self, name)!r}.")
        if not 1 <= len(self.weights) <= MOST_WEIGHTS:
            raise BadValueError(f"weights must be 1 to {MOST_WEIGHTS} numbers from 0 to 1.")
        for weight in self.weights:
            finite_number("weights", weight, high=1.0)
        if self.reference is not None:
            if not isinstance(self.reference, tuple | list) or len(self.reference) != 2:
                raise BadValueError(f"reference must be (delay in s, joules a task), not {self.reference!r}.")
            for bound, name in zip(self.reference, (DELAY, ENERGY), strict=True):
                finite_number(f"reference.{name}", bound, strict=True)
        for name in (self.policy, *self.compare):
            if not isinstance(name, str):
                raise BadValueError(f"A policy must be a name (functions go into `own` by name), not {name!r}.")
            find_policy(name, self.own)


@dataclass(frozen=True)
class Run:
    """One policy at one weight in one replication. `numbers` are means over the counted tasks, or of the run.

    `busy_share` has the work that each server got over what it could do while tasks came; `loads` what stability is
    judged by (None as published).
    """

    numbers: Mapping[str, float]
    busy_share: Array
    tasks: Array
    loads: Loads | None
    record: Record
    system: System
    counted: Array


@dataclass(frozen=True)
class Outcome:
    """One policy at one weight. `numbers` is empty where it is unstable: such a mean does not exist.

    stable: None where it cannot be told; `overload` says why, or what is overloaded.
    """

    policy: str
    weight: float | None
    numbers: Mapping[str, Uncertain]
    difference: Mapping[str, Uncertain]
    each: Sequence[Mapping[str, float]]
    busy_share: Array
    task_share: Array
    stable: bool | None
    unstable_runs: int
    overload: str
    trace_hashes: tuple[str, ...]

    @property
    def unstable(self) -> bool:
        return self.stable is False

    @property
    def label(self) -> str:
        """The policy's name, with its weight where it looks at one."""
        return self.policy if self.weight is None else f"{self.policy} w={self.weight:g}"

    @property
    def point(self) -> Point:
        """(mean delay in s, joules a task)."""
        return self.numbers[DELAY].value, self.numbers[ENERGY].value


@dataclass(frozen=True)
class Study:
    """All outcomes; `main` is the one asked about, `front` has the places of those that none dominates.

    hypervolumes: of the points shown, in J s by policy and of `all`; hypervolumes_each: mean and t interval of those
    of single replications, another number (a front of means is not the mean of fronts).
    """

    plan: Plan
    outcomes: tuple[Outcome, ...]
    main: Outcome
    first: Run
    front: tuple[int, ...]
    reference: Point | None
    hypervolumes: Mapping[str, float]
    hypervolumes_each: Mapping[str, Uncertain]
    offered_loads: tuple[float, ...]


def run_policy(world: World, policy: Policy, name: str, random: np.random.Generator) -> Record:
    """Let a policy decide on all tasks, and work them off. Raises PolicyError with the record so far."""
    world.rewards = False
    while not world.done:
        world.assign(decide(policy, name, world.state(random), world.record))
    world.drain()
    return world.record


def run_once(plan: Plan, name: str, weight: float, replication: int) -> Run:
    """Run one policy at one weight in one replication; system and tasks depend on seed and replication alone."""
    config = replace(plan.config, weight=weight)
    streams = RandomStreams(plan.seed, replication)
    system = draw_system(config, streams)
    if doomed(config, system):
        config = replace(config, tasks=min(config.tasks, TASKS_OF_THE_DOOMED))
    world = build_world(config, streams, system)
    record = run_policy(world, find_policy(name, plan.own), name, streams.get(f"offloading/policy {name}"))
    return measured(config, world.system, record, plan.warm_up, None if name in plan.own else name)


def measured(
    config: OffloadingConfig, system: System, record: Record, warm_up: float, policy: str | None = None
) -> Run:  # fmt: skip
    """Return the numbers of a run whose tasks have all ended. Raises BadValueError where there was no task.

    policy: its name where it is a built-in one.
    """
    columns = {name: record.column(name) for name in record.rows}
    real = np.flatnonzero(columns["size_bits"] > 0)
    if not len(real):
        raise BadValueError(f"The run is empty: {NO_TASK}.")
    cut = 0 if config.paper_mode else int(warm_up * len(real))
    counted = real[cut : len(real) - cut]
    arrival_s, server = columns["arrival_s"], columns["server"]
    delay_s = (columns["finish_s"] - arrival_s)[counted]
    sending_s = (columns["sent_s"] - arrival_s)[counted]
    spent_j = columns["sending_energy_j"] + columns["execution_energy_j"]
    idle_w = sum(kind.idle_power_w for kind in system.kinds)
    end_s = float(columns["finish_s"].max())
    span_s = float(arrival_s[counted][-1] - arrival_s[counted][0]) * len(counted) / max(len(counted) - 1, 1)
    energy_j = float(spent_j.sum()) + idle_w * end_s
    p50, p90, p99 = np.percentile(delay_s, [50, 90, 99]).tolist()
    numbers = {
        DELAY: float(delay_s.mean()), "delay_p50_s": p50, "delay_p90_s": p90, "delay_p99_s": p99,
        "sending_s": float(sending_s.mean()), "execution_s": float((delay_s - sending_s).mean()),
        ENERGY: (float(spent_j[counted].sum()) + idle_w * span_s) / len(counted),
        "sending_energy_per_task_j": float(columns["sending_energy_j"][counted].mean()),
        "execution_energy_per_task_j": float(columns["execution_energy_j"][counted].mean()),
        "energy_j": energy_j, "power_w": energy_j / end_s, "task_rate_hz": len(real) / end_s, "time_s": end_s,
    }  # fmt: skip
    if config.paper_mode:
        numbers["estimated_delay_s"] = float(columns["increase_s"][counted].mean())
    comes_s = config.steps * config.step_s if config.paper_mode else max(float(arrival_s[-1]), 1e-300)
    work_s = np.bincount(server, columns["size_bits"] / system.speed_bits_per_s[server], system.servers)
    tasks = np.bincount(server[real], minlength=system.servers)
    loads = None if config.paper_mode else loads_of(policy, config, system, columns, comes_s)
    return Run(numbers, work_s / comes_s, tasks, loads, record, system, counted)


def run_study(plan: Plan) -> Study:
    """Run every policy at every weight (once where it does not look at weights) in all replications.

    Raises:
        PolicyError: a policy failed; its record has what happened before.
    """
    main_weight = None if _blind(plan, plan.policy) else plan.config.weight
    asked: list[tuple[str, float | None]] = [(plan.policy, main_weight)]
    for name in dict.fromkeys(plan.compare):
        asked += [(name, None)] if _blind(plan, name) else [(name, weight) for weight in dict.fromkeys(plan.weights)]
    asked = list(dict.fromkeys(asked))
    runs = {key: [_run(plan, key, i) for i in range(plan.replications)] for key in asked}
    base = runs[asked[0]]
    verdicts = {key: _verdict(found) for key, found in runs.items()}
    paired = verdicts[asked[0]].stable is not False
    outcomes = tuple(_outcome(key, found, base if paired else (), verdicts[key]) for key, found in runs.items())
    stable = [i for i, outcome in enumerate(outcomes) if not outcome.unstable]
    points = [outcomes[i].point for i in stable]
    reference = plan.reference
    if reference is None and points:
        reference = (BEYOND * max(x for x, _ in points), BEYOND * max(y for _, y in points))
    loads = tuple(run.system.offered_load(plan.config) for run in base)
    return Study(
        plan, outcomes, outcomes[0], base[0], tuple(stable[i] for i in front(points)), reference,
        *_hypervolumes(plan, outcomes, reference), loads,
    )  # fmt: skip


def _blind(plan: Plan, name: str) -> bool:
    return name in WITHOUT_WEIGHT and name not in plan.own


def _run(plan: Plan, key: tuple[str, float | None], replication: int) -> Run:
    name, weight = key
    run = run_once(plan, name, plan.config.weight if weight is None else weight, replication)
    return run if replication == 0 else replace(run, record=_hash_only(run.record))


class _Hashed(Record):
    """A record of which only the hash was kept."""

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest

    @property
    def trace_hash(self) -> str:
        return self._digest


def _hash_only(record: Record) -> Record:
    """Let go of the rows (replications would fill the memory)."""
    return _Hashed(record.trace_hash)


def _verdict(runs: Sequence[Run]) -> Verdict:
    loads = [run.loads for run in runs if run.loads is not None]
    return judged(loads) if loads else Verdict(None, CRITICAL)


def _outcome(
    key: tuple[str, float | None], runs: Sequence[Run], base: Sequence[Run], verdict: Verdict
) -> Outcome:  # fmt: skip
    each = [run.numbers for run in runs]
    numbers, difference = dict[str, Uncertain](), dict[str, Uncertain]()
    if verdict.stable is not False:
        for name in each[0]:
            values = [one[name] for one in each]
            numbers[name] = combined(values, half_width(values))
        if base:
            difference = {name: _paired(name, runs, base) for name in (DELAY, ENERGY)}
    servers = max(len(run.tasks) for run in runs)
    busy = np.nanmean([_wider(run.busy_share, servers, np.nan) for run in runs], axis=0)
    share = np.mean([_wider(run.tasks / run.tasks.sum(), servers, 0.0) for run in runs], axis=0)
    hashes = tuple(run.record.trace_hash for run in runs)
    found = (verdict.stable, verdict.unstable_runs, verdict.reason)
    return Outcome(key[0], key[1], numbers, difference, each, busy, share, *found, hashes)


def _wider(column: Array, servers: int, fill: float) -> Array:
    """Return a column filled up to so many servers (as published their number is drawn)."""
    return np.pad(column.astype(float), (0, servers - len(column)), constant_values=fill)


def _paired(name: str, runs: Sequence[Run], base: Sequence[Run]) -> Uncertain:
    """Return the mean difference to the main policy on the same systems and tasks, with its t interval."""
    values = np.array([run.numbers[name] - other.numbers[name] for run, other in zip(runs, base, strict=True)])
    mean, half = float(values.mean()), half_width(values)
    return Uncertain(mean, mean - half, mean + half)


def _hypervolumes(
    plan: Plan, outcomes: Sequence[Outcome], reference: Point | None
) -> tuple[dict[str, float], dict[str, Uncertain]]:
    """Return J s by policy, and of all together (`all`), up to one reference.

    First of the points shown (means over replications); then mean and t interval of those of each replication.
    """
    shown, each = dict[str, float](), dict[str, Uncertain]()
    if reference is None:
        return shown, each
    groups: dict[str, list[Outcome]] = {outcome.policy: [] for outcome in outcomes}
    for outcome in outcomes:
        if not outcome.unstable:
            groups[outcome.policy].append(outcome)
    groups["all"] = [outcome for outcome in outcomes if not outcome.unstable]
    for name, group in groups.items():
        shown[name] = hypervolume([one.point for one in group], reference)
        values = [
            hypervolume([(one.each[i][DELAY], one.each[i][ENERGY]) for one in group], reference)
            for i in range(plan.replications)
        ]  # fmt: skip
        each[name] = combined(values, half_width(values))
    return shown, each
