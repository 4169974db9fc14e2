"""How far the closed form alone is from measurements.

Nothing is fitted, but a few constants (costmodel/kernels.py, the start of a collective) were set while looking at half
of the attention and MoE shape groups of the H200 and at the all-gathers and reduce-scatters of the H100. Those are left
out: only rows that nobody looked at are scored.

Run: `python benchmarks/physics_accuracy.py` beside the reference data (`ARCHCAST_DATA`, or `../shared/data`).
Prints one line a data set: n, MAPE, median and p90 error, interval coverage, and the baseline on the same rows (the
roofline max(compute, memory), or a peer). H200 energies and NVLink efficiencies of the catalogue were read off these
tables; end-to-end rows set nothing.
"""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_ops import FORMATS, data_folder

import archcast as ac
from archcast.question import find_target
from costmodel.collectives import fabric_of
from costmodel.physics import predict_physics, stages
from workloads.table import Array, OpTable
from workloads.work import count_work


@dataclass(frozen=True)
class Score:
    """Predicted against measured, all shape (n,); `roof` is the roofline of the same rows (NaN: none)."""

    name: str
    measured: Array
    predicted: Array
    lo: Array
    hi: Array
    roof: Array

    def line(self) -> str:
        error = np.abs(self.predicted / self.measured - 1) * 100
        roof = np.abs(self.roof / self.measured - 1) * 100
        inside = (self.measured >= self.lo) & (self.measured <= self.hi)
        return (
            f"| {self.name} | {len(error):,} | {error.mean():.1f} % | {np.median(error):.1f} % | "
            f"{np.quantile(error, 0.9):.1f} % | {inside.mean():.0%} | "
            + ("-" if np.isnan(roof).all() else f"{np.nanmean(roof):.1f} % / {np.nanmedian(roof):.1f} %")
            + " |"
        )


def operator_score(name: str, device: str, columns: dict[str, Any], measured_s: Array, ranks: int = 1) -> Score:
    """Score rows of operators on one device."""
    target = find_target(device)
    table = OpTable.from_columns(columns, rows=len(measured_s))
    costs = predict_physics(table, target.rates, fabric_of(target.spec, ranks))
    parts = stages(table, count_work(table), target.rates)
    roof = np.maximum(parts.ideal_s, parts.dram_s) if ranks == 1 else np.full(len(measured_s), np.nan)
    return Score(name, measured_s, costs.latency_s, costs.latency_lo_s, costs.latency_hi_s, roof)


def parquet(path: Path) -> dict[str, Array]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def unseen(*columns: Array) -> Array:
    """Return which rows are in the half of the groups that was not looked at; columns make the group."""
    return np.array([zlib.crc32(",".join(str(x) for x in key).encode()) % 2 == 1 for key in zip(*columns, strict=True)])


def gemms(folder: Path) -> Iterator[Score]:
    rows = parquet(folder / "aiconfigurator" / "op_power_gemm.parquet")
    for dtype in ("bfloat16", "fp8_block"):
        keep = (rows["system"] == "h200_sxm") & (rows["gemm_dtype"] == dtype) & (rows["latency"] > 1e-4)
        columns = {"op": "gemm", "dtype": FORMATS[dtype], **{c: rows[c][keep] for c in "mnk"}}
        yield operator_score(f"GEMM, H200, {FORMATS[dtype]} (vLLM)", "h200-sxm", columns, rows["latency"][keep] * 1e-3)


def attentions(folder: Path) -> Iterator[Score]:
    for file, phase in (("context", "prefill"), ("generation", "decode")):
        rows = parquet(folder / "aiconfigurator" / f"op_power_{file}_attention.parquet")
        keep = (
            (rows["system"] == "h200_sxm") & (rows["attn_dtype"] == "bfloat16") & (rows["kv_cache_dtype"] == "bfloat16")
        )
        keep &= unseen(rows["num_heads"], rows["num_key_value_heads"], rows["head_dim"], rows["window_size"])
        r = {name: values[keep] for name, values in rows.items()}
        q_len = r["isl"] if phase == "prefill" else np.ones(keep.sum())
        window = np.nan_to_num(r["window_size"].astype(float))
        columns = {
            "op": "attention", "dtype": "bf16", "phase": phase, "batch": r["batch_size"], "q_len": q_len,
            "kv_len": r["isl"] + r["step"], "heads": r["num_heads"], "kv_heads": r["num_key_value_heads"],
            "head_dim": r["head_dim"], "window": window,
        }  # fmt: skip
        yield operator_score(f"attention {phase}, H200, bf16", "h200-sxm", columns, r["latency"] * 1e-3)


def experts(folder: Path) -> Iterator[Score]:
    rows = parquet(folder / "aiconfigurator" / "op_power_moe.parquet")
    keep = (rows["system"] == "h200_sxm") & (rows["moe_dtype"] == "bfloat16")
    keep &= unseen(rows["hidden_size"], rows["inter_size"], rows["num_experts"], rows["topk"])
    r = {name: values[keep] for name, values in rows.items()}
    skew = np.array([0.0 if d == "balanced" else float(d.rsplit("_", 1)[1]) for d in r["distribution"]])
    columns = {
        "op": "moe", "dtype": "bf16", "tokens": r["num_tokens"], "hidden": r["hidden_size"], "inter": r["inter_size"],
        "experts": r["num_experts"], "topk": r["topk"], "tp": r["moe_tp_size"], "ep": r["moe_ep_size"], "skew": skew,
    }  # fmt: skip
    yield operator_score("MoE, H200, bf16", "h200-sxm", columns, r["latency"] * 1e-3)


def collectives(folder: Path) -> Iterator[Score]:
    rows = parquet(folder / "aiconfigurator" / "comm_nccl.parquet")
    kinds = {"alltoall": "all_to_all"}
    for system, device in (("h100_sxm", "h100-sxm"), ("a100_sxm", "a100-sxm-80gb")):
        keep = (rows["system"] == system) & (rows["nccl_dtype"] == "half")
        if system == "h100_sxm":
            keep &= np.isin(rows["op_name"], ("all_reduce", "alltoall"))
        r = {name: values[keep] for name, values in rows.items()}
        columns = {
            "op": "collective", "dtype": "bf16", "kind": [kinds.get(k, k) for k in r["op_name"]],
            "bytes": r["message_size"] * 2.0, "ranks": r["num_gpus"],
        }  # fmt: skip
        yield operator_score(f"NCCL collectives, {device}", device, columns, r["latency"] * 1e-3, ranks=8)


def vision(folder: Path) -> Iterator[Score]:
    """Throughput of whole networks at large batch on an RTX 4090 (compiled by the framework)."""
    names = {
        "resnet18": "resnet-18", "resnet50": "resnet-50", "mobilenetv2_100": "mobilenet-v2",
        "vit_base_patch16_224": "vit-base", "vit_large_patch16_224": "vit-large",
    }  # fmt: skip
    with gzip.open(folder / "timm" / "benchmark.csv.gz", "rt") as file:
        rows = [
            r for r in csv.DictReader(file)
            if r["config"].endswith("4090-dynamo") and r["model"] in names and float(r["infer_img_size"]) == 224
        ]  # fmt: skip
    found = [
        (ac.predict(names[r["model"]], on="rtx-4090", batch=int(float(r["infer_batch_size"])), dtype="fp16"), r)
        for r in rows
    ]
    yield _network_score(
        "5 vision networks, RTX 4090, batch 256-1024",
        found,
        lambda r: float(r["infer_batch_size"]) / float(r["infer_samples_per_sec"]),
    )


def _network_score(name: str, found: list[tuple[Any, dict[str, str]]], seconds: Any) -> Score:
    good = [(e.latency_s, seconds(r)) for e, r in found if e.latency_s is not None]
    columns = np.array([(q.value, q.lo, q.hi, y) for q, y in good])
    return Score(name, columns[:, 3], columns[:, 0], columns[:, 1], columns[:, 2], np.full(len(good), np.nan))


def gemmini(folder: Path) -> Iterator[Score]:
    """RTL cycles of Gemmini's own default tiling."""
    rows = []
    for method in ("analytical", "both", "dnn"):
        with open(folder / "dosa-gemmini-firesim" / f"test_data_{method}.csv") as file:
            rows += list(csv.DictReader(file))
    size = {key: np.array([float(r[f"prob.{key}"]) for r in rows]) for key in "CKNPQRS"}
    stride = np.array([float(r["prob.Hstride"]) for r in rows])
    columns = {
        "op": "conv2d", "dtype": "int8", "batch": size["N"], "c_in": size["C"], "c_out": size["K"], "kh": size["S"],
        "kw": size["R"], "out_h": size["Q"], "out_w": size["P"], "h": size["Q"] * stride, "w": size["P"] * stride,
        "stride": stride,
    }  # fmt: skip
    for target, name in (("gemmini_auto_cycle", "default tiling"), ("gemmini_cycle", "DOSA's mapping")):
        measured = np.array([float(r[f"target.{target}"]) for r in rows]) / 1e9
        yield operator_score(f"Gemmini RTL, {name}", "gemmini-16x16", columns, measured)


SERVED = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b", "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "deepseek-ai/DeepSeek-V3": "deepseek-v3", "deepseek-ai/DeepSeek-R1": "deepseek-v3",
}  # fmt: skip
SYSTEMS = {"h100_sxm": "h100-sxm", "h200_sxm": "h200-sxm"}


def served(folder: Path) -> Iterator[Score]:
    """Aggregated serving rows (TPOT) against the closed-form steady state at the same concurrency.

    The last line has the rows that a peer (aiconfigurator 0.12.0) answered too; its error stands in the last column.
    """
    with gzip.open(folder / "aiconfigurator" / "peer_aiconfigurator_e2e.csv.gz", "rt") as file:
        peer = {r["id"]: float(r["peer_tpot_ms"] or "nan") / 1e3 for r in csv.DictReader(file)}
    with gzip.open(folder / "aiconfigurator" / "silicon_sample_e2e.csv.gz", "rt") as file:
        rows = [
            r for r in csv.DictReader(file)
            if r["mode"] == "agg" and r["model_path"] in SERVED and r["system"] in SYSTEMS
            and r["precision"] in ("fp8", "bf16")
            and float(r["attention_dp_size"] or 1) == 1 and float(r["pp_size"] or 1) == 1
        ]  # fmt: skip
    values, refused = [], 0
    for r in rows:
        dtype = "fp8_block" if "deepseek" in r["model_path"] else r["precision"]
        try:
            e = ac.predict(
                SERVED[r["model_path"]], on=SYSTEMS[r["system"]], concurrency=int(float(r["concurrency"])), dtype=dtype,
                prompt=int(r["isl"]), generate=int(r["osl"]), tp=int(float(r["tp_size"])),
                ep=int(float(r["moe_ep_size"] or 1)),
            )  # fmt: skip
        except ac.ArchcastError:
            refused += 1
            continue
        if e.tpot_s is None:
            refused += 1
            continue
        measured = float(r["silicon_tpot_ms"]) / 1e3
        values.append((e.tpot_s.value, e.tpot_s.lo, e.tpot_s.hi, measured, peer.get(r["id"], np.nan)))
    columns = np.array(values)
    name = f"TPOT served, Llama-3.1 and DeepSeek, H100/H200 ({len(rows) - refused} of {len(rows)} answered)"
    yield Score(name, columns[:, 3], columns[:, 0], columns[:, 1], columns[:, 2], np.full(len(columns), np.nan))
    both = columns[np.isfinite(columns[:, 4])]
    yield Score("the same, rows that the peer answered", both[:, 3], both[:, 0], both[:, 1], both[:, 2], both[:, 4])


def main() -> int:
    """Print the table; exit 1 where the reference data is absent."""
    folder = data_folder()
    if folder is None:
        print("The reference data is absent: set ARCHCAST_DATA to its folder.", file=sys.stderr)
        return 1
    print("| data | n | MAPE | median | p90 | in interval | baseline MAPE / median |\n|---|---|---|---|---|---|---|")
    for part in (gemms, attentions, experts, collectives, vision, gemmini, served):
        for score in part(folder):
            print(score.line(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
