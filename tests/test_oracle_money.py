"""Break-even, cost of a pass, equal costs, and reasoning: arithmetic that can be done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.batches import predict_batch
from archcast.oracle import break_even, cost_of_pass, curve, iso, reasoning_cost
from foundation.errors import ArchcastError

CHAT: Any = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 512, "generate": 128}
WRONG: Any = "x"
BOTH: Any = [CHAT, CHAT]
SMALL: Any = {**CHAT, "workload": "qwen3-0.6b"}


def test_a_program_of_eight_cents_pays_after_forty_instances_and_400x_after_16000() -> None:
    """GRASP (code-driven planning): $0.08 a program against $0.002 an instance (reference scope, section 5)."""
    found = break_even(0.08, 0, 0.002)
    assert found.uses.value == pytest.approx(40, rel=1e-12)
    assert found.at_ratio(400) == pytest.approx(16_000, rel=1e-12)
    assert found.ratio_at(16_000) == pytest.approx(400)
    assert "40" in found.text()


def test_the_ends_of_a_break_even_take_the_ends_of_its_parts() -> None:
    found = break_even((100, 80, 120), (1, 0.5, 1.5), (3, 2.5, 3.5))
    assert (found.uses.value, found.uses.lo, found.uses.hi) == pytest.approx((50, 80 / 3, 120))
    unsure = break_even(100, (1, 0.5, 2), (3, 1.5, 4))
    assert unsure.uses.hi == math.inf
    assert unsure.to_json()["uses"]["hi"] is None
    assert break_even(1, 2, 2).text().startswith("It never pays")
    assert break_even(1, 2, 2).at_ratio(2) == math.inf


def test_pure_modes_cost_what_the_savings_of_a2fm_say() -> None:
    """A^2FM: $0.00487 a pass, 45.2 % and 33.5 % below the pure modes: $0.00889 and $0.00732 (scope, section 5)."""
    success = 0.7
    found = cost_of_pass([0.00487 * success, 0.00889 * success, 0.00732 * success], [success] * 3)
    assert found.value == pytest.approx([0.00487, 0.00889, 0.00732], rel=1e-12)
    assert 1 - found.value[0] / found.value[1:] == pytest.approx([0.452, 0.335], abs=5e-4)


def test_the_frontier_says_who_is_cheapest_at_each_success() -> None:
    found = cost_of_pass([1, 2, 3, 0.5, 2.5], [0.2, 0.5, 0.4, 0.05, 0.5], list("abcde"))
    assert [found.candidates[i] for i in found.front] == ["d", "a", "b"]
    assert [found.candidates[found.cheapest(s)] for s in (0, 0.05, 0.06, 0.2, 0.3, 0.5)] == list("ddaabb")
    assert found.cheapest(0.51) == -1
    assert found.candidates[found.best] == "b"
    assert found.value.tolist() == [5, 4, 7.5, 10, 5]
    assert found.to_json()["best"] == "b"


def test_who_never_succeeds_has_no_cost_of_a_pass() -> None:
    found = cost_of_pass([1, 2], [0, (0.5, 0.4, 0.8)])
    assert np.isinf(found.value[0])
    assert (found.value[1], found.lo[1], found.hi[1]) == pytest.approx((4, 2.5, 5))
    assert found.best == 1
    assert found.to_json()["cost_of_pass"]["value"][0] is None
    assert cost_of_pass([1], [0]).best == -1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12))
def test_nobody_is_cheaper_and_more_often_right_than_the_frontier(candidates: list[tuple[float, float]]) -> None:
    cost, success = zip(*candidates, strict=True)
    found = cost_of_pass(cost, success)
    for i in found.front:
        assert not any((c <= cost[i] and s > success[i]) or (c < cost[i] and s >= success[i]) for c, s in candidates)
    for s in (s for s in success if s > 0):  # who never succeeds is no choice
        assert cost[found.cheapest(s)] == min(c for c, r in candidates if r >= s)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: break_even(-1, 0, 1), "fixed must be"),
        (lambda: break_even(float("nan"), 0, 1), "fixed must be"),
        (lambda: break_even((1, 2, 3), 0, 1), "outside of its ends"),
        (lambda: break_even(WRONG, 0, 1), "fixed must be"),
        (lambda: cost_of_pass([], []), "no candidate"),
        (lambda: cost_of_pass([1], [1.2]), "share from 0 to 1"),
        (lambda: cost_of_pass([1, 2], [0.5]), "each candidate needs both"),
        (lambda: cost_of_pass(WRONG, [0.5]), "must be a list"),
        (lambda: cost_of_pass([1], [0.5], ["a", "b"]), "2 names"),
        (lambda: iso(CHAT, SMALL, "tokens"), "measure"),
        (lambda: iso(CHAT, SMALL, []), "No measure"),
        (lambda: iso(BOTH, SMALL), "x is one question"),
        (lambda: iso({**CHAT, "on": "gap8"}, SMALL), "no cost to compare"),
        (lambda: reasoning_cost(CHAT, []), "No value of generate"),
        (lambda: reasoning_cost(CHAT, [4], 0), "samples must be"),
        (lambda: reasoning_cost(CHAT, [4], 1, passes=0), "passes must be"),
        (lambda: reasoning_cost(BOTH, [4]), "One question at a time"),
    ],
)
def test_bad_input_is_one_sentence(ask: object, words: str) -> None:
    with pytest.raises(ArchcastError) as caught:
        ask()  # type: ignore[operator]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_choice_is_equal_to_itself_and_surely_so() -> None:
    found = iso(CHAT, CHAT, ["time", "energy", "flop"], model="physics")
    for name in ("latency_s", "energy_j", "work_flop"):
        assert found.at[name].value == pytest.approx(128, abs=1e-6)
        assert found.ratio[name].value == 1
        assert (found.at[name].lo, found.at[name].hi) == pytest.approx((128, 128), abs=1e-3)
    assert found.gap == {"latency_s": 1, "energy_j": 1, "cost_usd": 1, "work_flop": 1}


def test_equal_flop_are_not_equal_time() -> None:
    """A model of a thirteenth of the work takes far more than a thirteenth of the time (scope, section 4)."""
    found = iso(CHAT, SMALL, ["time", "flop"], "generate")
    assert found.ratio["work_flop"].value < 0.12
    assert found.ratio["latency_s"].value > 2 * found.ratio["work_flop"].value
    assert found.gap["latency_s"] == pytest.approx(found.ratio["latency_s"].value / found.ratio["work_flop"].value)
    assert found.at["latency_s"].value < found.at["work_flop"].value
    target = curve(CHAT, "generate", [128]).of("latency_s")[0]
    whole = found.whole["latency_s"]
    near = curve(SMALL, "generate", [whole, whole + 1]).of("latency_s")
    assert near[0] <= target < near[1]


def test_devices_that_know_nothing_of_each_other_are_less_surely_equal() -> None:
    here, there = iso(CHAT, SMALL, "time"), iso(CHAT, {**SMALL, "on": "l40s"}, "time")

    def width(found: object) -> float:
        ratio = found.ratio["latency_s"]  # type: ignore[attr-defined]
        return math.log(ratio.hi / ratio.lo)

    assert width(here) < width(there)


def test_samples_in_sequence_are_one_prompt_and_k_answers() -> None:
    one, four = reasoning_cost(CHAT, [256], [1, 4], parallel=False, quantities=["latency_s", "energy_j"]).value[0]
    prompt = predict_batch(workload="llama-3.1-8b", on="h100-sxm", prompt=512, generate=1)
    for k, name in enumerate(("latency_s", "energy_j")):
        assert four[k] == pytest.approx(prompt[name][0] + 4 * (one[k] - prompt[name][0]), rel=1e-9)


def test_samples_in_parallel_are_faster_and_need_more_memory() -> None:
    together = reasoning_cost(CHAT, [128, 1024], [1, 8, 64])
    apart = reasoning_cost(CHAT, [128, 1024], [1, 8, 64], parallel=False)
    assert together.value.shape == (2, 3, 4)
    assert together.of("latency_s")[:, 0] == pytest.approx(apart.of("latency_s")[:, 0], rel=1e-9)
    assert (together.of("latency_s")[:, 1:] < apart.of("latency_s")[:, 1:]).all()
    assert (together.of("memory_bytes")[:, 1:] > apart.of("memory_bytes")[:, 1:]).all()
    assert (np.diff(together.of("latency_s"), axis=1) > 0).all()
    assert ((together.lo <= together.value) & (together.value <= together.hi)).all()


def test_truncated_answers_cost_what_they_stop_at() -> None:
    found = reasoning_cost(CHAT, [64, 512, 4096], [2], truncate=512)
    assert found.truncated.tolist() == [False, False, True]
    assert found.of("latency_s")[2, 0] == found.of("latency_s")[1, 0]
    assert "cut at 512" in found.text()


def test_a_verifier_reads_prompt_and_answer_as_often_as_asked() -> None:
    plain = reasoning_cost(CHAT, [256], [8]).of("latency_s")[0, 0]
    reader = {"workload": "qwen3-0.6b", "on": "l40s"}
    read = predict_batch(workload="qwen3-0.6b", on="l40s", prompt=512 + 256, generate=1, batch=8)["latency_s"][0]
    for passes in (1, 3):
        found = reasoning_cost(CHAT, [256], [8], verifier=reader, passes=passes)
        assert found.of("latency_s")[0, 0] == pytest.approx(plain + passes * read, rel=1e-9)
    sequence = reasoning_cost(CHAT, [256], [8], parallel=False, verifier=reader).of("latency_s")[0, 0]
    alone = reasoning_cost(CHAT, [256], [8], parallel=False).of("latency_s")[0, 0]
    one = predict_batch(workload="qwen3-0.6b", on="l40s", prompt=512 + 256, generate=1)["latency_s"][0]
    assert sequence == pytest.approx(alone + 8 * one, rel=1e-9)


def test_uses_are_written_out_and_who_never_succeeds_is_not_on_the_frontier() -> None:
    assert break_even(25, 0.0, 0.002).text() == "Pays back after 12,500 uses [12,500, 12,500]."
    found = cost_of_pass([1, 2], [0.0, 0.5])
    assert found.front == (1,)
    assert "frontier" not in found.text()
    assert cost_of_pass([1], [0.0]).front == ()
    assert cost_of_pass([1], [0.0]).cheapest(0.0) == -1


def test_what_no_value_equals_is_said_with_why() -> None:
    tiny = {**CHAT, "prompt": 1, "generate": 1}
    found = iso(tiny, CHAT, "time", model="physics")
    assert not np.isfinite(found.at["latency_s"].value)
    assert "No generate makes y cost what x does: by latency_s the least of it costs more." in found.text()
