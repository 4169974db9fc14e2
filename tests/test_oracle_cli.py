"""`archcast oracle VERB`: text for people, one JSON document for programs, one sentence for faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import ROOT, archcast

from archcast.cli import oracle as oracle_commands  # noqa: F401  adds its commands

CHAT = ("llama-3.1-8b", "--on", "h100-sxm", "--prompt", 512, "--generate", 128)
PICTURE = ("resnet-50", "--on", "h100-sxm")
TABLE = ROOT / "examples" / "oracle_costs.yaml"


def test_a_curve_as_text_as_json_and_in_pieces() -> None:
    text = archcast("oracle", "curve", *CHAT, "--knob", "tokens", "--values", "64,128,256").stdout
    assert text.splitlines()[0].split() == ["generate", "latency_s", "energy_j", "memory_bytes", "cost_usd"]
    found = archcast("oracle", "curve", *CHAT, "--from", 16, "--to", 1024, "--points", 4, "--log", "--json").json()
    assert found["values"] == [16, 64, 256, 1024]
    assert found["latency_s"]["lo"][0] < found["latency_s"]["value"][0] < found["latency_s"]["hi"][0]
    assert found["versions"]["devices"].keys() == {"h100-sxm"}
    pieces = archcast("oracle", "curve", *CHAT, "--values", "64,128,256", "--pieces", 0.05).stdout
    assert "straight piece" in pieces


def test_the_next_token_and_what_fits() -> None:
    step = archcast("oracle", "marginal", *CHAT, "--at", "128,1024", "--json").json()
    assert step["at"] == [128, 1024]
    fits = archcast(
        "oracle", "max-within", *CHAT, "--budget", "latency_s=2", "--budget", "energy_j=400", "--json"
    ).json()
    value = fits["latency_s"]["value"][0]
    assert fits["at"][0] > 10
    assert value <= 2
    assert "the next one breaks" in archcast("oracle", "max-within", *CHAT, "--budget", "latency_s=2").stdout


def test_equal_costs_money_and_reasoning() -> None:
    same = archcast("oracle", "iso", *CHAT, "--with", "qwen3-0.6b", "--by", "time,flop", "--json").json()
    assert set(same["at"]) == {"latency_s", "work_flop"}
    assert archcast("oracle", "break-even", "--fixed", "0.08", "--other-per-use", "0.002").stdout == (
        "Pays back after 40 uses [40, 40].\n"
    )
    front = archcast("oracle", "cost-of-pass", "--cost", "1,2,3", "--success", "0.2,0.5,0.4", "--json").json()
    assert front["front"] == ["candidate 1", "candidate 2"]
    thought = archcast("oracle", "reasoning", *CHAT[:5], "--tokens", "64,256", "--tries", "1,4", "--json").json()
    assert thought["latency_s"]["value"][0][0] < thought["latency_s"]["value"][1][1]


def test_a_table_a_draw_of_it_and_sensitivities() -> None:
    table = archcast("oracle", "cost-table", TABLE, "--json").json()
    assert len(table["items"]) == 3
    assert [row[3] for row in table["feasible"]] == [False] * 3
    draws = archcast("oracle", "scenarios", TABLE, "-n", 20, "--seed", 3, "--json").json()
    assert draws["shape"] == [20, 3, 4, 4]
    assert "p95" in archcast("oracle", "scenarios", TABLE, "-n", 20).stdout
    figures = archcast("oracle", "sensitivities", *CHAT, "--figures", "dram_bytes_per_s", "--json").json()
    assert figures["questions"][0]["elasticity"]["dram_bytes_per_s"]["latency_s"]["value"] < -0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("curve", *CHAT), "Give --values"),
        (("curve", *CHAT, "--values", "a,b"), "numbers between commas"),
        (("curve", *CHAT, "--values", "64", "--knob", "generatee"), "Nearest: generate"),
        (("curve", "llama-3.1-8b", "--on", "h100", "--values", "64", "--batch", "0"), "batch"),
        (("max-within", *CHAT), "A budget names"),
        (("max-within", *CHAT, "--budget", "latency_s"), "QUANTITY=MOST"),
        (("max-within", *CHAT, "--budget", "latency_s=nan"), "above 0"),
        (("marginal", *CHAT, "--at", "-3"), "whole number"),
        (("break-even", "--fixed", "x", "--other-per-use", "1"), "numbers between commas"),
        (("cost-of-pass", "--cost", "1", "--success", "2"), "share from 0 to 1"),
        (("sensitivities", *CHAT, "--figures", "dram"), "Nearest"),
        (("cost-table", "absent.yaml"), "absent.yaml"),
        (("max-within", *PICTURE, "--knob", "generate", "--budget", "latency_s=0.01"), "would change nothing"),
        (("curve", *PICTURE, "--knob", "generate", "--values", "1,2"), "would change nothing"),
        (("reasoning", *PICTURE, "--tokens", 512, "--tries", 4), "would change nothing"),
        (("reasoning", *CHAT, "--tokens", 512), "leave --generate out"),
        (("reasoning", *CHAT[:5], "--tokens", 512, "--verifier", "resnet-50"), "reads no tokens"),
        (("reasoning", *CHAT[:5], "--tokens", 512, "--verifier", "qwen3-0.6x"), "Nearest: qwen3-0.6b"),
        (("reasoning", *CHAT[:5], "--tokens", 512, "--passes", 3), "--verifier names none"),
        (("reasoning", *CHAT[:5], "--tokens", 512, "--verifier-on", "l40s"), "--verifier names none"),
        (("reasoning", "llama-3.1-8b", "--on", "h100x", "--tokens", 512), "Nearest: h100"),
        (("curve", "llama-3.1-8b", "--on", "h100x", "--values", "1,2"), "Nearest: h100"),
        (("curve", *CHAT, "--dtype", "fp9", "--values", "1,2"), "fp8"),
        (("max-within", *CHAT, "--count", 0, "--budget", "latency_s=1"), "count must be"),
    ],
)
def test_a_fault_is_one_sentence_and_exit_2(arguments: tuple[object, ...], words: str) -> None:
    ended = archcast("oracle", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("items: []\noptions: []\n", "'items' must be a list"),
        ("itemz: [{batch: 1}]\n", "Nearest: items"),
        ("items:\n  - {workload: resnet-50, bach: 3}\noptions: [{device: l40s}]\n", "Nearest: batch"),
        ("items: [3]\noptions: [{device: l40s}]\n", "must be a mapping"),
        ("items: [{workload: resnet-50}]\noptions: [{device: l40s}]\nquantities: 3\n", "list of names"),
        ("items: [{workload: resnet-50, batch: .nan}]\noptions: [{device: l40s}]\n", "file.yaml"),
        ("items: [{workload: resnet-50}]\noptions:\n  - {device: l40s}\n  - {device: l40x}\n", "file.yaml:4, key"),
        ("items: [{workload: llama-3.1-8b, prompt: twelve}]\noptions: [{device: l40s}]\n", "key 'items[0].prompt'"),
        (
            "items: [{workload: resnet-50}]\noptions:\n  - {name: a, device: l40s}\n  - {name: a, device: h100}\n",
            "twice",
        ),
        ("kind: search\nitems: [{workload: resnet-50}]\n", "must be cost-table"),
    ],
)
def test_a_table_file_names_the_place_of_its_fault(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    ended = archcast("oracle", "cost-table", file)
    assert ended.code == 2
    assert words in ended.stderr
    assert "file.yaml" in ended.stderr
