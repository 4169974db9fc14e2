"""ArchGym's AstraSim proxy: the time of a training step from the knobs of a simulated cluster.

Simulator output, in its own units. Terms: bytes over the slower of link and memory, in each of the two dimensions (a
message takes the longer of both: AstraSim's analytical network); how many bytes pass each, by collective algorithm,
topology and size, is what the trees learn. The step that no network can shorten is the least of the training rows less
their exposed communication, a column of the same table. Baseline: XGBoost on the raw knobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.measured.archgym import KnobTable
from costmodel.whole_network import Settings, fit_terms, predict_terms
from workloads.table import Array

STEP, EXPOSED = "observation-1", "observation-5"
CATEGORIES = (
    "topologies-per-dim-1", "topologies-per-dim-2", "all-reduce-implementation", "all-gather-implementation",
    "reduce-scatter-implementation", "all-to-all-implementation", "collective-optimization", "dimension-type-1",
    "scheduling-policy",
)  # fmt: skip
SETTINGS = Settings(rounds=300, depth=5, rate=0.08, sharpness=4.0)
RAW_TREES = {"max_depth": 5, "eta": 0.05, "subsample": 0.8, "nthread": 1, "seed": 0}
RAW_ROUNDS = 400


@dataclass(frozen=True)
class Designs:
    """Physical terms, ratios, raw knobs, topology and the two outputs of each design."""

    terms: Array
    ratios: Array
    raw: Array
    topology: Array
    step: Array
    exposed: Array


def designs_of(table: KnobTable) -> Designs:
    """Return the features of designs."""
    knobs = table.knobs
    links, memories, sizes = [], [], []
    for d in ("1", "2"):
        links.append(1.0 / knobs[f"link-bandwidth-{d}"])
        memories.append(np.maximum(knobs[f"hbm-scale-{d}"] / knobs[f"hbm-bandwidth-{d}"], 1e-6))
        sizes.append(knobs[f"units-count-{d}"])
    slower = [np.maximum(a, b) for a, b in zip(links, memories, strict=True)]
    codes = [(knobs[name] == word).astype(float) for name in CATEGORIES for word in sorted(set(knobs[name].tolist()))]
    halving = [np.isin(n, (2, 4, 8)).astype(float) for n in (*sizes, sizes[0] * sizes[1])]
    ratios = np.stack([
        *codes, *sizes, sizes[0] * sizes[1], sizes[0] / sizes[1], *halving, knobs["boost-mode"],
        knobs["preferred-dataset-splits"], np.log(slower[0] / slower[1]), np.log(links[0] / links[1]),
        *[np.log(np.maximum(m / k, 1e-2)) for m, k in zip(memories, links, strict=True)],
    ], axis=1)  # fmt: skip
    topology = knobs["topologies-per-dim-1"] + "/" + knobs["topologies-per-dim-2"]
    return Designs(
        np.stack(slower, axis=1), ratios, _raw(knobs), topology, table.outputs[STEP], table.outputs[EXPOSED]
    )  # fmt: skip


def _raw(knobs: dict[str, Array]) -> Array:
    columns = []
    for values in knobs.values():
        numbers = values if values.dtype.kind == "f" else np.unique(values.astype(str), return_inverse=True)[1]
        if np.ptp(numbers) > 0:
            columns.append(np.asarray(numbers, float))
    return np.stack(columns, axis=1)


def evaluate_archgym(designs: Designs, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Score]:
    """Return scores of each topology left out, and of the authors' random 80/20 split."""
    scores = []
    rows = np.arange(len(designs.step))
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(rows))
        cut = int(0.8 * len(rows))
        scores.append(_scored(designs, order[:cut], order[cut:], ("80/20 at random", "all", seed)))
    for topology in sorted(set(designs.topology.tolist())):
        out = designs.topology == topology
        scores.append(_scored(designs, rows[~out], rows[out], ("topology left out", topology, 0)))
    return scores


def _scored(designs: Designs, train: Array, test: Array, place: tuple[str, str, int]) -> Score:
    import xgboost

    fixed = float((designs.step[train] - designs.exposed[train]).min())
    groups = train if place[0].startswith("80/20") else designs.topology[train]
    model = fit_terms(designs.terms[train], designs.ratios[train], designs.exposed[train], groups, SETTINGS)
    found = predict_terms(model, designs.terms[test], designs.ratios[test])
    raw = xgboost.DMatrix(designs.raw[train], label=np.log(designs.step[train]), nthread=1)
    trees = xgboost.train({**RAW_TREES, "seed": place[2]}, raw, num_boost_round=RAW_ROUNDS)
    other = np.exp(trees.inplace_predict(designs.raw[test]))
    return score(
        ("ArchGym AstraSim", place[1], place[0], "terms", place[2]), designs.step[test], fixed + found.value,
        ends=(fixed + found.lo, fixed + found.hi), baseline=("XGBoost on raw knobs", other),
    )  # fmt: skip
