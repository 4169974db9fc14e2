"""Dask on this machine: a real cluster of two processes, one of which is killed in the middle of a sweep."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from search_samples import small
from sweep_tasks import Deadly, Failing, Noted, ran, same

from archcast.executing import find_executor, spans, sweep
from archcast.executing.attempt import ChunkError
from archcast.searching.grid import GridTask, run_grid
from archcast.searching.search_file import read_search
from foundation.errors import BadValueError, InputError

pytest.importorskip("distributed", reason="the extra cluster is not installed")

from archcast.executing.cluster import Dask, _Plan

CHUNKS = 200
WHOLE = sweep(Noted(), spans(0, CHUNKS, 1))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Dask]:
    found = find_executor("dask", 2)
    assert isinstance(found, Dask)
    with found:
        yield found


def test_a_cluster_gives_what_one_process_gives_and_runs_every_chunk_once(cluster: Dask, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert same(sweep(Noted(str(log)), spans(0, CHUNKS, 1), executor=cluster), WHOLE)
    assert ran(log) == dict.fromkeys(range(CHUNKS), 1)
    assert len({line.split()[1] for line in log.read_text().splitlines()}) == 2  # both worked
    assert str(os.getpid()) not in {line.split()[1] for line in log.read_text().splitlines()}


def test_a_worker_killed_in_the_middle_loses_nothing_and_nothing_counts_twice(cluster: Dask, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "folder"
    victim: list[int] = []

    def kill() -> None:
        while len(ran(log)) < CHUNKS // 4:
            time.sleep(0.005)
        victim.append(int(log.read_text().splitlines()[-1].split()[1]))
        os.kill(victim[0], signal.SIGKILL)

    told: list[int] = []
    killer = threading.Thread(target=kill)
    killer.start()
    found = sweep(
        Noted(str(log), 0.01), spans(0, CHUNKS, 1), executor=cluster, folder=folder,
        progress=lambda done, whole: told.append(done),
    )  # fmt: skip
    killer.join()
    assert victim
    assert same(found, WHOLE)
    assert told == list(range(1, CHUNKS + 1))  # each counted once
    assert set(ran(log)) == set(range(CHUNKS))
    again = ran(log).total() - CHUNKS
    assert 0 <= again <= 3 * 64  # what the dead worker had, and no more
    assert len(list(folder.glob("*.shard"))) == CHUNKS


def test_a_grid_on_a_cluster_with_a_worker_killed_is_that_of_one_process(cluster: Dask) -> None:
    study = read_search(small())
    size = study.problem.space.size
    pids = list(cluster.client.run(os.getpid).values())
    timer = threading.Timer(0.2, lambda: os.kill(pids[0], signal.SIGKILL))
    timer.start()
    found = run_grid(
        study.problem, 0, size, chunk=4, executor=cluster, task=GridTask(study.digest, json.dumps(small()))
    )
    timer.join()
    alone = run_grid(study.problem, 0, size)
    mine, theirs = found.arrays(), alone.arrays()
    assert all(mine[k].tobytes() == theirs[k].tobytes() for k in ("designs", "best", "index", "values"))
    assert found.refused == alone.refused


def test_errors_come_back_from_a_cluster_as_from_one_process(cluster: Dask) -> None:
    with pytest.raises(InputError, match=r"^Unknown device 'h1000'\. Nearest: h100\.$"):
        sweep(Failing(), spans(0, 9, 1), executor=cluster)
    with pytest.raises(ChunkError, match=r"^The designs 4 to 4 failed: ZeroDivisionError: nothing"):
        sweep(Failing(own=False), spans(0, 9, 1), executor=cluster)
    assert same(sweep(Noted(), spans(0, 9, 1), executor=cluster), WHOLE[:9])


def test_a_client_of_an_address_uses_the_workers_there(cluster: Dask, tmp_path: Path) -> None:
    log = tmp_path / "log"
    cluster.client.wait_for_workers(2)  # those that were killed have been replaced
    with find_executor("dask", address=cluster.client.scheduler.address) as other:
        assert other.workers == 2
        assert same(sweep(Noted(str(log)), spans(0, 20, 1), executor=other), WHOLE[:20])
    assert set(ran(log)) == set(range(20))


def test_an_address_where_nobody_answers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archcast.executing.cluster.CONNECT_S", 0.5)
    with pytest.raises(BadValueError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        find_executor("dask", address="tcp://127.0.0.1:1")


@pytest.mark.slow
def test_a_chunk_that_kills_every_worker_of_a_cluster_is_named() -> None:
    with find_executor("dask", 2) as where, pytest.raises(ChunkError, match=r"^The designs 3 to 3 took down"):
        sweep(Deadly(), spans(0, 12, 1), executor=where)


def test_tasks_grow_to_a_quarter_second_and_chunks_of_a_failed_one_go_alone() -> None:
    plan = _Plan(1000, 2)
    assert plan.first() == [[0], [1], [2], [3], [4], [5]]
    plan.took(0.01)
    assert plan.next() == list(range(6, 31))
    plan.took(1e-9)
    assert len(plan.next()) == 64
    plan.give([6, 7])
    assert plan.again([6, 7], True)
    assert sorted([plan.next(), plan.next()]) == [[6], [7]]
    assert not plan.again([6], True)
    assert len(plan.next()) == 64
