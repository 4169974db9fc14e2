"""Speech models: parameters, MACs against torch's counter, tokens of so many seconds, passes and caches.

MACs named `torch` were counted by torch.utils.flop_counter (torch 2.15) on the network that transformers 5.23 builds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast
from foundation.errors import BadValueError, UnknownNameError
from workloads import Request
from workloads.builders.multimodal.speech_frontends import mel_tokens, subsampled_tokens, wave_tokens
from workloads.catalogue import architecture_facts, load_model, workload_names

SPEECH = [n for n in workload_names() if architecture_facts(n)["family"] == "speech"]
TO_THREE_DIGITS = {"canary-1b-flash", "canary-180m-flash"}
"""The card gives millions of parameters."""


def operators(graph: Any) -> dict[str, Any]:
    return {f"{b.name}/{o.name}": o for b in graph.blocks for o in b.operators}


@pytest.mark.parametrize("name", SPEECH)
def test_parameters_are_the_published_ones(name: str) -> None:
    published = architecture_facts(name)["published_parameters"]
    tolerance = 0.005 if name in TO_THREE_DIGITS else 0
    assert load_model(name).workload(Request()).parameters == pytest.approx(published, rel=tolerance, abs=0)


def test_canary_has_the_parameters_of_its_parts() -> None:
    width, inter, vocab = 1024, 4096, 4128
    feed_forward = 2 * width * inter + inter + width
    attention = 4 * width**2 + 4 * width
    convolution = 2 * width**2 + 2 * width + 10 * width + 2 * width + width**2 + width
    encoder = 2 * feed_forward + attention + width**2 + 2 * width + convolution + 5 * 2 * width
    decoder = 2 * attention + feed_forward + 3 * 2 * width
    frontend = 256 * 10 + 2 * (256 * 10 + 256**2 + 256) + 256 * 16 * width + width
    ends = vocab * width + 2 * width + 2 * width + vocab
    assert load_model("canary-1b").workload(Request()).parameters == 24 * (encoder + decoder) + frontend + ends


@pytest.mark.parametrize(
    ("name", "knobs", "torch", "tolerance"),
    [
        ("wav2vec2-base", {}, 74_066_523_136, 1e-4),
        ("wav2vec2-large", {}, 191_926_807_552, 1e-4),
        ("parakeet-ctc-0.6b", {"seconds": 10}, 81_107_570_176, 0),
    ],
)
def test_macs_of_an_encoder_are_those_that_torch_counts(
    name: str, knobs: dict[str, Any], torch: int, tolerance: float
) -> None:
    """A padded convolution of even width yields one place more, which transformers then drops (wav2vec 2.0)."""
    macs = load_model(name, knobs).workload(Request()).graph.macs()
    assert macs == pytest.approx(torch, rel=tolerance, abs=0)


def test_macs_of_whisper_are_those_that_torch_counts() -> None:
    """Torch also scores the three tokens before the last, and the pairs that the causal mask drops."""
    macs = load_model("whisper-small").workload(Request(prompt=4)).graph.macs()
    assert macs + 3 * 51865 * 768 + 12 * 2 * 768 * (16 - 10) == 193_981_393_920


def test_seconds_become_tokens() -> None:
    assert mel_tokens(30) == 1500
    assert subsampled_tokens(30) == 375
    assert wave_tokens(10) == 499
    assert load_model("whisper-large-v3").knobs()["seconds"] == 30


@given(st.floats(0.1, 100), st.floats(0.1, 100))
def test_longer_sound_has_no_fewer_tokens(one: float, other: float) -> None:
    short, long = sorted((one, other))
    for count in (mel_tokens, subsampled_tokens, wave_tokens):
        assert 1 <= count(short) <= count(long)


def test_sound_beyond_the_window_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadValueError, match="batch of windows"):
        load_model("whisper-tiny", {"seconds": 31})
    assert load_model("canary-1b", {"seconds": 60}).workload(Request()).parameters


def test_half_the_sound_costs_the_encoder_less_than_half_and_the_decoder_its_cross_attention() -> None:
    whole = load_model("whisper-small").workload(Request(generate=2))
    half = load_model("whisper-small", {"seconds": 15}).workload(Request(generate=2))
    assert half.parameters == whole.parameters
    assert half.passes[0].graph.macs() < whole.passes[0].graph.macs() / 2
    saved = whole.passes[1].graph.macs() - half.passes[1].graph.macs()
    assert saved == 12 * 2 * 768 * 750


def test_sound_is_encoded_once_and_its_keys_are_kept() -> None:
    prefill, decode = load_model("whisper-large-v3").workload(Request(batch=2, prompt=4, generate=10)).passes
    assert [b.name for b in prefill.graph.blocks] == ["embed", "frontend", "encoder", "encoder_norm", "decoder", "head"]
    assert [b.name for b in decode.graph.blocks] == ["embed", "decoder", "head"]
    assert (prefill.name, decode.name, np.sum(decode.times)) == ("prefill", "decode", 9)
    kept = {name: float(np.ravel(o.state_elements)[0]) for name, o in operators(prefill.graph).items()}
    assert kept["decoder/cross_attention"] == 2 * 1500 * 2 * 1280
    assert kept["decoder/attention"] == 2 * (4 + 10 - 1) * 2 * 1280
    assert operators(decode.graph)["decoder/cross_attention"].shape["kv_len"][0] == 1500


@pytest.mark.parametrize("name", [n for n in SPEECH if "published_kv_bytes_per_token" in architecture_facts(n)])
def test_the_cache_of_one_token_has_the_bytes_that_the_facts_state(name: str) -> None:
    def kept(generate: int) -> float:
        blocks = load_model(name).workload(Request(prompt=4, generate=generate)).graph.blocks
        return sum(2 * float(np.ravel(o.state_elements)[0]) * b.count for b in blocks for o in b.operators)

    assert kept(9) - kept(8) == architecture_facts(name)["published_kv_bytes_per_token"]


def test_a_decoder_of_another_width_reads_through_a_projection() -> None:
    graph = load_model("canary-180m-flash").workload(Request()).graph
    assert operators(graph)["bridge/bridge"].parameters == 512 * 1024 + 1024
    assert not any(b.name == "bridge" for b in load_model("canary-1b").workload(Request()).graph.blocks)


def test_an_encoder_alone_answers_in_one_pass_and_says_that_it_takes_no_tokens() -> None:
    workload = load_model("parakeet-ctc-0.6b").workload(Request(prompt=7))
    assert [run.name for run in workload.passes] == ["forward"]
    assert "takes sound" in workload.notes[0]


def test_impossible_speech_models_are_refused() -> None:
    for knobs in ({"heads": 7}, {"decoder_heads": 7}, {"seconds": 0}, {"seconds": float("nan")}):
        with pytest.raises(BadValueError):
            load_model("canary-1b", knobs)
    with pytest.raises(BadValueError, match="vocab"):
        load_model("wav2vec2-base", {"decoder_layers": 2})
    with pytest.raises(UnknownNameError, match="subsampling"):
        load_model("canary-1b", {"frontend": "subsample"})
    with pytest.raises(BadValueError, match="448"):
        load_model("whisper-tiny").workload(Request(prompt=4, generate=500))


def test_whisper_has_a_first_and_a_further_token_on_a_device() -> None:
    result = archcast.predict("whisper-large-v3-turbo", on="h100-sxm", batch=1, generate=32)
    assert result.ttft_s is not None
    assert result.tpot_s is not None
    assert result.latency_s is not None
    assert 0 < result.tpot_s.value < result.ttft_s.value < result.latency_s.value


@pytest.mark.parametrize("name", ["whisper-tiny", "canary-180m-flash", "parakeet-ctc-0.6b", "wav2vec2-base"])
def test_a_training_step_goes_forward_and_back(name: str) -> None:
    workload = load_model(name, {"seconds": 5}).workload(Request(mode="train"))
    forward, backward = (p.graph.macs() for p in workload.passes[:2])
    assert 1.8 * forward < backward < 2.2 * forward
    assert workload.parameters == load_model(name).workload(Request()).parameters
