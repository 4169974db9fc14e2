"""`calibrate --networks`: whole networks on a device that timed a few, from devices that timed many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.completion import FEWEST_SOURCES, fit_completion, predict_completion
from foundation.errors import BadFileError, BadValueError
from workloads.column_files import write_columns
from workloads.table import Array
from workloads.workload_measurements import SIZES, TEXTS, WorkloadMeasurements, read_workload_measurements

TABLE = "networks.csv"
FEWEST_SHOTS = 3
WHAT_RAN = tuple(name for name in (*TEXTS, *SIZES) if name != "group")
MEASURED, LEARNED = "measured", "learned"


@dataclass(frozen=True)
class NetworkTransfer:
    """What was written to `folder`/networks.csv, and how well the sources predict each other from as many networks.

    `unknown` are networks of the device that no source ran: they teach nothing here and are left as measured.
    `source_mape` has the mean error of each source stack when it played the new device, NaN where it has too few rows.
    """

    folder: str
    device: str
    software: str
    shots: int
    rows: int
    unknown: tuple[str, ...]
    source_mape: dict[str, float]

    @property
    def mape(self) -> float:
        """Mean error over the sources that played; NaN where none could."""
        known = [value for value in self.source_mape.values() if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is not known is null."""
        errors = {name: value if np.isfinite(value) else None for name, value in self.source_mape.items()}
        return {
            "folder": self.folder, "device": self.device, "software": self.software, "shots": self.shots,
            "rows": self.rows, "unknown": list(self.unknown), "source_mape": errors,
            "mape": self.mape if np.isfinite(self.mape) else None,
        }  # fmt: skip

    def text(self) -> str:
        """Return the report for a terminal."""
        stack = f"{self.device} {self.software}".strip()
        lines = [f"{stack}: {self.rows:,} networks from {self.shots} measured and {len(self.source_mape)} other stacks"]
        lines += [f"  {name} from {self.shots} of its own, the others known: "
                  + (f"{value:.1%} error" if np.isfinite(value) else "too few networks to tell")
                  for name, value in self.source_mape.items()]  # fmt: skip
        lines += [f"no other device ran {name}: it teaches nothing here" for name in self.unknown]
        return "\n".join([*lines, f"The table is {Path(self.folder) / TABLE}."])


def transfer_networks(
    networks: str | Path, *, sources: str | Path | Sequence[str | Path], out: str | Path, skip_bad: bool = False
) -> NetworkTransfer:  # fmt: skip
    """Predict every network that other devices ran on a device that ran a few, and write the table to the folder `out`.

    Args:
        networks: whole-model measurements (docs/datasets.md) of one device and software, ten or more at best.
        sources: tables of other devices; each device and software is a stack of its own, at least three.
        skip_bad: leave bad rows out instead of refusing a table.

    Raises:
        BadFileError: a table cannot be used, holds several stacks where one is asked, or `out` cannot be written.
        BadValueError: fewer than three stacks, or fewer than three networks that one of them ran.
    """
    files = [sources] if isinstance(sources, (str, Path)) else list(sources)
    shown = read_workload_measurements(networks, skip_bad=skip_bad)
    others = [read_workload_measurements(file, skip_bad=skip_bad) for file in files]
    stack = sorted(set(_stacks(shown)))
    if len(stack) != 1:
        raise BadFileError(
            networks, f"it holds {len(stack)} devices or stacks of software; one at a time is predicted."
        )
    keys, latency, names = _matrix(others, stack[0])
    mine = _medians([shown])[stack[0]]
    place = {key: i for i, key in enumerate(keys)}
    at = np.array(sorted(place[key] for key in mine if key in place), int)
    _check(len(names), len(at), Path(networks))
    seconds = np.array([mine[keys[i]] for i in at])
    model = fit_completion(latency, _formats(keys), len(at))
    value, lo, hi = predict_completion(model, at, seconds)
    value[at] = lo[at] = hi[at] = seconds
    source = np.where(np.isin(np.arange(len(keys)), at), MEASURED, LEARNED)
    _write(Path(out), stack[0], keys, (value, lo, hi), source)
    errors = {" ".join(name).strip(): float(mape) for name, mape in zip(names, model.played_mape, strict=True)}
    unknown = tuple(sorted({key[WHAT_RAN.index("workload")] for key in mine if key not in place}))
    return NetworkTransfer(str(out), *stack[0], len(at), len(keys), unknown, errors)


_Stack = tuple[str, str]
_Key = tuple[str, ...]


def _stacks(table: WorkloadMeasurements) -> list[_Stack]:
    return [(str(d), str(s)) for d, s in zip(table.device, table.text("software"), strict=True)]


def _medians(tables: Sequence[WorkloadMeasurements]) -> dict[_Stack, dict[_Key, float]]:
    """Return the median seconds of what each stack ran; rows without a latency are left out."""
    found: dict[_Stack, dict[_Key, list[float]]] = {}
    for table in tables:
        columns = [_cells(table, name) for name in WHAT_RAN]
        for stack, latency, *key in zip(_stacks(table), table.value("latency_s"), *columns, strict=True):
            if latency > 0:
                found.setdefault(stack, {}).setdefault(tuple(key), []).append(float(latency))
    return {stack: {key: float(np.median(v)) for key, v in runs.items()} for stack, runs in found.items()}


def _cells(table: WorkloadMeasurements, name: str) -> list[str]:
    if name in TEXTS:
        words = [str(word) for word in table.text(name)]
        return [word or "infer" for word in words] if name == "mode" else words
    return ["" if np.isnan(value) else f"{value:.12g}" for value in table.size(name)]


def _matrix(tables: Sequence[WorkloadMeasurements], target: _Stack) -> tuple[list[_Key], Array, list[_Stack]]:
    """Return what any source ran, seconds (keys, stacks) with NaN for holes, and the stacks; the target is left out."""
    runs = {stack: found for stack, found in sorted(_medians(tables).items()) if stack != target}
    keys = sorted({key for found in runs.values() for key in found})
    latency = np.array([[found.get(key, np.nan) for found in runs.values()] for key in keys])
    return keys, latency.reshape(len(keys), len(runs)), list(runs)


def _check(stacks: int, shots: int, path: Path) -> None:
    if stacks < FEWEST_SOURCES:
        raise BadValueError(
            f"Networks are carried from at least {FEWEST_SOURCES} devices or stacks of software; "
            f"the sources hold {stacks}."
        )
    if shots < FEWEST_SHOTS:
        raise BadValueError(
            f"{path.name} has {shots} networks that a source ran in the same form (workload, params, formats, batch "
            f"and the other sizes alike); at least {FEWEST_SHOTS} are needed, ten serve better."
        )


def _formats(keys: Sequence[_Key]) -> Array:
    """Return 0 or 1 for each number format and mode, shape (keys, words)."""
    words = [(key[WHAT_RAN.index("dtype")], key[WHAT_RAN.index("mode")]) for key in keys]
    every = sorted({word for pair in words for word in pair})
    return np.array([[float(word in pair) for word in every] for pair in words])


def _write(
    folder: Path, stack: _Stack, keys: Sequence[_Key], values: tuple[Array, Array, Array], source: Array
) -> None:  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFileError(folder, f"the folder cannot be made: {error.strerror}.") from None
    columns: dict[str, Array] = {"op": np.full(len(keys), "workload", dtype=object)}
    for name, word in zip(("device", "software"), stack, strict=True):
        columns[name] = np.full(len(keys), word, dtype=object)
    for i, name in enumerate(WHAT_RAN):
        cells = np.array([key[i] for key in keys], dtype=object)
        if (cells != "").any():
            columns[name] = cells
    for name, column in zip(("latency_s", "latency_lo_s", "latency_hi_s"), values, strict=True):
        columns[name] = column
    columns["source"] = source.astype(object)
    write_columns(folder / TABLE, columns)
