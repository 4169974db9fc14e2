"""Context parallelism: ranks that divide prompts and caches, and hold all weights of their tensor rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast as ac
from archcast.simulation import Simulation
from costmodel.memory import MemoryReport, memory_of
from costmodel.rates import compile_rates
from foundation.errors import MappingError
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.families import build
from workloads.graph import Block, Operator, Pass, WorkloadGraph
from workloads.lowering import Lowered, lower, shard
from workloads.mapping import Mapping
from workloads.model import Request
from workloads.work import count_work

SMALL: dict[str, Any] = {
    "layers": 3, "hidden": 64, "heads": 8, "kv_heads": 4, "inter": 256, "vocab": 96, "max_context": 10**6,
}  # fmt: skip
LATENT = SMALL | {"mixers": ["mla"], "kv_heads": 0, "head_dim": 8, "q_rank": 16, "kv_rank": 12, "rope_dim": 4}


def lowered(
    cp: int, knobs: dict[str, Any] = SMALL, *, prompt: Any = 64, generate: int = 9, batch: Any = 2, **sizes: Any
) -> Lowered:  # fmt: skip
    workload = build("decoder", "small", knobs).workload(Request(batch, prompt, generate))
    return lower(workload.passes, Mapping(cp=cp, **sizes))


def row(found: Lowered, label: str, run: int) -> dict[str, float]:
    """Return the columns of an operator in its first scenario of prefill (0) or decode (1)."""
    places = [i for i, name in enumerate(found.table.labels) if name == label and found.pass_index[i] == run]
    return {name: float(found.table.full(name)[places[0]]) for name in found.table.columns}


def flop(found: Lowered, run: int) -> float:
    table, mine = found.table, found.pass_index == run
    return float((np.broadcast_to(count_work(table).matrix_flop, table.rows) * table.full("count"))[mine].sum())


def memory(knobs: dict[str, Any], mapping: Mapping, *, prompt: int = 4096, generate: int = 2) -> MemoryReport:
    workload = build("decoder", "small", knobs).workload(Request(2, prompt, generate))
    return memory_of(workload, lower(workload.passes, mapping), mapping, compile_rates(load_device("h100-sxm")))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "mixtral-8x7b", "resnet50", "whisper-large-v3"])
def test_one_context_rank_runs_what_tensor_parallelism_leaves_of_each_operator(name: str) -> None:
    passes, mapping = load_model(name).workload(Request(2)).passes, Mapping(tp=2, cp=1)
    found = lower(passes, mapping)
    for run, blocks in zip(passes, found.operators, strict=True):
        for block, operators in zip(run.graph.blocks, blocks, strict=True):
            assert repr(operators) == repr(tuple(part for o in block.operators for part in shard(o, mapping)))


def test_prefill_divides_tokens_and_gathers_keys_and_values() -> None:
    found = lowered(4)
    # 2 sequences x 64 tokens over 4 ranks: 32 rows; the middle rank's last query stands (64 - 16) / 2 before the end
    assert row(found, "qkv", 0)["m"] == row(found, "gate_up", 0)["m"] == 32
    assert row(found, "embed", 0)["rows"] == row(found, "ffn_norm", 0)["rows"] == 32
    attention = row(found, "attention", 0)
    assert (attention["batch"], attention["q_len"], attention["kv_len"]) == (2, 16, 40)
    gather = row(found, "attention.gather", 0)
    # keys and values of 4 heads of 8 features in bf16, of 2 x 64 tokens
    assert (gather["kind"], gather["ranks"], gather["stride"]) == (2, 4, 1)
    assert gather["bytes"] == 2 * 64 * (2 * 4 * 8) * 2
    assert row(found, "lm_head", 0)["m"] == 2  # the last token of each sequence is on one rank


def test_decode_divides_the_cache_and_merges_partial_outputs() -> None:
    found, whole = lowered(4, generate=2), lowered(1, generate=2)
    keys = row(whole, "attention", 1)["kv_len"]
    assert row(found, "attention.context", 1)["kv_len"] == np.ceil(keys / 4)
    merge = row(found, "attention", 1)
    # 8 heads of 8 features in bf16 and a log-sum-exp in fp32, of 2 tokens
    assert (merge["kind"], merge["ranks"], merge["bytes"]) == (1, 4, 2 * 8 * (8 * 2 + 4))
    for label in ("qkv", "gate_up", "lm_head"):
        assert row(found, label, 1)["m"] == row(whole, label, 1)["m"] == 2


def test_tensor_ranks_divide_what_travels_between_context_ranks() -> None:
    found = lowered(2, tp=4)
    gather, merge = row(found, "attention.gather", 0), row(found, "attention", 1)
    assert gather["bytes"] == 2 * 64 * (2 * 1 * 8) * 2
    assert merge["bytes"] == 2 * 2 * (8 * 2 + 4)
    assert gather["stride"] == merge["stride"] == 4  # tensor ranks stand side by side
    assert row(found, "o", 0)["bytes"] == 64 * 64 * 2  # the all-reduce of half of the tokens


def test_latents_are_gathered_and_expanded_whole_on_each_rank() -> None:
    found, whole = lowered(4, LATENT), lowered(1, LATENT)
    assert row(found, "attention.gather", 0)["bytes"] == 2 * 64 * (12 + 4) * 2
    assert row(found, "kv_b", 0)["m"] == row(whole, "kv_b", 0)["m"] == 128
    assert row(found, "q_b", 0)["m"] == 32
    assert row(found, "attention", 1)["bytes"] == 2 * 8 * (12 * 2 + 4)
    labels = [o.name for o in found.operators[0][1]]
    assert labels.index("attention.gather") < labels.index("kv_b") < labels.index("attention")


@settings(max_examples=40, deadline=None)
@given(pieces=st.integers(1, 40), cp=st.sampled_from([1, 2, 4, 8]), cached=st.integers(0, 500))
def test_the_work_of_all_ranks_is_that_of_the_whole_prompt(pieces: int, cp: int, cached: int) -> None:
    knobs = SMALL | {"cached": cached}
    prompt = pieces * cp * 2
    found, whole = lowered(cp, knobs, prompt=prompt), lowered(1, knobs, prompt=prompt)
    head = 2.0 * 2 * 96 * 64  # of the last tokens, undivided
    assert (flop(found, 0) - head) * cp == pytest.approx(flop(whole, 0) - head, rel=1e-12)


def test_the_rank_that_counts_has_the_most_pairs_of_a_window() -> None:
    knobs = SMALL | {"mixers": ["window"], "window": 24}
    found, whole = lowered(2, knobs), lowered(1, knobs)
    # the first 24 queries see 1 to 24 keys, all others 24; the two middle pieces of 16 are queries 17 to 48
    seen = np.minimum(np.arange(1, 65), 24)
    pairs = {
        cp: count_work(f.table).matrix_flop[f.table.labels.index("attention")] for cp, f in ((1, whole), (2, found))
    }
    assert pairs[1] == 2 * seen.sum() * 8 * 2 * 16
    assert pairs[2] == 2 * seen[16:48].sum() * 8 * 2 * 16
    assert pairs[2] >= pairs[1] / 2
    assert row(found, "attention.context", 1)["window"] == 12


def test_a_rank_keeps_all_weights_and_its_part_of_the_cache() -> None:
    whole, part = memory(SMALL, Mapping()), memory(SMALL, Mapping(cp=4))
    assert part.parts["weights"] == whole.parts["weights"]
    assert part.parts["state"] * 4 == whole.parts["state"]
    assert whole.parts["state"] == 2 * 4098 * 3 * (2 * 4 * 8) * 2
    assert part.parts["activations"] < 0.4 * whole.parts["activations"]
    latent = [float(memory(LATENT, Mapping(cp=cp)).parts["state"][0]) for cp in (1, 2)]
    assert latent[0] == 2 * latent[1]


def test_several_requests_at_once_are_those_one_by_one() -> None:
    prompts = np.array([64.0, 100.0, 1.0])
    together = lowered(4, prompt=prompts, batch=np.array([2.0, 1.0, 8.0]))
    for i, (prompt, batch) in enumerate(zip(prompts, (2, 1, 8), strict=True)):
        alone = lowered(4, prompt=prompt, batch=batch)
        mine = (together.pass_index == 0) & (together.scenario == i)
        for column in ("m", "rows", "q_len", "kv_len", "bytes"):
            assert np.array_equal(together.table.full(column)[mine], alone.table.full(column)[alone.pass_index == 0])


def test_experts_see_a_rank_s_tokens_in_prefill_and_all_in_decode() -> None:
    knobs = SMALL | {"ffns": ["moe"], "experts": 8, "topk": 2}
    found = lowered(4, knobs)
    assert (row(found, "experts", 0)["tokens"], row(found, "experts", 1)["tokens"]) == (32, 2)


def test_stages_send_a_rank_s_tokens_over_all_ranks_of_a_stage() -> None:
    send = row(lowered(4, pp=3, tp=2), "stage.send", 0)
    assert (send["bytes"], send["stride"]) == (32 * 64 * 2, 8)


def test_devices_are_counted_and_named() -> None:
    mapping = Mapping(tp=4, cp=2, pp=3, dp=5)
    assert (mapping.devices, mapping.ranks, mapping.label()) == (120, 40, "tp=4 cp=2 pp=3 dp=5")
    found = ac.predict("llama-3.1-8b", on="h100-sxm", cp=2, prompt=1024, generate=2, model="physics")
    assert (found.devices, found.mapping) == (2, "cp=2")
    with pytest.raises(MappingError, match=r"tp=1 x pp=1 x dp=1 x cp=2 uses 2 devices, but count=4"):
        ac.predict("llama-3.1-8b", on="h100-sxm", cp=2, count=4)


def test_a_file_of_kind_run_takes_as_long_as_the_prediction_says(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("kind: run\nworkload: gpt-2\non: h100-sxm\nprompt: 64\ngenerate: 1\ncp: 2\n")
    predicted = ac.predict("gpt-2", on="h100-sxm", prompt=64, generate=1, cp=2)
    assert predicted.latency_s is not None
    simulated = ac.simulate(file)
    assert isinstance(simulated, Simulation)
    assert simulated.timeline.makespan_s == pytest.approx(predicted.latency_s.value, rel=1e-6)


def first_token_s(on: str, cp: int, prompt: int) -> float:
    found = ac.predict("llama-3.1-8b", on=on, cp=cp, prompt=prompt, generate=2, model="physics")
    assert found.ttft_s is not None
    return found.ttft_s.value


def test_a_long_prompt_on_a_fast_fabric_gains_almost_all_ranks() -> None:
    times = [first_token_s("h100-sxm", cp, 131_072) for cp in (1, 2, 4)]
    assert 1.8 < times[0] / times[1] <= 2.0
    assert 3.5 < times[0] / times[2] <= 4.0


def test_a_short_prompt_on_slow_links_gains_nothing() -> None:
    assert first_token_s("l40s", 2, 16) > first_token_s("l40s", 1, 16)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"mixers": ["mamba"]}, "'conv' hands a state from token to neighbouring token"),
        ({"mixers": ["attention", "linear"]}, "'1.scan' hands a state"),
        ({"mixers": ["topk"]}, "'select' scores all cached keys"),
        (LATENT | {"mixers": ["dsa"]}, "'index_scores' scores all cached keys"),
        ({"causal": False}, "'attention' is attention that is not causal"),
    ],
)
def test_models_whose_tokens_cannot_be_divided_are_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(MappingError, match=rf"^cp=2 cannot divide 'small': {words}.*; use cp=1\.$"):
        lowered(2, SMALL | {"layers": 4} | knobs)


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("resnet50", {}, "pass 'forward'"),
        ("llama-3.1-8b", {"mode": "train"}, "pass 'forward'"),
        ("t5-large", {}, "not causal"),
        ("qwen2.5-vl-7b", {}, "not causal|conv2d|neighbouring"),
        ("llama-3.1-8b", {"concurrency": 8}, "give batch, not concurrency"),
    ],
)
def test_networks_and_questions_without_a_prompt_to_divide_are_refused(
    name: str, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(MappingError, match=words):
        ac.predict(name, on="h100-sxm", cp=2, **asked)


def test_a_graph_without_attention_is_refused() -> None:
    block = Block("layer", (Operator("up", "gemm", {"m": 4, "n": 8, "k": 8}, parameters=64.0),))
    with pytest.raises(MappingError, match="'plain': it has no attention"):
        lower((Pass("prefill", WorkloadGraph("plain", (block,))),), Mapping(cp=2))


def test_boards_of_all_context_ranks_burn_energy() -> None:
    import archcast as ac

    asked = {"on": "h100-sxm", "tp": 2, "prompt": 8192, "generate": 16, "model": "physics"}
    one, two = (ac.predict("llama-3.1-8b", cp=cp, **asked) for cp in (1, 2))  # type: ignore[arg-type]
    assert one.power_w is not None
    assert two.power_w is not None
    assert 1.5 < two.power_w.value / one.power_w.value <= 2.01
    columns = ac.predict_batch(workload=["llama-3.1-8b"], cp=[2], **{k: v for k, v in asked.items()})
    assert two.energy_j is not None
    assert columns["energy_j"][0] == pytest.approx(two.energy_j.value, rel=1e-9)
