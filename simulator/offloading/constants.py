"""Constants of the physical mode, each with its source or marked as estimated with its range."""

from __future__ import annotations

from hardware_specs.figures import Figure

SOURCES: dict[str, str] = {
    "MEC": "gracefulning/mec_morl_multipolicy (MIT), env/config1.json and constants of env/MEC_env.py, 2023",
    "TS-36.101": "3GPP TS 36.101: power class 3 is 23 dBm (6.2.2); 18 MHz measured of a 20 MHz channel (6.3.2)",
    "SR-2025": "Scientific Reports, s41598-025-96272-4 (2025), table 1: 1e-28, 1e3 cycles a bit, shadowing 4 dB",
}


def _from(value: float, source: str) -> Figure:
    return Figure(value=value, lo=value, hi=value, source=source)


def _estimated(value: float, lo: float, hi: float) -> Figure:
    return Figure(value=value, lo=lo, hi=hi, estimated=True)


CONSTANTS: dict[str, Figure] = {
    "cloud.frequency_hz": _from(4e9, "MEC"),
    "cloud.frequency_spread_hz": _from(1e9, "MEC"),
    "edge.frequency_hz": _from(2e9, "MEC"),
    "edge.frequency_spread_hz": _from(0.5e9, "MEC"),
    "cycles_per_bit": _from(1000.0, "SR-2025"),
    # J per cycle is k f^2: 6.4 W at 4 GHz and 0.8 W at 2 GHz, as of one core. The published 5e-31 would be 0.03 W.
    "energy_j_per_cycle_hz2": Figure(value=1e-28, lo=1e-29, hi=1e-26, source="SR-2025"),
    "sending_power_w": _from(0.2, "TS-36.101"),
    # The 18 MHz of an LTE carrier in orthogonal parts for ten users.
    "bandwidth_hz": Figure(value=1.8e6, lo=0.18e6, hi=18e6, source="TS-36.101"),
    "cloud.nearest_m": _from(1000.0, "MEC"),
    "cloud.farthest_m": _from(2000.0, "MEC"),
    "edge.nearest_m": _from(50.0, "MEC"),
    "edge.farthest_m": _from(500.0, "MEC"),
    "path_loss_slope_db": _from(35.0, "MEC"),
    "path_loss_at_1km_db": _from(133.6, "MEC"),
    "shadowing_db": Figure(value=4.0, lo=0.0, hi=10.0, source="SR-2025"),
    "noise_dbm_per_hz": _from(-174.0, "MEC"),
    "cloud.antenna_gain_db": _estimated(15.0, 10.0, 18.0),
    "edge.antenna_gain_db": _estimated(5.0, 0.0, 8.0),
    "noise_figure_db": _estimated(5.0, 2.0, 9.0),
    "cloud.latency_s": _estimated(0.02, 0.005, 0.1),
    "idle_power_w": _estimated(0.0, 0.0, 20.0),
    "load": _estimated(0.6, 0.1, 0.95),
    "delay_cost_per_s": _estimated(1.0, 0.01, 100.0),
    "energy_cost_per_j": _estimated(1.0, 0.01, 100.0),
}
"""Value, range and source; a load and the prices of a second and a joule are choices of the caller."""


def constant(name: str) -> float:
    """Return the value of a constant in the unit that its name ends in."""
    return CONSTANTS[name].value
