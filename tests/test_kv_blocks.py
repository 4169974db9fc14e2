"""KV blocks of an engine: what its share of the memory leaves, against logs of vLLM and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.protocol import PhysicsModel
from costmodel.rates import compile_rates
from foundation.errors import BadValueError
from hardware_specs import load_device
from simulator.serving.kv_blocks import GIB, kv_blocks, kv_bytes_per_token, not_kv_bytes
from simulator.serving.pricing import Engine
from workloads.catalogue import load_model
from workloads.mapping import Mapping

REPLAY_BLOCKS = 2588
"""vLLM 0.19.0, Llama-3.1-8B on an RTX 4090, 0.9 of the memory (metadata of LLMServingSim's replay, MIT)."""
H100_LOGS = (
    ("llama-3.1-8b", "bf16", 1, 51.38), ("qwen3-0.6b", "bf16", 1, 64.45), ("qwen3-32b", "bf16", 1, 4.45),
    ("gpt-oss-20b", "mxfp4", 1, 50.28), ("llama-3.3-70b", "fp8", 2, 32.0),
)  # fmt: skip
"""Network, format, ranks and GiB for KV that vLLM told on an H100 of 79.18 GiB, 0.9 of it, 1,024 requests and 8,192
tokens a step (llm-d-benchmark, config_explorer/empirical-vllm-memory-results.md)."""


def engine(model: str, device: str, dtype: str = "bf16", kv_dtype: str = "bf16", tp: int = 1) -> Engine:
    spec = load_device(device)
    return Engine(load_model(model), spec, compile_rates(spec), Mapping(tp=tp), PhysicsModel(), dtype, kv_dtype)


def test_the_blocks_of_the_replay_on_an_rtx_4090_come_within_5_percent() -> None:
    assert kv_blocks(engine("llama-3.1-8b", "rtx-4090")) == pytest.approx(REPLAY_BLOCKS, rel=0.05)


@pytest.mark.parametrize(("model", "dtype", "tp", "gib"), H100_LOGS)
def test_what_is_left_on_an_h100_is_what_vllm_told(model: str, dtype: str, tp: int, gib: float) -> None:
    held = sum(not_kv_bytes(engine(model, "h100-sxm", dtype, tp=tp), 8192, 1024).values()) / GIB
    assert 0.9 * 79.18 - held == pytest.approx(gib, rel=0.04)


def test_a_token_takes_keys_and_values_of_every_layer() -> None:
    by_hand = 32 * 2 * 8 * 128 * 2  # layers, keys and values, heads, their width, bytes
    assert kv_bytes_per_token(engine("llama-3.1-8b", "rtx-4090")) == by_hand
    assert kv_bytes_per_token(engine("llama-3.1-8b", "rtx-4090", kv_dtype="fp8")) == by_hand / 2
    assert kv_bytes_per_token(engine("llama-3.1-8b", "rtx-4090", tp=4)) == by_hand / 4
    assert kv_bytes_per_token(engine("llama-3.1-8b", "rtx-4090", tp=16)) == by_hand / 8  # 8 heads are not cut further


def test_latent_attention_keeps_its_latent_whole_on_every_rank() -> None:
    by_hand = 61 * (512 + 64) * 2  # layers, latent and its rotated part, bytes
    assert kv_bytes_per_token(engine("deepseek-v3", "h200-sxm", "fp8", tp=8)) == by_hand


def test_a_block_of_twice_the_tokens_is_had_half_as_often() -> None:
    one = engine("llama-3.1-8b", "rtx-4090")
    assert kv_blocks(one, block_tokens=32) == kv_blocks(one) // 2


@given(low=st.floats(0.8, 1.0), high=st.floats(0.8, 1.0))
@settings(max_examples=10, deadline=None)
def test_a_larger_share_never_gives_fewer_blocks(low: float, high: float) -> None:
    one = engine("llama-3.1-8b", "rtx-4090")
    low, high = sorted((low, high))
    assert kv_blocks(one, utilization=low) <= kv_blocks(one, utilization=high)


def test_more_requests_and_tokens_a_step_leave_fewer_blocks() -> None:
    one = engine("llama-3.1-8b", "rtx-4090")
    assert kv_blocks(one, most_requests=512) < kv_blocks(one, most_requests=256)
    assert kv_blocks(one, most_tokens=16384) < kv_blocks(one, most_tokens=2048)


def test_a_network_that_does_not_fit_is_told_what_takes_the_memory() -> None:
    with pytest.raises(BadValueError, match=r"leaves no KV block on rtx-4090.*weights \d+\.\d+ GiB.*Raise utilization"):
        kv_blocks(engine("llama-3.1-70b", "rtx-4090"))


def test_a_network_without_a_cache_needs_no_blocks() -> None:
    with pytest.raises(BadValueError, match="needs no KV blocks"):
        kv_blocks(engine("mamba-2.8b", "rtx-4090"))


@pytest.mark.parametrize("bad", [0.0, -1.0, 1.5, float("nan"), float("inf"), "all"])
def test_a_share_of_the_memory_is_above_0_and_at_most_1(bad: float) -> None:
    with pytest.raises(BadValueError, match="utilization"):
        kv_blocks(engine("llama-3.1-8b", "rtx-4090"), utilization=bad)


@pytest.mark.parametrize("name", ["block_tokens", "most_tokens", "most_requests"])
def test_sizes_are_whole_numbers(name: str) -> None:
    with pytest.raises(BadValueError, match=name):
        kv_blocks(engine("llama-3.1-8b", "rtx-4090"), **{name: 0})
