"""The answer of a pipeline as one JSON document: SI units, each uncertain number as value, lo and hi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archcast.render.pipeline_rows import (
    StageRow,
    busy_of_up,
    chain_loss_share,
    detectors_power_w,
    kept_events,
    place_words,
    stage_rows,
)
from simulator.queues.elements import CAUSES

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline
    from simulator.pipelines.window_run import WindowRun

HEADLINES = (
    "power_w", "unscaled_power_w", "technology_factor", "rate_in_hz", "rate_out_hz", "throughput_bytes_per_s",
    "latency_s", "precision", "recall", "f1", "relevant_rate_hz", "relevant_per_joule", "memory_bytes",
)  # fmt: skip


def pipeline_json(answer: Pipeline) -> dict[str, Any]:
    """Return the document. Top-level numbers are the mean rates of the whole system."""
    rates, rows = answer.rates.to_json(), stage_rows(answer)
    return {
        "kind": "pipeline", "file": answer.file, "id": answer.spec.id, "name": answer.spec.name,
        "improved_by": list(answer.spec.improved_by), "fidelity": answer.fidelity, "verdict": "feasible",
        "stable": not answer.unstable, "unstable": list(answer.unstable),
        **{name: rates[name] for name in HEADLINES}, "cost_usd": rates["price_usd"],
        "loss_share": chain_loss_share(rows), "power_by_part_w": rates["power_by_part_w"],
        "power_by_stage_w": _power_by_stage(answer, rows),
        "stages": [_stage(stage, row) for stage, row in zip(rates["stages"], rows, strict=True)],
        "links": rates["links"],
        "windows": {window.name: _window(window) for window in answer.windows},
        "disagreements": [found.to_json() for found in answer.disagreements],
        "services": {name: _service(found) for name, found in answer.services.items()},
        "estimated_figures": _estimated(answer),
        "seed": answer.seed, "replications": answer.replications, "notes": list(answer.notes),
        "versions": dict(answer.versions),
    }  # fmt: skip


def _stage(stage: dict[str, Any], row: StageRow) -> dict[str, Any]:
    """Return a stage; `power_by_part_w` is before technology scaling, and the shares of a decision have names."""
    chosen = row.rates.selection
    stage["power_by_part_w"] = stage.pop("power_w")
    stage["power_w"] = row.power_w
    stage["loss_share"] = row.loss_share
    stage["loss_share_by_cause"] = stage.pop("loss")
    if chosen is not None:
        stage["classifier"] |= {
            "relevant_pass_share": chosen.relevant_pass, "other_pass_share": chosen.null_pass,
        }  # fmt: skip
    return stage


def _power_by_stage(answer: Pipeline, rows: list[StageRow]) -> dict[str, float] | None:
    """Return the power of each stage with its link, and of the detectors; None where no figure gives any."""
    if not answer.rates.power_known:
        return None
    return {row.name: row.power_w for row in rows} | {"detectors": detectors_power_w(answer)}


def _window(window: WindowRun) -> dict[str, Any]:
    """Return a window, with counts of its elements and the number of events that its latencies rest on."""
    found = window.to_json()
    found["latency_events"] = kept_events(window)
    for name, row in window.stages.items():
        found["stages"][name]["counts"] = _counts(window, name)
        found["stages"][name]["busy_share_of_up"] = busy_of_up(row).to_json()
    return found


def _counts(window: WindowRun, stage: str) -> list[dict[str, Any]]:
    """Return, for each element of a stage but fragments, the items of the whole first replication, warm-up included.

    arrived = left + lost + in_flight, in items of the element: a join counts fragments. Packing and unpacking change
    their number on the way out.
    """
    record = window.runs[0].record
    found = []
    for step in window.network.steps[stage]:
        if " fragment " in step:
            continue
        at = record.at(step)
        lost = dict(zip(CAUSES, record.end.lost[at].tolist(), strict=True))
        found.append(
            {
                "element": step,
                "arrived": int(record.end.sums["arrived"][at]),
                "left": int(record.end.sums["left"][at]),
                "lost": {cause: n for cause, n in lost.items() if n},
                "in_flight": int(record.present[at]),
            }
        )
    return found


def _estimated(answer: Pipeline) -> list[dict[str, Any]]:
    """Return the figures of the description that are estimates: where they stand, and their ranges in SI."""
    return [
        {"figure": place_words(answer, place), "value": figure.value, "lo": figure.lo, "hi": figure.hi}
        for place, figure in answer.spec.figures()
        if figure.estimated
    ]


def _service(found: Any) -> dict[str, Any]:
    times = found.times
    return {
        "source": found.source, "on": found.device, "from": times.source, "energy_per_event_j": _energy(times),
        "latency_by_batch_s": [
            {"batch": i + 1, "value": time, "lo": lo, "hi": hi}
            for i, (time, lo, hi) in enumerate(zip(times.time_s, times.lo_s, times.hi_s, strict=True))
        ],
    }  # fmt: skip


def _energy(times: Any) -> dict[str, float] | None:
    if times.energy_j is None:
        return None
    lo, hi = times.energy_ends_j or (times.energy_j, times.energy_j)
    return {"value": times.energy_j, "lo": lo, "hi": hi}
