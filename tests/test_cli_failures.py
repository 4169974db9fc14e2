"""What is not the user's input: our own faults, readers that leave, full disks, narrow terminals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import ROOT, archcast, archcast_process

from archcast.cli.app import MAX_MESSAGE, one_line

ASK = ("predict", "llama-3.1-8b", "--on", "h100-sxm")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archcast whose list of devices has a fault of ours."""

    def fault(**_: str) -> None:
        raise KeyError("capacity")

    monkeypatch.setattr("archcast.listing.device_rows", fault)


@pytest.mark.usefixtures("broken")
def test_our_own_fault_is_exit_1_and_one_sentence_that_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARCHCAST_DEBUG", raising=False)
    ended = archcast("devices")
    assert ended.code == 1
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "KeyError: 'capacity'" in ended.stderr
    assert "test_cli_failures.py:" in ended.stderr
    assert "report" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_traceback_is_shown_with_archcast_debug_only(
    value: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHCAST_DEBUG", value)
    ended = archcast("devices")
    assert ended.code == 1
    assert ended.stdout == ""
    assert ("Traceback (most recent call last)" in ended.stderr) is shown


def test_sizes_beyond_this_machines_memory_are_the_inputs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(**_: str) -> None:
        raise MemoryError("Unable to allocate 7.28 TiB")

    monkeypatch.setattr("archcast.listing.device_rows", exhausted)
    ended = archcast("devices")
    assert (ended.code, ended.stdout) == (2, "")
    assert "more memory than this machine has" in ended.stderr


def test_a_module_that_cannot_be_imported_is_our_fault_too(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ImportError('a broken installation')\n", encoding="utf-8")
    done = archcast_process("devices", PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    assert done.code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "a broken installation" in done.stderr


@pytest.mark.parametrize("arguments", [("workloads", "--json"), ("devices",), (*ASK, "--explain"), ("--help",)])
def test_a_reader_that_leaves_is_no_error(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "archcast", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("devices",), ("devices", "--json"), ("--help",)])
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "archcast", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 2
    assert done.stderr.decode() == "Error: the answer could not be written (No space left on device).\n"


@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [
        ("ascii", (*ASK, "--explain")),
        ("latin-1", ("devices", "rk3588")),
        ("cp1252", ("workloads",)),
        ("utf-8", ("devices",)),
    ],
)
def test_a_terminal_of_any_encoding_can_show_the_answer(encoding: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "archcast", *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0, done.stderr[-400:]
    assert done.stderr == b""
    assert len(done.stdout.decode(encoding)) > 200


def test_names_that_a_terminal_cannot_show_become_question_marks(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    text = "kind: graph\nengines: [{name: 引擎, kind: compute}]\ntasks: [{name: t, engine: 引擎, duration_s: 1}]\n"
    file.write_text(text, encoding="utf-8")
    done = archcast_process("simulate", file, PYTHONIOENCODING="ascii")
    assert done.code == 0, done.stderr
    assert "??" in done.stdout
    assert "引擎" in archcast_process("simulate", file, PYTHONIOENCODING="utf-8").stdout


def test_a_message_has_no_control_characters_and_a_bounded_length() -> None:
    assert one_line("a\nb\tc\x1b[31m") == "a b\\tc\\x1b[31m"
    long = one_line("name " + "z" * 5000 + " end")
    assert len(long) <= MAX_MESSAGE
    assert long.startswith("name z")
    assert long.endswith("z end")
