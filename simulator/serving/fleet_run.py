"""What came of a fleet's run, and the laws that every run keeps."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.clock import PICOSECONDS_PER_SECOND, to_seconds
from simulator.engine import InvariantError
from simulator.serving.flows import WorkflowFlow
from simulator.serving.log import Log
from simulator.serving.pools import PoolState
from simulator.serving.requests import Requests
from workloads.table import Array

if TYPE_CHECKING:
    from simulator.serving.fleet import Fleet


@dataclass(frozen=True)
class PoolRun:
    """What a pool did. Lanes have the numbers `lanes` in the run, in the order of instances.

    busy: ticks of each lane; step_energy_j: of one rank of each lane; energy_j: of all boards, idle power included;
    paid_s: instance-seconds, device_s: device-seconds that are paid for; sizes: (tick, instances up) at each change;
    outages: of its instances; interrupted: requests sent elsewhere by them. instances: all that were ever started;
    paid: (first tick, last tick) for which each is paid, cold start and outages included.
    """

    name: str
    lanes: list[int]
    instance_of_lane: list[int]
    busy: list[int]
    step_energy_j: list[float]
    energy_j: float
    paid_s: float
    device_s: float
    instances: int
    sizes: list[tuple[int, int]]
    outages: int
    interrupted: int
    preempted: int
    blocks: int
    paid: list[tuple[int, int]]

    @property
    def most_up(self) -> int:
        """Return the most instances that were up at once."""
        return max((up for _, up in self.sizes), default=0)

    @property
    def mean_up(self) -> float:
        """Return the instances that were paid for, as a mean over the time in which any was."""
        span = max((end for _, end in self.paid), default=0) - min((start for start, _ in self.paid), default=0)
        return sum(end - start for start, end in self.paid) / span if span else float(len(self.paid) > 0)

    @property
    def utilisation(self) -> float:
        """Return the share of the time, while their instances are paid for, in which lanes compute."""
        lanes = len(self.lanes) // max(self.instances, 1)
        return sum(self.busy) / max(lanes * sum(end - start for start, end in self.paid), 1)


@dataclass(frozen=True)
class TransferRun:
    """What the link between prefill and decode did. waited_s: sum over transfers of the time before the first byte."""

    transfers: int
    sent_bytes: float
    busy_s: float
    waited_s: float


@dataclass(frozen=True)
class FleetRun:
    """One run.

    requests: as they arrived, with the lengths of the answer; in a workflow that is the model node without a follower
    that ends last, and the first token is its first. log: by request; its segments are those of all lanes. pool,
    instance, lane: who gave the answer, shape (requests,), -1 = lost. lost: request numbers by cause ("too long",
    "rejected", "no instance"). horizon: tick of the last end. node_counts: requests that each node of the workflow was
    drawn for. jobs: log by job, where a request is more than one.
    """

    requests: Requests
    log: Log
    pool: Array
    instance: Array
    lane: Array
    lost: dict[str, list[int]]
    pools: list[PoolRun]
    horizon: int
    trace_hash: str
    transfer: TransferRun | None = None
    node_counts: dict[str, int] | None = None
    jobs: Log | None = None

    @property
    def horizon_s(self) -> float:
        return self.horizon / PICOSECONDS_PER_SECOND

    @property
    def energy_j(self) -> float:
        return sum(pool.energy_j for pool in self.pools)

    @property
    def device_s(self) -> float:
        return sum(pool.device_s for pool in self.pools)

    @property
    def blocks(self) -> int:
        """Return the KV blocks of all lanes together."""
        return sum(pool.blocks for pool in self.pools)


def finished(fleet: Fleet) -> FleetRun:
    """Return the results of a fleet that has served all it could. Raises InvariantError: a law is broken."""
    requests = replace(fleet.requests, arrival=np.array(fleet.arrival, dtype=np.int64))
    ends = [tick for tick in fleet.log.done if tick >= 0]
    if isinstance(fleet.flow, WorkflowFlow):
        ends += [tick for tick in fleet.flow.done if tick >= 0]
    horizon = max([*ends, int(requests.arrival.max(initial=0))])
    pools = [_pool_run(state, fleet, horizon) for state in fleet.pools]
    log, requests = _by_request(fleet, requests)
    lane = np.array([fleet.lane_of[job] if job >= 0 else -1 for job in fleet.flow.answer], dtype=np.int64)
    lost = sorted(request for found in fleet.lost.values() for request in found)
    lane[lost] = -1
    pool_of = np.full(len(fleet.lanes) + 1, -1)
    instance_of = np.full(len(fleet.lanes) + 1, -1)
    for index, pool in enumerate(pools):
        pool_of[pool.lanes], instance_of[pool.lanes] = index, pool.instance_of_lane
    run = FleetRun(
        requests, log, pool_of[lane], instance_of[lane], lane, dict(sorted(fleet.lost.items())), pools, horizon,
        _hash(fleet, requests, lane), _transfer_run(fleet), _node_counts(fleet),
        fleet.log if log is not fleet.log else None,
    )  # fmt: skip
    check_run(fleet, run)
    return run


def _by_request(fleet: Fleet, requests: Requests) -> tuple[Log, Requests]:
    """Return the log by request, and the requests with the tokens of their answers."""
    flow, jobs = fleet.flow, fleet.log
    if not isinstance(flow, WorkflowFlow):
        return jobs, requests
    answer, done = np.array(flow.answer, dtype=np.int64), np.array(flow.done, dtype=np.int64)
    done[np.array(flow.left) > 0] = -1
    done[np.array(flow.gone, dtype=bool)] = -1
    request = np.array(flow.jobs.request, dtype=np.int64)
    first, admitted, preempted, generate, twin = (
        np.array(column, dtype=np.int64)
        for column in (jobs.first_token, jobs.admitted, jobs.preempted, flow.jobs.generate, flow.jobs.twin)
    )
    head = np.arange(len(request))  # of a job: the one that made its first token
    split = np.flatnonzero(twin >= 0)
    head[twin[split]] = split
    told = answer >= 0
    began = np.full(len(requests), np.iinfo(np.int64).max)
    np.minimum.at(began, request[admitted >= 0], admitted[admitted >= 0])
    began[began == np.iinfo(np.int64).max] = requests.arrival[began == np.iinfo(np.int64).max]
    log = Log(
        np.where(told, first[head[answer]] if len(head) else -1, done).tolist(), done.tolist(), began.tolist(),
        np.bincount(request, weights=preempted, minlength=len(requests)).astype(int).tolist(), jobs.segments,
        np.bincount(request, weights=jobs.hit, minlength=len(requests)).astype(int).tolist(), jobs.energy_j,
    )  # fmt: skip
    tokens = np.where(told, generate[answer] if len(generate) else 1, 1)
    return log, replace(requests, generate=tokens)


def _pool_run(state: PoolState, fleet: Fleet, horizon: int) -> PoolRun:
    state.stop_drained(horizon)
    pool, instances = state.pool, state.instances
    lanes = [lane for instance in instances for lane in instance.lanes]
    paid_s = float(to_seconds(sum(instance.paid(horizon) for instance in instances)))
    busy_s = float(to_seconds(sum(lane.busy for lane in lanes)))
    step_energy_j = pool.tp * sum(lane.energy_j for lane in lanes)
    idle_s = max(pool.devices * paid_s - pool.tp * busy_s, 0.0)
    preempted = np.array(fleet.log.preempted, dtype=np.int64)
    if fleet.jobs.pool:
        preempted = preempted[np.array(fleet.jobs.pool) == state.index]
    return PoolRun(
        pool.name, [lane.lane for lane in lanes], [one.number for one in instances for _ in one.lanes],
        [lane.busy for lane in lanes], [lane.energy_j for lane in lanes], step_energy_j + pool.idle_w * idle_s,
        paid_s, pool.devices * paid_s, len(instances), state.sizes, sum(one.outages for one in instances),
        state.interrupted, int(preempted.sum()), sum(lane.policy.blocks for lane in lanes),
        [(one.started, one.started + one.paid(horizon)) for one in instances],
    )  # fmt: skip


def _transfer_run(fleet: Fleet) -> TransferRun | None:
    link = fleet.link
    if link is None:
        return None
    return TransferRun(link.transfers, link.sent_bytes, float(to_seconds(link.busy)), float(to_seconds(link.waited)))


def _node_counts(fleet: Fleet) -> dict[str, int] | None:
    flow = fleet.flow
    return dict(flow.node_counts) if isinstance(flow, WorkflowFlow) else None


def _hash(fleet: Fleet, requests: Requests, lane: Array) -> str:
    """Return the SHA-256 of all times (ticks), by job, of who served each, and of what was lost."""
    log, found = fleet.log, hashlib.sha256()
    for column in (requests.arrival, log.admitted, log.first_token, log.done, log.preempted, fleet.lane_of, lane):
        found.update(np.asarray(column, dtype="<i8").tobytes())
    for cause, lost in sorted(fleet.lost.items()):
        found.update(cause.encode())
        found.update(np.asarray(sorted(lost), dtype="<i8").tobytes())
    return found.hexdigest()


def check_run(fleet: Fleet, run: FleetRun) -> None:
    """Check the conservation of requests, tokens and KV blocks, and the order of times.

    Raises:
        InvariantError: naming the law that is broken.
    """
    log, lost = run.log, [request for found in run.lost.values() for request in found]
    arrival, done = run.requests.arrival, np.array(log.done, dtype=np.int64)
    gone = np.zeros(len(run.requests), dtype=np.int64)
    np.add.at(gone, lost, 1)
    _law((gone + (done >= 0) == 1), "Request", "was neither done nor lost, or both")
    kept = done >= 0
    first, admitted = (np.array(x, dtype=np.int64) for x in (log.first_token, log.admitted))
    _law(~kept | ((arrival <= admitted) & (admitted <= first) & (first <= done)), "Request", "has times out of order")
    for lane in fleet.lanes:
        if not lane.idle or lane.blocks_used:
            raise InvariantError(f"Lane {lane.lane} ended with {lane.load} requests and {lane.blocks_used} blocks.")
    _check_tokens(fleet)


def _check_tokens(fleet: Fleet) -> None:
    """Every token of a job that was done was computed once, but those that came with it; more where work was lost."""
    log, jobs = fleet.log, fleet.jobs
    done = np.array(log.done, dtype=np.int64) >= 0
    twin_of = np.zeros(len(jobs), dtype=bool)
    twin_of[[twin for twin in jobs.twin if twin >= 0]] = True
    prompt = np.where(twin_of, 0, np.array(jobs.prompt, dtype=np.int64))
    least = int((prompt + np.array(jobs.generate, dtype=np.int64) - 1)[done].sum()) - sum(log.hit)
    computed = sum(lane.tokens for lane in fleet.lanes)
    again = any(log.preempted) or bool(fleet.life.interruptions)
    if computed < least or (computed > least and not again and not _may_compute_more(fleet)):
        raise InvariantError(f"The lanes computed {computed:,} tokens; the requests that were done need {least:,}.")


def _may_compute_more(fleet: Fleet) -> bool:
    """Return whether a policy computes tokens that are not kept (rejected drafts of speculation)."""
    return any(getattr(state.pool.policy, "speculation", None) for state in fleet.pools)


def _law(kept: Array, what: str, fault: str) -> None:
    if not kept.all():
        raise InvariantError(f"{what} {int(np.argmax(~kept)) + 1} {fault}.")
