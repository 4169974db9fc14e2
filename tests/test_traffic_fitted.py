"""Named traffic: what its files say, that the fit finds what was put in, and how near it is to the traces."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import BadValueError, UnknownNameError
from foundation.yaml_file import load_yaml, parse_yaml
from workloads.traffic import NAMES, Traffic, TrafficModel, draw, named_traffic, read_traffic, traffic_model
from workloads.traffic.arrivals import Constant, Gamma, Poisson
from workloads.traffic.bursts import Bursty, Switching
from workloads.traffic.fit import QUANTILES, fit_lengths, fitted_yaml, main
from workloads.traffic.fit_dispersion import fit_arrivals, switching_sources
from workloads.traffic.fit_sessions import fit_sessions
from workloads.traffic.named import FOLDER
from workloads.traffic.specification import ABOUT, KEYS
from workloads.traffic.statistics import dispersion, prefix_share, rank_correlation

TRACES = {
    "azure-2023-conv": "azure_llm_2023_conv.csv.gz",
    "azure-2023-code": "azure_llm_2023_code.csv.gz",
    "mooncake-conversation": "mooncake_conversation_trace.jsonl.gz",
}
REPLICATIONS = 24


@cache
def trace_of(name: str, data: Path) -> Traffic:
    return read_traffic(data / "traces" / TRACES[name])


@cache
def conversations(requests: int) -> Traffic:
    return named_traffic("mooncake-conversation").draw(streams(9), requests=requests)


def streams(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])


@pytest.fixture(scope="module", params=sorted(TRACES))
def pair(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Traffic, TrafficModel]:
    """A trace and the named traffic that was fitted to it."""
    return trace_of(request.param, shared_data), named_traffic(request.param)


def test_the_names_are_known_and_a_wrong_one_names_the_nearest() -> None:
    assert {*TRACES, "splitwise-like"} == set(NAMES)
    with pytest.raises(UnknownNameError, match="Nearest: azure-2023-conv"):
        named_traffic("azure-2023-conversation")


@pytest.mark.parametrize("name", sorted(TRACES))
def test_a_file_says_what_it_was_fitted_to_and_whose_it_is(name: str) -> None:
    data = load_yaml(FOLDER / f"{name}.yaml").data
    assert set(data) <= {*KEYS, *ABOUT}
    assert data["licence"] in ("CC-BY-4.0", "Apache-2.0")
    assert data["attribution"]
    assert data["fitted_by"].startswith("python -m workloads.traffic.fit")
    assert named_traffic(name).rate_hz == pytest.approx(data["trace"]["rate_hz"])
    assert named_traffic(name).name == name
    assert named_traffic(name).source == data["source"]


def test_other_keys_take_the_place_of_those_of_the_name() -> None:
    found = draw({"name": "azure-2023-conv", "rate_hz": 4, "generate": 7, "requests": 50}, streams(1))
    assert set(found.generate.tolist()) == {7}
    model = traffic_model({"name": "azure-2023-conv", "arrivals": "poisson"})
    assert isinstance(model.arrivals, Poisson)
    assert model.rate_hz == named_traffic("azure-2023-conv").rate_hz
    assert traffic_model({"name": "azure-2023-conv", "rate_hz": 4}).rate_hz == 4
    assert traffic_model({"name": "mooncake-conversation", "sessions": None}).sessions is None
    divided = {"name": "azure-2023-conv", "total": 100, "prompt_to_generate": 4, "requests": 2}
    assert draw(divided, streams(1)).prompt.tolist() == [80, 80]


def test_splitwise_like_is_the_azure_conversation_clipped_at_4096() -> None:
    ours, azure = (draw({"name": n, "requests": 5000}, streams(2)) for n in ("splitwise-like", "azure-2023-conv"))
    # Vidur rounds both cuts up, so a clipped request may come out one token short.
    assert (ours.prompt + ours.generate).max() in (4095, 4096)
    fits = azure.prompt + azure.generate <= 4096
    np.testing.assert_array_equal(ours.prompt[fits], azure.prompt[fits])
    np.testing.assert_array_equal(ours.generate[fits], azure.generate[fits])


def test_the_fit_finds_the_burstiness_that_was_put_in() -> None:
    truth = Bursty(5.0, (Switching(0.3, 0.3, 1.0), Switching(0.3, 0.5, 30.0)))
    found = fit_arrivals(truth.times(np.random.default_rng(3), horizon_s=200_000.0))
    assert found.rate_hz == pytest.approx(5.0, rel=0.03)
    for window_s in (1.0, 10.0, 60.0, 300.0):
        assert found.dispersion(window_s) == pytest.approx(truth.dispersion(window_s), rel=0.12)


def test_poisson_arrivals_are_fitted_with_next_to_no_bursts() -> None:
    found = fit_arrivals(Poisson(20.0).times(np.random.default_rng(3), horizon_s=20_000.0))
    assert found.dispersion(1.0) == pytest.approx(1.0, abs=0.05)
    assert found.dispersion(60.0) == pytest.approx(1.0, abs=0.25)


def test_arrivals_smoother_than_poisson_are_fitted_as_poisson() -> None:
    # Switching sources only add variance, so a clock is out of their reach; the fit does not run away.
    assert fit_arrivals(Gamma(20.0, 0.2).times(np.random.default_rng(3), horizon_s=5000.0)).components == ()


def test_sources_have_the_variances_that_they_are_made_for() -> None:
    for variance in ([0.04, 0.09], [4.0, 9.0]):
        parts = switching_sources(np.array([1.0, 10.0]), np.array(variance))
        assert [part.variance for part in parts] == pytest.approx(variance)
        assert sum(part.share for part in parts) <= 1 + 1e-12


def test_too_little_to_fit_is_said() -> None:
    with pytest.raises(BadValueError, match="too few to fit burstiness"):
        fit_arrivals(np.arange(50.0))
    with pytest.raises(BadValueError, match="no prefix ids"):
        fit_sessions(Traffic.of([0.0], [1], [1]))
    alone = Traffic.of(range(5), [512] * 5, [1] * 5, prefix=[[i] for i in range(5)])
    with pytest.raises(BadValueError, match="Too few requests of the trace share a prefix"):
        fit_sessions(alone)


def test_the_fit_finds_the_conversations_that_were_put_in() -> None:
    spec = {
        "arrivals": "poisson", "rate_hz": 5, "generate": 9,
        "prompt": {"kind": "uniform", "least": 4000, "most": 20_000},
        "sessions": {"continues": 0.4, "shared": [0.3, 0.8], "age_s": [20, 80], "system_blocks": 2},
    }  # fmt: skip
    truth = draw(spec, streams(4), requests=8000)
    found = fit_sessions(truth)
    assert found.system_blocks == 2
    assert [one.continues for one in found.classes] == pytest.approx([0.4] * len(found.classes), abs=0.06)
    assert np.median([one.shared[10] for one in found.classes]) == pytest.approx(0.55, abs=0.06)
    assert found.age_s[10] == pytest.approx(50.0, rel=0.15)


def test_the_command_writes_a_file_that_draws_the_same_traffic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from workloads.traffic import write_traffic

    path = tmp_path / "own.csv.gz"
    truth = draw({"name": "mooncake-conversation"}, streams(5), requests=3000)
    write_traffic(truth, path)
    assert main([str(path), "--rounded", "3"]) == 0
    data = parse_yaml(capsys.readouterr().out, tmp_path / "own.yaml").data
    assert data["trace"]["requests"] == 3000
    again = draw({key: value for key, value in data.items() if key not in ABOUT}, streams(6), requests=3000)
    assert again.prompt.mean() == pytest.approx(truth.prompt.mean(), rel=0.1)
    assert prefix_share(again) == pytest.approx(prefix_share(truth), rel=0.15)


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.csv")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    (tmp_path / "short.csv").write_text("arrival_s,prompt,generate\n0,1,1\n")
    assert main([str(tmp_path / "short.csv")]) == 2
    assert "too few to fit" in capsys.readouterr().err


def test_the_table_of_lengths_has_the_quantiles_of_the_lengths() -> None:
    tokens = np.arange(1, 10_002)
    table = fit_lengths(tokens)
    assert table.quantiles == QUANTILES
    assert table.tokens_at[0] == 1
    assert table.tokens_at[-1] == 10_001
    assert np.interp(0.5, table.quantiles, table.tokens_at) == 5001


@pytest.mark.parametrize("name", sorted(TRACES))
def test_the_file_is_what_the_command_makes_of_the_trace(name: str, shared_data: Path) -> None:
    stored = load_yaml(FOLDER / f"{name}.yaml").data
    rounded_s = float(stored["arrivals"].get("rounded_s", 0))
    trace = trace_of(name, shared_data)
    made = parse_yaml(fitted_yaml(trace, source=stored["source"], rounded_s=rounded_s), FOLDER / "made.yaml").data
    assert {key: stored[key] for key in made} == made


def test_generated_traffic_is_as_bursty_as_the_trace(pair: tuple[Traffic, TrafficModel]) -> None:
    trace, model = pair
    runs = [model.arrivals.times(np.random.default_rng([7, i]), horizon_s=trace.span_s) for i in range(REPLICATIONS)]
    rates = [len(times) / trace.span_s for times in runs]
    assert np.mean(rates) == pytest.approx(trace.rate_hz, rel=0.08)
    for window_s in (1.0, 10.0, 60.0):
        shown = np.array([dispersion(times, window_s) for times in runs])
        real = dispersion(trace.arrival_s, window_s)
        # The mean over runs is within a fifth of the trace's, and the trace is no stranger among the runs.
        assert shown.mean() == pytest.approx(real, rel=0.2)
        assert shown.min() < real < shown.max()


def test_generated_lengths_are_those_of_the_trace(pair: tuple[Traffic, TrafficModel]) -> None:
    trace, model = pair
    spread = TrafficModel(Constant(1.0), model.lengths)
    found = spread.draw(streams(8), requests=60_000)
    for name in ("prompt", "generate"):
        real, ours = getattr(trace, name), getattr(found, name)
        assert ours.mean() == pytest.approx(real.mean(), rel=0.04)
        below = np.array([(real <= at).mean() for at in np.quantile(ours, [0.1, 0.25, 0.5, 0.75, 0.9, 0.99])])
        # Compared as shares, not tokens: where lengths crowd, a share moves far in tokens or hardly at all.
        just_below = np.array([(real < at).mean() for at in np.quantile(ours, [0.1, 0.25, 0.5, 0.75, 0.9, 0.99])])
        for share, low, high in zip([0.1, 0.25, 0.5, 0.75, 0.9, 0.99], just_below, below, strict=True):
            assert low - 0.01 <= share <= high + 0.01
    wanted = rank_correlation(trace.prompt, trace.generate)
    assert rank_correlation(found.prompt, found.generate) == pytest.approx(wanted, abs=0.02)


def hit_share(traffic: Traffic, capacity: int) -> float:
    """The share of all blocks that a cache of `capacity` blocks, the least recently used out first, holds."""
    held: OrderedDict[int, None] = OrderedDict()
    start, ids = traffic.prefix_start.tolist(), traffic.prefix_ids.tolist()
    hits = 0
    for low, high in pairwise(start):
        own = ids[low:high]
        hits += next((i for i, block in enumerate(own) if block not in held), len(own))
        for block in own:
            held[block] = None
            held.move_to_end(block)
        while len(held) > capacity:
            held.popitem(last=False)
    return hits / len(ids)


@pytest.mark.parametrize("capacity", [1_000, 5_000, 10_000, 20_000, 50_000, 10**9])
def test_generated_conversations_hit_a_prefix_cache_as_the_trace_does(capacity: int, shared_data: Path) -> None:
    trace = trace_of("mooncake-conversation", shared_data)
    found = conversations(len(trace))
    assert hit_share(found, capacity) == pytest.approx(hit_share(trace, capacity), abs=0.025)
