"""Cases that have a method of their own: whole networks carried to devices by few measurements, terms of graphs.

Each runs one function of `costmodel.evaluation` on the data and turns its scores into lines. Groups are held out there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.validation.scoring import Errors, Line
from costmodel.measured.base import ImportRequest, find_importer

if TYPE_CHECKING:
    from costmodel.evaluation.scores import Score

MEAN = "mean of devices"
HELP_NETWORKS = 2000
"""Networks of a space that are described; 900 of them train."""


def evaluated(name: str, root: Path, seed: int, least_answered: float) -> list[Line]:
    """Return the lines of an evaluation.

    Raises:
        ImportError: this version has no such evaluation. BadFileError: a file of the data cannot be used.
    """
    scores = METHODS[name](root, seed)
    labels = dict.fromkeys(label(score.split) for score in scores)
    out: list[Line] = []
    for word in labels:
        mine = [score for score in scores if label(score.split) == word]
        every = [_line(score, word, least_answered) for score in mine]
        out += [*([_mean(every, word, least_answered)] if len(every) > 1 else []), *every]
    return out


def label(split: str) -> str:
    """Return what tells lines of one device apart: shots, prompt or token, which split."""
    shots = re.search(r"\d+ shots", split)
    return shots[0] if shots else split.split(", ")[-1].removeprefix("family out")


def _line(score: Score, word: str, least: float) -> Line:
    base = Errors(score.n, score.baseline_mape, np.nan, np.nan)
    return Line(
        score.device, word, score.n, 0, score.answered, Errors(score.n, score.mape, score.median, score.p90),
        score.inside, score.width, {score.baseline: base} if score.baseline else {}, score.answered >= least,
    )  # fmt: skip


def _mean(every: list[Line], word: str, least: float) -> Line:
    """Return the mean of the lines of several devices, each counted once."""

    def mean(values: Iterator[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    rows = sum(line.rows for line in every)
    errors = Errors(rows, *(mean(getattr(line.errors, name) for line in every)
                            for name in ("mape_share", "median_error_share", "p90_error_share")))  # fmt: skip
    bases = {name: Errors(rows, mean(line.baselines[name].mape_share for line in every), np.nan, np.nan)
             for name in every[0].baselines}  # fmt: skip
    answered = mean(line.answered_share for line in every)
    inside, width = mean(line.coverage_share for line in every), mean(line.width_ratio for line in every)
    return Line(MEAN, word, rows, 0, answered, errors, inside, width, bases, answered >= least)


def _pieces(importer: str, root: Path, **options: str) -> list[Any]:
    request = ImportRequest(root, options=options)
    return list(find_importer(importer).load(request))


def _help(space: str) -> Callable[[Path, int], list[Score]]:
    def scores(root: Path, seed: int) -> list[Score]:
        from costmodel.evaluation.help import evaluate_help, space_of

        described = space_of(space, _pieces("help", root, space=space), HELP_NETWORKS, seed)
        found = evaluate_help(described, shots=(10, 20), seeds=(seed,))
        return [score for score in found if "spread" in score.split]

    return scores


def _ai_hub(root: Path, seed: int) -> list[Score]:
    from costmodel.evaluation.aihub import evaluate_aihub, read_runs

    found = evaluate_aihub(read_runs(root / "qualcomm_ai_hub" / "perf.csv.gz"), seeds=(seed,))
    return [score for score in found if "spread" in score.split]


def _helm(root: Path, _seed: int) -> list[Score]:
    from costmodel.evaluation.helm import curves_of, evaluate_helm

    return evaluate_helm(*curves_of(_pieces("helm", root)))


def _archgym(root: Path, seed: int) -> list[Score]:
    from costmodel.evaluation.archgym import designs_of, evaluate_archgym

    (table,) = _pieces("archgym", root)
    return evaluate_archgym(designs_of(table), seeds=(seed,))


METHODS: dict[str, Callable[[Path, int], list[Score]]] = {
    "shots-nasbench201": _help("nasbench201"), "shots-fbnet": _help("fbnet"), "shots-ai-hub": _ai_hub,
    "terms-helm": _helm, "terms-archgym": _archgym,
}  # fmt: skip
