"""The space of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326): one cell of six edges, stacked fifteen times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.knobs import size, text
from workloads.builders.vision.layers import ImageNetwork, Layers, Point, Sketch

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STAGES = 3
NODES = 3


@dataclass(frozen=True)
class CellNetwork(ImageNetwork):
    """`cell` is an architecture as the benchmark writes it: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Each group is a node that sums its edges; `op~i` reads node i, node 0 is the cell's input. Three stages of `cells`
    cells at `width`, 2 and 4 times it, with a residual block of stride 2 between them (section 2.1).
    """

    family: ClassVar[str] = "nas-bench-201"

    image: int = size(32, low=4, high=100_000)
    classes: int = size(10)
    width: int = size(16)
    cells: int = size(5, high=1000)
    cell: str = text("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")

    def check(self) -> None:
        parsed_cell(self.cell)

    def draw(self, net: Sketch) -> None:
        """Append the blocks for one image."""
        net.block("stem", lambda layers: layers.conv("conv", self.width, 3))
        for stage in range(STAGES):
            if stage:
                net.block(f"reduce{stage}", partial(_reduce, width=self.width << stage))
            for _ in range(self.cells):
                net.block(f"stage{stage + 1}", self._cell)
        net.block("head", self._head)

    def _cell(self, layers: Layers) -> None:
        nodes = [layers.here]
        for n, edges in enumerate(parsed_cell(self.cell), start=1):
            found = [_edge(layers, f"node{n}.from{source}", operation, nodes[source]) for operation, source in edges]
            reads = [point.name for point in found if point is not None]
            if len(reads) > 1:
                layers.pointwise(f"node{n}.sum", len(reads) - 1.0, inputs=reads)
            elif not reads:
                layers.pointwise(f"node{n}.zero", 0.0, inputs=(nodes[0].name,))
            nodes.append(layers.here if len(reads) != 1 else nodes[0]._replace(name=reads[0]))
        if nodes[-1].name != layers.last:  # the sum was a lone skip: the block ends in what it passes on
            pixels = layers.batch * layers.height * layers.width
            layers.add("output", "copy", {"rows": pixels, "hidden": layers.channels}, (nodes[-1].name,))

    def _head(self, layers: Layers) -> None:
        layers.norm("norm", "batch", "relu")
        layers.classify(self.classes)


def parsed_cell(text_of_cell: str) -> list[list[tuple[str, int]]]:
    """Return (operation, source) of the edges into each node. Raises BadValueError, UnknownNameError."""
    groups = text_of_cell.strip().split("+")
    if len(groups) != NODES:
        raise BadValueError(f"cell='{text_of_cell[:80]}' has {len(groups)} nodes; it must have {NODES}, joined by '+'.")
    cell = []
    for n, group in enumerate(groups, start=1):
        edges = [edge.rpartition("~") for edge in group.strip("|").split("|")]
        if [source for _, _, source in edges] != [str(i) for i in range(n)]:
            raise BadValueError(
                f"node {n} of the cell is '{group[:60]}'; it must read nodes 0 to {n - 1}, as |op~0|op~1|."
            )
        for operation, _, _ in edges:
            if operation not in OPERATIONS:
                raise UnknownNameError("operation of the cell", operation, OPERATIONS)
        cell.append([(operation, int(source)) for operation, _, source in edges])
    return cell


def _edge(layers: Layers, name: str, operation: str, source: Point) -> Point | None:
    """Append what an edge computes and return its map: the source itself for a skip, None for no edge."""
    if operation in ("none", "skip_connect"):
        return source if operation == "skip_connect" else None
    layers.back_to(source)
    if operation == "avg_pool_3x3":
        layers.pool(name, 3, 1, 1)
        return layers.here
    layers.pointwise(f"{name}.relu", 1.0)
    layers.conv(name, layers.channels, 1 if operation == "nor_conv_1x1" else 3)
    return layers.here


def _reduce(layers: Layers, width: int) -> None:
    """Append the residual block between stages: two 3x3 convolutions, and a pooled 1x1 beside them."""
    entry = layers.here
    layers.pointwise("conv1.relu", 1.0)
    layers.conv("conv1", width, 3, stride=2)
    layers.fused("conv2.relu", "elementwise", 1.0)
    branch = layers.conv("conv2", width, 3)
    layers.back_to(entry)
    layers.pool("shortcut.pool", 2, 2, 0)
    shortcut = layers.conv("shortcut", width, 1, batch_norm=False)
    layers.last = branch
    layers.residual("add", shortcut)
