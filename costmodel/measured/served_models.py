"""Language models under load: Argonne's LLM-Inference-Bench, IBM's LLM-Pilot, InferenceX.

Argonne (BSD-3): latency of a batch, prompt and output of one length (`Input Output Length`). Traps: an MI250 counts two
devices of the catalogue; formats are not stated; parallel sizes only in the table that varies them (elsewhere they
are left empty); power is in mW in some rows and W in others with outliers, and is not read; throughput is derived.
IBM (CDLA-Permissive-2.0): mean latency of requests of a closed loop of users, text-generation server of 2023; lengths
are means. InferenceX (Apache-2.0): the GPU is not in the rows, so all are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    Columns,
    device_id,
    drop,
    each,
    read_file,
    set_folder,
    texts,
    whole_models,
    workload_id,
)
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

ARGONNE = "LLM-Inference-Bench, commit 4211f5d4 (BSD-3-Clause)"
IBM = "LLM-Pilot, commit 3c66483f (CDLA-Permissive-2.0)"
RUN = ("Num of Hardware", "Input Output Length", "Batch Size", "Latency")
ABOUT = ("Hardware", "Framework", "Model")
SPLITS: dict[str, tuple[float, float, bool]] = {
    "Tensor Parallelism": (0, 1, False), "TP": (0, 1, False), "Pipeline Parallelism": (1, 0, False),
    "PP": (1, 0, False), "Hybird Tensor (2) and Pipeline (2) Parallelism": (2, 2, False),
    "Hybrid TP = 2 and PP = 2": (2, 2, False), "EP": (0, 1, True), "Hybrid TP = 2 and EP = 2": (0, 1, True),
}  # fmt: skip
"""tp and pp of each kind (0 = all devices), and whether experts are spread (then ep is empty: it is not stated)."""


def load_argonne(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield the sweep, the table of parallel sizes, and times to the first token. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "argonne_llm_inference_bench")
    for found in (_sweep(request, folder), _parallel(request, folder), _first_tokens(request, folder)):
        table = whole_models(request, "LLM-Inference-Bench", found, unknown=found["model"])
        if table is not None:
            yield table


def _about(found: Columns) -> Columns:
    hardware = found["Hardware"]
    dice = each(hardware, lambda name: 2.0 if "MI250 GPU" in name else 1.0)
    return {
        "device": each(hardware, lambda name: device_id("argonne_llm_inference_bench", name)),
        "source": texts(len(hardware), ARGONNE), "software": each(found["Framework"], str.lower),
        "workload": each(found["Model"], workload_id), "count": found["Num of Hardware"] * dice,
        "batch": found["Batch Size"], "model": found["Model"],
    }  # fmt: skip


def _sweep(request: ImportRequest, folder: Path) -> Columns:
    found = read_file(folder / "all_results.csv.gz", RUN, ABOUT)
    request.report.read += len(found["Model"])
    length = found["Input Output Length"]
    return {**_about(found), "prompt": length, "generate": length, "latency_s": found["Latency"]}


def _parallel(request: ImportRequest, folder: Path) -> Columns:
    found = read_file(folder / "tp_pp_results.csv", RUN, (*ABOUT, "Parallelism Type"))
    request.report.read += len(found["Model"])
    kind, about, length = found["Parallelism Type"], _about(found), found["Input Output Length"]
    found_split = each(kind, lambda name: float(name in SPLITS and not SPLITS[name][2])) == 1
    request.report.skip("a mix of experts and tensors over devices, its sizes not stated", int((~found_split).sum()))
    tp, pp = (_share(kind, about["count"], place) for place in (0, 1))
    whole = {**about, "prompt": length, "generate": length, "latency_s": found["Latency"], "tp": tp, "pp": pp}
    return {name: column[found_split] for name, column in whole.items()}


def _share(kind: Array, count: Array, place: int) -> Array:
    sizes = each(kind, lambda name: float(SPLITS[name][place]) if name in SPLITS else 0.0)
    return np.where(sizes == 0, count, sizes)


def _first_tokens(request: ImportRequest, folder: Path) -> Columns:
    found = read_file(
        folder / "ttft.csv", ("Num of Hardware", "Input Length", "Output Length", "Batch Size", "Latency"), ABOUT
    )  # fmt: skip
    request.report.read += len(found["Model"])
    found = drop(request, found, ~(found["Latency"] > 0), "no time in the row")
    return {**_about(found), "prompt": found["Input Length"], "generate": found["Output Length"],
            "ttft_s": found["Latency"]}  # fmt: skip


def load_ibm(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: mean latency and requests a second by users. Raises BadFileError."""
    request.check_options()
    numbers = ("n_gpus", "num_users", "n", "in_tok_mean", "out_tok_mean", "lat_mean", "dur")
    found = read_file(set_folder(request, "ibm_llm_pilot") / "aggregate.csv", numbers, ("model", "gpu_type"))
    request.report.read += len(found["model"])
    workload = each(found["model"], workload_id)
    table = whole_models(
        request, "LLM-Pilot",
        {
            "device": each(found["gpu_type"], lambda name: device_id("ibm_llm_pilot", name)), "software": "tgi",
            "source": IBM, "workload": workload, "count": found["n_gpus"], "concurrency": found["num_users"],
            "prompt": found["in_tok_mean"], "generate": found["out_tok_mean"], "latency_s": found["lat_mean"] * 1e-3,
            "rate_hz": found["n"] / found["dur"], "n_repeat": found["n"],
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table


def load_inferencex(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield nothing: no row says which GPU it is from; the rows are counted. Raises BadFileError."""
    request.check_options()
    found = read_file(set_folder(request, "inferencex_token_position") / "decode_slo.csv", ("tp",), ("model_id",))
    request.report.read += len(found["tp"])
    request.report.skip("a device that is not in the catalogue, or not stated", len(found["tp"]))
    yield from ()
