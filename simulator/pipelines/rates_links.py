"""Links in the mean: bytes with framing, energy, load of the lanes, credits, and the wait for a lane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.pipelines.rates_queues import Line
from simulator.pipelines.rates_ranges import ZERO, Range, exactly, spanning
from simulator.pipelines.rates_results import FragmentRates, LinkRates

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import LinkUse, StageSpec


def link_rates(
    name: str, link: LinkUse | None, rate_hz: Range, size_bytes: Range, *, units: int = 1, places: int | None = None
) -> LinkRates | None:  # fmt: skip
    """Return the load of a link that carries `rate_hz` events of `size_bytes`, over `units` equal links; None: no link.

    Power is energy per bit x 8 x bytes per second, framing included. An event travels on one lane of one unit.
    `places` is how many events may wait for a lane (None: no limit).
    """
    if link is None:
        return None
    wire_bytes = framed(link, size_bytes)
    throughput = rate_hz * wire_bytes
    power_w = throughput * Range.of(link.energy_per_bit_j) * 8.0
    latency_s = Range.of(link.latency_s)
    if link.bandwidth_bytes_per_s is None:
        return LinkRates(name, rate_hz, throughput, power_w, latency_s=latency_s)
    lane = lane_bytes_per_s(link)
    capacity = lane * float(link.lanes * units)
    send_s = wire_bytes / (lane * float(units))
    waits, losses = [], []
    for end in ("value", "lo", "hi"):
        line = Line(link.lanes, getattr(send_s, end), places=places)
        losses.append(line.loss(getattr(rate_hz, end)))
        waits.append(line.wait_s(getattr(rate_hz, end)))
    wait_s = None if math.isinf(waits[0]) else spanning(*waits)
    return LinkRates(
        name, rate_hz, throughput, power_w, capacity, throughput / capacity, latency_s + send_s, wait_s,
        spanning(*losses),
    )  # fmt: skip


def framed(link: LinkUse, size_bytes: Range) -> Range:
    """Return the bytes on the wire: each full or partial frame has its overhead (a mean size is not rounded up)."""
    if link.frame_bytes is None or link.overhead_bytes is None:
        return size_bytes
    return size_bytes + size_bytes * (Range.of(link.overhead_bytes) / Range.of(link.frame_bytes))


def lane_bytes_per_s(link: LinkUse) -> Range:
    """Return what one lane carries: its bandwidth, or what its credits allow over a round trip, if that is less."""
    bandwidth = Range.of(link.bandwidth_bytes_per_s)
    if link.credits is None or link.frame_bytes is None:
        return bandwidth
    frame = Range.of(link.frame_bytes)
    round_trip_s = Range.of(link.latency_s) * 2.0 + frame / bandwidth
    return bandwidth.at_most(frame * float(link.credits) / round_trip_s)


def fragment_rates(
    stage: StageSpec, link_in: LinkUse | None, rate_hz: Range, size_bytes: Range, service_s: Range
) -> FragmentRates | None:
    """Return what each link of an event builder carries: 1 / fragments of every event, packed `events_per_packet`.

    Credits are packets on their way: at most credits x events a packet in the time of one transfer, its latency and the
    service of its events (Little's law).
    """
    if stage.fragments is None:
        return None
    packed = float(stage.events_per_packet)
    part = size_bytes / float(stage.fragments)
    throughput = rate_hz * part
    utilisation = credit_limit = None
    transfer_s = ZERO
    if link_in is not None:
        throughput = rate_hz * framed(link_in, part)
        if link_in.bandwidth_bytes_per_s is not None:
            own = lane_bytes_per_s(link_in) * (link_in.lanes / stage.fragments)
            utilisation = throughput / own
            transfer_s = framed(link_in, part) * packed / own
    round_trip_s = transfer_s + (Range.of(link_in.latency_s) if link_in else ZERO) + service_s
    if stage.credits is not None and round_trip_s.value > 0:
        credit_limit = exactly(stage.credits * packed) / round_trip_s
    return FragmentRates(stage.fragments, part, rate_hz / packed, throughput, utilisation, credit_limit)
