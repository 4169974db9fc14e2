"""Who tiles: a machine's layers under its mapping, the rule, the best of all orders, or Gemmini's library.

The rule (`fixed_mapping`) is in columns and costs nothing to ask. The other two look at each unequal layer once and
keep what they found, since networks repeat their layers and searches their networks.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from costmodel.spatial.costs import STAGES, SpatialCosts
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import FIELDS, Layers
from costmodel.spatial.machine import Machine, Operands
from costmodel.spatial.sparsity import at_precision
from foundation.errors import BadValueError
from workloads.elementwise import Value
from workloads.table import Array

GEMMINI_SPREAD = 1.36
"""Factor either way that holds 90 % of the RTL runs of Gemmini's own tiling (141 rows, DOSA; docs/gemmini.md);
read off those rows, so that no others test it."""
KEPT = 512
SIDES = ("batch", "groups", "k", "c", "oy", "ox", "fy", "fx")
_Shapes = tuple[tuple[float, ...], ...]


def mapped(layers: Layers, machine: Machine, steps: Value = 1.0, dram_bytes_per_cycle: Value = 0.0) -> SpatialCosts:
    """Return the costs of layers (one a row) on one machine under its `mapping`; without outputs they cost nothing.

    `steps` is how many cycles of the clock a product takes in the row's format, `dram_bytes_per_cycle` what device
    memory delivers in one of the array's (0: what the machine says).

    Raises:
        BadValueError: no such mapping.
    """
    rate = np.where(dram_bytes_per_cycle > 0, dram_bytes_per_cycle, machine.dram_bytes_per_cycle * steps)
    if machine.mapping == "fixed":
        return fixed_mapping(layers, replace(at_precision(machine, steps), dram_bytes_per_cycle=rate))
    if machine.mapping not in ("best", "gemmini"):
        raise BadValueError(f"'{machine.mapping}' is no mapping of a spatial array; known: fixed, best, gemmini.")
    columns = [np.atleast_1d(np.asarray(getattr(layers, name), float)) for name in FIELDS]
    whole = np.stack(np.broadcast_arrays(*columns, np.atleast_1d(steps), np.atleast_1d(rate)), axis=1)
    work = np.flatnonzero(np.broadcast_to(np.asarray(layers.macs) > 0, (len(whole),)))
    shapes, owner = np.unique(whole[work], axis=0, return_inverse=True)
    parts: dict[str, Any] = {}
    for slow, fast in np.unique(shapes[:, -2:], axis=0, return_index=True)[0] if len(shapes) else ():
        mine = np.flatnonzero((shapes[:, -2] == slow) & (shapes[:, -1] == fast))
        one = replace(at_precision(machine, float(slow)), dram_bytes_per_cycle=float(fast))
        found = _unequal(tuple(map(tuple, shapes[mine, :-2].tolist())), one)
        for name, values in _flat(found).items():
            parts.setdefault(name, np.zeros(len(shapes)))[mine] = values
    return _spread(parts, work, np.ravel(owner), len(whole))


@lru_cache(maxsize=KEPT)
def _unequal(shapes: _Shapes, machine: Machine) -> SpatialCosts:
    """Return the costs of unequal layers, whose columns are `FIELDS`; sides that are means are taken whole."""
    columns = dict(zip(FIELDS, np.array(shapes).T, strict=True))
    layers = Layers(**(columns | {name: np.ceil(columns[name] - 1e-9) for name in SIDES}))
    if machine.mapping == "best":
        from costmodel.spatial.orders import LEAST_FACTORS, best_mapping

        # beside tiles of any size, more prime factors found nothing faster in five networks on four arrays
        return best_mapping(layers, machine, limit=LEAST_FACTORS)
    return _by_its_library(layers, machine)


def _by_its_library(layers: Layers, machine: Machine) -> SpatialCosts:
    """Return the costs of layers under Gemmini's own tiling; NaN and the bytes missing where its least does not fit."""
    from costmodel.spatial.gemmini import gemmini_costs, gemmini_runs
    from costmodel.spatial.gemmini_tiling import GemminiHardware, least_bytes

    side, buffers = int(machine.rows), machine.buffer_bytes
    scratchpad, accumulator = float(buffers.inputs + buffers.weights), float(buffers.outputs)
    need = least_bytes(layers, side)
    short = np.maximum(need[0] - scratchpad, 0.0) + np.maximum(need[1] - accumulator, 0.0)
    fits = np.flatnonzero(short == 0)
    parts: dict[str, Array] = {}
    if len(fits):
        hardware = GemminiHardware(side=side, scratchpad_bytes=scratchpad, accumulator_bytes=accumulator)
        some = Layers(**{name: np.broadcast_to(getattr(layers, name), short.shape)[fits] for name in FIELDS})
        parts = _flat(gemmini_costs(gemmini_runs(some, hardware=hardware, padding=some.pad_y / 2)))
    found = _spread(parts, fits, np.arange(len(fits)), len(short))
    if len(fits) == len(short):
        return found
    lost = np.where(short > 0, np.nan, 0.0)
    cycles = {f"{stage}_cycles": getattr(found, f"{stage}_cycles") + lost for stage in STAGES}
    return replace(found, **cycles, feasible=short == 0, shortfall_bytes=short)


def _flat(costs: SpatialCosts) -> dict[str, Array]:
    """Return the columns of costs by name, those of operands by `name.operand`."""
    found: dict[str, Array] = {}
    for field in fields(costs):
        value = getattr(costs, field.name)
        named = value._asdict() if isinstance(value, Operands) else {"": value}
        found |= {f"{field.name}.{of}" if of else field.name: np.asarray(one, float) for of, one in named.items()}
    return found


def _spread(parts: dict[str, Array], work: Array, owner: Array, rows: int) -> SpatialCosts:
    def column(name: str) -> Array:
        out = np.zeros(rows)
        if name in parts:
            out[work] = parts[name][owner]
        return out

    plain: dict[str, Any] = {
        f.name: column(f.name) for f in fields(SpatialCosts) if f.name not in ("buffer_bytes", "dram_read_bytes")
    }
    moved: dict[str, Any] = {name: Operands(*(column(f"{name}.{of}") for of in Operands._fields))
             for name in ("buffer_bytes", "dram_read_bytes")}  # fmt: skip
    feasible = np.ones(rows, dtype=bool)
    feasible[work] = plain["feasible"][work] > 0
    return SpatialCosts(**{**plain, **moved, "feasible": feasible})
