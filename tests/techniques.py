"""What tests of the technique files share: a file by its name, and the work of a workload."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workloads.catalogue import load_model
from workloads.graph import Block, Workload
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.work import count_work

FOLDER = Path(__file__).resolve().parents[1] / "workloads" / "examples" / "techniques"


def technique(name: str, **knobs: object) -> Model:
    """Return the model in a technique's file, with some knobs changed."""
    return load_model(FOLDER / f"{name}.yaml", knobs or None)


def macs(model: Model | str, request: Request | None = None, *, passes: str = "") -> float:
    """Return the multiply-accumulates of everything that runs (of the passes whose name ends in `passes`)."""
    built = (load_model(model) if isinstance(model, str) else model).workload(request or Request())
    chosen = tuple(run for run in built.passes if run.name.endswith(passes))
    table = lower(chosen).table
    return float((count_work(table).macs * table.full("count")).sum())


def op_macs(model: Model, request: Request | None = None, **ops: bool) -> float:
    """Return the multiply-accumulates of the operators of some families, e.g. `op_macs(model, attention=True)`."""
    from workloads.table import OPS

    table = lower(model.workload(request or Request()).passes).table
    chosen = np.isin(table.full("op"), [OPS.index(name) for name in ops])
    return float((count_work(table).macs * table.full("count"))[chosen].sum())


def read_bytes(model: Model, request: Request | None = None) -> float:
    """Return what all operators read and write, weights and caches included."""
    table = lower(model.workload(request or Request()).passes).table
    work = count_work(table)
    return float(((work.weight_bytes + work.input_bytes + work.output_bytes) * table.full("count")).sum())


def state_elements(workload: Workload) -> float:
    """Return the elements of all caches and states."""
    return sum(float(np.max(o.state_elements)) * b.count for b in workload.distinct_blocks() for o in b.operators)


def learning(blocks: list[Block]) -> float:
    """Return the parameters that learn."""
    return sum(o.parameters * b.copies for b in blocks for o in b.operators if o.trainable)
