"""HELM: idealised runtimes of language models (github.com/stanford-crfm/helm, Apache-2.0).

Time to process a prompt at batch 1, and per output token, on A100 80GB servers (Narayanan et al. 2023). Traps: 19 names
share 12 curves, so one name a curve is read, and `group` is the curve; values are rounded to 1 ms; numbers of devices
are not in the file: the paper takes the least, so `count` is the smallest power of two whose memory holds the weights
at 16 bit (an inference), and tp and pp are left empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import device_id, drop, each, read_file, set_folder, whole_models, workload_id
from workloads.catalogue import load_model
from workloads.workload_measurements import WorkloadMeasurements

SOURCE = "HELM idealised runtimes (Apache-2.0)"
MODELS = {
    "openai/davinci": "gpt-3-175b", "ai21/j1-large": "jurassic-1-large", "ai21/j1-grande": "jurassic-1-grande",
    "ai21/j1-jumbo": "jurassic-1-jumbo", "together/gpt-j-6b": "gpt-j-6b", "together/gpt-neox-20b": "gpt-neox-20b",
    "microsoft/TNLGv2_530B": "mt-nlg-530b", "together/bloom": "bloom-176b", "together/opt-66b": "opt-66b",
    "together/yalm": "yalm-100b",
}  # fmt: skip
"""One name a curve, where the network behind it is public."""
OTHER_NAMES = (
    "together/opt-175b", "microsoft/TNLGv2_7B", "openai/curie", "gooseai/gpt-j-6b", "huggingface/gptj_6b",
    "gooseai/gpt-neo-20b", "cohere/xlarge-20220609",
)  # fmt: skip
"""Names whose curve is read under another one."""
MEMORY_BYTES, WEIGHT_BYTES = 80e9, 2.0


def load_helm(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table. Raises BadFileError."""
    request.check_options()
    numbers = ("prompt_tokens", "prompt_time_s", "time_per_output_token_s")
    found = read_file(set_folder(request, "helm_idealized") / "idealized_runtimes.csv", numbers, ("model", "curve_id"))
    request.report.read += len(found["model"])
    found = drop(request, found, np.isin(found["model"].astype(str), OTHER_NAMES), "another name of a curve")
    workload = each(found["model"], lambda name: workload_id(MODELS.get(name, "")))
    table = whole_models(
        request, "HELM",
        {
            "device": each(workload, lambda _: device_id("helm_idealized", "A100")), "software": "megatron",
            "source": SOURCE, "workload": workload, "dtype": "fp16", "batch": 1.0,
            "count": each(workload, least_devices),
            "prompt": found["prompt_tokens"], "group": each(found["curve_id"], lambda word: f"curve {word}"),
            "ttft_s": found["prompt_time_s"], "tpot_s": found["time_per_output_token_s"],
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table


def least_devices(workload: str) -> float:
    """Return the smallest power of two of devices whose memory holds the weights; NaN for no network."""
    if not workload:
        return float("nan")
    weights = load_model(workload).summary()["parameters"] * WEIGHT_BYTES
    return float(2 ** max(0, math.ceil(math.log2(weights / MEMORY_BYTES))))
