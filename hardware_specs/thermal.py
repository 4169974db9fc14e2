"""What the box around a device does with heat, and what its battery holds: one optional section of a device.

The box is one body with one temperature (first order): it warms with the power of the device and of the rest (screen,
radio, regulators), and loses heat to the air around it. Where its temperature reaches the limit that the firmware keeps
(the skin of a phone, the die of a board), the device slows down.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from hardware_specs.figures import Figure, Spec, fault
from hardware_specs.units import Quantity

_TEMPERATURE = Quantity("K", 200.0, 450.0)


class Thermal(Spec):
    """The box: `name` says which product the figures are of.

    `battery_j` is what a full battery holds (absent: it hangs on the mains), `rest_w` what all that is not the device
    draws while it works. `resistance_k_per_w` and `capacitance_j_per_k` are those of the body to the air, which has
    `ambient_k`; at `throttle_k` the device slows down.
    """

    name: Annotated[str, Field(min_length=1)]
    battery_j: Annotated[Figure | None, Quantity("J", 1.0, 1e9)] = None
    rest_w: Annotated[Figure, Quantity("W", 0.0, 1e4)]
    resistance_k_per_w: Annotated[Figure, Quantity("K/W", 1e-4, 1e4)]
    capacitance_j_per_k: Annotated[Figure, Quantity("J/K", 1e-3, 1e7)]
    throttle_k: Annotated[Figure, _TEMPERATURE]
    ambient_k: Annotated[Figure, _TEMPERATURE]

    @model_validator(mode="after")
    def _limit_above_the_air(self) -> Thermal:
        if self.throttle_k.lo <= self.ambient_k.hi:
            air, limit = self.ambient_k.hi, self.throttle_k.lo
            raise fault(f"the limit ({limit:g} K) is not above the air around it ({air:g} K).", ("throttle_k",))
        return self

    @property
    def sustained_w(self) -> float:
        """Power that the device can hold for ever: what the body loses at its limit, less the rest."""
        lost_w = (self.throttle_k.value - self.ambient_k.value) / self.resistance_k_per_w.value
        return max(lost_w - self.rest_w.value, 0.0)
