"""Hailo's frame rates: networks held out by five folds, families of networks, and one chip at a time.

What a network makes the chip do comes from a sheet that was counted from public definitions of the networks (timm,
torchvision, ultralytics), or from ones rewritten to match the published operations and weights; `definition` says
which. Where the sheet's weights and the published ones differ by more than a tenth, the published operations and
weights count. Two models: the costs of `costmodel.dataflow_chip` alone, and those with what they leave of networks
alike (`costmodel.dataflow_kin`; how far and how much of it is chosen by folds within the train networks). Networks that
differ in name or post-processing alone stay on one side of a split, and nothing of a network held out is seen on
another chip. Baseline: XGBoost on the chip, the batch, and the table's operations, parameters and resolution.

A chip left out is another question: the other chips' rates of the same network are known, and ten rates of the chip
(or none: then the nearest chip in peak rate, times the ratio of the peaks).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.bayes import spread_out
from costmodel.calibration import conformal_half
from costmodel.completion import fit_completion, predict_completion
from costmodel.dataflow_chip import fit_dataflow, predict_dataflow, switches
from costmodel.dataflow_kin import Kin, Places, carried, kin_features
from costmodel.dataflow_shipped import SURE, ShippedCosts, rate_ends, write_costs
from costmodel.dataflow_work import AMOUNTS, read_sheet
from costmodel.evaluation.scores import Score, folds, score
from costmodel.measured.data_files import device_id, read_file
from hardware_specs import load_device
from workloads.table import Array

SHEET = Path(__file__).parents[1] / "measured" / "npu_networks.csv"
BATCHES = (1, 8)
SAME, MISPRINT = 0.1, 100.0
"""Log ratio of weights within which two definitions are one network, and ratio beyond which the table has a misprint
(stereonet: 623.1 million parameters where the network has 0.3)."""
FOLDS, SHOTS = 5, 10
TREES = {
    "max_depth": 4, "eta": 0.05, "subsample": 0.8, "colsample_bynode": 0.4, "min_child_weight": 2, "lambda": 2,
    "nthread": 1, "objective": "reg:pseudohubererror", "huber_slope": 0.3, "base_score": 0.0,
}  # fmt: skip
ROUNDS = 300
INNER_FOLDS, CLIPPED = 4, 0.5
LENGTHS, SHARES = (0.25, 0.5, 1.0), (0.0, 0.25, 0.5, 0.75, 1.0)
TRIED = tuple(Kin(length, share) for length in LENGTHS for share in SHARES)
"""What is tried within the train networks of each fold, and the log error beyond which all misses are alike."""
WITHOUT_DRAM = ("hailo-8", "hailo-8l")
COSTS, BOTH = "costs of a dataflow chip", "costs and kin"
BASELINE = "XGBoost on 3 figures"
ALL = "all devices"

_NAMED_APART = re.compile(
    r"_bbox_decoding_only|_nms_core|_gluon|_wo_spp|_0\.2\.1|_color_blind|_bn(?=$|_)|^scdepth|^deit_(?=.)"
)
_FAMILIES = (
    "tiny_yolov", "yolo_world", "yolov3", "yolov4", "yolov5", "yolov6", "yolov7", "yolov8", "yolov9", "yolov10",
    "yolov11", "yolov12", "yolox", "damoyolo", "cas_vit", "siglip", "tinyclip", "clip", "vit_", "efficientnet_lite",
    "efficientnet", "efficientdet", "mobilenet_v1", "mobilenet_v2", "regnetx", "repvgg", "resnet", "swin", "levit",
    "nextvit", "espcn", "scrfd", "nanodet", "hardnet", "repghost", "depth_anything", "paddle", "resnext", "dncnn",
    "zero_dce", "deeplab", "detr", "linknet", "ssd", "yolact", "centernet",
)  # fmt: skip


def variant(network: str) -> str:
    """Return what networks that are all but one share: fewer or other outputs, a norm that folds, another training."""
    name = network.replace("deit_", "vit_").replace("dncnn_color_blind", "dncnn3")
    return _NAMED_APART.sub("", name)


def family(network: str) -> str:
    """Return the backbone's or detector's family of a network, itself where it stands alone."""
    name = variant(network)
    return next((word for word in _FAMILIES if word in name), name)


@dataclass(frozen=True)
class Rows:
    """A row for each rate: shape (rows,), amounts (rows, amounts), figures of the baseline (rows, 3).

    `exact`: the network's definition is the public one and agrees with the table. `several` is measured: a batch of
    eight runs faster. `asked` counts the rates of the table.
    """

    chip: Array
    network: Array
    batch: Array
    rate_hz: Array
    amounts: Array
    exact: Array
    several: Array
    plain: Array
    asked: int

    @property
    def variants(self) -> Array:
        return np.array([variant(name) for name in self.network])

    @property
    def families(self) -> Array:
        return np.array([family(name) for name in self.network])


def read_rows(root: Path) -> Rows:
    """Return the rates of networks that the sheet describes. Raises BadFileError."""
    found = read_file(
        root / "hailo" / "fps.csv.gz", ("fps_batch1", "fps_batch8", "params_m", "ops_g"),
        ("chip", "network", "input_resolution"),
    )  # fmt: skip
    sheet = read_sheet(SHEET)
    names = [name.rstrip("⭐") for name in found["network"]]
    several = switches(found["fps_batch1"], found["fps_batch8"])
    asked = int(sum((found[f"fps_batch{batch}"] > 0).sum() for batch in BATCHES))
    kept = [i for i, name in enumerate(names) if name in sheet and found["ops_g"][i] > 0 and found["params_m"][i] > 0]
    sizes = [tuple(int(n) for n in found["input_resolution"][i].split(",")[0].split("x")) for i in kept]
    figures = [(float(found["ops_g"][i]) * 1e9, float(found["params_m"][i]) * 1e6) for i in kept]
    described = [
        _described(*sheet[names[i]], pixels=float(np.prod(size)), rows=float(size[0]), published=figure)
        for i, size, figure in zip(kept, sizes, figures, strict=True)
    ]
    plain = np.log(np.array([(*figure, float(np.prod(size))) for figure, size in zip(figures, sizes, strict=True)]))
    each = []
    for batch in BATCHES:
        rate = found[f"fps_batch{batch}"]
        each += [(at, i, batch, rate[i]) for at, i in enumerate(kept) if rate[i] > 0]
    at, origin = np.array([row[0] for row in each]), np.array([row[1] for row in each])
    return Rows(
        np.array([device_id("hailo", str(found["chip"][i])) for i in origin]), np.array([names[i] for i in origin]),
        np.array([row[2] for row in each], float), np.array([row[3] for row in each], float),
        np.stack([described[i][0] for i in at]), np.array([described[i][1] for i in at]), several[origin], plain[at],
        asked,
    )  # fmt: skip


def _described(
    own: Array, public: bool, pixels: float, rows: float, published: tuple[float, float]
) -> tuple[Array, bool]:
    """Return the amounts of a network, by the table's operations and weights where the sheet has others."""
    amounts = np.concatenate([own, [pixels, rows]])
    operations, weights = published
    at = AMOUNTS.index("weights")
    ratio = weights / amounts[at]
    agrees = abs(np.log(ratio)) < SAME
    if not agrees and ratio < MISPRINT:
        amounts[:5] *= operations / amounts[:5].sum()
        amounts[at] = weights
    return amounts, bool(public and agrees)


@dataclass(frozen=True)
class Predictions:
    """Rates of rows held out: by costs alone, with kin, by the baseline; and where the intervals are wider."""

    costs_hz: Array
    both_hz: Array
    plain_hz: Array
    unsure: Array
    part: Array


def held_out(rows: Rows, groups: Array, seed: int) -> Predictions:
    """Return predictions of each of five folds of groups by the other four."""
    part = folds(groups, FOLDS, seed)
    costs, both, plain = (np.zeros(len(part)) for _ in range(3))
    unsure = ~rows.exact
    for i in range(FOLDS):
        train, test = np.flatnonzero(part != i), np.flatnonzero(part == i)
        costs[test], both[test], doubt = predicted(rows, train, test, groups)
        unsure[test] |= doubt
        plain[test] = _plain(rows, train, test, seed)
    return Predictions(costs, both, plain, unsure, part)


def predicted(rows: Rows, train: Array, test: Array, groups: Array) -> tuple[Array, Array, Array]:
    """Return the test rows' rates by costs, and with kin, and where it is doubtful whether a network fits."""
    first = _fitted(rows, train)
    kin = _chosen(rows, train, groups)
    return first.value_hz[test], first.carried(rows, train, test, kin), first.doubt[test]


@dataclass(frozen=True)
class _Fitted:
    """Rates by costs of all rows (of the contexts that were measured, on train rows), where each is, and doubt."""

    value_hz: Array
    places: Places
    doubt: Array

    def carried(self, rows: Rows, train: Array, test: Array, kin: Kin) -> Array:
        rest = np.log(rows.rate_hz[train] / self.value_hz[train])
        factor = np.exp(carried(self.places.take(train), rest, self.places.take(test), kin))
        return np.asarray(self.value_hz[test] * factor)


def _fitted(rows: Rows, train: Array) -> _Fitted:
    model = fit_dataflow(
        rows.amounts[train], rows.chip[train], rows.batch[train], rows.several[train], rows.rate_hz[train]
    )
    found = predict_dataflow(model, rows.amounts, rows.chip, rows.batch)
    many = found.several > 0.5
    many[train] = rows.several[train]  # of a row held out, the model's answer alone
    at = model.place(rows.chip)
    places = Places(kin_features(rows.amounts), at, np.isin(rows.chip, WITHOUT_DRAM), rows.batch, many)
    doubt = (found.several > SURE[0]) & (found.several < SURE[1])
    return _Fitted(np.where(many, found.several_hz, found.one_hz), places, doubt)


def _chosen(rows: Rows, train: Array, groups: Array) -> Kin:
    """Return how far and how much kin count, by folds of the train rows' groups: the least mean log error, clipped."""
    part = folds(groups[train], INNER_FOLDS, 0)
    errors = np.zeros((len(TRIED), len(train)))
    for i in range(INNER_FOLDS):
        inner, held = train[part != i], np.flatnonzero(part == i)
        model = _fitted(rows, inner)
        whole = {length: model.carried(rows, inner, train[held], Kin(length, 1.0)) for length in LENGTHS}
        for j, kin in enumerate(TRIED):
            value = model.value_hz[train[held]] ** (1 - kin.share) * whole[kin.length] ** kin.share
            errors[j, held] = np.abs(np.log(value / rows.rate_hz[train[held]]))
    return TRIED[int(np.argmin(np.minimum(errors, CLIPPED).mean(axis=1)))]


def _plain(rows: Rows, train: Array, test: Array, seed: int) -> Array:
    import xgboost

    chips = np.unique(rows.chip)
    features = np.column_stack(
        [rows.chip[:, None] == chips, rows.batch, rows.plain, rows.plain[:, :1] - rows.plain[:, 1:]]
    )
    data = xgboost.DMatrix(features[train], label=np.log(rows.rate_hz[train]), nthread=1)
    options = {**TREES, "seed": seed, "base_score": float(np.median(np.log(rows.rate_hz[train])))}
    return np.asarray(np.exp(xgboost.train(options, data, num_boost_round=ROUNDS).inplace_predict(features[test])))


def interval_half(errors: Array, unsure: Array, part: Array) -> Array:
    """Return half widths of log intervals: from the other folds' errors, of sure and of doubtful rows apart."""
    half = np.zeros(len(errors))
    for i in np.unique(part):
        for kind in (False, True):
            others = (part != i) & (unsure == kind)
            half[(part == i) & (unsure == kind)] = conformal_half(errors[others])
    return half


def evaluate_hailo(rows: Rows, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Score]:
    """Return scores of networks held out, of families held out, and of a chip left out; all chips, and each."""
    found: list[Score] = []
    for seed in seeds:
        for groups, split in ((rows.variants, "networks"), (rows.families, "families")):
            held = held_out(rows, groups, seed)
            for method, value in ((BOTH, held.both_hz), (COSTS, held.costs_hz)):
                half = interval_half(np.abs(np.log(value / rows.rate_hz)), held.unsure, held.part)
                found += _scores(rows, value, half, held.plain_hz, (f"{split} held out: {method}", method, seed))
    return found + evaluate_chips(rows, seeds)


def _scores(rows: Rows, value: Array, half: Array, plain: Array, labels: tuple[str, str, int]) -> list[Score]:
    split, method, seed = labels
    out = []
    for chip in (ALL, *np.unique(rows.chip).tolist()):
        own = (rows.chip == chip) | (chip == ALL)
        out.append(score(
            ("hailo", chip, split, method, seed), rows.rate_hz[own], value[own],
            ends=(value[own] * np.exp(-half[own]), value[own] * np.exp(half[own])), baseline=(BASELINE, plain[own]),
            answered=len(rows.rate_hz) / rows.asked,
        ))  # fmt: skip
    return out


def evaluate_chips(rows: Rows, seeds: Sequence[int], shots: int = SHOTS) -> list[Score]:
    """Return scores of each chip left out: by the nearest chip and the ratio of peaks, and by ten of its rates.

    Shots come from half of the families, the others are scored.
    """
    keys, place = np.unique(
        [f"{n} {b:.0f}" for n, b in zip(rows.network, rows.batch, strict=True)], return_inverse=True
    )
    chips = np.unique(rows.chip)
    seconds = np.full((len(keys), len(chips)), np.nan)
    seconds[place, np.searchsorted(chips, rows.chip)] = 1 / rows.rate_hz
    kin = np.array([family(key.rsplit(" ", 1)[0]) for key in keys])
    batch = np.array([[float(key.endswith(" 1")), float(key.endswith(" 8"))] for key in keys])
    peaks = np.array([_peak(chip) for chip in chips])
    found: list[Score] = []
    for target, chip in enumerate(chips.tolist()):
        own, sources = np.isfinite(seconds[:, target]), np.delete(seconds, target, axis=1)
        model = fit_completion(sources, batch, shots)
        near = _nearest(seconds, peaks, target)
        for seed in seeds:
            shown = np.random.default_rng(seed).permutation(np.unique(kin[own]))[: len(np.unique(kin[own])) // 2]
            mine = np.isin(kin, shown)
            candidates, test = np.flatnonzero(own & mine & model.answered), np.flatnonzero(own & ~mine & model.answered)
            at = candidates[spread_out(model.prior.take(candidates), np.arange(len(candidates)), shots)]
            value, lo, hi = predict_completion(model, at, seconds[at, target])
            asked = max(int((own & ~mine).sum()), 1)
            base, truth = ("nearest chip", 1 / near[test]), 1 / seconds[test, target]
            labels = ("hailo", chip, f"{shots} shots, spread out", "completion", seed)
            found.append(score(labels, truth, 1 / value[test], ends=(1 / hi[test], 1 / lo[test]), baseline=base,
                               answered=len(test) / asked))  # fmt: skip
            there = test[np.isfinite(near[test])]
            found.append(score(
                ("hailo", chip, "chip out, nothing measured", "nearest chip", seed), 1 / seconds[there, target],
                1 / near[there], answered=len(there) / asked,
            ))  # fmt: skip
    return found


def _peak(chip: str) -> float:
    """Return the peak rate of 8-bit operations in the catalogue, in operations a second."""
    return max(
        float(unit.peak_flop_per_s["int8"].value) for unit in load_device(chip).units if "int8" in unit.peak_flop_per_s
    )


def _nearest(seconds: Array, peaks: Array, target: int) -> Array:
    """Return seconds of the chip whose peak is nearest and that ran the network, times the ratio of the peaks."""
    far = np.abs(np.log(peaks / peaks[target]))
    far[target] = np.inf
    out = np.full(len(seconds), np.nan)
    for source in np.argsort(far)[:-1]:
        out = np.where(np.isfinite(out), out, seconds[:, source] * peaks[source] / peaks[target])
    return out


def fit_shipped(rows: Rows, seeds: Sequence[int] = (0, 1, 2)) -> ShippedCosts:
    """Return costs of all rows, and the half widths that networks held out ask for."""
    model = fit_dataflow(rows.amounts, rows.chip, rows.batch, rows.several, rows.rate_hz)
    found = [misses(rows, rows.variants, seed) for seed in seeds]
    miss, doubt = (np.concatenate(column) for column in list(zip(*found, strict=True))[:2])
    return ShippedCosts(model, conformal_half(miss[~doubt]), conformal_half(miss[doubt]))


def misses(rows: Rows, groups: Array, seed: int) -> tuple[Array, Array, Array, Array]:
    """Return of rows held out: how far (log) rates lie beyond the ends of `rate_ends`, doubt, how far (log) these lie
    apart, and folds."""
    part = folds(groups, FOLDS, seed)
    miss, apart, doubt = np.zeros(len(part)), np.zeros(len(part)), np.zeros(len(part), bool)
    for i in range(FOLDS):
        train, test = part != i, part == i
        model = fit_dataflow(
            rows.amounts[train], rows.chip[train], rows.batch[train], rows.several[train], rows.rate_hz[train]
        )
        found = predict_dataflow(model, rows.amounts[test], rows.chip[test], rows.batch[test])
        doubt[test], least, most = rate_ends(found)
        rate = rows.rate_hz[test]
        miss[test], apart[test] = np.log(np.maximum(least / rate, rate / most)), np.log(most / least)
    return miss, doubt, apart, part


if __name__ == "__main__":
    write_costs(fit_shipped(read_rows(Path(sys.argv[1]))))
