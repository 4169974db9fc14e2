"""Engines with round costs, and requests for them: what the tests of fleets share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulator.serving.fleet import Pool
from simulator.serving.policy import Policy
from simulator.serving.requests import Requests
from simulator.serving.step_costs import StepCosts, Table, grid
from simulator.streams import RandomStreams
from workloads.table import Array

SECOND = 10**12
STEP_S = 0.001


def constant_costs(step_s: float = STEP_S, most_decodes: int = 8, most_tokens: int = 64) -> StepCosts:
    """Return costs of an engine whose every step takes `step_s` seconds and a joule."""
    contexts, chunks = np.array([1, 1 << 17]), np.append(grid(most_tokens), most_tokens + 1)
    before = np.append(0, contexts)
    nothing = np.zeros((most_decodes + 1, len(contexts))), np.zeros((len(chunks), len(before)))
    outputs = np.zeros(most_decodes + most_tokens + 1)
    tokens = np.full(most_tokens + most_decodes + 1, step_s)
    time = Table(tokens, outputs, *nothing)
    return StepCosts(time, Table(np.ones_like(tokens), outputs, *nothing), contexts, chunks, before)


def usual_costs(most_decodes: int = 8, most_tokens: int = 64, longest: int = 4096) -> StepCosts:
    """Return costs that grow: 10 us a step, 1 us a token, 3 ns a cached token, and the square of a chunk."""
    contexts, chunks = grid(longest), np.append(grid(most_tokens), most_tokens + 1)
    before = np.append(0, contexts)
    tokens, outputs = np.arange(most_tokens + most_decodes + 1), np.arange(most_decodes + most_tokens + 1)
    decode = np.outer(np.arange(most_decodes + 1), contexts) * 3e-9
    chunk = np.array([[(c * b + c * c / 2) * 1e-9 for b in before] for c in chunks])
    time = Table(1e-5 + 1e-6 * tokens, 1e-7 * outputs, decode, chunk)
    return StepCosts(time, time, contexts, chunks, before)


def slots(requests: int) -> Policy:
    """Return a policy whose only limit is how many requests run at a time."""
    return Policy(most_tokens=max(requests, 64), most_requests=requests, blocks=10**9)


def exponential(random: RandomStreams, count: int, gap_s: float, steps: float) -> Requests:
    """Return Poisson arrivals of prompts of one token and geometric outputs: many steps are an exponential service."""
    arrival = np.cumsum(random.get("arrivals").exponential(gap_s, count))
    return asked(arrival, np.ones(count), random.get("lengths").geometric(1 / steps, count))


def asked(arrival_s: npt.ArrayLike, prompt: npt.ArrayLike, generate: npt.ArrayLike) -> Requests:
    """Return given requests."""
    return Requests.of(np.asarray(arrival_s), np.asarray(prompt), np.asarray(generate))


def mixed(seed: int, count: int, gap_s: float) -> Requests:
    """Return requests of all lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 150, count), random.integers(1, 60, count)
    return asked(np.cumsum(random.exponential(gap_s, count)), *lengths)


def within(values: list[float] | Array, theory: float, relative: float) -> None:
    """Demand that a mean over replications is within 4 standard errors of a theory, and that these are small."""
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    assert error < relative * theory
    assert abs(float(np.mean(values)) - theory) < 4 * error + 1e-12


def pool(name: str = "a", **options: object) -> Pool:
    """Return a pool of usual costs and a small policy, unless told otherwise."""
    given = {"costs": usual_costs(), "policy": Policy(64, 8, 16, 200), **options}
    return Pool(name, **given)  # type: ignore[arg-type]
