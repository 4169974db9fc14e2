"""Rockchip's frame rates: families of networks held out, costs of what a frame takes, one core of each NPU.

These NPUs run layer after layer: the seconds of a frame are a sum of non-negative costs of its work (the columns of
`costmodel.dataflow_chip` that a frame pays), fitted for all platforms together with one speed each, then for each,
drawn to that. Columns and settings are those that serve Hailo; none was chosen on these rows. Of the table, the 8-bit
image networks count that the sheet describes. Baseline: operations, with one factor a platform from the train networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.calibration import conformal_half
from costmodel.dataflow_chip import Settings, fit_costs, frame_work
from costmodel.dataflow_work import read_sheet
from costmodel.evaluation.hailo import ALL, FOLDS, SHEET, family
from costmodel.evaluation.scores import Score, folds, score
from costmodel.measured.data_files import device_id, read_file
from workloads.table import Array

NETWORKS = {
    "mobilenetv2-12": "mobilenet_v2_1.0", "resnet50-v2-7": "resnet_v2_50", "yolov5s_relu": "yolov5s",
    "yolov5n": "yolov5n", "yolov5s": "yolov5s", "yolov5m": "yolov5m", "yolov6n": "yolov6n", "yolov6s": "yolov6s",
    "yolov7-tiny": "yolov7_tiny", "yolov7": "yolov7", "yolov8n": "yolov8n", "yolov8s": "yolov8s", "yolov8m": "yolov8m",
    "yolov10n": "yolov10n", "yolov10s": "yolov10s", "yolo11n": "yolov11n", "yolo11s": "yolov11s", "yolo11m": "yolov11m",
    "yolox_s": "yolox_s", "yolox_m": "yolox_m", "yolo_world_v2s": "yolo_world_v2s", "yolov8n-pose": "yolov8n",
    "yolov8n-obb": "yolov8n", "yolov5n-seg": "yolov5n_seg", "yolov5s-seg": "yolov5s_seg", "yolov5m-seg": "yolov5m_seg",
    "yolov8n-seg": "yolov8n_seg", "yolov8s-seg": "yolov8s_seg", "yolov8m-seg": "yolov8m_seg",
    "deeplab-v3-plus-mobilenet-v2": "deeplab_v3_mobilenet_v2",
}  # fmt: skip
"""Networks of the table by the sheet's name; the heads of poses and turned boxes are left out of the work."""
METHOD, BASELINE = "costs of a frame", "operations, one factor"


@dataclass(frozen=True)
class Rates:
    """A row for each rate: shape (rows,), amounts (rows, amounts); `asked` counts the rates of the table."""

    device: Array
    network: Array
    rate_hz: Array
    amounts: Array
    asked: int


def read_rates(root: Path) -> Rates:
    """Return the 8-bit rates of networks that the sheet describes. Raises BadFileError."""
    found = read_file(root / "rknn" / "fps.csv.gz", ("fps",), ("model", "input", "dtype", "platform"))
    sheet = read_sheet(SHEET)
    kept = [
        i
        for i, name in enumerate(found["model"])
        if name in NETWORKS and found["dtype"][i] == "INT8" and found["fps"][i] > 0
    ]
    sides = [float(found["input"][i].strip("[]").split(",")[2]) for i in kept]
    amounts = [
        np.concatenate([sheet[NETWORKS[found["model"][i]]][0], [3 * side**2, side]])
        for i, side in zip(kept, sides, strict=True)
    ]
    return Rates(
        np.array([device_id("rknn", str(found["platform"][i])) for i in kept]),
        np.array([NETWORKS[found["model"][i]] for i in kept]), found["fps"][kept], np.stack(amounts),
        int((found["fps"] > 0).sum()),
    )  # fmt: skip


def evaluate_rknn(rates: Rates, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Score]:
    """Return scores of families held out in five folds: all platforms, and each."""
    devices, place = np.unique(rates.device, return_inverse=True)
    work, seconds = frame_work(rates.amounts), 1 / rates.rate_hz
    operations = rates.amounts[:, :5].sum(axis=1)
    families = np.array([family(name) for name in rates.network])
    out: list[Score] = []
    for seed in seeds:
        part = folds(families, FOLDS, seed)
        value, plain = np.zeros(len(part)), np.zeros(len(part))
        for i in range(FOLDS):
            train, test = part != i, part == i
            costs = fit_costs(work[train], seconds[train], place[train], len(devices), Settings())
            value[test] = 1 / np.maximum((work[test] * costs[place[test]]).sum(axis=1), 1e-9)
            for j in range(len(devices)):
                own = place == j
                factor = np.median((rates.rate_hz * operations)[own & train])
                plain[own & test] = factor / operations[own & test]
        errors = np.abs(np.log(value / rates.rate_hz))
        half = np.array([conformal_half(errors[part != i]) for i in range(FOLDS)])[part]
        for name in (ALL, *devices.tolist()):
            own = (rates.device == name) | (name == ALL)
            out.append(score(
                ("rknn", name, "families held out", METHOD, seed), rates.rate_hz[own], value[own],
                ends=((value * np.exp(-half))[own], (value * np.exp(half))[own]), baseline=(BASELINE, plain[own]),
                answered=len(rates.rate_hz) / rates.asked,
            ))  # fmt: skip
    return out
