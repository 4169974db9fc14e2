"""What every model is: a builder of workloads with free knobs, whatever file or name it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from workloads.graph import Size, Workload
from workloads.table import Array

DECODE_POINTS = 5


@dataclass(frozen=True)
class Request:
    """What is asked of a model. Sizes may be arrays of shape (S,): S requests at once.

    `prompt` and `generate` of None take the model's default; `dtype` "" is the format that its weights are in.
    """

    batch: Size = 1
    prompt: Size | None = None
    generate: Size | None = None
    dtype: str = ""
    kv_dtype: str = ""
    mode: Literal["infer", "train"] = "infer"


class Model(ABC):
    """A network with its knobs. Subclasses are frozen dataclasses; `family` names the builder."""

    family: ClassVar[str]
    name: str

    @abstractmethod
    def workload(self, request: Request) -> Workload:
        """Return the passes that one batch of requests makes.

        Raises:
            BadValueError: sizes that the model cannot have.
        """

    @abstractmethod
    def knobs(self) -> Mapping[str, Any]:
        """Return every knob and its value."""

    @abstractmethod
    def with_knobs(self, changes: Mapping[str, Any]) -> Model:
        """Return the model with some knobs changed.

        Raises:
            UnknownNameError: no such knob.
            BadValueError: a value that the knob cannot have.
        """

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Default `prompt` and `generate` (0 for models that do not generate), and the native `dtype`."""
        return {"prompt": 0, "generate": 0, "dtype": "bf16"}

    def summary(self) -> dict[str, Any]:
        """Return parameters, active parameters and MACs of one forward pass (batch 1)."""
        workload = self.workload(Request())
        return {
            "name": self.name, "family": self.family, "parameters": round(workload.parameters),
            "active_parameters": round(workload.active_parameters), "macs": workload.graph.macs(),
            "knobs": dict(self.knobs()),
        }  # fmt: skip


def decode_steps(prompt: Size, generate: Size, points: int = DECODE_POINTS) -> tuple[Array, Array, Array]:
    """Return (kv_len, times, owner) of the steps after the first token, for requests of any shape (S,) or ().

    Step j of generate - 1 attends to prompt + j tokens. Costs are taken at `points` whole steps and interpolated
    linearly between them, which is exact wherever the cost is linear in the context; `times` adds up to
    generate - 1. `owner` is the request that each row belongs to. All have shape (S x points,).
    """
    prompt, generate = np.broadcast_arrays(
        np.atleast_1d(np.asarray(prompt, float)), np.atleast_1d(np.asarray(generate, float))
    )
    last = np.maximum(generate - 2, 0)
    nodes = np.round(last[:, None] * np.linspace(0, 1, points))
    length = np.diff(nodes, axis=1)
    times = np.zeros_like(nodes)
    times[:, :-1] += np.where(length > 0, (length + 1) / 2, 0)
    times[:, 1:] += np.where(length > 0, (length - 1) / 2, 0)
    times[:, -1] += 1
    times *= (generate > 1)[:, None]
    owner = np.repeat(np.arange(len(prompt)), points)
    return (prompt[:, None] + nodes + 1).ravel(), times.ravel(), owner
