"""The arithmetic-only claims of the literature that archcast must reproduce, one test a row of the table.

Where archcast has a builder, a number format or a training model for it, the claim is computed through that; the
rest is arithmetic on the paper's own inputs. Tolerances are those stated with the claims. Inputs that come from
memory are marked (mem).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from foundation.formats import number_format
from hardware_specs.catalogue import load_device
from workloads import Request, Workload, count_work, lower
from workloads.builders.language.decoder import Decoder
from workloads.builders.language.encoder_decoder import EncoderDecoder
from workloads.catalogue import load_model
from workloads.training import state_bytes

HOURS_PER_DAY = 24
SECONDS_PER_HOUR = 3600


def total_flop(workload: Workload, only: str = "") -> float:
    """Return the matrix FLOP of a whole workload (or of its operators named `only`)."""
    lowered = lower(workload.passes)
    flop = np.broadcast_to(count_work(lowered.table).matrix_flop, lowered.table.rows) * lowered.table["count"]
    return float(sum(f for f, label in zip(flop, lowered.table.labels, strict=True) if only in ("", label)))


def state_bytes_of(workload: Workload) -> float:
    """Return the bytes that a request keeps at its end (cache or recurrent state)."""
    return sum(
        float(np.ravel(o.state_elements)[0]) * block.count * number_format(o.state_dtype).weight_bits / 8
        for block in workload.graph.blocks
        for o in block.operators
        if np.any(o.state_elements)
    )


def without_embeddings(model: Decoder) -> float:
    """Return active parameters of the layers alone."""
    graph = model.workload(Request()).graph
    return graph.active_parameters - 2 * model.vocab * model.hidden


def percent_saved(after: float, before: float) -> float:
    return 100 * (1 - after / before)


def decoder(**knobs: Any) -> Decoder:
    return Decoder.from_knobs("model", knobs)


QWEN25_14B = {"layers": 48, "hidden": 5120, "heads": 40, "kv_heads": 8, "inter": 13824, "vocab": 152064, "bias": "qkv"}
QWEN25_1_5B = {
    "layers": 28, "hidden": 1536, "heads": 12, "kv_heads": 2, "inter": 8960, "vocab": 151936, "bias": "qkv",
    "tied": True,
}  # fmt: skip
LLAMA2_13B = {"layers": 40, "hidden": 5120, "heads": 40, "inter": 13824, "vocab": 32000, "max_context": 4096}


def test_entropy_adaptive_decoding_with_11b_and_3b_saves_41_5_percent() -> None:
    assert percent_saved(0.43 * 11 + 0.57 * 3, 11) == pytest.approx(41.5, abs=0.5)


def test_entropy_adaptive_decoding_with_14b_and_1_5b_saves_67_percent() -> None:
    """Parameters per token as in the paper: through the two models' own counts."""
    large, small = (decoder(**k).workload(Request()).parameters for k in (QWEN25_14B, QWEN25_1_5B))
    assert (round(large / 1e9, 1), round(small / 1e9, 1)) == (14.8, 1.5)
    for big, little in ((14.0, 1.5), (large, small)):
        assert percent_saved(0.25 * big + 0.75 * little, big) == pytest.approx(67, abs=0.5)


def test_mixture_of_experts_leverage_is_above_seven() -> None:
    """Ling-mini-beta against its dense equivalent (shapes mem): 6.1B dense, 0.85B active outside the embeddings."""
    dense = decoder(layers=28, hidden=4096, heads=32, kv_heads=8, inter=14336, vocab=126464)
    sparse = decoder(
        layers=20, hidden=2048, heads=16, kv_heads=4, vocab=126464, inter=5120, ffns="moe", first_k_dense=1,
        experts=384, topk=12, moe_inter=384, shared_experts=1,
    )  # fmt: skip
    assert without_embeddings(dense) / 1e9 == pytest.approx(6.1, rel=0.05)
    assert without_embeddings(sparse) / 1e9 == pytest.approx(0.85, rel=0.05)
    leverage = without_embeddings(dense) / without_embeddings(sparse)
    assert leverage == pytest.approx(6.1 / 0.85, rel=0.05)
    assert leverage > 7


def test_a2fm_prices_of_the_pure_modes_follow_from_its_savings() -> None:
    assert round(0.00487 / (1 - 0.452), 5) == 0.00889
    assert round(0.00487 / (1 - 0.335), 5) == 0.00732


def test_microdit_costs_1890_dollars() -> None:
    """2.6 days on 8 H100; its price an hour lies inside the range of the catalogue's H100."""
    gpu_hours = 2.6 * HOURS_PER_DAY * 8
    assert round(gpu_hours) == 499
    price = load_device("h100-sxm").price
    assert price is not None
    implied = 1890 / gpu_hours
    assert implied == pytest.approx(3.79, rel=0.01)
    assert gpu_hours * 3.79 == pytest.approx(1890, rel=0.10)
    assert price.usd_per_hour.lo <= implied <= price.usd_per_hour.hi


def test_code_driven_planning_breaks_even_at_40_instances() -> None:
    program, instance = 0.08, 0.002
    assert program / instance == 40
    assert 16_000 * instance / program == 400


def test_koala_shrinks_the_sdxl_unet_by_54_and_69_percent() -> None:
    assert percent_saved(1161, 2567) == pytest.approx(54, abs=2)
    assert percent_saved(782, 2567) == pytest.approx(69, abs=2)


def test_cfsr_saves_26_and_31_percent_against_shufflemixer() -> None:
    assert percent_saved(291, 394) == pytest.approx(26, abs=2)
    assert percent_saved(62.6, 91) == pytest.approx(31, abs=2)


def test_mmmamba_saves_three_quarters_of_the_memory_at_103k_tokens() -> None:
    """A 2.6B transformer of 131,072 cache bytes a token (mem) against the same width in Mamba-2 layers."""
    shape = {"layers": 32, "hidden": 2048, "heads": 16, "kv_heads": 8, "inter": 8192, "vocab": 92553}
    transformer = decoder(**shape)
    recurrent = decoder(**shape, mixers="mamba2", ssm_state=128, ssm_head_dim=64)
    request = Request(prompt=103_000, generate=0)
    cache, state = (state_bytes_of(m.workload(request)) for m in (transformer, recurrent))
    assert cache == 103_000 * 131_072
    assert cache / 1e9 == pytest.approx(13.5, rel=0.01)
    weights = 5.2e9
    assert 100 * (1 - (weights + state) / (weights + cache)) == pytest.approx(75.8, abs=8)


def test_remax_halves_the_memory_of_rlhf_before_activations() -> None:
    """Mixed-precision Adam keeps 16 bytes a parameter for the actor and for PPO's critic; frozen models keep 2."""
    graph = load_model("llama-3.1-8b").workload(Request()).graph
    trained = state_bytes(graph, "adamw").total_bytes / graph.parameters
    frozen = number_format("bf16").weight_bits / 8
    assert (trained, frozen) == (16, 2)
    ppo, remax = 2 * trained + 2 * frozen, trained + 2 * frozen
    assert (7 * ppo, 7 * remax) == (252, 140)
    assert percent_saved(remax, ppo) == pytest.approx(50, abs=8)


def test_flm_101b_is_a_hundred_thousand_dollar_run() -> None:
    """6 N D over the growth stages (mem: 192 A800 at 165 TFLOP/s, about a dollar a GPU hour)."""
    stages = [(16e9, 245.37e9), (51e9, 39.64e9), (101e9, 26.54e9)]
    flop = sum(6 * n * d for n, d in stages)
    seconds = flop / (192 * 165e12)
    whole = 6 * 101e9 * sum(d for _, d in stages)
    assert flop == pytest.approx(5.18e22, rel=0.005)
    assert seconds / SECONDS_PER_HOUR / HOURS_PER_DAY == pytest.approx(18.9, rel=0.005)
    assert percent_saved(flop, whole) == pytest.approx(73, abs=1)
    assert 192 * seconds / SECONDS_PER_HOUR * 1.0 == pytest.approx(100e3, rel=0.25)


def test_six_flop_a_parameter_and_token_is_what_our_training_step_counts() -> None:
    """What the run budgets rest on: a 101B model (mem: 80 layers of 10,240) at 2,048 tokens, attention included."""
    model = decoder(
        layers=80, hidden=10_240, heads=80, inter=40_960, vocab=100_256, gated=False, norm="layer", bias="all"
    )
    step = model.workload(Request(batch=1, prompt=2048, mode="train"))
    embedding = model.vocab * model.hidden
    assert step.parameters == pytest.approx(101e9, rel=0.03)
    assert total_flop(step) == pytest.approx(6 * (step.parameters - embedding) * 2048, rel=0.05)


def test_proxyattn_speedups_of_attention_and_prefill_go_together_at_97k_tokens() -> None:
    share = (1 - 1 / 2.4) / (1 - 1 / 10.3)
    assert share == pytest.approx(0.646, abs=0.001)
    request = Request(prompt=97_000, generate=1)
    full = load_model("llama-3.1-8b").workload(request)
    attention = total_flop(full, "attention") / total_flop(full)
    assert attention == pytest.approx(share, rel=0.15)
    faster = load_model("llama-3.1-8b", {"mixers": "sparse", "sparse_density": 1 / 10.3}).workload(request)
    assert total_flop(full, "attention") / total_flop(faster, "attention") == pytest.approx(10.3, rel=0.15)
    assert total_flop(full) / total_flop(faster) == pytest.approx(2.4, rel=0.15)


def test_lst_saves_69_percent_of_training_memory() -> None:
    assert percent_saved(5.5, 17.6) == pytest.approx(69, abs=6)


def test_mobileclip_s2_is_2_3_times_faster() -> None:
    baseline_ms, s2_ms = 9.9 + 5.8, 3.6 + 3.3
    assert baseline_ms / s2_ms == pytest.approx(2.3, rel=0.15)


def test_sorted_llama_with_half_the_layers_is_twice_as_fast() -> None:
    """20 of 40 layers and the whole head (mem): by work and by the weights that a decode step reads."""
    whole, half = decoder(**LLAMA2_13B), decoder(**LLAMA2_13B | {"layers": 20})
    request = Request(prompt=512, generate=128)
    assert total_flop(whole.workload(request)) / total_flop(half.workload(request)) == pytest.approx(2, rel=0.10)
    table = LLAMA2_13B["vocab"] * LLAMA2_13B["hidden"]  # the input embedding is looked up, not read
    read = [m.workload(request).parameters - table for m in (whole, half)]
    assert read[0] / read[1] == pytest.approx(1.97, rel=0.01)


def test_elang_saves_3_3_times_with_a_quarter_of_the_inputs_to_the_super_model() -> None:
    """T5-11B (mem: 128 heads of 128, feed-forward 65,536) and T5-large; every input runs the small one first."""
    large = load_model("t5-large")
    huge = EncoderDecoder.from_knobs(
        "t5-11b",
        {"encoder_layers": 24, "decoder_layers": 24, "hidden": 1024, "heads": 128, "head_dim": 128, "inter": 65536},
    )
    assert huge.workload(Request()).parameters == pytest.approx(11.3e9, rel=0.01)
    request = Request(prompt=512, generate=2)
    swift, super_ = (total_flop(m.workload(request)) for m in (large, huge))
    assert super_ / (swift + 0.233 * super_) == pytest.approx(3.3, rel=0.10)


def test_upalm_takes_4_4_million_tpu_hours() -> None:
    """PaLM-540B (mem: 118 layers of 18,432, 48 heads of 256, one key-value head), half of 780B tokens' cost."""
    palm = decoder(
        layers=118, hidden=18_432, heads=48, kv_heads=1, head_dim=256, inter=73_728, vocab=256_000, tied=True
    )
    parameters = palm.workload(Request()).parameters
    assert parameters == pytest.approx(540e9, rel=0.01)
    flop = 0.5 * 6 * 540e9 * 780e9
    hours = flop / (275e12 * 0.462) / SECONDS_PER_HOUR
    assert hours == pytest.approx(2.76e6, rel=0.005)
    assert 0.6 <= hours / 4.4e6 <= 1.2
    assert flop / (4.4e6 * SECONDS_PER_HOUR * 275e12) == pytest.approx(0.29, abs=0.005)


def test_longcat_flash_sustains_1_25_exaflop_per_second_for_30_days() -> None:
    rate = 6 * 27e9 * 20e12 / (30 * HOURS_PER_DAY * SECONDS_PER_HOUR)
    assert rate == pytest.approx(1.25e18, rel=0.01)
    usd_per_gpu_second, usd_per_token = 2.0 / SECONDS_PER_HOUR, 0.70e-6
    assert usd_per_gpu_second / usd_per_token == pytest.approx(794, rel=0.001)
    model = decoder(layers=2, hidden=64, heads=4, ffns="moe", experts=512, topk=12, zero_experts=256, moe_inter=32)
    shape = next(o.shape for b in model.workload(Request()).graph.blocks for o in b.operators if o.op == "moe")
    assert shape["topk"] == 8  # of 12 choices among 512 real and 256 zero-computation experts


def test_four_bit_weights_are_3_9_times_smaller() -> None:
    """4.0x minus scales for each quantised layer, and minus 16-bit embeddings for a whole model of 405B."""
    wide, narrow = (number_format(name).weight_bits for name in ("bf16", "w4a16"))
    assert wide / number_format("int4").weight_bits == 4.0
    assert wide / narrow == pytest.approx(3.9, rel=0.10)
    model = load_model("llama-3.1-405b")

    def stored(dtype: str) -> float:
        graph = model.workload(Request(dtype=dtype)).graph
        return sum(o.parameter_bytes * b.count for b in graph.blocks for o in b.operators)

    assert stored("bf16") / stored("w4a16") == pytest.approx(3.9, rel=0.10)


def test_vq4dit_at_two_bits_is_eight_times_smaller() -> None:
    """DiT-XL/2 (width 1152): 8-bit indices for 4 weights, a codebook of 256 x 4 FP16 for each square matrix."""
    weights = 1152 * 1152
    bits = 8 / 4 + 256 * 4 * number_format("fp16").weight_bits / weights
    assert 16 / bits == pytest.approx(8, rel=0.15)


def test_femtodet_spends_17_2_millijoules_a_frame() -> None:
    power_w, frames_hz = 1.11, 64.47
    assert 1e3 * power_w / frames_hz == pytest.approx(17.2, abs=0.05)


def daq_power_mw(*, hlt_joule_share: float = 1.0, inner_tracker_share: float = 1.0) -> float:
    """Return the power of the CMS Run-5 chain at pile-up 200 in MW, scaled to 2032 (Olin-Ammentorp et al. 2024).

    Links 22.2 and 25 pJ/bit, Level-1 3 mJ for each 2 MB, high-level trigger 16 J times a cubic in the event's bytes.
    """
    inner = 1_440_000
    detectors = 8_165_000 - (1 - inner_tracker_share) * inner
    event, crossings_hz, reduction = detectors + 260_000, 40e6, 160 / 3
    links = 8 * detectors * crossings_hz * (22.2e-12 + 25e-12)
    links += 8 * event * crossings_hz / reduction * 25e-12 * (1 + 1 / 100)
    level_1 = 0.003 * event / 2e6 * crossings_hz
    cubic = 2.22744374e-20 * event**3 + 1.88331368e-13 * event**2 + 1.41173228e-7 * event
    high_level = 16 * cubic * crossings_hz / reduction * hlt_joule_share
    return (links + level_1 + high_level) / math.exp(0.18717361 * (2032 - 2022)) / 1e6


def test_daq_closed_form_saves_60_percent_of_the_power() -> None:
    baseline = daq_power_mw()
    better = daq_power_mw(hlt_joule_share=0.5, inner_tracker_share=0.46)
    assert baseline == pytest.approx(51.6, rel=0.005)
    assert better == pytest.approx(20.5, rel=0.005)
    assert percent_saved(better, baseline) == pytest.approx(60, abs=2)
