"""What a job is as its user sees it, what bounds jobs, and what can be refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from foundation.errors import ArchcastError, InputError

QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATES = ("queued", "running", "done", "failed", "cancelled")
ENDED = (DONE, FAILED, CANCELLED)
ORDER, OUTCOME, LOG = "order.json", "outcome.json", "log.txt"
"""In a job's folder: what its process is to do, how it ended, and what libraries printed."""

INTERNAL = "InternalError"
"""The kind of an error that is a fault of ours; the traceback goes to the log."""


class StoreError(ArchcastError):
    """The file of the store cannot be used: of a newer version, no database, a full disk."""


class BusyError(ArchcastError):
    """The queue is full, or the store is locked for too long; the same request may be sent again later."""


class NoSuchJobError(InputError):
    """No job has this id; it may have been deleted or have expired."""


class KeyTakenError(InputError):
    """The key stands for another request."""


class TooLargeError(InputError):
    """A request, a result or an upload is larger than the limits allow."""


class NotDoneError(InputError):
    """A result is asked for that is not there: the job runs still, has failed, or was cancelled."""

    def __init__(self, message: str, state: str) -> None:
        self.state = state
        super().__init__(message)


@dataclass(frozen=True)
class JobLimits:
    """Bounds of a store and of the jobs that a runner starts. `lease_s` is how long a silent runner keeps its jobs."""

    request_bytes: int = 2_000_000
    result_bytes: int = 64_000_000
    results_bytes: int = 2_000_000_000
    queue: int = 1000
    kept: int = 10_000
    keep_s: float = 7 * 86_400.0
    crashes: int = 3
    interruptions: int = 20
    time_s: float = 3600.0
    memory_bytes: int = 4_000_000_000
    lease_s: float = 15.0
    grace_s: float = 2.0
    progress_s: float = 0.5


@dataclass(frozen=True)
class Job:
    """One job. Times are seconds since 1970 (None: not yet). `done` of `whole` (0: unknown) is its progress.

    `name` is what its sender calls it, `about` what its request is about in a word or two; either may be ''.
    `attempts` counts how often it was begun; `version` grows with each change, so that a watcher sees that there is
    news. `cancelling`: it is asked to stop and runs still.
    """

    id: str
    kind: str
    state: str
    key: str
    created_s: float
    started_s: float | None
    ended_s: float | None
    attempts: int
    done: float
    whole: float
    note: str
    error: str
    error_kind: str
    cancelling: bool
    version: int
    name: str = ""
    about: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Claim:
    """A job that a runner holds: what to run, and the lease that its changes must show."""

    id: str
    kind: str
    request: dict[str, Any]
    attempt: int
    lease: str


@dataclass(frozen=True)
class Ending:
    """A line of the store's ledger: the end of one job, written in the transaction that ended it."""

    id: str
    state: str
    attempt: int
    ended_s: float
