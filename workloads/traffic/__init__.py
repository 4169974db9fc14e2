"""What arrives: traces and generators of requests."""

from __future__ import annotations

from workloads.traffic.arrivals import Arrivals
from workloads.traffic.lengths import Lengths
from workloads.traffic.model import TrafficModel
from workloads.traffic.named import NAMES
from workloads.traffic.specification import draw, named_traffic, traffic_model
from workloads.traffic.stream import Traffic
from workloads.traffic.traces import read_traffic, write_traffic

__all__ = [
    "NAMES", "Arrivals", "Lengths", "Traffic", "TrafficModel", "draw", "named_traffic", "read_traffic", "traffic_model",
    "write_traffic",
]  # fmt: skip
