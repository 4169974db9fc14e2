"""Mean board power of an operator from how busy it keeps a device: a few non-negative coefficients a device.

    share of the limit = floor + (1 - floor) x saturated(family x (sum of energy_i x use_i + busy))

A use is a rate over the device's own peak: FLOP by width of format, vector FLOP, bytes of device memory, bytes of the
last cache. So a coefficient is the share of the power limit that a part would draw at full rate, and carries over to
another device by the ratios of the spec sheets (limit, peaks, bandwidths). Where the parts would together draw more
than the limit, the board is throttled: `saturated` bends smoothly into 1 (d / (1 + d^4)^(1/4)).

Coefficients are fitted to the log of measured power with Cauchy weights, since readings of short kernels are often not
of the kernel at all (docs/power.md), and with a Gaussian prior on their logarithms, which is what a few rows lean on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.physics import stages
from costmodel.rates import Rates
from foundation.errors import BadValueError
from foundation.formats import FORMATS
from workloads.table import OP_CODES, PHASES, Array, OpTable
from workloads.work import count_work

FAMILIES: tuple[str, ...] = ("gemm", "moe", "prefill", "decode", "other")
WIDTHS: tuple[str, ...] = ("wide", "eight", "four")
"""Arithmetic by the bits of an operand: 16 and more, 8, 4."""
USES: tuple[str, ...] = (*WIDTHS, "vector", "dram", "cache")
COEFFICIENTS: tuple[str, ...] = ("floor", *USES, "busy", *(f"{family}_factor" for family in FAMILIES))
FEATURES: tuple[str, ...] = (
    "compute_use", "vector_use", "dram_use", "cache_use", "log_share_by_physics", "log_time_over_launch",
    "log_waste", "log_m", "log_products", "skew", "width", "weight_bits", "family", "phase",
)  # fmt: skip
"""What the learned residual sees; more of any of the first five never lowers the answer."""
MONOTONE = 5
RANGED = 10
"""Features that are numbers, not codes: their trained range bounds where the residual applies."""

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
ROUNDS = 40
LEAST_LOG, MOST_LOG = -7.0, 3.0
_WIDTH_OF: dict[str, int] = {"fp8": 1, "int8": 1, "fp4": 2, "int4": 2}
_WEIGHT_BITS: Array = np.array([f.weight_bits for f in FORMATS.values()], dtype=np.float64)


@dataclass(frozen=True)
class Activity:
    """How busy rows keep a device: `use` (rows, uses), `family` codes, and features but the physics' own share."""

    use: Array
    family: Array
    features: Array


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
    work = count_work(table)
    parts = stages(table, work, rates)
    with np.errstate(divide="ignore", invalid="ignore"):
        compute, vector, dram, cache = (
            np.clip(np.nan_to_num(_column(time, rows) / latency), 0.0, MOST_USE)
            for time in (parts.ideal_s, parts.vector_s, parts.dram_s, parts.cache_s)
        )
        waste = np.nan_to_num(_column(parts.shaped_s, rows) / _column(parts.ideal_s, rows), nan=1.0)
    dtype, family = table.full("dtype"), _families(table)
    width = _widths(rates)[dtype]
    use = np.stack([*(compute * (width == i) for i in range(len(WIDTHS))), vector, dram, cache], axis=1)
    features = np.stack([
        compute, vector, dram, cache, np.zeros(rows), np.log(latency / rates.launch_s[0]),
        np.log(np.clip(waste, 1.0, 1e6)), _log(work.m, rows), _log(work.gemms, rows), table.full("skew"),
        width, _WEIGHT_BITS[dtype], family, table.full("phase"),
    ], axis=1)  # fmt: skip
    return Activity(use, family, features)


def _column(value: Array, rows: int) -> Array:
    return np.asarray(np.broadcast_to(value, (rows,)), dtype=np.float64)


def _log(value: Array, rows: int) -> Array:
    return np.asarray(np.log(np.maximum(_column(value, rows), 1.0)))


def _widths(rates: Rates) -> Array:
    """Return the width code of the arithmetic that each format is computed in."""
    used = (rates.widened.get(name, fmt.math) for name, fmt in FORMATS.items())
    return np.array([_WIDTH_OF.get(math, 0) for math in used])


def _families(table: OpTable) -> Array:
    ops, decode = table.full("op"), table.full("phase") == PHASES.index("decode")
    attention = (ops == OP_CODES["attention"]) | (ops == OP_CODES["mla"])
    chosen = [ops == OP_CODES["gemm"], ops == OP_CODES["moe"], attention & ~decode, attention & decode]
    return np.select(chosen, list(range(4)), len(FAMILIES) - 1)


def share_of_limit(coefficients: Array, use: Array, family: Array) -> Array:
    """Return mean power as a share of the power limit, shape (rows,), between the floor and 1."""
    floor, drawn = coefficients[0], _drawn(coefficients, use, family)
    return np.asarray(floor + (1.0 - floor) * drawn / (1.0 + drawn**SHARPNESS) ** (1.0 / SHARPNESS))


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
