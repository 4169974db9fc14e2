"""A small search that tests share: 432 designs of a small network's layers."""

from __future__ import annotations

from functools import cache
from typing import Any

from archcast.searching.answer import SearchAnswer
from archcast.searching.run import search


def small(**changes: Any) -> dict[str, Any]:
    """Return a search file as a mapping; `space.rows=..` changes one knob."""
    data: dict[str, Any] = {
        "kind": "search", "workload": "resnet-18", "dtype": "int8",
        "space": {
            "rows": [8, 32], "cols": [8, 16, 64], "input_buffer_bytes": [1024, 65536],
            "weight_buffer_bytes": [4096, 131072], "output_buffer_bytes": [2048, 16384, 262144],
            "dataflow": ["ws", "os", "is"], "dram_bandwidth_bytes_per_s": [4e9, 32e9],
        },
        "constraints": {"max": {"area_mm2": 8}},
    }  # fmt: skip
    for key, value in changes.items():
        if key.startswith("space_"):
            data["space"][key.removeprefix("space_")] = value
        else:
            data[key] = value
    return data


@cache
def small_search() -> SearchAnswer:
    """Return the answer of the small search."""
    return search(small())
