"""MLPerf Inference v4.1 and Training v5.0, from result logs (MLCommons, Apache-2.0). Derived and unverified use.

Offline rows give samples a second of the whole system, single streams the mean latency; server rows depend on a target
and are left out. Traps: submitters tune hard, and formats are not in the rows (`dtype` empty); prompts of language
models vary in length, which the rows do not state; open-division networks are others under one name. Training: a step
is the global batch over the median throughput of a run (time to train mixes in luck of convergence); texts of BERT are
packed without padding to 512 tokens, so its length is left empty.
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
    whole_models,
    workload_id,
)
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "MLPerf {} (Apache-2.0), derived, unverified"
INFERENCE = {
    "resnet50": "resnet-50", "bert": "bert-large", "gptj": "gpt-j-6b", "llama2-70b": "llama-2-70b",
    "mixtral-8x7b": "mixtral-8x7b", "stable-diffusion-xl": "sdxl", "retinanet": "retinanet", "dlrm-v2": "dlrm-v2",
    "3d-unet": "3d-unet",
}  # fmt: skip
TRAINING = {
    "bert": "bert-large", "llama2_70b_lora": "llama-2-70b", "stable_diffusion": "stable-diffusion-2.1-base",
    "retinanet": "retinanet", "dlrm_dcnv2": "dlrm-dcnv2", "rgat": "rgat",
}  # fmt: skip
ADAPTERS = ("llama2_70b_lora", "stable_diffusion")
"""Steps that train a part of the network, or one step of many: another thing than a training step of the network."""
INFERENCE_PARAMS = {"stable-diffusion-xl": params_text(steps=20)}
RATE, LATENCY = "Samples per second", "Mean latency (ns)"
DEVICE = ("sys_accelerator_model_name", "sys_host_processor_model_name")


def load_mlperf(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield a table of inference and one of training. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "mlperf")
    for table in (_inference(request, folder), _training(request, folder)):
        if table is not None:
            yield table


def _inference(request: ImportRequest, folder: Path) -> WorkloadMeasurements | None:
    numbers = (RATE, LATENCY, "sys_accelerators_per_node", "sys_number_of_nodes", "sys_host_processors_per_node",
               "Tokens per second")  # fmt: skip
    found = read_file(
        folder / "inference_v4.1_logs.csv.gz", numbers,
        ("division", "model", "scenario", "sys_framework", "Result is", "submitter", "system", *DEVICE),
    )  # fmt: skip
    request.report.read += len(found["model"])
    found = drop(request, found, found["division"] != "closed", "the open division: networks of the submitter's own")
    scenario = each(found["scenario"], str.lower)
    kept = (scenario == "offline") | (scenario == "singlestream")
    found, scenario = drop(request, found, ~kept, "a server's or a multi-stream's load"), scenario[kept]
    device, count = _devices(found)
    offline = scenario == "offline"
    name = each(found["model"], lambda model: model.removesuffix(".9").removesuffix("-99"))
    return whole_models(
        request, "MLPerf Inference v4.1",
        {
            "device": device, "source": SOURCE.format("Inference v4.1"), "software": found["sys_framework"],
            "workload": each(name, lambda model: workload_id(INFERENCE.get(model, ""))), "count": count,
            "batch": np.where(offline, np.nan, 1.0),
            "params": each(name, lambda model: INFERENCE_PARAMS.get(model, "")),
            "rate_hz": np.where(offline & (found[RATE] > 0), found[RATE], np.nan),
            "latency_s": np.where(offline, np.nan, found[LATENCY] * 1e-9), "submitter": found["submitter"],
            "system": found["system"], "tokens_per_s": found["Tokens per second"],
        },
        unknown=name,
    )  # fmt: skip


def _devices(found: Columns) -> tuple[Array, Array]:
    """Return the device of each row and how many there are: accelerators, else processors."""
    nodes = np.nan_to_num(found["sys_number_of_nodes"], nan=1.0)
    accelerator, host = (each(found[name], lambda text: device_id("mlperf", text)) for name in DEVICE)
    per_node = found["sys_accelerators_per_node"]
    bare = ~(per_node > 0)
    device = np.where(bare, host, accelerator).astype(object)
    return device, nodes * np.where(bare, np.nan_to_num(found["sys_host_processors_per_node"], nan=1.0), per_node)


def _training(request: ImportRequest, folder: Path) -> WorkloadMeasurements | None:
    numbers = ("global_batch_size", "median_throughput_samples_s", "n_throughput", "sys_number_of_nodes",
               "sys_accelerators_per_node")  # fmt: skip
    found = read_file(
        folder / "training_runs_v5.0.csv.gz", numbers,
        ("submitter", "system", "benchmark", "status", "sys_framework", "sys_accelerator_model_name"),
    )  # fmt: skip
    request.report.read += len(found["benchmark"])
    found = drop(request, found, ~(found["median_throughput_samples_s"] > 0), "no throughput in the log")
    part = np.isin(found["benchmark"].astype(str), ADAPTERS)
    found = drop(request, found, part, "a step that trains adapters, or one of a diffusion: not one of the network")
    rate_hz = found["median_throughput_samples_s"]
    return whole_models(
        request, "MLPerf Training v5.0",
        {
            "device": each(found["sys_accelerator_model_name"], lambda name: device_id("mlperf", name)),
            "source": SOURCE.format("Training v5.0"), "software": found["sys_framework"], "mode": "train",
            "workload": each(found["benchmark"], lambda name: workload_id(TRAINING.get(name, ""))),
            "count": found["sys_number_of_nodes"] * found["sys_accelerators_per_node"],
            "batch": found["global_batch_size"], "rate_hz": rate_hz, "latency_s": found["global_batch_size"] / rate_hz,
            "submitter": found["submitter"], "system": found["system"], "n_repeat": found["n_throughput"],
        },
        unknown=found["benchmark"],
    )  # fmt: skip
