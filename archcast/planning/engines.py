"""What a plan chooses among: engines (device, mapping, formats), each with its policies, and what they must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.planning.plan_file import Study
from archcast.prediction import bytes_text
from archcast.question import Target, choose_format, find_model, find_target, mappings_of
from costmodel.estimate import Quantity
from costmodel.stack import Stack, stack_of
from foundation.errors import InputError, UnknownNameError
from hardware_specs.catalogue import node_of
from simulator.serving.policy import Policy
from simulator.serving.pricing import Engine
from simulator.serving.scenario import Room, room_of
from workloads.mapping import Mapping as Parallel
from workloads.model import Model, Request

UNKNOWN = Quantity(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Site:
    """A device type that a plan may use: its price (USD an hour of one), idle power, how many share a box,
    and its names in the file."""

    target: Target
    usd_per_hour: Quantity
    price_date: str
    idle_w: float
    together: int
    names: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.target.spec.id


@dataclass(frozen=True)
class Binding:
    """What keeps a candidate from being used, and how near it came: `value` against `limit`, in the unit of `kind`.

    `kind` is a kind of quantity of `archcast.render.human`; `ratio` is how many times the limit is exceeded.
    """

    constraint: str
    value: float
    limit: float
    kind: str
    words: str

    @property
    def ratio(self) -> float:
        return self.value / self.limit if self.limit > 0 else float("inf")

    def to_json(self) -> dict[str, Any]:
        found = {"value": self.value, "limit": self.limit, "ratio": self.ratio}
        numbers = {key: x if np.isfinite(x) else None for key, x in found.items()}
        return {"constraint": self.constraint, **numbers, "unit": self.kind, "reason": self.words}


@dataclass(frozen=True)
class Candidate:
    """One way to build an instance: an engine and its policy. `lanes` batches run side by side in one instance."""

    site: Site
    engine: Engine
    policy: Policy
    changes: Mapping[str, Any]
    room: Room

    @property
    def devices(self) -> int:
        return self.engine.mapping.devices

    @property
    def lanes(self) -> int:
        return self.engine.mapping.pp * self.engine.mapping.dp

    @property
    def lane_policy(self) -> Policy:
        """Return the policy of one lane, which has its share of the instance's KV blocks."""
        return replace(self.policy, blocks=self.policy.blocks // self.lanes)

    @property
    def usd_per_hour(self) -> float:
        """Return the price of one instance."""
        return self.site.usd_per_hour.value * self.devices

    @property
    def engine_key(self) -> tuple[Any, ...]:
        """Return what its step costs depend on."""
        return (self.site.id, self.engine.mapping, self.engine.dtype, self.engine.kv_dtype)

    @property
    def format(self) -> str:
        """Return the formats as people write them, e.g. `fp8` or `bf16, KV fp8`."""
        name = self.engine.dtype or str(self.engine.model.defaults["dtype"])
        return f"{name}, KV {self.engine.kv_dtype}" if self.engine.kv_dtype else name

    @property
    def policy_label(self) -> str:
        return ", ".join(f"{key} {_plain(value)}" for key, value in self.changes.items()) or "default policy"

    @property
    def label(self) -> str:
        return f"{self.site.id} {self.engine.mapping.label()} {self.format}, {self.policy_label}"

    def to_json(self) -> dict[str, Any]:
        mapping = self.engine.mapping
        return {
            "device": self.site.id, "devices_per_instance": self.devices, "tp": mapping.tp, "pp": mapping.pp,
            "dp": mapping.dp, "ep": mapping.ep, "dtype": self.engine.dtype or str(self.engine.model.defaults["dtype"]),
            "kv_dtype": self.engine.kv_dtype, "policy": {**dict(self.changes), "blocks": self.policy.blocks},
            "label": self.label,
        }  # fmt: skip


def _plain(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def sites_of(study: Study) -> tuple[Site, ...]:
    """Return the device types of a study. Raises BadFileError: an unknown device (the nearest are named), or price."""
    found: list[Site] = []
    listed = {load: load for load in study.devices}
    for i, name in enumerate(study.devices):
        target = study.settings.at(("devices", i), partial(find_target, name))
        listed[name] = target.spec.id
        found.append(_site(study, name, target))
    for key, place in (("prices", ("prices",)), ("available", ("limits", "available"))):
        names = study.prices if key == "prices" else study.limits.available
        for name in names:
            if name not in listed and name not in listed.values():
                problem = str(UnknownNameError("device", name, study.devices, "It is not among the plan's devices."))
                raise study.settings.fault((*place, name), problem)
    return tuple(found)


def _site(study: Study, name: str, target: Target) -> Site:
    spec, price, date = target.spec, UNKNOWN, ""
    own = study.prices.get(name, study.prices.get(spec.id))
    if own is not None:
        price, date = Quantity(own, own, own), "plan file"
    elif spec.price is not None:
        price, date = Quantity(*spec.price.usd_per_hour.interval), spec.price.date
    node = node_of(spec.id)
    return Site(target, price, date, float(target.rates.idle_w[0]), node.count if node else 1, (name, spec.id))


def model_of(study: Study) -> Model:
    """Return the study's model. Raises BadFileError where there is none of the name, or it makes no tokens."""
    model = study.settings.at(("model",), lambda: find_model(study.model, study.knobs or None))
    passes = {run.name for run in model.workload(Request(batch=1, prompt=8, generate=2)).passes}
    if "decode" not in passes:
        raise study.settings.fault(
            ("model",), f"'{model.name}' generates no tokens one by one, so no engine serves it."
        )
    return model


def stack_of_study(study: Study) -> Stack:
    """Return what the stack of a study adds to its kernels. Raises BadFileError: no such cost model."""
    return stack_of(study.software, find_serving_model(study.cost_model))


def candidates_of(
    study: Study, sites: tuple[Site, ...], model: Model, longest: int
) -> tuple[list[Candidate], list[tuple[str, str, Binding]]]:
    """Return the candidates whose weights and longest request (`longest` tokens) fit, and those that do not.

    The latter come as (label, device, what binds): memory, a mapping that the model cannot have, or a format that the
    device cannot compute.
    """
    cost_model = study.settings.at(("cost_model",), lambda: find_serving_model(study.cost_model))
    found: list[Candidate] = []
    left: list[tuple[str, str, Binding]] = []
    for site in sites:
        for dtype in study.formats:
            try:
                own, _ = choose_format(model, site.target, dtype)
            except InputError as error:
                left.append((f"{site.id} {dtype}", site.id, Binding("format", np.nan, np.nan, "", str(error))))
                continue
            for mapping in _mappings(study, site, model):
                for kv_dtype in study.kv_formats:
                    engine = Engine(model, site.target.spec, site.target.rates, mapping, cost_model, own, kv_dtype)
                    _add(study, site, engine, longest, found, left)
    return found, left


def _mappings(study: Study, site: Site, model: Model) -> Iterator[Parallel]:
    """Yield the mappings of one instance. Data parallel ranks make sense within one only where they share experts."""
    for count in study.instance_devices:
        if count > max(site.together, 1):
            continue
        for mapping in mappings_of(count, model, together=count):
            if mapping.dp == 1 or mapping.ep == mapping.tp * mapping.dp:
                yield replace(mapping, software=study.software)


def _add(
    study: Study, site: Site, engine: Engine, longest: int, found: list[Candidate], left: list[tuple[str, str, Binding]]
) -> None:
    mapping = engine.mapping
    label = f"{site.id} {mapping.label()} {engine.dtype or engine.model.defaults['dtype']}"
    for changes in study.policies:
        policy = policy_of(changes)
        try:
            room = room_of(engine, policy, study.memory_share, longest)
        except InputError as error:
            left.append((label, site.id, Binding("mapping", np.nan, np.nan, "", str(error))))
            return
        if room.shortfall_bytes > 0:
            offered = room.capacity_bytes * study.memory_share
            words = (
                f"weights, one step and the longest request ({longest:,} tokens) need "
                f"{bytes_text(offered + room.shortfall_bytes)} on the fullest device of {bytes_text(offered)}"
            )
            left.append((label, site.id, Binding("memory", offered + room.shortfall_bytes, offered, "bytes", words)))
            return
        found.append(Candidate(site, engine, replace(policy, blocks=room.blocks), changes, room))


def policy_of(changes: Mapping[str, Any]) -> Policy:
    """Return a policy with what a plan changes; unless it says, a step takes no more requests than it has tokens.

    Raises BadValueError: more requests than tokens are asked for.
    """
    asked = {"most_requests": min(Policy.most_requests, changes.get("most_tokens", Policy.most_tokens)), **changes}
    return Policy(**asked)
