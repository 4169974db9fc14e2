"""The README's second screen: its four commands work, with the first lines that it shows, but for numbers."""

from __future__ import annotations

import re

import pytest
from cli_runner import ROOT, archcast

SCREEN = re.search(
    r"^## For searches, allocators and services$.*?^```console\n(.*?)^```$",
    (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL,
)  # fmt: skip


def shown() -> dict[str, str]:
    """Return the first line that the README shows of each command."""
    assert SCREEN is not None
    lines = SCREEN[1].splitlines()
    return {line[2:]: lines[at + 1] for at, line in enumerate(lines) if line.startswith("$ ")}


def words(text: str) -> list[str]:
    """Return a line without its numbers and signs."""
    return re.findall(r"[a-zA-Z][a-zA-Z-]+", re.sub(r"\d[\d.,]*( ?[kMG]\b)?", "", text))


def test_the_screen_names_the_four_commands() -> None:
    assert [command.split()[1] for command in shown()] == ["serve", "search", "allocate", "plan"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["search", "allocate", "plan"])
def test_a_command_of_the_screen_answers_as_shown(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = next(command for command in shown() if command.split()[1] == verb)
    ended = archcast(*command.split()[1:])
    assert ended.code == 0, ended.stderr
    assert words(ended.stdout.splitlines()[0]) == words(shown()[command])
