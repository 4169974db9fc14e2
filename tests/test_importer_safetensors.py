"""safetensors headers: exact counts and formats without weights, a model only beside a config.json, hostile headers."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast
from hypothesis import given, settings
from hypothesis import strategies as st
from importer_files import flipped, flips, with_bytes

from foundation.errors import BadFileError
from workloads.catalogue import load_model
from workloads.importers import safetensors
from workloads.importers.safetensors import load_safetensors, tensor_summary
from workloads.model import Request

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
PARAMETERS = 2 * 100 * 64 + 64 + 2 * (2 * 64 + 64 * (64 + 32 + 32 + 64) + 3 * 64 * 128)


def file_of(tensors: dict[str, tuple[str, list[int]]], **changes: Any) -> bytes:
    """Return a file of zeros; `changes` replace entries of the header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = -(-safetensors.BITS[dtype] * prod(shape) // 8)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header | changes).encode()
    return struct.pack("<Q", len(raw)) + raw + b"\0" * at


def llama() -> dict[str, tuple[str, list[int]]]:
    tensors = {"model.embed_tokens.weight": [100, 64], "lm_head.weight": [100, 64], "model.norm.weight": [64]}
    for i in range(2):
        shapes = {"q_proj": [64, 64], "k_proj": [32, 64], "v_proj": [32, 64], "o_proj": [64, 64]}
        shapes |= {"gate_proj": [128, 64], "up_proj": [128, 64], "down_proj": [64, 128], "n1": [64], "n2": [64]}
        tensors |= {f"model.layers.{i}.{name}.weight": shape for name, shape in shapes.items()}
    return {name: ("BF16", shape) for name, shape in tensors.items()}


def checkpoint(folder: Path, *, config: dict[str, Any] | None = None, shards: int = 1) -> Path:
    """Write a checkpoint, and return its file or index."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    tensors = llama()
    if shards == 1:
        (folder / "model.safetensors").write_bytes(file_of(tensors))
        return folder / "model.safetensors"
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    table = {tensor: names[i % shards] for i, tensor in enumerate(tensors)}
    for name in names:
        (folder / name).write_bytes(file_of({t: tensors[t] for t in tensors if table[t] == name}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder / "model.safetensors.index.json"


def test_counts_and_formats_are_those_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(file_of({"a": ("F32", [3, 4]), "b": ("F8_E4M3", [10]), "c": ("F4", [4, 2]), "d": ("BF16", [])}))
    summary = tensor_summary(path)
    assert (summary.tensors, summary.parameters, summary.memory_bytes) == (4, 12 + 10 + 8 + 1, 48 + 10 + 4 + 2)
    assert summary.formats == {"F32": 12, "F8_E4M3": 10, "F4": 8, "BF16": 1}
    assert str(summary) == "31 parameters (12 F32, 10 F8_E4M3, 8 F4, 1 BF16), 64 bytes"


@pytest.mark.parametrize("shards", [1, 3])
def test_a_config_beside_a_checkpoint_gives_the_model(tmp_path: Path, shards: int) -> None:
    path = checkpoint(tmp_path / "tiny", config=CONFIG, shards=shards)
    model = load_safetensors(path)
    assert model.summary()["parameters"] == PARAMETERS == tensor_summary(path).parameters
    assert any("agrees (+0.00%)" in note for note in model.workload(Request()).notes)


def test_a_shard_stands_for_its_whole_checkpoint(tmp_path: Path) -> None:
    index = checkpoint(tmp_path / "tiny", config=CONFIG, shards=3)
    shard = index.parent / "model-00002-of-00003.safetensors"
    assert tensor_summary(shard).parameters == PARAMETERS
    assert len(tensor_summary(shard).shards) == 3


def test_missing_shards_are_told(tmp_path: Path) -> None:
    index = checkpoint(tmp_path / "tiny", config=CONFIG, shards=3)
    (index.parent / "model-00002-of-00003.safetensors").unlink()
    assert tensor_summary(index).missing == ("model-00002-of-00003.safetensors",)
    assert any("1 files of its index are missing" in note for note in load_safetensors(index).workload(Request()).notes)


def test_a_checkpoint_of_another_size_is_a_note(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "tiny", config=CONFIG | {"num_hidden_layers": 3})
    assert any("they differ" in note for note in load_safetensors(path).workload(Request()).notes)


def test_packed_checkpoints_are_not_compared(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "tiny", config=CONFIG)
    path.write_bytes(file_of({"qweight": ("I32", [8, 8]), "scales": ("F16", [8])}))
    assert any("packed formats" in note for note in load_safetensors(path).workload(Request()).notes)


def test_without_a_config_the_counts_are_told_and_what_is_missing(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "tiny")
    with pytest.raises(BadFileError, match=rf"{PARAMETERS:,} parameters \({PARAMETERS:,} BF16\).*config\.json beside"):
        load_safetensors(path)
    answer = archcast("predict", path, "--on", "h100-sxm")
    assert answer.code == 2
    assert "config.json" in answer.stderr


@pytest.mark.parametrize("shards", [1, 2])
def test_the_command_line_predicts_a_checkpoint_by_its_path(tmp_path: Path, shards: int) -> None:
    path = checkpoint(tmp_path / "tiny", config=CONFIG, shards=shards)
    answer = archcast("predict", path, "--on", "h100-sxm", "--json")
    assert answer.code == 0, answer.stderr
    assert load_model(str(path)).family == "decoder"


def framed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "truncated"),
        (b"\0" * 7, "truncated"),
        (struct.pack("<Q", 2**63) + b"{}", "truncated"),
        (struct.pack("<Q", 99_000_000) + b"{}", "truncated"),
        (framed(b"{"), "not JSON"),
        (framed(b"\xff\xfe"), "not JSON"),
        (framed(b"[" * 100_000), "not JSON"),
        (framed(b'{"a": 1' + b"0" * 5000 + b"}"), "not JSON"),
        (framed(b"[]"), "no table"),
        (framed(b'{"a": {}, "a": {}}'), "stands twice"),
        (framed(b'{"a": 3}'), "is no table"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}), "not known"),
        (file_of({"a": ("F32", [2])}, a={"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}), "not known"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}), "impossible shape"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [True], "data_offsets": [0, 8]}), "impossible shape"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [10**9] * 9, "data_offsets": [0, 8]}), "claims"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}), "no data_offsets"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [2], "data_offsets": [0, 9**9]}), "truncated"),
        (file_of({"a": ("F32", [2])}, a={"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}), "its shape needs 12"),
    ],
)
def test_a_broken_file_is_refused(data: bytes, problem: str) -> None:
    assert problem in with_bytes(tensor_summary, data, ".safetensors")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a\\b", "..", "", 3, "a\0b"])
def test_an_index_may_name_files_beside_it_only(tmp_path: Path, name: Any) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(BadFileError, match="beside the index"):
        tensor_summary(index)


@pytest.mark.parametrize("table", [None, [], {}, 3])
def test_an_index_without_a_table_is_refused(tmp_path: Path, table: Any) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    with pytest.raises(BadFileError, match="weight_map"):
        tensor_summary(index)


WHOLE = file_of({"a": ("F32", [3, 4]), "b": ("BF16", [10])})


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_a_truncated_file_is_refused(share: float) -> None:
    assert "truncated" in with_bytes(tensor_summary, WHOLE[: int(len(WHOLE) * share)], ".safetensors")


@settings(max_examples=300)
@given(places=flips(len(WHOLE)))
def test_a_file_with_flipped_bytes_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_safetensors, flipped(WHOLE, places), ".safetensors")


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert with_bytes(load_safetensors, framed(data), ".safetensors")
