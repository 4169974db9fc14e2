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
    name: str, link: LinkUse | None, rate_hz: Range, size_bytes: Range, *, units: int = 1, places: int | None = None,
    packed: int | None = None,
) -> LinkRates | None:  # fmt: skip
    """Return the load of a link that carries `rate_hz` events of `size_bytes`, over `units` equal links; None: no link.

    Power is energy per bit x 8 x bytes per second that are carried, framing included. An event travels on one lane of
    one unit. Credits count for all lanes together; where they are less than the lanes, a lane waits as if it were
    slower.

    Args:
        places: how many events may wait for a lane (None: no limit).
        packed: events a packet, where an event builder follows: then all lanes carry a part of each packet at once.
    """
    if link is None:
        return None
    wire_bytes = framed(link, size_bytes)
    power_of = Range.of(link.energy_per_bit_j) * 8.0
    latency_s = Range.of(link.latency_s)
    if link.bandwidth_bytes_per_s is None:
        sent = rate_hz * wire_bytes
        return LinkRates(name, rate_hz, sent, sent * power_of, latency_s=latency_s, carried_hz=rate_hz)
    capacity = capacity_bytes_per_s(link) * float(units)
    lanes, at_once, cv2 = (link.lanes, 1.0, 1.0) if packed is None else (1, float(packed), 1 / packed)
    own_bytes = wire_bytes * at_once
    send_s = own_bytes / (Range.of(link.bandwidth_bytes_per_s) * (link.lanes / lanes * units))
    taken_s = own_bytes / capacity * float(lanes)
    waits, losses = [], []
    for end in ("value", "lo", "hi"):
        line = Line(lanes, getattr(taken_s, end), places=places if packed is None else None, arrival_cv2=cv2)
        own_hz = getattr(rate_hz, end) / at_once
        losses.append(line.loss(own_hz))
        waits.append(line.wait_s(own_hz) if line.load(own_hz) < 1 else math.inf)
    wait_s = None if math.isinf(waits[0]) else spanning(*waits)
    loss = spanning(*losses)
    carried_hz = (rate_hz * loss.rest()).at_most(capacity / wire_bytes) if wire_bytes.value > 0 else rate_hz
    sent = carried_hz * wire_bytes
    return LinkRates(
        name, rate_hz, sent, sent * power_of, capacity, rate_hz * wire_bytes / capacity, latency_s + send_s, wait_s,
        loss, carried_hz,
    )  # fmt: skip


def framed(link: LinkUse, size_bytes: Range) -> Range:
    """Return the bytes on the wire: each full or partial frame has its overhead (a mean size is not rounded up)."""
    if link.frame_bytes is None or link.overhead_bytes is None:
        return size_bytes
    return size_bytes + size_bytes * (Range.of(link.overhead_bytes) / Range.of(link.frame_bytes))


def capacity_bytes_per_s(link: LinkUse) -> Range:
    """Return what all lanes carry: their bandwidth, or what the link's credits allow in a round trip, if less."""
    bandwidth = Range.of(link.bandwidth_bytes_per_s)
    together = bandwidth * float(link.lanes)
    if link.credits is None or link.frame_bytes is None:
        return together
    frame = Range.of(link.frame_bytes)
    round_trip_s = Range.of(link.latency_s) * 2.0 + frame / bandwidth
    return together.at_most(frame * float(link.credits) / round_trip_s)


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
            own = capacity_bytes_per_s(link_in) / float(stage.fragments)
            utilisation = throughput / own
            transfer_s = framed(link_in, part) * packed / own
    round_trip_s = transfer_s + (Range.of(link_in.latency_s) if link_in else ZERO) + service_s
    if stage.credits is not None and round_trip_s.value > 0:
        credit_limit = exactly(stage.credits * packed) / round_trip_s
    return FragmentRates(stage.fragments, part, rate_hz / packed, throughput, utilisation, credit_limit)
