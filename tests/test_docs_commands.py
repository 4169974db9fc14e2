"""The blocks of README.md and docs/*.md that are marked to run do run, and print what the page shows.

A mark is an HTML comment right before a fenced block:
  `<!-- run -->`          console or bash: the commands succeed; python: the code runs
  `<!-- run: onnx -->`    the same, where that package is installed
  `<!-- run: exit 2 -->`  each command ends with that code, and stderr is what the page shows
  `<!-- file: NAME -->`   the block is that file
Blocks of a page run in one empty folder, in order. In a console block lines after a command are its output; `...`
stands for anything, and blanks are not compared, nor are numbers and their units (they move with the catalogue).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runner import ROOT, Ended, archcast

BLOCK = re.compile(r"^<!-- (run|file)(?:: ([^\n]*?))? -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
SHELL = frozenset("|><;&$`*")


@dataclass(frozen=True)
class Block:
    """A marked block: what to do (`run`, `file`), the mark's argument, the language and the text."""

    verb: str
    argument: str
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return the marked blocks of a page."""
    return [Block(*(part or "" for part in found)) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands_of(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block with the output that the page shows."""
    if block.language == "bash":
        yield block.text, []
        return
    command, shown = "", list[str]()
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], []
        else:
            shown.append(line)
    if command:
        yield command, shown


def run(command: str) -> Ended:
    """Run a command in the working folder: archcast alone in this process, anything else in a shell."""
    if command.startswith("archcast ") and SHELL.isdisjoint(command):
        return archcast(*shlex.split(command)[1:])
    wrapper = Path.cwd() / ".bin" / "archcast"
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m archcast "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    path = os.pathsep.join((str(wrapper.parent), os.environ.get("PATH", "")))
    done = subprocess.run(
        ["bash", "-ec", command],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def pattern(line: str) -> str:
    """Return a shown line as a regular expression: numbers, units, bars and blanks may differ, `...` is anything."""
    words = re.sub(r"[─█]+", " ", line).split()
    after_number = [False, *(word.replace(".", "").replace(",", "").isdigit() for word in words[:-1])]
    return r"\s+".join(
        ".*?" if word == "..." else r"\S+" if unit and word[:1].isalpha() else _loose(word)
        for word, unit in zip(words, after_number, strict=True)
    )


def _loose(word: str) -> str:
    parts = re.split(r"(\d[\d.,e+-]*|\.\.\.$)", word)
    return "".join(
        r"[\d.,e+-]+" if part[:1].isdigit() else ".*" if part == "..." else re.escape(part) for part in parts
    )


def shows(output: str, shown: list[str]) -> str:
    """Return the first shown line that the output does not have after the ones before it, "" where all are there."""
    rest = re.sub(r"[─█]+", " ", output)
    for line in shown:
        if not line.strip("─ .█"):
            continue
        found = re.search(pattern(line), rest)
        if not found:
            return line
        rest = rest[found.end() :]
    return ""


def needed(argument: str) -> str:
    """Return the package that a block needs and that is not there."""
    absent = argument and not argument.startswith("exit") and importlib.util.find_spec(argument) is None
    return argument if absent else ""


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p)], ids=lambda page: page.name)
def test_every_marked_block_runs_and_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for block in blocks_of(page):
        if block.verb == "file":
            Path(block.argument).write_text(block.text, encoding="utf-8")
        elif needed(block.argument):
            continue
        elif block.language == "python":
            exec(compile(block.text, str(page), "exec"), {"__name__": "__page__"})
        else:
            code = int(block.argument.removeprefix("exit")) if block.argument.startswith("exit") else 0
            for command, shown in commands_of(block):
                ended = run(command)
                assert ended.code == code, f"{page.name}: {command}\n{ended.stderr}"
                said = ended.stderr if code else ended.stdout
                assert (ended.stdout if code else ended.stderr) == "", f"{page.name}: {command}"
                missing = shows(said, shown)
                assert not missing, f"{page.name}: {command}\nis not printed: {missing}\n{said}"


def test_the_tutorial_has_a_block_of_each_kind() -> None:
    languages = {block.language for block in blocks_of(ROOT / "docs" / "tutorial.md")}
    assert {"console", "yaml", "json", "csv", "python"} <= languages


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("Latency 1.79 s  [1.45 .. 2.34]", "Latency   2.1 s [1 .. 3]"),
        ("peak ██ 152 ms", "peak █ 9 ms"),
        ("a...", "abc"),
    ],
)
def test_numbers_and_blanks_are_not_compared(shown: str, printed: str) -> None:
    assert shows(printed, [shown]) == ""


def test_words_and_their_order_are_compared() -> None:
    assert shows("Latency 1 s", ["Energy 1 s"]) == "Energy 1 s"
    assert shows("b\na\n", ["a", "b"]) == "b"
    assert shows("a\nb\n", ["a", "...", "b"]) == ""


def test_the_reference_names_every_command_and_option() -> None:
    import typer

    from archcast.cli.app import app as commands

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = {
        name: part.split("\n## ")[0]
        for part in page.split("## ")[1:]
        for name in part.splitlines()[0].replace(",", "").split()
    }
    for name, command in typer.main.get_command(commands).commands.items():  # type: ignore[attr-defined]
        for option in (text for parameter in command.params for text in parameter.opts if text.startswith("--")):
            assert re.search(rf"[`\[ ]{option}\b", sections[name]), f"{name} {option} is not in docs/cli.md"
