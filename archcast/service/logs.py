"""One JSON line a request on stderr, written a few at a time so that the event loop never waits for a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import orjson

FLUSH_S = 0.1
MOST_LINES = 200


class RequestLog:
    """Lines that wait to be written. They hold no tokens, no bodies and no paths that a stranger made up."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def request(self, request_id: str, method: str, route: str, status: int, seconds: float, rows: int,
                hit: bool | None) -> None:  # fmt: skip
        """Note one request."""
        line = {"time_s": round(time.time(), 3), "id": request_id, "method": method, "route": route, "status": status,
                "ms": round(seconds * 1e3, 3), "rows": rows}  # fmt: skip
        if hit is not None:
            line["cache"] = "hit" if hit else "miss"
        self.add(line)

    def add(self, line: dict[str, Any]) -> None:
        """Note a line; it is written within a tenth of a second."""
        if not self.on:
            return
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what waits; a reader of stderr that left is no reason to fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            try:
                sys.stderr.flush()
                os.write(2, b"".join(lines))
            except OSError:
                pass
