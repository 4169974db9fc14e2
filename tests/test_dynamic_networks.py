"""Dynamic networks: inputs take one of several paths; means, quantiles, and what batches of unequal ones lose."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from cli_runner import archcast
from hypothesis import given
from hypothesis import strategies as st
from techniques import macs, technique

import archcast as ac
from costmodel.estimate import Distribution
from costmodel.mixtures import VariantCost, batch_sizes, binomial, mixture
from foundation.errors import BadFileError, BadValueError
from workloads.catalogue import load_model
from workloads.model import Request

TWO = """
kind: composite
knobs: {escalated: 0.2, big: 0}
parts:
  - {name: little, workload: mobilenet-v2}
  - {name: big, workload: resnet-50, times: big}
paths:
  - {name: sure, share: rest, set: {big: 0}}
  - {name: escalated, share: escalated, set: {big: 1}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def cost(part: str, paths: tuple[int, ...], times: list[float]) -> VariantCost:
    values = np.array(times)
    return VariantCost(part, paths, np.arange(1, len(times) + 1), np.stack([values, 0.5 * values, 2 * values], axis=1))


STAGES = [cost("a", (0, 1, 2), [3.0, 4.0, 5.0]), cost("b", (1, 2), [2.0, 3.0, 3.5]), cost("c", (2,), [5.0, 7.0, 8.0])]
SHARES = (0.5, 0.3, 0.2)


def test_one_input_costs_what_its_path_costs() -> None:
    found = mixture(STAGES, SHARES, 1)
    assert found.mean[0] == pytest.approx(3 + 0.5 * 2 + 0.2 * 5)
    assert found.mean[1:] == (pytest.approx(0.5 * found.mean[0]), pytest.approx(2 * found.mean[0]))
    assert (found.p50, found.p90, found.p99) == (3.0, 10.0, 10.0)
    assert found.regrouped == pytest.approx(found.mean[0])
    assert found.padded == pytest.approx(found.mean[0])


def enumerated() -> tuple[float, float, list[tuple[float, float]]]:
    """Return (compact mean, padded mean, compact costs with their chance) over all batches of three inputs."""
    compact, padded, costs = 0.0, 0.0, []
    for batch in itertools.product(range(3), repeat=3):
        chance = float(np.prod([SHARES[i] for i in batch]))
        counts = [sum(i in v.paths for i in batch) for v in STAGES]
        time = sum(float(v.at(np.array(n))) for v, n in zip(STAGES, counts, strict=True))
        costs.append((time, chance))
        compact += chance * time
        padded += chance * sum(float(v.at(np.array(3))) for v, n in zip(STAGES, counts, strict=True) if n)
    return compact, padded, costs


def test_a_batch_of_three_is_the_mean_over_all_twenty_seven_batches() -> None:
    compact, padded, costs = enumerated()
    # a part that some inputs skip costs nothing for them: a variant of its own, as `with_paths` makes it
    skipped = [cost("b", (0,), [0.0] * 3), cost("c", (0, 1), [0.0] * 3)]
    found = mixture([*STAGES, *skipped], SHARES, 3)
    assert found.mean[0] == pytest.approx(compact, rel=1e-12)
    assert found.padded == pytest.approx(padded, rel=1e-12)
    assert found.regrouped == pytest.approx(5 + 0.5 * 3.5 + 0.2 * 8)
    below = sum(chance for time, chance in costs if time <= found.p90 + 1e-9)
    assert below > 0.88


@given(st.integers(1, 200), st.floats(0, 1))
def test_chances_of_a_binomial_sum_to_one_and_have_its_mean(count: int, share: float) -> None:
    inputs, chance = binomial(count, share)
    assert chance.sum() == pytest.approx(1)
    assert chance @ inputs == pytest.approx(count * share, abs=1e-6 * count)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=4), st.integers(2, 40), st.floats(0.2, 1.0))
def test_unequal_inputs_never_gain_where_larger_batches_are_cheaper_an_input(
    weights: list[float], batch: int, exponent: float
) -> None:
    """Time concave in the inputs: Jensen's inequality, and padding adds work on top."""
    shares = tuple(np.array(weights) / sum(weights))
    sizes = batch_sizes(batch)
    times = np.stack([sizes**exponent] * 3, axis=1)
    found = [
        VariantCost("stage", (i,), sizes, (i + 1.0) * times) for i in range(len(shares))
    ]  # fmt: skip
    answer = mixture(found, shares, batch)
    assert answer.mean[0] >= answer.regrouped * (1 - 1e-12)
    assert answer.padded >= answer.regrouped * (1 - 1e-12)


def test_sizes_are_all_up_to_a_limit_then_a_grid_that_ends_at_the_batch() -> None:
    assert batch_sizes(5).tolist() == [1, 2, 3, 4, 5]
    grid = batch_sizes(5000)
    assert (grid[0], grid[-1]) == (1, 5000)
    assert len(grid) <= 96


def test_the_mean_of_a_file_is_that_of_its_paths(tmp_path: Path) -> None:
    answer = ac.predict(written(tmp_path, TWO), on="rk3588")
    little, big = (ac.predict(name, on="rk3588") for name in ("mobilenet-v2", "resnet-50"))
    assert isinstance(answer.latency_s, Distribution)
    assert little.latency_s is not None
    assert big.latency_s is not None
    assert answer.latency_s.p50 == pytest.approx(little.latency_s.value)
    assert answer.latency_s.p99 == pytest.approx(little.latency_s.value + big.latency_s.value)
    assert answer.latency_s.value == pytest.approx(little.latency_s.value + 0.2 * big.latency_s.value)
    assert [path.share for path in answer.paths] == pytest.approx([0.8, 0.2])


def test_counts_of_the_examples_are_means_over_their_paths() -> None:
    resnet, mobilenet, vit = (macs(name) for name in ("resnet-50", "mobilenet-v2", "vit-base"))
    assert macs(technique("big-little", escalated=0.3)) == pytest.approx(mobilenet + 0.3 * resnet)
    head, layer = 768 * 1000, (vit - 768 * 1000 - 196 * 768 * 768) / 12
    by_hand = 196 * 768 * 768 + head + layer * (6 + 3 * (1 - 0.45) + 3 * (1 - 0.45 - 0.35))
    assert macs(technique("adaptive-depth")) == pytest.approx(by_hand)
    exits = 512 * 1000 + 0.6 * 1024 * 1000
    whole = macs(technique("early-exit", exit1=0, exit2=0)) - 512 * 1000 - 1024 * 1000
    assert whole == pytest.approx(resnet)
    assert resnet > macs(technique("early-exit")) - exits > 0.5 * resnet
    pruned = technique("adaptive-token-pruning", plain=0, usual=0)
    assert macs(pruned) == pytest.approx(vit)


@pytest.mark.parametrize("name", ["early-exit", "big-little", "adaptive-token-pruning", "adaptive-depth"])
def test_weights_are_held_once_whatever_the_paths(name: str) -> None:
    model = technique(name)
    expected = {
        "early-exit": macs_free("resnet-50") + 512 * 1000 + 1024 * 1000,
        "big-little": macs_free("resnet-50") + macs_free("mobilenet-v2"),
    }.get(name, macs_free("vit-base"))
    assert model.workload(Request()).parameters == pytest.approx(expected)


def macs_free(name: str) -> float:
    """Return the parameters of a catalogue network."""
    return float(load_model(name).summary()["parameters"])


def test_a_part_that_all_paths_share_is_run_in_one_batch() -> None:
    titles = [run.name for run in technique("early-exit").workload(Request(batch=4)).passes]
    assert sum(title.startswith("first stages") for title in titles) == 1
    assert "third stage (second exit+to the end)/forward" in titles


def test_batches_answer_what_unequal_inputs_lose(tmp_path: Path) -> None:
    done = archcast("predict", str(written(tmp_path, TWO)), "--on", "rk3588", "--batch", "8", "--json")
    answer = done.json()
    assert set(answer["latency_s"]) == {"value", "lo", "hi", "p50", "p90", "p99", "mean"}
    ways = answer["batching"]
    assert ways["regrouped_s"] <= ways["compact_s"] <= ways["padded_s"]
    assert ways["padded_loss_share"] == pytest.approx(1 - ways["regrouped_s"] / ways["padded_s"])
    shown = archcast("predict", str(written(tmp_path, TWO)), "--on", "rk3588", "--batch", "8").stdout
    assert "padded" in shown
    assert "p99" in shown


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("share: rest", "share: 0.3", "sum to 0.5"),
        ("share: escalated", "share: rest", "takes the rest"),
        ("share: escalated", "share: 1.5", "from 0 to 1"),
        ("share: escalated", "share: escalatd", "escalated"),
        ("set: {big: 1}", "set: {bgi: 1}", "big"),
        ("set: {big: 1}", "set: {bigg.depths: 1}", "big"),
        ("name: escalated, share", "name: sure, share", "two paths are named"),
        ("share: escalated, ", "", "needs a name and its share"),
        ("{escalated: 0.2,", "{escalated: 1.5,", "escalated = 1.5"),
        (TWO[TWO.index("paths:") :], "paths: []", "1 to 100 paths"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(BadFileError, match=said) as caught:
        load_model(written(tmp_path, TWO.replace(old, new)))
    assert "net.yaml:" in str(caught.value)


def test_a_knob_that_every_path_sets_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="set by every path"):
        load_model(written(tmp_path, TWO), {"big": 1})


SOLO = """
kind: composite
knobs: {x: 0.5}
parts: [{name: net, workload: mobilenet-v3-large}]
paths: [{name: one, share: x}, {name: other, share: rest}]
"""


@pytest.mark.parametrize(
    ("device", "software"),
    [("edge-tpu", "litert"), ("edge-tpu", ""), ("apple-a15", "onnxruntime"), ("raspberry-pi-5", "litert"),
     ("rk3588", "")],
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 3])
def test_paths_that_cost_the_same_cost_what_the_network_costs_by_itself(
    tmp_path: Path, device: str, software: str, batch: int
) -> None:
    path = written(tmp_path, SOLO)
    alone = ac.predict("mobilenet-v3-large", on=device, software=software, batch=batch)
    mixed = ac.predict(path, on=device, software=software, batch=batch)
    assert alone.latency_s is not None
    assert alone.energy_j is not None
    assert mixed.latency_s is not None
    assert mixed.energy_j is not None
    assert mixed.latency_s.value == pytest.approx(alone.latency_s.value, rel=1e-9)
    assert mixed.energy_j.value == pytest.approx(alone.energy_j.value, rel=1e-9)


@pytest.mark.parametrize("batch", [1, 8])
def test_columns_answer_what_one_question_answers(tmp_path: Path, batch: int) -> None:
    path = written(tmp_path, TWO)
    one, many = ac.predict(path, on="rk3588", batch=batch), ac.predict_batch(workload=path, on="rk3588", batch=batch)
    assert one.latency_s is not None
    assert one.energy_j is not None
    assert many["latency_s"].tolist() == [one.latency_s.value]
    assert many["energy_j"].tolist() == [one.energy_j.value]


def test_of_a_batch_the_answer_says_that_operators_are_those_of_full_ones(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    assert any("full batches" in note for note in ac.predict(path, on="rk3588", batch=8).notes)
    assert not any("full batches" in note for note in ac.predict(path, on="rk3588").notes)


def test_replicas_and_users_keep_to_the_mean(tmp_path: Path) -> None:
    answer = ac.predict(written(tmp_path, TWO), on="rk3588", batch=4, dp=2)
    assert not answer.paths
    assert any("means over them" in note for note in answer.notes)
