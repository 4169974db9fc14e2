"""What the environment `npu-array` starts from; the space itself is `archcast.searching.npu_array`."""

from __future__ import annotations

from typing import Any

import numpy as np

from archcast.searching.space import Columns
from workloads.table import Array

SPACE: dict[str, Any] = {
    "rows": {"from": 8, "to": 256, "times": 2}, "cols": {"from": 8, "to": 256, "times": 2},
    "input_buffer_bytes": {"from": "8 KiB", "to": "4 MiB", "times": 2},
    "weight_buffer_bytes": {"from": "8 KiB", "to": "4 MiB", "times": 2},
    "output_buffer_bytes": {"from": "8 KiB", "to": "4 MiB", "times": 2}, "dataflow": ["ws", "os", "is"],
    "dram_bandwidth_bytes_per_s": ["3.2 GB/s", "6.4 GB/s", "12.8 GB/s", "25.6 GB/s", "51.2 GB/s"],
}  # fmt: skip
WORKLOAD = "resnet-18"
OBJECTIVES = ("latency_s", "energy_j", "area_mm2")


def extra_values(columns: Columns) -> dict[str, Array]:
    """Return `memory_bytes`: the buffers on the chip."""
    buffers = columns["input_buffer_bytes"] + columns["weight_buffer_bytes"] + columns["output_buffer_bytes"]
    each = buffers * columns.get("cores", 1)
    return {"memory_bytes": np.asarray(each + columns.get("shared_bytes", 0), dtype=float)}
