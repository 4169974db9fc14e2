"""Mappings as text, one line a layer, in the notation of Timeloop's summaries that DOSA keeps.

`L3[WIO] P7 Q14 - L2[WI] N1 K16X - L1[O] K4 C3X - L0[W] N1`: memories from the outermost in, which operands each keeps,
its loops from the outermost in as dimension and factor; X or Y behind a factor unrolls it over the array.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundation.checks import MAX_SIZE
from foundation.errors import BadValueError
from workloads.table import Array

DIMENSIONS = "RSPQCKN"
"""Kernel columns and rows, output columns and rows, input channels, output channels, images."""
MAX_LEVELS, MAX_LOOPS, MAX_CHARACTERS = 16, 64, 4096
LEVEL = re.compile(r"L(\d{1,2})\[([WIO]{0,3})\]", re.ASCII)
LOOP = re.compile(rf"([{DIMENSIONS}])(\d{{1,13}})([XY]?)", re.ASCII)


@dataclass(frozen=True)
class Loop:
    """One loop: its dimension, how often it runs, and whether it is unrolled over the array."""

    dimension: str
    factor: int
    spatial: bool


@dataclass(frozen=True)
class Level:
    """One memory: its number (0 innermost), the operands that it keeps, its loops from the outermost in."""

    number: int
    keeps: str
    loops: tuple[Loop, ...]

    def factor(self, dimension: str, *, spatial: bool | None = None) -> int:
        """Return the product of the factors of a dimension: all, or only those unrolled or not."""
        found = (loop for loop in self.loops if loop.dimension == dimension and spatial in (None, loop.spatial))
        return int(np.prod([loop.factor for loop in found], dtype=object))


def parse_loop_nest(text: str) -> tuple[Level, ...]:
    """Return the levels of a mapping, outermost first.

    Raises:
        BadValueError: anything that is not such a text, with the piece at fault.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARACTERS:
        raise _bad(str(text), f"it must be a text of 1 to {MAX_CHARACTERS} characters")
    pieces = text.split(" - ")
    if len(pieces) > MAX_LEVELS:
        raise _bad(text, f"it has {len(pieces)} memories, of at most {MAX_LEVELS}")
    levels = tuple(_level(piece, text) for piece in pieces)
    numbers = [level.number for level in levels]
    if numbers != list(range(len(levels) - 1, -1, -1)):
        named = ", ".join(f"L{number}" for number in numbers)
        raise _bad(text, f"memories must come from the outermost in, down to L0, not {named}")
    total = np.prod([loop.factor for level in levels for loop in level.loops], dtype=object)
    if total > MAX_SIZE**2:
        raise _bad(text, f"its loops multiply to more than {MAX_SIZE**2:.0e} steps")
    return levels


def _level(piece: str, text: str) -> Level:
    words = piece.split()
    head = LEVEL.fullmatch(words[0]) if words else None
    if head is None:
        raise _bad(text, f"'{_short(piece)}' must start with a memory and what it keeps, e.g. L2[WI]")
    if len(words) - 1 > MAX_LOOPS:
        raise _bad(text, f"L{head[1]} has {len(words) - 1} loops, of at most {MAX_LOOPS}")
    loops = []
    for word in words[1:]:
        found = LOOP.fullmatch(word)
        if found is None or int(found[2]) < 1:
            raise _bad(text, f"'{_short(word)}' must be a dimension of {DIMENSIONS} and a factor from 1, e.g. K16X")
        loops.append(Loop(found[1], int(found[2]), bool(found[3])))
    return Level(int(head[1]), head[2], tuple(loops))


def _bad(text: str, problem: str) -> BadValueError:
    return BadValueError(f"Mapping '{_short(text)}': {problem}.")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class NestColumns:
    """Mappings in columns: for each dimension the size of a tile on chip and the passes over tiles from device memory.

    `inner_first` are the dimensions of the outermost memory's loops from the innermost out, those without one in
    `fallback` order behind them, as indices into `DIMENSIONS`; `spatial` is how far a dimension is unrolled.
    """

    tile: dict[str, Array]
    passes: dict[str, Array]
    spatial: dict[str, Array]
    inner_first: Array


def nest_columns(texts: Sequence[str], fallback: str = "CRSKPQN") -> NestColumns:
    """Return mappings in columns; each distinct text is parsed once. Raises BadValueError: one cannot be read."""
    known = {text: _row(parse_loop_nest(text), fallback) for text in dict.fromkeys(texts)}
    rows = [known[text] for text in texts]
    parts = [
        {name: np.array([row[part][i] for row in rows], float) for i, name in enumerate(DIMENSIONS)}
        for part in range(3)
    ]
    order = np.array([row[3] for row in rows], int).reshape(-1, len(DIMENSIONS))
    return NestColumns(parts[0], parts[1], parts[2], order)


def _row(levels: tuple[Level, ...], fallback: str) -> tuple[list[int], list[int], list[int], list[int]]:
    outer, inner = levels[0], levels[1:]
    tile = [int(np.prod([level.factor(name) for level in inner], dtype=object)) for name in DIMENSIONS]
    passes = [outer.factor(name) for name in DIMENSIONS]
    spatial = [int(np.prod([v.factor(name, spatial=True) for v in levels], dtype=object)) for name in DIMENSIONS]
    order = [loop.dimension for loop in reversed(outer.loops)]
    order = list(dict.fromkeys([*order, *fallback]))
    return tile, passes, spatial, [DIMENSIONS.index(name) for name in order]
