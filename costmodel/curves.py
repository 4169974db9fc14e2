"""Collectives as curves over the size: log(measured / closed form) by device, stack, format, kind and ranks.

Calibration (`costmodel.calibration.links`) fits all curves together and writes them on one grid of octaves, also those
of kinds and ranks that a device was not measured with. What is left here is to look them up: straight between two
sizes and between two numbers of ranks, in their logarithms. Links that were never measured are answered by those like
them, blended by the resemblance of their rate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from costmodel.collectives import Fabric
from costmodel.features import FRAMEWORKS, stack_of
from foundation.formats import FORMATS
from workloads.elementwise import Value, choose
from workloads.table import KINDS, Array, OpTable

PREFIX = "curve/"
META = ("kind", "ranks", "measured", "most_ranks", "start")
"""Columns before the values: `measured` 1 or 0, the most ranks that the device was measured with, log2 of the bytes of
the first value."""
MEASURED, COMPLETED, BEYOND, UNKNOWN = range(4)
"""What an answer rests on: the row's own curve, curves of other kinds and ranks, those of the nearest ranks or size
(the row lies outside what was measured), nothing."""
OCTAVES = 1.0
"""How far beyond the measured sizes a curve is held level (estimated, 0 to 2)."""
REACH, FARTHEST = 0.66, 1.0
"""Log ratio of rates over which links cease to resemble each other (that of `calibration.links`), and the one beyond
which measured links say nothing of others (estimated, 0.7 to 1.5)."""


LINKS = "collective"
Width = tuple[tuple[float, float], Array]
"""Cuts between thirds of the log time of the closed form, and the half width of each."""


def completed_name(device: str) -> str:
    """Return the name of the intervals of kinds and ranks that a device was not measured with."""
    return f"{device}/{LINKS}/completed"


def unseen_name(switched: bool) -> str:
    """Return the name of the intervals of devices whose links were not measured."""
    return f"/{LINKS}/{'switched' if switched else 'open'}"


def table_name(place: str, software: str, dtype: str) -> str:
    """Return the name of the table of a device (or class of links), stack and format."""
    return f"{PREFIX}{place}|{software}|{dtype}"


def class_name(switched: bool, bytes_per_s: float, library: str) -> str:
    """Return the name of a class of links; `library` is the one that serves them."""
    return f"~{int(switched)}:{bytes_per_s:.6g}:{library}"


@dataclass(frozen=True)
class CurveSet:
    """The curves of one place, stack and format: `values` (kinds, ranks, sizes), `known` what each rests on.

    `place` gives the index of a kind (-1: none), `log_ranks` the log2 of the ranks, `start` log2 of the first size.
    """

    place: Array
    log_ranks: Array
    most_ranks: float
    start: float
    values: Array
    known: Array

    @staticmethod
    def of(table: Array) -> CurveSet:
        """Read a table: one row a curve, all kinds with the same ranks."""
        kinds, ranks = np.unique(table[:, 0]), np.unique(table[:, 1])
        place = np.full(len(KINDS), -1)
        place[kinds.astype(int)] = np.arange(len(kinds))
        order = np.lexsort((table[:, 1], table[:, 0]))
        shape = (len(kinds), len(ranks))
        known = np.where(table[order, 2] > 0, MEASURED, COMPLETED).reshape(shape)
        values = table[order, len(META) :].reshape(*shape, -1).astype(np.float64)
        return CurveSet(place, np.log2(ranks), float(np.log2(table[0, 3])), float(table[0, 4]), values, known)

    def at(self, kind: Value, ranks: Value, size: Value) -> tuple[Value, Value]:
        """Return (log factor, what it rests on) of rows; 0 where the kind is unknown."""
        if not isinstance(size, np.ndarray) and not isinstance(ranks, np.ndarray) and not isinstance(kind, np.ndarray):
            return self._one(int(self.place[kind]), math.log2(max(ranks, 1.0)), math.log2(max(size, 1.0)))
        where = self.place[kind]
        _, n, cells = self.values.shape
        log_ranks, octave = np.log2(np.maximum(ranks, 1)), np.log2(np.maximum(size, 1)) - self.start
        i, between = _split(np.interp(log_ranks, self.log_ranks, np.arange(n)), n)
        j, part = _split(np.minimum(np.maximum(octave, 0), cells - 1), cells)
        flat, first = self.values.reshape(-1), (np.maximum(where, 0) * n + i) * cells + j
        step, right = np.where(n > 1, cells, 0), np.where(cells > 1, 1, 0)
        low = flat[first] * (1 - part) + flat[first + right] * part
        high = flat[first + step] * (1 - part) + flat[first + step + right] * part
        factor = low * (1 - between) + high * between
        nearest = i + (between > 0.5)
        rests = np.where(np.abs(log_ranks - self.log_ranks[nearest]) < 1e-6, self.known[where, nearest], COMPLETED)
        outside = (log_ranks > self.most_ranks + 1e-6) | (log_ranks < self.log_ranks[0] - 1e-6)
        rests = np.where(outside | (octave < -OCTAVES) | (octave > cells - 1 + OCTAVES), BEYOND, rests)
        missing = where < 0
        return np.where(missing, 0.0, factor), np.where(missing, UNKNOWN, rests)

    def _one(self, where: int, log_ranks: float, log_size: float) -> tuple[Value, Value]:
        """Return the same of one row, some ten times as fast as by columns of one value."""
        if where < 0:
            return np.float64(0.0), np.int64(UNKNOWN)
        ranks, cells, octave = self._rank_list, self.values.shape[2], log_size - self.start
        i = min(max(bisect_right(ranks, log_ranks) - 1, 0), max(len(ranks) - 2, 0))
        above = min(i + 1, len(ranks) - 1)
        span = ranks[above] - ranks[i]
        between = min(max((log_ranks - ranks[i]) / span, 0.0), 1.0) if span else 0.0
        position = min(max(octave, 0.0), cells - 1.0)
        j = min(int(position), max(cells - 2, 0))
        right, part = min(j + 1, cells - 1), position - j
        curves, found = self.values[where], []
        for row in (i, above):
            found.append(curves[row, j] * (1 - part) + curves[row, right] * part)
        nearest = above if between > 0.5 else i
        rests = int(self.known[where, nearest]) if abs(log_ranks - ranks[nearest]) < 1e-6 else COMPLETED
        outside = log_ranks > self.most_ranks + 1e-6 or log_ranks < ranks[0] - 1e-6
        if outside or octave < -OCTAVES or octave > cells - 1 + OCTAVES:
            rests = BEYOND
        return found[0] * (1 - between) + found[1] * between, np.int64(rests)

    @cached_property
    def _rank_list(self) -> list[float]:
        return [float(x) for x in self.log_ranks]


def _split(position: Value, count: int) -> tuple[Value, Value]:
    """Return the cell left of each position and how far beyond it the position lies, 0 to 1."""
    cell = np.minimum(position.astype(np.intp), max(count - 2, 0))
    return cell, position - cell


@dataclass(frozen=True)
class Curves:
    """All curves of an artefact, by the names of `table_name`."""

    tables: Mapping[str, Array]
    _sets: dict[tuple[str, ...], CurveSet | None] = field(default_factory=dict, repr=False, compare=False)

    def of(self, device: str, software: str, dtype: str) -> CurveSet | None:
        """Return the curves of a device that was measured with a stack and format."""
        key = (device, software, dtype)
        if key not in self._sets:
            table = self.tables.get(table_name(*key))
            self._sets[key] = None if table is None else CurveSet.of(table)
        return self._sets[key]

    def like(self, fabric: Fabric, software: str, dtype: str) -> CurveSet | None:
        """Return curves for links that were not measured, blended from those like them; None where there are none."""
        key = ("~", fabric.name, f"{fabric.local_bytes_per_s:.6g}", software, dtype)
        if key not in self._sets:
            self._sets[key] = self._blend(fabric, software, dtype)
        return self._sets[key]

    @cached_property
    def _classes(self) -> list[tuple[bool, float, str, str, str, str]]:
        """Switched, rate, library, framework, format and table name of every class of links."""
        found = []
        for name in self.tables:
            place, software, dtype = name[len(PREFIX) :].split("|")
            if place.startswith("~"):
                switched, rate, library = place[1:].split(":")
                found.append((switched == "1", float(rate), library, software, dtype, name))
        return found

    def _blend(self, fabric: Fabric, software: str, dtype: str) -> CurveSet | None:
        word = FRAMEWORKS[int(stack_of(software)[0])]
        if not fabric.switched:
            return None  # the host (sockets, peer access) decides, which no figure of the device tells
        near = [c for c in self._classes if c[0]]
        near = [c for c in near if abs(np.log(c[1] / fabric.local_bytes_per_s)) <= FARTHEST]
        for library in ("oneccl", "nccl") if word == "oneccl" else ("nccl", "oneccl"):
            mine = [c for c in near if c[2] == library]
            mine = [c for c in mine if c[3] == word] or [c for c in mine if c[3] == library]
            if mine:
                nearest = min(mine, key=lambda c: _unlike(c[4], dtype))
                mine = [c for c in mine if c[4] == nearest[4]]
                return self._mean(mine, fabric)
        return None

    def _mean(self, classes: list[tuple[bool, float, str, str, str, str]], fabric: Fabric) -> CurveSet:
        away = np.array([np.log(c[1] / fabric.local_bytes_per_s) for c in classes])
        weights = np.exp(((away**2).min() - away**2) / (2 * REACH**2))
        sets = [CurveSet.of(self.tables[c[5]]) for c in classes]
        values = np.average([s.values for s in sets], axis=0, weights=weights)
        return replace(sets[0], values=values, known=np.full_like(sets[0].known, COMPLETED))


def _unlike(dtype: str, wanted: str) -> tuple[bool, float, str]:
    """Order formats by how unlike a wanted one they are: links see bytes, not numbers."""
    bits = abs(float(FORMATS[dtype].weight_bits) - float(FORMATS[wanted].weight_bits))
    return dtype != wanted, bits, dtype


@dataclass(frozen=True)
class Found:
    """What curves say of rows: the log factor, what it rests on, and the half width of the log error (NaN: unknown)."""

    log_factor: Value
    rests: Value
    half: Value


def found_in(curves: CurveSet, table: OpTable, log_time: Value, widths: tuple[Width, Width]) -> Found:
    """Return what curves say of collectives; `widths` are those of measured and of completed curves.

    `log_time` is the log of the closed form's seconds, by which widths differ.
    """
    factor, rests = curves.at(table["kind"], table["ranks"], table["bytes"])
    (cuts, half), (other_cuts, other_half) = widths
    own = half[1 * (log_time > cuts[0]) + (log_time > cuts[1])]
    other = other_half[1 * (log_time > other_cuts[0]) + (log_time > other_cuts[1])]
    return Found(factor, rests, choose(rests == MEASURED, own, other))
