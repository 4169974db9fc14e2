"""Folders of a sweep: what survives a kill, what is never trusted, and who may share one."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_samples import small
from sweep_tasks import CODE, Noted, ran, same

import archcast.executing.shards as shards_module
from archcast.executing import Span, Task, find_executor, spans, sweep
from archcast.executing.shards import Shards
from archcast.searching.grid import GridTask, run_grid
from archcast.searching.search_file import Shard, read_search
from foundation.errors import BadFileError, BadValueError

TESTS = Path(__file__).resolve().parent
CHUNKS = 40
CODE_VERSION = shards_module.code_version
WHOLE = sweep(Noted(), spans(0, CHUNKS, 1))


@pytest.fixture(autouse=True)
def _one_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "code_version", lambda: CODE)


def start(folder: Path, log: Path, executor: str, wait_s: float) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, TESTS / "sweep_tasks.py", folder, log, executor, str(CHUNKS), str(wait_s)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.shard"))


def until(done: Callable[[], bool], within_s: float = 60.0) -> None:
    stop = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < stop, "it did not come about"
        time.sleep(0.01)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_after_kill_9_only_what_was_not_finished_is_run_again(executor: str, tmp_path: Path) -> None:
    folder, log, second = tmp_path / "folder", tmp_path / "log", tmp_path / "second"
    killed = start(folder, log, executor, 0.05)
    until(lambda: len(shards(folder)) >= 7)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = len(shards(folder))
    assert 7 <= kept < CHUNKS
    assert same(sweep(Noted(str(second)), spans(0, CHUNKS, 1), folder=folder), WHOLE)
    assert ran(second).total() == CHUNKS - kept
    assert set(ran(second).values()) == {1}
    assert set(ran(log)) | set(ran(second)) == set(range(CHUNKS))


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    killed = start(folder, log, "processes", 0.05)
    until(lambda: len(shards(folder)) >= 7)
    workers = {int(line.split()[1]) for line in log.read_text().splitlines()}
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(lambda: not any(alive(pid) for pid in workers), 10.0)


def alive(pid: int) -> bool:
    """Return whether a process runs (one that has ended and waits to be collected does not)."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_finished_sweep_is_read_and_not_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    told: list[tuple[int, int]] = []
    sweep(Noted(), spans(0, CHUNKS, 1), folder=tmp_path)
    again = sweep(Noted(str(log)), spans(0, CHUNKS, 1), folder=tmp_path, progress=lambda *done: told.append(done))
    assert same(again, WHOLE)
    assert not ran(log)
    assert told == [(CHUNKS, CHUNKS)]


@pytest.mark.parametrize("executor", ["serial", "processes", "dask"])
def test_shards_are_the_same_files_whoever_wrote_them(executor: str, tmp_path: Path) -> None:
    if executor == "dask":
        pytest.importorskip("distributed", reason="the extra cluster is not installed")
    sweep(Noted(), spans(0, 8, 1), folder=tmp_path / "one")
    with find_executor(executor, 2) as where:
        sweep(Noted(), spans(0, 8, 1), folder=tmp_path / "two", executor=where)
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / which).iterdir()} for which in ("one", "two"))
    assert one == two
    assert len(one) == 9


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]


def _empty(data: bytes) -> bytes:
    return b""


def _pickle(data: bytes) -> bytes:
    return pickle.dumps({"sine": np.zeros(1)})


def _headless(data: bytes) -> bytes:
    return data.partition(b"\n")[2]


@pytest.mark.parametrize("spoil", [_cut, _flip, _empty, _pickle, _headless])
def test_a_torn_shard_is_found_and_worked_out_again(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    sweep(Noted(), spans(0, 5, 1), folder=folder)
    names = Shards(folder, Noted(), spans(0, 5, 1)).names
    good = (folder / names[2]).read_bytes()
    (folder / names[2]).write_bytes(spoil(good))
    assert same(sweep(Noted(str(log)), spans(0, 5, 1), folder=folder), WHOLE[:5])
    assert ran(log) == {2: 1}
    assert (folder / names[2]).read_bytes() == good


def test_the_shard_of_another_chunk_under_this_name_is_not_taken(tmp_path: Path) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    sweep(Noted(), spans(0, 5, 1), folder=folder)
    names = Shards(folder, Noted(), spans(0, 5, 1)).names
    (folder / names[2]).write_bytes((folder / names[3]).read_bytes())
    assert same(sweep(Noted(str(log)), spans(0, 5, 1), folder=folder), WHOLE[:5])
    assert ran(log) == {2: 1}


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL"],)


def test_a_shard_that_holds_code_never_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    folder = tmp_path / "folder"
    sweep(Noted(), spans(0, 2, 1), folder=folder)
    name = Shards(folder, Noted(), spans(0, 2, 1)).names[0]
    with (tmp_path / "bad.npz").open("wb") as file:
        np.savez(file, sine=np.array([Evil()], dtype=object), sum=np.zeros(()))
    data = (tmp_path / "bad.npz").read_bytes()
    head = json.dumps(shards_module._head(name, data)).encode()
    (folder / name).write_bytes(head + b"\n" + data)
    assert same(sweep(Noted(), spans(0, 2, 1), folder=folder), WHOLE[:2])
    assert not (tmp_path / "evil").exists()


def test_another_task_another_cut_and_other_code_use_none_of_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(Noted(), spans(0, 4, 1), folder=tmp_path)
    for number, (task, cut) in enumerate([("other", 1), ("sines", 2)]):
        log = tmp_path / f"log{number}"
        sweep(Noted(str(log), digest=task), spans(0, 4, cut), folder=tmp_path)
        assert ran(log).total() == 4 // cut
    monkeypatch.setattr(shards_module, "code_version", lambda: "other code")
    sweep(Noted(str(tmp_path / "code")), spans(0, 4, 1), folder=tmp_path)
    assert ran(tmp_path / "code").total() == 4


def test_two_processes_may_sweep_in_one_folder_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    both = [start(folder, tmp_path / f"log{k}", "serial", 0.01) for k in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    log = tmp_path / "after"
    assert same(sweep(Noted(str(log)), spans(0, CHUNKS, 1), folder=folder), WHOLE)
    assert not ran(log)
    assert len(shards(folder)) == CHUNKS
    assert not list(folder.glob(".*"))


def test_the_code_of_archcast_has_one_digest() -> None:
    found = CODE_VERSION()
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def test_old_parts_of_files_are_removed_and_those_being_written_stay(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.shard.1.x.part", tmp_path / ".b.shard.1.x.part"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    sweep(Noted(), spans(0, 1, 1), folder=tmp_path)
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadFileError, match="the results of a sweep cannot be kept there"):
        sweep(Noted(), spans(0, 1, 1), folder=tmp_path / "file")


class Objects(Task):
    digest = "objects"

    def __call__(self, chunk: Span) -> dict[str, Any]:
        return {"thing": np.array([object()])}


def test_results_with_objects_are_refused_and_not_pickled(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="'thing' holds objects"):
        sweep(Objects(), spans(0, 1, 1), folder=tmp_path)


def test_parts_of_a_grid_in_one_folder_are_the_whole_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_search(small())
    problem, size = study.problem, study.problem.space.size
    task = GridTask(study.digest, json.dumps(small()))
    alone = run_grid(problem, 0, size)
    whole = None
    for number in (3, 1, 2):
        first, last = Shard(number, 3).bounds(size)
        part = run_grid(problem, first, last, chunk=16, task=task, folder=tmp_path)
        whole = part if whole is None else whole
        if whole is not part:
            whole.merge(part)
    assert whole is not None
    ran_again: list[Span] = []
    first_run = GridTask.__call__
    monkeypatch.setattr(GridTask, "__call__", lambda self, span: (ran_again.append(span), first_run(self, span))[1])
    again = run_grid(problem, 0, size, chunk=16, task=task, folder=tmp_path)
    assert len(ran_again) <= 2  # the spans that the parts cut
    for found in (whole, again):
        mine, theirs = found.arrays(), alone.arrays()
        assert all(mine[k].tobytes() == theirs[k].tobytes() for k in ("designs", "best", "index", "values"))
        assert found.refused == alone.refused


def test_a_folder_without_the_task_of_a_study_is_refused(tmp_path: Path) -> None:
    problem = read_search(small()).problem
    with pytest.raises(BadValueError, match="the task of a study"):
        run_grid(problem, 0, 10, folder=tmp_path)


def test_a_shard_whose_tally_is_not_that_of_its_span_is_not_taken() -> None:
    study = read_search(small())
    task = GridTask(study.digest, problem=study.problem)
    packed = task.pack(task(Span(0, 100)))
    with pytest.raises(ValueError, match="no tally of the designs 0 to 98"):
        task.unpack(packed, Span(0, 99))
    with pytest.raises(ValueError, match="no tally"):
        task.unpack(packed, Span(100, 200))
    with pytest.raises(KeyError):
        task.unpack({k: v for k, v in packed.items() if k != "best"}, Span(0, 100))
