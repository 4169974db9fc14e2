"""`Rates`: a device as the few numbers that the closed form needs, with their ranges, by number format.

A `DeviceSpec` is for people; this is its compiled form. Each uncertain number is an array (value, lo, hi).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.kernels import Kernels, kernels_of
from costmodel.spatial.machine import DATAFLOWS, Machine
from foundation.errors import BadValueError, UnsupportedError
from foundation.formats import DIGESTED_FORMATS, FORMAT_CODES, FORMATS, MATH_FALLBACK
from hardware_specs import ComputeUnit, DeviceSpec, Figure
from workloads.elementwise import ZERO, Entries
from workloads.table import Array

Range = tuple[float, float, float]
"""(value, lo, hi)."""

PerCode = tuple[Entries, Entries, Entries]
"""(value, lo, hi), each with one entry a number format or operator family."""

HALF = ("bf16", "fp16")
"""Arithmetic of attention in a network of eight bits: where a matrix unit lacks it, the vector unit's own figure."""

_BY_FORMAT = ("peak_flop_per_s", "vector_flop_per_s", "matrix_energy_j", "vector_energy_j", "matrix_formats")


@dataclass(frozen=True)
class Inverses:
    """A device the other way round: what one FLOP, byte or launch costs, so that rows are only multiplied.

    Seconds at full rate: flop_s and vector_flop_s by format, dram_byte_s, cache_byte_s. By family: compute and memory
    (1 / share of the rate that is reached), launches_s, wave_s. By format: matrix_j and vector_j a FLOP.
    headroom_s_per_j is 1 / (power limit - idle power); ridge_flop_per_byte that of the fastest format.
    """

    flop_s: Entries
    vector_flop_s: Entries
    dram_byte_s: float
    cache_byte_s: float
    compute: PerCode
    memory: PerCode
    launches_s: PerCode
    wave_s: PerCode
    matrix_j: PerCode
    vector_j: PerCode
    headroom_s_per_j: Range
    ridge_flop_per_byte: float


@dataclass(frozen=True)
class Rates:
    """Rates of one device.

    `peak_flop_per_s`, `vector_flop_per_s`, `matrix_energy_j`, `vector_energy_j` have one entry a number format (order
    of `foundation.formats.FORMAT_NAMES`). `matrix_formats` says where the matrix unit can compute, at least widened;
    elsewhere the peak is the vector unit's (the 16-bit attention of a network that an NPU runs in int8), NaN without.
    `widened` names the arithmetic used in place of a format's own. `cache_bytes` is the last on-chip level. `spatial`
    is an array with its buffers, where the device describes them: matrix work is then the spatial model's.
    """

    device: str
    kind: str
    units: int
    tile: tuple[float, float, float]
    array: tuple[int, int, int] | None
    peak_flop_per_s: Array
    vector_flop_per_s: Array
    matrix_energy_j: Array
    vector_energy_j: Array
    matrix_formats: Array
    widened: dict[str, str]
    compute_efficiency: Range
    memory_efficiency: Range
    dram_bytes_per_s: float
    cache_bytes: float
    cache_bytes_per_s: float
    dram_energy_j: Range
    cache_energy_j: Range
    launch_s: Range
    kernels: Kernels
    idle_w: Range
    limit_w: float
    usable_bytes: float
    spatial: Machine | None = None

    def scaled(self, *, bandwidth: float = 1.0, peak: float = 1.0) -> Rates:
        """Return the what-if device with its DRAM bandwidth and peak rates multiplied.

        Raises:
            BadValueError: a factor that is not above 0.
        """
        if not (bandwidth > 0 and peak > 0):
            raise BadValueError(f"What-if factors must be above 0, not bandwidth={bandwidth}, peak={peak}.")
        return replace(
            self,
            dram_bytes_per_s=self.dram_bytes_per_s * bandwidth,
            peak_flop_per_s=self.peak_flop_per_s * peak,
            vector_flop_per_s=self.vector_flop_per_s * peak,
        )

    def compute_share(self, ops: Array, part: int = 0) -> Array:
        """Return the share of the matrix peak that operators of these families reach (part: value, lo, hi)."""
        return np.asarray(self.compute_efficiency[part] * self.kernels.compute_share[ops, part])

    def memory_share(self, ops: Array, part: int = 0) -> Array:
        """Return the share of the memory bandwidth that operators of these families reach."""
        return np.asarray(self.memory_efficiency[part] * self.kernels.memory_share[ops, part])

    @cached_property
    def inverses(self) -> Inverses:
        """What one FLOP, byte or launch costs."""
        kernels, every = self.kernels, range(3)
        return Inverses(
            flop_s=Entries(1.0 / self.peak_flop_per_s), vector_flop_s=Entries(1.0 / self.vector_flop_per_s),
            dram_byte_s=1.0 / self.dram_bytes_per_s or ZERO, cache_byte_s=1.0 / self.cache_bytes_per_s or ZERO,
            compute=_per_code(1.0 / (self.compute_efficiency[i] * kernels.compute_share[:, i]) for i in every),
            memory=_per_code(1.0 / (self.memory_efficiency[i] * kernels.memory_share[:, i]) for i in every),
            launches_s=_per_code(kernels.launches[:, i] * self.launch_s[i] for i in every),
            wave_s=_per_code(kernels.wave_s[:, i] for i in every),
            matrix_j=_per_code(self.matrix_energy_j[:, i] for i in every),
            vector_j=_per_code(self.vector_energy_j[:, i] for i in every),
            headroom_s_per_j=_headroom(self.limit_w, self.idle_w),
            ridge_flop_per_byte=float(np.nanmax(self.peak_flop_per_s)) / self.dram_bytes_per_s,
        )  # fmt: skip

    def supports(self, dtype: str) -> bool:
        """Say whether the matrix unit can compute in a format, at least widened."""
        return bool(self.matrix_formats[list(FORMATS).index(dtype)])

    def digest(self) -> str:
        """Return a hash of every number, so that an answer can be traced to the description it came from."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        import hashlib

        # devices without a described array keep the hash that they had before there were any
        named = [f.name for f in fields(self) if f.name != "spatial" or self.spatial]
        values = [_digested(name, getattr(self, name)) for name in named]
        values += [getattr(self.kernels, f.name) for f in fields(self.kernels)]
        parts = (
            v.tobytes() if isinstance(v, np.ndarray) else repr(v).encode() for v in values if v is not self.kernels
        )
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def _digested(name: str, value: Any) -> Any:
    """Return what the hash covers of a field: of those by format only the first `DIGESTED_FORMATS`."""
    if name in _BY_FORMAT:
        return value[:DIGESTED_FORMATS]
    return {k: v for k, v in value.items() if FORMAT_CODES[k] < DIGESTED_FORMATS} if name == "widened" else value


def _per_code(columns: Iterable[Array]) -> PerCode:
    value, lo, hi = (Entries(np.ascontiguousarray(column)) for column in columns)
    return value, lo, hi


def _headroom(limit_w: float, idle_w: Range) -> Range:
    """Return seconds a joule above idle takes at the power limit, for each end of the idle power."""
    value, lo, hi = (1.0 / max(limit_w - idle, 1e-3 * limit_w) for idle in idle_w)
    return value, lo, hi


def compile_rates(spec: DeviceSpec) -> Rates:
    """Return the rates of a device."""
    matrix, vector = spec.unit("matrix"), spec.unit("vector")
    widened: dict[str, str] = {}
    peaks, vectors, matrix_j, vector_j, able = [], [], [], [], []
    for name, fmt in FORMATS.items():
        used = _math(matrix, fmt.math)
        if used and used != fmt.math:
            widened[name] = used
        lane = _math(vector, "fp32" if fmt.math not in ("int8", "int4") else fmt.math) or _math(vector, fmt.math)
        own = _math(vector, fmt.math) if fmt.math in HALF and lane else lane
        able.append(bool(used))
        peaks.append(_peak(matrix, used) if used else _peak(vector, own) if own else np.nan)
        matrix_j.append(_energy(matrix, used) if used else _energy(vector, own))
        vectors.append(_peak(vector, lane) if lane else peaks[-1])
        vector_j.append(_energy(vector, lane))
    array, tile = matrix.array, matrix.tile
    dram = spec.dram
    inner = spec.memory[1] if len(spec.memory) > 1 else dram
    return Rates(
        device=spec.id, kind=spec.kind, units=matrix.count,
        tile=(tile.m, tile.n, tile.k) if tile else (1, 1, 1),
        array=(array.rows, array.cols, DATAFLOWS.index(array.dataflow)) if array else None,
        peak_flop_per_s=np.array(peaks), vector_flop_per_s=np.array(vectors),
        matrix_energy_j=np.array(matrix_j), vector_energy_j=np.array(vector_j),
        matrix_formats=np.array(able), widened=widened,
        compute_efficiency=matrix.efficiency.interval, memory_efficiency=dram.efficiency.interval,
        dram_bytes_per_s=dram.bandwidth_bytes_per_s.value,
        cache_bytes=max((m.usable_bytes for m in spec.memory[1:]), default=0.0),
        cache_bytes_per_s=max(inner.bandwidth_bytes_per_s.value, dram.bandwidth_bytes_per_s.value),
        dram_energy_j=dram.energy_per_byte_j.interval,
        cache_energy_j=inner.energy_per_byte_j.interval if inner is not dram else (0.0, 0.0, 0.0),
        launch_s=spec.launch_overhead_s.interval, kernels=kernels_of(spec.kind),
        idle_w=spec.power.idle_w.interval, limit_w=spec.power.limit_w.value,
        usable_bytes=dram.usable_bytes, spatial=_array(spec),
    )  # fmt: skip


def _array(spec: DeviceSpec) -> Machine | None:
    """Return the array of a device that describes one; others do not load the model of arrays."""
    if spec.spatial is None:
        return None
    from costmodel.spatial.devices import machine_of

    return machine_of(spec)


def _math(unit: ComputeUnit, math: str) -> str:
    """Return the arithmetic that a unit uses for a format's: its own, or the nearest wider one, or ''."""
    peaks = _named(unit.peak_flop_per_s)
    return next((name for name in (math, *MATH_FALLBACK[math]) if name in peaks), "")


def _named(figures: Mapping[Any, Figure]) -> dict[str, Figure]:
    return {str(name): figure for name, figure in figures.items()}


def _peak(unit: ComputeUnit, math: str) -> float:
    peaks = _named(unit.peak_flop_per_s)
    return peaks[math].value


def _energy(unit: ComputeUnit, math: str) -> Range:
    """Energy per FLOP; an arithmetic without a figure of its own scales with the peak from the dearest known one."""
    known = _named(unit.energy_per_flop_j)
    if math in known:
        return known[math].interval
    if not known or not math:
        return (0.0, 0.0, 0.0)
    peaks = _named(unit.peak_flop_per_s)
    near = min(known, key=lambda name: abs(np.log(peaks[name].value / peaks[math].value)))
    factor = peaks[near].value / peaks[math].value
    base = known[near]
    return (base.value * factor, base.lo * factor / 2, base.hi * factor * 2)


def require_format(rates: Rates, dtype: str) -> None:
    """Refuse a format that the device cannot compute in, not even widened.

    Raises:
        UnsupportedError: names the formats that it can.
    """
    if not rates.supports(dtype):
        able = [name for name in FORMATS if rates.supports(name)]
        raise UnsupportedError(
            f"{rates.device} cannot compute in {dtype}, not even widened; it can in {', '.join(able)}."
        )
