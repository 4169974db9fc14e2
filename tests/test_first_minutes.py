"""The first minutes with archcast: what a question costs to start, and that README's names exist."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli_runner import ROOT

HEAVY = (
    "xgboost",
    "pint",
    "networkx",
    "simpy",
    "onnx",
    "scipy",
    "pandas",
    "matplotlib",
    "numba",
    "pyarrow",
    "perfetto",
)
PREDICT = ("predict", "llama-3.1-8b", "--on", "h100-sxm")
LISTED = "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}), sep='\\n', file=sys.stderr)\n"


def modules_after(program: str, *arguments: str) -> set[str]:
    """Run a program in a fresh interpreter and return the top-level modules that it had loaded at its end."""
    command = (
        f"import sys\nsys.argv = ['archcast', *{list(arguments)!r}]\ntry:\n    {program}\nexcept SystemExit: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command + LISTED], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    return set(done.stderr.split())


MAIN = "from archcast.__main__ import main; main()"


@pytest.mark.parametrize(
    "arguments", [PREDICT, (*PREDICT, "--json", "--explain"), ("devices",), ("workloads", "resnet-50"), ("--help",)]
)
def test_a_question_about_the_catalogue_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = modules_after(MAIN, *arguments)
    assert "archcast" in loaded
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)


def test_json_needs_no_table_drawing() -> None:
    assert "rich" not in modules_after(MAIN, *PREDICT, "--json")
    assert "rich" in modules_after(MAIN, *PREDICT)


def test_help_loads_no_arithmetic() -> None:
    assert modules_after(MAIN, "--help").isdisjoint({"numpy", "pydantic", "yaml", *HEAVY})


def test_importing_archcast_loads_none_of_its_packages() -> None:
    loaded = modules_after("import archcast")
    assert loaded.isdisjoint({"numpy", "pydantic", "typer", "costmodel", "workloads", "hardware_specs", "simulator"})


def test_the_public_names_are_there() -> None:
    import archcast

    named = (
        "predict",
        "predict_batch",
        "predict_ops",
        "simulate",
        "measure",
        "hypervolume",
        "load_device",
        "load_model",
    )
    assert {*named, "Estimate"} <= set(archcast.__all__)
    for name in archcast.__all__:
        assert name in dir(archcast)
        assert getattr(archcast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        archcast.predcit  # noqa: B018
