"""What engines are asked in the steady state: lengths of requests, limits of their lanes, and both as candidates."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from simulator.serving.policy import Policy
from simulator.serving.profile import Profile
from workloads.table import Array


@dataclass(frozen=True)
class Lengths:
    """Lengths of requests in tokens, one entry a candidate.

    prompt, generate: means. prompt_var, generate_var: variances. attended: mean number of tokens that a decode step
    attends to, over all steps of all requests. together: 1 where all users began at the same moment, which those whose
    requests are alike stay at: as many prompts as fit are computed in one step; 0 where phases are random.
    """

    prompt: Array
    generate: Array
    prompt_var: Array
    generate_var: Array
    attended: Array
    together: Array

    @staticmethod
    def constant(prompt: Any, generate: Any, *, together: bool = False) -> Lengths:
        """Return requests that are all alike. Raises BadValueError: a length below 1."""
        p, g = np.broadcast_arrays(np.atleast_1d(np.asarray(prompt, float)), np.atleast_1d(np.asarray(generate, float)))
        if not ((p >= 1) & (g >= 1)).all():
            raise BadValueError("A request has at least 1 token of prompt and generates at least 1.")
        return Lengths(p, g, np.zeros(p.shape), np.zeros(p.shape), p + g / 2, np.full(p.shape, float(together)))

    @staticmethod
    def of(prompt: Array, generate: Array) -> Lengths:
        """Return the one entry that stands for requests of these lengths together. Raises BadValueError."""
        one = Lengths.constant(prompt, generate)
        p, g = one.prompt, one.generate
        steps = np.maximum(g - 1, 0)
        attended = (steps * (p + g / 2)).sum() / steps.sum() if steps.any() else p.mean()
        return Lengths(*(np.atleast_1d(x) for x in (p.mean(), g.mean(), p.var(), g.var(), attended, 0.0)))


@dataclass(frozen=True)
class Limits:
    """What one lane may do, one entry a candidate: tokens and requests of a step, tokens that its KV blocks hold.

    `block_tokens`: of a KV block; half of the last one is empty.
    """

    most_tokens: Array
    most_requests: Array
    kv_tokens: Array
    block_tokens: Array

    @staticmethod
    def of(policy: Policy) -> Limits:
        kv = policy.blocks * policy.block_tokens
        return Limits(*(np.atleast_1d(float(x)) for x in (policy.most_tokens, policy.most_requests, kv,
                                                         policy.block_tokens)))  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The candidates, all columns of one length. `is_open`: others come whether or not they are answered."""

    profile: Profile
    lengths: Lengths
    limits: Limits
    engine: Array
    users: Array
    is_open: bool = False

    @staticmethod
    def of(profile: Profile, lengths: Lengths, limits: Limits, engine: Any, users: Array) -> Case:
        if not (np.isfinite(users) & (users > 0)).all():
            raise BadValueError("Concurrency and rates must be above 0 and finite.")
        columns = [getattr(lengths, f.name) for f in fields(lengths)] + [
            getattr(limits, f.name) for f in fields(limits)
        ]
        wide = [np.array(c) for c in np.broadcast_arrays(*columns, np.atleast_1d(engine), np.atleast_1d(users))]
        count = len(fields(lengths))
        if (wide[count] > profile.axes.tokens[-1]).any():
            raise BadValueError(
                f"The profile reaches {profile.axes.tokens[-1]} tokens a step; most_tokens asks for more."
            )
        return Case(profile, Lengths(*wide[:count]), Limits(*wide[count:-2]), wide[-2].astype(np.intp), wide[-1])

    @property
    def lanes(self) -> Array:
        return np.asarray(self.profile.lanes[self.engine], float)

    @property
    def held(self) -> Array:
        """Tokens of the KV blocks that a request holds, on average over its decode steps."""
        block = self.limits.block_tokens
        return self.lengths.attended + (block - 1) / 2

    def room(self) -> Array:
        """Return how many requests a lane can compute at a time, at least one."""
        # what is free is too little for the next prompt's first chunk: half of one on average (estimated, 0 to 1)
        square = self.lengths.prompt + self.lengths.prompt_var / self.lengths.prompt
        free = self.limits.kv_tokens - np.minimum(square, self.limits.most_tokens) / 2
        fitting = np.minimum(free / self.held, self.limits.most_requests)
        return np.maximum(np.minimum(fitting, self.limits.most_tokens), 1.0)
