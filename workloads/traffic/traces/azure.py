"""Azure LLM inference traces (Microsoft Azure Public Dataset): CSV of UTC times and token counts."""

from __future__ import annotations

import re
from datetime import date
from typing import ClassVar

from workloads.traffic.traces.base import Row, TraceReader, Wrong, cells, whole

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII
)


class AzureReader(TraceReader):
    """`TIMESTAMP` is UTC with up to nine decimals; arrivals count from the first row."""

    format: ClassVar[str] = "Azure"
    header: ClassVar[str] = ",".join(COLUMNS)
    from_first: ClassVar[bool] = True

    def __init__(self) -> None:
        self._first_ns: int | None = None

    @staticmethod
    def knows(first_line: str) -> bool:
        return tuple(cell.strip() for cell in first_line.split(",")) == COLUMNS

    def row(self, text: str) -> Row:
        stamp, prompt, generate = cells(text, len(COLUMNS))
        at_ns = _nanoseconds(stamp)
        if self._first_ns is None:
            self._first_ns = at_ns
        return Row((at_ns - self._first_ns) / 1e9, whole(COLUMNS[1], prompt), whole(COLUMNS[2], generate))


def _nanoseconds(stamp: str) -> int:
    """Return a UTC time stamp as whole nanoseconds (floats of this size would lose the last digits)."""
    found = _TIME.fullmatch(stamp)
    if not found:
        raise Wrong(f"TIMESTAMP must read as 2023-11-16 18:15:46.6805900 (UTC), not {stamp[:40]!r}.")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        raise Wrong(f"there is no such day: {stamp[:10]}.") from None
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 10**9 + int((found[7] or "").ljust(9, "0"))
