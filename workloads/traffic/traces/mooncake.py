"""Mooncake traces (FAST'25 release): JSON lines with the hash ids of the prompt's blocks of 512 tokens."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from workloads.traffic.traces.base import Row, TraceReader, Wrong, finite, whole

KEYS = ("timestamp", "input_length", "output_length", "hash_ids")


class MooncakeReader(TraceReader):
    """`timestamp` is in ms from the start of the trace; `hash_ids` may be absent."""

    format: ClassVar[str] = "Mooncake"
    header: ClassVar[str] = '{"timestamp": ms, "input_length": .., "output_length": .., "hash_ids": [..]}'
    has_header: ClassVar[bool] = False

    @staticmethod
    def knows(first_line: str) -> bool:
        return first_line.lstrip().startswith("{")

    def row(self, text: str) -> Row:
        data = _object(text)
        ids = data.get("hash_ids", [])
        if not isinstance(ids, list):
            raise Wrong(f"hash_ids must be a list of whole numbers, not {str(ids)[:40]!r}.")
        return Row(
            finite("timestamp", data["timestamp"]) / 1e3, whole("input_length", data["input_length"]),
            whole("output_length", data["output_length"]), prefix=[whole("hash_ids", one) for one in ids],
        )  # fmt: skip


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Wrong(f"the line is not JSON: {text[:60]!r}.") from None
    if not isinstance(data, dict):
        raise Wrong(f"a line must be a JSON object, not {text[:60]!r}.")
    for key in KEYS[:3]:
        if key not in data:
            raise Wrong(f"'{key}' is missing.")
    return data
