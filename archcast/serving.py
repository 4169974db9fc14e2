"""`simulate`, kind `serving`: from the keys of a file to engines, a scenario, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.question import ask, find_model, find_target
from archcast.serving_file import EngineKeys, ServingKeys, as_fault, read_serving
from costmodel.protocol import CostModel
from costmodel.rates import compile_rates
from foundation.errors import BadValueError, InputError, UnknownNameError
from foundation.yaml_file import Path_, YamlDocument
from hardware_specs import DeviceSpec
from simulator.serving.autoscaling import Autoscaling
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.disaggregation import Transfer
from simulator.serving.failures import Failures, Outage, PowerCap
from simulator.serving.kv_blocks import kv_bytes_per_token
from simulator.serving.policy import Policy
from simulator.serving.pricing import Engine
from simulator.serving.run import Study, run
from simulator.serving.scenario import PoolPlan, Room, Scenario, priced, room_of, source_shares
from simulator.streams import RandomStreams
from workloads.mapping import Mapping as Parallel
from workloads.traffic import Traffic

LONGEST = 131_072
"""Tokens of a request up to which steps are priced; beyond, attention goes on as it was (linear)."""
DRAWING_ROUTERS = ("random", "power-of-two")


@dataclass(frozen=True)
class Serving:
    """The outcome of a serving simulation. `study` is None where a pool does not fit (`verdict` infeasible)."""

    file: str
    scenario: Scenario
    rooms: dict[str, Room]
    study: Study | None
    about: dict[str, Any]
    source: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def verdict(self) -> str:
        return "feasible" if self.study is not None else "infeasible"

    @property
    def shortfall_bytes(self) -> float:
        """Bytes that are missing on the fullest device of the pool that lacks most."""
        return max((room.shortfall_bytes for room in self.rooms.values()), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values (DESIGN 6.2)."""
        from archcast.render.serving_json import serving_json

        return serving_json(self)

    def text(self) -> str:
        """Return the answer for a terminal."""
        from archcast.render.serving_text import serving_text

        return serving_text(self)

    def to_chrome_trace(self) -> dict[str, Any]:
        """Return steps and requests of the first replication in Chrome's trace format (empty: it does not fit)."""
        from archcast.render.serving_trace import serving_trace

        return serving_trace(self)

    def page(self) -> str:
        """Return the answer as one self-contained page."""
        from archcast.render.serving import serving_page

        return serving_page(self)


def serve_file(
    document: YamlDocument, settings: Mapping[str, Any] | None, seed: int, replications: int | None, file: str
) -> Serving:  # fmt: skip
    """Simulate a file of kind `serving`.

    Raises:
        BadFileError: with file, line and key: what the file asks for cannot be.
    """
    keys = read_serving(document, settings)
    if replications is not None:
        keys = replace(keys, replications=replications)
    try:
        return _serve(keys, seed, file)
    except InputError as error:
        raise as_fault(keys, error) from None


def _serve(keys: ServingKeys, seed: int, file: str) -> Serving:
    cost_model = find_cost_model(keys.cost_model)
    draw, drawn = _traffic(keys)
    runs = keys.replications if drawn or _draws(keys) else 1
    asked = [draw(RandomStreams(seed, i)) for i in range(runs)]
    longest = LONGEST if keys.workflow else min(max(int((t.prompt + t.generate).max()) for t in asked), LONGEST)
    shortest = min(int((t.prompt + t.generate).min()) for t in asked) - 1
    engines = [(pool, *_engine(pool, keys, cost_model)) for pool in keys.pools]
    rooms, notes = {}, list(dict.fromkeys(note for _, _, found in engines for note in found))
    for pool, engine, _ in engines:
        policy = keys.at((*pool.at, "policy"), lambda pool=pool: _policy(pool, 10_000))  # type: ignore[misc]
        rooms[pool.name] = room_of(engine, policy, pool.memory_share, shortest, pool.policy.get("blocks"))
    base = Scenario((), draw, keys.slo, runs, seed, keys.warmup, drawn or _draws(keys), _fleet(keys, engines[0][1]))
    about = _about(keys, asked[0], engines)
    versions = _versions(cost_model, [engine for _, engine, _ in engines])
    short = {name: room for name, room in rooms.items() if room.shortfall_bytes > 0}
    if short:
        name, room = max(short.items(), key=lambda item: item[1].shortfall_bytes)
        return Serving(file, base, rooms, None, about, {}, versions, tuple(notes), _reason(name, room, len(rooms)))
    plans = tuple(
        keys.at(pool.at, lambda pool=pool, engine=engine: _plan(pool, engine, rooms[pool.name], longest, keys))  # type: ignore[misc]
        for pool, engine, _ in engines
    )
    scenario = replace(base, pools=plans)
    study = run(scenario)
    if not scenario.random:
        notes.append("Nothing is drawn at random here: one run is all there is.")
    return Serving(
        file, scenario, rooms, study, about, _source(plans[0], asked[0], study), versions, (*notes, *study.notes)
    )


def _engine(pool: EngineKeys, keys: ServingKeys, cost_model: CostModel) -> tuple[Engine, tuple[str, ...]]:
    """Return an engine and notes on the choice of its format. Raises BadFileError, with the key."""
    target = keys.at(keys.place(pool, "on"), lambda: find_target(pool.on))
    model = keys.at(keys.place(pool, "model"), lambda: find_model(pool.model, pool.knobs))
    question = keys.at(pool.at, lambda: ask(model, target.spec, dtype=pool.dtype, kv_dtype=pool.kv_dtype))
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


def _policy(pool: EngineKeys, blocks: int) -> Policy:
    """Return the scheduler's policy. Raises UnknownNameError: a setting that this version's engines do not have."""
    known = set(Policy.__dataclass_fields__)
    for key in pool.policy:
        if key not in known:
            raise UnknownNameError("setting of the policy", key, known)
    return Policy(**{**pool.policy, "blocks": blocks})


def _plan(pool: EngineKeys, engine: Engine, room: Room, longest: int, keys: ServingKeys) -> PoolPlan:
    policy = _policy(pool, room.blocks)
    price = engine.spec.price
    reach = min(longest, room.blocks // (pool.pp * pool.dp) * policy.block_tokens)
    return PoolPlan(
        pool.name, engine, policy, priced(engine, policy, max(reach, 2), keys.intervals), room, pool.instances,
        usd_per_hour=price.usd_per_hour.value if price else float("nan"), price_date=price.date if price else "",
        options=_options(pool, keys),
    )  # fmt: skip


def _options(pool: EngineKeys, keys: ServingKeys) -> dict[str, Any]:
    """Return what the fleet takes beside the engines: router, role, admission, scaling, failures, caps."""
    found: dict[str, Any] = {"role": pool.role, "router": pool.router, "max_queue": pool.max_queue}
    if pool.speculation is not None:
        raise BadValueError("speculation is not supported here yet; leave the key out.")
    if pool.autoscaling is not None:
        found["autoscaling"] = _made(keys, pool, "autoscaling", Autoscaling, pool.autoscaling)
    if pool.failures is not None:
        failures = {"given": pool.failures} if isinstance(pool.failures, list) else pool.failures
        if not isinstance(failures, dict):
            raise BadValueError("failures must be a list of outages, or a mapping with mtbf_s and mttr_s.")
        given = tuple(_made(keys, pool, "failures", Outage, one) for one in failures.get("given", ()))
        found["failures"] = _made(keys, pool, "failures", Failures, {**failures, "given": given})
    if pool.power_caps is not None:
        caps = pool.power_caps if isinstance(pool.power_caps, list) else [pool.power_caps]
        found["power_caps"] = tuple(_made(keys, pool, "power_caps", PowerCap, one) for one in caps)
    return found


def _made(keys: ServingKeys, pool: EngineKeys, key: str, kind: Callable[..., Any], values: Any) -> Any:
    """Build a dataclass from a mapping; an unknown key or a bad value is a fault of the file at `key`."""
    place: Path_ = (*pool.at, key) if keys.settings.has((*pool.at, key)) else (key,)
    return keys.at(place, lambda: _built(key, kind, values))


def _built(key: str, kind: Callable[..., Any], values: Any) -> Any:
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


def _draws(keys: ServingKeys) -> bool:
    """Return whether anything but the traffic draws random numbers."""
    exponential = (keys.closed_loop or {}).get("think") == "exponential"
    return bool(keys.workflow or exponential) or any(
        pool.router in DRAWING_ROUTERS or isinstance(pool.failures, dict) or pool.speculation for pool in keys.pools
    )


def _traffic(keys: ServingKeys) -> tuple[Callable[[RandomStreams], Traffic], bool]:
    """Return what draws the traffic of a replication, and whether it draws at all. Raises BadFileError."""
    if keys.trace is not None:
        trace = keys.trace
        replay = keys.at(("trace",), lambda: _replayed(trace))
        return (lambda _: replay), False
    from workloads.traffic.specification import traffic_model

    spec = {**(keys.traffic or {})}
    if keys.closed_loop is not None and "arrivals" not in spec:
        spec["arrivals"] = "at-once"
    model = keys.at(("traffic",), lambda: traffic_model(spec))
    if model.requests is None and model.horizon_s is None:
        raise keys.settings.fault(("traffic",), "say how much: requests (a number) or horizon_s (seconds).")
    return (lambda streams: model.draw((streams.get("traffic/arrivals"), streams.get("traffic/lengths")))), True


def _replayed(trace: Mapping[str, Any]) -> Traffic:
    from workloads.traffic import read_traffic

    options = {key: trace[key] for key in ("sort", "drop_empty") if key in trace}
    found = read_traffic(trace["file"], **options)
    if "start_s" in trace or "end_s" in trace:
        found = found.within(trace.get("start_s", 0.0), trace.get("end_s", float("inf")))
    if "requests" in trace:
        found = found.take(np.arange(min(trace["requests"], len(found))))
    if "rate_hz" in trace:
        found = found.at_rate(trace["rate_hz"])
    if not len(found):
        raise BadValueError("the trace has no request in that span.")
    return found


def _fleet(keys: ServingKeys, engine: Engine) -> dict[str, Any]:
    """Return what concerns the whole fleet: transfer, closed loop, workflow."""
    found: dict[str, Any] = {}
    if keys.closed_loop is not None:
        loop = keys.closed_loop
        found["closed_loop"] = keys.at(("closed_loop",), lambda: ClosedLoop(**loop))
    if keys.transfer is not None:
        given = {"kv_bytes_per_token": _kv_bytes_per_token(engine)} | keys.transfer
        found["transfer"] = keys.at(("transfer",), lambda: _built("transfer", Transfer, given))
    if keys.workflow is not None:
        from archcast.serving_workflow import workflow_of

        found["workflow"] = keys.at(("workflow",), lambda: workflow_of(keys.workflow))
    return found


def _kv_bytes_per_token(engine: Engine) -> float:
    """Return the KV bytes of a token over all ranks that hold a part of it (heads are divided over tp)."""
    return kv_bytes_per_token(engine) * engine.mapping.tp * engine.mapping.pp


def _reason(name: str, room: Room, pools: int) -> str:
    who = f"a device of pool '{name}'" if pools > 1 else "a device"
    held = sum(room.held_bytes.values())
    return (
        f"{who} of {room.capacity_bytes / 1e9:.4g} GB has {held / 1e9:.4g} GB of weights and buffers to hold and is "
        f"{room.shortfall_bytes / 1e9:.3g} GB short of a place for the shortest request's KV cache"
    )


def _about(
    keys: ServingKeys, traffic: Traffic, engines: list[tuple[EngineKeys, Engine, tuple[str, ...]]]
) -> dict[str, Any]:
    """Return what was asked, for the head of the answer."""
    pools = [
        {
            "name": pool.name, "model": engine.model.name, "on": engine.spec.id, "mapping": engine.mapping.label(),
            "instances": pool.instances, "devices": pool.instances * engine.mapping.devices,
            "dtype": engine.dtype or str(engine.model.defaults["dtype"]), "router": pool.router, "role": pool.role,
        }
        for pool, engine, _ in engines
    ]  # fmt: skip
    span = float(traffic.arrival_s[-1])
    asked: dict[str, Any] = {
        "name": traffic.name or (Path(keys.trace["file"]).name if keys.trace else ""), "requests": len(traffic),
        "rate_hz": len(traffic) / span if span > 0 and keys.closed_loop is None else None,
        "prompt_mean": float(traffic.prompt.mean()), "generate_mean": float(traffic.generate.mean()),
    }  # fmt: skip
    return {"pools": pools, "traffic": asked, **({"closed_loop": keys.closed_loop} if keys.closed_loop else {})}


def _source(plan: PoolPlan, traffic: Traffic, study: Study) -> dict[str, float]:
    batch = max(round(study.numbers["running_mean"].value / max(plan.instances * plan.lanes, 1)), 1)
    prompt = min(int(np.median(traffic.prompt)), plan.policy.most_tokens)
    return source_shares(plan.engine, prompt, int(np.median(traffic.generate)), min(batch, plan.policy.most_requests))


def _versions(cost_model: CostModel, engines: list[Engine]) -> dict[str, str]:
    from archcast import __version__

    return {
        "archcast": __version__, "cost_model": f"{cost_model.name} {cost_model.version}",
        **{f"device {engine.spec.id}": engine.rates.digest() for engine in engines}, "numpy": np.__version__,
    }  # fmt: skip
