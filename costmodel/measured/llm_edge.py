"""Decode rates of language models on small systems (github.com/geerlingguy/ai-benchmarks, MIT).

Traps: the power is the peak at the wall, not a mean of the device, and is carried along as `power_peak_w` only; the
format is not stated: tags without one are Ollama's default, Q4_K_M, gpt-oss has its own; clusters and
rows that ran partly on another processor are left out of the table of the closed form. `read_edge_rows` keeps them, and
says of every row in what it ran: host, link to the card, engine. These facts come from the README of the same
repository (footnote 1: cards tested with llama.cpp and Vulkan; other rows without one are from Ollama's `obench.sh`
unless the issue that the row links shows llama-bench) and from the data sheets of the hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import device_id, drop, each, read_file, set_folder, whole_models, workload_id
from workloads.workload_measurements import WorkloadMeasurements

SOURCE = "geerlingguy/ai-benchmarks, commit bdf9441 (MIT)"
FILE = "geerling_tokens_per_s.csv.gz"
NUMBERS, TEXTS = ("eval_tokens_per_s", "power_peak_w"), ("model", "system", "compute")
ELSEWHERE = {("Framework Mainboard (128GB)", "CPU"): "ryzen-ai-max-395-cpu"}
"""Rows on the processor of a system whose catalogue entry is its graphics unit, and the entry of that processor."""
HOST_MEMORY = {"Ryzen 9 7900X": "ryzen-9-7950x"}
"""Hosts that held a part of the weights -> the catalogue entry with their memory (the same socket and DDR5)."""
SAME_SYSTEM = {
    "AmpereOne A192-32X - 512GB": "AmpereOne A192-32X (512GB)",
    "Framework 13 (Ryzen AI 5 340 16GB)": "Framework 13 (Ryzen AI 5 340)",
    "Framework Desktop Mainboard (395+)": "Framework Mainboard (128GB)",
    "GMKtek G3 Plus (Intel N150) - 16GB": "GMKtec G3 Plus (Intel N150) - 16GB",
    "Pi CM5 - 16GB (AMD AI Pro R9700)": "Pi CM5 - 16GB (AMD Radeon AI Pro R9700)",
}
"""Spellings of one system."""
NODES = {"Raspberry Pi CM5 Cluster (10x 16GB)": (10, "tensor"), "Framework Mainboard Cluster (512GB)": (4, "pipeline")}
"""Clusters: how many nodes, and how the network is divided over them (distributed-llama divides every product;
llama.cpp's RPC gives each node a range of layers). The nodes are joined by 1 and by 5 Gbit/s Ethernet."""

BOARDS = ("Pi ", "HiFive", "Radxa", "Minisforum", "Raspberry")
NOT_X86 = (*BOARDS, "System76 Thelio Astra")
"""Boards, and all hosts with Arm or RISC-V cores, by how their names begin."""
LINKS = {"Pi ": "pcie3-x1", "HiFive": "pcie3-x4", "Radxa": "pcie4-x8", "Minisforum": "pcie4-x8"}
"""Hosts by how their names begin -> the link to a card. A Pi has one lane, certified for generation 2; the tests set it
to generation 3. Other hosts have a full slot."""
FULL_SLOT = "pcie4-x16"
LLAMA_CPP = ("Intel 265K", "Mac Studio (M3 Ultra", "Dell Pro Max", "HiFive Premier P550 (AMD", "Framework ")
"""Systems without the footnote that ran llama-bench, as their issues show; those of a Pi with a card have it."""


@dataclass(frozen=True)
class EdgeRow:
    """One row: catalogue ids of the network and of the processor that ran it, and what stood around it.

    `link` is '' where weights and processor share a memory. `host_memory` is the device whose memory held what did not
    fit. `power_peak_w` is NaN where it was not measured.
    """

    workload: str
    system: str
    device: str
    on_cpu: bool
    x86: bool
    board: bool
    link: str
    engine: str
    nodes: int
    division: str
    host_memory: str
    tokens_per_s: float
    power_peak_w: float


def edge_row(model: str, system: str, compute: str, tokens_per_s: float, power_peak_w: float) -> EdgeRow:
    """Return what is known of a row. Raises UnknownNameError: the system or the network is not in the catalogue."""
    on_cpu, carded = compute == "CPU", compute != "CPU" and "(" in system and system.split("(")[0].strip() != ""
    nodes, division = NODES.get(system, (1, ""))
    device = ELSEWHERE.get((system, compute), "") or device_id("llm_edge", system)
    joined = carded and device.startswith(("rtx-", "rx-", "arc-", "radeon-"))
    link = next((link for name, link in LINKS.items() if system.startswith(name)), FULL_SLOT) if joined else ""
    bench = system.startswith(LLAMA_CPP) or (joined and system.startswith("Pi ")) or system.endswith("(AMD Pro W7700)")
    host = next((entry for name, entry in HOST_MEMORY.items() if system.startswith(name)), "") if "/" in compute else ""
    return EdgeRow(
        workload_id(model), SAME_SYSTEM.get(system, system), device, on_cpu, not system.startswith(NOT_X86),
        system.startswith(BOARDS), link,
        "llama.cpp" if bench and not on_cpu else "ollama", nodes, division, host, tokens_per_s, power_peak_w,
    )  # fmt: skip


def read_edge_rows(root: Path) -> list[EdgeRow]:
    """Return every row with a rate, clusters and divided rows too. Raises BadFileError."""
    found = read_file(root / "llm_edge" / FILE, NUMBERS, TEXTS)
    columns = (found[name] for name in (*TEXTS, *NUMBERS))
    return [edge_row(str(m), str(s), str(c), float(t), float(w)) for m, s, c, t, w in zip(*columns, strict=True)
            if t > 0]  # fmt: skip


def load_llm_edge(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: time per output token. Raises BadFileError."""
    request.check_options()
    found = read_file(set_folder(request, "llm_edge") / FILE, NUMBERS, TEXTS)
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
            "dtype": each(workload, lambda name: "" if name.startswith("gpt-oss") else "q4_k_m"),
            "tpot_s": 1 / found["eval_tokens_per_s"], "power_peak_w": found["power_peak_w"],
            "system": found["system"],
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table
