"""What the speed benchmarks price: operators, a device, and a model calibrated on measured data where it is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_ops import data_folder, write_gemm_table

from costmodel.artefact import load_artefact
from costmodel.calibration import calibrate
from costmodel.physics import predict_physics
from costmodel.rates import Rates, compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.column_files import write_columns
from workloads.measurements import read_measurements
from workloads.table import OpTable

DEVICE = "h200-sxm"


def device_rates() -> Rates:
    return compile_rates(load_device(DEVICE))


def random_products(rows: int, seed: int = 0) -> OpTable:
    """Different bf16 products with sizes from 1 to 8192."""
    rng = np.random.default_rng(seed)
    sizes = {name: rng.integers(1, 8192, rows) for name in "mnk"}
    return OpTable.from_columns({"op": "gemm", "dtype": "bf16", **sizes})


@dataclass(frozen=True)
class Learned:
    """A calibrated model, the operators to ask it for (10,000 different rows), and what it was trained on."""

    model: LearnedModel
    table: OpTable
    rates: Rates
    origin: str


def learned_case(folder: Path, rows: int = 10_000) -> Learned:
    """Calibrate in `folder` on measured H200 products, or on invented ones where the data is absent."""
    data = data_folder()
    source = write_gemm_table(data, folder / "ops.parquet") if data else _invented(folder / "ops.csv")
    measured = read_measurements(source)
    calibrate([measured], folder / "model")
    rng = np.random.default_rng(1)
    picked = measured.table.take(rng.integers(0, measured.rows, rows))
    # another m a row: 10,000 different questions about shapes of the kind that was measured
    table = OpTable.from_columns({
        "op": picked.full("op"), "dtype": picked.full("dtype"), "m": rng.permutation(32_768)[:rows] + 1.0,
        "n": picked["n"], "k": picked["k"],
    })  # fmt: skip
    origin = (
        f"{measured.rows:,} measured products" if data else f"{measured.rows:,} invented products (no data at hand)"
    )
    return Learned(load_artefact(folder / "model"), table, device_rates(), origin)


def _invented(path: Path) -> Path:
    rng = np.random.default_rng(0)
    n, k = (np.repeat(64.0 * rng.integers(1, 1_000, 150), 130) for _ in range(2))
    m = np.exp2(rng.uniform(0, 15, len(n))).round()
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": k})
    latency = predict_physics(table, device_rates()).latency_s * np.exp(rng.normal(0.3, 0.2, len(n)))
    texts = {"device": DEVICE, "op": "gemm", "dtype": "bf16"}
    named: dict[str, Any] = {name: np.array([word] * len(n), dtype=object) for name, word in texts.items()}
    write_columns(path, {**named, "m": m, "n": n, "k": k, "latency_s": latency})
    return path


@dataclass(frozen=True)
class Timing:
    """The best of several runs: wall seconds, and the processor seconds of that run."""

    wall_s: float
    cpu_s: float


def cpu_s(work: Callable[[], object], runs: int) -> float:
    """Return the least processor time of several runs after one to warm up: others take wall time, not this."""
    work()
    found = []
    for _ in range(runs):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def best(work: Callable[[], object], runs: int = 15) -> Timing:
    """Return the fastest of several runs after one to warm up (a busy machine only ever slows a run)."""
    work()
    found = Timing(float("inf"), float("inf"))
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        once = Timing(time.perf_counter() - wall, time.process_time() - cpu)
        found = min(found, once, key=lambda timing: timing.wall_s)
    return found
