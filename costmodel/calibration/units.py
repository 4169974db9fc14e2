"""Latencies in the wrong unit are noticed before anything is learned from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from costmodel.calibration.rows import Rows
from foundation.errors import BadValueError

UNIT_SLIPS: tuple[tuple[float, str], ...] = (
    (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"),
)  # fmt: skip


def check_units(rows: Mapping[str, Rows]) -> None:
    """Refuse latencies that are off by a factor of a thousand or a million on the larger rows.

    Raises:
        BadValueError: names the likely unit.
    """
    latency = np.concatenate([r.latency_s for r in rows.values()])
    physics = np.concatenate([r.physics_s for r in rows.values()])
    large = physics >= np.median(physics)
    ratio = float(np.median(latency[large] / physics[large]))
    for factor, unit in UNIT_SLIPS:
        if factor / 20 < ratio < factor * 20 and abs(np.log10(ratio / factor)) < 1.3:
            raise BadValueError(
                f"The latencies are {ratio:,.0f} times what the hardware allows at best: they look like {unit}; "
                f"the column latency_s is in seconds."
            )
    if ratio < 0.05:
        raise BadValueError(
            f"The latencies are 1/{1 / ratio:,.0f} of what the hardware allows: the column latency_s is in seconds "
            "(check the unit, and the device)."
        )
