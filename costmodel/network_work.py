"""What one run of an image network makes a device do, summed over kinds of operators: the columns of additive costs.

Operators that a compiler fuses into their producer (norms and activations after a convolution) have kinds of their
own: software that runs them one by one pays for each, software that fuses them pays nothing, and the fit finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workloads.graph import Pass
from workloads.lowering import lower
from workloads.table import OPS, Array, OpTable
from workloads.work import OpWork, count_work

PRODUCTS = (
    "stem", "patch", "conv1", "conv3", "conv-large", "depthwise3", "depthwise5", "depthwise7", "depthwise-strided",
    "depthwise-last", "grouped-thin", "grouped", "gemm", "vector", "attention",
)  # fmt: skip
"""`depthwise-last`: in a block of dense layers, where channels lie last in memory already. `vector`: one row."""
MOVERS = ("norm", "sum", "pointwise", "pool", "copy", "softmax", "other")
FUSED = ("fused-norm", "fused-relu", "fused-act", "fused-sum")
KINDS = (*PRODUCTS, *MOVERS, *FUSED)
THIN, POOLED = 16, 4
"""Channels a group of a thin grouped convolution, and operands from which an elementwise operator is a pool."""
FEWEST = 8
"""Networks that must have some of a column's work for it to have a cost of its own."""
FLOP, BYTES, LAUNCH, WEIGHT = range(4)


@dataclass(frozen=True)
class NetworkWork:
    """Sums over operators of one run: arrays of shape (kinds,), attention scores, and statistics of shapes."""

    flop: Array
    read_bytes: Array
    written_bytes: Array
    weight_bytes: Array
    launches: Array
    scores: float
    shapes: Array


def work_of(passes: Iterable[Pass]) -> NetworkWork:
    """Return the work of passes. Raises MappingError: a graph that cannot be lowered."""
    runs = tuple(passes)
    operators = [(o, block) for run in runs for block in run.graph.blocks for o in block.operators]
    dense = {id(block): any(o.op == "gemm" and _wide(o.shape.get("m", 0)) for o in block.operators)
             for _, block in operators}  # fmt: skip
    fused = np.array([o.fused for o, _ in operators])
    last = np.array([dense[id(block)] for _, block in operators])
    table = lower(_all_launched(run) for run in runs).table
    kinds, work, count = kinds_of(table, fused, last), count_work(table), table.full("count").astype(float)

    def per_kind(values: Array | float) -> Array:
        return np.bincount(kinds, np.broadcast_to(values, (table.rows,)) * count, len(KINDS))

    attention = kinds == KINDS.index("attention")
    keys = np.where(table.full("kv_len") > 0, table.full("kv_len"), table.full("q_len"))
    scores = (count * table.full("batch") * table.full("heads") * table.full("q_len") * np.maximum(keys, 1))[attention]
    return NetworkWork(
        per_kind(work.flop), per_kind(work.input_bytes), per_kind(work.output_bytes), per_kind(work.weight_bytes),
        per_kind(1.0), float(scores.sum()), _shapes(work, count * ~fused),
    )  # fmt: skip


def _wide(rows: object) -> bool:
    return float(np.asarray(rows, float).max()) > 1


def _all_launched(run: Pass) -> Pass:
    blocks = tuple(replace(b, operators=tuple(replace(o, fused=False) for o in b.operators)) for b in run.graph.blocks)
    return replace(run, graph=replace(run.graph, blocks=blocks))


def kinds_of(table: OpTable, fused: Array, last: Array) -> Array:
    """Return the kind of each operator, an index into `KINDS`."""
    column = {n: table.full(n) for n in ("kh", "kw", "groups", "c_in", "stride", "m", "operands", "flop_per_element")}
    names = np.array(OPS)[table.full("op")]
    wide = np.maximum(column["kh"], column["kw"])
    depthwise = (column["groups"] > 1) & (column["groups"] >= column["c_in"])
    each = np.maximum(column["groups"], 1)
    convolution = np.select(
        [depthwise & (column["stride"] > 1), depthwise & last, depthwise & (wide <= 3), depthwise & (wide <= 5),
         depthwise, (column["groups"] > 1) & (column["c_in"] / each <= THIN), column["groups"] > 1,
         column["c_in"] <= 4, (wide > 1) & (column["stride"] >= wide), wide <= 1, wide <= 3],
        ["depthwise-strided", "depthwise-last", "depthwise3", "depthwise5", "depthwise7", "grouped-thin", "grouped",
         "stem", "patch", "conv1", "conv3"],
        "conv-large",
    )  # fmt: skip
    moved = np.select([column["operands"] >= POOLED, column["operands"] > 1], ["pool", "sum"], "pointwise")
    in_producer = np.select([names == "norm", column["operands"] > 1, column["flop_per_element"] <= 1],
                            ["fused-norm", "fused-sum", "fused-relu"], "fused-act")  # fmt: skip
    found = np.select(
        [fused, names == "conv2d", names == "gemm", names == "elementwise", np.isin(names, (*KINDS,))],
        [in_producer, convolution, np.where(column["m"] <= 1, "vector", "gemm"), moved, names], "other",
    )  # fmt: skip
    place = {name: i for i, name in enumerate(KINDS)}
    return np.array([place[name] for name in found.tolist()])


def _shapes(work: OpWork, count: Array) -> Array:
    """Return means of log sizes: of products weighted by FLOP, and of traffic by bytes; and their spread."""
    rows = len(count)
    matrix = np.broadcast_to(work.matrix_flop, (rows,)) * count
    moved = np.broadcast_to(work.bytes_moved, (rows,)) * count
    found = []
    for weights, columns in ((matrix, (work.m, work.n, work.k, work.gemms)), (moved, (work.bytes_moved,))):
        share = weights / max(float(weights.sum()), 1e-30)
        for column in columns:
            logs = np.log(np.maximum(np.broadcast_to(column, (rows,)), 1.0))
            mean = float(share @ logs)
            found += [mean, float(np.sqrt(max(share @ (logs - mean) ** 2, 0.0)))]
    return np.array(found)


@dataclass(frozen=True)
class Amounts:
    """Columns of work of each network: `matrix` (rows, columns), and of each column its sort of rate and its part."""

    names: tuple[str, ...]
    matrix: Array
    rates: Array
    parts: Array
    shapes: Array


def amounts_of(works: Sequence[NetworkWork], batch: Array) -> Amounts:
    """Return the columns of networks that run batches of so many images, for `costmodel.network_costs`.

    Launches count by kind where every batch is one image; else they are all but hidden, and two sums do.
    """
    flop, read, written, weights, launches = (
        np.stack([getattr(w, n) for w in works])
        for n in ("flop", "read_bytes", "written_bytes", "weight_bytes", "launches")
    )
    images, columns = np.asarray(batch, float), []
    launched, convolutions = len(KINDS) - len(FUSED), KINDS.index("gemm")
    for i, kind in enumerate(KINDS):
        if kind in PRODUCTS:
            columns += [(kind, "flop", FLOP, flop[:, i] * images), (kind, "read", BYTES, read[:, i] * images),
                        (kind, "written", BYTES, written[:, i] * images)]  # fmt: skip
        else:
            moved = written[:, i] if kind in FUSED else read[:, i] + written[:, i]
            columns.append((kind, "bytes", BYTES, moved * images))
        if kind not in FUSED and (images <= 1).all():
            columns.append((kind, "launches", LAUNCH, launches[:, i]))
    scores = np.array([w.scores for w in works])
    columns += [
        ("attention", "scores", FLOP, scores * images),
        ("gemm", "weights", WEIGHT, weights[:, KINDS.index("gemm")]),
        ("vector", "weights", WEIGHT, weights[:, KINDS.index("vector")]),
        ("convolution", "weights", WEIGHT, weights[:, :convolutions].sum(axis=1)),
        ("all", "weights", WEIGHT, weights.sum(axis=1)),
        ("launched", "launches", LAUNCH, launches[:, :launched].sum(axis=1)),
        ("all", "launches", LAUNCH, launches.sum(axis=1)),
    ]
    kept = [c for c in columns if (c[3] > 0).sum() >= FEWEST]
    matrix = np.stack([values for *_, values in kept], axis=1)
    rates = np.unique([rate for _, _, rate, _ in kept], return_inverse=True)[1]
    parts = np.unique([kind for kind, *_ in kept], return_inverse=True)[1]
    return Amounts(tuple(f"{kind}/{what}" for kind, what, *_ in kept), matrix, rates, parts,
                   _features(works, flop, read + written, weights, launches, images))  # fmt: skip


def _features(
    works: Sequence[NetworkWork], flop: Array, moved: Array, weights: Array, launches: Array, images: Array
) -> Array:  # fmt: skip
    """Return what trees see beside shares of time: shares of work, statistics of shapes, totals."""
    shares = [part / np.maximum(part.sum(axis=1, keepdims=True), 1e-30) for part in (flop, moved)]
    totals = np.stack([part.sum(axis=1) for part in (flop, moved, weights, launches)], axis=1)
    return np.column_stack(
        [*shares, np.stack([w.shapes for w in works]), np.log(np.maximum(totals, 1.0)), np.log(images)]
    )
