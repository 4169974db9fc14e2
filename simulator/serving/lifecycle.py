"""Instances that come and go: starts, failures, power caps and scaling, as events of control."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from foundation.errors import BadValueError
from simulator.serving.failures import MOST_INTERRUPTIONS, ticks
from simulator.serving.flows import Jobs
from simulator.serving.instances import Instance
from simulator.serving.pools import PoolState
from simulator.streams import RandomStreams


class Host(Protocol):
    """What the life of instances asks of their fleet."""

    streams: RandomStreams
    jobs: Jobs

    def control(self, at: int, callback: Callable[[Any, int], None], argument: Any) -> None: ...
    def submit(self, job: int, at: int, pool: int, cached: int = 0, made: int = 0, again: bool = False) -> None: ...


class Lifecycle:
    """Starts, stops, fails and slows the instances of a fleet's pools.

    interruptions: how often each job was, by its number.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.interruptions: dict[int, int] = {}
        self.outages: dict[Instance, Iterator[tuple[int, int | None]]] = {}

    def begin(self, state: PoolState) -> None:
        """Start a pool's instances, warm, at tick 0, and let its clocks run."""
        rule = state.pool.autoscaling
        count = min(max(state.pool.instances, rule.least), rule.most) if rule else state.pool.instances
        for _ in range(count):
            self.up((state, self.new(state, 0)), 0)
        if rule:
            self.host.control(ticks(rule.period_s), self.scale, state)
        for cap in state.pool.power_caps:
            self.host.control(ticks(cap.at_s), self.slow, (state, cap.factor))

    def new(self, state: PoolState, at: int) -> Instance:
        instance = state.start(at)
        failures = state.pool.failures
        if failures:
            stream = self.host.streams.get(f"{state.pool.name}/failures/{instance.number}")
            self.outages[instance] = failures.of(instance.number, at, stream)
            self._next_outage(state, instance)
        return instance

    def _next_outage(self, state: PoolState, instance: Instance) -> None:
        outage = next(self.outages[instance], None)
        if outage:
            self.host.control(outage[0], self._fail, (state, instance, outage[1]))

    def up(self, what: tuple[PoolState, Instance], at: int) -> None:
        """Open an instance, unless it failed or was stopped while it started; hand it what waits."""
        state, instance = what
        if instance.state == "starting":
            state.set_state(instance, "up", at)
            self._hand_out(state, at)

    def _back(self, what: tuple[PoolState, Instance], at: int) -> None:
        state, instance = what
        if instance.state == "down":
            state.set_state(instance, "up", at)
            self._hand_out(state, at)
        self._next_outage(state, instance)

    def _hand_out(self, state: PoolState, at: int) -> None:
        waiting = list(state.backlog)
        state.backlog.clear()
        for job, cached, made in waiting:
            self.host.submit(job, at, state.index, cached, made, again=True)

    def _fail(self, what: tuple[PoolState, Instance, int | None], at: int) -> None:
        """Lose an instance until it is back; its requests go elsewhere with the tokens that their users have."""
        state, instance, back = what
        for lane in instance.lanes:
            lane.to(at)
        state.stop_drained(at)
        if instance.state == "stopped":
            return
        instance.outages += 1
        made: dict[int, int] = {}
        for lane in instance.lanes:
            lane.abort(at)
            made.update(lane.abandoned)
        gone = back is None or instance.state == "draining"
        state.set_state(instance, "stopped" if gone else "down", at)
        if back is not None and not gone:
            self.host.control(back, self._back, (state, instance))
        for job in sorted(made):
            state.interrupted += 1
            self.interruptions[job] = self.interruptions.get(job, 0) + 1
            if self.interruptions[job] > MOST_INTERRUPTIONS:
                raise BadValueError(
                    f"Request {self.host.jobs.request[job] + 1} was interrupted {MOST_INTERRUPTIONS:,} times: pool "
                    f"'{state.pool.name}' fails faster than it can serve; raise mtbf_s."
                )
            self.host.submit(job, at, state.index, made=made[job], again=True)

    def slow(self, what: tuple[PoolState, float], at: int) -> None:
        state, factor = what
        state.factor = factor
        for instance in state.instances:
            for lane in instance.lanes:
                lane.to(at)
                lane.slow(at, factor)
                lane.to(at)

    def start_cold(self, state: PoolState, at: int) -> None:
        assert state.scaler is not None
        instance = self.new(state, at)
        self.host.control(at + state.scaler.cold_start, self.up, (state, instance))

    def scale(self, state: PoolState, at: int) -> None:
        """Compare what the pool has with what it wants; start, reopen, drain or stop instances."""
        scaler, current = state.scaler, state.current
        assert scaler is not None
        self.host.control(at + scaler.period, self.scale, state)
        state.to(at)
        state.stop_drained(at)
        want = scaler.want(at, state.signal(scaler.rule.signal), len(current))
        draining = [one for one in state.instances if one.state == "draining"]
        for _ in range(len(current), want):
            if draining:
                state.set_state(draining.pop(), "up", at)
            else:
                self.start_cold(state, at)
        for _ in range(want, len(current)):
            state.drain_one(at)
        if draining or want > len(current):
            self._hand_out(state, at)
