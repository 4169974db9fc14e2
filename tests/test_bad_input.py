"""Wrong input is exit 2 and one sentence that names what, where and what is near; nothing is on stdout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast, refused

ASK = ("predict", "llama-3.1-8b", "--on", "h100-sxm")


def one_sentence(*arguments: object) -> str:
    """Return the message of a refused command: one line that begins with `Error:`."""
    message = refused(*arguments)
    assert message.startswith("Error: "), message
    assert len(message.splitlines()) == 1, message
    return message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("predict", "llama-3.1-8bb", "--on", "h100-sxm"),
            ["'llama-3.1-8bb'", "Nearest: ", "llama-3.1-8b", "config.json"],
        ),
        (("predict", "llama-3.1-8b", "--on", "h100sxm6"), ["'h100sxm6'", "Nearest: ", "h100-sxm", "YAML"]),
        (("devices", "h100-sxmm"), ["'h100-sxmm'", "h100-sxm"]),
        (("workloads", "resnet-51"), ["'resnet-51'", "resnet-50"]),
        (("simulate", "overlapp"), ["'overlapp'", "overlap", "YAML"]),
        ((*ASK, "--set", "layerz=4"), ["'layerz'", "layers"]),
        ((*ASK, "--dtype", "fp3"), ["'fp3'", "fp32"]),
        ((*ASK, "--kv-dtype", "bf17"), ["'bf17'", "bf16"]),
    ],
)
def test_an_unknown_name_offers_the_nearest(arguments: tuple[str, ...], words: list[str]) -> None:
    message = one_sentence(*arguments)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--batch", "0"),
        ("--batch", "-3"),
        ("--batch", "10000001"),
        ("--prompt", "0"),
        ("--prompt", str(10**30)),
        ("--generate", "-1"),
        ("--generate", "1000000001"),
        ("--concurrency", "0"),
        ("--tp", "0"),
        ("--pp", "-2"),
        ("--ep", str(10**18)),
        ("--dp", "0"),
        ("--count", "0"),
        ("--count", str(10**12)),
        ("--set", "layers=-1"),
        ("--set", "layers=nan"),
        ("--set", "layers=1e99"),
        ("--set", "layers=abc"),
        ("--set", "layers=2.5"),
        ("--set", "vocab=inf"),
        ("--set", "hidden="),
    ],
)
def test_a_size_that_cannot_be_says_the_range(option: str, value: str) -> None:
    message = one_sentence(*ASK, option, value)
    name = value.split("=")[0] if option == "--set" else option.strip("-")
    assert name in message
    assert "must be a whole number from " in message


@pytest.mark.parametrize("value", ["1e99", "x", "nan", "1.5", ""])
def test_an_option_that_is_no_number_names_the_option(value: str) -> None:
    assert "--prompt" in refused(*ASK, "--prompt", value)


@pytest.mark.parametrize("setting", ["layers", "=3", " = 3", ""])
def test_a_setting_without_name_and_value_shows_the_form(setting: str) -> None:
    assert "NAME=VALUE" in one_sentence(*ASK, "--set", setting)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*ASK, "--tp", "7"), ["tp=7", "32 heads", "[1, 2, 4, 8, 16, 32]"]),
        ((*ASK, "--ep", "2"), ["ep=2", "tp=1"]),
        (
            ("predict", "qwen3-30b-a3b", "--on", "h100-sxm", "--dp", "3", "--ep", "3", "--batch", "3"),
            ["ep=3", "128 experts"],
        ),
        ((*ASK, "--count", "3", "--tp", "2"), ["tp=2", "2 devices", "count=3"]),
        ((*ASK, "--dp", "4", "--batch", "2"), ["dp=4", "--batch"]),
        (("predict", "resnet-50", "--on", "gap8", "--count", "8"), ["gap8", "no link"]),
        ((*ASK, "--concurrency", "4", "--batch", "2"), ["batch", "concurrency", "not both"]),
        (("predict", "resnet-50", "--on", "h100-sxm", "--concurrency", "4"), ["resnet-50", "no tokens"]),
        ((*ASK, "--mode", "inference"), ["'inference'", "infer or train"]),
        (("predict", "resnet-50", "--on", "gap8", "--dtype", "fp64"), ["gap8", "fp64", "int8"]),
    ],
)
def test_an_impossible_request_names_what_disagrees(arguments: tuple[str, ...], words: list[str]) -> None:
    message = one_sentence(*arguments)
    assert all(word in message for word in words), message


@pytest.fixture(scope="module")
def device_text(repository: Path) -> str:
    """The worked example of docs/hardware.md."""
    return (repository / "docs" / "hardware.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("12.8 GB/s", "12.8 GB", ["bandwidth_bytes_per_s", "an amount of data", "data rate"]),
        ("12.8 GB/s", "12.8", ["has no unit", "data rate"]),
        ("12.8 GB/s", "12.8 Gb/s", ["bits", "B is a byte"]),
        ("12.8 GB/s", "12.8 GBps", ["unknown unit 'GBps'"]),
        ("12.8 GB/s", "-12.8 GB/s", ["outside what is possible"]),
        ("12.8 GB/s", "0 GB/s", ["outside what is possible"]),
        ("12.8 GB/s", "1e99 GB/s", ["outside what is possible"]),
        ("12.8 GB/s", ".nan", ["not a usable number"]),
        ("kind: npu", "kind: tpu", ["key 'kind'", "'npu'"]),
        ("launch_overhead_s:", "launch_overhed_s:", ["unknown key", "launch_overhead_s"]),
        ("range: [0.5, 0.95]", "range: [0.95, 0.5]", ["efficiency", "outside its range"]),
        ("id: my-npu\n", "", ["key 'id' is missing"]),
        ("id: my-npu\n", "id: [my-npu]\n", ["key 'id'", "text is expected"]),
    ],
)
def test_a_mistake_in_a_device_file_names_line_and_key(
    right: str, wrong: str, words: list[str], device_text: str, tmp_path: Path
) -> None:
    assert right in device_text
    file = tmp_path / "npu.yaml"
    file.write_text(device_text.replace(right, wrong, 1), encoding="utf-8")
    message = one_sentence("predict", "resnet-50", "--on", file)
    assert f"{file}:" in message
    assert all(word in message for word in words), message


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "aliases": (BOMB.encode(), ":2: YAML aliases"),
    "depth": (b"a: " + b"[" * 60 + b"]" * 60, "nested deeper"),
    "size": (b"a: 1\n" * 1_000_000, "at most 4,000,000 are read"),
    "binary": (bytes(range(256)), "not a UTF-8 text file"),
    "empty": (b"", "the file is empty"),
    "list": (b"- 1\n- 2\n", ":1:"),
    "unclosed": (b"a: [1, 2\n", "not valid YAML"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("place", ["workload", "device", "simulation"])
def test_a_hostile_yaml_file_is_refused_wherever_it_is_named(kind: str, place: str, tmp_path: Path) -> None:
    content, words = HOSTILE[kind]
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    asks = {
        "workload": ("predict", file, "--on", "h100-sxm"), "device": ("predict", "gpt-2", "--on", file),
        "simulation": ("simulate", file),
    }  # fmt: skip
    message = one_sentence(*asks[place])
    assert str(file) in message
    assert words in message


@pytest.mark.parametrize("suffix", ["yaml", "json", "onnx", "csv"])
@pytest.mark.parametrize("what", ["folder", "empty", "binary", "absent"])
def test_what_is_no_file_of_its_kind_is_refused(suffix: str, what: str, tmp_path: Path) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnx")
    file = tmp_path / f"thing.{suffix}"
    if what == "folder":
        file.mkdir()
    elif what != "absent":
        file.write_bytes(b"" if what == "empty" else bytes(range(256)) * 4)
    ask = (
        ("predict-ops", file, "--out", tmp_path / "o.csv") if suffix == "csv" else ("predict", file, "--on", "h100-sxm")
    )
    assert str(file) in one_sentence(*ask)
    assert not (tmp_path / "o.csv").exists()


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100,
    "max_position_embeddings": 256, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_size": -4}, "hidden_size"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": None}, "missing"),
        ({"hidden_size": 64.5}, "hidden_size"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**30}, "layers"),
        ({"num_attention_heads": 3}, "heads"),
        ({"torch_dtype": "float3"}, "float3"),
        ({"torch_dtype": 5}, "torch_dtype"),
        ({"architectures": ["FooForCausalLM"]}, "Known: LlamaForCausalLM"),
        ({"architectures": 5, "model_type": ["x"]}, "model_type"),
        ({"quantization_config": "x"}, "quantization_config"),
        ({"quantization_config": {"quant_method": "zzz"}}, "zzz"),
    ],
)
def test_a_wrong_config_json_names_the_key(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA), encoding="utf-8")
    assert archcast("predict", file, "--on", "h100-sxm").code == 0
    file.write_text(json.dumps({**LLAMA, **changes}), encoding="utf-8")
    message = one_sentence("predict", file, "--on", "h100-sxm")
    assert str(file) in message
    assert word in message


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": ', "[" * 100_000])
def test_json_that_is_no_object_of_finite_numbers_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text, encoding="utf-8")
    assert str(file) in one_sentence("predict", file, "--on", "h100-sxm")


HEAD = "device,op,dtype,m,n,k\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "h100-sxm,gemm,bf16,1,2,3\nh100-sxmm,gemm,bf16,1,2,3\n", ["row 2", "'device'", "Nearest: h100-sxm"]),
        (HEAD + ",gemm,bf16,1,2,3\n", ["row 1", "'device'", "archcast devices"]),
        (HEAD + "h100-sxm,gemm,bf16,1,2,3\ngap8,gemm,fp64,1,2,3\n", ["row 2", "'dtype'", "gap8", "fp64"]),
        (HEAD + "h100-sxm,gemmm,bf16,1,2,3\n", ["row 1", "'op'", "gemm"]),
        (HEAD + "h100-sxm,gemm,bf17,1,2,3\n", ["row 1", "'dtype'", "bf16"]),
        (HEAD + "h100-sxm,gemm,bf16,-1,2,3\n", ["row 1", "'m'", "-1"]),
        (HEAD + "h100-sxm,gemm,bf16,nan,2,3\n", ["row 1", "'m'", "nan"]),
        (HEAD + "h100-sxm,gemm,bf16,1e99,2,3\n", ["row 1", "'m'", "1e+99"]),
        (HEAD + "h100-sxm,gemm,bf16,1.5,2,3\n", ["row 1", "'m'", "whole number"]),
        (HEAD + "h100-sxm,gemm,bf16,,2,3\n", ["row 1", "'m'", "above 0"]),
        (HEAD + "h100-sxm,gemm,bf16,1,2\n", ["5 cells", "6"]),
        (HEAD, ["no rows"]),
        ("op,dtype,m,n,k\ngemm,bf16,1,2,3\n", ["'device'"]),
        (HEAD.replace(",", ";") + "h100-sxm;gemm;bf16;1;2;3\n", ["commas"]),
    ],
)
def test_a_bad_operator_table_names_row_and_column(text: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "ops.csv"
    file.write_text(text, encoding="utf-8")
    message = one_sentence("predict-ops", file, "--out", tmp_path / "out.csv")
    assert str(file) in message
    assert all(word in message for word in words), message
    assert not (tmp_path / "out.csv").exists()


WORKLOAD = """kind: workload
blocks:
  - name: layer
    operators:
      - {name: up, op: gemm, m: 1, n: 8, k: 4, inputs: input}
      - {name: down, op: gemm, m: 1, n: 4, k: 8, inputs: up}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("inputs: input", "inputs: down", ["cycle", "up -> down -> up"]),
        ("inputs: up", "inputs: down", ["cycle", "down -> down"]),
        ("inputs: input", "inputs: inptu", ["'inptu'", "up"]),
        ("n: 8, k: 4", "k: 4", ["gemm needs n"]),
        ("n: 8, k: 4", "n: .nan, k: 4", ["not a usable number"]),
        ("n: 8, k: 4", "n: -8, k: 4", ["n must be", "-8"]),
        ("op: gemm", "op: gemmm", ["'gemmm'", "Nearest: gemm"]),
        ("n: 8, k: 4", "n: 8, k: 4, p: 3", ["'p'"]),
        ("kind: workload", "kind: wrkload", ["'wrkload'", "kind: workload"]),
    ],
)
def test_a_wrong_workload_file_names_line_and_key(right: str, wrong: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "network.yaml"
    file.write_text(WORKLOAD, encoding="utf-8")
    assert archcast("predict", file, "--on", "h100-sxm").code == 0
    file.write_text(WORKLOAD.replace(right, wrong, 1), encoding="utf-8")
    message = one_sentence("predict", file, "--on", "h100-sxm")
    assert f"{file}:" in message
    assert all(word in message for word in words), message


def convolution(folder: Path, *, location: str = "weights.bin", image: list[int] | None = None) -> Path:
    """Write an ONNX file of one convolution whose weights are external data at `location`."""
    onnx = pytest.importorskip("onnx")
    helper, tensor = onnx.helper, onnx.TensorProto
    weights = tensor(name="w", data_type=tensor.FLOAT, dims=[8, 3, 3, 3], data_location=tensor.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    (folder / "weights.bin").write_bytes(b"\0" * 4 * 8 * 27)
    inputs = [helper.make_tensor_value_info("x", tensor.FLOAT, image)]
    outputs = [helper.make_tensor_value_info("y", tensor.FLOAT, None)]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="first")], "g", inputs, outputs, [weights]
    )
    file = folder / "net.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return file


IMAGE = [1, 3, 32, 32]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin"])
def test_an_onnx_file_may_not_point_outside_its_folder(location: str, tmp_path: Path) -> None:
    assert archcast("predict", convolution(tmp_path, image=IMAGE), "--on", "rk3588").code == 0
    message = one_sentence("predict", convolution(tmp_path, location=location, image=IMAGE), "--on", "rk3588")
    assert "'w'" in message
    assert location in message


def test_an_onnx_file_that_is_truncated_is_refused(tmp_path: Path) -> None:
    file = convolution(tmp_path, image=IMAGE)
    content = file.read_bytes()
    for keep in (1, len(content) // 3, len(content) - 3):
        file.write_bytes(content[:keep])
        assert str(file) in one_sentence("predict", file, "--on", "rk3588")


def test_an_onnx_file_without_shapes_says_which_is_missing(tmp_path: Path) -> None:
    assert "'x'" in one_sentence("predict", convolution(tmp_path), "--on", "rk3588")


@pytest.mark.parametrize("content", ["", HEAD, HEAD + "h100-sxm,gemm,bf16,1,2,3\n", "{}"])
def test_what_cannot_be_calibrated_on_leaves_no_artefact(content: str, tmp_path: Path) -> None:
    file = tmp_path / "measured.csv"
    file.write_text(content, encoding="utf-8")
    one_sentence("calibrate", file, "--out", tmp_path / "model")
    assert not (tmp_path / "model").exists()


GRAPH = """kind: graph
policy: critical-path
engines:
  - {name: gpu, kind: compute}
  - {name: link, kind: link, bandwidth_bytes_per_s: 50e9}
tasks:
  - {name: forward, engine: gpu, duration_s: 1e-3, repeat: 4}
  - {name: send, engine: link, bytes: 1e6, after: [forward]}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("name: forward,", "name: forward, after: [send],", ["in a circle", "forward -> send"]),
        ("after: [forward]", "after: [send]", ["in a circle"]),
        ("after: [forward]", "after: [forwrd]", ["'forwrd'", "Nearest: forward"]),
        ("duration_s: 1e-3", "duration_s: .nan", ["duration_s", "not a usable number"]),
        ("duration_s: 1e-3", "duration_s: -1", ["duration_s", "-1"]),
        ("duration_s: 1e-3", "duration_s: 5 ms", ["duration_s", "'5 ms'"]),
        ("duration_s: 1e-3", "duration_s: 1e99", ["64 bits"]),
        ("repeat: 4", "repeat: 0", ["repeat", "from 1"]),
        ("50e9", "0", ["bandwidth_bytes_per_s", "above 0"]),
        ("engine: gpu", "engine: gpuu", ["'gpuu'", "Nearest: gpu"]),
        ("kind: graph", "kind: grph", ["'grph'", "graph"]),
        ("policy: critical-path", "policy: fastest", ["policy", "'fastest'"]),
    ],
)
def test_a_wrong_task_graph_names_line_and_key(right: str, wrong: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(GRAPH.replace(right, wrong, 1), encoding="utf-8")
    message = one_sentence("simulate", file)
    assert f"{file}:" in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "setting", ["nowhere.duration_s=1", "tasks.forward.duration_s=nan", "tasks.forward.duration_s=", "tasks=5"]
)
def test_a_setting_without_place_or_value_is_refused(setting: str, tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(GRAPH, encoding="utf-8")
    assert setting.split("=")[0].split(".")[0] in one_sentence("simulate", file, "--set", setting)


@pytest.mark.parametrize("option", ["--html", "--trace"])
def test_an_output_that_cannot_be_written_is_named(option: str, tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text(GRAPH, encoding="utf-8")
    for target in (tmp_path / "absent" / "out", tmp_path):
        assert str(target) in one_sentence("simulate", file, option, target)


def test_a_page_into_a_missing_folder_is_refused_before_the_answer(tmp_path: Path) -> None:
    target = tmp_path / "absent" / "page.html"
    assert str(target.parent) in one_sentence("predict", "gpt-2", "--on", "h100-sxm", "--html", target)
    assert str(tmp_path) in one_sentence("predict", "gpt-2", "--on", "h100-sxm", "--html", tmp_path)


def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    folder = Path("/proc") if os.access(tmp_path, os.W_OK) else tmp_path  # the superuser may write anywhere but there
    if not folder.is_dir():
        pytest.skip("no folder on this system that this user may not write to")
    for ask in (("predict", "gpt-2", "--on", "h100-sxm"), ("simulate", "overlap")):
        assert str(folder / "page.html") in one_sentence(*ask, "--html", folder / "page.html")


@pytest.mark.parametrize("name", ["z" * 5000, "a\nb\x1b[31mred", "../../etc/passwd", "", " "])
def test_a_strange_name_stays_one_printable_line(name: str) -> None:
    message = one_sentence("predict", name, "--on", "h100-sxm")
    assert message.isprintable()


def test_a_folder_in_place_of_a_file_says_to_name_the_file(tmp_path: Path) -> None:
    assert "config.json" in one_sentence("predict", f"{tmp_path}/", "--on", "h100-sxm")


def test_a_folder_that_is_no_artefact_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in one_sentence(*ASK, "--model", tmp_path)
    assert "archcast calibrate" in one_sentence(*ASK, "--model", tmp_path / "absent")


def test_a_model_that_does_not_fit_is_an_answer() -> None:
    ended = archcast("predict", "deepseek-v3", "--on", "rtx-4090", "--json")
    answer = ended.json()
    assert ended.code == 0
    assert answer["verdict"] == "infeasible"
    assert answer["shortfall_bytes"] > 6e11  # 671e9 parameters in fp8 against 24 GB
    assert "latency_s" not in answer or answer["latency_s"] is None


def test_the_largest_sizes_that_are_accepted_give_a_finite_answer() -> None:
    answer = archcast(*ASK, "--batch", 10**7, "--prompt", 10**9, "--json").json()
    assert answer["verdict"] == "infeasible"
    # the KV cache alone: 2 x 32 layers x 8 heads x 128 x 2 B = 131072 B a token
    assert answer["memory_bytes"]["value"] > 131072 * 1e16
