"""Plan files of small farms for tests."""

from __future__ import annotations

from typing import Any

from archcast.planning.pipeline_answer import PipelinePlan
from archcast.planning.run import plan


def small(**changes: Any) -> dict[str, Any]:
    """Return a plan of a farm with Poisson arrivals and exponential services: 10 erlang, exact in closed form."""
    found: dict[str, Any] = {
        "kind": "plan",
        "pipeline": {
            "kind": "pipeline", "id": "small", "name": "small",
            "detectors": [{"name": "D", "to": "Farm", "size_bytes": "1 kB", "rate_hz": "1 kHz"}],
            "stages": [
                {"name": "Farm", "kind": "farm", "servers": 10, "places": 5,
                 "service": {"time_s": "10 ms", "law": "exponential"}},
                {"name": "Disk", "kind": "storage", "inputs": ["Farm"]},
            ],
        },
        "stage": "Farm",
        "choices": {"servers": {"from": 1, "to": 80}, "places": [0, 2, 5, 10, 20, 40]},
        "limits": {"loss": 1e-3},
        "failing": 0.1,
        "confirm": {"engine": "none"},
    }  # fmt: skip
    return {**found, **changes}


def answer(settings: dict[str, Any] | None = None, **changes: Any) -> PipelinePlan:
    """Return the plan of a small farm."""
    found = plan(small(**changes), settings=settings)
    assert isinstance(found, PipelinePlan)
    return found
