"""What must hold for any operator on any device: costs are finite, ordered, monotone, and no matter of row order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archcast.question import find_target
from costmodel import physics
from costmodel.costs import COLUMNS, OpCosts
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from workloads.table import OpTable
from workloads.work import count_work

DEVICES = ("h100-sxm", "gemmini-128x128", "raspberry-pi-5", "xeon-6226", "gap8", "mi300x")
TABLES = tuple(find_target(name).rates for name in DEVICES)
FORMATS = ("fp32", "fp16", "int8")


def size(high: int) -> st.SearchStrategy[int]:
    """Small sizes often, large ones too: tile edges and bandwidth limits are in different places."""
    return st.one_of(st.integers(1, min(high, 40)), st.integers(1, high))


ATTENTION = {"batch": size(64), "q_len": size(4096), "kv_len": size(8192), "heads": size(64), "head_dim": size(256)}
FAMILIES: dict[str, dict[str, st.SearchStrategy[int]]] = {
    "gemm": {"m": size(8192), "n": size(8192), "k": size(8192), "batch": size(64)},
    "attention": ATTENTION | {"window": st.integers(0, 2000), "causal": st.integers(0, 1)},
    "mla": {"batch": size(64), "q_len": size(512), "kv_len": size(8192), "heads": size(128), "kv_rank": size(512),
            "rope_dim": size(64)},
    "moe": {"tokens": size(8192), "hidden": size(4096), "inter": size(4096), "experts": st.just(64),
            "topk": st.integers(1, 8)},
    "conv2d": {"batch": size(32), "c_in": size(512), "h": st.integers(8, 224), "w": st.integers(8, 224),
               "c_out": size(512), "kh": st.just(3), "kw": st.just(3), "padding": st.just(1),
               "stride": st.integers(1, 2)},
    "norm": {"rows": size(10**5), "hidden": size(8192)},
    "elementwise": {"rows": size(10**5), "hidden": size(8192), "operands": st.integers(1, 3)},
    "softmax": {"rows": size(10**5), "hidden": size(8192)},
    "embedding": {"rows": size(10**5), "hidden": size(8192)},
    "copy": {"rows": size(10**5), "hidden": size(8192)},
    "scan": {"batch": size(64), "q_len": size(4096), "heads": size(128), "head_dim": size(128), "state": size(256)},
}  # fmt: skip
FIXED = ("window", "causal", "kh", "kw", "padding", "stride", "experts")
"""Sizes whose growth may well make an operator cheaper."""


@st.composite
def operators(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(sorted(FAMILIES)))
    sizes = {name: draw(strategy) for name, strategy in FAMILIES[op].items()}
    phase = draw(st.sampled_from(("", "prefill", "decode"))) if op == "mla" else ""
    return {"op": op, "dtype": draw(st.sampled_from(FORMATS)), "phase": phase, **sizes}


def table_of(rows: list[dict[str, Any]]) -> OpTable:
    return OpTable.concat([OpTable.from_columns({k: [v] for k, v in row.items()}) for row in rows])


def price(rates: Rates, *rows: dict[str, Any]) -> OpCosts:
    return predict_physics(table_of(list(rows)), rates)


def same(a: OpCosts, b: OpCosts, tolerance: float = 1e-12) -> None:
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=tolerance, atol=0, err_msg=name)


@settings(max_examples=250)
@given(row=operators(), rates=st.sampled_from(TABLES))
def test_costs_are_finite_positive_and_inside_their_intervals(row: dict[str, Any], rates: Rates) -> None:
    cost = price(rates, row)
    for low, value, high in (
        (cost.latency_lo_s, cost.latency_s, cost.latency_hi_s), (cost.energy_lo_j, cost.energy_j, cost.energy_hi_j),
    ):  # fmt: skip
        assert np.isfinite([low[0], value[0], high[0]]).all()
        assert 0 < low[0] <= value[0] <= high[0]
    assert cost.dram_bytes[0] > 0


@settings(max_examples=250)
@given(row=operators(), rates=st.sampled_from(TABLES))
def test_mean_power_never_exceeds_the_limit(row: dict[str, Any], rates: Rates) -> None:
    cost = price(rates, row)
    for energy, latency in ((cost.energy_j, cost.latency_s), (cost.energy_hi_j, cost.latency_hi_s)):
        assert energy[0] <= rates.limit_w * latency[0] * (1 + 1e-12)


@settings(max_examples=1000)
@given(row=operators(), rates=st.sampled_from(TABLES), data=st.data())
def test_costs_do_not_fall_when_work_grows(row: dict[str, Any], rates: Rates, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([k for k in FAMILIES[row["op"]] if k not in FIXED]))
    step = data.draw(st.sampled_from((1, 2, 7, 64, 1000)))
    grown = row | {name: row[name] + step}
    # Keys beyond a window are no more work for queries that all see a full window: the same pairs only tile otherwise.
    assume(not (name == "kv_len" and row.get("window")))
    if row["op"] in ("attention", "mla"):  # a query must stand among its keys
        small, large = (r | {"kv_len": max(r["kv_len"], grown["q_len"])} for r in (row, grown))
    else:
        small, large = row, grown
    cost = price(rates, small, large)
    for column in ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "dram_bytes"):
        before, after = getattr(cost, column)
        assert after >= before * (1 - 1e-12), f"{column}: {before} -> {after} as {name} grows by {step}"


BASES: dict[str, tuple[dict[str, float], ...]] = {
    "gemm": ({"m": 100, "n": 300, "k": 2000}, {"m": 3, "n": 4096, "k": 4096, "batch": 5}),
    "attention": (
        {"batch": 3, "q_len": 100, "kv_len": 901, "heads": 8, "kv_heads": 2, "head_dim": 64},
        {"batch": 3, "q_len": 1, "kv_len": 129, "heads": 8, "kv_heads": 2, "head_dim": 64, "window": 100},
        {"batch": 2, "q_len": 9, "kv_len": 700, "heads": 32, "head_dim": 80, "causal": 0},
    ),
    "mla": ({"batch": 2, "q_len": 30, "kv_len": 901, "heads": 16, "kv_rank": 512, "rope_dim": 64},),
    "moe": ({"tokens": 50, "hidden": 1000, "inter": 700, "experts": 600, "topk": 6},
            {"tokens": 300, "hidden": 1000, "inter": 700, "experts": 601, "topk": 6, "ep": 4, "tp": 2, "skew": 1}),
    "conv2d": ({"batch": 2, "c_in": 50, "h": 30, "w": 30, "c_out": 60, "kh": 3, "kw": 3},),
    "scan": ({"batch": 2, "q_len": 100, "heads": 20, "head_dim": 64, "state": 16},),
}  # fmt: skip


@pytest.mark.parametrize("rates", TABLES, ids=DEVICES)
@pytest.mark.parametrize("op", sorted(BASES))
def test_no_step_of_any_size_makes_an_operator_cheaper(op: str, rates: Rates) -> None:
    for base in BASES[op]:
        for name in (n for n in base if n in FAMILIES[op] and n not in FIXED):
            reach = 200 if op == "attention" and name == "q_len" and base.get("window") else 600
            values = np.arange(1.0, reach)
            columns: dict[str, Any] = base | {"op": op, "dtype": "int8", name: values}
            if name == "q_len" and "kv_len" in base:
                columns["kv_len"] = np.maximum(base["kv_len"], reach)
            cost = predict_physics(OpTable.from_columns(columns), rates)
            for column in ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "dram_bytes"):
                ratio = getattr(cost, column)[1:] / getattr(cost, column)[:-1]
                fall = int(np.argmin(ratio))
                assert ratio[fall] >= 1 - 1e-12, (
                    f"{column} at {name} {values[fall]:g} -> {values[fall] + 1:g}: x{ratio[fall]}"
                )


@pytest.mark.parametrize("rates", TABLES, ids=DEVICES)
def test_a_growing_square_product_never_gets_cheaper(rates: Rates) -> None:
    edges = np.arange(1, 3000, 7.0)
    cost = predict_physics(
        OpTable.from_columns({"op": "gemm", "dtype": "fp16", "m": edges, "n": edges, "k": edges}), rates
    )
    for column in (cost.latency_s, cost.energy_j, cost.dram_bytes):
        assert (np.diff(column) >= 0).all()


@settings(max_examples=200)
@given(row=operators(), rates=st.sampled_from(TABLES), bandwidth=st.floats(1, 100), peak=st.floats(1, 100))
def test_a_faster_device_is_never_slower(row: dict[str, Any], rates: Rates, bandwidth: float, peak: float) -> None:
    slow, fast = price(rates, row), price(rates.scaled(bandwidth=bandwidth, peak=peak), row)
    for column in ("latency_s", "latency_lo_s", "latency_hi_s"):
        assert getattr(fast, column)[0] <= getattr(slow, column)[0] * (1 + 1e-12)
    assert fast.dram_bytes[0] == slow.dram_bytes[0]


@settings(max_examples=100)
@given(row=operators(), rates=st.sampled_from(TABLES))
def test_a_roofline_bounds_every_time_from_below(row: dict[str, Any], rates: Rates) -> None:
    table = table_of([row])
    work, fmt = count_work(table), int(table["dtype"][0])
    parts = (
        work.matrix_flop / rates.peak_flop_per_s[fmt],
        work.vector_flop / rates.vector_flop_per_s[fmt],
        work.bytes_moved / rates.dram_bytes_per_s,
    )
    assert price(rates, row).latency_s[0] >= max(float(np.ravel(part)[0]) for part in parts)


@settings(max_examples=40)
@given(rows=st.lists(operators(), min_size=2, max_size=12), rates=st.sampled_from(TABLES), seed=st.integers(0, 99))
def test_a_batch_equals_its_rows_one_by_one_in_any_order(rows: list[dict[str, Any]], rates: Rates, seed: int) -> None:
    together = price(rates, *rows)
    same(together, OpCosts.concat([price(rates, row) for row in rows]))
    order = np.random.default_rng(seed).permutation(len(rows))
    same(together.take(order), price(rates, *(rows[i] for i in order)), tolerance=0)


@pytest.mark.parametrize("rates", TABLES, ids=DEVICES)
def test_chunks_do_not_change_any_number(rates: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    rows = 5000
    table = OpTable.from_columns({
        "op": rng.integers(0, 2, rows) * 6, "dtype": "fp16", "m": rng.integers(1, 4000, rows), "n": 512, "k": 512,
        "rows": rng.integers(1, 4000, rows), "hidden": 4096,
    })  # fmt: skip
    whole = predict_physics(table, rates)
    monkeypatch.setattr(physics, "CHUNK", 999)
    same(whole, predict_physics(table, rates), tolerance=0)


def test_one_value_for_all_rows_equals_the_value_written_out() -> None:
    for rates in TABLES:
        short = OpTable.from_columns({"op": "gemm", "dtype": "fp16", "m": 64, "n": 128, "k": 256}, rows=3)
        long = OpTable.from_columns(
            {"op": ["gemm"] * 3, "dtype": ["fp16"] * 3, "m": [64] * 3, "n": [128] * 3, "k": [256] * 3}
        )
        same(predict_physics(short, rates), predict_physics(long, rates), tolerance=0)


def test_no_rows_cost_nothing() -> None:
    table = OpTable.from_columns({"op": "gemm", "dtype": "fp16", "m": np.zeros(0), "n": 1, "k": 1})
    assert predict_physics(table, TABLES[0]).rows == 0


def test_more_memory_bandwidth_saves_time_only_where_memory_bounds() -> None:
    rates = TABLES[0]
    decode = {"op": "gemm", "dtype": "fp16", "m": 1, "n": 8192, "k": 8192}
    faster = replace(
        rates, dram_bytes_per_s=rates.dram_bytes_per_s * 1.5, cache_bytes_per_s=rates.cache_bytes_per_s * 1.5
    )
    slow, fast = price(rates, decode), price(faster, decode)
    assert slow.bounds() == ["memory"]
    assert (slow.latency_s[0] - rates.launch_s[0]) / (fast.latency_s[0] - rates.launch_s[0]) == pytest.approx(
        1.5, rel=1e-9
    )
    prefill = decode | {"m": 8192}
    assert price(rates, prefill).latency_s[0] == price(faster, prefill).latency_s[0]
