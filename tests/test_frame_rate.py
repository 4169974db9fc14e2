"""Chips that lay a whole network out at once answer the rate of a full pipeline beside the time of a batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import archcast as ac
from archcast.batches import interval_columns
from archcast.frame_rate import LaidOut, fill_frames
from hardware_specs import load_device
from workloads.table import OpTable

PUBLISHED_HZ = {"resnet-50": 1372.0, "mobilenet-v2": 2443.0, "vit-base": 29.0}
"""Hailo-8, batch 1: Hailo model zoo, commit c83fc03 (2026-01-20), docs/public_models (MIT)."""


def test_rates_of_a_dataflow_chip_are_those_that_its_maker_publishes_within_their_interval() -> None:
    for name, published_hz in PUBLISHED_HZ.items():
        rate = ac.predict(name, on="hailo-8").rate_hz
        assert rate is not None
        assert rate.lo < published_hz < rate.hi
        assert rate.lo < rate.value < rate.hi


def test_the_answer_says_that_the_rate_is_that_of_a_pipeline() -> None:
    answer = ac.predict("resnet-50", on="hailo-8")
    assert any("full pipeline" in note for note in answer.notes)


def test_frames_that_share_a_swap_of_contexts_pass_faster() -> None:
    one, eight = (ac.predict("vit-base", on="hailo-8", batch=batch).rate_hz for batch in (1, 8))
    assert one is not None
    assert eight is not None
    assert eight.value > 2 * one.value


def test_other_devices_and_language_models_keep_the_rate_of_their_latency() -> None:
    for name, device in (("resnet-50", "rk3588"), ("resnet-50", "h100-sxm")):
        answer = ac.predict(name, on=device, batch=2)
        assert answer.rate_hz is not None
        assert answer.latency_s is not None
        assert abs(answer.rate_hz.value * answer.latency_s.value / 2 - 1) < 1e-9


CHIPS = ("hailo-8", "hailo-8l", "hailo-10h", "hailo-15h", "hailo-15l")
NETWORKS = ("mobilenet-v2", "yolo11n", "convnext-tiny", "swin-tiny", "mobilevit-s", "ghostnet-100")


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("software", ["", "hailo"])
def test_a_batch_by_itself_never_passes_faster_than_frames_in_a_full_pipeline(chip: str, software: str) -> None:
    if software and load_device(chip).host is None:
        software = ""
    for name, batch in itertools.product(NETWORKS, (1, 8)):
        answer = ac.predict(name, on=chip, batch=batch, software=software)
        latency, rate = answer.latency_s, answer.rate_hz
        assert latency is not None
        assert rate is not None
        assert latency.value >= batch / rate.value * (1 - 1e-9)
        assert latency.lo >= batch / rate.hi * (1 - 1e-9)
        assert latency.lo <= latency.value <= latency.hi
        assert rate.lo <= rate.value <= rate.hi


@pytest.mark.parametrize("chip", CHIPS)
def test_frames_at_full_rate_keep_to_the_power_limit_of_the_chip(chip: str) -> None:
    limit_w = load_device(chip).power.limit_w.value
    for name, batch in itertools.product(NETWORKS, (1, 8)):
        answer = ac.predict(name, on=chip, batch=batch)
        assert answer.energy_j is not None
        assert answer.power_w is not None
        assert answer.rate_hz is not None
        assert answer.latency_s is not None
        assert answer.energy_j.value / batch * answer.rate_hz.value <= limit_w * (1 + 1e-9)
        assert answer.power_w.value == pytest.approx(answer.energy_j.value / answer.latency_s.value)
        assert answer.energy_j.value >= load_device(chip).power.idle_w.value * answer.latency_s.value


def test_a_batch_in_one_context_waits_for_the_fill_of_the_pipeline_and_in_several_for_none() -> None:
    streamed_s = np.array([[1e-3, 4e-3], [0.5e-3, 2e-3], [2e-3, 8e-3]])
    one = LaidOut(np.array([1.0, 4.0]), streamed_s, 0.1, 0.5, (1.0, 1.0, 1.0), 5.0)
    # half a frame of 1 ms: 1.5 and 4.5 ms; none of it at the low end, three times as much of 2 ms at the high one
    assert one.alone_s == pytest.approx(np.array([[1.5e-3, 4.5e-3], [0.5e-3, 2e-3], [5e-3, 11e-3]]))
    many = LaidOut(np.array([1.0, 4.0]), streamed_s, 0.9, 0.5, (1.0, 1.0, 1.0), 5.0)
    assert many.alone_s == pytest.approx(streamed_s)


def test_where_it_is_doubtful_whether_a_network_fits_the_interval_holds_the_rate_of_either() -> None:
    rate = ac.predict("mobilenet-v2", on="hailo-8l").rate_hz
    assert rate is not None
    assert rate.lo < rate.value < rate.hi
    assert rate.hi > 5 * rate.value  # 237 frames a second in several contexts, 1,304 in one


def test_a_network_smaller_than_any_of_the_table_is_left_to_the_closed_form() -> None:
    small = ac.predict("resnet-8", on="hailo-8")
    assert small.source == {"physics": 1.0}
    assert small.rate_hz is not None
    assert small.latency_s is not None
    assert small.rate_hz.value * small.latency_s.value == pytest.approx(1)


def test_rows_of_windows_and_keys_of_attention_fill_the_pipeline() -> None:
    table = OpTable.from_columns({
        "op": ["conv2d", "conv2d", "attention"], "batch": [1, 1, 1], "c_in": [3, 8, 0], "h": [10, 5, 0],
        "w": [10, 5, 0], "c_out": [8, 8, 0], "kh": [3, 1, 0], "kw": [3, 1, 0], "padding": [1, 0, 0],
        "heads": [0, 0, 1], "q_len": [0, 0, 25], "kv_len": [0, 0, 25], "head_dim": [0, 0, 8], "count": [2, 1, 1],
        "dtype": ["int8", "int8", "int8"],
    })  # fmt: skip
    assert fill_frames(table) == pytest.approx(2 * 1 / 10 + 1)


def test_the_rows_of_an_answer_add_up_to_it_and_are_said_to_be_learned() -> None:
    answer = ac.predict("resnet-50", on="hailo-8", batch=4)
    why = answer.explain()
    assert answer.latency_s is not None
    assert answer.energy_j is not None
    assert sum(step.added_s for step in why.steps) == pytest.approx(answer.latency_s.value)
    assert sum(o.latency_s for o in why.operators) == pytest.approx(answer.latency_s.value)
    assert sum(o.energy_j for o in why.operators) == pytest.approx(answer.energy_j.value)
    assert answer.source == {"learned": 1.0}
    assert answer.interval_kind == "conformal"


def test_a_host_that_is_slower_than_the_chip_sets_the_rate() -> None:
    chip, board = (ac.predict("mobilenet-v2", on="hailo-8", software=name) for name in ("", "hailo"))
    assert chip.rate_hz is not None
    assert board.rate_hz is not None
    assert board.rate_hz.value < chip.rate_hz.value
    assert any("set the rate" in note for note in board.notes)
    assert 0 < board.source["learned"] < 1  # quantising and the way over the link are the closed form's
    assert (chip.interval_kind, board.interval_kind) == ("conformal", "propagated")


def test_columns_of_questions_have_the_times_and_energies_of_one_by_one() -> None:
    sizes = [1, 3, 8]
    for software in ("", "hailo"):
        rows = ac.predict_batch(workload="mobilevit-s", on="hailo-8", batch=sizes, software=software)
        for i, batch in enumerate(sizes):
            one = ac.predict("mobilevit-s", on="hailo-8", batch=batch, software=software)
            for name in ("latency_s", "energy_j"):
                quantity = getattr(one, name)
                found = [rows[column][i] for column in interval_columns(name)]
                assert found == pytest.approx([quantity.value, quantity.lo, quantity.hi])


def test_the_closed_form_by_itself_and_wide_formats_keep_the_rate_of_their_latency() -> None:
    answer = ac.predict("resnet-50", on="hailo-8", model="physics")
    assert answer.rate_hz is not None
    assert answer.latency_s is not None
    assert answer.rate_hz.value * answer.latency_s.value == pytest.approx(1)
    assert answer.source == {"physics": 1.0}


def test_attention_and_norms_run_on_the_chip_so_that_a_language_model_waits_for_its_weights() -> None:
    answer = ac.predict("llama-3.2-1b", on="hailo-10h", dtype="int8", prompt=128, generate=32)
    assert answer.bound["memory"] > 0.9
