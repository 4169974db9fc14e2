"""Instances of an engine: lanes that share its devices, moved on only when somebody must look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from simulator.serving.log import Log
from simulator.serving.policy import Policy
from simulator.serving.replica import Replica
from simulator.serving.step_costs import StepCosts


class Lane(Replica):
    """A replica whose load is known without a step.

    look: no request of this lane is done at this tick or before. ending: requests that the step in progress will end.
    """

    look = 0
    ending = 0

    @property
    def load(self) -> int:
        """Return how many requests wait or run; what a step in progress will end still runs."""
        return len(self.waiting) + len(self.filling) + self.decodes + self.ending

    def to(self, at: int) -> None:
        """Make the steps that start before `at`, and set the bound anew."""
        self.advance(at)
        self.look, self.ending = max(self.next_end() - 1, self.now), 0
        if self.now > at and (self._ended or self._readied):
            self.ending = len(self._ended) + sum(request not in self.number for request in self._readied)
            if self.ending:
                self.look = self.now - 1

    def abort(self, at: int) -> list[int]:
        self.ending = 0
        return super().abort(at)


class WatchedLane(Lane):
    """A lane whose ends make something happen: `ended` holds the requests of its last step, until they are handled.

    pending: whether the end of its last step is in the heap of events; epoch: how often it failed.
    """

    def __init__(
        self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log, *,
        moved: Callable[[WatchedLane], None], **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(costs, policy, prompt, generate, log, **options)
        self.ended: list[int] = []
        self.pending = False
        self.epoch = 0
        self._moved = moved

    def to(self, at: int) -> None:
        self.advance(at)
        self.settle()

    def settle(self) -> None:
        """Set the bound anew after it moved."""
        self.look, self.ending = max(self.next_end() - 1, self.now), len(self.ended)
        self._moved(self)

    def abort(self, at: int) -> list[int]:
        late = self.now > at
        lost = super().abort(at)
        if late:  # the step in progress ends nothing; one that ends now counts
            self.ended, self.pending = [], False
            self.epoch += 1
        self.settle()
        return lost

    def _finish(self, request: int) -> None:
        super()._finish(request)
        self.ended.append(request)


class Instance:
    """One engine: its lanes, whether it takes requests, and from when to when it is paid.

    number: of its pool, from 0, in the order of starts. stopped: tick from which it is no longer paid. hurt: outages.
    """

    def __init__(self, number: int, lanes: Sequence[Lane], started: int) -> None:
        self.number, self.lanes, self.started = number, list(lanes), started
        self.only = self.lanes[0] if len(self.lanes) == 1 else None
        self.state = "starting"
        self.stopped: int | None = None
        self.drained_from = started
        self.outages = 0

    @property
    def load(self) -> int:
        only = self.only
        return only.load if only else sum(lane.load for lane in self.lanes)

    @property
    def tokens_waiting(self) -> int:
        return sum(lane.tokens_waiting for lane in self.lanes)

    @property
    def idle(self) -> bool:
        return all(lane.idle for lane in self.lanes)

    def prefix_hits(self, request: int) -> int:
        return max(lane.prefix_hits(request) for lane in self.lanes)

    def waiting(self, at: int) -> int:
        """Return how many requests wait in its lanes at a tick."""
        for lane in self.lanes:
            lane.to(at)
        return sum(len(lane.waiting) for lane in self.lanes)

    def pick(self, at: int) -> Lane:
        """Return the lane with the fewest requests; of equals the first."""
        if self.only:
            return self.only
        for lane in self.lanes:
            if lane.look < at:
                lane.to(at)
        return min(self.lanes, key=lambda lane: lane.load)

    def paid(self, horizon: int) -> int:
        """Return the ticks for which it is paid: from its start, cold start and outages included, to its stop."""
        return max((horizon if self.stopped is None else self.stopped) - self.started, 0)
