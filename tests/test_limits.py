"""Limits of mappings and files, and options that change nothing: each is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import archcast as ac
from archcast.question import find_target
from foundation.errors import BadFileError, BadValueError, MappingError
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.table import OpTable
from workloads.work import MAX_EXPERTS, count_work


def test_more_stages_than_blocks_are_refused() -> None:
    with pytest.raises(MappingError, match="pp=1000 stages are more than the 34 blocks"):
        ac.predict("llama-3.1-8b", on="h100-sxm", pp=1000)


def test_more_devices_than_heads_and_layers_ask_for_replicas() -> None:
    with pytest.raises(MappingError, match="--dp"):
        ac.predict("llama-3.1-8b", on="h100-sxm", count=1_000_000)


def test_a_collective_without_ranks_is_one_rank_and_sends_nothing() -> None:
    table = OpTable.from_columns({"op": "collective", "dtype": "bf16", "kind": "all_reduce", "bytes": [1e6, 2e6]})
    assert np.array_equal(count_work(table).link_bytes, [0, 0])


def test_skewed_experts_without_end_are_refused_before_memory_is_asked_for() -> None:
    sizes = {"tokens": 8, "hidden": 64, "inter": 64, "topk": 2, "skew": 1.0, "experts": 2.0 * MAX_EXPERTS}
    with pytest.raises(BadValueError, match="experts"):
        count_work(OpTable.from_columns({"op": "moe", "dtype": "bf16", **sizes}))


def test_notes_of_an_architecture_must_be_a_list(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text("family: decoder\nnotes: 5\nknobs: {layers: 2}\n")
    with pytest.raises(BadFileError, match=r"net\.yaml:2, key 'notes'"):
        ac.load_model(file)


@pytest.mark.parametrize(("key", "value"), [("layer_types", [["full_attention"]]), ("layer_types", [{}])])
def test_damaged_layer_types_name_their_key(tmp_path: Path, repository: Path, key: str, value: object) -> None:
    config = json.loads((repository / "tests/fixtures/huggingface/gemma-2-9b.json").read_text())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config | {key: value}))
    with pytest.raises(BadFileError, match=key):
        ac.load_model(file)


def test_an_endless_expert_frequency_is_refused(tmp_path: Path, repository: Path) -> None:
    config = json.loads((repository / "tests/fixtures/huggingface/deepseek-v3.json").read_text())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config | {"moe_layer_freq": 10**12}))
    with pytest.raises(BadFileError, match="moe_layer_freq"):
        ac.load_model(file)


def test_a_software_stack_that_changes_nothing_is_noted() -> None:
    answer = ac.predict("gpt-2", on="h100-sxm", software="vllm", model="physics")
    assert any("--software changed nothing" in note for note in answer.notes)
    assert not ac.predict("gpt-2", on="h100-sxm", model="physics").notes
    unknown = ac.predict("gpt-2", on="h100-sxm", software="my engine 1.0")
    assert any("not calibrated on the software 'my engine 1.0'" in note for note in unknown.notes)


def test_replicas_that_only_infer_need_no_links_between_them() -> None:
    two = ac.predict("resnet-50", on="raspberry-pi-5", batch=2, dp=2)
    one = ac.predict("resnet-50", on="raspberry-pi-5", batch=1)
    assert two.latency_s == one.latency_s
    with pytest.raises(MappingError, match="link"):
        ac.predict("resnet-50", on="raspberry-pi-5", batch=2, dp=2, mode="train")


def test_unrolling_keeps_shared_blocks_and_writes_the_others_out() -> None:
    def block(name: str, shared: bool) -> Block:
        return Block(name, (Operator("op", "gemm", {"m": 1, "n": 2, "k": 3}, parameters=6),), count=3, shared=shared)

    unrolled = WorkloadGraph("g", (block("own", False), block("again", True))).unrolled()
    assert [(b.name, b.count) for b in unrolled.blocks] == [("own.0", 1), ("own.1", 1), ("own.2", 1), ("again", 3)]


def test_devices_alone_become_replicas_where_nothing_else_divides_the_work() -> None:
    four = ac.predict("resnet-50", on="h100-sxm", count=4, batch=64)
    assert four.mapping == "dp=4"
    one = ac.predict("resnet-50", on="h100-sxm", batch=16)
    assert four.latency_s == one.latency_s


def test_the_division_that_is_chosen_is_the_fastest_that_was_possible() -> None:
    chosen = ac.predict("bert-large", on="h100-sxm", count=4, batch=64, prompt=512)
    others = [
        ac.predict("bert-large", on="h100-sxm", batch=64, prompt=512, **sizes) for sizes in ({"tp": 4}, {"dp": 4})
    ]
    assert chosen.latency_s is not None
    assert chosen.latency_s.value == min(o.latency_s.value for o in others if o.latency_s)


def test_a_pipeline_says_what_its_time_leaves_out() -> None:
    answer = ac.predict("gpt-2", on="h100-sxm", pp=2, prompt=64, generate=2)
    assert any("microbatches" in note for note in answer.notes)


def test_int8_is_explained_without_offering_a_format_that_the_device_lacks() -> None:
    lacks = ac.predict("resnet-50", on="gemmini-16x16").notes
    has = ac.predict("resnet-50", on="rk3588").notes
    assert not any("--dtype" in note for note in lacks)
    assert any("--dtype fp16" in note for note in has)


def test_the_power_of_an_answer_lies_inside_its_interval_and_under_the_limit() -> None:
    power = ac.predict("mixtral-8x7b", on="h100-sxm", tp=2).power_w
    assert power is not None
    assert power.lo < power.value < power.hi <= 1400


@pytest.mark.parametrize("sizes", [{"dp": 8}, {"dp": 8, "ep": 8}, {"tp": 8}, {"dp": 4, "tp": 2}])
def test_ranks_that_share_experts_pay_for_what_they_send(sizes: dict[str, int]) -> None:
    answer = ac.predict("deepseek-v3", on="h200-sxm", batch=32, prompt=64, generate=4, **sizes)
    sent = [o for o in answer.explain().operators if o.op == "collective"]
    assert sent
    assert answer.link_bytes
    assert all(o.bound == "network" for o in sent)
    column = ac.predict_batch(workload="deepseek-v3", on="h200-sxm", batch=32, prompt=64, generate=4, **sizes)
    assert answer.latency_s is not None
    assert column["latency_s"][0] == pytest.approx(answer.latency_s.value, rel=1e-12)


def test_collectives_without_links_are_refused_and_never_free() -> None:
    from costmodel.physics import predict_physics

    table = OpTable.from_columns(
        {"op": "collective", "dtype": "bf16", "kind": "all_reduce", "bytes": [1e6], "ranks": 2}
    )
    with pytest.raises(BadValueError, match="fabric"):
        predict_physics(table, find_target("h100-sxm").rates)
