"""Chips that lay a whole network out at once: the rate of a full pipeline beside the time of a batch by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archcast.question import Question
from costmodel.estimate import Estimate, Quantity
from foundation.formats import number_format
from workloads.lowering import Lowered
from workloads.mapping import Mapping
from workloads.table import OP_CODES

NOTE = (
    "The rate is that of a full pipeline of frames (interval: networks held out); latency and energy are of a batch by "
    "itself, layer after layer."
)


def with_frame_rate(estimate: Estimate, question: Question, mapping: Mapping, lowered: Lowered) -> Estimate:
    """Return the estimate with the rate of a dataflow chip's pipeline; others as they are.

    It is known for networks with convolutions on eight bits that run once a frame, as the published rates are.
    """
    spec, request = question.target.spec, question.request
    asked_alone = mapping.devices == 1 and not question.concurrency and request.mode == "infer"
    if spec.kind != "npu" or not asked_alone or estimate.latency_s is None or question.model.defaults["generate"]:
        return estimate
    from costmodel.dataflow_shipped import is_dataflow_chip, network_rate

    convolutions = (lowered.table.full("op") == OP_CODES["conv2d"]).any()
    dtype = request.dtype or str(question.model.defaults["dtype"])
    if not convolutions or number_format(dtype).math != "int8" or not is_dataflow_chip(spec.id):
        return estimate
    one = question.model.workload(replace(request, batch=1))
    found = network_rate(one.passes, spec.id, int(request.batch))
    rate = Quantity(*(float(np.ravel(end)[0]) for end in (found.rate_hz, found.rate_lo_hz, found.rate_hi_hz)))
    return replace(estimate, rate_hz=rate, notes=(*estimate.notes, NOTE))
