"""Batches on chips that keep a network in small memory: as many inputs at once as pay, the others in later turns."""

from __future__ import annotations

from collections.abc import Sequence

from archcast.question import Question
from costmodel.estimate import Estimate
from hardware_specs.runtimes import RuntimeSpec
from workloads.mapping import Mapping


def turns_of(question: Question, mapping: Mapping, runtime: RuntimeSpec | None) -> tuple[int, ...]:
    """Return into how many turns of equal size a batch may be divided; (1,) where it stays whole.

    A runtime whose compiled networks take few inputs decides by itself. Where weights stay on the chip, activations of
    many inputs push them out: then halves are worth a price, and so are single inputs.
    """
    batch, model = int(question.request.batch), question.model
    together = mapping.devices > 1 or question.concurrency or question.request.mode != "infer"
    if batch == 1 or together or model.defaults["generate"]:
        return (1,)
    if runtime is not None and runtime.most_batch is not None:
        least = -(-batch // runtime.most_batch)
        return (next(turns for turns in range(least, batch + 1) if batch % turns == 0),)
    memory = question.target.spec.memory
    if len(memory) < 2 or not memory[1].keeps_weights:
        return (1,)
    halves = [1]
    while batch % (2 * halves[-1]) == 0:
        halves.append(2 * halves[-1])
    return tuple(dict.fromkeys((*halves, batch)))


def fastest(found: Sequence[Estimate]) -> Estimate:
    """Return the answer that takes the least time, the first where none fits."""
    timed = [one for one in found if one.latency_s is not None]
    return min(timed, key=lambda one: one.latency_s.value if one.latency_s else 0.0) if timed else found[0]


def turn_note(question: Question, turns: int, runtime: RuntimeSpec | None) -> tuple[str, ...]:
    """Say that a batch runs in turns, and why."""
    if turns == 1:
        return ()
    batch = int(question.request.batch)
    words = f"The batch of {batch:,} runs in {turns:,} turns of {batch // turns:,}"
    if runtime is not None and runtime.most_batch is not None:
        return (f"{words}: {runtime.name} compiles a network for at most {runtime.most_batch:,} at once.",)
    return (f"{words}: of more at once the activations leave too little room on the chip.",)
