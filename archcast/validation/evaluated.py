"""Cases that have a method of their own: whole networks carried to devices by few measurements, terms of graphs.

Each runs one function on the data (most are of `costmodel.evaluation`) and turns its scores into lines. Groups are held
out there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.validation.cases import ENERGY_BASELINES
from archcast.validation.edge_cases import EDGE_METHODS
from archcast.validation.scoring import Errors, Line
from costmodel.measured.base import ImportRequest, find_importer
from workloads.measurements import MeasurementTable

if TYPE_CHECKING:
    from costmodel.evaluation.scores import Score

MEAN = "mean of devices"
ENERGY = "served-energy"
"""The case that makes its lines itself."""
HELP_NETWORKS = 2000
"""Networks of a space that are described (three times as many in a full run); 900 of them train."""
POWER_ROWS = 6000
"""Rows of each table of operators with power that are used; all in a full run."""


def evaluated(name: str, root: Path, seed: int, least_answered: float, full: bool = False) -> list[Line]:
    """Return the lines of an evaluation; `full` leaves no rows out.

    Raises:
        ImportError: this version has no such evaluation. BadFileError: a file of the data cannot be used.
    """
    if name == ENERGY:
        return _served_energy(root, seed, least_answered, full)
    scores = METHODS[name](root, seed, full)
    labels = dict.fromkeys(label(score.split) for score in scores)
    out: list[Line] = []
    for word in labels:
        mine = [score for score in scores if label(score.split) == word]
        every = [_line(score, word, least_answered) for score in mine]
        out += [*([_mean(every, word, least_answered)] if len(every) > 1 else []), *every]
    return out


def _served_energy(root: Path, seed: int, least_answered: float, full: bool) -> list[Line]:
    from archcast.validation.served_energy import served_energy_lines

    found = served_energy_lines(root, seed, least_answered, full)
    return [replace(line, baselines={name: line.baselines[name] for name in ENERGY_BASELINES}) for line in found]


def label(split: str) -> str:
    """Return what tells lines of one device apart: how many shots and how chosen, prompt or token, which split."""
    shots = re.search(r"(\d+ shots), (spread out|random)", split)
    return f"{shots[1]}, {shots[2]}" if shots else split.split(", ")[-1].removeprefix("family out")


def _line(score: Score, word: str, least: float) -> Line:
    base = Errors(score.n, score.baseline_mape, np.nan, np.nan)
    return Line(
        score.device, word, score.n, 0, score.answered, Errors(score.n, score.mape, score.median, score.p90),
        score.inside, score.width, {score.baseline: base} if score.baseline else {}, score.answered >= least,
        worst_share=score.mape, rho_ratio=score.rho,
    )  # fmt: skip


def _mean(every: list[Line], word: str, least: float) -> Line:
    """Return the mean of the lines of several devices, each counted once."""

    def mean(values: Iterator[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    rows = sum(line.rows for line in every)
    errors = Errors(rows, *(mean(getattr(line.errors, name) for line in every)
                            for name in ("mape_share", "median_error_share", "p90_error_share")))  # fmt: skip
    bases = {name: Errors(rows, mean(line.baseline_mape_share(name) for line in every), np.nan, np.nan)
             for name in every[0].baselines}  # fmt: skip
    answered = mean(line.answered_share for line in every)
    inside, width = mean(line.coverage_share for line in every), mean(line.width_ratio for line in every)
    return Line(
        MEAN, word, rows, 0, answered, errors, inside, width, bases, answered >= least,
        worst_share=errors.mape_share, rho_ratio=mean(line.rho_ratio for line in every),
    )  # fmt: skip


def _pieces(importer: str, root: Path, **options: str) -> list[Any]:
    request = ImportRequest(root, options=options)
    return list(find_importer(importer).load(request))


def _help(space: str) -> Callable[[Path, int, bool], list[Score]]:
    def scores(root: Path, seed: int, full: bool) -> list[Score]:
        from costmodel.evaluation.help import evaluate_help, space_of

        described = space_of(
            space, _pieces("help", root, space=space), 3 * HELP_NETWORKS if full else HELP_NETWORKS, seed
        )
        return evaluate_help(described, shots=(10, 20), seeds=(seed,))

    return scores


def _ai_hub(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.aihub import evaluate_aihub, read_runs

    return evaluate_aihub(read_runs(root / "qualcomm_ai_hub" / "perf.csv.gz"), seeds=(seed,))


def _helm(root: Path, _seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.helm import curves_of, evaluate_helm

    return evaluate_helm(*curves_of(_pieces("helm", root)))


def _timm(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.timm import evaluate_timm, read_rows

    # one configuration a device, so its name need not say the software
    found = evaluate_timm(read_rows(root, _pieces("timm", root)), seeds=(seed,))
    return [replace(score, device=score.device.split()[0], split="family out") for score in found]


def _archgym(root: Path, seed: int, _full: bool) -> list[Score]:
    from costmodel.evaluation.archgym import designs_of, evaluate_archgym

    (table,) = _pieces("archgym", root)
    return evaluate_archgym(designs_of(table), seeds=(seed,))


def _power(root: Path, seed: int, full: bool) -> list[Score]:
    from costmodel.evaluation.power import DEVICES, evaluate_power, powered

    request = ImportRequest(root / "aiconfigurator", DEVICES)
    pieces = find_importer("aiconfigurator").load(request)
    tables = [piece for piece in pieces if isinstance(piece, MeasurementTable)]
    return evaluate_power(powered(tables, 0 if full else POWER_ROWS), (seed,))


def _served(root: Path, seed: int, full: bool) -> list[Score]:
    from archcast.validation.served import evaluate_served

    return evaluate_served(root, seed, full)


def _replays(root: Path, _seed: int, _full: bool) -> list[Score]:
    from archcast.validation.replays import evaluate_replays

    return evaluate_replays(root)


METHODS: dict[str, Callable[[Path, int, bool], list[Score]]] = {
    "shots-nasbench201": _help("nasbench201"), "shots-fbnet": _help("fbnet"), "shots-ai-hub": _ai_hub,
    "terms-helm": _helm, "terms-archgym": _archgym, "terms-timm": _timm, "power-shots": _power,
    "served": _served, "replays": _replays, **EDGE_METHODS,
}  # fmt: skip
