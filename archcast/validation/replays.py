"""Replays: the requests that a vLLM engine served, through the event simulator, against what each one saw.

Two runs of 300 requests (LLMServingSim, MIT; vLLM 0.19.0, Llama-3.1-8B on an RTX 4090 and an RTX PRO 6000). Arrivals,
lengths and the engine's settings are inputs; nothing of a replay is fitted. Three ways to price the steps:

- nothing fitted: the cost model that ships, or any other one;
- layer tables, added up: the layers of that GPU as its profiler timed them, attention as the sum of its parts;
- layer tables: the same, with what was timed of mixed batches (`simulator.serving.shared_batches`).

Times to the first token count from the request's arrival at the front end (`arrival_time`; the two clocks are aligned
at the request that was queued soonest after it arrived). The set's authors count from the moment that the engine took
the request in (`queued_ts`, 20 to 30 ms later in the mean, where a step was in progress); their simulator's figures
are compared with those. The RTX 4090's run is saturated: its time to the first token is its wait for KV blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archcast.cost_models import find_cost_model
from archcast.validation.replay_tables import IMPORTER, layer_tables, mixing
from costmodel.costs import OpCosts
from costmodel.evaluation.scores import Score
from costmodel.measured.data_files import Columns, device_id, read_file, workload_id
from costmodel.protocol import CostModel
from costmodel.rates import compile_rates
from foundation.errors import BadFileError
from hardware_specs import load_device
from simulator.clock import to_seconds, to_ticks
from simulator.serving.kv_blocks import kv_blocks
from simulator.serving.pricing import Engine, step_costs
from simulator.serving.replica import Log, Policy
from simulator.serving.shared_batches import SharedCosts, SharedLane, lengths_in_flight, shared_costs
from simulator.serving.step_costs import StepCosts, Table
from workloads.catalogue import load_model
from workloads.mapping import Mapping
from workloads.table import Array, OpTable

PEER = "LLMServingSim"
METRICS = ("ttft_s", "tpot_s", "latency_s")
STATISTICS: dict[str, float | None] = {"mean": None, "p50": 0.5, "p90": 0.9, "p99": 0.99}
FITTED, ADDED, UNFITTED = "layer tables", "layer tables added up", "nothing fitted"
WAYS = (FITTED, ADDED, UNFITTED)
HOST_S = 0.0
"""Seconds that the host adds to a step: none, since this version schedules the next step while the device computes
(`async_scheduling` of its settings; estimated, 0 to 1e-3)."""
NULL_BLOCKS = 1
"""Blocks of vLLM that never hold anything (vllm/v1/core/block_pool.py, `null_block`)."""
CAPTURED = (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16))
"""Batches that vLLM captures as CUDA graphs; smaller ones are padded (`cudagraph_capture_sizes` of the settings)."""
PASSES = 2
"""Runs: the first tells how unequal the contexts in flight are, the last is the answer."""

Times = dict[str, Array]


@dataclass(frozen=True)
class Replay:
    """One run: its requests in the order of arrival, what they saw, what the peer said, and the engine's settings.

    `seen` counts from the arrival, `seen_by_engine` from `queued_ts`. `blocks` is 0 where it was not noted down.
    """

    hardware: str
    network: str
    arrival_s: Array
    prompt: Array
    generate: Array
    seen: Times
    seen_by_engine: Times
    peer: Times
    policy: Policy
    blocks: int
    utilization: float

    @property
    def device(self) -> str:
        return device_id(IMPORTER, self.hardware)

    @property
    def workload(self) -> str:
        return workload_id(self.network)


class InNetwork(Engine):
    """An engine whose cost model was measured inside the network: nothing is left to be said of weights or host."""

    def price(self, table: OpTable) -> OpCosts:
        return self.cost_model.predict(table, self.rates, None, software=self.mapping.software)


def read_replays(root: Path) -> list[Replay]:
    """Return the replays in a folder of data sets. Raises BadFileError: a file is absent or cannot be used."""
    folder = root / IMPORTER
    numbers = ("input_toks", "output_toks", "queued_ts", "first_token_ts", "last_token_ts")
    rows = read_file(folder / "vllm_replay_requests.csv.gz", numbers, ("hardware", "model", "arrival_time"))
    peer = read_file(
        folder / f"peer_{IMPORTER}_sim_requests.csv.gz", ("latency", "TTFT", "TPOT"), ("hardware", "model")
    )
    path = folder / "vllm_replay_meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFileError(path, f"the settings of the runs cannot be read ({error}).") from None
    return [_replay(name, meta[name]["vllm_meta"], rows, peer) for name in sorted(meta)]


def _replay(name: str, meta: Dict[str, Dict[str, float]], rows: Columns, peer: Columns) -> Replay:
    hardware, _, network = name.partition("/")
    mine = np.flatnonzero((rows["hardware"] == hardware) & (rows["model"] == network))
    when = np.array([np.datetime64(text, "ns") for text in rows["arrival_time"][mine].tolist()])
    arrival = (when - when.min()).astype(np.int64) * 1e-9
    order = np.argsort(arrival, kind="stable")
    mine, arrival = mine[order], arrival[order]
    prompt, generate, queued, first, last = (
        rows[column][mine] for column in ("input_toks", "output_toks", "queued_ts", "first_token_ts", "last_token_ts")
    )
    clock = float((queued - arrival).min())  # what the engine's clock showed at the first arrival, at most
    tpot = (last - first) / (generate - 1)

    def since(start: Array) -> Times:
        return {"ttft_s": first - start, "tpot_s": tpot, "latency_s": last - start}

    theirs = (peer["hardware"] == hardware) & (peer["model"] == network)
    said = {
        name: peer[column][theirs] * 1e-9 for name, column in zip(METRICS, ("TTFT", "TPOT", "latency"), strict=True)
    }
    settings, kv = meta["engine_kwargs"], meta.get("kv_cache", {})
    policy = Policy(
        most_tokens=int(settings["max_num_batched_tokens"]), most_requests=int(settings["max_num_seqs"]),
        block_tokens=int(kv.get("block_size", 16)), whole_prompt=True,  # scheduler_reserve_full_isl, on by default
    )  # fmt: skip
    return Replay(
        hardware, network, arrival, prompt.astype(np.int64), generate.astype(np.int64), since(arrival + clock),
        since(queued), said, policy, int(kv.get("num_gpu_blocks", 0)), float(kv.get("gpu_memory_utilization", 0.9)),
    )  # fmt: skip


def engine_of(replay: Replay, model: CostModel, measured_in_network: bool) -> Engine:
    """Return the engine of a replay with a cost model."""
    spec = load_device(replay.device)
    made = InNetwork if measured_in_network else Engine
    return made(load_model(replay.workload), spec, compile_rates(spec), Mapping(), model, "bf16", "bf16")


def predicted_blocks(replay: Replay) -> int:
    """Return the KV blocks that the engine of a replay allocates by `kv_blocks`."""
    engine = engine_of(replay, find_cost_model("physics"), measured_in_network=False)
    return kv_blocks(
        engine, utilization=replay.utilization, block_tokens=replay.policy.block_tokens,
        most_tokens=replay.policy.most_tokens, most_requests=replay.policy.most_requests,
    )  # fmt: skip


def costs_of(replay: Replay, root: Path, way: str = FITTED, host_s: float = HOST_S) -> StepCosts:
    """Return the step costs of a replay's engine, of batches whose attention adds up."""
    fitted = way != UNFITTED
    model = layer_tables(root, replay.device) if fitted else find_cost_model()
    longest = int((replay.prompt + replay.generate).max())
    engine = engine_of(replay, model, fitted)
    return padded(step_costs(engine, replay.policy.most_tokens, replay.policy.most_requests, longest, host_s))


def padded(costs: StepCosts, sizes: tuple[int, ...] = CAPTURED) -> StepCosts:
    """Return costs whose steps of few tokens compute as many as the next captured graph."""
    tokens = np.arange(costs.most_tokens + 1)
    place = np.minimum(np.searchsorted(sizes, tokens), len(sizes) - 1)
    run = np.where((tokens > 0) & (tokens <= sizes[-1]), np.minimum(np.array(sizes)[place], costs.most_tokens), tokens)
    decode = [[costs.decode_ticks(n, n * int(c)) for c in costs.contexts] for n in range(costs.most_decodes + 1)]
    chunk = [[costs.chunk_ticks(int(c), int(b)) for b in costs.before] for c in costs.chunks]
    work, sampling, attention, chunks = (to_seconds(np.array(ticks)) for ticks in
                                         (costs.work, costs.sampling, decode, chunk))  # fmt: skip
    energy = replace(costs.energy, work=np.asarray(costs.energy.work)[run])
    time = Table(work[run], sampling, attention, chunks)
    return StepCosts(time, energy, costs.contexts, costs.chunks, costs.before)


def replayed(replay: Replay, root: Path, way: str = FITTED, *, blocks: int = 0, host_s: float = HOST_S) -> Times:
    """Return what each request of a replay would see.

    Args:
        way: how steps are priced, one of `WAYS`.
        blocks: KV blocks (0: those of the settings, or predicted where these do not tell).
        host_s: seconds that the host adds to every step.
    """
    costs = costs_of(replay, root, way, host_s)
    layers = int(load_model(replay.workload).knobs()["layers"])
    policy = replace(replay.policy, blocks=(blocks or replay.blocks or predicted_blocks(replay)) - NULL_BLOCKS)
    shared = SharedCosts(costs, costs)
    if way == FITTED:
        chunk, context = float(np.median(replay.prompt)), float((replay.prompt + replay.generate / 2).mean())
        mixed = mixing(root, replay.hardware, replay.network, chunk, context)
        shared = shared_costs(costs, layers, mixed, lambda decodes: np.ones(len(decodes)))
        for _ in range(PASSES - 1):
            log = run_lane(replay, shared, policy)
            shared = shared_costs(costs, layers, mixed, lengths_in_flight(replay.prompt, replay.generate, log))
    return times_of(replay, run_lane(replay, shared, policy))


def run_lane(replay: Replay, costs: SharedCosts, policy: Policy) -> Log:
    """Return the log of one lane that serves a replay's requests."""
    log = Log.of(len(replay.prompt))
    lane = SharedLane(costs, policy, replay.prompt.tolist(), replay.generate.tolist(), log)
    for request, at in enumerate(to_ticks(replay.arrival_s, what="an arrival").tolist()):
        lane.advance(at)
        lane.enqueue(request, at)
    lane.advance()
    return log


def times_of(replay: Replay, log: Log) -> Times:
    """Return the times that a log tells (DESIGN: definitions)."""
    first, done = (to_seconds(np.array(ticks, dtype=np.int64)) for ticks in (log.first_token, log.done))
    return {
        "ttft_s": first - replay.arrival_s, "tpot_s": (done - first) / (replay.generate - 1),
        "latency_s": done - replay.arrival_s,
    }  # fmt: skip


def statistics(values: Array) -> dict[str, float]:
    """Return the mean and percentiles of a time over requests."""
    return {
        name: float(values.mean() if share is None else np.quantile(values, share))
        for name, share in STATISTICS.items()
    }  # fmt: skip


def errors(said: Times, seen: Times) -> dict[tuple[str, str], float]:
    """Return said over seen, less 1, by (metric, statistic)."""
    found: dict[tuple[str, str], float] = {}
    for metric in METRICS:
        ours, theirs = statistics(said[metric]), statistics(seen[metric])
        found |= {(metric, name): ours[name] / theirs[name] - 1 for name in STATISTICS}
    return found


def evaluate_replays(root: Path) -> list[Score]:
    """Return the error of each statistic of each time of each replay, with tables and without, beside the peer's."""
    out = []
    for replay in read_replays(root):
        peer = errors(replay.peer, replay.seen_by_engine)
        for way in (FITTED, UNFITTED):
            ours = errors(replayed(replay, root, way), replay.seen)
            for (metric, name), error in ours.items():
                split = f"{metric.removesuffix('_s').upper()} {name}" + ("" if way == FITTED else f" {UNFITTED}")
                out.append(_score(replay, split, way, abs(error), abs(peer[metric, name])))
    return out


def _score(replay: Replay, split: str, way: str, error: float, peer: float) -> Score:
    blank, n = float("nan"), len(replay.prompt)
    return Score(
        IMPORTER, replay.device, split, way, 0, n, 1.0, error, error, error, float(error <= 0.1), blank, blank, blank,
        PEER, peer,
    )  # fmt: skip
