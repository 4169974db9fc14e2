"""Replays of real engines: the tables that price their steps, batches that are not uniform, and what is claimed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.validation import replays
from archcast.validation.replays import ADDED, FITTED, METRICS, Replay, Times, errors, padded, replayed
from costmodel.layer_tables import NOTHING_S, LayerTables
from costmodel.protocol import PhysicsModel
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.shared_batches import Mixing, SharedCosts, SharedLane, Tail, lengths_in_flight, shared_costs
from simulator.serving.step_costs import StepCosts, Table, grid
from workloads.measurements import measurement_table
from workloads.table import OpTable

DEVICE = "rtx-4090"
MEAN_TPOT, MEAN, P99 = 0.03, 0.10, 0.10
"""What must be reached: the mean time per output token, other means, and the 99th percentiles."""
ROOT = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
PEER_SAID = {"RTX4090": (0.006, 0.002), "RTXPRO6000": (-0.040, -0.010)}
"""Mean TTFT and TPOT, simulated over measured less 1, in the set's own summaries."""

needs_data = pytest.mark.skipif(
    not (ROOT / "llmservingsim").is_dir(), reason="there is no folder llmservingsim in the data (ARCHCAST_DATA)"
)


def flat_costs(most: int = 64, longest: int = 512) -> StepCosts:
    """Return costs of a millisecond a step, a microsecond a token, and a nanosecond a cached token."""
    contexts, chunks, before = grid(longest), grid(most), np.append(0, grid(longest))
    work = 1e-3 + 1e-6 * np.arange(most + 1)
    decode = 1e-9 * np.arange(most + 1)[:, None] * contexts[None, :]
    time = Table(work, np.zeros(most + 1), decode, np.zeros((len(chunks), len(before))))
    return StepCosts(time, time, contexts, chunks, before)


# -- tables of layers -----------------------------------------------------------------------------------------------


def tables() -> LayerTables:
    """Return a product of two timings, and decode attention of a grid with a gap."""
    products = measurement_table("products", {
        "op": ["gemm", "gemm"], "m": [10, 20], "n": 64, "k": 32, "dtype": "bf16", "device": DEVICE,
        "latency_s": [1e-4, 3e-4],
    })  # fmt: skip
    attention = measurement_table("attention", {
        "op": ["attention"] * 3, "phase": "decode", "batch": [1, 1, 3], "q_len": 1, "kv_len": [100, 300, 100],
        "heads": 8, "kv_heads": 2, "head_dim": 16, "dtype": "bf16", "device": DEVICE, "latency_s": [1e-5, 3e-5, 3e-5],
    })  # fmt: skip
    return LayerTables.of([products, attention], DEVICE)


def seconds(model: LayerTables, device: str = DEVICE, **columns: Any) -> float:
    dtype = {"dtype": "bf16", "kv_dtype": "bf16"}
    table = OpTable.from_columns({**dtype, **columns})
    return float(model.predict(table, compile_rates(load_device(device))).latency_s[0])


@pytest.mark.parametrize(("m", "expected"), [(10, 1e-4), (15, 2e-4), (20, 3e-4), (2, 1e-4), (40, 6e-4)])
def test_a_product_is_linear_between_timings_flat_below_and_in_proportion_beyond(m: int, expected: float) -> None:
    assert seconds(tables(), op="gemm", m=m, n=64, k=32) == pytest.approx(expected)


def test_decode_attention_is_linear_in_requests_and_in_cached_tokens() -> None:
    shape: dict[str, Any] = {
        "op": "attention",
        "phase": "decode",
        "q_len": 1,
        "heads": 8,
        "kv_heads": 2,
        "head_dim": 16,
    }
    assert seconds(tables(), **shape, batch=1, kv_len=200) == pytest.approx(2e-5)
    assert seconds(tables(), **shape, batch=2, kv_len=100) == pytest.approx(2e-5)


def test_the_write_to_the_cache_is_part_of_the_attention_that_was_timed() -> None:
    assert seconds(tables(), op="copy", rows=4, hidden=2 * 2 * 16) == NOTHING_S
    assert seconds(tables(), op="copy", rows=4, hidden=99) > NOTHING_S


def test_what_the_tables_lack_is_the_closed_form() -> None:
    closed = PhysicsModel()
    other = OpTable.from_columns({"op": "gemm", "m": 15, "n": 65, "k": 32, "dtype": "bf16"})
    expected = float(closed.predict(other, compile_rates(load_device(DEVICE))).latency_s[0])
    assert seconds(tables(), op="gemm", m=15, n=65, k=32) == expected
    assert seconds(tables(), "h100-sxm", op="gemm", m=15, n=64, k=32) != pytest.approx(2e-4)


def test_tables_without_a_row_of_the_device_are_refused() -> None:
    with pytest.raises(BadValueError, match="no layer of 'h100-sxm'"):
        LayerTables.of([], "h100-sxm")


# -- batches that are not uniform -------------------------------------------------------------------------------------


def test_steps_are_padded_to_the_next_captured_graph() -> None:
    costs = padded(flat_costs(), (1, 2, 4, 8, 16))
    plain = flat_costs()
    assert [costs.work[n] for n in (1, 3, 8, 9)] == [plain.work[n] for n in (1, 4, 8, 16)]
    assert costs.work[17] == plain.work[17]  # larger batches are not captured
    assert costs.decode_ticks(3, 30) == plain.decode_ticks(3, 30)


def mixing(share: float) -> Mixing:
    """Return mixed batches in which a cached token costs three times as much beside a chunk."""
    decodes, contexts = np.array([1.0, 64.0]), np.array([1.0, 512.0])
    tail = Tail(np.array([2.0, 64.0]), (np.array([1.0, 4.0]),) * 2, (np.array([share, share]),) * 2)
    return Mixing(decodes, contexts, 3e-9 * decodes[:, None] * contexts[None, :], tail, tail)


def test_decodes_beside_a_chunk_cost_what_was_timed_of_mixed_batches() -> None:
    found = shared_costs(flat_costs(), 1, mixing(0.0), lambda decodes: np.ones(len(decodes)))
    assert found.alone.decode_ticks(8, 800) == pytest.approx(800e3, rel=1e-3)
    assert found.beside.decode_ticks(8, 800) == pytest.approx(2400e3, rel=1e-3)


def test_a_batch_goes_its_share_of_the_way_from_the_mean_context_to_the_longest() -> None:
    found = shared_costs(flat_costs(), 1, mixing(0.25), lambda decodes: np.full(len(decodes), 3.0))
    assert found.alone.decode_ticks(8, 800) == pytest.approx(800e3 * (1 + 0.25 * 2), rel=1e-3)
    assert found.alone.decode_ticks(1, 100) == pytest.approx(100e3, rel=1e-3)  # one context is the mean one


def test_requests_of_one_length_have_no_longest_context() -> None:
    log = Log.of(3)
    log.first_token[:], log.done[:] = [0, 0, 0], [10**12] * 3
    ratio = lengths_in_flight(np.full(3, 50), np.full(3, 9), log)
    assert ratio(np.array([1.0, 8.0])) == pytest.approx([1.0, 1.0])


def test_requests_that_never_meet_have_no_spread() -> None:
    log = Log.of(2)
    log.first_token[:], log.done[:] = [0, 3 * 10**12], [10**12, 4 * 10**12]
    with pytest.raises(BadValueError, match="No two requests"):
        lengths_in_flight(np.full(2, 50), np.full(2, 9), log)


def served(lane: Replica, prompts: list[int], gap: int) -> None:
    for request in range(len(prompts)):
        lane.advance(request * gap)
        lane.enqueue(request, request * gap)
    lane.advance()


requests = st.lists(st.tuples(st.integers(1, 100), st.integers(1, 60)), min_size=1, max_size=12)


@given(drawn=requests, blocks=st.integers(10, 40), gap=st.integers(0, 10**10))
@settings(max_examples=40, deadline=None)
def test_a_lane_with_one_set_of_costs_that_finds_no_blocks_is_a_plain_lane(
    drawn: list[tuple[int, int]], blocks: int, gap: int
) -> None:
    prompts, generate = ([pair[i] for pair in drawn] for i in (0, 1))
    costs, policy = flat_costs(), Policy(64, 16, 16, blocks, whole_prompt=True)
    plain, other = Log.of(len(prompts)), Log.of(len(prompts))
    served(Replica(costs, policy, prompts, generate, plain), prompts, gap)
    served(SharedLane(SharedCosts(costs, costs), policy, prompts, generate, other, finds_blocks=False), prompts, gap)
    assert (plain.first_token, plain.done, plain.preempted) == (other.first_token, other.done, other.preempted)


@given(drawn=requests, blocks=st.integers(10, 40))
@settings(max_examples=40, deadline=None)
def test_blocks_that_are_found_again_are_never_more_than_were_given_back_and_all_are_free_at_the_end(
    drawn: list[tuple[int, int]], blocks: int
) -> None:
    prompts, generate = ([pair[i] for pair in drawn] for i in (0, 1))
    costs, policy = flat_costs(), Policy(64, 16, 16, blocks, whole_prompt=True)
    lane = SharedLane(SharedCosts(costs, costs), policy, prompts, generate, Log.of(len(prompts)))
    served(lane, prompts, 0)
    assert lane.free == blocks
    assert 0 <= lane.found <= lane.returned == lane.taken + lane.found
    assert (lane.found > 0) <= any(lane.log.preempted)
    assert lane.queued == 0


def test_a_preempted_request_computes_less_anew_where_its_blocks_are_found() -> None:
    prompts, generate = [60, 60], [60, 60]  # 8 blocks each in the end, 12 there are: one gives its own back
    costs, policy = flat_costs(), Policy(64, 16, 16, 12, whole_prompt=True)
    tokens, found = [], []
    for finds in (False, True):
        lane = SharedLane(SharedCosts(costs, costs), policy, prompts, generate, Log.of(2), finds_blocks=finds)
        served(lane, prompts, 0)
        assert lane.log.preempted == [0, 1]
        tokens.append(lane.tokens)
        found.append(lane.found)
    assert found[0] == 0 < found[1]
    assert tokens[0] - tokens[1] == 16 * found[1]


# -- the replays ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[Replay, Times]]:
    found = replays.read_replays(ROOT)
    return {replay.device: (replay, replayed(replay, ROOT)) for replay in found}


@needs_data
@pytest.mark.parametrize("device", ["rtx-4090", "rtx-pro-6000"])
def test_layer_tables_of_a_gpu_give_the_times_of_its_replay(
    runs: dict[str, tuple[Replay, Times]], device: str
) -> None:  # fmt: skip
    replay, said = runs[device]
    found = errors(said, replay.seen)
    assert abs(found["tpot_s", "mean"]) <= MEAN_TPOT
    assert all(abs(found[metric, "mean"]) <= MEAN for metric in METRICS)
    assert all(abs(found[metric, "p99"]) <= P99 for metric in METRICS)


@needs_data
def test_predicted_kv_blocks_are_those_noted_and_serve_as_well(runs: dict[str, tuple[Replay, Times]]) -> None:
    replay, _ = runs["rtx-4090"]
    blocks = replays.predicted_blocks(replay)
    assert blocks == pytest.approx(replay.blocks, rel=0.05)
    found = errors(replayed(replay, ROOT, blocks=blocks), replay.seen)
    assert abs(found["tpot_s", "mean"]) <= MEAN_TPOT
    assert abs(found["ttft_s", "mean"]) <= MEAN


@needs_data
def test_attention_of_mixed_batches_is_more_than_the_sum_of_its_parts(runs: dict[str, tuple[Replay, Times]]) -> None:
    replay, said = runs["rtx-pro-6000"]
    added = replayed(replay, ROOT, ADDED)
    assert errors(added, replay.seen)["tpot_s", "mean"] < -0.05 < errors(said, replay.seen)["tpot_s", "mean"]


@needs_data
def test_the_peers_figures_are_those_of_its_own_summary(runs: dict[str, tuple[Replay, Times]]) -> None:
    for replay, _ in runs.values():
        found = errors(replay.peer, replay.seen_by_engine)
        told = PEER_SAID[replay.hardware]
        assert (found["ttft_s", "mean"], found["tpot_s", "mean"]) == pytest.approx(told, abs=6e-4)


@needs_data
def test_scores_hold_each_statistic_with_tables_and_without_beside_the_peer() -> None:
    scores = replays.evaluate_replays(ROOT)
    assert len(scores) == 2 * 2 * len(METRICS) * len(replays.STATISTICS)
    assert {score.baseline for score in scores} == {replays.PEER}
    fitted = [score for score in scores if score.method == FITTED]
    assert {score.split for score in fitted} >= {"TPOT mean", "TTFT p99", "LATENCY p50"}


def test_a_folder_without_the_set_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadFileError):
        replays.read_replays(tmp_path)
