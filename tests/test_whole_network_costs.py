"""Whole networks as a sum of costs of work, on networks whose costs are known, and what a graph's work is."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.network_costs import CostSettings, drawn_costs, fit_network_costs, predict_network_costs
from costmodel.network_work import KINDS, amounts_of, work_of
from foundation.errors import BadValueError
from workloads.catalogue import load_model
from workloads.model import Request
from workloads.table import Array

COSTS = np.array([2e-12, 3e-12, 1e-9, 4e-9])
RATES, PARTS = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])


def known_networks(rows: int = 300) -> tuple[Array, Array, Array]:
    """Return work, shapes and seconds of networks whose costs are `COSTS`, read with 2 % noise."""
    random = np.random.default_rng(0)
    amounts = np.exp(random.normal(0, 1.5, (rows, 4))) * [1e9, 1e9, 1e6, 1e6]
    return amounts, random.random((rows, 2)), (amounts @ COSTS) * np.exp(0.02 * random.standard_normal(rows))


def test_known_costs_are_found_and_carry_over_to_networks_a_thousand_times_larger() -> None:
    amounts, shapes, seconds = known_networks()
    model = fit_network_costs(amounts, RATES, PARTS, shapes, seconds, CostSettings(pull=0.0, trees_share=0.0))
    found = predict_network_costs(model, 1000 * amounts, shapes)
    assert np.abs(found / (1000 * amounts @ COSTS) - 1).max() < 0.05


def test_the_trees_add_what_a_sum_cannot_say() -> None:
    amounts, shapes, seconds = known_networks()
    slower = seconds * np.where(shapes[:, 0] > 0.5, 1.5, 1.0)
    errors = []
    for share in (0.0, 1.0):
        model = fit_network_costs(
            amounts[:200], RATES, PARTS, shapes[:200], slower[:200], CostSettings(pull=0.0, trees_share=share)
        )
        errors.append(np.abs(predict_network_costs(model, amounts[200:], shapes[200:]) / slower[200:] - 1).mean())
    assert errors[1] < 0.5 * errors[0]


def test_a_strong_pull_leaves_the_costs_where_they_start() -> None:
    amounts, _, seconds = known_networks()
    start = np.array([1e-12, 1e-12, 2e-9, 2e-9])
    assert drawn_costs(amounts, seconds, start, 1e6) == pytest.approx(start, rel=1e-3)
    assert drawn_costs(amounts, seconds, start, 0.0) == pytest.approx(COSTS, rel=0.05)


def test_the_same_rows_give_the_same_predictions() -> None:
    amounts, shapes, seconds = known_networks()
    one, two = (fit_network_costs(amounts, RATES, PARTS, shapes, seconds) for _ in range(2))
    assert one.boosters == two.boosters
    assert (predict_network_costs(one, amounts, shapes) == predict_network_costs(two, amounts, shapes)).all()


def test_times_that_are_not_positive_and_few_rows_are_refused() -> None:
    amounts, shapes, seconds = known_networks()
    with pytest.raises(BadValueError, match="positive"):
        fit_network_costs(amounts, RATES, PARTS, shapes, -seconds)
    with pytest.raises(BadValueError, match="at least 30 rows"):
        fit_network_costs(amounts[:20], RATES, PARTS, shapes[:20], seconds[:20])


def test_work_counts_the_norms_and_activations_that_compilers_fuse() -> None:
    work = work_of(load_model("resnet-18").workload(Request(batch=1)).passes)
    launches = dict(zip(KINDS, work.launches, strict=True))
    assert (launches["stem"], launches["vector"], launches["sum"]) == (1, 1, 8)
    assert (launches["conv3"], launches["conv1"]) == (16, 3)
    assert (launches["fused-norm"], launches["fused-relu"]) == (20, 17)
    stem = work.flop[KINDS.index("stem")]
    assert stem == 2 * 112 * 112 * 64 * 3 * 7 * 7
    assert work.weight_bytes[KINDS.index("vector")] == pytest.approx(2 * 512 * 1000, rel=0.01)


def test_depthwise_convolutions_among_dense_layers_are_a_kind_of_their_own() -> None:
    for name, kind in (("convnext-tiny", "depthwise-last"), ("mobilenet-v2", "depthwise3")):
        work = work_of(load_model(name).workload(Request(batch=1)).passes)
        assert work.flop[KINDS.index(kind)] > 0
    assert work.flop[KINDS.index("depthwise-last")] == 0


def test_a_batch_multiplies_activations_and_not_weights() -> None:
    names = ("resnet-18", "resnet-34", "resnet-50", "vgg-16", "mobilenet-v2", "vit-b-16", "resnet-101", "resnet-152")
    works = [work_of(load_model(name).workload(Request(batch=1)).passes) for name in names]
    few, many = (amounts_of(works, np.full(len(works), batch)) for batch in (2.0, 8.0))
    assert few.names == many.names
    for i, name in enumerate(few.names):
        still = name.endswith(("weights", "launches"))
        assert many.matrix[:, i] == pytest.approx(few.matrix[:, i] * (1 if still else 4))
