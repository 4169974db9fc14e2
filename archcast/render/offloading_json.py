"""The answer of an offloading simulation as one JSON document, and as a trace in Chrome's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.chrome_trace import microseconds
from simulator.offloading.constants import CONSTANTS, SOURCES
from simulator.offloading.system import server_name

if TYPE_CHECKING:
    from archcast.offloading import Offloading
    from simulator.offloading.settings import OffloadingConfig
    from simulator.offloading.study import Outcome, Study

TOP = (
    "energy_j", "energy_per_task_j", "sending_energy_per_task_j", "execution_energy_per_task_j", "power_w",
    "task_rate_hz", "sending_s", "execution_s", "estimated_delay_s",
)  # fmt: skip
MOST_TASKS = 20_000


def offloading_json(answer: Offloading) -> dict[str, Any]:
    """Return the document. The numbers at its head are those of the asked policy; none where it is unstable."""
    study, plan = answer.study, answer.study.plan
    main = study.main
    doc: dict[str, Any] = {
        "kind": "edge", "file": answer.file, "asked": asked(study), "verdict": "feasible", "stable": answer.stable,
        "unstable": main.unstable, "unstable_replications": main.unstable_runs,
    }  # fmt: skip
    if main.overload:
        doc["reason"] = main.overload
    if not main.unstable:
        doc["latency_s"] = latency(main)
        doc |= {name: main.numbers[name].to_json() for name in TOP if name in main.numbers}
    doc["servers"] = servers(study)
    doc["outcomes"] = [_outcome(study, i) for i in range(len(study.outcomes))]
    doc["front"] = [_point(study.outcomes[i]) for i in study.front]
    if study.reference is not None:
        delay_s, energy_j = study.reference
        given = "given" if plan.reference else "1.1 x the largest mean of each among the stable outcomes"
        doc["reference"] = {"latency_s": delay_s, "energy_per_task_j": energy_j, "rule": given}
    doc["hypervolume_j_s"] = {
        name: {"value": value, "of_each_replication": study.hypervolumes_each[name].to_json()}
        for name, value in study.hypervolumes.items()
    }
    chance = "replications" if plan.replications > 1 else None
    doc["interval"] = {"confidence": 0.95, "chance": chance, "holds": ["replications"] if chance else []}
    doc |= {"trace_hash": main.trace_hashes[0], "trace_hashes": list(main.trace_hashes)}
    if not plan.config.paper_mode:
        doc["constants"] = {
            name: {"value": x.value, "lo": x.lo, "hi": x.hi, "source": SOURCES.get(x.source, "estimated")}
            for name, x in CONSTANTS.items()
        }  # fmt: skip
    warm_up = 0.0 if plan.config.paper_mode else plan.warm_up
    return doc | {
        "seed": plan.seed, "replications": plan.replications, "warm_up": {"rule": "share", "share": warm_up},
        "notes": list(answer.notes), "versions": dict(answer.versions),
    }  # fmt: skip


def asked(study: Study) -> dict[str, Any]:
    """Return what was asked, for the head of the answer."""
    plan, config = study.plan, study.plan.config
    loads = study.offered_loads
    return {
        "mode": "paper" if config.paper_mode else "physical", **_published(config),
        "policy": plan.policy, "weight": study.main.weight,
        "compare": list(plan.compare), "weights": list(plan.weights), "users": config.users,
        "edges": list(config.edge_range), "rate_hz": config.rate_hz, "offered_load": sum(loads) / len(loads),
        "law": config.law, "sending": config.sending, "fading": config.fading,
        **({"steps": config.steps, "step_s": config.step_s} if config.paper_mode else {"tasks": config.tasks}),
        "delay_cost_per_s": config.delay_cost_per_s, "energy_cost_per_j": config.energy_cost_per_j,
    }  # fmt: skip


def _published(config: OffloadingConfig) -> dict[str, Any]:
    """Return which published environment it is, and what of it was changed."""
    if not config.paper_mode:
        return {}
    return {"published": config.published or "own values", "changed": list(config.changed())}


def latency(outcome: Outcome) -> dict[str, Any]:
    """Return the delay of a task from its decision to its end; value, lo and hi are those of the mean."""
    numbers = outcome.numbers
    mean = numbers["delay_s"].to_json()
    return {**mean, "mean": mean, **{p: numbers[f"delay_{p}_s"].to_json() for p in ("p50", "p90", "p99")}}


def servers(study: Study) -> list[dict[str, Any]]:
    """Return the servers of the first replication with what the asked policy gave them in all."""
    main, system = study.main, study.first.system
    return [
        {
            "name": server_name(i), "frequency_hz": frequency, "task_share": float(main.task_share[i]),
            "offered_share": float(main.busy_share[i]), "median_rate_bits_per_s": rate,
        }
        for i, (frequency, rate) in enumerate(zip(
            system.frequency_hz.tolist(), sorted_middle(system.rate_bits_per_s), strict=True
        ))
    ]  # fmt: skip


def sorted_middle(rates: Any) -> list[float]:
    """Return the median over users of each server's rate."""
    import numpy as np

    found: list[float] = np.median(rates, axis=1).tolist()
    return found


def _point(outcome: Outcome) -> dict[str, Any]:
    delay_s, energy_j = (outcome.numbers[name].to_json() for name in ("delay_s", "energy_per_task_j"))
    return {"policy": outcome.policy, "weight": outcome.weight, "latency_s": delay_s, "energy_per_task_j": energy_j}


def _outcome(study: Study, place: int) -> dict[str, Any]:
    outcome = study.outcomes[place]
    doc: dict[str, Any] = {
        "policy": outcome.policy, "weight": outcome.weight, "stable": outcome.stable, "unstable": outcome.unstable,
        "unstable_replications": outcome.unstable_runs, "on_front": place in study.front,
        "task_share": outcome.task_share.tolist(), "offered_share": outcome.busy_share.tolist(),
        "trace_hash": outcome.trace_hashes[0],
    }  # fmt: skip
    if outcome.overload:
        doc["reason"] = outcome.overload
    if outcome.unstable:
        return doc
    doc |= {"latency_s": latency(outcome), "energy_per_task_j": outcome.numbers["energy_per_task_j"].to_json()}
    if outcome.difference:
        names = {"delay_s": "latency_s", "energy_per_task_j": "energy_per_task_j"}
        doc["minus_asked"] = {names[name]: number.to_json() for name, number in outcome.difference.items()}
    return doc


def offloading_trace(answer: Offloading) -> dict[str, Any]:
    """Return the tasks of the first replication: a process a server, each task on its way and then executed."""
    run = answer.study.first
    columns = {name: run.record.column(name).tolist() for name in run.record.rows}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": i + 1, "tid": 0, "args": {"name": server_name(i)}}
        for i in range(run.system.servers)
    ]
    tasks = [i for i, size in enumerate(columns["size_bits"]) if size > 0]
    for task in tasks[:MOST_TASKS]:
        same = {"cat": "task", "id": task + 1, "pid": columns["server"][task] + 1, "tid": 0}
        about = {name: columns[name][task] for name in ("user", "size_bits", "sending_energy_j", "execution_energy_j")}
        edges = [microseconds(round(1e9 * columns[name][task])) for name in ("arrival_s", "sent_s", "finish_s")]
        for name, begin, end in (("sending", *edges[:2]), ("execution", *edges[1:])):
            events.append({"ph": "b", "name": name, "ts": begin, **same, "args": about})
            events.append({"ph": "e", "name": name, "ts": end, **same})
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "producer": "archcast", "policy": answer.study.main.policy, "trace_hash": run.record.trace_hash,
            "tasks_left_out": max(len(tasks) - MOST_TASKS, 0),
        },
    }  # fmt: skip
