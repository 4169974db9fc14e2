"""The one error hierarchy. Each message is a sentence a user can act on: what, where, nearest, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ArchcastError(Exception):
    """Base of every error that archcast raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(ArchcastError):
    """What the caller gave cannot be used; the message says what to change."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that is in no catalogue; the three nearest are offered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name = kind, name
        self.nearest = nearest_names(name, known)
        near = f" Nearest: {', '.join(self.nearest)}." if self.nearest else ""
        super().__init__(f"Unknown {kind} '{name}'.{near}{' ' + hint if hint else ''}")


class BadValueError(InputError):
    """A value outside what is possible, e.g. a negative size or a rate of NaN."""


class BadFileError(InputError):
    """A file that cannot be used, with the place of the fault where it is known."""

    def __init__(
        self, path: str | Path, problem: str, *, line: int | None = None, key: str = "", hint: str = ""
    ) -> None:
        self.path, self.line, self.key = str(path), line, key
        place = f"{path}:{line}" if line is not None else f"{path}"
        where = f"{place}, key '{key}'" if key else place
        super().__init__(f"{where}: {problem}{' ' + hint if hint else ''}")


class MappingError(InputError):
    """A parallel mapping that the workload cannot have, e.g. tp that does not divide the heads."""


class UnsupportedError(InputError):
    """A request that is well formed but that this version cannot answer; says what it can."""


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known names nearest to `name`, best first (case and `_`, `.` and `-` do not matter)."""

    def plain(text: object) -> str:
        return str(text).lower().replace("_", "").replace("-", "").replace(".", "")

    by_plain: dict[str, str] = {}
    for candidate in known:
        by_plain.setdefault(plain(candidate), candidate)
    found = difflib.get_close_matches(plain(name), by_plain, n=count, cutoff=0.3)
    return [by_plain[key] for key in found]
