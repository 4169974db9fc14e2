"""The notebooks run from top to bottom with the public functions alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
ALLOWED = {"archcast", "numpy", "matplotlib"}


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(notebook)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nan" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_the_public_names_only(notebook: Path) -> None:
    import archcast

    tree = ast.parse(notebook.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= ALLOWED
        assert not isinstance(node, ast.ImportFrom)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac":
            assert node.attr in archcast.__all__
