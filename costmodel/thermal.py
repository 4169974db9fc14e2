"""Heat over time in closed form: when a device that works without a break slows down, and to what.

One body of resistance R and capacitance C to the air: at power P it is P R (1 - exp(-t / R C)) above the air, from
T0 above it T0 exp(-t / R C) more (Incropera and DeWitt, Fundamentals of Heat and Mass Transfer, lumped capacitance). A
limit D above the air is reached after R C ln((P R - T0) / (P R - D)); then the firmware holds P at D / R. The clock
follows the power above idle as its 1/a-th power: dynamic power goes with frequency times the square of a voltage that
rises with it in part, so a lies between 1 (voltage at its floor) and 3 (voltage in proportion to frequency). Memory
that bounds a network slows with it: phones and boards lower both. All functions take arrays and broadcast; intervals
come from draws of every range, each as likely as a triangle over it says and independent of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardware_specs import DeviceSpec

Array = npt.NDArray[np.float64]
Number = float | Array
Range = tuple[float, float, float]

EXPONENT = (2.0, 1.0, 3.0)
"""a in power ~ clock^a: (value, lo, hi); estimated."""
LEAST_SHARE = 0.05
"""Share of the clock below which firmware does not go (estimated, 0.02 to 0.2)."""
DELIVERED = (0.9, 0.82, 0.95)
"""Share of a battery's energy that arrives at the chips behind their regulators (value, lo, hi); estimated."""


@dataclass(frozen=True)
class Cooling:
    """A box, or as many readings of it as the arrays are long: kelvin a watt, joules a kelvin, kelvin that it may rise,
    watts beside the device, watts of the idle device, and the exponent of power over clock."""

    resistance_k_per_w: Number
    capacitance_j_per_k: Number
    rise_k: Number
    rest_w: Number
    idle_w: Number
    exponent: Number = EXPONENT[0]

    @property
    def constant_s(self) -> Number:
        """Seconds in which a difference of temperature falls to 1/e."""
        return self.resistance_k_per_w * self.capacitance_j_per_k

    @property
    def sustained_w(self) -> Array:
        """Power of the device that the box can lose for ever."""
        return np.maximum(self.rise_k / np.asarray(self.resistance_k_per_w) - self.rest_w, 0.0)


def drawn(ranges: Sequence[Range], count: int, seed: int = 0) -> Array:
    """Return draws of (value, lo, hi) ranges, shape (ranges, 1 + count): the values first, then triangles over them."""
    value, lo, hi = np.array(ranges, float).T[:, :, None]
    u = np.random.default_rng(seed).random((len(ranges), count))
    width = np.maximum(hi - lo, 1e-300)
    up = lo + np.sqrt(u * width * (value - lo))
    down = hi - np.sqrt((1 - u) * width * (hi - value))
    return np.concatenate([value, np.where(u < (value - lo) / width, up, down)], axis=1)


def cooling_of(spec: DeviceSpec, count: int = 0, seed: int = 0) -> Cooling | None:
    """Return the box of a device as stated, followed by `count` draws of its ranges; None without one."""
    box = spec.thermal
    if box is None:
        return None
    figures = (box.resistance_k_per_w, box.capacitance_j_per_k, box.throttle_k, box.ambient_k, box.rest_w,
               spec.power.idle_w)  # fmt: skip
    found = drawn([*(figure.interval for figure in figures), EXPONENT], count, seed)
    resistance, capacitance, throttle, ambient, rest, idle, exponent = found
    return Cooling(resistance, capacitance, throttle - ambient, rest, idle, exponent)


def rise_k(power_w: Number, time_s: Number, box: Cooling, start_k: Number = 0.0) -> Array:
    """Return kelvin above the air after a time at constant power, from `start_k` above it."""
    steady = (np.asarray(power_w, float) + box.rest_w) * box.resistance_k_per_w
    return np.asarray(steady + (start_k - steady) * np.exp(-np.asarray(time_s, float) / box.constant_s))


def throttles_after_s(power_w: Number, box: Cooling, start_k: Number = 0.0) -> Array:
    """Return seconds at constant power until the box reaches its limit: infinite where it never does."""
    steady = (np.asarray(power_w, float) + box.rest_w) * box.resistance_k_per_w
    start = np.asarray(start_k, float)
    hot = (steady > box.rise_k) & (start < box.rise_k)
    ratio = np.where(hot, (steady - start) / np.where(hot, steady - box.rise_k, 1.0), 1.0)
    return np.where(start >= box.rise_k, 0.0, np.where(hot, box.constant_s * np.log(ratio), np.inf))


def held_share(power_w: Number, box: Cooling) -> Array:
    """Return the share of its clock that a device of this power keeps once the box is at its limit."""
    power = np.asarray(power_w, float)
    hot = power > box.sustained_w
    left = np.maximum(box.sustained_w - box.idle_w, 0.0) / np.where(hot, np.maximum(power - box.idle_w, 1e-12), 1.0)
    return np.where(hot, np.clip(left ** (1 / np.asarray(box.exponent)), LEAST_SHARE, 1.0), 1.0)


def share_at(power_w: Number, time_s: Number, box: Cooling, start_k: Number = 0.0) -> Array:
    """Return the share of its rate that a device reaches at a time, when it works without a break from 0 on."""
    cool = np.asarray(time_s, float) < throttles_after_s(power_w, box, start_k)
    return np.where(cool, 1.0, held_share(power_w, box))


def mean_share(power_w: Number, from_s: Number, to_s: Number, box: Cooling, start_k: Number = 0.0) -> Array:
    """Return the mean share of its rate between two times (the later one above the earlier)."""
    begin, end = np.asarray(from_s, float), np.asarray(to_s, float)
    full_s = np.clip(throttles_after_s(power_w, box, start_k) - begin, 0.0, end - begin)
    share = full_s / (end - begin)
    return np.asarray(share + (1 - share) * held_share(power_w, box))


def sustained(rate_hz: Number, power_w: Number, times_s: Number, box: Cooling, start_k: Number = 0.0) -> Array:
    """Return the rate of repeated requests at times, from the rate and the mean power of a cool device."""
    return np.asarray(rate_hz) * share_at(power_w, times_s, box, start_k)


def of_rate(rate_hz: Number, energy_j: Number, latency_s: Number, idle_w: float) -> Array:
    """Return the mean power of a device that serves requests at a rate and idles between them, in watts.

    `energy_j` of a request includes idle power while it runs; beyond 1 / latency_s the device is busy all the time.
    """
    busy = np.minimum(np.asarray(rate_hz, float) * np.asarray(latency_s, float), 1.0)
    return np.asarray(idle_w * (1 - busy) + busy * np.asarray(energy_j, float) / np.asarray(latency_s, float))


def battery_requests(
    energy_j: Number, latency_s: Number, battery_j: Number, rest_w: Number = 0.0, delivered: Number = DELIVERED[0]
) -> Array:
    """Return how many requests one charge serves back to back, the rest of the box drawing its power meanwhile."""
    used = np.asarray(energy_j, float) + np.asarray(rest_w, float) * np.asarray(latency_s, float)
    return np.asarray(np.asarray(battery_j, float) * delivered / used)
