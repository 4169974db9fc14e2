"""The two courses of time: a decision a step as published, or a decision an arrival in continuous time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from foundation.errors import BadValueError
from simulator.offloading.demand import Lots, Tasks
from simulator.offloading.record import Record
from simulator.offloading.settings import OffloadingConfig
from simulator.offloading.sharing import SharedServer, added_delay_s
from simulator.offloading.state import State
from simulator.offloading.stepped import SteppedServer, published_increase_s
from simulator.offloading.system import System
from workloads.table import Array


class World(Protocol):
    """What an environment and a run of a policy need."""

    config: OffloadingConfig
    system: System
    record: Record
    step: int
    now_s: float
    user: int
    size_bits: float
    done: bool
    rewards: bool

    def state(self, random: np.random.Generator) -> State:
        """Return what a policy sees of the task that waits for a decision."""

    def assign(self, server: int) -> dict[str, Any]:
        """Send the task to a server, go on to the next decision; return what happened."""

    def drain(self) -> None:
        """Work off all tasks that were assigned; no other comes."""

    def remaining_bits(self) -> list[Array]:
        """Return what is left of the running tasks of each server."""


@dataclass(frozen=True)
class Price:
    """What a task costs on each server: joules of sending and of execution, seconds of sending."""

    sending_j: Array
    execution_j: Array
    sending_s: Array


class Prices:
    """Prices of tasks; what does not change from task to task is worked out once."""

    def __init__(self, system: System) -> None:
        self._power_w, self._k = np.array([(x.sending_power_w, x.energy_j_per_cycle_hz2) for x in system.kinds]).T
        self._cycles, self._square = system.cycles_per_bit, system.frequency_hz**2
        self._rate = np.ascontiguousarray(system.rate_bits_per_s.T)

    def of(self, user: int, size_bits: float) -> Price:
        """Return the price of a task: size / rate x power, and size x k x C x f^2, in this order of operations."""
        sending_s = size_bits / self._rate[user]
        return Price(sending_s * self._power_w, size_bits * self._k * self._cycles * self._square, sending_s)


class _World:
    """What both courses of time share. `rewards`: whether `assign` says how much the summed delay grows."""

    rewards = True

    def __init__(self, config: OffloadingConfig, system: System) -> None:
        self.config, self.system, self.record = config, system, Record()
        self.prices, self.speed_bits_per_s = Prices(system), system.speed_bits_per_s
        self._speeds: list[float] = self.speed_bits_per_s.tolist()
        self.step, self.now_s, self.user, self.size_bits, self.done = 0, 0.0, 0, 0.0, False

    def _seen(
        self, random: np.random.Generator, servers: list[Any], counts: list[tuple[int, int]], joins_s: Array
    ) -> State:  # fmt: skip
        system, config, price = self.system, self.config, self.prices.of(self.user, self.size_bits)
        size_bits, step = self.size_bits, self.step

        def added() -> list[float]:
            if self.step != step:
                raise BadValueError("The servers have moved on: ask a state for its delays before the next step.")
            if size_bits == 0:
                return [0.0] * len(servers)
            return [
                added_delay_s(server.remaining_s(), server.joins_s(), wait, size_bits / speed)
                for server, wait, speed in zip(servers, joins_s.tolist(), self._speeds, strict=True)
            ]

        sending, running = np.array(counts, dtype=np.int64).reshape(-1, 2).T
        return State(
            self.step + 1, self.now_s, self.user, self.size_bits, config.weight, system.frequency_hz,
            self.speed_bits_per_s, system.rate_bits_per_s[:, self.user], system.distance_m[:, self.user], sending,
            running, price.sending_j + price.execution_j, random, config.delay_cost_per_s, config.energy_cost_per_j,
            added,
        )  # fmt: skip

    def _booked(self, server: int, price: Price, increase_s: float) -> tuple[int, dict[str, Any]]:
        """Write the decision down; return the task's number and the first part of what happened."""
        sending_j, execution_j = float(price.sending_j[server]), float(price.execution_j[server])
        task = self.record.add(
            arrival_s=self.now_s, size_bits=self.size_bits, user=self.user, server=server,
            sending_energy_j=sending_j, execution_energy_j=execution_j, increase_s=increase_s,
        )  # fmt: skip
        return task, {
            "step": self.step, "time_s": self.now_s, "task": task, "user": self.user, "server": server,
            "size_bits": self.size_bits, "energy_j": sending_j + execution_j, "sending_energy_j": sending_j,
            "execution_energy_j": execution_j, "delay_increase_s": increase_s,
            "sending_s": float(price.sending_s[server]),
        }  # fmt: skip

    def _finished(self, ended: list[tuple[int, float]]) -> list[dict[str, Any]]:
        """Return the tasks that ended, with the parts of their delay in s."""
        rows, found = self.record.rows, []
        for task, finish_s in ended:
            arrival, sent = rows["arrival_s"][task], rows["sent_s"][task]
            found.append({
                "task": task, "user": int(rows["user"][task]), "server": int(rows["server"][task]),
                "size_bits": rows["size_bits"][task], "finish_s": finish_s, "delay_s": finish_s - arrival,
                "sending_s": sent - arrival, "execution_s": finish_s - sent,
            })  # fmt: skip
        return found


class SteppedWorld(_World):
    """As published: in each step one task is decided on, further ones queue; then all servers advance by the step."""

    def __init__(self, config: OffloadingConfig, system: System, demand: Lots) -> None:
        super().__init__(config, system)
        self.demand = demand
        self.servers = [
            SteppedServer(float(f), float(c))
            for f, c in zip(system.frequency_hz, system.cycles_per_bit, strict=True)
        ]  # fmt: skip
        self.unassigned: list[int] = []
        self._next = 0
        self._generate()

    def _generate(self) -> None:
        """Let the lot of this step come and take the first task that waits, or one of size 0 where none does."""
        count = int(self.demand.counts[self.step])
        self.unassigned += range(self._next, self._next + count)
        self._next += count
        if self.step >= self.config.steps:
            return
        if self.unassigned:
            task = self.unassigned.pop(0)
            self.size_bits, self.user = float(self.demand.size_bits[task]), int(self.demand.user[task])
        else:
            self.size_bits, self.user = 0.0, int(self.demand.idle_user[self.step])

    def state(self, random: np.random.Generator) -> State:
        counts = [(len(server.sending), len(server.running)) for server in self.servers]
        waits = self.size_bits / self.system.rate_bits_per_s[:, self.user]
        return self._seen(random, self.servers, counts, waits)

    def assign(self, server: int) -> dict[str, Any]:
        price = self.prices.of(self.user, self.size_bits)
        chosen = self.servers[server]
        increase_s = 0.0
        if self.size_bits > 0:
            wait_s = float(price.sending_s[server])
            increase_s = published_increase_s(chosen.running_bits, chosen.speed_bits_per_s, wait_s, self.size_bits)
        self.step += 1
        task, info = self._booked(server, price, increase_s)
        chosen.add(task, self.size_bits, float(self.system.rate_bits_per_s[server, self.user]))
        self._generate()
        ended = self._advance()
        self.done = self.step >= self.config.steps
        return info | {"waiting": len(self.unassigned), "finished": self._finished(ended)}

    def _advance(self) -> list[tuple[int, float]]:
        """Advance all servers, which do not know each other, by one step."""
        found: list[tuple[int, float]] = []
        for server in self.servers:
            sent, ended = server.advance(self.now_s, self.config.step_s)
            self.record.note("sent_s", sent)
            self.record.note("finish_s", ended)
            found += ended
        self.now_s += self.config.step_s
        return found

    def drain(self) -> None:
        while any(len(server.sending) or len(server.running) for server in self.servers):
            self._advance()

    def remaining_bits(self) -> list[Array]:
        return [server.running_bits for server in self.servers]


class ContinuousWorld(_World):
    """Physical: a decision at each arrival; radios and shared processors are exact in continuous time."""

    def __init__(self, config: OffloadingConfig, system: System, demand: Tasks) -> None:
        super().__init__(config, system)
        self.demand = demand
        self.servers = [SharedServer() for _ in range(system.servers)]
        self.radio_free_s = [0.0] * config.users
        self.radio_busy_s = [0.0] * config.users
        self._latency_s = np.array([kind.latency_s for kind in system.kinds])
        self._next_task()

    def _next_task(self) -> None:
        self.size_bits = float(self.demand.size_bits[self.step])
        self.user = int(self.demand.user[self.step])
        self.now_s = float(self.demand.arrival_s[self.step])

    def _radio_wait_s(self) -> float:
        """Return how long the user's radio is still busy with earlier tasks."""
        return max(self.radio_free_s[self.user] - self.now_s, 0.0) if self.config.sending == "queue" else 0.0

    def state(self, random: np.random.Generator) -> State:
        counts = [(server.coming, server.running) for server in self.servers]
        sending_s = self.size_bits / self.system.rate_bits_per_s[:, self.user]
        return self._seen(random, self.servers, counts, self._radio_wait_s() + sending_s + self._latency_s)

    def assign(self, server: int) -> dict[str, Any]:
        price = self.prices.of(self.user, self.size_bits)
        wait_s, sending_s = self._radio_wait_s(), float(price.sending_s[server])
        join_s = wait_s + sending_s + float(self._latency_s[server])
        work_s = self.size_bits / self._speeds[server]
        chosen = self.servers[server]
        increase_s = 0.0
        if self.size_bits > 0 and self.rewards:
            increase_s = added_delay_s(chosen.remaining_s(), chosen.joins_s(), join_s, work_s)
        self.step += 1
        task, info = self._booked(server, price, increase_s)
        self.radio_free_s[self.user] = self.now_s + wait_s + sending_s
        self.radio_busy_s[self.user] += sending_s
        chosen.add(task, self.now_s + join_s, work_s)
        self.record.note("sent_s", [(task, self.now_s + join_s)])
        self.done = self.step >= len(self.demand.arrival_s)
        if not self.done:
            self._next_task()
        return info | {"waiting": 0, "finished": self._finished([] if self.done else self._advance(self.now_s))}

    def _advance(self, to_s: float) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        for server in self.servers:
            found += server.advance(to_s)
        self.record.note("finish_s", found)
        return found

    def drain(self) -> None:
        self._advance(math.inf)

    def remaining_bits(self) -> list[Array]:
        return [np.array(one.remaining_s()) * speed for one, speed in zip(self.servers, self._speeds, strict=True)]
