"""One stage of a pipeline as steps of a station network: line and servers, decision, rules, latency, link.

Sizes: a pipeline states one size for each stage, so the items of a network keep the size at which they entered, and the
coefficients of a stage are scaled by (size here / size at the entry).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from foundation.errors import BadValueError
from hardware_specs.pipeline_schema import LinkUse, PipelineSpec, ServiceSpec, StageSpec, value_of
from simulator.pipelines.flows import StageFlow
from simulator.pipelines.services import ServiceTimes
from simulator.queues.crossings import rule_window_s
from simulator.queues.elements import (
    Batch,
    Delay,
    Element,
    Fork,
    Gate,
    Join,
    Outages,
    Pack,
    Route,
    Rules,
    Service,
    Station,
    Unpack,
)
from simulator.queues.laws import CONSTANT, Law

RELEVANT, OTHER = 0, 1
"""Classes of items."""
REJECTED = "rejected"
OTHER_PARTS = "other parts"
NEVER_S = 1e6
"""Longest wait of a batch that is not full, where none is stated."""
MOST_FRAGMENTS = 4_096
"""Of one event that are simulated one by one."""


@dataclass
class Step:
    """An element to be: its class and fields but the route; `shares` are those of the classes that go on."""

    kind: type[Any]
    fields: dict[str, Any]
    shares: tuple[float, float] = (1.0, 1.0)
    refused: str = REJECTED

    @property
    def name(self) -> str:
        return str(self.fields["name"])


@dataclass
class Steps:
    """The steps of one stage in order; `joins` says that several inputs meet at its first step."""

    stage: StageSpec
    found: list[Step] = field(default_factory=list)

    def add(self, kind: type[Any], suffix: str, **fields: Any) -> None:
        name = f"{self.stage.name} {suffix}".strip()
        self.found.append(Step(kind, {"name": name, **fields}))


def steps_of(
    spec: PipelineSpec, stage: StageSpec, flow: StageFlow, *, entry_bytes: float, inputs: int, link_in: LinkUse | None,
    service: ServiceTimes | None, decided: bool, last: bool, blocked: bool = False,
) -> list[Step]:  # fmt: skip
    """Return the steps of a stage.

    Args:
        flow: mean rates and sizes here. entry_bytes: size of the items of this network.
        inputs: how many stages of the window feed it. link_in: the link of the stage before, which its fragments use.
        service: the cost model's times of its service. decided: the items have passed its decision already.
        last: whether its link is not followed here (the window ends, or fragments travel on it).
        blocked: whether what comes next holds back what sends to it.

    Raises:
        BadValueError: more fragments than can be followed one by one, or a service that no one has timed.
    """
    steps = Steps(stage)
    if inputs > 1:
        steps.add(Join, "merge")
    if stage.fragments:
        _build_events(steps, stage, flow, entry_bytes, link_in)
    scale = flow.size_in_bytes / entry_bytes if entry_bytes else 1.0
    _serve(steps, stage, flow.size_in_bytes, scale, service)
    if stage.fragments and stage.credits:
        _give_back(steps, f"{stage.name} credits")
    if not decided and (flow.pass_relevant < 1 or flow.pass_other < 1):
        _decide(steps, flow)
    if stage.rules or stage.dead_time_s is not None:
        _close(steps, spec, stage)
    if stage.latency_s is not None and stage.latency_s.value > 0:
        steps.add(Delay, "latency", service=Service((stage.latency_s.value,)))
    if stage.link is not None and not last:
        _send(steps, stage, flow.size_out_bytes / entry_bytes if entry_bytes else 1.0, blocked)
    return steps.found


def has_servers(stage: StageSpec) -> bool:
    """Tell whether a stage has servers of its own."""
    return stage.service is not None


def _serve(steps: Steps, stage: StageSpec, size_bytes: float, scale: float, times: ServiceTimes | None) -> None:
    if stage.service is None:
        return
    service, batch = service_of(stage, size_bytes, scale, times)
    servers = stage.servers or max(1, len(stage.speeds))
    speeds = stage.speeds
    if stage.share_down is not None:
        left = max(1, math.floor(servers * (1 - stage.share_down.value) + 1e-9))
        servers, speeds = left, speeds[:left]
    places, places_bytes = buffer_of(stage, scale)
    steps.add(
        Station, "", service=service, servers=servers, speeds=speeds, places=places, places_bytes=places_bytes,
        when_full=stage.when_full, batch=batch, outages=outages_of(stage),
    )  # fmt: skip


def buffer_of(stage: StageSpec, scale: float) -> tuple[int | None, int | None]:
    """Return the waiting places of a stage, in events and in bytes of items at the entry."""
    if stage.buffer_bytes is None:
        return stage.places, None
    return stage.places, int(stage.buffer_bytes.value / scale) if scale else None


def outages_of(stage: StageSpec) -> Outages | None:
    """Return when the servers of a stage stop: its failures, or its duty cycle. Raises BadValueError for both."""
    if stage.failures is not None and stage.duty is not None:
        raise BadValueError(
            f"Stage '{stage.name}': failures and a duty cycle together are not simulated; leave one out."
        )
    if stage.failures is not None:
        up, down = (Law("exponential", value_of(x)) for x in (stage.failures.mtbf_s, stage.failures.mttr_s))
        return Outages(up, down, stage.failures.lost)
    if stage.duty is not None and stage.duty.on_s.value < stage.duty.period_s.value:
        on, period = stage.duty.on_s.value, stage.duty.period_s.value
        return Outages(Law("constant", on), Law("constant", period - on), "finish", together=True)
    return None


def service_of(
    stage: StageSpec, size_bytes: float, scale: float, times: ServiceTimes | None
) -> tuple[Service, Batch | None]:  # fmt: skip
    """Return the service of one event in terms of the bytes of items at the entry, and its batches.

    A batch whose law nobody stated takes as long as its events one after another.

    Raises:
        BadValueError: a workload on a device whose times nobody gave.
    """
    spec = stage.service
    assert spec is not None
    most = 1 if stage.batch is None else stage.batch.size
    polynomial: tuple[float, ...]
    if spec.workload is not None:
        if times is None:
            raise BadValueError(f"Stage '{stage.name}': no times of {spec.workload} on {spec.on} were given.")
        polynomial, by_batch = (times.time_s[0],), tuple(times.of_batch(n)[0] for n in range(1, most + 1))
    else:
        if spec.polynomial is not None:
            polynomial = tuple(c.value * scale**k for k, c in enumerate(spec.polynomial.coefficients))
            one = spec.polynomial.at(size_bytes)[0]
        else:
            polynomial, one = (value_of(spec.time_s),), value_of(spec.time_s)
        by_batch = tuple(one * n for n in range(1, most + 1))
    if stage.batch is None or most == 1:
        return Service(polynomial, spread_of(spec)), None
    wait_s = NEVER_S if stage.batch.max_wait_s is None else stage.batch.max_wait_s.value
    return Service(polynomial, spread_of(spec)), Batch(most, by_batch, wait_s)


def spread_of(spec: ServiceSpec) -> Law:
    """Return the law of a service time around its mean."""
    if spec.law in ("constant", "exponential"):
        return CONSTANT if spec.law == "constant" else Law("exponential")
    return Law(spec.law, 1.0, value_of(spec.cv))


def _decide(steps: Steps, flow: StageFlow) -> None:
    if not steps.found:
        steps.add(Delay, "decision", service=Service((0.0,)))
    steps.found[-1].shares = (flow.pass_relevant, flow.pass_other)


def _close(steps: Steps, spec: PipelineSpec, stage: StageSpec) -> None:
    crossing_hz = spec.beam.crossing_rate_hz.value if spec.beam is not None else 1.0  # rules come with a beam
    rules = tuple((rule.accepts, rule_window_s(rule.crossings, crossing_hz)) for rule in stage.rules)
    steps.add(Rules, "rules", rules=rules, dead_s=value_of(stage.dead_time_s), extendable=stage.extendable)


def _send(steps: Steps, stage: StageSpec, scale: float, blocked: bool) -> None:
    """Add the link that leaves a stage.

    Without servers the stage's buffer stands before it. With servers, what it sends waits in a line without end, unless
    the receiver can hold it back (it blocks, or the link has credits): then one event a lane waits, and the next one
    holds its server.
    """
    link, own = stage.link, not has_servers(stage)
    assert link is not None
    full = stage.when_full if own else "block"
    places, places_bytes = buffer_of(stage, scale) if own else (link.lanes if blocked or link.credits else None, None)
    if link.credits:
        steps.add(Gate, "link credits", credits=link.credits, places=places, when_full=full)
    full = "drop" if places is None and places_bytes is None else full
    if link.bandwidth_bytes_per_s is not None:
        steps.add(
            Station, "link", service=Service((0.0, scale * seconds_per_byte(link))), servers=link.lanes,
            places=places, places_bytes=places_bytes, when_full=full,
        )  # fmt: skip
    if link.latency_s is not None and link.latency_s.value > 0:
        steps.add(Delay, "link latency", service=Service((link.latency_s.value,)))
    if link.credits:
        _give_back(steps, f"{stage.name} link credits")


def seconds_per_byte(link: LinkUse) -> float:
    """Return the time of one byte on one lane, framing included (its overhead as a share of a full frame)."""
    assert link.bandwidth_bytes_per_s is not None
    overhead = value_of(link.overhead_bytes) / link.frame_bytes.value if link.frame_bytes is not None else 0.0
    return (1 + overhead) / link.bandwidth_bytes_per_s.value


def _give_back(steps: Steps, gate: str) -> None:
    """Let the last step return a credit of `gate` when an item leaves it."""
    if not steps.found or steps.found[-1].kind not in (Station, Delay) or steps.found[-1].fields.get("returns"):
        steps.add(Delay, f"{len(steps.found)}", service=Service((0.0,)))
    steps.found[-1].fields["returns"] = gate


def _build_events(
    steps: Steps, stage: StageSpec, flow: StageFlow, entry_bytes: float, link: LinkUse | None
) -> None:  # fmt: skip
    """Add an event builder: credits, packets, one link for each fragment, and the join."""
    count = stage.fragments or 1
    if count > MOST_FRAGMENTS:
        raise BadValueError(
            f"Stage '{stage.name}': {count} fragments; at most {MOST_FRAGMENTS} are followed one by one."
        )
    if stage.credits:
        steps.add(Gate, "credits", credits=stage.credits, places=stage.places, when_full=stage.when_full)
    if stage.events_per_packet > 1:
        steps.add(Pack, "pack", count=stage.events_per_packet)
    lanes = 1 if link is None else link.lanes
    per_byte = 0.0 if link is None or link.bandwidth_bytes_per_s is None else seconds_per_byte(link) * count / lanes
    part = flow.size_in_bytes / count
    time_s = part * per_byte * stage.events_per_packet
    targets = tuple(f"{stage.name} fragment {i}" for i in range(count))
    steps.add(Fork, "fragments", branches=tuple((target, entry_bytes / count) for target in targets))
    for i in range(count):
        steps.add(Station, f"fragment {i}", service=Service((time_s,)))
    steps.add(Join, "join")
    if link is not None and value_of(link.latency_s) > 0:
        steps.add(Delay, "link latency", service=Service((value_of(link.latency_s),)))
    if stage.events_per_packet > 1:
        steps.add(Unpack, "unpack")


def with_routes(steps: Mapping[str, list[Step]], nexts: Mapping[str, Route]) -> list[Element]:
    """Return the elements of all stages; `nexts` says where each stage's last step goes."""
    found: list[Element] = []
    for name, own in steps.items():
        for index, step in enumerate(own):
            if step.kind is Fork:
                found.append(Fork(**step.fields))
                continue
            follows = nexts[name] if index + 1 == len(own) else Route((_after(own, index),))
            found.append(step.kind(**step.fields, route=_split(follows, step)))
    return found


def _after(own: list[Step], index: int) -> str:
    """Return the name of the step after one; fragments all go to the join that follows them."""
    if " fragment " in own[index].name and own[index].kind is Station:
        return next(step.name for step in own[index + 1 :] if step.kind is Join)
    return own[index + 1].name


def _split(route: Route, step: Step) -> Route:
    if step.shares == (1.0, 1.0):
        return route
    rows = {kind: (share, 1 - share) for kind, share in zip((RELEVANT, OTHER), step.shares, strict=True)}
    return replace(route, targets=(*route.targets, step.refused), weights=rows)
