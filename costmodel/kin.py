"""Devices that resemble each other: how far they are apart, who shares trees, and what a row's time goes into."""

from __future__ import annotations

import numpy as np

from costmodel.features import LAYOUTS
from costmodel.rates import Rates
from foundation.formats import FORMAT_CODES
from workloads.table import Array

FARTHEST_KIN = 2.5
"""Log distance to the nearest measured device beyond which none of them says anything (estimated, 1.5 to 4)."""
NEAR_KIN = 0.75
"""Log distance within which devices are one design with other figures, and one's trees serve another as they are: H100
and H200 are 0.51 apart, the B200 and its variants 0.12 to 0.46; L40S and RTX PRO 6000 (0.91) are two designs."""
REGIMES = 4
"""Launch, device memory, memory that a cache may serve, and arithmetic: what a row's time goes into."""
RESIDENT = 0.25
"""Part of the last cache that holds half of what operators move when they are repeated with several copies of their
weights, as benchmarks do (estimated, 0.1 to 1)."""
SIBLINGS = 0.7
"""Log distance within which devices share their trees (estimated, 0.6 to 1.4): up to four times the rows for kernels
that are nearly the same. H100 and H200 are 0.51 apart, the L40S and the RTX PRO 6000 0.60; sharing lowers the error of
products by 3 to 9 % of itself and that of attention by 9 to 17 %. A100 and H100 are 1.44 apart; it raises theirs."""


def near_name(op: str) -> str:
    """Return the name of the intervals of devices that were never measured but have a device of their own design."""
    return f"near/{op}"


def siblings(kinship: dict[str, tuple[float, ...]], kinds: dict[str, str]) -> dict[str, str]:
    """Return for each device the names of those that it shares trees with, itself among them, joined by +.

    In the order of their names, each joins the first pool of its kind whose members all are within `SIBLINGS`.
    """
    pools: list[list[str]] = []
    for name in sorted(kinship):
        for pool in pools:
            away = max(float(np.linalg.norm(np.subtract(kinship[name], kinship[other]))) for other in pool)
            if kinds[pool[0]] == kinds[name] and away <= SIBLINGS:
                pool.append(name)
                break
        else:
            pools.append([name])
    return {name: "+".join(pool) for pool in pools for name in pool}


def regimes(features: Array, group: str) -> Array:
    """Return the time that launches, memory (as far as no cache, and as far as one may serve) and whole tiles of
    arithmetic take by the data sheet, as shares of the closed form's time (each at most 1), shape (rows, 4)."""
    names = LAYOUTS[group].names
    launch, memory, intensity, waste, held = (
        features[:, names.index(n)].astype(np.float64)
        for n in ("time_over_launch", "memory_over_time", "compute_over_memory", "shape_waste", "bytes_over_cache")
    )
    cold = -np.logaddexp(0.0, 2.0 * (np.log(RESIDENT) - held))
    warm = cold + 2.0 * (np.log(RESIDENT) - held)
    logs = np.stack([-launch, memory + cold, memory + warm, memory + intensity + waste], axis=1)
    return np.asarray(np.exp(np.clip(logs, -30.0, 0.0)))


def kernel_codes(features: Array, group: str) -> Array:
    """Return a code of number format, framework and phase of each row, shape (rows,): kernels have their own habits."""
    names = LAYOUTS[group].names
    codes = 16.0 * features[:, names.index("dtype")] + features[:, names.index("framework")]
    return np.asarray(codes + 512.0 * features[:, names.index("phase")] if "phase" in names else codes)


def kin_ratios(rates: Rates) -> tuple[float, ...]:
    """Return the log ratios by which devices resemble each other: none of them is a size of an operator."""
    peak = float(rates.peak_flop_per_s[FORMAT_CODES["bf16"]])
    vector = float(rates.vector_flop_per_s[FORMAT_CODES["bf16"]])
    fast = float(rates.peak_flop_per_s[FORMAT_CODES["fp8"]])
    found = (
        peak / rates.dram_bytes_per_s / 100, rates.units / 100, rates.cache_bytes_per_s / rates.dram_bytes_per_s,
        peak / vector, peak / rates.units / 1e12, max(rates.cache_bytes, 1e6) / 1e8, rates.launch_s[0] / 1e-6,
        fast / peak,
    )  # fmt: skip
    return tuple(float(np.log(max(x, 1e-12))) if np.isfinite(x) else 0.0 for x in found)


def kin_place(rates: Rates) -> tuple[float, ...]:
    """Return `kin_ratios` and the gain of four-bit products, which tells generations of like figures apart."""
    peak, small = (float(rates.peak_flop_per_s[FORMAT_CODES[name]]) for name in ("bf16", "nvfp4"))
    gain = small / peak if np.isfinite(small) and np.isfinite(peak) else 1.0
    return (*kin_ratios(rates), float(np.log(max(gain, 1e-12))))


def kin_weights(sources: dict[str, tuple[float, ...]], target: tuple[float, ...], reach: float) -> dict[str, float]:
    """Return the share that each source has in the answer for a target: normal in the distance, 1 in sum."""
    away = {name: float(np.linalg.norm(np.subtract(ratios, target))) for name, ratios in sources.items()}
    nearest = min(away.values())
    raw = {name: float(np.exp((nearest**2 - d**2) / (2 * reach**2))) for name, d in away.items()}
    raw = {name: weight for name, weight in raw.items() if weight > 0.02}
    total = sum(raw.values())
    return {name: weight / total for name, weight in raw.items()}


def distance_to(kin: dict[str, tuple[float, ...]], own: tuple[float, ...]) -> float:
    """Return the log distance to the nearest device."""
    return min(float(np.linalg.norm(np.subtract(ratios, own))) for ratios in kin.values())
