"""Techniques of image networks: widths, exits, routes, stitches and frames, with counts by hand."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from techniques import FOLDER, learning, macs, op_macs, read_bytes, state_elements, technique

import archcast as ac
from workloads.catalogue import load_model
from workloads.model import Request

RESNET18_STEM = 112**2 * 147 * 64
"""MACs of the 7x7 convolution on three colours."""


class Conv(NamedTuple):
    """A convolution as a person counts it: output side (or pixels), channels in and out, window."""

    pixels: int
    c_in: int
    c_out: int
    window: int = 1

    @property
    def weights(self) -> int:
        return self.c_in * self.c_out * self.window**2

    @property
    def macs(self) -> int:
        return self.pixels * self.weights


def resnet18_stages(width: int = 64, first: float = 1.0) -> list[float]:
    """Return MACs of the four stages at `width` channels; `first`: share of channels between two convolutions."""
    found = []
    for stage in range(4):
        c, pixels = width * 2**stage, (56 // 2**stage) ** 2
        entry = c if stage == 0 else c // 2
        blocks = 9 * pixels * c * first * (entry + c) + 9 * pixels * c * first * 2 * c
        found.append(blocks + (pixels * entry * c if stage else 0))
    return found


def test_the_count_by_hand_of_a_residual_network_is_the_published_one() -> None:
    assert RESNET18_STEM + sum(resnet18_stages()) + 512 * 1000 == pytest.approx(1.814e9, rel=1e-3)


@pytest.mark.parametrize(("encoder", "segment", "depth"), [(16, 16, 16), (16, 8, 4), (8, 4, 4)])
def test_widths_of_branches_are_chosen_one_by_one(encoder: int, segment: int, depth: int) -> None:
    width = 4 * encoder
    by_hand = 112**2 * 147 * width + sum(resnet18_stages(width))
    for channels, out in ((16 * segment, 21), (16 * depth, 1)):
        by_hand += 49 * 9 * 8 * width * channels + 3136 * (9 * channels**2 + channels * out)
    assert macs(technique("slimmable-multitask", encoder=encoder, segment=segment, depth=depth)) == by_hand


def test_a_photograph_of_4k_in_crops_stays_under_the_budget_and_its_whole_does_not_shrink() -> None:
    square = macs("resnet-18") - 512 * 1000
    assert macs("resnet-18", Request()) == pytest.approx(1.814e9, rel=1e-3)
    crops = macs(technique("uhd-quality", crops=1)) - macs(technique("uhd-quality", crops=0))
    assert crops == pytest.approx(square * (384 / 224) ** 2 + 512 * 1000, rel=1e-9)
    whole = technique("uhd-quality", crops=0, thumbnail=32, whole=1)
    least = technique("uhd-quality", crops=0, thumbnail=32)
    assert macs(whole) - macs(least) == pytest.approx(square * 2160 * 3840 / 224**2, rel=0.01)  # sides are rounded
    assert macs(technique("uhd-quality")) < 50e9 < macs(whole)


def test_a_photograph_of_4k_holds_its_largest_map() -> None:
    estimate = ac.predict(FOLDER / "uhd-quality.yaml", on="h100-sxm", knobs={"whole": 1})
    stem, pooled = (64 * (2160 // s) * (3840 // s) * 2 for s in (2, 4))  # fp16
    assert estimate.memory_parts_bytes["activations"] == pytest.approx(stem + pooled, rel=0.01)
    crops = ac.predict(FOLDER / "uhd-quality.yaml", on="h100-sxm")
    assert crops.memory_parts_bytes["activations"] < 0.05 * stem


@pytest.mark.parametrize("active", [1.0, 0.5, 0.25])
def test_channels_that_do_not_fire_cost_nothing_but_their_prediction(active: float) -> None:
    network = RESNET18_STEM + sum(resnet18_stages(first=active)) + 512 * 1000
    masks = 2 * sum((64 * 2**i) ** 2 for i in range(4))
    model = technique("dynamic-channel-pruning", active=active)
    assert macs(model, Request(batch=4)) == 4 * (network + masks)
    assert model.summary()["parameters"] == load_model("resnet-18").summary()["parameters"] + masks


def test_masks_of_their_own_read_the_weights_once_an_image() -> None:
    request = Request(batch=32)
    own, shared = (read_bytes(technique("dynamic-channel-pruning", static=s), request) for s in (0, 1))
    kept = sum((64 * 2**i) * 9 * ((64 * 2**i) * 3.5 - (64 if i == 0 else 0)) * 0.5 for i in range(4))
    assert own - shared > 31 * 2 * 0.8 * kept
    static = ac.predict(FOLDER / "dynamic-channel-pruning.yaml", on="h100-sxm", batch=32, knobs={"static": 1})
    dynamic = ac.predict(FOLDER / "dynamic-channel-pruning.yaml", on="h100-sxm", batch=32)
    assert dynamic.latency_s.value > 2 * static.latency_s.value  # type: ignore[union-attr]


def test_a_large_window_is_cheap_where_channels_do_not_mix() -> None:
    pixels, dim, half = 196, 256, 128
    mixing = dim * half + half**2 + half * 9 * dim // 8 + 2 * dim * 2 * dim
    assert macs(technique("see-large-focus-small")) == 8 * pixels * (mixing + 49 * half)
    more = macs(technique("see-large-focus-small", far=11)) / macs(technique("see-large-focus-small"))
    assert more == pytest.approx(1 + (121 - 49) * half / (mixing + 49 * half))


def test_exits_pay_the_stages_that_were_run() -> None:
    bottleneck = [0.0] * 4
    for stage, depth in enumerate((3, 4, 6, 3)):
        c, pixels = 64 * 2**stage, (56 // 2**stage) ** 2
        entry = 64 if stage == 0 else 2 * c
        before = pixels * (1 if stage == 0 else 4)  # the first 1x1 stands before the stride
        first = before * entry * c + pixels * (9 * c * c + 4 * c * c + entry * 4 * c)
        bottleneck[stage] = first + (depth - 1) * pixels * (4 * c * c + 9 * c * c + 4 * c * c)
    z, w = 128, 256
    code = [z * w * w + p * c * 2 * w + 2 * z * p * w + 8 * z * w * w + 1000 * w
            for p, c in ((784, 512), (196, 1024), (49, 2048))]  # fmt: skip
    for exit1, exit2 in ((0.4, 0.3), (0.0, 0.0), (1.0, 0.0)):
        by_hand = RESNET18_STEM + bottleneck[0] + bottleneck[1] + code[0]
        by_hand += (1 - exit1) * (bottleneck[2] + code[1]) + (1 - exit1 - exit2) * (bottleneck[3] + code[2])
        assert macs(technique("dynamic-perceiver", exit1=exit1, exit2=exit2)) == pytest.approx(by_hand, rel=1e-9)


def test_the_tail_of_exits_is_the_whole_network_and_the_mean_is_below_it() -> None:
    path = FOLDER / "dynamic-perceiver.yaml"
    mean = ac.predict(path, on="h100-sxm", batch=64)
    tail = ac.predict(path, on="h100-sxm", batch=64, knobs={"exit1": 0, "exit2": 0})
    assert mean.latency_s.value < 0.9 * tail.latency_s.value  # type: ignore[union-attr]
    assert mean.memory_parts_bytes["weights"] == tail.memory_parts_bytes["weights"]


@pytest.mark.parametrize(("through", "halved"), [(1.0, 0.0), (0.5, 0.2), (0.25, 0.0)])
def test_routed_tokens_alone_pay_for_a_layer(through: float, halved: float) -> None:
    n, d = 784, 192
    run = n * (through + halved / 4)
    by_hand = 12 * (n * d * 3 + run * 12 * d * d + 2 * run * run * d)
    assert macs(technique("token-routing", through=through, halved=halved)) == pytest.approx(by_hand, rel=1e-9)


def vit_layer(hidden: int, tokens: int) -> int:
    return tokens * 12 * hidden**2 + 2 * tokens**2 * hidden


@pytest.mark.parametrize("at", [3, 6, 9])
def test_a_stitched_network_runs_layers_of_both_anchors_and_holds_both(at: int) -> None:
    model = technique("stitched-vit", at=at)
    by_hand = 196 * 768 * 384 + at * vit_layer(384, 197) + 197 * 384 * 768 + (12 - at) * vit_layer(768, 197) + 768000
    assert macs(model) == by_hand
    anchors = sum(load_model(f"deit-{size}-patch16-224").summary()["parameters"] for size in ("small", "base"))
    assert model.summary()["parameters"] == anchors + 384 * 768


def test_stitches_fill_the_gap_between_two_anchors() -> None:
    costs = [macs(technique("stitched-vit", at=at)) for at in range(1, 12)]
    assert costs == sorted(costs, reverse=True)
    small, base = (macs(f"deit-{size}-patch16-224") for size in ("small", "base"))
    assert all(small < cost < base for cost in costs)


def test_large_depthwise_windows_do_super_resolution_at_a_third_less() -> None:
    """The layout counted by hand; 291k parameters and 62.6e9 MACs in the paper (mem), 394k and 91e9 of ShuffleMixer."""
    layer = 3 * 48**2 + 81 * 48 + 4 * 48**2 + 9 * 96
    weights = 27 * 48 + 12 * layer + 9 * 48**2 + 9 * 48 * 12
    assert macs(technique("convformer-superresolution")) == 640 * 360 * weights
    assert 640 * 360 * weights == pytest.approx(62.6e9, rel=0.03)
    assert 100 * (1 - 640 * 360 * weights / 91e9) == pytest.approx(31, abs=3)
    at4 = 27 * 48 + 12 * layer + 9 * 48**2 + 9 * 48 * 48
    assert macs(technique("convformer-superresolution", scale=4)) == 320 * 180 * at4


def test_a_modulation_block_is_pointwise_but_for_its_window() -> None:
    dim, ratio = 128, 4
    assert macs(technique("efficient-modulation")) == 4 * 784 * (dim**2 * (1 + 3 * ratio) + 49 * dim)
    estimate = ac.predict(FOLDER / "efficient-modulation.yaml", on="h100-sxm", batch=64)
    assert estimate.bound["memory"] > 0.5


def test_convolutions_come_first_and_attention_last() -> None:
    """Attention in 4 layers of the third stage (14 x 14, 384 channels) and 3 of the fourth (7 x 7, 768)."""
    model = technique("asymmetric-hybrid")
    attention = op_macs(model, attention=True)
    assert attention == 2 * (4 * 196**2 * 384 + 3 * 49**2 * 768)
    text = ",".join(["transformer"] * 19)
    assert op_macs(technique("asymmetric-hybrid", blocks=text), attention=True) > 50 * attention


def test_a_plain_network_of_13_layers_has_5_48_million_parameters() -> None:
    layers = [Conv(1024, 3, 64, 3), Conv(1024, 64, 128, 3), *[Conv(1024, 128, 128, 3)] * 2,
              *[Conv(256, 128, 128, 3)] * 2, Conv(256, 128, 256, 3),
              *[Conv(64, 256, 256, 3)] * 2, Conv(16, 256, 512, 3), Conv(4, 512, 2048),
              Conv(4, 2048, 256), Conv(1, 256, 256, 3), Conv(1, 256, 10)]  # fmt: skip
    model = technique("plain-convolutions")
    assert model.summary()["parameters"] == sum(layer.weights for layer in layers) == 5_484_736
    assert macs(model) == sum(layer.macs for layer in layers)
    assert macs(model) * 5 < macs("vgg16")


def test_a_drone_flies_with_the_small_network_most_of_the_time() -> None:
    layers = [Conv(48 * 80, 1, 32, 5), *[Conv(12 * 20, 32, 32, 3)] * 2, Conv(60, 32, 64, 3), Conv(60, 64, 64, 3),
              Conv(15, 64, 128, 3), Conv(15, 128, 128, 3), Conv(1, 1920, 4)]  # fmt: skip
    small = technique("adaptive-pose", large=0)
    assert macs(small) == sum(layer.macs for layer in layers) == pytest.approx(14.1e6, rel=0.01)
    assert sum(layer.weights for layer in layers) == pytest.approx(304e3, rel=0.005)  # PULP-Frontnet
    large = macs(technique("adaptive-pose", large=1))
    assert macs(technique("adaptive-pose", large=0.2)) == pytest.approx(0.8 * macs(small) + 0.2 * large)
    flight = [ac.predict(FOLDER / "adaptive-pose.yaml", on="gap8", dtype="int8", knobs={"large": x}) for x in (0, 0.2)]
    assert flight[0].latency_s.value < flight[1].latency_s.value < 1.0  # type: ignore[union-attr]


def test_a_new_frame_pays_for_itself_where_features_are_kept() -> None:
    frame = RESNET18_STEM + sum(resnet18_stages())
    time = 2 * 49 * 3 * 512**2
    kept, again = (technique("continual-inference", cached=c) for c in (1, 0))
    assert macs(kept) == frame + time + 400 * 512
    assert macs(again) == 16 * (frame + time) + 400 * 512
    assert state_elements(kept.workload(Request(batch=2))) == 2 * (2 * 2 * 512 * 49 + 15 * 512)
    assert state_elements(again.workload(Request())) == 0


@pytest.mark.parametrize(("share", "rank"), [(0.5, 8), (0.25, 4)])
def test_adapters_of_a_pruned_network_fit_what_is_left(share: float, rank: int) -> None:
    run = technique("structured-pruning-adapters", share=share, rank=rank)
    left = int(3072 * share)
    assert learning(run.workload(Request()).distinct_blocks()) == 12 * 2 * rank * (768 + left)
    forward = 196 * 768**2 + 768 * 1000 + 12 * (197 * (4 * 768**2 + 2 * 768 * left) + 2 * 197**2 * 768)
    assert macs(run, passes="forward") == forward + 12 * 197 * 2 * rank * (768 + left)


def test_a_simulated_qubit_doubles_the_circuit() -> None:
    def circuit(qubits: int, training: int = 0) -> float:
        model = technique("quantum-layer", qubits=qubits, training=training)
        return macs(model) - macs(technique("quantum-layer", qubits=1)) + 16 * 3 - (qubits - 1) * (512 + 10)

    assert circuit(8) == 3 * 8 * 2**7 * 16
    assert circuit(12) == 3 * 12 * 2**11 * 16
    assert circuit(8, training=1) == (1 + 2 * 24) * circuit(8)
    assert state_elements(technique("quantum-layer", qubits=20).workload(Request(batch=4))) == pytest.approx(
        4 * 2 * 2**20
    )


@pytest.mark.parametrize("merge", [8, 13])
def test_merged_tokens_are_gone_in_later_layers(merge: int) -> None:
    """Attention sees the tokens that enter a layer, the feed-forward part those that are left."""
    tokens, by_hand = 197, 196.0 * 768 * 768 + 768 * 1000
    for _ in range(12):
        half = (tokens - 1) // 2
        by_hand += tokens * 4 * 768**2 + 2 * tokens**2 * 768
        gone = min(merge, half)
        by_hand += half * half * 64 if gone else 0
        tokens -= gone
        by_hand += tokens * 8 * 768**2
    assert macs(load_model("vit-base", {"merge": merge})) == by_hand
