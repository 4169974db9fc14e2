"""ZigZag's answers per layer: some as committed facts, all 95 where the measured data lies beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from costmodel.evaluation.zigzag import LayerRows, evaluate_zigzag, layer_lines, network_layers, read_rows
from costmodel.spatial.architectures import ARCHITECTURES, FORMAT_BITS
from costmodel.spatial.hierarchy import DIMS
from costmodel.spatial.layers import Layers
from costmodel.spatial.nest import Nest
from costmodel.spatial.nest_costs import evaluate
from costmodel.spatial.orders import best_orders

DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
TPU, EDGE = "zigzag-tpu-like", "zigzag-edge-tpu-like"
FACTS = [
    # architecture, (groups, k, c, oy = ox, fy = fx, stride, padding), cycles, pJ: zigzag-dse 3.9.1, opt latency,
    # LOMA, lpf_limit 4 (KU Leuven MICAS, MIT); resnet18.onnx and mobilenetv2.onnx that it ships
    (TPU, (1, 64, 3, 112, 7, 2, 5), 1_248_163, 128_899_782.6),  # conv1
    (TPU, (1, 64, 64, 56, 3, 1, 2), 138_048, 66_996_199.9),  # layer1
    (TPU, (1, 128, 64, 28, 1, 2, 0), 18_879, 16_432_105.6),  # layer2.0 downsample
    (TPU, (1, 256, 256, 14, 3, 1, 2), 123_934, 88_387_503.4),  # layer3
    (TPU, (1, 512, 512, 7, 3, 1, 2), 299_983, 239_327_692.4),  # layer4
    (TPU, (32, 1, 1, 112, 3, 1, 2), 3_662_850, 126_423_218.9),  # features.1 depthwise
    (TPU, (1, 96, 16, 112, 1, 1, 0), 175_663, 137_589_937.2),  # features.2 expand: outputs beyond the buffer
    (TPU, (1, 144, 24, 56, 1, 1, 0), 64_343, 52_539_549.6),  # features.3 expand: 144 on 32 columns
    (EDGE, (1, 64, 64, 56, 3, 1, 2), 137_986, 71_980_245.1),  # layer1
    (EDGE, (1, 256, 256, 14, 3, 1, 2), 155_264, 88_325_272.3),  # layer3: 14 rows on 4
    (EDGE, (1, 512, 512, 7, 3, 1, 2), 299_585, 239_487_231.4),  # layer4
]  # fmt: skip


def layer_of(shape: tuple[int, ...]) -> Layers:
    groups, k, c, size, kernel, stride, padding = map(float, shape)
    return Layers(1.0, groups, k, c, size, size, kernel, kernel, stride, **FORMAT_BITS, pad_y=padding, pad_x=padding)


@pytest.mark.parametrize(("device", "shape", "cycles", "energy_pj"), FACTS)
def test_the_fastest_order_costs_what_zigzag_says(
    device: str, shape: tuple[int, ...], cycles: float, energy_pj: float
) -> None:
    best = best_orders(layer_of(shape), ARCHITECTURES[device](), "latency", 4).costs
    assert best.cycles[0] == pytest.approx(cycles, rel=0.10)
    assert best.energy_pj[0] == pytest.approx(energy_pj, rel=0.10)


def test_the_cycles_of_a_layer_that_fits_are_those_of_the_tool_exactly() -> None:
    # 112,896 of the loops, 25,088 to load the inputs (200,704 B by 8 B a cycle), 2 for the last output, 62 of skew
    hierarchy = ARCHITECTURES[TPU]()
    best = best_orders(layer_of((1, 64, 64, 56, 3, 1, 2)), hierarchy, "latency", 4)
    costs = best.costs
    assert (costs.temporal_cycles[0], costs.load_cycles[0], costs.skew_cycles[0]) == (112_896, 25_088 + 2, 62)
    assert costs.stall_cycles[0] == 0
    # inner to outer C 2, FY 3, FX 3, OY 56, OX 56, K 2: the order that the tool chose
    dims = [DIMS.index(dim) for dim in ("C", "FY", "FX", "OY", "OX", "K")]
    nest = Nest(best.nest.layers, np.array([dims]), np.array([[2.0, 3, 3, 56, 56, 2]]), ({"K": 32.0}, {"C": 32.0}))
    given = evaluate(nest, hierarchy)
    assert given.cycles[0] == 138_048
    assert given.energy_pj[0] == pytest.approx(66_996_199.9, rel=0.003)
    # the tool's words: weights 36,864 into registers, inputs 25,088 from DRAM, outputs 25,088 to it
    moved = {move: float(bits[0]) for move, bits in zip(given.moves, given.moved_bits, strict=True)}
    assert moved["rf_128B", "W fill"] / 8 == 36_864
    assert moved["dram", "I feed"] / 64 == moved["dram", "O sink"] / 64 == 25_088
    assert moved["sram_2MB", "I feed"] / 2048 == 14_112


def test_weights_beyond_the_registers_bind_the_last_stage() -> None:
    # 2.36 MB of weights by 8 B a cycle are 294,912 cycles, the loops 112,896
    costs = best_orders(layer_of((1, 512, 512, 7, 3, 1, 2)), ARCHITECTURES[TPU](), "latency", 4).costs
    assert costs.temporal_cycles[0] + costs.stall_cycles[0] == pytest.approx(294_912, rel=0.01)
    assert costs.stall_cycles[0] > costs.onchip_stall_cycles[0]


def test_our_networks_have_the_layers_that_the_tool_ran() -> None:
    layers = network_layers("resnet-18")
    assert len(layers.macs) == 21
    assert layers.macs.sum() == 1_814_073_344
    assert len(network_layers("mobilenet-v2").macs) == 53


@pytest.fixture(scope="module")
def rows() -> list[LayerRows]:
    if not (DATA / "zigzag").is_dir():
        pytest.skip("the measured data is not beside the repository (ARCHCAST_DATA)")
    return read_rows(DATA)


def test_every_convolution_of_the_95_rows_is_within_a_quarter(rows: list[LayerRows]) -> None:
    assert sum(len(found.layer) for found in rows) == 95
    for found in rows:
        for quantity, most in (("cycles", 0.10), ("energy_pj", 0.25)):
            assert np.abs(found.errors(quantity))[found.is_conv].max() <= most


def test_scores_and_lines_name_each_network_and_architecture(rows: list[LayerRows]) -> None:
    scores = evaluate_zigzag(rows)
    assert {(s.device, s.split) for s in scores} == {
        (device, f"{network} {quantity}{which}")
        for network, device in (("resnet-18", TPU), ("mobilenet-v2", TPU), ("resnet-18", EDGE))
        for quantity in ("cycles", "energy")
        for which in ("", ": worst convolution")
    }
    assert all(s.mape < 0.05 for s in scores if "worst" not in s.split)
    assert all(s.mape <= 0.25 for s in scores)
    assert len(layer_lines(rows)) > 50
