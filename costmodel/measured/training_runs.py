"""Training steps and phases on few devices: vTrain, SimuMax, Zeus (NSDI '23), Splitwise.

vTrain (MIT): iterations of GPT shapes on 8 A100; the format is not stated (the network's own is taken); single node.
SimuMax (Apache-2.0): reduced layer counts on 8 B200; memory is one value a configuration, repeated over micro batch
counts; `peer_*` are its own predictions and never read. Megatron-LM ran with its distributed optimizer and float32
gradients: the file does not say so, but its memory does, to 1 % (tests/test_workload_training.py).
Zeus (Apache-2.0): seconds an epoch become samples a second by the size of the training set; only rows at the GPU's
highest power limit are those of the catalogue's device; SQuAD and Sentiment140 do not state their lengths, so BERT is
left out; the format is not stated, but 364 images/s of ResNet-50 are what a V100 trains in FP32. Splitwise (MIT):
times of the prompt and of a token; its power is a fraction of an unstated scale and is not read, power-capped GPUs
are not the catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    by_timm_name,
    device_id,
    drop,
    each,
    read_file,
    set_folder,
    texts,
    whole_models,
    workload_id,
)
from workloads.workload_measurements import WorkloadMeasurements, params_text

VTRAIN = "vTrain, commit f8dda847 (MIT)"
SIMUMAX = "SimuMax, commit 4dcaae51 (Apache-2.0)"
ZEUS = "Zeus NSDI '23, commit 75a8b939 (Apache-2.0)"
SPLITWISE = "splitwise-sim, commit 8f99e7dc (MIT)"
SIMUMAX_MODELS = {"llama3-70b": "llama-3-70b", "llama3-405b": "llama-3.1-405b", "deepseekv2": "deepseek-v2",
                  "deepseekv3": "deepseek-v3"}  # fmt: skip
SPLITWISE_MODELS = {"llama2-70b": "llama-2-70b", "bloom-176b": "bloom-176b"}
ZEUS_NETWORKS = {"resnet50": "resnet50"}
ZEUS_SAMPLES = {"imagenet": 1_281_167.0, "cifar100": 50_000.0}
"""Images of the training sets (Russakovsky et al. 2015, table 2; Krizhevsky 2009)."""
ZEUS_TEXTS = ("squad", "sentiment140")
VTRAIN_COLUMNS = (
    "# GPUs", "global batch", "micro batch", "hidden size", "attention heads", "# layers", "sequence length",
    "tensor parallelism", "data parallelism", "pipeline parallelism", "iteration time (ms)",
)  # fmt: skip


def load_vtrain(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: training iterations of GPT shapes (`params` on gpt-3-175b). Raises BadFileError."""
    request.check_options()
    found = read_file(set_folder(request, "vtrain") / "ground_truth_single.csv", VTRAIN_COLUMNS)
    gpus, batch, micro, hidden, heads, layers, length, tp, dp, pp, time_ms = (found[name] for name in VTRAIN_COLUMNS)
    request.report.read += len(gpus)
    shapes = [
        params_text(hidden=int(h), heads=int(a), layers=int(n), inter=4 * int(h))
        for h, a, n in zip(hidden, heads, layers, strict=True)
    ]
    table = whole_models(
        request, "vTrain",
        {
            "device": device_id("vtrain", "A100"), "software": "megatron", "source": VTRAIN,
            "workload": texts(len(gpus), "gpt-3-175b"), "mode": "train", "params": np.array(shapes, dtype=object),
            "count": gpus, "batch": batch, "micro_batch": micro, "prompt": length, "tp": tp, "dp": dp, "pp": pp,
            "group": np.array([f"{h:g} x {n:g}" for h, n in zip(hidden, layers, strict=True)], dtype=object),
            "latency_s": time_ms * 1e-3,
        },
    )  # fmt: skip
    if table is not None:
        yield table


def load_simumax(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: training iterations with peak memory. Raises BadFileError."""
    request.check_options()
    numbers = ("layers", "gpus", "tp", "pp", "dp", "ep", "seq_len", "micro_batch_size", "micro_batch_count", "real_ms",
               "real_alloc_gib")  # fmt: skip
    found = read_file(set_folder(request, "simumax") / "b200_cases.csv", numbers, ("case", "model"))
    request.report.read += len(found["case"])
    workload = each(found["model"], lambda name: workload_id(SIMUMAX_MODELS.get(name, "")))
    table = whole_models(
        request, "SimuMax",
        {
            "device": device_id("simumax", "B200"), "software": "megatron", "source": SIMUMAX, "workload": workload,
            "mode": "train", "dtype": "bf16", "count": found["gpus"], **{n: found[n] for n in ("tp", "pp", "dp", "ep")},
            "params": each(found["layers"].astype(str), lambda word: params_text(layers=int(float(word)))),
            "batch": found["micro_batch_size"] * found["micro_batch_count"] * found["dp"], "prompt": found["seq_len"],
            "micro_batch": found["micro_batch_size"], "group": each(found["case"], lambda case: case.split("_mbc")[0]),
            "zero_stage": np.ones(len(found["case"])), "wide_gradients": np.ones(len(found["case"])),
            "latency_s": found["real_ms"] * 1e-3, "memory_bytes": found["real_alloc_gib"] * 2.0**30,
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table


def load_zeus(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: samples a second and power of training at full power. Raises BadFileError."""
    request.check_options()
    found = read_file(
        set_folder(request, "zeus_nsdi23") / "power_limit_sweep.csv.gz",
        ("batch_size", "power_limit", "time_per_epoch", "average_power"), ("gpu", "dataset", "network", "optimizer"),
    )  # fmt: skip
    request.report.read += len(found["gpu"])
    highest = {gpu: float(found["power_limit"][found["gpu"] == gpu].max()) for gpu in set(found["gpu"].tolist())}
    capped = found["power_limit"] < each(found["gpu"], highest.__getitem__)
    found = drop(request, found, capped, "a power limit below the GPU's own")
    of_texts = np.isin(found["dataset"].astype(str), ZEUS_TEXTS)
    found = drop(request, found, of_texts, "a data set of texts whose lengths are not stated")
    samples = each(found["dataset"], lambda name: ZEUS_SAMPLES.get(name, float("nan")))
    timm = by_timm_name()
    workload = each(found["network"], lambda name: timm.get(ZEUS_NETWORKS.get(name, ""), ""))
    rate_hz = samples / found["time_per_epoch"]
    table = whole_models(
        request, "Zeus",
        {
            "device": each(found["gpu"], lambda name: device_id("zeus_nsdi23", name)), "software": "pytorch",
            "source": ZEUS, "workload": workload, "mode": "train", "dtype": "fp32", "batch": found["batch_size"],
            "rate_hz": rate_hz, "latency_s": found["batch_size"] / rate_hz, "power_w": found["average_power"],
            "optimizer": found["optimizer"],
        },
        unknown=found["network"],
    )  # fmt: skip
    if table is not None:
        yield table


def load_splitwise(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: time of the prompt, of a token, and of both. Raises BadFileError."""
    request.check_options()
    numbers = ("prompt_size", "batch_size", "token_size", "prompt_time", "token_time", "e2e_time", "tensor_parallel")
    found = read_file(set_folder(request, "splitwise_sim") / "perf_model.csv", numbers, ("model", "hardware"))
    request.report.read += len(found["model"])
    capped = each(found["hardware"], lambda name: float(name.endswith("-pcap"))) == 1
    found = drop(request, found, capped, "a GPU under a power limit")
    workload = each(found["model"], lambda name: workload_id(SPLITWISE_MODELS.get(name, "")))
    table = whole_models(
        request, "Splitwise",
        {
            "device": each(found["hardware"], lambda name: device_id("splitwise_sim", name)), "software": "",
            "source": SPLITWISE, "workload": workload, "dtype": "fp16", "count": found["tensor_parallel"],
            "tp": found["tensor_parallel"], "batch": found["batch_size"], "prompt": found["prompt_size"],
            "generate": found["token_size"], "latency_s": found["e2e_time"] * 1e-3,
            "ttft_s": found["prompt_time"] * 1e-3, "tpot_s": found["token_time"] * 1e-3,
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table
