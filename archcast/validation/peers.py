"""A peer's own predictions, where the data holds them. They stand beside a score and are never a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from costmodel.measured.data_files import read_file
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements


def peer_values(peer: str, root: Path, table: WorkloadMeasurements, quantity: str) -> Array | None:
    """Return what a peer predicts of each row in SI units, NaN where it refused; None where its file is absent.

    Rows are found again by what was measured, which is different in every row. Raises BadFileError.
    """
    if peer == "aiconfigurator":
        folder = root / "aiconfigurator"
        if not (folder / "peer_aiconfigurator_e2e.csv.gz").is_file():
            return None
        said = read_file(folder / "peer_aiconfigurator_e2e.csv.gz", ("peer_ttft_ms", "peer_tpot_ms"), ("id",))
        rows = read_file(folder / "silicon_sample_e2e.csv.gz", ("silicon_ttft_ms", "silicon_tpot_ms"), ("id",))
        column = {"tpot_s": "peer_tpot_ms", "ttft_s": "peer_ttft_ms"}[quantity]
        by_id = dict(zip(said["id"].tolist(), (said[column] * 1e-3).tolist(), strict=True))
        value = np.array([by_id.get(name, np.nan) for name in rows["id"].tolist()])
        keys = rows["silicon_ttft_ms"] * 1e-3, rows["silicon_tpot_ms"] * 1e-3
        return _looked_up(keys, value, (table.value("ttft_s"), table.value("tpot_s")))
    rows = read_file(root / "simumax" / "b200_cases.csv", ("real_ms", "real_alloc_gib", "peer_ms", "peer_alloc_gib"))
    value = rows["peer_ms"] * 1e-3 if quantity == "latency_s" else rows["peer_alloc_gib"] * 2.0**30
    keys = rows["real_ms"] * 1e-3, rows["real_alloc_gib"] * 2.0**30
    return _looked_up(keys, value, (table.value("latency_s"), table.value("memory_bytes")))


def _looked_up(keys: tuple[Array, ...], values: Array, asked: tuple[Array, ...]) -> Array:
    """Return the value of each asked key, NaN where it is not among the keys."""
    found = dict(zip(_words(keys), values.tolist(), strict=True))
    return np.array([found.get(word, np.nan) for word in _words(asked)])


def _words(columns: tuple[Array, ...]) -> list[str]:
    return [" ".join(f"{value:.12g}" for value in row) for row in zip(*columns, strict=True)]
