"""Measured operators for benchmarks and tests: the op power tables of the reference data as measurement tables.

The data is not part of the repository (docs/learned.md says where it comes from); it is looked for in `ARCHCAST_DATA`,
else in `../shared/data` beside the checkout. Latency there is in ms, power in W of one GPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from workloads.column_files import write_columns

DEVICES = {"h200_sxm": "h200-sxm", "b200_sxm": "b200"}
FORMATS = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4"}
SHORTEST_MS = 1e-4
"""Rows below are differences of two kernels, not times (the table's SOURCE.md)."""


def data_folder() -> Path | None:
    """Return the folder of reference data, or None where it is absent."""
    named = os.environ.get("ARCHCAST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if (folder / "aiconfigurator").is_dir() else None


def gemm_rows(folder: Path, system: str = "h200_sxm", dtype: str | None = None) -> dict[str, Any]:
    """Return measured GEMMs of one system as columns of the measurement table (needs pyarrow)."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "aiconfigurator" / "op_power_gemm.parquet")
    column = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    keep = (column["system"] == system) & (column["latency"] > SHORTEST_MS)
    if dtype is not None:
        keep &= np.array([FORMATS[name] == dtype for name in column["gemm_dtype"]])
    column = {name: values[keep] for name, values in column.items()}
    latency_s = column["latency"].astype(np.float64) * 1e-3
    rows = len(latency_s)
    software = [f"{a.lower()} {b}" for a, b in zip(column["framework"], column["version"], strict=True)]
    return {
        "device": np.array([DEVICES[system]] * rows, dtype=object),
        "software": np.array(software, dtype=object),
        "source": np.array(["aiconfigurator op_power_gemm"] * rows, dtype=object),
        "op": np.array(["gemm"] * rows, dtype=object),
        "dtype": np.array([FORMATS[name] for name in column["gemm_dtype"]], dtype=object),
        **{name: column[name].astype(np.float64) for name in ("m", "n", "k")},
        "latency_s": latency_s,
        "power_w": column["power"].astype(np.float64),
        "energy_j": column["power"].astype(np.float64) * latency_s,
    }


def write_gemm_table(folder: Path, path: Path, system: str = "h200_sxm", dtype: str | None = None) -> Path:
    """Write `gemm_rows` as a measurement table and return its path."""
    write_columns(path, gemm_rows(folder, system, dtype))
    return path
