"""One stage in the mean: its line, decision, rules, dead time and link, in the order in which events meet them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.pipelines.physics_yield import Truth, passed, select
from simulator.pipelines.power import stage_power_w
from simulator.pipelines.rates_links import fragment_rates, link_rates
from simulator.pipelines.rates_ranges import ONE, ZERO, Range, exactly, spanning
from simulator.pipelines.rates_results import LinkRates, StageRates
from simulator.pipelines.rates_rules import refused_share
from simulator.pipelines.rates_servers import at_ends, serve
from simulator.queues.closed_dead_time import live_share

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import LinkUse, PipelineSpec, StageSpec
    from simulator.pipelines.services import ServiceTimes


@dataclass(frozen=True)
class Flow:
    """Events between two places: rate, size, age since the crossing, truth by end of the ranges, and share not lost."""

    rate_hz: Range
    size_bytes: Range
    age_s: Range
    truths: Mapping[int, Truth]
    survived: Range = ONE


def stage_rates(
    spec: PipelineSpec, stage: StageSpec, inflow: Flow, times: ServiceTimes | None, link_in: LinkUse | None,
    as_published: bool,
) -> tuple[StageRates, Flow]:  # fmt: skip
    """Return the means of a stage and what leaves it (its link's latency and losses included).

    Args:
        inflow: what comes, own bytes included. times: of its workload, from the cost model. link_in: the link that
            brings its fragments.
    """
    served = serve(stage, inflow.rate_hz, inflow.size_bytes, times)
    kept = served.full.rest() * served.failure.rest()
    accepted = inflow.rate_hz * kept
    backlog_hz, taken = max(0.0, accepted.value - served.capacity_hz), ONE
    if backlog_hz:
        taken = _share_below(served.capacity_hz, accepted)
        accepted = accepted.at_most(exactly(served.capacity_hz))
    selections = {end: select(stage, truth, end, as_published=as_published) for end, truth in inflow.truths.items()}
    passing = ONE if selections[0] is None else _pass_share(stage, selections[0].reduction)
    chosen = accepted * passing
    refused = _refused(spec, stage, chosen)
    allowed = chosen * refused.rest()
    dead = _dead(stage, allowed)
    leaving = allowed * dead.rest()
    size_out = inflow.size_bytes * (Range.of(stage.compression).rest() if stage.compression is not None else ONE)
    own_line = stage.service is None and stage.when_full == "drop"
    link = link_rates(
        f"{stage.name} link", stage.link, leaving, size_out, places=stage.places if own_line else None,
        packed=_packed(spec, stage),
    )  # fmt: skip
    # shares of what comes, each a product of shares: a quotient of two rates would take their ranges as independent
    before = kept * taken * passing
    full, sent = served.full, ONE
    if link is not None:
        sent = link.loss.rest()
        if stage.service is None:
            full = before * refused.rest() * dead.rest() * link.loss
        if link.unstable and not link.loss.value:
            sent = _share_below(link.carried_hz.value, leaving)
            backlog_hz += leaving.value - link.carried_hz.value
        leaving = link.carried_hz
    losses = {
        "full": full,
        "failure": served.full.rest() * served.failure,
        "rule": before * refused,
        "dead_time": before * refused.rest() * dead,
    }
    latency_s = Range.of(stage.latency_s) + served.time_s + (served.wait_s or ZERO) + _packing_s(stage, accepted)
    found = StageRates(
        stage.name, stage.kind, inflow.rate_hz, leaving, inflow.size_bytes, size_out, _difference(accepted, chosen),
        losses, selections[0], inflow.truths[0].relevant_share * inflow.rate_hz.value,
        passed(inflow.truths[0], selections[0]).relevant_share * leaving.value, latency_s, served.wait_s,
        served.memory_bytes + _pipeline_bytes(stage, inflow.size_bytes), served.buffer_needed_bytes,
        stage_power_w(stage, inflow.size_bytes, accepted, served.servers, times),
        Range.of(stage.price_usd) * float(stage.parts * (served.servers.count if served.servers else 1)),
        served.servers, link, fragment_rates(stage, link_in, accepted, inflow.size_bytes, served.time_s), backlog_hz,
    )  # fmt: skip
    survived = inflow.survived * kept * taken * refused.rest() * dead.rest() * sent
    truths = {end: passed(truth, selections[end]) for end, truth in inflow.truths.items()}
    return found, Flow(leaving, size_out, inflow.age_s + latency_s + _link_age_s(link), truths, survived)


def _share_below(limit: float, rate: Range) -> Range:
    """Return the share of a rate that a limit lets through."""
    return Range(*(min(1.0, limit / each) if each > 0 else 1.0 for each in (rate.value, rate.hi, rate.lo)))


def _packed(spec: PipelineSpec, stage: StageSpec) -> int | None:
    """Return the events a packet of the event builder that the link of a stage feeds; None where there is none."""
    for other in spec.stages:
        if other.fragments and stage.name in other.inputs:
            return other.events_per_packet
    return None


def _packing_s(stage: StageSpec, rate_hz: Range) -> Range:
    """Return the mean time that an event waits until its packet is full: (n - 1) / 2 gaps."""
    if stage.events_per_packet <= 1 or rate_hz.value <= 0:
        return ZERO
    return exactly((stage.events_per_packet - 1) / 2) / rate_hz


def _pass_share(stage: StageSpec, reduction: float) -> Range:
    """Return the share that a decision passes; its range is that of the reduction asked for."""
    if stage.reduction is None:
        return exactly(1 / reduction)
    return Range(1 / reduction, min(1 / reduction, 1 / stage.reduction.hi), max(1 / reduction, 1 / stage.reduction.lo))


def _refused(spec: PipelineSpec, stage: StageSpec, trigger_hz: Range) -> Range:
    """Return the share of triggers that the stage's rules refuse."""
    if not stage.rules or spec.beam is None:
        return ZERO
    crossing_hz, mask = spec.beam.crossing_rate_hz.value, spec.beam.pattern()
    rules = tuple((rule.accepts, rule.crossings) for rule in stage.rules)
    return at_ends(lambda rate_hz, _: refused_share(rate_hz, crossing_hz, rules, mask), trigger_hz, ZERO)


def _dead(stage: StageSpec, trigger_hz: Range) -> Range:
    """Return the share of events that fall into dead time."""
    if stage.dead_time_s is None:
        return ZERO
    dead_s = Range.of(stage.dead_time_s)
    return at_ends(lambda rate_hz, each_s: 1 - live_share(rate_hz, each_s, stage.extendable), trigger_hz, dead_s)


def _difference(more: Range, less: Range) -> Range:
    return spanning(more.value - less.value, max(0.0, more.lo - less.lo), max(0.0, more.hi - less.hi))


def _pipeline_bytes(stage: StageSpec, size_bytes: Range) -> Range:
    return ZERO if stage.pipeline_crossings is None else size_bytes * float(stage.pipeline_crossings)


def _link_age_s(link: LinkRates | None) -> Range:
    return ZERO if link is None else link.latency_s + (link.wait_s or ZERO)
