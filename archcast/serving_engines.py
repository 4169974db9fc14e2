"""From the keys of a serving file to engines: what they run on, their schedulers, and their options in a fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from archcast.question import ask, find_model, find_target
from archcast.serving_file import EngineKeys, ServingKeys
from archcast.software import check_software
from costmodel.protocol import CostModel
from costmodel.rates import compile_rates
from foundation.errors import BadValueError, UnknownNameError
from foundation.yaml_file import Path_
from hardware_specs import DeviceSpec
from simulator.serving.autoscaling import Autoscaling
from simulator.serving.failures import Failures, Outage, PowerCap
from simulator.serving.kv_blocks import kv_bytes_per_token
from simulator.serving.policy import Policy
from simulator.serving.pricing import Engine
from simulator.serving.scenario import PoolPlan, Room, priced
from workloads.mapping import Mapping as Parallel


def engine_of(pool: EngineKeys, keys: ServingKeys, cost_model: CostModel) -> tuple[Engine, tuple[str, ...]]:
    """Return an engine and notes on the choice of its format. Raises BadFileError, with the key."""
    target = keys.at(keys.place(pool, "on"), lambda: find_target(pool.on))
    model = keys.at(keys.place(pool, "model"), lambda: find_model(pool.model, pool.knobs))
    question = keys.at(pool.at, lambda: ask(model, target.spec, dtype=pool.dtype, kv_dtype=pool.kv_dtype))
    named = keys.place(pool, "software")
    keys.at(named, lambda: check_software(pool.software, cost_model, target.spec, own=True))
    mapping = keys.at(pool.at, lambda: Parallel(tp=pool.tp, pp=pool.pp, dp=pool.dp, ep=pool.ep, software=pool.software))
    spec, rates, cap_w = target.spec, target.rates, pool.power_cap_w
    if cap_w is not None:
        spec = keys.at(keys.place(pool, "power_cap_w"), lambda: _capped(target.spec, cap_w))
        rates = compile_rates(spec)
    request = question.request
    engine = Engine(model, spec, rates, mapping, cost_model, request.dtype, request.kv_dtype)
    keys.at(keys.place(pool, "model"), lambda: engine.run("decode", 1, np.ones(1, dtype=np.int64)))
    keys.at(pool.at, lambda: engine.weights_bytes)
    return engine, question.notes


def _capped(spec: DeviceSpec, cap_w: float) -> DeviceSpec:
    """Return the device with a lower power limit. Raises BadValueError: the cap is not between idle and limit."""
    idle, limit = spec.power.idle_w.value, spec.power.limit_w
    if not idle < cap_w <= limit.value:
        raise BadValueError(
            f"power_cap_w must lie above the {idle:g} W that {spec.id} takes idle and be at most its limit of "
            f"{limit.value:g} W, not {cap_w:g}."
        )
    figure = limit.model_copy(update={"value": cap_w, "lo": cap_w, "hi": cap_w})
    return spec.model_copy(update={"power": spec.power.model_copy(update={"limit_w": figure})})


def policy_of(pool: EngineKeys, engine: Engine, keys: ServingKeys, blocks: int, context: int) -> Policy:
    """Return the scheduler's policy. Raises BadFileError: settings that cannot go together."""
    more: dict[str, Any] = {"blocks": blocks}
    if pool.policy.get("preemption") == "swap":
        more["kv_bytes_per_token"] = keys.at(keys.place(pool, "model"), lambda: kv_bytes_per_token(engine))
    if pool.speculation is not None:
        from archcast.serving_draft import speculation_of

        more["speculation"] = keys.at(
            keys.place(pool, "speculation"), lambda: speculation_of(pool.speculation, engine, context)
        )
    return keys.at(keys.place(pool, "policy"), lambda: Policy(**{**pool.policy, **more}))


def plan_of(
    pool: EngineKeys, engine: Engine, room: Room, keys: ServingKeys, longest: int, context: int
) -> PoolPlan:  # fmt: skip
    """Return a pool with its engines priced. longest: tokens of the longest request; context: of a usual one.

    The policy is that of one lane: it has its share of the engine's KV blocks.
    """
    policy = policy_of(pool, engine, keys, room.blocks // (pool.pp * pool.dp), context)
    price = engine.spec.price
    reach = min(longest, policy.blocks * policy.block_tokens)
    return PoolPlan(
        pool.name, engine, policy, priced(engine, policy, max(reach, 2), keys.intervals), room, pool.instances,
        usd_per_hour=price.usd_per_hour.value if price else float("nan"), price_date=price.date if price else "",
        options=_options(pool, keys),
    )  # fmt: skip


def _options(pool: EngineKeys, keys: ServingKeys) -> dict[str, Any]:
    """Return what the fleet takes beside the engines: router, role, admission, scaling, failures, caps."""
    found: dict[str, Any] = {"role": pool.role, "router": pool.router, "max_queue": pool.max_queue}
    if pool.autoscaling is not None:
        found["autoscaling"] = _made(keys, pool, "autoscaling", Autoscaling, pool.autoscaling)
    if pool.failures is not None:
        failures = {"given": pool.failures} if isinstance(pool.failures, list) else pool.failures
        if not isinstance(failures, dict):
            raise BadValueError("failures must be a list of outages, or a mapping with mtbf_s and mttr_s.")
        given = tuple(_outage(keys, pool, one) for one in failures.get("given", ()))
        found["failures"] = _made(keys, pool, "failures", Failures, {**failures, "given": given})
    if pool.power_caps is not None:
        caps = pool.power_caps if isinstance(pool.power_caps, list) else [pool.power_caps]
        found["power_caps"] = tuple(_made(keys, pool, "power_caps", PowerCap, one) for one in caps)
    return found


def _outage(keys: ServingKeys, pool: EngineKeys, values: Any) -> Outage:
    """Return an outage. Raises BadFileError: of an instance that there never is (one that scales may have any)."""
    outage: Outage = _made(keys, pool, "failures", Outage, values)
    if pool.autoscaling is None and outage.instance >= pool.instances:
        there = "only instance 0" if pool.instances == 1 else f"instances 0 to {pool.instances - 1}"
        raise keys.settings.fault(
            keys.place(pool, "failures"),
            f"instance {outage.instance} cannot fail: there is {there} (instances: {pool.instances}).",
        )
    return outage


def _made(keys: ServingKeys, pool: EngineKeys, key: str, kind: Callable[..., Any], values: Any) -> Any:
    """Build a dataclass from a mapping; an unknown key or a bad value is a fault of the file at `key`."""
    place: Path_ = (*pool.at, key) if keys.settings.has((*pool.at, key)) else (key,)
    return keys.at(place, lambda: built(key, kind, values))


def built(key: str, kind: Callable[..., Any], values: Any) -> Any:
    fields = getattr(kind, "__dataclass_fields__", {})
    if not isinstance(values, dict):
        raise BadValueError(f"{key}: a mapping of keys to values is needed, not {values!r}.")
    for name in values:
        if name not in fields:
            raise UnknownNameError(f"key of {key}", str(name), fields)
    try:
        return kind(**values)
    except TypeError as error:
        raise BadValueError(f"{key}: {error}".replace("__init__() ", "") + ".") from None
