"""Images and text: parameters, MACs against torch's counter, visual tokens, caches, knobs of towers.

MACs named `torch` were counted by torch.utils.flop_counter (torch 2.15) on the network that transformers 5.23 builds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast
from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from workloads import Request
from workloads.builders.multimodal.patch_tower import PatchTower
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.families import build

JOINED = [n for n in workload_names() if architecture_facts(n)["family"] == "vision-language"]
CLIPS = [n for n in workload_names() if architecture_facts(n)["family"] == "clip"]
ROUNDED = {"hovle-2.6b", "mmmamba-hybrid"}
"""Published to two digits."""
SMALL: dict[str, Any] = {
    "vision.layers": 2, "vision.hidden": 64, "vision.heads": 4, "vision.image": 56, "vision.patch": 14,
    "vision.classes": 0, "text.layers": 2, "text.hidden": 32, "text.heads": 4, "text.inter": 64, "text.vocab": 100,
}  # fmt: skip


def operators(graph: Any) -> dict[str, Any]:
    return {f"{b.name}/{o.name}": o for b in graph.blocks for o in b.operators}


def kept_bytes(name: str, prompt: int, generate: int = 1, **knobs: Any) -> float:
    blocks = load_model(name, knobs).workload(Request(prompt=prompt, generate=generate)).graph.blocks
    return sum(2 * float(np.ravel(o.state_elements)[0]) * b.count for b in blocks for o in b.operators)


@pytest.mark.parametrize("name", [n for n in JOINED if "published_parameters" in architecture_facts(n)])
def test_parameters_of_a_vision_language_model_are_the_published_ones(name: str) -> None:
    published = architecture_facts(name)["published_parameters"]
    tolerance = 0.005 if name in ROUNDED else 0
    assert load_model(name).workload(Request()).parameters == pytest.approx(published, rel=tolerance, abs=0)


def test_parameters_of_mmmamba_round_to_those_of_the_paper() -> None:
    linear = load_model("mmmamba-linear").workload(Request()).parameters
    assert round(linear / 1e9, 1) == 2.7
    # gate and step of each head, a convolution of two taps, decay, step and skip of each head, a norm
    mixer = 2048 * 2048 + 2048 * 16 + 4096 * 3 + 3 * 16 + 2048
    assert linear - load_model("hovle-2.6b").workload(Request()).parameters == 32 * mixer


@pytest.mark.parametrize("name", CLIPS)
def test_parameters_of_both_towers_are_the_published_ones(name: str) -> None:
    """Folded branches of MobileCLIP's image towers, and the stem of its ViT, are a thousandth of the whole."""
    published = architecture_facts(name)["published_parameters"]
    tolerance = 0.002 if name.startswith("mobileclip") else 0
    assert load_model(name).workload(Request()).parameters == pytest.approx(published, rel=tolerance, abs=0)


def test_macs_of_clip_are_those_that_torch_counts() -> None:
    """Torch also computes the pairs that the text tower's mask drops."""
    masked = 12 * 2 * 512 * (77 * 77 - 77 * 78 // 2)
    assert load_model("clip-vit-b-32").workload(Request()).graph.macs() + masked == 7_388_582_400


def test_macs_of_towers_that_take_any_size_are_those_that_torch_counts() -> None:
    """504 pixels make 36 x 36 patches, which windows of 8 do not divide."""
    windowed = {"image": 504, "frames": 2, "multiple": 2, "layers": 4, "gated": True, "norm": "rms", "window": 112}
    tower = build("patch-tower", "x", {**windowed, "full_layers": [3]})
    merger = 324 * (5120 * 5120 + 5120 * 256)
    assert tower.workload(Request()).graph.macs() + merger == pytest.approx(117_791_293_440, rel=1e-12)
    learned = {"image": 448, "frames": 2, "multiple": 2, "patch": 16, "layers": 4, "hidden": 1152, "inter": 4304}
    tower = build("patch-tower", "x", {**learned, "position_rows": 2304})
    mergers = 4 * 196 * (4608 * 4608 + 4608 * 256)
    assert tower.workload(Request()).graph.macs() + mergers == 72_369_045_504


def test_macs_of_a_vision_language_model_are_those_that_torch_counts() -> None:
    """Torch also scores every token, and the pairs that the causal mask drops."""
    knobs = {
        "vision": "vit", "vision.image": 336, "vision.patch": 14, "vision.layers": 2, "vision.hidden": 1024,
        "vision.heads": 16, "vision.classes": 0, "text": "decoder", "text.hidden": 512, "text.layers": 2,
        "text.heads": 8, "text.inter": 1024, "text.vocab": 1000,
    }  # fmt: skip
    macs = build("vision-language", "x", knobs).workload(Request(prompt=64)).graph.macs()
    tokens = 576 + 64
    masked = 2 * 2 * 512 * (tokens**2 - tokens * (tokens + 1) // 2)
    assert macs + (tokens - 1) * 512 * 1000 + masked == 21_206_142_976


@given(st.integers(28, 2000), st.integers(28, 2000), st.sampled_from([56, 112, 224]))
def test_windows_keep_patches_and_pairs_exactly(width: int, height: int, window: int) -> None:
    knobs = {"image": width, "image_height": height, "window": window, "layers": 1, "multiple": 2, "full_layers": [9]}
    tower = PatchTower.from_knobs("x", knobs)
    high, across = tower.grid
    side = window // 14
    parts = [[min(side, n - i) for i in range(0, n, side)] for n in (high, across)]
    pairs = sum((a * b) ** 2 for a in parts[0] for b in parts[1])
    shape = operators(tower.workload(Request()).graph)["layers/attention"].shape
    assert shape["batch"] * shape["q_len"] == pytest.approx(high * across)
    assert shape["batch"] * shape["q_len"] * shape["kv_len"] == pytest.approx(pairs)


@pytest.mark.parametrize(
    ("name", "knobs", "tokens"),
    [
        ("llava-1.5-7b", {}, 576), ("llava-next-7b", {}, 2928), ("qwen2.5-vl-7b", {}, 256),
        ("qwen2.5-vl-7b", {"vision.image": 1008}, 1296), ("qwen2.5-vl-7b", {"vision.image_height": 896}, 512),
        ("qwen3-vl-8b", {}, 196), ("mmmamba-linear", {}, 256),
        ("internvl3-1b", {"tiles": 3}, 768), ("llava-1.5-7b", {"visual_tokens": 1}, 1),
    ],
)  # fmt: skip
def test_visual_tokens_follow_from_the_size_of_the_image(name: str, knobs: dict[str, Any], tokens: int) -> None:
    prefill = load_model(name, knobs).workload(Request(batch=3, prompt=10)).passes[0]
    assert np.ravel(operators(prefill.graph)["embed/embed"].shape["rows"])[0] == 3 * (tokens + 10)


@pytest.mark.parametrize("name", JOINED)
def test_the_cache_of_one_token_has_the_bytes_that_the_facts_state(name: str) -> None:
    found = kept_bytes(name, prompt=11) - kept_bytes(name, prompt=10)
    assert found == architecture_facts(name)["published_kv_bytes_per_token"]


def test_images_fill_the_cache_of_attention_and_leave_a_state_as_it_is() -> None:
    assert kept_bytes("llava-1.5-7b", 10, images=2) - kept_bytes("llava-1.5-7b", 10) == 576 * 524_288
    assert kept_bytes("mmmamba-linear", 10, images=2) == kept_bytes("mmmamba-linear", 10)
    state = 16 * 128 * 128 + 4096 * 1
    assert kept_bytes("mmmamba-linear", 10) == 32 * 2 * state


def test_the_tower_runs_once_for_each_image_in_prefill_alone() -> None:
    def vision(images: int) -> float:
        prefill, decode = load_model("qwen2.5-vl-3b", {"images": images}).workload(Request(batch=2)).passes
        assert not any(b.name.startswith("vision.") for b in decode.graph.blocks)
        tower = [b for b in prefill.graph.blocks if b.name.startswith("vision.")]
        return float(np.ravel(tower[0].operators[0].shape["batch"])[0]) if tower else 0.0

    assert [vision(n) for n in (0, 1, 3)] == [0, 2, 6]


def test_without_an_image_the_tower_is_held_and_idle() -> None:
    text = load_model("qwen2.5-7b").workload(Request(prompt=128))
    joined = load_model("qwen2.5-vl-7b", {"images": 0}).workload(Request(prompt=128))
    assert joined.parameters == load_model("qwen2.5-vl-7b").workload(Request()).parameters
    assert joined.graph.macs() == text.graph.macs()


def test_pruned_visual_tokens_spare_the_language_model_and_not_the_tower() -> None:
    whole, pruned = (load_model("llava-1.5-7b", k).workload(Request()) for k in ({}, {"visual_tokens": 64}))
    found = [operators(w.passes[0].graph) for w in (whole, pruned)]
    assert found[0]["vision.layers/qkv"] == found[1]["vision.layers/qkv"]
    rows = [float(np.ravel(f["layers/qkv"].shape["m"])[0]) for f in found]
    assert rows[0] - rows[1] == 576 - 64
    assert kept_bytes("llava-1.5-7b", 10) - kept_bytes("llava-1.5-7b", 10, visual_tokens=64) == 512 * 524_288


def test_knobs_of_a_tower_have_its_name_before_them() -> None:
    model = load_model("llava-1.5-7b", {"text.layers": 16, "vision.image": "224"})
    assert (model.knobs()["text.layers"], model.knobs()["vision.image"], model.knobs()["text"]) == (16, 224, "llama-7b")
    other = model.with_knobs({"text": "qwen2.5-0.5b", "text.layers": 3})
    assert (other.knobs()["text.hidden"], other.knobs()["text.layers"]) == (896, 3)
    assert load_model("llava-1.5-7b", {"text.layers": 16}).with_knobs({"text.layers": 32}) == load_model("llava-1.5-7b")


@pytest.mark.parametrize(
    ("name", "knobs", "error"),
    [
        ("llava-1.5-7b", {"text.layer": 3}, "Nearest: layers"), ("llava-1.5-7b", {"txt.layers": 3}, "text.KNOB"),
        ("llava-1.5-7b", {"image": 3}, "images"), ("llava-1.5-7b", {"text": "lama-7b"}, "llama-7b"),
        ("llava-1.5-7b", {"text": "bert-base"}, "no tokens"), ("llava-1.5-7b", {"vision": "resnet-50"}, "no tokens"),
        ("llava-1.5-7b", {"merge": 5}, "merge=5"), ("llava-1.5-7b", {"projector_layers": 0}, "one width"),
        ("clip-vit-b-32", {"vision": "bert-base"}, "takes tokens"), ("qwen2.5-vl-7b", {"vision.heads": 7}, "heads=7"),
        ("qwen2.5-vl-7b", {"images": -1}, "images"),
    ],
)  # fmt: skip
def test_towers_that_do_not_go_together_are_refused(name: str, knobs: dict[str, Any], error: str) -> None:
    with pytest.raises((UnknownNameError, BadValueError), match=error):
        load_model(name, knobs)


def test_a_request_beyond_the_context_counts_the_images() -> None:
    notes = load_model("llava-1.5-7b", {"images": 8}).workload(Request(prompt=100, generate=10)).notes
    assert any("4,718 tokens" in note for note in notes)


@given(st.integers(1, 8), st.integers(1, 100), st.integers(1, 20), st.integers(0, 3))
def test_requests_together_cost_what_they_cost_alone(batch: int, prompt: int, generate: int, images: int) -> None:
    model = build("vision-language", "x", {**SMALL, "images": images})
    many = model.workload(Request(batch=np.array([batch, 3]), prompt=np.array([prompt, 7]), generate=generate))
    one = model.workload(Request(batch=batch, prompt=prompt, generate=generate))
    assert many.requests == 2
    for together, alone in zip(many.passes, one.passes, strict=True):
        assert together.graph.macs() == pytest.approx(alone.graph.macs())


def test_texts_embedded_before_leave_the_image_tower_alone() -> None:
    both, image = (load_model("clip-vit-l-14", {"texts": n}).workload(Request(batch=4)) for n in (1, 0))
    assert image.parameters == both.parameters
    assert not any(b.name.startswith("text.") for b in image.graph.blocks)
    pair = load_model("clip-vit-l-14", {"texts": 3}).workload(Request(batch=4))
    assert operators(pair.graph)["scores/scores"].shape == {"phase": "prefill", "m": 4, "n": 12, "k": 768}


def test_one_image_tower_serves_alone_and_in_a_pair() -> None:
    tower = load_model("fastvit-mci1").with_knobs({"classes": 512}).workload(Request())
    pair = load_model("mobileclip-s1", {"texts": 0}).workload(Request())
    assert pair.graph.macs() == tower.graph.macs() + 512


@pytest.mark.parametrize("name", ["qwen2.5-vl-3b", "mmmamba-hybrid", "llava-1.5-7b"])
def test_a_vision_language_model_has_a_first_and_a_further_token_on_a_device(name: str) -> None:
    result = archcast.predict(name, on="h100-sxm", prompt=64, generate=16)
    assert result.ttft_s is not None
    assert result.tpot_s is not None
    two = archcast.predict(name, on="h100-sxm", prompt=64, generate=16, knobs={"images": 4})
    assert two.ttft_s is not None
    assert two.ttft_s.value > result.ttft_s.value > result.tpot_s.value > 0


@pytest.mark.parametrize("name", ["llava-1.5-7b", "qwen3-vl-2b", "mmmamba-linear", "clip-vit-b-16", "siglip-base"])
def test_a_training_step_goes_forward_and_back(name: str) -> None:
    workload = load_model(name).workload(Request(prompt=32, mode="train"))
    forward, backward = (p.graph.macs() for p in workload.passes[:2])
    assert 1.8 * forward < backward < 2.2 * forward
    assert workload.parameters == load_model(name).workload(Request()).parameters


def test_a_number_format_reaches_both_towers() -> None:
    graph = load_model("llava-1.5-7b").workload(Request(dtype="int8")).graph
    found = operators(graph)
    assert {found[at].dtype for at in ("vision.layers/qkv", "projector/fc1", "layers/qkv")} == {"int8"}
    with pytest.raises(ArchcastError):
        load_model("llava-1.5-7b").workload(Request(dtype="int9"))
