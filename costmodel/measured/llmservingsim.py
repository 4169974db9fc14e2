"""LLMServingSim: layers of language models on GPUs and one TPU (github.com/casys-kaist/LLMServingSim, MIT).

`layer_*` tables are of vLLM 0.19, `v0_*` of an earlier profiler. Sizes of the layers are those of the catalogue's
networks. Traps, all checked against what memory can deliver: decode rows of `v0_attention` on GPUs read their cache up
to ten times faster than memory allows (the profiler's blocks repeat), so they are left out; so are the layers of
the TPU (XLA overlaps them: a product of 33 MB of weights in 5 us), and the norms, rotations and activations of v0
(chains of eager kernels). Rows that mix prefill and decode, or that vary the skew of lengths, are no one operator.
MoE rows are kept where as many experts work as even routing gives. Replays of requests are for tests, never read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, each, operators, read_file, set_folder, workload_id
from workloads.catalogue import load_model
from workloads.measurements import MeasurementTable
from workloads.table import Array

SOURCE = "LLMServingSim, commit 5daddb21 (MIT)"
NOW, THEN = "vllm 0.19.0", "llmservingsim v0 profiler"
V0_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head", "embedding",
             "expert.w1", "expert.w2", "expert.w3")  # fmt: skip


def load_llmservingsim(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield tables of dense layers, heads, attention and MoE, now and of v0. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "llmservingsim")
    readers = (_dense, _heads, _attention, _experts, _v0_layers, _v0_attention)
    for done, reader in enumerate(readers):
        request.progress(reader.__name__.strip("_"), done / len(readers))
        yield from reader(request, folder)


@cache
def _shape(model: str) -> Mapping[str, float]:
    """Return the sizes of a network by the set's name for it; none where the catalogue lacks it."""
    name = workload_id(model) or workload_id(model.replace("-Instruct-2507", "-2507"))
    if not name:
        return {}
    knobs = load_model(name).knobs()
    sizes = {key: float(knobs[key]) for key in ("hidden", "heads", "inter", "vocab", "experts", "topk", "moe_inter")}
    sizes["kv_heads"] = float(knobs["kv_heads"] or knobs["heads"])
    sizes["head_dim"] = float(knobs["head_dim"] or sizes["hidden"] / sizes["heads"])
    return sizes


def _tables(
    request: ImportRequest, folder: Path, file: str, numbers: tuple[str, ...], texts: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, Mapping[str, float], Columns]]:
    """Yield device, model, sizes and rows of each (hardware, model) of a file; counts networks that are not known."""
    found = read_file(folder / file, numbers, ("hardware", "model", *texts))
    request.report.read += len(found["model"])
    for hardware, model in sorted(set(zip(found["hardware"].tolist(), found["model"].tolist(), strict=True))):
        here = (found["hardware"] == hardware) & (found["model"] == model)
        if _shape(model):
            rows = {key: column[here] for key, column in found.items()}
            yield device_id("llmservingsim", hardware), model, _shape(model), rows
        else:
            request.report.skip(f"network '{model}' is not in the catalogue", int(here.sum()))


def _ranks(column: Array) -> Array:
    return each(column, lambda word: float(word.removeprefix("tp")))


def _layers(layer: Array, tokens: Array, ranks: Array, size: Mapping[str, float]) -> dict[str, Array]:
    """Return what one rank executes of each layer; `op` is '' for a layer that is no operator here."""
    head, hidden = size["head_dim"], size["hidden"]
    q, kv = size["heads"] / ranks * head, np.maximum(size["kv_heads"] / ranks, 1) * head
    inter, expert = size["inter"] / ranks, (size["moe_inter"] or size["inter"]) / ranks
    wide = np.full(len(tokens), hidden)
    gemms = {
        "qkv_proj": (q + 2 * kv, wide), "q_proj": (q, wide), "k_proj": (kv, wide), "v_proj": (kv, wide),
        "o_proj": (wide, q), "gate_up_proj": (2 * inter, wide), "gate_proj": (inter, wide), "up_proj": (inter, wide),
        "down_proj": (wide, inter), "lm_head": (size["vocab"] / ranks, wide), "expert.w1": (expert, wide),
        "expert.w3": (expert, wide), "expert.w2": (wide, expert),
    }  # fmt: skip
    rows_of = {
        "layernorm": ("norm", tokens, wide, 1.0), "final_layernorm": ("norm", tokens, wide, 1.0),
        "qk_norm": ("norm", tokens * (q + kv) / head, np.full(len(tokens), head), 1.0),
        "rotary_emb": ("elementwise", tokens, q + kv, 1.0), "act_fn": ("elementwise", tokens, inter, 2.0),
        "embedding": ("embedding", tokens, wide, 1.0),
    }  # fmt: skip
    blank = np.full(len(tokens), np.nan)
    found = {
        "op": each(layer, lambda _: ""),
        **{n: blank.copy() for n in ("m", "n", "k", "rows", "hidden", "operands")},
    }
    for name in set(layer.tolist()):
        here = layer == name
        if name in gemms:
            found["op"][here] = "gemm"
            found["m"][here], found["n"][here], found["k"][here] = tokens[here], *(side[here] for side in gemms[name])
        elif name in rows_of:
            op, rows, width, operands = rows_of[name]
            found["op"][here], found["operands"][here] = op, operands
            found["rows"][here], found["hidden"][here] = rows[here], width[here]
    found["op"][(layer == "embedding") & (ranks > 1)] = ""  # rows of other ranks are masked: another operator
    return found


def _finished(
    request: ImportRequest, columns: dict[str, Any], device: str, model: str, reason: str, software: str = NOW
) -> Iterator[MeasurementTable]:
    known = columns["op"] != ""
    request.report.skip(reason, int((~known).sum()))
    if known.any():
        kept = {key: column[known] if isinstance(column, np.ndarray) else column for key, column in columns.items()}
        own = {"dtype": "bf16", "device": device, "software": software, "source": SOURCE, "model": model}
        table = operators(request, f"LLMServingSim {model}", {**kept, **own})
        if table is not None:
            yield table


def _dense(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    tables = _tables(request, folder, "layer_dense.csv.gz", ("tokens", "time_us"), ("tp", "layer"))
    for device, model, size, rows in tables:
        columns = _layers(rows["layer"], rows["tokens"], _ranks(rows["tp"]), size)
        columns |= {"latency_s": rows["time_us"] * 1e-6, "layer": rows["layer"]}
        yield from _finished(request, columns, device, model, "an embedding split over ranks, with its mask")


def _heads(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    tables = _tables(request, folder, "layer_per_sequence.csv.gz", ("sequences", "time_us"), ("tp", "layer"))
    for device, model, size, rows in tables:
        columns = _layers(rows["layer"], rows["sequences"], _ranks(rows["tp"]), size)
        columns |= {"latency_s": rows["time_us"] * 1e-6, "layer": rows["layer"]}
        yield from _finished(request, columns, device, model, "the sampler: no operator here")


def _attention(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    numbers = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    for device, model, size, rows in _tables(request, folder, "layer_attention.csv.gz", numbers, ("tp",)):
        chunk, prefill = rows["prefill_chunk"], rows["n_decode"] == 0
        decode = (chunk == 0) & (rows["n_decode"] > 0)
        columns = _heads_of(size, _ranks(rows["tp"]), prefill) | {
            "op": np.where(prefill | decode, "attention", "").astype(object),
            "batch": np.where(prefill, 1.0, rows["n_decode"]), "q_len": np.where(prefill, chunk, 1.0),
            "kv_len": np.where(prefill, chunk + rows["kv_prefill"], rows["kv_decode"]),
            "latency_s": rows["time_us"] * 1e-6,
        }  # fmt: skip
        yield from _finished(request, columns, device, model, "prefill and decode mixed in one kernel")


def _heads_of(size: Mapping[str, float], ranks: Array, prefill: Array) -> dict[str, Any]:
    return {
        "phase": np.where(prefill, "prefill", "decode").astype(object), "heads": size["heads"] / ranks,
        "kv_heads": np.maximum(size["kv_heads"] / ranks, 1), "head_dim": size["head_dim"],
    }  # fmt: skip


def _experts(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    numbers = ("tokens", "activated_experts", "time_us")
    for device, model, size, rows in _tables(request, folder, "layer_moe.csv.gz", numbers, ("tp",)):
        even = rows["activated_experts"] == np.minimum(size["experts"], rows["tokens"] * size["topk"])
        columns = {
            "op": np.where(even, "moe", "").astype(object), "tokens": rows["tokens"], "hidden": size["hidden"],
            "inter": size["moe_inter"] or size["inter"], "experts": size["experts"], "topk": size["topk"],
            "tp": _ranks(rows["tp"]), "latency_s": rows["time_us"] * 1e-6,
        }  # fmt: skip
        yield from _finished(request, columns, device, model, "fewer experts at work than even routing gives")


def _v0_layers(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    numbers = ("input", "tp_size", "latency(ns)")
    for device, model, size, rows in _tables(request, folder, "v0_layers.csv.gz", numbers, ("layer_name",)):
        columns = _layers(rows["layer_name"], rows["input"], rows["tp_size"], size)
        known = np.isin(rows["layer_name"].astype(str), V0_LAYERS) & ~device.startswith("tpu")
        columns["op"] = np.where(known, columns["op"], "").astype(object)
        columns |= {"latency_s": rows["latency(ns)"] * 1e-9, "layer": rows["layer_name"]}
        reason = "a layer of v0 that is a chain of kernels, or that XLA overlaps"
        yield from _finished(request, columns, device, model, reason, THEN)


def _v0_attention(request: ImportRequest, folder: Path) -> Iterator[MeasurementTable]:
    numbers = ("time_stats.attn_prefill.median", "p50_ns", "batch_size", "prefill_chunk_size", "kv_cache_size")
    for device, model, size, rows in _tables(request, folder, "v0_attention.csv.gz", numbers, ("tp", "is_prefill")):
        prefill, chunk = rows["is_prefill"] == "True", rows["prefill_chunk_size"]
        usable = prefill | device.startswith("tpu")
        columns = _heads_of(size, _ranks(rows["tp"]), prefill) | {
            "op": np.where(usable, "attention", "").astype(object), "batch": rows["batch_size"],
            "q_len": np.where(prefill, chunk, 1.0),
            "kv_len": rows["kv_cache_size"] + np.where(prefill, chunk, 0.0),
            "latency_s": np.fmax(rows["time_stats.attn_prefill.median"] * 1e-3, rows["p50_ns"] * 1e-9),
        }  # fmt: skip
        reason = "decode of v0 on a GPU, faster than its memory: the blocks of the cache repeat"
        yield from _finished(request, columns, device, model, reason, THEN)
