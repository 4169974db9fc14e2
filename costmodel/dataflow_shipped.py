"""Costs of dataflow chips that come along: fitted on Hailo's published table, one file of numbers, no fit at hand.

`python -m costmodel.evaluation.hailo DATA` writes the file. Its 90 % intervals are from networks held out, apart for
those where it is doubtful whether the network fits on the chip: there they reach from the rate of several contexts to
that of one, and a half width beyond either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from costmodel.dataflow_chip import (
    FRAME,
    GATE,
    SWITCH,
    DataflowChips,
    Throughput,
    frame_work,
    gate_features,
    predict_dataflow,
    switch_work,
)
from costmodel.dataflow_work import amounts_of
from foundation.errors import BadFileError
from workloads.graph import Pass
from workloads.table import Array

FILE = Path(__file__).with_name("dataflow_chips.json")
ARRAYS = ("one", "many", "switch", "gate", "centre", "spread")
SURE = (0.1, 0.9)
"""Probabilities of several contexts between which a rate may be that of either."""
REACH = 4.0
"""Standard deviations of the published networks' logs of work beyond which a network is none of their kind (they lie
within 3.9)."""


@dataclass(frozen=True)
class ShippedCosts:
    """Costs, and half widths of the log interval where it is clear whether the network fits, and beyond both rates
    where it is not."""

    model: DataflowChips
    half_sure: float
    half_doubtful: float


@dataclass(frozen=True)
class FrameRate:
    """Frames a second with a 90 % interval, shape (rows,).

    `several` is the probability that the network runs in several contexts; `frame_s` and `switch_s` are what a frame
    and a switch of all contexts cost (`switch_s` 0 in one context), and `terms_s` (rows, terms) what each of `FRAME`
    and, a batch's share, `SWITCH` adds to the seconds of a frame.
    """

    rate_hz: Array
    rate_lo_hz: Array
    rate_hi_hz: Array
    several: Array
    frame_s: Array
    switch_s: Array
    terms_s: Array


TERMS = (*FRAME, *(f"{name}/switch" for name in SWITCH))


def write_costs(found: ShippedCosts, path: Path = FILE) -> None:
    """Write costs to a file of six digits."""
    arrays = {name: _rounded(getattr(found.model, name)) for name in ARRAYS}
    halves = {"half_sure": round(found.half_sure, 4), "half_doubtful": round(found.half_doubtful, 4)}
    text = json.dumps({"chips": list(found.model.chips), **halves, **arrays})
    path.write_text(text.replace("], [", "],\n[").replace(', "', ',\n"') + "\n", encoding="utf-8")


def _rounded(values: Array) -> list[object]:
    found: list[object] = np.vectorize(lambda x: float(f"{x:.6g}"), otypes=[float])(values).tolist()
    return found


@cache
def shipped_costs(path: Path = FILE) -> ShippedCosts:
    """Return the costs that come along. Raises BadFileError: not such a file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        arrays = {name: np.array(found[name], float) for name in ARRAYS}
        model = DataflowChips(tuple(found["chips"]), **arrays)
        shapes = {"one": len(FRAME), "many": len(FRAME), "switch": len(SWITCH)}
        if any(arrays[name].shape != (len(model.chips), width) for name, width in shapes.items()):
            raise ValueError("arrays of another shape")
        return ShippedCosts(model, float(found["half_sure"]), float(found["half_doubtful"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(path, f"not costs of dataflow chips ({type(error).__name__}: {error}).") from None


def is_dataflow_chip(device: str) -> bool:
    """Tell whether the costs that come along know a device of the catalogue."""
    return device in shipped_costs().model.chips


def frame_rate(amounts: Array, device: Array, batch: Array | float = 1.0) -> FrameRate:
    """Return the frames a second of networks (`costmodel.dataflow_work.amounts_of`, shape (rows, amounts)) on chips.

    `device` are catalogue ids, shape (rows,); `batch` is how many frames pass before the contexts are swapped.

    Raises:
        BadValueError: a device without costs.
    """
    known = shipped_costs()
    frames = np.broadcast_to(np.asarray(batch, float), (len(amounts),))
    found = predict_dataflow(known.model, amounts, device, frames)
    at, many = known.model.place(device), found.several > 0.5
    costs = np.where(many[:, None], known.model.many[at], known.model.one[at])
    frame = frame_work(amounts) * costs
    switch = np.where(many[:, None], switch_work(amounts) * known.model.switch[at], 0.0)
    doubtful, least, most = rate_ends(found)
    beyond = np.exp(np.where(doubtful, known.half_doubtful, known.half_sure))
    return FrameRate(
        found.rate_hz, least / beyond, most * beyond, found.several, frame.sum(axis=1), switch.sum(axis=1),
        np.column_stack([frame, switch / frames[:, None]]),
    )  # fmt: skip


def rate_ends(found: Throughput) -> tuple[Array, Array, Array]:
    """Return where it is doubtful whether a network fits, and the least and the most that its rate may be by that."""
    doubtful = (found.several > SURE[0]) & (found.several < SURE[1])
    either = found.one_hz, found.several_hz
    least, most = np.minimum(*either), np.maximum(*either)
    return doubtful, np.where(doubtful, least, found.rate_hz), np.where(doubtful, most, found.rate_hz)


def within_reach(amounts: Array) -> Array:
    """Tell which networks (rows, amounts) have as much work as published ones: weights, layers, outputs, operations."""
    known = shipped_costs().model
    far = np.abs((gate_features(amounts) - known.centre) / known.spread)
    sizes = [GATE.index(name) for name in ("weights", "layers", "output_elements", "all_op")]
    return np.asarray((far[:, sizes] <= REACH).all(axis=1))


def network_rate(passes: Iterable[Pass], device: str, batch: int = 1) -> FrameRate:
    """Return the frames a second of one network on one chip, a row; `passes` are those of batch 1.

    Raises:
        MappingError: a graph that cannot be lowered. BadValueError: a device without costs, or no layer with weights.
    """
    return frame_rate(amounts_of(passes)[None], np.array([device]), float(batch))
