"""Decode rates of language models on small systems (github.com/geerlingguy/ai-benchmarks, MIT).

Traps: the power is the peak at the wall, not a mean of the device, and is carried along as `power_peak_w` only; the
format is not stated: tags without one are Ollama's default, Q4_K_M (mostly `q4_k`), gpt-oss has its own; clusters and
rows that ran partly on another processor are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import device_id, drop, each, read_file, set_folder, whole_models, workload_id
from workloads.workload_measurements import WorkloadMeasurements

SOURCE = "geerlingguy/ai-benchmarks, commit bdf9441 (MIT)"
ELSEWHERE = {("Framework Mainboard (128GB)", "CPU")}
"""Rows on the processor of a system whose catalogue entry is its graphics unit."""


def load_llm_edge(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: time per output token. Raises BadFileError."""
    request.check_options()
    found = read_file(
        set_folder(request, "llm_edge") / "geerling_tokens_per_s.csv.gz", ("eval_tokens_per_s", "power_peak_w"),
        ("model", "system", "compute"),
    )  # fmt: skip
    request.report.read += len(found["model"])
    cluster = each(found["system"], lambda name: float("Cluster" in name)) == 1
    found = drop(request, found, cluster, "a cluster joined by a network")
    split = each(found["compute"], lambda name: float("/" in name)) == 1
    for system, compute in ELSEWHERE:
        split |= (found["system"] == system) & (found["compute"] == compute)
    found = drop(request, found, split, "it ran partly or wholly on another processor than the named one")
    found = drop(request, found, ~(found["eval_tokens_per_s"] > 0), "no rate in the row")
    workload = each(found["model"], workload_id)
    table = whole_models(
        request, "geerlingguy/ai-benchmarks",
        {
            "device": each(found["system"], lambda name: device_id("llm_edge", name)), "source": SOURCE,
            "software": "ollama", "workload": workload, "batch": 1.0, "group": workload,
            "dtype": each(workload, lambda name: "" if name.startswith("gpt-oss") else "q4_k"),
            "tpot_s": 1 / found["eval_tokens_per_s"], "power_peak_w": found["power_peak_w"],
            "system": found["system"],
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table
