"""Checks against numbers that others simulated: dead time of trigger rules, losses of buffers, trains of bunches.

Triggers come in filled crossings with one probability; 40.0789 MHz, 2,808 of 3,564 crossings filled. The order of the
trains is that of `lhc_trains`; the published numbers are of a pattern of the same sums.
"""

from __future__ import annotations

from functools import partial

from simulator.queues import closed_forms as forms
from simulator.queues.elements import Service, Station, to
from simulator.queues.verification import Check, Measure, exact
from simulator.queues.verification_limits import CROSSING_RATE_HZ, crossings, ruled, slotted

DEAD_SHARES = (
    (100e3, "uniform", 0.00900, 0.00018), (100e3, "trains", 0.01072, 0.00010), (750e3, "uniform", 0.359, 0.0005),
    (750e3, "trains", 0.364, 0.0005),
)  # fmt: skip
"""Triggers a second, pattern, dead share of the four rules of CMS and its error (at 750 kHz half of the last digit)."""
BUFFER_LOSSES = (
    ("uniform", 4, 0.9, 0.0891), ("uniform", 8, 0.9, 0.0262), ("uniform", 16, 0.9, 0.0040), ("trains", 4, 0.9, 0.0961),
    ("trains", 8, 0.9, 0.0280), ("trains", 16, 0.9, 0.0042), ("uniform", 8, 0.8, 0.0082), ("trains", 8, 0.8, 0.0094),
)  # fmt: skip
"""Pattern, places (the one in readout counted), load, share lost at 750 kHz."""
BUFFER_ERROR = 0.01
"""Relative error of those, which came without one (estimated, 0.003 to 0.02; half of the last digit where larger)."""
TICKS_PER_CROSSING = 1000
"""The readout is no whole number of crossings."""


def published_checks() -> list[Check]:
    """Return all checks of this file."""
    found = []
    for rate_hz, name, share, error in DEAD_SHARES:
        process = crossings(rate_hz, name)
        dead = Measure("dead share", "rules.loss_share", exact(share), 0.2 if share < 0.1 else 0.03, error)
        found.append(
            Check("Published values", f"rules of CMS, {rate_hz / 1e3:g} kHz, {name}", "simulated by others",
                  partial(ruled, process, forms.CMS_RULES), (dead,), 6_000, process.mean_rate_hz())
        )  # fmt: skip
    for name, places, load, share in BUFFER_LOSSES:
        process = crossings(750e3, name)
        readout = Service((load * CROSSING_RATE_HZ / 750e3,))
        queue = Station("queue", readout, to("exit"), places=places - 1)
        error = max(BUFFER_ERROR * share, 0.00005)
        loss = Measure(
            "loss", "queue.loss_share", exact(share), 0.08 if places == 4 else 0.6 if places == 16 else 0.25, error
        )
        found.append(
            Check("Published values", f"buffer of {places}, load {load:g}, {name}", "simulated by others",
                  partial(slotted, process, queue, TICKS_PER_CROSSING), (loss,), 7_000, process.mean_rate_hz())
        )  # fmt: skip
    return found
