"""What mean rates answer: stages, links, the whole pipeline. Names end in their unit; ranges become JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.pipelines.classifiers import Selection
from simulator.pipelines.rates_ranges import ZERO, Range, finite, total

CAUSES = ("full", "failure", "rule", "dead_time")
"""Why events are lost: no place to wait, a server failed, a trigger rule, dead time."""


@dataclass(frozen=True, slots=True)
class LinkRates:
    """Load of a link: bytes with framing, against the bandwidth of all lanes or what its credits allow.

    `rate_hz` and `utilisation` are of what is offered; `carried_hz`, bytes and power of what gets through.
    """

    name: str
    rate_hz: Range
    throughput_bytes_per_s: Range
    power_w: Range
    capacity_bytes_per_s: Range | None = None
    utilisation: Range | None = None
    latency_s: Range = ZERO
    wait_s: Range | None = ZERO
    loss: Range = ZERO
    carried_hz: Range = ZERO

    @property
    def unstable(self) -> bool:
        """Whether more is sent than the link can carry."""
        return self.utilisation is not None and self.utilisation.value >= 1

    def to_json(self) -> dict[str, Any]:
        """Return the link as JSON has it."""
        return {
            "name": self.name,
            "rate_hz": self.rate_hz.json(),
            "throughput_bytes_per_s": self.throughput_bytes_per_s.json(),
            "capacity_bytes_per_s": _json(self.capacity_bytes_per_s),
            "utilisation": _json(self.utilisation),
            "unstable": self.unstable,
            "latency_s": self.latency_s.json(),
            "wait_s": None if self.unstable else _json(self.wait_s),
            "power_w": self.power_w.json(),
        }


@dataclass(frozen=True, slots=True)
class FragmentRates:
    """Event building: what each of the links that bring fragments carries."""

    fragments: int
    size_bytes: Range
    packet_rate_hz: Range
    throughput_bytes_per_s: Range
    utilisation: Range | None
    credit_limit_hz: Range | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "fragments": self.fragments,
            "size_bytes": self.size_bytes.json(),
            "packet_rate_hz": self.packet_rate_hz.json(),
            "throughput_bytes_per_s": self.throughput_bytes_per_s.json(),
            "utilisation": _json(self.utilisation),
            "credit_limit_hz": _json(self.credit_limit_hz),
        }


@dataclass(frozen=True, slots=True)
class Servers:
    """Servers of one part of a stage: how many, how many are up, how many it takes, and how busy they are."""

    count: int
    up: float
    needed: int
    parts: int
    service_s: Range
    utilisation: Range
    batch: float = 1.0
    wait_share: float = 0.0
    overload_share: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "servers": self.count,
            "servers_up": self.up,
            "servers_needed": self.needed,
            "parts": self.parts,
            "service_s": self.service_s.json(),
            "mean_batch": self.batch,
            "share_that_waits": self.wait_share,
            "share_of_time_overloaded": self.overload_share,
        }


@dataclass(frozen=True, slots=True)
class StageRates:
    """Means of one stage. Rates are of the whole stage; `losses` are shares of `rate_in_hz` by cause.

    rate_in_hz = rate_out_hz + rejected_hz + the losses + backlog_hz (what piles up where a stage is unstable).
    """

    name: str
    kind: str
    rate_in_hz: Range
    rate_out_hz: Range
    size_in_bytes: Range
    size_out_bytes: Range
    rejected_hz: Range
    losses: Mapping[str, Range]
    selection: Selection | None
    relevant_in_hz: float
    relevant_out_hz: float
    latency_s: Range
    wait_s: Range | None
    memory_bytes: Range
    buffer_needed_bytes: Range
    power_w: Mapping[str, Range]
    price_usd: Range
    servers: Servers | None = None
    link: LinkRates | None = None
    fragments: FragmentRates | None = None
    backlog_hz: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def utilisation(self) -> Range | None:
        """Load offered to each server; None where the stage has none."""
        return None if self.servers is None else self.servers.utilisation

    @property
    def unstable(self) -> bool:
        """Whether more is offered than can be served: then there is no mean wait."""
        return self.utilisation is not None and self.utilisation.value >= 1

    @property
    def dead_time_share(self) -> Range:
        """Share of the accepted triggers that dead time and trigger rules cost."""
        passed = self.rate_out_hz if self.link is None else self.link.rate_hz
        before = passed.value + self.rate_in_hz.value * (self.losses["rule"] + self.losses["dead_time"]).value
        lost = (self.losses["rule"] + self.losses["dead_time"]) * self.rate_in_hz.value
        return lost / before if before else ZERO

    @property
    def throughput_bytes_per_s(self) -> Range:
        """Bytes that leave in a second."""
        return self.rate_out_hz * self.size_out_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the stage as JSON has it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rate_in_hz": self.rate_in_hz.json(),
            "rate_out_hz": self.rate_out_hz.json(),
            "rejected_hz": self.rejected_hz.json(),
            "size_in_bytes": self.size_in_bytes.json(),
            "size_out_bytes": self.size_out_bytes.json(),
            "throughput_bytes_per_s": self.throughput_bytes_per_s.json(),
            "utilisation": _json(self.utilisation),
            "unstable": self.unstable,
            "backlog_hz": self.backlog_hz,
            "loss": {cause: share.json() for cause, share in self.losses.items()},
            "dead_time_share": self.dead_time_share.json(),
            "relevant_in_hz": self.relevant_in_hz,
            "relevant_out_hz": self.relevant_out_hz,
            "classifier": _selection_json(self.selection),
            "latency_s": None if self.unstable else self.latency_s.json(),
            "wait_s": None if self.unstable else _json(self.wait_s),
            "memory_bytes": self.memory_bytes.json(),
            "buffer_needed_bytes": self.buffer_needed_bytes.json(),
            "power_w": {part: power.json() for part, power in self.power_w.items()},
            "price_usd": self.price_usd.json(),
            **({} if self.servers is None else self.servers.to_json()),
            "link": None if self.link is None else self.link.to_json(),
            "event_building": None if self.fragments is None else self.fragments.to_json(),
            "faults": list(self.faults),
        }


@dataclass(frozen=True, slots=True)
class Yield:
    """Physics: what share of what is kept is relevant, of what is relevant is kept, and per joule."""

    precision: Range
    recall: Range
    f1: Range
    relevant_rate_hz: Range
    relevant_per_joule: Range


@dataclass(frozen=True, slots=True)
class PipelineRates:
    """Mean rates of a pipeline. `power_w` is after technology scaling, `unscaled_power_w` before.

    `relevant_per_joule` is F1 x output rate / power, as the published study has it. `physics` is None where no stage
    tells relevant events from others. Without any figure of power or price the sum is 0 and not known (JSON: null).
    """

    id: str
    stages: tuple[StageRates, ...]
    links: tuple[LinkRates, ...]
    rate_in_hz: Range
    rate_out_hz: Range
    throughput_bytes_per_s: Range
    latency_s: Range | None
    power_w: Range
    unscaled_power_w: Range
    scaling: Range
    price_usd: Range
    memory_bytes: Range
    physics: Yield | None
    warnings: tuple[str, ...] = ()
    detector_power_w: Range = field(default=ZERO)
    power_known: bool = True
    price_known: bool = True

    def stage(self, name: str) -> StageRates:
        """Return a stage by its name. Raises KeyError."""
        return {stage.name: stage for stage in self.stages}[name]

    @property
    def unstable(self) -> tuple[str, ...]:
        """Names of stages and links that are offered more than they can serve."""
        stages = [stage.name for stage in self.stages if stage.unstable]
        return (*stages, *(link.name for link in self.links if link.unstable))

    @property
    def power_by_part_w(self) -> dict[str, Range]:
        """Power before scaling by part: link, operations, idle and busy servers, energy of services, detectors."""
        parts: dict[str, list[Range]] = {"link": [link.power_w for link in self.links]}
        for stage in self.stages:
            for part, power in stage.power_w.items():
                parts.setdefault(part, []).append(power)
        return {**{part: total(powers) for part, powers in parts.items()}, "detectors": self.detector_power_w}

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON has it; uncertain quantities are {"value", "lo", "hi"}."""
        physics = self.physics
        return {
            "id": self.id,
            "power_w": self.power_w.json() if self.power_known else None,
            "unscaled_power_w": self.unscaled_power_w.json() if self.power_known else None,
            "technology_factor": self.scaling.json(),
            "power_by_part_w": {part: power.json() for part, power in self.power_by_part_w.items()},
            "rate_in_hz": self.rate_in_hz.json(),
            "rate_out_hz": self.rate_out_hz.json(),
            "throughput_bytes_per_s": self.throughput_bytes_per_s.json(),
            "latency_s": _json(self.latency_s),
            "precision": None if physics is None else physics.precision.json(),
            "recall": None if physics is None else physics.recall.json(),
            "f1": None if physics is None else physics.f1.json(),
            "relevant_rate_hz": None if physics is None else physics.relevant_rate_hz.json(),
            "relevant_per_joule": None if physics is None else physics.relevant_per_joule.json(),
            "price_usd": self.price_usd.json() if self.price_known else None,
            "memory_bytes": self.memory_bytes.json(),
            "unstable": list(self.unstable),
            "warnings": list(self.warnings),
            "stages": [stage.to_json() for stage in self.stages],
            "links": [link.to_json() for link in self.links],
        }


def _json(value: Range | None) -> dict[str, float | None] | None:
    return None if value is None else value.json()


def _selection_json(selection: Selection | None) -> dict[str, Any] | None:
    if selection is None:
        return None
    return {
        "requested_reduction": finite(selection.requested),
        "achieved_reduction": finite(selection.reduction),
        "threshold": finite(selection.threshold),
        "tie_pass_share": selection.tie_pass,
        "matrix": [list(row) for row in selection.matrix],
    }
