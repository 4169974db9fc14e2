"""`validate`: measured data in, scores out."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.validation.case import Case
from archcast.validation.cases import CASES, PEER, PEER_SIMUMAX
from archcast.validation.devices import score_devices
from archcast.validation.networks import concat, score_networks
from archcast.validation.operators import score_operators
from archcast.validation.peers import peer_values
from archcast.validation.rows import Rows
from archcast.validation.scoring import ALL, Line, Predictions, lines, score_line
from archcast.validation.seeds import over_seeds
from archcast.validation.sources import KERNEL, Read, Sources
from archcast.validation.splits import sample
from archcast.validation.unseen import Seen
from costmodel.measured.data_files import ROOT_VARIABLE
from costmodel.protocol import CostModel
from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError, UnknownNameError

Progress = Callable[[str, float], None]
"""Told what is being done and the share of the whole that is done, in [0, 1]."""
UNKNOWN_NETWORK = "network '"
"""How importers begin the reason for a row whose network is not described here."""
MOST_SEEDS = 100


@dataclass(frozen=True)
class Outcome:
    """What came of a case: its lines, or why there are none (`skipped`). `notes` are sentences that belong with it.

    `runs` holds the lines of each seed, `lines` their means; `found` are the predictions of the first seed.
    """

    case: Case
    fitted: str
    lines: tuple[Line, ...] = ()
    skipped: str = ""
    notes: tuple[str, ...] = ()
    found: Predictions | None = None
    runs: tuple[tuple[Line, ...], ...] = ()


@dataclass(frozen=True)
class Validation:
    """All cases. `model` is the artefact that was scored ('' = what each case fits); `full`: nothing is thinned."""

    outcomes: tuple[Outcome, ...]
    seed: int
    model: str = ""
    seeds: int = 1
    full: bool = False

    @property
    def scored(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.lines]


@dataclass
class _Run:
    """What all cases of one run share."""

    sources: Sources
    artefact: CostModel | None
    seen: Seen | None


def validate(
    data: str | Path | None = None, *, model: str | Path | None = None, only: Sequence[str] = (), seed: int = 0,
    seeds: int = 1, full: bool = False, cases: Sequence[Case] = CASES,
    progress: Progress = lambda _what, _share: None,
) -> Validation:  # fmt: skip
    """Score predictions against measured data; data that is absent is skipped, and the outcome says so.

    Args:
        data: the folder of data sets (None: the environment variable `ARCHCAST_DATA`, or none at all).
        model: an artefact to score in place of what each case fits, on rows that its card does not list as seen.
        only: names of cases, or how they begin.
        seed: decides samples, splits and fits.
        seeds: how many seeds, from `seed` on, are run and averaged, of cases in which a seed decides anything.
        full: use every row where a case would thin its data.

    Raises:
        BadFileError: the folder or the artefact cannot be used, or a file of the data is broken.
        UnknownNameError: `only` names no case.
        BadValueError: no case could be scored, or `seeds` is below 1.
    """
    count = whole_number("seeds", seeds, high=MOST_SEEDS)
    sources = Sources(_root(data), full)
    chosen = _chosen(cases, only)
    run = _Run(sources, find_cost_model(model) if model is not None else None,
               Seen.of(model) if model is not None else None)  # fmt: skip
    outcomes = []
    for i, case in enumerate(chosen):
        drawn = range(seed, seed + (count if case.seeded and model is None else 1))
        found = []
        for j, one in enumerate(drawn):

            def told(
                what: str, share: float, i: int = i, j: int = j, of: int = len(drawn), name: str = case.name
            ) -> None:
                progress(f"{name}: {what}", (i + (j + min(max(share, 0.0), 1.0)) / of) / len(chosen))

            told("reading", 0.0)
            found.append(_outcome(case, run, one, told))
        outcomes.append(over_seeds(found))
    if not any(outcome.lines for outcome in outcomes):
        first = outcomes[0]
        raise BadValueError(f"Nothing could be scored: {first.case.name}: {first.skipped}.")
    return Validation(tuple(outcomes), seed, Path(model).name if model is not None else "", count, full)


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


def _outcome(case: Case, run: _Run, seed: int, progress: Progress) -> Outcome:
    fitted = "the artefact" if run.artefact is not None else case.fitted
    if why := absent(case, run.sources.root):
        return Outcome(case, fitted, skipped=why)
    if run.artefact is not None and case.scorer in ("evaluation", "devices"):
        return Outcome(case, case.fitted, skipped="a method of its own, in which the artefact has no part")
    if case.scorer == "evaluation":
        return _evaluation(case, run.sources, seed)
    read = run.sources.read(case, lambda what, share: progress(what, 0.4 * share))
    if case.scorer == "workloads":
        return _networks(case, read, run, seed, fitted, progress)
    return _operators(case, read, run, seed, fitted, progress)


def _evaluation(case: Case, sources: Sources, seed: int) -> Outcome:
    try:
        from archcast.validation.evaluated import evaluated

        found = evaluated(case.name, sources.root or Path(), seed, case.least_answered, sources.full)
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


def _operators(case: Case, read: Read, run: _Run, seed: int, fitted: str, progress: Progress) -> Outcome:
    tables = read.operators
    notes: list[str] = [case.note] if case.note else []
    used = sum(table.rows for table in tables)
    if used < read.rows:
        notes.append(f"{used:,} of {read.rows:,} rows are used: at most {case.kernel_rows:,} of each ({KERNEL})")
    if run.seen is not None:
        tables, left_out = run.seen.unseen(tables)
        if left_out:
            notes.append(f"{left_out:,} rows are left out: the artefact may have been trained on them")
    if not tables:
        return Outcome(case, fitted, skipped="no row is left to score", notes=tuple(notes))
    rows = Rows(tables)

    def told(share: float) -> None:
        progress("scoring", 0.4 + 0.6 * share)

    try:
        if case.scorer == "devices":
            found = score_devices(case, rows, seed, told)
        else:
            found = score_operators(case, rows, seed, run.artefact, told)
    except BadValueError as error:
        return Outcome(case, fitted, skipped=str(error).rstrip("."), notes=tuple(notes))
    return _scored(case, fitted, found, 1.0, notes)


def _networks(case: Case, read: Read, run: _Run, seed: int, fitted: str, progress: Progress) -> Outcome:
    stray = sum(n for reason, n in read.report.skipped.items() if reason.startswith(UNKNOWN_NETWORK))
    known_share = read.report.mapped / max(read.report.mapped + stray, 1)
    notes: list[str] = [case.note] if case.note else []
    if stray:
        notes.append(f"{stray:,} rows of networks that are not described here count as not answered")
    if not read.networks:
        return Outcome(case, fitted, skipped="no row is left to score", notes=tuple(notes))
    table = concat(read.networks)
    keep = sample(table.groups(), case.most_rows, seed)
    if not keep.all():
        notes.append(f"{int(keep.sum()):,} of {table.rows:,} rows are used, by whole groups")
        table = table.take(np.flatnonzero(keep))
    root = run.sources.root
    peers = peer_values(case.peer, root, table, case.quantity) if case.peer and root is not None else None
    found, reasons = score_networks(
        case, table, seed, run.artefact, peers, lambda share: progress("predicting", 0.4 + 0.6 * share)
    )
    notes += [f"{rows:,} rows refused: {reason}" for reason, rows in
              sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:2]]  # fmt: skip
    return _scored(case, fitted, found, known_share, notes)


def _scored(case: Case, fitted: str, found: Predictions | None, known_share: float, notes: list[str]) -> Outcome:
    if found is None:
        return Outcome(case, fitted, skipped="all rows are in one group, so none can be held out", notes=tuple(notes))
    out = lines(found, case.least_answered, known_share, by_label=case.scorer == "devices")
    for peer in (PEER, PEER_SIMUMAX):
        answered = np.isfinite(found.baselines[peer]) if peer in found.baselines else np.zeros(0, dtype=bool)
        if answered.any() and not answered.all():
            same = found.take(answered)
            out.append(score_line(same, ALL, f"that {peer} answers", case.least_answered, 1.0))
    return Outcome(case, fitted, tuple(out), notes=tuple(notes), found=found)
