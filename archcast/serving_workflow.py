"""The key `workflow:` of a serving file: a known shape by its kind, or nodes and edges written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.workflows import Edge, Node, Tokens, Workflow, cascade, retrieval, route, tool_calls

SHAPES: dict[str, tuple[Callable[..., Workflow], tuple[str, ...]]] = {
    "cascade": (cascade, ("small", "big", "probability")),
    "route": (route, ("shares",)),
    "retrieval": (retrieval, ("pool", "seconds", "servers", "more_tokens")),
    "tool-calls": (tool_calls, ("pool", "turns", "probability", "delay_s", "result_tokens")),
}
GRAPH = ("nodes", "edges")
TOKENS = tuple(name for name in Tokens.__dataclass_fields__ if name != "draw")


def workflow_of(spec: Any) -> Workflow:
    """Return the workflow that a mapping describes.

    Raises:
        BadValueError, UnknownNameError: a shape, a key or a value that there is not.
    """
    if not isinstance(spec, dict):
        raise BadValueError(f"a workflow is a mapping with the key kind or nodes, not {spec!r}.")
    found = dict(spec)
    kind = found.pop("kind", "graph")
    if kind == "graph":
        _check("the workflow", found, GRAPH, needed=("nodes",))
        nodes = tuple(_node(one) for one in _list("nodes", found["nodes"]))
        return Workflow(nodes, tuple(_edge(one) for one in _list("edges", found.get("edges", []))))
    if kind not in SHAPES:
        raise UnknownNameError("kind of workflow", str(kind), [*SHAPES, "graph"])
    make, keys = SHAPES[kind]
    _check(f"the workflow {kind}", found, keys, needed=keys)
    if kind == "route" and not isinstance(found["shares"], dict):
        raise BadValueError("shares must be a mapping of pools to their shares.")
    return make(**found)


def _node(spec: Any) -> Node:
    fields = tuple(Node.__dataclass_fields__)
    found = _check("a node", spec, fields, needed=("name",))
    for key in ("prompt", "generate"):
        if key in found:
            tokens = found[key] if isinstance(found[key], dict) else {"fixed": found[key]}
            found[key] = Tokens(**_check(f"{key} of node '{found['name']}'", tokens, TOKENS))
    return Node(**found)


def _edge(spec: Any) -> Edge:
    found = _check("an edge", spec, ("from", "to", "probability"), needed=("from", "to"))
    return Edge(found["from"], found["to"], found.get("probability", 1.0))


def _check(what: str, spec: Any, keys: tuple[str, ...], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(spec, dict):
        raise BadValueError(f"{what} must be a mapping of keys to values, not {spec!r}.")
    for key in spec:
        if key not in keys:
            raise UnknownNameError(f"key of {what}", str(key), keys)
    for key in needed:
        if spec.get(key) is None:
            raise BadValueError(f"{what} needs the key '{key}'.")
    return dict(spec)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadValueError(f"{name} must be a list, not {value!r}.")
    return value
