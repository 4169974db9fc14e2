"""The notebooks: pairs of text and notebook, public names alone, and each runs from top to bottom in its time."""

from __future__ import annotations

import ast
import json
import os
import re
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cli_runner import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))
NUMBERS = ["01", "02", "03", "04", "05", "06", "07"]
LIBRARIES = {"archcast", "csv", "matplotlib", "numpy", "os", "pathlib", "tempfile"}
DOCUMENTED = {
    "archcast": {"environments"},
    "pathlib": {"Path"},
}
"""What notebooks take from modules by name; the page on environments has it."""
LIMIT_S = 120
OURS = re.compile(r"/(foundation|hardware_specs|workloads|costmodel|simulator|archcast)/[\w/]+\.py")

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def document(notebook: Path) -> dict[str, Any]:
    return dict(json.loads(notebook.with_suffix(".ipynb").read_text(encoding="utf-8")))


def cells_of_text(text: str) -> list[tuple[str, str]]:
    """Return kind and source of the cells of a file in the percent format, without its header."""
    found = []
    for part in re.split(r"(?m)^# %%", text)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            lines = [line.removeprefix("# ") if line != "#" else "" for line in body.strip("\n").split("\n")]
            found.append(("markdown", "\n".join(lines)))
        else:
            found.append(("code", body.strip("\n")))
    return found


def test_there_are_seven_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == NUMBERS


@each
def test_text_and_notebook_say_the_same(notebook: Path) -> None:
    pair = [(cell["cell_type"], "".join(cell["source"]).strip("\n")) for cell in document(notebook)["cells"]]
    assert pair == cells_of_text(notebook.read_text(encoding="utf-8"))


@pytest.mark.skipif(find_spec("jupytext") is None, reason="jupytext is not installed: archcast[notebooks]")
@each
def test_jupytext_reads_the_text_as_that_notebook(notebook: Path) -> None:
    import jupytext

    read, kept = (jupytext.read(path) for path in (notebook, notebook.with_suffix(".ipynb")))
    assert [(cell.cell_type, cell.source) for cell in read.cells] == [
        (cell.cell_type, cell.source) for cell in kept.cells
    ]


@each
def test_a_notebook_holds_no_outputs_and_names_no_machine(notebook: Path) -> None:
    kept = document(notebook)
    for cell in kept["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert kept["metadata"] == {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    }
    for path in (notebook, notebook.with_suffix(".ipynb")):
        assert not re.search(r"/(home|work|tmp|root|Users)/|[A-Z]:\\\\", path.read_text(encoding="utf-8"))


@each
def test_a_notebook_uses_the_public_names_only(notebook: Path) -> None:
    import archcast

    tree = ast.parse(notebook.read_text(encoding="utf-8"))
    compile(tree, str(notebook), "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= LIBRARIES
            assert all(alias.name == "archcast" for alias in node.names if alias.name.startswith("archcast"))
        if isinstance(node, ast.ImportFrom):
            assert {alias.name for alias in node.names} <= DOCUMENTED.get(node.module or "", set())
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ac":
            assert node.attr in archcast.__all__


@each
def test_a_notebook_begins_with_its_question_and_ends_with_where_to_go(notebook: Path) -> None:
    cells = [source for kind, source in cells_of_text(notebook.read_text(encoding="utf-8")) if kind == "markdown"]
    assert re.match(r"# .+\n\n\*\*.+\?\*\*", cells[0], re.DOTALL)
    assert cells[-1].startswith("## Where to go next\n\n- ")


def executed(notebook: Path) -> tuple[list[dict[str, Any]], float]:
    """Return the outputs of a notebook that ran in a kernel of its own, and its seconds."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: archcast[notebooks]")
    pytest.importorskip("matplotlib")
    read = nbformat.read(notebook.with_suffix(".ipynb"), as_version=4)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The kernel draws into the notebook, whatever backend the tests have.
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    client = nbclient.NotebookClient(
        read, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    started = time.monotonic()
    client.execute(env=env | {"PYTHONPATH": os.pathsep.join(paths)})
    return [output for cell in read.cells for output in cell.get("outputs", [])], time.monotonic() - started


@pytest.mark.slow
@each
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(FOLDER.iterdir())
    outputs, seconds = executed(notebook)
    with capsys.disabled():
        print(f"\n{notebook.name}: {seconds:.1f} s")
    assert seconds < LIMIT_S
    said = [output for output in outputs if output["output_type"] == "stream"]
    for output in said:
        if output["name"] == "stderr":
            assert not OURS.search(output["text"]), output["text"]
        else:
            assert not re.search(r"\bnan\b", output["text"]), output["text"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert set(FOLDER.iterdir()) == before
