"""Engines of the space `gpu-serving`: every device, tensor-parallel degree and format, and the memory it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.question import Target, find_target
from costmodel.memory import activation_bytes, memory_of
from costmodel.stack import stack_of
from foundation.errors import BadValueError, InputError
from hardware_specs.catalogue import node_of
from simulator.serving.kv_blocks import (
    BYTES_A_LOGIT,
    GROUP_BYTES,
    NON_TORCH_BYTES,
    head_sizes,
    kv_bytes_per_token,
    recurrent_bytes,
)
from simulator.serving.power import with_served_power
from simulator.serving.pricing import Engine
from simulator.serving.profile import Profile, profile_of
from simulator.serving.step_costs import StepCosts
from workloads.lowering import lower
from workloads.mapping import Mapping as Parallel
from workloads.model import Model, Request
from workloads.table import Array

SAME = "same"
"""The KV cache is in the format of the activations."""
NO_FORMAT = "the device does not compute in the format"
NO_MAPPING = "the model cannot be divided so, or a box has fewer devices"
CHOICES = ("device", "tp", "dtype", "kv_dtype")


@dataclass(frozen=True)
class Engines:
    """All engines of a space. `values` are those of the knobs in `CHOICES`; tables have an entry an engine.

    place: engine of each combination, -1 where `no_format`, -2 where the mapping cannot be.
    """

    model: Model
    values: tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...], tuple[str, ...]]
    most_tokens: tuple[int, ...]
    most_requests: int
    longest: int
    cost_model: str

    @cached_property
    def _found(self) -> tuple[tuple[Engine, ...], Array, tuple[Target, ...]]:
        cost_model = find_serving_model(self.cost_model or None)
        devices, tps, dtypes, kvs = self.values
        targets = tuple(find_target(name) for name in devices)
        place = np.full([len(values) for values in self.values], -1)
        found: list[Engine] = []
        for at in np.ndindex(place.shape):
            target, tp, dtype, kv = targets[at[0]], tps[at[1]], dtypes[at[2]], kvs[at[3]]
            if not target.rates.supports(dtype) or (kv != SAME and not target.rates.supports(kv)):
                continue
            engine = Engine(
                self.model, target.spec, target.rates, Parallel(tp=tp), cost_model, dtype, "" if kv == SAME else kv
            )
            if _possible(engine):
                place[at] = len(found)
                found.append(engine)
            else:
                place[at] = -2
        if not found:
            raise BadValueError(f"no device of the space can serve '{self.model.name}' in any format of the space.")
        return tuple(found), place, targets

    @property
    def engines(self) -> tuple[Engine, ...]:
        return self._found[0]

    @property
    def place(self) -> Array:
        return self._found[1]

    @cached_property
    def profile(self) -> Profile:
        """Return the step costs of all engines as they serve: those of a stack of its own factor."""
        several = list(self.engines)
        priced = profile_of(several, max(self.most_tokens), self.most_requests, self.longest)
        return with_served_power(priced, several, self.step_factors)

    @cached_property
    def step_factors(self) -> Array:
        return np.array([stack_of(one.mapping.software, one.cost_model).step_factor for one in self.engines])

    @cached_property
    def usd_per_s(self) -> Array:
        """Return the price of one instance, NaN where the catalogue has none."""
        return np.array([
            one.spec.price.usd_per_hour.value / 3600 * one.mapping.devices if one.spec.price else np.nan
            for one in self.engines
        ])  # fmt: skip

    @cached_property
    def devices(self) -> Array:
        return np.array([one.mapping.devices for one in self.engines], dtype=float)

    @cached_property
    def idle_w(self) -> Array:
        """Return the idle power of one device."""
        return np.array([float(one.rates.idle_w[0]) for one in self.engines])

    @cached_property
    def capacity_bytes(self) -> Array:
        """Return the memory of one device."""
        return np.array([float(one.spec.dram.capacity_bytes.value) for one in self.engines])

    @cached_property
    def token_bytes(self) -> Array:
        """Return the KV bytes of one token on one device."""
        known: dict[object, float] = {}
        for one in self.engines:
            if _shape(one) not in known:
                known[_shape(one)] = kv_bytes_per_token(one)
        return np.array([known[_shape(one)] for one in self.engines])

    @cached_property
    def _held(self) -> tuple[Array, Array, Array, Array]:
        """Return (fixed, forward, states) of shape (engines, tokens) and (recurrent, logit bytes) (engines, 2)."""
        known: dict[object, tuple[list[list[float]], list[float]]] = {}
        for one in self.engines:
            if _shape(one) not in known:
                known[_shape(one)] = _parts(one, self.most_tokens)
        table = np.array([known[_shape(one)][0] for one in self.engines])
        return table[..., 0], table[..., 1], table[..., 2], np.array([known[_shape(one)][1] for one in self.engines])

    def held_bytes(self, engine: Array, tokens_at: Array, requests: Array) -> Array:
        """Return what an engine holds beside KV blocks on a device, as `simulator.serving.kv_blocks` counts it.

        `tokens_at` is the place of the token budget in `most_tokens`.
        """
        fixed, forward, states, each = self._held
        tokens = np.array(self.most_tokens)[tokens_at]
        sampler = states[engine, tokens_at] + np.minimum(requests, tokens) * each[engine, 1]
        profile = np.maximum(forward[engine, tokens_at], sampler)
        return np.asarray(fixed[engine, tokens_at] + profile + requests * each[engine, 0])

    def step_costs(self, engine: int) -> StepCosts:
        """Return the costs of steps of one engine for simulation, made once; they reach to the largest policy."""
        if engine not in self._costs:
            costs = self.profile.step_costs(max(self.most_tokens), self.most_requests, engine)
            self._costs[engine] = costs.slowed(float(self.step_factors[engine]))
        return self._costs[engine]

    @cached_property
    def _costs(self) -> dict[int, StepCosts]:
        return {}


def _possible(engine: Engine) -> bool:
    node = node_of(engine.spec.id)
    if engine.mapping.devices > (node.count if node else 1):
        return False
    try:
        request = Request(batch=1, prompt=2, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
        lower(engine.model.workload(request).passes, engine.mapping)
    except InputError:
        return False
    return True


def _shape(engine: Engine) -> tuple[object, ...]:
    """Return what the bytes of an engine depend on; a device matters only by its kind."""
    return engine.mapping, engine.dtype, engine.kv_dtype, engine.rates.kind


def _parts(engine: Engine, most_tokens: Sequence[int]) -> tuple[list[list[float]], list[float]]:
    """Return [fixed, forward pass, hidden states of a step] by token budget, and [state, logits] bytes of a request."""
    return [list(row) for row in _by_tokens(engine, most_tokens)], _each(engine)


def _by_tokens(engine: Engine, most_tokens: Sequence[int]) -> Iterator[tuple[float, float, float]]:
    other = NON_TORCH_BYTES + (GROUP_BYTES if engine.mapping.devices > 1 else 0.0)
    for tokens in most_tokens:
        request = Request(batch=1, prompt=tokens, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
        workload = engine.model.workload(request)
        lowered = lower(workload.passes, engine.mapping)
        weights = float(memory_of(workload, lowered, engine.mapping, engine.rates).parts["weights"][0])
        yield weights + other, float(activation_bytes(workload, lowered)[0]), tokens * head_sizes(workload)[1]


def _each(engine: Engine) -> list[float]:
    request = Request(batch=1, prompt=16, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
    workload = engine.model.workload(request)
    return [recurrent_bytes(workload, engine.mapping), head_sizes(workload)[0] * BYTES_A_LOGIT]
