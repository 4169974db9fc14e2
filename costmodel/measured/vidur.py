"""Vidur: medians of the operators of language models under tensor parallelism (github.com/microsoft/vidur, MIT).

A row of `mlp_ms` is one token count of one model and holds up to ten operators. Traps: the attention tables are absent;
times are rounded to 1 us, so those of 0 are left out; the format is not stated and is taken as 16 bit (its GEMMs agree
with others' at bf16); under tensor parallelism the embedding masks its rows, so it is read at one rank only. Message
sizes are bytes (read as elements, 8 A100 would pass 345 of 300 GB/s); groups across nodes leave the device's own link
and are left out. On
nodes whose cards are paired by NVLink bridges, two ranks outrun the PCIe of the catalogue's card (`software` says so).
Sums, activations and rotations are one operator here; their FLOP an element tell them apart, as in our own networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, each, operators, read_file, set_folder
from workloads.builders.chain import GELU_FLOP, ROPE_FLOP, SILU_FLOP
from workloads.measurements import MeasurementTable
from workloads.table import Array

SOURCE = "Vidur, commit 7d475133 (MIT)"
SHAPE = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "num_tokens", "num_tensor_parallel_workers")
PARTS = (
    "emb", "input_layernorm", "attn_pre_proj", "attn_rope", "attn_post_proj", "mlp_up_proj", "mlp_act",
    "mlp_down_proj", "add", "post_attention_layernorm",
)  # fmt: skip


def load_vidur(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield one table an operator of the model, then the collectives. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "vidur")
    measured = tuple(f"{part}.{what}" for part in PARTS for what in ("median", "std"))
    found = read_file(folder / "mlp_ms.csv.gz", (*SHAPE, *measured), ("gpu", "model", "use_gated_mlp"))
    device = each(found["gpu"], lambda name: device_id("vidur", name))
    for done, part in enumerate(PARTS):
        request.progress(part, done / (len(PARTS) + 1))
        latency_s = found[f"{part}.median"] * 1e-3
        request.report.read += len(latency_s)
        columns = {
            **_sizes(found, part), "dtype": "fp16", "device": device, "software": "vidur profiler", "source": SOURCE,
            "model": found["model"], "part": part, "latency_s": latency_s,
            "latency_std_s": found[f"{part}.std"] * 1e-3,
        }  # fmt: skip
        keep = found["num_tensor_parallel_workers"] == 1 if part == "emb" else np.ones(len(device), dtype=bool)
        request.report.skip("an embedding split over ranks, with its mask", int((~keep).sum()))
        kept = {key: column[keep] if isinstance(column, np.ndarray) else column for key, column in columns.items()}
        table = operators(request, f"Vidur {part}", kept)
        if table is not None:
            yield table
    table = _collectives(request, read_file(
        folder / "network_ms.csv.gz", ("median", "std", "num_workers", "size", "devices_per_node"),
        ("node_type", "collective"),
    ))  # fmt: skip
    if table is not None:
        yield table


def _sizes(found: Columns, part: str) -> dict[str, Any]:
    """Return what one rank executes of a part of a layer."""
    tokens, ranks, hidden = found["num_tokens"], found["num_tensor_parallel_workers"], found["n_embd"]
    head = hidden / found["n_head"]
    q, kv = found["n_head"] / ranks * head, np.maximum(found["n_kv_head"] / ranks, 1) * head
    inter = found["n_expanded_embd"] / ranks
    gated = np.where(found["use_gated_mlp"] == "True", 2.0, 1.0)
    gemms: dict[str, tuple[Array, Array]] = {
        "attn_pre_proj": (q + 2 * kv, hidden), "attn_post_proj": (hidden, q), "mlp_up_proj": (gated * inter, hidden),
        "mlp_down_proj": (hidden, inter),
    }  # fmt: skip
    if part in gemms:
        return {"op": "gemm", "m": tokens, "n": gemms[part][0], "k": gemms[part][1]}
    if part == "emb":
        return {"op": "embedding", "rows": tokens, "hidden": hidden}
    if part.endswith("layernorm"):
        return {"op": "norm", "rows": tokens, "hidden": hidden}
    act = np.where(gated > 1, SILU_FLOP + 1, GELU_FLOP)  # a gate is one product more
    width, operands, flop = {
        "add": (hidden, 2.0, 1.0), "mlp_act": (inter, gated, act), "attn_rope": (q + kv, 1.0, ROPE_FLOP),
    }[part]  # fmt: skip
    return {"op": "elementwise", "rows": tokens, "hidden": width, "operands": operands, "flop_per_element": flop}


def _collectives(request: ImportRequest, found: Columns) -> MeasurementTable | None:
    request.report.read += len(found["size"])
    across = found["devices_per_node"] < found["num_workers"]
    request.report.skip("a collective across nodes", int(across.sum()))
    found = {key: column[~across] for key, column in found.items()}
    return operators(request, "Vidur collectives", {
        "op": "collective", "kind": found["collective"], "bytes": found["size"], "ranks": found["num_workers"],
        "device": each(found["node_type"], lambda name: device_id("vidur", name)),
        "software": each(found["node_type"], _stack),
        "source": SOURCE, "latency_s": found["median"] * 1e-3, "latency_std_s": found["std"] * 1e-3,
        "node_type": found["node_type"],
    })  # fmt: skip


def _stack(node: str) -> str:
    return "nccl, bridged pairs" if "pairwise" in node else "nccl"
