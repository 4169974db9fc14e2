"""Energy of rows on a device's array: accesses times what each takes at its node, where nothing better is known."""

from __future__ import annotations

import numpy as np

from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.energy import parts_j
from costmodel.spatial.machine import Machine
from costmodel.spatial.technology import technology
from foundation.formats import FORMAT_NAMES
from workloads.elementwise import Value, occurring
from workloads.table import Array

ON_CHIP: tuple[str, ...] = ("mac", "registers", "buffer_inputs", "buffer_weights", "buffer_outputs", "shared", "noc")
"""Components that the array's own joules have; device memory and idle power are the device's own figures."""


def array_energy_j(costs: SpatialCosts, machine: Machine, formats: Array) -> tuple[Array, Array, Array]:
    """Return joules on chip of each row (value, lo, hi), from the table of components at the machine's node.

    `formats` are format codes, one a row; a format that the table has no multiplier for is counted as one it has.
    Source: docs/npu-energy.md.
    """
    found = np.zeros((3, len(formats)))
    for code in occurring(formats):
        mine = formats == code
        known = technology(machine.node_nm, dtype=FORMAT_NAMES[int(code)])
        for end, coefficients in enumerate(known.sets):
            parts = parts_j(costs, machine, known, coefficients)
            total: Value = sum(parts[name] for name in ON_CHIP)
            found[end, mine] = np.broadcast_to(total, formats.shape)[mine]
    return found[0], found[1], found[2]
