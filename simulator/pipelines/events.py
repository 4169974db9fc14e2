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
from simulator.queues.elements import Delay, Element, Exit, Fork, Network, Route, Service, Source, Station, to
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
    scales = _scales(window, stages, parts)
    _check_size(window, stages, rate)
    steps = _steps(spec, stages, first, flows, services, entry_bytes, accepted)
    elements = _elements(window, stages, first, steps, scales)
    source = Source(
        EVENTS, _arrivals(spec, first[0], rate, accepted, parts), to(_begin(first, steps)), (relevant, 1 - relevant),
        Law("constant", entry_bytes),
    )  # fmt: skip
    horizon_s = window.horizon_s.value
    most_servers = max((element.servers for element in elements if isinstance(element, Station)), default=1)
    network = Network((source, *elements), ticks_per_second=_tick(horizon_s, most_servers))
    return WindowNetwork(
        window.name, network, {name: tuple(s.name for s in own) for name, own in steps.items()}, rate, entry_bytes,
        scales, accepted, horizon_s,
        0.0 if window.warm_up_s is None else window.warm_up_s.value, window.samples,
    )  # fmt: skip


def _begins_accepted(
    spec: PipelineSpec, window: WindowSpec, first: tuple[StageSpec, ...], flows: Mapping[str, StageFlow]
) -> bool:  # fmt: skip
    rate = max(flows[stage.name].rate_in_hz / stage.parts for stage in first)
    if rate <= MOST_HZ:
        return False
    entry, flow = first[0], flows[first[0].name]
    accepted_hz = flow.accepted_hz / entry.parts
    # where events wait for servers before they are decided on, the rejected ones wait too
    if len(first) > 1 or entry.service is not None or accepted_hz > MOST_HZ or flow.accepted_hz >= flow.rate_in_hz:
        names = ", ".join(stage.name for stage in first)
        raise BadValueError(
            f"The window '{window.name}' begins with {rate:g} events a second at {names}: above {MOST_HZ:g} events are "
            "not simulated one by one. Begin it at a stage that decides, or after it (its `stages`), or let the stage "
            "be several equal `parts`."
        )
    return True


def _scales(
    window: WindowSpec, stages: tuple[StageSpec, ...], parts: Mapping[str, int]
) -> dict[str, float]:  # fmt: skip
    """Return, by stage, how many equal parts there are for the one that is simulated.

    A stage behind parts has as many parts of its own (each with its own successor), or nothing that depends on rates.

    Raises:
        BadValueError: a stage behind parts would see the events of one of them alone.
    """
    names, found = {stage.name for stage in stages}, dict[str, float]()
    for stage in stages:
        inside = [name for name in stage.inputs if name in names]
        before = max((found[name] for name in inside), default=1.0)
        own = parts.get(stage.name, 1)
        if before > 1 and own != before and _depends_on_rates(stage):
            raise BadValueError(
                f"The window '{window.name}' follows one of {before:g} parts of '{inside[0]}', so '{stage.name}' "
                f"behind it would see the events of that part alone. End the window before '{stage.name}' and simulate "
                "that in another (`events`), or give it as many parts."
            )
        found[stage.name] = before if own == before else before * own
    return found


def _depends_on_rates(stage: StageSpec) -> bool:
    link = stage.link is not None and stage.link.bandwidth_bytes_per_s is not None
    closed = bool(stage.rules) or stage.dead_time_s is not None
    return stage.service is not None or closed or bool(stage.fragments) or link or stage.events_per_packet > 1


def _check_size(window: WindowSpec, stages: tuple[StageSpec, ...], rate: float) -> None:
    horizon_s = window.horizon_s.value
    events = rate * horizon_s
    if events > MOST_EVENTS:
        fits = MOST_EVENTS / rate
        raise BadValueError(
            f"The window '{window.name}' would simulate {events:.3g} events; at most {MOST_EVENTS:g} are. "
            f"Shorten its horizon to {fits:.3g} s or simulate one of several parts (`parts`)."
        )
    for stage in stages:
        switches = 0.0
        if stage.duty is not None:
            switches = 2 * horizon_s / stage.duty.period_s.value
        elif stage.failures is not None:
            cycle_s = stage.failures.mtbf_s.value + stage.failures.mttr_s.value
            switches = 2 * horizon_s / cycle_s * (stage.servers or 1)
        if switches > MOST_EVENTS:
            raise BadValueError(
                f"The servers of '{stage.name}' would stop and go on {switches:.3g} times in the window "
                f"'{window.name}'; at most {MOST_EVENTS:g} times are simulated."
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
        blocked = any(other.when_full == "block" for other in after[stage.name])
        own = steps_of(
            spec, stage, flows[stage.name], entry_bytes=entry_bytes, inputs=len(inside) if inputs > 1 else 1,
            link_in=link_in, service=services.get(stage.name), decided=accepted and stage in first,
            last=not after[stage.name] or bool(builders), blocked=blocked,
        )  # fmt: skip
        # a stage without a line, decision, rules, latency or link still is a place to go to
        found[stage.name] = own or [Step(Delay, {"name": f"{stage.name} pass", "service": Service((0.0,))})]
    return found


def _elements(
    window: WindowSpec, stages: tuple[StageSpec, ...], first: tuple[StageSpec, ...], steps: dict[str, list[Step]],
    scales: Mapping[str, float],
) -> list[Element]:  # fmt: skip
    """Join the stages: forks where a stage feeds several, and every n-th item to the simulated part."""
    after = followers(stages)
    ends = [stage.name for stage in stages if not after[stage.name]]
    splits = [stage.name for stage in stages if len(after[stage.name]) > 1] + (
        ["its beginning"] if len(first) > 1 else []
    )
    if splits and len(ends) > 1:
        raise BadValueError(
            f"The branches of the window '{window.name}' that part at {splits[0]} end apart, at {' and '.join(ends)}: "
            "events are followed along branches that meet again. Give each branch a window of its own (`events`)."
        )
    begins = {name: own[0].name for name, own in steps.items()}
    forks: list[Element] = []
    nexts: dict[str, Route] = {}
    for stage in stages:
        targets = [(begins[other.name], round(scales[other.name] / scales[stage.name])) for other in after[stage.name]]
        if len(targets) > 1:
            forks.append(Fork(f"{stage.name} copies", tuple((name, None) for name, _ in targets)))
            nexts[stage.name] = to(f"{stage.name} copies")
        elif targets:
            name, turns = targets[0]
            nexts[stage.name] = to(name) if turns == 1 else _in_turn(name, turns)
            if nexts[stage.name].how == "cycle" and steps[stage.name][-1].shares != (1.0, 1.0):
                # those that pass the decision take turns, not those before it
                steps[stage.name].append(Step(Delay, {"name": f"{stage.name} turns", "service": Service((0.0,))}))
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


def _tick(horizon_s: float, servers: int) -> int:
    """Return ticks a second: picoseconds where sums over 10^5 items or all servers stay in 64 bits, else coarser."""
    ticks, many = 10**12, max(10**5, 2 * servers)
    while horizon_s * ticks > LONGEST_TICKS / many and ticks > 10**6:
        ticks //= 1000
    return ticks
