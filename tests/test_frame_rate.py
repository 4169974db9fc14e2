"""Chips that lay a whole network out at once answer the rate of a full pipeline beside the time of a batch."""

from __future__ import annotations

import archcast as ac

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
