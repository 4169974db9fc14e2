"""A small network on what the power physics leaves over: 50 inputs at most, two layers of tanh, some 1,500 numbers.

Of its size, because one row must be answered in microseconds: trees of the same accuracy take ten times as long.
Inputs are columns (inputs, rows); categories (family, width of the arithmetic, device and framework) are added to the
first layer as vectors, so that rows of one kind share them. Trained by Adam (Kingma and Ba 2015) on a smooth absolute
error, one thread's worth of work, from a seed: the same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from workloads.table import Array

HIDDEN = (32, 16)
EPOCHS, BATCH = 15, 256
PIECE = 384
"""Rows answered at a time: what they touch stays in cache, and for larger products BLAS starts threads, which cost more
than they save."""
RATE, DECAY = 4e-3, 1e-5
FIRST, SECOND = 0.9, 0.99
"""How fast Adam forgets gradients and their squares."""
BEND = 0.05
"""Log error at which the loss turns from square to absolute."""
FAR = 3.0
"""Standard deviations beyond which an input counts as that far: the network is flat outside what it saw."""
LEAST_SPREAD = 1e-3
"""Inputs that vary less did not vary in training: they are silent."""


@dataclass(frozen=True)
class PowerNet:
    """Centre and scale of each input, the vectors of categories (one a column), and weights; all float32."""

    centre: Array
    scale: Array
    bias: Array
    category: Array
    first: Array
    second: Array
    second_bias: Array
    last: Array
    last_bias: np.float32

    def standard(self, inputs: Array) -> Array:
        """Return inputs (inputs, rows) on the network's scale, in float32."""
        z = inputs.astype(np.float32)
        z -= self.centre
        z *= self.scale
        np.maximum(z, -FAR, out=z)
        return np.asarray(np.minimum(z, FAR, out=z))

    def answer(self, inputs: Array, category: Array) -> Array:
        """Return the log factor of rows of one kind, shape (rows,); `category`: bias and vectors, (hidden, 1)."""
        rows = inputs.shape[1]
        if rows <= PIECE:
            return self._answer(inputs, category)
        found = np.empty(rows, dtype=np.float32)
        for start in range(0, rows, PIECE):
            part = slice(start, start + PIECE)
            found[part] = self._answer(inputs[:, part], category)
        return found

    def _answer(self, inputs: Array, category: Array) -> Array:
        hidden = self.first @ self.standard(inputs)
        hidden += category
        hidden = self.second @ np.tanh(hidden, out=hidden)
        hidden += self.second_bias
        return np.asarray(self.last @ np.tanh(hidden, out=hidden) + self.last_bias)

    def to_plain(self) -> dict[str, Any]:
        """Return lists of numbers: the shortest that read back as the same float32."""
        plain = {name: _short(getattr(self, name)) for name in _NAMES}
        return {**plain, "inputs": self.first.shape[1], "categories": self.category.shape[1]}

    @staticmethod
    def from_plain(plain: Mapping[str, Any], inputs: int, categories: int) -> PowerNet:
        """Read what `to_plain` wrote. Raises ValueError, KeyError or TypeError where it is something else."""
        if plain["inputs"] != inputs or plain["categories"] != categories:
            raise ValueError("inputs")
        a, b = HIDDEN
        shapes: dict[str, tuple[int, ...]] = {
            "centre": (inputs, 1), "scale": (inputs, 1), "bias": (a, 1), "category": (a, categories),
            "first": (a, inputs), "second": (b, a), "second_bias": (b, 1), "last": (b,), "last_bias": (),
        }  # fmt: skip
        found: dict[str, Any] = {}
        for name, shape in shapes.items():
            array = np.array(plain[name], dtype=np.float64)
            if array.size != int(np.prod(shape)) or not np.isfinite(array).all() or np.abs(array).max() > 1e6:
                raise ValueError(name)
            found[name] = array.astype(np.float32).reshape(shape)
        return PowerNet(**{**found, "last_bias": np.float32(found["last_bias"])})


_NAMES = ("centre", "scale", "bias", "category", "first", "second", "second_bias", "last", "last_bias")


def _short(values: Any) -> list[float]:
    return [float(np.format_float_scientific(v, unique=True, trim="-")) for v in np.float32(values).ravel()]


def train_net(
    inputs: Array, category: Array, target: Array, weight: Array, seed: int, epochs: int = EPOCHS
) -> PowerNet:
    """Return a network on `target` (rows,).

    Args:
        inputs: (inputs, rows).
        category: which categories a row is in, zeros and ones, (categories, rows).
        weight: how far each row is to be trusted.
    """
    rng = np.random.default_rng(seed)
    spread = inputs.std(axis=1)
    scale = np.where(spread < LEAST_SPREAD, 0.0, 1.0 / np.maximum(spread, LEAST_SPREAD))
    centre = inputs.mean(axis=1)
    z = np.clip((inputs - centre[:, None]) * scale[:, None], -FAR, FAR)
    x = np.ascontiguousarray(np.concatenate([z, category]).T, dtype=np.float32)
    y, w = target.astype(np.float32), weight.astype(np.float32)
    sizes = (x.shape[1], *HIDDEN, 1)
    layers = [rng.normal(0, a**-0.5, (a, b)).astype(np.float32) for a, b in pairwise(sizes)]
    # a category or input that no row has must say nothing later
    layers[0][(x != 0).sum(axis=0) == 0] = 0.0
    values = [*layers, *(np.zeros(size, dtype=np.float32) for size in sizes[1:])]
    moments = [(np.zeros_like(v), np.zeros_like(v)) for v in values]
    steps, done = epochs * -(-len(y) // BATCH), 0
    for _ in range(epochs):
        order = rng.permutation(len(y))
        for start in range(0, len(y), BATCH):
            some = order[start : start + BATCH]
            done += 1
            rate = RATE * 0.5 * (1.0 + np.cos(np.pi * done / steps))
            _step(values, moments, _gradients(values, x[some], y[some], w[some]), done, rate)
    first, second, last, first_bias, second_bias, last_bias = values
    count = len(inputs)
    return PowerNet(
        centre[:, None].astype(np.float32), scale[:, None].astype(np.float32), first_bias[:, None],
        np.ascontiguousarray(first[count:].T), np.ascontiguousarray(first[:count].T), np.ascontiguousarray(second.T),
        second_bias[:, None], last[:, 0], np.float32(last_bias[0]),
    )  # fmt: skip


def _gradients(values: list[Array], x: Array, y: Array, w: Array) -> list[Array]:
    """Return the gradients of the mean weighted loss in the order of `values`: weights, then biases."""
    first, second, last, first_bias, second_bias, last_bias = values
    one = np.tanh(x @ first + first_bias)
    two = np.tanh(one @ second + second_bias)
    error = (two @ last + last_bias)[:, 0] - y
    slope = (w * error / np.sqrt(error**2 + np.float32(BEND**2)) / np.float32(len(y)))[:, None]
    back_two = slope @ last.T * (1 - two**2)
    back_one = back_two @ second.T * (1 - one**2)
    return [
        x.T @ back_one, one.T @ back_two, two.T @ slope, back_one.sum(axis=0), back_two.sum(axis=0), slope.sum(axis=0)
    ]  # fmt: skip


def _step(
    values: list[Array], moments: list[tuple[Array, Array]], gradients: list[Array], done: int, rate: float
) -> None:  # fmt: skip
    """Change the values in place by one step of Adam."""
    for value, (mean, square), gradient in zip(values, moments, gradients, strict=True):
        mean *= FIRST
        mean += (1 - FIRST) * gradient
        square *= SECOND
        square += (1 - SECOND) * gradient**2
        size = np.sqrt(square / (1 - SECOND**done)) + 1e-8
        value -= np.float32(rate) * (mean / (1 - FIRST**done) / size + np.float32(DECAY) * value)
