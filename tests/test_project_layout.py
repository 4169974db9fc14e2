"""The shape of the project: packages, the direction of imports, packaging data, and what a cold import loads."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

LAYERS: dict[str, set[str]] = {
    "foundation": set(),
    "hardware_specs": {"foundation"},
    "workloads": {"foundation"},
    "costmodel": {"foundation", "hardware_specs", "workloads"},
    "simulator": {"foundation", "hardware_specs", "workloads", "costmodel"},
    "archcast": {"foundation", "hardware_specs", "workloads", "costmodel", "simulator"},
}
"""Each package, and the packages that it may import."""

HEAVY = ("xgboost", "scipy", "pint", "networkx", "simpy", "pandas", "onnx", "pyarrow", "matplotlib", "numba")
"""Modules that take long to import and that neither `import archcast` nor a cold `predict` may load."""


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def imported_tops(file: Path) -> set[str]:
    """Return the top-level names that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_only_what_lies_below_it(package: str, repository: Path) -> None:
    files = sorted((repository / package).rglob("*.py"))
    assert files
    wrong = {
        str(file.relative_to(repository)): bad
        for file in files
        if (bad := imported_tops(file) & (set(LAYERS) - LAYERS[package] - {package}))
    }
    assert not wrong


@pytest.mark.parametrize("package", LAYERS)
def test_each_package_is_typed_and_importable(package: str, repository: Path) -> None:
    assert (repository / package / "py.typed").is_file()
    assert (repository / package / "__init__.py").is_file()


def test_every_list_of_packages_in_pyproject_is_the_same(pyproject: dict[str, Any]) -> None:
    tool = pyproject["tool"]
    for listed in (
        tool["hatch"]["build"]["targets"]["wheel"]["packages"],
        tool["mypy"]["packages"],
        tool["importlinter"]["root_packages"],
        tool["deptry"]["known_first_party"],
        tool["ruff"]["lint"]["isort"]["known-first-party"],
    ):
        assert set(listed) == set(LAYERS)
    layers = tool["importlinter"]["contracts"][0]["layers"]
    assert layers == ["archcast", "simulator", "costmodel", "hardware_specs | workloads", "foundation"]


def test_pytest_finds_every_file_with_benchmarks(pyproject: dict[str, Any], repository: Path) -> None:
    """`python -m pytest benchmarks -m benchmark` runs them all (CONTRIBUTING.md)."""
    patterns = pyproject["tool"]["pytest"]["ini_options"]["python_files"]
    files = [file for file in (repository / "benchmarks").glob("*.py") if "\ndef test_" in file.read_text()]
    assert files
    assert not [file.name for file in files if not any(file.match(pattern) for pattern in patterns)]


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", "xgboost-cpu"),
        ("linux", "aarch64", "xgboost-cpu"),
        ("win32", "AMD64", "xgboost-cpu"),
        ("win32", "ARM64", "xgboost-cpu"),
        ("darwin", "arm64", "xgboost"),
        ("darwin", "x86_64", "xgboost"),
        ("linux", "ppc64le", "xgboost"),
        ("freebsd14", "amd64", "xgboost"),
    ],
)
def test_each_platform_gets_exactly_one_xgboost(
    system: str, machine: str, expected: str, pyproject: dict[str, Any]
) -> None:
    """Two distributions own the folder `xgboost`; a platform that got both would have a broken one."""
    wanted = [Requirement(text) for text in pyproject["project"]["dependencies"]]
    here = {"sys_platform": system, "platform_machine": machine}
    chosen = [r.name for r in wanted if r.name.startswith("xgboost") and (not r.marker or r.marker.evaluate(here))]
    assert chosen == [expected]


def test_no_extra_brings_the_second_xgboost(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    assert not [text for group in extras.values() for text in group if text.startswith("xgboost")]


def test_the_version_is_the_same_everywhere(pyproject: dict[str, Any], repository: Path) -> None:
    import archcast

    version = pyproject["project"]["version"]
    assert archcast.__version__ == version
    assert f"\nversion: {version}\n" in (repository / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (repository / "CHANGELOG.md").read_text()


def cold_modules(code: str, repository: Path, tmp_path: Path) -> set[str]:
    """Run `code` in a fresh Python outside the checkout and return the heavy modules that it loaded."""
    report = f"import json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.strip().splitlines()[-1]))


def test_importing_archcast_loads_nothing_heavy(repository: Path, tmp_path: Path) -> None:
    assert cold_modules("import archcast; archcast.__version__", repository, tmp_path) == set()


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["devices"],
        ["predict", "llama-3.1-8b", "--on", "h100-sxm", "--json"],
    ],
    ids=lambda command: command[0].strip("-"),
)
def test_a_cold_command_loads_nothing_heavy(command: list[str], repository: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["archcast", *{command!r}]
from archcast.__main__ import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
assert not code, code
"""
    assert cold_modules(code, repository, tmp_path) == set()


def test_the_stated_source_limits_hold(repository: Path) -> None:
    """No source file is longer than 600 lines, and no function longer than 70."""
    too_long: list[str] = []
    for package in LAYERS:
        for file in sorted((repository / package).rglob("*.py")):
            text = file.read_text()
            name = str(file.relative_to(repository))
            if (count := text.count("\n")) > 600:
                too_long.append(f"{name}: {count} lines")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    if (count := node.end_lineno - node.lineno + 1) > 70:
                        too_long.append(f"{name}: {node.name} has {count} lines")
    assert not too_long
