"""Networks that left operators to the processor, in rows of AI Hub: the division by the runtime, and the NPU alone.

What an element costs to quantise was set on ConvNeXt and BERT (`SET_ON`); the other networks are held out.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from archcast.prediction import predict
from costmodel.evaluation.scores import Score, score
from hardware_specs import device_of

FORMATS = {"w8a16": "w8a16", "w8a8": "int8"}
HELD_OUT = {"vit": "vit-base", "mobile_vit": "mobilevit-s", "efficientformer": "efficientformer-l1"}
SET_ON = {
    "convnext_tiny": "convnext-tiny", "convnext_base": "convnext-base", "bert_base_uncased_hf": "bert-base",
    "distil_bert_base_uncased_hf": "distilbert",
}  # fmt: skip
TOKENS = 384
"""Of its BERT networks."""


def evaluate_fallback(root: Path) -> list[Score]:
    """Return a score of the networks held out, and one of those that the conversion was set on."""
    splits = (("held out", HELD_OUT), ("set on", SET_ON))
    return [found for name, networks in splits if (found := _scored(root, name, networks)) is not None]


def _scored(root: Path, split: str, networks: dict[str, str]) -> Score | None:
    rows = []
    with gzip.open(root / "qualcomm_ai_hub" / "perf.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            known = row["model"] in networks and row["precision"] in FORMATS and row["runtime"] == "onnx"
            if known and row["primary_compute_unit"] == "NPU" and float(row["layers_cpu"] or 0) > 0:
                workload, device = networks[row["model"]], device_of("qualcomm_ai_hub", row["device"])
                dtype = FORMATS[row["precision"]]
                divided, alone = (_seconds(workload, device, dtype, name) for name in ("onnxruntime", ""))
                rows.append((float(row["inference_ms"]) * 1e-3, divided, alone))
    if not rows:
        return None
    measured, divided_s, alone_s = np.array(rows).T
    labels = ("AI Hub", "quantised, ONNX Runtime", split, "division by the runtime", 0)
    return score(labels, measured, divided_s, baseline=("the NPU alone", alone_s))


def _seconds(workload: str, device: str, dtype: str, software: str) -> float:
    prompt = TOKENS if "bert" in workload else None
    found = predict(workload, on=device, dtype=dtype, software=software, model="physics", prompt=prompt)
    return found.latency_s.value if found.latency_s else float("nan")
