"""Readers of request traces, one file a format; `read_traffic` knows a format by the first line of the file."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import BadFileError
from workloads.traffic.stream import Traffic
from workloads.traffic.traces.azure import AzureReader
from workloads.traffic.traces.base import TraceReader, read_with
from workloads.traffic.traces.lines import check_size, first_line
from workloads.traffic.traces.mooncake import MooncakeReader
from workloads.traffic.traces.own import OwnReader, write_traffic

__all__ = ["READERS", "TraceReader", "read_traffic", "write_traffic"]

READERS: tuple[type[TraceReader], ...] = (AzureReader, MooncakeReader, OwnReader)


def read_traffic(path: str | Path, *, sort: bool = False, drop_empty: bool = False) -> Traffic:
    """Return the requests of a trace: Azure CSV, Mooncake JSON lines or archcast CSV, each also as `.gz`.

    Times are seconds; those of Azure count from the first request. Out-of-order times are refused unless `sort`, and
    requests with no prompt or nothing to generate are refused unless `drop_empty`, which leaves them out.

    Raises:
        BadFileError: absent, too large, of no known format, or a row that cannot be a request (with its line).
    """
    check_size(path)
    head = first_line(path)
    for reader in READERS:
        if reader.knows(head):
            return read_with(reader(), path, sort=sort, drop_empty=drop_empty)
    known = "; ".join(f"{reader.format}: {reader.header}" for reader in READERS)
    raise BadFileError(
        path, f"the first line is none of a trace that is known: {head[:80]!r}.", line=1, hint=f"Known are {known}."
    )
