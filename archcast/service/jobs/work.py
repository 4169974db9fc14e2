"""One child process as its runner sees it: begun, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from archcast.service.jobs.job import LOG, ORDER, OUTCOME, Claim, JobLimits
from archcast.service.jobs.owner import Owner, resident_bytes
from foundation.errors import BadFileError
from foundation.yaml_file import read_text

MOST_LINE = 20_000
TAIL_BYTES = 4000
_STOPPED = {"cancelled": signal.SIGTERM, "lost": signal.SIGKILL, "stopped": signal.SIGTERM}


class Work:
    """A claimed job and its process. `why` is set by what made the runner end it: cancelled, lost, time or memory."""

    def __init__(self, claim: Claim, runs: str, folder: Path, limits: JobLimits) -> None:
        self.claim, self.folder, self.limits = claim, folder, limits
        self.why = ""
        self._news: tuple[float, float, str] | None = None
        self._begun = time.monotonic()
        self._asked: float | None = None
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        order = {
            "runs": runs, "request": claim.request, "parent": os.getpid(), "memory_bytes": limits.memory_bytes,
            "progress_s": limits.progress_s,
        }  # fmt: skip
        (folder / ORDER).write_text(json.dumps(order), encoding="utf-8")
        with (folder / LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "archcast.service.jobs.child", str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_environment(),
                start_new_session=True, text=True, encoding="utf-8",
            )  # fmt: skip
        self.child = Owner.of(self._process.pid)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while line := stream.readline(MOST_LINE):
            try:
                done, whole, note = json.loads(line)
                self._news = (float(done), float(whole), str(note))
            except (TypeError, ValueError):
                continue

    def news(self) -> tuple[float, float, str] | None:
        """Return the newest progress, once."""
        found, self._news = self._news, None
        return found

    def watch(self) -> bool:
        """Return whether it runs still; one that is over a limit, or slow to end, is killed."""
        if self._has_ended():
            return False
        now = time.monotonic()
        if now - self._begun > self.limits.time_s:
            self.end("time")
        elif resident_bytes(self._process.pid) > self.limits.memory_bytes:
            self.end("memory")
        if self._asked is not None and now - self._asked > self.limits.grace_s:
            self._signal(signal.SIGKILL)
        return True

    def _has_ended(self) -> bool:
        """Return whether the process has ended; what it may have left running in its group is killed then.

        In that order: once it is waited for, its id may be another's.
        """
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        return True

    def end(self, why: str) -> None:
        """Ask it to end; a second time has no effect. Those over a limit, and those not ours any more, at once."""
        if self._asked is None:
            self.why, self._asked = why, time.monotonic()
            self._signal(_STOPPED.get(why, signal.SIGKILL))

    def _signal(self, number: signal.Signals) -> None:
        if not self._has_ended():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def join(self, timeout_s: float) -> None:
        """Wait for its end; kill it where that takes longer than `timeout_s`."""
        last = time.monotonic() + timeout_s
        while not self._has_ended():
            if time.monotonic() > last:
                self._signal(signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        """Hear the last lines of a process that has ended, and close its pipes."""
        self._listener.join(0.5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def ended_by(self) -> str:
        """Return what ended the process, in words."""
        code = self._process.returncode
        if code is not None and code < 0:
            try:
                return f"its process was ended by {signal.Signals(-code).name}"
            except ValueError:
                return f"its process was ended by signal {-code}"
        return f"its process ended early (exit code {code})"


def outcome_of(folder: Path, most_bytes: int) -> dict[str, Any] | None:
    """Return the outcome that a child wrote whole, also one of an earlier attempt; None where there is none."""
    path = folder / OUTCOME
    if not path.is_file():
        return None
    try:
        found = json.loads(read_text(path, max_bytes=most_bytes))
    except BadFileError:
        return {"error": f"The result has more than {most_bytes:,} bytes; ask for less.", "kind": "TooLargeError"}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def tail_of(folder: Path) -> str:
    """Return the end of what the libraries of a job printed, such as a traceback."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _environment() -> dict[str, str]:
    """Return the environment of a child: the same imports, one thread a library, and no credentials of the service."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    places = [os.path.abspath(place or ".") for place in sys.path]
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
