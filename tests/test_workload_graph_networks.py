"""Graph networks: published parameters, work by nodes and by edges, and messages a node or an edge."""

from __future__ import annotations

import pytest

from foundation.errors import BadValueError
from workloads.builders.graph.network import GraphNetwork
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.graph import Workload
from workloads.lowering import lower
from workloads.model import Request
from workloads.work import count_work

NAMES = [name for name in workload_names() if architecture_facts(name)["domain"] == "graph"]


def traffic(workload: Workload) -> float:
    work = count_work(lower(workload.passes).table)
    return float((work.input_bytes + work.output_bytes).sum())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_published(name: str) -> None:
    assert load_model(name).summary()["parameters"] == architecture_facts(name)["published_parameters"]


def test_there_is_a_convolutional_and_a_relational_network() -> None:
    assert {"gcn-cora", "rgcn-fb15k-237"} <= set(NAMES)


def test_dense_work_grows_with_nodes_and_sparse_work_with_edges() -> None:
    base = GraphNetwork(name="g")
    assert base.summary()["macs"] == 2708 * (1433 * 16 + 16 * 7)
    more = base.with_knobs({"edges": 2 * base.edges})
    assert more.summary()["macs"] == base.summary()["macs"]
    added = traffic(more.workload(Request())) - traffic(base.workload(Request()))
    messages = 4 * base.edges * (16 + 7)  # fp32; each edge is written and read once more
    assert 2 * messages < added < 4 * messages


def test_a_relational_layer_transforms_edges_or_pairs_of_node_and_relation() -> None:
    edge = load_model("rgcn")
    assert isinstance(edge, GraphNetwork)
    node = edge.with_knobs({"messages": "node", "pairs": 100_000})
    dense = 2 * edge.nodes * 64 * 64  # the matrix of the node itself, in both layers
    assert edge.summary()["macs"] - dense == pytest.approx(2 * edge.edges * 64 * 64)
    assert node.summary()["macs"] - dense == pytest.approx(2 * 100_000 * 64 * 64)
    assert node.summary()["parameters"] == edge.summary()["parameters"]


def test_a_full_graph_trains() -> None:
    work = count_work(lower(load_model("gcn").workload(Request(mode="train")).passes).table)
    inference = count_work(lower(load_model("gcn").workload(Request()).passes).table)
    assert 2 < work.macs.sum() / inference.macs.sum() < 3.01


def test_relations_need_a_relational_network() -> None:
    with pytest.raises(BadValueError, match="kind=relational"):
        GraphNetwork(name="g", relations=3)
