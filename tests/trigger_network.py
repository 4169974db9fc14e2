"""The network of `examples/trigger_nn_on_gpu.yaml`: a small convolutional network on a calorimeter image.

Write it anew with `python tests/trigger_network.py examples/trigger_nn.onnx`. Its input is the grid of 18 x 14 energies
(phi x eta) that calorimeter triggers see; weights are drawn from a fixed seed: times depend on sizes, not on weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20260101
PHI, ETA = 18, 14
CHANNELS = (12, 16)
HIDDEN = 24


def trigger_network() -> onnx.ModelProto:
    """Return the model: two convolutions, a pooling, two dense layers, one score; the batch is symbolic."""
    rng = np.random.default_rng(SEED)
    first, second = CHANNELS
    flat = second * (PHI // 2) * (ETA // 2)
    sizes = {
        "conv1.weight": (first, 1, 3, 3), "conv1.bias": (first,), "conv2.weight": (second, first, 3, 3),
        "conv2.bias": (second,), "dense1.weight": (flat, HIDDEN), "dense1.bias": (HIDDEN,),
        "dense2.weight": (HIDDEN, 1), "dense2.bias": (1,),
    }  # fmt: skip
    weights = [
        numpy_helper.from_array((0.1 * rng.standard_normal(size)).astype(np.float32), name)
        for name, size in sizes.items()
    ]
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["energies", "conv1.weight", "conv1.bias"], ["c1"], "conv1", **pads),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", **pads),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "dense1.weight", "dense1.bias"], ["d1"], "dense1"),
        helper.make_node("Relu", ["d1"], ["r3"], "relu3"),
        helper.make_node("Gemm", ["r3", "dense2.weight", "dense2.bias"], ["d2"], "dense2"),
        helper.make_node("Sigmoid", ["d2"], ["score"], "score"),
    ]
    image = helper.make_tensor_value_info("energies", TensorProto.FLOAT, ["events", 1, PHI, ETA])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["events", 1])
    graph = helper.make_graph(nodes, "trigger_nn", [image], [score], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="archcast")


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(trigger_network().SerializeToString(deterministic=True))
