"""Timeloop's cycles of given mappings (72,700 of DOSA's data set) beside ours: is everything counted as it counts?

Nothing is searched and nothing fitted. Each mapping says which loops each memory holds; the cycles are those of the
loops or of the busiest port. Of the architecture, the data names the rates of scratchpad (two words a cycle for each
column, shared) and accumulators (two a column); that device memory moves 8 words a cycle, and that sums which come
back from it enter accumulators by a port of their own, was read off rows.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.spatial.hierarchy import DIMS, MOVES, OPERANDS, Axis, Hierarchy, Memory, port
from costmodel.spatial.layers import Layers
from costmodel.spatial.loop_nest_text import parse_loop_nest
from costmodel.spatial.nest import PAD, Nest
from costmodel.spatial.nest_costs import NestCosts, evaluate
from foundation.errors import BadFileError
from workloads.table import Array

FILE = "timeloop_dataset.csv.tar.gz"
DIM_OF = {"R": "FX", "S": "FY", "P": "OX", "Q": "OY", "C": "C", "K": "K", "N": "B"}
KEEPS = ("W", "O", "WI", "WIO")
"""Operands of the memories, inner to outer: registers, accumulators, scratchpad, device memory."""
ROWS_LEVEL, COLS_LEVEL = 1, 2
"""Levels whose unrolled loops lie on rows (summed into an accumulator) and on columns."""
DRAM_WORDS_PER_CYCLE = 8.0
WORD_BITS = 8.0


def gemmini(columns: int, accumulator_words: float, scratchpad_words: float) -> Hierarchy:
    """Return DOSA's Gemmini with so many columns; words of 8 bits throughout, as the counts are of words."""
    axes = (Axis("rows", columns, ("C",)), Axis("cols", columns, ("K",)))
    every = tuple(axis.name for axis in axes)
    wide = 1e15
    registers = Memory("registers", "W", WORD_BITS * 4096, (port("W fill, W feed", wide, WORD_BITS),))
    sums = Memory(
        "accumulators", "O", accumulator_words * WORD_BITS,
        (port("O sink, O feed, O drain", 2 * WORD_BITS), port("O fill", wide, WORD_BITS)), ("rows",),
    )  # fmt: skip
    near = port(", ".join(f"{o} {move}" for o in "WI" for move in MOVES), 2 * columns * WORD_BITS, WORD_BITS)
    far = port(
        ", ".join(f"{o} {move}" for o in OPERANDS for move in MOVES), DRAM_WORDS_PER_CYCLE * WORD_BITS, WORD_BITS
    )
    scratchpad = Memory("scratchpad", "WI", scratchpad_words * WORD_BITS, (near,), every)
    return Hierarchy("gemmini", axes, (registers, sums, scratchpad, Memory("dram", "WIO", 1e18, (far,), every)))


def given_nest(texts: Sequence[str], layers: Layers) -> Nest:
    """Return mappings as candidates, one a layer. Raises BadFileError: a mapping is not of Gemmini's four memories."""
    parsed = [parse_loop_nest(text)[::-1] for text in texts]
    count = len(parsed)
    width = max(sum(len(level.loops) for level in levels) for levels in parsed)
    dims, sizes = np.full((count, width), PAD), np.ones((count, width))
    units = [{dim: np.ones(count) for dim in DIMS} for _ in range(2)]
    inside = np.zeros((len(KEEPS), count), int)
    for row, levels in enumerate(parsed):
        if [set(level.keeps) for level in levels] != [set(keeps) for keeps in KEEPS]:
            raise BadFileError(FILE, f"mapping '{texts[row]}' is not of registers, accumulators, scratchpad and DRAM.")
        at = width - sum(not loop.spatial for level in levels for loop in level.loops)
        for level in levels:
            for loop in reversed(level.loops):
                dim = DIM_OF[loop.dimension]
                if loop.spatial:
                    units[0 if level.number == ROWS_LEVEL else 1][dim][row] *= loop.factor
                else:
                    dims[row, at], sizes[row, at], at = DIMS.index(dim), loop.factor, at + 1
            inside[level.number, row] = at
    cuts = {"W": (inside[0], inside[COLS_LEVEL]), "I": (inside[COLS_LEVEL],), "O": (inside[ROWS_LEVEL],)}
    return Nest(layers, dims, sizes, tuple(units), cuts=cuts)


def layers_of_rows(rows: Sequence[Mapping[str, str]]) -> Layers:
    """Return the layers of rows of the data set."""

    def column(name: str) -> Array:
        return np.array([float(row[f"prob.{name}"]) for row in rows])

    bits = dict.fromkeys(("weight_bits", "input_bits", "output_bits", "sum_bits"), WORD_BITS)
    kernel = {"fy": column("S"), "fx": column("R"), "stride": column("Hstride")}
    return Layers(column("N"), 1.0, column("K"), column("C"), column("Q"), column("P"), **kernel, **bits)


def costs_of_rows(rows: Sequence[Mapping[str, str]]) -> list[tuple[Array, NestCosts]]:
    """Return costs of the rows of each architecture: their places, and what their mappings take."""
    keys = [(row["arch.meshX"], row["arch.mem1_entries"], row["arch.mem2_entries"]) for row in rows]
    found = []
    for key in dict.fromkeys(keys):
        at = np.array([i for i, other in enumerate(keys) if other == key])
        some = [rows[i] for i in at]
        nest = given_nest([row["mapping.mapping"] for row in some], layers_of_rows(some))
        columns, sums, words = (float(value) for value in key)
        found.append((at, evaluate(nest, gemmini(int(columns), sums, words))))
    return found


def read_rows(root: Path, count: int = 4000, seed: int = 0) -> list[dict[str, str]]:
    """Return some rows of the data set, chosen by the seed; `root` is the data's folder."""
    path = root / "dosa-gemmini-firesim" / FILE
    with tarfile.open(path) as archive:
        member = next((m for m in archive.getmembers() if m.name.endswith(".csv") and m.isfile()), None)
        held = archive.extractfile(member) if member is not None else None
        if held is None:
            raise BadFileError(path, "it holds no CSV file.")
        rows = list(csv.DictReader(io.TextIOWrapper(held, encoding="utf-8")))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    return [rows[i] for i in chosen]


def evaluate_timeloop(rows: Sequence[Mapping[str, str]], seed: int = 0) -> Score:
    """Return a score of our cycles against Timeloop's; baseline: multiply-accumulates over the elements used."""
    measured = np.array([float(row["target.cycle"]) for row in rows])
    ours, plain = np.zeros(len(rows)), np.zeros(len(rows))
    for at, costs in costs_of_rows(rows):
        ours[at], plain[at] = costs.bound_cycles, costs.temporal_cycles
    fits = np.isfinite(ours)
    made = score(
        ("timeloop", "gemmini", "given mappings", "counts at ports", seed), measured[fits], ours[fits],
        baseline=("loops alone", plain[fits]), answered=float(fits.mean()),
    )  # fmt: skip
    return replace(made, n=int(fits.sum()))
