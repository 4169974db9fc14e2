"""Chips that lay a whole network out at once: frames a second, and the time and energy of a batch by itself.

Where the costs of frames are known (docs/dataflow-chips.md) they say how long a batch takes; what the closed form
knows of the operators only divides that among them:

    batch_s = frame_s * (batch + fill)     one context: the pipeline fills once
    batch_s = frame_s * batch + switch_s   several: they are swapped once a batch

so that a batch by itself never passes faster than its frames do in a full pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from archcast.question import Question
from costmodel.costs import SOURCES, DividedCosts, OpCosts
from costmodel.estimate import Estimate, Quantity
from costmodel.protocol import CostModel, PhysicsModel
from costmodel.rates import Range
from foundation.errors import InputError
from foundation.formats import number_format
from workloads.lowering import Lowered
from workloads.mapping import Mapping
from workloads.table import OP_CODES, Array, OpTable
from workloads.work import count_work

AnyCosts = TypeVar("AnyCosts", bound=OpCosts)
LEARNED = SOURCES.index("learned")
FILL = (1.0, 0.0, 3.0)
"""Times the fill that rows of activations suggest (value, lo, hi), estimated: no published latency tests it."""


@dataclass(frozen=True)
class LaidOut:
    """A network laid out on a dataflow chip.

    `batch` frames, shape (requests,), take `streamed_s` seconds (value, lo, hi), shape (3, requests), in a full
    pipeline. It runs in several contexts with the probability `several`; in one, `fill_frames` frame times pass before
    the first answer leaves.
    """

    batch: Array
    streamed_s: Array
    several: float
    fill_frames: float
    idle_w: Range
    limit_w: float

    @property
    def alone_s(self) -> Array:
        """Seconds of each batch by itself (value, lo, hi), shape (3, requests)."""
        fill = 0.0 if self.several > 0.5 else self.fill_frames
        return np.asarray(self.streamed_s * (1 + np.array(FILL)[:, None] * fill / self.batch))

    def scaled(self, costs: AnyCosts, lowered: Lowered, share: Array | float = 1.0) -> AnyCosts:
        """Return costs of rows that add up to the batch by itself; `share` of each row runs on the chip.

        A chip that has a part of the network has as much of its time. Energy is what the rows take above idle, at most
        what the power limit leaves, and idle power for the time.
        """
        table, owner = lowered.table, lowered.scenario
        times, requests = table.full("count") * share, len(self.batch)

        def whole(column: Array | float) -> Array:
            return np.bincount(owner, weights=column * times, minlength=requests)

        seconds = whole(costs.latency_s)
        if not (seconds > 0).all():
            return costs
        flop = np.broadcast_to(count_work(table).flop, (table.rows,))
        here = whole(flop) / np.bincount(owner, weights=flop * table.full("count"), minlength=requests)
        alone = self.alone_s * here
        latency = [costs.latency_s * (end / seconds)[owner] for end in alone]
        pairs = ((costs.energy_j, costs.latency_s), (costs.energy_lo_j, costs.latency_lo_s),
                 (costs.energy_hi_j, costs.latency_hi_s))  # fmt: skip
        above = [np.maximum(e - idle * s, 0.0) for (e, s), idle in zip(pairs, self.idle_w, strict=True)]
        most_j = self.limit_w * self.streamed_s[0] * here - self.idle_w[0] * alone[0]
        held = np.clip(most_j / np.maximum(whole(above[0]), 1e-30), 0.0, 1.0)[owner]
        joules = [a * held + idle * s for a, idle, s in zip(above, self.idle_w, latency, strict=True)]
        columns: dict[str, Any] = {
            "latency_s": latency[0], "latency_lo_s": latency[1], "latency_hi_s": latency[2], "energy_j": joules[0],
            "energy_lo_j": np.minimum(joules[1], joules[0]),
            "energy_hi_j": np.maximum(np.minimum(joules[2], self.limit_w * latency[2]), joules[0]),
        }  # fmt: skip
        source = np.full(table.rows, LEARNED, np.int8)
        return replace(costs, **columns, source=source, interval_kind="conformal", shared_log_error=1.0)

    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know."""
        from costmodel.dataflow_shipped import SURE

        how = "several contexts that are swapped once a batch" if self.several > 0.5 else "one context"
        sure = max(self.several, 1 - self.several)
        first = f"The network runs in {how} ({sure:.0%} likely)".replace("%", " %")
        either = "; the intervals hold both that and the other case" if sure < 1 - SURE[0] else ""
        return (
            f"{first}{either}. The rate is that of a full pipeline of frames, time and energy are of a batch by "
            "itself. Rate and time, with their intervals, are learned from published rates of networks on this chip; "
            "energy is the closed form's.",
        )


def laid_out(question: Question, mapping: Mapping, table: OpTable, cost_model: CostModel) -> LaidOut | None:
    """Return a network as a dataflow chip lays it out, None where its frames' costs are not known.

    They are known for networks with convolutions on eight bits that run once a frame and have as much work as those
    whose rates are published. The closed form by itself keeps to the operators.
    """
    spec, request, model = question.target.spec, question.request, question.model
    alone = mapping.devices == 1 and not question.concurrency and request.mode == "infer"
    if spec.kind != "npu" or not alone or isinstance(cost_model, PhysicsModel):
        return None
    from costmodel.dataflow_shipped import frame_rate, is_dataflow_chip, within_reach
    from costmodel.dataflow_work import amounts_of

    convolutions = (table.full("op") == OP_CODES["conv2d"]).any()
    dtype = request.dtype or str(model.defaults["dtype"])
    varied = model.defaults["generate"] or getattr(model, "paths", ())
    if varied or not convolutions or number_format(dtype).math != "int8" or not is_dataflow_chip(spec.id):
        return None
    try:
        amounts = amounts_of(model.workload(replace(request, batch=1)).passes)[None]
    except InputError:  # a file whose batch is fixed, or a graph that is none of the kind
        return None
    if not within_reach(amounts)[0]:
        return None
    batch, rates = np.atleast_1d(np.asarray(request.batch, float)), question.target.rates
    found = frame_rate(np.repeat(amounts, len(batch), axis=0), np.full(len(batch), spec.id), batch)
    streamed_s = batch / np.stack([found.rate_hz, found.rate_hi_hz, found.rate_lo_hz])
    several, fill = float(found.several[0]), fill_frames(table, len(batch))
    return LaidOut(batch, streamed_s, several, fill, rates.idle_w, rates.limit_w)


def fill_frames(table: OpTable, requests: int = 1) -> float:
    """Return how many frame times the first frame waits inside the pipeline; the table has rows of all requests.

    Stages pass rows on as they come: a window of kh rows, padded as it may be, waits for the kh - 1 - padding rows
    below the one that it is at (line buffers, as in FINN, Umuroglu et al. 2017), attention for all of its keys.
    """
    ops, count = table.full("op"), table.full("count")
    below = np.maximum(table.full("kh") - 1 - table.full("padding"), 0.0)
    windows = np.where(ops == OP_CODES["conv2d"], below / np.maximum(table.full("h"), 1.0), 0.0)
    waits = np.where(ops == OP_CODES["attention"], 1.0, np.clip(windows, 0.0, 1.0))
    return float((waits * count).sum()) / requests


def with_frame_rate(estimate: Estimate, chip: LaidOut | None) -> Estimate:
    """Return the estimate with the rate of a dataflow chip's pipeline; others as they are.

    Where a runtime has a host do its share, that works on other frames meanwhile: the slower of the two sets the rate.
    """
    if chip is None or estimate.latency_s is None or estimate.detail is None:
        return estimate
    costs, count = estimate.detail.costs, estimate.detail.lowered.table.full("count")
    elsewhere = float((costs.elsewhere_s * count).sum()) if isinstance(costs, DividedCosts) else 0.0
    here_s, alone, streamed = estimate.latency_s.value - elsewhere, chip.alone_s[:, 0], chip.streamed_s[:, 0]
    part = here_s / alone[0]
    ends = np.array([estimate.latency_s.value, estimate.latency_s.lo, estimate.latency_s.hi])
    slower = np.maximum(part * streamed, np.maximum(ends - part * alone, 0.0)) if elsewhere else part * streamed
    rate, hi, lo = (float(chip.batch[0] / seconds) for seconds in slower)
    notes = (*estimate.notes, *chip.notes())
    if elsewhere > part * streamed[0]:
        notes += ("The host and the way to it are slower than the chip: they set the rate.",)
    return replace(estimate, rate_hz=Quantity(rate, lo, hi), notes=notes)
