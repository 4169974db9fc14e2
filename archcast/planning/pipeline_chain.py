"""The whole chain with a chosen farm in it: mean rates, losses and power, all of the farm up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from archcast.planning.pipeline_farm import Farm
from hardware_specs.figures import Figure
from hardware_specs.pipeline_schema import GIVEN
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_results import PipelineRates, StageRates


@dataclass(frozen=True)
class ChainRow:
    """One stage of the chain; power is after technology scaling, its link included."""

    name: str
    kind: str
    rate_in_hz: float
    rate_out_hz: float
    throughput_bytes_per_s: float
    loss_share: float
    power_w: float

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.name, **{k: v for k, v in self.__dict__.items() if k != "name"}}


def rates_with(farm: Farm) -> PipelineRates:
    """Return the mean rates of the pipeline with that farm; the events that come are those of the chain itself."""
    site = farm.site
    changes: dict[str, Any] = {"parts": farm.parts, "servers": farm.servers, "speeds": (), "share_down": None}
    if site.buffers.in_bytes:
        size = farm.buffer_bytes
        changes |= {"places": None, "buffer_bytes": Figure(value=size, lo=size, hi=size, source=GIVEN)}
    else:
        changes |= {"places": farm.places, "buffer_bytes": None}
    stages = tuple(s.model_copy(update=changes) if s.name == site.stage.name else s for s in site.spec.stages)
    return mean_rates(site.spec.model_copy(update={"stages": stages}), site.services)


def chain_rows(rates: PipelineRates) -> tuple[ChainRow, ...]:
    """Return the stages in order."""
    return tuple(_row(stage, rates.scaling.value) for stage in rates.stages)


def _row(stage: StageRates, scaling: float) -> ChainRow:
    kept = 1.0
    for loss in stage.losses.values():
        kept -= loss.value
    power = sum(part.value for part in stage.power_w.values())
    power += 0.0 if stage.link is None else stage.link.power_w.value
    throughput = stage.rate_out_hz.value * stage.size_out_bytes.value
    return ChainRow(
        stage.name, stage.kind, stage.rate_in_hz.value, stage.rate_out_hz.value, throughput, max(0.0, 1 - kept),
        power / scaling,
    )  # fmt: skip
