"""`calibrate`: measurement tables and imports in, an artefact and its held-out scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.import_options import asked_import
from archcast.repeats import SKIPPED, settled
from costmodel.artefact import MODEL, Card, power_bytes, save_artefact
from costmodel.calibration import calibrate as fit
from costmodel.measured.base import ImportReport, ImportRequest, find_importer
from costmodel.measured.rows import MOST_ROWS, RULE, Exclusion, thin
from foundation.checks import whole_number
from foundation.errors import BadValueError
from hardware_specs import load_device
from workloads.measurements import MeasurementTable, read_measurements

Progress = Callable[[str, float | None], None]
"""Told what is being done and the share of it that is done, None where that is not known."""


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` did: the card of the artefact in `folder`, and the rows that were skipped, with reasons.

    `imports` holds what each import read, used and left out; `thinned` the rows used and the rows there were of each
    'device/op' that had too many.
    """

    folder: str
    card: Card
    skipped: tuple[str, ...]
    imports: Mapping[str, ImportReport] = field(default_factory=dict)
    thinned: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON values."""
        imports = {name: report.to_json() for name, report in self.imports.items()}
        return {"folder": self.folder, "skipped": list(self.skipped), "imports": imports, **self.card.to_json()}

    def text(self) -> str:
        """Return the held-out scores for a terminal, one line an operator family, beside the roofline."""
        head = ("held-out", "n", "MAPE", "median", "p90", "covered", "closed form", "roofline")
        lines = ["{:24}{:>8}{:>8}{:>8}{:>8}{:>9}{:>13}{:>10}".format(*head)]
        for name, s in self.card.scores.items():
            shares = (s.mape, s.median, s.p90, s.coverage)
            lines.append(
                f"{name[:23]:24}{s.rows:8,}"
                + "".join(f"{share:{width}.1%}" for share, width in zip(shares, (8, 8, 8, 9), strict=True))
                + f"{s.physics_mape:13.1%}{s.roofline_mape:10.1%}"
            )
        for name, report in self.imports.items():
            lines += [f"{name}: {line}" for line in report.text().split("\n")]
        lines += [f"thinned: {name} to {kept:,} of {rows:,} rows" for name, (kept, rows) in self.thinned.items()]
        lines += [f"skipped: {reason}" for reason in self.skipped]
        return "\n".join([*lines, f"The artefact is in {self.folder}; ask with --model {self.folder}."])


def _silent(_what: str, _share: float | None = None) -> None:
    """Tell nobody."""


def calibrate(
    measurements: str | Path | Iterable[str | Path] = (), *, out: str | Path, skip_bad: bool = False, seed: int = 0,
    imports: Sequence[str] = (), devices: Sequence[str] = (), exclude: str | Path | None = None, column_map: str = "",
    max_rows: int = MOST_ROWS, base: str | Path | None = None, progress: Progress = _silent,
) -> Calibration:  # fmt: skip
    """Fit a cost model to measured operators and write it to the folder `out`.

    Args:
        measurements: measurement tables (docs/measurements.md), or tables of their own columns with `column_map`.
        imports: importers by name, each `NAME` or `NAME=PATH`, with options of the importer behind it
            (`kineto=trace.json.gz,workload=bert-base,batch=2`).
        devices: only rows of these devices are used (ids or aliases; empty = all).
        exclude: a measurement table whose shape groups are left out of all data, so that they stay unseen.
        column_map: how to read `measurements`, e.g. `m=M,latency_s=ms*1e-3,op:gemm`.
        max_rows: of more, the largest (device, operator) families are thinned; the card says by how much.
        base: the folder of an artefact of other devices to start from; 10 to 50 rows of a new device then suffice.
        progress: told what is being done.

    Raises:
        BadFileError: a table cannot be used (file, row and column are named), or `out` holds something else.
        BadValueError: too few rows or groups, or latencies in another unit.
        UnknownNameError: an importer, a device or a column that is not known.
        UnsupportedError: the package that an import needs is absent.
    """
    files = [measurements] if isinstance(measurements, (str, Path)) else list(measurements)
    if not files and not imports:
        raise BadValueError("There is nothing to calibrate from: name measurement tables, or --import NAME.")
    wanted = tuple(dict.fromkeys(load_device(name).id for name in devices))
    excluded = Exclusion.of(read_measurements(Path(exclude))) if exclude is not None else None
    reports: dict[str, ImportReport] = {}
    sources = [*_from_files(files, skip_bad, column_map, reports)]
    sources += [_from_import(text, wanted, column_map, reports, progress) for text in dict.fromkeys(imports)]
    tables, skipped = _gathered(sources, wanted, excluded, reports)
    thinned = thin(tables, whole_number("max_rows", max_rows))
    card = fit(tables, out, seed=seed, base=base, progress=lambda what: progress(what, None))
    about = _about(reports, wanted, exclude)
    if thinned:
        about["thinned"] = {"max_rows": max_rows, "rule": RULE, "kept_of": {n: list(k) for n, k in thinned.items()}}
    model_json = (Path(out) / MODEL).read_bytes()
    card = save_artefact(out, model_json, replace(card, settings={**card.settings, "data": about}), power_bytes(out))
    told = {name: report for name, report in reports.items() if name in imports or report.skipped}
    return Calibration(str(out), card, tuple(skipped), told, thinned)


Source = tuple[str, Iterable[MeasurementTable]]


def _gathered(
    sources: Iterable[Source], devices: tuple[str, ...], excluded: Exclusion | None, reports: Mapping[str, ImportReport]
) -> tuple[list[MeasurementTable], list[str]]:  # fmt: skip
    """Return the tables of all sources with the rows to use, and the bad rows that were skipped."""
    skipped: list[str] = []
    tables: list[MeasurementTable] = []
    for name, source in sources:
        for table in source:
            skipped += [str(reason) for reason in table.skipped]
            kept = _kept(table, devices, excluded, reports[name])
            if kept.rows:
                tables.append(replace(kept, raw={}))  # the columns as they stood are not needed again: half the memory
    if not tables:
        raise BadValueError("No measured operators are left to calibrate from: all rows were left out.")
    return tables, skipped


def _from_files(
    files: Sequence[str | Path], skip_bad: bool, column_map: str, reports: dict[str, ImportReport]
) -> Iterator[Source]:
    """Yield each file's name and its table, read when it is asked for."""
    for number, file in enumerate(files):
        path = Path(file)
        name = path.name if path.name not in reports else f"{path.name} ({number + 1})"
        reports[name] = ImportReport()
        if column_map:
            options = {"map": column_map, **({"skip_bad": "yes"} if skip_bad else {})}
            request = ImportRequest(path, options=options, report=reports[name])
            yield name, (_settled(table, skip_bad, reports[name]) for table in _operators("csv", request))
        else:
            yield name, _read(path, skip_bad, reports[name])


def _read(path: Path, skip_bad: bool, report: ImportReport) -> Iterator[MeasurementTable]:
    table = read_measurements(path, skip_bad=skip_bad)
    bad = len({fault.row for fault in table.skipped})
    report.read += table.rows + bad
    report.mapped += table.rows
    report.skip("a bad row", bad)
    yield _settled(table, skip_bad, report)


def _settled(table: MeasurementTable, skip_bad: bool, report: ImportReport) -> MeasurementTable:
    """Return a table of the user's with one row an operator. Raises BadFileError where rows contradict each other."""
    found = settled(table, skip_bad=skip_bad)
    if found.rows < table.rows:
        _leave_out(report, SKIPPED, table.rows - found.rows)
    return found


def _from_import(
    text: str, devices: tuple[str, ...], column_map: str, reports: dict[str, ImportReport], progress: Progress
) -> Source:  # fmt: skip
    name, path, options = asked_import(text)
    find_importer(name)  # an unknown name is told before anything is read
    reports[text] = ImportReport()
    if name == "csv" and column_map:
        options = {"map": column_map, **options}
    request = ImportRequest(
        path, devices, options, progress=lambda what, share: progress(f"{name}: {what}", share), report=reports[text],
    )  # fmt: skip
    return text, _operators(name, request)


def _operators(importer: str, request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield an importer's tables of operators; whole models are counted and left out."""
    for piece in find_importer(importer).load(request):
        if isinstance(piece, MeasurementTable):
            yield piece
        else:
            _leave_out(request.report, "whole models; operators are what is fitted", piece.rows)


def _leave_out(report: ImportReport, reason: str, rows: int) -> None:
    report.mapped -= rows
    report.skip(reason, rows)


def _kept(
    table: MeasurementTable, devices: tuple[str, ...], excluded: Exclusion | None, report: ImportReport
) -> MeasurementTable:
    """Return the rows of the devices asked for that are not excluded; counts the others."""
    keep = np.ones(table.rows, dtype=bool)
    if devices:
        ids = {name: load_device(name).id if name else "" for name in set(table.device.tolist())}
        keep &= np.isin([ids[name] for name in table.device.tolist()], devices)
        _leave_out(report, "a device that was not asked for", int((~keep).sum()))
    if excluded is not None:
        held = keep & excluded.mask(table)
        _leave_out(report, "a shape that is held out", int(held.sum()))
        keep &= ~held
    return table if keep.all() else table.take(np.flatnonzero(keep))


def _source(text: str) -> str:
    """Return a file's name, or an import as it was asked for, without folders."""
    if "=" not in text:
        return text
    name, path, options = asked_import(text)
    first = f"{name}={path.name}" if path is not None else name
    return ",".join([first, *(f"{key}={Path(value).name}" for key, value in options.items())])


def _about(reports: Mapping[str, ImportReport], devices: tuple[str, ...], exclude: str | Path | None) -> dict[str, Any]:
    """Return what the card says of the data: rows by source, and what was left out and why (no folders)."""
    sources = {_source(name): report.to_json() for name, report in reports.items()}
    about: dict[str, Any] = {"sources": sources}
    if devices:
        about["devices"] = list(devices)
    if exclude is not None:
        path = Path(exclude)
        about["excluded"] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return about
