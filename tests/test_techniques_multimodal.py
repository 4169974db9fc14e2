"""Techniques of models that see, hear and retrieve: files with counts by hand."""

from __future__ import annotations

import pytest
from techniques import FOLDER, learning, macs, op_macs, state_elements, technique

import archcast as ac
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.model import Request
from workloads.table import OPS
from workloads.work import count_work


def layer_macs(tokens: float, hidden: float) -> float:
    """Return the MACs of an encoder layer with a feed-forward part of four times the width."""
    return tokens * 12 * hidden**2 + 2 * tokens**2 * hidden


def latency(name: str, **knobs: object) -> float:
    found = ac.predict(FOLDER / f"{name}.yaml", on="h100-sxm", knobs=knobs).latency_s
    assert found is not None
    return found.value


def test_a_phone_runs_one_tower_or_both() -> None:
    text = 12 * layer_macs(77, 512) + 512 * 512 + 512
    assert macs(technique("mobile-image-text", image=0)) == text
    image = macs(load_model("fastvit-mci2", {"classes": 512}))
    both = technique("mobile-image-text")
    assert macs(both) == pytest.approx(text + image, rel=1e-9)
    assert both.summary()["parameters"] == pytest.approx(99_243_329, rel=1e-4)  # MobileCLIP-S2 by open_clip


def test_branches_that_are_not_folded_cost_more() -> None:
    apart, folded = (macs(technique("mobile-image-text", folded=f, text=0)) for f in (0, 1))
    assert apart > folded
    assert latency("mobile-image-text", folded=0, text=0) > 1.2 * latency("mobile-image-text", text=0)


@pytest.mark.parametrize(("frames", "side"), [(256, 224), (64, 448), (16, 896)])
def test_few_large_frames_and_many_small_ones_have_the_same_tokens(frames: int, side: int) -> None:
    """Only attention over whole frames, in 4 of 32 layers of the image tower, tells them apart."""
    patches = (side // 14) ** 2
    assert frames // 2 * patches == 32_768 == 4 * 8192
    base = macs(technique("key-clips", frames=64))
    by_hand = 4 * 2 * 1280 * (frames // 2 * patches**2 - 32 * 1024**2)
    assert macs(technique("key-clips", frames=frames)) - base == pytest.approx(by_hand, abs=1e-9 * base)


@pytest.mark.parametrize("merge", [0, 16, 23])
def test_merged_tokens_never_reach_the_language_model(merge: int) -> None:
    hidden, tokens = 1024, 577
    encoder = 576.0 * 588 * hidden
    for _ in range(24):
        half = (tokens - 1) // 2
        encoder += tokens * 4 * hidden**2 + 2 * tokens**2 * hidden + (half**2 * 64 if merge else 0)
        tokens -= merge
        encoder += tokens * 8 * hidden**2
    assert tokens == 577 - 24 * merge
    projector = tokens * (1024 * 4096 + 4096**2)
    reader = macs("llama-2-7b", Request(prompt=64 + tokens, generate=32))
    assert macs(technique("token-merging", merge=merge)) == pytest.approx(encoder + projector + reader, rel=1e-9)


@pytest.mark.parametrize("visual", [16, 576])
def test_a_visual_token_costs_what_a_word_costs(visual: int) -> None:
    layer = 4 * 4096**2 + 3 * 4096 * 11008
    few, many = 50 + 1, 50 + visual
    pairs = many * (many + 1) / 2 - few * (few + 1) / 2 + 9 * (visual - 1)  # nine further tokens see them as well
    gathered = 1024**2 + 2 * 576 * 1024 + 1024 * 4096
    by_hand = (visual - 1) * (32 * layer + gathered) + 32 * 2 * 4096 * pairs
    more = macs(technique("one-visual-token", visual=visual)) - macs(technique("one-visual-token", visual=1))
    assert more == pytest.approx(by_hand, rel=1e-9)


def test_one_visual_token_affords_a_larger_language_model() -> None:
    """LLaMA-2 13B (40 layers of 5120) that reads one token costs less than 7B that reads 576."""
    small = macs(technique("one-visual-token", visual=576))
    large = {"layers": 40, "hidden": 5120, "heads": 40, "kv_heads": 40, "inter": 13824}
    large = {f"reader.{knob}": value for knob, value in large.items()}
    assert macs(technique("one-visual-token", visual=1, **large)) < 0.6 * small


def test_every_stage_of_retrieval_has_its_price() -> None:
    base = macs(technique("retrieval-pipeline"))
    passage = 12 * layer_macs(64 + 256, 768)
    assert macs(technique("retrieval-pipeline", candidates=51)) - base == pytest.approx(passage, rel=1e-6)
    assert macs(technique("retrieval-pipeline", index=2_000_000)) - base == pytest.approx(1e6 * 768, rel=1e-6)
    longer, shorter = (macs("llama-3.1-8b", Request(prompt=64 + n * 256, generate=256)) for n in (6, 5))
    assert macs(technique("retrieval-pipeline", chunks=6)) - base == pytest.approx(longer - shorter, rel=1e-6)
    again = 12 * layer_macs(64, 768) + 768e6 + 50 * passage
    again += macs("llama-3.2-1b", Request(batch=5, prompt=64 + 256, generate=1))
    assert macs(technique("retrieval-pipeline", retries=0.5)) - base == pytest.approx(0.5 * again, rel=1e-6)


def test_an_index_is_held_once_whatever_the_batch() -> None:
    built = [technique("retrieval-pipeline").workload(Request(batch=b)) for b in (1, 8)]
    assert built[0].parameters == built[1].parameters
    held = load_model("bert-base").summary()["parameters"]
    assert built[0].parameters > 768e6 + held


def test_a_shard_of_a_trillion_tokens_holds_its_codes_and_reads_some() -> None:
    vectors = 1.4e12 / 256 / 32
    model = technique("retrieval-datastore")
    cache = 2 * 32 * 4096 * (128 + 3 * 256 + 64)
    assert state_elements(model.workload(Request())) == pytest.approx(vectors * 64 + cache, rel=1e-6)
    coarse, lists = vectors**0.5 * 768, 0.01 * vectors * 64
    reader = macs("llama-2-7b", Request(prompt=128 + 3 * 256, generate=64))
    assert macs(model) == pytest.approx(reader + 12 * layer_macs(128, 768) + coarse + lists, rel=1e-6)
    alone = macs(technique("retrieval-datastore", use=0))
    assert alone == pytest.approx(macs("llama-2-7b", Request(prompt=128, generate=64)), rel=1e-9)
    memory = ac.predict(FOLDER / "retrieval-datastore.yaml", on="h100-sxm").memory_parts_bytes
    assert memory["state"] == pytest.approx(vectors * 64 + 2 * cache, rel=1e-6)  # codes of bytes, a cache of 16 bits


def test_training_on_video_grows_with_samples_rollouts_and_frames() -> None:
    one = macs(technique("video-rl-training", samples=1))
    assert macs(technique("video-rl-training", samples=6)) == pytest.approx(6 * one, rel=1e-9)
    knobs = {"images": 16, "vision.image": 224}
    model = load_model("qwen2.5-vl-3b", knobs)
    rollout = macs(model, Request(batch=8, prompt=128, generate=256))
    reference = macs(model, Request(batch=8, prompt=384, generate=1))
    update = macs(technique("video-rl-training", samples=1), passes="backward")
    scores = 8 * (1024 + 384 - 1) * 151_936 * 2048  # an update scores every token, not the last alone
    assert one == pytest.approx(rollout + 2 * reference + scores + update, rel=1e-6)
    halves = macs(technique("video-rl-training", samples=1, frames=16))
    assert 0.5 < halves / one < 0.75  # 1024 or 512 visual tokens beside 384 of text


def test_the_image_tower_of_a_video_model_does_not_learn() -> None:
    built = technique("video-rl-training").workload(Request())
    frozen = learning(built.distinct_blocks())
    words = load_model("qwen2.5-3b").summary()["parameters"]
    projector = 5120 * 5120 + 5120 + 5120 * 2048 + 2048 + 1280
    assert frozen == pytest.approx(words + projector, rel=1e-6)


def test_buckets_of_durations_save_the_padding() -> None:
    model = load_model("canary-1b")
    short, long = (macs(model.with_knobs({"seconds": s}), Request(batch=b, prompt=5, generate=40)) / b
                   for s, b in ((8, 256), (30, 64)))  # fmt: skip
    bucketed = macs(technique("duration-bucketing"))
    assert bucketed == pytest.approx(1024 * (0.7 * short + 0.3 * long), rel=1e-9)
    padded = macs(technique("duration-bucketing", bucketed=0))
    assert padded == pytest.approx(1024 * long, rel=1e-9)
    assert 1 - bucketed / padded == pytest.approx(1 - (0.7 * 8 + 0.3 * 30) / 30, abs=0.1)  # seconds of sound
    assert latency("duration-bucketing") < 0.7 * latency("duration-bucketing", bucketed=0)


def test_layers_moved_from_decoder_to_encoder_leave_fewer_bytes_a_token() -> None:
    full = technique("duration-bucketing").workload(Request())
    flash = {f"{name} recordings.{knob}": value for name in ("short", "long")
             for knob, value in (("layers", 32), ("decoder_layers", 4))}  # fmt: skip
    moved = technique("duration-bucketing", **flash).workload(Request())
    assert state_elements(moved) == pytest.approx(state_elements(full) * 4 / 24)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_scan_that_skips_reads_a_share_of_the_tokens(step: int) -> None:
    tokens, dim, inner, state = 784, 96, 192, 16
    scanned = 4 * tokens // step**2
    block = tokens * (dim * 2 * inner + 9 * inner + inner * dim + 9 * dim) + 2 * 2 * dim * 24
    block += scanned * (inner * (6 + 2 * state) + 6 * inner)
    model = technique("atrous-selective-scan", step=step)
    assert macs(model) == 2 * block
    table = lower(model.workload(Request()).passes).table
    flop = (count_work(table).vector_flop * table.full("count"))[table.full("op") == OPS.index("scan")]
    assert flop.sum() == 2 * 6 * scanned * inner * state


def test_images_are_encoded_once_however_many_answers_follow() -> None:
    """The reader of `one-visual-token` alone grows with the answer."""
    short, long = (op_macs(technique("one-visual-token"), Request(generate=g), conv2d=True) for g in (10, 100))
    assert short == long == 576 * 588 * 1024
