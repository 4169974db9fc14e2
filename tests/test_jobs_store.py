"""The job store: states, keys, leases and limits, without a process."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest
from jobs_kinds import KINDS

from archcast.service.jobs import (
    BusyError,
    JobLimits,
    JobStore,
    KeyTakenError,
    NoSuchJobError,
    NotDoneError,
    StoreError,
    TooLargeError,
)
from archcast.service.jobs.job import Claim
from archcast.service.jobs.owner import Owner
from foundation.errors import BadValueError, UnknownNameError

ME = Owner.of()
DEAD = Owner(2**22 + 7, "1", ME.host)


def store_in(folder: Path, **limits: float) -> JobStore:
    return JobStore(folder / "jobs.sqlite", kinds=KINDS, limits=JobLimits(**limits))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return store_in(tmp_path)


def claimed(store: JobStore, owner: Owner = ME) -> Claim:
    claim = store.claim(owner)
    assert claim is not None
    return claim


def test_a_job_goes_from_queued_to_running_to_done_with_its_result(store: JobStore) -> None:
    job = store.submit("echo", {"a": [1, {"b": None}], "ü": 0.1})
    assert (job.state, job.attempts, job.started_s) == ("queued", 0, None)
    claim = claimed(store)
    assert (claim.id, claim.request, claim.attempt) == (job.id, {"a": [1, {"b": None}], "ü": 0.1}, 1)
    assert store.get(job.id).state == "running"
    assert store.progress(claim, 3, 10, "half way")
    assert store.finish(claim, {"x": [1.5]})
    found = store.get(job.id)
    assert (found.state, found.done, found.whole, found.note, found.ended) == ("done", 3, 10, "half way", True)
    assert store.result(job.id) == {"x": [1.5]}
    assert [(e.id, e.state, e.attempt) for e in store.endings()] == [(job.id, "done", 1)]
    assert store.claim(ME) is None


def test_jobs_are_claimed_in_the_order_of_their_coming(store: JobStore) -> None:
    ids = [store.submit("echo", {"n": n}).id for n in range(4)]
    assert [claimed(store).id for _ in ids] == ids


def test_ids_cannot_be_guessed(store: JobStore) -> None:
    ids = {store.submit("echo", {}).id for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 22  # 128 bits


def test_the_same_key_and_request_are_one_job(store: JobStore) -> None:
    first = store.submit("echo", {"a": 1, "b": 2}, key="k-1")
    assert store.submit("echo", {"b": 2, "a": 1}, key="k-1").id == first.id
    assert store.finish(claimed(store), "once")
    assert store.submit("echo", {"a": 1, "b": 2}, key="k-1").state == "done"
    with pytest.raises(KeyTakenError, match="another request"):
        store.submit("echo", {"a": 2, "b": 2}, key="k-1")
    with pytest.raises(KeyTakenError):
        store.submit("nap", {"a": 1, "b": 2}, key="k-1")
    assert store.submit("echo", {"a": 1, "b": 2}).id != first.id


def test_many_threads_with_one_key_make_one_job(store: JobStore) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(store.submit("echo", {"a": 1}, key="same").id)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert store.counts()["queued"] == 1


def test_two_stores_on_one_file_claim_each_job_once(tmp_path: Path) -> None:
    stores = [store_in(tmp_path), store_in(tmp_path)]
    ids = [stores[0].submit("echo", {"n": n}).id for n in range(30)]
    taken: list[str] = []

    def work(store: JobStore) -> None:
        while (claim := store.claim(ME)) is not None:
            assert store.finish(claim, claim.request)
            taken.append(claim.id)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(ids)
    assert sorted(e.id for e in stores[1].endings()) == sorted(ids)


def test_a_dead_runners_job_is_queued_again_at_once(store: JobStore) -> None:
    job = store.submit("echo", {})
    claimed(store, DEAD)
    assert store.reclaim() == (job.id,)
    again = claimed(store)
    assert (again.id, again.attempt) == (job.id, 2)
    assert store.reclaim() == ()  # this process lives


def test_a_process_of_the_same_id_that_began_later_is_another(store: JobStore) -> None:
    assert not ME.is_dead()
    assert Owner(ME.pid, "12", ME.host).is_dead()
    assert not Owner(ME.pid, "12", "another host").is_dead()  # cannot be told from here


def test_what_comes_after_the_lease_is_lost_is_thrown_away(tmp_path: Path) -> None:
    store = store_in(tmp_path, lease_s=-1.0)  # each lease has run out when it is given
    job = store.submit("echo", {})
    late = claimed(store)
    assert store.reclaim() == (job.id,)
    now = claimed(store)
    assert not store.finish(late, "late")
    assert not store.progress(late, 1)
    assert not store.fail(late, "late")
    assert not store.cancelled(late)
    assert not store.release(late)
    assert not store.crashed(late, "late")
    assert store.beat([late.lease, now.lease]).leases == {now.lease}
    assert store.finish(now, "in time")
    assert not store.finish(now, "twice")
    assert store.result(job.id) == "in time"
    assert len(store.endings(job.id)) == 1


def test_a_kept_lease_is_not_taken(tmp_path: Path) -> None:
    store = store_in(tmp_path, lease_s=30.0)
    store.submit("echo", {})
    stranger = Owner(1, "1", "another machine")
    claim = claimed(store, stranger)
    assert store.beat([claim.lease]).leases == {claim.lease}
    assert store.reclaim() == ()


def test_a_worker_that_dies_three_times_fails_its_job(store: JobStore) -> None:
    job = store.submit("echo", {})
    for _ in range(3):
        assert store.get(job.id).state == "queued"
        assert store.crashed(claimed(store), "its process was ended by SIGKILL")
    found = store.get(job.id)
    assert (found.state, found.attempts, found.error_kind) == ("failed", 3, "WorkerDied")
    assert found.error == "Tried 3 times, and each time its process was ended by SIGKILL; the last of them ended it."


def test_restarts_of_the_service_are_not_held_against_a_job(store: JobStore) -> None:
    job = store.submit("echo", {})
    for _ in range(6):
        claimed(store, DEAD)
        store.reclaim()
    assert store.get(job.id).state == "queued"
    for _ in range(store.limits.interruptions - 6):
        claimed(store, DEAD)
        store.reclaim()
    assert store.get(job.id).state == "failed"  # it may be what ends the service


def test_cancelling_ends_a_job_that_waits_and_marks_one_that_runs(store: JobStore) -> None:
    runs, waits = store.submit("echo", {"n": 1}), store.submit("echo", {"n": 2})
    claim = claimed(store)
    assert store.cancel(waits.id).state == "cancelled"
    assert store.cancel(runs.id).cancelling
    assert store.held([claim.lease]).cancelling == {claim.lease}
    assert store.cancelled(claim)
    assert store.get(runs.id).state == "cancelled"
    assert store.cancel(runs.id).state == "cancelled"
    assert [e.id for e in store.endings()] == [waits.id, runs.id]
    with pytest.raises(NotDoneError, match="was cancelled"):
        store.result(runs.id)


def test_a_job_that_is_cancelled_while_its_runner_dies_is_not_begun_again(store: JobStore) -> None:
    job = store.submit("echo", {})
    claimed(store, DEAD)
    store.cancel(job.id)
    store.reclaim()
    assert store.get(job.id).state == "cancelled"
    assert len(store.endings(job.id)) == 1


def test_jobs_are_listed_newest_first_by_state_and_page(store: JobStore) -> None:
    ids = [store.submit("echo", {"n": n}).id for n in range(5)]
    assert store.finish(claimed(store), 0)
    assert [job.id for job in store.list()] == ids[::-1]
    assert [job.id for job in store.list(("done",))] == ids[:1]
    page = store.list(limit=2)
    assert [job.id for job in store.list(limit=2, before=page[-1].id)] == [ids[2], ids[1]]
    with pytest.raises(UnknownNameError, match="Nearest: done"):
        store.list(("dnoe",))
    with pytest.raises(BadValueError):
        store.list(limit=10**6)


def test_unknown_ids_are_refused_whatever_they_are(store: JobStore) -> None:
    for id in ("nope", "../../etc/passwd", "x" * 10**6, "\0", "' OR 1=1 --", "ü"):
        for ask in (store.get, store.result, store.cancel, store.delete, store.request):
            with pytest.raises(NoSuchJobError):
                ask(id)


def test_the_bounds_of_requests_results_and_the_queue_hold(tmp_path: Path) -> None:
    store = store_in(tmp_path, request_bytes=100, result_bytes=100, queue=2)
    with pytest.raises(TooLargeError, match="at most 100"):
        store.submit("echo", {"a": "x" * 200})
    job = store.submit("echo", {}, key="one")
    store.submit("echo", {})
    with pytest.raises(BusyError, match="queue is full"):
        store.submit("echo", {})
    assert store.submit("echo", {}, key="one").id == job.id  # known already: no room is needed
    claim = claimed(store)
    with pytest.raises(TooLargeError):
        store.finish(claim, "x" * 200)
    assert store.get(job.id).state == "running"


@pytest.mark.parametrize(
    "request_",
    [[], "text", None, {"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": b"bytes"}, {"a": 10**5000}],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_mapping_is_refused(store: JobStore, request_: object) -> None:
    with pytest.raises(BadValueError):
        store.submit("echo", request_)  # type: ignore[arg-type]


def test_deep_and_wide_requests_are_refused_before_they_are_walked(store: JobStore) -> None:
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadValueError, match="levels deep"):
        store.submit("echo", {"a": deep})
    with pytest.raises(BadValueError, match="values"):
        store.submit("echo", {"a": [0] * 10**6})


@pytest.mark.parametrize("key", ["with space", "x" * 201, "line\n", "ü", 7])
def test_keys_are_short_plain_words(store: JobStore, key: str) -> None:
    with pytest.raises(BadValueError, match="key must be"):
        store.submit("echo", {}, key=key)


def test_old_and_surplus_jobs_expire_with_their_folders(tmp_path: Path) -> None:
    store = store_in(tmp_path, kept=2, keep_s=1000.0)
    ids = [store.submit("echo", {"n": n}).id for n in range(4)]
    for id in ids[:3]:
        store.folder(id).mkdir(parents=True)
        assert store.finish(claimed(store), 0)
    assert store.expire() == 1
    assert [job.id for job in store.list()] == [ids[3], ids[2], ids[1]]
    assert not store.folder(ids[0]).exists()
    assert store.folder(ids[1]).exists()
    assert store.expire(store.get(ids[2]).created_s + 2000) == 2
    assert [job.state for job in store.list()] == ["queued"]  # what has not ended stays


def test_results_that_are_too_large_together_expire_oldest_first(tmp_path: Path) -> None:
    store = store_in(tmp_path, results_bytes=1800)
    draw = random.Random(1)
    ids = []
    for n in range(5):
        ids.append(store.submit("echo", {"n": n}).id)
        assert store.finish(claimed(store), draw.randbytes(500).hex())  # no packing makes it less than 500 bytes
    gone = store.expire()
    assert 2 <= gone <= 4
    assert [job.id for job in store.list()] == ids[: gone - 1 : -1]


def test_only_ended_jobs_are_deleted(store: JobStore) -> None:
    job = store.submit("echo", {})
    with pytest.raises(NotDoneError, match="cancel it first"):
        store.delete(job.id)
    assert store.finish(claimed(store), 1)
    store.delete(job.id)
    with pytest.raises(NoSuchJobError):
        store.get(job.id)


def test_the_file_is_durable_and_of_a_known_version(tmp_path: Path, store: JobStore) -> None:
    with store.database.read() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    store.close()
    raw = sqlite3.connect(tmp_path / "jobs.sqlite")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(StoreError, match="version 99"):
        store_in(tmp_path)
    (tmp_path / "other.sqlite").write_text("this is no database, and long enough to be looked at " * 50)
    with pytest.raises(StoreError, match="not a job store"):
        JobStore(tmp_path / "other.sqlite")


def test_a_store_that_is_locked_for_long_says_so(store: JobStore) -> None:
    with store.database.read() as db:
        db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="later"):
        store.submit("echo", {})
    other.execute("ROLLBACK")
    assert store.submit("echo", {}).state == "queued"
