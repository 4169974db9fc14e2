"""`Runner`: claims jobs of a store, runs each in a child process, and commits how it ended.

One thread watches all children. Whatever it changes in the store shows the job's lease, so that a runner that was
stopped for long, and lost its jobs to another, changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from archcast.service.jobs.artefacts import put_models
from archcast.service.jobs.folders import clear, kept_bytes
from archcast.service.jobs.job import INTERNAL, BusyError, Claim, StoreError
from archcast.service.jobs.kinds import uploads_of
from archcast.service.jobs.owner import Owner
from archcast.service.jobs.store import JobStore
from archcast.service.jobs.work import Work, outcome_of, tail_of
from foundation.checks import whole_number
from foundation.errors import ArchcastError, InputError

_LOG = logging.getLogger("archcast.jobs")
TICK_S = 0.05
CLAIM_S = 0.1
CANCEL_S = 0.25
RECLAIM_S = 2.0
EXPIRE_S = 600.0


class Runner:
    """Works through the jobs of a store, `workers` at a time, until it is stopped. Several may share a store.

    Args:
        on_end: told the id of each job that this runner has ended, after the commit.

    `with Runner(store): ...` starts and stops it.
    """

    def __init__(self, store: JobStore, workers: int = 1, *, on_end: Callable[[str], None] | None = None) -> None:
        self.store = store
        self.workers = whole_number("workers", workers, high=256)
        self._on_end = on_end
        self._owner = Owner.of()
        self._works: list[Work] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._due: dict[str, float] = {}
        self.trouble = ""

    def start(self) -> Runner:
        """Begin; jobs of dead runners are queued again first. Raises StoreError."""
        if self._thread is None:
            self._owner = Owner.of()
            self.store.reclaim()
            self.store.tidy()
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="archcast-jobs", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End: jobs that run are queued again, with their folders, and count no attempt."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Runner:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether its thread runs, as `/readyz` asks."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> int:
        """How many jobs it runs now."""
        return len(self._works)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
                self.trouble = ""
            except (BusyError, StoreError, OSError) as error:  # a full disk may be freed: go on, and say so
                self.trouble = str(error)
                self._stop.wait(1.0)
            self._stop.wait(TICK_S)
        self._leave()

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    def _step(self) -> None:
        if self._is_due("reclaim", RECLAIM_S):
            self.store.reclaim()
        if self._is_due("expire", EXPIRE_S):
            self.store.expire()
            self.store.tidy()
        self._keep()
        for work in list(self._works):
            if work.watch():
                self._tell(work)
            else:
                self._settle(work)
        if len(self._works) < self.workers and self._is_due("claim", CLAIM_S):
            self._begin()

    def _keep(self) -> None:
        """Keep the leases; end the jobs that are lost or to be cancelled."""
        leases = [work.claim.lease for work in self._works]
        if not leases:
            return
        if self._is_due("beat", self.store.limits.lease_s / 5):
            held = self.store.beat(leases)
        elif self._is_due("cancel", CANCEL_S):
            held = self.store.held(leases)
        else:
            return
        for work in self._works:
            if work.claim.lease not in held.leases:
                work.end("lost")
            elif work.claim.lease in held.cancelling:
                work.end("cancelled")

    def _begin(self) -> None:
        while len(self._works) < self.workers:
            claim = self.store.claim(self._owner, self.store.kinds)
            if claim is None:
                return
            folder = self.store.folder(claim.id)
            if (left := outcome_of(folder, self.store.limits.result_bytes)) is not None:  # of a runner that died
                self._commit(claim, left)
                continue
            if not self._put_named(claim, folder):
                continue
            try:
                work = Work(claim, self.store.kinds[claim.kind], folder, self.store.limits)
            except OSError as error:
                self.store.crashed(claim, f"its process could not be started ({error.strerror})")
                raise
            self._works.append(work)
            self.store.started(claim, work.child)

    def _put_named(self, claim: Claim, folder: Path) -> bool:
        """Put the uploads and models that a request names into the job's folder; fails the job where one is gone."""
        uploads = self.store.uploads
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            for name in uploads_of(claim.request, uploads):
                uploads.put_into(folder, name)
            put_models(self.store, claim.request, folder)
        except InputError as error:  # deleted meanwhile
            self._told(claim, self.store.fail(claim, str(error), type(error).__name__))
            return False
        return True

    def _tell(self, work: Work) -> None:
        if (news := work.news()) is not None:
            self.store.progress(work.claim, *news)

    def _settle(self, work: Work) -> None:
        """Commit how a process ended. It is forgotten only then: a store in trouble is asked again."""
        work.close()
        left = outcome_of(work.folder, self.store.limits.result_bytes)
        if work.why != "lost":
            self._tell(work)
        if work.why == "lost":
            pass
        elif left is not None:
            self._commit(work.claim, left)
        else:
            self._without(work)
        self._works.remove(work)

    def _without(self, work: Work) -> None:
        """End or queue again a job whose process left no outcome."""
        limits, claim = self.store.limits, work.claim
        if work.why == "cancelled":
            self._told(claim, self.store.cancelled(claim))
        elif work.why == "stopped":
            self.store.release(claim)
        elif work.why == "time":
            text = f"The job took longer than its {limits.time_s:g} s; ask for less, or in parts."
            self._told(claim, self.store.fail(claim, text, "TimeLimit"))
        elif work.why == "memory":
            text = f"The job needs more memory than its {limits.memory_bytes:,} bytes; ask for less at once."
            self._told(claim, self.store.fail(claim, text, "OutOfMemory"))
        else:
            _LOG.error("job %s: %s: %s", claim.id, work.ended_by, tail_of(work.folder))
            self.store.crashed(claim, work.ended_by)

    def _commit(self, claim: Claim, outcome: dict[str, object]) -> None:
        """Commit an outcome; where the lease is lost, it is thrown away."""
        try:
            if "result" in outcome:
                beside = kept_bytes(self.store.folder(claim.id))
                held = self.store.finish(claim, outcome["result"], beside_bytes=beside)
            else:
                if outcome.get("kind") == INTERNAL:
                    _LOG.error("job %s: %s", claim.id, tail_of(self.store.folder(claim.id)))
                held = self.store.fail(claim, str(outcome.get("error", "")), str(outcome.get("kind", "")))
        except (BusyError, StoreError):
            raise
        except ArchcastError as error:  # too large
            held = self.store.fail(claim, str(error), type(error).__name__)
        self._told(claim, held)

    def _told(self, claim: Claim, held: bool) -> None:
        if not held:
            return
        clear(self.store.folder(claim.id))
        if self._on_end is not None:
            self._on_end(claim.id)

    def _leave(self) -> None:
        for work in self._works:
            work.end("stopped")
        for work in list(self._works):
            work.join(self.store.limits.grace_s)
            try:
                self._settle(work)
            except (BusyError, StoreError, OSError) as error:  # the lease runs out by itself
                self.trouble = str(error)
                self._works.remove(work)
