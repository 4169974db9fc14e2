"""`validate`: measured data in, scores out."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.validation.cases import CASES, PEER, PEER_SIMUMAX, Case
from archcast.validation.networks import concat, score_networks
from archcast.validation.operators import Rows, score_operators
from archcast.validation.peers import peer_values
from archcast.validation.scoring import ALL, Line, Predictions, lines, score_line
from archcast.validation.splits import sample
from archcast.validation.unseen import Seen
from costmodel.measured.base import ImportReport, ImportRequest, find_importer
from costmodel.measured.data_files import ROOT_VARIABLE
from costmodel.protocol import CostModel
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from workloads.measurements import MeasurementTable
from workloads.table import OPS
from workloads.workload_measurements import WorkloadMeasurements

Progress = Callable[[str, float], None]
"""Told what is being done and the share of the whole that is done, in [0, 1]."""
UNKNOWN_NETWORK = "network '"
"""How importers begin the reason for a row whose network is not described here."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: its lines, or why there are none (`skipped`). `notes` are sentences that belong with it."""

    case: Case
    fitted: str
    lines: tuple[Line, ...] = ()
    skipped: str = ""
    notes: tuple[str, ...] = ()
    found: Predictions | None = None


@dataclass(frozen=True)
class Validation:
    """All cases. `model` is the artefact that was scored ('' = what each case fits)."""

    outcomes: tuple[Outcome, ...]
    seed: int
    model: str = ""

    @property
    def scored(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.lines]


def validate(
    data: str | Path | None = None, *, model: str | Path | None = None, only: Sequence[str] = (), seed: int = 0,
    cases: Sequence[Case] = CASES, progress: Progress = lambda _what, _share: None,
) -> Validation:  # fmt: skip
    """Score predictions against measured data; data that is absent is skipped, and the outcome says so.

    Args:
        data: the folder of data sets (None: the environment variable `ARCHCAST_DATA`, or none at all).
        model: an artefact to score in place of what each case fits, on rows that its card does not list as seen.
        only: names of cases, or how they begin.
        seed: decides samples and splits.

    Raises:
        BadFileError: the folder or the artefact cannot be used, or a file of the data is broken.
        UnknownNameError: `only` names no case. BadValueError: no case could be scored.
    """
    root = _root(data)
    chosen = _chosen(cases, only)
    artefact = find_cost_model(model) if model is not None else None
    seen = Seen.of(model) if model is not None else None
    outcomes = []
    for i, case in enumerate(chosen):

        def told(what: str, share: float, i: int = i, name: str = case.name) -> None:
            progress(f"{name}: {what}", (i + min(max(share, 0.0), 1.0)) / len(chosen))

        told("reading", 0.0)
        outcomes.append(_outcome(case, root, seed, artefact, seen, told))
    if not any(outcome.lines for outcome in outcomes):
        first = outcomes[0]
        raise BadValueError(f"Nothing could be scored: {first.case.name}: {first.skipped}.")
    return Validation(tuple(outcomes), seed, Path(model).name if model is not None else "")


def _root(data: str | Path | None) -> Path | None:
    named = data if data is not None else os.environ.get(ROOT_VARIABLE)
    if named is None:
        return None
    root = Path(named)
    if not root.is_dir():
        raise BadFileError(
            root, "there is no such folder of data sets.", hint=f"Name it with --data, or {ROOT_VARIABLE}."
        )
    return root


def _chosen(cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    for name in only:
        if not any(case.name.startswith(name) for case in cases):
            raise UnknownNameError("case of validate", name, [case.name for case in cases])
    return [case for case in cases if not only or any(case.name.startswith(name) for name in only)]


def _outcome(
    case: Case, root: Path | None, seed: int, artefact: CostModel | None, seen: Seen | None, progress: Progress
) -> Outcome:  # fmt: skip
    fitted = "the artefact" if artefact is not None else case.fitted
    if why := absent(case, root):
        return Outcome(case, fitted, skipped=why)
    if case.scorer == "evaluation":
        return _evaluation(case, root, seed, artefact)
    report = ImportReport()
    path = None if case.package else root
    if case.importer == "aiconfigurator" and root is not None and path is not None:
        path = root / case.folder
    request = ImportRequest(path, options=dict(case.options), report=report,
                            progress=lambda what, share: progress(what, 0.4 * share))  # fmt: skip
    pieces = find_importer(case.importer).load(request)
    if case.scorer == "operators":
        return _operators(case, pieces, seed, artefact, seen, fitted, progress)
    return _networks(case, pieces, report, root, seed, artefact, fitted, progress)


def _evaluation(case: Case, root: Path | None, seed: int, artefact: CostModel | None) -> Outcome:
    if artefact is not None:
        return Outcome(case, case.fitted, skipped="a method of its own, in which the artefact has no part")
    try:
        from archcast.validation.evaluated import evaluated

        found = evaluated(case.name, root or Path(), seed, case.least_answered)
    except ModuleNotFoundError as error:
        return Outcome(case, case.fitted, skipped=f"it needs {error.name}, which is not installed")
    return Outcome(case, case.fitted, tuple(found))


def absent(case: Case, root: Path | None) -> str:
    """Return why a case's data is not there, '' where it is."""
    if case.package:
        there = importlib.util.find_spec(case.package) is not None
        return "" if there else f"the package {case.package.replace('_', '-')} is not installed"
    if root is None:
        return f"no folder of data is named (--data, or {ROOT_VARIABLE})"
    return "" if (root / case.folder).is_dir() else f"there is no folder {case.folder} in the data"


def _operators(
    case: Case, pieces: Any, seed: int, artefact: CostModel | None, seen: Seen | None, fitted: str, progress: Progress
) -> Outcome:  # fmt: skip
    tables = []
    for piece in pieces:
        if isinstance(piece, MeasurementTable) and (kept := _kept(case, piece, seed)).rows:
            tables.append(kept)
    notes: list[str] = [case.note] if case.note else []
    if seen is not None:
        tables, left_out = seen.unseen(tables)
        if left_out:
            notes.append(f"{left_out:,} rows are left out: the artefact may have been trained on them")
    if not tables:
        return Outcome(case, fitted, skipped="no row is left to score", notes=tuple(notes))
    rows = Rows(tables)
    if case.share < 1:
        notes.append(f"{case.share:.0%} of the rows of each group are used")
    keep = sample(rows.groups("shape" if case.split.by == "device" else case.split.by), case.most_rows, seed)
    if not keep.all():
        notes.append(f"{int(keep.sum()):,} of {rows.rows:,} rows are used")
        rows = Rows(rows.taken(keep))
    try:
        found = score_operators(case, rows, seed, artefact, lambda share: progress("scoring", 0.4 + 0.6 * share))
    except BadValueError as error:
        return Outcome(case, fitted, skipped=str(error).rstrip("."), notes=tuple(notes))
    return _scored(case, fitted, found, 1.0, notes)


def _kept(case: Case, piece: MeasurementTable, seed: int) -> MeasurementTable:
    """Return the rows of a piece that the case compares: its operators, measured, and the share that it reads."""
    keep = piece.value(case.quantity) > 0
    if case.ops:
        keep &= np.isin(piece.table.full("op"), [OPS.index(op) for op in case.ops])
    if case.share < 1:
        keep &= np.random.default_rng([seed, piece.rows]).random(piece.rows) < case.share
    return replace(piece.take(np.flatnonzero(keep)), raw={})


def _networks(
    case: Case, pieces: Any, report: ImportReport, root: Path | None, seed: int, artefact: CostModel | None,
    fitted: str, progress: Progress,
) -> Outcome:  # fmt: skip
    tables = []
    for piece in pieces:
        if isinstance(piece, WorkloadMeasurements):
            good = np.flatnonzero(piece.value(case.quantity) > 0)
            if len(good):
                tables.append(piece.take(good))
    stray = sum(n for reason, n in report.skipped.items() if reason.startswith(UNKNOWN_NETWORK))
    known_share = report.mapped / max(report.mapped + stray, 1)
    notes: list[str] = [case.note] if case.note else []
    if stray:
        notes.append(f"{stray:,} rows of networks that are not described here count as not answered")
    if not tables:
        return Outcome(case, fitted, skipped="no row is left to score", notes=tuple(notes))
    table = concat(tables)
    keep = sample(table.groups(), case.most_rows, seed)
    if not keep.all():
        notes.append(f"{int(keep.sum()):,} of {table.rows:,} rows are used")
        table = table.take(np.flatnonzero(keep))
    peers = peer_values(case.peer, root, table, case.quantity) if case.peer and root is not None else None
    found, reasons = score_networks(
        case, table, seed, artefact, peers, lambda share: progress("predicting", 0.4 + 0.6 * share)
    )
    notes += [f"{rows:,} rows refused: {reason}" for reason, rows in
              sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:2]]  # fmt: skip
    return _scored(case, fitted, found, known_share, notes)


def _scored(case: Case, fitted: str, found: Predictions | None, known_share: float, notes: list[str]) -> Outcome:
    if found is None:
        return Outcome(case, fitted, skipped="all rows are in one group, so none can be held out", notes=tuple(notes))
    out = lines(found, case.least_answered, known_share)
    for peer in (PEER, PEER_SIMUMAX):
        answered = np.isfinite(found.baselines[peer]) if peer in found.baselines else np.zeros(0, dtype=bool)
        if answered.any() and not answered.all():
            same = found.take(answered)
            out.append(score_line(same, ALL, f"that {peer} answers", case.least_answered, 1.0))
    return Outcome(case, fitted, tuple(out), notes=tuple(notes), found=found)
