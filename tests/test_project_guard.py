"""A user's own folder with the name of one of archcast's packages gives one clear error that names it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archcast import _guard


def python(*arguments: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in `cwd` with `path` searched after the working folder, as an installed archcast would be."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def user_package(folder: Path, name: str, text: str = "raise RuntimeError('the code of the user was run')\n") -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)
    return folder / name


@pytest.mark.parametrize("name", _guard.SIBLINGS)
def test_a_users_package_of_the_same_name_is_named_and_not_run(name: str, tmp_path: Path, repository: Path) -> None:
    folder = user_package(tmp_path, name)
    done = python("-c", "import archcast", cwd=tmp_path, path=repository)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("archcast._guard.ShadowedPackageError: ")
    assert str(folder) in last
    assert f"'{name}'" in last
    assert "the code of the user was run" not in done.stderr


def test_a_users_file_of_the_same_name_is_named(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "workloads.py").write_text("LOADS = 3\n")
    done = python("-c", "import archcast", cwd=tmp_path, path=repository)
    assert done.returncode == 1
    assert f"The file {tmp_path / 'workloads.py'} has the name" in done.stderr


def test_the_command_prints_one_sentence_and_no_traceback(tmp_path: Path, repository: Path) -> None:
    folder = user_package(tmp_path, "workloads")
    done = python("-m", "archcast", "devices", cwd=tmp_path, path=repository)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(folder) in done.stderr


def test_the_console_script_prints_one_sentence_and_no_traceback(tmp_path: Path, repository: Path) -> None:
    user_package(tmp_path, "simulator")
    script = tmp_path / "archcast"  # what pip writes, less the executable bit
    script.write_text("import sys\nfrom archcast.__main__ import main\nsys.exit(main())\n")
    done = python(str(script), "--help", cwd=tmp_path, path=repository)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_package_that_the_user_has_already_imported_is_named(tmp_path: Path, repository: Path) -> None:
    folder = user_package(tmp_path, "workloads", "LOADS = 3\n")
    done = python("-c", "import workloads, archcast", cwd=tmp_path, path=repository)
    assert done.returncode == 1
    assert str(folder) in done.stderr.strip().splitlines()[-1]


def test_a_folder_without_init_is_not_in_the_way(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "notes.txt").write_text("my own\n")
    done = python("-c", "import archcast; print(archcast.__file__)", cwd=tmp_path, path=repository)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == repository / "archcast"


def test_a_link_to_the_checkout_is_not_taken_for_a_stranger(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "link").symlink_to(repository, target_is_directory=True)
    code = f"import sys; sys.path.append({str(repository)!r}); import foundation; import archcast"
    done = python("-c", code, cwd=tmp_path, path=tmp_path / "link")
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(_guard.ShadowedPackageError, match=r"'no_such_sibling' is not in .*Install archcast"):
        _guard.check_siblings(["no_such_sibling"], home=str(tmp_path))


def test_the_guard_names_every_package_of_the_project(repository: Path) -> None:
    packages = {p.parent.name for p in repository.glob("*/py.typed")} - {"archcast"}
    assert set(_guard.SIBLINGS) == packages


def test_the_guard_imports_the_standard_library_only(repository: Path) -> None:
    tree = ast.parse((repository / "archcast" / "_guard.py").read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_archcast_checks_its_siblings_before_it_imports_one(repository: Path) -> None:
    """The call stands before any sibling's import at the top level of `archcast/__init__.py`."""
    tree = ast.parse((repository / "archcast" / "__init__.py").read_text())
    called = None
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            own = [n for n in names if n.split(".")[0] in _guard.SIBLINGS]
            assert called or not own, f"line {node.lineno} imports {own} before check_siblings()"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = called or "check_siblings" in ast.unparse(node.value.func)
    assert called
