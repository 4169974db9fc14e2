"""What one step of a serving engine costs: integer ticks, exactly additive, so that many equal steps are one event.

A step computes `tokens` tokens (decodes and chunks of prompts together) through all layers, attends to what is cached,
and samples `outputs` tokens. Its time is

    work[tokens] + sampling[outputs] + decode attention(decodes, cached tokens) + chunk attention(chunk, cached) ...

Decode attention is linear in the cached tokens between the points of a grid, with whole ticks a token: the sum over n
steps of a batch that does not change is then a closed form that equals n single steps to the tick.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from simulator.clock import PICOSECONDS_PER_SECOND, to_ticks
from workloads.table import Array

GRID_AN_OCTAVE = 4
"""Points of a grid for each doubling: a quadratic term is off by less than 1 % between two of them."""


def grid(largest: int, start: int = 1) -> Array:
    """Return whole numbers from `start` to at least `largest`, about `GRID_AN_OCTAVE` for each doubling."""
    octaves = np.ceil(GRID_AN_OCTAVE * np.log2(max(largest / start, 1.0))).astype(int)
    points = start * np.exp2(np.arange(octaves + 1) / GRID_AN_OCTAVE)
    found = np.unique(np.round(points).astype(np.int64))
    return found if found[-1] >= largest else np.append(found, largest)


@dataclass(frozen=True)
class Table:
    """A quantity (seconds or joules) by its four parts.

    work (tokens + 1,), sampling (outputs + 1,), decode (decodes + 1, contexts): of a batch whose requests all have the
    context of that column; chunk (chunks, contexts of chunks): attention of a chunk after so many cached tokens.
    """

    work: Array
    sampling: Array
    decode: Array
    chunk: Array


class StepCosts:
    """Step times in ticks and energies in joules, by look-up.

    Args:
        time_s, energy_j: the tables.
        contexts: cached tokens of a request, columns of `decode`; the first is at most 1.
        chunks, before: rows and columns of `chunk`; `before` starts with 0.

    Raises:
        BadValueError: an entry of a table is negative, infinite or missing.
    """

    def __init__(self, time_s: Table, energy_j: Table, contexts: Array, chunks: Array, before: Array) -> None:
        for table, unit in ((time_s, "seconds"), (energy_j, "joules")):
            check_table(table, unit)
        self.contexts, self.chunks, self.before = (np.asarray(x, dtype=np.int64) for x in (contexts, chunks, before))
        self.work = [int(x) for x in to_ticks(time_s.work, what="the time of a step")]
        self.sampling = [int(x) for x in to_ticks(time_s.sampling, what="the time of sampling")]
        self.time, self.energy = time_s, energy_j
        self.work_j, self.sampling_j = _floats(energy_j.work), _floats(energy_j.sampling)
        self._slowed: dict[float, StepCosts] = {}
        self._chunk_s, self._chunk_j = ([_floats(row) for row in table.chunk] for table in (time_s, energy_j))
        self._edges: list[list[int]] = []
        self._levels: list[list[int]] = []
        self._slopes: list[list[int]] = []
        self._levels_j = [_floats(row) for row in energy_j.decode]
        self._slopes_j: list[list[float]] = []
        for decodes, row in enumerate(time_s.decode):
            edges = [int(x) * decodes for x in self.contexts]
            ticks = [int(x) for x in to_ticks(row, what="the time of attention")]
            levels, slopes = [ticks[0]], []
            for j in range(len(edges) - 1):
                width = max(edges[j + 1] - edges[j], 1)
                slopes.append(max(round((ticks[j + 1] - levels[j]) / width), 0))
                levels.append(levels[j] + slopes[j] * width)
            self._edges.append(edges)
            self._levels.append(levels)
            self._slopes.append([*slopes, slopes[-1] if slopes else 0])
            joules = self._levels_j[decodes]
            slopes_j = [(joules[j + 1] - joules[j]) / max(edges[j + 1] - edges[j], 1) for j in range(len(edges) - 1)]
            self._slopes_j.append([*slopes_j, slopes_j[-1] if slopes_j else 0.0])

    @property
    def most_tokens(self) -> int:
        return len(self.work) - 1

    @property
    def most_decodes(self) -> int:
        return len(self._edges) - 1

    def piece(self, decodes: int, cached: int) -> tuple[int, int, int]:
        """Return (ticks, ticks a cached token, cached tokens up to which this holds) of a batch's attention."""
        return self.pieces(decodes, cached)[:3]

    def pieces(self, decodes: int, cached: int) -> tuple[int, int, int, float, float]:
        """Return what `piece` does, then (joules, joules a cached token), which hold as far."""
        edges = self._edges[decodes]
        j = min(max(bisect_right(edges, cached) - 1, 0), len(edges) - 1)
        last = edges[j + 1] if j + 1 < len(edges) else 2**62
        slope, slope_j, beyond = self._slopes[decodes][j], self._slopes_j[decodes][j], cached - edges[j]
        return (
            self._levels[decodes][j] + slope * beyond, slope, last,
            self._levels_j[decodes][j] + slope_j * beyond, slope_j,
        )  # fmt: skip

    def decode_ticks(self, decodes: int, cached: int) -> int:
        """Return the attention of `decodes` requests with `cached` tokens in sum."""
        return self.pieces(decodes, cached)[0] if decodes else 0

    def decode_energy_j(self, decodes: int, cached: int) -> float:
        return self.pieces(decodes, cached)[3] if decodes else 0.0

    def chunk_ticks(self, tokens: int, before: int) -> int:
        """Return the attention of a chunk of a prompt after `before` cached tokens."""
        return self.chunk_costs(tokens, before)[0]

    def chunk_energy_j(self, tokens: int, before: int) -> float:
        return self.chunk_costs(tokens, before)[1]

    def chunk_costs(self, tokens: int, before: int) -> tuple[int, float]:
        """Return (ticks, joules) of the attention of a chunk, bilinear between the points of the grid."""
        xs, ys = self._axes
        i = min(max(bisect_right(xs, tokens) - 1, 0), len(xs) - 2)
        j = min(max(bisect_right(ys, before) - 1, 0), len(ys) - 2)
        u, v = (tokens - xs[i]) / (xs[i + 1] - xs[i]), (before - ys[j]) / (ys[j + 1] - ys[j])
        rest = 1 - v
        low, high = self._chunk_s[i], self._chunk_s[i + 1]
        seconds = (low[j] * rest + low[j + 1] * v) * (1 - u) + (high[j] * rest + high[j + 1] * v) * u
        low, high = self._chunk_j[i], self._chunk_j[i + 1]
        joules = (low[j] * rest + low[j + 1] * v) * (1 - u) + (high[j] * rest + high[j + 1] * v) * u
        return round(seconds * PICOSECONDS_PER_SECOND), joules

    def slowed(self, factor: float) -> StepCosts:
        """Return the costs of the same steps where each takes `factor` times as long and burns as many joules.

        Raises:
            BadValueError: the factor is not a finite number above 0.
        """
        if finite_number("the factor of slowing", factor, strict=True) == 1.0:
            return self
        if factor not in self._slowed:
            time = self.time
            slow = Table(time.work * factor, time.sampling * factor, time.decode * factor, time.chunk * factor)
            self._slowed[factor] = StepCosts(slow, self.energy, self.contexts, self.chunks, self.before)
        return self._slowed[factor]

    @cached_property
    def _axes(self) -> tuple[list[int], list[int]]:
        return self.chunks.tolist(), self.before.tolist()


def _floats(values: Array) -> list[float]:
    return [float(x) for x in values]


def check_table(table: Table, unit: str) -> None:
    """Refuse a table with a negative, infinite or missing entry. Raises BadValueError."""
    for name in ("work", "sampling", "decode", "chunk"):
        values = getattr(table, name)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise BadValueError(
                f"The step costs '{name}' ({unit}) have an entry that is negative, infinite or missing."
            )
