"""What arrives: traces and generators of requests."""

from __future__ import annotations

from workloads.traffic.stream import Traffic
from workloads.traffic.traces import read_traffic, write_traffic

__all__ = ["Traffic", "read_traffic", "write_traffic"]
