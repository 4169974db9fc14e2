"""What runs: operator graphs, model builders, importers, and the `OpTable` that a cost model sees."""

from workloads.graph import BLOCK_INPUT, Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import ONE_DEVICE, Mapping
from workloads.model import Model, Request
from workloads.table import OpTable
from workloads.work import OpWork, count_work

__all__ = [
    "BLOCK_INPUT", "ONE_DEVICE", "Block", "Lowered", "Mapping", "Model", "OpTable", "OpWork", "Operator", "Pass",
    "Request", "Workload", "WorkloadGraph", "count_work", "lower",
]  # fmt: skip
