"""Executors: every chunk once, in order, the same results anywhere; what dies is replaced, what fails is told."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_samples import small
from sweep_tasks import Deadly, Failing, Noted, ran, same

from archcast.executing import Rows, Span, Task, find_executor, results, spans, sweep
from archcast.executing.attempt import ChunkError
from archcast.executing.processes import Processes
from archcast.searching.grid import GridTask, Tally, run_grid
from archcast.searching.search_file import read_search
from foundation.errors import BadValueError, InputError, UnknownNameError, UnsupportedError

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
WHOLE = sweep(Noted(), spans(0, 12, 1))
STUDY = read_search(small())
PROBLEM = STUDY.problem
SIZE = PROBLEM.space.size


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as found:
        yield found


class Shuffled:
    """An executor that gives results back in an order of its own."""

    workers = 1

    def __init__(self, seed: int) -> None:
        self.order = np.random.default_rng(seed)

    def map(self, task: Task, chunks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for place in self.order.permutation(len(chunks)):
            yield int(place), task(chunks[place])

    def close(self) -> None: ...
    def __enter__(self) -> Shuffled:
        return self

    def __exit__(self, *_: object) -> None: ...


def equal(one: Tally, other: Tally) -> bool:
    mine, theirs = one.arrays(), other.arrays()
    return all(mine[k].tobytes() == theirs[k].tobytes() for k in mine if not k.startswith("re")) and (
        one.refused == other.refused
    )


def test_processes_give_what_one_process_gives_and_run_every_chunk_once(pool: Processes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert same(sweep(Noted(str(log)), spans(0, 12, 1), executor=pool), WHOLE)
    assert ran(log) == dict.fromkeys(range(12), 1)


def test_workers_use_one_thread_of_numerical_libraries(pool: Processes) -> None:
    seen = sweep(Environment(), spans(0, 2, 1), executor=pool)
    assert seen == [{name: os.environ.get(name, "1") for name in THREADS}] * 2


class Environment(Task):
    digest = "environment"

    def __call__(self, chunk: Span) -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in THREADS}


def test_chunks_of_a_worker_that_dies_are_run_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with Processes(2) as pool:
        found = sweep(Deadly(times=2, marks=str(marks)), spans(0, 12, 1), executor=pool)
    assert same(found, WHOLE)
    assert len(list(marks.iterdir())) == 2


def test_a_chunk_that_kills_every_worker_is_named_and_the_others_are_not_blamed() -> None:
    with Processes(2) as pool, pytest.raises(ChunkError, match=r"^The designs 3 to 3 took down 3 workers"):
        sweep(Deadly(), spans(0, 12, 1), executor=pool)


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_an_error_of_archcast_comes_back_as_its_sentence(name: str, pool: Processes) -> None:
    with pytest.raises(InputError, match=r"^Unknown device 'h1000'\. Nearest: h100\.$"):
        sweep(Failing(), spans(0, 9, 1), executor=pool if name == "processes" else None)


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_another_exception_names_the_chunk_and_keeps_its_trace(name: str, pool: Processes) -> None:
    with pytest.raises(ChunkError, match=r"^The designs 4 to 4 failed: ZeroDivisionError: nothing") as found:
        sweep(Failing(own=False), spans(0, 9, 1), executor=pool if name == "processes" else None)
    assert "sweep_tasks.py" in found.value.__notes__[0]


def test_the_pool_works_on_after_an_error(pool: Processes) -> None:
    with pytest.raises(InputError):
        sweep(Failing(), spans(0, 9, 1), executor=pool)
    assert same(sweep(Noted(), spans(0, 12, 1), executor=pool), WHOLE)


def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path, repository: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from sweep_tasks import Noted\nfrom archcast.executing import find_executor, spans, sweep\n"
        "sweep(Noted(), spans(0, 3, 1), executor=find_executor('processes', 1))\n"
    )
    path = os.pathsep.join([str(repository), str(repository / "tests")])
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_results_come_one_by_one_as_soon_as_those_before_them_are_there() -> None:
    taken = []
    found = results(Noted(), spans(0, 4, 1), progress=lambda done, whole: taken.append((done, whole)))
    next(found)
    assert taken == [(1, 4)]
    assert len(list(found)) == 3
    assert taken[-1] == (4, 4)


def test_unknown_executors_and_addresses_out_of_place_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Nearest: processes"):
        find_executor("process")
    with pytest.raises(BadValueError, match="for the executor dask, not for serial"):
        find_executor("serial", address="tcp://head:8786")
    with pytest.raises(BadValueError, match="workers"):
        find_executor("processes", -1)


def test_without_the_extra_dask_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnsupportedError, match=r"pip install archcast\[cluster\]"):
        find_executor("dask", 1)


def test_a_task_that_cannot_travel_is_told_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    class Local(Noted):
        pass

    with Processes(1) as pool, pytest.raises(UnsupportedError, match="module of its own"):
        sweep(Local(), spans(0, 2, 1), executor=pool)


@given(st.integers(0, 200), st.integers(1, 200), st.integers(1, 60))
def test_spans_cover_each_design_once_and_parts_share_the_cuts_of_the_whole(start: int, more: int, chunk: int) -> None:
    found = spans(start, start + more, chunk)
    assert [at for span in found for at in range(span.start, span.stop)] == list(range(start, start + more))
    whole = {(span.start, span.stop) for span in spans(0, start + more, chunk)}
    assert {(span.start, span.stop) for span in found[1:]} <= whole


def test_rows_of_the_same_content_have_one_digest_and_others_do_not() -> None:
    one = Rows({"x": np.arange(3.0)}, 0)
    assert one.digest == Rows({"x": np.arange(3.0)}, 7).digest
    others = [{"y": np.arange(3.0)}, {"x": np.arange(3)}, {"x": np.arange(4.0)}, {"x": np.array(["0", "1", "2"])}]
    assert one.digest not in {Rows(columns).digest for columns in others}
    assert str(Rows({"x": np.arange(3.0)}, 7)) == "rows 7 to 9"


WHOLE_TALLY = run_grid(PROBLEM, 0, SIZE)


@settings(max_examples=20)
@given(st.integers(7, 500), st.integers(0, 2**32 - 1))
def test_any_cut_and_any_order_of_arrival_give_the_same_tally(chunk: int, seed: int) -> None:
    task = GridTask(STUDY.digest, problem=PROBLEM)
    assert equal(run_grid(PROBLEM, 0, SIZE, chunk=chunk, executor=Shuffled(seed), task=task), WHOLE_TALLY)


@settings(max_examples=30)
@given(st.lists(st.integers(1, SIZE - 1), max_size=5), st.randoms())
def test_tallies_of_any_parts_add_up_and_survive_the_file_format(cuts: list[int], order: Any) -> None:
    bounds = sorted({0, SIZE, *cuts})
    parts = [Span(a, b) for a, b in pairwise(bounds)]
    order.shuffle(parts)
    task, whole = GridTask(STUDY.digest, problem=PROBLEM), Tally.of(PROBLEM.space, PROBLEM.objectives)
    whole.merge(*[task.unpack(task.pack(task(part)), part) for part in parts])
    assert equal(whole, WHOLE_TALLY)


def test_a_worker_makes_the_problem_from_the_file_of_the_study(pool: Processes) -> None:
    task = GridTask(STUDY.digest, json.dumps(small()))
    assert len(pickle.dumps(task)) < 2000
    assert equal(run_grid(PROBLEM, 0, SIZE, chunk=100, executor=pool, task=task), WHOLE_TALLY)
    other = GridTask("0" * 16, json.dumps(small()))
    with pytest.raises(InputError, match="another version"):
        run_grid(PROBLEM, 0, SIZE, chunk=100, executor=pool, task=other)


def test_the_problem_itself_travels_where_no_task_is_given(pool: Processes) -> None:
    told: list[int] = []
    assert equal(run_grid(PROBLEM, 0, SIZE, chunk=100, executor=pool, progress=told.append), WHOLE_TALLY)
    assert told[-1] == SIZE
    assert sorted(told) == told


def test_importing_executors_loads_no_extra(repository: Path) -> None:
    code = (
        "import sys, archcast.executing; print([m for m in ('distributed', 'dask', 'cloudpickle') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
