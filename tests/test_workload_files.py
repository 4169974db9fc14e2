"""Workload files: what they mean, and the place and words of every fault."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import BadFileError
from workloads.catalogue import load_model
from workloads.graph_model import GraphModel
from workloads.importers.workload_file import load_workload_file
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Request
from workloads.work import count_work

EXAMPLES = Path(__file__).resolve().parents[1] / "workloads" / "examples"
DOCS = Path(__file__).resolve().parents[1] / "docs"


def written(tmp_path: Path, text: str) -> GraphModel:
    path = tmp_path / "net.yaml"
    path.write_text(text, encoding="utf-8")
    return load_workload_file(path)


def one_block(operators: str, *, more: str = "") -> str:
    """A file with one block; operators stand from line 6 on."""
    return f"kind: workload\nname: net\n{more}blocks:\n  - name: only\n    operators:\n{operators}"


GEMM = "      - {name: a, op: gemm, m: 4, n: 8, k: 16}\n"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_loads_and_has_work(path: Path) -> None:
    summary = load_model(str(path)).summary()
    assert summary["macs"] > 0
    assert summary["parameters"] > 0


def test_keyword_spotting_has_its_hand_computed_work() -> None:
    summary = load_workload_file(EXAMPLES / "keyword-spotting.yaml").summary()
    pixels = 25 * 5
    assert summary["macs"] == pixels * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 12 * 64
    assert summary["parameters"] == 64 * 40 + 4 * (64 * 9 + 64 * 64) + 12 * 64 + 12


def test_the_example_of_the_page_loads_and_is_what_it_says(tmp_path: Path) -> None:
    page = (DOCS / "workload-files.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    model = written(tmp_path, example)
    assert model.summary()["parameters"] == 24 * (3 * 2048 * 8192 + 2048)
    assert model.summary()["macs"] == 24 * 3 * 2048 * 8192
    found = {o.name: o for o in model.graph.blocks[0].operators}
    assert found["up"].inputs == ("norm",)
    assert found["add"].inputs == ("down", "")
    table = lower(model.workload(Request(batch=8)).passes, Mapping(tp=4)).table
    assert (
        float((np.broadcast_to(count_work(table).macs, table.rows) * table["count"]).sum())
        == 8 * 24 * 3 * 2048 * 8192 / 4
    )


def test_the_batch_multiplies_the_sizes_of_one_sample() -> None:
    model = load_workload_file(EXAMPLES / "keyword-spotting.yaml")
    together = lower(model.workload(Request(batch=np.array([1, 16]))).passes)
    macs = np.broadcast_to(count_work(together.table).macs, together.table.rows) * together.table["count"]
    assert macs[together.scenario == 1].sum() == 16 * macs[together.scenario == 0].sum()


def test_an_operator_reads_the_one_before_it_unless_it_says_otherwise(tmp_path: Path) -> None:
    model = written(tmp_path, one_block(GEMM + GEMM.replace("a,", "b,") + GEMM.replace("a,", "c, inputs: [a, b],")))
    assert [o.inputs for o in model.graph.blocks[0].operators] == [("",), ("a",), ("a", "b")]


def test_operators_may_stand_in_any_order(tmp_path: Path) -> None:
    model = written(
        tmp_path, one_block(GEMM.replace("a,", "late, inputs: early,") + GEMM.replace("a,", "early, inputs: input,"))
    )
    assert [o.name for o in model.graph.blocks[0].operators] == ["early", "late"]


def test_formats_come_from_the_operator_then_the_file_then_the_default(tmp_path: Path) -> None:
    text = one_block(GEMM + GEMM.replace("a,", "b, dtype: fp8,"), more="dtype: int8\n")
    assert [o.dtype for o in written(tmp_path, text).graph.blocks[0].operators] == ["int8", "fp8"]
    assert written(tmp_path, one_block(GEMM)).graph.blocks[0].operators[0].dtype == "bf16"


def test_a_training_step_of_a_file_has_a_backward_pass(tmp_path: Path) -> None:
    model = written(tmp_path, one_block(GEMM.replace("}", ", parameters: auto}")))
    assert len(model.workload(Request(mode="train")).passes) > 1


FAULTS = [
    # operators or file, line, words
    (one_block("      - {name: a, op: gem, m: 1, n: 1, k: 1}\n"), 6, "gemm"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1, kk: 1}\n"), 6, "Nearest: k"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1}\n"), 6, "gemm needs k above 0"),
    (one_block("      - {name: a, op: gemm, m: 0, n: 1, k: 1}\n"), 6, "gemm needs m above 0"),
    (one_block("      - {name: a, op: gemm, m: -4, n: 1, k: 1}\n"), 6, "at least 0, not -4"),
    (one_block("      - {name: a, op: gemm, m: .nan, n: 1, k: 1}\n"), 6, "not a usable number"),
    (one_block("      - {name: a, op: gemm, m: many, n: 1, k: 1}\n"), 6, "not 'many'"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1, k: 1, dtype: bf17}\n"), 6, "bf16"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1, k: 1, shard: columns}\n"), 6, "column"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1, k: 1, fused: maybe}\n"), 6, "true or false"),
    (one_block("      - {name: a, op: gemm, m: 1, n: 1, k: 1, count: 3}\n"), 6, "the block's `count`"),
    (one_block("      - {name: a, op: softmax, rows: 1, hidden: 8, parameters: auto}\n"), 6, "`auto` is known for"),
    (one_block("      - {op: gemm, m: 1, n: 1, k: 1}\n"), 6, "needs 'name'"),
    (one_block("      - {name: input, op: gemm, m: 1, n: 1, k: 1}\n"), 6, "what enters the block"),
    (one_block(GEMM + GEMM), 7, "two operators named 'a'"),
    (one_block(GEMM + GEMM.replace("a,", "b, inputs: aa,")), 7, "Nearest: a"),
    (
        one_block(GEMM.replace("a,", "a, inputs: b,") + GEMM.replace("a,", "b, inputs: a,")),
        None,
        "cycle: a -> b -> a|cycle: b -> a -> b",
    ),
    (
        "kind: workload\nblocks:\n  - {name: b, count: 0, operators: [{name: a, op: copy, rows: 1, hidden: 1}]}\n",
        3,
        "count",
    ),
    ("kind: workload\nblocks:\n  - {name: b, operators: []}\n", 3, "at least one entry"),
    ("kind: workload\nblocks: []\n", 2, "at least one entry"),
    ("kind: workload\nblock: []\n", 2, "Nearest: blocks"),
    ("kind: hardware\nblocks: []\n", 1, "`kind: workload`"),
    ("name: net\n", None, "the key is missing"),
    ("- 1\n- 2\n", 1, "mapping"),
    (one_block(GEMM) + "  - name: only\n    operators:\n" + GEMM, 7, "two blocks are named 'only'"),
]


@pytest.mark.parametrize(("text", "line", "words"), FAULTS, ids=[str(i) for i in range(len(FAULTS))])
def test_every_fault_has_its_line_and_says_what_is_valid(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    with pytest.raises(BadFileError) as caught:
        written(tmp_path, text)
    assert re.search(words, str(caught.value))
    assert "\n" not in str(caught.value)
    if line is not None:
        assert caught.value.line == line


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file"):
        load_workload_file(tmp_path / "absent.yaml")


def test_the_notes_of_a_model_stand_beside_a_training_step_too(tmp_path: Path) -> None:
    text = "kind: workload\nnotes: [Sizes are guessed.]\nblocks:\n  - operators:\n"
    model = written(tmp_path, text + "      - {name: fc, op: gemm, m: 1, n: 8, k: 8, parameters: auto}\n")
    for mode in ("infer", "train"):
        assert model.workload(Request(mode=mode)).notes == ("Sizes are guessed.",)  # type: ignore[arg-type]
    long = load_model("llama-3.1-8b").workload(Request(prompt=200_000, mode="train"))
    assert "was made for 131,072" in long.notes[0]
