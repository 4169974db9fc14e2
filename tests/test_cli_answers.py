"""What the commands answer: one JSON document or a table on stdout, nothing on stderr."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast, archcast_process

from hardware_specs import device_ids, load_device
from workloads.catalogue import architecture_facts, load_model, workload_names

ASK = ("predict", "llama-3.1-8b", "--on", "h100-sxm", "--batch", "8", "--prompt", "1024", "--generate", "256")


def answer(*arguments: object) -> Any:
    """Return the JSON document of a command that succeeds with a quiet stderr."""
    ended = archcast(*arguments, "--json")
    assert ended.code == 0, ended.stderr
    assert ended.stderr == ""
    return ended.json()


def test_predict_gives_every_quantity_with_its_interval() -> None:
    document = answer(*ASK)
    for name in ("latency_s", "ttft_s", "tpot_s", "energy_j", "memory_bytes", "cost_usd", "power_w"):
        quantity = document[name]
        assert 0 < quantity["lo"] <= quantity["value"] <= quantity["hi"], name
    assert document["verdict"] == "feasible"
    assert document["request"] == {"batch": 8, "mode": "infer", "prompt": 1024, "generate": 256, "dtype": "bf16"}
    assert sum(document["source"].values()) == pytest.approx(1.0)
    assert {"archcast", "cost_model", "device"} <= set(document["versions"])


def test_the_command_and_the_function_give_the_same_answer() -> None:
    from archcast import predict

    estimate = predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=1024, generate=256)
    assert answer(*ASK) == estimate.to_json()


def test_explain_is_part_of_the_document() -> None:
    assert "explain" not in answer(*ASK)
    assert answer(*ASK, "--explain")["explain"]


def test_a_setting_changes_the_model() -> None:
    half = answer(*ASK, "--set", "layers=16")
    assert half["latency_s"]["value"] < answer(*ASK)["latency_s"]["value"]


def test_a_count_alone_chooses_a_mapping_and_says_which() -> None:
    document = answer("predict", "llama-3.1-70b", "--on", "h100-sxm", "--count", "4")
    assert document["devices"] == 4
    assert "tp=" in document["mapping"] or "pp=" in document["mapping"]


def test_no_stage_of_a_chosen_mapping_is_without_a_layer() -> None:
    document = answer("predict", "gpt-2", "--on", "h100-sxm", "--count", "12")  # 12 layers and 12 heads
    sizes = dict(part.split("=") for part in document["mapping"].split() if "=" in part)
    assert int(sizes.get("pp", 1)) <= 12
    assert archcast("predict", "gpt-2", "--on", "h100-sxm", "--count", "26").code == 2  # 26 = 2 x 13, over both


@pytest.mark.parametrize("sizes", [("--mode", "train", "--generate", "5"), ("--generate", "5")])
def test_a_size_without_meaning_is_said_in_a_note(sizes: tuple[str, ...]) -> None:
    name = "gpt-2" if "train" in sizes else "bert-large"
    notes = answer("predict", name, "--on", "h100-sxm", *sizes)["notes"]
    assert any("generate=5 changes nothing" in note for note in notes)


def test_a_page_is_written_beside_the_answer(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert answer(*ASK, "--html", page)["verdict"] == "feasible"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_a_page_about_a_device_of_ones_own_shows_its_sources(tmp_path: Path, repository: Path) -> None:
    device = tmp_path / "my-npu.yaml"
    text = (repository / "docs" / "hardware.md").read_text(encoding="utf-8")
    device.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    answer("predict", "resnet-50", "--on", device, "--html", tmp_path / "page.html")
    assert "Example NPU Data Sheet" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_list_of_devices_is_the_catalogue() -> None:
    rows = answer("devices")["devices"]
    assert [row["id"] for row in rows] == device_ids()
    assert all(row["memory_bytes"] > 0 and row["peak_flop_per_s"] > 0 and row["limit_w"] > 0 for row in rows)


def test_a_device_gives_its_description_with_sources() -> None:
    document = answer("devices", "h100-sxm")
    spec = load_device("h100-sxm")
    bandwidth = next(level for level in document["memory"] if level["name"] == "dram")["bandwidth_bytes_per_s"]
    assert bandwidth["value"] == spec.dram.bandwidth_bytes_per_s.value == 3.35e12
    assert document["sources"]
    assert bandwidth["source"] in document["sources"]


def test_every_device_has_a_document_and_a_table() -> None:
    for name in device_ids():
        assert answer("devices", name)["id"] == name
        assert name in archcast("devices", name).stdout


def test_devices_are_filtered_by_kind_vendor_and_number_format() -> None:
    rows = answer("devices", "--kind", "gpu", "--vendor", "Nvidia", "--has", "int4")["devices"]
    assert {"a100-sxm-80gb", "rtx-4090"} <= {row["id"] for row in rows}
    specs = [load_device(name) for name in device_ids()]
    expected = [s.id for s in specs if s.kind == "gpu" and s.vendor == "NVIDIA"
                and any("int4" in unit.peak_flop_per_s for unit in s.units)]  # fmt: skip
    assert [row["id"] for row in rows] == expected


def test_workloads_are_filtered_by_domain_family_and_part() -> None:
    vision = {row["name"] for row in answer("workloads", "--kind", "vision")["workloads"]}
    assert "resnet-50" in vision
    assert "gpt-2" not in vision
    assert "resnet-50" in {row["name"] for row in answer("workloads", "--kind", "resnet")["workloads"]}
    assert {"deepseek-v3", "mixtral-8x7b"} <= {row["name"] for row in answer("workloads", "--has", "moe")["workloads"]}
    assert "llama-3.1-8b" not in {row["name"] for row in answer("workloads", "--has", "moe")["workloads"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("devices", "--kind", "gpus"), r"Unknown kind 'gpus'\. Nearest: gpu"),
        (("devices", "--vendor", "nvidea"), "Nearest: nvidia"),
        (("devices", "--has", "int5"), "number format 'int5'.*int4"),
        (("devices", "h100-sxm", "--kind", "gpu"), "--kind filters the list"),
        (("workloads", "--kind", "visoin"), "Nearest: vision"),
        (("workloads", "--has", "meo"), "Nearest: moe"),
        (("workloads", "--kind", "nlp"), "Domains: language, multimodal"),
        (("devices", "gb200-nvl72"), "72 devices: ask for gb200"),
    ],
)
def test_a_filter_that_nothing_can_pass_names_what_is_near(words: tuple[str, ...], message: str) -> None:
    ran = archcast(*words)
    assert ran.code == 2
    assert re.search(message, ran.stderr)


def test_a_list_in_a_pipe_has_one_line_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    listed = {line.split()[0] for line in archcast("devices").stdout.splitlines()[2:] if line.strip()}
    assert listed == set(device_ids())
    listed = {line.split()[0] for line in archcast("workloads").stdout.splitlines()[2:] if line.strip()}
    assert listed == set(workload_names())


def test_the_list_of_workloads_is_the_catalogue() -> None:
    rows = answer("workloads")["workloads"]
    assert [row["name"] for row in rows] == workload_names()
    missing = [row["name"] for row in rows if not row["parameters"] and row["domain"] != "search"]
    assert all(architecture_facts(name)["notes"] for name in missing)  # a space has no size; else the notes say why


def test_a_workload_gives_parameters_macs_and_knobs() -> None:
    document = answer("workloads", "llama-3.1-8b")
    assert document["parameters"] == document["active_parameters"] == 8030261248  # from the weights on Hugging Face
    assert document["macs"] > 0
    assert document["knobs"] == {
        k: list(v) if isinstance(v, tuple) else v for k, v in load_model("llama-3.1-8b").knobs().items()
    }


def test_a_mixture_has_fewer_active_parameters() -> None:
    document = answer("workloads", "qwen3-30b-a3b")
    assert document["active_parameters"] < document["parameters"] / 8


def test_operators_are_priced_in_their_order(tmp_path: Path) -> None:
    source, out = tmp_path / "ops.csv", tmp_path / "priced.csv"
    rows = [("rtx-4090", 256), ("h100-sxm", 1), ("rtx-4090", 1), ("h100-sxm", 256)]
    lines = ["device,op,dtype,m,n,k,latency_s,source", *(f"{d},gemm,bf16,{m},4096,4096,1e-3,bench" for d, m in rows)]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ended = archcast("predict-ops", source, "--out", out, "--model", "physics")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")
    with out.open(newline="", encoding="utf-8") as file:
        priced = list(csv.DictReader(file))
    assert [(row["device"], int(float(row["m"]))) for row in priced] == rows
    times = [float(row["latency_s"]) for row in priced]
    assert times[1] < times[2] < times[0]  # the H100 reads its weights faster; more rows take longer
    assert {row["source"] for row in priced} == {"physics"}


def test_an_example_is_simulated_by_its_name() -> None:
    document = answer("simulate", "overlap")
    assert document["lower_bound_s"] <= document["makespan_s"] <= document["serial_s"]


def test_without_a_command_three_are_shown() -> None:
    ended = archcast()
    assert ended.code == 0
    assert ended.stdout.count("  archcast ") == 3


def test_help_names_every_command() -> None:
    text = archcast("--help").stdout
    for name in ("predict", "predict-ops", "calibrate", "simulate", "devices", "workloads"):
        assert f" {name} " in text


def test_a_pipe_carries_strict_json_and_nothing_else() -> None:
    ended = archcast_process(*ASK, "--json")
    assert ended.code == 0
    assert ended.stderr == ""
    assert ended.stdout.isascii()
    assert ended.json()["workload"] == "llama-3.1-8b"


def test_the_page_of_a_timeline_runs_nothing_and_shows_names_as_text(tmp_path: Path) -> None:
    graph, page = tmp_path / "graph.yaml", tmp_path / "page.html"
    graph.write_text(
        "kind: graph\nengines: [{name: '<script>x</script>', kind: compute}]\n"
        "tasks: [{name: '<b>', engine: '<script>x</script>', duration_s: 1}]\n"
    )
    assert archcast("simulate", str(graph), "--html", str(page)).code == 0
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "<b>" not in text
    assert text.count("&lt;script&gt;x") >= 2  # in the drawing, and in the table below it
