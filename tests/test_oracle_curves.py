"""Curves, their straight pieces, what the next unit costs, and what fits a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.oracle import curve, marginal, max_within
from archcast.oracle.segments import fit_segments
from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from workloads.table import OpTable

CHAT: Any = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 1024, "generate": 128}
PICTURE: Any = {"workload": "resnet-50", "on": "h100-sxm"}
WRONG: Any = "x"
BOTH: Any = [CHAT, CHAT]
PICTURE: Any = {"workload": "resnet-50", "on": "l40s"}


@dataclass(frozen=True)
class Zigzag:
    """The closed form, in which pictures in batches of even size take half the time."""

    name: str = "zigzag"
    version: str = "1"

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        costs = predict_physics(table, rates, fabric)
        factor = np.where(table.full("batch") % 2 == 0, 0.5, 1.0)
        times: Any = {name: getattr(costs, name) * factor for name in ("latency_s", "latency_lo_s", "latency_hi_s")}
        return replace(costs, **times)


def test_a_curve_keeps_the_order_of_its_values_and_rises_with_tokens() -> None:
    found = curve(CHAT, "tokens", [512, 64, 128])
    assert found.knob == "generate"
    assert found.values.tolist() == [512, 64, 128]
    times = found.of("latency_s")
    assert times[1] < times[2] < times[0]
    assert found.monotone["latency_s"]
    assert (found.lo <= found.value).all()
    assert (found.value <= found.hi).all()


def test_a_curve_says_where_it_is_not_monotone() -> None:
    found = curve(PICTURE, "batch", range(1, 9), model=Zigzag())
    assert not found.monotone["latency_s"]
    assert found.monotone["memory_bytes"]
    assert "Not monotone in batch: latency_s" in found.text()


def test_a_knob_of_the_model_is_a_knob() -> None:
    found = curve(CHAT, "layers", [8, 16, 32], ["latency_s", "memory_bytes"], "physics")
    assert found.monotone == {"latency_s": True, "memory_bytes": True}
    first, second, third = found.of("latency_s")
    assert third - second == pytest.approx(2 * (second - first), rel=1e-6)  # equal layers


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["batch", "prompt", "generate"]),
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from(["h100-sxm", "l40s", "jetson-agx-orin", "xeon-6226"]),
)
def test_the_closed_form_never_falls_with_batch_prompt_or_tokens(knob: str, a: int, b: int, device: str) -> None:
    asked = {"workload": "qwen3-0.6b", "on": device, "prompt": 256, "generate": 32}
    found = curve(asked, knob, sorted((a, b)), ["latency_s", "energy_j", "memory_bytes"], "physics")
    assert all(found.monotone.values()), found.value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=40), st.floats(0.001, 0.5))
def test_straight_pieces_stay_within_their_tolerance(values: list[float], tolerance: float) -> None:
    at = np.arange(1.0, len(values) + 1)
    found = fit_segments(at, np.array(values), tolerance, "latency_s")
    assert found.largest_error <= tolerance + 1e-9
    assert np.abs(found(at) / values - 1).max() == pytest.approx(found.largest_error, abs=1e-12)
    assert (found.at[0], found.at[-1]) == (at[0], at[-1])


def test_a_straight_line_is_one_piece_and_a_bend_is_two() -> None:
    at = np.arange(1.0, 11)
    line = fit_segments(at, 2 * at + 1, 1e-9, "latency_s")
    assert (line.at.tolist(), line.shape, line.slopes.tolist()) == ([1, 10], "linear", [2.0])
    bend = fit_segments(at, np.maximum(at, 3 * at - 10), 1e-9, "latency_s")
    assert (bend.at.tolist(), bend.shape) == ([1, 5, 10], "convex")
    assert bend.value.tolist() == [1, 5, 20]


def test_pieces_of_a_curve_are_few_and_state_their_error() -> None:
    found = curve(CHAT, "generate", np.unique(np.geomspace(16, 30_000, 60).round()), model="physics")
    pieces = found.segments(0.01)
    assert len(pieces.at) < 10
    assert pieces.largest_error <= 0.01
    with pytest.raises(BadValueError, match="at least two values"):
        curve(CHAT, "generate", [5]).segments()


def test_the_next_token_is_the_difference_of_two_answers() -> None:
    step = marginal(CHAT, "generate", [128, 1024], step=1)
    both = curve(CHAT, "generate", [128, 129, 1024, 1025])
    assert step.of("latency_s") == pytest.approx(np.diff(both.of("latency_s"))[[0, 2]], rel=1e-9)


def test_the_next_token_costs_what_a_token_takes_wherever_it_is_asked() -> None:
    """Trees jump from size to size by more than a token takes; over 5 % the jumps even out."""
    at = np.unique(np.geomspace(64, 16_384, 30).round())
    step = marginal(CHAT, "generate", at)
    usual = curve(CHAT, "generate", at, ["tpot_s"]).of("tpot_s")
    assert np.abs(step.of("latency_s") / usual - 1).max() < 0.35  # later tokens read a longer cache
    assert (step.of("latency_s", "hi") > usual * 0.9).all()
    assert (step.of("latency_s", "lo") < usual * 1.3).all()


def test_the_error_of_the_next_token_cancels_but_for_its_own_share() -> None:
    step = marginal(CHAT, "generate", 1024)
    whole = curve(CHAT, "generate", [1024, 1025])
    value, hi = step.of("latency_s")[0], step.of("latency_s", "hi")[0]
    relative, of_whole = hi / value - 1, whole.of("latency_s", "hi")[0] / whole.of("latency_s")[0] - 1
    assert 0.3 * of_whole < relative < 3 * of_whole  # as sure as the rest of the work
    independent = np.hypot(*(whole.of("latency_s", "hi") - whole.of("latency_s")))
    assert hi - value < 0.05 * independent  # far surer than two answers that know nothing of each other


def test_many_requests_are_stepped_at_once_and_each_from_its_own_value() -> None:
    step = marginal([CHAT, {**CHAT, "batch": 16}], "batch")
    assert step.at.tolist() == [1, 16]
    with pytest.raises(BadValueError, match="step must be"):
        marginal(CHAT, "batch", step=0)
    with pytest.raises(BadValueError, match="has no generate"):
        marginal(PICTURE, "generate")


def test_the_largest_batch_within_a_time_is_that_of_trying_them_all() -> None:
    budgets = [0.001, 0.004, 0.02]
    found = max_within([PICTURE] * 3, "batch", {"latency_s": budgets})
    every = curve(PICTURE, "batch", range(1, 400))
    for at, budget in zip(found.at, budgets, strict=True):
        assert at == every.values[every.of("latency_s") <= budget].max()
    assert set(found.binds) == {"latency_s"}


def test_where_costs_zigzag_the_last_value_that_fits_is_found() -> None:
    every = curve(PICTURE, "batch", range(1, 600), model=Zigzag())
    times = every.of("latency_s")
    budget = float(times[200])  # batch 201, an odd one
    found = max_within(PICTURE, "batch", {"latency_s": budget}, model=Zigzag())
    assert found.at[0] == every.values[times <= budget].max()
    assert not found.monotone[0]


def test_memory_and_the_safe_side_bind_too() -> None:
    by_memory = max_within({**CHAT, "on": "rtx-4090"}, "batch", {"latency_s": 1e6})
    assert "short of memory" in by_memory.binds[0]
    value, safe = (max_within(CHAT, "generate", {"latency_s": 2}, side).at[0] for side in ("value", "hi"))
    assert safe < value
    tight = max_within(CHAT, "generate", {"latency_s": 2, "energy_j": 100})
    assert tight.at[0] < value
    assert tight.binds == ("energy_j",)
    assert max_within(CHAT, "generate", {"latency_s": 1e-6}).at[0] == 0


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: curve(CHAT, "generat", [1]), "generate"),
        (lambda: curve(CHAT, "dtype", [1]), "has no values between"),
        (lambda: curve(CHAT, "generate", []), "No value of generate"),
        (lambda: curve(CHAT, "generate", [float("nan")]), "whole number"),
        (lambda: curve(CHAT, "generate", [-4]), "whole number"),
        (lambda: curve(CHAT, "generate", [WRONG]), "whole number"),
        (lambda: curve(BOTH, "generate", [4]), "one question"),
        (lambda: marginal(CHAT, "generate", [1, 2, 0]), "whole number"),
        (lambda: max_within(CHAT, "generate", {}), "A budget names"),
        (lambda: max_within(CHAT, "generate", {"latency_s": -1}), "above 0"),
        (lambda: max_within(CHAT, "generate", {"latency_s": float("nan")}), "above 0"),
        (lambda: max_within(CHAT, "generate", {"latensy_s": 1}), "latency_s"),
        (lambda: max_within(CHAT, "generate", {"latency_s": [1, 2]}), "2 values for 1"),
        (lambda: max_within(CHAT, "generate", {"latency_s": 1}, side="mean"), "side must be"),
        (lambda: fit_segments(np.arange(3.0), np.ones(3), 0, "latency_s"), "tolerance"),
    ],
)
def test_bad_input_is_one_sentence(ask: object, words: str) -> None:
    with pytest.raises(ArchcastError) as caught:
        ask()  # type: ignore[operator]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_knob_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Nearest: .*layers"):
        curve(CHAT, "layer", [1])


def test_the_most_samples_stop_where_their_memory_ends() -> None:
    question = {**CHAT, "prompt": 8192, "generate": 16}
    found = max_within(question, "samples", {"latency_s": 1e6}, model="physics")
    memory = found.value[0, found.quantities.index("memory_bytes")]
    # as much of the 85 GB as a sample more would fill: the row does not contradict its own reason
    assert memory > 80e9
    assert "short of memory" in found.binds[0]
    assert found.at[0] > 1000


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: max_within(PICTURE, "generate", {"latency_s": 1}), "it would change nothing"),
        (lambda: curve(PICTURE, "samples", [1, 2]), "it would change nothing"),
        (lambda: curve({**CHAT, "mode": "train"}, "generate", [1, 2]), "A training step has no generate"),
        (lambda: marginal({}), "needs 'workload'"),
        (lambda: marginal({**CHAT, "on": "h100x"}, "generate"), "h100"),
        (lambda: curve({**CHAT, "dtype": "fp9"}, "generate", [4]), "fp8"),
        (lambda: max_within({**CHAT, "workload": "lama-3.1-8b"}, "batch", {"latency_s": 1}), "llama-3.1-8b"),
        (lambda: max_within({**CHAT, "count": 0}, "batch", {"latency_s": 1}), "count must be"),
    ],
)
def test_a_name_that_nothing_has_or_a_knob_without_effect_is_refused(ask: object, words: str) -> None:
    with pytest.raises(ArchcastError) as caught:
        ask()  # type: ignore[operator]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_still_an_answer() -> None:
    found = curve({"workload": "llama-3.1-70b", "on": "rtx-4090"}, "generate", [4, 8])
    assert not found.feasible.any()
    assert "short of memory" in found.reason[0]


def test_a_knob_that_no_budget_ends_is_answered_with_the_most_that_is_tried() -> None:
    found = max_within(PICTURE, "tp", {"latency_s": 1e9}, model="physics")
    assert found.at[0] == 10**6
    assert found.binds == ("nothing up to 1,000,000",)


def test_a_budget_that_nothing_meets_is_said_in_a_sentence() -> None:
    text = max_within(CHAT, "generate", {"latency_s": 1e-6}, model="physics").text()
    assert "No generate fits: the least already breaks" in text


def test_a_curve_that_falls_is_called_falling() -> None:
    question = {"workload": "llama-3.1-8b", "on": "h100-sxm", "batch": 8}
    text = curve(question, "tp", [1, 2, 4], ["memory_bytes"], model="physics").text()
    assert "Falls as tp grows: memory_bytes." in text
