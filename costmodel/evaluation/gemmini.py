"""Gemmini's RTL cycles (FireSim, DOSA's public rows) against the model of `costmodel.spatial.gemmini`.

Two networks of convolutions, 47 layers, each under three mappings and under Gemmini's default tiling. Constants of the
model come from other RTL runs: DOSA's random mappings of shapes that these networks lack, on arrays as wide as the
mapping unrolls (4 to 64; `train_constants`). Calibration moves those of the memory by rows of one network, and the
other is scored. The learning curve starts from constants of the other widths, so that only its rows tell of this one;
layers of other shapes are scored. The three mappings of a layer are never apart.

What ran: square images as wide as the layer's output columns times its stride, padded by half the kernel, so that even
kernels give one row and column more than the table says; products where the table has one row of 1x1 kernels. The run
under the default tiling came first, with cold caches; the one under the mapping found them warm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.evaluation.scores import Score, folds, score
from costmodel.measured.data_files import Columns
from costmodel.measured.dosa import DEFAULT, MAPPING, METHODS, MODEL, SHAPE, TARGET, TILING, read_mappings
from costmodel.spatial.gemmini import (
    CONSTANTS,
    NAMES,
    GemminiConstants,
    GemminiRuns,
    compute_share,
    gemmini_costs,
    gemmini_runs,
)
from costmodel.spatial.gemmini_cache import rows_of
from costmodel.spatial.gemmini_fit import fit_constants
from costmodel.spatial.gemmini_tiling import SIDES, GemminiHardware, GemminiTiles, default_tiling
from costmodel.spatial.layers import Layers
from costmodel.spatial.loop_nest_text import DIMENSIONS, NestColumns, nest_columns
from workloads.table import Array

DEVICE, PEER = "gemmini-16x16", "analytic in the data"
ROOMY = GemminiHardware(scratchpad_bytes=2**30, accumulator_bytes=2**28)
"""Buffers of the runs with mappings: each mapping was made to fit those it came with."""
DIMENSION_OF = {"batch": "N", "oy": "Q", "ox": "P", "k": "K", "fy": "S", "fx": "R", "c": "C"}
SIDE = 16
WIDTHS = (4, 8, 16, 32, 64)
OTHER_WIDTHS = tuple(width for width in WIDTHS if width != SIDE)
SPREAD = 0.3
"""Of constants around those of the other runs, in log (0.15 to 0.7 score alike)."""
MEMORY = ("beat_cycles", "narrow_miss_cycles", "wide_miss_cycles", "store_miss_cycles", "device_cycles")
"""Constants of the chip around the array; the array's own are the same wherever it is."""
SHOTS = (0, 5, 10, 20, 40)
FOLDS, FEWEST = 5, 10
"""Rows whose own errors set the width of intervals; with fewer, those of the other widths do."""
MOST_LAYERS = 20
"""Layers that shots come from at most, so that enough others are left to score."""
EASE = 0.2
"""Added to the share of cycles in which the array waits: what a layer's error is measured in. Chosen on the random
mappings: one width then covers those that compute and those that wait alike."""
PHYSICS, CALIBRATED = "physics alone", "one network from the other"
DEFAULT_PHYSICS, DEFAULT_CALIBRATED = f"default tiling: {PHYSICS}", f"default tiling: {CALIBRATED}"
FEW = "rows of this width"


@dataclass(frozen=True)
class GemminiRows:
    """RTL runs: layer (shape) and network of each, cycles, runs of the model, the analytic cycles of the data."""

    shape: Array
    network: Array
    cycles: Array
    runs: GemminiRuns
    default_cycles: Array
    default_runs: GemminiRuns
    peer: Array
    same_tiles: Array


def read_gemmini(folder: Path) -> GemminiRows:
    """Return the test rows of all methods. Raises BadFileError, BadValueError: a mapping that cannot be read."""
    tables = [read_mappings(folder, method) for method in METHODS]
    found = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    layers, padding = layers_run(found)
    nests = nest_columns([str(text) for text in found[MAPPING]])
    ours = default_tiling(layers)
    return GemminiRows(
        shapes_of(found), found["network"], found[TARGET],
        gemmini_runs(layers, tiles_of(nests, layers, SIDE), ROOMY, padding=padding, warm=True),
        found[DEFAULT], gemmini_runs(layers, ours, padding=padding), found[MODEL],
        np.array([text == told for text, told in zip(tiling_texts(ours), found[TILING], strict=True)]),
    )  # fmt: skip


def read_random(folder: Path, without: Array, width: int) -> tuple[GemminiRuns, Array]:
    """Return the runs of random mappings on an array of one width, and their cycles; shapes in `without` left out."""
    found = read_mappings(folder)
    nests = nest_columns([str(text) for text in found[MAPPING]])
    widest = np.maximum(nests.spatial["C"], nests.spatial["K"])
    mine = np.maximum(2 ** np.ceil(np.log2(widest)), WIDTHS[0]) == width
    mine &= ~np.isin(shapes_of(found), without)
    found = {name: column[mine] for name, column in found.items()}
    tile, passes, spatial = (
        {name: column[mine] for name, column in part.items()} for part in (nests.tile, nests.passes, nests.spatial)
    )
    nests = NestColumns(tile, passes, spatial, nests.inner_first[mine])
    layers, padding = layers_run(found)
    tiles = tiles_of(nests, layers, width)
    return gemmini_runs(layers, tiles, replace(ROOMY, side=width), padding=padding, warm=True), found[TARGET]


def layers_run(found: Columns) -> tuple[Layers, Array]:
    """Return what the programs ran for rows of the data, and its padding."""
    n, c, k, p, q, r, s, stride = (np.asarray(found[f"prob.{name}"], float) for name in SHAPE)
    product = (q == 1) & (r == 1) & (s == 1)
    padding = np.where(product, 0.0, r // 2)
    out = np.where(product, p, np.floor((p * stride - r + 2 * padding) / stride) + 1)
    layers = Layers(
        batch=n, groups=1.0, k=k, c=c, oy=np.where(product, 1.0, out), ox=out, fy=s, fx=r,
        stride=np.where(product, 1.0, stride),
    )  # fmt: skip
    return layers, padding


def tiles_of(nests: NestColumns, layers: Layers, width: int) -> GemminiTiles:
    """Return mappings as tiles; tiles of products count whole blocks of the array, as the software rounds them."""
    sizes = np.stack([nests.tile[DIMENSION_OF[name]] for name in SIDES], axis=1)
    product = (np.asarray(layers.oy) == 1) & (np.asarray(layers.fy) == 1)
    blocks = np.maximum(sizes // width, 1) * width
    blocked = np.isin(SIDES, ("ox", "k", "c"))
    sizes = np.where(product[:, None] & blocked, blocks, sizes)
    side_of = np.array([SIDES.index(next(s for s, d in DIMENSION_OF.items() if d == name)) for name in DIMENSIONS])
    return GemminiTiles(sizes, side_of[nests.inner_first])


def tiling_texts(tiles: GemminiTiles) -> list[str]:
    """Return tiles as the data writes them: kernel, pixels, input and output channels, images."""
    order = ("fx", "fy", "ox", "oy", "c", "k", "batch")
    return ["_".join(f"{row[SIDES.index(name)]:.0f}" for name in order) for row in tiles.sizes]


def shapes_of(found: Columns) -> Array:
    """Return the shape of each row as a text."""
    columns = np.stack([np.asarray(found[f"prob.{name}"], float) for name in SHAPE], axis=1)
    return np.array([" ".join(f"{value:g}" for value in row) for row in columns])


def train_constants(folder: Path, widths: Sequence[int] = (SIDE,)) -> GemminiConstants:
    """Return the constants that explain random mappings on arrays of some widths, shapes of the test rows left out."""
    test = np.concatenate([shapes_of(read_mappings(folder, method)) for method in METHODS])
    found = [read_random(folder, test, width) for width in widths]
    return fit_constants([runs for runs, _ in found], [cycles for _, cycles in found])


def evaluate_gemmini(
    folder: Path, seeds: Sequence[int] = (0, 1, 2, 3, 4), shots: Sequence[int] = SHOTS
) -> list[Score]:  # fmt: skip
    """Return scores of all that the module says; those of given rows also for each network."""
    rows = read_gemmini(folder)
    own = read_random(folder, rows.shape, SIDE)
    others = [read_random(folder, rows.shape, width) for width in OTHER_WIDTHS]
    start = fit_constants([runs for runs, _ in others], [cycles for _, cycles in others])
    far = np.concatenate([_scaled(runs, cycles, start) for runs, cycles in others])
    # the default tiling is a kind of its own, with cold caches: what changing the width costs stands for that
    scale, default_scale = _scaled(*own, CONSTANTS), _scaled(*own, start)
    return [
        *_physics(rows, rows.runs, rows.cycles, scale, PHYSICS),
        *_physics(rows, rows.default_runs, rows.default_cycles, default_scale, DEFAULT_PHYSICS),
        *_calibrated(rows, rows.runs, rows.cycles, scale, CALIBRATED),
        *_calibrated(rows, rows.default_runs, rows.default_cycles, default_scale, DEFAULT_CALIBRATED),
        *(_few(rows, count, seed, start, far) for count in shots for seed in (seeds if count else seeds[:1])),
    ]  # fmt: skip


def _physics(rows: GemminiRows, runs: GemminiRuns, measured: Array, scale: Array, split: str) -> Iterator[Score]:
    value = gemmini_costs(runs).cycles
    return _scores(rows, measured, value, _ends(runs, value, [scale], CONSTANTS), split, "physics")


def _calibrated(rows: GemminiRows, runs: GemminiRuns, measured: Array, scale: Array, split: str) -> Iterator[Score]:
    """Fit on one network and score the other, both ways; errors of the first set the width, if wider than `scale`."""
    value, low, high = (np.full(len(measured), np.nan) for _ in range(3))
    for network in np.unique(rows.network):
        test = rows.network == network
        train = ~test & ~np.isin(rows.shape, rows.shape[test])
        known, new = some(runs, train), some(runs, test)
        constants = fit_constants([known], [measured[train]], spread=SPREAD, names=MEMORY)
        value[test] = gemmini_costs(new, constants).cycles
        scales = [scale, _unseen(known, measured[train], rows.shape[train], 0, CONSTANTS, MEMORY)]
        low[test], high[test] = _ends(new, value[test], scales, constants)
    return _scores(rows, measured, value, (low, high), split, "physics, calibrated")


def _few(rows: GemminiRows, count: int, seed: int, start: GemminiConstants, scale: Array) -> Score:
    """Score layers that are not among those that `count` rows are taken from; their errors set the width from 10 on."""
    known = np.zeros(len(rows.shape), bool)
    known[few_rows(rows.shape, count, seed)] = True
    test = ~np.isin(rows.shape, rows.shape[known])
    constants = fit_constants([some(rows.runs, known)], [rows.cycles[known]], spread=SPREAD, start=start)
    new = some(rows.runs, test)
    value = gemmini_costs(new, constants).cycles
    if count >= FEWEST:
        scale = _unseen(some(rows.runs, known), rows.cycles[known], rows.shape[known], seed, start)
    return score(
        ("dosa-gemmini", DEVICE, f"{count} {FEW}", "physics, calibrated", seed), rows.cycles[test], value,
        ends=_ends(new, value, [scale], constants), baseline=(PEER, rows.peer[test]),
    )  # fmt: skip


def _unseen(
    runs: GemminiRuns, cycles: Array, shape: Array, seed: int, start: GemminiConstants, names: tuple[str, ...] = NAMES
) -> Array:  # fmt: skip
    """Return errors as `_scaled` does, of each row under constants fitted to the layers of other folds."""
    part, found = folds(shape, FOLDS, seed), np.zeros(len(cycles))
    for fold in range(FOLDS):
        train, test = part != fold, part == fold
        if test.any():
            constants = fit_constants([some(runs, train)], [cycles[train]], spread=SPREAD, start=start, names=names)
            found[test] = _scaled(some(runs, test), cycles[test], constants)
    return found


def few_rows(shape: Array, count: int, seed: int) -> Array:
    """Return rows at random, of as many layers as rows up to `MOST_LAYERS`, as few of one layer as that allows."""
    random = np.random.default_rng(seed)
    layers = random.permutation(np.unique(shape))[: min(count, MOST_LAYERS)]
    queues = [random.permutation(np.flatnonzero(shape == layer)).tolist() for layer in layers]
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return np.array(turns[:count], int)


def some(runs: GemminiRuns, rows: Array) -> GemminiRuns:
    """Return some rows of runs."""
    counts = runs.counts
    picked = {
        name: getattr(counts, name)[:, rows] for name in ("count", "blocks", "padded", "compute", "runs", "zeroed")
    }
    picked["requests"] = type(counts.requests)(*(column[:, rows] for column in counts.requests))
    picked["beats"] = type(counts.beats)(*(column[:, rows] for column in counts.beats))
    columns = ("passes", "macs", "ideal_cycles", "groups", "feasible", "shortfall_bytes")
    return replace(
        runs, touched=rows_of(runs.touched, rows), counts=replace(counts, **picked),
        missing=type(runs.missing)(*(column[rows] for column in runs.missing)),
        device=type(runs.device)(*(column[rows] for column in runs.device)),
        **{name: getattr(runs, name)[rows] for name in columns},
    )  # fmt: skip


def _scaled(runs: GemminiRuns, cycles: Array, constants: GemminiConstants) -> Array:
    """Return errors in the log over the share of cycles in which the array waits: where it computes, little errs."""
    errors = np.abs(np.log(gemmini_costs(runs, constants).cycles / cycles))
    return np.asarray(errors / (EASE + 1 - compute_share(runs, constants)))


def _ends(
    runs: GemminiRuns, value: Array, scales: Sequence[Array], constants: GemminiConstants
) -> tuple[Array, Array]:  # fmt: skip
    """Return the ends of 90 % intervals: as wide as the widest of the groups of errors asks for."""
    half = np.nanmax([conformal_half(scale) for scale in scales]) * (EASE + 1 - compute_share(runs, constants))
    return value * np.exp(-half), value * np.exp(half)


def _scores(
    rows: GemminiRows, measured: Array, value: Array, ends: tuple[Array, Array], split: str, method: str
) -> Iterator[Score]:  # fmt: skip
    """Score all rows, and those of each network."""
    every = np.ones(len(measured), bool)
    for name, part in (("", every), *((f" ({n})", rows.network == n) for n in np.unique(rows.network))):
        yield score(
            ("dosa-gemmini", DEVICE, f"{split}{name}", method, 0), measured[part], value[part],
            ends=(ends[0][part], ends[1][part]), baseline=(PEER, rows.peer[part]),
        )  # fmt: skip
