"""Real ONNX files for tests and for trying the importer: networks as exporters write them, built with onnx.helper.

Run it to get ResNet-50 as a file: `python tests/onnx_models.py resnet-50.onnx`. Weights are external data in a sparse
file of zeros beside the model, so it takes no disk to speak of.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sizes = Sequence[int | str | None]


class GraphBuilder:
    """Collects nodes and initializers of a graph; every layer returns the name of its output."""

    def __init__(self, *, weights: str = "external", element: int = TensorProto.FLOAT) -> None:
        self.weights, self.element = weights, element
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.offset = 0

    def input(self, name: str, sizes: Sizes | None, element: int | None = None) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, element or self.element, sizes))
        return name

    def node(
        self, op: str, inputs: Sequence[str], name: str = "", outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        name = name or f"{op}_{len(self.nodes)}"
        written = list(outputs) or [f"{name}_out"]
        self.nodes.append(helper.make_node(op, list(inputs), written, name=name, **attributes))
        return written[0]

    def weight(self, name: str, sizes: Sequence[int]) -> str:
        """Add a stored tensor: `external`, or `inline` zeros."""
        if self.weights == "inline":
            self.initializers.append(helper.make_tensor(name, self.element, sizes, np.zeros(int(np.prod(sizes)))))
            return name
        tensor = TensorProto(name=name, data_type=self.element, dims=sizes, data_location=TensorProto.EXTERNAL)
        size_bytes = int(np.prod(sizes)) * 4
        for key, value in (("location", "weights.bin"), ("offset", self.offset), ("length", size_bytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.offset += size_bytes
        self.initializers.append(tensor)
        return name

    def constant(self, name: str, value: Any) -> str:
        """Add a small constant with its value."""
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def model(self, outputs: Mapping[str, Sizes | None], *, opset: int = 17, **fields: Any) -> onnx.ModelProto:
        element = fields.pop("output_element", self.element)
        infos = [helper.make_tensor_value_info(name, element, sizes) for name, sizes in outputs.items()]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, infos, self.initializers)
        imports = fields.pop("opset_imports", [helper.make_opsetid("", opset)])
        return helper.make_model(graph, opset_imports=imports, ir_version=8, **fields)

    def save(self, path: Path, outputs: Mapping[str, Sizes | None], **fields: Any) -> Path:
        """Write the model, and beside it the sparse file of its external weights."""
        path.write_bytes(self.model(outputs, **fields).SerializeToString())
        if self.offset:
            with (path.parent / "weights.bin").open("wb") as file:
                file.truncate(self.offset)
        return path


class ConvNet(GraphBuilder):
    """Adds convolutions with batch normalisation, as an exporter in evaluation mode without folding writes them."""

    def conv(
        self, x: str, name: str, c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1,
        act: str = "Relu", norm: bool = True,
    ) -> str:  # fmt: skip
        w = self.weight(f"{name}.weight", (c_out, c_in // groups, kernel, kernel))
        bias = [] if norm else [self.weight(f"{name}.bias", (c_out,))]
        pad = kernel // 2
        sizes: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [pad] * 4,
            "group": groups,
        }
        x = self.node("Conv", [x, w, *bias], name, **sizes)
        if norm:
            parts = [self.weight(f"{name}.bn.{part}", (c_out,)) for part in ("weight", "bias", "mean", "var")]
            x = self.node("BatchNormalization", [x, *parts], f"{name}.bn", epsilon=1e-5)
        return self.node(act, [x], f"{name}.act") if act else x


def resnet50(path: Path, *, batch: int | str = "batch", image: int = 224, weights: str = "external") -> Path:
    """Write ResNet-50 (v1.5) as PyTorch exports it, 1000 classes."""
    g = ConvNet(weights=weights)
    x = g.conv(g.input("image", [batch, 3, image, image]), "stem", 3, 64, 7, stride=2)
    x = g.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for i in range(depth):
            name, stride = f"layer{stage + 1}.{i}", 2 if stage and not i else 1
            y = g.conv(x, f"{name}.conv1", channels, width, 1)
            y = g.conv(y, f"{name}.conv2", width, width, 3, stride=stride)
            y = g.conv(y, f"{name}.conv3", width, 4 * width, 1, act="")
            if not i:
                x = g.conv(x, f"{name}.downsample", channels, 4 * width, 1, stride=stride, act="")
            x = g.node("Relu", [g.node("Add", [y, x], f"{name}.add")], f"{name}.relu")
            channels = 4 * width
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x], "avgpool")], "flatten")
    g.node("Gemm", [x, g.weight("fc.weight", (1000, 2048)), g.weight("fc.bias", (1000,))], "fc", ["logits"], transB=1)
    return g.save(path, {"logits": [batch, 1000]})


def transformer(
    path: Path, *, batch: int | str = "batch", tokens: int | str = "sequence", hidden: int = 64, heads: int = 4,
    vocab: int = 100,
) -> Path:  # fmt: skip
    """Write an embedding and an encoder layer as PyTorch exports them: shapes by arithmetic, GELU by erf."""
    g = GraphBuilder(weights="inline")
    ids = g.input("ids", [batch, tokens], TensorProto.INT64)
    head = hidden // heads
    x = g.node("Gather", [g.weight("embed", (vocab, hidden)), ids], "embedding")
    shape = g.node("Shape", [ids], "shape")
    for place, name in enumerate(("b", "t")):
        g.node("Gather", [shape, g.constant(f"at_{name}", np.array([place]))], f"size_{name}", [name], axis=0)
    g.constant("heads", np.array([heads]))
    g.constant("head", np.array([head]))
    g.constant("width", np.array([hidden]))
    split = g.node("Concat", ["b", "t", "heads", "head"], "split_shape", axis=0)
    joined = g.node("Concat", ["b", "t", "width"], "joined_shape", axis=0)
    parts = {}
    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        y = g.node("MatMul", [x, g.weight(f"{name}.weight", (hidden, hidden))], name)
        y = g.node("Add", [y, g.weight(f"{name}.bias", (hidden,))], f"{name}.add")
        parts[name] = g.node("Transpose", [g.node("Reshape", [y, split], f"{name}.view")], f"{name}.t", perm=order)
    scores = g.node("MatMul", [parts["q"], parts["k"]], "scores")
    scores = g.node("Div", [scores, g.constant("scale", np.float32(head**0.5))], "scaled")
    probabilities = g.node("Softmax", [scores], "softmax", axis=-1)
    mixed = g.node("Transpose", [g.node("MatMul", [probabilities, parts["v"]], "mix")], "mix.t", perm=[0, 2, 1, 3])
    y = g.node("MatMul", [g.node("Reshape", [mixed, joined], "mix.view"), g.weight("o.weight", (hidden, hidden))], "o")
    x = g.node("Add", [g.node("Add", [y, g.weight("o.bias", (hidden,))], "o.add"), x], "residual")
    x = g.node(
        "LayerNormalization", [x, g.weight("ln.weight", (hidden,)), g.weight("ln.bias", (hidden,))], "ln", axis=-1
    )
    y = g.node("MatMul", [x, g.weight("up.weight", (hidden, 4 * hidden))], "up")
    y = g.node("Add", [y, g.weight("up.bias", (4 * hidden,))], "up.add")
    erf = g.node("Erf", [g.node("Div", [y, g.constant("root2", np.float32(2**0.5))], "gelu.div")], "gelu.erf")
    one = g.node("Add", [erf, g.constant("one", np.float32(1))], "gelu.one")
    y = g.node("Mul", [g.node("Mul", [y, one], "gelu.mul"), g.constant("half", np.float32(0.5))], "gelu.half")
    y = g.node("MatMul", [y, g.weight("down.weight", (4 * hidden, hidden))], "down")
    g.node("Add", [y, g.weight("down.bias", (hidden,))], "down.add", ["y"])
    return g.save(path, {"y": [batch, tokens, hidden]})


def small_cnn(path: Path, *, batch: int | str = "batch", custom: bool = False) -> Path:
    """Write a small network with inline weights; `custom` puts an operator of a vendor's domain in the middle."""
    g = ConvNet(weights="inline")
    x = g.conv(g.input("image", [batch, 3, 32, 32]), "conv1", 3, 8, 3, norm=False)
    if custom:
        x = g.node("Sparkle", [x], "sparkle", domain="com.example")
    x = g.conv(x, "conv2", 8, 16, 3, stride=2)
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x], "avgpool")], "flatten")
    g.node("Gemm", [x, g.weight("fc.weight", (10, 16)), g.weight("fc.bias", (10,))], "fc", ["y"], transB=1)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    return g.save(path, {"y": [batch, 10]}, opset_imports=imports)


if __name__ == "__main__":
    print(resnet50(Path(sys.argv[1] if len(sys.argv) > 1 else "resnet-50.onnx")))
