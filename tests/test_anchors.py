"""Sums of stages: fitted weights are found again, few shapes keep the closed form, and what is packed comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costmodel.anchors import anchored, fitted_anchor, stages
from costmodel.features import LAYOUTS, STAGES, describe
from costmodel.forest import Forest, packed
from costmodel.physics import price
from costmodel.rates import compile_rates
from costmodel.trees import FlatTrees
from foundation.formats import FORMAT_CODES
from hardware_specs import load_device
from workloads.table import Array, OpTable

NAMES = LAYOUTS["moe"].names


def layers(rows: int, seed: int = 0, software: str = "vllm 0.24.0", **fixed: float) -> Array:
    rng = np.random.default_rng(seed)
    columns = {
        "op": "moe", "dtype": "bf16", "tokens": 2 ** rng.integers(0, 14, rows),
        "hidden": rng.choice([2048, 7168], rows), "inter": rng.choice([768, 2048], rows),
        "experts": rng.choice([64, 256], rows), "topk": 8, "ep": rng.choice([1, 8], rows),
        "skew": rng.choice([0.0, 1.01, 1.2], rows), **fixed,
    }  # fmt: skip
    table, rates = OpTable.from_columns(columns), compile_rates(load_device("h200-sxm"))
    return np.ascontiguousarray(describe(table, price(table, rates), rates, "moe", software).matrix)


def test_stages_of_an_expert_layer_are_seconds_over_the_closed_form() -> None:
    rates = compile_rates(load_device("h200-sxm"))
    table = OpTable.from_columns(
        {"op": "moe", "dtype": "bf16", "tokens": 64, "hidden": 4096, "inter": 1024, "experts": 32, "topk": 4, "skew": 0}
    )
    priced = price(table, rates)
    features = describe(table, priced, rates, "moe").matrix
    names = ("closed", "launch", "memory", "ideal", "shaped", *STAGES["moe"])
    found = dict(zip(names, stages(features, "moe")[0], strict=True))
    time_s = priced.costs.latency_s[0]
    flop_s = rates.inverses.flop_s[FORMAT_CODES["bf16"]]
    assert found["closed"] == 1
    assert found["launch"] * time_s == pytest.approx(rates.launch_s[0], rel=1e-5)
    assert found["stage_microsecond"] * time_s == pytest.approx(1e-6, rel=1e-5)
    assert found["stage_weights"] * time_s == pytest.approx(32 * 3 * 4096 * 1024 * 2 / rates.dram_bytes_per_s, rel=1e-5)
    assert found["stage_flop"] * time_s == pytest.approx(256 * 6 * 4096 * 1024 * flop_s, rel=1e-5)
    assert found["stage_tiles_64"] == pytest.approx(8 * found["stage_flop"], rel=1e-5)  # 8 rows in each tile of 64
    assert found["stage_choices"] == pytest.approx(4 * found["stage_tokens"], rel=1e-5)


def test_weights_of_a_kernel_are_found_and_reach_sizes_that_were_not_fitted() -> None:
    seen, unseen = layers(400, 1, hidden=4096.0), layers(200, 2, hidden=8192.0)
    truth = np.zeros(stages(seen, "moe").shape[1])
    truth[0], truth[5], truth[9] = 0.5, 20.0, 1.5  # half the closed form, 20 us, 1.5 x bytes of choices
    ratio = stages(seen, "moe") @ truth
    anchor = fitted_anchor(seen, "moe", ratio, np.arange(400) % 7)
    assert np.abs(np.exp(anchored(anchor, seen, "moe")) / ratio - 1).mean() < 0.02
    wanted = stages(unseen, "moe") @ truth
    assert np.abs(np.exp(anchored(anchor, unseen, "moe/h200-sxm")) / wanted - 1).mean() < 0.05
    assert (anchor[:, 3:] >= 0).all()


def test_a_kernel_of_one_shape_keeps_the_closed_form() -> None:
    features = layers(50, 3, hidden=2048.0, inter=768.0, experts=64.0)
    anchor = fitted_anchor(features, "moe", np.full(50, 3.0), np.zeros(50))
    assert anchored(anchor, features, "moe") == pytest.approx(0, abs=1e-6)


def test_a_kernel_without_weights_takes_those_of_its_format_and_nearest_version() -> None:
    old, new = layers(60, 4, "vllm 0.14.0"), layers(60, 4, "vllm 0.24.0")
    ratio = np.concatenate((np.full(60, 2.0), np.full(60, 5.0)))
    anchor = fitted_anchor(np.concatenate((old, new)), "moe", ratio, np.arange(120) % 10)
    between = anchored(anchor, layers(60, 4, "vllm 0.23.1"), "moe")
    assert between == pytest.approx(anchored(anchor, new, "moe"), rel=1e-9)
    assert np.exp(between).mean() == pytest.approx(5, rel=0.1)
    mixed = anchored(anchor, np.concatenate((old, new)), "moe")
    assert mixed[:60] == pytest.approx(anchored(anchor, old, "moe"), rel=1e-9)
    alone = [float(anchored(anchor, row[None], "moe")[0]) for row in old[:5]]
    assert alone == pytest.approx(mixed[:5].tolist(), rel=1e-9)


def test_weights_come_back_from_the_bytes_of_a_forest() -> None:
    trees = FlatTrees((np.zeros(1, np.intp),), (np.zeros(1, np.float32),), np.ones(2, np.float32), np.float32(0), 3)
    weights = np.array([[1.0, 2.0, 3000.01, 0.5]], dtype=np.float32)
    forest = packed({"moe/x": replace(trees, anchor=weights), "y": trees})
    read = Forest.from_bytes(forest.to_bytes())
    found = read.trees("moe/x").anchor
    assert found is not None
    assert np.array_equal(found, weights)
    assert read.trees("y").anchor is None
