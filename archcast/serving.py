"""`simulate`, kind `serving`: from the keys of a file to engines, a scenario, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.serving_engines import built, engine_of, plan_of, policy_of
from archcast.serving_file import EngineKeys, ServingKeys, as_fault, read_serving
from archcast.serving_notes import asked_notes
from costmodel.protocol import CostModel
from foundation.errors import BadValueError, InputError
from foundation.yaml_file import YamlDocument
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.disaggregation import Transfer
from simulator.serving.kv_blocks import kv_bytes_per_token
from simulator.serving.power import power_notes
from simulator.serving.pricing import Engine
from simulator.serving.run import Study, run
from simulator.serving.scenario import PoolPlan, Room, Scenario, room_of, source_shares
from simulator.streams import RandomStreams
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
    def stable(self) -> bool | None:
        """Return whether what comes is served as fast as it comes; None where it does not fit."""
        return None if self.study is None else not self.study.unstable

    @property
    def slo_met(self) -> bool | None:
        """Return whether enough requests (`slo.share`) meet all limits; None without limits."""
        if self.study is None or not self.scenario.slo:
            return None
        return self.study.numbers["goodput_share"].value >= self.scenario.slo_share

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
    cost_model = find_serving_model(keys.cost_model)
    draw, drawn = _traffic(keys)
    drawn = drawn or _draws(keys)
    runs = keys.replications if drawn else 1
    asked = [draw(RandomStreams(seed, i)) for i in range(runs)]
    shortest = min(int((t.prompt + t.generate).min()) for t in asked) - 1
    context = int(np.median(asked[0].prompt) + np.median(asked[0].generate) / 2)
    engines = [(pool, *engine_of(pool, keys, cost_model)) for pool in keys.pools]
    notes = tuple(dict.fromkeys(note for _, _, found in engines for note in found)) + asked_notes(keys, engines, asked)
    rooms = {}
    for pool, engine, _ in engines:
        policy = policy_of(pool, engine, keys, 10_000, context)
        rooms[pool.name] = keys.at(
            keys.place(pool, "policy"),
            lambda pool=pool, engine=engine, policy=policy: room_of(  # type: ignore[misc]
                engine, policy, pool.memory_share, shortest, pool.policy.get("blocks")
            ),
        )
    scenario = Scenario((), draw, keys.slo, runs, seed, keys.warmup, drawn, _fleet(keys, engines[0][1]), keys.slo_share)
    about, versions = _about(keys, asked, engines), _versions(cost_model, [engine for _, engine, _ in engines])
    short = max(rooms.items(), key=lambda item: item[1].shortfall_bytes)
    if short[1].shortfall_bytes > 0:
        return Serving(file, scenario, rooms, None, about, {}, versions, notes, _reason(*short, len(rooms)))
    longest = LONGEST if keys.workflow else min(max(int((t.prompt + t.generate).max()) for t in asked), LONGEST)
    plans = [plan_of(pool, engine, rooms[pool.name], keys, longest, context) for pool, engine, _ in engines]
    notes = (*notes, *power_notes([engine for _, engine, _ in engines]))
    scenario = replace(scenario, pools=tuple(plans))
    study = run(scenario)
    if not drawn:
        notes = (*notes, "Nothing is drawn at random here: one run is all there is.")
    source = _source(plans[0], asked[0], study)
    return Serving(file, scenario, rooms, study, about, source, versions, (*notes, *study.notes))


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
        given = {
            "kv_bytes_per_token": kv_bytes_per_token(engine) * engine.mapping.tp * engine.mapping.pp
        } | keys.transfer
        found["transfer"] = keys.at(("transfer",), lambda: built("transfer", Transfer, given))
    if keys.workflow is not None:
        from archcast.serving_workflow import workflow_of

        found["workflow"] = keys.at(("workflow",), lambda: workflow_of(keys.workflow))
    return found


def _reason(name: str, room: Room, pools: int) -> str:
    from archcast.render.human import text

    who = f"a device of pool '{name}'" if pools > 1 else "a device"
    held = sum(room.held_bytes.values())
    capacity, holds, short = (text(x, "bytes") for x in (room.capacity_bytes, held, room.shortfall_bytes))
    return (
        f"{who} of {capacity} has {holds} of weights and buffers to hold and is {short} short of a place for the "
        "shortest request's KV cache"
    )


def _about(
    keys: ServingKeys, drawn: list[Traffic], engines: list[tuple[EngineKeys, Engine, tuple[str, ...]]]
) -> dict[str, Any]:
    """Return what was asked, for the head of the answer; lengths and rates are means over the replications."""
    pools = [
        {
            "name": pool.name, "model": engine.model.name, "on": engine.spec.id, "mapping": engine.mapping.label(),
            "instances": pool.instances, "devices": pool.instances * engine.mapping.devices,
            "dtype": engine.dtype or str(engine.model.defaults["dtype"]), "router": pool.router, "role": pool.role,
        }
        for pool, engine, _ in engines
    ]  # fmt: skip
    spans = [float(one.arrival_s[-1]) for one in drawn]
    rates = [len(one) / span for one, span in zip(drawn, spans, strict=True) if span > 0]
    rates = rates if keys.closed_loop is None else []
    asked: dict[str, Any] = {
        "name": drawn[0].name or (Path(keys.trace["file"]).name if keys.trace else ""), "requests": len(drawn[0]),
        "rate_hz": float(np.mean(rates)) if rates else None,
        "rate_asked_hz": _asked_rate(keys) if rates else None,
        "rate_drawn_hz": [min(rates), max(rates)] if rates else None,
        "prompt_mean": float(np.mean([one.prompt.mean() for one in drawn])),
        "generate_mean": float(np.mean([one.generate.mean() for one in drawn])),
    }  # fmt: skip
    return {"pools": pools, "traffic": asked, **({"closed_loop": keys.closed_loop} if keys.closed_loop else {})}


def _asked_rate(keys: ServingKeys) -> float | None:
    """Return the rate that the file names, requests a second; None where it names none (or one that varies)."""
    arrivals = (keys.traffic or {}).get("arrivals")
    for place in (keys.traffic, arrivals, keys.trace):
        if isinstance(place, dict) and isinstance(place.get("rate_hz"), (int, float)):
            return float(place["rate_hz"])
    return None


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
