"""Serving files that cannot be: one sentence with the file, the line or the override, the key, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast, refused
from serving_samples import SMALL, own_trace, served, written

from archcast.simulation import simulate
from foundation.errors import BadFileError

LINES = SMALL.splitlines()


def with_line(key: str, line: str) -> str:
    """Return the small file with the line of a key replaced, or added at the end."""
    kept = [line if old.startswith(f"{key}:") else old for old in LINES]
    return "\n".join(kept if line in kept else [*kept, line]) + "\n"


@pytest.mark.parametrize(
    ("key", "line", "words"),
    [
        ("instances", "instances: 0", [":10", "instances", "from 1", "not 0"]),
        ("instances", "instances: two", [":10", "instances", "two"]),
        ("tp", "tp: 3", [":10", "'tp'", "tp=3", "divide"]),
        ("router", "router: leest-loaded", [":10", "router", "least-loaded"]),
        ("routr", "routr: random", [":10", "routr", "router"]),
        ("model", "model: llama-3.2-1c", [":2", "model", "llama-3.2-1b"]),
        ("model", "model: resnet-50", [":2", "model", "generates no tokens"]),
        ("on", "on: h100-smx", [":3", "h100-sxm"]),
        ("policy", "policy: {most_tokens: 8, most_requests: 16}", [":6", "most_tokens=8", "most_requests=16"]),
        ("policy", "policy: {most_tokns: 8}", [":6", "most_tokns", "most_tokens"]),
        ("policy", "policy: {watermark: 1.5}", [":6", "watermark", "1.5"]),
        ("policy", "policy: {prefix_cache: 3}", [":6", "prefix_cache", "true or false"]),
        ("policy", "policy: {most_tokens: 1e9}", [":6", "most_tokens", "262144"]),
        ("policy", "policy: 7", [":6", "policy", "mapping"]),
        ("slo", "slo: {ttft_s: 0}", [":8", "slo.ttft_s", "above 0"]),
        ("slo", "slo: {ttft_s: -1}", [":8", "slo.ttft_s", "-1"]),
        ("slo", "slo: {ttft_s: 1, share: 1.5}", [":8", "slo.share", "1.5"]),
        ("slo", "slo: {tfft_s: 1}", [":8", "tfft_s", "ttft_s"]),
        ("traffic", "traffic: {rate_hz: 0, requests: 9, prompt: 8, generate: 4}", [":7", "rate_hz", "above 0"]),
        ("traffic", "traffic: {rate_hz: -2, requests: 9, prompt: 8, generate: 4}", [":7", "rate_hz", "-2"]),
        ("traffic", "traffic: {rate_hz: .nan, requests: 9, prompt: 8, generate: 4}", [":7", "rate_hz", "nan"]),
        ("traffic", "traffic: {rate_hz: 1, requests: 9, prompt: 0, generate: 4}", [":7", "prompt", "not 0"]),
        ("traffic", "traffic: {rate_hz: 1, requests: 9, prompt: 8, generate: 0}", [":7", "generate", "not 0"]),
        ("traffic", "traffic: {rate_hz: 1, requests: 0, prompt: 8, generate: 4}", [":7", "requests", "not 0"]),
        ("traffic", "traffic: {rate_hz: 1, prompt: 8, generate: 4}", [":7", "requests", "horizon_s"]),
        ("traffic", "traffic: {name: azure-2032}", [":7", "azure-2023"]),
        ("replications", "replications: 0", [":9", "replications", "from 1"]),
        ("trace", "trace: a.csv", ["trace", "traffic", "not both"]),
        ("traffic", "", ["nobody asks", "traffic or trace"]),
        ("warmup", "warmup: 0.95", [":10", "warmup", "0.9"]),
        ("warmup", "warmup: guess", [":10", "guess", "mser-5"]),
        ("power_cap_w", "power_cap_w: 20", [":10", "power_cap_w", "idle"]),
        ("memory_share", "memory_share: 0", [":10", "memory_share", "above 0"]),
        ("failures", "failures: [{instance: 0, at_s: -1}]", [":10", "failures", "at_s"]),
        ("failures", "failures: [{instnce: 0, at_s: 1}]", [":10", "instnce", "instance"]),
        ("failures", "failures: [{instance: 3, at_s: 1}]", [":10", "failures", "instance 3", "only instance 0"]),
        ("ep", "ep: 8", [":10", "ep=8", "set dp=8 or tp=8"]),
        ("failures", "failures: {mtbf_s: 5}", [":10", "mttr_s"]),
        ("autoscaling", "autoscaling: {target: 0, most: 2}", [":10", "autoscaling", "above 0"]),
        ("autoscaling", "autoscaling: {target: 4}", [":10", "autoscaling", "most"]),
        ("closed_loop", "closed_loop: {users: 0}", [":10", "users", "from 1"]),
        ("closed_loop", "closed_loop: {think_s: 1}", [":10", "users"]),
        ("workflow", "workflow: {kind: cascad}", [":10", "cascade"]),
        ("workflow", "workflow: {kind: route, shares: {nowhere: 1.0}}", ["nowhere"]),
        ("pools", "pools: []", [":10", "pools", "at least one"]),
        ("pools", "pools: [{name: a}, {name: a}]", [":10", "two pools", "'a'"]),
        ("pools", "pools: [{name: a, role: prefil}]", [":10", "prefil", "prefill"]),
        ("pools", "pools: [{name: a, role: prefill}, {name: b, role: decode}]", ["transfer"]),
        ("transfer", "transfer: {bandwidth_bytes_per_s: 0}", [":10", "transfer", "above 0"]),
        ("intervals", "intervals: maybe", [":5", "intervals", "true or false"]),
        ("cost_model", "cost_model: no-such-model", ["no-such-model", "physics"]),
    ],
)  # fmt: skip
def test_a_bad_serving_file_gets_one_sentence(tmp_path: Path, key: str, line: str, words: list[str]) -> None:
    with pytest.raises(BadFileError) as caught:
        simulate(written(tmp_path, with_line(key, line)))
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("-1.0,50,5\n", ["-1"]),
        ("1.0,50,5\n0.5,60,6\n", ["0.5"]),
        ("0.0,0,5\n", ["prompt", "0"]),
        ("0.0,50,0\n", ["generate", "0"]),
        ("nan,50,5\n", ["nan"]),
        ("0.0,many,5\n", ["many"]),
        ("", ["trace.csv"]),
    ],
    ids=["negative time", "out of order", "zero prompt", "generation 0", "NaN", "no number", "no request"],
)
def test_a_bad_trace_names_its_file_and_row(tmp_path: Path, rows: str, words: list[str]) -> None:
    trace = own_trace(tmp_path, rows)
    message = refused("simulate", written(tmp_path), "--set", f"trace={trace}")
    assert "trace.csv" in message
    assert all(word in message for word in words), message


def test_a_trace_out_of_order_can_be_sorted_on_demand(tmp_path: Path) -> None:
    trace = own_trace(tmp_path, "1.0,50,5\n0.5,60,6\n")
    options = ("--set", f"trace.file={trace}", "--set", "trace.sort=true")
    assert archcast("simulate", written(tmp_path), *options).code == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("instnces=2", ["instnces", "instances"]),
        ("slo.ttft_s=0", ["slo.ttft_s", "above 0", "override"]),
        ("traffic.rate_hz=nan", ["nan"]),
        ("trace=/no/such/trace.csv", ["/no/such/trace.csv"]),
        ("pools.b.instances=2", ["pools"]),
        ("traffic..rate_hz=2", ["empty part"]),
        ("model.size=2", ["model"]),
    ],
)
def test_a_bad_override_gets_one_sentence(tmp_path: Path, setting: str, words: list[str]) -> None:
    message = refused("simulate", written(tmp_path), "--set", setting)
    assert all(word in message for word in words), message


def test_a_file_without_a_model_says_so(tmp_path: Path) -> None:
    assert "'model'" in refused("simulate", written(tmp_path, "kind: serving\non: h100-sxm\n"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("speculation: {tokens: 3, acceptance: 1.0}", ["speculation", "below 1"]),
        ("speculation: {tokens: 3}", ["speculation", "acceptance"]),
        ("speculation: {tokens: 3, acceptance: 0.5, drft: gpt-2}", ["drft", "draft"]),
        ("speculation: {tokens: 3, acceptance: 0.5, draft: gpt-22}", ["gpt-22", "gpt-2"]),
        ("speculation: {tokens: 30, acceptance: 0.5}", ["most_tokens=128", "31"]),
    ],
)
def test_a_bad_speculation_gets_one_sentence(tmp_path: Path, line: str, words: list[str]) -> None:
    with pytest.raises(BadFileError) as caught:
        simulate(written(tmp_path, SMALL + line + "\n"))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_swapping_needs_a_link_to_swap_over(tmp_path: Path) -> None:
    text = with_line("policy", "policy: {most_tokens: 128, most_requests: 16, preemption: swap}")
    with pytest.raises(BadFileError, match="swap_bytes_per_s"):
        simulate(written(tmp_path, text))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"software": "vlm 0.9"}, ["'vlm' is no stack", "sglang, trtllm, vllm", "Nearest: vllm"]),
        ({"closed_loop__users": 70}, ["70 users share 60 requests", "10 of them never ask"]),
        ({"knobs__max_context": 80}, ["requests have more tokens", "than the 80 that 'llama-3.2-1b' was made for"]),
    ],
)
def test_what_can_be_simulated_but_may_not_be_meant_has_a_note(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:  # fmt: skip
    short: dict[str, Any] = {"traffic__requests": 60, "replications": 1}
    notes = " ".join(served(tmp_path, **short, **changes).notes)
    assert all(word in notes for word in words), notes
    plain = " ".join(served(tmp_path, **short, software="vllm", closed_loop__users=60).notes)
    assert words[0] not in plain


def test_requests_beyond_the_context_are_counted(tmp_path: Path) -> None:
    trace = own_trace(tmp_path, "0.0,50,30\n1.0,50,31\n2.0,60,40\n")
    answer = served(tmp_path, trace=str(trace), knobs={"max_context": 80})
    assert any(note.startswith("2 requests have more tokens") and "up to 100" in note for note in answer.notes)
