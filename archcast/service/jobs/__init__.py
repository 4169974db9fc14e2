"""Long jobs: a store in one SQLite file, and a runner that works through it in child processes.

A job's result is committed exactly once, also with several runners and after a kill -9 at any instant (docs/jobs.md).
"""

from archcast.service.jobs.job import (
    BusyError,
    Ending,
    Job,
    JobLimits,
    KeyTakenError,
    NoSuchJobError,
    NotDoneError,
    StoreError,
    TooLargeError,
)
from archcast.service.jobs.runner import Runner
from archcast.service.jobs.store import JobStore
from archcast.service.jobs.uploads import Upload, UploadLimits, Uploads

__all__ = [
    "BusyError",
    "Ending",
    "Job",
    "JobLimits",
    "JobStore",
    "KeyTakenError",
    "NoSuchJobError",
    "NotDoneError",
    "Runner",
    "StoreError",
    "TooLargeError",
    "Upload",
    "UploadLimits",
    "Uploads",
]
