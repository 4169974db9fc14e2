"""The servers of a stage in the mean: service time, load, loss for want of places, waits, failures, duty cycle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foundation.errors import BadValueError
from simulator.pipelines.rates_batches import BatchLine, BatchMeans
from simulator.pipelines.rates_failures import FailingLine
from simulator.pipelines.rates_queues import Line, overload_share, servers_for_load, waiting_share
from simulator.pipelines.rates_ranges import ZERO, Range, exactly, spanning
from simulator.pipelines.rates_results import Servers

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import ServiceSpec, StageSpec
    from simulator.pipelines.services import ServiceTimes

_CV2 = {"constant": 0.0, "exponential": 1.0}


@dataclass(frozen=True, slots=True)
class Served:
    """What servers do with what comes: shares lost, time of an event (wait and service), room for those that wait."""

    servers: Servers | None = None
    full: Range = ZERO
    failure: Range = ZERO
    wait_s: Range | None = ZERO
    time_s: Range = ZERO
    capacity_hz: float = math.inf
    memory_bytes: Range = ZERO
    buffer_needed_bytes: Range = ZERO


def serve(stage: StageSpec, rate_hz: Range, size_bytes: Range, times: ServiceTimes | None) -> Served:
    """Return what the servers of a stage do with `rate_hz` events of `size_bytes`; a stage without any passes all.

    Raises:
        BadValueError: a workload on a device whose times were not given.
    """
    places = _places(stage, size_bytes)
    if stage.service is None:
        return Served(memory_bytes=_room(stage, size_bytes, places, 0.0))
    own_hz = rate_hz / float(stage.parts)
    count = stage.servers or max(1, len(stage.speeds))
    up = count if stage.share_down is None else max(1, math.floor(count * (1 - stage.share_down.value) + 1e-9))
    size = 1 if stage.batch is None else stage.batch.size
    speed = _speed(stage, up)
    lasts = _with_restarts(stage, _batch_time(stage, stage.service, size_bytes, size, times) / speed)
    available = _availability(stage)
    load = own_hz * lasts / (size * up * available)
    duty = _duty_share(stage)
    if duty <= 0:
        raise BadValueError(f"Stage '{stage.name}': its duty cycle is never on (on_s is 0), so it serves nothing.")
    cv2 = _CV2.get(stage.service.law, stage.service.cv.value**2 if stage.service.cv is not None else 0.0)
    drops = places is not None and stage.when_full == "drop"
    room = None if not drops else places

    def of_batch(n: int) -> Range:
        assert stage.service is not None
        return _with_restarts(stage, _batch_time(stage, stage.service, size_bytes, n, times) / speed)

    if size == 1:
        one, mean_batch = of_batch(1), 1.0
        waits_for = Line(up, one.value / available, stage.service.law, cv2, room, 1 / stage.parts)
        full, wait, inside = _singly(waits_for, own_hz, one / available)
        if available < 1 and stage.failures is not None and not math.isinf(one.value):
            full, wait = _failing(stage, replace(waits_for, arrival_cv2=1.0), own_hz, one)
    else:
        known = own_hz.lo == own_hz.hi and of_batch(size).lo == of_batch(size).hi
        ends = [
            _batch_means(stage, of_batch, end, up, available, cv2, room, own_hz)
            for end in (("value",) if known else ("value", "lo", "hi"))
        ]
        mean_batch, one = ends[0].batch, of_batch(round(ends[0].batch))
        waits_for = Line(up, one.value / available)
        full = spanning(*(each.loss for each in ends))
        wait = spanning(*(each.wait_s for each in ends))
        inside = spanning(*(each.service_s for each in ends))
    cycle = _duty(stage, own_hz, size_bytes, load, places if drops else None)
    full = Range(*(max(pair) for pair in zip(_ends(full), _ends(cycle.loss), strict=True)))
    utilisation = load / duty
    steady = utilisation.value < 1 and math.isfinite(wait.value)
    enough = servers_for_load(own_hz.value / size, lasts.value)
    found = Servers(
        count, up * available, servers_for_load(own_hz.value / (size * duty), lasts.value / available), stage.parts,
        one, utilisation, mean_batch, waiting_share(waits_for, own_hz.value / mean_batch),
        overload_share(up, available, enough) if available < 1 else 0.0,
    )  # fmt: skip
    capacity = math.inf if drops or load.value == 0 else rate_hz.value / utilisation.value
    wait = wait + cycle.wait_s
    if utilisation.hi >= 1 - 1e-9:  # nothing bounds the wait of what is offered too much, but how long it goes on
        wait = replace(wait, hi=math.inf)
    return Served(
        found, full, _lost_to_failures(stage, one), wait if steady else None, inside, capacity,
        _room(stage, size_bytes, places, own_hz.value * wait.value if steady else 0.0), cycle.buffer_bytes,
    )  # fmt: skip


def at_ends(what: Callable[[float, float], float], first: Range, second: Range) -> Range:
    """Return a function of two ranges at their values and, where they have any width, at their bounds."""
    value = what(first.value, second.value)
    if first.lo == first.hi and second.lo == second.hi:
        return exactly(value)
    return spanning(value, what(first.lo, second.lo), what(first.hi, second.hi))


def _batch_time(
    stage: StageSpec, service: ServiceSpec, size_bytes: Range, size: int, times: ServiceTimes | None
) -> Range:  # fmt: skip
    """Return the time of a batch of `size` events on a server of speed 1; without a cost model, one after another."""
    if service.workload is not None:
        if times is None:
            raise BadValueError(f"Stage '{stage.name}': no times of {service.workload} on {service.on} were given.")
        return Range(*times.of_batch(size))
    if service.polynomial is None:
        return Range.of(service.time_s) * float(size)
    polynomial = service.polynomial
    value = polynomial.at(size_bytes.value)[0]
    return Range(value, polynomial.at(size_bytes.lo)[1], polynomial.at(size_bytes.hi)[2]) * float(size)


def _speed(stage: StageSpec, up: int) -> float:
    return sum(stage.speeds[:up]) / len(stage.speeds[:up]) if stage.speeds else 1.0


def _availability(stage: StageSpec) -> float:
    if stage.failures is None:
        return 1.0
    up, down = stage.failures.mtbf_s.value, stage.failures.mttr_s.value
    return up / (up + down)


def _with_restarts(stage: StageSpec, service_s: Range) -> Range:
    """Return the time up that a service takes if it begins anew, with the same need, after each failure.

    Constant: mtbf (exp(x) - 1), x = service / mtbf; exponential: service / (1 - x), endless from x = 1 on. Of other
    laws the constant one's, which is a lower bound (Jensen).
    """
    if stage.failures is None or stage.failures.lost != "restart" or stage.service is None:
        return service_s
    mtbf_s, exponential = Range.of(stage.failures.mtbf_s), stage.service.law == "exponential"

    def up_s(needed_s: float, between_s: float) -> float:
        x = needed_s / between_s
        if exponential:
            return needed_s / (1 - x) if x < 1 else math.inf
        return between_s * math.expm1(x) if x < 700 else math.inf

    return Range(
        up_s(service_s.value, mtbf_s.value), up_s(service_s.lo, mtbf_s.hi), up_s(service_s.hi, mtbf_s.lo)
    )  # fmt: skip


def _lost_to_failures(stage: StageSpec, service_s: Range) -> Range:
    """Return the share of services that a failure ends for good: 1 - exp(-service / mtbf), or of an exponential
    service service / (service + mtbf)."""
    if stage.failures is None or stage.failures.lost != "lose":
        return ZERO
    mtbf_s = Range.of(stage.failures.mtbf_s)
    ratio = service_s / mtbf_s
    if stage.service is not None and stage.service.law == "exponential":
        return Range(*(x / (1 + x) for x in (ratio.value, ratio.lo, ratio.hi)))
    return Range(*(-math.expm1(-x) for x in (ratio.value, ratio.lo, ratio.hi)))


def _singly(line: Line, own_hz: Range, service_s: Range) -> tuple[Range, Range, Range]:
    """Return the loss, wait and time in service of events that are served one by one."""

    def lost(rate_hz: float, each_s: float) -> float:
        return replace(line, service_s=each_s).loss(rate_hz)

    def waits(rate_hz: float, each_s: float) -> float:
        return replace(line, service_s=each_s).wait_s(rate_hz)

    return at_ends(lost, own_hz, service_s), at_ends(waits, own_hz, service_s), service_s


def _failing(stage: StageSpec, line: Line, own_hz: Range, service_s: Range) -> tuple[Range, Range]:
    """Return the loss and wait of events whose servers fail, each one for itself."""
    assert stage.failures is not None
    mtbf_s, mttr_s = stage.failures.mtbf_s.value, stage.failures.mttr_s.value
    known = own_hz.lo == own_hz.hi and service_s.lo == service_s.hi
    ends = [
        FailingLine(replace(line, service_s=each_s), mtbf_s, mttr_s).means(rate_hz)
        for rate_hz, each_s in list(zip(_ends(own_hz), _ends(service_s), strict=True))[: 1 if known else 3]
    ]
    return spanning(*(loss for loss, _ in ends)), spanning(*(wait_s for _, wait_s in ends))


def _batch_means(
    stage: StageSpec, of_batch: Callable[[int], Range], end: str, up: int, available: float, cv2: float,
    room: int | None, own_hz: Range,
) -> BatchMeans:  # fmt: skip
    """Return the means of a stage that serves batches, at one end of its ranges."""
    assert stage.batch is not None
    assert stage.service is not None
    longest = stage.batch.max_wait_s
    wait_s = None if longest is None else float(getattr(longest, end))
    line = BatchLine(
        up, stage.batch.size, wait_s, lambda n: float(getattr(of_batch(n), end)) / available, stage.service.law, cv2,
        room, stage.parts,
    )  # fmt: skip
    return line.means(float(getattr(own_hz, end)))


def _places(stage: StageSpec, size_bytes: Range) -> int | None:
    """Return how many events may wait: places, or what fits into the buffer's bytes, whichever is less."""
    if stage.buffer_bytes is None or size_bytes.value <= 0:
        return stage.places
    fits = int(stage.buffer_bytes.value / size_bytes.value)
    return fits if stage.places is None else min(fits, stage.places)


def _room(stage: StageSpec, size_bytes: Range, places: int | None, waiting: float) -> Range:
    """Return the memory of all parts for events that wait: what is there, or without a limit the mean that is used."""
    if stage.buffer_bytes is not None:
        return Range.of(stage.buffer_bytes) * float(stage.parts)
    return size_bytes * float(stage.parts) * (float(places) if places is not None else waiting)


@dataclass(frozen=True, slots=True)
class _Cycle:
    """What a duty cycle costs: share lost, mean wait, and the buffer that would lose nothing, all parts together."""

    loss: Range = ZERO
    wait_s: Range = ZERO
    buffer_bytes: Range = ZERO


def _duty_share(stage: StageSpec) -> float:
    return 1.0 if stage.duty is None else stage.duty.on_s.value / stage.duty.period_s.value


def _duty(stage: StageSpec, own_hz: Range, size_bytes: Range, load: Range, places: int | None) -> _Cycle:
    """Return the cost of servers that stop for a part of each period, as a fluid: arrivals go on and fill the buffer.

    The buffer that loses nothing holds rate x time off; it drains at (capacity - rate) while the servers are on.
    """
    if stage.duty is None or _duty_share(stage) >= 1 or own_hz.value <= 0:
        return _Cycle()
    on_s, period_s = Range.of(stage.duty.on_s), stage.duty.period_s.value
    off_s = Range(period_s - on_s.value, max(0.0, period_s - on_s.hi), period_s - on_s.lo)
    waiting = own_hz * off_s
    costs = [
        _cost_of_stops(rate_hz, stopped_s, period_s, share, places)
        for rate_hz, stopped_s, share in zip(_ends(own_hz), _ends(off_s), _ends(load), strict=True)
    ]
    buffer_bytes = waiting * size_bytes * float(stage.parts)
    return _Cycle(spanning(*(loss for loss, _ in costs)), spanning(*(wait_s for _, wait_s in costs)), buffer_bytes)


def _cost_of_stops(
    rate_hz: float, off_s: float, period_s: float, load: float, places: int | None
) -> tuple[float, float]:  # fmt: skip
    """Return the share lost and the mean wait of a steady flow into servers that stop for `off_s` of each period."""
    on_s, spare_hz = period_s - off_s, (1 / load - 1) * rate_hz if load > 0 else math.inf
    arrived = rate_hz * period_s
    held = rate_hz * off_s if places is None else min(rate_hz * off_s, float(places))
    lost = 0.0 if places is None else max(0.0, rate_hz * off_s - min(float(places), spare_hz * on_s))
    if spare_hz <= 0 or lost >= arrived:
        return min(1.0, lost / arrived), 0.0
    # the line rises from `left` to `held`, stays there while the buffer is full, and falls while the servers are on
    left = 0.0 if places is None else max(0.0, held - spare_hz * on_s)
    rises_s, falls_s = (held - left) / rate_hz, (held - left) / spare_hz
    area = (held + left) / 2 * (rises_s + falls_s) + held * (off_s - rises_s)
    return lost / arrived, area / (arrived - lost)


def _ends(value: Range) -> tuple[float, float, float]:
    return value.value, value.lo, value.hi
