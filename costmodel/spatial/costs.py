"""`SpatialCosts`: what layers cost on arrays: cycles by stage, and every access by level and operand, in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.spatial.machine import Operands
from workloads.elementwise import Value
from workloads.table import Array

STAGES: tuple[str, ...] = ("ideal", "shape", "fill", "onchip", "dram", "issue")
"""Stages of the waterfall; the cycles of each include those of the ones before it."""
SHORT_BUFFERS = "the buffers of the array are"
"""How the reason begins where one tile of a layer does not fit."""


@dataclass(frozen=True)
class SpatialCosts:
    """Costs of layers on arrays; every field has the shape that layers and machines broadcast to.

    Cycles: `ideal_cycles` at every element busy; `shape_cycles` with idle rows and columns in edge folds and cores
    without work; `fill_cycles` with fill, drain and stationary loads that are not hidden; `onchip_cycles` with stalls
    of buffer ports and of the shared level; `dram_cycles` with stalls of device memory and its latency; `issue_cycles`
    with starting tiles = all there is (`cycles`).

    Bytes: `buffer_bytes` read and written at the buffers (partial sums both ways), `shared_bytes` at the shared level,
    `dram_read_bytes` and `dram_write_bytes` by operand (outputs are read where partial sums spill). `macs` are those
    executed (skipped ones not). `tiles` is how often device memory hands over. Where `feasible` is False a tile does
    not fit: `shortfall_bytes` is what is missing, cycles are NaN.
    """

    macs: Array
    ideal_cycles: Array
    shape_cycles: Array
    fill_cycles: Array
    onchip_cycles: Array
    dram_cycles: Array
    issue_cycles: Array
    buffer_bytes: Operands
    shared_bytes: Value
    dram_read_bytes: Operands
    dram_write_bytes: Value
    tiles: Value
    feasible: Array
    shortfall_bytes: Value

    @property
    def cycles(self) -> Array:
        """All cycles of a layer."""
        return self.issue_cycles

    @property
    def dram_bytes(self) -> Value:
        """Bytes to and from device memory."""
        return sum(self.dram_read_bytes) + self.dram_write_bytes

    def waterfall(self) -> dict[str, Array]:
        """Return what each stage adds to the one before it, in cycles; the sum is `cycles` exactly."""
        steps = [getattr(self, f"{name}_cycles") for name in STAGES]
        before = [np.zeros_like(steps[0]), *steps[:-1]]
        return {name: step - last for name, step, last in zip(STAGES, steps, before, strict=True)}
