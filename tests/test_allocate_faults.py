"""Files of kind `allocate` with faults: a name, a table or a CSV that cannot be is one sentence with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast

from archcast.allocating.run import allocate

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
