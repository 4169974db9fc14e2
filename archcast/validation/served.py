"""Served language models: aiconfigurator's silicon sample, every run as the benchmark that measured it.

Aggregated runs, repeated rows once. Engines are priced by learned costs tempered by the closed form; each run is the
usual benchmark through the event simulator; a stack's terms are fitted to whole (network, device) groups, quantised
variants of a network with it, and scored on the others. `nothing fitted` leaves the stacks out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.question import find_target
from archcast.validation.peers import peer_values
from costmodel.evaluation.scores import Score, score
from costmodel.measured.base import ImportRequest
from costmodel.measured.silicon_sample import SOURCE, load_silicon_sample
from costmodel.protocol import CostModel
from costmodel.stack import SHIPPED_STACKS, ServedTimes, answer, fold_of, framework, with_intervals, write_stacks
from costmodel.tempered import TemperedModel
from foundation.errors import ArchcastError
from simulator.serving.benchmark import benchmark_times
from simulator.serving.kv_blocks import kv_blocks
from simulator.serving.policy import Policy
from simulator.serving.pricing import Engine
from simulator.serving.profile import profile_of
from workloads.catalogue import load_model
from workloads.mapping import Mapping
from workloads.model import Model
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

FOLDS = 5
BUDGET = 8192
"""Tokens of a step (`max_num_batched_tokens`, `chunked_prefill_size`, `max_num_tokens` of the three on such GPUs)."""
SHARES: Dict[str, float] = {"vllm": 0.9, "sglang": 0.94, "trtllm": 0.9}
"""Of the device's memory: `gpu_memory_utilization`, `mem_fraction_static` (what its scripts set, estimated, 0.85 to
0.95), and `free_gpu_memory_fraction`, which TensorRT-LLM takes of what the weights leave."""
SIZES = ("tp", "pp", "dp", "ep", "concurrency", "prompt", "generate")
BLOCK = 16


@dataclass(frozen=True)
class Runs:
    """Distinct runs of the sample with the times of their step costs (NaN: not answered).

    `asked` counts all distinct runs, those included whose sizes contradict each other.
    """

    times: ServedTimes
    peer_ttft_s: Array
    peer_tpot_s: Array
    asked: int


def evaluate_served(root: Path, seed: int, full: bool) -> list[Score]:
    """Return the scores, fitted to other groups and with nothing fitted. Raises BadFileError."""
    del full
    runs = simulated(root)
    known = np.flatnonzero(np.isfinite(runs.times.tpot_s))
    times = runs.times.take(known)
    said, lo, hi = left_out(times, seed)
    plain = np.stack([times.ttft_s, times.tpot_s])
    out = []
    for row, (name, seen, peer) in enumerate((
        ("TTFT", times.seen_ttft_s, runs.peer_ttft_s), ("TPOT", times.seen_tpot_s, runs.peer_tpot_s),
    )):  # fmt: skip
        base, share = ("aiconfigurator", peer[known]), len(known) / runs.asked
        for word, value, ends in (("fitted", said[row], (lo[row], hi[row])), ("nothing fitted", plain[row], None)):
            labels = ("silicon sample", "all", f"{name} {word}", "benchmark by events", seed)
            out.append(score(labels, seen, value, ends=ends, baseline=base, answered=share))
    return out


def left_out(times: ServedTimes, seed: int) -> tuple[Array, Array, Array]:
    """Return (value, lo, hi) of time to first token and per token, shape (2, rows): each fold by the other four."""
    value, half = np.full((2, len(times.software)), np.nan), np.full((2, len(times.software)), np.nan)
    parts = fold_of(times.group, FOLDS, seed)
    for part in range(FOLDS):
        test = np.flatnonzero(parts == part)
        stacks = with_intervals(times.take(np.flatnonzero(parts != part)))
        held = times.take(test)
        value[:, test] = answer(stacks, held)
        own = [stacks.get(framework(str(name)), stacks[""]) for name in held.software]
        half[:, test] = np.array([[s.ttft_half for s in own], [s.tpot_half for s in own]])
    return value, value * np.exp(-half), value * np.exp(half)


class EngineKey(NamedTuple):
    """What tells engines apart."""

    workload: str
    device: str
    dtype: str
    software: str
    tp: int
    pp: int
    dp: int
    ep: int


class Load(NamedTuple):
    """What a run asks of an engine: requests in flight and the lengths of the longest."""

    users: int
    prompt: int
    generate: int


@lru_cache(maxsize=2)
def simulated(root: Path) -> Runs:
    """Return the runs of the sample through the simulator. Raises BadFileError."""
    request = ImportRequest(root / "aiconfigurator")
    (table,) = load_silicon_sample(request)
    wrong = request.report.skipped["parallel sizes that contradict each other, or of a whole system"]
    ttft, tpot, software = table.value("ttft_s"), table.value("tpot_s"), table.text("software")
    engines, loads = _asked(table)
    first = {(*engines[i], *loads[i], ttft[i], tpot[i]): i for i in reversed(range(table.rows))}
    kept = np.array(sorted(first.values()))
    said = _by_engine([(engines[i], loads[i]) for i in kept])
    groups = np.array([f"{family(engines[i].workload)} on {engines[i].device}" for i in kept], dtype=object)
    nothing = np.full(table.rows, np.nan)
    peers = [peer_values("aiconfigurator", root, table, name) for name in ("ttft_s", "tpot_s")]
    peer_ttft, peer_tpot = (nothing[kept] if peer is None else peer[kept] for peer in peers)
    times = ServedTimes(software[kept], groups, said[:, 0], said[:, 1], ttft[kept], tpot[kept])
    return Runs(times, peer_ttft, peer_tpot, len(kept) + wrong)


def _asked(table: WorkloadMeasurements) -> tuple[list[EngineKey], list[Load]]:
    """Return the engine and the load of each row."""
    tp, pp, dp, ep, users, prompt, generate = (
        np.maximum(np.nan_to_num(table.size(name), nan=1.0), 1).astype(int).tolist() for name in SIZES
    )
    texts = (table.workload.tolist(), table.device.tolist(), table.text("dtype").tolist(),
             table.text("software").tolist())  # fmt: skip
    engines = [EngineKey(*row) for row in zip(*texts, tp, pp, dp, ep, strict=True)]
    return engines, [Load(*row) for row in zip(users, prompt, generate, strict=True)]


def family(workload: str) -> str:
    """Return the network that a quantised variant is of."""
    return re.sub(r"-(fp8|nvfp4)$", "", workload)


def _by_engine(asked: list[tuple[EngineKey, Load]]) -> Array:
    """Return (ttft_s, tpot_s) of each run by its step costs, shape (runs, 2); runs of one engine share a profile."""
    out = np.full((len(asked), 2), np.nan)
    members: dict[EngineKey, list[int]] = {}
    for i, (key, _) in enumerate(asked):
        members.setdefault(key, []).append(i)
    cost_model = TemperedModel(find_cost_model(None))
    for key, where in members.items():
        try:
            found = _benchmarks(key, {asked[i][1] for i in where}, cost_model)
        except ArchcastError:
            continue  # counts as not answered
        for i in where:
            out[i] = found[asked[i][1]]
    return out


def _benchmarks(key: EngineKey, loads: set[Load], cost_model: CostModel) -> dict[Load, tuple[float, float]]:
    """Return (ttft_s, tpot_s) of each load on one lane of an engine, which has its share of the users."""
    target, model = find_target(key.device), load_model(key.workload)
    mapping = Mapping(tp=key.tp, pp=key.pp, dp=key.dp, ep=key.ep, software=key.software)
    engine = Engine(
        model, target.spec, target.rates, mapping, cost_model, key.dtype, cached_in(model, key.dtype)
    )  # fmt: skip
    lanes, name = key.dp * key.pp, framework(key.software)
    most = max(-(-load.users // lanes) for load in loads)
    longest = max(load.prompt + load.generate for load in loads)
    costs = profile_of(engine, max(BUDGET, most), most, longest).step_costs(max(BUDGET, most), most)
    blocks, out = _blocks(engine, name, most), {}
    for load in loads:
        users = -(-load.users // lanes)
        room = max(blocks, (load.prompt + load.generate) // BLOCK + 1)
        policy = Policy(
            max(BUDGET, users), users, BLOCK, room, whole_prompt=name != "vllm", prompts_first=name == "sglang"
        )
        found = benchmark_times(costs, policy, users, load.prompt, load.generate)
        out[load] = (found.ttft_s, found.tpot_s)
    return out


def cached_in(model: Model, dtype: str) -> str:
    """Return the format of the KV cache: fp8 beside weights in fp8 or fp4, else the model's.

    What deployments of such checkpoints set (`--kv-cache-dtype fp8`), or what their quantisation names.
    """
    weights = dtype or str(model.knobs().get("expert_dtype") or model.defaults["dtype"])
    return "fp8" if "fp8" in weights or "fp4" in weights else ""


def _blocks(engine: Engine, name: str, users: int) -> int:
    share = SHARES.get(name, 0.9)
    if name == "trtllm":
        weights = min(engine.weights_bytes / engine.rates.usable_bytes, 1.0)
        share = weights + share * (1.0 - weights)
    try:
        return kv_blocks(engine, utilization=share, most_tokens=BUDGET, most_requests=users)
    except ArchcastError:
        return 1


def write_shipped(root: Path) -> None:
    """Fit the stacks that come with the package to all runs. Raises BadFileError."""
    runs = simulated(root)
    known = np.flatnonzero(np.isfinite(runs.times.tpot_s))
    write_stacks(with_intervals(runs.times.take(known)), SHIPPED_STACKS, SOURCE)
