"""How a request goes through a fleet: as one job, or as the jobs of a workflow's nodes.

A job is what one engine does in one go; a prefill whose cache goes on to another engine has a second job there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Protocol

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.disaggregation import Link
from simulator.serving.pools import Pool
from simulator.serving.requests import Requests
from simulator.serving.workflows import Plan, Workflow
from workloads.table import Array


class Stage(Protocol):
    """What a flow asks of the fleet that it runs on."""

    def submit(self, job: int, at: int, pool: int, cached: int = 0) -> None: ...
    def later(self, at: int, number: int, callback: Any, argument: Any) -> None: ...
    def over(self, request: int, at: int) -> None: ...
    def lose(self, request: int, cause: str, at: int) -> None: ...


@dataclass
class Jobs:
    """Jobs by number. request: whose; node: of the workflow; twin: the job that goes on with its cache (-1 = none)."""

    prompt: list[int]
    generate: list[int]
    request: list[int]
    pool: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    twin: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompt)


class DirectFlow:
    """Every request is one job of the same number, all on one pool."""

    def __init__(self, requests: Requests) -> None:
        numbers = list(range(len(requests)))
        self.jobs = Jobs(requests.prompt.tolist(), requests.generate.tolist(), numbers)
        self.answer: list[int] = numbers
        self.stage: Stage

    def prefix_owner(self) -> list[tuple[int, bool]]:
        """Return, for each job, its request and whether its prompt begins with that of the request."""
        return [(request, True) for request in self.jobs.request]

    def begin(self, request: int, at: int) -> None:
        self.stage.submit(request, at, 0)

    def ended(self, job: int, at: int) -> None:
        self.stage.over(job, at)


class WorkflowFlow:
    """Every request goes through the nodes that were drawn for it; `done` is the tick at which its last node ended.

    answer: the job whose tokens are the answer: that of the model node without a follower that ends last (-1: none).
    """

    def __init__(self, workflow: Workflow, plan: Plan, pools: list[Pool], link: Link | None) -> None:
        self.workflow, self.link = workflow, link
        count = plan.active.shape[1]
        names = [node.name for node in workflow.nodes]
        pool_of, twin_of = _places(workflow, pools)
        if any(twin >= 0 for twin in twin_of) and link is None:
            raise BadValueError("Pools of the roles prefill and decode need a link for the KV cache (transfer).")
        self.twin_pool = twin_of
        self.jobs, self.job = _jobs(plan, pool_of, twin_of)
        self.kind = [node.servers if not node.pool else -1 for node in workflow.nodes]
        self.service = [row.tolist() for row in plan.service]
        self.free = [[0] * (node.servers or 0) for node in workflow.nodes]
        self.next = [
            [(e, names.index(edge.target)) for e, edge in enumerate(workflow.edges) if edge.source == name]
            for name in names
        ]
        self.first = [i for i in range(len(names)) if not workflow.into(i)]
        self.taken = [row.tolist() for row in plan.taken]
        self.parents = [row.tolist() for row in plan.parents]
        self.left = plan.active.sum(axis=0).tolist()
        self.answer, self.done = [-1] * count, [-1] * count
        self.gone = [False] * count
        self.node_counts = {name: int(row.sum()) for name, row in zip(names, plan.active, strict=True)}
        self.stage: Stage

    def begin(self, request: int, at: int) -> None:
        for node in self.first:
            self._start(node, request, at)

    def prefix_owner(self) -> list[tuple[int, bool]]:
        """Return, for each job, its request and whether its prompt begins with that of the request.

        It does where the node takes over the whole prompt, of the request or of its parents; a cache that came over a
        link is not shared.
        """
        jobs = self.jobs
        whole = [max(node.prompt.prompt, node.prompt.parents_prompt) >= 1 for node in self.workflow.nodes]
        twins = set(jobs.twin)
        rows = enumerate(zip(jobs.request, jobs.node, strict=True))
        return [(request, whole[node] and job not in twins) for job, (request, node) in rows]

    def _start(self, node: int, request: int, at: int) -> None:
        servers = self.kind[node]
        if servers == -1:
            job = self.job[node][request]
            self.stage.submit(job, at, self.jobs.pool[job])
            return
        begins = at
        if servers is not None:
            begins = max(at, heappop(self.free[node]))
            heappush(self.free[node], begins + self.service[node][request])
        self.stage.later(begins + self.service[node][request], request, self._waited, (node, request))

    def _waited(self, what: tuple[int, int], at: int) -> None:
        self._node_done(what[0], what[1], at, -1)

    def ended(self, job: int, at: int) -> None:
        jobs = self.jobs
        twin = jobs.twin[job]
        if twin < 0:
            self._node_done(jobs.node[job], jobs.request[job], at, job)
            return
        assert self.link is not None
        self.stage.later(self.link.send(jobs.prompt[job], at), twin, self._arrived, twin)

    def _arrived(self, job: int, at: int) -> None:
        self.stage.submit(job, at, self.jobs.pool[job], cached=self.jobs.prompt[job])

    def _node_done(self, node: int, request: int, at: int, job: int) -> None:
        if self.gone[request]:
            return
        followed = False
        self.left[request] -= 1
        for edge, target in self.next[node]:
            if self.taken[edge][request]:
                followed = True
                self.parents[target][request] -= 1
                if self.parents[target][request] == 0:
                    self._start(target, request, at)
        if not followed:
            self.done[request] = at
            self.answer[request] = job
        if self.left[request] == 0:
            self.stage.over(request, at)


def _places(workflow: Workflow, pools: list[Pool]) -> tuple[list[int], list[int]]:
    """Return, for each node, its pool and the pool that its cache goes on to (-1 = none)."""
    names = [pool.name for pool in pools]
    decode = [i for i, pool in enumerate(pools) if pool.role == "decode"]
    places, twins = [], []
    for node in workflow.nodes:
        if node.pool and node.pool not in names:
            raise UnknownNameError("pool", node.pool, names)
        place = names.index(node.pool) if node.pool else -1
        role = pools[place].role if node.pool else "both"
        if role == "decode":
            raise BadValueError(
                f"Node '{node.name}' cannot begin on the decode pool '{node.pool}'; name its prefill pool."
            )
        if role == "prefill" and len(decode) != 1:
            raise BadValueError(f"Prefill pool '{node.pool}' needs one decode pool; there are {len(decode)}.")
        places.append(place)
        twins.append(decode[0] if role == "prefill" else -1)
    return places, twins


def _jobs(plan: Plan, pool_of: list[int], twin_of: list[int]) -> tuple[Jobs, list[list[int]]]:
    """Return the jobs of all nodes on pools, and the job of each (node, request), -1 where there is none."""
    columns: list[Array] = []  # rows: prompt, generate, request, pool, node
    numbers = np.full(plan.active.shape, -1, dtype=np.int64)
    count = 0
    for node, pool in enumerate(pool_of):
        if pool < 0:
            continue
        request = np.flatnonzero(plan.active[node])
        numbers[node, request] = count + np.arange(len(request))
        count += len(request)
        generate = plan.generate[node, request]
        head = np.ones_like(generate) if twin_of[node] >= 0 else generate
        full = np.full(len(request), node)
        columns.append(np.array([plan.prompt[node, request], head, request, np.full(len(request), pool), full]))
    twin = np.full(count, -1, dtype=np.int64)
    for node, pool in enumerate(twin_of):
        if pool < 0:
            continue
        request = np.flatnonzero(plan.active[node] & (plan.generate[node] > 1))
        twin[numbers[node, request]] = count + np.arange(len(request))
        count += len(request)
        full = np.full(len(request), node)
        lengths = [plan.prompt[node, request], plan.generate[node, request]]
        columns.append(np.array([*lengths, request, np.full(len(request), pool), full]))
    table = np.concatenate(columns, axis=1) if columns else np.zeros((5, 0), dtype=np.int64)
    twins = np.concatenate([twin, np.full(table.shape[1] - len(twin), -1, dtype=np.int64)])
    prompt, tokens, owner, place, of_node = (row.tolist() for row in table)
    return Jobs(prompt, tokens, owner, place, of_node, twins.tolist()), [row.tolist() for row in numbers]
