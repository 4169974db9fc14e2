"""`simulate`, kind `cluster`: replay a trace of tasks on machines, and say how full, how late and how costly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.cluster_file import ClusterKeys, read_cluster
from foundation.errors import BadFileError, InputError
from foundation.yaml_file import YamlDocument
from simulator.cluster.interference import ConstantPerNeighbour, Interference
from simulator.cluster.metrics import Metrics, metrics_of
from simulator.cluster.record import Record
from simulator.cluster.replay import Rules, replay
from simulator.cluster.trace import TICKS_PER_SECOND, MachineTrace, TaskTrace
from simulator.intervals import Uncertain, combined, half_width

MOST_SLICES = 20_000
"""Stays of tasks in a Chrome trace: viewers get slow beyond."""


@dataclass(frozen=True)
class Cluster:
    """The outcome of cluster replays: numbers by name with intervals over replications, for each placement.

    numbers, metrics and record are those of the asked placement (metrics and record: of the first replication).
    """

    file: str
    keys: ClusterKeys
    seed: int
    replications: int
    about: Mapping[str, Any]
    record: Record
    metrics: Metrics
    numbers: Mapping[str, Uncertain]
    hashes: tuple[str, ...]
    compared: Mapping[str, Mapping[str, Uncertain]]
    interference: Mapping[str, Any]
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values: SI units, each uncertain number as value, lo and hi."""
        from archcast.render.cluster import cluster_json

        return cluster_json(self)

    def text(self) -> str:
        """Return the answer for a terminal."""
        from archcast.render.cluster import cluster_text

        return cluster_text(self)

    def page(self) -> str:
        """Return the answer as one self-contained page."""
        from archcast.render.cluster import cluster_page

        return cluster_page(self)

    def to_chrome_trace(self) -> dict[str, Any]:
        """Return the first stays of tasks on machines, and what waits over time, in Chrome's trace format."""
        log, names = self.record.segments, self.record.machines.names
        rows = range(min(len(log["begin"]), MOST_SLICES))
        events: list[dict[str, Any]] = [
            {
                "name": f"attempt {log['attempt'][i]}" + (" (arriving)" if log["copy"][i] else ""), "ph": "X", "pid": 0,
                "tid": int(log["machine"][i]), "ts": float(log["begin"][i]),
                "dur": float(log["end"][i] - log["begin"][i]),
            }
            for i in rows
        ]  # fmt: skip
        used = sorted({event["tid"] for event in events})
        events += [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": tid, "args": {"name": names[tid]}} for tid in used
        ]
        series = self.metrics.series
        for at, waiting in zip(series.at_s.tolist(), series.waiting.tolist(), strict=True):
            events.append({"name": "waiting", "ph": "C", "pid": 0, "ts": at * 1e6, "args": {"tasks": waiting}})
        return {"traceEvents": events, "displayTimeUnit": "ms"}


def cluster_file(
    document: YamlDocument, settings: Mapping[str, Any] | None, seed: int, replications: int | None, file: str
) -> Cluster:  # fmt: skip
    """Simulate a file of kind `cluster`.

    Raises:
        BadFileError: with file, line and key (of the YAML file, or of a trace): what cannot be.
        PlugInError: a plug-in failed; its record is attached.
    """
    keys = read_cluster(document, settings)
    if replications is not None:
        keys = replace(keys, replications=replications)
    try:
        return _simulate(keys, seed, file)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(document.path, str(error)) from None


def _simulate(keys: ClusterKeys, seed: int, file: str) -> Cluster:
    placements = tuple(dict.fromkeys((keys.placement, *keys.compare)))
    drawn = keys.drawn or "random" in placements
    runs = keys.replications if drawn else 1
    model, card = _interference(keys, seed)
    numbers: dict[str, list[Mapping[str, float]]] = {name: [] for name in placements}
    hashes, first, about = list[str](), None, dict[str, Any]()
    trace: tuple[TaskTrace, MachineTrace] | None = None
    for run in range(runs):
        if trace is None or keys.drawn:
            trace = keys.source(seed, run)
        tasks, machines = trace
        hook = model(tasks) if model is not None else None
        for name in placements:
            record = replay(tasks, machines, _rules(keys, name, hook), seed + run)
            metrics = metrics_of(record, overload=keys.overload, idle_w=keys.idle_w, busy_w=keys.busy_w)
            numbers[name].append(metrics.numbers)
            if name == keys.placement:
                hashes.append(record.trace_hash())
                first = first or (record, metrics)
        about = about or _about(keys, tasks, machines)
    assert first is not None
    found = {name: _intervals(rows) for name, rows in numbers.items()}
    notes = _notes(keys, first[0], drawn)
    return Cluster(
        file, keys, seed, runs, about, *first, found[keys.placement], tuple(hashes), found, card, notes,
        _versions(card),
    )  # fmt: skip


def _rules(keys: ClusterKeys, placement: str, hook: Interference | None) -> Rules:
    return Rules(placement, keys.queue, keys.preemption, keys.evicted, keys.horizon_s, keys.migration, hook)


def _interference(keys: ClusterKeys, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return what makes a hook for a trace (None: none asked for), and what is to be said of it."""
    asked = keys.interference
    if asked is None:
        return None, {}
    if asked["kind"] == "constant":
        hook = ConstantPerNeighbour(asked["loss"])
        return (lambda tasks: hook), {"kind": "constant", "loss": asked["loss"]}
    from simulator.cluster.learned import LearnedInterference, evaluate, train

    scores = evaluate(scenarios=asked["scenarios"], seed=seed)
    model = train(scenarios=asked["scenarios"], seed=seed)
    card = {
        "kind": "learned", "synthetic": True, "scenarios": asked["scenarios"],
        "ratio_error": {score.name: score.to_json() for score in scores},
    }  # fmt: skip
    return (lambda tasks: LearnedInterference.of_trace(model, tasks)), card


def _intervals(rows: list[Mapping[str, float]]) -> dict[str, Uncertain]:
    """Return each number's mean and 95 % t interval over replications."""
    found = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        found[name] = combined(values, half_width(values))
    return found


def _about(keys: ClusterKeys, tasks: TaskTrace, machines: MachineTrace) -> dict[str, Any]:
    return {
        "trace": keys.trace_name, "task_events": len(tasks), "tasks": len(tasks.job), "ignored_events": tasks.ignored,
        "machines": len(machines.names), "machine_events": len(machines), "placement": keys.placement,
        "queue": keys.queue, "preemption": keys.preemption, "evicted": keys.evicted,
        "ticks_per_second": TICKS_PER_SECOND, "units": list(tasks.units.names),
    }  # fmt: skip


def _notes(keys: ClusterKeys, record: Record, drawn: bool) -> tuple[str, ...]:
    notes = []
    if keys.drawn:
        notes.append("The trace is made: synthetic, and it stands for no real cluster.")
    if not drawn:
        notes.append("Nothing is drawn at random here: one run is all there is.")
    counts = record.counts()
    if counts["waiting"]:
        notes.append(f"Waiting at the end: {counts['waiting']:,} tasks; their waits count as far as they went.")
    for reason, count in record.reasons.items():
        notes.append(f"{count:,} {'task' if count == 1 else 'tasks'} could not run to the end: {reason}.")
    if keys.interference and keys.interference["kind"] == "learned":
        notes.append("The interference model is trained on synthetic contention traces; tasks are given made profiles.")
    return tuple(notes)


def _versions(card: Mapping[str, Any]) -> dict[str, str]:
    from archcast import __version__

    found = {"archcast": __version__, "numpy": np.__version__}
    if card.get("kind") == "learned":
        import xgboost

        found["xgboost"] = xgboost.__version__
    return found
