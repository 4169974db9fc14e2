"""`Layers`: convolutions and products as loop bounds, in columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from foundation.formats import FORMATS
from workloads.elementwise import Value, unwrapped
from workloads.table import OP_CODES, Array, OpTable
from workloads.work import OpWork, conv_output, count_work

WEIGHT_BITS = np.array([f.weight_bits for f in FORMATS.values()])
INPUT_BITS = np.array([f.activation_bits for f in FORMATS.values()])
OUTPUT_BITS = np.array([f.output_bits for f in FORMATS.values()])


@dataclass(frozen=True)
class Layers:
    """Loop bounds, one entry a layer; every field is a float column or a scalar, broadcastable against the others.

    A convolution has `batch` images, `groups` groups of `c` input and `k` output channels each, `oy` x `ox` outputs a
    channel, `fy` x `fx` kernels and a `stride`. A product C[m,n] += A[m,k] B[k,n] has m pixels (`ox`), n output
    channels (`k`) and k input channels (`c`); products of a batch have weights of their own, so they are `groups`.
    Bits are those of one element where it is stored, scale factors included (`sum_bits`: a partial sum on chip).
    Densities are the shares of elements that are not zero. `pad_y`, `pad_x` are rows and columns of zeros (both sides
    together) among those that a kernel passes over: they take space on chip but are not stored.
    """

    batch: Value
    groups: Value
    k: Value
    c: Value
    oy: Value
    ox: Value
    fy: Value = 1.0
    fx: Value = 1.0
    stride: Value = 1.0
    weight_bits: Value = 8.0
    input_bits: Value = 8.0
    output_bits: Value = 8.0
    sum_bits: Value = 32.0
    weight_density: Value = 1.0
    input_density: Value = 1.0
    pad_y: Value = 0.0
    pad_x: Value = 0.0

    def __post_init__(self) -> None:
        for name, most in LIMITS:
            value = getattr(self, name)
            if value.__class__ is float and 0.0 <= value <= most:
                continue
            sizes = np.asarray(value, dtype=float)
            within = (sizes >= 0.0) & (sizes <= most)  # not so for NaN
            if not within.all():
                raise BadValueError(
                    f"'{name}' of a layer must lie between 0 and {most:.3g}, not at {sizes[~within].flat[0]:g}."
                )

    @property
    def macs(self) -> Array:
        """Multiply-accumulates of all groups and images, zeros included."""
        return np.asarray(self.groups * self.pixels * self.k * self.depth)

    @cached_property
    def pixels(self) -> Value:
        """Outputs of one channel over all images: m of the product."""
        return self.batch * self.oy * self.ox

    @cached_property
    def depth(self) -> Value:
        """Terms of one output: k of the product."""
        return self.c * self.fy * self.fx

    @property
    def iy(self) -> Value:
        """Input rows that a kernel passes over, padding included."""
        return (self.oy - 1) * self.stride + self.fy

    @property
    def ix(self) -> Value:
        """Input columns that a kernel passes over, padding included."""
        return (self.ox - 1) * self.stride + self.fx

    @property
    def weight_bytes(self) -> Value:
        """Bytes of all weights, each once."""
        return self.groups * self.k * self.depth * self.weight_bits / 8

    @property
    def input_bytes(self) -> Value:
        """Bytes of the inputs that are read, each once; a stride beyond the kernel skips some, padding is no data."""
        rows = np.minimum(self.iy, self.oy * self.fy) - self.pad_y
        columns = np.minimum(self.ix, self.ox * self.fx) - self.pad_x
        return self.batch * self.groups * self.c * rows * columns * self.input_bits / 8

    @property
    def output_bytes(self) -> Value:
        """Bytes of the outputs, each once."""
        return self.groups * self.pixels * self.k * self.output_bits / 8

    def reshaped(self, shape: tuple[int, ...]) -> Layers:
        """Return the same layers with every column (not the scalars) in another shape, to broadcast against machines.

        `layers.reshaped((-1, 1))` is a column of layers against rows of machines.
        """
        fields = {name: np.reshape(v, shape) for name in FIELDS if np.ndim(v := getattr(self, name))}
        return replace(self, **fields)


LIMITS: tuple[tuple[str, float], ...] = (
    *((name, 1e18) for name in ("batch", "groups", "k", "c", "oy", "ox", "fy", "fx", "stride", "pad_y", "pad_x")),
    *((name, 1e6) for name in ("weight_bits", "input_bits", "output_bits", "sum_bits")),
    ("weight_density", 1.0), ("input_density", 1.0),
)  # fmt: skip
"""The most that each field may be; the least is 0."""
FIELDS: tuple[str, ...] = tuple(Layers.__dataclass_fields__)


def products(m: Value, n: Value, k: Value, batch: Value = 1.0, **others: Any) -> Layers:
    """Return products C[m,n] += A[m,k] B[k,n], `batch` times, as layers; `others` are further fields."""
    return Layers(batch=1.0, groups=batch, k=n, c=k, oy=1.0, ox=m, **others)


def layers_of(table: OpTable, work: OpWork | None = None) -> Layers:
    """Return the layers of a table, one a row: convolutions as they are, other matrix work by its view as products.

    Rows without matrix work come out with no outputs (`ox` 0). Rows of attention are products whose "weights" are the
    cached keys and values. `iy`, `ix` include the padding of a convolution, `pad_y`, `pad_x` are that padding.
    """
    work = count_work(unwrapped(table)) if work is None else work
    fmt, rows = table.full("dtype"), table.rows
    m, n, k, gemms = (np.broadcast_to(value, (rows,)).astype(float) for value in (work.m, work.n, work.k, work.gemms))
    one = np.ones(rows)
    columns = {"batch": one, "groups": gemms, "k": n, "c": k, "oy": one, "ox": m, "fy": one, "fx": one, "stride": one,
               "pad_y": 0.0 * one, "pad_x": 0.0 * one}  # fmt: skip
    is_conv = table.full("op") == OP_CODES["conv2d"]
    if is_conv.any():
        out_y, out_x = (np.broadcast_to(size, (rows,)) for size in conv_output(table))
        groups = table.full("groups")
        own = {
            "batch": table.full("batch"), "groups": groups, "k": table.full("c_out") / groups,
            "c": table.full("c_in") / groups, "oy": out_y, "ox": out_x, "fy": table.full("kh"),
            "fx": table.full("kw"), "stride": table.full("stride"),
        }  # fmt: skip
        own["pad_y"] = np.maximum((out_y - 1) * own["stride"] + own["fy"] - table.full("h"), 0.0)
        own["pad_x"] = np.maximum((out_x - 1) * own["stride"] + own["fx"] - table.full("w"), 0.0)
        columns = {name: np.where(is_conv, own[name], column) for name, column in columns.items()}
    return Layers(**columns, weight_bits=WEIGHT_BITS[fmt], input_bits=INPUT_BITS[fmt], output_bits=OUTPUT_BITS[fmt])
