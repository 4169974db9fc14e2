"""LowFormer's throughputs on an A40: the closed form with one factor from two of the seven networks.

The authors' benchmark (eval_cls_model.py, `--optit`, batch 200) runs float32 tensors through TorchScript optimised for
inference: normalisations behind a convolution are folded, activations are kernels of their own, and PyTorch's defaults
let convolutions, not matrix products, use TF32. So the graph is priced, on the catalogue's A40. Nothing of the closed
form was fitted to these rows. Baseline: multiply-accumulates with one factor from the same two networks.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.graph import Pass
from workloads.lowering import lower
from workloads.model import Request
from workloads.rewrites import unfuse
from workloads.rewrites.matching import rewritten
from workloads.table import Array

DEVICE, BATCH = "a40", 200
UNCALIBRATED = "nothing fitted"
PRIOR = "two points: smallest and largest"
EVERY, WORST = "two points: every choice", "two points: worst row of every choice"
FASTER = "E1 over B1"


@dataclass(frozen=True)
class Networks:
    """Networks with the measured and the predicted rate of each (images/s), and their multiply-accumulates."""

    names: tuple[str, ...]
    measured_hz: Array
    predicted_hz: Array
    macs: Array

    def calibrated(self, points: tuple[int, ...], rates: Array) -> Array:
        """Return rates times the factor that the points (indices) set: the geometric mean of theirs."""
        at = list(points)
        return rates * float(np.exp(np.mean(np.log(self.measured_hz[at] / rates[at]))))


def read_networks(path: Path) -> Networks:
    """Return the networks of `throughput.csv`, priced.

    Raises:
        OSError: there is no such file. UnknownNameError: it names a network that the catalogue lacks.
    """
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = tuple(row["model"] for row in rows)
    found = [f"lowformer-{name.lower()}" for name in names]
    return Networks(
        names,
        np.array([float(row["gpu_throughput_img_s"]) for row in rows]),
        np.array([BATCH / latency_s(name) for name in found]),
        np.array([float(load_model(name).summary()["macs"]) for name in found]),
    )


def latency_s(workload: str, device: str = DEVICE, batch: int = BATCH) -> float:
    """Return the closed form's seconds of a batch as TorchScript runs it. Raises UnknownNameError."""
    passes = load_model(workload).workload(Request(batch=batch, dtype="fp32")).passes
    table = lower([as_torchscript(run) for run in passes]).table
    costs = predict_physics(table, compile_rates(load_device(device)))
    return float((costs.latency_s * table.full("count")).sum())


def as_torchscript(run: Pass) -> Pass:
    """Return a pass whose activations are kernels of their own and whose convolutions compute in TF32."""
    graph = unfuse(run.graph, norms=False)
    return replace(run, graph=rewritten(graph, lambda _, o: [replace(o, dtype="tf32") if o.op == "conv2d" else o]))


def evaluate_lowformer(networks: Networks) -> list[Score]:
    """Return scores of rates: uncalibrated, then by one factor from two networks, on the five that set it not."""
    plain = networks.macs.max() / networks.macs
    every = [_others(networks, pair, plain) for pair in combinations(range(len(networks.names)), 2)]
    by_size = np.argsort(networks.macs)
    prior = _others(networks, (int(by_size[0]), int(by_size[-1])), plain)
    pooled = [np.concatenate(columns) for columns in zip(*every, strict=True)]
    error = np.abs(pooled[1] / pooled[0] - 1)
    worst = [column[[int(np.argmax(error))]] for column in pooled]
    pair = [networks.names.index(name) for name in ("E1", "B1")]
    speedup = [np.array([column[pair[0]] / column[pair[1]]]) for column in
               (networks.measured_hz, networks.predicted_hz, plain)]  # fmt: skip
    all_of_them = tuple(range(len(networks.names)))
    first = [networks.measured_hz, networks.predicted_hz, networks.calibrated(all_of_them, plain)]
    parts = {UNCALIBRATED: first, PRIOR: [*prior], EVERY: pooled, WORST: worst, FASTER: speedup}
    return [_scored(split, *columns) for split, columns in parts.items()]


def _others(networks: Networks, points: tuple[int, ...], plain: Array) -> tuple[Array, Array, Array]:
    """Return measured, predicted and the baseline's rates of the networks that are no points."""
    rest = [i for i in range(len(networks.names)) if i not in points]
    ours, macs = (networks.calibrated(points, rates)[rest] for rates in (networks.predicted_hz, plain))
    return networks.measured_hz[rest], ours, macs


def _scored(split: str, measured: Array, predicted: Array, plain: Array) -> Score:
    labels = ("lowformer", DEVICE, split, "closed form", 0)
    return score(labels, measured, predicted, baseline=("MACs", plain))
