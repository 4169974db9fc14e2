"""From rows to requests: sums, intervals, token times, money and energy, worked out by hand or by a plain loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast as ac
from archcast.quantities import SECONDS_PER_HOUR
from archcast.question import find_model, find_target
from costmodel.costs import OpCosts
from costmodel.estimate import Estimate, Quantity, compose
from costmodel.memory import memory_of
from costmodel.physics import predict_physics
from foundation.errors import BadValueError, MappingError, UnsupportedError
from hardware_specs import load_device
from workloads.graph import Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Request

ASKED: dict[str, Any] = {"on": "h100-sxm", "prompt": 512, "generate": 65}


def two_rows(count: int) -> Workload:
    operators = tuple(Operator(name, "gemm", {"m": 8, "n": 8, "k": 8}) for name in ("a", "b"))
    return Workload("two", (Pass("forward", WorkloadGraph("two", (Block("one", operators, count=count),))),))


def made_up_costs(shared: float) -> OpCosts:
    column = np.array
    return OpCosts(
        latency_s=column([2.0, 3.0]), latency_lo_s=column([1.0, 2.5]), latency_hi_s=column([4.0, 6.0]),
        energy_j=column([10.0, 20.0]), energy_lo_j=column([10.0, 20.0]), energy_hi_j=column([10.0, 20.0]),
        dram_bytes=column([7.0, 5.0]), bound=np.zeros(2, dtype=np.int8), source=np.zeros(2, dtype=np.int8),
        shared_log_error=shared,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shared", "below", "above"),
    [
        # three repeats: deviations below 3 x 1 and 3 x 0.5, above 3 x 2 and 3 x 3
        (1.0, 3 + 1.5, 6 + 9),
        (0.0, (3**2 + 1.5**2) ** 0.5, (6**2 + 9**2) ** 0.5),
        (0.5, (0.5 * 4.5**2 + 0.5 * (3**2 + 1.5**2)) ** 0.5, (0.5 * 15**2 + 0.5 * (6**2 + 9**2)) ** 0.5),
    ],
)
def test_deviations_add_up_as_far_as_they_are_shared(shared: float, below: float, above: float) -> None:
    workload = two_rows(3)
    totals = compose(workload, lower(workload.passes), made_up_costs(shared))
    assert totals.latency_s[0].tolist() == pytest.approx([15, 15 - below, 15 + above], rel=1e-12)
    assert totals.energy_j[0].tolist() == [90, 90, 90]
    assert totals.dram_bytes.tolist() == [36]


@given(count=st.integers(1, 1000))
def test_twice_the_repeats_cost_twice_as_much(count: int) -> None:
    once, twice = (compose(w, lower(w.passes), made_up_costs(0.5)) for w in (two_rows(count), two_rows(2 * count)))
    np.testing.assert_allclose(twice.latency_s, 2 * once.latency_s, rtol=1e-12)
    np.testing.assert_allclose(twice.energy_j, 2 * once.energy_j, rtol=1e-12)


def test_sums_of_many_requests_equal_a_plain_loop() -> None:
    request = Request(batch=np.array([1.0, 4, 2]), prompt=np.array([100.0, 30, 1]), generate=np.array([1.0, 40, 7]))
    workload = find_model("llama-3.1-8b").workload(request)
    lowered, rates = lower(workload.passes), find_target("h100-sxm").rates
    costs = predict_physics(lowered.table, rates)
    sums = np.zeros((3, 2))
    for row in range(lowered.table.rows):
        run = workload.passes[int(lowered.pass_index[row])]
        owner = int(workload.owners[run.name][int(lowered.scenario[row])])
        times = float(lowered.table.full("count")[row])
        sums[owner] += times * costs.latency_s[row], times * costs.energy_j[row]
    totals = compose(workload, lowered, costs)
    np.testing.assert_allclose(totals.latency_s[:, 0], sums[:, 0], rtol=1e-12)
    np.testing.assert_allclose(totals.energy_j[:, 0], sums[:, 1], rtol=1e-12)
    np.testing.assert_allclose(totals.first_s + totals.step_s, totals.latency_s, rtol=1e-12)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b", "resnet-50", "bert-large"])
def test_a_repeated_block_equals_the_unrolled_graph(name: str) -> None:
    rates = find_target("h200-sxm").rates
    rolled = find_model(name).workload(Request(batch=2))
    written = replace(rolled, passes=tuple(replace(run, graph=run.graph.unrolled()) for run in rolled.passes))
    found = []
    for workload in (rolled, written):
        lowered = lower(workload.passes)
        totals = compose(workload, lowered, predict_physics(lowered.table, rates))
        found.append((totals, memory_of(workload, lowered, Mapping(), rates)))
    for field in ("latency_s", "energy_j", "dram_bytes", "flop"):
        np.testing.assert_allclose(getattr(found[0][0], field), getattr(found[1][0], field), rtol=1e-9)
    np.testing.assert_allclose(found[0][1].total_bytes, found[1][1].total_bytes, rtol=1e-12)


def value(quantity: Quantity | None) -> float:
    assert quantity is not None
    return quantity.value


def test_latency_is_the_first_token_and_the_gaps_between_the_others() -> None:
    found = ac.predict("llama-3.1-8b", batch=8, **ASKED)
    assert value(found.latency_s) == pytest.approx(value(found.ttft_s) + 64 * value(found.tpot_s), rel=1e-12)
    one = ac.predict("llama-3.1-8b", batch=8, **(ASKED | {"generate": 1}))
    assert one.tpot_s is None
    assert value(one.latency_s) == value(one.ttft_s) == value(found.ttft_s)


def test_the_steady_state_of_slots_by_hand() -> None:
    slots = 16
    asked: dict[str, Any] = ASKED | {"model": "physics"}
    found = ac.predict("llama-3.1-8b", concurrency=slots, **asked)
    one, full = (ac.predict("llama-3.1-8b", batch=b, **asked) for b in (1, slots))
    prefill, decode = value(one.ttft_s), value(full.latency_s) - value(full.ttft_s)
    # each is answered anew all the time: users = rate x time of one request (Little)
    each = value(found.ttft_s) + 64 * value(found.tpot_s)
    assert value(found.latency_s) == pytest.approx(each, rel=1e-9)
    assert value(found.rate_hz) == pytest.approx(slots / each, rel=1e-9)
    # a prompt shares its step with decodes, and reads the weights together with them: at most as long as one after the
    # other, at least as long as what both compute
    assert decode + (slots - 1) * prefill / 2 < each < decode + slots * prefill
    assert prefill < value(found.ttft_s) < 2 * prefill
    # caches of all, activations of one prompt
    assert found.memory_parts_bytes["state"] == full.memory_parts_bytes["state"]
    assert found.memory_parts_bytes["activations"] < full.memory_parts_bytes["activations"]


def test_slots_and_a_batch_exclude_each_other_and_need_a_generator() -> None:
    with pytest.raises(UnsupportedError, match="not both"):
        ac.predict("llama-3.1-8b", batch=2, concurrency=2, **ASKED)
    with pytest.raises(BadValueError, match="generates no tokens"):
        ac.predict("resnet-50", on="h100-sxm", concurrency=2)


def test_money_is_price_times_time_times_devices() -> None:
    price = load_device("h100-sxm").price
    assert price is not None
    for tp in (1, 4):
        found = ac.predict("llama-3.1-8b", tp=tp, **ASKED)
        cost, latency = found.cost_usd, found.latency_s
        assert cost is not None
        assert latency is not None
        assert cost.value == pytest.approx(price.usd_per_hour.value * latency.value * tp / SECONDS_PER_HOUR, rel=1e-12)
        assert cost.hi == pytest.approx(price.usd_per_hour.hi * latency.hi * tp / SECONDS_PER_HOUR, rel=1e-12)
        assert found.price_date == str(price.date)


@pytest.mark.parametrize("sizes", [{"tp": 2}, {"pp": 2}, {"tp": 2, "pp": 4}])
def test_energy_is_that_of_all_devices_busy_or_waiting(sizes: dict[str, int]) -> None:
    found = ac.predict("llama-3.1-8b", **ASKED, **sizes)
    detail = found.detail
    assert detail is not None
    busy = float((detail.costs.energy_j * detail.lowered.table.full("count")).sum())
    ranks, stages = sizes.get("tp", 1), sizes.get("pp", 1)
    waiting = (stages - 1) * detail.rates.idle_w[0] * value(found.latency_s)
    assert value(found.energy_j) == pytest.approx(ranks * (busy + waiting), rel=1e-12)
    assert value(found.power_w) == pytest.approx(value(found.energy_j) / value(found.latency_s), rel=1e-12)


def test_replicas_share_the_batch() -> None:
    two, one = ac.predict("llama-3.1-8b", batch=8, dp=2, **ASKED), ac.predict("llama-3.1-8b", batch=4, **ASKED)
    assert value(two.latency_s) == pytest.approx(value(one.latency_s), rel=1e-12)
    for field in ("energy_j", "rate_hz", "cost_usd", "power_w"):
        assert value(getattr(two, field)) == pytest.approx(2 * value(getattr(one, field)), rel=1e-12), field
    with pytest.raises(MappingError, match="dp=2 replicas need at least 2 requests"):
        ac.predict("llama-3.1-8b", batch=1, dp=2, **ASKED)


@settings(max_examples=25)
@given(
    name=st.sampled_from(("llama-3.1-8b", "mixtral-8x7b", "gpt-2", "mamba-2.8b", "bert-large", "vit-base", "t5-large")),
    device=st.sampled_from(("h100-sxm", "mi300x", "rk3588", "gemmini-128x128", "xeon-6226", "raspberry-pi-5")),
    batch=st.integers(1, 8), prompt=st.integers(1, 400), generate=st.integers(1, 50),
)  # fmt: skip
def test_every_axis_is_finite_and_ordered(name: str, device: str, batch: int, prompt: int, generate: int) -> None:
    asked = (
        {}
        if name == "vit-base"
        else {"prompt": prompt}
        if name == "bert-large"
        else {"prompt": prompt, "generate": generate}
    )
    found = ac.predict(name, on=device, batch=batch, **asked)
    quantities = [found.memory_bytes]
    if found.latency_s is not None:
        quantities += [
            q for q in (found.latency_s, found.ttft_s, found.tpot_s, found.energy_j, found.power_w, found.rate_hz) if q
        ]
        assert value(found.power_w) <= find_target(device).rates.limit_w * (1 + 1e-9)
        assert sum(found.bound.values()) == pytest.approx(1)
        assert sum(found.source.values()) == pytest.approx(1)
    for quantity in quantities:
        assert np.isfinite([quantity.lo, quantity.value, quantity.hi]).all()
        assert 0 < quantity.lo <= quantity.value <= quantity.hi


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b", "mamba-2.8b"])
@pytest.mark.parametrize("grown", ["batch", "prompt", "generate"])
def test_no_axis_of_the_closed_form_falls_when_a_request_grows(name: str, grown: str) -> None:
    sizes = {"batch": 4, "prompt": 700, "generate": 90} | {grown: list(range(1, 300, 13))}
    found = ac.predict_batch(workload=name, on="h200-sxm", model="physics", **sizes)
    for field in ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "dram_bytes", "memory_bytes"):
        assert (np.diff(found[field]) >= 0).all(), field


def test_an_answer_is_plain_json() -> None:
    import json

    found: Estimate = ac.predict("llama-3.1-8b", batch=2, **ASKED)
    doc = json.loads(json.dumps(found.to_json()))
    assert doc["latency_s"] == {"value": value(found.latency_s), "lo": found.latency_s.lo, "hi": found.latency_s.hi}  # type: ignore[union-attr]
    assert doc["verdict"] == "feasible"
    assert "detail" not in doc


@pytest.mark.parametrize("device", ["rtx-4090", "l40s", "mi300x", "h100-sxm"])
def test_the_low_end_of_a_workload_is_not_below_its_weights_at_the_full_bandwidth(device: str) -> None:
    answer = ac.predict("llama-3.1-8b", on=device, dtype="w4a16", prompt=16, generate=33)
    assert answer.latency_s is not None
    weights = answer.memory_parts_bytes["weights"]
    bandwidth = ac.load_device(device).dram.bandwidth_bytes_per_s.value
    embedding = 128256 * 4096 * 2  # one row of it is read a token, not the table
    assert answer.latency_s.lo > 33 * (weights - embedding) / bandwidth


def test_neither_end_of_an_operator_exceeds_the_power_limit() -> None:
    sizes = {"op": "gemm", "dtype": "fp8", "m": [8192], "n": 8192, "k": 8192}
    row = ac.predict_ops(sizes, on="h100-sxm", model="physics")
    for energy, latency in (
        (row.energy_lo_j, row.latency_lo_s), (row.energy_j, row.latency_s), (row.energy_hi_j, row.latency_hi_s),
    ):  # fmt: skip
        assert energy[0] <= 700 * latency[0] * (1 + 1e-12)
    assert row.latency_hi_s[0] > 1.1 * row.latency_s[0]  # the dearer energy slows it further
