"""`PipelineSpec`: a data-acquisition pipeline, from its detectors through its stages to storage, in SI.

A field that ends in a unit, a share or a ratio holds a `Figure`; None means that the pipeline has no such thing.
Numbers of things (servers, lanes) are plain; where the file gives them with a source, `counts` has the figure.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from foundation.errors import nearest_names
from hardware_specs.figures import Figure, Place, Sourced, fault
from hardware_specs.pipeline_parts import (
    MOST_TOGETHER,
    BatchSpec,
    BeamSpec,
    Bytes,
    ClassifierSpec,
    Counted,
    DutySpec,
    EnergyPerOperation,
    FailureSpec,
    LinkUse,
    Name,
    Polynomial,
    Rate,
    RuleSpec,
    ServiceSpec,
    Share,
    TechnologySpec,
    Time,
    Whole,
    value_of,
)
from hardware_specs.reader import GIVEN
from hardware_specs.units import Quantity

__all__ = [
    "GIVEN",
    "MAX_HORIZON_S",
    "BatchSpec",
    "BeamSpec",
    "ClassifierSpec",
    "DetectorSpec",
    "DutySpec",
    "FailureSpec",
    "LinkUse",
    "PipelineSpec",
    "Polynomial",
    "RuleSpec",
    "ServiceSpec",
    "StageKind",
    "StageSpec",
    "TechnologySpec",
    "WindowSpec",
    "value_of",
]

StageKind = Literal["merge", "trigger", "buffer", "builder", "farm", "delay", "storage"]
"""A word for people and pictures; what a stage does follows from its fields."""

MAX_HORIZON_S = 9.2e6
"""Simulated time is a 64-bit count of picoseconds: 106 days."""


class DetectorSpec(Counted):
    """`count` equal units, each with an event of `size_bytes` at `rate_hz` (None: the machine's crossing rate).

    `compression` is the share of bytes removed before the link, `to` the stage that the data goes to.
    """

    name: Name
    to: Name
    size_bytes: Annotated[Figure, Bytes]
    rate_hz: Annotated[Figure | None, Rate] = None
    compression: Annotated[Figure | None, Share] = None
    energy_per_operation_j: Annotated[Figure | None, EnergyPerOperation] = None
    link: LinkUse | None = None
    count: Whole = 1
    notes: str = ""


class StageSpec(Counted):
    """One stage. Its events are those that all its `inputs` and detectors deliver, their bytes added up.

    `reduction` is events in over events out. `operations` counts the operations of an event of that many bytes, each
    of `energy_per_operation_j`. Power and price are those of one server. `parts` are identical and take events in
    turn; servers, places and buffer are those of one part. `duty` is when the stage serves. `pipeline_crossings` is
    the depth of the buffer that has to cover the latency of the stages up to the next trigger.
    """

    name: Name
    kind: StageKind
    notes: str = ""
    inputs: tuple[Name, ...] = ()
    own_bytes: Annotated[Figure | None, Bytes] = None
    compression: Annotated[Figure | None, Share] = None
    reduction: Annotated[Figure | None, Quantity("", 1, 1e15)] = None
    classifier: ClassifierSpec | None = None
    operations: Polynomial | None = None
    operations_factor: Annotated[Figure | None, Quantity("", 0, 1e6)] = None
    energy_per_operation_j: Annotated[Figure | None, EnergyPerOperation] = None
    service: ServiceSpec | None = None
    servers: Whole | None = None
    speeds: tuple[Annotated[float, Field(gt=0, le=1e6)], ...] = ()
    batch: BatchSpec | None = None
    failures: FailureSpec | None = None
    share_down: Annotated[Figure | None, Share] = None
    places: Annotated[int, Field(ge=0, le=10**12)] | None = None
    buffer_bytes: Annotated[Figure | None, Bytes] = None
    when_full: Literal["drop", "block"] = "drop"
    latency_s: Annotated[Figure | None, Time] = None
    pipeline_crossings: Whole | None = None
    rules: tuple[RuleSpec, ...] = ()
    dead_time_s: Annotated[Figure | None, Time] = None
    extendable: bool = False
    duty: DutySpec | None = None
    parts: Whole = 1
    fragments: Whole | None = None
    credits: Whole | None = None
    events_per_packet: Whole = 1
    energy_per_event_j: Annotated[Figure | None, Quantity("J", 0, 1e12)] = None
    idle_power_w: Annotated[Figure | None, Quantity("W", 0, 1e9)] = None
    busy_power_w: Annotated[Figure | None, Quantity("W", 0, 1e9)] = None
    price_usd: Annotated[Figure | None, Quantity("USD", 0, 1e12)] = None
    link: LinkUse | None = None

    @model_validator(mode="after")
    def _consistent(self) -> StageSpec:
        if self.speeds and self.servers not in (None, len(self.speeds)):
            raise fault(f"{len(self.speeds)} speeds for {self.servers} servers.", ("speeds",))
        if self.share_down is not None and self.share_down.value >= 1:
            raise fault("no server is left.", ("share_down",))
        if self.events_per_packet > MOST_TOGETHER:
            problem = f"a packet has at most {MOST_TOGETHER:,} events, not {self.events_per_packet:,}."
            raise fault(problem, ("events_per_packet",))
        batch = self.batch
        if batch and batch.max_wait_s is None and self.places is not None and self.places < batch.size:
            problem = f"a batch of {batch.size:,} never fills where {self.places:,} events may wait"
            raise fault(f"{problem}; give more places, or the batch a max_wait_s.", ("places",))
        if self.classifier and self.classifier.kind in ("gaussian", "turn_on") and self.reduction is None:
            raise fault(f"a classifier of kind {self.classifier.kind} needs the stage's reduction.", ("classifier",))
        if self.classifier and self.classifier.kind in ("all", "rates") and self.reduction is not None:
            problem = f"a classifier of kind {self.classifier.kind} says what passes; leave it or the reduction out."
            raise fault(problem, ("reduction",))
        return self


class WindowSpec(Counted):
    """What a simulation of events covers: `stages` (none: all) for `horizon_s`, of which `warm_up_s` is not counted.

    `samples` is the number of points of each series over time.
    """

    name: Name
    notes: str = ""
    stages: tuple[Name, ...] = ()
    horizon_s: Annotated[Figure, Quantity("s", 0, 1e30)]
    warm_up_s: Annotated[Figure | None, Quantity("s", 0, 1e30)] = None
    samples: Annotated[int, Field(ge=2, le=10**5)] = 400

    @model_validator(mode="after")
    def _fits(self) -> WindowSpec:
        horizon, warm_up = self.horizon_s.value, value_of(self.warm_up_s)
        if not 0 < horizon <= MAX_HORIZON_S:
            limit = f"{MAX_HORIZON_S:g} s, the picoseconds that 64 bits count"
            raise fault(f"a horizon must be above 0 and at most {limit}, not {horizon:g} s.", ("horizon_s",))
        if warm_up >= horizon:
            raise fault(f"a warm-up of {warm_up:g} s leaves nothing of {horizon:g} s.", ("warm_up_s",))
        return self


class PipelineSpec(Sourced):
    """A whole pipeline. `stages` are a directed acyclic graph in any order; `in_order` sorts them.

    `improvements` are named sets of changes by dotted path, `improved_by` names those that are on.
    `relevant_fraction` None means 1 over the product of the reductions.
    """

    kind: Literal["pipeline"] = "pipeline"
    year: Annotated[int, Field(ge=1970, le=2100)] | None = None
    technology: TechnologySpec = Field(default_factory=TechnologySpec)
    beam: BeamSpec | None = None
    relevant_fraction: Annotated[Figure | None, Share] = None
    detectors: tuple[DetectorSpec, ...]
    stages: tuple[StageSpec, ...]
    events: tuple[WindowSpec, ...] = ()
    improvements: dict[str, dict[str, Any]] = Field(default_factory=dict)
    improved_by: tuple[str, ...] = ()

    def stage(self, name: str) -> StageSpec:
        """Return a stage by its name. Raises KeyError."""
        return {stage.name: stage for stage in self.stages}[name]

    def detectors_of(self, stage: str) -> tuple[DetectorSpec, ...]:
        """Return the detectors whose data goes to that stage."""
        return tuple(detector for detector in self.detectors if detector.to == stage)

    def in_order(self) -> tuple[StageSpec, ...]:
        """Return the stages such that each comes after its inputs, else in the order of the file."""
        order: dict[str, StageSpec] = {}
        while len(order) < len(self.stages):
            ready = [s for s in self.stages if s.name not in order and all(name in order for name in s.inputs)]
            if not ready:
                cycle = _cycle(self.stages, order)
                place = ("stages", [stage.name for stage in self.stages].index(cycle[0]), "inputs")
                raise fault(f"the stages {' -> '.join(cycle)} form a cycle.", place)
            order[ready[0].name] = ready[0]
        return tuple(order.values())

    def rate_of(self, detector: DetectorSpec) -> float:
        """Return a detector's events per second: its own rate or the machine's."""
        if detector.rate_hz is not None:
            return detector.rate_hz.value
        assert self.beam is not None  # checked when the description is made
        return self.beam.crossing_rate_hz.value

    @model_validator(mode="after")
    def _names(self) -> PipelineSpec:
        for field in ("detectors", "stages"):
            if not getattr(self, field):
                raise fault(f"a pipeline needs at least one of its {field}; the list is empty.", (field,))
        stages = [stage.name for stage in self.stages]
        _stand_once("detectors", [detector.name for detector in self.detectors], ())
        _stand_once("stages", stages, [detector.name for detector in self.detectors])
        _stand_once("events", [window.name for window in self.events], ())
        for i, detector in enumerate(self.detectors):
            _known("stage", detector.to, stages, ("detectors", i, "to"))
        for i, stage in enumerate(self.stages):
            for j, name in enumerate(stage.inputs):
                _known("stage", name, stages, ("stages", i, "inputs", j))
            if not stage.inputs and not self.detectors_of(stage.name):
                raise fault(f"nothing feeds the stage '{stage.name}': no input, no detector.", ("stages", i))
        for i, window in enumerate(self.events):
            for j, name in enumerate(window.stages):
                _known("stage", name, stages, ("events", i, "stages", j))
        for i, name in enumerate(self.improved_by):
            _known("improvement", name, list(self.improvements), ("improved_by", i))
            if name in self.improved_by[:i]:
                raise fault(f"the improvement '{name}' stands twice.", ("improved_by", i))
        self.in_order()
        return self

    @model_validator(mode="after")
    def _beam_limits(self) -> PipelineSpec:
        limit = None if self.beam is None else self.beam.crossing_rate_hz.value
        for i, detector in enumerate(self.detectors):
            if detector.rate_hz is None and limit is None:
                raise fault(f"'{detector.name}' has no rate_hz, and there is no beam.", ("detectors", i))
            if limit is not None and self.rate_of(detector) > limit:
                rate = self.rate_of(detector)
                problem = f"the rate {rate:g} Hz is above the machine's crossing rate of {limit:g} Hz."
                raise fault(problem, ("detectors", i, "rate_hz"))
        for i, stage in enumerate(self.stages):
            for key in ("rules", "pipeline_crossings"):
                if limit is None and getattr(stage, key):
                    raise fault(f"{key} count crossings, but there is no beam.", ("stages", i, key))
        return self


def _stand_once(field: str, names: list[str], taken: Any) -> None:
    for index, name in enumerate(names):
        if name in names[:index] or name in taken:
            raise fault(f"the name '{name}' stands twice.", (field, index, "name"))


def _known(kind: str, name: str, names: list[str], at: Place) -> None:
    if name not in names:
        near = nearest_names(name, names) or sorted(names)
        raise fault(f"unknown {kind} '{name}'. Nearest: {', '.join(near) or 'there is none'}.", at)


def _cycle(stages: tuple[StageSpec, ...], done: dict[str, StageSpec]) -> list[str]:
    """Return the names of one cycle among the stages that are not done, from a stage back to itself."""
    left = {stage.name: [name for name in stage.inputs if name not in done] for stage in stages}
    walk = [next(name for name in left if name not in done)]
    while walk[-1] not in walk[:-1]:
        walk.append(left[walk[-1]][0])
    return walk[walk.index(walk[-1]) :][::-1]
