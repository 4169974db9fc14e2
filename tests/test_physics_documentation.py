"""The examples of the pages on costs and memory, run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["cost-model.md", "memory.md"])
def test_the_examples_of_a_page_come_out_as_printed(repository: Path, page: str) -> None:
    tried = doctest.testfile(str(repository / "docs" / page), module_relative=False)
    assert tried.attempted >= 10
    assert tried.failed == 0
