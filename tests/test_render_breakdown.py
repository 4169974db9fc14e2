"""Where time, energy and memory go: parts add up to the whole, and advice is right when it is followed."""

from __future__ import annotations

import pytest
import render_samples as samples
from hypothesis import given
from hypothesis import strategies as st

import archcast
from archcast.render.breakdown import (
    Part,
    energy_by_family,
    grouped,
    memory_parts,
    parts_of,
    per_token,
    time_by_family,
    time_by_phase,
    what_would_help,
)
from archcast.render.figures import figure_rows
from hardware_specs import load_device


def total(parts: tuple[Part, ...]) -> float:
    return sum(part.value for part in parts)


def test_time_by_family_and_by_phase_add_up_to_the_latency() -> None:
    estimate = samples.language_model()
    assert estimate.detail is not None
    assert estimate.latency_s is not None
    assert total(time_by_family(estimate.detail)) == pytest.approx(estimate.latency_s.value)
    assert total(time_by_phase(estimate.detail)) == pytest.approx(estimate.latency_s.value)
    assert [part.name for part in time_by_phase(estimate.detail)] == ["prefill", "decode"]


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_energy_parts_add_up_to_the_energy_of_all_devices(tp: int, pp: int) -> None:
    estimate = archcast.predict("llama-3.1-8b", on="h100-sxm", tp=tp, pp=pp, prompt=64, generate=4)
    assert estimate.energy_j is not None
    parts = energy_by_family(estimate)
    assert total(parts) == pytest.approx(estimate.energy_j.value, rel=2e-6)
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert "idle power" in {part.name for part in parts}
    assert ("waiting stages" in {part.name for part in parts}) == (pp > 1)


def test_memory_parts_are_shares_of_the_capacity() -> None:
    estimate = samples.language_model()
    parts = memory_parts(estimate)
    assert total(parts) == pytest.approx(estimate.memory_bytes.value)
    weights = next(part for part in parts if part.name == "weights")
    assert weights.share == pytest.approx(8_030_261_248 * 2 / estimate.capacity_bytes)


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0, 1e9), max_size=30), st.integers(2, 9))
def test_grouping_keeps_the_sum(values: dict[str, float], keep: int) -> None:
    parts = parts_of(values)
    few = grouped(parts, keep)
    assert len(few) == min(len(parts), keep)
    assert total(few) == pytest.approx(total(parts))


def test_tokens_joules_and_dollars_follow_from_the_answer() -> None:
    estimate = samples.language_model()
    assert estimate.latency_s is not None
    assert estimate.energy_j is not None
    found = {axis.label: quantity for axis, quantity in per_token(estimate)}
    rate = found["Output tokens"]
    assert rate.value == pytest.approx(8 * 256 / estimate.latency_s.value)
    assert (rate.lo, rate.hi) == pytest.approx((2048 / estimate.latency_s.hi, 2048 / estimate.latency_s.lo))
    assert found["Energy a token"].value == pytest.approx(estimate.energy_j.value / 2048)
    assert per_token(samples.small()) == []


def test_following_the_advice_makes_it_fit() -> None:
    estimate = samples.infeasible()
    advice = " ".join(what_would_help(estimate))
    assert "at least 2 times as many devices" in advice
    assert "half the width" in advice
    again = archcast.predict("llama-3.1-70b", on="h100-sxm", batch=4, prompt=256, generate=16, tp=2)
    narrow = archcast.predict("llama-3.1-70b", on="h100-sxm", batch=4, prompt=256, generate=16, dtype="fp8")
    assert narrow.verdict == "feasible"
    assert again.shortfall_bytes < estimate.shortfall_bytes / 2
    assert what_would_help(samples.language_model()) == ()


def test_a_batch_that_is_too_large_is_named_as_such() -> None:
    estimate = archcast.predict("llama-3.1-8b", on="h100-sxm", batch=2048, prompt=1024, generate=16)
    assert estimate.verdict == "infeasible"
    assert "a smaller batch or a shorter context" in what_would_help(estimate)[0]


@pytest.mark.parametrize("device", ["h100-sxm", "gap8", "raspberry-pi-5", "gemmini-16x16"])
def test_every_figure_of_a_device_has_a_place_a_unit_and_an_origin(device: str) -> None:
    spec = load_device(device)
    rows = list(figure_rows(spec))
    assert len(rows) == len(list(spec.figures()))
    assert len({row.place for row in rows}) == len(rows)
    for row in rows:
        assert row.value
        assert row.estimated == (row.key == "estimated")
        assert row.estimated or row.origin in spec.sources.values()
        assert "[" in row.range or not row.estimated
