"""Tempered costs lie between the closed form and what was learned, never far from the closed form."""

from __future__ import annotations

import numpy as np

from archcast.cost_models import find_cost_model, find_serving_model
from archcast.question import find_target
from costmodel.physics import predict_physics
from costmodel.tempered import SKEW_CLOSED, SPAN, TemperedModel, with_skew
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Request
from workloads.table import OP_CODES, OpTable


def steps(name: str) -> OpTable:
    batch = np.array([1, 16, 128])
    workload = load_model(name).workload(Request(batch=batch, prompt=np.full(3, 1024), generate=2))
    return lower(workload.passes, Mapping()).table


def test_tempered_costs_stay_within_their_span_of_the_closed_form() -> None:
    target, table = find_target("h100-sxm"), steps("mixtral-8x7b")
    found = TemperedModel(find_cost_model(None)).predict(table, target.rates, software="vllm 0.19.0")
    closed = predict_physics(with_skew(table, SKEW_CLOSED), target.rates)
    moved = np.log(found.latency_s / closed.latency_s)
    known = np.isfinite(moved)
    assert known.any()
    assert (moved[known] >= SPAN[0] - 1e-9).all()
    assert (moved[known] <= SPAN[1] + 1e-9).all()
    assert (found.latency_lo_s <= found.latency_s).all()
    assert (found.latency_s <= found.latency_hi_s).all()


def test_only_loads_of_experts_that_are_not_given_become_uneven() -> None:
    table = steps("mixtral-8x7b")
    moe = table.full("op") == OP_CODES["moe"]
    skewed = with_skew(table, 0.7)
    assert (skewed.full("skew")[moe] == 0.7).all()
    assert (skewed.full("skew")[~moe] == 0).all()
    assert (with_skew(skewed, 1.2).full("skew")[moe] == 0.7).all()


def test_engines_are_priced_by_tempered_costs_unless_a_model_is_named() -> None:
    assert isinstance(find_serving_model(None), TemperedModel)
    assert find_serving_model("physics").name == "physics"
    assert find_serving_model(None).version == find_cost_model(None).version
