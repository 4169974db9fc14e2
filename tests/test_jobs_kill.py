"""kill -9 of a service in the middle of 20 jobs: all end, each exactly once, and no process of a job outlives it."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from jobs_kinds import KINDS

from archcast.service.jobs import JobLimits, JobStore
from archcast.service.jobs.child import ORPHANED
from archcast.service.jobs.job import ORDER
from archcast.service.jobs.owner import Owner

JOBS = 20
TESTS = Path(__file__).parent


def start(folder: Path, ledger: str = "ledger", lease_s: float = 5.0) -> subprocess.Popen[str]:
    """Start the stand-in for the service, in a process group of its own."""
    places = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    given = [folder / "jobs.sqlite", folder / ledger, lease_s]
    service = subprocess.Popen(
        [sys.executable, str(TESTS / "jobs_service.py"), *map(str, given)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": places},
    )
    assert service.stdout is not None
    assert service.stdout.readline() == "ready\n"
    return service


def kill(service: subprocess.Popen[str]) -> None:
    os.killpg(service.pid, signal.SIGKILL)
    service.wait()
    assert service.stdout is not None
    service.stdout.close()


def stop_between_writes(service: subprocess.Popen[str], file: Path) -> None:
    """Stop a process while it holds no lock of the store, which nobody could take from one that is stopped."""
    while True:
        os.kill(service.pid, signal.SIGSTOP)
        with closing(sqlite3.connect(file, timeout=0.2, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                os.kill(service.pid, signal.SIGCONT)
                time.sleep(0.02)


def until(holds: Callable[[], bool], timeout_s: float) -> None:
    last = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < last, "it did not come about in time"
        time.sleep(0.02)


def children(store: JobStore) -> list[Owner]:
    with store.database.read() as db:
        rows = db.execute("SELECT child_pid, child_start, host FROM jobs WHERE child_pid IS NOT NULL").fetchall()
    return [Owner(row["child_pid"], row["child_start"], row["host"]) for row in rows]


def killed_once(folder: Path, after_ended: int, after_s: float) -> None:
    """Run 20 jobs; kill the service `after_s` after so many have ended; start it again; look at what came out."""
    store = JobStore(folder / "jobs.sqlite", kinds=KINDS, limits=JobLimits(lease_s=5.0))
    ids = [store.submit("beat", {"number": n, "seconds": 0.15}, key=f"job-{n}").id for n in range(JOBS)]
    service = start(folder)
    until(lambda: store.counts()["done"] >= after_ended, 60)
    time.sleep(after_s)
    running = children(store)
    kill(service)
    before = {e.id for e in store.endings()}
    assert len(before) < JOBS, "it was killed too late to show anything"
    until(lambda: all(child.is_dead() for child in running), 2.0)
    beats = {path: path.read_text() for path in store.folders.glob("*/beat")}
    time.sleep(0.1)
    assert beats == {path: path.read_text() for path in beats}, "a child survived, and writes"
    assert [store.submit("beat", {"number": n, "seconds": 0.15}, key=f"job-{n}").id for n in range(JOBS)] == ids

    service = start(folder)
    try:
        until(lambda: store.counts()["done"] == JOBS, 60)
        until(lambda: len((folder / "ledger").read_text().split()) >= JOBS - 1, 5)
        until(lambda: not any(store.folders.iterdir()), 5)  # also of the job that was committed right before the kill
    finally:
        kill(service)
    assert [store.result(id) for id in ids] == [{"number": n} for n in range(JOBS)]
    assert Counter(e.id for e in store.endings()) == Counter(ids)
    told = Counter((folder / "ledger").read_text().split())
    assert max(told.values()) == 1, "a job was told to have ended twice"
    assert len(before - set(told)) <= 1
    assert len(set(ids) - set(told)) <= 1, "only the job that was being committed at the kill may be untold"
    assert {job.attempts for job in store.list() if job.id in before} == {1}, "a job that was done was run again"


def test_twenty_jobs_end_exactly_once_though_the_service_is_killed(tmp_path: Path) -> None:
    draw = random.Random(8)
    killed_once(tmp_path, draw.randrange(3, 12), draw.uniform(0, 0.3))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_twenty_jobs_end_exactly_once_at_ten_instants_of_the_kill(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    killed_once(tmp_path, draw.randrange(0, 18), draw.uniform(0, 0.4))


def test_children_die_when_only_the_service_itself_is_killed(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite", kinds=KINDS, limits=JobLimits(lease_s=5.0))
    for number in range(3):
        store.submit("beat", {"number": number, "seconds": 60})
    service = start(tmp_path)
    until(lambda: len(list(store.folders.glob("*/beat"))) == 3, 30)
    running = children(store)
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    assert len(running) == 3
    until(lambda: all(child.is_dead() for child in running), 2.0)
    assert len(store.reclaim()) == 3
    assert store.counts()["queued"] == 3


def test_a_service_that_was_silent_for_long_commits_nothing_that_another_has_taken(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite", kinds=KINDS, limits=JobLimits(lease_s=1.0))
    silent = start(tmp_path, "first", 1.0)
    ids = [store.submit("beat", {"number": n, "seconds": 0.6}).id for n in range(4)]
    until(lambda: store.counts()["running"] == 3, 10)
    stop_between_writes(silent, tmp_path / "jobs.sqlite")
    second = start(tmp_path, "second", 1.0)
    try:
        until(lambda: store.counts()["done"] == 4, 20)
        os.kill(silent.pid, signal.SIGCONT)
        extra = store.submit("beat", {"number": 9, "seconds": 0.1}).id
        until(lambda: store.get(extra).ended, 10)
        time.sleep(0.5)
    finally:
        kill(silent)
        kill(second)
    assert Counter(e.id for e in store.endings()) == Counter([*ids, extra])
    assert [store.result(id)["number"] for id in ids] == [0, 1, 2, 3]
    told = [*(tmp_path / "first").read_text().split(), *(tmp_path / "second").read_text().split()]
    assert sorted(told) == sorted([*ids, extra])
    assert store.counts() == {"queued": 0, "running": 0, "done": 5, "failed": 0, "cancelled": 0}


def test_a_child_ends_when_its_input_closes_whatever_the_system(tmp_path: Path) -> None:
    order = {
        "runs": KINDS["beat"], "request": {"number": 0, "seconds": 60}, "parent": os.getpid(),
        "memory_bytes": 10**9, "progress_s": 1.0,
    }  # fmt: skip
    (tmp_path / ORDER).write_text(json.dumps(order))
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "archcast.service.jobs.child", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )  # fmt: skip
    until((tmp_path / "beat").exists, 20)
    assert child.poll() is None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(5) == ORPHANED
