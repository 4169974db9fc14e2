"""Layer tables of the replays (LLMServingSim's, MIT): a cost model of a GPU's layers, and what mixed batches cost.

Only profiles of layers are read here, never a request of a replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from costmodel.layer_tables import LayerTables
from costmodel.measured.base import ImportRequest, find_importer
from costmodel.measured.data_files import Columns, read_file
from costmodel.measured.llmservingsim import NOW
from foundation.errors import BadFileError
from simulator.serving.shared_batches import Mixing, Tail
from workloads.measurements import MeasurementTable
from workloads.table import Array

IMPORTER = "llmservingsim"
AROUND = 2.0
"""Tails are taken from batches whose mean context is within this factor of the usual one."""
LEAST_RATIO = 1.5
"""Where the longest context is less than so many times the mean one, a share of the way between them is all noise."""
CHUNK = (256.0, 1024.0)
"""Tokens of a chunk beside which tails are taken."""


@lru_cache(maxsize=4)
def layer_tables(root: Path, device: str) -> LayerTables:
    """Return the cost model of a device's layers. Raises BadFileError, BadValueError: no tables, none of the device."""
    return LayerTables.of(_pieces(root, device), device)


class _Enough(Exception):
    """The importer goes on to what is not wanted."""


def _pieces(root: Path, device: str) -> Iterator[MeasurementTable]:
    """Yield the dense layers, heads and attention; the tables of an earlier profiler that follow are long to read."""

    def told(what: str, _share: float) -> None:
        if what == "experts":
            raise _Enough

    try:
        for piece in find_importer(IMPORTER).load(ImportRequest(root, (device,), progress=told)):
            if isinstance(piece, MeasurementTable) and (piece.software == NOW).all():
                yield piece
    except _Enough:
        return


def mixing(root: Path, hardware: str, model: str, chunk_tokens: float, context_tokens: float) -> Mixing:
    """Return what was measured of mixed batches, by the names of the set, on one rank.

    Args:
        chunk_tokens: of a usual chunk of a prompt, beside which decodes run.
        context_tokens: of a usual request that decodes.

    Raises:
        BadFileError: a file cannot be used, or holds no mixed batch of that hardware and model.
    """
    folder = root / IMPORTER
    numbers = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    rows = _of(folder / "layer_attention.csv.gz", numbers, (), hardware, model)
    decodes, contexts, seconds = _beside(rows, chunk_tokens)
    skewed = ("n", "pc", "kv_big", "kv_mean", "alpha")
    tails = _of(folder / "layer_skew.csv.gz", skewed, ("regime",), hardware, model)
    usual = (tails["kv_mean"] >= context_tokens / AROUND) & (tails["kv_mean"] <= context_tokens * AROUND)
    pure = usual & (tails["regime"] == "pure")
    mixed = usual & (tails["regime"] == "mixed") & (tails["pc"] >= CHUNK[0]) & (tails["pc"] <= CHUNK[1])
    return Mixing(decodes, contexts, seconds, _tail(tails, pure), _tail(tails, mixed))


@lru_cache(maxsize=4)
def _read(path: Path, numbers: tuple[str, ...], texts: tuple[str, ...]) -> Columns:
    return read_file(path, numbers, texts)


def _of(path: Path, numbers: tuple[str, ...], texts: tuple[str, ...], hardware: str, model: str) -> Columns:
    rows = _read(path, numbers, ("hardware", "model", "tp", *texts))
    mine = (rows["hardware"] == hardware) & (rows["model"] == model) & (rows["tp"] == "tp1")
    if not mine.any():
        raise BadFileError(path, f"there is no row of {model} on {hardware} with one rank.")
    return {name: column[mine] for name, column in rows.items()}


def _beside(rows: Columns, chunk_tokens: float) -> tuple[Array, Array, Array]:
    """Return decodes, contexts and the seconds that decodes add to a chunk, shape (decodes, contexts).

    They are taken beside the two measured chunks around `chunk_tokens` (the nearest one at the ends).
    """
    first = rows["kv_prefill"] == 0
    chunk, n, context, time = (rows[name][first] for name in ("prefill_chunk", "n_decode", "kv_decode", "time_us"))
    alone = {float(size): float(t) for size, t in zip(chunk[n == 0], time[n == 0], strict=True)}
    counts = {size: np.unique(n[(chunk == size) & (n > 0)]).size for size in sorted(alone)}
    sizes = [size for size, count in counts.items() if count == max(counts.values())]
    low = max([size for size in sizes if size <= chunk_tokens], default=sizes[0])
    high = min([size for size in sizes if size >= chunk_tokens], default=sizes[-1])
    parts = []
    for size in (low, high):
        mine = (chunk == size) & (n > 0)
        parts.append(_full(n[mine], context[mine], (time[mine] - alone[size]) * 1e-6))
    shared = np.intersect1d(parts[0][1], parts[1][1])
    below, above = (table[:, np.isin(contexts, shared)] for _, contexts, table in parts)
    share = (chunk_tokens - low) / (high - low) if high > low else 0.0
    return parts[0][0], shared, below * (1 - share) + above * share


def _full(n: Array, context: Array, seconds: Array) -> tuple[Array, Array, Array]:
    """Return decodes, the contexts that were timed at each of them, and the times, shape (decodes, contexts)."""
    decodes, contexts = np.unique(n), np.unique(context)
    found = np.full((len(decodes), len(contexts)), np.nan)
    found[np.searchsorted(decodes, n), np.searchsorted(contexts, context)] = seconds
    kept = np.isfinite(found).all(axis=0)
    return decodes, contexts[kept], found[:, kept]


def _tail(rows: Columns, keep: Array) -> Tail:
    """Return the share of the way from mean to longest by decodes and by the longest over the mean context."""
    keep = keep & (rows["kv_big"] >= LEAST_RATIO * rows["kv_mean"]) & np.isfinite(rows["alpha"])
    n, ratio, share = rows["n"][keep], (rows["kv_big"] / rows["kv_mean"])[keep], rows["alpha"][keep]
    decodes, ratios, shares = np.unique(n), [], []
    for size in decodes:
        here = n == size
        step = np.round(np.log2(ratio[here]) * 4) / 4
        points = np.unique(step)
        ratios.append(np.exp2(points))
        shares.append(np.array([np.median(share[here][step == point]) for point in points]))
    return Tail(decodes, tuple(ratios), tuple(shares))
