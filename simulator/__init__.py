"""What happens over time: a deterministic event engine, task graphs on engines and links, and their timelines.

Durations come in as seconds; this package does not know where they are from.
"""

from __future__ import annotations

from simulator.builder import TaskGraphBuilder
from simulator.engine import EventEngine, InvariantError
from simulator.graph_file import example_files, load_graph_file, simulate_file
from simulator.pipeline import pipeline_graph
from simulator.schedule import simulate_graph
from simulator.streams import RandomStreams
from simulator.tasks import Engine, TaskGraph
from simulator.timeline import Timeline

__all__ = [
    "Engine",
    "EventEngine",
    "InvariantError",
    "RandomStreams",
    "TaskGraph",
    "TaskGraphBuilder",
    "Timeline",
    "example_files",
    "load_graph_file",
    "pipeline_graph",
    "simulate_file",
    "simulate_graph",
]
