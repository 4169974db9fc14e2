"""Measurements of others, read into the measurement table: one file a format, behind `costmodel.measured.base`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from costmodel.measured.base import DATA_SETS, ImportReport, ImportRequest, Piece, find_importer

__all__ = ["ImportReport", "data_sets", "read"]


def data_sets() -> dict[str, str]:
    """Return the measured data sets that `read` knows, and what each holds."""
    return {name: what for name, what, _ in DATA_SETS}


def read(
    name: str,
    path: str | Path | None = None,
    devices: tuple[str, ...] = (),
    *,
    options: Mapping[str, str] | None = None,
    report: ImportReport | None = None,
) -> Iterator[Piece]:
    """Yield the tables of an importer: `MeasurementTable` (operators) or `WorkloadMeasurements` (whole models).

    Args:
        name: one of `data_sets()`, or any importer of `costmodel.measured.base`.
        path: the folder of the data, or that of all data sets (None: the environment variable ARCHCAST_DATA).
        devices: catalogue ids; rows of others are left out (empty = all).
        options: the importer's own.
        report: gains what was read, used and left out, by reason.

    Raises:
        UnknownNameError: no such importer.
        BadFileError: no folder, or a file that cannot be used.
    """
    where = None if path is None else Path(path)
    request = ImportRequest(where, tuple(devices), options or {}, report=report or ImportReport())
    return find_importer(name).load(request)
