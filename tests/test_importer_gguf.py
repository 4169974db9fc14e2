"""GGUF headers become decoders: sizes, formats and exact counts from the tables; hostile headers are refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast
from gguf_files import KINDS, decoder, gguf
from hypothesis import given, settings
from hypothesis import strategies as st
from importer_files import flipped, flips, with_bytes

from foundation.formats import FORMATS, GGML_BLOCKS, number_format
from workloads.catalogue import load_model
from workloads.importers import gguf_read
from workloads.importers.gguf import ARCHITECTURES, load_gguf
from workloads.importers.gguf_read import TYPES, read_gguf
from workloads.model import Model, Request


def written(tmp_path: Path, metadata: dict[str, Any], tensors: Any, name: str = "m.gguf") -> Path:
    path = tmp_path / name
    path.write_bytes(gguf(metadata, tensors))
    return path


def model_of(tmp_path: Path, architecture: str = "qwen2", **sizes: Any) -> Model:
    return load_gguf(written(tmp_path, *decoder(architecture, **sizes)))


def test_a_file_becomes_the_decoder_that_it_holds(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    knobs = model.knobs()
    wanted = {
        "layers": 2, "hidden": 256, "heads": 4, "kv_heads": 2, "inter": 512, "vocab": 1000, "tied": True, "gated": True,
        "bias": "qkv", "norm": "rms", "qk_norm": False, "max_context": 2048, "dtype": "q4_k",
        "embedding_dtype": "q8_0", "lm_head_dtype": "q8_0",
    }  # fmt: skip
    assert {key: knobs[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    "sizes",
    [{}, {"bias": False}, {"tied": False}, {"heads": 8, "kv_heads": 8}, {"layers": 5}, {"experts": 4, "bias": False}],
)
def test_model_and_file_hold_the_same_parameters(tmp_path: Path, sizes: dict[str, Any]) -> None:
    path = written(tmp_path, *decoder("qwen3moe" if "experts" in sizes else "qwen2", **sizes))
    assert load_gguf(path).summary()["parameters"] == read_gguf(path).parameters


def test_counts_and_bytes_are_exact(tmp_path: Path) -> None:
    metadata, tensors = decoder()
    header = read_gguf(written(tmp_path, metadata, tensors))
    layer = 256 * (256 + 128 + 128 + 256) + 3 * 256 * 512 + 2 * 256 + 256 + 128 + 128
    assert header.parameters == 1000 * 256 + 256 + 2 * layer
    layer_bytes = (256 * 640 + 2 * 256 * 512) // 256 * 144 + (256 * 128 + 256 * 512) // 256 * 210 + 4 * (512 + 512)
    assert header.weight_bytes == 1000 * 256 // 32 * 34 + 4 * 256 + 2 * layer_bytes
    (note,) = load_gguf(header.path).workload(Request()).notes
    assert f"{header.parameters:,} parameters in {header.weight_bytes:,} bytes" in note


def test_every_block_format_of_ggml_is_a_number_format_with_its_exact_bits() -> None:
    for name, (weights, size) in GGML_BLOCKS.items():
        assert FORMATS[name].weight_bits * weights == 8 * size
    assert {name: number_format(name).weight_bits for name in ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_xs")} == {
        "q4_0": 4.5, "q8_0": 8.5, "q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "iq4_xs": 4.25,
    }  # fmt: skip
    for word, block, size in TYPES.values():
        if not word.startswith("int"):
            assert number_format(word).weight_bits == 8 * size / block
    for number, block, size in KINDS.values():
        assert TYPES[number][1:] == (block, size)


def test_experts_have_their_own_format(tmp_path: Path) -> None:
    knobs = model_of(tmp_path, "gpt-oss", experts=4, bias=False).knobs()
    assert (knobs["ffns"], knobs["experts"], knobs["topk"]) == (("moe",), 4, 2)
    assert (knobs["expert_dtype"], knobs["dtype"]) == ("w4a16_mxfp4", "q4_k")


def test_windows_alternate_as_the_architecture_does(tmp_path: Path) -> None:
    knobs = model_of(tmp_path, "gemma2", bias=False, **{"attention.sliding_window": 64}).knobs()
    assert (knobs["mixers"], knobs["window"]) == (("window", "attention"), 64)
    short = model_of(tmp_path, "gemma3", bias=False, layers=3, **{"attention.sliding_window": 64}).knobs()
    assert short["mixers"] == ("window",) * 3


def test_lists_with_a_size_for_each_layer_are_read(tmp_path: Path) -> None:
    assert model_of(tmp_path, feed_forward_length=[512, 512]).knobs()["inter"] == 512


def test_a_difference_between_file_and_model_is_a_note(tmp_path: Path) -> None:
    metadata, tensors = decoder()
    tensors["blk.0.extra.weight"] = ("F32", (256, 1000))
    notes = load_gguf(written(tmp_path, metadata, tensors)).workload(Request()).notes
    assert any("against the file" in note for note in notes)


def test_weights_in_memory_are_those_of_the_format(tmp_path: Path) -> None:
    metadata, tensors = decoder(bias=False)
    plain = {name: ("Q4_K" if kind == "Q6_K" else kind, dims) for name, (kind, dims) in tensors.items()}
    path = written(tmp_path, metadata, plain)
    workload = load_gguf(path).workload(Request())
    held = sum(o.parameter_bytes * b.copies for b in workload.distinct_blocks() for o in b.operators)
    norms = 5 * 256 * (4 - 2)  # stored in 32 bits, counted in 16
    assert held == read_gguf(path).weight_bytes - norms


def test_the_command_line_predicts_a_file_by_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, *decoder())
    for device in ("h100-sxm", "raspberry-pi-5"):
        answer = archcast("predict", path, "--on", device, "--json")
        assert answer.code == 0, answer.stderr
    assert load_model(str(path)).family == "decoder"


META, TENSORS = decoder(layers=1)
WHOLE = gguf(META, TENSORS)


def renamed(old: str, new: str) -> bytes:
    """The file with one string of the header replaced by one of the same length."""
    assert len(old) == len(new)
    return WHOLE.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a GGUF"),
        (b"GGUF", "not a GGUF"),
        (b"GGML" + b"\0" * 40, "not a GGUF"),
        (gguf(META, TENSORS, version=1), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + b"\0" * 99, "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1) + b"\0" * 99, "number of tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60) + b"\0" * 99, "number of keys"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + b"\0" * 99, "length of a key"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**50) + b"\0" * 9, "array"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1) + b"\0" * 99, "not read"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77) + b"\0" * 99, "unknown type"),
        (gguf({"general.architecture": "mamba"}, {}), "Known: llama"),
        (gguf({}, {}), "not known"),
        (gguf(META, {k: v for k, v in TENSORS.items() if not k.startswith("token")}), "token_embd"),
        (gguf(META, {"token_embd.weight": ("F16", (256, 1000))}), "no attention"),
        (gguf(META | {"qwen2.attention.head_count": 7}, TENSORS), "do not fit"),
        (gguf(META | {"qwen2.attention.head_count": 0}, TENSORS), "no heads"),
        (gguf(META | {"qwen2.block_count": 2**31}, TENSORS), "no size"),
        (gguf({k: v for k, v in META.items() if k != "qwen2.block_count"}, TENSORS), "missing"),
        (gguf(META | {"general.alignment": 0}, TENSORS), "alignment"),
        (gguf(META | {"split.count": 3}, TENSORS), "one of 3 parts"),
        (renamed("blk.0.ffn_up.weight", "blk.0.attn_q.weight"), "stands twice"),
        (renamed("qwen2.context_length", "qwen2.context\nlength"), "is no name"),
    ],
)
def test_a_broken_header_is_refused(data: bytes, problem: str) -> None:
    assert problem in with_bytes(load_gguf, data, ".gguf")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(share: float) -> None:
    assert "truncated" in with_bytes(load_gguf, WHOLE[: int(len(WHOLE) * share)], ".gguf")


@pytest.mark.parametrize(
    ("dims", "problem"),
    [((2**40, 2**40), "impossible shape"), ((0, 4), "impossible shape"), ((100, 4), "do not fill blocks")],
)
def test_impossible_shapes_are_refused(dims: tuple[int, ...], problem: str) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"w"
    head += struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 12, 0)
    assert problem in with_bytes(load_gguf, head, ".gguf")


def test_a_header_beyond_its_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_read, "MAX_HEADER_BYTES", 1000)
    assert "header ends" in with_bytes(load_gguf, WHOLE, ".gguf")


def test_weights_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata, tensors = decoder(vocab=200_000)
    path = written(tmp_path, metadata, tensors)
    monkeypatch.setattr(gguf_read, "MAX_HEADER_BYTES", 10_000)
    assert path.stat().st_size > 50_000_000
    assert load_gguf(path).knobs()["vocab"] == 200_000


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_that_the_error_lists_is_read(tmp_path: Path, architecture: str) -> None:
    path = written(tmp_path, *decoder(architecture, bias=False))
    assert load_gguf(path).summary()["parameters"] == read_gguf(path).parameters


HEADER = WHOLE.index(b"\0" * 64)


@settings(max_examples=400)
@given(places=flips(HEADER))
def test_a_header_with_flipped_bytes_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_gguf, flipped(WHOLE, places), ".gguf")


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes_after_the_mark_are_refused(data: bytes) -> None:
    assert with_bytes(load_gguf, b"GGUF\3\0\0\0" + data, ".gguf")
