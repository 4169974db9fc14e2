"""A pool: equal engine instances behind a router, with admission control and a number of instances that may change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.autoscaling import Autoscaling, Scaler
from simulator.serving.failures import Failures, PowerCap
from simulator.serving.instances import Instance, Lane
from simulator.serving.policy import Policy
from simulator.serving.routers import ROUTERS, router_of
from simulator.serving.step_costs import StepCosts
from simulator.streams import RandomStreams

ROLES = ("both", "prefill", "decode")


@dataclass(frozen=True)
class Pool:
    """Equal engine instances that serve one model.

    costs, policy: of one lane, also the KV blocks of the policy. instances: at the start. lanes: batches in flight of
    one instance (pipeline stages x data-parallel ranks). devices: of one instance; tp: those that one lane's step keeps
    busy; idle_w: power of one device that waits. role: "both", or "prefill" and "decode" of a split service. max_queue:
    a request that finds so many waiting at its instance (or for one) is rejected; None takes all. power_caps: each
    holds from its time on.
    """

    name: str
    costs: StepCosts
    policy: Policy
    instances: int = 1
    lanes: int = 1
    devices: int = 1
    tp: int = 1
    idle_w: float = 0.0
    role: str = "both"
    router: str = "least-loaded"
    max_queue: int | None = None
    autoscaling: Autoscaling | None = None
    failures: Failures | None = None
    power_caps: tuple[PowerCap, ...] = ()

    def __post_init__(self) -> None:
        for name in ("instances", "lanes", "devices", "tp"):
            whole_number(f"{name} of pool '{self.name}'", getattr(self, name), low=int(name != "instances"))
        finite_number(f"idle_w of pool '{self.name}'", self.idle_w)
        if self.max_queue is not None:
            whole_number(f"max_queue of pool '{self.name}'", self.max_queue, low=0)
        if self.instances == 0 and not self.autoscaling:
            raise BadValueError(f"Pool '{self.name}' has no instance and no autoscaling that could start one.")
        self._check_outages()
        if self.role not in ROLES:
            raise UnknownNameError("role", self.role, ROLES)
        if self.router not in ROUTERS:
            raise UnknownNameError("router", self.router, ROUTERS)

    def _check_outages(self) -> None:
        """Refuse outages of instances that never start. Raises BadValueError, with the range."""
        most = self.autoscaling.most if self.autoscaling else self.instances
        for outage in self.failures.given if self.failures else ():
            if outage.instance >= most:
                raise BadValueError(
                    f"There is no instance {outage.instance} of pool '{self.name}' that could fail; its instances are "
                    f"numbered from 0 to {most - 1}."
                )


class PoolState:
    """A pool in time.

    probe: a lane that only says what fits. backlog: what no instance was up for. interrupted: requests that failures
    sent elsewhere, each time counted.
    """

    def __init__(
        self,
        pool: Pool,
        index: int,
        make_lane: Callable[[Pool, str, bool], Lane],
        streams: RandomStreams,
        session: Sequence[int],
        watched: bool,
    ) -> None:
        self.pool, self.index, self._make_lane = pool, index, make_lane
        self.router = router_of(pool.router, streams.get(f"{pool.name}/router"), session)
        self.scaler = Scaler(pool.autoscaling) if pool.autoscaling else None
        self.instances: list[Instance] = []
        self.open: list[Instance] = []
        self.backlog: deque[tuple[int, int, int]] = deque()  # (job, cached, made) for which no instance is up
        self.factor = 1.0
        self.interrupted = 0
        alone = pool.instances == 1 and not pool.autoscaling
        self.bounded = watched or pool.lanes > 1 or (bool(self.router.looks) and not alone)
        self.probe = make_lane(pool, "", False)
        self.sizes: list[tuple[int, int]] = []  # (tick, instances that are up)

    def start(self, at: int) -> Instance:
        """Return a new instance, not yet open."""
        number = len(self.instances)
        lanes = [self._make_lane(self.pool, f"{number}/{i}", True) for i in range(self.pool.lanes)]
        instance = Instance(number, lanes, at)
        if self.factor != 1.0:
            for lane in lanes:
                lane.slow(at, self.factor)
        self.instances.append(instance)
        return instance

    def set_state(self, instance: Instance, state: str, at: int) -> None:
        """Change what an instance is: starting, up, down, draining or stopped; only one that is up takes requests."""
        instance.state = state
        if state == "stopped":
            instance.stopped = at
        self.open = [one for one in self.instances if one.state == "up"]
        self.sizes.append((at, len(self.open)))

    def choose(self, job: int, at: int) -> Instance:
        """Return the open instance that the router gives a job; its lanes are as they are at `at`."""
        router, targets = self.router, self.open
        if len(targets) == 1:
            return targets[0]
        if router.looks == "load":
            for instance in targets:
                for lane in instance.lanes:
                    if lane.look < at:
                        lane.to(at)
        elif router.looks:
            self.to(at)
        return targets[router.choose(job, targets)]

    def to(self, at: int) -> None:
        """Make the steps of all lanes that start before `at`."""
        for instance in self.instances:
            for lane in instance.lanes:
                if lane.ending or not lane.idle:
                    lane.to(at)

    def signal(self, name: str) -> int:
        """Return what autoscaling looks at: requests that wait or run (load), or that wait (queue)."""
        current = self.current
        if name == "load":
            return len(self.backlog) + sum(one.load for one in current)
        return len(self.backlog) + sum(len(lane.waiting) for one in current for lane in one.lanes)

    def drain_one(self, at: int) -> None:
        """Stop the newest instance that still starts, else let the least loaded (of equals the newest) run empty."""
        starting = [one for one in self.instances if one.state == "starting"]
        if starting:
            self.set_state(starting[-1], "stopped", at)
        elif self.open:
            chosen = min(reversed(self.open), key=lambda one: one.load)
            chosen.drained_from = at
            self.set_state(chosen, "draining", at)
            self.stop_drained(at)

    def stop_drained(self, at: int) -> None:
        """Stop the draining instances that are empty at a tick, from the tick at which their last step ended."""
        for one in self.instances:
            end = max(one.drained_from, *(lane.now for lane in one.lanes))
            if one.state == "draining" and one.idle and end <= at:
                one.state, one.stopped = "stopped", end

    @property
    def current(self) -> list[Instance]:
        """Return the instances that count for autoscaling: up, starting, or down and to be back."""
        return [one for one in self.instances if one.state in ("up", "starting", "down")]

    @property
    def idle(self) -> bool:
        return not self.backlog and all(one.idle for one in self.instances)
