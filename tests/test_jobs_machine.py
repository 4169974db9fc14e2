"""The job store under any order of what users and runners do, against a model of a few lines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from jobs_kinds import KINDS

from archcast.service.jobs import JobLimits, JobStore, KeyTakenError, NotDoneError
from archcast.service.jobs.job import Claim
from archcast.service.jobs.owner import Owner

ME = Owner.of()
DEAD = Owner(2**22 + 7, "1", ME.host)
KEYS = st.sampled_from(["", "", "a", "b"])


class Jobs(RuleBasedStateMachine):
    """`states`, `held` (id -> lease), `deaths` and `wanted` (to be cancelled) are the model."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = JobStore(self.folder / "jobs.sqlite", kinds=KINDS, limits=JobLimits(interruptions=2, crashes=2))
        self.states: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.dead: set[str] = set()
        self.deaths: dict[tuple[str, str], int] = {}
        self.wanted: set[str] = set()
        self.keys: dict[str, tuple[int, str]] = {}
        self.results: dict[str, int] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(key=KEYS, number=st.integers(0, 1))
    @precondition(lambda self: len(self.states) < 6)
    def submit(self, key: str, number: int) -> None:
        if key in self.keys and self.keys[key][0] != number:
            with pytest.raises(KeyTakenError):
                self.store.submit("echo", {"n": number}, key)
            return
        job = self.store.submit("echo", {"n": number}, key)
        if key in self.keys:
            assert job.id == self.keys[key][1]
            return
        assert job.id not in self.states
        self.states[job.id] = "queued"
        if key:
            self.keys[key] = (number, job.id)

    @initialize()
    def three_jobs(self) -> None:
        for number in range(3):
            self.states[self.store.submit("echo", {"n": number}).id] = "queued"

    @rule(target=claims, dies=st.booleans())
    @precondition(lambda self: "queued" in self.states.values())
    def claim(self, dies: bool) -> Claim:
        claim = self.store.claim(DEAD if dies else ME)
        assert claim is not None
        assert self.states[claim.id] == "queued"
        self.states[claim.id], self.held[claim.id] = "running", claim.lease
        if dies:
            self.dead.add(claim.lease)
        return claim

    def holds(self, claim: Claim) -> bool:
        return self.held.get(claim.id) == claim.lease

    def ended(self, id: str, state: str) -> None:
        self.states[id] = state
        self.held.pop(id, None)

    def again(self, id: str, count: str) -> None:
        self.deaths[id, count] = self.deaths.get((id, count), 0) + (1 if count else 0)
        if id in self.wanted:
            self.ended(id, "cancelled")
        elif count and self.deaths[id, count] >= 2:
            self.ended(id, "failed")
        else:
            self.ended(id, "queued")

    @rule(claim=claims, number=st.integers())
    def finish(self, claim: Claim, number: int) -> None:
        held = self.holds(claim)
        assert self.store.finish(claim, number) == held
        if held:
            self.ended(claim.id, "done")
            self.results[claim.id] = number

    @rule(claim=consumes(claims), how=st.sampled_from(["fail", "cancelled", "release", "crashed"]))
    def leave(self, claim: Claim, how: str) -> None:
        held = self.holds(claim)
        extra = ("why",) if how in ("fail", "crashed") else ()
        assert getattr(self.store, how)(claim, *extra) == held
        if not held:
            return
        if how in ("fail", "cancelled"):
            self.ended(claim.id, {"fail": "failed", "cancelled": "cancelled"}[how])
        else:
            self.again(claim.id, {"release": "", "crashed": "crashes"}[how])

    @rule(claim=claims, done=st.floats(0, 10))
    def progress(self, claim: Claim, done: float) -> None:
        assert self.store.progress(claim, done) == self.holds(claim)
        assert (claim.lease in self.store.beat([claim.lease]).leases) == self.holds(claim)

    @rule()
    @precondition(lambda self: bool(self.held))
    def reclaim(self) -> None:
        lost = {id for id, lease in self.held.items() if lease in self.dead}
        assert set(self.store.reclaim()) == lost
        for id in lost:
            self.again(id, "interruptions")

    @rule(data=st.data())
    @precondition(lambda self: bool(self.states))
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.states, key=list(self.states).index)))
        self.store.cancel(id)
        if self.states[id] == "queued":
            self.ended(id, "cancelled")
        elif self.states[id] == "running":
            self.wanted.add(id)

    @rule()
    @precondition(lambda self: len(self.states) > 4)
    def restart(self) -> None:
        self.store.close()
        self.store = JobStore(self.folder / "jobs.sqlite", kinds=KINDS, limits=self.store.limits)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        assert {job.id: job.state for job in self.store.list(limit=1000)} == self.states
        over = sorted(id for id, state in self.states.items() if state in ("done", "failed", "cancelled"))
        assert sorted(ending.id for ending in self.store.endings()) == over

    @invariant()
    def results_are_there_exactly_for_what_is_done(self) -> None:
        for id, state in self.states.items():
            if state == "done":
                assert self.store.result(id) == self.results[id]
            else:
                with pytest.raises(NotDoneError):
                    self.store.result(id)


TestJobs = Jobs.TestCase
TestJobs.settings = settings(max_examples=60, stateful_step_count=30)
