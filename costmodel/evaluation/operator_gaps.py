"""Efficiency gaps of image networks, predicted and measured: time over what their MACs alone would take at the peak.

timm's rows of an RTX 3090 (PyTorch 2.4, eager, AMP) are priced by the closed form, nothing fitted, every pointwise
operator a kernel of its own. A network stands for the operator that its family is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.physics import predict_physics, stages
from costmodel.rates import compile_rates
from foundation.errors import ArchcastError
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.graph import Pass
from workloads.lowering import lower
from workloads.model import Request
from workloads.rewrites import unfuse
from workloads.work import count_work
from workloads.workload_measurements import WorkloadMeasurements

CONFIG = "infer-amp-nchw-pt240-cu124-rtx3090"
NETWORKS = {
    "vit-small-patch16-224": "dense layers, attention of all tokens", "vgg16": "dense 3x3",
    "resnet-50": "dense 3x3 and 1x1", "resnext50-32x4d": "grouped 3x3", "convnext-tiny": "depthwise 7x7, dense layers",
    "convmixer-768-32": "depthwise 7x7, large map", "focalnet-tiny-lrf": "modulation",
    "swin-tiny-patch4-window7-224": "windows, shifted", "efficientnet-es": "fused inverted residuals",
    "mnasnet-100": "inverted residuals", "efficientnet-lite0": "inverted residuals, wider",
    "mobilenet-v2": "inverted residuals, narrow", "ghostnet-100": "depthwise in place of half of a dense layer",
}  # fmt: skip
"""What each network's time goes to."""


@dataclass(frozen=True)
class Gap:
    """One network: seconds of a batch, measured and predicted (run operator by operator, and fused), and the ideal."""

    workload: str
    measured_s: float
    predicted_s: float
    fused_s: float
    ideal_s: float

    @property
    def measured_ratio(self) -> float:
        return self.measured_s / self.ideal_s

    @property
    def predicted_ratio(self) -> float:
        return self.predicted_s / self.ideal_s


def gap_of(workload: str, image: int, batch: int, device: str, measured_s: float = float("nan")) -> Gap:
    """Return the gap of an fp16 pass. Raises ArchcastError: the network cannot have that image."""
    rates = compile_rates(load_device(device))
    (run,) = load_model(workload, {"image": image}).workload(Request(batch=batch, dtype="fp16")).passes
    tables = [lower([Pass(run.name, graph, run.times)]).table for graph in (unfuse(run.graph), run.graph)]
    eager, fused = (float((predict_physics(t, rates).latency_s * t.full("count")).sum()) for t in tables)
    last = tables[-1]
    ideal = float((stages(last, count_work(last), rates).ideal_s * last.full("count")).sum())
    return Gap(workload, measured_s, eager, fused, ideal)


def read_gaps(tables: Iterable[WorkloadMeasurements], names: Sequence[str] = tuple(NETWORKS)) -> list[Gap]:
    """Return a gap a network, at its smallest image in the table; of all networks where no names are given.

    Networks that are not described at that image are left out.
    """
    (table,) = (table for table in tables if table.path.split()[-1] == CONFIG)
    batches, seconds = table.size("batch", 1.0), table.value("latency_s")
    images = [int(table.knobs(row).get("image", 0)) for row in range(table.rows)]
    smallest: dict[str, int] = {}
    for row, name in enumerate(map(str, table.workload)):
        if images[row] and (name not in smallest or images[row] < images[smallest[name]]):
            smallest[name] = row
    found = []
    for name in names or smallest:
        row = smallest[name]
        try:
            found.append(gap_of(name, images[row], int(batches[row]), str(table.device[row]), float(seconds[row])))
        except ArchcastError:
            continue
    return found


def evaluate_gaps(gaps: Sequence[Gap]) -> list[Score]:
    """Return the score of gaps with nothing fitted; the baseline is the same graphs with everything fused."""
    measured, predicted, fused = (
        np.array([getattr(gap, name) / gap.ideal_s for gap in gaps])
        for name in ("measured_s", "predicted_s", "fused_s")
    )
    labels = ("timm", "rtx-3090", "nothing fitted", "closed form", 0)
    return [score(labels, measured, predicted, baseline=("all fused", fused))]
