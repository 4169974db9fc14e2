"""What chips are made of: rates, joules and areas at about 7 nm. All estimated; `RANGE` is how far they may be off.

Cores: a Cortex-A76 of 1.3 mm2 and an A55 of 0.35 mm2 with their caches at 7 nm (die photographs of Kirin 980), at 6 and
1.6 simple operations a cycle with SIMD in use, 60 and 20 pJ an operation with what an instruction costs beside it
(Horowitz, ISSCC 2014, scaled from 45 nm). Accelerators: 2 pJ an operation in 16 bits with local buffers, 0.4 mm2 for
128 operations a cycle (the same table; Aladdin's kernels, Shao et al., ISCA 2014). SRAM 0.3 mm2 a MiB and 1 pJ a byte,
a network 0.8 pJ a byte and stop, LPDDR4 and LPDDR5 of 32 and 25 pJ a byte (npu.md's sources: Horowitz; O'Connor 2017).
"""

from __future__ import annotations

from typing import NamedTuple

RANGE = (0.5, 2.0)
"""Energies and areas lie within these factors of the table (estimated)."""


class Core(NamedTuple):
    """A kind of core: operations a cycle, joules an operation at 1 V, mm2, and watts at rest."""

    operations_per_cycle: float
    operation_j: float
    area_mm2: float
    idle_w: float


BIG = Core(6.0, 60e-12, 1.3, 0.040)
LITTLE = Core(1.6, 20e-12, 0.35, 0.008)
ACCELERATOR_J, ACCELERATOR_MM2_PER_LANE, ACCELERATOR_IDLE_W_PER_LANE = 2e-12, 0.4 / 128, 0.006 / 128
ACCELERATOR_CLOCK = 0.5
"""Of the cores' clock: accelerators are synthesised, not laid out by hand (estimated, 0.3 to 1)."""
START_S = 5e-6
"""Seconds that a driver takes to start an accelerator (estimated, 1 to 20 us)."""
SRAM_J_PER_BYTE, SRAM_MM2_PER_BYTE, SRAM_IDLE_W_PER_BYTE = 1e-12, 0.3 / 2**20, 0.004 / 2**20
NETWORK_J_PER_BYTE, NETWORK_MM2_PER_BYTE_AND_PORT = 0.8e-12, 0.002
MEMORIES: dict[str, tuple[float, float, float, float]] = {
    "lpddr4-1ch": (6.4e9, 32e-12, 0.8, 0.030), "lpddr4-2ch": (12.8e9, 32e-12, 1.6, 0.060),
    "lpddr5-1ch": (12.8e9, 25e-12, 1.1, 0.035), "lpddr5-2ch": (25.6e9, 25e-12, 2.2, 0.070),
}  # fmt: skip
"""Bytes a second of a 16-bit channel or two, joules a byte, mm2 of the interface, watts at rest."""
VOLT_AT_HALF, VOLT_AT_FULL, FULL_CLOCK_HZ = 0.65, 1.0, 2.4e9
"""Supply from half to full clock, linear in between (estimated): joules go with its square."""
