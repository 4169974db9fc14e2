"""HELP: an unseen device from 10, 20 or 50 of its networks (NAS-Bench-201 cells, FBNet chains).

Half of the classes of cells are for training (sources and shots), the other half is scored. The sources know 900
networks each, as in the paper (Lee et al. 2021). Baseline: the PCA-ridge recipe on boosted trees of the same features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costmodel.bayes import spread_out
from costmodel.evaluation.scores import Score, score
from costmodel.measured.help import cell_class
from costmodel.networks import count_networks, network_features
from costmodel.transfer import fit_transfer, predict_transfer
from workloads.families import build
from workloads.model import Request
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

TARGETS = {
    "nasbench201": ("titan_rtx_256", "gold_6226", "pixel2", "raspi4", "eyeriss", "fpga"),
    "fbnet": ("raspi4", "eyeriss", "fpga"),
}
PAPER_ONLY = ("pixel3",)
"""Among the sources of the paper's code (parser.py, meta_train_devices), not of the PCA-ridge figures of 0.932."""
TRAIN_NETWORKS, TEST_NETWORKS = 900, 3000
BUILDERS = {"nasbench201": "nas-bench-201", "fbnet": "fbnet"}


@dataclass(frozen=True)
class Space:
    """Networks of a search space, their features, class and measured seconds by column (NaN where there is none)."""

    name: str
    features: Array
    dead: Array
    group: Array
    latency_s: dict[str, Array]


def space_of(name: str, tables: Iterable[WorkloadMeasurements], most: int = 6000, seed: int = 0) -> Space:
    """Return networks of a space with the features of our graphs; `most` of them at random (building takes 2 ms each).

    Cells whose output hangs on nothing are left out, and rows that any table left out.
    """
    columns: dict[str, dict[int, float]] = {}
    knobs: dict[int, dict[str, object]] = {}
    for table in tables:
        index = table.raw["arch_idx"].astype(float).astype(int)
        columns[str(table.raw["column"][0])] = dict(zip(index.tolist(), table.value("latency_s"), strict=True))
        if not knobs:
            knobs = {int(i): table.knobs(row) for row, i in enumerate(index)}
    every = sorted(set.intersection(*(set(column) for column in columns.values())) & set(knobs))
    if name == "nasbench201":
        every = [i for i in every if cell_class(str(knobs[i]["cell"]))]
    drawn = np.random.default_rng(seed).permutation(len(every))[:most]
    picked = [every[i] for i in sorted(drawn.tolist())]
    more = {"strides": (1, 1, 2, 2, 1, 2, 1), "stem_stride": 1, "image": 32} if name == "fbnet" else {}
    models = (build(BUILDERS[name], str(i), {**knobs[i], **more}) for i in picked)
    counted = count_networks(m.workload(Request()) for m in models)
    features = network_features(counted)
    group = np.array([cell_class(str(knobs[i]["cell"])) if name == "nasbench201" else str(i) for i in picked])
    dead = np.array([f.split("/")[1] != "live" for f in features.names])
    latency = {name: np.array([column[i] for i in picked]) for name, column in columns.items()}
    return Space(name, features.matrix, dead, group, latency)


def sources_of(space: Space, paper: bool) -> list[str]:
    """Return the columns of source devices: no target, nor the same device at another batch."""
    targets = TARGETS[space.name]
    stems = {t.rsplit("_", 1)[0] if t.rsplit("_", 1)[-1].isdigit() and t != "gold_6226" else t for t in targets}
    unseen = {*targets, "pixel2", "gold_6226"} if space.name == "nasbench201" else set(targets)
    return [
        name for name in sorted(space.latency_s)
        if name not in unseen and not any(name.startswith(stem) for stem in stems) and (paper or name not in PAPER_ONLY)
    ]  # fmt: skip


def evaluate_help(
    space: Space, *, shots: Sequence[int] = (10, 20, 50), seeds: Sequence[int] = (0, 1, 2, 3, 4), paper: bool = True,
) -> list[Score]:  # fmt: skip
    """Return a score for each target, number of shots and way to choose them (`spread out`, `random`)."""
    names = sources_of(space, paper)
    return [one for seed in seeds for one in _one_seed(space, names, shots, seed, paper)]


def _one_seed(space: Space, names: list[str], shots: Sequence[int], seed: int, paper: bool) -> list[Score]:
    random = np.random.default_rng(seed)
    classes = np.unique(space.group)
    held_out = np.isin(space.group, random.permutation(classes)[: len(classes) // 2])
    train = random.permutation(np.flatnonzero(~held_out))[:TRAIN_NETWORKS]
    test = random.permutation(np.flatnonzero(held_out))[:TEST_NETWORKS]
    rows = np.concatenate([train, test])
    features, mine = space.features[rows], np.arange(len(train))
    sources = np.stack([space.latency_s[name][train] for name in names], axis=1)
    model = fit_transfer(space.features[train], sources, int(shots[0]), dead=space.dead)
    scores = []
    for count in shots:
        model = model if count == model.shots else fit_transfer(space.features[train], sources, count, dead=space.dead)
        prior = model.prior(features)
        trees = np.stack([s.log_latency(features) for s in model.sources], axis=1)
        chosen = {"spread out": spread_out(prior, mine, count),
                  "random": np.random.default_rng(seed + 100).permutation(mine)[:count]}  # fmt: skip
        for way, at in chosen.items():
            for target in TARGETS[space.name]:
                measured = space.latency_s[target][rows]
                found = predict_transfer(model, features, at, measured[at], prior)
                base = pca_ridge(trees, at, np.log(measured[at]))
                labels = (f"HELP {space.name}", target, f"{count} shots, {way}",
                          f"{len(names)} sources{'' if paper else ', without pixel3'}", seed)  # fmt: skip
                scores.append(score(
                    labels, space.latency_s[target][test], found.latency_s[len(train):],
                    ends=(found.latency_lo_s[len(train):], found.latency_hi_s[len(train):]),
                    baseline=("PCA-ridge", np.exp(base[len(train):])),
                ))  # fmt: skip
    return scores


def pca_ridge(logs: Array, at: Array, log_latency: Array) -> Array:
    """Return the recipe's log latency: ridge on the leading components of the sources' predictions.

    2 components at 10 shots, 3 at 20, 6 at 50 and more, ridge 0.1 on unit-variance components.
    """
    centred = logs - logs.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    parts = min(2 if len(at) <= 10 else 3 if len(at) <= 20 else 6, logs.shape[1])
    scores = centred @ directions[:parts].T
    scores /= scores.std(axis=0)
    shots, level = scores[at], log_latency.mean()
    middle = shots.mean(axis=0)
    weights = np.linalg.solve((shots - middle).T @ (shots - middle) + 0.1 * np.eye(parts),
                              (shots - middle).T @ (log_latency - level))  # fmt: skip
    return np.asarray(level + (scores - middle) @ weights)


def without(space: Space, names: Sequence[str]) -> Space:
    """Return the space without some columns."""
    return replace(space, latency_s={k: v for k, v in space.latency_s.items() if k not in names})
