"""DOSA: layers on Gemmini arrays, simulated as RTL in FireSim (github.com/ucb-bar/dosa, BSD-2-Clause).

Cycles become seconds by the clock of the catalogue's device. Traps: cycles depend on the mapping: DOSA's own (one of
three methods, `software`), or Gemmini's default tiling on the buffers that the method chose; those buffers differ from
the catalogue's (`scratchpad_words`). The training file holds random mappings (13 to 80 times the array's own time in
the median) on arrays of 16384 elements of which they use up to 64 x 64: left out unless asked for. `target.cycle` and
energies are of a model (Timeloop), and are not read. `layer` numbers a table's shapes, so that a split keeps them
together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, each, operators, read_file, set_folder
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import Array

SOURCE = "DOSA, commit a7a32393 (BSD-2-Clause)"
TARGET, DEFAULT, MODEL = "target.gemmini_cycle", "target.gemmini_auto_cycle", "target.cycle"
"""RTL cycles under the mapping, under Gemmini's default tiling, and those of the analytic model in the data."""
MAPPING, TILING = "mapping.mapping", "dse.auto_tiling"
TRAINING = "training_data_firesim_results.csv"
RANDOM = "a mapping drawn at random: its cycles tell the mapping, not the array"
METHODS = ("analytical", "both", "dnn")
SHAPE = ("N", "C", "K", "P", "Q", "R", "S", "Hstride")
NUMBERS = (*(f"prob.{name}" for name in SHAPE), "target.gemmini_cycle", "arch.mem2_entries")


def load_dosa(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield, for each method, a table of its mappings and one of the default tiling.

    The option `mappings=all` adds the random mappings of the training file. Raises BadFileError.
    """
    request.check_options("mappings")
    folder = set_folder(request, "dosa-gemmini-firesim")
    wanted: list[tuple[Columns, Array, str]] = []
    for method in METHODS:
        found = read_file(
            folder / f"test_data_{method}.csv", (*NUMBERS, DEFAULT), ("arch.pe", "network")
        )  # fmt: skip
        wanted.append((found, found[TARGET], f"dosa {method} mapping"))
        wanted.append((found, found[DEFAULT], "gemmini default tiling"))
    training = read_file(folder / TRAINING, NUMBERS, ("arch.pe",))
    if request.options.get("mappings") == "all":
        wanted.append((training, training[TARGET], "dosa random mapping"))
    else:
        request.report.read += len(training["arch.pe"])
        request.report.skip(RANDOM, len(training["arch.pe"]))
    for found, cycles, software in wanted:
        table = _layers(request, found, cycles, software)
        if table is not None:
            yield table


def read_mappings(folder: Path, method: str = "") -> Columns:
    """Return the rows of a method with mappings as text, of the random mappings if none: shape, mapping, cycles.

    Raises:
        BadFileError: the file is absent, damaged, or lacks a column.
    """
    shape = tuple(f"prob.{name}" for name in SHAPE)
    if not method:
        return read_file(folder / TRAINING, (*shape, TARGET), (MAPPING,))
    numbers = (*shape, TARGET, DEFAULT, MODEL)
    return read_file(folder / f"test_data_{method}.csv", numbers, ("network", MAPPING, TILING))


def _layers(request: ImportRequest, found: Columns, cycles: Array, software: str) -> MeasurementTable | None:
    request.report.read += len(cycles)
    n, c, k, p, q, r, s, stride = (found[f"prob.{name}"] for name in SHAPE)
    dense = (r == 1) & (s == 1) & (stride == 1)
    device = each(found["arch.pe"], lambda name: device_id("dosa-gemmini-firesim", name))
    shapes = np.unique(np.stack([found[f"prob.{name}"] for name in SHAPE], axis=1), axis=0, return_inverse=True)[1]

    def conv(values: Any) -> Array:
        return np.where(dense, np.nan, values)

    columns: dict[str, Any] = {
        "op": np.where(dense, "gemm", "conv2d").astype(object), "dtype": "int8", "device": device,
        "software": software, "source": SOURCE, "batch": np.where(dense, 1.0, n),
        "m": np.where(dense, n * p * q, np.nan),
        "n": np.where(dense, k, np.nan), "k": np.where(dense, c, np.nan), "c_in": conv(c), "c_out": conv(k),
        "h": conv((p - 1) * stride + r), "w": conv((q - 1) * stride + s), "kh": conv(r), "kw": conv(s),
        "stride": conv(stride), "latency_s": cycles / each(device, _clock_hz), "cycles": cycles,
        "scratchpad_words": found["arch.mem2_entries"], "layer": shapes.ravel().astype(float),
        **({"network": found["network"]} if "network" in found else {}),
    }  # fmt: skip
    return operators(request, f"DOSA {software}", columns)


def _clock_hz(device: str) -> float:
    clock = load_device(device).units[0].clock_hz
    return float(clock.value) if clock is not None else float("nan")
