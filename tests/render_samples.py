"""Estimates for the tests of what is printed and drawn: small graphs of known work on catalogue devices."""

from __future__ import annotations

from collections.abc import Sequence

import archcast
from costmodel.estimate import Estimate
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.graph_model import GraphModel

HOSTILE = (
    "<script>document.documentElement.dataset.hacked='1'</script>"
    "\"><img src=x onerror=\"document.documentElement.dataset.hacked='2'\">\x1b[31m'&"
)
"""A name as a stranger's file may hold it: a script, a way out of an attribute, a terminal escape."""


def gemm(name: str, m: int = 512, n: int = 1024, k: int = 2048, inputs: tuple[str, ...] = ("",)) -> Operator:
    return Operator(name, "gemm", {"m": m, "n": n, "k": k}, inputs=inputs, parameters=float(n * k))


def norm(name: str, rows: int = 512, hidden: int = 2048) -> Operator:
    return Operator(name, "norm", {"rows": rows, "hidden": hidden})


def estimate_of(operators: Sequence[Operator], *, name: str = "small", on: str = "h100-sxm") -> Estimate:
    """Return the estimate of a graph that runs `operators` one after the other."""
    graph = WorkloadGraph(name, (Block("block", tuple(operators)),))
    return archcast.predict(GraphModel(name, graph), on=on, model="physics")


def small() -> Estimate:
    """Two matrix products and a norm."""
    return estimate_of([gemm("up"), norm("scale"), gemm("down", n=2048, k=1024)])


def language_model() -> Estimate:
    return archcast.predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=1024, generate=256, model="physics")


def infeasible() -> Estimate:
    return archcast.predict("llama-3.1-70b", on="h100-sxm", batch=4, prompt=256, generate=16, model="physics")
