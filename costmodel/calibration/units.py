"""Latencies in the wrong unit are noticed before anything is learned from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from costmodel.calibration.rows import Rows
from foundation.errors import BadValueError

UNIT_SLIPS: tuple[tuple[float, str, str], ...] = (
    (1e3, "milliseconds", "seconds read as milliseconds"),
    (1e6, "microseconds", "seconds read as microseconds"),
    (1e9, "nanoseconds", "seconds read as nanoseconds"),
)  # fmt: skip
"""Factor, the unit of latencies that are so much too long, and the slip that makes them so much too short."""
TOO_LONG, TOO_SHORT = 50.0, 0.05
"""Measured over closed form beyond which no kernel is: the worst families measured are 20 times as long."""


def check_units(rows: Mapping[str, Rows]) -> None:
    """Refuse latencies that are off by a factor of a thousand or a million, either way, on the larger rows.

    Raises:
        BadValueError: names the likely unit.
    """
    latency = np.concatenate([r.latency_s for r in rows.values()])
    physics = np.concatenate([r.physics_s for r in rows.values()])
    large = physics >= np.median(physics)
    ratio = float(np.median(latency[large] / physics[large]))
    if TOO_SHORT <= ratio <= TOO_LONG:
        return
    away = abs(np.log10(ratio))
    factor, unit, slip = min(UNIT_SLIPS, key=lambda one: abs(np.log10(one[0]) - away))
    if ratio > TOO_LONG:
        raise BadValueError(
            f"The latencies are {ratio:,.0f} times what the hardware allows at best: they look like {unit}; "
            f"the column latency_s is in seconds."
        )
    raise BadValueError(
        f"The latencies are 1/{1 / ratio:,.0f} of what the hardware allows: they look divided by {factor:,.0f} once "
        f"too often ({slip}, or the wrong device); the column latency_s is in seconds."
    )
