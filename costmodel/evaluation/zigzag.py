"""ZigZag's answers per layer (ResNet-18, MobileNetV2 on its two architectures) beside ours: cycles and energy.

Both choose the fastest of all orders of at most four loop factors (its `lpf_limit` 4; the least energy among equals).
Nothing is fitted. A second answer searches more factors: where it is below ZigZag's, its mapping is better, not the
model of the cost. Baselines: multiply-accumulates over elements for cycles; for energy, arithmetic and each operand
once from device memory.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.spatial.architectures import ARCHITECTURES, FORMAT_BITS
from costmodel.spatial.hierarchy import Hierarchy
from costmodel.spatial.layers import Layers
from costmodel.spatial.orders import best_orders
from foundation.errors import BadFileError
from workloads.catalogue import load_model
from workloads.graph import Operator
from workloads.model import Request
from workloads.table import Array

FILE = "zigzag_3.9.1_layers.csv"
NETWORKS = {"resnet18.onnx": "resnet-18", "mobilenetv2.onnx": "mobilenet-v2"}
DEVICES = {"tpu_like": "zigzag-tpu-like", "edge_tpu_like": "zigzag-edge-tpu-like"}
ITS_FACTORS = 4
MORE_FACTORS = 7
IMAGE = 224
QUANTITIES = ("cycles", "energy_pj")


@dataclass(frozen=True)
class LayerRows:
    """One network on one architecture: a layer an entry, ZigZag's cycles and pJ, ours, and those of more factors."""

    network: str
    device: str
    layer: tuple[str, ...]
    is_conv: Array
    measured: dict[str, Array]
    ours: dict[str, Array]
    more: dict[str, Array]
    plain: dict[str, Array]
    orders: Array

    def errors(self, quantity: str) -> Array:
        """Return ours over ZigZag's, less one."""
        return np.asarray(self.ours[quantity] / self.measured[quantity] - 1)


def network_layers(network: str, image: int = IMAGE) -> Layers:
    """Return the convolutions and products of a network in the order of its graph, repeated blocks one by one."""
    run = load_model(network, {"image": image}).workload(Request(batch=1)).passes[0]
    found = [
        _bounds(operator)
        for block in run.graph.blocks
        for _ in range(int(block.count))
        for operator in block.operators
        if operator.op in ("conv2d", "gemm")
    ]
    names = ("batch", "groups", "k", "c", "oy", "ox", "fy", "fx", "stride", "pad_y", "pad_x")
    columns = dict(zip(names, np.array(found, float).T, strict=True))
    return Layers(**columns, **FORMAT_BITS)


def _bounds(operator: Operator) -> tuple[float, ...]:
    shape = operator.shape
    if operator.op == "gemm":
        return (shape["m"], 1, shape["n"], shape["k"], 1, 1, 1, 1, 1, 0, 0)
    kernel, stride, groups = (shape["kh"], shape["kw"]), shape["stride"], shape["groups"]
    out = [(size + 2 * shape["padding"] - taps) // stride + 1
           for size, taps in zip((shape["h"], shape["w"]), kernel, strict=True)]  # fmt: skip
    pad = [max((n - 1) * stride + taps - size, 0)
           for n, taps, size in zip(out, kernel, (shape["h"], shape["w"]), strict=True)]  # fmt: skip
    return (shape["batch"], groups, shape["c_out"] / groups, shape["c_in"] / groups, *out, *kernel, stride, *pad)


def read_rows(root: Path) -> list[LayerRows]:
    """Return the answers for every network and architecture of the data; `root` is the data's folder.

    Raises BadFileError: a layer's multiply-accumulates are not those of our graph.
    """
    path = root / "zigzag" / FILE
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = dict.fromkeys((row["workload"], row["hardware"]) for row in rows)
    return [
        answers(
            [row for row in rows if (row["workload"], row["hardware"]) == pair],
            NETWORKS[pair[0]], ARCHITECTURES[DEVICES[pair[1]]](), path,
        )
        for pair in pairs
    ]  # fmt: skip


def answers(rows: Sequence[dict[str, str]], network: str, hierarchy: Hierarchy, path: Path | str = FILE) -> LayerRows:
    """Return our answers for rows of one network on one architecture, in the order of its graph."""
    ordered = list(rows)
    for i in reversed(
        range(len(ordered) - 1)
    ):  # our graphs have the shortcut after the second convolution of its block
        if "downsample" in ordered[i]["layer"]:
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    layers = network_layers(network)
    macs = np.array([float(row["macs"]) for row in ordered])
    if len(macs) != len(layers.macs) or (macs != layers.macs).any():
        raise BadFileError(path, f"its layers of {network} are not those of our graph.")
    best, more = (best_orders(layers, hierarchy, "latency", limit) for limit in (ITS_FACTORS, MORE_FACTORS))
    outer = hierarchy.memories[-1]
    read, write = outer.read_pj / outer.ports[0].bits_per_cycle * 8, outer.write_pj / outer.ports[0].bits_per_cycle * 8
    once = (np.asarray(layers.weight_bytes) + layers.input_bytes) * read + layers.output_bytes * write
    return LayerRows(
        network, hierarchy.name, tuple(row["layer"] for row in ordered),
        np.array([row["type"] == "Conv" for row in ordered]),
        {"cycles": np.array([float(row["latency_total_cycles"]) for row in ordered]),
         "energy_pj": np.array([float(row["energy_total_pJ"]) for row in ordered])},
        {"cycles": best.costs.cycles, "energy_pj": best.costs.energy_pj},
        {"cycles": more.costs.cycles, "energy_pj": more.costs.energy_pj},
        {"cycles": macs / hierarchy.units, "energy_pj": hierarchy.mac_pj * macs + once}, best.orders,
    )  # fmt: skip


def evaluate_zigzag(found: Sequence[LayerRows]) -> list[Score]:
    """Return for cycles and energy a score of the layers of each network, and one of its worst convolution alone."""
    return [one for rows in found for quantity in QUANTITIES for one in _scores(rows, quantity)]


def _scores(rows: LayerRows, quantity: str) -> list[Score]:
    word = quantity.removesuffix("_pj")
    plain = "MACs over elements" if quantity == "cycles" else "MACs and operands once"
    errors = np.where(rows.is_conv, np.abs(rows.errors(quantity)), -1.0)
    chosen = {"": np.arange(len(errors)), ": worst convolution": np.array([int(errors.argmax())])}
    return [
        score(
            ("zigzag", rows.device, f"{rows.network} {word}{which}", "best of orders", 0),
            rows.measured[quantity][at], rows.ours[quantity][at], baseline=(plain, rows.plain[quantity][at]),
        )
        for which, at in chosen.items()
    ]  # fmt: skip


def layer_lines(found: Sequence[LayerRows]) -> list[str]:
    """Return a Markdown table of the distinct layers: ZigZag's cycles and energy, ours, and ours with more factors."""
    lines = [
        "| network | architecture | layer | cycles: ZigZag | ours | | more factors | uJ: ZigZag | ours | | more |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for rows in found:
        seen = set()
        for i, layer in enumerate(rows.layer):
            key = tuple(float(side[q][i]) for side in (rows.measured, rows.ours) for q in QUANTITIES)
            if key in seen:
                continue
            seen.add(key)
            cells = []
            for quantity, scale in (("cycles", 1.0), ("energy_pj", 1e-6)):
                other, mine, more = (side[quantity][i] * scale for side in (rows.measured, rows.ours, rows.more))
                shown = "{:,.0f}" if quantity == "cycles" else "{:.2f}"
                cells += [
                    shown.format(other),
                    shown.format(mine),
                    f"{mine / other - 1:+.1%}",
                    f"{more / other - 1:+.1%}",
                ]
            name = layer.strip("/").removesuffix("/Conv").removesuffix("/Gemm")
            lines.append(f"| {rows.network} | {rows.device} | {name} | " + " | ".join(cells) + " |")
    return lines
