"""NeuSight: operators and whole models on eleven GPUs (github.com/sitar-lab/NeuSight, MIT).

Traps: FP32 kernels only, nothing about tensor cores; `authors_split` is their own train and test folder (carried
along); unary element-wise kernels end in `u` (`addu` adds a number to a tensor). Whole models: forward passes of all
positions (`logits` = all), training is forward and backward without the update; GPT-3 XL is built there with 3072
features (24 heads of 128), as its per-operator table shows; switchxl4 has no counterpart here. Names write _
for blanks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest, Piece
from costmodel.measured.data_files import Columns, device_id, each, operators, read_file, set_folder, whole_models
from workloads.measurements import MeasurementTable
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "NeuSight, commit 6945927d (MIT)"
BINARY, UNARY = ("add", "div", "mul", "pow"), ("addu", "divu", "mulu", "powu", "relu", "gelu", "tanh")
NUMBERS = ("latency_ms", "b", "m", "n", "k", "h")
CONVOLUTION = ("input_channel", "output_channel", "kernel_size", "input_size", "stride", "padding")
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_large": ("bert-large", {}), "gpt2_large": ("gpt-2-large", {"logits": "all"}),
    "opt_13": ("opt-1.3b", {"logits": "all"}),
    "gpt3_xl": ("gpt-3-175b", {"layers": 24, "hidden": 3072, "heads": 24, "inter": 12288, "logits": "all"}),
    "gpt3_27": ("gpt-3-175b", {"layers": 32, "hidden": 2560, "heads": 32, "inter": 10240, "logits": "all"}),
}  # fmt: skip
"""Networks of the end-to-end table; GPT-3 2.7B as in Brown et al. 2020 (arXiv 2005.14165), table 2.1."""


def load_neusight(request: ImportRequest) -> Iterator[Piece]:
    """Yield the operators of each device, then one table of whole models. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "neusight")
    for done, (file, extra, software) in enumerate(
        (("ops_nvidia.csv.gz", CONVOLUTION, "pytorch 2.1.0"), ("ops_amd.csv.gz", (), "pytorch"))
    ):
        request.progress(file, done / 3)
        found = read_file(folder / file, (*NUMBERS, *extra), ("opname", "device", "authors_split"))
        request.report.read += len(found["opname"])
        for name in sorted(set(found["device"].tolist())):
            here = {key: column[found["device"] == name] for key, column in found.items()}
            table = _operators(request, name, here, software)
            if table is not None:
                yield table
    models = _models(request, folder / "e2e.csv")
    if models is not None:
        yield models


def _operators(request: ImportRequest, name: str, found: Columns, software: str) -> MeasurementTable | None:
    kind = found["opname"]
    op = each(kind, _operator)
    conv, gemm = op == "conv2d", op == "gemm"
    rows = len(kind)
    columns: dict[str, Any] = {
        "op": op, "dtype": "fp32", "device": device_id("neusight", name), "software": software, "source": SOURCE,
        "latency_s": found["latency_ms"] * 1e-3, "authors_split": found["authors_split"], "kernel": kind,
        "batch": np.where(conv | gemm, found["b"], np.nan), "rows": np.where(conv | gemm, np.nan, found["b"]),
        "hidden": np.where(conv | gemm, np.nan, found["h"]),
        "operands": each(kind, lambda word: 2.0 if word in BINARY else 1.0),
        **{size: np.where(gemm, found[size], np.nan) for size in ("m", "n", "k")},
    }  # fmt: skip
    if conv.any():
        own = {"c_in": "input_channel", "c_out": "output_channel", "h": "input_size", "w": "input_size",
               "kh": "kernel_size", "kw": "kernel_size", "stride": "stride", "padding": "padding"}  # fmt: skip
        columns |= {size: np.where(conv, found[column], np.nan) for size, column in own.items()}
    known = op != ""
    request.report.skip("a kernel that is no operator here", rows - int(known.sum()))
    kept = {key: column[known] if isinstance(column, np.ndarray) else column for key, column in columns.items()}
    return operators(request, f"NeuSight {name}", kept)


def _operator(kind: str) -> str:
    if kind in (*BINARY, *UNARY):
        return "elementwise"
    return {"linear": "gemm", "bmm": "gemm", "conv": "conv2d", "ln": "norm", "softmax": "softmax"}.get(kind, "")


def _models(request: ImportRequest, path: Path) -> WorkloadMeasurements | None:
    found = read_file(path, ("seq", "batch", "e2e_latency_ms"), ("device", "model", "mode", "opt"))
    request.report.read += len(found["model"])
    train = found["mode"] == "train"
    workload = each(found["model"], lambda name: MODELS[name][0] if name in MODELS else "")
    generates = each(workload, lambda name: float("nan") if name == "bert-large" else 1.0)
    return whole_models(
        request, "NeuSight whole models",
        {
            "device": each(found["device"], lambda name: device_id("neusight", name.replace("_", " "))),
            "software": each(found["opt"], lambda opt: "pytorch fused" if opt == "fusion" else "pytorch"),
            "source": SOURCE, "workload": workload, "dtype": "fp32", "mode": np.where(train, "train", "infer"),
            "batch": found["batch"], "prompt": found["seq"], "generate": np.where(train, np.nan, generates),
            "params": each(found["model"] + "|" + np.where(train, "0", found["seq"].astype(str)), _knobs),
            "group": found["model"], **_parallel(found["opt"]), "latency_s": found["e2e_latency_ms"] * 1e-3,
        },
        unknown=found["model"],
    )  # fmt: skip


def _knobs(text: str) -> str:
    """Return the knobs of 'model|tokens'; the token that a pass yields must have its row in the table of positions."""
    model, tokens = text.split("|")
    if model not in MODELS:
        return ""
    workload, knobs = MODELS[model]
    room = {"max_context": int(float(tokens)) + 1} if float(tokens) and workload != "bert-large" else {}
    return params_text(**knobs, **room)


def _parallel(opt: Array) -> dict[str, Array]:
    """Return the parallel sizes of `dp4`, `tp4` and `pp4_1`; the batch is that of all devices together."""

    def size(kind: str, word: str) -> float:
        return float(word[2]) if word.startswith(kind) and word[2:3].isdigit() else 1.0

    sizes = {kind: each(opt, partial(size, kind)) for kind in ("tp", "pp", "dp")}
    return {**sizes, "count": sizes["tp"] * sizes["pp"] * sizes["dp"]}
