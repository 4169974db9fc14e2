"""`predict`: one question, one `Estimate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import PHYSICS, AnyModel, find_cost_model, find_serving_model
from archcast.fallback import as_run, costs_under_runtime, runtime_of, under_runtime
from archcast.frame_rate import laid_out, with_frame_rate
from archcast.quantities import TOKENS, quantities
from archcast.question import Question, Target, ask, find_target, mappings_of, parallel
from archcast.render.human import text
from archcast.software import as_known, check_software, is_measured
from archcast.turns import fastest, turn_note, turns_of
from costmodel.collectives import fabric_of, has_traffic
from costmodel.costs import DividedCosts
from costmodel.edge_llm_shipped import shipped_answer
from costmodel.estimate import Detail, Estimate, Quantity, Totals, compose, memory_quantity, time_shares
from costmodel.memory import MARGIN, MemoryReport, memory_of
from costmodel.on_chip import OnChip, placed
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from costmodel.spatial.costs import SHORT_BUFFERS
from foundation.errors import BadValueError, MappingError
from hardware_specs import DeviceSpec
from hardware_specs.runtimes import RuntimeSpec, unknown_runtime
from workloads.catalogue import is_path
from workloads.graph import Pass, Workload
from workloads.lowering import lower
from workloads.mapping import Mapping as Parallel
from workloads.model import Model, Request
from workloads.table import Array, OpTable

REMEMBERED = 256
"""Answers by names that are kept (some 100 kB each; estimated, 20 kB to 1 MB)."""
PLAIN = (str, int, float, bool, type(None))


def predict(
    workload: str | Path | Model, *, on: str | Path | DeviceSpec, batch: int = 1, prompt: int | None = None,
    generate: int | None = None, concurrency: int | None = None, dtype: str = "", kv_dtype: str = "",
    count: int | None = None, tp: int = 1, pp: int = 1, ep: int = 1, dp: int = 1, software: str = "",
    mode: str = "infer", knobs: Mapping[str, Any] | None = None, model: AnyModel = None, cp: int = 1,
    allow_fallback: bool = False,
) -> Estimate:  # fmt: skip
    """Return what a workload costs on a device: time, energy, memory, money and traffic, each with an interval.

    Args:
        workload: built-in name, `config.json`, ONNX or YAML file, or a `Model`.
        on: catalogue id, YAML file, or a `DeviceSpec`.
        batch: requests that start together.
        concurrency: users in place of a batch, who ask anew as soon as they are answered: the steady state of an
            engine that batches continuously. `latency_s` is the time in which each of them is answered once.
        prompt, generate: tokens (None: the model's default).
        count: devices; where only this is given, the fastest mapping that fits is chosen.
        tp, pp, ep, dp, cp: tensor, pipeline, expert, data and context parallel sizes.
        knobs: changes to the model's knobs.
        model: a cost model, the folder of an artefact, 'physics' (the closed form), or the name of a package's model
            (None: the artefact that ships, under concurrency tempered by the closed form).
        software: a runtime of the catalogue (docs/runtimes.md), which leaves to the host what its accelerator does not
            take, or the stack whose calibration applies; under concurrency also what it adds to its kernels. A slip of
            such a name is refused; a name near none is a stack of your own, with a note that nothing is known of it.
        allow_fallback: a format that the device lacks is replaced by the nearest that it has, in place of a refusal.

    Raises:
        InputError: one sentence on what cannot be answered and what to change.

    A workload that does not fit in memory is an answer: `verdict` is "infeasible", `shortfall_bytes` says by how much.
    A question by names alone that was asked before has the same answer, which is the same object.
    """
    asked: dict[str, Any] = {
        "batch": batch, "prompt": prompt, "generate": generate, "concurrency": concurrency, "dtype": dtype,
        "kv_dtype": kv_dtype, "count": count, "tp": tp, "pp": pp, "ep": ep, "dp": dp, "software": software,
        "mode": mode, "model": model, "cp": cp, "allow_fallback": allow_fallback,
    }  # fmt: skip
    changes = tuple((knobs or {}).items())
    if _by_names(workload, on, model, asked, knobs or {}):
        return _remembered(workload, on, changes, tuple(type(value) for _, value in changes), **asked)
    return _predict(workload, on, knobs, **asked)


def _by_names(
    workload: object, on: object, model: object, asked: Mapping[str, Any], knobs: Mapping[str, Any]
) -> bool:  # fmt: skip
    """Say whether the same words have the same answer next time: no file, no object, no coefficients held out."""
    return (
        shipped_answer()
        and isinstance(workload, str) and isinstance(on, str) and not on.lower().endswith((".yaml", ".yml"))
        and (model is None or (type(model) is str and model == PHYSICS))
        and all(isinstance(value, PLAIN) for value in (*asked.values(), *knobs.values()))
        and not is_path(workload)
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED, typed=True)
def _remembered(
    workload: str, on: str, knobs: tuple[tuple[str, Any], ...], types: tuple[type, ...], **asked: Any
) -> Estimate:  # fmt: skip
    """Return `_predict` of names; `types` tells 1 from True among the values of knobs."""
    return _predict(workload, on, dict(knobs), **asked)


def _predict(
    workload: str | Path | Model, on: str | Path | DeviceSpec, knobs: Mapping[str, Any] | None, *, count: int | None,
    tp: int, pp: int, ep: int, dp: int, cp: int, software: str, model: AnyModel, **request: Any,
) -> Estimate:  # fmt: skip
    question = ask(workload, on, knobs=knobs, software=software, **request)
    cost_model = find_serving_model(model) if question.concurrency else find_cost_model(model)
    check_software(software, cost_model, question.target.spec, own=True)
    software = as_known(software, cost_model)
    fixed = parallel(count, tp, pp, ep, dp, software, cp, question.concurrency)
    if fixed is not None:
        return answer(question, fixed, cost_model)
    return _best(question, int(count or 1), software, cost_model)


def answer(question: Question, mapping: Parallel, cost_model: CostModel) -> Estimate:
    """Return the estimate of a checked question under one mapping."""
    runtime = runtime_of(mapping.software, question.target, question.concurrency)
    turns = turns_of(question, mapping, runtime)
    return fastest([_answer(question, mapping, cost_model, runtime, each) for each in turns])


def _answer(
    question: Question, mapping: Parallel, cost_model: CostModel, runtime: RuntimeSpec | None, turns: int
) -> Estimate:  # fmt: skip
    """Return the estimate of a batch in so many turns, one after the other."""
    target, cores = under_runtime(question.target, runtime)
    workload = as_run(build(question, mapping.dp, turns), runtime)
    lowered = lower(workload.passes, mapping)
    report = placed(memory_of(workload, lowered, mapping, target.rates), target.spec, target.rates, workload, lowered)
    fabric = fabric_of(target.spec, linked_devices(mapping, lowered.table))
    shortfall = float(report.shortfall_bytes[0])
    known = "" if runtime else mapping.software
    notes = (*question.notes, *workload.notes, *_software_notes(cost_model, known, target, question.concurrency),
             *_stage_notes(mapping, question.concurrency), *_energy_notes(cost_model, target.rates),
             *(report.notes() if isinstance(report, OnChip) else ()), *cores,
             *turn_note(question, turns, runtime))  # fmt: skip
    estimate = Estimate(
        workload=workload.name, device=target.spec.id, mapping=mapping.label(), devices=mapping.devices,
        request=_request(question, workload, mapping.software), verdict="infeasible" if shortfall > 0 else "feasible",
        memory_bytes=memory_quantity(report), memory_parts_bytes={k: float(v[0]) for k, v in report.parts.items()},
        capacity_bytes=report.capacity_bytes, shortfall_bytes=shortfall, notes=notes,
        largest_batch=_largest_batch(report, workload, question, mapping.dp),
        versions=_versions(target, cost_model), linked=bool(target.spec.links),
        stores=report.stores if isinstance(report, OnChip) and report.strict else (),
    )  # fmt: skip
    if shortfall > 0:
        where = "the device" if mapping.devices == 1 else "the fullest device"
        held = bytes_text(float(report.total_bytes[0]))
        reason = f"{where} is {bytes_text(shortfall)} short of the {held} that it must hold"
        return replace(estimate, reason=report.reason() if isinstance(report, OnChip) else reason)
    if (lacking := lacking_tile(lowered.table, target.rates))[0] > 0:
        size, layer = lacking
        reason = f"{SHORT_BUFFERS} {size:,.0f} B short of one tile of '{layer}'"
        return replace(estimate, verdict="infeasible", shortfall_bytes=size, reason=reason, largest_batch=None)
    chip = laid_out(question, mapping, lowered.table, cost_model)
    costs, said = costs_under_runtime(cost_model, workload, lowered, target, fabric, mapping, report, runtime, chip)
    estimate = replace(estimate, notes=(*notes, *said))
    detail = Detail(workload, lowered, costs, mapping, target.rates, fabric)
    if isinstance(report, OnChip) and report.rates:
        detail = replace(detail, rates=report.rates, memory=report.stores[0].name)
    found = _with_times(estimate, detail, compose(workload, lowered, costs), question, cost_model)
    if getattr(question.model, "paths", ()):
        from archcast.dynamic import with_paths

        asked = replace(question, target=target)
        return with_paths(found, asked, mapping, cost_model, fabric, report, runtime, turns)
    return with_frame_rate(found, chip)


def lacking_tile(table: OpTable, rates: Rates) -> tuple[float, str]:
    """Return what one tile lacks in the buffers of a spatial array, and of which layer (nothing on other devices)."""
    if rates.spatial is None:
        return 0.0, ""
    from costmodel.spatial.devices import tile_shortfall

    return tile_shortfall(table, rates.spatial)


def bytes_text(count_bytes: float) -> str:
    """Return bytes of memory as the rest of an answer shows them: binary units, `1.50 GiB`, `12.0 KiB`, `3 B`."""
    return text(count_bytes, "bytes")


def _energy_notes(cost_model: CostModel, rates: Rates) -> tuple[str, ...]:
    """Say where energy is learned from measured power, and on what that rests."""
    if not getattr(cost_model, "knows_power", lambda _: False)(rates):
        return ()
    power: Any = getattr(cost_model, "power", None)
    few = "" if power.kind_of(rates) == "conformal" else ", on a few rows"
    return (
        f"Energy is learned for operators whose board power was measured on {rates.device}{few}; elsewhere it is the "
        "closed form's.",
    )


def _stage_notes(mapping: Parallel, concurrency: int) -> tuple[str, ...]:
    """Say what the time of a batch in a pipeline leaves out; that of users in service leaves out nothing."""
    if mapping.pp == 1 or concurrency:
        return ()
    return (
        f"One batch passes the {mapping.pp} stages one after the other; an engine that keeps all stages busy with "
        f"microbatches serves up to {mapping.pp} times the rate.",
    )


def _software_notes(cost_model: CostModel, software: str, target: Target, concurrency: int = 0) -> tuple[str, ...]:
    """Say where a software stack that was named changes nothing in what operators cost."""
    if not software:
        return ()
    from costmodel.stack import framework, known_stacks

    known: tuple[str, ...] = getattr(getattr(cost_model, "scope", None), "softwares", ())
    name = framework(software)
    if software in known:
        return ()
    if any(framework(one) == name for one in known):
        return (f"The model was not calibrated on '{software}'; the nearest measured version of {name} answers.",)
    named = name in known_stacks(cost_model) or is_measured(software)
    unknown = "" if named else unknown_runtime(software, target.spec)
    first = (unknown,) if unknown else ()
    if not known and concurrency:
        return (*first, "The closed form knows no software stacks: --software changed nothing in what operators cost.")
    if not known:
        what = "The closed form knows no software stacks: --software changed nothing; calibrate, and use --model."
        return (*first, what)
    stacks = ", ".join(sorted({framework(one) for one in known}))
    return (*first, f"The model was not calibrated on the software '{software}', but on versions of {stacks}.")


def linked_devices(mapping: Parallel, table: OpTable) -> int:
    """Return how many devices talk to each other: one where no rank sends anything (replicas that only infer).

    An operator of a file may name more ranks than the mapping has devices (an exchange with machines elsewhere).
    """
    return max(mapping.devices, int(table.full("ranks").max())) if has_traffic(table) else 1


def build(question: Question, replicas: int = 1, turns: int = 1) -> Workload:
    """Return what one of `replicas` data-parallel copies does (the fullest); under concurrency, its steady state.

    A batch in `turns` is the work of one turn so many times.

    Raises:
        MappingError: there are more replicas than requests.
    """
    request, slots = question.request, question.concurrency
    if replicas > 1:
        together = slots or int(request.batch)
        if together < replicas:
            raise MappingError(
                f"dp={replicas} replicas need at least {replicas} requests, not {together}; "
                f"raise --{'concurrency' if slots else 'batch'}."
            )
        share = -(-together // replicas)
        request, slots = (request, share) if slots else (replace(request, batch=share), 0)
    if not slots and turns > 1:
        one = question.model.workload(replace(request, batch=int(request.batch) // turns))
        return replace(one, passes=tuple(replace(run, times=np.asarray(run.times) * turns) for run in one.passes))
    if not slots:
        return question.model.workload(request)
    return steady_state(question.model, request, slots)


def steady_state(model: Model, request: Request, concurrency: int) -> Workload:
    """Return what `concurrency` slots do while each serves one request: C prefills of one, and decode at batch C.

    Continuous batching in closed form: a request that ends is replaced at once, so in the time that one request takes
    every slot starts once. Memory holds C caches, but activations of one prompt at a time.

    Raises:
        BadValueError: the model does not generate, so it has no slots.
    """
    one = model.workload(replace(request, batch=1))
    full = model.workload(replace(request, batch=concurrency))
    runs = {run.name: run for run in full.passes}
    if "decode" not in runs:
        raise BadValueError(f"'{model.name}' generates no tokens, so concurrency has no meaning; use --batch.")
    prefills = tuple(Pass(r.name, r.graph, np.asarray(r.times) * concurrency) for r in one.passes if r.name != "decode")
    return replace(full, passes=(*prefills, runs["decode"]), stored=tuple(full.distinct_blocks()))


def _request(question: Question, workload: Workload, software: str) -> dict[str, Any]:
    request = question.request
    doc: dict[str, Any] = {} if question.concurrency else {"batch": int(request.batch)}
    doc["mode"] = request.mode
    if np.any(workload.tokens_in):
        doc["prompt"] = int(np.ravel(workload.tokens_in)[0])
    if np.any(workload.tokens_out):
        doc["generate"] = int(np.ravel(workload.tokens_out)[0])
    if question.concurrency:
        doc["concurrency"] = question.concurrency
    doc["dtype"] = request.dtype or str(question.model.defaults["dtype"])
    if request.kv_dtype:
        doc["kv_dtype"] = request.kv_dtype
    if software:
        doc["software"] = software
    return doc


def _largest_batch(report: MemoryReport, workload: Workload, question: Question, replicas: int) -> int | None:
    """Return how many requests fit at once, None where the network generates nothing.

    Each has its state, and its activations where they are started together; the rest stays as it is.
    """
    if not np.any(workload.tokens_out):
        return None
    parts = {name: float(values[0]) for name, values in report.parts.items()}
    together = -(-(question.concurrency or int(question.request.batch)) // replicas)
    grows = (parts["state"] + (0.0 if question.concurrency else parts["activations"])) * (1 + MARGIN[0])
    if grows <= 0:
        return None
    room = report.capacity_bytes - (float(report.total_bytes[0]) - grows)
    # where all that is asked for fits to the byte, rounding must not deny it
    return max(int(np.floor(room / grows * together * (1 + 1e-12))), 0) * replicas


def _with_times(
    estimate: Estimate, detail: Detail, totals: Totals, question: Question, cost_model: CostModel
) -> Estimate:  # fmt: skip
    """Fill in time, energy, money and traffic of the one request, or of users in service."""
    mapping = detail.mapping
    slots = -(-question.concurrency // mapping.dp)
    columns = quantities(detail.workload, totals, mapping, question.target, slots)
    source, bound = time_shares(detail)
    price, notes = question.target.spec.price, estimate.notes
    fields: dict[str, Any]
    if question.concurrency:
        from archcast.in_service import in_service, service_notes

        weights_bytes = estimate.memory_parts_bytes["weights"]
        fields = {**in_service(question, mapping, cost_model, detail.workload, columns, weights_bytes)}
        apart_s = float(totals.latency_s[0, 0])
        notes += service_notes(question, mapping.software, cost_model, detail.workload, apart_s)
    else:
        fields = _of_batch(columns, question, detail, float(np.ravel(detail.workload.tokens_out)[0]))
    return replace(
        estimate, price_date=price.date if price else "", dram_bytes=float(totals.dram_bytes[0]),
        link_bytes=float(totals.link_bytes[0]), work_flop=float(totals.flop[0]), source=source, bound=bound,
        interval_kind=detail.costs.interval_kind, detail=detail, notes=notes, **fields,
    )  # fmt: skip


def _of_batch(columns: dict[str, Array], question: Question, detail: Detail, generated: float) -> dict[str, Any]:
    """Return the fields of an estimate that requests have who start together."""
    found, batch = {name: _quantity(values) for name, values in columns.items()}, int(question.request.batch)
    latency, energy = (Quantity(*columns[name][0].tolist()) for name in ("latency_s", "energy_j"))
    watts, limit_w = energy.value / latency.value, most_w(question.target, detail) * detail.mapping.devices
    power = Quantity(watts, energy.lo / latency.hi, max(watts, min(energy.hi / latency.lo, limit_w)))
    rate = Quantity(batch / latency.value, batch / latency.hi, batch / latency.lo)
    fields: dict[str, Any] = {**found, "rate_hz": rate, "power_w": power}
    if generated > 0:
        cost, tokens = found["cost_usd"], batch * generated
        fields |= {"tokens_per_s": rate.scaled(generated), "energy_per_token_j": energy.scaled(1 / tokens),
                   "usd_per_million_tokens": cost.scaled(TOKENS / tokens) if cost else None}  # fmt: skip
    return fields


def most_w(target: Target, detail: Detail) -> float:
    """Return the most that a device draws on average, in watts: its limit, and its host's while that works."""
    host, costs, limit_w = target.spec.host, detail.costs, detail.rates.limit_w
    if host is None or not isinstance(costs, DividedCosts):
        return limit_w
    count = detail.lowered.table.full("count")
    elsewhere = float((costs.elsewhere_s * count).sum() / (costs.latency_s * count).sum())
    host_w = find_target(host.device).rates.limit_w + target.rates.idle_w[2]  # the accelerator idles meanwhile
    return (1 - elsewhere) * limit_w + elsewhere * host_w


def _quantity(columns: Array) -> Quantity | None:
    """Return the one request's (value, lo, hi), None where there is none."""
    value, lo, hi = columns[0].tolist()
    return None if np.isnan(value) else Quantity(value, lo, hi)


def _versions(target: Target, cost_model: CostModel) -> dict[str, str]:
    from archcast import __version__

    return {
        "archcast": __version__, "cost_model": f"{cost_model.name} {cost_model.version}",
        "device": target.rates.digest(),
        "numpy": np.__version__,
    }  # fmt: skip


def _best(question: Question, count: int, software: str, cost_model: CostModel) -> Estimate:
    """Return the fastest mapping that fits on `count` devices, else the one that is least short.

    Raises:
        MappingError: the model cannot be divided over that many devices at all.
    """
    found: list[Estimate] = []
    refusal: MappingError | None = None
    together = question.concurrency or int(question.request.batch)
    for mapping in mappings_of(count, question.model, together):
        try:
            found.append(answer(question, replace(mapping, software=software), cost_model))
        except MappingError as error:
            refusal = error
    if not found:
        raise refusal or MappingError(
            f"'{question.model.name}' has too few heads and layers to be divided over {count} devices; "
            "raise --batch, so that --dp can make replicas."
        )
    fits = [e for e in found if e.latency_s is not None]
    if fits:
        return min(fits, key=lambda e: e.latency_s.value if e.latency_s else 0.0)
    return min(found, key=lambda e: e.shortfall_bytes)
