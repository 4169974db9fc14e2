"""Files of kind `serving`: what is read, what overrides change, and where paths lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast, archcast_process
from serving_samples import SMALL, own_trace, served, written

from archcast.serving_file import read_serving
from foundation.yaml_file import load_yaml

ROWS = "0.0,50,5\n0.5,60,6\n0.5,70,7\n"


def test_a_file_says_what_is_served_where_and_to_whom(tmp_path: Path) -> None:
    keys = read_serving(load_yaml(written(tmp_path, SMALL + "tp: 2\ninstances: 3\nrouter: round-robin\n")))
    pool = keys.pools[0]
    assert (pool.model, pool.on, pool.tp, pool.instances, pool.router) == (
        "llama-3.2-1b", "h100-sxm", 2, 3, "round-robin",
    )  # fmt: skip
    assert keys.slo == {"ttft_s": 1.0, "tpot_s": 0.05}
    assert keys.warmup == ("share", 0.1)
    assert keys.replications == 2


def test_what_is_said_at_the_top_holds_for_every_pool_that_does_not_say_it(tmp_path: Path) -> None:
    text = SMALL + "tp: 2\npools:\n  - {name: a, role: prefill}\n  - {name: b, role: decode, tp: 4}\n"
    keys = read_serving(load_yaml(written(tmp_path, text)))
    assert [(p.name, p.role, p.tp, p.model) for p in keys.pools] == [
        ("a", "prefill", 2, "llama-3.2-1b"), ("b", "decode", 4, "llama-3.2-1b"),
    ]  # fmt: skip


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    text = SMALL + "pools:\n  - {name: a}\n  - {name: b}\n"
    changes = {"pools.b.instances": "4", "traffic.rate_hz": "1e1", "slo.latency_s": 3, "closed_loop.users": "7"}
    keys = read_serving(load_yaml(written(tmp_path, text)), changes)
    assert [p.instances for p in keys.pools] == [1, 4]
    assert keys.traffic is not None
    assert keys.traffic["rate_hz"] == 10
    assert keys.slo["latency_s"] == 3.0
    assert keys.closed_loop is not None
    assert keys.closed_loop["users"] == 7


def test_a_trace_in_an_override_takes_the_place_of_the_traffic(tmp_path: Path) -> None:
    answer = served(tmp_path, trace=str(own_trace(tmp_path, ROWS)))
    assert answer.study is not None
    assert len(answer.study.first.requests) == 3
    assert answer.study.runs == 1
    assert any("Nothing is drawn" in note for note in answer.notes)


def test_a_trace_can_be_cut_and_paced(tmp_path: Path) -> None:
    file = str(own_trace(tmp_path, ROWS))
    answer = served(tmp_path, trace=file, trace__requests=2)
    assert answer.study is not None
    assert len(answer.study.first.requests) == 2
    paced = served(tmp_path, trace__file=file, trace__rate_hz=60)
    assert paced.study is not None
    assert paced.study.first.requests.arrival[-1] < answer.study.first.requests.arrival[-1]


def test_paths_in_a_file_are_relative_to_it_and_those_of_set_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    own_trace(inside, ROWS)
    own_trace(outside, "0.0,50,5\n")
    monkeypatch.chdir(outside)
    text = "".join(line + "\n" for line in SMALL.splitlines() if not line.startswith("traffic"))
    relative = served(inside, text + "trace: trace.csv\n")
    assert relative.study is not None
    assert len(relative.study.first.requests) == 3
    named = served(inside, text, trace="trace.csv")
    assert named.study is not None
    assert len(named.study.first.requests) == 1


def test_a_model_that_does_not_fit_is_an_answer(tmp_path: Path) -> None:
    ended = archcast("simulate", written(tmp_path), "--set", "model=llama-3.1-70b", "--json")
    assert ended.code == 0
    doc = ended.json()
    assert doc["verdict"] == "infeasible"
    # 141.1 GB of weights alone, of 0.9 x 80 GiB
    assert 141.1e9 - 0.9 * 80 * 2**30 < doc["shortfall_bytes"] < 90e9
    assert "ttft_s" not in doc


def test_an_instance_that_fails_at_time_zero_serves_when_it_is_back(tmp_path: Path) -> None:
    answer = served(tmp_path, failures=[{"instance": 0, "at_s": 0, "down_s": 2}], warmup=0)
    assert answer.study is not None
    assert answer.study.lost == {}
    # the first requests wait for the two seconds
    first = answer.study.sample.times["ttft_s"][0]
    arrival_s = answer.study.first.requests.arrival[0] / 1e12
    assert first >= 2 - arrival_s


def test_the_shipped_example_runs_from_the_root_of_a_clone(repository: Path) -> None:
    fewer = ("--set", "traffic.requests=60", "--replications", "2", "--set", "cost_model=physics")
    ended = archcast_process("simulate", "examples/serving_llama70b_h100.yaml", *fewer, "--json", cwd=repository)
    assert ended.code == 0, ended.stderr
    doc = ended.json()
    assert doc["verdict"] == "feasible"
    assert doc["replications"] == 2
    assert doc["ttft_s"]["p99"]["value"] >= doc["ttft_s"]["p50"]["value"] > 0


def test_the_shipped_example_runs_on_the_real_trace(repository: Path, shared_data: Path, tmp_path: Path) -> None:
    trace = shared_data / "traces" / "azure_llm_2023_conv.csv.gz"
    if not trace.is_file():
        pytest.skip("the Azure 2023 conversation trace is not beside the checkout")
    fewer = ("--set", f"trace={trace}", "--set", "trace.requests=100", "--set", "cost_model=physics")
    ended = archcast("simulate", repository / "examples" / "serving_llama70b_h100.yaml", *fewer, "--json")
    assert ended.code == 0
    assert ended.json()["asked"]["traffic"]["requests"] == 100


def test_a_draft_gives_the_expected_tokens_a_step_and_costs_its_own_steps(tmp_path: Path) -> None:
    alone = str(own_trace(tmp_path, "0.0,100,400\n"))
    steps = {}
    for name, spec in (
        ("none", None), ("free", {"tokens": 3, "acceptance": 0.7}),
        ("draft", {"tokens": 3, "acceptance": 0.7, "draft": "llama-3.2-1b"}),
    ):  # fmt: skip
        study = served(tmp_path, trace=alone, warmup=0, **({"speculation": spec} if spec else {})).study
        assert study is not None
        steps[name] = study.times
    expected = (1 - 0.7**4) / (1 - 0.7)
    gap, per_token = (steps["free"][name]["mean"].value for name in ("itl_s", "tpot_s"))
    assert gap / per_token == pytest.approx(expected, rel=0.01)
    # the draft is the model itself here: a step costs about three steps more, each a little less than one that samples
    longer = steps["draft"]["itl_s"]["mean"].value - gap
    assert longer == pytest.approx(3 * steps["none"]["itl_s"]["mean"].value, rel=0.15)


def test_a_split_service_sends_each_cache_over_its_link(tmp_path: Path) -> None:
    text = SMALL + "pools: [{name: p, role: prefill}, {name: d, role: decode}]\n"
    doc = served(tmp_path, text, transfer={"bandwidth_bytes_per_s": 1e9}).to_json()
    # llama-3.2-1b caches 16 layers x 8 heads x 64 x 2 (keys, values) in 16 bits for each token of a prompt
    assert doc["transfer"]["transfers"] == 400
    assert doc["transfer"]["sent_bytes"] == pytest.approx(400 * 60 * 16 * 8 * 64 * 2 * 2)
    assert [pool["name"] for pool in doc["pools"]] == ["p", "d"]


def test_a_cascade_asks_the_big_model_as_often_as_it_says(tmp_path: Path) -> None:
    text = SMALL + "pools: [{name: small}, {name: big, model: llama-3.1-8b}]\n"
    answer = served(tmp_path, text, workflow={"kind": "cascade", "small": "small", "big": "big", "probability": 0.25})
    nodes = answer.to_json()["workflow_nodes"]
    assert nodes["small"] == 400
    assert 70 <= nodes["big"] <= 130


def test_lanes_share_the_kv_blocks_of_their_engine(tmp_path: Path) -> None:
    fewer: dict[str, Any] = {"model": "llama-3.1-8b", "traffic__requests": 20, "replications": 1}
    blocks = {}
    for key, size in (("dp", 1), ("dp", 4), ("pp", 2)):
        doc = served(tmp_path, **fewer | {key: size}).to_json()
        blocks[key, size] = doc["pools"][0]["kv_blocks"]
        assert abs(blocks[key, size] - doc["memory"]["engines"]["blocks"]) < size  # a lane has whole blocks
    # each rank has a device of its own, with the same weights; what ranks exchange takes a little of it
    assert blocks["dp", 4] == pytest.approx(4 * blocks["dp", 1], rel=0.01)
