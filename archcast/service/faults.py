"""Errors as JSON and back: one sentence, its kind, where, and the HTTP status; the client raises what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import foundation.errors as known
from foundation.errors import ArchcastError, BadFileError, InputError, UnknownNameError

MAX_MESSAGE = 1200


class RefusedError(InputError):
    """A request that the service does not take: `status` says why (401, 404, 405, 413, 415, 503, ...)."""

    def __init__(self, status: int, message: str, *, at: str = "", hint: str = "", retry_s: int = 0) -> None:
        self.status, self.at, self.hint, self.retry_s = status, at, hint, retry_s
        super().__init__(message)


class ShapeError(known.BadValueError):
    """A body that is not of the shape that the route takes; `at` is the place in it."""

    def __init__(self, message: str, at: str = "", status: int = 422) -> None:
        self.at, self.status = at, status
        super().__init__(message)


BY_NAME = {"BusyError": 503, "NoSuchJobError": 404, "KeyTakenError": 409, "TooLargeError": 413, "NotDoneError": 409}
"""Statuses of errors of the job store, by their names: that module is not imported for a question."""


def status_of(error: ArchcastError) -> int:
    """Return the HTTP status of an error: its own, else 422 where the input is wrong, 500 where we are."""
    status = getattr(error, "status", None) or BY_NAME.get(type(error).__name__)
    return int(status) if status else 422 if error.exit_code == 2 else 500


def fault(error: ArchcastError, *, status: int = 0) -> dict[str, Any]:
    """Return the `error` of an answer, with the status in it."""
    at = getattr(error, "at", "") or (error.key if isinstance(error, BadFileError) else "")
    found = {"message": one_line(str(error)), "kind": type(error).__name__, "at": str(at)[:200],
             "hint": str(getattr(error, "hint", "")), "status": status or status_of(error)}  # fmt: skip
    if isinstance(error, UnknownNameError):
        found["nearest"] = error.nearest
    return found


def one_line(message: str) -> str:
    """Return a message that may hold a stranger's words as one line of bounded length, printable."""
    cut = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 60]} ... {message[-50:]}"
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in cut)


def error_of(found: Mapping[str, Any]) -> ArchcastError:
    """Return the error that a service answered with, of the class and with the sentence that it had there."""
    kind, message = str(found.get("kind", "")), str(found.get("message", "The service gave no reason."))
    status, at, hint = int(found.get("status", 500)), str(found.get("at", "")), str(found.get("hint", ""))
    if kind == "RefusedError":
        return RefusedError(status, message, at=at, hint=hint)
    if kind == "ShapeError":
        return ShapeError(message, at, status)
    cls = getattr(known, kind, None)
    if not (isinstance(cls, type) and issubclass(cls, ArchcastError)):
        cls = _of_jobs(kind) or (InputError if status < 500 else ArchcastError)
    error: ArchcastError = cls.__new__(cls, message)
    Exception.__init__(error, message)
    for name, value in {"at": at, "hint": hint, "status": status, "key": at, "path": "", "line": None, "name": "",
                        "nearest": list(found.get("nearest", [])), "state": ""}.items():  # fmt: skip
        setattr(error, name, value)
    return error


def _of_jobs(kind: str) -> type[ArchcastError] | None:
    if kind not in BY_NAME:
        return None
    from archcast.service.jobs import job

    found: type[ArchcastError] = getattr(job, kind)
    return found
