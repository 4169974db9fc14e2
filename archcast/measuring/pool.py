"""Fixed pools of operator shapes to choose from: space-filling in the logarithms of the sizes, the same in every run.

Points are an additive recurrence on the generalised golden ratio (Roberts 2018, "The unreasonable effectiveness of
quasirandom sequences"): they fill a box evenly, and the first n of a longer sequence do so too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.table import Array

Shape = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """The largest operators of a pool: FLOP, bytes, rows of a product, queries of a prompt, keys of a decode step."""

    most_flop: float
    most_bytes: float
    most_rows: int
    most_queries: int
    most_keys: int


SMALL = Limits(1.5e9, 1.2e8, 1024, 768, 2048)
"""For processors: more takes 10 ms and longer on two cores, says little more, and is rarely left in peace."""
LARGE = Limits(4e12, 4e9, 16384, 8192, 32768)
"""For GPUs: up to some 10 ms."""


def filling(count: int, dimensions: int) -> Array:
    """Return points of the unit cube, shape (count, dimensions)."""
    ratio = 2.0
    for _ in range(60):  # the root of x^(d+1) = x + 1
        ratio = (1.0 + ratio) ** (1.0 / (dimensions + 1))
    steps = ratio ** -np.arange(1, dimensions + 1)
    return np.asarray((0.5 + np.arange(1, count + 1)[:, None] * steps) % 1.0)


def spread(u: float, low: float, high: float, multiple: int = 1) -> int:
    """Return the size at `u` in [0, 1) between low and high on a logarithmic scale, a whole multiple."""
    size = low * (high / low) ** u
    return int(max(multiple, round(size / multiple) * multiple))


def pick(u: float, values: Sequence[Any]) -> Any:
    """Return one of the values."""
    return values[min(int(u * len(values)), len(values) - 1)]


def gemms(count: int, dtype: str, limits: Limits = SMALL) -> list[Shape]:
    """Products: one row (decode) to a thousand, and sizes of layers and of vocabularies; some in batches."""
    most = limits.most_rows

    def shape(u: Array) -> Shape:
        m = 1 if u[0] < 0.2 else spread((u[0] - 0.2) / 0.8, 2, most)
        multiple = pick(u[4], (1, 8, 16, 64, 64))
        n, k = spread(u[1], 64, 32768 if u[3] < 0.25 else 4096, multiple), spread(u[2], 32, 4096, multiple)
        batch = spread(u[3] * 8, 2, 32) if u[3] < 0.125 and m > 1 and n * k < 1e6 else 1
        return {"op": "gemm", "dtype": dtype, "m": m, "n": n, "k": k, "batch": batch}

    return _kept(count, 5, shape, lambda s: 2.0 * s["m"] * s["n"] * s["k"] * s["batch"],
                 lambda s: 4.0 * s["n"] * s["k"] * s["batch"], limits)  # fmt: skip


_CONVS: tuple[tuple[str, int, int], ...] = (
    ("dense", 1, 1), ("dense", 1, 1), ("dense", 3, 1), ("dense", 3, 1), ("depthwise", 3, 1), ("dense", 3, 2),
    ("depthwise", 3, 2), ("dense", 1, 2), ("depthwise", 5, 1), ("image", 3, 2), ("image", 7, 2), ("patches", 16, 16),
    ("grouped", 3, 1), ("depthwise", 7, 1),
)  # fmt: skip
"""Kind, kernel and stride; those that networks are made of stand twice."""


def convolutions(count: int, dtype: str, limits: Limits = SMALL) -> list[Shape]:
    """Convolutions of image networks: dense, pointwise, depthwise, grouped, and those that read the image."""

    def shape(u: Array) -> Shape:
        kind, kernel, stride = pick(u[0], _CONVS)
        edge = pick(u[1], (7, 8, 10, 14, 14, 16, 20, 28, 28, 32, 40, 56, 56, 64, 80, 112))
        # wide images have few channels, as in every network
        widest = min(1536.0, 16384.0 / edge * 2)
        wide = spread(u[2], 16, widest, 8)
        out = wide if kind in ("depthwise", "grouped") else spread(u[3], 16, widest, 8)
        groups = {"depthwise": wide, "grouped": pick(u[3], (2, 4, 8))}.get(kind, 1)
        if kind in ("image", "patches"):
            edge, wide = pick(u[1], (96, 128, 160, 192, 224)), 3
            out = spread(u[3], 16, 1024 if kind == "patches" else 96, 8)
        sizes = {"c_in": wide, "h": edge, "w": edge, "c_out": out, "kh": kernel, "kw": kernel, "stride": stride}
        padding = 0 if kind == "patches" else kernel // 2
        batch = 1 if u[4] < 0.8 and limits is SMALL else pick(u[4], (2, 4, 8) if limits is SMALL else (1, 8, 32, 64))
        return {"op": "conv2d", "dtype": dtype, "batch": batch, **sizes, "padding": padding, "groups": groups}

    def flop(s: Shape) -> float:
        pixels = s["batch"] * (s["h"] / s["stride"]) * (s["w"] / s["stride"])
        return float(2 * pixels * s["c_in"] / s["groups"] * s["kh"] * s["kw"] * s["c_out"])

    return _kept(count, 5, shape, flop,
                 lambda s: 4.0 * s["batch"] * s["h"] * s["w"] * (s["c_in"] + s["c_out"]), limits)  # fmt: skip


def attentions(count: int, dtype: str, limits: Limits = SMALL) -> list[Shape]:
    """Attention: encoders (every query sees every key), causal prefill and decode, shared key heads."""

    def shape(u: Array) -> Shape:
        kind = pick(u[0], ("encoder", "encoder", "prefill", "prefill", "decode", "decode"))
        heads, head_dim = pick(u[1], (2, 3, 4, 6, 8, 12, 16)), pick(u[2], (32, 64, 64, 80, 128))
        shared = pick(u[4], (1, 1, 1, 2, 4))
        kv_heads = heads // shared if kind != "encoder" and heads % shared == 0 else heads
        batch = 1 if u[5] < 0.6 else pick((u[5] - 0.6) / 0.4, (2, 4, 8) if limits is SMALL else (4, 16, 64))
        length = spread(u[3], 16, limits.most_keys if kind == "decode" else limits.most_queries)
        return {
            "op": "attention", "dtype": dtype, "phase": "decode" if kind == "decode" else "prefill", "batch": batch,
            "q_len": 1 if kind == "decode" else length, "kv_len": length, "heads": heads, "kv_heads": kv_heads,
            "head_dim": head_dim, "causal": 0 if kind == "encoder" else 1,
        }  # fmt: skip

    def flop(s: Shape) -> float:
        return float(4 * s["batch"] * s["heads"] * s["head_dim"] * s["q_len"] * s["kv_len"])

    return _kept(count, 6, shape, flop,
                 lambda s: 8.0 * s["batch"] * s["kv_heads"] * s["head_dim"] * s["kv_len"], limits)  # fmt: skip


UNARY: dict[float, str] = {1.0: "Relu", 2.0: "Clip", 4.0: "Tanh", 8.0: "Gelu"}
"""The pointwise function of one tensor that has so many FLOP an element (as the builders of networks count them)."""


def pointwise(
    count: int, dtype: str, op: str, variants: Sequence[tuple[float, float]], widest: int, limits: Limits = SMALL
) -> list[Shape]:  # fmt: skip
    """Operators on rows x hidden; a variant is (operands, FLOP an element), 0 for the family's own."""

    def shape(u: Array) -> Shape:
        operands, flop = pick(u[0], variants)
        hidden = spread(u[1], 16, widest, pick(u[3], (1, 8, 8, 32)))
        rows = 1 if u[2] < 0.1 else spread((u[2] - 0.1) / 0.9, 2, 16 * limits.most_rows)
        row: Shape = {"op": op, "dtype": dtype, "rows": rows, "hidden": hidden, "operands": operands}
        if operands == 4:  # the largest of 3 x 3: rows are pixels of a square
            edge = max(2, round(min(rows, 3136) ** 0.5))
            row["rows"], row["hidden"] = edge * edge, min(hidden, 512)
        elif operands > 4:  # the mean of an image
            row["rows"] = 1
        return row | ({"flop_per_element": flop} if flop else {})

    return _kept(count, 4, shape, lambda s: 8.0 * s["rows"] * s["hidden"],
                 lambda s: 12.0 * s["rows"] * s["hidden"] * s["operands"], limits)  # fmt: skip


def _kept(
    count: int, dimensions: int, shape: Callable[[Array], Shape], flop: Callable[[Shape], float],
    size_bytes: Callable[[Shape], float], limits: Limits,
) -> list[Shape]:  # fmt: skip
    """Return the first `count` different shapes that are not too large."""
    found: dict[tuple[Any, ...], Shape] = {}
    for u in filling(6 * count, dimensions):
        row = shape(u)
        if flop(row) <= limits.most_flop and size_bytes(row) <= limits.most_bytes:
            found.setdefault(tuple(row.values()), row)
        if len(found) == count:
            break
    return list(found.values())
