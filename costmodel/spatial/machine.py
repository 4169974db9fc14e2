"""`Machine`: spatial arrays with their buffers, in columns. Sizes are of one core; rates are bytes a cycle."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from foundation.errors import BadValueError
from workloads.elementwise import Value
from workloads.table import Array

DATAFLOWS: tuple[str, ...] = ("", "ws", "os", "is")
"""What stays in the processing elements, by code: weights, outputs (partial sums) or inputs."""
WS, OS, IS = 1, 2, 3


class Operands(NamedTuple):
    """One value for each operand of a layer."""

    inputs: Value
    weights: Value
    outputs: Value


@dataclass(frozen=True)
class Machine:
    """Arrays, one entry a design; every field is a column or a scalar, broadcastable against layers.

    `rows` x `cols` processing elements a core, each one MAC a cycle. The dataflow says what lies where: 'ws' puts the
    reduction on rows and output channels on columns, 'os' pixels and output channels, 'is' the reduction and pixels.
    A buffer of 0 bytes is not there: its operand comes straight from the next level. `unified`: the three buffers are
    one, of the sum of their sizes, shared as the tiling needs. `shared_bytes` is a level between the buffers of all
    cores and device memory (0 = none). `double_buffered`: half of a buffer is filled while the other half is used, so
    that moves and arithmetic overlap, at the price of half its size. `preload_hidden`: elements hold a second weight,
    so that the next fold's stationary operand is loaded while this one streams. `dram_latency_cycles` is what one
    dependent transfer waits, `issue_cycles` what starting one tile (descriptors, instructions) costs.
    `sum_bits` are those of a partial sum on chip, `mapping` says who tiles (`costmodel.spatial.mapped`),
    `node_nm` at which node accesses are counted (0: the device's own energy a FLOP stands).
    `skips_weights`, `skips_inputs` are the shares of the zero operands whose cycles are saved, not only gated.
    `packs_groups`: groups of a convolution share a fold on the diagonal of the array, as far as they fit (`folds`).
    `kernel_on_rows`: positions of the kernel share the rows with input channels (im2col); else rows hold input channels
    only, and each position of the kernel is a fold of its own.
    """

    rows: Value
    cols: Value
    dataflow: Value
    buffer_bytes: Operands
    buffer_bytes_per_cycle: Operands
    dram_bytes_per_cycle: Value
    clock_hz: Value = 1e9
    cores: Value = 1.0
    unified: Value = False
    shared_bytes: Value = 0.0
    shared_bytes_per_cycle: Value = np.inf
    double_buffered: Value = True
    preload_hidden: Value = True
    dram_latency_cycles: Value = 0.0
    issue_cycles: Value = 0.0
    skips_weights: Value = 0.0
    skips_inputs: Value = 0.0
    packs_groups: Value = False
    kernel_on_rows: Value = True
    sum_bits: float = 32.0
    mapping: str = "fixed"
    node_nm: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("cols", self.cols), ("cores", self.cores)):
            sizes = np.asarray(value, dtype=float)
            _check(sizes, np.isfinite(sizes) & (sizes >= 1), f"{name} of a spatial array must be at least 1")
            _check(sizes, sizes == np.floor(sizes), f"{name} of a spatial array must be whole")
        for name, value in (
            ("the clock of a spatial array in Hz", self.clock_hz), ("the bits of a partial sum", self.sum_bits)
        ):  # fmt: skip
            sizes = np.asarray(value, dtype=float)
            _check(sizes, np.isfinite(sizes) & (sizes >= 1), f"{name} must be at least 1")
        for name, value in (
            *((f"the buffer of {name}", value) for name, value in self.buffer_bytes._asdict().items()),
            ("shared_bytes", self.shared_bytes), ("dram_latency_cycles", self.dram_latency_cycles),
            ("issue_cycles", self.issue_cycles), ("node_nm", self.node_nm),
        ):  # fmt: skip
            sizes = np.asarray(value, dtype=float)
            _check(sizes, np.isfinite(sizes) & (sizes >= 0), f"{name} of a spatial array must be at least 0")
        for name, value in (
            ("the bandwidth of device memory", self.dram_bytes_per_cycle),
            ("the bandwidth of the shared level", self.shared_bytes_per_cycle),
            *((f"the bandwidth of the buffer of {n}", v) for n, v in self.buffer_bytes_per_cycle._asdict().items()),
        ):
            rates = np.asarray(value, dtype=float)
            _check(rates, rates > 0, f"{name} must be above 0 bytes a cycle")
        for name, value in (("skips_weights", self.skips_weights), ("skips_inputs", self.skips_inputs)):
            shares = np.asarray(value, dtype=float)
            _check(shares, (shares >= 0) & (shares <= 1), f"{name}, a share of zero operands, must lie between 0 and 1")
        flows = np.asarray(self.dataflow)
        known = np.isin(flows, (WS, OS, IS))
        if not known.all():
            raise BadValueError(f"no dataflow has the code {flows[~known].flat[0]!s}; there are ws = {WS}, os = {OS} "
                                f"and is = {IS} (`costmodel.spatial.machine.WS`).")  # fmt: skip

    @property
    def elements(self) -> Value:
        """Processing elements of all cores."""
        return self.rows * self.cols * self.cores

    def reshaped(self, shape: tuple[int, ...]) -> Machine:
        """Return the same machines with every column (not the scalars) in another shape."""

        def put(value: Any) -> Any:
            return np.reshape(value, shape) if np.ndim(value) else value

        changes: dict[str, Any] = {
            field.name: Operands(*map(put, value)) if isinstance(value, Operands) else put(value)
            for field in fields(self)
            for value in (getattr(self, field.name),)
        }
        return replace(self, **changes)


def _check(values: Array, holds: Array, must: str) -> None:
    if not holds.all():
        raise BadValueError(f"{must}, not {values[~holds].flat[0]:g}.")
