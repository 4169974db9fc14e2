"""Few-shot transfer of whole networks: devices that are known mixtures, so the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.bayes import Prior, condition, rounding_variance, spread_out
from costmodel.completion import fit_completion, predict_completion
from costmodel.evaluation.scores import folds, score, spearman
from costmodel.networks import CONSTANT, DEAD, LIVE, count_networks, network_features
from costmodel.transfer import additive_costs, choose_networks, fit_transfer, predict_transfer
from foundation.errors import BadValueError
from workloads.families import build
from workloads.model import Request
from workloads.table import Array


def additive_devices(networks: int = 160, devices: int = 6, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return features, costs (1 + features, devices) and latencies of devices that add up costs exactly."""
    random = np.random.default_rng(seed)
    features = random.integers(0, 6, (networks, 4)).astype(float)
    costs = np.exp(0.5 * random.standard_normal((5, devices))) * 1e-3
    return features, costs, np.column_stack([np.ones(networks), features]) @ costs


@pytest.fixture(scope="module")
def fitted():
    features, _costs, latency = additive_devices()
    return features, latency, fit_transfer(features[:100], latency[:100, :5], 10)


def test_costs_of_an_additive_device_are_found() -> None:
    features, costs, latency = additive_devices()
    assert additive_costs(features, latency[:, 0]) == pytest.approx(costs[:, 0], rel=1e-2)


def test_costs_are_never_negative() -> None:
    features, _, latency = additive_devices()
    falling = latency[:, 0] * np.exp(-0.3 * features[:, 0])
    assert (additive_costs(features, falling) >= 0).all()


def test_an_additive_device_is_known_from_ten_networks(fitted) -> None:
    features, latency, model = fitted
    at = choose_networks(model, features, 10, among=np.arange(100))
    found = predict_transfer(model, features, at, latency[at, 5])
    error = np.abs(found.latency_s[100:] / latency[100:, 5] - 1)
    alone = np.abs(np.median(latency[at, 5]) / latency[100:, 5] - 1)
    assert error.mean() < 0.05 < 0.2 < alone.mean()


def test_the_interval_holds_most_of_what_was_not_shown(fitted) -> None:
    features, latency, model = fitted
    at = choose_networks(model, features, 10, among=np.arange(100))
    found = predict_transfer(model, features, at, latency[at, 5])
    inside = (latency[:, 5] >= found.latency_lo_s) & (latency[:, 5] <= found.latency_hi_s)
    assert found.kind == "pseudo_target"
    assert inside[100:].mean() >= 0.75
    assert (found.latency_lo_s < found.latency_s).all()
    assert (found.latency_s < found.latency_hi_s).all()


def test_the_same_data_gives_the_same_model(fitted) -> None:
    features, latency, model = fitted
    again = fit_transfer(features[:100], latency[:100, :5], 10)
    assert [s.booster for s in again.sources] == [s.booster for s in model.sources]
    assert again.widening == model.widening
    assert again.mix == model.mix


@pytest.mark.parametrize(("networks", "devices"), [(20, 5), (100, 2)])
def test_too_few_networks_or_sources_are_refused(networks, devices) -> None:
    features, _, latency = additive_devices()
    with pytest.raises(BadValueError, match="at least"):
        fit_transfer(features[:networks], latency[:networks, :devices], 10)


def test_two_shots_or_a_time_of_zero_are_refused(fitted) -> None:
    features, latency, model = fitted
    with pytest.raises(BadValueError, match="at least 3"):
        predict_transfer(model, features, [0, 1], latency[:2, 5])
    with pytest.raises(BadValueError, match="positive"):
        predict_transfer(model, features, [0, 1, 2], np.array([1.0, 0.0, 2.0]))


def test_a_device_equal_to_the_mean_needs_no_correction_but_its_level() -> None:
    prior = Prior(np.linspace(-1, 1, 20), np.zeros((20, 1)))
    at = np.array([0, 7, 13, 19])
    found = condition(prior, at, prior.mean[at] + 2.0)
    assert found.mean == pytest.approx(prior.mean + 2.0, abs=1e-3)


def test_one_shot_from_another_clock_does_not_bend_the_rest() -> None:
    random = np.random.default_rng(1)
    prior = Prior(np.zeros(50), 0.3 * random.standard_normal((50, 2)))
    truth = prior.basis @ np.array([1.0, -1.0])
    at = np.arange(12)
    slow = truth[at].copy()
    slow[3] += 1.5
    robust, plain = (condition(prior, at, slow, tails=tails).mean - truth for tails in (4.0, 0.0))
    assert np.abs(robust).mean() < 0.5 * np.abs(plain).mean()


def test_shots_are_spread_and_none_is_taken_twice() -> None:
    basis = np.concatenate([np.zeros((30, 1)), np.ones((10, 1)), -np.ones((10, 1))])
    chosen = spread_out(Prior(np.zeros(50), basis), np.arange(50), 4, typical=1.0)
    assert len(set(chosen.tolist())) == 4
    assert set(basis[chosen[:2], 0].tolist()) <= {1.0, -1.0}


def test_readings_in_whole_milliseconds_are_known_as_rounded() -> None:
    assert rounding_variance(np.array([3e-3, 12e-3, 7e-3])) == pytest.approx(
        (1e-3 / np.array([3e-3, 12e-3, 7e-3])) ** 2 / 12
    )
    assert (rounding_variance(np.array([3.2154e-3, 12e-3])) == 0).all()


CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"


def test_what_no_output_reads_is_dead_and_what_reads_zeros_is_constant() -> None:
    dead = count_networks([build("nas-bench-201", "a", {"cell": CELL}).workload(Request())])
    zeros = "|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    constant = count_networks([build("nas-bench-201", "b", {"cell": zeros}).workload(Request())])
    kernel = dead.table.full("kh")
    assert dead.counts[DEAD][0, kernel == 3].sum() == 15
    assert dead.counts[LIVE][0, kernel == 3].sum() == 5
    assert constant.counts[CONSTANT][0, constant.table.full("kh") == 3].sum() == 15


def test_features_of_networks_are_counts_and_none_is_in_proportion_to_another() -> None:
    cells = [CELL, CELL.replace("nor_conv_1x1", "nor_conv_3x3"), CELL.replace("|none~2|", "|nor_conv_3x3~2|")]
    found = network_features(count_networks(build("nas-bench-201", "", {"cell": c}).workload(Request()) for c in cells))
    assert found.matrix.shape == (3, len(found.names))
    assert (found.matrix >= 0).all()
    shapes = found.matrix / found.matrix.mean(axis=0)
    distances = np.abs(shapes[:, :, None] - shapes[:, None, :]).max(axis=0)
    assert (distances + np.eye(len(found.names)) > 1e-6).all()
    with pytest.raises(BadValueError, match="no network"):
        count_networks([])


def test_a_device_that_is_a_mixture_of_others_is_completed() -> None:
    random = np.random.default_rng(2)
    size, low = random.normal(0, 1.5, 200), random.random(200) < 0.5
    slopes, offsets = np.array([0.0, 0.2, -0.2, 0.1, 0.05]), np.array([0.0, 0.5, 1.0, -0.3, 0.7])
    logs = size[:, None] + offsets + 0.3 * slopes * low[:, None] + slopes * 0.2 * size[:, None]
    runs = np.exp(logs)
    runs[random.random(runs.shape) < 0.2] = np.nan
    model = fit_completion(runs[:, :4], low[:, None].astype(float), 10)
    at = np.flatnonzero(model.answered)[:10]
    value, lo, hi = predict_completion(model, at, np.exp(logs[at, 4]))
    error = np.abs(value / np.exp(logs[:, 4]) - 1)
    assert np.nanmean(error) < 0.05
    assert np.nanmean((lo <= np.exp(logs[:, 4])) & (hi >= np.exp(logs[:, 4]))) > 0.8


def test_completion_needs_three_sources() -> None:
    with pytest.raises(BadValueError, match="at least 3"):
        fit_completion(np.ones((20, 2)), np.zeros((20, 1)), 5)


def test_scores_are_those_by_hand() -> None:
    measured, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.05, 2.0, 3.0])
    one = score(("d", "x", "s", "m", 0), measured, predicted, ends=(predicted * 0.8, predicted * 1.05))
    assert (one.mape, one.median, one.close, one.inside) == pytest.approx((0.1, 0.05, 2 / 3, 2 / 3))
    assert spearman(np.array([1, 2, 2, 5]), np.array([10, 20, 20, 50])) == pytest.approx(1.0)


def test_a_fold_never_parts_a_group() -> None:
    groups = np.array(list("aabbbccdde"))
    part = folds(groups, 3, 0)
    assert all(len(set(part[groups == g].tolist())) == 1 for g in "abcde")
    assert set(part.tolist()) == {0, 1, 2}
