"""Techniques of training: schedules, adapters, federated rounds and reinforcement learning, with counts by hand."""

from __future__ import annotations

import pytest
from techniques import FOLDER, learning, macs, technique

import archcast as ac
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.model import Request
from workloads.work import count_work


def forward(name: str, prompt: int, **knobs: object) -> float:
    """Return the MACs of the forward pass of a training step."""
    return macs(load_model(name, knobs or None), Request(prompt=prompt, mode="train"), passes="forward")


def test_a_run_is_its_tokens_over_those_of_a_step() -> None:
    run = technique("continued-training", tokens=2048 * 10)
    assert macs(run, passes="forward") == pytest.approx(10 * forward("palm-540b", 2048), rel=1e-9)
    whole = macs(run) / (540.4e9 * 2048 * 10)  # 3 a parameter and token, 4 with full recomputation, plus attention
    assert 4.0 < whole < 4.4


def test_bytes_in_place_of_tokens_make_longer_sequences_of_fewer_steps() -> None:
    run = technique("byte-level-pretraining")
    step = macs(load_model("t5-v1.1-small", {"vocab": 259}), Request(prompt=4096, generate=512, mode="train"))
    assert macs(run) == pytest.approx(step * 65536 / 1024, rel=1e-9)
    assert run.summary()["parameters"] < 0.7 * load_model("t5-v1.1-small").summary()["parameters"]


def test_a_growing_model_costs_what_its_stages_cost_and_holds_the_last() -> None:
    run = technique("growth-schedule")
    sizes = [16e9, 51e9, 101e9]
    tokens = [245.37e9, 39.64e9, 26.54e9]
    by_hand = sum(3 * n * t for n, t in zip(sizes, tokens, strict=True))  # half of 5.18e22 FLOP
    assert by_hand == pytest.approx(2.59e22, rel=0.01)
    assert macs(run) == pytest.approx(by_hand, rel=0.06)  # and attention
    assert run.summary()["parameters"] == pytest.approx(101e9, rel=0.01)


def test_pruning_during_the_run_averages_the_parameters() -> None:
    model = load_model("llama-3.2-1b")
    full = macs(technique("sparse-pretraining", begin=1, end=1)) / 1000
    assert full == pytest.approx(macs(model, Request(prompt=2048, mode="train")), rel=1e-9)
    cut = 16 * 3 * 2048 * 8192 * 2048  # a layer's three matrices, all tokens, forward
    saved = 1 - macs(technique("sparse-pretraining")) / (1000 * full)
    assert saved == pytest.approx(3 * cut * (0.5 * 0.25 + 0.25 * 0.5) / full, rel=1e-6)
    assert technique("sparse-pretraining").summary()["parameters"] == model.summary()["parameters"]


def test_layer_local_training_keeps_the_activations_of_one_layer() -> None:
    local = ac.predict(FOLDER / "layer-local-training.yaml", on="h100-sxm", batch=8)
    through = ac.predict("bert-base", on="h100-sxm", batch=8, prompt=512, mode="train")
    assert local.memory_parts_bytes["activations"] < 0.25 * through.memory_parts_bytes["activations"]
    assert local.memory_parts_bytes["weights"] > 0.95 * through.memory_parts_bytes["weights"]


def test_adapters_learn_rank_times_both_sides_and_nothing_else_does() -> None:
    run = technique("adapter-rank").workload(Request())
    assert learning(run.distinct_blocks()) == 24 * (8 * (1024 + 3072) + 4 * (1024 + 4096))


def test_tuning_the_head_alone_needs_no_activations_of_the_body() -> None:
    head = ac.predict(FOLDER / "bias-and-head-tuning.yaml", on="h100-sxm")
    full = ac.predict("llama-3.2-1b", on="h100-sxm", prompt=512, mode="train")
    assert head.memory_parts_bytes["activations"] < 0.5 * full.memory_parts_bytes["activations"]
    assert head.memory_parts_bytes["optimizer"] < 0.3 * full.memory_parts_bytes["optimizer"]


def test_a_point_of_a_peft_space_learns_its_adapters() -> None:
    for rank, share in ((64, 0.5), (16, 1.0)):
        run = technique("peft-space", rank=rank, share=share).workload(Request())
        assert learning(run.distinct_blocks()) == 12 * share * 2 * 768 * rank


@pytest.mark.parametrize(("full", "sent"), [(0, 64 * 64), (1, 64 * (2048 + 3072))])
def test_a_federated_round_sends_what_was_learned(full: int, sent: int) -> None:
    table = lower(technique("federated-lora", full=full).workload(Request()).passes).table
    assert (count_work(table).link_bytes * table.full("count")).sum() == 10 * 16 * 2 * sent


def test_federated_pruning_sends_the_weights_that_are_left_both_ways() -> None:
    table = lower(technique("federated-pruning").workload(Request()).passes).table
    assert (count_work(table).link_bytes * table.full("count")).sum() == 2 * 100 * 4 * 700_000


def test_side_tuning_saves_what_the_backbone_would_keep() -> None:
    side = ac.predict(FOLDER / "ladder-side-tuning.yaml", on="h100-sxm", batch=100, prompt=128)
    full = ac.predict("bert-large", on="h100-sxm", batch=100, prompt=128, mode="train")
    saved = 1 - side.memory_bytes.value / full.memory_bytes.value
    assert saved == pytest.approx(0.69, abs=0.2)  # the paper: 69 % on T5, with a like ratio


def test_a_shared_prefix_is_paid_once() -> None:
    shared, repeated = (macs(technique("shared-prefix-training", shared=s)) for s in (1, 0))
    body = 1.236e9 * 3  # MACs a token of the weights, forward and backward
    assert repeated > 8 * (4096 + 512) * body
    assert (4096 + 8 * 512) * body < shared < 0.35 * repeated


def test_dropping_the_critic_leaves_20_of_36_bytes_a_parameter() -> None:
    ppo, remax = (ac.predict(FOLDER / f"{n}-step.yaml", on="h200-sxm", tp=4) for n in ("ppo", "remax"))
    held = [sum(e.memory_parts_bytes[k] for k in ("weights", "optimizer")) * 4 / 6.738e9 for e in (ppo, remax)]
    assert held == [pytest.approx(36, rel=0.01), pytest.approx(20, rel=0.01)]


def test_reuse_pays_updates_and_no_rollouts() -> None:
    once, often = (macs(technique("off-policy-finetuning", reuse=r)) for r in (1, 4))
    update = macs("qwen2.5-1.5b", Request(batch=8, prompt=1024, mode="train"))
    assert often - once == pytest.approx(10 * 3 * update, rel=1e-9)


def test_a_binary_head_replaces_the_softmax_over_the_vocabulary() -> None:
    binary, named = (macs(technique("binary-token-detection", vocab_head=v), passes="forward") for v in (0, 1))
    assert named - binary == 512 * 768 * (30522 - 1)
