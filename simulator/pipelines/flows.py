"""What flows through a stage in the mean: the numbers that events of the same pipeline start from."""

from __future__ import annotations

from dataclasses import dataclass

from hardware_specs.pipeline_schema import PipelineSpec, StageSpec, WindowSpec
from simulator.pipelines.rates_results import PipelineRates


@dataclass(frozen=True)
class StageFlow:
    """Mean rates and sizes of one stage, and the shares of relevant and of other events that pass its decision."""

    rate_in_hz: float
    relevant_in_hz: float
    size_in_bytes: float
    size_out_bytes: float
    pass_relevant: float = 1.0
    pass_other: float = 1.0

    @property
    def accepted_hz(self) -> float:
        """Events a second that pass the decision."""
        other = self.rate_in_hz - self.relevant_in_hz
        return self.relevant_in_hz * self.pass_relevant + other * self.pass_other

    @property
    def relevant_share_in(self) -> float:
        return self.relevant_in_hz / self.rate_in_hz if self.rate_in_hz else 0.0

    @property
    def relevant_share_out(self) -> float:
        return self.relevant_in_hz * self.pass_relevant / self.accepted_hz if self.accepted_hz else 0.0


def window_stages(spec: PipelineSpec, window: WindowSpec) -> tuple[StageSpec, ...]:
    """Return the stages of a window (all where it names none) such that each comes after its inputs."""
    return tuple(stage for stage in spec.in_order() if not window.stages or stage.name in window.stages)


def entries(stages: tuple[StageSpec, ...]) -> tuple[StageSpec, ...]:
    """Return the stages that nothing in the window feeds."""
    names = {stage.name for stage in stages}
    return tuple(stage for stage in stages if not names & set(stage.inputs))


def followers(stages: tuple[StageSpec, ...]) -> dict[str, tuple[StageSpec, ...]]:
    """Return, by stage, the stages of the window that it feeds."""
    return {stage.name: tuple(other for other in stages if stage.name in other.inputs) for stage in stages}


def flows_of(rates: PipelineRates) -> dict[str, StageFlow]:
    """Return the flow of each stage from a pipeline's mean rates."""
    return {
        stage.name: StageFlow(
            stage.rate_in_hz.value, min(stage.relevant_in_hz, stage.rate_in_hz.value), stage.size_in_bytes.value,
            stage.size_out_bytes.value, 1.0 if stage.selection is None else stage.selection.relevant_pass,
            1.0 if stage.selection is None else stage.selection.null_pass,
        )
        for stage in rates.stages
    }  # fmt: skip
