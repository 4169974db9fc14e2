"""One question, one answer: formats, mappings, refusals, and the rankings that need no calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import archcast as ac
from archcast.question import find_model
from costmodel.estimate import Estimate
from foundation.errors import BadValueError, MappingError, UnknownNameError, UnsupportedError


def seconds(workload: str, on: str, **asked: Any) -> float:
    found = ac.predict(workload, on=on, **asked)
    assert found.latency_s is not None, found.reason
    return found.latency_s.value


def test_a_number_of_devices_alone_finds_the_fastest_mapping_that_fits() -> None:
    asked: dict[str, Any] = {"on": "h100-sxm", "batch": 4, "prompt": 256, "generate": 17}
    best = ac.predict("llama-3.1-70b", count=4, **asked)
    tried = [ac.predict("llama-3.1-70b", tp=tp, pp=4 // tp, **asked) for tp in (1, 2, 4)]
    times = [found.latency_s.value for found in tried if found.latency_s is not None]
    assert best.devices == 4
    assert best.latency_s is not None
    assert best.latency_s.value == min(times)


def test_where_no_mapping_fits_the_least_short_is_shown() -> None:
    found = ac.predict("llama-3.1-405b", on="h100-sxm", count=2)
    assert found.verdict == "infeasible"
    assert "GiB short" in found.reason
    assert found.shortfall_bytes == min(
        ac.predict("llama-3.1-405b", on="h100-sxm", tp=tp, pp=2 // tp).shortfall_bytes for tp in (1, 2)
    )


def test_sizes_that_do_not_multiply_up_to_the_count_are_refused() -> None:
    with pytest.raises(MappingError, match="uses 4 devices, but count=8"):
        ac.predict("llama-3.1-8b", on="h100-sxm", tp=4, count=8)


def test_tensor_parallelism_that_does_not_divide_the_heads_is_refused() -> None:
    with pytest.raises(MappingError, match=r"tp=3 does not divide the 32 heads"):
        ac.predict("llama-3.1-8b", on="h100-sxm", tp=3)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"on": "h10-sxm"}, UnknownNameError, "h100-sxm"),
        ({"on": "h100-sxm", "batch": 0}, BadValueError, "batch must be a whole number from 1"),
        ({"on": "h100-sxm", "batch": float("nan")}, BadValueError, "batch must be a whole number"),
        ({"on": "h100-sxm", "prompt": -5}, BadValueError, "prompt must be a whole number"),
        ({"on": "h100-sxm", "generate": 1.5}, BadValueError, "generate must be a whole number"),
        ({"on": "h100-sxm", "dtype": "fp17"}, UnknownNameError, "fp16"),
        ({"on": "gemmini-16x16", "dtype": "fp16"}, UnsupportedError, "cannot compute in fp16"),
        ({"on": "h100-sxm", "mode": "dream"}, UnsupportedError, "it is infer or train"),
        ({"on": "raspberry-pi-5", "tp": 2}, MappingError, "no link to other devices"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_one_sentence(
    asked: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ac.predict("gpt-2", **asked)


def test_a_format_without_arithmetic_is_widened_and_said_so() -> None:
    found = ac.predict("llama-3.1-8b", on="a100-sxm-80gb", dtype="fp8", prompt=100, generate=5)
    assert any("no fp8 arithmetic" in note for note in found.notes)


def test_an_npu_runs_int8_unless_asked_otherwise_and_its_16_bit_parts_elsewhere() -> None:
    found = ac.predict("vit-base", on="gemmini-16x16")
    assert any("Computed in int8" in note for note in found.notes)
    assert found.latency_s is not None
    assert 0 < found.latency_s.lo <= found.latency_s.value <= found.latency_s.hi < 60


def test_knobs_change_the_model() -> None:
    full, half = (
        ac.predict("llama-3.1-8b", on="h100-sxm", prompt=64, generate=5, knobs={"layers": n}) for n in (32, 16)
    )
    assert full.latency_s is not None
    assert half.latency_s is not None
    assert 0.5 < half.latency_s.value / full.latency_s.value < 0.6
    with pytest.raises(UnknownNameError, match="layers"):
        ac.predict("llama-3.1-8b", on="h100-sxm", knobs={"leyers": 3})


def test_a_model_object_is_as_good_as_its_name() -> None:
    named, given = (ac.predict(w, on="h100-sxm", batch=2) for w in ("resnet-50", find_model("resnet-50")))
    assert named == given


def test_the_same_question_has_the_same_answer_and_names_its_versions() -> None:
    first, second = (ac.predict("gpt-2", on="h100-sxm", prompt=10, generate=5) for _ in range(2))
    assert first == second
    assert first.to_json() == second.to_json()
    assert {"archcast", "cost_model", "device", "numpy"} <= set(first.versions)
    other = ac.predict("gpt-2", on="a100-sxm-80gb", prompt=10, generate=5)
    assert other.versions["device"] != first.versions["device"]


@pytest.mark.parametrize("device", ["a100-sxm-80gb", "h100-sxm", "l40s"])
def test_four_bit_weights_win_for_one_user(device: str) -> None:
    """The quantisation study: at batch 1 weights are read for every token, so the fewest bits are the fastest."""
    times = {f: seconds("llama-3.1-8b", device, prompt=128, generate=128, dtype=f) for f in ("w4a16", "int8", "bf16")}
    assert times["w4a16"] < times["int8"] < times["bf16"]


@pytest.mark.parametrize("device", ["a100-sxm-80gb", "h100-sxm"])
def test_eight_bit_arithmetic_wins_in_a_saturated_batch(device: str) -> None:
    """The quantisation study: with many users products bound, and 4-bit weights are multiplied in 16 bits."""
    asked: dict[str, Any] = {"count": 8, "tp": 8, "batch": 256, "prompt": 2048, "generate": 64}
    times = {f: seconds("llama-3.1-70b", device, dtype=f, **asked) for f in ("w4a16", "int8", "bf16")}
    assert times["int8"] < min(times["w4a16"], times["bf16"])


def test_a_small_model_takes_over_half_a_minute_on_a_board_and_seconds_in_the_cloud() -> None:
    """The mobile study: models below 4 B parameters take more than 30 s on the device, less than 10 s in the cloud."""
    asked: dict[str, Any] = {"prompt": 512, "generate": 256, "dtype": "w4a16"}
    assert seconds("phi-3-mini-4k", "raspberry-pi-5", **asked) > 30
    assert seconds("phi-3-mini-4k", "h100-sxm", **asked) < 10


def test_experts_cost_a_decode_their_active_share_and_memory_their_whole() -> None:
    dense, sparse = (
        ac.predict(name, on="h200-sxm", batch=1, prompt=64, generate=64) for name in ("mistral-7b", "mixtral-8x7b")
    )
    assert dense.latency_s is not None
    assert sparse.latency_s is not None
    # 13 of 47 B parameters work for one token; the dense model has 7
    assert 1.5 < sparse.latency_s.value / dense.latency_s.value < 3
    assert 6 < sparse.memory_bytes.value / dense.memory_bytes.value < 7


def test_more_tensor_parallel_ranks_are_faster_with_falling_returns() -> None:
    times = [seconds("llama-3.1-70b", "h200-sxm", batch=8, prompt=512, generate=64, tp=tp) for tp in (2, 4, 8)]
    assert times[0] > times[1] > times[2]
    assert times[0] / times[1] > times[1] / times[2] > 1


def test_pipeline_stages_do_not_speed_up_one_batch() -> None:
    asked: dict[str, Any] = {"batch": 1, "prompt": 64, "generate": 9}
    alone = seconds("llama-3.1-8b", "h100-sxm", **asked)
    staged = ac.predict("llama-3.1-8b", on="h100-sxm", pp=4, **asked)
    assert isinstance(staged, Estimate)
    assert staged.latency_s is not None
    assert alone < staged.latency_s.value < 1.1 * alone


def test_attention_runs_in_int8_where_a_device_has_no_16_bit_products() -> None:
    vit = ac.predict("vit-base", on="gemmini-16x16")
    assert vit.latency_s is not None
    # 17.56 GMAC on 256 PEs at 1 GHz are 68.6 ms; tiles that load their operands anew take as much again, and a half
    assert 0.0686 < vit.latency_s.value < 2.6 * 0.0686
    wide = ac.predict("vit-base", on="gemmini-16x16", knobs={"attention_dtype": "bf16"})
    assert wide.latency_s is not None
    assert wide.latency_s.value > 5 * vit.latency_s.value


def test_embeddings_and_logits_run_in_int8_on_a_device_that_is_deployed_in_int8() -> None:
    deployed = ac.predict("qwen2.5-0.5b", on="hailo-10h", prompt=128, generate=64)
    assert deployed.tpot_s is not None
    # 494 million weights of one byte at 17.07 GB/s and 70 % are 41 ms; 136 million of them in two bytes 11.4 ms more
    assert 0.041 < deployed.tpot_s.value < 2 * 0.041
    told = ac.predict("qwen2.5-0.5b", on="hailo-10h", prompt=128, generate=64, knobs={"lm_head_dtype": "bf16"})
    assert told.tpot_s is not None
    assert told.tpot_s.value - deployed.tpot_s.value == pytest.approx(136e6 / (0.7 * 17.07e9), rel=0.02)


def test_an_operator_that_no_unit_can_compute_is_refused_by_name() -> None:
    tuning = Path(__file__).parents[1] / "workloads" / "examples" / "techniques" / "adapter-rank.yaml"
    with pytest.raises(UnsupportedError, match=r"eyeriss has no unit that can compute the operator '.*update' in fp32"):
        ac.predict(tuning, on="eyeriss")  # its optimizer updates are in fp32, the device computes in int8 and fp16


def test_what_a_small_device_lacks_is_said_in_a_unit_of_its_size() -> None:
    reason = ac.predict("resnet-50", on="stm32h7").reason
    assert " MiB short of the " in reason
