"""The answer of a pipeline as one JSON document: SI units, each uncertain number as value, lo and hi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline

HEADLINES = (
    "power_w", "unscaled_power_w", "technology_factor", "rate_in_hz", "rate_out_hz", "throughput_bytes_per_s",
    "latency_s", "precision", "recall", "f1", "relevant_rate_hz", "relevant_per_joule", "memory_bytes",
)  # fmt: skip


def pipeline_json(answer: Pipeline) -> dict[str, Any]:
    """Return the document. Top-level numbers are the mean rates of the whole system."""
    rates = answer.rates.to_json()
    return {
        "kind": "pipeline", "file": answer.file, "id": answer.spec.id, "name": answer.spec.name,
        "improved_by": list(answer.spec.improved_by), "fidelity": answer.fidelity, "verdict": "feasible",
        "stable": not answer.unstable, "unstable": list(answer.unstable),
        **{name: rates[name] for name in HEADLINES}, "cost_usd": rates["price_usd"],
        "power_by_part_w": rates["power_by_part_w"], "stages": rates["stages"], "links": rates["links"],
        "windows": {window.name: window.to_json() for window in answer.windows},
        "services": {name: _service(found) for name, found in answer.services.items()},
        "seed": answer.seed, "replications": answer.replications, "notes": list(answer.notes),
        "versions": dict(answer.versions),
    }  # fmt: skip


def _service(found: Any) -> dict[str, Any]:
    times = found.times
    return {
        "source": found.source, "on": found.device, "from": times.source, "energy_per_event_j": times.energy_j,
        "latency_by_batch_s": [
            {"batch": i + 1, "value": time, "lo": lo, "hi": hi}
            for i, (time, lo, hi) in enumerate(zip(times.time_s, times.lo_s, times.hi_s, strict=True))
        ],
    }  # fmt: skip
