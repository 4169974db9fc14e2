"""Whether two engines made the same record, and networks whose items go anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import fields

import numpy as np
from queue_networks import station

from simulator.queues.arrivals import Recorded, Renewal
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import Delay, Element, Exit, Gate, Network, Route, Service, Source, Station, to
from simulator.queues.kernel import run_kernel
from simulator.queues.laws import Law
from simulator.queues.record import RunRecord, Totals
from simulator.streams import RandomStreams

SECONDS = 80


def differences(one: RunRecord, other: RunRecord) -> list[str]:
    """Return the names of the fields that differ, in value or in type, but for the engine's name."""
    found = []
    for each in fields(one):
        if each.name != "engine":
            found += [f"{each.name}{more}" for more in _unequal(getattr(one, each.name), getattr(other, each.name))]
    return found


def _unequal(one: object, other: object) -> list[str]:
    if isinstance(one, Totals):
        pairs = [(each.name, getattr(one, each.name), getattr(other, each.name)) for each in fields(one)]
        return [f".{name}{more}" for name, a, b in pairs for more in _unequal(a, b)]
    if isinstance(one, dict):
        assert isinstance(other, dict)
        if list(one) != list(other):
            return [" (keys)"]
        return [f"[{key}]{more}" for key in one for more in _unequal(one[key], other[key])]
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        same = one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
        return [] if same else [""]
    return [] if one == other else [""]


def observed(network: Network) -> list[str]:
    """Return the names of all elements whose waits can be recorded."""
    return [each.name for each in network.elements if isinstance(each, (Station, Gate))]


def same_on_both(network: Network, seed: int, *, more: bool = False) -> RunRecord:
    """Run a network on both engines, hold their records equal, and return the kernel's.

    `more`: with a warm-up, samples and all waits.
    """
    horizon = SECONDS * network.ticks_per_second
    warm, step = (horizon // 3, max(7, horizon // 1_000)) if more else (0, 0)
    waits: Collection[str] = observed(network) if more else ()
    plain = run_callbacks(network, RandomStreams(seed), horizon, warm, step, waits)
    fast = run_kernel(network, RandomStreams(seed), horizon, warm, step, waits)
    assert (plain.engine, fast.engine) == ("callbacks", "kernel")
    assert differences(plain, fast) == []
    assert plain.trace_hash == fast.trace_hash
    return fast


def random_mesh(seed: int) -> Network:
    """Return elements with routes to any of them, back and round: deadlocks, self-loops and credits that go astray."""
    rng = random.Random(seed)
    names = [f"n{number}" for number in range(rng.randint(2, 6))]
    gates = [name for name in names[1:] if rng.random() < 0.3]
    served = [name for name in names if name not in gates]
    elements: list[Element] = []
    for name in names:
        returns = rng.choice(gates) if gates and rng.random() < 0.5 else None
        if name in gates:
            room, full = rng.choice((None, 0, 2)), rng.choice(("drop", "block"))
            elements.append(Gate(name, rng.randint(1, 3), _anywhere(rng, served, None), room, full))  # type: ignore[arg-type]
        elif rng.random() < 0.15:
            elements.append(Delay(name, Service((1.0,), Law("exponential")), _anywhere(rng, names, "out"), returns))
        else:
            elements += station(rng, name, "out", returns, _anywhere(rng, names, "out"))
    times = tuple(sorted(float(rng.randint(0, 60)) for _ in range(60)))
    elements.append(Source("in", Renewal(Law("exponential", 2.0)), _anywhere(rng, names, None), (0.5, 0.5)))
    elements.append(Source("trace", Recorded(times), to(rng.choice(names)), size_bytes=Law("uniform", 10.0, 0.5)))
    rng.shuffle(elements)
    return Network((*elements, Exit("out")), ticks_per_second=rng.choice((10, 1000)))


def _anywhere(rng: random.Random, names: list[str], out: str | None) -> Route:
    targets = tuple(rng.sample(names, rng.randint(1, min(3, len(names))))) + ((out,) if out else ())
    how: Callable[[], str] = lambda: rng.choice(("cycle", "shortest"))  # noqa: E731
    if rng.random() < 0.3:
        return Route(targets, how=how())  # type: ignore[arg-type]
    rows = [tuple(rng.choice((0.0, 1.0, 2.0)) for _ in targets[1:]) + (1.0,) for _ in range(2)]
    return Route(targets, {0: rows[0], 1: rows[1]} if rng.random() < 0.5 else rows[0])
