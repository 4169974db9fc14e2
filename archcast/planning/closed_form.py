"""The closed form of one instance under load: what it serves at most, and what a request sees when it is alone.

`simulator.serving.steady_state` gives the rate, the time per output token and the power of an instance with so many
requests in service. The largest rate whose mean time per output token keeps the objective is the most that an instance
can serve: waiting, bursts and a percentile above the mean only lower it. So the number of instances that follows is a
lower bound, within `SLACK`; the events decide from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archcast.planning.engines import Candidate
from costmodel.stack import Stack, stack_of
from simulator.serving.power import with_served_power
from simulator.serving.pricing import HOST_S
from simulator.serving.profile import Profile, profile_of
from simulator.serving.steady_state import Lengths, Limits, steady_state
from workloads.table import Array

SLACK = 0.05
"""By how much the closed form may understate what an instance serves (estimated, 0 to 0.1)."""
POINTS = 24
"""Numbers of requests in service, from one to what memory and the policy admit, at which an instance is evaluated."""


@dataclass(frozen=True)
class Steady:
    """Steady states of one instance by requests in service, arrays of shape (points,), rates rising.

    tpot_s is the mean time per output token; power_w that of all devices of the instance; slower how many times its
    value the upper end of the cost model's interval of the time per output token is.
    """

    rate_hz: Array
    tpot_s: Array
    power_w: Array
    slower: Array

    @property
    def saturated_hz(self) -> float:
        """Return the most requests a second that the instance serves at all."""
        return float(self.rate_hz[-1])

    def most_hz(self, tpot_s: float | None) -> float:
        """Return the most requests a second whose mean time per output token keeps a limit (0: none does)."""
        if tpot_s is None or not np.isfinite(self.tpot_s).any():
            return self.saturated_hz
        good = ~(self.tpot_s > tpot_s)
        if not good.any():
            return 0.0
        last = int(np.flatnonzero(good)[-1])
        if last + 1 == len(good):
            return self.saturated_hz
        two = slice(last, last + 2)
        return float(np.interp(tpot_s, self.tpot_s[two], self.rate_hz[two]))

    def power_at(self, rate_hz: float, idle_w: float) -> float:
        """Return the mean power at a rate; below one request in service the rest of the time is idle."""
        return float(np.interp(rate_hz, np.append(0.0, self.rate_hz), np.append(idle_w, self.power_w)))


@dataclass(frozen=True)
class Form:
    """The closed form of one candidate: times at a percentile over requests that are alone, and its steady states."""

    ttft_alone_s: float
    tpot_alone_s: float
    steady: Steady


class Profiles:
    """Step costs of engines on sparse grids, priced together; the events take theirs from the same numbers."""

    def __init__(self, candidates: Sequence[Candidate], longest: int) -> None:
        engines = {c.engine_key: c.engine for c in candidates}
        self.place = {key: i for i, key in enumerate(engines)}
        self.most_tokens = max((c.policy.most_tokens for c in candidates), default=1)
        self.most_requests = max((c.policy.most_requests for c in candidates), default=1)
        self.profile: Profile | None = None
        if engines:
            several = list(engines.values())
            priced = profile_of(several, self.most_tokens, self.most_requests, longest, HOST_S)
            factors = np.array([stack_of(e.mapping.software, e.cost_model).step_factor for e in several])
            self.profile = with_served_power(priced, several, factors)

    def index(self, candidates: Sequence[Candidate]) -> Array:
        """Return the place of each candidate's engine in the profile."""
        return np.array([self.place[c.engine_key] for c in candidates], dtype=np.intp)


def closed_forms(
    candidates: Sequence[Candidate], profiles: Profiles, prompt: Array, generate: Array, percentile: float, stack: Stack
) -> list[Form]:
    """Return the closed form of every candidate under requests of these lengths: two evaluations of all at once.

    Times are those that users see of a stack.
    """
    if not candidates or profiles.profile is None:
        return []
    profile, engine = profiles.profile, profiles.index(candidates)
    limits = [Limits.of(c.lane_policy) for c in candidates]
    columns = Limits(*(np.concatenate([getattr(one, name) for one in limits]) for name in Limits.__dataclass_fields__))
    further = generate > 1
    answer = float(np.percentile(generate[further], percentile)) if further.any() else 1.0
    long = Lengths.constant(float(np.percentile(prompt, percentile)), max(answer, 1.0))
    alone = steady_state(profile, long, 1.0, columns, engine)

    lanes = profile.lanes[engine].astype(float)
    room = np.minimum(columns.most_requests, np.maximum(columns.kv_tokens / Lengths.of(prompt, generate).attended, 1.0))
    share = np.linspace(0.0, 1.0, POINTS)[:, None]
    users = np.maximum(lanes * room, 1.0) ** share  # shape (points, candidates)
    many = Limits(*(np.tile(getattr(columns, name), POINTS) for name in Limits.__dataclass_fields__))
    found = steady_state(profile, Lengths.of(prompt, generate), users.ravel(), many, np.tile(engine, POINTS))
    rate, tpot, power = (
        getattr(found, name)[:, 0].reshape(users.shape) for name in ("request_rate_hz", "tpot_s", "power_w")
    )
    rate = np.maximum.accumulate(rate, axis=0)
    alone_s = np.stack([stack.ttft_s(alone.ttft_s[:, 0], alone.tpot_s[:, 0]), stack.tpot_s(alone.tpot_s[:, 0])])
    ends = found.tpot_s[:, 2].reshape(users.shape) / tpot
    rate, tpot, power = rate / stack.step_factor, stack.tpot_s(tpot), power / stack.step_factor
    slower = np.where(np.isfinite(ends), np.maximum(ends, 1.0), 1.0)
    return [
        Form(float(alone_s[0, i]), float(alone_s[1, i]), Steady(rate[:, i], tpot[:, i], power[:, i], slower[:, i]))
        for i in range(len(candidates))
    ]
