"""The answer of a serving simulation as one JSON document: SI units, each uncertain number as value, lo and hi."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simulator.serving.results import TIMES

if TYPE_CHECKING:
    from archcast.serving import Serving
    from simulator.intervals import Uncertain
    from simulator.serving.run import Study
    from simulator.serving.series import Level

RATES = ("request_rate_hz", "token_rate_hz", "prompt_token_rate_hz")
COSTS = ("energy_j", "energy_per_token_j", "power_w", "cost_usd", "usd_per_million_tokens")
SHARES = ("utilisation", "preemptions", "prefix_hit_share")


def serving_json(answer: Serving) -> dict[str, Any]:
    """Return the document; NaN and infinity are left out or null."""
    scenario = answer.scenario
    doc: dict[str, Any] = {
        "kind": "serving", "file": answer.file, "asked": answer.about, "verdict": answer.verdict,
        "stable": answer.stable, "slo_met": answer.slo_met, "shortfall_bytes": answer.shortfall_bytes,
    }  # fmt: skip
    if answer.reason:
        doc["reason"] = answer.reason
    if answer.study is not None:
        doc |= _study(answer, answer.study)
    rule, share = scenario.warmup
    cut = f"the first {share:.0%} of the requests are left out" if rule == "share" else "MSER-5 on the latencies"
    return doc | {
        "memory_bytes": _memory(answer),
        "memory": {name: room.to_json() for name, room in answer.rooms.items()},
        "seed": scenario.seed, "replications": scenario.replications, "warmup": {"rule": rule, "meaning": cut},
        "notes": list(answer.notes), "versions": answer.versions,
    }  # fmt: skip


def _study(answer: Serving, study: Study) -> dict[str, Any]:
    numbers, scenario = study.numbers, answer.scenario
    doc: dict[str, Any] = {"unstable": study.unstable, "unstable_replications": study.unstable_runs}
    doc |= {name: distribution(study.times[name]) for name in TIMES}
    doc |= {name: numbers[name].to_json() for name in RATES}
    doc["goodput"] = {
        "slo": dict(scenario.slo), "share_asked": scenario.slo_share, "share": numbers["goodput_share"].to_json(),
        "rate_hz": numbers["goodput_hz"].to_json(),
    }  # fmt: skip
    doc |= {name: numbers[name].to_json() for name in COSTS if math.isfinite(numbers[name].value)}
    doc["price_date"] = max((plan.price_date for plan in scenario.pools), default="")
    doc |= {name: numbers[name].to_json() for name in SHARES}
    doc["requests"] = {"counted": numbers["requests"].to_json(), "lost": numbers["lost"].to_json()}
    doc["lost_by_cause"] = dict(study.lost)
    for name, key in (("queue", "queue_requests"), ("running", "running_requests"), ("kv", "kv_occupancy")):
        doc[key] = _level(name, study.levels[name], numbers)
    doc["pools"] = [dict(pool) for pool in study.first.pools]
    for name, found in (("transfer", study.first.transfer), ("workflow_nodes", study.first.nodes)):
        if found:
            doc[name] = dict(found)
    kinds = ([study.chance] if study.chance else []) + (["step costs"] if study.model_interval else [])
    doc["interval"] = {"confidence": 0.95, "chance": study.chance or None, "holds": kinds if study.chance else []}
    doc["source"] = answer.source
    doc["trace_hash"] = study.trace_hashes[0]
    doc["trace_hashes"] = list(study.trace_hashes)
    return doc


def _memory(answer: Serving) -> dict[str, float]:
    """Return what the fullest device holds: engines allocate their KV blocks at the start, so it is no distribution."""
    found = max(sum(room.held_bytes.values()) + room.allocated_bytes for room in answer.rooms.values())
    return {"value": found, "lo": found, "hi": found}


def distribution(found: Mapping[str, Uncertain]) -> dict[str, Any]:
    """Return a time: value, lo and hi are those of the mean; each percentile has its own."""
    return {**found["mean"].to_json(), **{name: number.to_json() for name, number in found.items()}}


def _level(name: str, level: Level, numbers: Mapping[str, Uncertain]) -> dict[str, Any]:
    """Return the level over time in the first replication, and its mean (and most) over all of them."""
    doc: dict[str, Any] = numbers[f"{name}_mean"].to_json()
    if f"{name}_max" in numbers:
        doc["max"] = numbers[f"{name}_max"].to_json()
    return doc | {"time_s": level.at_s.tolist(), "values": level.value.tolist()}
