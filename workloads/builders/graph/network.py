"""Graph neural networks: a dense transform of the nodes, and a sparse sum over the edges, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, sizes, switch
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import BLOCK_INPUT, Block, Operator, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class GraphNetwork(KnobModel):
    """A graph of `nodes` and directed `edges`; `widths` are the features of each layer's output, the last the classes.

    `kind`: `gcn` sums transformed neighbours (Kipf & Welling 2017, eq. 2), `sage` adds a second transform of the node
    itself (Hamilton et al. 2017, algorithm 1), `relational` has one matrix a relation and one for the node itself
    (Schlichtkrull et al. 2018, eq. 2). `messages` of a relational layer: `edge` transforms what is
    gathered for every edge, `node` every node once for each relation that leaves it (`pairs` of node and relation; 0:
    nodes x relations, or edges where those are fewer) and gathers the result (compact materialisation, Wu et al. 2023,
    Hector). A request's `batch` is so many graphs.
    """

    family: ClassVar[str] = "graph-network"

    kind: str = choice("gcn", ("gcn", "sage", "relational"))
    nodes: int = size(2708, high=10**10)
    edges: int = size(10_556, high=10**11)
    features: int = size(1433)
    widths: tuple[int, ...] = sizes((16, 7))
    relations: int = size(1, high=10**6)
    messages: str = choice("edge", ("edge", "node"))
    pairs: int = size(0, low=0, high=10**11)
    bias: bool = switch(True)
    dtype: str = number_format_knob("fp32")

    def check(self) -> None:
        if self.relations > 1 and self.kind != "relational":
            raise BadValueError(f"kind={self.kind} has one kind of edge; set relations=1 or kind=relational.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one pass over the graph, or a full-graph training step. Raises BadValueError."""
        model = self.with_knobs({"dtype": request.dtype}) if request.dtype else self
        batch = checked_batch(request)
        return one_pass(model.name, model.graph(batch), batch, request, notes=model.notes)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass over `batch` graphs."""
        inputs = (self.features, *self.widths[:-1])
        blocks = [
            Block(f"layer{i}", tuple(self._layer(batch, k, n, last=i == len(self.widths) - 1)))
            for i, (k, n) in enumerate(zip(inputs, self.widths, strict=True))
        ]
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=batch * self.nodes * max(self.widths))

    def _layer(self, batch: Size, k: int, n: int, *, last: bool) -> list[Operator]:
        if self.kind == "relational":
            operators, message = self._relational(batch, k, n)
        else:
            operators = [self._gemm("transform", batch * self.nodes, n, k, BLOCK_INPUT)]
            message = self._gathered(operators, batch, n, "transform")
        rows = {"rows": batch * self.nodes, "hidden": n}
        edges_a_node = self.edges / self.nodes
        add = {**rows, "operands": edges_a_node, "flop_per_element": edges_a_node}
        operators.append(self._pointwise("aggregate", add, (message,), n * self.bias))
        if self.kind != "gcn":
            operators.append(self._gemm("self", batch * self.nodes, n, k, BLOCK_INPUT))
            joined = {**rows, "operands": 2, "flop_per_element": 1.0}
            operators.append(self._pointwise("add", joined, ("aggregate", "self")))
        if not last:
            relu = Operator("relu", "elementwise", {**rows, "flop_per_element": 1.0}, self.dtype, fused=True,
                            inputs=(operators[-1].name,))  # fmt: skip
            operators.append(relu)
        return operators

    def _relational(self, batch: Size, k: int, n: int) -> tuple[list[Operator], str]:
        """Return the messages of a relational layer: one matrix a relation, over the rows that belong to it."""
        each = self.relations
        weights = float(each * k * n)
        operators: list[Operator] = []
        if self.messages == "node":
            pairs = self.pairs or min(self.nodes * each, self.edges)
            source = self._gathered(operators, batch * pairs / self.edges, k, BLOCK_INPUT, "gather_nodes")
            rows = batch * pairs / each
        else:
            source = self._gathered(operators, batch, k, BLOCK_INPUT, "gather_inputs")
            rows = batch * self.edges / each
        shape = {"batch": each, "m": rows, "n": n, "k": k}
        operators.append(Operator("transform", "gemm", shape, self.dtype, inputs=(source,), parameters=weights))
        if self.messages == "node":
            return operators, self._gathered(operators, batch, n, "transform")
        return operators, "transform"

    def _gathered(self, operators: list[Operator], batch: Size, hidden: int, source: str, name: str = "gather") -> str:
        """Append the copy of one row of `source` for each edge."""
        shape = {"rows": batch * self.edges, "hidden": hidden}
        operators.append(Operator(name, "copy", shape, self.dtype, inputs=(source,)))
        return name

    def _gemm(self, name: str, m: Size, n: int, k: int, source: str) -> Operator:
        return Operator(name, "gemm", {"m": m, "n": n, "k": k}, self.dtype, inputs=(source,), parameters=float(n * k))

    def _pointwise(self, name: str, shape: dict[str, Any], inputs: tuple[str, ...], parameters: float = 0) -> Operator:
        return Operator(name, "elementwise", shape, self.dtype, inputs=inputs, parameters=float(parameters))
