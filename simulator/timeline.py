"""The timeline of a run: when each task started and ended, what that says about the engines, and its exports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simulator.clock import Ticks, to_seconds
from simulator.dag import Indices
from simulator.invariants import busy_and_idle
from simulator.tasks import TaskGraph


@dataclass(frozen=True, eq=False)
class Timeline:
    """Columns in program order: task i of the graph ran from `start_ticks[i]` to `end_ticks[i]`.

    `cause[i]` is the task whose end let task i start (-1 at the start), `events` the number of simulated events.
    """

    graph: TaskGraph
    start_ticks: Ticks
    end_ticks: Ticks
    cause: Indices
    policy: str
    events: int

    def __post_init__(self) -> None:
        for column in (self.start_ticks, self.end_ticks, self.cause):
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.graph)

    @cached_property
    def makespan_ticks(self) -> int:
        """End of the last task."""
        return int(self.end_ticks.max()) if len(self) else 0

    @property
    def makespan_s(self) -> float:
        """End of the last task, in seconds."""
        return self.makespan_ticks / self.graph.ticks_per_second

    @cached_property
    def busy_ticks(self) -> list[int]:
        """Per engine, the ticks in which at least one task ran."""
        return [busy for busy, _ in self._busy_and_idle]

    @cached_property
    def idle_ticks(self) -> list[int]:
        """Per engine, the ticks in which no task ran; busy + idle is the makespan."""
        return [idle for _, idle in self._busy_and_idle]

    @cached_property
    def utilisation(self) -> dict[str, float]:
        """Per engine name, the share of its capacity that was used: work / (capacity x makespan)."""
        span = max(self.makespan_ticks, 1)
        pairs = zip(self.graph.engines, self.graph.work_ticks, strict=True)
        return {engine.name: work / (engine.capacity * span) for engine, work in pairs}

    @cached_property
    def critical_tasks(self) -> tuple[int, ...]:
        """The chain of tasks that sets the makespan: each started when the one before it ended, for want of its
        result or of its engine. Their times on the engines add up to the makespan."""
        if not len(self):
            return ()
        chain = [int(np.argmax(self.end_ticks))]
        while self.cause[chain[-1]] >= 0:
            chain.append(int(self.cause[chain[-1]]))
        return tuple(reversed(chain))

    @property
    def critical_path(self) -> tuple[str, ...]:
        """The names of `critical_tasks`."""
        return tuple(self.graph.names[task] for task in self.critical_tasks)

    @cached_property
    def trace_hash(self) -> str:
        """SHA-256 over the engines, the tasks and their times: equal input gives an equal hash on every machine."""
        digest = hashlib.sha256(b"archcast timeline 1\n")
        for names in (tuple(e.name for e in self.graph.engines), self.graph.names):
            for name in names:
                raw = name.encode("utf-8", "surrogatepass")
                digest.update(len(raw).to_bytes(4, "little") + raw)
        for column in (self.graph.task_engine, self.start_ticks, self.end_ticks):
            digest.update(column.astype("<i8").tobytes())
        digest.update(self.graph.ticks_per_second.to_bytes(8, "little"))
        return digest.hexdigest()

    def columns(self) -> dict[str, Any]:
        """Return one row a task: name, engine, category, start and end in ticks and seconds, critical or not."""
        graph, rate = self.graph, self.graph.ticks_per_second
        engines = np.array([e.name for e in graph.engines], dtype=object)
        critical = np.zeros(len(self), dtype=bool)
        critical[list(self.critical_tasks)] = True
        return {
            "task": list(graph.names),
            "engine": engines[graph.task_engine].tolist() if len(self) else [],
            "category": list(graph.category),
            "start_ticks": self.start_ticks,
            "end_ticks": self.end_ticks,
            "start_s": to_seconds(self.start_ticks, rate),
            "end_s": to_seconds(self.end_ticks, rate),
            "critical": critical,
        }

    def summary(self) -> dict[str, Any]:
        """Return the answer in short, ready for JSON: SI units, names that end in their unit."""
        graph, rate = self.graph, self.graph.ticks_per_second
        low, high = graph.bounds_ticks
        return {
            "makespan_s": self.makespan_s,
            "critical_path_s": graph.critical_path_ticks / rate,
            "lower_bound_s": low / rate,
            "serial_s": high / rate,
            "policy": self.policy,
            "tasks": len(self),
            "events": self.events,
            "engines": [
                {
                    "name": engine.name,
                    "kind": engine.kind,
                    "device": engine.device,
                    "busy_s": busy / rate,
                    "idle_s": idle / rate,
                    "utilisation": self.utilisation[engine.name],
                }
                for engine, busy, idle in zip(graph.engines, self.busy_ticks, self.idle_ticks, strict=True)
            ],
            "critical_tasks": list(self.critical_path),
            "trace_hash": self.trace_hash,
        }

    def to_chrome_trace(self, *, flows: bool = True) -> dict[str, Any]:
        """Return the timeline in Chrome's trace event format, which Perfetto loads (see `simulator.chrome_trace`)."""
        from simulator.chrome_trace import chrome_trace

        return chrome_trace(self, flows=flows)

    def to_svg(self, *, width_px: int = 1120, title: str = "Timeline") -> str:
        """Return a self-contained SVG drawing (see `simulator.timeline_svg`)."""
        from simulator.timeline_svg import timeline_svg

        return timeline_svg(self, width_px=width_px, title=title)

    def to_figure(self, path: str | Path, *, title: str = "Timeline") -> Path:
        """Draw the timeline with matplotlib into `path` (png, pdf or svg) and return the path.

        Raises:
            UnsupportedError: matplotlib is absent, or it does not know the suffix.
        """
        from simulator.timeline_figure import timeline_figure

        return timeline_figure(self, Path(path), title=title)

    @cached_property
    def _busy_and_idle(self) -> list[tuple[int, int]]:
        graph = self.graph
        order = np.argsort(graph.task_engine, kind="stable")
        edges = np.searchsorted(graph.task_engine[order], np.arange(1, len(graph.engines)))
        return [
            busy_and_idle(self.start_ticks[tasks], self.end_ticks[tasks], self.makespan_ticks)
            for tasks in (np.split(order, edges) if graph.engines else [])
        ]
