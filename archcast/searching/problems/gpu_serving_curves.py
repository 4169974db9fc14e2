"""Curves of one instance by requests in service, for every engine and token budget: the closed form of `gpu-serving`.

`simulator.serving.steady_state` gives the curves once; a design is then read off them at its own rate and limits, a few
numpy operations for any number of designs. Waiting for a slot is Sakasegawa's M/G/c (Sakasegawa 1977), held to what a
run of so many requests can build up; where more comes than is served, the queue of a fluid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archcast.searching.problems.columns import between
from archcast.searching.problems.gpu_serving_engines import Engines
from simulator.serving.steady_state import Lengths, Limits, steady_state
from workloads.table import Array
from workloads.traffic.statistics import blocks_seen
from workloads.traffic.stream import Traffic

POINTS = 20
"""Numbers of requests in service, from one to the most of a space, at which the curves are known."""
ENDLESS = 1e12
P99, P99_WAIT = 2.326, 4.605
"""Standard deviations to the 99th percentile of a normal, and means to that of an exponential distribution."""


@dataclass(frozen=True)
class Read:
    """What the closed form says of designs, arrays of shape (designs,); `slower` and `faster` are the ends of times."""

    ttft_p99_s: Array
    tpot_p99_s: Array
    latency_s: Array
    makespan_s: Array
    power_w: Array
    faster: Array
    slower: Array


@dataclass(frozen=True)
class Curves:
    """Steady states of all engines. Tables have the shape (engines, token budgets, cache misses and hits, points)."""

    engines: Engines
    traffic: Traffic
    rate_hz: float

    @cached_property
    def users(self) -> Array:
        return np.geomspace(1.0, max(self.engines.most_requests, 2), POINTS)

    @cached_property
    def cached(self) -> Array:
        """Return the tokens of each prompt that a cache without limit would hold; the last one is always computed."""
        seen = blocks_seen(self.traffic) * self.traffic.prefix_tokens
        return np.asarray(np.minimum(seen, self.traffic.prompt - 1))

    @cached_property
    def attended(self) -> float:
        return float(Lengths.of(self.traffic.prompt, self.traffic.generate).attended[0])

    def _lengths(self, hits: bool) -> Lengths:
        computed = self.traffic.prompt - (self.cached if hits else 0)
        one = Lengths.of(computed, self.traffic.generate)
        return Lengths(
            one.prompt, one.generate, one.prompt_var, one.generate_var, np.atleast_1d(self.attended), one.together
        )

    @cached_property
    def tables(self) -> dict[str, Array]:
        """Return rate_hz, tpot_s, ttft_s, power_w, faster and slower."""
        engines, budgets = len(self.engines.engines), self.engines.most_tokens
        shape = (engines, len(budgets), POINTS)
        engine, budget, users = (a.ravel() for a in np.meshgrid(
            np.arange(engines), np.array(budgets, float), self.users, indexing="ij"
        ))  # fmt: skip
        users = np.minimum(users, budget)
        limits = Limits(budget, np.full(budget.shape, ENDLESS), np.full(budget.shape, ENDLESS), np.ones(budget.shape))
        factor = self.engines.step_factors[:, None, None]
        parts = []
        for hits in (False, True):
            found = steady_state(self.engines.profile, self._lengths(hits), users, limits, engine)
            tpot = found.tpot_s.reshape(*shape, 3)
            parts.append({
                "rate_hz": np.maximum.accumulate(found.request_rate_hz[:, 0].reshape(shape) / factor, axis=2),
                "tpot_s": tpot[..., 0] * factor, "ttft_s": found.ttft_s[:, 0].reshape(shape) * factor,
                "power_w": found.power_w[:, 0].reshape(shape), "faster": tpot[..., 1] / tpot[..., 0],
                "slower": tpot[..., 2] / tpot[..., 0],
            })  # fmt: skip
        return {name: np.stack([part[name] for part in parts], axis=2) for name in parts[0]}

    @cached_property
    def long_prompt(self) -> Array:
        """Return how many times the mean the 99th percentile of what is computed of a prompt is, (misses, hits)."""
        computed = (self.traffic.prompt, self.traffic.prompt - self.cached)
        return np.array([np.percentile(one, 99) / one.mean() for one in computed])

    def read(self, engine: Array, budget_at: Array, hits: Array, slots: Array, instances: Array) -> Read:
        """Return what users see of designs.

        Args:
            engine, budget_at: places of the engine and of the token budget. hits: share of the cacheable tokens found.
            slots: most requests in service at an instance. instances: how many share the arrivals equally.
        """
        count, arrivals = len(self.traffic) / instances, self.rate_hz / instances
        cells = {name: table[engine, budget_at] for name, table in self.tables.items()}
        cells = {name: two[:, 0] + hits[:, None] * (two[:, 1] - two[:, 0]) for name, two in cells.items()}
        top = np.minimum(slots, self.users[-1])
        capacity = _at(cells["rate_hz"], *between(self.users, top))
        busy = arrivals >= capacity
        below = np.minimum((cells["rate_hz"] < arrivals[:, None]).sum(axis=1), POINTS - 1)
        rows = np.arange(len(engine))
        low, high = cells["rate_hz"][rows, np.maximum(below - 1, 0)], cells["rate_hz"][rows, below]
        share = np.clip((arrivals - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
        users = self.users[np.maximum(below - 1, 0)] * (1 - share) + self.users[below] * share
        users = np.where(busy, top, np.minimum(np.where(below == 0, arrivals / high, users), top))
        most = np.minimum(users + P99 * np.sqrt(users), top)
        mean, tail = between(self.users, users), between(self.users, most)
        tpot, ttft = _at(cells["tpot_s"], *mean), _at(cells["ttft_s"], *mean)
        generate = float(self.traffic.generate.mean())
        life = ttft + tpot * (generate - 1)
        wait, wait_p99 = _waits(arrivals, capacity, top, life, count)
        longest = self.long_prompt[0] + hits * (self.long_prompt[1] - self.long_prompt[0])
        served = np.maximum(count / np.minimum(arrivals, capacity), 1e-9)
        power = np.where(
            users < 1, self.engines.idle_w[engine] * self.engines.devices[engine] * (1 - users)
            + cells["power_w"][:, 0] * users, _at(cells["power_w"], *mean),
        )  # fmt: skip
        return Read(
            _at(cells["ttft_s"], *tail) * longest + wait_p99, _at(cells["tpot_s"], *tail), life + wait, served + life,
            power * instances, _at(cells["faster"], *mean), _at(cells["slower"], *mean),
        )  # fmt: skip


def _at(table: Array, low: Array, share: Array) -> Array:
    rows = np.arange(len(table))
    first = table[rows, low]
    return np.asarray(first + share * (table[rows, low + 1] - first))


def _waits(arrivals: Array, capacity: Array, slots: Array, life: Array, count: Array) -> tuple[Array, Array]:
    """Return the mean and the 99th percentile of the wait for a slot, in seconds."""
    load = np.minimum(arrivals / capacity, 0.999)
    queue = life * load ** (np.sqrt(2 * (slots + 1)) - 1) / (slots * (1 - load))
    built = np.sqrt(count) / capacity  # what chance builds up over so many requests, one standard deviation
    fluid = count * np.maximum(1 / capacity - 1 / arrivals, 0.0)
    return np.minimum(queue, built) + fluid / 2, np.minimum(P99_WAIT * queue, P99 * built) + 0.99 * fluid
