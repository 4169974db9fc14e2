"""Measured runs of served models as the benchmark that measured them: their times by the step costs of the engine."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from archcast.question import find_target
from costmodel.protocol import CostModel
from costmodel.stack import framework
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

BUDGET = 8192
"""Tokens of a step (`max_num_batched_tokens`, `chunked_prefill_size`, `max_num_tokens` of the three on such GPUs)."""
BLOCK = 16
SHARES: Dict[str, float] = {"vllm": 0.9, "sglang": 0.94, "trtllm": 0.9}
"""Of the device's memory: `gpu_memory_utilization`, `mem_fraction_static` (what its scripts set, estimated, 0.85 to
0.95), and `free_gpu_memory_fraction`, which TensorRT-LLM takes of what the weights leave."""
SIZES = ("tp", "pp", "dp", "ep", "concurrency", "prompt", "generate")


class EngineKey(NamedTuple):
    """What tells engines apart."""

    workload: str
    device: str
    dtype: str
    kv_dtype: str
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


def asked(table: WorkloadMeasurements) -> list[tuple[EngineKey, Load]]:
    """Return the engine and the load of each row; sizes that are not stated are 1."""
    tp, pp, dp, ep, users, prompt, generate = (
        np.maximum(np.nan_to_num(table.size(name), nan=1.0), 1).astype(int).tolist() for name in SIZES
    )
    texts = (table.workload.tolist(), table.device.tolist(),
             *(table.text(name).tolist() for name in ("dtype", "kv_dtype", "software")))  # fmt: skip
    engines = [EngineKey(*row) for row in zip(*texts, tp, pp, dp, ep, strict=True)]
    loads = [Load(*row) for row in zip(users, prompt, generate, strict=True)]
    return list(zip(engines, loads, strict=True))


def served_times(runs: Sequence[tuple[EngineKey, Load]], cost_model: CostModel) -> tuple[Array, dict[int, str]]:
    """Return (ttft_s, tpot_s) of each run by its step costs, shape (runs, 2), and why rows have none, by number.

    Runs of one engine share its profile.
    """
    out, reasons = np.full((len(runs), 2), np.nan), dict[int, str]()
    members: dict[EngineKey, list[int]] = {}
    for i, (key, _) in enumerate(runs):
        members.setdefault(key, []).append(i)
    for key, where in members.items():
        try:
            found = _benchmarks(key, {runs[i][1] for i in where}, cost_model)
        except ArchcastError as error:
            reasons |= dict.fromkeys(where, str(error))
            continue
        for i in where:
            out[i] = found[runs[i][1]]
    return out, reasons


def _benchmarks(key: EngineKey, loads: set[Load], cost_model: CostModel) -> dict[Load, tuple[float, float]]:
    """Return (ttft_s, tpot_s) of each load on one lane of an engine, which has its share of the users."""
    target, model = find_target(key.device), load_model(key.workload)
    mapping = Mapping(tp=key.tp, pp=key.pp, dp=key.dp, ep=key.ep, software=key.software)
    cache = key.kv_dtype or cached_in(model, key.dtype)
    engine = Engine(model, target.spec, target.rates, mapping, cost_model, key.dtype, cache)
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
