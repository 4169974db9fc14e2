"""FemtoDet on the Snapdragon 865's CPU: joules of a frame, from the closed form, and with times of other networks.

The authors publish 1.11 W and 64.47 frames/s (Tu et al., ICCV 2023) and no method: neither the number of threads, the
format nor the runtime (their repository, issue 21, is unanswered). One frame of 416 pixels in fp32 on one core is
asked, the large one first. No second power of this CPU is in the data, so nothing can calibrate power. What is
published of the same core are times: Paddle Lite's benchmark, one thread on the largest core, fp32. Two of them set
one factor on all times; the operations' and bytes' energy stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.model import Request
from workloads.table import Array

POWER_W, RATE_HZ = 1.11, 64.47
FRAME_J = POWER_W / RATE_HZ
PRIME, BIG, ALL_LARGE = "snapdragon-865:prime", "snapdragon-865:1xbig", "snapdragon-865"
DEVICES = (PRIME, BIG, ALL_LARGE)
PADDLE_LITE_S = {
    "mobilenet-v1": 28.38e-3, "mobilenet-v2": 18.52e-3, "mobilenet-v3-large": 14.46e-3, "mobilenet-v3-small": 4.73e-3,
    "resnet-50": 160.97e-3,
}  # fmt: skip
"""Paddle Lite 2.11 (docs/performance/benchmark.md of its repository): Snapdragon 865, armv8, fp32, one thread on the
largest core. Those of its networks that the catalogue has."""
UNCALIBRATED = "nothing fitted"
PRIOR, EVERY = "two times: smallest and largest", "two times: every choice"
TIMES = "the other networks' times by two"


@dataclass(frozen=True)
class Frame:
    """One pass: seconds, joules, and the watts that it draws however long it takes."""

    latency_s: float
    energy_j: float
    standing_w: float

    def stretched(self, factor: float) -> Frame:
        """Return the pass in `factor` times its time, with the same operations and bytes."""
        more_s = (factor - 1.0) * self.latency_s
        return Frame(factor * self.latency_s, self.energy_j + self.standing_w * more_s, self.standing_w)


def frame_of(workload: str, device: str) -> Frame:
    """Return one fp32 pass of batch 1 by the closed form. Raises UnknownNameError, BadValueError."""
    table = lower(load_model(workload).workload(Request(dtype="fp32")).passes).table
    rates = compile_rates(load_device(device))
    costs, count = predict_physics(table, rates), table.full("count")
    return Frame(float((costs.latency_s * count).sum()), float((costs.energy_j * count).sum()), rates.idle_w[0])


def evaluate_femtodet() -> list[Score]:
    """Return scores of joules a frame on each choice of cores, uncalibrated and by two times; and of the times."""
    scores = [_scored(d, UNCALIBRATED, [FRAME_J], [frame_of("femtodet", d).energy_j]) for d in DEVICES]
    frame = frame_of("femtodet", PRIME)
    measured = np.array(list(PADDLE_LITE_S.values()))
    predicted = np.array([frame_of(name, PRIME).latency_s for name in PADDLE_LITE_S])
    order = np.argsort(predicted)
    smallest_and_largest = (int(order[0]), int(order[-1]))
    pairs = tuple(combinations(range(len(measured)), 2))
    factors = np.array([_factor(measured, predicted, pair) for pair in pairs])
    energies = [frame.stretched(float(factor)).energy_j for factor in factors]
    prior = frame.stretched(_factor(measured, predicted, smallest_and_largest)).energy_j
    scores += [_scored(PRIME, PRIOR, [FRAME_J], [prior]), _scored(PRIME, EVERY, [FRAME_J] * len(pairs), energies)]
    rest = [[i for i in range(len(measured)) if i not in pair] for pair in pairs]
    asked = np.concatenate([measured[others] for others in rest])
    answers = np.concatenate([factor * predicted[others] for factor, others in zip(factors, rest, strict=True)])
    return [*scores, _scored(PRIME, TIMES, asked, answers)]


def _factor(measured: Array, predicted: Array, points: tuple[int, ...]) -> float:
    return float(np.exp(np.mean(np.log(measured[list(points)] / predicted[list(points)]))))


def _scored(device: str, split: str, measured: Sequence[float] | Array, predicted: Sequence[float] | Array) -> Score:
    return score(("femtodet", device, split, "closed form", 0), np.asarray(measured, float), np.asarray(predicted))
