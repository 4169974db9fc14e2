"""Files of kind `allocate` with faults: a name, a table or a CSV that cannot be is one sentence with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast

from archcast.allocating.run import allocate
from foundation.errors import BadValueError

OPTION = {"name": "x", "workload": "qwen3-0.6b", "on": "l40s", "tokens": 64}


def modelled(**option: Any) -> dict[str, Any]:
    """Return a file in which one of two options may have a typo."""
    return {
        "kind": "allocate", "name": "m", "budgets": {"cost_usd": 1.0},
        "options": [OPTION, {**OPTION, "name": "y", **option}],
        "items": [{"name": "q", "prompt": 200, "success": 0.5}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"on": "h2000"}, "options[1].on': Unknown device 'h2000'. Nearest: h200"),
        ({"workload": "llama-3.1-7b"}, "options[1].workload': Unknown workload 'llama-3.1-7b'. Nearest: llama-3.1"),
        ({"dtype": "fp88"}, "options[1].dtype': Unknown number format 'fp88'. Nearest: fp8"),
        ({"knobs": {"layerz": 3}}, "options[1].knobs.layerz': Unknown knob 'layerz'. Nearest: layers"),
        ({"on": "none.yaml"}, "options[1].on': none.yaml: there is no such file"),
        ({"verifier": {"workload": "qwen3-0.7b", "on": "l40s"}}, "options[1].verifier.workload': Unknown workload"),
    ],
)
def test_a_name_that_does_not_exist_is_a_fault_with_its_place(
    option: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(modelled(**option), sort_keys=False), encoding="utf-8")
    ended = archcast("allocate", file)
    assert ended.code == 2
    assert words in ended.stderr
    assert f"{file}:" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_what_does_not_fit_is_left_out_and_no_fault() -> None:
    found = allocate(modelled(workload="llama-3.1-405b"))
    assert [one.option for one in found.chosen] == ["x"]
    assert any("short of memory" in words for words in found.refused)


def rows(*given: str, head: str = "item,option,value,credits") -> str:
    return "\n".join([head, *given]) + "\n"


def beside(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a CSV table and the file that names it, return the file."""
    (tmp_path / "costs.csv").write_text(text, encoding=encoding)
    file = tmp_path / "t.yaml"
    file.write_text("kind: allocate\ntable: costs.csv\nbudgets: {credits: 5}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("apart", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")]
)
def test_tables_as_spreadsheets_write_them_are_read(apart: str, encoding: str, tmp_path: Path) -> None:
    text = rows("a,low,1,2", "a,high,3,5").replace(",", apart)
    assert allocate(beside(tmp_path, text, encoding)).worth == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rows("a,low,1,2", "a,high,much,5"), "costs.csv:3: value must be a finite number"),
        (rows("a,low,1,2", "a,low,1,2"), "costs.csv:3: item 'a' with option 'low' stands twice"),
        (rows("a,low,1,2,9"), "costs.csv:2: this row has more cells"),
        (rows("a,low,1"), "costs.csv:2: a row of the table has no 'credits'"),
        (rows("a,,1,2"), "costs.csv:2: every row of the table needs 'option'"),
        (rows("a,low,1,2", head="item,option,value,credit"), "costs.csv:1: unknown column 'credit'. Nearest: credits"),
        (
            rows("a,low,1,2,3", "a,high,3,5,5", head="item,option,value,credits,count"),
            "costs.csv:3: item 'a' has a count of 5 here and of 3 in a row above",
        ),
        (rows("a,low,1e308,2"), "costs.csv:2: value must be"),
        (rows("a,low,1,2,1e300", head="item,option,value,credits,count"), "costs.csv:2: count must be"),
    ],
)
def test_a_fault_of_a_csv_table_names_its_line(text: str, words: str, tmp_path: Path) -> None:
    ended = archcast("allocate", beside(tmp_path, text))
    assert ended.code == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_count_that_one_row_says_is_of_the_item(tmp_path: Path) -> None:
    text = rows("a,low,1,1,3", "a,high,3,5,", head="item,option,value,credits,count")
    assert allocate(beside(tmp_path, text)).worth == 3


@pytest.mark.parametrize("given", [None, 5, [], b"x"])
def test_what_is_no_file_is_refused_in_one_sentence(given: Any) -> None:
    with pytest.raises(BadValueError, match="takes the path of a YAML file or a mapping"):
        allocate(given)
