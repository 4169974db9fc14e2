"""Service times of pipeline stages that run a workload on a device: the cost model's answers, by batch size.

`batch` of a service is the number of inferences of one event; a batch of n events runs n times as many together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel, find_cost_model
from archcast.prediction import answer
from archcast.question import ask, find_target, parallel
from costmodel.estimate import Estimate
from foundation.errors import ArchcastError, BadValueError
from hardware_specs.pipeline_schema import PipelineSpec, ServiceSpec, StageSpec
from simulator.pipelines.services import ServiceTimes

MOST_SIZES = 24
"""Batch sizes that are asked for; the times between them are interpolated."""


@dataclass(frozen=True)
class ResolvedService:
    """A stage's service: its times, the answers behind them by batch size, and what they rest on."""

    times: ServiceTimes
    estimates: Mapping[int, Estimate]

    @property
    def source(self) -> dict[str, float]:
        """Shares of the time of the largest batch by where its numbers come from."""
        return dict(self.estimates[max(self.estimates)].source)

    @property
    def device(self) -> str:
        return next(iter(self.estimates.values())).device


def resolve_services(spec: PipelineSpec, folder: Path, model: AnyModel = None) -> dict[str, ResolvedService]:
    """Return the service of each stage that names a workload and a device.

    Args:
        folder: where the pipeline's file is; paths in it are relative to it.

    Raises:
        BadValueError: naming the stage: an unknown workload or device, or one that does not fit.
    """
    found = {}
    for stage in spec.stages:
        if stage.service is not None and stage.service.workload is not None:
            try:
                found[stage.name] = _resolve(stage, stage.service, folder, model)
            except ArchcastError as error:
                if error.exit_code != 2:
                    raise
                raise BadValueError(f"The service of stage '{stage.name}': {error}") from None
    return found


def _resolve(stage: StageSpec, service: ServiceSpec, folder: Path, model: AnyModel) -> ResolvedService:
    assert service.workload is not None
    assert service.on is not None
    most, per_event = 1 if stage.batch is None else stage.batch.size, service.batch or 1
    workload, target = _beside(service.workload, folder), find_target(_beside(service.on, folder))
    cost_model = find_cost_model(model)
    mapping = parallel(service.count, software=service.software or "", **_parallel_sizes(service.set))
    if mapping is None:
        raise BadValueError(f"count {service.count} needs the sizes that spread it, e.g. set: {{tp: {service.count}}}.")
    knobs = {key: value for key, value in service.set.items() if key not in (*_SIZES, *_TOKENS)}
    tokens: Any = {key: service.set[key] for key in _TOKENS if key in service.set}
    estimates = {}
    for size in _sizes(most):
        question = ask(workload, target.spec, batch=size * per_event, dtype=service.dtype or "", knobs=knobs, **tokens)
        estimate = answer(question, mapping, cost_model)
        if estimate.verdict != "feasible":
            asked = f"{estimate.workload} with batch {size * per_event}"
            raise BadValueError(f"{asked} does not fit on {estimate.device}: {estimate.reason}.")
        estimates[size] = replace(estimate, detail=None)
    return ResolvedService(_times(estimates, most), estimates)


_SIZES = ("tp", "pp", "ep", "dp", "cp")
_TOKENS = ("prompt", "generate")


def _parallel_sizes(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"tp": 1, "pp": 1, "ep": 1, "dp": 1} | {key: given[key] for key in _SIZES if key in given}


def _sizes(most: int) -> list[int]:
    """Return the batch sizes to ask for: all up to `MOST_SIZES`, else evenly in the logarithm with both ends."""
    if most <= MOST_SIZES:
        return list(range(1, most + 1))
    return sorted({round(most ** (i / (MOST_SIZES - 1))) for i in range(MOST_SIZES)})


def _times(estimates: Mapping[int, Estimate], most: int) -> ServiceTimes:
    sizes, every = sorted(estimates), np.arange(1, most + 1)
    time_s, lo_s, hi_s = (
        tuple(np.interp(every, sizes, [getattr(estimates[size].latency_s, end) for size in sizes]).tolist())
        for end in ("value", "lo", "hi")
    )
    energy = estimates[most].energy_j
    last = estimates[most]
    energy_j, ends = (None, None) if energy is None else (energy.value / most, (energy.lo / most, energy.hi / most))
    return ServiceTimes(time_s, lo_s, hi_s, energy_j, f"{last.workload} on {last.device}", ends)


def _beside(name: str, folder: Path) -> str:
    """Return a path relative to the pipeline's file; names of the catalogue stay as they are."""
    beside = folder / name
    return str(beside) if (Path(name).suffix or "/" in name) and beside.exists() else name
