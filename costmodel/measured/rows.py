"""Rows told apart: hashes of what a row is, and shapes that must stay out of training."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from costmodel.calibration import SHAPE_KEYS
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array, OpTable

LINK_KEYS = ("kind", "ranks", "bytes")
"""What names a collective, where calibration has no group of it."""


def row_keys(columns: dict[str, Array]) -> Array:
    """Return a 64-bit hash of each row's cells (uint64). Among a million rows two differ by chance in 1 of 30 million.

    Numbers hash alike in every table, texts only among the rows given. The mixing is that of splitmix64 (Steele, Lea
    and Flood 2014, figure 15).
    """
    mixed = np.zeros(len(next(iter(columns.values()))), dtype=np.uint64)
    for name in sorted(columns):
        column = columns[name]
        if column.dtype == object:
            codes = {word: float(i) for i, word in enumerate(sorted(set(column.tolist())))}
            column = np.array([codes[word] for word in column.tolist()])
        mixed = (mixed + np.uint64(0x9E3779B97F4A7C15)) ^ (column.astype(np.float64) + 0.0).view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def shape_keys(table: OpTable) -> Array:
    """Return a hash of each row's shape group (uint64): a gemm's n and k, an attention's heads, as calibration splits.

    The device, the stack and the format are not part of it: a shape that is held out is held out everywhere.
    """
    ops = table.full("op")
    keys = np.zeros(table.rows, dtype=np.uint64)
    for code in np.unique(ops):
        where = np.flatnonzero(ops == code)
        names = SHAPE_KEYS.get(OPS[int(code)], LINK_KEYS)
        columns = {name: table.full(name)[where].astype(np.float64) for name in names}
        if "kv_heads" in columns:  # 0 says 'as many as heads'
            columns["kv_heads"] = np.where(columns["kv_heads"] > 0, columns["kv_heads"], columns["heads"])
        keys[where] = row_keys({**columns, "op": np.full(len(where), float(code))})
    return keys


@dataclass(frozen=True)
class Exclusion:
    """Shapes that must not be learned from; `keys` are their hashes, sorted."""

    keys: Array

    @classmethod
    def of(cls, table: MeasurementTable) -> Exclusion:
        """Return the shapes of a table of operators."""
        return cls(np.unique(shape_keys(table.table)))

    def mask(self, table: MeasurementTable) -> Array:
        """Return True for every row whose shape is excluded."""
        return np.isin(shape_keys(table.table), self.keys)


MOST_ROWS = 4_000_000
"""Rows that a calibration takes by default: 4.4 GB and 180 CPU-seconds."""
RULE = "the largest (device, operator) families are cut to one size; which rows stay is decided by a hash of each row"


def thin(tables: list[MeasurementTable], most: int) -> dict[str, tuple[int, int]]:
    """Leave at most `most` rows in the list of tables (changed in place); small families keep all of theirs.

    Every family of a device and an operator has the same bound, the largest that fits. Rows are chosen by a hash of
    operator, stack and device, so that the choice is even over shapes and stays the same in another order.

    Returns:
        by 'device/op' of each family that was cut, the rows that stay and the rows there were.
    """
    names = [_family_names(table) for table in tables]
    sizes: dict[str, int] = {}
    for words in names:
        for word, count in zip(*np.unique(words, return_counts=True), strict=True):
            sizes[str(word)] = sizes.get(str(word), 0) + int(count)
    if sum(sizes.values()) <= most:
        return {}
    bound = _bound(sorted(sizes.values()), most)
    cut = {name: size for name, size in sizes.items() if size > bound}
    hashes = [_stable_keys(table) for table in tables]
    limits = {}
    for name in cut:
        mine = np.concatenate([keys[words == name] for keys, words in zip(hashes, names, strict=True)])
        limits[name] = np.partition(mine, bound - 1)[bound - 1]
    kept: dict[str, tuple[int, int]] = dict.fromkeys(cut, (0, 0))
    for i, (words, keys) in enumerate(zip(names, hashes, strict=True)):
        keep = np.ones(len(words), dtype=bool)
        for name in cut:
            mine = words == name
            keep &= ~mine | (keys <= limits[name])
            kept[name] = (kept[name][0] + int((keep & mine).sum()), cut[name])
        tables[i] = tables[i].take(np.flatnonzero(keep))
    return dict(sorted(kept.items()))


def _bound(sizes: list[int], most: int) -> int:
    """Return the largest bound with sum(min(size, bound)) <= most, at least 1. `sizes` are sorted."""
    left = most
    for i, size in enumerate(sizes):
        share = left // (len(sizes) - i)
        if size > share:
            return max(1, share)
        left -= size
    return sizes[-1]


def _family_names(table: MeasurementTable) -> Array:
    ops = table.table.full("op")
    names = np.empty(table.rows, dtype=object)
    devices = table.device.tolist()
    words = {pair: f"{pair[0]}/{OPS[pair[1]]}" for pair in set(zip(devices, ops.tolist(), strict=True))}
    names[:] = [words[pair] for pair in zip(devices, ops.tolist(), strict=True)]
    return names.astype(str)


def _stable_keys(table: MeasurementTable) -> Array:
    """Return a hash of each row that is the same in every table: its operator, device and stack."""
    columns = {name: np.asarray(table.table.full(name), dtype=np.float64) for name in table.table.columns}
    for name, texts in (("device", table.device), ("software", table.software)):
        codes = {word: float(zlib.crc32(str(word).encode())) for word in set(texts.tolist())}
        columns[name] = np.array([codes[word] for word in texts.tolist()])
    return row_keys(columns)
