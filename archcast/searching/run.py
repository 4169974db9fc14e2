"""`search`: from a file to the answer, whole or a shard of it (`archcast.searching.merging` puts shards together)."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from archcast.executing import Executor, find_executor
from archcast.searching.adaptive import Run, asked_of, run_adaptive
from archcast.searching.answer import SearchAnswer, binding, front_order
from archcast.searching.evaluations import checked_name, evaluation_table, has_parquet, write_evaluations
from archcast.searching.grid import GridTask, Tally, run_grid
from archcast.searching.journal import Journal, said_in
from archcast.searching.methods import GRID
from archcast.searching.search_file import CLOSED_FORM, PROXY, Shard, Study, read_search
from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError
from workloads.table import Array

MAX_SEED = 2**63 - 1
Progress = Callable[[int, int], None]


def search(
    file: str | Path | Mapping[str, Any], *, method: str = "", evaluations: int = 0, fidelity: str = "", seed: int = 0,
    shard: str = "", chunk: int = 0, workers: int = 1, executor: str = "", address: str = "",
    resume: str | Path = "", log: str | Path = "", proxy_from: str | Path = "", progress: Progress | None = None,
) -> SearchAnswer:  # fmt: skip
    """Return the front of a space of designs.

    Args:
        file: a YAML file of kind `search` (docs/search.md), or a mapping with its keys.
        method, evaluations, fidelity: instead of those of the file, where given.
        seed: of every random stream; the method `grid` draws no random number.
        shard: "i/n": only the i-th of n equal parts of a grid; `merge` puts their answers together.
        chunk: designs of a grid at a time (0: as suits); the answer does not depend on it.
        workers, executor, address: processes (0: all cores), `serial`, `processes` or `dask`, and its scheduler; the
            answer does not depend on them.
        resume: a folder where what is done is kept; a run that was killed goes on from it.
        log: a .parquet or .csv file for all evaluations of an adaptive method; its journal beside it is resumed too.
        proxy_from: a log of this space (a file of `log`, or a folder of `resume`): a proxy learned from it stands for
            the closed form. Values are then the proxy's (fidelity `proxy`); where the file simulates, `bayesian`
            starts from the proxy, and values are simulated.
        progress: told the designs done and those in all.

    Raises:
        BadFileError: file, line and key of what cannot be; a folder of another search.
        BadValueError: a shard such as 3/2; a shard or a log of a method that has none.
        UnsupportedError: a method, an executor or a log whose package is not installed.

    A space without a feasible design is an answer: its front is empty, and `infeasible` says why.

    The method `bayesian` is several times slower where linear algebra has several threads: set OPENBLAS_NUM_THREADS=1
    before numpy is imported, as the command does.
    """
    whole_number("seed", seed, low=0, high=MAX_SEED)
    whole_number("chunk", chunk, low=0)
    part = read_shard(shard)
    started = time.perf_counter()
    changes = {key: value for key, value in (("method", method), ("evaluations", evaluations), ("fidelity", fidelity))
               if value}  # fmt: skip
    study = _study(file, part, changes, proxy_from, executor or workers != 1)
    if resume and Path(resume).exists() and not Path(resume).is_dir():
        raise BadFileError(resume, "this is a file; --resume takes a folder, in which it keeps what is done.")
    name = executor or ("processes" if workers != 1 else "serial")
    with find_executor(name, workers, address) if name != "serial" else nullcontext() as where:
        if study.method == GRID:
            if log:
                raise BadValueError("a grid keeps no log of its designs; --log is for methods that choose them.")
            first, last = part.bounds(study.problem.space.size)
            tell = None if progress is None else (lambda done: progress(done, last - first))
            task = GridTask(study.digest, problem=study.problem) if where is not None or resume else None
            tally = run_grid(
                study.problem, first, last, chunk=chunk, progress=tell, executor=where, task=task, folder=resume or None
            )
            return answer_of(study, tally, part, seed, started)
        if part.of > 1:
            raise BadValueError("--shard cuts a grid; a method that chooses designs runs whole, with --workers.")
        run = _chosen(study, seed, resume, log, where, progress)
    return answer_of(study, run.tally(), part, seed, started, run)


def _study(
    file: str | Path | Mapping[str, Any], part: Shard, changes: dict[str, Any], log: str | Path, spread: object
) -> Study:
    """Return what a file asks for, on a proxy where a log is named. Raises as `search`."""
    if not log:
        if changes.get("fidelity") == PROXY:
            raise BadValueError("the fidelity proxy needs a log of simulations: name one with --proxy-from LOG.")
        return read_search(file, part, changes)
    if part.of > 1:
        raise BadValueError("a search on a proxy runs whole: --shard does not go with --proxy-from.")
    if changes.get("fidelity") == PROXY:
        changes = {**changes, "fidelity": CLOSED_FORM}
    study = read_search(file, part, changes)
    if spread and study.quick:
        raise BadValueError("a proxy answers in this process alone: leave out --workers and --executor.")
    from archcast.searching.from_proxy import with_proxy

    return with_proxy(study, log)


def _chosen(
    study: Study, seed: int, resume: str | Path, log: str | Path, executor: Executor | None, progress: Progress | None
) -> Run:
    """Run an adaptive method, with a journal in the folder, beside the log, or none; write the log."""
    table = checked_name(log) if log else None
    if resume:
        Path(resume).mkdir(parents=True, exist_ok=True)
        table = table or Path(resume) / ("evaluations" + (".parquet" if has_parquet() else ".csv"))
    place = Path(resume) / "journal" if resume else table.with_name(table.name + ".journal") if table else None
    asked = asked_of(study, seed, None if place is None else said_in(place))
    journal = None if place is None else Journal(place, asked)
    try:
        run = run_adaptive(study, seed, asked=asked, journal=journal, executor=executor, progress=progress)
    finally:
        if journal is not None:
            journal.close()
    if table is not None:
        columns = evaluation_table(study.problem.space, study.problem.objectives, run.arrays)
        write_evaluations(table, columns, asked | {"versions": _versions()})
    return run


def read_shard(text: str) -> Shard:
    """Return the shard of text such as "2/8"; "" is the whole. Raises BadValueError."""
    if not text:
        return Shard()
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(text).strip())
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise BadValueError(f"a shard is i/n with i from 1 to n, such as 1/4, not '{text}'.")
    return Shard(number, of)


def answer_of(
    study: Study, tally: Tally, shard: Shard, seed: int, started: float, run: Run | None = None
) -> SearchAnswer:
    """Return the answer that a tally of designs is; `started` is a `time.perf_counter()`."""
    problem = study.problem
    order = front_order(tally)
    index = tally.archive.index[order]
    codes = problem.space.codes(index) if run is None else run.arrays["codes"][:, index]
    front = _front(study, codes, tally.archive.values[order]) if len(order) else ()
    # steps from every design of the front take too long where each is simulated
    binds = binding(problem, codes) if len(order) and study.quick else tuple({} for _ in front)
    notes = problem.notes
    if run is not None and tally.designs > study.budget.evaluations:
        kept = f"{tally.designs:,} designs were evaluated before, more than the {study.budget.evaluations:,} asked for"
        notes = (*notes, f"{kept}: all that are kept are answered.")
    notes += _remarks(front)
    learned, proxy = study.learned, None
    if learned is not None:
        proxy = learned.about(codes, run)
        notes = (*notes, *learned.notes(proxy))
    return SearchAnswer(
        study, tally, shard, seed, time.perf_counter() - started, front, binds, tally.archive.values[order],
        notes, codes, _versions(), run, proxy,
    )  # fmt: skip


def _remarks(front: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what problems remark on single designs (`remark` of their details), with how many of the front have it."""
    count = Counter(design["remark"] for design in front if "remark" in design)
    return tuple(f"{designs:,} of {len(front):,} designs on the front: {words}." for words, designs in count.items())


def _front(study: Study, codes: Array, values: Array) -> tuple[dict[str, Any], ...]:
    """Return the designs with their details; values are those of the search to the bit, so that shards merge."""
    shown = study.problem.details(codes)
    for design, row in zip(shown, values, strict=True):
        for name, value in zip(study.problem.objectives, row, strict=True):
            design[name]["value"] = float(value)
    return tuple(shown)


def _versions() -> dict[str, str]:
    from archcast import __version__

    return {"archcast": __version__, "numpy": np.__version__}
