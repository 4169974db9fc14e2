"""Mean board power of an operator from how busy it keeps a device: a few non-negative coefficients a device.

    share of the limit = floor + (1 - floor) x saturated(family x (sum of energy_i x use_i + busy))

A use is a rate over the device's own peak: FLOP by width of format, vector FLOP, bytes of device memory, bytes of the
last cache. So a coefficient is the share of the power limit that a part would draw at full rate, and carries over to
another device by the ratios of the spec sheets (limit, peaks, bandwidths). Where the parts would together draw more
than the limit, the board is throttled: `saturated` bends smoothly into 1 (d / (1 + d^4)^(1/4)).

Coefficients are fitted to the log of measured power with Cauchy weights, since readings of short kernels are often not
of the kernel at all (docs/power.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from costmodel.physics import Stages, stages
from costmodel.rates import Rates
from foundation.errors import BadValueError
from foundation.formats import FORMATS
from workloads.elementwise import Value, larger, unwrapped
from workloads.table import OP_CODES, PHASES, Array, OpTable
from workloads.work import OpWork, count_work

FAMILIES: tuple[str, ...] = ("gemm", "moe", "prefill", "decode", "other")
WIDTHS: tuple[str, ...] = ("wide", "eight", "four")
"""Arithmetic by the bits of an operand: 16 and more, 8, 4."""
USES: tuple[str, ...] = (*WIDTHS, "vector", "dram", "cache")
COEFFICIENTS: tuple[str, ...] = ("floor", *USES, "busy", *(f"{family}_factor" for family in FAMILIES))
PARTS: tuple[str, ...] = ("compute", "vector", "dram", "cache")
PLAIN: tuple[str, ...] = (*PARTS, "skew", "cast", "causal", "window", "weight_bits")
LOGS: tuple[str, ...] = ("time", "waste", "m", "n", "k", "products", "over_cache", "stored", "activations")
SIGNALS: tuple[str, ...] = (*PLAIN, *LOGS, "share_by_physics")
"""What the learned part sees: uses, sizes, time and the physics' own answer, from `time` on as logarithms."""

MOST_USE = 1.2
"""Uses beyond this are faults of a row or of the description (boost clocks reach 1.05 of a peak)."""
SHARPNESS = 4.0
"""How sharply power bends into the limit (estimated, 2 to 8)."""
TYPICAL: tuple[float, ...] = (0.2, 1.2, 1.6, 2.0, 0.5, 0.6, 0.3, 0.05, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Coefficients that a fit starts from (estimated, each within a factor of 3)."""
PRIOR_SPREAD: tuple[float, ...] = (0.1, *(0.1,) * len(USES), 0.2, *(0.4,) * len(FAMILIES))
"""Standard deviation of the log of each coefficient from one device to the next (estimated, half to twice)."""
READING_SPREAD = 0.1
"""Log error of a good reading; Cauchy weights fall to a half here (estimated, 0.05 to 0.2)."""
SHORT_S = 1e-4
"""Latencies are counted in this, so that the logarithm is near 0."""
ROUNDS = 40
LEAST_LOG, MOST_LOG = -7.0, 3.0
_WIDTH_OF: dict[str, int] = {"fp8": 1, "int8": 1, "fp4": 2, "int4": 2}
_WEIGHT_BITS: Array = np.array([f.weight_bits for f in FORMATS.values()], dtype=np.float64)
_DECODE = PHASES.index("decode")
_FAMILY: Array = np.full(len(OP_CODES), len(FAMILIES) - 1)
_FAMILY[[OP_CODES["gemm"], OP_CODES["moe"], OP_CODES["attention"], OP_CODES["mla"]]] = 0, 1, 2, 2


@dataclass(frozen=True)
class Activity:
    """How busy rows keep a device: `use` (rows, uses), `family` and `width` codes, `signals` (signals, rows)."""

    use: Array
    family: Array
    width: Array
    signals: Array

    def take(self, index: Array) -> Activity:
        return Activity(self.use[index], self.family[index], self.width[index], self.signals[:, index])


def activity(table: OpTable, rates: Rates, latency_s: Array) -> Activity:
    """Return the uses of rows that take `latency_s` seconds each, shape (rows,).

    Raises:
        BadValueError: another number of latencies, or one that is not above 0.
    """
    rows = table.rows
    latency = np.asarray(latency_s, dtype=np.float64)
    if latency.shape != (rows,):
        raise BadValueError(f"Power needs one latency a row: {rows} rows, latencies of shape {latency.shape}.")
    if not (np.isfinite(latency).all() and (latency > 0).all()):
        raise BadValueError("Power needs latencies in seconds above 0; at least one is not.")
    plain = unwrapped(table)
    work = count_work(plain)
    signals = signals_of(plain, work, stages(plain, work, rates), rates, latency)
    family, width = family_of(table.full("op"), table.full("phase")), widths(rates)[table.full("dtype")]
    compute, vector, dram, cache = signals[: len(PARTS)]
    use = np.stack([*(compute * (width == i) for i in range(len(WIDTHS))), vector, dram, cache], axis=1)
    return Activity(use, family, width, signals)


def signals_of(table: OpTable, work: OpWork, parts: Stages, rates: Rates, latency_s: Value) -> Array:
    """Return the signals of rows, shape (signals, rows), but the last, which the physics' answer will fill.

    The table is `unwrapped`; one row may come as scalars.
    """
    rate, dtype = 1.0 / latency_s, table["dtype"]
    ideal = larger(parts.ideal_s, _TINY)
    columns = (
        parts.ideal_s * rate, parts.vector_s * rate, parts.dram_s * rate, parts.cache_s * rate, table["skew"],
        table["kv_dtype"] != dtype, table["causal"], table["window"] > 0, _WEIGHT_BITS[dtype],
        latency_s / SHORT_S, larger(parts.shaped_s, ideal) / ideal, work.m, work.n, work.k, work.gemms,
        larger(parts.dram_bytes, _ONE) / max(rates.cache_bytes, 1.0), work.weight_bytes,
        work.input_bytes + work.output_bytes, _ONE,
    )  # fmt: skip
    if table.rows == 1 and not isinstance(latency_s, np.ndarray):
        found = np.array(columns, dtype=np.float64)[:, None]
    else:
        found = np.empty((len(columns), table.rows))
        for row, column in zip(found, columns, strict=True):
            row[...] = column
    uses, logs = found[: len(PARTS)], found[len(PLAIN) :]
    np.minimum(uses, MOST_USE, out=uses)
    np.maximum(logs, _LEAST, out=logs)
    np.log(logs, out=logs)
    return found


_TINY, _ONE = np.float64(1e-15), np.float64(1.0)
_COUNTS = ("m", "n", "k", "products", "stored", "activations")
_LEAST: Array = np.array([[1.0 if name in _COUNTS else 1e-12] for name in (*LOGS, "")])
"""Least of what a logarithm is taken of: 1 of what counts something."""


def widths(rates: Rates) -> Array:
    """Return the width code of the arithmetic that each format is computed in."""
    used = (rates.widened.get(name, fmt.math) for name, fmt in FORMATS.items())
    return np.array([_WIDTH_OF.get(math, 0) for math in used])


def family_of(op: Value, phase: Value) -> Value:
    """Return the family code of operators: attention by phase."""
    family = _FAMILY[op]
    return family + ((family == FAMILIES.index("prefill")) & (phase == _DECODE))


def share_of_limit(coefficients: Array, use: Array, family: Array) -> Array:
    """Return mean power as a share of the power limit, shape (rows,), between the floor and 1."""
    floor, drawn = coefficients[0], _drawn(coefficients, use, family)
    return np.asarray(floor + (1.0 - floor) * drawn / (1.0 + drawn**SHARPNESS) ** (1.0 / SHARPNESS))


@dataclass(frozen=True)
class KindPhysics:
    """Coefficients of one family and width: of each of `PARTS`, the part that is always drawn, and the floor."""

    parts: Array
    busy: float
    floor: float

    @staticmethod
    def of(coefficients: Array, family: int, width: int) -> KindPhysics:
        first = 1 + len(WIDTHS)
        factor = float(coefficients[first + 4 + family])
        parts = np.array([coefficients[1 + width], *coefficients[first : first + 3]]) * factor
        return KindPhysics(parts, float(coefficients[first + 3]) * factor, float(coefficients[0]))

    def share(self, signals: Array) -> Array:
        """Return what `share_of_limit` returns, for rows of this kind, from their signals."""
        # summed by hand: BLAS starts threads for a product of many rows
        one, two, three, four = signals[: len(PARTS)] * self.parts[:, None]
        drawn = one + two
        drawn += three
        drawn += four
        drawn += self.busy
        square = drawn * drawn
        return np.asarray(self.floor + (1.0 - self.floor) * drawn / np.sqrt(np.sqrt(1.0 + square * square)))

    def share_of_one(self, signals: Array) -> float:
        """Return the same of one row, signals of shape (signals,)."""
        drawn = float(self.parts @ signals[: len(PARTS)]) + self.busy
        return self.floor + (1.0 - self.floor) * drawn / math.sqrt(math.sqrt(1.0 + drawn**4))


def _drawn(coefficients: Array, use: Array, family: Array) -> Array:
    last = 1 + len(USES)
    return np.asarray((use @ coefficients[1:last] + coefficients[last]) * coefficients[last + 1 :][family])


def fit_coefficients(
    use: Array, family: Array, share: Array, weight: Array, prior: Array, spread: Array, tail: float = READING_SPREAD
) -> Array:
    """Return the coefficients that explain measured shares of the limit best (iterated, reweighted Gauss-Newton).

    Args:
        share: measured power over the limit, shape (rows,).
        weight: how far each reading is to be trusted, 0 to 1.
        prior, spread: the coefficients leaned on, and the standard deviation of their logarithms.
        tail: log error at which a reading counts half.
    """
    logs, centre = np.log(prior), np.log(prior)
    stiffness = (READING_SPREAD / spread) ** 2
    last = 1 + len(USES)
    for _ in range(ROUNDS):
        c = np.exp(logs)
        drawn = _drawn(c, use, family)
        bent = drawn / (1.0 + drawn**SHARPNESS) ** (1.0 / SHARPNESS)
        slope = (1.0 - c[0]) * (1.0 + drawn**SHARPNESS) ** (-1.0 / SHARPNESS - 1.0)
        modelled = c[0] + (1.0 - c[0]) * bent
        factor = c[last + 1 :][family]
        by_part = (slope * factor)[:, None] * np.column_stack([use * c[1:last], np.full(len(use), c[last])])
        by_family = (slope * drawn)[:, None] * (family[:, None] == np.arange(len(FAMILIES)))
        jacobian = np.column_stack([c[0] * (1.0 - bent), by_part, by_family]) / modelled[:, None]
        error = np.log(share / modelled)
        trust = weight / (1.0 + (error / tail) ** 2)
        curvature = jacobian.T @ (jacobian * trust[:, None]) + np.diag(stiffness)
        step = np.linalg.solve(curvature, jacobian.T @ (trust * error) - stiffness * (logs - centre))
        logs = np.clip(logs + np.clip(step, -0.5, 0.5), LEAST_LOG, MOST_LOG)
        logs[0] = min(logs[0], np.log(0.9))
        if np.abs(step).max() < 1e-6:
            break
    return np.asarray(np.exp(logs))
