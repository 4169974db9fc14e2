"""Mean rates of a pipeline in closed form: rates, loss, load, latency, power, physics and price, without any events.

The model of the published study (github.com/wilkieolin/system_flow: sizes add up, power is energy per operation or bit
times rate) holds exactly where a description uses only its features; lines, losses, failures and duty cycles are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from simulator.pipelines.physics_yield import Truth, physics_yield, relevant_fraction
from simulator.pipelines.power import detector_power_w
from simulator.pipelines.rates_links import link_rates
from simulator.pipelines.rates_ranges import ZERO, Range, total
from simulator.pipelines.rates_results import LinkRates, PipelineRates, StageRates
from simulator.pipelines.rates_stage import Flow, stage_rates
from simulator.pipelines.technology import technology_scaling

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import DetectorSpec, PipelineSpec, StageSpec
    from simulator.pipelines.services import ServiceTimes


def mean_rates(
    spec: PipelineSpec, services: Mapping[str, ServiceTimes] | None = None, *, as_published: bool = True
) -> PipelineRates:
    """Return the mean rates of a pipeline.

    Args:
        services: times of the stages whose service is a workload on a device, by the stage's name.
        as_published: whether turn-on classifiers are those of the published study, or corrected (docs/daq-rates.md).

    Raises:
        BadValueError: a service that nobody timed, or more triggers than filled crossings.
        ReductionError: a classifier that cannot give its stage's reduction.
    """
    walk = _Walk(spec, services or {}, as_published)
    for stage in spec.in_order():
        walk.take(stage)
    return walk.answer()


@dataclass
class _Walk:
    """The stages in order, and what has left those before."""

    spec: PipelineSpec
    services: Mapping[str, ServiceTimes]
    as_published: bool
    flows: dict[str, Flow] = field(default_factory=dict)
    entered: dict[str, Flow] = field(default_factory=dict)
    stages: dict[str, StageRates] = field(default_factory=dict)
    links: list[LinkRates] = field(default_factory=list)
    detectors: list[Range] = field(default_factory=list)
    truths: dict[int, Truth] = field(init=False)

    def __post_init__(self) -> None:
        ends = (0, 1, 2) if _has_ranges(self.spec) else (0,)
        self.truths = {end: Truth(relevant_fraction(self.spec, end)) for end in ends}

    def take(self, stage: StageSpec) -> None:
        """Add a stage whose inputs have been taken."""
        sources = [self.flows[name] for name in stage.inputs]
        sources += [self._detector(detector) for detector in self.spec.detectors_of(stage.name)]
        inflow = _joined(sources)
        inflow = replace(inflow, size_bytes=inflow.size_bytes + Range.of(stage.own_bytes))
        before = next((self.spec.stage(name).link for name in stage.inputs if self.spec.stage(name).link), None)
        times = self.services.get(stage.name)
        found, leaving = stage_rates(self.spec, stage, inflow, times, before, self.as_published)
        self.entered[stage.name], self.flows[stage.name], self.stages[stage.name] = inflow, leaving, found
        if found.link is not None:
            self.links.append(found.link)

    def _detector(self, detector: DetectorSpec) -> Flow:
        figure = detector.rate_hz
        if figure is None:
            assert self.spec.beam is not None  # the description was checked
            figure = self.spec.beam.crossing_rate_hz
        rate_hz, count = Range.of(figure), float(detector.count)
        size = Range.of(detector.size_bytes)
        if detector.compression is not None:
            size = size * Range.of(detector.compression).rest()
        self.detectors.append(detector_power_w(detector, rate_hz))
        link = link_rates(f"{detector.name} link", detector.link, rate_hz, size * count, units=detector.count)
        age_s = ZERO
        if link is not None:
            self.links.append(link)
            age_s = link.latency_s + (link.wait_s or ZERO)
            rate_hz = link.carried_hz
        return Flow(rate_hz, size * count, age_s, self.truths)

    def answer(self) -> PipelineRates:
        """Return the whole pipeline's numbers."""
        spec, stages = self.spec, tuple(self.stages.values())
        feeding = {name for stage in spec.stages for name in stage.inputs}
        ends = [stage for stage in stages if stage.name not in feeding]
        stored = [stage for stage in ends if stage.kind == "storage"] or ends
        out_hz = total([stage.rate_out_hz for stage in stored])
        last = self.flows[max(stored, key=lambda stage: stage.rate_out_hz.value).name]
        scaling = technology_scaling(spec.technology, spec.year)
        unscaled = total(
            [power for stage in stages for power in stage.power_w.values()]
            + [link.power_w for link in self.links]
            + self.detectors
        )
        power_w = unscaled / scaling.factor
        stages = tuple(replace(stage, faults=self._faults(stage)) for stage in stages)
        unstable = any(stage.unstable for stage in stages) or any(link.unstable for link in self.links)
        rate_in = max((self._rate(detector) for detector in spec.detectors), key=lambda rate: rate.value)
        return PipelineRates(
            spec.id, stages, tuple(self.links), rate_in, out_hz,
            total([stage.throughput_bytes_per_s for stage in stored]),
            None if unstable else max((self.flows[s.name].age_s for s in stored), key=lambda age: age.value),
            power_w, unscaled, scaling.factor, total([stage.price_usd for stage in stages]),
            total([stage.memory_bytes for stage in stages]),
            physics_yield(spec, last.truths, last.survived, out_hz, power_w),
            (*scaling.warnings, *(fault for stage in stages for fault in stage.faults),
             *(_overload(link) for link in self.links if link.unstable)),
            total(self.detectors), self._power_known(),
            any(stage.price_usd is not None for stage in spec.stages),
        )  # fmt: skip

    def _power_known(self) -> bool:
        """Say whether any figure of power or energy is given."""
        spec = self.spec
        links = [detector.link for detector in spec.detectors] + [stage.link for stage in spec.stages]
        figures = [link.energy_per_bit_j for link in links if link is not None]
        figures += [detector.energy_per_operation_j for detector in spec.detectors]
        for stage in spec.stages:
            figures += [stage.energy_per_operation_j, stage.energy_per_event_j, stage.idle_power_w, stage.busy_power_w]
        timed = any(times.energy_j is not None for times in self.services.values())
        return timed or any(figure is not None for figure in figures)

    def _rate(self, detector: DetectorSpec) -> Range:
        if detector.rate_hz is not None:
            return Range.of(detector.rate_hz)
        return Range.of(self.spec.beam.crossing_rate_hz) if self.spec.beam else ZERO

    def _faults(self, stage: StageRates) -> tuple[str, ...]:
        """Return what a stage cannot do, each fault with its name first."""
        found = []
        if stage.servers is not None and stage.unstable:
            found.append(
                f"overload: stage '{stage.name}' is offered {stage.servers.utilisation.value:.3g} times what it "
                f"serves; it needs {stage.servers.needed} servers a part, and its waits have no mean."
            )
        if stage.fragments is not None and stage.fragments.credit_limit_hz is not None:
            limit = stage.fragments.credit_limit_hz.value
            if limit <= stage.rate_in_hz.value:
                found.append(
                    f"credits: stage '{stage.name}' builds at most {limit:g} events a second with its credits."
                )
        if stage.fragments is not None and stage.fragments.utilisation is not None:
            load = stage.fragments.utilisation.value
            if load >= 1:
                found.append(f"fragments: each link into '{stage.name}' is offered {load:.3g} times its bandwidth.")
        return (*found, *self._pipeline_fault(stage.name))

    def _pipeline_fault(self, name: str) -> tuple[str, ...]:
        """Return the fault of a front-end pipeline that is shorter than the latency up to the next trigger."""
        crossings, beam = self.spec.stage(name).pipeline_crossings, self.spec.beam
        if crossings is None or beam is None:
            return ()
        trigger = self._next_trigger(name)
        if trigger is None:
            return ()
        end_s = self.entered[trigger].age_s.value + self.stages[trigger].latency_s.value
        needed = (end_s - self.entered[name].age_s.value) * beam.crossing_rate_hz.value
        if needed <= crossings * (1 + 1e-9):
            return ()
        return (
            f"pipeline_depth: the {crossings} crossings of '{name}' do not cover the {needed:.4g} crossings until "
            f"'{trigger}' decides; its events are overwritten.",
        )

    def _next_trigger(self, name: str) -> str | None:
        """Return the first stage from `name` on that decides (breadth first)."""
        front = [name]
        while front:
            for at in front:
                if self.stages[at].selection is not None:
                    return at
            front = [stage.name for stage in self.spec.stages if set(stage.inputs) & set(front)]
        return None


def _joined(flows: list[Flow]) -> Flow:
    """Return the events that all flows deliver: bytes add up, the rarest flow says which events, the latest when."""
    rarest = min(flows, key=lambda flow: flow.rate_hz.value)
    oldest = max((flow.age_s for flow in flows), key=lambda age: age.value)
    return replace(rarest, size_bytes=total([flow.size_bytes for flow in flows]), age_s=oldest)


def _has_ranges(spec: PipelineSpec) -> bool:
    """Say whether the physics depends on a figure that has a range."""
    figures = [spec.relevant_fraction]
    for stage in spec.stages:
        figures.append(stage.reduction)
        if stage.classifier is not None:
            figures += [figure for _, figure in stage.classifier.figures()]
    return any(figure is not None and figure.lo < figure.hi for figure in figures)


def _overload(link: LinkRates) -> str:
    load = link.utilisation.value if link.utilisation is not None else 0.0
    return f"overload: {link.name} is offered {load:.3g} times its bandwidth."
