"""A lowered workload on a device's engines: the same rows that a prediction adds up, run in time.

Each pass runs once (of decode steps, the middle one), its blocks unrolled, in dependency order. Operators run on the
stage's compute engine, copies on its copy engine, collectives and sends on its links, so branches that use different
engines overlap. All ranks of a tensor-parallel group do the same, so one stands for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.costs import OpCosts
from simulator.builder import TaskGraphBuilder
from simulator.schedule import Policy, simulate_graph
from simulator.tasks import TaskGraph
from simulator.timeline import Timeline
from workloads.graph import BLOCK_INPUT, Operator, Workload
from workloads.lowering import Lowered

MAX_TASKS = 20_000
"""Beyond this, repeats of a block that do not fit are one task each operator, done `repeat` times."""
ENGINE_OF = {"collective": "links", "copy": "copy"}


def run_workload(
    workload: Workload, lowered: Lowered, costs: OpCosts, stages: int = 1, policy: Policy = "in-order"
) -> Timeline:  # fmt: skip
    """Simulate each pass once and return the timeline.

    Raises:
        BadValueError: durations beyond the range of simulated time.
    """
    return simulate_graph(workload_tasks(workload, lowered, costs, stages), policy)


def workload_tasks(workload: Workload, lowered: Lowered, costs: OpCosts, stages: int = 1) -> TaskGraph:
    """Return the task graph: `pass/block.repeat/operator` on the engines of `stages` pipeline stages."""
    writer = _Writer(workload, lowered, costs, stages)
    for p, run in enumerate(workload.passes):
        if np.any(run.times):
            writer.write_pass(p)
    return writer.builder.build()


@dataclass
class _Writer:
    workload: Workload
    lowered: Lowered
    costs: OpCosts
    stages: int

    def __post_init__(self) -> None:
        self.builder = TaskGraphBuilder()
        self.engines: set[str] = set()
        self.last: tuple[str, ...] = ()
        self.written = 0
        self.seconds = self._seconds()

    def _seconds(self) -> dict[tuple[int, int, int], float]:
        """Return the time of one run of each operator, in the middle scenario of its pass."""
        low = self.lowered
        passes = range(len(self.workload.passes))
        middle = {p: int(low.scenario[low.pass_index == p].max(initial=0)) // 2 for p in passes}
        chosen = np.flatnonzero(low.scenario == np.array([middle[int(p)] for p in low.pass_index]))
        places = np.stack((low.pass_index, low.block_index, low.operator_index), axis=1)[chosen].tolist()
        return {(p, b, o): s for (p, b, o), s in zip(places, self.costs.latency_s[chosen].tolist(), strict=True)}

    def write_pass(self, p: int) -> None:
        run = self.workload.passes[p]
        blocks = self.lowered.operators[p]
        layers = sum(block.count for block in run.graph.blocks)
        done = 0
        for b, block in enumerate(run.graph.blocks):
            fits = max(1, (MAX_TASKS - self.written) // max(1, len(blocks[b])))
            singles = block.count if block.count <= fits else max(1, fits - 1)
            for repeat in range(singles):
                stage = done * self.stages // layers
                self._send(p, run.name, stage, done, layers)
                name = f"{run.name}/{block.name}" + (f".{repeat}" if block.count > 1 else "")
                self._write_block(p, b, name, stage, 1)
                done += 1
            if singles < block.count:
                rest = block.count - singles
                name = f"{run.name}/{block.name}.{singles}-{block.count - 1}"
                self._write_block(p, b, name, done * self.stages // layers, rest)
                done += rest

    def _send(self, p: int, name: str, stage: int, done: int, layers: int) -> None:
        """Pass activations on where a new stage begins."""
        before = (done - 1) * self.stages // layers if done else 0
        blocks = len(self.workload.passes[p].graph.blocks)
        sends = len(self.lowered.operators[p]) > blocks  # the send stands behind the blocks of its pass
        if self.stages > 1 and done and stage != before and sends:
            send = f"{name}/send to stage {stage}"
            self._task(send, before, "collective", self.seconds[(p, blocks, 0)], 1, self.last)
            self.last = (send,)

    def _write_block(self, p: int, b: int, prefix: str, stage: int, repeat: int) -> None:
        entry = self.last
        home: dict[str, tuple[str, ...]] = {BLOCK_INPUT: entry}
        operators: tuple[Operator, ...] = self.lowered.operators[p][b]
        for i, o in enumerate(operators):
            after = tuple(dict.fromkeys(task for s in o.inputs for task in home[s])) or entry
            seconds = self.seconds.get((p, b, i))
            if seconds is None:  # fused: it is there when all that it reads is
                home[o.name] = after
                continue
            name = f"{prefix}/{o.name}"
            self._task(name, stage, o.op, seconds, repeat, after)
            home[o.name] = (name,)
        if operators:
            self.last = home[operators[-1].name] or entry

    def _task(self, name: str, stage: int, op: str, seconds: float, repeat: int, after: tuple[str, ...]) -> None:
        kind = ENGINE_OF.get(op, "compute")
        device = f"stage {stage}" if self.stages > 1 else "device"
        engine = f"{device} {kind}"
        if engine not in self.engines:
            self.engines.add(engine)
            self.builder.engine(engine, {"links": "link"}.get(kind, kind), device=device)
        self.builder.task(name, engine, seconds, after=after, category=op, repeat=repeat)
        self.written += 1
