"""What a stack adds to its kernels is found again, shrunk where little is known, and never below what is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.stack import (
    PLAIN,
    ServedTimes,
    Stack,
    answer,
    find_stack,
    fit_stacks,
    fold_of,
    read_stacks,
    shipped_stacks,
    with_intervals,
    write_stacks,
)
from foundation.errors import BadFileError, BadValueError


def times(stack: Stack, rows: int = 120, groups: int = 6, noise: float = 0.0, seed: int = 1) -> ServedTimes:
    """Return times of a known stack, with errors of a logarithm of `noise`."""
    random = np.random.default_rng(seed)
    tpot, ttft = random.uniform(0.005, 0.05, rows), random.uniform(0.02, 2.0, rows)
    error = np.exp(noise * random.standard_normal((2, rows)))
    return ServedTimes(
        np.full(rows, f"{stack.software} 1.0", dtype=object), np.array([f"group {i % groups}" for i in range(rows)]),
        ttft, tpot, stack.ttft_s(ttft, tpot) * error[0], stack.tpot_s(tpot) * error[1],
    )  # fmt: skip


def test_the_terms_of_a_stack_are_found_again() -> None:
    true = Stack("vllm", 1.2, 1.3, 6.0, 0.03)
    found = fit_stacks(times(true))["vllm"]
    assert found.step_factor == pytest.approx(1.2, rel=1e-9)
    assert found.first_factor == pytest.approx(1.3, rel=0.02)
    assert found.seen_steps == pytest.approx(6.0, rel=0.05)
    assert found.request_s == pytest.approx(0.03, rel=0.1)


def test_a_framework_known_from_one_group_is_held_to_the_others() -> None:
    common, other = (
        times(Stack("vllm", 1.0, 1.0, 0.0, 0.0), groups=9),
        times(Stack("sglang", 2.0, 1.0, 0.0, 0.0), 12, 1),
    )
    both = ServedTimes(*(np.concatenate([getattr(common, n), getattr(other, n)]) for n in common.__dataclass_fields__))
    found = fit_stacks(both)
    assert found["vllm"].step_factor == pytest.approx(1.0)
    assert found["sglang"].step_factor == pytest.approx(2.0**0.25)  # one group against KIN = 3 of all frameworks


def test_the_first_token_is_never_shown_before_it_is_made() -> None:
    early = times(Stack("vllm", 1.0, 0.5, 0.0, 0.0))
    assert fit_stacks(early)["vllm"].first_factor >= 1.0


@settings(max_examples=30, deadline=None)
@given(st.floats(0.8, 1.5), st.floats(1.0, 2.0), st.floats(0, 20), st.floats(0, 0.2), st.floats(0.3, 3.0))
def test_times_of_slowed_steps_show_the_same_first_token(
    step: float, first: float, steps: float, request: float, scale: float
) -> None:
    stack = Stack("x", step, first, steps, request)
    ttft, tpot = np.array([0.3 * scale]), np.array([0.02 * scale])
    assert stack.shown_ttft_s(step * ttft, step * tpot) == pytest.approx(stack.ttft_s(ttft, tpot))


def test_intervals_hold_nine_in_ten_of_new_groups() -> None:
    known, new = (
        times(Stack("vllm", 1.1, 1.0, 5.0, 0.02), 600, 30, 0.2),
        times(Stack("vllm", 1.1, 1.0, 5.0, 0.02), 2000, 30, 0.2, seed=2),
    )
    stacks = with_intervals(known)
    _, tpot = answer(stacks, new)
    inside = np.mean(np.abs(np.log(new.seen_tpot_s / tpot)) <= stacks["vllm"].tpot_half)
    assert 0.86 <= inside <= 0.94


def test_whole_groups_stay_in_one_fold() -> None:
    group = np.array([f"g{i % 17}" for i in range(200)])
    fold = fold_of(group, 5, seed=3)
    assert all(len(set(fold[group == g])) == 1 for g in set(group))
    assert set(fold) == {0, 1, 2, 3, 4}


def test_two_runs_are_too_few_to_fit_a_stack() -> None:
    with pytest.raises(BadValueError, match="at least 3"):
        fit_stacks(times(Stack("vllm", 1.0, 1.0, 0.0, 0.0), 2))


def test_a_stack_that_is_not_named_adds_nothing_and_an_unknown_one_what_all_have_in_common() -> None:
    stacks = shipped_stacks()
    assert find_stack("") is PLAIN
    assert find_stack("vllm 0.19.0") == stacks["vllm"]
    assert find_stack("brand-new 1.0") == stacks[""]
    assert PLAIN.ttft_s(np.array([0.5]), np.array([0.01])) == pytest.approx([0.5])


def test_stacks_survive_their_file_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stacks.json"
    stacks = with_intervals(times(Stack("vllm", 1.1, 1.0, 5.0, 0.02), noise=0.1))
    write_stacks(stacks, path, "a test")
    assert read_stacks(path) == stacks
    path.write_text('{"stacks": [{"software": "x"}]}', encoding="utf-8")
    with pytest.raises(BadFileError, match=r"stacks\.json"):
        read_stacks(path)
