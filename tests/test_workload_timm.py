"""Every image network with a name in timm's tables has the multiply-accumulates and parameters that stand there."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from workloads.catalogue import load_model
from workloads.model import Request

MACS_LIMIT = 0.02
PARAMETER_LIMIT = 0.01
"""Relative; beyond half a unit of the table's last decimal, and nothing else."""


def counts_module() -> ModuleType:
    """The benchmark that compares: `benchmarks` is a folder of scripts, not a package."""
    if "vision_counts" not in sys.modules:
        path = Path(__file__).resolve().parents[1] / "benchmarks" / "vision_counts.py"
        spec = importlib.util.spec_from_file_location("vision_counts", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["vision_counts"] = module
        spec.loader.exec_module(module)
    return sys.modules["vision_counts"]


counts = counts_module()
NETWORKS: list[str] = counts.timm_networks()


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> dict[str, list[object]]:
    found: dict[str, list[object]] = counts.timm_rows(shared_data)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_and_parameters_are_those_of_timms_table(name: str, rows: dict[str, list[object]]) -> None:
    compared = list(counts.compare(name, rows))
    assert compared, f"timm's table has no row for '{name}'"
    for one in compared:
        assert one.macs_error < MACS_LIMIT, one
        assert one.parameter_error < PARAMETER_LIMIT, one


def test_at_least_three_hundred_networks_of_forty_families_are_compared() -> None:
    names = {counts.architecture_facts(name)["timm"] for name in NETWORKS}
    assert len(names) >= 300
    assert len({counts.family_of(name) for name in names}) >= 40


def test_no_two_networks_of_the_catalogue_claim_one_row() -> None:
    names = [counts.architecture_facts(name)["timm"] for name in NETWORKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("timm", "family"),
    [
        ("resnet50", "resnet"),
        ("seresnetaa50d", "resnet"),
        ("wide_resnet50_2", "resnet"),
        ("resnext50_32x4d", "resnext"),
        ("resnetv2_50x1_bit", "resnetv2"),
        ("res2net50_26w_4s", "res2net"),
        ("tf_efficientnetv2_s", "efficientnetv2"),
        ("tf_efficientnet_lite0", "efficientnet"),
        ("mobilenetv3_large_100", "mobilenetv3"),
        ("regnetz_040_h", "regnet"),
        ("vit_base_patch16_224", "vit"),
        ("swinv2_tiny_window8_256", "swinv2"),
    ],
)
def test_a_family_is_one_paper_with_its_variants(timm: str, family: str) -> None:
    assert counts.family_of(timm) == family


def test_the_counter_adds_two_for_a_batch_and_five_for_a_layer_normalisation() -> None:
    for name, each in (("resnet-50", 2), ("convnext-tiny", 5)):
        graph = load_model(name).workload(Request()).graph
        elements = sum(
            block.count * o.shape["rows"] * o.shape["hidden"]
            for block in graph.blocks
            for o in block.operators
            if o.op == "norm"
        )
        whole, plain = counts.counted_macs(graph)
        assert plain == graph.macs()
        assert whole - plain == each * elements > 0


def test_attention_that_the_counter_does_not_see_is_left_out() -> None:
    graph = load_model("vit-base").workload(Request()).graph
    seen, unseen = (counts.counted_macs(graph, how)[1] for how in ("", "no-attention"))
    assert seen - unseen == 12 * 2 * 197 * 197 * 768  # layers x (scores, values) x pairs x features


def test_a_network_is_held_to_the_row_of_its_form_and_to_the_newest_of_that(tmp_path: Path) -> None:
    lines = [
        "config,model,infer_gmacs,infer_img_size,param_count",
        "infer-amp-pt113-a,net.tag,3.40,224.0,15.82",
        "infer-amp-pt291-a,net.tag,3.06,224.0,14.34",
        "infer-amp-pt210-a,net,3.41,224.0,15.83",
        "infer-amp-pt240-a,net,,224.0,15.82",
    ]
    (tmp_path / "timm").mkdir()
    with gzip.open(tmp_path / "timm" / "benchmark.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    found = {(row.macs, row.parameters) for row in counts.timm_rows(tmp_path)["net"]}
    assert found == {(3.41e9, 15.83e6), (3.06e9, 14.34e6)}


def test_standardised_filters_count_so_many_operations_a_weight() -> None:
    graph = load_model("nfnet-f0").workload(Request()).graph
    filters = sum(
        block.count * o.shape["kh"] * o.shape["kw"] * o.shape["c_in"] // o.shape["groups"] * o.shape["c_out"]
        for block in graph.blocks
        for o in block.operators
        if o.op == "conv2d"
    )
    whole, plain = counts.counted_macs(graph, "standardised-5")
    assert whole - plain == 5 * filters


def test_depthwise_convolutions_that_the_counter_does_not_see_are_left_out() -> None:
    graph = load_model("convmixer-1536-20").workload(Request()).graph
    seen, unseen = (counts.counted_macs(graph, how)[1] for how in ("", "no-depthwise"))
    assert seen - unseen == 20 * 9 * 9 * 32 * 32 * 1536


@pytest.mark.parametrize(("found", "error"), [(1.0e9, 0.0), (1.004e9, 0.0), (1.015e9, 0.01), (0.985e9, 0.01)])
def test_an_error_counts_from_half_a_unit_of_the_last_decimal(found: float, error: float) -> None:
    assert counts.relative(found, 1.0e9, counts.ROUNDING_MACS) == pytest.approx(error, abs=1e-12)
