"""Pipeline-parallel schedules as task graphs: GPipe and one-forward-one-backward (1F1B).

With p equal stages, m microbatches and free transfers, both leave each stage idle for (p - 1)/(m + p - 1) of the
time. Sources: Huang et al., "GPipe", 2019, section 2.3; Narayanan et al., "Efficient large-scale language model
training on GPU clusters using Megatron-LM", 2021, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.builder import TaskGraphBuilder
from simulator.tasks import TaskGraph

SCHEDULES = ("gpipe", "1f1b")


def pipeline_graph(
    stages: int,
    microbatches: int,
    forward_s: float | Sequence[float],
    backward_s: float | Sequence[float] | None = None,
    transfer_s: float = 0.0,
    schedule: str = "gpipe",
) -> TaskGraph:
    """Return the graph of one step; simulate it with the policy `in-order`.

    Task `F3@1` is the forward pass of microbatch 3 on stage 1, `B3@1` its backward pass, `F3:1->2` the transfer.

    Args:
        stages: pipeline stages, each on a device of its own.
        microbatches: microbatches of the step.
        forward_s, backward_s: seconds per microbatch, for all stages or one value a stage; without `backward_s` the
            pipeline only infers.
        transfer_s: seconds to pass one microbatch to the next stage; each direction of a link is FIFO and overlaps
            with compute.
        schedule: `gpipe` (all forward, then all backward) or `1f1b` (backward as early as possible).

    Raises:
        BadValueError, UnknownNameError: a size is not possible, or no such schedule.
    """
    stages = whole_number("stages", stages, high=100_000)
    microbatches = whole_number("microbatches", microbatches, high=1_000_000)
    transfer_s = finite_number("transfer_s", transfer_s)
    if schedule not in SCHEDULES:
        raise UnknownNameError("pipeline schedule", schedule, SCHEDULES, f"One of: {', '.join(SCHEDULES)}.")
    seconds = {"forward": _per_stage("forward_s", forward_s, stages)}
    if backward_s is not None:
        seconds["backward"] = _per_stage("backward_s", backward_s, stages)
    builder = TaskGraphBuilder()
    for stage in range(stages):
        builder.engine(f"stage{stage}", device=f"stage{stage}")
    for stage in range(stages - 1) if transfer_s else ():
        builder.engine(f"stage{stage}->stage{stage + 1}", "link", device=f"stage{stage}", discipline="fifo")
        if backward_s is not None:
            builder.engine(f"stage{stage + 1}->stage{stage}", "link", device=f"stage{stage + 1}", discipline="fifo")
    for stage in range(stages):
        for phase, batch in _stage_order(stage, stages, microbatches, schedule, backward_s is not None):
            _add_step(builder, phase, stage, stages, batch, seconds[phase][stage], transfer_s)
    return builder.build()


def _stage_order(stage: int, stages: int, batches: int, schedule: str, backward: bool) -> list[tuple[str, int]]:
    """Return the (phase, microbatch) steps of one stage in the order in which it runs them."""
    forwards = [("forward", batch) for batch in range(batches)]
    backwards = [("backward", batch) for batch in range(batches)] if backward else []
    if schedule == "gpipe" or not backward:
        return forwards + backwards
    ahead = min(stages - stage, batches)  # forward steps before the first backward step, that stage's depth
    order = forwards[:ahead]
    for batch in range(batches):
        order.append(backwards[batch])
        order.extend(forwards[ahead + batch : ahead + batch + 1])
    return order


def _add_step(
    builder: TaskGraphBuilder, phase: str, stage: int, stages: int, batch: int, seconds: float, transfer_s: float
) -> None:
    """Add one step, and the transfer of its result to the stage that needs it."""
    forward = phase == "forward"
    source, target = (stage - 1, stage + 1) if forward else (stage + 1, stage - 1)
    step = f"{'F' if forward else 'B'}{batch}"
    after: list[str] = []
    if 0 <= source < stages:
        after.append(f"{step}:{source}->{stage}" if transfer_s else f"{step}@{source}")
    if not forward:
        after.append(f"F{batch}@{stage}")
    name = builder.task(f"{step}@{stage}", f"stage{stage}", seconds, after=after, category=phase)
    if transfer_s and 0 <= target < stages:
        link = f"stage{stage}->stage{target}"
        builder.task(f"{step}:{stage}->{target}", link, transfer_s, after=name, category="transfer")


def _per_stage(what: str, value: float | Sequence[float], stages: int) -> list[float]:
    """Return one value a stage; the builder checks each value."""
    if isinstance(value, (int, float)):
        return [value] * stages
    values = list(value)
    if len(values) != stages:
        raise BadValueError(f"{what} has {len(values)} values; there are {stages} stages.")
    return values
