"""A fleet in time: requests, pools of engines behind routers, failures, scaling, hand-offs and users who wait.

Lanes move only when somebody must look at them. Where the end of a request makes something happen (a closed loop, a
workflow, a split service), each lane stands in the heap at a tick before which no request of it can be done; then it
runs until the next event of all others or until one is done, so no lane is ever ahead of what may reach it.
Events of one tick run in the order: ends, control, arrivals, steps; then by number, then as they were scheduled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

from foundation.errors import BadValueError
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.disaggregation import Link, Transfer
from simulator.serving.fleet_run import FleetRun, finished
from simulator.serving.flows import DirectFlow, WorkflowFlow
from simulator.serving.instances import Lane, WatchedLane
from simulator.serving.lifecycle import Lifecycle
from simulator.serving.log import Log
from simulator.serving.pools import Pool, PoolState
from simulator.serving.prefix_cache import prefixes_of
from simulator.serving.replica import NEVER
from simulator.serving.requests import Requests
from simulator.serving.workflows import Node, Workflow, plan_of
from simulator.streams import RandomStreams

END, CONTROL, ARRIVE, STEP = range(4)
Callback = Callable[[Any, int], None]

__all__ = ["Fleet", "FleetRun", "Pool", "run_fleet"]


class Fleet:
    """Pools that serve requests. `run` may be called once.

    Without a workflow there is one pool, or a prefill and a decode pool with a `transfer` between them.

    Raises:
        BadValueError, UnknownNameError: pools, roles and workflow that do not go together.
    """

    def __init__(
        self, pools: Sequence[Pool], requests: Requests, streams: RandomStreams, *, transfer: Transfer | None = None,
        closed_loop: ClosedLoop | None = None, workflow: Workflow | None = None, segments: bool = False,
    ) -> None:  # fmt: skip
        self.requests, self.streams, self.closed_loop = requests, streams, closed_loop
        self.link = Link(transfer) if transfer else None
        self.flow = _flow(list(pools), requests, streams, self.link, workflow)
        self.flow.stage = self
        self.jobs = self.flow.jobs
        self.watched = closed_loop is not None or isinstance(self.flow, WorkflowFlow)
        self.log = Log.of(len(self.jobs), segments)
        self.lanes: list[Lane] = []
        self.prefixes: list[list[int]] | None = None
        session, self.priority = (
            [column[request] for request in self.jobs.request]
            for column in (requests.session.tolist(), requests.priority.tolist())
        )
        self.pools = [
            PoolState(pool, i, self._make_lane, streams, session, self.watched) for i, pool in enumerate(pools)
        ]
        self.lane_of = [-1] * len(self.jobs)
        self.life = Lifecycle(self)
        self.lost: dict[str, list[int]] = {}
        self.arrival: list[int] = requests.arrival.tolist() if closed_loop is None else []
        self.thinks = closed_loop.thinks(len(requests), streams) if closed_loop else []
        self.open_requests = len(requests)
        self.clock = 0
        self.coming = NEVER  # tick of the next arrival that is not in the heap
        self.heap: list[tuple[int, int, int, int, Callback, Any]] = []
        self.sequence = 0

    # -- time -----------------------------------------------------------------------------------------------------

    def run(self) -> FleetRun:
        """Serve all requests. Raises InvariantError: a law of conservation does not hold (a fault of the simulator)."""
        self._begin()
        arrivals = [] if self.closed_loop else self.arrival
        self._loop(arrivals)
        while any(state.backlog for state in self.pools):
            self._lose_backlog()
            self._loop([])
        for lane in self.lanes:
            lane.to(NEVER)
            if lane.now >= NEVER:
                raise _too_long()
        return finished(self)

    def _begin(self) -> None:
        for state in self.pools:
            self.life.begin(state)
        if self.closed_loop:
            for user, at in enumerate(self.closed_loop.starts()[: len(self.requests)]):
                self.later(at, user, self._ask, None)

    def _loop(self, arrivals: list[int]) -> None:
        """Run events and arrivals in their order until nothing is left that changes anything."""
        heap, begin, i, n = self.heap, self.flow.begin, 0, len(arrivals)
        coming = arrivals[0] if n else NEVER
        while True:
            if i < n and (not heap or heap[0][0] > coming or (heap[0][0] == coming and heap[0][1] > CONTROL)):
                self.clock = coming
                begin(i, coming)
                i += 1
                self.coming = coming = arrivals[i] if i < n else NEVER
                continue
            if not heap:
                return
            time, kind, _, _, callback, argument = heappop(heap)
            self.clock = time
            if kind == CONTROL and i >= n and self._all_done(time):
                return
            if time >= NEVER:
                if self._all_done(NEVER):
                    return
                raise _too_long()
            callback(argument, time)

    def _all_done(self, at: int) -> bool:
        if self.watched:
            return self.open_requests == 0
        if any(state.backlog for state in self.pools):
            return False
        for lane in self.lanes:
            lane.to(at)
        return all(lane.idle and not lane.ending for lane in self.lanes)

    def _push(self, at: int, kind: int, number: int, callback: Callback, argument: Any) -> None:
        self.sequence += 1
        heappush(self.heap, (at, kind, number, self.sequence, callback, argument))

    def later(self, at: int, number: int, callback: Callback, argument: Any) -> None:
        """Call back at a tick, among the arrivals of that tick."""
        self._push(at, ARRIVE, number, callback, argument)

    def control(self, at: int, callback: Callback, argument: Any) -> None:
        """Call back at a tick, before its arrivals; such events alone do not keep a run going."""
        self._push(at, CONTROL, 0, callback, argument)

    # -- requests -------------------------------------------------------------------------------------------------

    def submit(self, job: int, at: int, pool: int, cached: int = 0, made: int = 0, again: bool = False) -> None:
        """Hand a job to a pool: to an instance that its router chooses, or to wait for one.

        cached: KV tokens that come with it. made: tokens generated before. again: it was admitted before.
        """
        state = self.pools[pool]
        most = None if again else state.pool.max_queue
        if not again and not self._can_fit(job, state):
            self.lose(job, "too long", at)
        elif not state.open:
            if most is not None and len(state.backlog) >= most:
                self.lose(job, "rejected", at)
                return
            state.backlog.append((job, cached, made))
            if state.scaler and not state.current:
                self.life.start_cold(state, at)
        else:
            instance = state.choose(job, at)
            lane = instance.pick(at)
            if most is not None and instance.waiting(at) >= most:
                self.lose(job, "rejected", at)
                return
            lane.advance(at)
            if cached or made:
                lane.enqueue(job, at, cached=cached, made=made)
            else:
                lane.enqueue(job, at)
            self.lane_of[job] = lane.lane
            if state.bounded:
                lane.to(at)

    def _can_fit(self, job: int, state: PoolState) -> bool:
        if not state.probe.fits(job):
            return False
        twin = self.jobs.twin[job] if self.jobs.twin else -1
        return twin < 0 or self.pools[self.jobs.pool[twin]].probe.fits(twin)

    def lose(self, job: int, cause: str, at: int) -> None:
        """Give a job up, and with it its request."""
        request = self.jobs.request[job]
        if isinstance(self.flow, WorkflowFlow):
            if self.flow.gone[request]:
                return
            self.flow.gone[request] = True
        self.lost.setdefault(cause, []).append(request)
        self.over(request, at)

    def over(self, request: int, at: int) -> None:
        """Note that a request is done or lost; its user thinks and asks again."""
        self.open_requests -= 1
        if self.closed_loop:
            self.later(at + self.thinks[request], request, self._ask, None)

    def _ask(self, _: None, at: int) -> None:
        request = len(self.arrival)
        if request < len(self.requests):
            self.arrival.append(at)
            self.flow.begin(request, at)

    def _lose_backlog(self) -> None:
        """Give up what waits for an instance that will never come."""
        for state in self.pools:
            waiting = list(state.backlog)
            state.backlog.clear()
            for job, _, _ in waiting:
                self.lose(job, "no instance", self.clock)

    # -- lanes that are watched -----------------------------------------------------------------------------------

    def _make_lane(self, pool: Pool, name: str, keep: bool = True) -> Lane:
        """Return a lane; its stream of random numbers has a name of its own, so other lanes shift none of it."""
        args = (pool.costs, pool.policy, self.jobs.prompt, self.jobs.generate, self.log)
        options: dict[str, Any] = {"lane": len(self.lanes), "priority": self.priority}
        if pool.policy.prefix_cache:
            options |= {"prefix": self._prefixes(), "prefix_tokens": self.requests.prefix_tokens}
        if pool.policy.speculation:
            options["random"] = self.streams.get(f"{pool.name}/speculation/{name}")
        lane = WatchedLane(*args, moved=self._moved, **options) if self.watched else Lane(*args, **options)
        if keep:
            self.lanes.append(lane)
        return lane

    def _prefixes(self) -> list[list[int]]:
        """Return the ids of the blocks with which each job's prompt begins, made when first asked for."""
        if self.prefixes is None:
            by_request = prefixes_of(self.requests)
            self.prefixes = [by_request[i] if shared else [] for i, shared in self.flow.prefix_owner()]
        return self.prefixes

    def _moved(self, lane: WatchedLane) -> None:
        """Put a lane back into the heap after it moved."""
        if lane.ended:
            if not lane.pending:
                lane.pending = True
                self._push(lane.now, END, lane.lane, self._ended, (lane, lane.epoch))
        elif not lane.idle:
            self._push(lane.look, STEP, lane.lane, self._step, lane)

    def _step(self, lane: WatchedLane, at: int) -> None:
        if lane.pending or at != lane.look:
            return
        until = min(self.heap[0][0] if self.heap else NEVER, self.coming)
        lane.advance(max(until, at + 1), one_end=True)
        lane.settle()

    def _ended(self, what: tuple[WatchedLane, int], at: int) -> None:
        lane, epoch = what
        if lane.epoch != epoch:
            return  # the engine failed before this step's end
        ended, lane.ended, lane.pending = lane.ended, [], False
        for job in ended:
            self.flow.ended(job, at)
        lane.settle()


def run_fleet(
    pools: Sequence[Pool], requests: Requests, streams: RandomStreams, *, transfer: Transfer | None = None,
    closed_loop: ClosedLoop | None = None, workflow: Workflow | None = None, segments: bool = False,
) -> FleetRun:  # fmt: skip
    """Serve requests with a fleet (see `Fleet`); `segments` keeps what every lane did in time."""
    fleet = Fleet(
        pools, requests, streams, transfer=transfer, closed_loop=closed_loop, workflow=workflow, segments=segments
    )
    return fleet.run()


def _too_long() -> BadValueError:
    return BadValueError(
        f"The last requests would be done after {NEVER / PICOSECONDS_PER_SECOND:.3g} s, the longest that a run can "
        "last; make delays, times of thought or outages shorter."
    )


def _flow(
    pools: list[Pool], requests: Requests, streams: RandomStreams, link: Link | None, workflow: Workflow | None
) -> DirectFlow | WorkflowFlow:
    names = [pool.name for pool in pools]
    if not names or len(set(names)) < len(names):
        raise BadValueError("A fleet needs at least one pool, and no two of the same name.")
    if workflow is None:
        if len(pools) == 1 and pools[0].role == "both":
            return DirectFlow(requests)
        first = [pool.name for pool in pools if pool.role == "prefill"]
        if len(pools) != 2 or len(first) != 1 or sorted(pool.role for pool in pools) != ["decode", "prefill"]:
            raise BadValueError(
                "Without a workflow a fleet is one pool, or one of role prefill and one of role decode; these have the "
                f"roles {', '.join(pool.role for pool in pools)}."
            )
        workflow = Workflow((Node(first[0], first[0]),))
    return WorkflowFlow(workflow, plan_of(workflow, requests, streams), pools, link)
