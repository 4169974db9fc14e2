"""What an answer means in a hand or on a desk: battery a request, and how long the device keeps its rate.

Needs a device with a `thermal` section; for others there is no report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from archcast.render.human import digits, percent, printable, shown, text
from costmodel.estimate import Estimate, Quantity
from costmodel.thermal import (
    DELIVERED,
    Array,
    battery_requests,
    cooling_of,
    drawn,
    held_share,
    mean_share,
    throttles_after_s,
)
from hardware_specs import DeviceSpec

JOULES_A_MWH, JOULES_A_WH = 3.6, 3600.0
FIRST_S, LATER_S = (0.0, 60.0), (600.0, 660.0)
"""The minutes that are compared: the first, and that after ten."""
DRAWS, ENDS = 1000, (0.05, 0.95)
"""How often the ranges are drawn for an interval, and the quantiles that are its ends."""


@dataclass(frozen=True)
class EdgeReport:
    """One request, and requests back to back, on the device of a box.

    Intervals hold nine in ten draws of the ranges of box and answer. `battery_share` is of one charge and counts the
    rest of the box, as `requests_per_charge` does; both are None without a battery. `throttles_after_s` is infinite
    where the device never slows down. `held_share` is the share of the rate that is left then.
    """

    box: str
    energy_mwh: Quantity
    sustained_w: Quantity
    throttles_after_s: Quantity
    held_share: Quantity
    first_minute_hz: Quantity
    after_ten_minutes_hz: Quantity
    held_hz: Quantity
    battery_j: Quantity | None = None
    battery_share: Quantity | None = None
    requests_per_charge: Quantity | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as a document; a time that never comes is null."""
        document: dict[str, Any] = {"box": self.box}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Quantity):
                document[field.name] = {k: v if math.isfinite(v) else None for k, v in value.to_json().items()}
        return document

    def lines(self) -> tuple[str, ...]:
        """Return what people read: one sentence on the energy of a request, one on the rate that lasts."""
        return self._energy_line(), self._heat_line()

    def _energy_line(self) -> str:
        line = f"One request = {_number(self.energy_mwh)} mWh"
        if self.battery_share is None or self.requests_per_charge is None or self.battery_j is None:
            return f"{line} ({printable(self.box)}, no battery)."
        charge = self.requests_per_charge
        return (
            f"{line}; with the rest of the box {digits(100 * self.battery_share.value)} % of the "
            f"{digits(self.battery_j.value / JOULES_A_WH)} Wh battery of {printable(self.box)}: "
            f"{_count(charge.value)} [{_count(charge.lo)} .. {_count(charge.hi)}] a charge."
        )

    def _heat_line(self) -> str:
        after, held, box = self.throttles_after_s, self.held_share, printable(self.box)
        if math.isinf(after.lo):
            return f"Requests back to back do not heat {box} to its limit: the rate lasts."
        if math.isinf(after.value):
            return (
                f"Requests back to back stay below the limit of {box}; in a warm place or a poor box they throttle "
                f"after {_time(after.lo)}, to {percent(held.lo)} of the rate."
            )
        first, later = self.first_minute_hz, self.after_ten_minutes_hz
        return (
            f"Requests back to back throttle {box} after {_time(after.value)} [{_time(after.lo)} .. {_time(after.hi)}] "
            f"to {percent(held.value)} [{percent(held.lo)} .. {percent(held.hi)}] of the rate: {_number(first)}/s in "
            f"the first minute, {_number(later)}/s after ten, {_number(self.held_hz)}/s in the end."
        )


def edge_report(estimate: Estimate, spec: DeviceSpec) -> EdgeReport | None:
    """Return what an answer means for battery and heat; None without a `thermal` section, or where nothing was timed.

    A batch, or users in service, heat the box together; energy, charge and rates are those of one of their requests.
    Several devices share one box.
    """
    boxes, box = cooling_of(spec, DRAWS), spec.thermal
    if boxes is None or box is None or estimate.latency_s is None or estimate.energy_j is None:
        return None
    asked = [_range(estimate.energy_j), _range(estimate.latency_s), DELIVERED]
    asked.append(box.battery_j.interval if box.battery_j else (0.0, 0.0, 0.0))
    energy, latency, delivered, full = drawn(asked, DRAWS, seed=1)
    limit_w = max(spec.power.limit_w.value, estimate.energy_j.value / estimate.latency_s.value / estimate.devices)
    watts = np.minimum(energy / latency, limit_w * estimate.devices)
    held = held_share(watts, boxes)
    battery: dict[str, Quantity] = {}
    together = _together(estimate)
    each_s = latency / together
    if box.battery_j is not None:
        charge = battery_requests(energy, latency, full, boxes.rest_w, delivered) * together
        battery = {"battery_j": Quantity(*box.battery_j.interval), "battery_share": _of(1 / charge),
                   "requests_per_charge": _of(charge)}  # fmt: skip
    return EdgeReport(
        box=box.name, energy_mwh=estimate.energy_j.scaled(1 / JOULES_A_MWH / together),
        sustained_w=_of(boxes.sustained_w),
        throttles_after_s=_of(throttles_after_s(watts, boxes)), held_share=_of(held),
        first_minute_hz=_of(mean_share(watts, *FIRST_S, boxes) / each_s),
        after_ten_minutes_hz=_of(mean_share(watts, *LATER_S, boxes) / each_s), held_hz=_of(held / each_s), **battery,
    )  # fmt: skip


def _together(estimate: Estimate) -> int:
    """Return how many requests an estimate's time and energy are of."""
    return int(estimate.request.get("concurrency") or estimate.request.get("batch") or 1)


def _range(quantity: Quantity) -> tuple[float, float, float]:
    return quantity.value, quantity.lo, quantity.hi


def _of(draws: Array) -> Quantity:
    """Return the stated value, which is the first of the draws, and quantiles of the others."""
    value = float(draws[0])
    lo, hi = np.quantile(draws[1:], ENDS, method="inverted_cdf").tolist()
    return Quantity(value, min(lo, value), max(hi, value))


def _number(quantity: Quantity) -> str:
    return shown(quantity, "").value


def _time(seconds: float) -> str:
    return text(seconds, "s") if math.isfinite(seconds) else "never"


def _count(number: float) -> str:
    return text(number, "count") if number >= 1e6 else f"{number:,.0f}" if number >= 10 else digits(number)
