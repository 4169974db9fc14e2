"""Operators through numpy and the BLAS that it was built with, on the host's processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from archcast.measuring import pool
from archcast.measuring.backends.base import Network, Row
from archcast.measuring.machine import EnergyCounter
from archcast.measuring.repeats import Timing, repeat, typical
from foundation.errors import UnsupportedError
from hardware_specs.catalogue import HOST_CPU
from workloads.table import Array

LOOP_S = 2e-4
"""One repeat lasts at least this long: short calls are made several times in it."""
COPIES_BYTES, MOST_COPIES = 6.4e7, 16
"""Weights are taken in turn from so many bytes of copies: what a network leaves of them in the caches."""


def blas_name() -> str:
    """Return the BLAS that numpy was built with, in one word."""
    config: Any = np.show_config(mode="dicts")
    name = str(config.get("Build Dependencies", {}).get("blas", {}).get("name", "")) if isinstance(config, dict) else ""
    return "openblas" if "openblas" in name else name.split()[0] if name else "blas"


class NumpyBackend:
    """Products, and what numpy has of pointwise operators; it has no networks."""

    device = HOST_CPU

    def __init__(self, threads: int) -> None:
        self.software = f"numpy {np.__version__} {blas_name()} threads {threads}"
        self._random = np.random.default_rng(0)
        self._energy = EnergyCounter()

    def candidates(self) -> Sequence[Row]:
        """Return products in fp32 and fp64, copies, sums and softmax."""
        return [
            *pool.gemms(120, "fp32"), *pool.gemms(40, "fp64"),
            *pool.pointwise(50, "fp32", "copy", [(1, 0.0)], 4096),
            *pool.pointwise(40, "fp32", "elementwise", [(2, 1.0)], 4096),
            *pool.pointwise(40, "fp32", "softmax", [(1, 0.0)], 32768),
        ]  # fmt: skip

    def networks(self) -> Sequence[Network]:
        return ()

    def measure_network(self, network: Network, limit_s: float) -> Timing:
        raise UnsupportedError(f"numpy runs no networks, so not {network.workload} either.")

    def measure(self, row: Row, limit_s: float) -> Timing:
        """Run one operator repeatedly."""
        call = self._prepared(row)
        call(0)
        once, _ = repeat(call, 0.0, fewest=3)
        loops = max(1, int(LOOP_S / max(float(once.min()), 1e-7)))

        def several(turn: int) -> None:
            for i in range(loops):
                call(turn * loops + i)

        self._energy.start()
        seconds, quiet = repeat(several, limit_s)
        power = self._energy.power_w()
        latency, spread, count = typical(seconds / loops, quiet)
        return Timing(latency, spread, count * loops, power, power * latency)

    def _prepared(self, row: Row) -> Callable[[int], object]:
        """Return a function that runs the operator once; its argument counts the calls. Raises UnsupportedError."""
        fmt = {"fp32": np.float32, "fp64": np.float64}.get(str(row["dtype"]))
        if fmt is None:
            raise UnsupportedError(f"numpy's BLAS does not compute in {row['dtype']}.")
        if row["op"] == "gemm":
            return self._gemm(int(row["batch"]), int(row["m"]), int(row["n"]), int(row["k"]), fmt)
        shape = (int(row["rows"]), int(row["hidden"]))
        x, y, out = self._filled(shape, fmt), self._filled(shape, fmt), np.empty(shape, fmt)
        if row["op"] == "copy":
            return lambda _: np.copyto(out, x)
        if row["op"] == "elementwise":
            return lambda _: np.add(x, y, out=out)
        if row["op"] == "softmax":
            return lambda _: _softmax(x, out)
        raise UnsupportedError(f"numpy has no operator '{row['op']}'.")

    def _gemm(self, batch: int, m: int, n: int, k: int, fmt: Any) -> Callable[[int], object]:
        size = batch * n * k * np.dtype(fmt).itemsize
        copies = int(min(max(COPIES_BYTES // size, 2), MOST_COPIES))
        x, out = self._filled((batch, m, k), fmt), np.empty((batch, m, n), fmt)
        weights = [self._filled((batch, k, n), fmt) for _ in range(copies)]
        if batch == 1:
            x2, out2, flat = x[0], out[0], [w[0] for w in weights]
            return lambda turn: np.matmul(x2, flat[turn % copies], out=out2)
        return lambda turn: np.matmul(x, weights[turn % copies], out=out)

    def _filled(self, shape: tuple[int, ...], fmt: Any) -> Array:
        return self._random.random(shape, dtype=fmt)


def _softmax(x: Array, out: Array) -> None:
    np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(out, out=out)
    np.divide(out, out.sum(axis=-1, keepdims=True), out=out)
