"""Reading for `validate`: operators are thinned as they are read, once for all cases and seeds that share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.validation.case import Case
from costmodel.measured.base import ImportReport, ImportRequest, find_importer
from foundation.formats import FORMAT_CODES
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array
from workloads.workload_measurements import WorkloadMeasurements

THIN_SEED = 0
"""What is read does not depend on the seed of a run, so that all seeds split the same rows."""
KERNEL = "device, stack, operator, formats, phase"


@dataclass
class Read:
    """What an importer gave of a case: operators and whole models, how many operator rows there were, its report.

    `most` is how many rows of each kernel were kept (0 = all).
    """

    operators: list[MeasurementTable]
    networks: list[WorkloadMeasurements]
    rows: int
    report: ImportReport
    most: int = 0

    def thinned(self, most: int) -> Read:
        """Return the same with fewer rows of each kernel."""
        if most == self.most or not most:
            return self
        fewer = [table.take(thinned(table, most)) for table in self.operators]
        return replace(self, operators=[table for table in fewer if table.rows], most=most)


@dataclass
class Sources:
    """Reads the data of cases. `full` reads every row, in place of a case's sample."""

    root: Path | None
    full: bool = False
    _kept: dict[Any, Read] = field(default_factory=dict)

    def read(self, case: Case, progress: Callable[[str, float], None]) -> Read:
        """Return what a case compares. Raises BadFileError, UnsupportedError."""
        key = (case.importer, case.folder, case.package, case.scorer == "workloads", tuple(case.options.items()),
               case.quantity, case.ops, case.stack, case.dtype, case.reads)  # fmt: skip
        most = 0 if self.full else case.kernel_rows
        if key not in self._kept or 0 < self._kept[key].most < (most or np.inf):
            self._kept = {k: r for k, r in self._kept.items() if k[2]}  # only the package's tables serve several cases
            self._kept[key] = self._read(case, most, progress)
        return self._kept[key].thinned(most)

    def _read(self, case: Case, most: int, progress: Callable[[str, float], None]) -> Read:
        report = ImportReport()
        path = None if case.package else self.root
        if case.importer == "aiconfigurator" and self.root is not None and path is not None:
            path = self.root / case.folder
        request = ImportRequest(path, case.reads, options=dict(case.options), report=report, progress=progress)
        found = Read([], [], 0, report, most)
        for piece in find_importer(case.importer).load(request):
            if isinstance(piece, MeasurementTable) and case.scorer != "workloads":
                some = piece.take(np.flatnonzero(_wanted(case, piece)))
                found.rows += some.rows
                some = some.take(thinned(some, most)) if most else some
                if some.rows:
                    found.operators.append(replace(some, raw={}))
            elif isinstance(piece, WorkloadMeasurements) and case.scorer == "workloads":
                good = np.flatnonzero(piece.value(case.quantity) > 0)
                if len(good):
                    found.networks.append(piece.take(good))
        return found


def _wanted(case: Case, piece: MeasurementTable) -> Array:
    """Return the rows that a case compares: its operators, stack and format, measured."""
    keep = piece.value(case.quantity) > 0
    if case.ops:
        keep &= np.isin(piece.table.full("op"), [OPS.index(op) for op in case.ops])
    if case.dtype:
        keep &= piece.table.full("dtype") == FORMAT_CODES[case.dtype]
    if case.stack:
        keep &= np.char.startswith(piece.software.astype(str), case.stack)
    return np.asarray(keep)


def thinned(table: MeasurementTable, most: int) -> Array:
    """Return the indices of at most `most` random rows of each kernel (device, stack, operator, formats, phase)."""
    ops = table.table
    codes = [np.unique(c.astype(str), return_inverse=True)[1] for c in (table.device, table.software)]
    codes += [ops.full(name).astype(np.int64) for name in ("op", "dtype", "kv_dtype", "phase")]
    if table.rows == 0:
        return np.zeros(0, dtype=np.intp)
    kernel = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel()
    order = np.random.default_rng(THIN_SEED).permutation(table.rows)
    order = order[np.argsort(kernel[order], kind="stable")]
    counts = np.bincount(kernel)
    place = np.arange(table.rows) - np.repeat(np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    return np.asarray(np.sort(order[place < most]))
