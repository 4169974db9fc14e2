"""`serve_columns`: what serving a model costs on devices, mappings, formats and loads, all in one evaluation.

Candidates are engines (a device, a mapping, a format) times loads (lengths and users). An engine is a thousand rows of
the cost model, priced together with those of all others; a load is arithmetic on arrays. Nothing is looped over but
engines, once each, to divide the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.batches import interval_columns
from archcast.cost_models import AnyModel, find_serving_model
from archcast.prediction import bytes_text
from archcast.quantities import SECONDS_PER_HOUR, TOKENS
from archcast.question import MAX_BATCH, MAX_TOKENS, Question, ask, find_model, mappings_of
from costmodel.memory import memory_of
from costmodel.protocol import CostModel
from costmodel.stack import stack_of
from foundation.checks import whole_number
from foundation.errors import BadValueError, InputError
from hardware_specs import DeviceSpec
from simulator.serving.kv_blocks import (
    BYTES_A_LOGIT,
    GROUP_BYTES,
    LONG,
    NON_TORCH_BYTES,
    SHORT,
    head_sizes,
    recurrent_bytes,
)
from simulator.serving.power import with_served_power
from simulator.serving.pricing import Engine
from simulator.serving.profile import Axes, Profile, profile_of
from simulator.serving.steady_state import Lengths, Limits, SteadyState, steady_state
from workloads.graph import Workload
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Model, Request
from workloads.table import Array

QUANTITIES = ("ttft_s", "tpot_s", "latency_s", "request_rate_hz", "tokens_per_s", "power_w", "energy_per_token_j",
              "cost_per_million_tokens_usd")  # fmt: skip


@dataclass(frozen=True)
class Policies:
    """What the engines' schedulers may do: tokens and requests of a step, and of KV blocks; their share of memory."""

    most_tokens: int = 2048
    most_requests: int = 256
    block_tokens: int = 16
    utilization: float = 0.9


@dataclass(frozen=True)
class _Held:
    """Memory of one engine's fullest device: bytes beside KV blocks, blocks, their bytes each, what it offers.

    `fixed`: what a request caches does not grow with its tokens (windows, state spaces): a block is one request's.
    """

    weights_bytes: float
    other_bytes: float
    block_bytes: float
    blocks: int
    offered_bytes: float
    fixed: bool = False

    @property
    def reason(self) -> str:
        """Why no request fits ('' where blocks are left)."""
        if self.blocks > 0:
            return ""
        needed = self.weights_bytes + self.other_bytes + self.block_bytes
        return f"{bytes_text(needed - self.offered_bytes)} short of memory"


def serve_columns(
    model: str | Path | Model, *, on: Sequence[str | DeviceSpec] | str | DeviceSpec, count: int = 1,
    mappings: Iterable[Mapping] | None = None, dtypes: Sequence[str] = ("",), kv_dtype: str = "", prompt: Any,
    generate: Any, concurrency: Any, policies: Policies | None = None, software: str = "", together: bool = False,
    host_s: float = 0.0, cost_model: AnyModel = None,
) -> dict[str, Any]:  # fmt: skip
    """Return columns, one row a candidate: each engine (device x mapping x format) with each load, engines first.

    Args:
        count: devices of one engine; `mappings` of them (None: all that the model can have, as `predict` tries them).
        prompt, generate, concurrency: of each load; what is given once stands for all.
        policies: what schedulers may do. software: the stack whose calibration applies.
        together: users begin at the same moment and ask for the same lengths (`Lengths.together`).
        host_s: seconds that the host adds to every step.

    Returns:
        Arrays of shape (rows,): what was asked (`on`, `tp`, `pp`, `dp`, `ep`, `devices`, `dtype`, `prompt`, `generate`,
        `concurrency`); `QUANTITIES` with their ends (`ttft_lo_s`, ...), NaN where there is no answer; `batch` (requests
        in flight), `waiting`, `memory_bytes` (of the fullest device), `largest_batch` (requests at their last token
        that all KV blocks hold), `verdict` and `reason`.

    Raises:
        InputError: a model, a length or a load that nobody can have. What one device cannot do is a row's reason.
    """
    policies = policies or Policies()
    loads = _loads(prompt, generate, concurrency)
    priced_by = find_serving_model(cost_model)
    asked = _engines(find_model(model), [on] if isinstance(on, (str, DeviceSpec)) else list(on), count,
                     list(mappings) if mappings is not None else None, list(dtypes), kv_dtype, software,
                     int(loads[2].max()), priced_by)  # fmt: skip
    holdings = _holdings(asked, policies)
    able = [i for i, held in enumerate(holdings) if held is not None and held.blocks > 0]
    out = _asked_columns(asked, holdings, loads)
    if not able:
        return out
    engines = [replace(asked[i].engine, known_weights_bytes=holdings[i].weights_bytes) for i in able]  # type: ignore
    longest = int((loads[0] + loads[1]).max())
    profile = with_served_power(
        profile_of(engines, policies.most_tokens, policies.most_requests, longest, host_s), engines
    )
    _answer(out, np.array(able), profile, [asked[i] for i in able], [holdings[i] for i in able], loads, policies,
            together)  # fmt: skip
    return out


def steady_answer(question: Question, mapping: Mapping, cost_model: CostModel, weights_bytes: float) -> SteadyState:
    """Return the steady state of one question with users (`question.concurrency`), all of whose caches fit.

    A few points of the step costs are priced, those of this load: the answer comes as fast as that to a batch.

    Raises:
        BadValueError: a model that generates no tokens.
    """
    request, users = question.request, question.concurrency
    defaults = question.model.defaults
    prompt, generate = (int(getattr(request, name) or defaults[name]) for name in ("prompt", "generate"))
    lane = -(-users // (mapping.pp * mapping.dp))
    most_tokens = max(Policies().most_tokens, 2 * lane)
    engine = Engine(question.model, question.target.spec, question.target.rates, mapping, cost_model, request.dtype,
                    request.kv_dtype, weights_bytes)  # fmt: skip
    axes = Axes.near(prompt, generate, lane, most_tokens)
    profile = profile_of(engine, most_tokens, lane, prompt + generate, axes=axes)
    profile = with_served_power(profile, engine, stack_of(mapping.software, cost_model).step_factor)
    room = Limits(*(np.array([float(x)]) for x in (most_tokens, lane, np.inf, Policies().block_tokens)))
    return steady_state(profile, Lengths.constant(prompt, generate), users, room)


@dataclass
class _Asked:
    """One engine that was asked for: where it can be made, and why not where it cannot."""

    on: str
    dtype: str
    mapping: Mapping
    engine: Any = None
    usd_per_hour: tuple[float, float, float] = (np.nan,) * 3
    reason: str = ""


def _loads(prompt: Any, generate: Any, concurrency: Any) -> tuple[Array, Array, Array]:
    """Return the three columns of loads. Raises BadValueError: one that is not a whole number from 1."""
    found = []
    for name, values, high in (("prompt", prompt, MAX_TOKENS), ("generate", generate, MAX_TOKENS),
                               ("concurrency", concurrency, MAX_BATCH)):  # fmt: skip
        column = np.atleast_1d(np.asarray(values))
        bad = ~(np.isfinite(column.astype(float)) & (column >= 1) & (column == np.floor(column)) & (column <= high))
        if bad.any():
            whole_number(name, column[bad][0].item(), high=high)
        found.append(column.astype(float))
    try:
        a, b, c = np.broadcast_arrays(*found)
    except ValueError:
        sizes = ", ".join(str(len(x)) for x in found)
        raise BadValueError(f"prompt, generate and concurrency have different lengths: {sizes}.") from None
    return a, b, c


def _engines(
    model: Model, on: list[Any], count: int, mappings: list[Mapping] | None, dtypes: list[str], kv_dtype: str,
    software: str, together: int, cost_model: CostModel,
) -> list[_Asked]:  # fmt: skip
    """Return all engines that are asked for, device by device, format by format."""
    given = mappings if mappings is not None else list(mappings_of(whole_number("count", count), model, together))
    found = []
    for device in on:
        for dtype in dtypes:
            name = device.id if isinstance(device, DeviceSpec) else str(device)
            rows = [_Asked(name, dtype, replace(m, software=software) if software else m) for m in given]
            found += rows
            try:
                question = ask(model, device, dtype=dtype, kv_dtype=kv_dtype)
            except InputError as error:
                for row in rows:
                    row.reason = str(error)
                continue
            for row in rows:
                _make(row, question, cost_model)
    return found


def _make(row: _Asked, question: Question, cost_model: CostModel) -> None:
    spec, request = question.target.spec, question.request
    row.dtype = request.dtype or str(question.model.defaults["dtype"])
    row.engine = Engine(question.model, spec, question.target.rates, row.mapping, cost_model, request.dtype,
                        request.kv_dtype)  # fmt: skip
    if spec.price is not None:
        row.usd_per_hour = spec.price.usd_per_hour.interval


def _holdings(asked: list[_Asked], policies: Policies) -> list[_Held | None]:
    """Return what each engine's devices hold, None where it cannot be made (its reason is noted)."""
    workloads: dict[tuple[int, str, str], tuple[Workload, tuple[float, float]]] = {}
    found: list[_Held | None] = []
    for row in asked:
        held = None
        if row.engine is not None:
            key = (id(row.engine.model), row.engine.dtype, row.engine.kv_dtype)
            try:
                if key not in workloads:
                    workload = _prefill(row.engine, policies.most_tokens)
                    workloads[key] = workload, head_sizes(workload)
                _ = row.engine.fabric  # a device without links is refused
                held = _held(row.engine, *workloads[key], policies)
                row.reason = held.reason
            except InputError as error:
                row.reason = str(error)
        found.append(held)
    return found


def _prefill(engine: Engine, most_tokens: int) -> Workload:
    """Return the prefill of three requests: of a whole step, and of two lengths that tell what a token caches."""
    prompts = np.array([most_tokens, SHORT, LONG])
    workload = engine.model.workload(
        Request(batch=1, prompt=prompts, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
    )
    first = tuple(run for run in workload.passes if run.name == "prefill")
    if not first:
        raise BadValueError(f"'{engine.model.name}' generates no tokens one by one, so it cannot be served in steps.")
    return replace(workload, passes=first, stored=tuple(workload.distinct_blocks()))


def _held(engine: Engine, workload: Workload, head: tuple[float, float], policies: Policies) -> _Held:
    """Return the memory of one engine, as `simulator.serving.kv_blocks` counts it."""
    mapping = engine.mapping
    report = memory_of(workload, lower(workload.passes, mapping), mapping, engine.rates)
    state = report.parts["state"]
    token = float(state[2] - state[1]) / (LONG - SHORT)
    requests = min(policies.most_requests, policies.most_tokens)
    sampler = policies.most_tokens * head[1] + requests * head[0] * BYTES_A_LOGIT
    other = max(float(report.parts["activations"][0]), sampler) + NON_TORCH_BYTES
    other += GROUP_BYTES if mapping.devices > 1 else 0.0
    block, fixed = token * policies.block_tokens, token <= 0
    if fixed:
        block = max(float(state[2]), 1.0)
    else:
        other += policies.most_requests * recurrent_bytes(workload, mapping)
    weights = float(report.parts["weights"][0])
    offered = policies.utilization * engine.spec.dram.capacity_bytes.value
    return _Held(weights, other, block, max(int((offered - weights - other) // block), 0), offered, fixed)


def _asked_columns(asked: list[_Asked], holdings: list[_Held | None], loads: tuple[Array, ...]) -> dict[str, Any]:
    """Return the columns of what was asked, with nothing answered yet."""
    many, each = len(asked), len(loads[0])
    rows = many * each
    out: dict[str, Any] = {"on": np.repeat(np.array([row.on for row in asked], dtype=object), each)}
    for size in ("tp", "pp", "dp", "ep", "devices"):
        out[size] = np.repeat([getattr(row.mapping, size) for row in asked], each)
    out["dtype"] = np.repeat(np.array([row.dtype for row in asked], dtype=object), each)
    for name, column in zip(("prompt", "generate", "concurrency"), loads, strict=True):
        out[name] = np.tile(column.astype(np.int64), many)
    for name in QUANTITIES:
        for column_name in interval_columns(name):
            out[column_name] = np.full(rows, np.nan)
    for name in ("batch", "waiting", "memory_bytes", "largest_batch"):
        out[name] = np.full(rows, np.nan)
    out["verdict"] = np.full(rows, "infeasible", dtype="U10")
    out["reason"] = np.repeat(np.array([row.reason for row in asked], dtype=object), each)
    needed = [np.nan if held is None else held.weights_bytes + held.other_bytes for held in holdings]
    out["memory_bytes"] = np.repeat(needed, each)
    return out


def _answer(
    out: dict[str, Any], able: Array, profile: Profile, asked: list[_Asked], holdings: list[Any],
    loads: tuple[Array, ...], policies: Policies, together: bool,
) -> None:  # fmt: skip
    """Fill in the rows of engines that can be made, all loads of each."""
    each = len(loads[0])
    prompt, generate, users = (np.tile(column, len(able)) for column in loads)
    engine = np.repeat(np.arange(len(able)), each)
    rows = (able[:, None] * each + np.arange(each)).ravel()
    stages = np.array([row.mapping.pp for row in asked], float)[engine]
    blocks = np.array([held.blocks for held in holdings], float)[engine] // stages  # of a lane
    fixed = np.array([held.fixed for held in holdings])[engine]
    last = np.where(fixed, 1.0, np.ceil((prompt + generate - 1) / policies.block_tokens))
    largest = np.floor(blocks / last)
    fits = largest >= 1
    tokens, width = (np.full(len(rows), float(x)) for x in (policies.most_tokens, policies.block_tokens))
    requests = np.where(fixed, np.minimum(largest, policies.most_requests), float(policies.most_requests))
    limits = Limits(tokens, requests, np.where(fixed, np.inf, blocks * policies.block_tokens), width)
    found = steady_state(profile, Lengths.constant(prompt, generate, together=together), users, limits, engine)
    prices = np.array([row.usd_per_hour for row in asked])[engine] * profile.devices[engine][:, None]
    values = {name: getattr(found, name) for name in QUANTITIES[:-1]}
    values[QUANTITIES[-1]] = prices / SECONDS_PER_HOUR / found.tokens_per_s[:, [0, 2, 1]] * TOKENS
    for name, columns in values.items():
        for j, column in enumerate(interval_columns(name)):
            out[column][rows] = np.where(fits, columns[:, j], np.nan)
    out["batch"][rows], out["waiting"][rows] = np.where(fits, found.batch, 0.0), np.where(fits, found.waiting, users)
    out["largest_batch"][rows] = largest * profile.lanes[engine]
    out["memory_bytes"][rows] += _cached_bytes(found, holdings, engine, profile.lanes[engine], stages, policies)
    out["verdict"][rows[fits]] = "feasible"
    out["reason"][rows[~fits]] = "the KV blocks cannot hold one request to its end"


def _cached_bytes(found: SteadyState, holdings: list[_Held], engine: Array, lanes: Array, stages: Array,
                  policies: Policies) -> Array:  # fmt: skip
    """Return what the requests in flight have cached on the fullest device."""
    block, fixed = (np.array([getattr(held, name) for held in holdings])[engine] for name in ("block_bytes", "fixed"))
    held = np.where(fixed, found.batch / lanes, found.kv_tokens / policies.block_tokens)  # of a lane
    return np.asarray(held * stages * block)
