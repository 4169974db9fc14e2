"""Workflows of several models: nodes in a graph without cycles, with branches drawn by probability.

Every request's branches and lengths are drawn before the run, one named stream a node and purpose, so they depend
neither on the order of events nor on other nodes. A node starts when all of its drawn parents are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.clock import to_ticks
from simulator.serving.failures import seconds
from simulator.serving.requests import Requests
from simulator.streams import RandomStreams
from workloads.table import Array

SPLITS = ("one", "each")
SERVICES = ("fixed", "exponential")
Draw = Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True)
class Tokens:
    """A number of tokens: fixed + shares of the request's own lengths and of those of its parents' + what is drawn.

    The sum is rounded and is at least 1. parents_prompt, parents_generate: shares of the sums over drawn parents.
    """

    fixed: float = 0.0
    prompt: float = 0.0
    generate: float = 0.0
    parents_prompt: float = 0.0
    parents_generate: float = 0.0
    draw: Draw | None = None


@dataclass(frozen=True)
class Node:
    """A step of a workflow: a model (pool), a station (servers), or a pause (neither) such as a call of a tool.

    pool: name of the pool whose model answers `prompt` tokens with `generate` tokens. servers, delay_s, service: a
    station serves in order of arrival, each request for delay_s ("fixed" or "exponential" with that mean); a pause
    lets all wait at once. Stations and pauses hand the lengths of their parents on. split: whether "one" edge that
    leaves is taken, or "each" on its own.
    """

    name: str
    pool: str = ""
    prompt: Tokens = Tokens(prompt=1.0)
    generate: Tokens = Tokens(generate=1.0)
    delay_s: float = 0.0
    servers: int | None = None
    service: str = "fixed"
    split: str = "one"

    def __post_init__(self) -> None:
        seconds(f"delay_s of node '{self.name}'", self.delay_s)
        if self.servers is not None:
            whole_number(f"servers of node '{self.name}'", self.servers)
        if self.pool and (self.servers is not None or self.delay_s):
            raise BadValueError(f"Node '{self.name}' is either a model (pool) or waits (delay_s, servers), not both.")
        if self.split not in SPLITS:
            raise UnknownNameError("split", self.split, SPLITS)
        if self.service not in SERVICES:
            raise UnknownNameError("service", self.service, SERVICES)


@dataclass(frozen=True)
class Edge:
    """`target` follows `source` with a probability."""

    source: str
    target: str
    probability: float = 1.0


@dataclass(frozen=True)
class Workflow:
    """Nodes and edges; a request begins at every node that no edge leads to and ends with the last node it reaches."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    order: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if not names or len(set(names)) < len(names):
            raise BadValueError("A workflow needs at least one node, and no two of the same name.")
        for edge in self.edges:
            for name in (edge.source, edge.target):
                if name not in names:
                    raise UnknownNameError("node of the workflow", name, names)
            finite_number(f"The probability of {edge.source} -> {edge.target}", edge.probability, high=1.0)
        for node in self.nodes:
            total = sum(edge.probability for edge in self.edges if edge.source == node.name)
            if node.split == "one" and total > 1 + 1e-9:
                raise BadValueError(
                    f"The edges that leave '{node.name}' have probabilities that sum to {total:g}; at most 1, or take "
                    "each on its own (split: each)."
                )
        object.__setattr__(self, "order", self._order(names))

    def _order(self, names: list[str]) -> tuple[int, ...]:
        """Return the nodes so that all edges lead forward. Raises BadValueError: there is a cycle."""
        order: list[int] = []
        left = list(range(len(names)))
        while left:
            ready = [i for i in left if all(names.index(e.source) in order for e in self.into(i))]
            if not ready:
                cycle = ", ".join(names[i] for i in left)
                raise BadValueError(f"The workflow has a cycle among {cycle}; write the turns out as nodes.")
            order += ready
            left = [i for i in left if i not in ready]
        return tuple(order)

    def into(self, node: int) -> list[Edge]:
        return [edge for edge in self.edges if edge.target == self.nodes[node].name]


@dataclass(frozen=True)
class Plan:
    """What was drawn, one row a node (or edge), one column a request.

    active, taken: whether a node is reached, an edge taken. prompt, generate: tokens. service: ticks of a node that
    waits. parents: taken edges that lead to a node.
    """

    active: Array
    taken: Array
    prompt: Array
    generate: Array
    service: Array
    parents: Array


def plan_of(workflow: Workflow, requests: Requests, streams: RandomStreams) -> Plan:
    """Draw the branches, lengths and services of all requests."""
    nodes, edges, count = workflow.nodes, workflow.edges, len(requests)
    names = [node.name for node in nodes]
    ends = [(names.index(edge.source), names.index(edge.target)) for edge in edges]
    active = np.zeros((len(nodes), count), dtype=bool)
    taken = np.zeros((len(edges), count), dtype=bool)
    prompt, generate, service, parents = (np.zeros((len(nodes), count), dtype=np.int64) for _ in range(4))
    for i in workflow.order:
        node, into = nodes[i], [e for e, (_, target) in enumerate(ends) if target == i]
        for e in into:
            parents[i] += taken[e]
        active[i] = (parents[i] > 0) if into else True
        before = [sum((taken[e] * row[ends[e][0]] for e in into), np.zeros(count)) for row in (prompt, generate)]
        if not into:
            before = [requests.prompt, requests.generate]
        if node.pool:
            for row, tokens, what in ((prompt, node.prompt, "prompt"), (generate, node.generate, "generate")):
                row[i] = _tokens(tokens, requests, before, streams, f"workflow/{node.name}/{what}")
        else:
            prompt[i], generate[i] = before
            service[i] = _service(node, count, streams)
        leaving = [e for e, (source, _) in enumerate(ends) if source == i]
        drawn_all = _branches(node, [edges[e].probability for e in leaving], count, streams)
        for e, drawn in zip(leaving, drawn_all, strict=True):
            taken[e] = drawn & active[i]
    return Plan(active, taken, prompt, generate, service, parents)


def _tokens(tokens: Tokens, requests: Requests, before: list[Array], streams: RandomStreams, name: str) -> Array:
    total = tokens.fixed + tokens.prompt * requests.prompt + tokens.generate * requests.generate
    total = total + tokens.parents_prompt * before[0] + tokens.parents_generate * before[1]
    if tokens.draw:
        total = total + tokens.draw(streams.get(name), len(requests))
    return np.maximum(np.rint(total), 1).astype(np.int64)


def _service(node: Node, count: int, streams: RandomStreams) -> Array:
    if node.service == "fixed":
        return np.full(count, to_ticks(node.delay_s, what=f"delay_s of '{node.name}'"))
    services_s = streams.get(f"workflow/{node.name}/service").exponential(node.delay_s, count)
    return to_ticks(services_s, what=f"a service of '{node.name}'")


def _branches(node: Node, probabilities: list[float], count: int, streams: RandomStreams) -> list[Array]:
    """Return, for each edge that leaves a node, which requests take it."""
    if not probabilities:
        return []
    random = streams.get(f"workflow/{node.name}/branch")
    if node.split == "each":
        return [random.random(count) < p for p in probabilities]
    drawn, upper = random.random(count), np.cumsum(probabilities)
    return [(drawn >= high - p) & (drawn < high) for p, high in zip(probabilities, upper, strict=True)]


def cascade(small: str, big: str, probability: float) -> Workflow:
    """Return a workflow in which a small model answers and, with a probability, a big one answers again.

    Early exit and big-little switching have this form: the small pool is the part up to the exit.
    """
    return Workflow((Node(small, small), Node(big, big)), (Edge(small, big, probability),))


def route(shares: dict[str, float]) -> Workflow:
    """Return a workflow that gives each request to one of several pools, by probability (they sum to 1)."""
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise BadValueError(f"The shares of a route sum to {sum(shares.values()):g}, not to 1.")
    nodes = (Node("route"), *(Node(pool, pool) for pool in shares))
    return Workflow(nodes, tuple(Edge("route", pool, share) for pool, share in shares.items()))


def retrieval(pool: str, delay_s: float, servers: int, more_tokens: int) -> Workflow:
    """Return a workflow that first retrieves (a station of `servers`), which makes prompts longer, then answers."""
    longer = Tokens(fixed=more_tokens, prompt=1.0)
    nodes = (Node("retrieval", delay_s=delay_s, servers=servers), Node("answer", pool, longer))
    return Workflow(nodes, (Edge("retrieval", "answer"),))


def tool_calls(pool: str, turns: int, probability: float, delay_s: float, result_tokens: int) -> Workflow:
    """Return an agent that, after each of at most `turns` answers but the last, calls a tool with a probability.

    A turn's prompt is all that came before it and the tool's result.
    """
    grows = Tokens(fixed=result_tokens, parents_prompt=1.0, parents_generate=1.0)
    nodes, edges = [Node("turn 1", pool)], []
    for turn in range(2, turns + 1):
        nodes += [Node(f"tool {turn - 1}", delay_s=delay_s), Node(f"turn {turn}", pool, grows)]
        edges += [Edge(f"turn {turn - 1}", f"tool {turn - 1}", probability), Edge(f"tool {turn - 1}", f"turn {turn}")]
    return Workflow(tuple(nodes), tuple(edges))
