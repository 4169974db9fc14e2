"""What runners ask of a store: claim a job, keep it, and end it, each only while the lease is theirs.

Leases are in seconds of the monotonic clock, which all processes of a machine share and which is never set back.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from archcast.service.jobs.job import CANCELLED, DONE, FAILED, QUEUED, Claim, JobLimits, TooLargeError
from archcast.service.jobs.owner import Owner
from archcast.service.jobs.schema import Database
from foundation.errors import BadValueError

MOST_NOTE = 500
_HELD = "id = ? AND lease = ? AND state = 'running'"


@dataclass(frozen=True)
class Held:
    """Which of a runner's leases hold, and which of these jobs are to be cancelled (both by lease)."""

    leases: frozenset[str]
    cancelling: frozenset[str]


class Leases:
    """The half of a store that runners use. All `bool` answers say whether the lease held; if not, nothing changed."""

    def __init__(self, database: Database, limits: JobLimits) -> None:
        self.database = database
        self.limits = limits

    def claim(self, owner: Owner, kinds: Collection[str] | None = None) -> Claim | None:
        """Take the oldest job that waits; None where there is none. `kinds`: of these only."""
        lease = secrets.token_urlsafe(12)
        among = "" if kinds is None else f" AND kind IN ({', '.join('?' * len(kinds))})"
        rule = f"SELECT id FROM jobs WHERE state = 'queued'{among} ORDER BY place LIMIT 1"
        with self.database.read() as db:  # idle runners do not take the write lock
            if db.execute(rule, tuple(kinds or ())).fetchone() is None:
                return None
        with self.database.change() as db:
            row = db.execute(rule, tuple(kinds or ())).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', lease = ?, until_s = ?, owner_pid = ?, owner_start = ?, host = ?, "
                "attempts = attempts + 1, started_s = coalesce(started_s, ?), child_pid = NULL, child_start = NULL, "
                "version = version + 1 WHERE id = ? AND state = 'queued'",
                (lease, self._until(), owner.pid, owner.start, owner.host, time.time(), row["id"]),
            )
            found = db.execute("SELECT id, kind, request, attempts FROM jobs WHERE id = ?", (row["id"],)).fetchone()
        return Claim(found["id"], found["kind"], json.loads(found["request"]), found["attempts"], lease)

    def _until(self) -> float:
        return time.monotonic() + self.limits.lease_s

    def beat(self, leases: Sequence[str]) -> Held:
        """Keep leases for `lease_s` more; tells which were lost, and whose job is to be cancelled."""
        if not leases:
            return Held(frozenset(), frozenset())
        marks = ", ".join("?" * len(leases))
        with self.database.change() as db:
            db.execute(
                f"UPDATE jobs SET until_s = ? WHERE lease IN ({marks}) AND state = 'running'", (self._until(), *leases)
            )
        return self.held(leases)

    def held(self, leases: Sequence[str]) -> Held:
        """As `beat`, but keeps nothing: a read."""
        marks = ", ".join("?" * len(leases))
        with self.database.read() as db:
            rows = db.execute(f"SELECT lease, cancelling FROM jobs WHERE lease IN ({marks})", tuple(leases)).fetchall()
        return Held(frozenset(r["lease"] for r in rows), frozenset(r["lease"] for r in rows if r["cancelling"]))

    def started(self, claim: Claim, child: Owner) -> bool:
        """Note the process that runs a job, so that it can be ended should its runner die."""
        return self._changed("child_pid = ?, child_start = ?", (child.pid, child.start), claim)

    def progress(self, claim: Claim, done: float, whole: float = 0.0, note: str = "") -> bool:
        """Note how far a job is: `done` of `whole` (0: unknown)."""
        return self._changed("done = ?, whole = ?, note = ?", (float(done), float(whole), note[:MOST_NOTE]), claim)

    def _changed(self, what: str, values: tuple[Any, ...], claim: Claim) -> bool:
        with self.database.change() as db:
            rule = f"UPDATE jobs SET {what}, version = version + 1 WHERE {_HELD}"
            return db.execute(rule, (*values, claim.id, claim.lease)).rowcount == 1

    def finish(self, claim: Claim, document: Any, *, beside_bytes: int = 0) -> bool:
        """Commit a job's result, a JSON document, and its end in one transaction.

        Args:
            beside_bytes: what stays on the disk beside it; it counts among the bytes of results that are kept.

        Raises:
            TooLargeError: the result is too large. BadValueError: it is no JSON. The job stays as it is.
        """
        try:
            text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise BadValueError(f"The result is no JSON document ({error}).") from None
        if len(text) > self.limits.result_bytes:
            raise TooLargeError(
                f"The result has {len(text):,} bytes; at most {self.limits.result_bytes:,} are kept. Ask for less."
            )
        packed = zlib.compress(text, 1)
        with self.database.change() as db:
            if not self._end(db, _HELD, (claim.id, claim.lease), DONE):
                return False
            db.execute("INSERT INTO results VALUES (?, ?, ?)", (claim.id, len(packed) + beside_bytes, packed))
        return True

    def fail(self, claim: Claim, error: str, error_kind: str = "") -> bool:
        """End a job with a sentence; it is not tried again."""
        with self.database.change() as db:
            return self._end(db, _HELD, (claim.id, claim.lease), FAILED, error, error_kind)

    def cancelled(self, claim: Claim) -> bool:
        """End a job that was asked to stop."""
        with self.database.change() as db:
            return self._end(db, _HELD, (claim.id, claim.lease), CANCELLED)

    def release(self, claim: Claim) -> bool:
        """Give a job back unfinished, as a runner does that is told to stop."""
        with self.database.change() as db:
            return self._again(db, claim.id, claim.lease, "")

    def crashed(self, claim: Claim, why: str) -> bool:
        """Note that a job's process died: it is queued again, or has failed where it died too often."""
        with self.database.change() as db:
            return self._again(db, claim.id, claim.lease, "crashes", why)

    def reclaim(self) -> tuple[str, ...]:
        """Queue the jobs again whose runner is dead or silent; returns their ids. What is left of them is killed."""
        with self.database.read() as db:
            rows = db.execute(
                "SELECT id, lease, until_s, owner_pid, owner_start, host, child_pid, child_start FROM jobs "
                "WHERE state = 'running'"
            ).fetchall()
        lost = []
        for row in (row for row in rows if self._lost(row)):
            with self.database.change() as db:
                still = db.execute(f"SELECT until_s FROM jobs WHERE {_HELD}", (row["id"], row["lease"])).fetchone()
                if (
                    still is None or still["until_s"] != row["until_s"]
                ):  # it gave a sign in between, or another did this
                    continue
                if row["child_pid"] is not None:
                    Owner(row["child_pid"], row["child_start"] or "", row["host"]).kill()
                if self._again(db, row["id"], row["lease"], "interruptions", "the service stopped while it ran"):
                    lost.append(row["id"])
        return tuple(lost)

    def _lost(self, row: sqlite3.Row) -> bool:
        left_s = row["until_s"] - time.monotonic()
        if left_s < 0 or left_s > 2 * self.limits.lease_s + 60:  # the latter: from before the machine started anew
            return True
        return Owner(row["owner_pid"], row["owner_start"] or "", row["host"]).is_dead()

    def _again(self, db: sqlite3.Connection, id: str, lease: str, count: str, why: str = "") -> bool:
        """Queue a running job again, having counted one more of `count`; ends it where it was asked to, or too often.

        `count` is the name of a column of ours, or '' where nothing is counted.
        """
        held = (id, lease)
        if count:
            db.execute(f"UPDATE jobs SET {count} = {count} + 1 WHERE {_HELD}", held)
        row = db.execute(f"SELECT cancelling, crashes, interruptions FROM jobs WHERE {_HELD}", held).fetchone()
        if row is None:
            return False
        if row["cancelling"]:
            return self._end(db, _HELD, held, CANCELLED)
        if count and row[count] >= getattr(self.limits, count):
            text = f"Tried {row[count]} times, and each time {why}; the last of them ended it."
            return self._end(db, _HELD, held, FAILED, text, "WorkerDied")
        rule = (
            "UPDATE jobs SET state = ?, lease = NULL, until_s = NULL, owner_pid = NULL, owner_start = NULL, "
            f"host = NULL, child_pid = NULL, child_start = NULL, note = ?, version = version + 1 WHERE {_HELD}"
        )
        return db.execute(rule, (QUEUED, f"begun again: {why}" if why else "", *held)).rowcount == 1

    @staticmethod
    def _end(
        db: sqlite3.Connection, where: str, held: tuple[str, ...], state: str, error: str = "", error_kind: str = ""
    ) -> bool:
        """End the job that `where` finds, and write it into the ledger; must stand in a transaction."""
        now_s = time.time()
        rows = db.execute(
            "UPDATE jobs SET state = ?, ended_s = ?, error = ?, error_kind = ?, cancelling = 0, lease = NULL, "
            f"until_s = NULL, version = version + 1 WHERE {where} RETURNING id, attempts",
            (state, now_s, error, error_kind, *held),
        ).fetchall()
        if not rows:
            return False
        db.execute(
            "INSERT INTO endings (job, state, attempt, ended_s) VALUES (?, ?, ?, ?)",
            (rows[0]["id"], state, rows[0]["attempts"], now_s),
        )
        return True
