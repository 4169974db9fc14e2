"""Radio links: gain from distance and fading, and the rate, in physical form and as published."""

from __future__ import annotations

import numpy as np

from simulator.offloading.settings import OffloadingConfig
from workloads.table import Array


def watts(level_dbm: float) -> float:
    """Return the power in W of a level in dBm."""
    return float(10 ** ((level_dbm - 30) / 10))


def gain(config: OffloadingConfig, distance_m: Array, fading: Array, shadowing_db: Array | float) -> Array:
    """Return the share of the sent power that arrives, (servers, users), before antennas.

    Path loss in dB is slope x log10(km) + loss at 1 km; `shadowing_db` is lost on top; `fading` multiplies the power.
    """
    path_db = config.path_loss_slope_db * np.log10(distance_m / 1000) + config.path_loss_at_1km_db
    found: Array = 10 ** ((-shadowing_db - path_db) / 10) * fading
    return found


def published_rates(config: OffloadingConfig, distance_m: Array, fading: Array) -> Array:
    """Return bits/s as MEC_env.py has them: B log2(1 + p g^2 / N) where g is already gain / N.

    The noise so enters twice (and squared gain): the links come out at hundreds of Mb/s. All links lose the 8 dB.
    """
    power_w, bandwidth_hz, _ = _columns(config, len(distance_m))
    noise_w = watts(config.noise_dbm_per_hz) * bandwidth_hz
    normalised = gain(config, distance_m, fading, config.shadowing_db) / noise_w
    found: Array = bandwidth_hz * np.log2(1 + (power_w * (normalised**2)) / noise_w)
    return found


def physical_rates(config: OffloadingConfig, distance_m: Array, fading: Array, shadowing_db: Array) -> Array:
    """Return bits/s after Shannon: B log2(1 + p gain / N), N = noise density x B x noise figure, with the antenna.

    With `fading` average it is the mean over Rayleigh fading: a task is sent over many coherence times.
    """
    power_w, bandwidth_hz, antenna_db = _columns(config, len(distance_m))
    noise_w = watts(config.noise_dbm_per_hz + config.noise_figure_db) * bandwidth_hz
    snr = power_w * 10 ** (antenna_db / 10) * gain(config, distance_m, fading, shadowing_db) / noise_w
    found: Array = bandwidth_hz * (mean_efficiency(snr) if config.fading == "average" else np.log2(1 + snr))
    return found


def mean_efficiency(snr: Array) -> Array:
    """Return the mean of log2(1 + snr x) bits/s/Hz over Rayleigh fading, x exponential of mean 1.

    Double-exponential quadrature (Takahashi and Mori 1974) on x = exp(t - exp(-t)): relative error below 1e-9 for any
    snr from 1e-8 to 1e10.
    """
    t = np.arange(-5.0, 5.0, 0.05)
    x = np.exp(t - np.exp(-t))
    share = 0.05 * x * (1 + np.exp(-t)) * np.exp(-x)
    found: Array = np.log1p(snr[..., None] * x) @ share / np.log(2)
    return found


def _columns(config: OffloadingConfig, servers: int) -> tuple[Array, Array, Array]:
    """Return (power in W, bandwidth in Hz, antenna gain in dB) of the links to each server, as columns."""
    kinds = [config.cloud] + [config.edge] * (servers - 1)
    found = np.array([(kind.sending_power_w, kind.bandwidth_hz, kind.antenna_gain_db) for kind in kinds])
    return found[:, :1], found[:, 1:2], found[:, 2:]
