"""Running an adaptive method on a study: ask, evaluate, tell, log, until the budget is spent; from a journal on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.executing import Executor
from archcast.searching.evaluating import EvaluateTask, ProblemPrior, evaluated, joined
from archcast.searching.grid import Refused, Tally
from archcast.searching.journal import Journal
from archcast.searching.methods import find_sampler
from archcast.searching.search_file import Study
from archcast.searching.study import AskTell
from foundation.errors import BadFileError, BadValueError
from workloads.table import Array

SLOW_BATCH = 8
"""Designs in a batch where each is simulated: small, so that each batch knows what the last one found."""
QUICK_SHARE, MOST_BATCH = 20, 4096
"""A closed form is asked in so many batches, of at most so many designs."""


@dataclass(frozen=True)
class Run:
    """All evaluations of a run, in order: arrays `codes` (knobs, designs), `values`, `reason`, `shortfall_bytes`,
    `violation`, `wall_s` (since the start, over all its processes) and `batch`."""

    study: AskTell
    arrays: Mapping[str, Array]

    @property
    def evaluations(self) -> int:
        return len(self.arrays["values"])

    def tally(self) -> Tally:
        """Return counts, front (designs are numbered by evaluation) and the best of each value of listed knobs."""
        found, space = self.arrays, self.study.space
        tally = Tally.of(space, self.study.objectives)
        tally.designs = self.evaluations
        good = np.flatnonzero(found["reason"] == "")
        tally.feasible = len(good)
        values = found["values"][good]
        for knob, best, row in zip(space.knobs, tally.best, found["codes"], strict=True):
            if knob.span is None:
                for k in range(len(self.study.objectives)):
                    np.minimum.at(best[:, k], row[good].astype(np.intp), values[:, k])
        for reason in sorted(set(found["reason"].tolist()) - {""}):
            lacking = found["shortfall_bytes"][found["reason"] == reason]
            tally.refused.setdefault(reason, Refused()).add(len(lacking), float(lacking.min()), float(lacking.max()))
        tally.archive.add(good.astype(np.int64), values)
        return tally


def sampler_options(study: Study) -> dict[str, Any]:
    """Return the options of the method: those of the file, and what the size of the run suggests."""
    known, budget = find_sampler(study.method).known, study.budget
    found: dict[str, Any] = {}
    if "population" in known:  # a run has at least ten generations
        found["population"] = budget.initial or int(np.clip(budget.evaluations // 10, 10, 200))
    if "initial" in known and budget.initial:
        found["initial"] = budget.initial
    return found | dict(study.options)


def batch_size(study: Study) -> int:
    """Return how many designs are asked for at a time."""
    if study.budget.batch_size:
        return study.budget.batch_size
    if study.method == "bayesian" or not study.quick:
        return SLOW_BATCH
    return int(np.clip(study.budget.evaluations // QUICK_SHARE, 1, MOST_BATCH))


def asked_of(study: Study, seed: int, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return all that decides which designs a run asks for, as a journal has it.

    What the size of a run suggests is as it was `before` (what the journal says), so that a run can go on for longer.
    """
    options, size = sampler_options(study), batch_size(study)
    if before is not None and before.get("method") == study.method:
        kept = before.get("options")
        if isinstance(kept, Mapping):
            options |= {key: kept[key] for key in options if key in kept and key not in study.options}
        if not study.budget.batch_size and isinstance(before.get("batch_size"), int):
            size = max(before["batch_size"], 1)
    return {
        "digest": study.digest, "workload": study.name, "design": study.design, "fidelity": study.fidelity,
        "method": study.method, "seed": seed, "options": options, "batch_size": size, "initial": study.budget.initial,
    }  # fmt: skip


def run_adaptive(
    study: Study, seed: int, *, asked: Mapping[str, Any] | None = None, journal: Journal | None = None,
    executor: Executor | None = None, progress: Callable[[int, int], None] | None = None,
) -> Run:  # fmt: skip
    """Return all evaluations of a run. What a journal holds is taken from it, and what is new is added to it.

    `asked` is what the journal says of the search (`asked_of`).

    A run that continues from a journal asks for the same designs as one that was never stopped.

    Raises:
        BadFileError: the journal's designs are not those that this search asks for.
        As `archcast.executing.sweep`.
    """
    problem, budget, said = study.problem, study.budget, asked or asked_of(study, seed)
    prior = ProblemPrior(study.cheap) if study.cheap is not None else None
    live = AskTell(problem.space, problem.objectives, study.method, seed, problem.limits, prior, said["options"])
    task, size = EvaluateTask(study.digest, problem), int(said["batch_size"])
    parts: list[dict[str, Array]] = []
    for kept in journal.batches if journal is not None else ():
        parts.append(_replayed(live, kept, journal))
    before = float(parts[-1]["wall_s"][-1]) if parts else 0.0
    started = time.perf_counter()
    while live.evaluations < budget.evaluations:
        spent = before + time.perf_counter() - started
        if budget.seconds and spent >= budget.seconds and parts:
            break
        count = budget.initial if not parts and budget.initial else size
        columns = live.ask(min(count, budget.evaluations - live.evaluations))
        codes = live.codes
        if not codes.shape[1]:
            break  # the space has no more designs
        found = evaluated(task, columns, executor)
        spent = before + time.perf_counter() - started
        found["wall_s"] = np.full(codes.shape[1], spent)
        if journal is not None:
            journal.add({"codes": codes, **found})
        live.tell_codes(codes, found["values"], found["violation"])
        parts.append({"codes": codes.T, "batch": np.full(codes.shape[1], len(parts)), **found})
        if progress is not None:
            progress(live.evaluations, budget.evaluations)
    if not parts:
        raise BadValueError("no design keeps the limits on knobs; raise them.")
    arrays = joined(parts)
    return Run(live, arrays | {"codes": arrays["codes"].T})


def _replayed(live: AskTell, kept: dict[str, Array], journal: Journal | None) -> dict[str, Array]:
    """Take a batch of a journal in. Raises BadFileError: it is not one of this search."""
    path = journal.path if journal is not None else ""
    try:
        codes = kept["codes"]
        live.replay(codes, kept["values"], kept["violation"])
        columns = {name: kept[name] for name in ("values", "reason", "shortfall_bytes", "violation", "wall_s")}
    except KeyError as error:
        raise BadFileError(path, f"a batch in it lacks {error}.") from None
    except (BadValueError, ValueError, IndexError) as error:
        raise BadFileError(path, f"it is not the journal of this search: {error}") from None
    return {"codes": codes.T, "batch": np.full(codes.shape[1], live.batches - 1), **columns}
