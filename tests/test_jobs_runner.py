"""The runner: jobs in child processes, their ends, limits, and what a lost lease means."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobs_kinds import KINDS

from archcast.service.jobs import JobLimits, JobStore, NotDoneError, Runner
from archcast.service.jobs.job import OUTCOME
from archcast.service.jobs.owner import Owner


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., JobStore]]:
    def build(**limits: float) -> JobStore:
        return JobStore(tmp_path / "jobs.sqlite", kinds=KINDS, limits=JobLimits(**{"progress_s": 0.02, **limits}))  # type: ignore[arg-type]

    return build  # type: ignore[return-value]


def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    last = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < last, "it did not come about in time"
        time.sleep(0.02)


def test_a_job_runs_in_a_process_of_its_own_and_leaves_no_folder(make: Callable[..., JobStore]) -> None:
    store, ended = make(), []
    with Runner(store, on_end=ended.append) as runner:
        job = store.wait(store.submit("echo", {"a": ["ü", 1e300, None]}).id, 30)
        assert runner.alive
    assert not runner.alive
    assert (job.state, job.attempts) == ("done", 1)
    assert store.result(job.id) == {"a": ["ü", 1e300, None]}
    assert ended == [job.id]
    assert not store.folder(job.id).exists()


def test_two_runners_on_one_file_end_each_job_once(make: Callable[..., JobStore]) -> None:
    one, two = make(), make()
    ids = [one.submit("echo", {"n": n}).id for n in range(6)]
    with Runner(one), Runner(two):
        states = {one.wait(id, 30).state for id in ids}
    assert states == {"done"}
    assert [one.result(id) for id in ids] == [{"n": n} for n in range(6)]
    assert sorted(e.id for e in two.endings()) == sorted(ids)
    assert {job.attempts for job in one.list()} == {1}


def test_progress_is_seen_while_a_job_runs(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store):
        id = store.submit("nap", {"seconds": 1.0, "steps": 10}).id
        until(lambda: 0 < store.get(id).done < 10)
        assert store.get(id).whole == 10
        assert store.get(id).note == "napping"
        assert store.wait(id, 30).done == 10


def test_a_refusal_is_an_error_at_once_and_names_no_place_of_the_server(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store):
        job = store.wait(store.submit("refuse", {}).id, 30)
    assert (job.state, job.attempts, job.error_kind) == ("failed", 1, "BadValueError")
    assert job.error == "request.yaml: no such thing."
    with pytest.raises(NotDoneError, match="has failed: request"):
        store.result(job.id)


def test_a_fault_of_ours_fails_the_job_and_its_details_are_logged(
    make: Callable[..., JobStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = make()
    with Runner(store):
        job = store.wait(store.submit("bug", {}).id, 30)
    assert (job.state, job.attempts, job.error_kind) == ("failed", 1, "InternalError")
    assert "division" not in job.error
    assert job.id in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_job_whose_process_dies_is_tried_three_times(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store, workers=2):
        twice, thrice = store.submit("crash", {"times": 2}).id, store.submit("crash", {"times": 3}).id
        saved, lost = store.wait(twice, 30), store.wait(thrice, 30)
    assert (saved.state, saved.attempts) == ("done", 3)
    assert store.result(twice) == {"deaths": 2}
    assert (lost.state, lost.attempts) == ("failed", 3)
    assert "SIGKILL" in lost.error


def test_a_job_goes_on_with_what_its_folder_holds(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store):
        job = store.wait(store.submit("steps", {"steps": 3}).id, 30)
    assert store.result(job.id) == {"begun_at": 2}


def test_cancelling_ends_a_running_job_and_one_that_will_not_end(make: Callable[..., JobStore]) -> None:
    store = make(grace_s=0.3)
    with Runner(store, workers=2):
        naps, stays = store.submit("nap", {"seconds": 60}).id, store.submit("stubborn", {}).id
        until(lambda: store.get(naps).state == "running" and store.get(stays).done == 1)
        store.cancel(naps), store.cancel(stays)
        assert store.wait(naps, 10).state == "cancelled"
        assert store.wait(stays, 10).state == "cancelled"
    assert [e.state for e in store.endings()] == ["cancelled", "cancelled"]


def test_a_job_over_its_time_or_memory_is_ended_with_a_sentence(make: Callable[..., JobStore]) -> None:
    store = make(time_s=1.5)
    with Runner(store):
        slow_job = store.wait(store.submit("nap", {"seconds": 60}).id, 30)
    store = make(memory_bytes=300_000_000)  # with time enough to eat on a machine that has much to do
    with Runner(store):
        fat_job = store.wait(store.submit("eat", {}).id, 60)
    assert (slow_job.state, slow_job.error_kind, slow_job.attempts) == ("failed", "TimeLimit", 1)
    assert "1.5 s" in slow_job.error
    assert (fat_job.state, fat_job.attempts) == ("failed", 1)
    assert (fat_job.error_kind, "300,000,000 bytes" in fat_job.error) == ("OutOfMemory", True)


def test_a_result_over_the_limit_fails_the_job(make: Callable[..., JobStore]) -> None:
    store = make(result_bytes=10_000)
    with Runner(store):
        large = store.wait(store.submit("big", {"bytes": 20_000}).id, 30)
        small = store.wait(store.submit("big", {"bytes": 10}).id, 30)
    assert (large.state, large.error_kind) == ("failed", "TooLargeError")
    assert store.result(small.id) == {"text": "x" * 10, "number": None}  # JSON has no NaN


def test_a_runner_that_stops_gives_its_jobs_back(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store):
        id = store.submit("nap", {"seconds": 60}).id
        until(lambda: store.get(id).done >= 0 and store.get(id).state == "running")
    job = store.get(id)
    assert (job.state, job.attempts) == ("queued", 1)
    assert store.claim(Owner.of()) is not None


def test_a_runner_that_lost_its_lease_ends_the_job_and_commits_nothing(make: Callable[..., JobStore]) -> None:
    store = make()
    with Runner(store) as runner:
        id = store.submit("nap", {"seconds": 60}).id
        until(lambda: store.get(id).state == "running")
        with store.database.change() as db:  # as another runner does when this one is silent for long
            db.execute("UPDATE jobs SET lease = 'another', owner_pid = 1, host = 'far', until_s = until_s + 5")
        until(lambda: runner.running == 0)
        assert store.get(id).state == "running"
        assert store.endings() == []


def test_an_outcome_that_a_dead_runner_left_is_committed_and_not_run_again(make: Callable[..., JobStore]) -> None:
    store = make()
    id = store.submit("crash", {"times": 99}).id
    store.folder(id).mkdir(parents=True)
    (store.folder(id) / OUTCOME).write_text('{"result": {"from": "before"}}')
    with Runner(store):
        assert store.wait(id, 30).state == "done"
    assert store.result(id) == {"from": "before"}


def test_what_a_job_started_ends_with_it(make: Callable[..., JobStore]) -> None:
    store = make(grace_s=0.3)
    with Runner(store):
        id = store.submit("family", {}).id
        until(lambda: store.get(id).done > 0)
        child = Owner.of(int(store.get(id).done))
        assert child.start
        store.cancel(id)
        store.wait(id, 10)
    until(child.is_dead)


def test_a_job_reads_nothing_outside_of_its_folder(make: Callable[..., JobStore], tmp_path: Path) -> None:
    store = make()
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    with Runner(store, workers=2):
        places = (str(secret), "../../secret.txt", "/proc/self/cwd/../../etc/passwd", f"/proc/{os.getpid()}/environ")
        ids = [store.submit("read", {"path": path}).id for path in places]
        jobs = [store.wait(id, 30) for id in ids]
        own = store.wait(store.submit("read", {"path": "order.json"}).id, 30)
    assert [(job.state, job.error_kind) for job in jobs] == [("failed", "InternalError")] * 4
    assert own.state == "done"  # its own folder it may read


def test_a_child_has_no_secrets_of_the_service_in_its_environment(
    make: Callable[..., JobStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHCAST_TOKEN", "very-secret")
    store = make()
    with Runner(store):
        job = store.wait(store.submit("read", {"path": "/proc/self/environ"}).id, 30)
    assert "PYTHONPATH" in store.result(job.id)["text"]
    assert "very-secret" not in str(store.result(job.id))


def test_a_stopped_process_of_a_job_is_killed_where_its_runner_died(make: Callable[..., JobStore]) -> None:
    """Its pid is known to the store, so that whoever takes the job over ends what is left of it first."""
    store = make(lease_s=30.0)
    with Runner(store):
        id = store.submit("nap", {"seconds": 60}).id
        until(lambda: store.get(id).done >= 1 or store.get(id).version >= 3)
        with store.database.read() as db:
            row = db.execute("SELECT child_pid, child_start, host FROM jobs").fetchone()
        child = Owner(row["child_pid"], row["child_start"], row["host"])
        assert not child.is_dead()
        os.kill(child.pid, signal.SIGSTOP)
        with store.database.change() as db:
            db.execute("UPDATE jobs SET owner_start = '1'")  # its owner's id is now another process's
        other = make()
        other.reclaim()
        until(child.is_dead, 10)
        other.cancel(id)
