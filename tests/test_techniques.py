"""The page of techniques: every technique of the literature has a row, every row a file that is answered."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from techniques import FOLDER

import archcast as ac
from workloads.catalogue import load_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "techniques.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split(" | ")]
    for line in PAGE.split("## LLM decoding")[1].splitlines()
    if line.startswith("| ") and not line.startswith(("| technique", "|---"))
]
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SCOPE = Path(os.environ.get("ARCHCAST_DATA") or ROOT.parent / "shared" / "data").parent / "reference" / "scope.md"


def test_every_row_says_how_and_what_changes() -> None:
    assert len(ROWS) >= 77
    for row in ROWS:
        assert len(row) == 5, row
        assert all(row), row


def test_every_file_has_a_row_and_every_row_a_file() -> None:
    linked = {name for row in ROWS for name in re.findall(r"techniques/([a-z0-9-]+)\.yaml", row[1])}
    assert linked == set(FILES)


def test_every_technique_of_the_survey_has_a_row() -> None:
    if not SCOPE.is_file():
        pytest.skip("the survey of the literature is not there")
    section = SCOPE.read_text(encoding="utf-8").split("## 8. ")[1]
    titles = re.findall(r"^- \*\*(.+?)\*\*", section, flags=re.MULTILINE)
    assert len(titles) == 77
    missing = [title for title in titles if title not in {row[0] for row in ROWS}]
    assert missing == []


@pytest.mark.parametrize("name", FILES)
def test_a_technique_is_answered(name: str) -> None:
    estimate = ac.predict(load_model(FOLDER / f"{name}.yaml"), on="h200-sxm")
    assert estimate.verdict == "infeasible" or (estimate.latency_s is not None and estimate.latency_s.value > 0)
