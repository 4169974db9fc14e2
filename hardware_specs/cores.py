"""Cores of unlike kinds in one processor (big.LITTLE), and the device that a few of them make.

A phone's processor is described by all its large cores at once. A program that runs on one core has that core's lanes,
what it can draw from memory, and one more watt or less: a busy core draws power whatever it computes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from foundation.errors import BadValueError, UnknownNameError
from hardware_specs.figures import Figure, Spec
from hardware_specs.units import Quantity

if TYPE_CHECKING:
    from hardware_specs.schema import ComputeUnit, DeviceSpec, MemoryLevel

_ASKED = re.compile(r"(?:(?P<count>\d{1,6})x)?(?P<name>[a-z][a-z0-9-]*)")


class CoreGroup(Spec):
    """Cores of one kind and clock. Rates, powers and private memories are those of one core.

    active_w: what one busy core draws above the idle device, before the energy of its operations and bytes;
    bandwidth_bytes_per_s: what one core can draw from device memory; private_bytes: by the name of the level.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    core: str
    count: Annotated[int, Field(strict=True, ge=1, le=1024)]
    clock_hz: Annotated[Figure, Quantity("Hz", 1e5, 2e10)]
    peak_flop_per_s: Annotated[dict[str, Figure], Quantity("FLOP/s", 1e6, 1e15)]
    energy_per_flop_j: Annotated[dict[str, Figure], Quantity("J/FLOP", 1e-15, 1e-7)]
    active_w: Annotated[Figure, Quantity("W", 1e-6, 1e3)]
    bandwidth_bytes_per_s: Annotated[Figure, Quantity("B/s", 1e6, 1e13)]
    private_bytes: Annotated[dict[str, Figure], Quantity("B", 64, 1e12)] = Field(default_factory=dict)


def on_cores(spec: DeviceSpec, asked: str) -> DeviceSpec:
    """Return the device that some cores of one group make: `prime`, all cores of that name, or `2xbig`, two of them.

    Caches keep their rate a lane: on-chip bandwidth scales with the peak. Idle power is that of the whole device and
    of the busy cores.

    Raises:
        UnknownNameError: the device has no such group. BadValueError: it has no groups, or fewer cores.
    """
    found = _ASKED.fullmatch(asked)
    if not spec.cores or not found:
        known = ", ".join(f"{spec.id}:{group.name}" for group in spec.cores) or "none are described"
        raise BadValueError(f"'{asked}' does not name cores of {spec.id} ({known}); e.g. 2xbig asks for two of a kind.")
    group = next((g for g in spec.cores if g.name == found["name"]), None)
    if group is None:
        raise UnknownNameError(f"group of cores of {spec.id}", found["name"], [g.name for g in spec.cores])
    count = int(found["count"] or group.count)
    if not 1 <= count <= group.count:
        raise BadValueError(
            f"{spec.id} has {group.count} cores '{group.name}', not {count}; ask for 1 to {group.count}."
        )
    lanes = next(iter(group.peak_flop_per_s))
    whole = spec.units[0].peak_flop_per_s
    share = count * group.peak_flop_per_s[lanes].value / _value(whole, lanes, spec, group)
    idle = spec.power.idle_w
    busy = _sum(idle, _times(group.active_w, count))
    return spec.model_copy(update={
        "id": f"{spec.id}:{asked}", "name": f"{spec.name}, {count} x {group.core} ({group.name})", "aliases": (),
        "cores": (),
        "units": tuple(_unit(unit, group, count) for unit in spec.units),
        "memory": tuple(_level(level, group, count, share, i == 0) for i, level in enumerate(spec.memory)),
        "power": spec.power.model_copy(update={"idle_w": busy}),
    })  # fmt: skip


def _value(peaks: Any, lanes: str, spec: DeviceSpec, group: CoreGroup) -> float:
    if lanes not in peaks:
        raise BadValueError(f"{spec.id}: its cores '{group.name}' compute in {lanes}, of which the device has no peak.")
    return float(peaks[lanes].value)


def _unit(unit: ComputeUnit, group: CoreGroup, count: int) -> ComputeUnit:
    """Return a unit with the lanes of the cores, in the formats that both are described in."""
    peaks = {name: _times(peak, count) for name, peak in group.peak_flop_per_s.items() if name in unit.peak_flop_per_s}
    energies = {name: energy for name, energy in group.energy_per_flop_j.items() if name in peaks}
    return unit.model_copy(update={
        "count": count, "clock_hz": group.clock_hz, "peak_flop_per_s": peaks, "energy_per_flop_j": energies,
    })  # fmt: skip


def _level(level: MemoryLevel, group: CoreGroup, count: int, share: float, outermost: bool) -> MemoryLevel:
    if outermost:
        drawn = _times(group.bandwidth_bytes_per_s, count)
        if drawn.value >= level.bandwidth_bytes_per_s.value:
            return level
        return level.model_copy(
            update={"bandwidth_bytes_per_s": drawn, "bus_width_bits": None, "transfer_rate_hz": None}
        )
    update: dict[str, Any] = {"bandwidth_bytes_per_s": _times(level.bandwidth_bytes_per_s, share)}
    if level.name in group.private_bytes:
        update["capacity_bytes"] = _times(group.private_bytes[level.name], count)
    return level.model_copy(update=update)


def _times(figure: Figure, factor: float) -> Figure:
    value, lo, hi = figure.interval
    return figure.model_copy(update={"value": value * factor, "lo": lo * factor, "hi": hi * factor})


def _sum(first: Figure, second: Figure) -> Figure:
    ends = {name: getattr(first, name) + getattr(second, name) for name in ("value", "lo", "hi")}
    return Figure(**ends, estimated=True)
