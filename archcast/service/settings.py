"""What a service is started with: where it listens, who may ask, and how much of everything it takes."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from foundation.errors import BadFileError, BadValueError

MAX_ROWS = 100_000
"""Rows of one columnar request; the schema says so too."""
TOKEN_VARIABLE = "ARCHCAST_TOKEN"
UPLOADS = {"text/csv": "upload.csv", "application/vnd.apache.parquet": "upload.parquet",
           "application/x-parquet": "upload.parquet", "application/octet-stream": ""}  # fmt: skip
"""Media type -> name of an upload that has none."""
MIN_TOKEN, MAX_TOKEN = 16, 1000


@dataclass(frozen=True)
class Limits:
    """Bounds on requests. A request past one of them gets a 4xx and one sentence, before work starts."""

    body_bytes: int = 8_000_000
    upload_bytes: int = 64_000_000
    rows: int = MAX_ROWS
    """Of the operators' route."""
    questions: int = 10_000
    """Rows of predict_batch and predict_rows, which build a network each."""
    depth: int = 32
    values: int = 100_000
    """Values in one JSON body whose shape the caller chooses (inline documents)."""
    request_s: float = 20.0
    """Time in which a body must have come, and again in which its answer must be found."""
    concurrent: int = 256
    watching: int = 128
    """Requests that only wait for a job (`wait_s`, streams of progress); they do not count among `concurrent`."""
    waiting: int = 32
    """Questions that wait for the process that answers the long ones."""
    memory_bytes: int = 6_000_000_000
    """Address space of that process."""
    cache_bytes: int = 64_000_000
    wait_s: float = 15.0
    """Longest that a request for a job waits for its end."""


@dataclass(frozen=True)
class SideLimits(Limits):
    """What the helper process is told: the limits, and the file of the jobs whose models may be asked ('': none)."""

    store: str = ""


@dataclass(frozen=True)
class Settings:
    """How a service runs. `data` holds jobs and uploads; without it there are neither."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str = field(default="", repr=False)
    data: Path | None = None
    log: bool = True
    limits: Limits = field(default_factory=Limits)
    metrics: Path | None = None
    """Folder in which the counts of several worker processes meet; None: one process counts for itself."""
    side: bool = True
    """Whether long questions go to a process of their own, which can be stopped."""
    job_workers: int = 1
    """Jobs that run at once; 0: they wait for another service of the same folder."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadValueError(f"port must be from 0 to 65535, not {self.port}.")
        if not 1 <= self.workers <= 256:
            raise BadValueError(f"workers must be from 1 to 256, not {self.workers}.")
        if not 0 <= self.job_workers <= 256:
            raise BadValueError(f"job-workers must be from 0 to 256, not {self.job_workers}.")
        if self.token and not (MIN_TOKEN <= len(self.token) <= MAX_TOKEN and self.token.isascii()):
            raise BadValueError(f"The token must have {MIN_TOKEN} to {MAX_TOKEN} ASCII characters.")
        if not self.token and not is_loopback(self.host):
            raise BadValueError(
                f"Listening on {self.host} lets others ask; give --token-file FILE (or {TOKEN_VARIABLE}), or listen "
                "on 127.0.0.1."
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own. A name other than localhost is not resolved: it is not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_token(file: Path | None) -> str:
    """Return the token of a file, else that of the environment, else ''. Raises BadFileError: an empty file."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    from foundation.yaml_file import read_text

    token = read_text(file, max_bytes=10_000).strip()
    if not token:
        raise BadFileError(file, "the file holds no token.", hint="Write one with: openssl rand -hex 32 > FILE.")
    return token


def data_folder() -> Path:
    """Return where jobs are kept unless a folder is named: $XDG_STATE_HOME/archcast, else ~/.local/state/archcast."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "archcast"
