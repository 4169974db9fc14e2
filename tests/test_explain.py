"""Why an answer is what it is: the steps from the peak add up to the time, the operators to the whole."""

from __future__ import annotations

from typing import Any

import pytest

import archcast as ac
from costmodel.explain import STEPS, Explanation
from foundation.errors import BadValueError

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3.1-8b", "h100-sxm", {"batch": 4, "prompt": 300, "generate": 33}),
    ("llama-3.1-8b", "h100-sxm", {"batch": 4, "prompt": 300, "generate": 33, "tp": 4}),
    ("llama-3.1-8b", "h200-sxm", {"batch": 16, "prompt": 300, "generate": 33, "pp": 2}),
    ("mixtral-8x7b", "mi300x", {"batch": 2, "prompt": 100, "generate": 9, "tp": 2, "ep": 2}),
    ("mamba-2.8b", "h100-sxm", {"prompt": 100, "generate": 9}),
    ("resnet-50", "gemmini-16x16", {}),
    ("vit-base", "rk3588", {"batch": 2}),
    ("gpt-2", "raspberry-pi-5", {"prompt": 50, "generate": 9}),
    ("gpt-2", "a100-sxm-80gb", {"mode": "train", "batch": 2, "prompt": 128}),
]


def explained(case: tuple[str, str, dict[str, Any]]) -> tuple[float, Explanation]:
    workload, device, asked = case
    found = ac.predict(workload, on=device, **asked)
    assert found.latency_s is not None
    return found.latency_s.value, found.explain()


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} on {c[1]}")
def test_the_steps_add_up_to_the_latency_and_none_gives_time_back(case: tuple[str, str, dict[str, Any]]) -> None:
    latency_s, why = explained(case)
    assert [step.name for step in why.steps] == [name for name, _ in STEPS]
    assert sum(step.added_s for step in why.steps) == pytest.approx(latency_s, rel=1e-9)
    for step in why.steps:
        assert step.added_s >= 0, step.name
    rates = [step.rate_flop_per_s for step in why.steps]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]} on {c[1]}")
def test_operators_add_up_to_the_whole(case: tuple[str, str, dict[str, Any]]) -> None:
    latency_s, why = explained(case)
    assert sum(o.share for o in why.operators) == pytest.approx(1, rel=1e-9)
    assert sum(o.latency_s for o in why.operators) == pytest.approx(latency_s, rel=1e-9)
    assert [o.latency_s for o in why.operators] == sorted((o.latency_s for o in why.operators), reverse=True)


def test_the_last_rate_is_the_work_over_the_time() -> None:
    found = ac.predict("resnet-50", on="h100-sxm", batch=8)
    assert found.latency_s is not None
    assert found.work_flop is not None
    assert found.explain().steps[-1].rate_flop_per_s == pytest.approx(found.work_flop / found.latency_s.value, rel=1e-9)


def test_a_decode_waits_for_memory_and_a_collective_for_the_network() -> None:
    _, decode = explained(("llama-3.1-8b", "h100-sxm", {"prompt": 10, "generate": 100}))
    longest = max(decode.steps, key=lambda step: step.added_s)
    assert longest.name == "device memory"
    alone = {step.name: step.added_s for step in decode.steps}
    assert alone["network"] == 0
    _, divided = explained(("llama-3.1-8b", "h100-sxm", {"prompt": 10, "generate": 100, "tp": 4}))
    assert {step.name: step.added_s for step in divided.steps}["network"] > 0
    assert any(o.bound == "network" for o in divided.operators)


def test_only_an_array_has_folds_to_fill_in_a_network_without_attention() -> None:
    added = {
        device: {step.name: step.added_s for step in explained(("resnet-50", device, {}))[1].steps}["fill and drain"]
        for device in ("gemmini-16x16", "h100-sxm")
    }
    assert added["gemmini-16x16"] > 0
    assert added["h100-sxm"] == 0


def test_the_same_operator_in_prefill_and_decode_is_two_lines() -> None:
    _, why = explained(("llama-3.1-8b", "h100-sxm", {"prompt": 64, "generate": 5}))
    found = {(o.phase, o.name): o for o in why.operators}
    assert found["prefill", "down"].calls == 32
    assert found["decode", "down"].calls == 32 * 4
    assert found["decode", "down"].op == "gemm"


def test_what_does_not_fit_is_not_explained() -> None:
    with pytest.raises(BadValueError, match=r"llama-3.1-70b on h100-sxm is infeasible: there is no time to explain"):
        ac.predict("llama-3.1-70b", on="h100-sxm").explain()


def test_a_product_keeps_its_name_and_the_collective_behind_it_says_what_it_is() -> None:
    operators = ac.predict("llama-3.1-8b", on="h100-sxm", tp=2, prompt=16, generate=2).explain().operators
    kinds = {(o.name, o.op) for o in operators}
    assert {("down", "gemm"), ("down.all_reduce", "collective"), ("lm_head.all_gather", "collective")} <= kinds
