"""The space `network-architecture`: sums of blocks against whole networks, and MACs against the builder's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import network_architecture as module
from archcast.searching.problems.network_architecture import NetworkArchitecture
from archcast.searching.space import DesignSpace


@cache
def networks(device: str = "jetson-orin-nano", dtype: str = "int8") -> NetworkArchitecture:
    space = {**module.SPACE, "resolution": [160, 224], "kernel_2": [5], "expand_3": [3, 6]}
    knobs = tuple(planned(name, space[name], kind).knob() for name, kind in module.KNOBS.items())
    fixed = {**module.FIXED_DEFAULTS, "device": device, "dtype": dtype}
    return module.DESIGN.build(DesignSpace(knobs), module.OBJECTIVES, (), fixed, None, None)  # type: ignore


def some(problem: NetworkArchitecture, count: int) -> np.ndarray:
    return problem.space.codes(np.random.default_rng(77).integers(0, problem.space.size, count))


@pytest.mark.parametrize(("device", "dtype"), [("jetson-orin-nano", "int8"), ("raspberry-pi-4", "fp32")])
def test_sums_of_blocks_are_what_predict_gives_for_the_whole(device: str, dtype: str):
    problem = networks(device, dtype)
    columns = problem.space.columns(some(problem, 6))  # other networks than those of the correction
    found = evaluate(problem, columns)
    for i in range(6):
        whole = problem.whole({name: float(column[i]) for name, column in columns.items()})
        assert found.values["latency_s"][i] == pytest.approx(whole["latency_s"], rel=0.02)
        assert found.values["energy_j"][i] == pytest.approx(whole["energy_j"], rel=0.02)
        assert found.values["memory_bytes"][i] == pytest.approx(whole["memory_bytes"], rel=0.05)


def test_macs_are_those_of_the_network_itself() -> None:
    problem = networks()
    codes = some(problem, 4)
    columns = problem.space.columns(codes)
    macs = evaluate(problem, columns).values["macs"]
    for i in range(4):
        stages = range(1, module.STAGES + 1)
        kernels, expand = ([int(columns[f"{what}_{j}"][i]) for j in stages for _ in range(module.PLACES)]
                           for what in ("kernel", "expand"))  # fmt: skip
        depth = [int(columns[f"depth_{j}"][i]) for j in stages]
        model = problem._network(int(columns["resolution"][i]), depth, kernels, expand)
        assert macs[i] == model.summary()["macs"]


def test_more_of_anything_costs_more() -> None:
    problem = networks()
    small = np.zeros((len(problem.space.knobs), 1), dtype=int)
    base = evaluate(problem, problem.space.columns(small)).values
    for place, knob in enumerate(problem.space.knobs):
        if len(knob.values) > 1:
            larger = small.copy()
            larger[place] = 1
            found = evaluate(problem, problem.space.columns(larger)).values
            assert found["macs"][0] > base["macs"][0], knob.name
            assert found["latency_s"][0] >= base["latency_s"][0] * (1 - 1e-9), knob.name


def test_details_hold_the_values_and_accuracy_is_nowhere() -> None:
    problem = networks()
    codes = some(problem, 2)
    found = evaluate(problem, problem.space.columns(codes)).values
    for i, shown in enumerate(problem.details(codes)):
        for name in module.VALUES:
            assert shown[name]["value"] == found[name][i]
            assert shown[name]["lo"] <= shown[name]["value"] * (1 + 1e-12)
        assert "accuracy" not in shown
