"""The tables of a job store, and how its file is opened."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archcast.service.jobs.job import BusyError, StoreError

VERSION = 2
"""Of the tables, kept in `PRAGMA user_version`."""
BUSY_S = 20.0

TABLES = """
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    key TEXT UNIQUE,
    digest TEXT NOT NULL,
    request TEXT NOT NULL,
    created_s REAL NOT NULL, started_s REAL, ended_s REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    done REAL NOT NULL DEFAULT 0, whole REAL NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '', error_kind TEXT NOT NULL DEFAULT '',
    cancelling INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1,
    lease TEXT, until_s REAL,
    owner_pid INTEGER, owner_start TEXT, host TEXT,
    child_pid INTEGER, child_start TEXT,
    name TEXT NOT NULL DEFAULT '', about TEXT NOT NULL DEFAULT '',
    CHECK ((state = 'running') = (lease IS NOT NULL))
);
CREATE INDEX jobs_by_state ON jobs (state, place);
CREATE TABLE results (job TEXT PRIMARY KEY, bytes INTEGER NOT NULL, document BLOB NOT NULL);
CREATE TABLE endings (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, ended_s REAL NOT NULL
);
CREATE INDEX endings_by_job ON endings (job);
"""

UPGRADES = {
    1: ("ALTER TABLE jobs ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN about TEXT NOT NULL DEFAULT ''"),
}  # fmt: skip
"""Version of a file -> what makes it the next one; a service that runs still on the older tables goes on."""


class Database:
    """A SQLite file with one connection for each thread that asks, WAL, and full durability of each commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with _plain_errors(path):
            self._prepare()

    def _prepare(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connection()
        with self.change():
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
                found = VERSION
            while found in UPGRADES:
                for statement in UPGRADES[found]:
                    connection.execute(statement)
                found += 1
                connection.execute(f"PRAGMA user_version = {found}")
            if found != VERSION:
                raise StoreError(
                    f"{self.path} holds jobs of version {found}, and this archcast reads version {VERSION}; "
                    "update archcast or give another file."
                )

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            found.row_factory = sqlite3.Row
            _to_wal(found)
            found.execute("PRAGMA synchronous = FULL")
            self._local.connection = found
            with self._lock:
                self._all.append(found)
        return found

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for statements that change nothing."""
        with _plain_errors(self.path):
            yield self._connection()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one transaction that holds the write lock from its start.

        Raises:
            BusyError: another process held the lock for too long. StoreError: the file cannot be used.
        """
        with _plain_errors(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()


def _to_wal(connection: sqlite3.Connection) -> None:
    """Turn WAL on. The first to do so needs the file alone, and SQLite does not wait for that by itself."""
    last = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.02)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError("The job store is busy; send the same request again later.") from None
        raise StoreError(f"The job store {path.name} cannot be used: {error}.") from None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise StoreError(f"{path.name} is not a job store, or is damaged: {error}.") from None
    except OSError as error:
        raise StoreError(f"The folder of {path.name} cannot be used ({error.strerror}).") from None
