"""`JobStore`: jobs in one SQLite file that several processes may share.

What users ask (submit, get, list, cancel, result, delete) is here; what runners ask (claim, beat, progress, the ends)
is in `leases`. Each change is one transaction, and holds only where the job is still in the state that it leaves.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archcast.service.jobs.artefacts import check_models
from archcast.service.jobs.folders import clear_left, clear_parts
from archcast.service.jobs.job import (
    CANCELLED,
    DONE,
    ENDED,
    QUEUED,
    RUNNING,
    STATES,
    BusyError,
    Ending,
    Job,
    JobLimits,
    KeyTakenError,
    NoSuchJobError,
    NotDoneError,
)
from archcast.service.jobs.leases import Leases
from archcast.service.jobs.requests import about_of, checked_name, plain_request
from archcast.service.jobs.schema import Database
from archcast.service.jobs.uploads import UploadLimits, Uploads
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError

MOST_LISTED = 1000
MOST_SHOWN_BYTES = 65_536
"""Of a request that is told again with its job."""
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_COLUMNS = (
    "id, kind, state, coalesce(key, '') AS key, created_s, started_s, ended_s, attempts, done, whole, note, "
    "error, error_kind, cancelling, version, name, about"
)
Check = Callable[[str, Mapping[str, Any], Uploads], None]


class JobStore(Leases):
    """Jobs in a SQLite file; uploads and the jobs' working folders stand beside it.

    Args:
        path: the file, made where it is absent.
        kinds: kind -> "module:function" that runs it; by default those of `kinds.KINDS`.
        check: refuses a request before it is queued; by default `kinds.check_request` for the default kinds.

    Raises:
        StoreError: the file is no store, of a newer version, or cannot be written.
    """

    def __init__(
        self, path: str | Path, *, limits: JobLimits | None = None, upload_limits: UploadLimits | None = None,
        kinds: Mapping[str, str] | None = None, check: Check | None = None,
    ) -> None:  # fmt: skip
        from archcast.service.jobs.kinds import KINDS, check_request

        self.path = Path(path).absolute()
        super().__init__(Database(self.path), limits or JobLimits())
        self.kinds = dict(KINDS if kinds is None else kinds)
        self.check = check if check is not None else (check_request if kinds is None else None)
        self.uploads = Uploads(self.path.with_suffix(".uploads"), upload_limits)
        self.folders = self.path.with_suffix(".folders")

    def submit(self, kind: str, request: Mapping[str, Any], key: str = "", name: str = "") -> Job:
        """Queue a job, or return that of the same key and request. `name` is for people, and changes nothing else.

        Raises:
            UnknownNameError: no such kind. BadValueError: the request is no JSON, or names what it may not.
            TooLargeError: the request is too large. KeyTakenError: the key stands for another request.
            BusyError: the queue is full.
        """
        if not isinstance(kind, str) or kind not in self.kinds:
            raise UnknownNameError("kind of job", str(kind)[:100], self.kinds, f"Known: {', '.join(self.kinds)}.")
        if key and not (isinstance(key, str) and _KEY.fullmatch(key)):
            raise BadValueError("key must be up to 200 printable ASCII characters without spaces.")
        name = checked_name(name)
        text, digest = plain_request(request, self.limits.request_bytes)
        digest = f"{kind} {digest}"
        if (found := self._of_key(key, digest)) is not None:
            return found
        asked = json.loads(text)
        if self.check is not None:
            self.check(kind, asked, self.uploads)
            check_models(self, asked)
        return self._queued(kind, text, digest, key, (name, about_of(asked)))

    def _queued(self, kind: str, text: str, digest: str, key: str, words: tuple[str, str]) -> Job:
        id = secrets.token_urlsafe(16)
        with self.database.change() as db:
            if key and (found := self._of_key(key, digest)) is not None:  # another process may have been faster
                return found
            waiting = db.execute("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()[0]
            if waiting >= self.limits.queue:
                raise BusyError(f"The queue is full ({waiting:,} jobs); send the same request again later.")
            db.execute(
                "INSERT INTO jobs (id, kind, state, key, digest, request, created_s, name, about) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, kind, QUEUED, key or None, digest, text, time.time(), *words),
            )
        return self.get(id)

    def _of_key(self, key: str, digest: str) -> Job | None:
        """Return the job of a key, if any. Raises KeyTakenError where it is of another request."""
        if not key:
            return None
        with self.database.read() as db:
            row = db.execute(f"SELECT {_COLUMNS}, digest FROM jobs WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row["digest"] != digest:
            raise KeyTakenError(f"The key '{key}' stands for another request; give each request a key of its own.")
        return _job(row)

    def get(self, id: str) -> Job:
        """Return a job. Raises NoSuchJobError."""
        with self.database.read() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (_text(id),)).fetchone()
        if row is None:
            raise absent(id)
        return _job(row)

    def request(self, id: str) -> dict[str, Any]:
        """Return what a job was asked. Raises NoSuchJobError."""
        with self.database.read() as db:
            row = db.execute("SELECT request FROM jobs WHERE id = ?", (_text(id),)).fetchone()
        if row is None:
            raise absent(id)
        return dict(json.loads(row["request"]))

    def shown(self, id: str) -> dict[str, Any]:
        """Return a job as JSON with its `request`, null where that has more than 64 KiB. Raises NoSuchJobError."""
        with self.database.read() as db:
            row = db.execute(
                f"SELECT {_COLUMNS}, length(CAST(request AS BLOB)) AS bytes, "
                "CASE WHEN length(CAST(request AS BLOB)) <= ? THEN request ELSE 'null' END AS request "
                "FROM jobs WHERE id = ?",
                (MOST_SHOWN_BYTES, _text(id)),
            ).fetchone()
        if row is None:
            raise absent(id)
        return {**_job(row).to_json(), "request": json.loads(row["request"]), "request_bytes": row["bytes"]}

    def list(self, states: Iterable[str] = (), limit: int = 100, before: str = "") -> list[Job]:
        """Return jobs, the newest first: of some states (none named: all), and older than the job `before`.

        Raises:
            UnknownNameError: no such state. NoSuchJobError: no job `before`. BadValueError: the limit.
        """
        wanted = tuple(dict.fromkeys(states)) or STATES
        for state in wanted:
            if state not in STATES:
                raise UnknownNameError("state", str(state)[:100], STATES, f"Known: {', '.join(STATES)}.")
        whole_number("limit", limit, high=MOST_LISTED)
        marks = ", ".join("?" * len(wanted))
        with self.database.read() as db:
            place: float = 2**62
            if before:
                row = db.execute("SELECT place FROM jobs WHERE id = ?", (_text(before),)).fetchone()
                if row is None:
                    raise absent(before)
                place = row["place"]
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state IN ({marks}) AND place < ? ORDER BY place DESC LIMIT ?",
                (*wanted, place, int(limit)),
            ).fetchall()
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self.database.read() as db:
            found = dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: int(found.get(state, 0)) for state in STATES}

    def cancel(self, id: str) -> Job:
        """Cancel a job: at once where it waits; where it runs, its runner ends it soon. One that has ended stays so.

        Raises:
            NoSuchJobError: no such job.
        """
        with self.database.change() as db:
            row = db.execute("SELECT state, attempts FROM jobs WHERE id = ?", (_text(id),)).fetchone()
            if row is None:
                raise absent(id)
            if row["state"] == QUEUED:
                self._end(db, "id = ? AND state = 'queued'", (id,), CANCELLED)
            elif row["state"] == RUNNING:
                db.execute("UPDATE jobs SET cancelling = 1, version = version + 1 WHERE id = ?", (id,))
        return self.get(id)

    def result(self, id: str) -> Any:
        """Return the JSON document of a job that is done.

        Raises:
            NoSuchJobError: no such job. NotDoneError: it is not done; its `state` says why.
        """
        job = self.get(id)
        if job.state != DONE:
            raise NotDoneError(_why_not(job), job.state)
        with self.database.read() as db:
            row = db.execute("SELECT document FROM results WHERE job = ?", (id,)).fetchone()
        if row is None:  # deleted in between
            raise absent(id)
        return json.loads(zlib.decompress(row["document"]))

    def wait(self, id: str, timeout_s: float) -> Job:
        """Return the job once it has ended, or as it is after `timeout_s`. Raises NoSuchJobError."""
        last = time.monotonic() + timeout_s
        pause = 0.01
        while not (job := self.get(id)).ended and (left := last - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, 0.2)
        return job

    def delete(self, id: str) -> None:
        """Delete a job that has ended, its result and its folder.

        Raises:
            NoSuchJobError: no such job. NotDoneError: it has not ended; cancel it first.
        """
        with self.database.change() as db:
            row = db.execute("SELECT state FROM jobs WHERE id = ?", (_text(id),)).fetchone()
            if row is None:
                raise absent(id)
            if row["state"] not in ENDED:
                raise NotDoneError(f"The job {id} has not ended ({row['state']}); cancel it first.", row["state"])
            _forget(db, [id])
        shutil.rmtree(self.folder(id), ignore_errors=True)

    def expire(self, now_s: float | None = None) -> int:
        """Delete ended jobs that are too old, or too many, or whose results are too large together; return how many."""
        before_s = (time.time() if now_s is None else now_s) - self.limits.keep_s
        rule = (
            "SELECT id FROM (SELECT id, ended_s, row_number() OVER newest AS n, sum(coalesce(bytes, 0)) OVER newest "
            "AS b FROM jobs LEFT JOIN results ON results.job = jobs.id WHERE state IN ('done', 'failed', 'cancelled') "
            "WINDOW newest AS (ORDER BY ended_s DESC, place DESC ROWS UNBOUNDED PRECEDING)) "
            "WHERE ended_s < ? OR n > ? OR (b > ? AND n > 1)"
        )
        with self.database.change() as db:
            bounds = (before_s, self.limits.kept, self.limits.results_bytes)
            old = [row["id"] for row in db.execute(rule, bounds).fetchall()]
            _forget(db, old)
        for id in old:
            shutil.rmtree(self.folder(id), ignore_errors=True)
        return len(old)

    def tidy(self) -> None:
        """Remove what a kill left on the disk: folders of jobs that have ended, parts of uploads."""

        def state_of(id: str) -> str:
            with self.database.read() as db:
                row = db.execute("SELECT state FROM jobs WHERE id = ?", (id,)).fetchone()
            return "" if row is None else str(row["state"])

        clear_left(self.folders, state_of)
        clear_parts(self.uploads.folder)

    def endings(self, id: str = "") -> Sequence[Ending]:
        """Return the ledger: the end of each job, in order, as written in the transaction that ended it."""
        rule, bound = ("WHERE job = ?", (id,)) if id else ("", ())
        with self.database.read() as db:
            rows = db.execute(
                f"SELECT job, state, attempt, ended_s FROM endings {rule} ORDER BY number", bound
            ).fetchall()
        return [Ending(row["job"], row["state"], row["attempt"], row["ended_s"]) for row in rows]

    def folder(self, id: str) -> Path:
        """Return the working folder of a job, which is kept over its attempts."""
        return self.folders / id

    def close(self) -> None:
        """Close the file."""
        self.database.close()


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in Job.__dataclass_fields__}
    return Job(**{**fields, "cancelling": bool(row["cancelling"])})


def _text(id: object) -> str:
    """Ids come from strangers: what cannot be one matches none."""
    return id if isinstance(id, str) and len(id) <= 100 and id.isascii() else ""


def absent(id: object) -> NoSuchJobError:
    """Return the error of an id that no job has."""
    return NoSuchJobError(f"There is no job '{_text(id)}'; it may have been deleted, or was never here.")


def _why_not(job: Job) -> str:
    if job.state == "failed":
        return f"The job {job.id} has failed: {job.error}"
    if job.state == CANCELLED:
        return f"The job {job.id} was cancelled; submit it again for a result."
    return f"The job {job.id} is {job.state}; ask again when it is done."


def _forget(db: sqlite3.Connection, ids: Sequence[str]) -> None:
    for table, column in (("results", "job"), ("endings", "job"), ("jobs", "id")):
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(id,) for id in ids])
