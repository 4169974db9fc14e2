"""A training step from a forward graph: its passes, its optimizers, and what it must keep in memory."""

from workloads.training.memory import StateBytes, retained_bytes, state_bytes
from workloads.training.optimizers import OPTIMIZERS, Optimizer, gradient_collective, optimizer_named
from workloads.training.step import training_workload

__all__ = [
    "OPTIMIZERS", "Optimizer", "StateBytes", "gradient_collective", "optimizer_named", "retained_bytes", "state_bytes",
    "training_workload",
]  # fmt: skip
