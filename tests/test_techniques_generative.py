"""Techniques of generators of images, video and music: steps, masks, codes and rewards, with counts by hand."""

from __future__ import annotations

import pytest
from techniques import FOLDER, learning, macs, op_macs, read_bytes, state_elements, technique

import archcast as ac
from foundation.errors import ArchcastError, BadValueError
from workloads.catalogue import load_model
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.lowering import lower
from workloads.model import Request
from workloads.rewrites import sparse_attention
from workloads.work import count_work

DIT_XL_2 = (
    256 * 16 * 1152  # patches of 2 x 2 x 4
    + 256 * 1152 + 1152**2  # time
    + 28 * (256 * 12 * 1152**2 + 2 * 256**2 * 1152 + 6 * 1152**2)
    + 2 * 1152**2 + 256 * 1152 * 32
)  # fmt: skip
"""MACs of one evaluation at 256 pixels: 256 tokens, 28 layers of 1152."""


def layer_macs(tokens: float, hidden: float, keys: float = 0, *, inter: float = 4.0) -> float:
    """Return the MACs of a transformer layer without causal mask: four projections, two of `inter` x, attention."""
    return tokens * (4 + 2 * inter) * hidden**2 + 2 * tokens * (keys or tokens) * hidden


def latency(name: str, on: str = "h100-sxm", batch: int = 1, **knobs: object) -> float:
    found = ac.predict(FOLDER / f"{name}.yaml", on=on, batch=batch, knobs=knobs).latency_s
    assert found is not None
    return found.value


@pytest.mark.parametrize("nfe", [1, 2, 18])
def test_a_sampler_costs_its_evaluations_and_one_decoding(nfe: int) -> None:
    decoder = macs(load_model("dit-xl-2", {"part": "decoder"}))
    assert macs(technique("few-step-sampler", nfe=nfe)) == pytest.approx(nfe * DIT_XL_2 + decoder, rel=1e-9)


def test_a_schedule_of_steps_costs_its_evaluations_and_once_its_fit() -> None:
    one = macs("dit-b-2")
    assert one == pytest.approx(23.01e9, rel=0.01)  # the paper's table
    assert macs(technique("flow-step-schedule", nfe=4)) == pytest.approx(4 * one)
    grid = macs(technique("flow-step-schedule", nfe=4, fit=1, tuning=0)) - 4 * one
    assert grid == pytest.approx(100 * 64 * one)
    tuned = macs(technique("flow-step-schedule", nfe=4, fit=1, tuning=10)) - 4 * one - grid
    assert 3.0 <= tuned / (10 * 64 * one) < 3.1  # attention computes its scores again


def test_rewards_are_paid_forward_and_back_in_every_iteration() -> None:
    """By hand for the image tower of ViT-H/14: dense layers once more for the gradient of the input."""
    dense, attention = 32 * 257 * 12 * 1280**2, 32 * 2 * 257**2 * 1280
    patches, head = 256 * 588 * 1280, 1280 * 1024
    tower = load_model("vit-huge-patch14-clip-224", {"classes": 1024})
    assert macs(tower) == dense + attention + patches + head
    there_and_back = 2 * (dense + patches + head) + 3.5 * attention
    model = technique("reward-noise-optimization", iterations=1)
    built = model.workload(Request())
    parts = {run.name: run for run in built.passes}
    table = lower((parts["aesthetics/forward"], parts["aesthetics/backward"])).table
    assert (count_work(table).macs * table.full("count")).sum() == pytest.approx(there_and_back, rel=1e-9)
    more = macs(technique("reward-noise-optimization", iterations=51)) - macs(model)
    text = macs(load_model("sd-turbo", {"part": "text"}))
    assert more == pytest.approx(50 * (macs(model) - text), rel=1e-9)


def test_the_gradient_to_the_noise_updates_no_weight_of_the_generator() -> None:
    estimate = ac.predict(FOLDER / "reward-noise-optimization.yaml", on="h100-sxm")
    assert estimate.memory_parts_bytes["optimizer"] < 0.01 * estimate.memory_parts_bytes["weights"]
    forward, backward = (
        macs(technique("reward-noise-optimization", iterations=1), passes=f"generator/{name}")
        for name in ("forward", "backward")
    )
    assert forward == pytest.approx(402.1e9, rel=1e-3)
    assert 0.95 < backward / forward < 1.3  # without the prompt's and the time's side, with scores computed again


def gated_block(pixels: float, width: float) -> float:
    """Return the MACs of a block of 1x1, depthwise 3x3, gate, 1x1, and 1x1, gate, 1x1."""
    return pixels * (2 * width**2 + 9 * 2 * width + width**2 + 2 * width**2 + width**2)


@pytest.mark.parametrize(("steps", "side"), [(100, 256), (50, 128)])
def test_a_light_noise_predictor_runs_at_the_size_of_the_image(steps: int, side: int) -> None:
    pixels, c = side**2, 64
    prior = 4 * pixels * 9 * c * c
    step = pixels * 9 * 6 * c + 15 * gated_block(pixels, c) + pixels / 4 * 4 * c * 2 * c
    step += 4 * gated_block(pixels / 4, 2 * c) + pixels / 4 * 2 * c * 4 * c + pixels * 9 * c * 3
    assert macs(technique("light-noise-predictor", steps=steps, side=side)) == prior + steps * step


@pytest.mark.parametrize(("reuse", "fresh"), [(0.0, 32), (0.5, 32), (0.8, 64)])
def test_cheap_steps_run_the_fresh_tokens_against_all_keys(reuse: float, fresh: int) -> None:
    model = technique("masked-generation-reuse", reuse=reuse, fresh=fresh)
    full, cheap = layer_macs(256, 1024), layer_macs(fresh, 1024, 256)
    assert macs(model) == pytest.approx(24 * 20 * ((1 - reuse) * full + reuse * cheap), rel=1e-9)
    built = model.workload(Request(batch=3))
    assert state_elements(built) == 3 * 24 * 2 * 256 * 1024
    assert built.parameters == 24 * (12 * 1024**2 + 1024)  # one set of weights


def test_codes_of_two_bits_store_an_eighth() -> None:
    """VQ4DiT: 8-bit codes for four weights; the format of files has scales as well, tables and norms stay wide."""
    coded = ac.predict(FOLDER / "vector-quantized-transformer.yaml", on="h100-sxm").memory_parts_bytes["weights"]
    plain = ac.predict("dit-xl-2", on="h100-sxm").memory_parts_bytes["weights"]
    assert plain / coded == pytest.approx(8, rel=0.15)
    both, alone = (
        m.summary()["parameters"] for m in (technique("vector-quantized-transformer"), load_model("dit-xl-2"))
    )
    assert both - alone == 5 * 28 * 256 * 4


def test_a_lookup_apart_reads_codes_and_writes_weights_each_step() -> None:
    fused, apart = (read_bytes(technique("vector-quantized-transformer", fused=f)) for f in (1, 0))
    weights = 28 * 18 * 1152**2  # six of modulation, four of attention, eight of the feed-forward part
    assert apart - fused == 50 * (weights / 4 + 2 * weights)
    assert latency("vector-quantized-transformer", fused=0) > latency("vector-quantized-transformer")


def test_calibration_runs_the_teacher_and_a_training_step() -> None:
    model = technique("vector-quantization-calibration", iterations=10, samples=4)
    teacher, back = 10 * 4 * DIT_XL_2, macs(model, passes="backward")
    assert macs(model, passes="forward") == pytest.approx(2 * teacher)
    assert 2.0 <= back / teacher < 2.1
    hours = latency("vector-quantization-calibration", on="a100-sxm-80gb") / 3600
    assert hours < 5  # "20 minutes to 5 hours", of which the steps are a part


def test_removed_blocks_make_a_model_that_fits_8_gigabytes() -> None:
    koala, sdxl = technique("block-removal-unet"), load_model("sdxl")
    held = 782e6 + 123.06e6 + 694.66e6 + 49.49e6  # U-Net (Lee et al. 2023, table 2), two text encoders, decoder
    assert koala.summary()["parameters"] == pytest.approx(held, rel=0.005)
    saved = 1 - 782e6 / 2567e6
    unet = koala.summary()["parameters"] - sdxl.summary()["parameters"] + 2567.46e6
    assert 1 - unet / 2567.46e6 == pytest.approx(saved, abs=0.005)
    larger = technique("block-removal-unet", **{"model.depths": "0,2,6", "model.mid": True, "model.mid_depth": 6})
    assert larger.summary()["parameters"] - koala.summary()["parameters"] == pytest.approx(1161e6 - 782e6, rel=0.01)
    estimate = ac.predict(FOLDER / "block-removal-unet.yaml", on="h100-sxm")
    assert estimate.memory_bytes.value < 8e9 < ac.predict("sdxl", on="h100-sxm").memory_bytes.value


def test_masked_patches_train_at_the_price_of_those_left() -> None:
    mixer, hidden, n = 768, 1024, 256
    for mask in (0.75, 0.0):
        left = n * (1 - mask)
        mixing = 6 * layer_macs(n, mixer)
        dense, expert = layer_macs(left, hidden), layer_macs(left, hidden, inter=8)  # two experts a token
        by_hand = mixing + left * mixer * hidden + 14 * (dense + expert)
        assert macs(technique("masked-patch-training", mask=mask), passes="forward") == by_hand
    weights = 6 * 12 * mixer**2 + mixer * hidden + 14 * (12 + 4 + 8 * 8) * hidden**2
    norms = 6 * mixer + 14 * 2 * hidden
    assert technique("masked-patch-training").summary()["parameters"] == weights + norms  # all eight experts


def test_masks_make_a_step_of_training_three_times_cheaper() -> None:
    cheap, full = (macs(technique("masked-patch-training", mask=m)) for m in (0.75, 0.0))
    assert 2.5 < full / cheap < 4
    assert latency("masked-patch-training", batch=64) < 0.6 * latency("masked-patch-training", batch=64, mask=0)


@pytest.mark.parametrize("rank", [4, 16])
def test_adapters_of_music_models_learn_rank_times_both_sides(rank: int) -> None:
    decoder = technique("music-adapter-autoregressive", rank=rank).workload(Request())
    assert learning(decoder.distinct_blocks()) == 48 * rank * (6144 + 1536)
    unet = technique("music-adapter-diffusion", rank=rank).workload(Request())
    widths = 5 * 320 + 5 * 640 + 6 * 1280  # two layers down, three up in each stage, one in the middle
    assert learning(unet.distinct_blocks()) == rank * widths * (1 + 3)


def test_a_step_of_the_diffusion_model_is_of_few_tokens() -> None:
    tokens, kept = [], []
    for name in ("autoregressive", "diffusion"):
        estimate = ac.predict(FOLDER / f"music-adapter-{name}.yaml", on="h100-sxm")
        tokens.append(macs(technique(f"music-adapter-{name}")))
        kept.append(estimate.memory_parts_bytes["activations"])
    assert tokens[1] < 0.3 * tokens[0]
    assert kept[1] < 0.3 * kept[0]


def test_blocks_of_attention_that_are_skipped_save_their_share() -> None:
    tokens = 30 * 52 * 21
    full = 2 * 50 * 30 * 2 * tokens**2 * 1536
    crossed = 2 * 50 * 30 * 2 * tokens * 512 * 1536
    for density in (1.0, 0.3):
        found = op_macs(technique("reordered-sparse-attention", density=density), attention=True)
        assert found == pytest.approx(density * full + crossed, rel=1e-9)
    assert latency("reordered-sparse-attention") < 0.7 * latency("reordered-sparse-attention", density=1)


def test_a_new_order_of_tokens_is_copied_and_narrow_attention_reads_half() -> None:
    tensor = 50 * 2 * 30 * 30 * 52 * 21 * 1536  # steps, prompts, layers, tokens, features
    plain = load_model("wan-2.1-1.3b", {"part": "denoiser"})
    both = read_bytes(plain, Request(batch=2)) * 50
    found = read_bytes(technique("reordered-sparse-attention", density=1.0))
    assert found - both == pytest.approx(
        4 * 2 * 2 * tensor - 4 * tensor, rel=1e-9
    )  # copies of 16 bits, a byte less each


def test_a_sparse_attention_keeps_its_keys_and_its_shape() -> None:
    shape = {"batch": 2, "q_len": 64, "kv_len": 64, "heads": 4, "head_dim": 16, "causal": 0}
    graph = WorkloadGraph("g", (Block("b", (Operator("attention", "attention", shape),)),))
    sparse = sparse_attention(graph, "att*", 0.25, "int8")
    assert sparse.macs() == 0.25 * graph.macs() == 0.25 * 2 * 4 * 64 * 64 * 32
    assert sparse_attention(sparse, "*", 0.5).macs() == 0.125 * graph.macs()
    assert sparse.blocks[0].operators[0].dtype == "int8"
    with pytest.raises(BadValueError, match="density"):
        sparse_attention(graph, "*", 0.0)
    with pytest.raises(ArchcastError, match="attention"):
        sparse_attention(graph, "mlp*", 0.5)
