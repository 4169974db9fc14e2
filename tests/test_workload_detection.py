"""Networks written as rows: detectors, tiny networks, chains and branches, held to published counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from workloads.builders.vision.rows.network import RowNetwork
from workloads.builders.vision.rows.notation import parsed
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.graph import Pass
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.work import count_work

ALL = tuple(name for name in workload_names() if architecture_facts(name)["family"] == "rows")
ONE_OF_EACH = (
    "ds-cnn-kws", "resnet-8", "ad-autoencoder", "alexnet", "squeezenet-1.1", "shufflenet-v2-0.5", "googlenet",
    "inception-v3", "u-net", "ssd-mobilenet-v1", "ssdlite-mobilenet-v2", "ssd300-vgg16", "yolov5n", "yolov8n",
    "yolo11n", "yolo11m",
)  # fmt: skip
TORCHVISION = {  # parameters of torchvision 0.29, multiply-accumulates that PyTorch's counter finds
    "alexnet": (61_100_840, 714_188_480), "squeezenet-1.0": (1_248_424, 818_924_576),
    "squeezenet-1.1": (1_235_496, 349_151_936), "shufflenet-v2-0.5": (1_366_792, 40_476_448),
    "shufflenet-v2-1.0": (2_278_604, 144_907_992), "shufflenet-v2-1.5": (3_503_624, 295_759_392),
    "shufflenet-v2-2.0": (7_393_996, 583_253_464), "googlenet": (6_624_904, 1_498_376_192),
    "inception-v3": (23_834_568, 5_713_216_096), "ssd300-vgg16": (35_641_826, 34_858_153_472),
    "u-net": (31_030_658, 150_428_424_448),
}  # fmt: skip
TABLE = {  # parameters in millions and GFLOPs (2 FLOP a multiply-accumulate) of Ultralytics' model tables, 640 pixels
    "yolov5n": (1.9, 4.5), "yolov5s": (7.2, 16.5), "yolov5m": (21.2, 49.0), "yolov5l": (46.5, 109.1),
    "yolov5x": (86.7, 205.7), "yolov8n": (3.2, 8.7), "yolov8s": (11.2, 28.6), "yolov8m": (25.9, 78.9),
    "yolov8l": (43.7, 165.2), "yolov8x": (68.2, 257.8), "yolo11n": (2.6, 6.5), "yolo11s": (9.4, 21.5),
    "yolo11m": (20.1, 68.0), "yolo11l": (25.3, 86.9), "yolo11x": (56.9, 194.9),
}  # fmt: skip


def operators(network: Model) -> list[tuple[str, dict[str, Any]]]:
    """Return (operator, shape) of all operators with a kernel of their own, in order."""
    blocks = network.workload(Request()).graph.blocks
    return [(o.op, dict(o.shape)) for b in blocks for o in b.operators if not o.fused]


@pytest.mark.parametrize("name", ALL)
def test_parameters_and_macs_are_those_that_the_file_states(name: str) -> None:
    facts, summary = architecture_facts(name), load_model(name).summary()
    assert summary["parameters"] == pytest.approx(float(facts["published_parameters"]), rel=0.01)
    assert summary["macs"] == pytest.approx(float(facts["published_macs"]), rel=0.02)


@pytest.mark.parametrize("name", [name for name in ALL if "mobilenet-v" not in name])
def test_parameters_are_exact_where_the_source_prints_all_digits(name: str) -> None:
    assert load_model(name).summary()["parameters"] == architecture_facts(name)["published_parameters"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_network_has_exactly_the_parameters_and_macs_of_the_library(name: str) -> None:
    summary = load_model(name).summary()
    assert (summary["parameters"], summary["macs"]) == TORCHVISION[name]


def test_the_networks_of_mlperf_tiny_have_their_hand_computed_parameters() -> None:
    counts = {name: load_model(name).summary()["parameters"] for name in ("ds-cnn-kws", "ad-autoencoder")}
    window, pair, classifier = 40 * 64 + 64 + 128, 9 * 64 + 64 + 128 + 64 * 64 + 64 + 128, 64 * 12 + 12
    assert counts["ds-cnn-kws"] == window + 4 * pair + classifier
    hidden = 640 * 128 + 6 * 128 * 128 + 2 * 128 * 8 + 8 * 3 * 128 + 3 * 8  # a bias, a gain and a shift a feature
    assert counts["ad-autoencoder"] == hidden + 128 * 640 + 640


def test_distances_of_boxes_stay_in_a_wide_format() -> None:
    graph = load_model("yolo11n").workload(Request(dtype="int8")).graph
    formats = {o.op: o.dtype for b in graph.blocks for o in b.operators}
    assert formats["conv2d"] == "int8"
    assert formats["softmax"] == formats["attention"] == "bf16"


@pytest.mark.parametrize("name", TABLE)
def test_a_detector_has_the_parameters_and_gflops_of_its_makers_table(name: str) -> None:
    (millions, gflops), summary = TABLE[name], load_model(name).summary()
    assert summary["parameters"] / 1e6 == pytest.approx(millions, rel=0.01, abs=0.05)  # the column has one decimal
    assert 2 * summary["macs"] / 1e9 == pytest.approx(gflops, rel=0.01, abs=0.05)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_network_of_rows_scales_with_its_batch_and_keeps_its_parameters(name: str) -> None:
    model = load_model(name)
    one, many = (model.workload(Request(batch=batch)).graph for batch in (1, np.array([3, 8])))
    assert many.parameters == one.parameters == model.summary()["parameters"]
    lowered = lower((Pass("forward", many),))
    work = np.broadcast_to(count_work(lowered.table).macs, lowered.table.rows) * lowered.table.full("count")
    for scenario, batch in enumerate((3, 8)):
        assert work[lowered.scenario == scenario].sum() == batch * one.macs()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_network_of_rows_trains_for_about_three_forward_passes(name: str) -> None:
    model = load_model(name)
    table = lower(model.workload(Request(batch=2, mode="train")).passes).table
    trained = float((np.broadcast_to(count_work(table).macs, table.rows) * table.full("count")).sum())
    assert trained / (2 * model.summary()["macs"]) == pytest.approx(3.0, rel=0.15)  # the image has no gradient


def test_a_residual_addition_reads_both_maps() -> None:
    sums = [s for op, s in operators(load_model("resnet-8")) if op == "elementwise" and s.get("operands") == 2]
    assert [(s["rows"], s["hidden"]) for s in sums] == [(1024, 16), (256, 32), (64, 64)]


def test_branches_are_joined_and_a_fork_ends_a_branch() -> None:
    found = operators(RowNetwork.from_knobs("n", {"rows": "64x1|48x1-64x5|a3p1-32x1|24x1-16x1x3&8x3x1", "image": 10}))
    assert [s["c_out"] for op, s in found if op == "conv2d"] == [64, 48, 64, 32, 24, 16, 8]
    assert found[-1] == ("copy", {"rows": 100, "hidden": 64 + 64 + 32 + 16 + 8})


def test_a_row_reads_the_maps_that_it_names() -> None:
    found = operators(RowNetwork.from_knobs("n", {"rows": "a=8x3s2,16x3s2,up2,4x1@x.a", "image": 32}))
    assert found[-2] == ("copy", {"rows": 256, "hidden": 24})
    assert (found[-1][1]["c_in"], found[-1][1]["h"]) == (24, 16)


def test_a_transposed_convolution_has_four_windows_a_pixel() -> None:
    network = RowNetwork.from_knobs("n", {"rows": "t8", "image": 6, "channels": 16})
    assert network.summary()["parameters"] == 16 * 8 * 4 + 8
    assert network.summary()["macs"] == 36 * 16 * 8 * 4


def test_what_a_row_says_is_read_back() -> None:
    step = parsed("64x7s2p3g4cn").branches[0][0][0]
    assert step == ("conv", (64, 7), 2, 3, 4, "cn")
    row = parsed("n4=c2f:512r3n@x.p4")
    assert (row.name, row.sources, row.module) == ("n4", ("x", "p4"), ("c2f", (512,), 3, 1, 0.0, "n"))


def test_a_detector_says_that_it_leaves_out_the_suppression_of_boxes() -> None:
    assert "NMS" in load_model("yolov8n").workload(Request()).notes[0]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"rows": "64z3"}, BadValueError, "64z3"),
        ({"rows": "64x3@p9"}, UnknownNameError, "p9"),
        ({"rows": "c2g:64"}, UnknownNameError, "c2f"),
        ({"rows": "c2f:"}, BadValueError, "without channels"),
        ({"rows": "add:"}, BadValueError, "two maps"),
        ({"rows": "8x3s0"}, BadValueError, "outside"),
        ({"rows": "8x3,fit0"}, BadValueError, "outside"),
        ({"rows": "999999x3"}, BadValueError, "outside"),
        ({"rows": "9" * 5000 + "x3"}, BadValueError, "written like"),
        ({"rows": "c2f:9"}, BadValueError, "even"),
        ({"rows": "c2f:64r5000"}, BadValueError, "repeat"),
        ({"rows": "8x3,anchored:@x", "anchors": "3,3"}, BadValueError, "anchors"),
    ],
)
def test_a_row_that_means_nothing_is_refused_by_name(
    changes: dict[str, Any], error: type[ArchcastError], words: str
) -> None:
    with pytest.raises(error, match=words):
        RowNetwork.from_knobs("n", changes)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("6x3g4", "4 groups"),
        ("a=8x3s2,8x3s2,8x3@a.x", "do not fit"),
        ("8x3|m2s2", "other sizes"),
        ("a=8x3,16x3,add:@x.a", "do not fit"),
    ],
)
def test_maps_that_do_not_fit_are_refused_when_the_network_is_drawn(rows: str, words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        RowNetwork.from_knobs("n", {"rows": rows, "channels": 8}).workload(Request())


def test_an_image_that_a_detector_cannot_halve_evenly_is_refused() -> None:
    assert load_model("yolov8n", {"image": 672}).summary()["macs"] > load_model("yolov8n").summary()["macs"]
    with pytest.raises(BadValueError, match="image size"):
        load_model("yolov8n", {"image": 650}).workload(Request())
