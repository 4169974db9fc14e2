"""What one frame makes a dataflow chip do: amounts of work of a network, from its graph or from a sheet.

A dataflow chip lays the layers of a network out side by side, so that what counts is less what an operator costs than
how much of the chip it takes: its multiply-adds, its weights, the rows of activations that it holds, and that it
exists at all. Operations are two a multiply-add; elements are activations (a byte each at 8 bit); all are of one frame.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from costmodel.network_work import KINDS, kinds_of
from foundation.errors import BadFileError, BadValueError
from foundation.files import plain_file
from foundation.formats import FORMATS
from workloads.graph import Pass
from workloads.lowering import lower
from workloads.table import Array, OpTable
from workloads.work import count_work

AMOUNTS = (
    "dense_op", "thin_op", "depthwise_op", "grouped_op", "attention_op", "imbalance_ratio", "weights", "layers",
    "depthwise_layers", "grouped_layers", "attention_products", "norms", "softmaxes", "activations", "sums", "joins",
    "output_elements", "largest_output_elements", "norm_elements", "attention_elements", "pointwise_elements",
    "input_elements", "input_rows",
)  # fmt: skip
"""Columns of work. Thin: eight channels in or fewer, as in the first layer. Layers hold weights; products of attention
do not. Activations are those that are no clipping (SiLU, GELU). The imbalance is `slowest_stage` over an even split."""
OPERATIONS = AMOUNTS[:5]
PIECES, PER_LAYER, THIN = 192, 4, 8
"""Pieces of the chip that layers get whole (estimated, 64 to 512: not published), at least four a layer, since a deep
network runs in parts; and channels of a thin layer."""
CLIPPING_FLOP = 2
"""FLOP an element of activations that only clip (ReLU6), which a chip does for nothing behind a layer."""
SIZES = np.array([(1.0, f.weight_bits / 8, f.activation_bits / 8, f.output_bits / 8) for f in FORMATS.values()])
MAX_SHEET_BYTES = 10_000_000


def slowest_stage(work: Array, pieces: int) -> float:
    """Return the least work that the slowest piece can have, where each layer takes whole pieces of `pieces`.

    Raises:
        BadValueError: fewer pieces than layers, or no work.
    """
    each = np.asarray(work, float)
    each = each[each > 0]
    if not 0 < len(each) <= pieces:
        raise BadValueError(f"{len(each)} layers with work cannot share {pieces} pieces of a chip.")
    # The answer is a layer's work over a whole number; the k-th share of a layer is wanted before any smaller one.
    shares = np.sort((each[:, None] / np.arange(1, pieces + 1)).ravel())[::-1]
    needed = np.ceil(each[:, None] / shares - 1e-9).sum(axis=0)
    return float(shares[np.flatnonzero(needed <= pieces)[-1]])


def imbalance(work: Array, pieces: int = PIECES) -> float:
    """Return how much longer the slowest stage takes than with work split evenly."""
    each = np.asarray(work, float)
    each = each[each > 0]
    whole = max(pieces, PER_LAYER * len(each))
    return slowest_stage(each, whole) * whole / float(each.sum())


def amounts_of(passes: Iterable[Pass], input_elements: float = 0.0, input_rows: float = 0.0) -> Array:
    """Return the amounts of one frame, shape (amounts,), of passes of batch 1.

    What is fed, elements and rows, is the first layer's input where 0: an image of so many rows for a convolution, else
    one row (tokens side by side, as Hailo's tables have them).

    Raises:
        MappingError: a graph that cannot be lowered. BadValueError: a graph without layers that hold weights.
    """
    runs = tuple(passes)
    fused = np.array([o.fused for run in runs for block in run.graph.blocks for o in block.operators])
    table = lower(_all_launched(run) for run in runs).table
    kinds = np.array(KINDS)[kinds_of(table, fused, np.zeros(len(fused), bool))]
    work, count = count_work(table), table.full("count").astype(float)
    sizes = SIZES[table.full("dtype")]
    matrix, weights, read, written = (
        np.broadcast_to(x, (table.rows,)) * count / size
        for x, size in zip(
            (work.matrix_flop, work.weight_bytes, work.input_bytes, work.output_bytes), sizes.T, strict=True
        )
    )
    attention = kinds == "attention"
    layer = (matrix > 0) & ~attention
    if not layer.any():
        raise BadValueError("The network has no layer that a dataflow chip could lay out.")
    if not input_elements:
        input_elements, input_rows = _fed(table, int(np.argmax(layer)))
    channels = np.where(table.full("c_in") > 0, table.full("c_in"), table.full("k")) / np.maximum(
        table.full("groups"), 1
    )
    depthwise, grouped = np.char.startswith(kinds, "depthwise"), np.char.startswith(kinds, "grouped")
    thin = layer & ~depthwise & ~grouped & (channels <= THIN)
    dense = layer & ~depthwise & ~grouped & ~thin
    keys = np.where(table.full("kv_len") > 0, table.full("kv_len"), table.full("q_len"))
    scores = (count * table.full("batch") * table.full("heads") * table.full("q_len") * np.maximum(keys, 1))[attention]
    smooth = np.isin(kinds, ("pointwise", "fused-act")) & (table.full("flop_per_element") > CLIPPING_FLOP)
    moved = smooth | np.isin(kinds, ("sum", "copy", "fused-sum"))
    stages = np.repeat(matrix / np.maximum(count, 1), np.maximum(count, 1).astype(int))
    found = {
        "dense_op": matrix[dense].sum(), "thin_op": matrix[thin].sum(), "depthwise_op": matrix[depthwise].sum(),
        "grouped_op": matrix[grouped].sum(), "attention_op": matrix[attention].sum(),
        "imbalance_ratio": imbalance(stages), "weights": weights[layer].sum(), "layers": count[layer].sum(),
        "depthwise_layers": count[depthwise].sum(), "grouped_layers": count[grouped].sum(),
        "attention_products": 2 * count[attention].sum(), "norms": count[kinds == "norm"].sum(),
        "softmaxes": count[attention | (kinds == "softmax")].sum(), "activations": count[smooth].sum(),
        "sums": count[np.isin(kinds, ("sum", "fused-sum"))].sum(), "joins": count[kinds == "copy"].sum(),
        "output_elements": written[layer].sum(),
        "largest_output_elements": (written / np.maximum(count, 1))[layer].max(),
        "norm_elements": written[kinds == "norm"].sum(),
        "attention_elements": (read + weights + written)[attention].sum() + 3 * scores.sum(),
        "pointwise_elements": written[moved].sum(), "input_elements": input_elements, "input_rows": input_rows,
    }  # fmt: skip
    return np.array([float(found[name]) for name in AMOUNTS])


def _fed(table: OpTable, at: int) -> tuple[float, float]:
    """Return elements and rows of the input of one layer."""
    size = {name: float(table.full(name)[at]) for name in ("c_in", "h", "w", "m", "k")}
    if size["c_in"] > 0:
        return size["c_in"] * size["h"] * size["w"], size["h"]
    return size["m"] * size["k"], 1.0


def _all_launched(run: Pass) -> Pass:
    blocks = tuple(replace(b, operators=tuple(replace(o, fused=False) for o in b.operators)) for b in run.graph.blocks)
    return replace(run, graph=replace(run.graph, blocks=blocks))


def read_sheet(path: Path) -> dict[str, tuple[Array, bool]]:
    """Return the amounts of each network of a sheet (all but the input's) and whether its definition is the public one.

    Raises:
        BadFileError: not such a sheet.
    """
    with plain_file(path, MAX_SHEET_BYTES).open(encoding="utf-8", newline="") as file:
        try:
            return {
                row["network"]: (np.array([float(row[name]) for name in AMOUNTS[:-2]]), row["definition"] == "public")
                for row in csv.DictReader(file)
            }
        except (KeyError, TypeError, ValueError) as error:
            raise BadFileError(path, f"not a sheet of networks ({type(error).__name__}: {error}).") from None
