"""Events of a pipeline's windows, and what they say of each stage: rates, loss by cause, occupancy, utilisation.

Rates are those of the whole system: where one of several equal parts was simulated, its rates count that many times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardware_specs.pipeline_schema import PipelineSpec, WindowSpec
from simulator.intervals import Uncertain, half_width
from simulator.pipelines.events import DONE, EVENTS, WindowNetwork, window_network
from simulator.pipelines.flows import StageFlow
from simulator.pipelines.services import ServiceTimes
from simulator.pipelines.steps import OTHER_PARTS, REJECTED
from simulator.queues.elements import CAUSES, Exit, Fork, Join
from simulator.queues.run import EngineName, run_network
from simulator.queues.statistics import FEWEST_BEYOND, QUANTILES, Floats, NetworkRun


@dataclass(frozen=True)
class StageEvents:
    """What the events of a window say of one stage; `line` names the element whose occupancy is given."""

    stage: str
    rate_in_hz: Uncertain
    loss_share: Uncertain
    lost_by_cause: Mapping[str, Uncertain]
    line: str = ""
    utilisation: Uncertain = field(default_factory=lambda: Uncertain(math.nan))
    down_share: Uncertain = field(default_factory=lambda: Uncertain(math.nan))
    blocked_share: Uncertain = field(default_factory=lambda: Uncertain(math.nan))
    mean_wait_s: Uncertain = field(default_factory=lambda: Uncertain(math.nan))
    waiting: Mapping[str, Uncertain] = field(default_factory=dict)
    """mean, p50, p99, p999 (means over replications) and most (of all): events in the buffer of one part."""
    waiting_bytes: Uncertain = field(default_factory=lambda: Uncertain(math.nan))
    unstable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values with units in the names."""
        return {
            "rate_in_hz": self.rate_in_hz.to_json(), "loss_share": self.loss_share.to_json(),
            "lost_by_cause": {cause: share.to_json() for cause, share in self.lost_by_cause.items()},
            "line": self.line, "unstable": self.unstable, "utilisation": self.utilisation.to_json(),
            "down_share": self.down_share.to_json(), "blocked_share": self.blocked_share.to_json(),
            "mean_wait_s": self.mean_wait_s.to_json(), "waiting_bytes": self.waiting_bytes.to_json(),
            "waiting_events": {name: number.to_json() for name, number in self.waiting.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class WindowRun:
    """One window, simulated in one or several replications."""

    network: WindowNetwork
    runs: tuple[NetworkRun, ...]
    stages: Mapping[str, StageEvents]
    latency_s: Mapping[str, Uncertain]
    """mean, p50, p90, p99 and p999 of the time from the entry of the window to its end, of events that are kept."""
    rate_out_hz: Uncertain
    loss_share: Uncertain

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def unstable(self) -> tuple[str, ...]:
        """Stages whose line grows as long as the run lasts."""
        return tuple(name for name, row in self.stages.items() if row.unstable)

    def series(self, stage: str) -> tuple[Any, Any, Any]:
        """Return (times in s, waiting, busy) of a stage's line in the first replication."""
        return self.runs[0].series(self.stages[stage].line)

    def to_json(self, *, series: bool = True) -> dict[str, Any]:
        """Return plain values; `series` adds the occupancy over time of the first replication."""
        first, network = self.runs[0], self.network
        doc: dict[str, Any] = {
            "horizon_s": network.horizon_s, "warm_up_s": first.warm_up_s, "warm_up_rule": first.warm_up_rule,
            "engine": first.record.engine, "events": sum(run.record.events for run in self.runs),
            "begins_with": "accepted events" if network.begins_accepted else "arriving events",
            "parts_per_simulated": dict(network.scales), "unstable": list(self.unstable),
            "deadlock": sorted({name for run in self.runs for name in run.deadlock}),
            "latency_s": {**self.latency_s["mean"].to_json(), **{k: v.to_json() for k, v in self.latency_s.items()}},
            "rate_out_hz": self.rate_out_hz.to_json(), "loss_share": self.loss_share.to_json(),
            "stages": {name: row.to_json() for name, row in self.stages.items()},
            "trace_hash": first.trace_hash, "trace_hashes": [run.trace_hash for run in self.runs],
        }  # fmt: skip
        if series:
            doc["series"] = {}
            for name, row in self.stages.items():
                if row.line:
                    at, waiting, busy = self.series(name)
                    doc["series"][name] = {"time_s": at.tolist(), "waiting": waiting.tolist(), "busy": busy.tolist()}
        return doc


def run_window(
    spec: PipelineSpec, window: WindowSpec, flows: Mapping[str, StageFlow], services: Mapping[str, ServiceTimes],
    *, seed: int, replications: int = 1, engine: EngineName = "auto",
) -> WindowRun:  # fmt: skip
    """Simulate a window of a pipeline. Raises BadValueError as `window_network`."""
    network = window_network(spec, window, flows, services)
    warm_up: float = network.warm_up_s
    runs = tuple(
        run_network(
            network.network, horizon_s=network.horizon_s, warm_up_s=warm_up, samples=network.samples, seed=seed,
            replication=i, engine=engine,
        )
        for i in range(replications)
    )  # fmt: skip
    return read_window(network, runs)


def read_window(network: WindowNetwork, runs: tuple[NetworkRun, ...]) -> WindowRun:
    """Return what runs of a window say of its stages."""
    stages = {name: _stage(name, network, runs) for name in network.steps}
    sojourns = [run.sojourn_s(DONE) for run in runs]
    unstable = any(run.unstable for run in runs)
    latency: dict[str, Uncertain] = {"mean": _over_runs([run.sojourns(DONE).mean_s.value for run in runs])}
    if len(runs) == 1:
        latency["mean"] = runs[0].sojourns(DONE).mean_s
    for share in QUANTILES:
        latency[_label(share)] = Uncertain(math.nan) if unstable else _quantile(sojourns, share, runs)
    last = max(network.scales.values(), default=1.0)
    out = _over_runs([run.element(DONE).arrived_hz * last for run in runs])
    return WindowRun(network, runs, stages, latency, out, _over_runs([_lost_of_all(network, run) for run in runs]))


def _quantile(sojourns: Sequence[Floats], share: float, runs: Sequence[NetworkRun]) -> Uncertain:
    """Return a quantile of the times of all runs together; not known with fewer than `FEWEST_BEYOND` above it."""
    pooled = np.concatenate(sojourns)
    if len(pooled) * (1 - share) < FEWEST_BEYOND:
        return Uncertain(math.nan)
    if len(runs) == 1:
        return runs[0].sojourns(DONE).quantiles_s[share]
    value = float(np.quantile(pooled, share, method="inverted_cdf"))
    half = half_width([float(np.quantile(times, share, method="inverted_cdf")) for times in sojourns if len(times)])
    return Uncertain(value, max(value - half, 0.0), value + half) if math.isfinite(half) else Uncertain(value)


def _lost_of_all(network: WindowNetwork, run: NetworkRun) -> float:
    """Return the share of the window's events that are lost: parts of an event count once, where it would be joined."""
    parts, first = _in_parts(network), next(iter(network.steps))
    source = run.element(EVENTS)
    lost_hz = source.lost_hz * network.scales[first]
    for name, steps in network.steps.items():
        lost_hz += sum(run.element(step).lost_hz for step in steps if step not in parts) * network.scales[name]
    entered_hz = source.arrived_hz * network.scales[first]
    return lost_hz / entered_hz if entered_hz > 0 else math.nan


def _in_parts(network: WindowNetwork) -> set[str]:
    """Return the elements that see parts of an event: those between a fork and the join of its parts."""
    elements = {element.name: element for element in network.network.elements}
    found: set[str] = set()
    front = [target for element in elements.values() if isinstance(element, Fork) for target, _ in element.branches]
    while front:
        name = front.pop()
        element = elements[name]
        if name in found or isinstance(element, Join | Exit):
            continue
        found.add(name)
        targets = [t for t, _ in element.branches] if isinstance(element, Fork) else element.route.targets
        front += [target for target in targets if target not in (REJECTED, OTHER_PARTS)]
    return found


def _label(share: float) -> str:
    return f"p{f'{100 * share:g}'.replace('.', '')}"


def _stage(name: str, network: WindowNetwork, runs: Sequence[NetworkRun]) -> StageEvents:
    scale = network.scales[name]
    rates = _over_runs([_rate_in(name, network, run) * scale for run in runs])
    losses = [_lost(name, network, run) for run in runs]
    by_cause = {
        cause: _over_runs([found[1][i] for found in losses])
        for i, cause in enumerate(CAUSES)
        if any(found[1][i] > 0 for found in losses)
    }
    total = _over_runs([found[0] for found in losses])
    line = _line(network.steps[name], runs[0])
    if not line:
        return StageEvents(name, rates, total, by_cause)
    rows = [run.element(line) for run in runs]
    waiting = {
        "mean": [row.mean_waiting for row in rows], "p50": [row.waiting_p50 for row in rows],
        "p99": [row.waiting_p99 for row in rows], "p999": [row.waiting_p999 for row in rows],
    }  # fmt: skip
    shown = {key: _over_runs(values) for key, values in waiting.items()}
    shown["most"] = Uncertain(float(max(row.most_waiting for row in rows)))
    growing = any(run.element(step).unstable for run in runs for step in network.steps[name])
    return StageEvents(
        name, rates, total, by_cause, line, _over_runs([row.utilisation for row in rows]),
        _over_runs([row.down_share for row in rows]), _over_runs([row.blocked_share for row in rows]),
        _over_runs([row.mean_wait_s for row in rows]), shown,
        _over_runs([row.mean_waiting_bytes for row in rows]), growing,
    )  # fmt: skip


def _rate_in(name: str, network: WindowNetwork, run: NetworkRun) -> float:
    """Return events a second that come to a stage (to one part of it); a join counts those that it completes."""
    first = run.element(network.steps[name][0])
    if first.kind == "join":
        # each event that is whole goes on, and one of which a part was lost is lost here
        element = next(e for e in network.network.elements if e.name == first.name)
        assert isinstance(element, Join)
        return run.element(element.route.targets[0]).arrived_hz + first.lost_hz
    return first.arrived_hz


def _lost(name: str, network: WindowNetwork, run: NetworkRun) -> tuple[float, list[float]]:
    """Return the share of a stage's events that it loses, and the shares by cause; fragments count at their join."""
    rate = _rate_in(name, network, run)
    whole = [step for step in network.steps[name] if " fragment " not in step]
    lost = np.zeros(len(CAUSES))
    for step in whole:
        row = run.element(step)
        shares = np.array([row.loss_shares[cause] for cause in CAUSES])
        lost += np.nan_to_num(shares) * row.arrived_hz
    shares = lost / rate if rate > 0 else lost * math.nan
    return float(shares.sum()), shares.tolist()


def _line(steps: tuple[str, ...], run: NetworkRun) -> str:
    """Return the element of a stage whose line is shown: its servers, else its link, else a gate."""
    kinds = {step: run.element(step).kind for step in steps}
    stations = [step for step in steps if kinds[step] == "station" and " fragment " not in step]
    gates = [step for step in steps if kinds[step] == "gate"]
    fragments = [step for step in steps if " fragment " in step]
    return next(iter([*stations, *gates, *fragments]), "")


def _over_runs(values: Sequence[float]) -> Uncertain:
    """Return the mean over replications with its t interval (none for a single run)."""
    found = np.asarray(values, dtype=float)
    mean = float(found.mean()) if np.isfinite(found).all() else math.nan
    half = half_width(found) if len(found) > 1 and np.isfinite(found).all() else math.nan
    return Uncertain(mean, max(mean - half, 0.0), mean + half) if math.isfinite(half) else Uncertain(mean)
