"""The space `gpu-serving`: memory as the serving simulator counts it, closed form against events, seeds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.question import find_model
from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import gpu_serving as module
from archcast.searching.problems.gpu_serving import GpuServing
from archcast.searching.problems.gpu_serving_engines import NO_FORMAT, NO_MAPPING, SAME
from archcast.searching.space import DesignSpace
from foundation.errors import BadValueError
from simulator.serving.policy import Policy
from simulator.serving.scenario import room_of

SMALL: dict[str, Any] = {
    "device": ["h100-sxm", "l40s"], "tp": [1, 2], "dtype": ["bf16", "fp8"], "kv_dtype": [SAME, "fp8"],
    "instances": [1, 2, 4], "most_tokens": [512, 2048, 8192], "most_requests": [8, 64, 256], "block_tokens": [16, 64],
    "memory_share": [0.7, 0.9], "prefix_cache": ["off", "on"], "schedule": ["mixed", "prompts-first"],
    "router": ["round-robin", "prefix-aware"],
}  # fmt: skip


@cache
def serving(events: bool = False, model: str = "llama-3.1-8b", **fixed: Any) -> GpuServing:
    knobs = tuple(planned(name, SMALL[name], kind).knob() for name, kind in module.KNOBS.items())
    build = module.DESIGN.fidelities["events"] if events else module.DESIGN.build
    asked = {**module.FIXED_DEFAULTS, "requests": 150, **fixed}
    return build(DesignSpace(knobs), module.OBJECTIVES, (), asked, find_model(model), None)  # type: ignore


def some(problem: GpuServing, count: int, seed: int = 0) -> np.ndarray:
    return problem.space.codes(np.random.default_rng(seed).integers(0, problem.space.size, count))


def test_the_space_that_ships_has_a_hundred_thousand_designs_of_twelve_knobs() -> None:
    counts = [planned(name, module.SPACE[name], kind).count for name, kind in module.KNOBS.items()]
    assert len(counts) == 12
    assert np.prod(counts) >= 1e5


def test_blocks_are_those_that_the_serving_simulator_allocates() -> None:
    problem = serving()
    columns = problem.space.columns(some(problem, 12))
    engine = problem._engine(columns)
    blocks, held, _ = problem._blocks(columns, engine)
    for i, one in enumerate(engine):
        policy = Policy(
            int(columns["most_tokens"][i]), int(columns["most_requests"][i]), int(columns["block_tokens"][i])
        )
        room = room_of(problem.engines.engines[one], policy, float(columns["memory_share"][i]), 1)
        assert blocks[i] == room.blocks
        assert held[i] == pytest.approx(sum(room.held_bytes.values()), rel=1e-12)


def test_a_model_that_does_not_fit_is_refused_with_the_bytes_that_lack() -> None:
    problem = serving(model="llama-3.1-70b")
    columns = problem.space.columns(some(problem, 300))
    found = evaluate(problem, columns)
    one = (columns["tp"] == 1) & (columns["dtype"] == 0)
    assert not found.feasible[one].any()
    assert (found.shortfall_bytes[one] > 40e9).all()


def test_formats_and_divisions_that_cannot_be_are_refused_by_name() -> None:
    kinds = module.KNOBS
    knobs = {**SMALL, "device": ["v100-sxm-32gb", "l40s"], "dtype": ["fp16", "fp64"], "tp": [1, 3], "kv_dtype": [SAME]}
    space = DesignSpace(tuple(planned(name, knobs[name], kind).knob() for name, kind in kinds.items()))
    problem = module.DESIGN.build(space, module.OBJECTIVES, (), module.FIXED_DEFAULTS, find_model("llama-3.1-8b"), None)  # type: ignore[arg-type]
    found = evaluate(problem, space.columns(space.codes(np.arange(0, space.size, 97))))
    assert NO_MAPPING in found.reasons
    assert (found.reason[space.columns(space.codes(np.arange(0, space.size, 97)))["tp"] == 3] > 0).all()
    assert NO_FORMAT in found.reasons


def test_closed_form_and_events_rank_designs_alike() -> None:
    closed, events = serving(requests=600), serving(True, requests=600)
    columns = closed.space.columns(some(closed, 40, 3))
    low, high = evaluate(closed, columns), evaluate(events, columns)
    both = low.feasible & high.feasible
    assert both.sum() > 30
    for name, least in (("ttft_p99_s", 0.85), ("usd_per_million_tokens", 0.9), ("energy_per_token_j", 0.9)):
        assert spearmanr(low.values[name][both], high.values[name][both])[0] > least, name


def test_a_design_is_worth_the_same_alone_and_among_others() -> None:
    for events in (False, True):
        problem = serving(events)
        codes = some(problem, 8, 5)
        together = evaluate(problem, problem.space.columns(codes))
        for i in (0, 7):
            alone = evaluate(problem, problem.space.columns(codes[:, i : i + 1]))
            for name in module.OBJECTIVES:
                assert alone.values[name][0] == together.values[name][i]


def test_another_seed_is_another_stream_and_the_same_seed_the_same() -> None:
    first, again, other = serving(True), serving(True), serving(True, seed=2)
    columns = first.space.columns(some(first, 5, 1))
    one, two, three = (evaluate(replace(p), columns).values["ttft_p99_s"] for p in (first, again, other))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_overload_is_seen_by_both_fidelities_as_a_growing_queue() -> None:
    for events in (False, True):
        waits = []
        for rate in (0.3, 400.0):
            problem = serving(events, rate_hz=rate)
            one = {"device": "l40s", "instances": 1, "most_requests": 8}
            codes = np.array([[knob.values.index(one[knob.name]) if knob.name in one else 0]
                              for knob in problem.space.knobs])  # fmt: skip
            waits.append(evaluate(problem, problem.space.columns(codes)).values["ttft_p99_s"][0])
        assert waits[1] > 5 * waits[0]


def test_details_have_the_values_of_the_search_and_ends_around_them() -> None:
    problem = serving()
    codes = some(problem, 3)
    found = evaluate(problem, problem.space.columns(codes))
    for i, shown in enumerate(problem.details(codes)):
        for name in module.OBJECTIVES:
            assert shown[name]["value"] == found.values[name][i]
            assert shown[name]["lo"] <= shown[name]["value"] <= shown[name]["hi"]


def test_a_model_without_tokens_is_refused() -> None:
    with pytest.raises(BadValueError, match="generates no tokens"):
        serving(model="resnet-50")
