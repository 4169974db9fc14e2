"""What multiply-accumulates do not explain: depthwise windows, modulation, cut maps, factors, fusion."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.evaluation.operator_gaps import evaluate_gaps, gap_of, read_gaps
from costmodel.measured.base import ImportRequest, find_importer
from costmodel.physics import predict_physics, stages
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.graph import Block, Operator, WorkloadGraph, as_table
from workloads.model import Request
from workloads.rewrites import low_rank, unfuse
from workloads.table import OpTable
from workloads.work import count_work
from workloads.workload_measurements import WorkloadMeasurements

GPU = compile_rates(load_device("a40"))
SIDE, CHANNELS, BATCH = 56, 128, 64


def conv(kernel: int, groups: int = 1, c_in: int = CHANNELS, c_out: int = CHANNELS, name: str = "conv") -> Operator:
    shape = {
        "batch": BATCH, "c_in": c_in, "h": SIDE, "w": SIDE, "c_out": c_out, "kh": kernel, "kw": kernel, "stride": 1,
        "padding": kernel // 2, "groups": groups,
    }  # fmt: skip
    return Operator(name, "conv2d", shape, dtype="fp16", parameters=float(c_in // groups * kernel**2 * c_out))


def seconds(*operators: Operator) -> float:
    return float(predict_physics(as_table(list(operators)), GPU).latency_s.sum())


def ideal(*operators: Operator) -> float:
    table: OpTable = as_table(list(operators))
    return float(stages(table, count_work(table), GPU).ideal_s.sum())


def gap(*operators: Operator) -> float:
    """Return the time over that of the multiply-accumulates at the peak."""
    return seconds(*operators) / ideal(*operators)


def graph_of(name: str, batch: int = 1, **knobs: object) -> WorkloadGraph:
    (run,) = load_model(name, knobs).workload(Request(batch=batch, dtype="fp16")).passes
    return run.graph


def operators_of(graph: WorkloadGraph) -> list[tuple[int, Operator]]:
    return [(int(block.count), o) for block in graph.blocks for o in block.operators]


def test_the_gap_of_a_window_grows_as_channels_mix_less() -> None:
    dense, grouped, depthwise = conv(3), conv(3, groups=8), conv(3, groups=CHANNELS)
    assert gap(dense) < gap(grouped) < gap(depthwise)
    assert gap(depthwise) > 10 * gap(dense)
    assert seconds(depthwise) < seconds(dense)  # fewer operations still take less time


def test_a_small_depthwise_window_costs_its_bytes_whatever_its_size() -> None:
    assert seconds(conv(3, groups=CHANNELS)) == pytest.approx(seconds(conv(5, groups=CHANNELS)), rel=0.02)


def test_a_large_window_has_more_work_a_byte_and_so_a_smaller_gap_than_a_small_one() -> None:
    kernels = [3, 5, 7, 13, 31]
    gaps = [gap(conv(kernel, groups=CHANNELS)) for kernel in kernels]
    times = [seconds(conv(kernel, groups=CHANNELS)) for kernel in kernels]
    assert all(large <= small * 1.001 for small, large in pairwise(gaps))
    assert all(long >= short for short, long in pairwise(times))
    assert gap(conv(3)) < gaps[-1] < 0.5 * gaps[0]
    assert times[-1] > 10 * times[0]


@settings(max_examples=30, deadline=None)
@given(kernel=st.integers(1, 15).map(lambda i: 2 * i + 1), channels=st.sampled_from([16, 64, 96, 256]))
def test_no_window_is_faster_than_its_operations_at_the_peak(kernel: int, channels: int) -> None:
    for groups in (1, channels):
        assert gap(conv(kernel, groups, channels, channels)) >= 1


def test_replknet_spends_more_of_its_time_than_of_its_operations_in_large_windows() -> None:
    layers = [(n, o) for n, o in operators_of(graph_of("replknet-31b", batch=32)) if o.op == "conv2d"]
    windows = [(n, o) for n, o in layers if o.name.endswith("large.window")]
    macs = sum(
        n * 32 * float(o.shape["h"]) ** 2 * float(o.shape["kh"]) ** 2 * float(o.shape["c_in"]) for n, o in windows
    )
    by_hand = 32 * sum(
        depth * side**2 * kernel**2 * width
        for depth, side, kernel, width in ((2, 56, 31, 128), (2, 28, 29, 256), (18, 14, 27, 512), (2, 7, 13, 1024))
    )
    assert macs == by_hand
    share = sum(n * ideal(o) for n, o in windows) / sum(n * ideal(o) for n, o in layers)
    assert sum(n * seconds(o) for n, o in windows) / sum(n * seconds(o) for n, o in layers) > 2 * share


def test_modulation_multiplies_two_maps_in_a_kernel_of_its_own() -> None:
    for name, width in (("conv2former-t", 72), ("focalnet-tiny-lrf", 96)):
        _, product = next(pair for pair in operators_of(graph_of(name)) if pair[1].name.endswith("modulate"))
        work = count_work(as_table([product]))
        assert float(work.input_bytes.sum()) == 2 * 2 * SIDE**2 * width
        assert float(work.output_bytes.sum()) == 2 * SIDE**2 * width
        assert float(work.matrix_flop.sum() if hasattr(work.matrix_flop, "sum") else work.matrix_flop) == 0


def test_modulation_and_windows_have_a_larger_gap_than_plain_attention_of_as_many_macs() -> None:
    plain = gap_of("vit-small-patch16-224", 224, 256, "a40").predicted_ratio
    for name in ("focalnet-tiny-lrf", "conv2former-t", "swin-tiny"):
        assert load_model(name).summary()["macs"] == pytest.approx(load_model("vit-small").summary()["macs"], rel=0.06)
        assert gap_of(name, 224, 256, "a40").predicted_ratio > 1.2 * plain


def test_a_map_that_is_no_multiple_of_the_window_is_padded_to_whole_windows() -> None:
    _, attention = next(p for p in operators_of(graph_of("swin-tiny", image=232)) if p[1].op == "attention")
    assert float(attention.shape["batch"]) == 9**2  # a map of 58 x 58 and windows of 7 x 7: 63 x 63
    even = next(o for _, o in operators_of(graph_of("swin-tiny", image=224)) if o.op == "attention")
    assert float(even.shape["batch"]) == 8**2


def test_rolling_the_map_costs_copies_and_no_operations() -> None:
    merged, rolled = graph_of("swin-tiny", batch=64), graph_of("swin-tiny-rolled", batch=64)
    assert merged.macs() == rolled.macs()
    assert merged.parameters == rolled.parameters
    copies = [sum(n for n, o in operators_of(graph) if o.op == "copy") for graph in (merged, rolled)]
    assert copies[1] == copies[0] + 2 * 5  # two a shifted block but the last, whose map is one window
    assert gap_of("swin-tiny-rolled", 224, 64, "a40").fused_s > gap_of("swin-tiny", 224, 64, "a40").fused_s


def test_a_window_as_large_as_the_map_is_not_cut() -> None:
    names = [o.name for _, o in operators_of(graph_of("swin-tiny", windows=[7, 7, 7, 7])) if o.op == "copy"]
    assert not [name for name in names if "attention" in name and "stage4" in name]
    whole = graph_of("swin-tiny", windows=[56])
    assert not [o for _, o in operators_of(whole) if o.op == "copy" and "window" in o.name]


def test_a_factorised_convolution_saves_less_time_than_operations() -> None:
    block = WorkloadGraph("net", (Block("block", (conv(3, c_in=CHANNELS, c_out=CHANNELS),)),))
    factored = low_rank(block, "conv", 32)
    before, after = ([o for _, o in operators_of(graph)] for graph in (block, factored))
    assert ideal(*after) / ideal(*before) == pytest.approx((9 * 128 * 32 + 32 * 128) / (9 * 128 * 128))
    assert 1 > seconds(*after) / seconds(*before) > 1.5 * ideal(*after) / ideal(*before)
    assert gap(*after) > gap(*before)


def test_a_window_in_two_strips_has_fewer_operations_and_a_larger_gap() -> None:
    square = conv(7)
    sizes = {"padding": 0, "out_h": SIDE, "out_w": SIDE}
    shapes = [{**conv(7).shape, **sizes, "kh": high, "kw": wide} for high, wide in ((1, 7), (7, 1))]
    weights = float(7 * CHANNELS**2)
    strips = [replace(conv(7), name=f"{i}", shape=shape, parameters=weights) for i, shape in enumerate(shapes)]
    assert ideal(*strips) == pytest.approx(2 / 7 * ideal(square))
    assert gap(*strips) > gap(square)


def test_a_fused_inverted_residual_has_more_operations_and_a_smaller_gap_than_a_separable_one() -> None:
    inner = 4 * CHANNELS
    project = conv(1, c_in=inner, name="project")
    fused = (conv(3, c_out=inner), project)
    separable = (conv(1, c_out=inner), conv(3, inner, inner, inner, name="depthwise"), project)
    assert ideal(*fused) > 4 * ideal(*separable)
    assert gap(*fused) < gap(*separable) / 2
    assert seconds(*fused) > seconds(*separable)  # with 128 channels; below 64 the order turns


@pytest.mark.parametrize("width", [16, 32])
def test_with_few_channels_fusing_is_faster_in_spite_of_four_times_the_operations(width: int) -> None:
    """LowFormer fuses inverted residuals of few channels for this (Nottebaum et al. 2024, section 3)."""
    inner, project = 4 * width, conv(1, c_in=4 * width, c_out=width, name="project")
    fused = (conv(3, c_in=width, c_out=inner), project)
    separable = (conv(1, c_in=width, c_out=inner), conv(3, inner, inner, inner, name="depthwise"), project)
    assert ideal(*fused) > 3.5 * ideal(*separable)
    assert seconds(*fused) < 0.75 * seconds(*separable)


@pytest.mark.parametrize("name", ["resnet-50", "mobilenet-v2", "lowformer-b1", "replknet-31b", "convnext-tiny"])
def test_running_pointwise_operators_by_themselves_costs_time_and_changes_no_product(name: str) -> None:
    graph = graph_of(name, batch=8)
    folded, eager = unfuse(graph, norms=False), unfuse(graph)
    assert graph.macs() == folded.macs() == eager.macs()
    assert graph.parameters == folded.parameters == eager.parameters
    assert not [o for _, o in operators_of(eager) if o.fused]
    assert {o.op for _, o in operators_of(folded) if o.fused} <= {"norm"}
    times = [sum(n * seconds(o) for n, o in operators_of(g) if not o.fused) for g in (graph, folded, eager)]
    assert times == sorted(times)
    assert times[0] < times[2]


def test_measured_gaps_rank_as_predicted_with_nothing_fitted(shared_data: Path) -> None:
    pieces = find_importer("timm").load(ImportRequest(shared_data))
    gaps = read_gaps(piece for piece in pieces if isinstance(piece, WorkloadMeasurements))
    (found,) = evaluate_gaps(gaps)
    assert (found.n, found.baseline) == (13, "all fused")
    assert found.rho > 0.85
    assert found.mape < found.baseline_mape
    ratios = [gap.measured_ratio for gap in gaps]
    assert max(ratios) > 10 * min(ratios)  # what multiply-accumulates alone are off by
