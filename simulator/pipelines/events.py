"""A window of a pipeline as a station network: where its events come from, its stages, and where they end.

A window begins at its first stages. Where these are fed faster than `MOST_HZ` and decide, the window begins with the
events that they accept: what happens to each of forty million crossings a second is never simulated (DESIGN: above
10^6 items a second simulate the accepted ones). With a beam, such events come in its filled crossings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from hardware_specs.pipeline_schema import PipelineSpec, StageSpec, WindowSpec
from simulator.pipelines.flows import StageFlow, entries, followers, window_stages
from simulator.pipelines.services import ServiceTimes
from simulator.pipelines.steps import OTHER_PARTS, REJECTED, Step, steps_of, with_routes
from simulator.queues.arrivals import Arrivals, Renewal, poisson
from simulator.queues.crossings import crossings_at
from simulator.queues.elements import Delay, Element, Exit, Fork, Network, Route, Service, Source, to
from simulator.queues.fill_patterns import from_mask
from simulator.queues.laws import Law

MOST_HZ = 2e6
"""Items a second that a window may begin with; above, the stage must decide."""
MOST_EVENTS = 20_000_000
DONE = "out"
EVENTS = "events"
MOST_TURNS = 10_000
"""Parts that take items in turn; of more, the one that is simulated takes a random share."""
LONGEST_TICKS = 4.6e18
"""Half of what 64 bits count."""


@dataclass(frozen=True)
class WindowNetwork:
    """A window as a network, and what its items stand for.

    `steps` are the names of the elements of each stage, in order. `scales` says by stage how many equal parts there are
    for each one that is simulated. `entry_hz` is the rate at the entry of the network.
    """

    name: str
    network: Network
    steps: Mapping[str, tuple[str, ...]]
    entry_hz: float
    entry_bytes: float
    scales: Mapping[str, float]
    begins_accepted: bool
    horizon_s: float
    warm_up_s: float
    samples: int


def window_network(
    spec: PipelineSpec, window: WindowSpec, flows: Mapping[str, StageFlow], services: Mapping[str, ServiceTimes]
) -> WindowNetwork:  # fmt: skip
    """Return the network of one window.

    Raises:
        BadValueError: a rate that is never simulated event by event, a run that would take too long, or branches that
            do not meet again.
    """
    stages = window_stages(spec, window)
    first = entries(stages)
    accepted = _begins_accepted(spec, window, first, flows)
    entry = flows[first[0].name]
    rate = entry.accepted_hz if accepted else entry.rate_in_hz
    relevant = entry.relevant_share_out if accepted else entry.relevant_share_in
    entry_bytes = max(1.0, math.floor(sum(flows[s.name].size_in_bytes for s in first) + 0.5))
    parts = {stage.name: stage.parts for stage in stages if stage.parts > 1}
    rate /= parts.get(first[0].name, 1)
    _check_size(window, rate)
    steps = _steps(spec, stages, first, flows, services, entry_bytes, accepted)
    elements = _elements(stages, first, steps, parts)
    source = Source(
        EVENTS, _arrivals(spec, first[0], rate, accepted, parts), to(_begin(first, steps)), (relevant, 1 - relevant),
        Law("constant", entry_bytes),
    )  # fmt: skip
    horizon_s = window.horizon_s.value
    network = Network((source, *elements), ticks_per_second=_tick(horizon_s))
    return WindowNetwork(
        window.name, network, {name: tuple(s.name for s in own) for name, own in steps.items()}, rate, entry_bytes,
        _scales(stages, parts), accepted, horizon_s,
        0.0 if window.warm_up_s is None else window.warm_up_s.value, window.samples,
    )  # fmt: skip


def _begins_accepted(
    spec: PipelineSpec, window: WindowSpec, first: tuple[StageSpec, ...], flows: Mapping[str, StageFlow]
) -> bool:  # fmt: skip
    rate = max(flows[stage.name].rate_in_hz for stage in first)
    if rate <= MOST_HZ:
        return False
    entry = first[0]
    if len(first) > 1 or flows[entry.name].accepted_hz > MOST_HZ or flows[entry.name].accepted_hz >= rate:
        names = ", ".join(stage.name for stage in first)
        raise BadValueError(
            f"The window '{window.name}' begins with {rate:g} events a second at {names}: above {MOST_HZ:g} events are "
            f"not simulated one by one. Begin it at a stage that decides, or after it (its `stages`)."
        )
    return True


def _scales(stages: tuple[StageSpec, ...], parts: Mapping[str, int]) -> dict[str, float]:
    """Return, by stage, the product of the parts on the way to it, its own included."""
    names, found = {stage.name for stage in stages}, dict[str, float]()
    for stage in stages:
        before = max((found[name] for name in stage.inputs if name in names), default=1.0)
        found[stage.name] = before * parts.get(stage.name, 1)
    return found


def _check_size(window: WindowSpec, rate: float) -> None:
    events = rate * window.horizon_s.value
    if events > MOST_EVENTS:
        fits = MOST_EVENTS / rate
        raise BadValueError(
            f"The window '{window.name}' would simulate {events:.3g} events; at most {MOST_EVENTS:g} are. "
            f"Shorten its horizon to {fits:.3g} s or simulate one of several parts (`parts`)."
        )


def _steps(
    spec: PipelineSpec, stages: tuple[StageSpec, ...], first: tuple[StageSpec, ...], flows: Mapping[str, StageFlow],
    services: Mapping[str, ServiceTimes], entry_bytes: float, accepted: bool,
) -> dict[str, list[Step]]:  # fmt: skip
    names, after = {stage.name for stage in stages}, followers(stages)
    found: dict[str, list[Step]] = {}
    for stage in stages:
        inside = [name for name in stage.inputs if name in names]
        link_in = next((spec.stage(name).link for name in stage.inputs if spec.stage(name).link is not None), None)
        inputs = len(inside) or (len(first) if len(first) > 1 and stage in first else 1)
        builders = [other for other in after[stage.name] if other.fragments]
        own = steps_of(
            spec, stage, flows[stage.name], entry_bytes=entry_bytes, inputs=len(inside) if inputs > 1 else 1,
            link_in=link_in, service=services.get(stage.name), decided=accepted and stage in first,
            last=not after[stage.name] or bool(builders),
        )  # fmt: skip
        # a stage without a line, decision, rules, latency or link still is a place to go to
        found[stage.name] = own or [Step(Delay, {"name": f"{stage.name} pass", "service": Service((0.0,))})]
    return found


def _elements(
    stages: tuple[StageSpec, ...], first: tuple[StageSpec, ...], steps: dict[str, list[Step]], parts: dict[str, int]
) -> list[Element]:  # fmt: skip
    """Join the stages: forks where a stage feeds several, and a share of the items to the simulated part."""
    after = followers(stages)
    begins = {name: own[0].name for name, own in steps.items()}
    forks: list[Element] = []
    nexts: dict[str, Route] = {}
    for stage in stages:
        targets = [(begins[other.name], 1 / parts.get(other.name, 1)) for other in after[stage.name]]
        if len(targets) > 1:
            forks.append(Fork(f"{stage.name} copies", tuple((name, None) for name, _ in targets)))
            nexts[stage.name] = to(f"{stage.name} copies")
        elif targets:
            name, share = targets[0]
            nexts[stage.name] = to(name) if share == 1 else _in_turn(name, round(1 / share))
        else:
            nexts[stage.name] = to(DONE)
    if len(first) > 1:
        forks.append(Fork("entry", tuple((begins[stage.name], None) for stage in first)))
    exits: list[Element] = [Exit(DONE), Exit(REJECTED), Exit(OTHER_PARTS)]
    return [*forks, *with_routes(steps, nexts), *exits]


def _in_turn(name: str, parts: int) -> Route:
    """Return the route of which every `parts`-th item goes to the part that is simulated."""
    if parts > MOST_TURNS:
        return Route((name, OTHER_PARTS), (1 / parts, 1 - 1 / parts))
    return Route((name, *(OTHER_PARTS,) * (parts - 1)), how="cycle")


def _begin(first: tuple[StageSpec, ...], steps: Mapping[str, list[Step]]) -> str:
    return "entry" if len(first) > 1 else steps[first[0].name][0].name


def _arrivals(
    spec: PipelineSpec, first: StageSpec, rate: float, accepted: bool, parts: Mapping[str, int]
) -> Arrivals:  # fmt: skip
    """Return when events come: in filled crossings with a beam, else as Poisson; every n-th for one of n parts."""
    share = parts.get(first.name, 1)
    if share > 1:
        return Renewal(Law("gamma", 1 / rate, 1 / math.sqrt(share)))
    if spec.beam is not None and accepted:
        return crossings_at(rate, spec.beam.crossing_rate_hz.value, from_mask(np.asarray(spec.beam.pattern())))
    return poisson(rate)


def _tick(horizon_s: float) -> int:
    """Return ticks a second: picoseconds where sums over 10^5 items stay in 64 bits, else coarser by thousands."""
    ticks = 10**12
    while horizon_s * ticks > LONGEST_TICKS / 1e5 and ticks > 10**6:
        ticks //= 1000
    return ticks
