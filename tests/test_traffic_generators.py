"""Generators: arrival processes, lengths, conversations, and what `traffic:` may say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from workloads.traffic import draw, traffic_model
from workloads.traffic.arrivals import Arrivals, AtOnce, Batch, Constant, Diurnal, Gamma, Poisson
from workloads.traffic.bursts import Bursty, Switching, two_state
from workloads.traffic.lengths import (
    EmpiricalLengths,
    LognormalLengths,
    PromptAndAnswer,
    UniformLengths,
    ZipfLengths,
    clipped,
    normal_cdf,
)
from workloads.traffic.statistics import blocks_seen, dispersion, rank_correlation

PLAIN = {"rate_hz": 10, "prompt": 1024, "generate": 128}
BURSTY = Bursty(20.0, (Switching(0.3, 0.2, 2.0), Switching(0.4, 0.5, 10.0)))
PROCESSES: list[Arrivals] = [
    Constant(20.0), Poisson(20.0), Gamma(20.0, 2.5), Diurnal(20.0, 0.8, 100.0, 30.0), Batch(20.0, 7, "poisson"),
    BURSTY, two_state(20.0, 5.0, 2.0, 8.0),
]  # fmt: skip


def stream(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def streams(first: int = 1, second: int = 2) -> tuple[np.random.Generator, np.random.Generator]:
    return stream(first), stream(second)


def normals(count: int = 200_000) -> np.ndarray[Any, Any]:
    return stream(5).standard_normal(count)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.kind)
def test_times_rise_and_come_at_the_mean_rate(process: Arrivals) -> None:
    times = process.times(stream(3), horizon_s=20_000.0)
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < 20_000
    # 5 standard errors of the most bursty of them (index of dispersion about 60): 5 sqrt(60 / 400,000).
    assert len(times) / 20_000 == pytest.approx(20.0, rel=0.06)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.kind)
@pytest.mark.parametrize("few", [1, 100, 3000])
def test_the_first_requests_are_the_same_however_many_are_drawn(process: Arrivals, few: int) -> None:
    some, all_of_them = process.times(stream(3), requests=few), process.times(stream(3), requests=5000)
    assert len(some) == few
    np.testing.assert_array_equal(some, all_of_them[:few])
    end_s = float(all_of_them[4000])
    within = process.times(stream(3), horizon_s=end_s)
    np.testing.assert_array_equal(within, all_of_them[all_of_them < end_s])


def test_a_clock_is_exact() -> None:
    assert Constant(4.0).times(stream(1), requests=4).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_all_at_once_is_time_zero_and_needs_a_number() -> None:
    assert AtOnce().times(stream(1), requests=3).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(BadValueError, match="need a number of requests"):
        AtOnce().times(stream(1), horizon_s=10.0)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(Poisson(5.0).times(stream(1), requests=100_000))
    assert gaps.mean() == pytest.approx(0.2, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.02)
    assert np.median(gaps) == pytest.approx(0.2 * math.log(2), rel=0.02)


@pytest.mark.parametrize("cv", [0.2, 1.0, 3.0])
def test_gamma_gaps_vary_as_asked_and_counts_by_the_square(cv: float) -> None:
    times = Gamma(10.0, cv).times(stream(1), requests=200_000)
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    # In long windows a renewal process has variance over mean of cv^2.
    assert dispersion(times, 50.0) == pytest.approx(cv**2, rel=0.25)


def test_batches_arrive_together() -> None:
    times = Batch(8.0, 4).times(stream(1), requests=12)
    assert times.tolist() == [0.5] * 4 + [1.0] * 4 + [1.5] * 4
    assert len(Batch(1.0, 5000).times(stream(1), requests=12_000)) == 12_000


def test_a_day_has_its_peak_where_it_is_put() -> None:
    times = Diurnal(50.0, 0.6, 100.0, 25.0).times(stream(1), horizon_s=10_000.0)
    phase = np.exp(2j * np.pi * times / 100.0).mean()
    # The first Fourier coefficient of a rate 1 + a cos is a / 2, at the angle of the peak.
    assert abs(phase) == pytest.approx(0.3, abs=0.01)
    assert np.angle(phase) / (2 * np.pi) * 100 == pytest.approx(25.0, abs=0.5)


@pytest.mark.parametrize("window_s", [0.5, 5.0, 50.0])
@pytest.mark.parametrize("process", [BURSTY, two_state(20.0, 5.0, 2.0, 8.0)], ids=["two sources", "two states"])
def test_bursts_have_the_dispersion_of_the_closed_form(process: Bursty, window_s: float) -> None:
    times = process.times(stream(9), horizon_s=60_000.0)
    assert dispersion(times, window_s) == pytest.approx(process.dispersion(window_s), rel=0.1)


def test_two_states_are_a_steady_stream_and_a_source() -> None:
    found = two_state(rate_hz=9.0, ratio=11.0, burst_s=1.0, calm_s=4.0)
    # Calm r, burst 11 r, a fifth of the time: 0.8 r + 0.2 * 11 r = 3 r = 9, so r = 3 and a third is steady.
    assert found.steady_share == pytest.approx(1 / 3)
    part = found.components[0]
    assert part.share * 9.0 / part.on_share == pytest.approx(30.0)
    assert (part.on_s, part.off_s) == pytest.approx((1.0, 4.0))


def test_another_rate_keeps_the_length_and_relative_size_of_bursts() -> None:
    found = BURSTY.at_rate(2.0)
    assert found.components == BURSTY.components
    assert found.dispersion(5.0) - 1 == pytest.approx((BURSTY.dispersion(5.0) - 1) / 10)


def test_rounded_times_are_multiples_and_still_rise() -> None:
    times = Bursty(5.0, (), rounded_s=3.0).times(stream(1), requests=100_000)
    assert (np.diff(times) >= 0).all()
    assert np.allclose(times / 3.0, np.round(times / 3.0))
    assert dispersion(times, 9.0, from_s=-1.5) == pytest.approx(1.0, abs=0.15)


def test_a_source_too_quick_to_see_is_drawn_as_a_steady_stream() -> None:
    quick = Bursty(0.001, (Switching(0.5, 0.5, 1e-6),))
    assert len(quick.times(stream(1), requests=1000)) == 1000


def test_the_normal_distribution_is_that_of_tables() -> None:
    found = normal_cdf(np.array([-8.0, -1.959964, 0.0, 1.0, 9.0]))
    assert found == pytest.approx([6.22e-16, 0.025, 0.5, 0.841344746, 1.0], rel=1e-3)


def test_uniform_lengths_take_every_value_equally_often() -> None:
    counts = np.bincount(UniformLengths(3, 7).tokens(normals()))[3:]
    assert len(counts) == 5
    assert counts == pytest.approx(np.full(5, 40_000), rel=0.03)


def test_lognormal_lengths_have_the_mean_and_cv_asked_for() -> None:
    found = LognormalLengths(1000.0, 0.7).tokens(normals())
    assert found.mean() == pytest.approx(1000.0, rel=0.01)
    assert found.std() / found.mean() == pytest.approx(0.7, rel=0.02)
    assert LognormalLengths(1000.0, 0.7, most=1500).tokens(normals()).max() == 1500


def test_zipf_lengths_follow_their_law() -> None:
    found = ZipfLengths(10, 13, theta=1.0).tokens(normals())
    # 1, 1/2, 1/3, 1/4 over 25/12.
    expected = np.array([12, 6, 4, 3]) / 25
    assert np.bincount(found)[10:] / len(found) == pytest.approx(expected, rel=0.02)


def test_empirical_lengths_have_the_quantiles_of_their_table() -> None:
    table = EmpiricalLengths((0.0, 0.5, 0.9, 1.0), (10.0, 100.0, 1000.0, 5000.0))
    found = np.quantile(table.tokens(normals()), [0.25, 0.45, 0.7, 0.95])
    assert found == pytest.approx([55.0, 91.0, 550.0, 3000.0], rel=0.03)


@pytest.mark.parametrize("wanted", [-0.9, -0.3, 0.0, 0.5, 1.0])
def test_prompts_and_answers_have_the_rank_correlation_asked_for(wanted: float) -> None:
    pair = PromptAndAnswer(LognormalLengths(2000, 1), LognormalLengths(5000, 0.5), wanted)
    prompt, generate = pair.of_normal(stream(4).standard_normal((50_000, 2)))
    assert rank_correlation(prompt, generate) == pytest.approx(wanted, abs=0.015)


def test_a_total_is_divided_between_prompt_and_answer() -> None:
    spec = {"rate_hz": 1, "total": {"kind": "uniform", "least": 2, "most": 1000}, "prompt_to_generate": 4}
    found = draw(spec, streams(), requests=2000)
    total = found.prompt + found.generate
    assert total.min() >= 2
    assert total.max() <= 1000
    assert found.prompt.sum() / found.generate.sum() == pytest.approx(4.0, rel=0.01)


def test_a_clipped_total_takes_from_both_in_proportion() -> None:
    prompt, generate = clipped(np.array([100, 3000, 8000]), np.array([50, 1000, 192]), 2000)
    assert prompt.tolist() == [100, 1500, 1953]
    assert generate.tolist() == [50, 500, 46]


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 10**5))
def test_a_clipped_request_fits_and_keeps_a_token_of_each(prompt: int, generate: int, most: int) -> None:
    one, other = clipped(np.array([prompt]), np.array([generate]), most)
    assert one[0] >= 1
    assert other[0] >= 1
    assert one[0] + other[0] <= most
    if prompt + generate <= most:
        assert (one[0], other[0]) == (prompt, generate)


def test_a_change_of_lengths_leaves_the_arrivals_and_the_other_way_round() -> None:
    base = draw(PLAIN | {"generate": {"kind": "lognormal", "mean": 90, "cv": 1}}, streams(), requests=200)
    longer = draw(PLAIN | {"prompt": 9999, "generate": 7}, streams(), requests=200)
    np.testing.assert_array_equal(base.arrival_s, longer.arrival_s)
    quicker = draw(
        PLAIN | {"rate_hz": 99, "generate": {"kind": "lognormal", "mean": 90, "cv": 1}}, streams(), requests=200
    )
    np.testing.assert_array_equal(base.generate, quicker.generate)


def test_priorities_and_conversations_shift_no_lengths() -> None:
    spec = PLAIN | {"prompt": {"kind": "lognormal", "mean": 4000, "cv": 1}}
    more = spec | {
        "priorities": [{"priority": -1, "share": 0.25}],
        "sessions": {"continues": 0.5, "shared": 0.6, "age_s": 20, "system_blocks": 1},
    }
    base, found = draw(spec, streams(), requests=4000), draw(more, streams(), requests=4000)
    np.testing.assert_array_equal(base.prompt, found.prompt)
    np.testing.assert_array_equal(base.arrival_s, found.arrival_s)
    assert (found.priority == -1).mean() == pytest.approx(0.25, abs=0.03)
    assert (base.session == -1).all()


def test_conversations_share_prefixes_as_asked() -> None:
    spec = PLAIN | {
        "prompt": {"kind": "uniform", "least": 5000, "most": 20_000},
        "sessions": {"continues": 0.4, "shared": [0.3, 0.9], "age_s": [10, 40], "system_blocks": 2},
    }
    found = draw(spec, streams(), requests=6000)
    blocks, seen = np.diff(found.prefix_start), blocks_seen(found)
    np.testing.assert_array_equal(blocks, -(-found.prompt // 512))
    continues = seen > 2
    late = found.arrival_s > 100
    assert continues[late].mean() == pytest.approx(0.4, abs=0.03)
    assert (seen / blocks)[continues & late].mean() == pytest.approx(0.6, abs=0.04)
    # All begin with the same two system blocks, and a session holds as many requests as continue it, and one.
    assert set(found.prefix_ids[found.prefix_start[:-1]].tolist()) == {0}
    assert len(np.unique(found.session)) == (~continues).sum()


def test_a_request_that_continues_has_the_blocks_of_one_of_its_session() -> None:
    spec = PLAIN | {"prompt": 4000, "sessions": {"continues": 0.8, "shared": 0.5, "age_s": 3, "system_blocks": 0}}
    found = draw(spec, streams(), requests=500)
    start = found.prefix_start.tolist()
    of_session: dict[int, set[int]] = {}
    continued = 0
    for i, count in enumerate(blocks_seen(found).tolist()):
        own = found.prefix_ids[start[i] : start[i + 1]].tolist()
        earlier = of_session.setdefault(int(found.session[i]), set())
        assert (count > 0) == bool(earlier)
        assert set(own[:count]) <= earlier
        continued += count > 0
        earlier.update(own)
    assert continued > 300


def test_how_much_is_drawn_may_stand_in_the_mapping_or_be_said_by_the_caller() -> None:
    assert len(draw(PLAIN | {"requests": 30}, streams())) == 30
    assert len(draw(PLAIN | {"requests": 30}, streams(), requests=5)) == 5
    assert draw(PLAIN | {"requests": 30}, streams(), horizon_s=100.0).arrival_s[-1] > 50
    both = draw(PLAIN | {"requests": 30, "horizon_s": 1.0}, streams())
    assert len(both) < 30
    assert both.arrival_s[-1] < 1.0
    with pytest.raises(BadValueError, match="Say how much traffic to draw"):
        draw(PLAIN, streams())
    with pytest.raises(BadValueError, match="No request arrives within"):
        draw({**PLAIN, "arrivals": "constant"}, streams(), horizon_s=0.01)


def test_the_same_streams_give_the_same_traffic() -> None:
    one, other = (draw({"name": "mooncake-conversation", "requests": 300}, streams()) for _ in range(2))
    for column in ("arrival_s", "prompt", "generate", "session", "prefix_ids"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


LENGTH = {"kind": "lognormal", "mean": 100, "cv": 1}


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ({"name": "azure-conv"}, UnknownNameError, "Nearest: azure-2023-conv"),
        (PLAIN | {"generated": 5}, UnknownNameError, "Unknown key in traffic 'generated'. Nearest: generate"),
        (PLAIN | {"arrivals": "poison"}, UnknownNameError, "Unknown kind of arrivals 'poison'. Nearest: poisson"),
        (PLAIN | {"arrivals": {"kind": "gamma", "cvv": 2}}, UnknownNameError, "Unknown key in traffic.arrivals 'cvv'"),
        (PLAIN | {"prompt": {"kind": "log-normal"}}, UnknownNameError, "Nearest: lognormal"),
        (PLAIN | {"prompt": {"kind": ["x"]}}, UnknownNameError, "Unknown kind of length in traffic.prompt"),
        (PLAIN | {"prompt": {"kind": "lognormal", "mean": 5}}, BadValueError, "prompt: the key 'cv' is missing"),
        (PLAIN | {"prompt": 0}, BadValueError, "prompt must be a whole number from 1"),
        (PLAIN | {"generate": 0}, BadValueError, "generate must be a whole number from 1"),
        (PLAIN | {"generate": None}, BadValueError, "'generate' is missing"),
        (PLAIN | {"rate_hz": 0}, BadValueError, "rate_hz must be a finite number above 0"),
        (PLAIN | {"rate_hz": float("nan")}, BadValueError, "rate_hz must be a finite number"),
        (PLAIN | {"rate_hz": None}, BadValueError, "no rate is given"),
        (PLAIN | {"requests": 0}, BadValueError, "requests must be a whole number from 1"),
        (PLAIN | {"horizon_s": -1}, BadValueError, "horizon_s must be a finite number above 0"),
        (PLAIN | {"arrivals": {"kind": "gamma", "cv": 0}}, BadValueError, "traffic.arrivals: cv must be"),
        (PLAIN | {"arrivals": {"kind": "diurnal", "amplitude": 1.5}}, BadValueError, "amplitude must be"),
        (PLAIN | {"arrivals": {"kind": "batch", "size": 0}}, BadValueError, "size must be a whole number"),
        (PLAIN | {"arrivals": {"kind": "batch", "spacing": "x"}}, BadValueError, "spacing must be"),
        (PLAIN | {"arrivals": {"kind": "mmpp", "ratio": 1, "burst_s": 1, "calm_s": 1}}, BadValueError, "ratio must be"),
        (PLAIN | {"arrivals": {"kind": "mmpp", "ratio": 2}}, BadValueError, "the key 'burst_s' is missing"),
        (PLAIN | {"arrivals": {"kind": "bursty"}}, BadValueError, "components must be a list"),
        (
            PLAIN | {"arrivals": {"kind": "bursty", "components": [{"share": 0.7, "on_share": 0.5, "time_s": 1}] * 2}},
            BadValueError, "add up to more than 1",
        ),
        (PLAIN | {"prompt": {"kind": "uniform", "least": 9, "most": 3}}, BadValueError, "most must be"),
        (PLAIN | {"prompt": {"kind": "zipf", "least": 1, "most": 10**8}}, BadValueError, "Zipf law over more than"),
        (PLAIN | {"prompt": {"kind": "empirical", "tokens_at": [5, 3]}}, BadValueError, "tokens_at must not fall"),
        (PLAIN | {"prompt": {"kind": "empirical", "tokens_at": [0, 3]}}, BadValueError, "tokens_at must not fall"),
        (
            PLAIN | {"prompt": {"kind": "empirical", "tokens_at": [1, 3], "quantiles": [0.1, 1]}},
            BadValueError, "quantiles must rise from 0 to 1",
        ),
        (PLAIN | {"rank_correlation": 2}, BadValueError, "rank_correlation must be"),
        (PLAIN | {"total": 100, "prompt_to_generate": 3}, BadValueError, "not a mixture"),
        (PLAIN | {"most_tokens": 1}, BadValueError, "most_tokens must be"),
        (PLAIN | {"sessions": {"continues": 2, "shared": 1, "age_s": 1}}, BadValueError, "continues must be"),
        (PLAIN | {"sessions": {"continues": 0.2, "age_s": 1}}, BadValueError, "the key 'shared' is missing"),
        (PLAIN | {"priorities": [{"priority": 1, "share": 0.6}] * 2}, BadValueError, "add up to more than 1"),
        ([1], BadValueError, "traffic must be a mapping"),
    ],
)  # fmt: skip
def test_what_traffic_cannot_be_is_named(spec: Any, kind: type[ArchcastError], words: str) -> None:
    with pytest.raises(kind) as caught:
        traffic_model(spec)
    assert words in str(caught.value)


SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2000), st.floats(-2, 2000), st.sampled_from(["2", "0.5", "x", ""]),
    st.lists(st.integers(-1, 9), max_size=3),
)  # fmt: skip
WORDS = ("cv", "size", "mean", "least", "most", "theta", "amplitude", "share", "on_share", "time_s", "tokens_at")


@given(
    st.dictionaries(st.sampled_from(["rate_hz", "prompt", "generate", "rank_correlation", "most_tokens"]), SCALAR),
    st.dictionaries(st.sampled_from(WORDS), SCALAR, max_size=3),
    st.sampled_from(["gamma", "batch", "bursty", "diurnal", "poisson"]),
    st.sampled_from(["uniform", "lognormal", "zipf", "empirical"]),
)
def test_no_mapping_causes_anything_but_our_own_errors(
    top: dict[str, Any], inner: dict[str, Any], arrivals: str, length: str
) -> None:
    for part in ({"arrivals": {"kind": arrivals, **inner}}, {"prompt": {"kind": length, **inner}}, {}):
        said, drawn = "", 0
        try:
            drawn = len(draw({**PLAIN, **part, **top}, streams(), requests=20))
        except ArchcastError as error:
            said = str(error)
        assert drawn == 20 or said


def test_too_much_traffic_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(BadValueError, match="more than 10,000,000"):
        draw(PLAIN, streams(), horizon_s=1e9)
    with pytest.raises(BadValueError, match="requests must be"):
        draw(PLAIN, streams(), requests=10**9)
    deep = PLAIN | {"prompt": 2**31 - 1, "sessions": {"continues": 0.5, "shared": 0.5, "age_s": 1}}
    with pytest.raises(BadValueError, match="more than the 50,000,000 that are held"):
        draw(deep, streams(), requests=1000)
