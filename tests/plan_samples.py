"""A plan that is small enough to be made in half a second, and the same with changes."""

from __future__ import annotations

from functools import cache
from typing import Any

from archcast.planning.answer import Plan
from archcast.planning.run import plan

SMALL: dict[str, Any] = {
    "kind": "plan",
    "model": "llama-3.1-8b",
    "cost_model": "physics",
    "traffic": {
        "arrivals": "poisson", "rate_hz": 12, "prompt": 800, "generate": {"kind": "lognormal", "mean": 120, "cv": 0.8},
        "requests": 250,
    },
    "slo": {"ttft_s": 0.6, "tpot_s": 0.03},
    "devices": ["l40s", "h100-sxm"],
    "instance_devices": [1, 2],
    "policies": [{"most_tokens": 1024, "most_requests": 64}],
    "carbon": {"grid_intensity_g_per_kwh": 360, "pue": 1.25},
    "replications": 2,
}  # fmt: skip


def small(**changes: Any) -> dict[str, Any]:
    """Return the small plan's keys with changes; None takes a key out."""
    keys = {**SMALL, **changes}
    return {key: value for key, value in keys.items() if value is not None}


@cache
def small_plan() -> Plan:
    """Return the small plan's answer, made once."""
    return plan(SMALL, seed=1)
