"""StableHLO text becomes a workload: MACs by hand, both printed forms alike, loops as repeats, hostile text refused."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import FrameType

import pytest
from cli_runner import archcast
from hypothesis import given, settings
from hypothesis import strategies as st
from importer_files import FIXTURES, flipped, flips, with_bytes

from foundation.errors import BadFileError, BadValueError, UnknownNameError
from workloads.catalogue import load_model
from workloads.graph import Operator
from workloads.importers import mlir_text, stablehlo_graph, traced
from workloads.importers.stablehlo import StableHloModel, load_stablehlo
from workloads.model import Request

PROGRAMS = FIXTURES / "stablehlo"
CONVOLUTIONS = (
    32 * 32 * 16 * 7 * 7 * 3 + 2 * (16 * 16 * 16 * 9 * 16) + 8 * 8 * 32 * (9 * 16 + 9 * 32 + 16)
    + 4 * 4 * 64 * (9 * 32 + 9 * 64 + 32) + 4 * 4 * 64 * 9
)  # fmt: skip
"""MACs of resnet.mlir for one image, without its last layer."""


def load(name: str) -> StableHloModel:
    return load_stablehlo(PROGRAMS / f"{name}.mlir")


def operators(model: StableHloModel) -> dict[str, Operator]:
    return {o.name: o for block in model.graph.blocks for o in block.operators}


def program(*lines: str, arguments: str = "%arg0: tensor<4x8xf32>") -> bytes:
    body = "\n".join(f"    {line}" for line in lines)
    return f"module @m {{\n  func.func public @main({arguments}) {{\n{body}\n  }}\n}}\n".encode()


def model_of(tmp_path: Path, text: bytes) -> StableHloModel:
    path = tmp_path / "m.mlir"
    path.write_bytes(text)
    return load_stablehlo(path)


@pytest.mark.parametrize(
    ("name", "batch", "macs", "parameters"),
    [
        ("mlp", 4, 4 * (32 * 64 + 64 * 128 + 128 * 10), 32 * 64 + 64 + 64 * 128 + 128 + 128 * 10 + 10),
        ("resnet", 2, 2 * (CONVOLUTIONS + 64 * 10), 81_274),  # parameters: what flax counts, running statistics too
        (
            "transformer", 2, 32 * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 2 * 16 * 16 * 64,
            1000 * 64 + 4 * (64 * 64 + 64) + 4 * 64 + 64 * 256 + 256 + 256 * 64 + 64,
        ),
        ("scan", 4, 6 * 4 * 32 * 32, 6 * 32 * 32),
        ("lstm", 4, 10 * 4 * (16 * 128 + 32 * 128), 16 * 128 + 32 * 128 + 128),
    ],
)  # fmt: skip
def test_a_program_that_jax_printed_has_its_hand_computed_macs(
    name: str, batch: int, macs: float, parameters: int
) -> None:
    model = load(name).with_knobs({"exported_batch": batch})
    workload = model.workload(Request(batch=batch))
    assert workload.graph.macs() == macs
    assert workload.parameters == parameters
    assert model.report["unmodelled"] == []


@pytest.mark.parametrize("name", ["mlp", "scan"])
def test_the_pretty_and_the_generic_form_are_one_program(name: str) -> None:
    pretty, generic = load(name), load(f"{name}.generic")
    assert [len(b.operators) for b in pretty.graph.blocks] == [len(b.operators) for b in generic.graph.blocks]
    assert pretty.graph.macs() == generic.graph.macs()
    assert pretty.graph.parameters == generic.graph.parameters
    assert [b.count for b in pretty.graph.blocks] == [b.count for b in generic.graph.blocks]


def test_jaxs_own_count_of_the_mlp_is_two_a_mac_and_one_an_element_of_bias_and_relu() -> None:
    jax_flop = 93_736  # lowered.cost_analysis()["flops"] of the program
    elementwise = 4 * (64 + 128 + 10) + 4 * (64 + 128)
    assert 2 * load("mlp").workload(Request(batch=4)).graph.macs() + elementwise == jax_flop


def test_a_scan_is_a_block_with_its_trip_count_and_one_set_of_weights() -> None:
    (block,) = load("scan").graph.blocks
    assert (block.count, block.shared, block.copies) == (6, True, 1)
    assert [o.op for o in block.operators] == ["gemm", "elementwise"]
    assert dict(block.operators[0].shape) == {"m": 1.0, "n": 32.0, "k": 32.0, "batch": 1.0}


def test_a_loop_that_depends_on_data_is_counted_once_and_said() -> None:
    model = load("open_while")
    assert model.workload(Request(batch=4)).graph.macs() == 4 * 32 * 32
    assert any("as often as data says" in note for note in model.workload(Request()).notes)


@pytest.mark.parametrize(
    ("test", "start", "end", "step", "trips"),
    [("LT", 0, 7, 1, 7), ("LE", 0, 7, 1, 8), ("LT", 3, 8, 2, 3), ("GT", 9, 0, -1, 9), ("NE", 0, 6, 2, 3)],
)
def test_trip_counts_follow_from_start_limit_and_step(
    tmp_path: Path, test: str, start: int, end: int, step: int, trips: int
) -> None:
    text = program(
        f"%c = stablehlo.constant dense<{start}> : tensor<i32>",
        f"%e = stablehlo.constant dense<{end}> : tensor<i32>",
        f"%s = stablehlo.constant dense<{step}> : tensor<i32>",
        "%0:2 = stablehlo.while(%i = %c, %x = %arg0) : tensor<i32>, tensor<4x8xf32>",
        "cond {",
        f"  %1 = stablehlo.compare {test}, %i, %e, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>",
        "  stablehlo.return %1 : tensor<i1>",
        "} do {",
        "  %1 = stablehlo.add %i, %s : tensor<i32>",
        "  %2 = stablehlo.tanh %x : tensor<4x8xf32>",
        "  stablehlo.return %1, %2 : tensor<i32>, tensor<4x8xf32>",
        "}",
        "return %0#1 : tensor<4x8xf32>",
    )
    assert [block.count for block in model_of(tmp_path, text).graph.blocks] == [trips]


def test_weights_are_the_arguments_that_are_used_as_weights_only() -> None:
    model = load("transformer")
    assert model.knobs() == {"data": [17], "exported_batch": 2}
    assert "17 of 18 arguments" in model.workload(Request()).notes[0]


def test_the_knob_data_changes_what_counts_as_weights() -> None:
    model = load("mlp")
    (data,) = model.knobs()["data"]
    everything = model.with_knobs({"data": list(range(data + 1)), "exported_batch": 4})
    assert everything.graph.parameters == 0
    assert everything.workload(Request(batch=4)).graph.macs() == model.workload(Request(batch=4)).graph.macs()
    assert model.with_knobs({"data": f"{data}"}).graph.parameters == model.graph.parameters
    with pytest.raises(BadValueError, match="data must be a whole number"):
        model.with_knobs({"data": 99})
    with pytest.raises(UnknownNameError, match="--batch"):
        model.with_knobs({"batch": 2})


def test_where_every_argument_is_used_as_weights_the_last_one_is_data(tmp_path: Path) -> None:
    text = program(
        "%0 = stablehlo.dot_general %arg0, %arg0, contracting_dims = [1] x [0] : "
        "(tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>",
        "%1 = stablehlo.dot_general %0, %arg1, contracting_dims = [1] x [0] : "
        "(tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>",
        "return %1 : tensor<8x8xf32>",
        arguments="%arg0: tensor<8x8xf32>, %arg1: tensor<8x8xf32>",
    )
    assert model_of(tmp_path, text).knobs()["data"] == [0]
    swapped = text.replace(b"%arg0, %arg0", b"%c, %arg0").replace(b"{\n    %0", b"{\n    " + CONSTANT + b"\n    %0")
    assert model_of(tmp_path, swapped).knobs()["data"] == [1]


CONSTANT = b'%c = stablehlo.constant dense<"0x0011"> : tensor<8x8xf32>'


def test_a_product_of_whole_numbers_is_a_kernel_however_small(tmp_path: Path) -> None:
    text = program(
        "%0 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0] : "
        "(tensor<4x8xi8>, tensor<8x8xi8>) -> tensor<4x8xi32>",
        "return %0 : tensor<4x8xi32>",
        arguments="%arg0: tensor<4x8xi8>, %arg1: tensor<8x8xi8>",
    )
    model = model_of(tmp_path, text)
    assert model.workload(Request(batch=4)).graph.macs() == 4 * 8 * 8
    assert (model.native_dtype, model.graph.parameters) == ("int8", 64)


def test_dense_constants_are_weights_and_one_value_for_all_is_not(tmp_path: Path) -> None:
    text = program(
        '%w = stablehlo.constant dense<"0x00112233"> : tensor<8x16xf32>',
        "%z = stablehlo.constant dense<0.0> : tensor<4x16xf32>",
        "%0 = stablehlo.dot_general %arg0, %w, contracting_dims = [1] x [0] : "
        "(tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>",
        "%1 = stablehlo.maximum %0, %z : tensor<4x16xf32>",
        "return %1 : tensor<4x16xf32>",
    )
    model = model_of(tmp_path, text)
    assert model.graph.parameters == 8 * 16
    assert model.workload(Request(batch=4)).graph.macs() == 4 * 8 * 16


def test_bias_and_relu_join_the_product_before_them() -> None:
    found = operators(load("mlp"))
    assert sum(not o.fused for o in found.values()) == 3
    assert all(o.op == "gemm" for o in found.values() if not o.fused)


def test_formats_are_those_of_the_operands(tmp_path: Path) -> None:
    text = program(
        "%0 = stablehlo.convert %arg1 : (tensor<8x16xi8>) -> tensor<8x16xbf16>",
        "%1 = stablehlo.dot_general %arg0, %0, contracting_dims = [1] x [0] : "
        "(tensor<4x8xbf16>, tensor<8x16xbf16>) -> tensor<4x16xf32>",
        "%2 = stablehlo.dot_general %arg0, %arg2, contracting_dims = [1] x [0] : "
        "(tensor<4x8xbf16>, tensor<8x16xbf16>) -> tensor<4x16xf32>",
        "return %1, %2 : tensor<4x16xf32>, tensor<4x16xf32>",
        arguments="%arg0: tensor<4x8xbf16>, %arg1: tensor<8x16xi8>, %arg2: tensor<8x16xbf16>",
    )
    found = operators(model_of(tmp_path, text).with_knobs({"data": 0}))
    assert [o.dtype for o in found.values()] == ["w8a16", "bf16"]


def test_calls_are_written_out_and_unknown_kernels_are_reported(tmp_path: Path) -> None:
    text = (
        b"module @m {\n  func.func @main(%arg0: tensor<4x8xf32>) -> tensor<4x8xf32> {\n"
        b"    %0 = call @f(%arg0) : (tensor<4x8xf32>) -> tensor<4x8xf32>\n"
        b"    %1 = func.call @f(%0) : (tensor<4x8xf32>) -> tensor<4x8xf32>\n"
        b'    %2 = stablehlo.custom_call @my_kernel(%1) {backend_config = ""} : (tensor<4x8xf32>) -> tensor<4x8xf32>\n'
        b"    return %2 : tensor<4x8xf32>\n  }\n"
        b"  func.func private @f(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {\n"
        b"    %0 = stablehlo.exponential %x : tensor<4x8xf32>\n    return %0 : tensor<4x8xf32>\n  }\n}\n"
    )
    model = model_of(tmp_path, text)
    assert [o.op for o in operators(model).values()] == ["elementwise", "elementwise", "copy"]
    (entry,) = model.report["unmodelled"]
    assert entry["op"] == "my_kernel"
    assert any("my_kernel" in note for note in model.workload(Request()).notes)


def test_random_programs_of_jax_are_read_whole() -> None:
    model = load("misc")
    assert model.report["unmodelled"] == []
    assert model.workload(Request(batch=4)).graph.macs() == 2 * 4 * 32 * 32
    assert any("longer of its 2 branches" in note for note in model.workload(Request()).notes)


def test_the_command_line_predicts_a_program_by_its_path() -> None:
    answer = archcast("predict", PROGRAMS / "resnet.mlir", "--on", "h100-sxm", "--batch", 8, "--json")
    assert answer.code == 0, answer.stderr
    assert load_model(str(PROGRAMS / "resnet.mlir")).summary()["family"] == "stablehlo"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "no function"),
        (b"hello, world", "no function"),
        (b"\xff\xfe", "UTF-8"),
        (b"module { func.func @main(%a: tensor<4xf32>) {", "never closed"),
        (b"module }", "closes nothing"),
        (b'module { "never closed', "string is never closed"),
        (b"module { %0 = stablehlo.constant dense<1.0", "constant is never closed"),
        (b"module " + b"{" * 5000 + b"}" * 5000, "nested deeper"),
        (program("%0 = stablehlo.tanh %nothing : tensor<4xf32>", "return %0 : tensor<4xf32>"), "nothing produces"),
        (program("%0 = call @main(%arg0) : (tensor<4x8xf32>) -> tensor<4x8xf32>"), "deeper than"),
        (program("%0 = call @other(%arg0) : (tensor<4x8xf32>) -> tensor<4x8xf32>"), "no function of the file"),
        (program("%0 = stablehlo.tanh %arg0 : tensor<9999999999999x9999999999999xf32>"), "elements"),
        (program("%0 = stablehlo.tanh %arg0 : tensor<99999999999999999999xf32>"), "cannot be read"),
        (program("%0 = stablehlo.tanh %arg0 : tensor<?x8xf32>"), "fixed sizes"),
        (program("%0 = stablehlo.tanh %arg0 : tensor<*xf32>"), "cannot be read"),
        (program("%0:9 = stablehlo.tanh %arg0 : tensor<4x8xf32>"), "9 results"),
        (program("%0:999999999999 = stablehlo.tanh %arg0 : tensor<4x8xf32>"), "results"),
        (program("return %arg0 : tensor<4x8xf32>"), "computes nothing"),
        (
            program(
                "%0 = stablehlo.dot_general %arg0, %arg0, contracting_dims = [1] x [0] : "
                "(tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x4xf32>"
            ),
            "different sizes",
        ),
        (
            program(
                "%0 = stablehlo.dot_general %arg0, %arg0, contracting_dims = [7] x [9] : "
                "(tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x4xf32>"
            ),
            "do not fit it",
        ),
    ],
)
def test_a_broken_program_is_refused_in_one_sentence(text: bytes, problem: str) -> None:
    assert problem in with_bytes(load_stablehlo, text, ".mlir")


def test_functions_that_double_each_other_do_not_blow_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MAX_NODES", 5_000)
    kind = "(tensor<4x8xf32>) -> tensor<4x8xf32>"
    lines = ["module @m {"]
    for i in range(35):
        name, inner = ("main" if i == 0 else f"f{i}"), f"f{i + 1}"
        lines += [f"  func.func @{name}(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {{",
                  f"    %0 = call @{inner}(%x) : {kind}", f"    %1 = call @{inner}(%0) : {kind}",
                  "    return %1 : tensor<4x8xf32>", "  }"]  # fmt: skip
    lines += [
        "  func.func @f35(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {",
        "    %0 = stablehlo.tanh %x : tensor<4x8xf32>", "    return %0 : tensor<4x8xf32>", "  }", "}",
    ]  # fmt: skip
    assert "functions written out" in with_bytes(load_stablehlo, "\n".join(lines).encode(), ".mlir")


def test_a_loop_may_not_repeat_without_bound() -> None:
    text = (PROGRAMS / "scan.mlir").read_bytes().replace(b"dense<6>", b"dense<999999999999>")
    assert "repeats its body" in with_bytes(load_stablehlo, text, ".mlir")


def test_work_is_linear_in_the_length_of_the_text() -> None:
    def calls(lines: int) -> int:
        """Return how many functions, those of C too, one reading calls: unlike a time, the same in every run."""
        text = program(*(f"%{i} = stablehlo.tanh %{i - 1 if i else 'arg0'} : tensor<4x8xf32>" for i in range(lines)))
        count = 0

        def note(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            assert with_bytes(load_stablehlo, text, ".mlir") == ""
        finally:
            sys.setprofile(None)
        return count

    calls(200)  # what is loaded and cached on first use
    assert calls(4_000) < 11 * calls(400)  # ten times the text; quadratic would be a hundred


@pytest.mark.parametrize("hostile", [b"dense<", b'"', b"<", b"%0:", b"loc(", b"tensor<4x", b"-> ", b"{\n", b"^bb("])
def test_many_beginnings_without_an_end_are_refused_at_once(hostile: bytes) -> None:
    begun = time.perf_counter()
    assert with_bytes(load_stablehlo, b"module {" + hostile * 200_000, ".mlir")
    assert time.perf_counter() - begun < 5


def test_a_file_beyond_a_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROGRAMS / "mlp.mlir").read_bytes()
    monkeypatch.setattr(mlir_text, "MAX_TOKENS", 100)
    assert "100 words" in with_bytes(load_stablehlo, text, ".mlir")
    monkeypatch.setattr(mlir_text, "MAX_TOKENS", 10**6)
    monkeypatch.setattr(stablehlo_graph, "MAX_WORDS", 100)
    assert "too long" in with_bytes(load_stablehlo, text, ".mlir")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.995])
def test_a_truncated_program_says_so(share: float) -> None:
    text = (PROGRAMS / "transformer.mlir").read_bytes()
    said = with_bytes(load_stablehlo, text[: int(len(text) * share)], ".mlir")
    assert "truncated" in said or "cannot stand here" in said


SCAN = (PROGRAMS / "scan.mlir").read_bytes()
WORDS = sorted({*SCAN.decode().split(), "{", "}", "(", ")", "tensor<", ">", "stablehlo.case", "stablehlo.while", "\n"})


@settings(max_examples=150)
@given(places=flips(len(SCAN)))
def test_a_program_with_flipped_bytes_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_stablehlo, flipped(SCAN, places), ".mlir")


@settings(max_examples=150)
@given(cuts=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(WORDS)), min_size=1, max_size=5))
def test_a_program_with_other_words_in_it_is_read_or_refused(cuts: list[tuple[int, str]]) -> None:
    words = SCAN.decode().split(" ")
    for place, word in cuts:
        words[place % len(words)] = word
    with_bytes(load_stablehlo, " ".join(words).encode(), ".mlir")


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert with_bytes(load_stablehlo, data, ".mlir")


def test_errors_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"m\.mlir:3: .*%nothing"):
        model_of(tmp_path, program("%0 = stablehlo.tanh %nothing : tensor<4xf32>"))
