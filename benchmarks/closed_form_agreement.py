"""Events over the closed form of three kinds of search: quantiles behind their intervals, and coverage.

    python benchmarks/closed_form_agreement.py dram-controller --seconds 60
    python benchmarks/closed_form_agreement.py offloading --seconds 45
    python benchmarks/closed_form_agreement.py daq-chain --seconds 60

Systems are drawn at random, eight designs each. Even systems set the quantiles (rounded outwards to two digits), odd
ones are held against them. Of chains less full than `FULL`, losses are compared where at least one event is expected to
be lost: how far events lie from the closed form, in units of what chance alone would do.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from archcast.searching.problem import evaluate
from archcast.searching.problems import daq_chain, dram_controller, offloading
from archcast.searching.search_file import read_search

DESIGNS = 8
QUANTILES = (0.05, 0.95)


def memory(draw: np.random.Generator) -> dict[str, Any]:
    """Return a channel and a trace."""
    return {
        "channel": str(draw.choice(list(dram_controller.DEVICES))), "trace": str(draw.choice(dram_controller.KINDS)),
        "requests": 1000, "load": float(draw.choice([0.1, 0.3, 0.5, 0.7, 0.9])), "seed": int(draw.integers(1, 10**6)),
        "kernel": "compiled",
    }  # fmt: skip


def users(draw: np.random.Generator) -> dict[str, Any]:
    """Return users and their tasks."""
    count = int(draw.integers(2, 30))
    return {
        "users": count, "rate_hz": float(count * draw.choice([0.1, 0.2, 0.4, 0.8])),
        "mean_bits": float(draw.choice([3e5, 1e6, 2e6])), "tasks": 500, "seed": int(draw.integers(1, 10**6)),
    }  # fmt: skip


def crossings(draw: np.random.Generator) -> dict[str, Any]:
    """Return an experiment's crossings, its events, and how many of them are followed."""
    return {
        "crossing_hz": float(draw.choice([1e6, 10e6, 40e6])), "service_s": float(draw.choice([1e-3, 4e-3, 2e-2])),
        "event_bytes": float(draw.choice([2e5, 1e6, 2e6])), "events": int(draw.choice([2000, 5000, 20_000])),
        "seed": int(draw.integers(1, 10**6)),
    }  # fmt: skip


KINDS: dict[str, tuple[Any, Callable[[np.random.Generator], dict[str, Any]], tuple[str, ...]]] = {
    "dram-controller": (dram_controller, memory, ("latency_s", "power_w", "energy_j", "duration_s")),
    "offloading": (offloading, users, ("latency_s", "energy_j")),
    "daq-chain": (daq_chain, crossings, ("kept", "latency_s", "busy")),
}


def told(problem: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a problem says of designs; of a chain also what its losses and its power come from."""
    if not isinstance(problem, daq_chain.DaqChain):
        return dict(evaluate(problem, columns).values)
    loss, latency_s, busy = problem.means(columns)
    return {"kept": 1 - loss, "latency_s": latency_s, "busy": busy}


def groups_of(problem: Any, columns: Mapping[str, Any], fixed: Mapping[str, Any]) -> list[str]:
    """Return the group of each design, of which there are quantiles."""
    if isinstance(problem, daq_chain.DaqChain):
        return [f"fullness {number}" for number in problem.fullness(columns)]
    return [offloading.POLICY_NAMES[int(code)] for code in columns.get("policy", ())] or [fixed["trace"]] * DESIGNS


def ratios(name: str, seconds: float, seed: int) -> tuple[list[str], list[int], dict[str, list[float]]]:
    """Return the group and the system of every design, and by value events over closed form."""
    module, drawn, values = KINDS[name]
    draw, started = np.random.default_rng(seed), time.process_time()
    groups: list[str] = []
    systems: list[int] = []
    found: dict[str, list[float]] = {value: [] for value in values}
    system = 0
    while time.process_time() - started < seconds:
        fixed = drawn(draw)
        file = {"kind": "search", "design": name, "space": module.SPACE, "fixed": fixed,
                "objectives": list(module.OBJECTIVES)}  # fmt: skip
        closed, events = (read_search({**file, "fidelity": one}).problem for one in ("closed_form", "events"))
        shape = np.array(closed.space.shape)
        columns = closed.space.columns((draw.random((len(shape), DESIGNS)) * shape[:, None]).astype(int))
        stands = evaluate(closed, columns).feasible
        columns = {knob: column[stands] for knob, column in columns.items()}
        ours, theirs = told(closed, columns), told(events, columns)
        for value in values:
            found[value] += (theirs[value] / ours[value]).tolist()
        groups += groups_of(closed, columns, fixed)
        systems += [system] * int(stands.sum())
        system += 1
    return groups, systems, found


def rare_losses(seconds: float, seed: int) -> None:
    """Print the quantiles of losses of chains that are not full, even experiments against odd ones."""
    draw, started = np.random.default_rng(seed), time.process_time()
    rows: list[tuple[int, float]] = []
    system = 0
    while time.process_time() - started < seconds:
        file = {"kind": "search", "design": "daq-chain", "space": daq_chain.SPACE, "fixed": crossings(draw),
                "objectives": list(daq_chain.OBJECTIVES)}  # fmt: skip
        closed, events = (read_search({**file, "fidelity": one}).problem for one in ("closed_form", "events"))
        assert isinstance(closed, daq_chain.DaqChain)
        assert isinstance(events, daq_chain.DaqChain)
        shape, count = np.array(closed.space.shape), closed.fixed["events"]
        columns = closed.space.columns((draw.random((len(shape), 60)) * shape[:, None]).astype(int))
        lost = closed.means(columns)[0]
        seen = evaluate(closed, columns).feasible & (closed.fullness(columns) == 0) & (lost * count > 1)
        some = np.flatnonzero(seen)[:DESIGNS]
        found = events.means({knob: column[some] for knob, column in columns.items()})[0]
        rows += [(system, float(one)) for one in (found - lost[some]) / closed.chance(lost[some])]
        system += 1
    number, apart = np.array(rows).T
    low, high = np.quantile(apart[number % 2 == 0], QUANTILES)
    ends = -outwards(-float(low), math.ceil), outwards(float(high), math.ceil)
    other = apart[number % 2 == 1]
    inside = (other >= ends[0]) & (other <= ends[1])
    print(f"losses of chains that are not full: {len(rows)} designs of {len(set(number))} experiments, "
          f"{ends[0]:.3g} to {ends[1]:.3g} of chance, others within {inside.mean():.1%}")  # fmt: skip


def outwards(value: float, rounded: Callable[[float], int]) -> float:
    """Return a number with two digits, rounded down or up."""
    scale = 10.0 ** (1 - math.floor(math.log10(value)))
    return rounded(value * scale) / scale


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=20_261_123)
    given = parser.parse_args()
    groups, systems, found = ratios(given.name, given.seconds, given.seed)
    group, even = np.array(groups), np.array(systems) % 2 == 0
    print(f"{len(set(systems))} systems, {len(group)} designs")
    for value, column in found.items():
        ratio, held = np.array(column), []
        for one in sorted(set(groups)):
            low, high = np.quantile(ratio[even & (group == one)], QUANTILES)
            ends = outwards(float(low), math.floor), outwards(float(high), math.ceil)
            other = ratio[~even & (group == one)]
            inside = (other >= ends[0]) & (other <= ends[1])
            held += inside.tolist()
            print(f"{value:12} {one:14} {ends[0]:.3g} to {ends[1]:.3g}, others within {inside.mean():.1%}")
        print(f"{value:12} all: {np.mean(held):.1%}")
    if given.name == "daq-chain":
        rare_losses(given.seconds, given.seed)


if __name__ == "__main__":
    main()
