"""torch.export programs: real files read without torch, MACs by hand, live programs alike, hostile archives refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast, archcast_process
from hypothesis import given, settings
from hypothesis import strategies as st
from importer_files import FIXTURES, flipped, flips, with_bytes

from workloads.catalogue import load_model
from workloads.importers import torch_export_read
from workloads.importers.onnx_shapes import Tensor
from workloads.importers.torch_export import _model, from_exported_program, load_torch_export
from workloads.importers.torch_export_read import Call, Exported
from workloads.model import Request

FILES = FIXTURES / "pt2"
CNN_MACS = 16 * 16 * 8 * 27 + 16 * 16 * 8 * 9 + 16 * 16 * 8 * 16 + 160
CNN_PARAMETERS = 8 * 27 + 2 * 8 + 8 * 9 + 8 + 16 * 8 + 16 + 160 + 10
LAYER_MACS = 12 * (3 * 16 * 16 + 16 * 16 + 2 * 16 * 64 + 16 * 50) + (12 * 13 // 2) * 4 * (4 + 4)
LAYER_PARAMETERS = 50 * 16 + 2 * 32 + 3 * 272 + 272 + (16 * 64 + 64) + (64 * 16 + 16)


def graph_of(name: str) -> dict[str, Any]:
    with zipfile.ZipFile(FILES / name) as archive:
        inside = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        return json.loads(archive.read(inside))  # type: ignore[no-any-return]


def archived(graph: Any, *, name: str = "m/models/model.json", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr(name, graph if isinstance(graph, bytes | str) else json.dumps(graph))
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [("cnn", CNN_MACS, CNN_PARAMETERS), ("layer", LAYER_MACS, LAYER_PARAMETERS)],
)
def test_a_real_file_has_its_hand_computed_macs_and_parameters(name: str, macs: int, parameters: int) -> None:
    model = load_torch_export(FILES / f"{name}.pt2")
    assert model.summary()["macs"] == macs
    assert model.summary()["parameters"] == parameters
    assert model.workload(Request(batch=3)).graph.macs() == 3 * macs
    assert model.report["unmodelled"] == []


def test_the_epilogues_of_a_convolution_run_inside_it() -> None:
    (block,) = load_torch_export(FILES / "cnn.pt2").graph.blocks
    launched = [o.name for o in block.operators if not o.fused]
    assert launched == ["conv2d", "conv2d_1", "conv2d_2", "max_pool2d", "adaptive_avg_pool2d", "linear"]


def test_attention_is_one_operator_with_its_mask() -> None:
    (block,) = load_torch_export(FILES / "layer.pt2").graph.blocks
    shape = dict(next(o.shape for o in block.operators if o.op == "attention"))
    assert (shape["heads"], shape["head_dim"], shape["q_len"], shape["causal"]) == (4, 4, 12, 1)


def test_tied_weights_count_once_and_running_statistics_not_at_all() -> None:
    (block,) = load_torch_export(FILES / "layer.pt2").graph.blocks
    held = {o.name: o.parameters for o in block.operators if o.op in ("gemm", "embedding")}
    assert held["embedding"] == 50 * 16
    assert held["linear_4"] == 0
    (block,) = load_torch_export(FILES / "cnn.pt2").graph.blocks
    assert next(o.parameters for o in block.operators if o.name == "batch_norm") == 2 * 8


def test_the_older_place_of_the_graph_is_read_too() -> None:
    text = archived(graph_of("cnn.pt2"), name="serialized_exported_program.json")
    assert with_bytes(load_torch_export, text, ".pt2") == ""


def test_open_sizes_other_than_the_batch_are_named() -> None:
    graph = graph_of("layer.pt2")
    for tensor in graph["graph_module"]["graph"]["tensor_values"].values():
        for i, size in enumerate(tensor["sizes"]):
            if size.get("as_int") == 12:
                tensor["sizes"][i] = {"as_expr": {"expr_str": "Symbol('s3')", "hint": {"as_int": 12}}}
    path = FILES.parent / "unused"
    program = torch_export_read._Reader(path).program(graph)
    assert program.open_sizes == {"s3": 12}


def test_torch_is_not_needed_to_read_a_file(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch must not be imported')")
    code = (
        "import sys; from workloads.importers.torch_export import load_torch_export as load;"
        f"print(load({str(FILES / 'cnn.pt2')!r}).summary()['macs']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=FILES.parents[2],
        env={"PYTHONPATH": f"{tmp_path}:{FILES.parents[2]}"},
    )  # fmt: skip
    assert done.stdout.strip() == f"{float(CNN_MACS)}", done.stderr


def test_the_command_line_predicts_an_exported_program() -> None:
    answer = archcast("predict", FILES / "cnn.pt2", "--on", "h100-sxm", "--json")
    assert answer.code == 0, answer.stderr
    assert load_model(FILES / "cnn.pt2").family == "torch-export"


def test_reading_a_program_imports_nothing_heavy() -> None:
    answer = archcast_process("predict", FILES / "layer.pt2", "--on", "h100-sxm", "--json")
    assert answer.code == 0, answer.stderr


def test_an_einsum_is_its_products() -> None:
    def tensor(name: str, *dims: int) -> Tensor:
        return Tensor(name, "FLOAT", dims)

    inputs, out = (tensor("a", 2, 4, 5), tensor("b", 2, 5, 6)), tensor("c", 2, 4, 6)
    call = Call(
        "torch.ops.aten.einsum.default", "einsum", {"equation": "bij,bjk->bik", "tensors": list(inputs)}, (out,)
    )
    model = _model(Exported((call,), (), (), inputs, ("c",)), Path("m.pt2"))
    assert model.workload(Request(batch=2)).graph.macs() == 2 * 4 * 5 * 6


def test_a_live_program_equals_its_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")

    class Net(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.lstm = torch.nn.LSTM(8, 16, batch_first=True)
            self.out = torch.nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm(self.conv(x))).mean(-1).transpose(1, 2)
            first, second = self.out(self.lstm(x)[0]).chunk(2, -1)
            return first + second

    program = torch.export.export(Net().eval(), (torch.zeros(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    live, filed = from_exported_program(program), load_torch_export(tmp_path / "net.pt2")
    assert live.summary()["macs"] == filed.summary()["macs"] == 64 * 8 * 27 + 8 * (64 * 8 + 64 * 16) + 8 * 16 * 4
    assert live.summary()["parameters"] == filed.summary()["parameters"]
    assert live.report["unmodelled"] == filed.report["unmodelled"] == []


def change(graph: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    at = graph
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return graph


BROKEN: list[tuple[tuple[Any, ...], Any, str]] = [
    (("graph_module",), [], "graph_module is no object"),
    (("graph_module", "graph", "nodes"), {}, "nodes is no list"),
    (("graph_module", "graph", "nodes", 0, "target"), None, "no target"),
    (("graph_module", "graph", "nodes", 0, "inputs", 0, "arg", "as_tensor", "name"), "gone", "nothing produces"),
    (("graph_module", "graph", "tensor_values", "conv2d", "sizes", 1), {"as_int": 10**15}, "impossible shape"),
    (("graph_module", "graph", "tensor_values", "conv2d", "sizes", 1), {"as_int": -4}, "impossible shape"),
    (("graph_module", "graph", "tensor_values", "conv2d", "sizes", 1), {"as_expr": {}}, "hint"),
    (("graph_module", "graph", "tensor_values", "conv2d", "dtype"), 99, "unknown type"),
    (("graph_module", "graph", "tensor_values", "conv2d", "sizes"), [{"as_int": 1}] * 99, "too many axes"),
    (("graph_module", "graph", "tensor_values", "x", "sizes"), [], "do not fit it"),
    (("graph_module", "graph", "nodes"), [], "computes nothing"),
]


@pytest.mark.parametrize(("path", "value", "problem"), BROKEN)
def test_a_graph_that_is_not_as_the_schema_says_is_refused(path: tuple[Any, ...], value: Any, problem: str) -> None:
    graph = change(graph_of("cnn.pt2"), *path, value=value)
    assert problem in with_bytes(load_torch_export, archived(graph), ".pt2")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a .pt2 archive"),
        (b"PK\x03\x04" + b"\0" * 60, "not a .pt2 archive"),
        (archived(b"{", name="m/data.pkl"), "torch.export.save"),
        (archived(b"{"), "not JSON"),
        (archived(b"[" * 200_000), "not JSON"),
        (archived(b'{"graph_module": 1' + b"0" * 5000 + b"}"), "not JSON"),
        (archived(b"[]"), "no object"),
    ],
)
def test_what_is_no_program_is_refused(data: bytes, problem: str) -> None:
    assert problem in with_bytes(load_torch_export, data, ".pt2")


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archived(b" " * 3_000_000)
    assert len(bomb) < 10_000
    monkeypatch.setattr(torch_export_read, "MAX_JSON_BYTES", 1_000_000)
    assert "1,000,000 bytes" in with_bytes(load_torch_export, bomb, ".pt2")
    monkeypatch.setattr(torch_export_read, "MAX_DIRECTORY_BYTES", 10)
    assert "table of contents" in with_bytes(load_torch_export, bomb, ".pt2")


def test_two_graphs_in_one_archive_are_refused() -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a/models/model.json", "{}")
        archive.writestr("b/models/model.json", "{}")
    assert "2 graphs" in with_bytes(load_torch_export, data.getvalue(), ".pt2")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float) -> None:
    data = (FILES / "cnn.pt2").read_bytes()
    assert "truncated" in with_bytes(load_torch_export, data[: int(len(data) * share)], ".pt2")


SMALL = archived(graph_of("cnn.pt2"), method=zipfile.ZIP_STORED)
TEXT = json.dumps(graph_of("cnn.pt2"))


@settings(max_examples=60)
@given(places=flips(len(SMALL)))
def test_an_archive_with_flipped_bytes_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_torch_export, flipped(SMALL, places), ".pt2")


@settings(max_examples=60)
@given(places=flips(len(TEXT)))
def test_a_graph_with_flipped_characters_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_torch_export, archived(flipped(TEXT.encode(), places)), ".pt2")


VALUES = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.text(max_size=5), st.lists(st.integers(), max_size=3))


@settings(max_examples=80)
@given(node=st.integers(0, 9), argument=st.integers(0, 8), value=VALUES, kind=st.sampled_from(["as_ints", "as_int"]))
def test_a_graph_with_other_arguments_is_read_or_refused(node: int, argument: int, value: Any, kind: str) -> None:
    graph = json.loads(TEXT)
    inputs = graph["graph_module"]["graph"]["nodes"][node]["inputs"]
    inputs[argument % len(inputs)]["arg"] = {kind: value}
    with_bytes(load_torch_export, archived(graph, method=zipfile.ZIP_STORED), ".pt2")


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert with_bytes(load_torch_export, data, ".pt2")
