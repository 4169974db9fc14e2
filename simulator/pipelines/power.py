"""Power of a stage and of detectors: operations, services, and servers that idle or work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.pipelines.rates_ranges import ONE, ZERO, Range

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import DetectorSpec, StageSpec
    from simulator.pipelines.rates_results import Servers
    from simulator.pipelines.services import ServiceTimes


def operations_of(stage: StageSpec, size_bytes: Range) -> Range:
    """Return the operations of one event: the stage's polynomial of its bytes, times its factor."""
    if stage.operations is None:
        return ZERO
    value = stage.operations.at(size_bytes.value)[0]
    lo, hi = stage.operations.at(size_bytes.lo)[1], stage.operations.at(size_bytes.hi)[2]
    return Range(value, lo, hi) * Range.of(stage.operations_factor, 1.0)


def stage_power_w(
    stage: StageSpec, size_bytes: Range, served_hz: Range, servers: Servers | None, times: ServiceTimes | None
) -> dict[str, Range]:
    """Return the power of a stage by part, without its link, in the technology of its figures.

    Args:
        served_hz: events a second that are worked on. times: of its service, where the cost model gave them.

    operations: energy per operation x operations x rate. services: energy per event x rate. servers_idle: of servers
    that are up. servers_busy: what they take more while they work (all the time where no service says how much).
    """
    powers = {
        "operations": Range.of(stage.energy_per_operation_j) * operations_of(stage, size_bytes) * served_hz,
        "services": (Range.of(stage.energy_per_event_j) + _energy_of(times)) * served_hz,
    }
    if stage.idle_power_w is None and stage.busy_power_w is None:
        return powers
    up = float((stage.servers or 1) * stage.parts) if servers is None else servers.up * servers.parts
    busy = ONE if servers is None else servers.utilisation.at_most(ONE)
    idle_w, busy_w = Range.of(stage.idle_power_w), Range.of(stage.busy_power_w or stage.idle_power_w)
    powers["servers_idle"], powers["servers_busy"] = (part * up for part in _idle_and_more(idle_w, busy_w, busy))
    return powers


def _idle_and_more(idle_w: Range, busy_w: Range, busy: Range) -> tuple[Range, Range]:
    """Return the idle power of a server and what work adds; together their ends are idle + (busy - idle) x load there.

    So a farm never takes more than all its servers at their highest busy power. Where idle power is less certain than
    busy power, what work adds would have its bounds the wrong way round: the idle power then has the narrower ones.
    """
    ends = ("value", "lo", "hi")
    idle = idle_w.value
    more, low, high = (
        max(0.0, getattr(busy_w, end) - getattr(idle_w, end)) * getattr(busy, end) for end in ends
    )  # fmt: skip
    wrong_low, wrong_high = max(0.0, low - more), max(0.0, more - high)
    return (
        Range(idle, min(idle, idle_w.lo + wrong_low), max(idle, idle_w.hi - wrong_high)),
        Range(more, low - wrong_low, high + wrong_high),
    )


def _energy_of(times: ServiceTimes | None) -> Range:
    """Return the energy of one service that the cost model timed."""
    if times is None or times.energy_j is None:
        return ZERO
    return Range(times.energy_j, *(times.energy_ends_j or (times.energy_j, times.energy_j)))


def detector_power_w(detector: DetectorSpec, rate_hz: Range) -> Range:
    """Return the power of a detector's units without their links: an event is one operation of each."""
    return Range.of(detector.energy_per_operation_j) * rate_hz * float(detector.count)
