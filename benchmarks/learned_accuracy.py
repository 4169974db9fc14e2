"""How right the learned model is on shapes and devices that it never saw: prints a markdown table.

`python benchmarks/learned_accuracy.py [--data FOLDER] [--cases gemm,moe] [--seeds 2] [--rows 8000]` reads the operator
tables of aiconfigurator-core (installed, or the folder where it lies), holds out a fifth of the shape groups on every
device (or whole devices), calibrates on the rest as `archcast calibrate` does, and scores the answers of `predict` on
what was held out. `--rows` thins each kernel (device, stack, operator, formats, phase) to so many rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from costmodel.calibration import fitted
from costmodel.calibration.rows import fabric_for, gather, group_hash
from costmodel.calibration.split import ordered
from costmodel.calibration.training import ROUNDS
from costmodel.costs import SOURCES
from costmodel.measured.aiconfigurator import load_aiconfigurator
from costmodel.measured.base import ImportRequest
from costmodel.physics import price
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array

TEST_SHARE = 0.2
LEARNED = SOURCES.index("learned")
Mask = Callable[[MeasurementTable], Array]


@dataclass
class Scored:
    """Scored rows: predicted over measured, whether covered, interval width (hi / lo), difficulty, and labels."""

    ratio: list[Array] = field(default_factory=list)
    covered: list[Array] = field(default_factory=list)
    width: list[Array] = field(default_factory=list)
    hard: list[Array] = field(default_factory=list)
    learned: list[Array] = field(default_factory=list)
    physics: list[Array] = field(default_factory=list)
    roofline: list[Array] = field(default_factory=list)
    size: list[Array] = field(default_factory=list)
    group: list[Array] = field(default_factory=list)
    device: list[Array] = field(default_factory=list)
    label: list[Array] = field(default_factory=list)

    def column(self, name: str) -> Array:
        return np.concatenate(getattr(self, name))


def load(data: Path | None, tables: str, devices: Sequence[str], rows: int) -> list[MeasurementTable]:
    """Return the tables with at most `rows` random rows of each kernel."""
    request = ImportRequest(data, tuple(devices), {"tables": tables})
    rng, found = np.random.default_rng(0), []
    for table in load_aiconfigurator(request):
        ops = table.table
        codes = [np.unique(table.software.astype(str), return_inverse=True)[1]]
        codes += [ops.full(name).astype(np.int64) for name in ("op", "dtype", "kv_dtype", "phase")]
        kernel = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel()
        order = rng.permutation(table.rows)
        order = order[np.argsort(kernel[order], kind="stable")]
        starts = np.concatenate(([0], np.cumsum(np.bincount(kernel))[:-1]))
        place = np.arange(table.rows) - np.repeat(starts, np.bincount(kernel))
        found.append(table.take(np.sort(order[place < rows])))
    return found


def held_out_shapes(tables: Sequence[MeasurementTable], seed: int) -> Mask:
    """Return which rows belong to a fifth of the shape groups, the same on every device."""
    groups = np.unique(np.concatenate([group_hash(t.table) for t in tables]))
    chosen = np.array(ordered(groups, seed + 1_000)[: max(1, round(TEST_SHARE * len(groups)))], dtype=np.uint64)
    return lambda table: np.asarray(np.isin(group_hash(table.table), chosen))


def held_out_links(tables: Sequence[MeasurementTable], seed: int) -> Mask:
    """Return which rows belong to a fifth of the (device, kind, ranks)."""

    def keys(table: MeasurementTable) -> Array:
        kind, ranks = (table.table.full(name).astype(np.int64) for name in ("kind", "ranks"))
        device = np.array([sum(map(ord, word)) * 1_000 for word in table.device.astype(str)])
        return np.asarray((device + kind * 100 + ranks).astype(np.uint64))

    groups = np.unique(np.concatenate([keys(t) for t in tables]))
    chosen = np.array(ordered(groups, seed)[: max(1, round(TEST_SHARE * len(groups)))], dtype=np.uint64)
    return lambda table: np.asarray(np.isin(keys(table), chosen))


def train_and_score(tables: Sequence[MeasurementTable], test: Mask, seed: int, rounds: int) -> Scored:
    """Calibrate on the rows that are not under test, and score those that are."""
    train = [t.take(np.flatnonzero(~test(t))) for t in tables]
    train = [t for t in train if t.rows]
    model, _, _, _ = fitted(gather(train, seed), seed, rounds)
    return score(model, [t.take(np.flatnonzero(test(t))) for t in tables])


def score(model: LearnedModel, tables: Sequence[MeasurementTable]) -> Scored:
    """Return the answers of `predict` against measured latency, by device and stack."""
    found = Scored()
    for table in tables:
        for stack in np.unique(table.software.astype(str)):
            some = table.take(np.flatnonzero(table.software.astype(str) == stack))
            if not some.rows:
                continue
            rates, ops, truth = compile_rates(load_device(str(some.device[0]))), some.table, some.value("latency_s")
            fabric = fabric_for(rates, ops)
            costs, priced = model.predict(ops, rates, fabric, software=stack), price(ops, rates, fabric)
            roofline = np.maximum(priced.stages.ideal_s, priced.stages.moved_bytes / rates.dram_bytes_per_s)
            found.ratio.append(costs.latency_s / truth)
            found.covered.append((truth >= costs.latency_lo_s) & (truth <= costs.latency_hi_s))
            found.width.append(costs.latency_hi_s / costs.latency_lo_s)
            found.hard.append(model.difficulty(ops, rates, fabric, software=stack))
            found.learned.append(costs.source == LEARNED)
            found.physics.append(priced.costs.latency_s / truth)
            found.roofline.append(np.broadcast_to(roofline, (some.rows,)) / truth)
            found.size.append(np.log(priced.costs.latency_s))
            found.group.append(group_hash(ops))
            found.device.append(some.device.astype(str))
            phase = np.array(["", " prefill", " decode"])[ops.full("phase")]
            words = np.array([OPS[int(o)] for o in ops.full("op")])
            found.label.append(np.char.add(words, phase))
    return found


def line(name: str, runs: Sequence[Scored], took_s: float, published: str) -> str:
    """Return one row of the table: means over seeds, with the worst seed's MAPE."""
    errors = [np.abs(run.column("ratio") - 1) for run in runs]
    mapes = [float(e.mean()) for e in errors]
    by_shape = [_by(e, run.column("group")) for e, run in zip(errors, runs, strict=True)]
    cells = [_by_device_and_third(run) for run in runs]
    rough = [float(np.abs(run.column(w) - 1).mean()) for w in ("roofline", "physics") for run in runs]
    half = len(runs)
    return (
        f"| {name} | {sum(map(len, errors)):,} | {np.mean(mapes):.1%} ({max(mapes):.1%}) | {np.mean(by_shape):.1%} "
        f"| {np.mean([np.median(e) for e in errors]):.1%} | {np.mean([np.quantile(e, 0.9) for e in errors]):.1%} "
        f"| {np.mean([run.column('covered').mean() for run in runs]):.1%} "
        f"| {min(c[0] for c in cells):.0%} to {max(c[1] for c in cells):.0%} "
        f"| {np.mean([np.median(run.column('width')) for run in runs]):.2f} "
        f"| {np.mean([run.column('learned').mean() for run in runs]):.1%} "
        f"| {np.mean([auroc(run.column('hard'), e > 0.1) for e, run in zip(errors, runs, strict=True)]):.2f} "
        f"| {np.mean(rough[:half]):.1%} / {np.mean(rough[half:]):.1%} | {published} | {took_s:.0f} |"
    )


HEAD = (
    "| data, split | n | MAPE (worst seed) | mean over shapes | median | p90 | covered | by device and third | width "
    "| learned | AUROC of the difficulty against error > 10 % | roofline / closed form | published | s |\n"
    + "|---" * 14
    + "|"
)


def auroc(score: Array, bad: Array) -> float:
    """Return the chance that a bad row has a larger score than a good one (ties count half)."""
    if bad.all() or not bad.any():
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(bad.sum())
    return float((rank[bad].sum() - positives * (positives + 1) / 2) / (positives * (len(bad) - positives)))


def _by(error: Array, group: Array) -> float:
    return float(np.mean([error[group == g].mean() for g in np.unique(group)]))


def _by_device_and_third(run: Scored) -> tuple[float, float]:
    """Return the least and largest coverage over devices and thirds of size with at least 100 rows."""
    covered, device, size = run.column("covered"), run.column("device"), run.column("size")
    found = []
    for name in np.unique(device):
        mine = device == name
        third = np.digitize(size, np.quantile(size[mine], (1 / 3, 2 / 3)))
        found += [covered[mine & (third == i)].mean() for i in range(3) if (mine & (third == i)).sum() >= 100]
    return (float(min(found)), float(max(found))) if found else (float("nan"), float("nan"))


def detail(runs: Sequence[Scored]) -> str:
    """Return the error by device."""
    error = np.concatenate([np.abs(run.column("ratio") - 1) for run in runs])
    device = np.concatenate([run.column("device") for run in runs])
    label = np.concatenate([run.column("label") for run in runs])
    both = [(f"{d} {w}", (device == d) & (label == w)) for d in np.unique(device) for w in np.unique(label)]
    return ", ".join(f"{name} {error[mask].mean():.1%}" for name, mask in both if mask.any())


ATTENTION = "context_attention_perf,generation_attention_perf"
LINKS = "nccl_perf,custom_allreduce_perf,oneccl_perf"
UNSEEN = ("h200-sxm", "gb300", "rtx-pro-6000", "l40s", "a100-sxm-80gb", "arc-pro-b60")


def one_stack(tables: Sequence[MeasurementTable]) -> list[MeasurementTable]:
    """Return the bf16 rows of vLLM 0.24."""
    from foundation.formats import FORMAT_CODES

    kept = []
    for table in tables:
        mine = (table.software.astype(str) == "vllm 0.24.0") & (table.table.full("dtype") == FORMAT_CODES["bf16"])
        kept.append(table.take(np.flatnonzero(mine)))
    return [table for table in kept if table.rows]


def cases(data: Path | None, names: Sequence[str], seeds: Sequence[int], rows: int, rounds: int) -> Iterator[str]:
    """Yield the lines of the table."""

    def shapes(title: str, tables: list[MeasurementTable], published: str, split: Callable[..., Mask]) -> Iterator[str]:
        start = time.perf_counter()
        runs = [train_and_score(tables, split(tables, seed), seed, rounds) for seed in seeds]
        yield line(title, runs, time.perf_counter() - start, published)
        print(f"  {title}: {detail(runs)}", file=sys.stderr)

    if "gemm-one-stack" in names:
        tables = one_stack(load(data, "gemm_perf", ("h100-sxm", "h200-sxm"), 10**9))
        yield from shapes("GEMM, H200 and H100, bf16, vLLM, unseen (n, k)", tables, "4.0 %", held_out_shapes)
    if "gemm" in names:
        yield from shapes("GEMM, ten devices, all formats and stacks, unseen (n, k)",
                          load(data, "gemm_perf", (), rows), "8.1 %", held_out_shapes)  # fmt: skip
    if "attention" in names:
        yield from shapes("attention, ten devices, unseen (heads, kv_heads, head_dim, window)",
                          load(data, ATTENTION, (), rows), "8.0 %", held_out_shapes)  # fmt: skip
    if "moe" in names:
        yield from shapes("MoE, ten devices, unseen (hidden, inter, experts, topk)",
                          load(data, "moe_perf", (), rows), "14.3 %", held_out_shapes)  # fmt: skip
    if "collective" in names:
        tables = load(data, LINKS, (), 10**9)
        yield from shapes("collectives, unseen (kind, ranks, bytes)", tables, "-", held_out_shapes)
        yield from shapes("collectives, unseen (device, kind, ranks)", tables, "15.1 %", held_out_links)
    if "unseen-gemm-bf16" in names:
        every = one_stack(load(data, "gemm_perf", ("h100-sxm", "h200-sxm", "l40s"), rows))
        a100 = load(data, "gemm_perf", ("a100-sxm",), rows)
        tables = [
            *every,
            *(t.take(np.flatnonzero(t.table.full("dtype") == every[0].table.full("dtype")[0])) for t in a100),
        ]
        for target, published in (("h200-sxm", "11.7 %"), ("l40s", "35.8 %")):
            yield from shapes(f"GEMM bf16, {target} from the other three", tables, published,
                              lambda _, __, t=target: lambda table: table.device.astype(str) == t)  # fmt: skip
    for op, names_of in (("gemm", "gemm_perf"), ("attention", ATTENTION), ("moe", "moe_perf")):
        if f"unseen-{op}" in names:
            tables = load(data, names_of, (), min(rows, 3_000))
            for target in UNSEEN:
                yield from shapes(f"{op}, {target} never seen", tables, "",
                                  lambda _, __, t=target: lambda table: table.device.astype(str) == t)  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--cases", default="gemm-one-stack,gemm,attention,moe,collective,unseen-gemm-bf16")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=10, help="seeds below 10 were looked at while building")
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    print(HEAD, flush=True)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    for text in cases(given.data, given.cases.split(","), seeds, given.rows, given.rounds):
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
