"""Image networks: parameters and multiply-accumulates as published, batches, knobs, and what is refused."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.knobs import KnobModel
from workloads.builders.vision.layers import divisible
from workloads.builders.vision.mobilenet import MobileNet, parsed
from workloads.builders.vision.regnet import RegNet
from workloads.builders.vision.resnet import ResNet
from workloads.builders.vision.vit import VisionTransformer
from workloads.catalogue import load_model
from workloads.graph import Pass, as_table
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.work import count_work

BASIC = {"block": "basic"}
RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {**BASIC, "depths": (2, 2, 2, 2)},
    "resnet34": {**BASIC, "depths": (3, 4, 6, 3)},
    "resnet26": {"depths": (2, 2, 2, 2)},
    "resnet50": {},
    "resnet101": {"depths": (3, 4, 23, 3)},
    "resnet152": {"depths": (3, 8, 36, 3)},
    "wide_resnet50_2": {"group_width": 128},
    "wide_resnet101_2": {"group_width": 128, "depths": (3, 4, 23, 3)},
    "resnext50_32x4d": {"groups": 32, "group_width": 4},
    "resnext101_32x8d": {"groups": 32, "group_width": 8, "depths": (3, 4, 23, 3)},
}
MOBILENETS: dict[str, dict[str, Any]] = {
    "mobilenetv2_035": {"width": 0.35},
    "mobilenetv2_050": {"width": 0.5},
    "mobilenetv2_075": {"width": 0.75},
    "mobilenetv2_100": {},
    "mobilenetv2_140": {"width": 1.4},
}
VITS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"hidden": 192, "heads": 3},
    "vit_small_patch16_224": {"hidden": 384, "heads": 6},
    "vit_small_patch32_224": {"hidden": 384, "heads": 6, "patch": 32},
    "vit_base_patch16_224": {},
    "vit_base_patch32_224": {"patch": 32},
    "vit_base_patch16_384": {"image": 384},
    "vit_large_patch16_224": {"hidden": 1024, "heads": 16, "layers": 24},
    "vit_large_patch16_384": {"hidden": 1024, "heads": 16, "layers": 24, "image": 384},
}
NETWORKS: dict[str, tuple[type[KnobModel], dict[str, Any]]] = {
    **{name: (ResNet, knobs) for name, knobs in RESNETS.items()},
    **{name: (MobileNet, knobs) for name, knobs in MOBILENETS.items()},
    **{name: (VisionTransformer, knobs) for name, knobs in VITS.items()},
}

# Exact parameter counts of torchvision (resnets, mobilenet) and timm (vit); MACs of timm's benchmark table.
PUBLISHED = {
    "resnet18": (11_689_512, 1.82e9),
    "resnet34": (21_797_672, 3.67e9),
    "resnet50": (25_557_032, 4.11e9),
    "resnet101": (44_549_160, 7.83e9),
    "resnet152": (60_192_808, 11.56e9),
    "wide_resnet50_2": (68_883_240, 11.43e9),
    "resnext50_32x4d": (25_028_904, 4.26e9),
    "mobilenetv2_100": (3_504_872, 0.31e9),
    "vit_tiny_patch16_224": (5_717_416, 1.26e9),
    "vit_base_patch16_224": (86_567_656, 17.58e9),
    "vit_large_patch16_224": (304_326_632, 61.60e9),
}


def network(name: str) -> Model:
    builder, knobs = NETWORKS[name]
    return builder.from_knobs(name, knobs)


def attention_macs(model: Model) -> float:
    blocks = model.workload(Request()).graph.blocks
    found = [(o, b.count) for b in blocks for o in b.operators if o.op == "attention"]
    return sum(float(count_work(as_table([o])).macs.sum()) * count for o, count in found)


def norm_operations(model: Model) -> float:
    """What timm's counter adds to MACs: 2 an element for a batch normalisation, 5 for a layer normalisation."""
    blocks = model.workload(Request()).graph.blocks
    found = [(o, b.count) for b in blocks for o in b.operators if o.op == "norm"]
    return sum(float(o.shape["rows"] * o.shape["hidden"]) * (2 if o.fused else 5) * count for o, count in found)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_those_published(name: str) -> None:
    parameters, macs = PUBLISHED[name]
    model = network(name)
    summary = model.summary()
    assert summary["parameters"] == parameters
    assert summary["macs"] + norm_operations(model) == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize("name", ["resnet-18", "resnet-50", "mobilenet-v2", "vit-base", "vit-large"])
def test_a_built_in_image_network_has_the_parameters_that_its_file_states(name: str) -> None:
    from workloads.catalogue import architecture_facts

    facts, summary = architecture_facts(name), load_model(name).summary()
    assert summary["parameters"] == facts["published_parameters"]
    if "published_macs" in facts:
        assert summary["macs"] == pytest.approx(facts["published_macs"], rel=0.02)


def timm_rows(folder: Path) -> dict[tuple[str, float], list[tuple[float, float]]]:
    """Return (network, image size) -> distinct (MACs, parameters); timm counts ViTs with and without attention."""
    found: dict[tuple[str, float], set[tuple[float, float]]] = {}
    with gzip.open(folder / "timm" / "benchmark.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            name = row["model"].split(".")[0]
            if name in NETWORKS and row["infer_gmacs"]:
                key = (name, float(row["infer_img_size"]))
                found.setdefault(key, set()).add((float(row["infer_gmacs"]) * 1e9, float(row["param_count"]) * 1e6))
    return {key: sorted(values) for key, values in found.items()}


def test_macs_are_within_two_percent_of_every_timm_row(shared_data: Path) -> None:
    rows = timm_rows(shared_data)
    assert len(rows) > 30
    for (name, image), figures in rows.items():
        model = network(name).with_knobs({"image": int(image)})
        summary = model.summary()
        whole = summary["macs"] + norm_operations(model)
        ours = [whole, whole - attention_macs(model)] if name in VITS else [whole]
        for macs, parameters in figures:
            rounding = 0.006e9  # the column has two decimals
            assert any(abs(macs - x) < 0.005 * x + rounding for x in ours), (name, image, macs, ours)
            assert summary["parameters"] == pytest.approx(parameters, rel=0.01, abs=0.006e6)


def test_the_first_bottleneck_has_its_hand_computed_work() -> None:
    stem, first, *_ = load_model("resnet-50").workload(Request(dtype="fp16")).graph.blocks
    pixels = 56 * 56
    expected = pixels * (64 * 64 + 64 * 64 * 9 + 64 * 256 + 64 * 256)
    assert float(count_work(as_table(first.operators)).macs.sum()) == expected
    stem_work = count_work(as_table(stem.operators))
    assert float(stem_work.macs.sum()) == 112 * 112 * 7 * 7 * 3 * 64
    assert float(stem_work.input_bytes[1]) == pytest.approx(112 * 112 * 64 * 2)  # the pool reads the map once
    assert float(stem_work.output_bytes[1]) == 56 * 56 * 64 * 2


def test_normalisation_and_activations_run_inside_the_convolution() -> None:
    graph = load_model("resnet-50").workload(Request()).graph
    launched = {o.op for b in graph.blocks for o in b.operators if not o.fused}
    assert launched == {"conv2d", "elementwise", "gemm"}
    kernels = sum(b.count for b in graph.blocks for o in b.operators if not o.fused)
    assert kernels == 53 + 16 + 2 + 1  # convolutions, residual additions, two pools, the classifier


# One network of every builder of convolutional networks, and one of every kind of block that has no file of its own.
ONE_OF_EACH = (
    "resnet-50", "ecaresnet50t", "resnetblur50", "res2net50-26w-4s", "resnest50d", "skresnet50", "mobilenet-v2",
    "mobilenet-v3-small", "mobilenetv4-conv-small", "mixnet-s", "efficientnet-b0", "regnety-002", "regnetv-040",
    "vgg11-bn", "convnextv2-atto", "resnetv2-50", "nfnet-f0", "mambaout-femto", "inception-next-atto", "starnet-s1",
    "fasternet-t0", "convmixer-768-32", "ese-vovnet39b", "hgnetv2-b0", "densenet121", "efficientmod-xxs", "darknet53",
    "cspresnet50", "cs3darknet-m", "rexnet-100", "ghostnetv2-100", "repvgg-b1g4", "mobileone-s4", "dla60-res2net",
    "xception41p", "hrnet-w18", "repghostnet-100", "dpn68b", "dpn92",
)  # fmt: skip


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_kind_of_network_scales_with_its_batch_and_keeps_its_parameters(name: str) -> None:
    model = load_model(name)
    one, many = (model.workload(Request(batch=batch)).graph for batch in (1, np.array([3, 8])))
    assert many.parameters == one.parameters == model.summary()["parameters"]
    lowered = lower((Pass("forward", many),))
    macs = np.broadcast_to(count_work(lowered.table).macs, lowered.table.rows) * lowered.table.full("count")
    for scenario, batch in enumerate((3, 8)):
        assert macs[lowered.scenario == scenario].sum() == batch * one.macs()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_kind_of_network_trains_for_about_three_forward_passes(name: str) -> None:
    model = load_model(name)
    table = lower(model.workload(Request(batch=2, mode="train")).passes).table
    trained = float((np.broadcast_to(count_work(table).macs, table.rows) * table.full("count")).sum())
    assert trained / (2 * model.summary()["macs"]) == pytest.approx(3.0, rel=0.06)  # the image has no gradient


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_convolution_has_whole_groups_and_no_size_is_negative(name: str) -> None:
    for block in load_model(name).workload(Request()).graph.blocks:
        for o in block.operators:
            if o.op == "conv2d":
                assert o.shape["c_in"] % o.shape["groups"] == 0 == o.shape["c_out"] % o.shape["groups"], o
            assert all(np.all(np.asarray(value) >= 0) for value in o.shape.values()), o


def test_squeeze_and_excitation_has_its_hand_computed_parameters() -> None:
    plain, squeezed = load_model("resnet-50"), load_model("resnet-50", {"attention": "squeeze", "ratio": 0.25})
    stages = ((3, 256), (4, 512), (6, 1024), (3, 2048))
    added = sum(depth * (2 * width * width // 4 + width // 4 + width) for depth, width in stages)
    assert squeezed.summary()["parameters"] - plain.summary()["parameters"] == added


def test_a_regnet_has_the_stages_of_the_paper() -> None:
    model = load_model("regnetx-032")  # Radosavovic et al. 2020, table 16: depths 2, 6, 15, 2
    assert isinstance(model, RegNet)
    assert model.stages() == [(96, 48, 2), (192, 48, 6), (432, 48, 15), (1008, 48, 2)]


def test_compound_scaling_makes_the_larger_efficientnets_of_the_smallest() -> None:
    scaled = load_model("efficientnet-b0", {"width": 2.0, "depth": 3.1, "image": 600})
    assert scaled.summary()["parameters"] == load_model("efficientnet-b7").summary()["parameters"] == 66_347_960


def test_a_dense_layer_joins_what_every_layer_before_it_made() -> None:
    graph = load_model("densenet121").workload(Request()).graph
    layers = [block for block in graph.blocks if block.name.startswith("stage1.")]
    assert [block.operators[-1].shape["hidden"] for block in layers] == [64 + 32 * i for i in range(1, 7)]


def test_merged_branches_are_plain_convolutions() -> None:
    blocks = load_model("repvgg-b0").workload(Request()).graph.blocks
    assert sum(b.count for b in blocks for o in b.operators if o.op == "conv2d") == 1 + 4 + 6 + 16 + 1
    assert not any(o.op == "norm" for b in blocks for o in b.operators)


@pytest.mark.parametrize(
    "text", ["ir_k3_e6_c24", "ds_r1_k3_s1_e1_c16_se0.25", "uir_r2_a3_k5_s1_e4_c256", "cn_c16_skip"]
)
def test_a_row_says_the_same_as_its_text(text: str) -> None:
    row = parsed(text)
    assert row.kind == text.split("_")[0]
    assert f"c{row.channels}" in text
    assert row.repeat == (2 if "r2" in text else 1)
    assert row.skip is (True if "skip" in text else None)
    assert row.start == ((3,) if "a3" in text else (0,) if row.kind == "uir" else (1,))


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "vit-base"])
def test_a_repeated_block_equals_the_unrolled_network(name: str) -> None:
    graph = load_model(name).workload(Request(batch=3)).graph
    unrolled = graph.unrolled()
    assert unrolled.parameters == graph.parameters
    assert unrolled.macs() == graph.macs()
    assert len(unrolled.blocks) > len(graph.blocks)


@pytest.mark.parametrize("name", ["resnet-18", "mobilenet-v2", "vit-base"])
def test_many_batches_at_once_equal_one_after_the_other(name: str) -> None:
    model, batches = load_model(name), np.array([1, 4, 32])
    together = lower(model.workload(Request(batch=batches)).passes)
    work = count_work(together.table)
    for s, batch in enumerate(batches):
        alone = count_work(lower(model.workload(Request(batch=int(batch))).passes).table)
        np.testing.assert_array_equal(work.flop[together.scenario == s], alone.flop)
        np.testing.assert_array_equal(work.bytes_moved[together.scenario == s], alone.bytes_moved)


@given(batch=st.integers(1, 4096))
def test_macs_are_proportional_to_the_batch(batch: int) -> None:
    model = MobileNet("m")
    assert model.workload(Request(batch=batch)).graph.macs() == batch * model.workload(Request()).graph.macs()


@given(image=st.integers(64, 512), width=st.floats(0.1, 3.0))
def test_a_wider_network_never_has_fewer_parameters_or_macs(image: int, width: float) -> None:
    model = MobileNet("m", image=image, width=width)
    wider = MobileNet("m", image=image, width=width * 1.3)
    assert wider.summary()["parameters"] >= model.summary()["parameters"]
    assert wider.summary()["macs"] >= model.summary()["macs"]


@pytest.mark.parametrize(("asked", "channels"), [(3.2, 8), (11.2, 16), (12.0, 16), (16.0, 16), (33.6, 32), (22.4, 24)])
def test_channels_are_rounded_to_eights_as_the_authors_do(asked: float, channels: int) -> None:
    assert divisible(asked) == channels


def test_a_number_format_changes_bytes_and_not_work() -> None:
    model = load_model("vit-base")
    half, single = (lower(model.workload(Request(dtype=d)).passes).table for d in ("fp16", "fp32"))
    np.testing.assert_array_equal(count_work(half).flop, count_work(single).flop)
    assert count_work(single).bytes_moved.sum() == 2 * count_work(half).bytes_moved.sum()


def test_attention_of_a_network_with_small_weights_stays_in_a_wide_format() -> None:
    graph = load_model("vit-base").workload(Request(dtype="int8")).graph
    formats = {o.op: o.dtype for b in graph.blocks for o in b.operators}
    assert formats["gemm"] == "int8"
    assert formats["attention"] == formats["norm"] == "bf16"


def test_an_image_network_makes_one_pass_and_says_that_it_has_no_prompt() -> None:
    workload = load_model("resnet-50").workload(Request(batch=2, prompt=128))
    assert [run.name for run in workload.passes] == ["forward"]
    assert workload.tokens_out == 0
    assert "prompt" in workload.notes[-1]
    assert not load_model("resnet-50").workload(Request(batch=2)).notes


def test_a_training_step_costs_about_three_forward_passes() -> None:
    model = load_model("resnet-50")
    table = lower(model.workload(Request(batch=8, mode="train")).passes).table
    trained = float((np.broadcast_to(count_work(table).macs, table.rows) * table.full("count")).sum())
    assert trained / (8 * model.summary()["macs"]) == pytest.approx(3.0, rel=0.03)  # no gradient of the image


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("resnet-50", {"image": 0}, "image"),
        ("resnet-50", {"image": -224}, "image"),
        ("resnet-50", {"depths": "3,4,0"}, "depths"),
        ("resnet-18", {"groups": 2}, "bottleneck"),
        ("mobilenet-v2", {"width": float("nan")}, "width"),
        ("mobilenet-v2", {"rows": "ir_k3_e6_c24,conv3"}, "'conv3'.*written like 'ir_r2"),
        ("mobilenet-v2", {"rows": "ir_k3_c24"}, "without an expansion"),
        ("mobilenet-v2", {"rows": "ir_k3_e6"}, "without channels"),
        ("regnetx-002", {"w0": 20}, "multiple of 8"),
        ("vgg16", {"image": 16}, "no pixel left"),
        ("vgg16", {"depths": [1, 1]}, "one entry a stage"),
        ("convnext-tiny", {"depths": [1, 1]}, "one entry a stage"),
        ("mambaout-femto", {"depths": [1, 1]}, "one entry a stage"),
        ("resnet-18", {"middle": "splits"}, "bottleneck"),
        ("resnetv2-50", {"depths": [1, 1]}, "as many entries"),
        ("vovnet39a", {"layers": [5]}, "one entry a stage"),
        ("hgnetv2-b0", {"stem_widths": [16]}, "two entries"),
        ("cspresnet50", {"depths": [1]}, "one entry a stage"),
        ("ghostnet-100", {"kernels": [3]}, "one entry a block"),
        ("repvgg-b0", {"widths": [64]}, "one entry a stage"),
        ("dla34", {"levels": [1, 1]}, "one entry a stage"),
        ("xception41", {"exit": [728]}, "six entries"),
        ("hrnet-w18", {"modules": [1]}, "three entries"),
        ("dpn92", {"inner": 50}, "multiple of groups"),
        ("efficientmod-s", {"depths": [1]}, "one entry a stage"),
        ("vit-base", {"heads": 7}, "heads=7"),
        ("vit-base", {"patch": 512}, "patch"),
    ],
)
def test_a_knob_that_no_network_can_have_is_refused_by_name(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        load_model(name, changes)


def test_an_image_of_one_pixel_still_has_a_pixel_at_the_end() -> None:
    assert load_model("resnet-50", {"image": 1}).summary()["macs"] > 0


def test_an_unknown_knob_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="image"):
        load_model("resnet-50", {"imagesize": 224})


@pytest.mark.parametrize("batch", [0, -1, 1.5, float("nan"), float("inf")])
def test_a_batch_that_is_no_count_is_refused(batch: float) -> None:
    with pytest.raises(BadValueError, match="batch"):
        load_model("resnet-50").workload(Request(batch=batch))
