"""Language models under llama.cpp: tokens by what small systems were measured at, divided among the operators."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import archcast as ac
from archcast.validation.token_rates import evaluate_token_rates
from costmodel.edge_llm import AT, BARRIERS, DENSE_KERNELS
from costmodel.edge_llm_shipped import card_link, has_class, others_instead, shipped_tokens, write_tokens
from costmodel.estimate import Estimate
from costmodel.evaluation.llm_edge import fit_shipped
from costmodel.measured.llm_edge import read_edge_rows
from foundation.errors import BadFileError
from foundation.formats import number_format
from hardware_specs import load_device, load_link

LADDER = ("q2_k_s", "q3_k_m", "q4_0", "q4_k_m", "q5_k_m", "q6_k", "q8_0")
PLACES = ("raspberry-pi-5", "ryzen-9-7950x", "jetson-agx-orin", "rtx-3060", "apple-m4")


def asked(device: str, dtype: str = "q4_k_m", software: str = "llama.cpp", **options: object) -> Estimate:
    given = {"prompt": 64, "generate": 16, **options}
    return ac.predict("llama-3.2-3b", on=device, dtype=dtype, software=software, **given)  # type: ignore[arg-type]


def tpot_s(estimate: Estimate) -> float:
    assert estimate.tpot_s is not None
    return estimate.tpot_s.value


def at(name: str) -> float:
    return float(shipped_tokens().values[AT[name]])


def test_a_raspberry_pi_says_what_was_measured_and_says_why() -> None:
    # three systems: 4.61, 4.88 and 5.55 tokens a second (data/llm_edge)
    found = asked("raspberry-pi-5", generate=128)
    assert found.tpot_s is not None
    assert 1 / found.tpot_s.value == pytest.approx(4.88, rel=0.15)
    assert 1 / found.tpot_s.hi < 4.61
    assert 1 / found.tpot_s.lo > 5.55
    assert any("small systems" in note for note in found.notes)
    assert found.source["learned"] > 0.5
    assert found.source.get("physics", 0.0) == 0.0


def test_a_token_on_cores_is_the_sum_by_hand() -> None:
    # 3.21e9 weights in 2.01 GB, 28 layers; keys and values of 72 tokens (mean of 65 to 79): 28 * 2 * 1024 * 2 B each
    spec = load_device("raspberry-pi-5")
    weights, kv = 3.2128e9, 72 * 28 * 2 * 1024 * 2
    stream_s = (2.0146e9 + kv) / 17.07e9 / spec.dram.efficiency.value * at("cpu_stream")
    work_s = 2 * weights / spec.unit("matrix").peak_flop_per_s["int8"].value * at("dot_work")
    both_s = (stream_s**4 + work_s**4) ** 0.25
    assert tpot_s(asked("raspberry-pi-5")) == pytest.approx(both_s + 28 * BARRIERS * 4 * at("barrier_s"), rel=0.01)


def test_a_token_on_a_card_is_the_sum_by_hand() -> None:
    spec = load_device("rtx-3060")
    expected = ((2.0146e9 + 72 * 28 * 2 * 1024 * 2) / spec.dram.bandwidth_bytes_per_s.value * at("gpu_stream")
                + 3.2128e9 / spec.unit("vector").peak_flop_per_s["fp32"].value * at("gpu_flop")
                + 28 * at("nvidia_layer_s")
                + 128256 * 4 / load_link("pcie4-x16").bandwidth_bytes_per_s.value * at("readback"))  # fmt: skip
    assert DENSE_KERNELS == 15
    assert tpot_s(asked("rtx-3060")) == pytest.approx(expected, rel=0.01)
    assert tpot_s(asked("rtx-3060", software="ollama")) == pytest.approx(expected + at("engine_s"), rel=0.01)


@pytest.mark.parametrize("device", PLACES)
def test_more_bits_of_a_weight_never_make_a_token_faster(device: str) -> None:
    bits = [number_format(name).weight_bits for name in LADDER]
    assert bits == sorted(bits)
    times = [tpot_s(asked(device, name)) for name in LADDER]
    assert times == sorted(times)


@pytest.mark.parametrize("device", PLACES)
def test_longer_contexts_and_more_requests_take_longer(device: str) -> None:
    prompts = [tpot_s(asked(device, prompt=n)) for n in (64, 512, 4096)]
    batches = [tpot_s(asked(device, batch=n)) for n in (1, 2, 8)]
    assert all(a < b for a, b in pairwise(prompts))
    assert all(a <= b for a, b in pairwise(batches))


@pytest.mark.parametrize(
    ("workload", "device", "dtype", "prompt", "rate"),
    [("llama-2-7b", "raspberry-pi-5", "q4_0", 109, 8.1), ("llama-3.1-8b", "ryzen-9-7950x", "q4_0", 512, 123.0),
     ("llama-3.2-3b", "cix-p1", "q4_k_m", 512, 81.3)],
)  # fmt: skip
def test_prompts_on_cores_take_what_was_published(
    workload: str, device: str, dtype: str, prompt: int, rate: float
) -> None:
    """Issues and pull requests that `FURTHER` names; it was chosen on them."""
    found = ac.predict(workload, on=device, dtype=dtype, prompt=prompt, generate=2, software="llama.cpp").ttft_s
    assert found is not None
    assert prompt / found.value == pytest.approx(rate, rel=0.15)
    assert prompt / found.hi < rate < prompt / found.lo


@pytest.mark.parametrize("device", PLACES)
def test_power_stays_within_the_limit(device: str) -> None:
    found, limit_w = asked(device), load_device(device).power.limit_w.value
    assert found.detail is not None
    costs = found.detail.costs
    assert (costs.energy_j <= costs.energy_hi_j).all()
    assert (costs.energy_lo_j <= costs.energy_j).all()
    assert (costs.energy_hi_j <= np.maximum(limit_w * costs.latency_hi_s, costs.energy_j) * (1 + 1e-9)).all()
    assert (costs.energy_j <= limit_w * costs.latency_s * (1 + 1e-9)).all()


def test_formats_without_kernels_of_their_own_keep_the_order_of_their_bytes() -> None:
    # no --software: kernels of cards like it answer for w4a16, w8a16 and int8, the device's figures for the others
    times = {}
    for name in ("q4_0", "w4a16", "w6a16", "w8a16", "int8"):
        times[name] = tpot_s(ac.predict("llama-3.1-8b", on="jetson-agx-orin", dtype=name, prompt=64, generate=16))
    assert times["q4_0"] < times["w4a16"] < times["w6a16"] < times["w8a16"]
    assert times["int8"] == pytest.approx(times["w8a16"], rel=0.02)


def test_what_was_not_measured_is_extrapolated_with_a_wider_interval() -> None:
    measured, eight, two = asked("raspberry-pi-5"), asked("raspberry-pi-5", "q8_0"), asked("raspberry-pi-5", batch=2)
    widths = [np.log(e.tpot_s.hi / e.tpot_s.value) for e in (measured, eight, two) if e.tpot_s]
    assert widths[0] == pytest.approx(shipped_tokens().half_cores, rel=1e-3)
    assert widths[1:] == pytest.approx([1.5 * widths[0]] * 2)
    assert eight.source["extrapolated"] == pytest.approx(1.0)
    assert any("was not measured" in note for note in two.notes)


def test_the_closed_form_and_16_bits_stay_as_they_are() -> None:
    plain = asked("raspberry-pi-5", model="physics")
    assert plain.source == {"physics": 1.0}
    assert not any("small systems" in note for note in (*plain.notes, *asked("raspberry-pi-5", "fp16").notes))


def test_devices_of_other_classes_keep_their_costs() -> None:
    assert has_class(load_device("apple-m4"))
    assert not has_class(load_device("hailo-10h"))
    assert card_link(load_device("rtx-3090")) == "pcie4-x16"
    assert card_link(load_device("apple-m4")) == card_link(load_device("jetson-tx2")) == ""


def test_the_coefficients_that_come_along_are_those_of_the_fit(shared_data: Path, tmp_path: Path) -> None:
    write_tokens(fit_shipped(read_edge_rows(shared_data)), tmp_path / "new.json")
    new, old = shipped_tokens(tmp_path / "new.json"), shipped_tokens()
    assert new.values == pytest.approx(old.values, rel=1e-3)
    assert new.rows == old.rows
    assert (new.half_cores, new.half_graphics) == pytest.approx((old.half_cores, old.half_graphics), rel=1e-2)


def test_predict_holds_on_systems_never_seen(shared_data: Path) -> None:
    found = {s.split: s for s in evaluate_token_rates(shared_data)}
    all_rows, alone = found["all that predict expresses"], found["no card"]
    assert all_rows.n >= 90
    assert alone.n >= 36
    assert all_rows.median <= 0.15
    assert alone.median <= 0.20
    assert 0.85 <= alone.inside <= 0.95
    assert alone.mape < alone.baseline_mape


def test_other_coefficients_answer_only_within_their_block() -> None:
    slower = replace(shipped_tokens(), values=2 * shipped_tokens().values)
    before = tpot_s(asked("raspberry-pi-5"))
    with others_instead(slower):
        assert tpot_s(asked("raspberry-pi-5")) == pytest.approx(2 * before)
    assert tpot_s(asked("raspberry-pi-5")) == before


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(BadFileError, match="coefficients of tokens"):
        shipped_tokens(tmp_path / "x.json")
